"""Where answers differ, and whether that is more than a tie, in figures and in one line."""

from __future__ import annotations

from collections.abc import Sequence

from converter.retrieved import Answer, Contrast, Placed

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def contrast(answers: Sequence[Answer], union: Sequence[Placed], place: int, tie_margin: float) -> Contrast:
    """The answer at `place` against the first."""
    first, other = answers[0], answers[place]
    own, others = [hit.name for hit in first.hits], [hit.name for hit in other.hits]
    missing, added = [name for name in own if name not in others], [name for name in others if name not in own]
    scores = {one.name: (one.places[0].score, one.places[place].score) for one in union}
    tied = all(scores[name][1] >= other.hits[-1].score - tie_margin for name in missing) and all(
        scores[name][0] >= first.hits[-1].score - tie_margin for name in added
    )
    returned = {*own, *others}
    return Contrast(
        first=first.space, other=other.space, shared=len(own) - len(missing), returned=len(own),
        same_order=own == others, missing=tuple(missing), added=tuple(added),
        tied=bool(missing or added) and tied, tie_margin=tie_margin,
        score_difference=max((abs(scores[name][0] - scores[name][1]) for name in returned), default=0.0),
    )  # fmt: skip


def verdict(answers: Sequence[Answer], contrasts: Sequence[Contrast]) -> str:
    """Whether all found the same, in one line."""
    first = answers[0]
    count = len(first.hits)
    if not count:
        return "no photo is left to find"
    photos = f"{word(count)} photo{'s' if count > 1 else ''}"
    if not contrasts:
        return f"{first.space} finds {photos}, the best {first.hits[0].name}"
    who = "both" if len(answers) == 2 else f"all {word(len(answers))}"
    differing = [one for one in contrasts if one.missing or one.added]
    if not differing:
        order = (
            ""
            if count == 1
            else ", in the same order"
            if all(one.same_order for one in contrasts)
            else ", in another order"
        )
        return f"{who} find the same {photos}{order}"
    if all(one.tied for one in differing):
        return f"{who} find the same {photos} but for ties: scores that differ by less than their files may"
    real = [one for one in differing if not one.tied]
    parts = [f"{one.other} shares {one.shared} of the {one.returned} photos of {one.first}" for one in real]
    return "they differ: " + "; ".join(parts)


def word(number: int) -> str:
    """A number in words, up to twelve."""
    return NUMBERS[number] if number < len(NUMBERS) else str(number)
