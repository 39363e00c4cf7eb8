"""A budget in words or in YAML: what is understood, and each mistake in its own words."""

from __future__ import annotations

from typing import Any

import pytest

from converter.errors import ConfigError
from converter.quantization.budget import budget_of, parse_budget
from converter.searched import Bound, Budget, Figures, misses

KEPT = Bound(metric="centred_cosine_mean", limit=0.97)
RECALL = Bound(metric="top_k", limit=0.98)
SMALL = Bound(metric="size_ratio", limit=0.3)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("centred_cosine_mean>=0.97, top_k>=0.98, as fast as possible", Budget(bounds=(KEPT, RECALL))),
        ("centred_cosine_mean >= 0.97 and recall@5 >= 0.98", Budget(bounds=(KEPT, RECALL))),
        ("Centred_Cosine_Mean>=.97; smallest", Budget(bounds=(KEPT,), objective="smallest")),
        ("size_ratio<=0.3, as close as possible", Budget(bounds=(SMALL,), objective="closest")),
        ("centred_cosine_mean>=0.97, centred_cosine_mean>=0.97", Budget(bounds=(KEPT,))),
    ],
)
def test_words_are_understood(text: str, budget: Budget) -> None:
    """Commas, semicolons and "and" part; aliases and sentences mean what they say; a bound said twice is one."""
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not say what must be kept"),
        ("fastest", "does not say what must be kept"),
        ("size_ratio<=0.3, smallest", "does not say what must be kept"),
        ("centred_cosine_mean>=0.9, closest", "nothing is closer than the float32 file"),
        ("centerd_cosine_mean>=0.9", "did you mean 'centred_cosine_mean'"),
        ("recall@7>=0.9", "did you mean 'recall@5'"),
        ("top_k<=0.9", "at least can be asked, >="),
        ("top_k>=0.9, size_ratio>=0.3", "at most is what can be asked, <="),
        ("top_k>=much", "'much' is not a number"),
        ("top_k>=0.9, top_k>=0.8", "bounded 2 times"),
        ("top_k>=1.2", "no file can do that"),
        ("top_k>=nan", "no file can do that"),
        ("top_k>=0.9, latency_ratio<=0", "a share of the float32 file's above 0"),
        ("top_k>=0.9, fastest, smallest", "one objective decides"),
        ("top_k>=0.9, fastestest", "did you mean 'fastest'"),
    ],
)
def test_mistakes_have_their_words(text: str, words: str) -> None:
    """Unknown, contradictory, impossible and empty budgets are refused with what to write instead."""
    with pytest.raises(ConfigError) as caught:
        parse_budget(text)

    assert words in str(caught.value)


def test_all_mistakes_come_at_once() -> None:
    """Three mistakes, three lines."""
    with pytest.raises(ConfigError) as caught:
        parse_budget("topk>=0.9, size_ratio<=x, tau<=0.5")

    assert len(caught.value.mistakes) == 3


def test_yaml_says_the_same() -> None:
    """A mapping of metrics to limits; which side is bounded follows from the metric."""
    tree = {"bounds": {"centred_cosine_mean": 0.97, "recall@5": 0.98}, "objective": "fastest"}

    assert budget_of(tree, "b.yaml") == parse_budget("centred_cosine_mean>=0.97, top_k>=0.98")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"bound": {"top_k": 0.9}}, "b.yaml.bound: unknown key; did you mean 'bounds'"),
        ({"bounds": {"topk": 0.9}}, "b.yaml.bounds: unknown metric 'topk'; did you mean 'top_k'"),
        ({"bounds": {"top_k": "high"}}, "b.yaml.bounds.top_k: expected a number"),
        ({"bounds": {"top_k": 0.9}, "objective": "fast"}, "did you mean 'fastest'"),
        ({}, "does not say what must be kept"),
    ],
)
def test_yaml_mistakes_have_breadcrumbs(tree: dict[str, Any], words: str) -> None:
    """The file, the key, the nearest name."""
    with pytest.raises(ConfigError) as caught:
        budget_of(tree, "b.yaml")

    assert words in str(caught.value)


def test_misses_say_by_how_much() -> None:
    """Costs miss upwards, all else downwards; a figure that is not a number misses by everything."""
    figures = Figures(
        centred_cosine_mean=0.95, centred_cosine_min=0.9, top_k=float("nan"), top1=1.0, kendall_tau=1.0, sqnr_db=10.0,
        size_ratio=0.4, latency_ratio=0.5,
    )  # fmt: skip

    found = dict(misses(Budget(bounds=(KEPT, RECALL, SMALL, Bound(metric="latency_ratio", limit=0.5))), figures))

    assert found == {KEPT: pytest.approx(0.02), RECALL: float("inf"), SMALL: pytest.approx(0.1)}
