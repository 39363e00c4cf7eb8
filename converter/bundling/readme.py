"""`README.md` of a bundle: what is in it, how its sample is run, what was proven and what was checked of the sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.bundled import EXPECTED, PICTURE, PREPROCESSING, CheckedSample, Expected, Platform
from converter.bundling.writing import sample_files
from converter.manifest import Manifest, ManifestEntry
from converter.publishing.card import licence_words, table, table_words
from converter.records import from_json
from converter.release import MANIFEST, SUMS

CHECKED = Path(__file__).with_name("checked.json")


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is said of one platform: its title, the commands that run the sample, what they show."""

    title: str
    commands: tuple[str, ...]
    after: str


WORDS: Mapping[Platform, Words] = {
    "python": Words(
        title="Python, ONNX Runtime",
        commands=("python -m pip install -r sample/requirements.txt", "python sample/sample.py"),
        after='`python sample/sample.py cat.jpg "a cat" "a dog"` says how well each text fits a picture.',
    ),
    "server": Words(
        title="a server, ONNX Runtime",
        commands=("python -m pip install -r sample/requirements.txt", "python sample/sample.py"),
        after="`python sample/server.py` answers `POST /image` and `POST /text` on port 8000, and runs requests that "
        "come at the same time in one call; `sample/Dockerfile` puts that into a container.",
    ),
    "web": Words(
        title="browsers, ONNX Runtime Web",
        commands=("npm install --prefix sample", "npm start --prefix sample"),
        after="Then open http://localhost:8080/sample/: the page runs the test, and takes pictures and texts of yours. "
        "WebAssembly on one thread needs no special headers; any static server will do.",
    ),
    "ios": Words(
        title="iOS and macOS, Core ML",
        commands=("cd sample", "swift run check"),
        after="That runs the test on a Mac. For an app add `sample/Sources/MobileCLIP` to it, and the bundle's files "
        "as resources.",
    ),
    "android": Words(
        title="Android, LiteRT",
        commands=("gradle -p sample installDebug", "adb shell am start -n mobileclip.sample/.MainActivity"),
        after="The app runs the test and shows what came out. For an app of your own take the files in "
        "`sample/src/main/kotlin`, and the bundle's files as assets.",
    ),
}  # fmt: skip


def checked() -> dict[str, CheckedSample]:
    """What was done to each platform's sample before it shipped."""
    return from_json(CHECKED.read_bytes(), dict[str, CheckedSample])


def readme(platform: Platform, manifest: Manifest, entries: Sequence[ManifestEntry], found: Expected) -> str:
    """The whole page."""
    words = WORDS[platform]
    parts = [f"# {manifest.model.id} for {words.title}", *_warning(manifest)]
    parts += ["## Run the sample", _commands(words), words.after, _own_test(found)]
    parts += ["## What is in it", _contents(platform, manifest, entries)]
    parts += ["## What was proven of the files", _verdict(manifest, entries), table(manifest), table_words(manifest)]
    parts += ["## What was checked of the sample", *_checks(platform)]
    parts += ["## Check the files", _verify(manifest), "## Licence", *licence_words(manifest.model)]
    parts += ["The sample's source is under the MIT licence of mcconvert; take of it what you need."]
    return "\n\n".join(parts) + "\n"


def _warning(manifest: Manifest) -> Iterator[str]:
    if not manifest.model.trained:
        yield (
            "> [!WARNING]\n> **The weights are not trained.** These files and the sample run, so that an app can be "
            "built around them. Their embeddings mean nothing: ask for a bundle of trained weights before you ship."
        )


def _commands(words: Words) -> str:
    return "\n".join(["```sh", *words.commands, "```"])


def _own_test(found: Expected) -> str:
    measured = [
        f"{one.cosine:.6f} for the {name} (by {one.executed_by})"
        for name, one in (("picture", found.image), ("text", found.text))
        if one is not None
    ]
    return (
        f"The test embeds `{PICTURE}` and a text, and prints the cosine with what PyTorch gave for them in float32. "
        f"When this bundle was made it was {' and '.join(measured)}. More than {found.tolerance:g} below that is a "
        f"failure: something in the app prepares its inputs in another way. `{EXPECTED}` has the numbers, and what to "
        "look at first: the sum of the resized pixels, and the tokens."
    )


def _contents(platform: Platform, manifest: Manifest, entries: Sequence[ManifestEntry]) -> str:
    rows = [(entry.path, f"the {entry.tower} file, {entry.precision}") for entry in entries]
    if manifest.model.tokenizer is not None:
        rows.append(
            (manifest.model.tokenizer.path, "from text to tokens, in the format of Hugging Face's `tokenizers`")
        )
    rows += [
        (PREPROCESSING, "names, shapes and sizes; how a picture and a text become inputs. The sample reads it"),
        (EXPECTED, f"the test: what PyTorch gives for `{PICTURE}` and for a text"),
        (PICTURE, "the test's picture, drawn by mcconvert"),
        (MANIFEST, "all that is known of the files"),
        (SUMS, "a sha256 of every file"),
    ]
    if manifest.references:
        rows.append(("reference/", "what the files were judged against; an app needs nothing of it"))
    rows += [(f"sample/{path}", "sample") for path in sample_files(platform)]
    return "\n".join(["| file | |", "|---|---|", *(f"| `{path}` | {said} |" for path, said in rows)])


def _verdict(manifest: Manifest, entries: Sequence[ManifestEntry]) -> str:
    sets = " and ".join(sorted({entry.parity.sample_set for entry in entries if entry.parity}))
    return (
        f"PASSED: made from `{manifest.model.source}` by {manifest.created_by}, run on {sets} and compared with the "
        f"unmodified PyTorch model in float32, within the bounds that `{MANIFEST}` names."
    )


def _checks(platform: Platform) -> Iterator[str]:
    record = checked()[platform]
    yield "Before this version of mcconvert shipped, on the very source files of this sample:"
    yield "\n".join(f"- {check}" for check in record.checks)
    if record.not_checked:
        yield "Not checked:"
        yield "\n".join(f"- {check}" for check in record.not_checked)


def _verify(manifest: Manifest) -> str:
    said = f"`sha256sum -c {SUMS}`, or `shasum -a 256 -c {SUMS}` on a Mac."
    if manifest.references:
        said += " `mcconvert verify .` runs the files once more and judges them again."
    return said
