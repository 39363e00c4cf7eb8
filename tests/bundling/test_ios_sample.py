"""The Swift sample compiles against the frameworks that it names; its tokenizer and resizing agree in every bit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from converter.models.tokenizer_file import encode
from tests.bundling.comparing import answers, given, picture_cases, same
from tests.bundling.swift import APPLE, SAMPLE, VERSION, built, compare_program, declared, swift
from tests.bundling.texts import captions

SLIPS = {
    "FeatureProvider(dictionary:": (
        "FeatureProvider(values:",
        "incorrect argument label in call (have 'values:', expected 'dictionary:')",
    ),
    ".multiArrayValue": (".multiArray", "value of type 'MLFeatureValue' has no member 'multiArray'"),
    "VNImageRequestHandler(": ("VNImageHandler(", "cannot find 'VNImageHandler' in scope"),
    "textModel = try await Self": ("textModel = try Self", "expression is 'async' but is not marked with 'await'"),
    "found?.first {": (
        "found.first {",
        "value of optional type '[VNCoreMLFeatureValueObservation]?' must be",
    ),
    "public static func dot(": (
        "private static func pass() { let unused = 1 }\n    public static func dot(",
        "initialization of immutable value 'unused' was never used",
    ),
}
"""A wrong label, member, type, a call that is not awaited, an optional taken for a value, a warning.

What is replaced, by what, and what must be said.
"""


@pytest.fixture(scope="module")
def frameworks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Declarations of what the sample uses of Apple's frameworks, compiled."""
    return declared(tmp_path_factory.mktemp("declared"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The comparing program with the sample as it ships."""
    return compare_program(SAMPLE, tmp_path_factory.mktemp("compare"))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The comparing program with a sample that does not lower letters, and rounds weights to 12 bits."""
    scratch = tmp_path_factory.mktemp("broken")
    copy = Path(shutil.copytree(SAMPLE, scratch / "ios"))
    _change(copy / "Sources/MobileCLIP/ClipTokenizer.swift", "$0.properties.lowercaseMapping", "String($0)")
    _change(copy / "Sources/MobileCLIP/Resample.swift", "bits = 22", "bits = 12")
    return compare_program(copy, scratch)


def test_the_record_names_this_compiler(tmp_path: Path) -> None:
    """Another version may do the same, but is not the one that bundles speak of."""
    said = swift(tmp_path, "swiftc", "--version").stdout

    if f"Swift version {VERSION} " not in said:
        pytest.skip(f"checked.json speaks of Swift {VERSION}; this is {said.strip()}")


def test_package_builds_without_a_warning(frameworks: Path, tmp_path: Path) -> None:
    """`swift build`: library and program, compiled and linked."""
    done = built(SAMPLE, frameworks, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "debug/check").exists()


def test_slips_do_not_compile(frameworks: Path, tmp_path: Path) -> None:
    """The twin: each is seen by name."""
    copy = Path(shutil.copytree(SAMPLE, tmp_path / "ios"))
    for right, (wrong, _) in SLIPS.items():
        _change(copy / "Sources/MobileCLIP/MobileCLIP.swift", right, wrong)

    done = built(copy, frameworks, tmp_path / "build")

    assert done.returncode != 0
    assert [said for _, said in SLIPS.values() if f"error: {said}" not in done.stdout] == []


def test_nothing_is_newer_than_the_package_asks_for() -> None:
    """All that is declared, and so all that compiles, is as old as the systems of Package.swift."""
    ios, macos = _asked((SAMPLE / "Package.swift").read_text())

    assert _newer(ios, macos) == []
    assert _newer(ios - 1, macos)  # the twin: with the system before, there are such
    assert _newer(ios, macos - 1)


def test_texts_become_the_tokens_of_the_proven_tokenizer(
    program: list[str], broken: list[str], nano: Path, tmp_path: Path
) -> None:
    """Every caption, and texts with entities, ligatures, other scripts, special tokens and too many words."""
    texts, tokenizer = captions(), nano / "tokenizer.json"
    cases, right = [{"text": text} for text in texts], encode(tokenizer, texts)

    assert answers(program, tokenizer, cases, tmp_path) == right
    assert answers(broken, tokenizer, cases, tmp_path) != right  # the twin


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_pictures_become_the_very_pixels_and_floats(
    program: list[str], broken: list[str], layout: str, nano: Path, tmp_path: Path
) -> None:
    """Equal in every bit to what files are judged on, for 16 sizes and ways of resizing."""
    cases, tokenizer = picture_cases(layout), nano / "tokenizer.json"
    asked = [facts for facts, _ in cases]

    found = answers(program, tokenizer, asked, tmp_path)
    twins = answers(broken, tokenizer, asked, tmp_path)

    assert [case[0]["facts"] for made, case in zip(found, cases, strict=True) if not same(made, case)] == []
    assert not all(same(made, case) for made, case in zip(twins, cases, strict=True))


def test_a_bundle_is_read_and_its_inputs_are_those_of_its_test(
    program: list[str], broken: list[str], bundles: dict[str, Path], tmp_path: Path
) -> None:
    """Both documents, the sum of the pixels and the tokens, of the web's bundle: they are the same everywhere."""
    bundle = bundles["web"]
    case = {**given(Image.open(bundle / "test.png").convert("RGB")), "bundle": str(bundle)}
    wanted = json.loads((bundle / "expected.json").read_text())
    tokenizer, sums, tokens = bundle / "tokenizer.json", wanted["image"]["pixel_sum"], wanted["text"]["tokens"]

    (found,) = answers(program, tokenizer, [case], tmp_path)
    (twin,) = answers(broken, tokenizer, [case], tmp_path)

    assert found == {"pixelSums": [sums, sums], "tokens": [tokens, tokens]}
    assert twin["pixelSums"][0] != sums


def _change(file: Path, right: str, wrong: str) -> None:
    text = file.read_text()
    assert text.count(right) == 1, right
    file.write_text(text.replace(right, wrong))


def _asked(package: str) -> tuple[int, int]:
    found = re.search(r"\.iOS\(\.v(\d+)\), \.macOS\(\.v(\d+)\)", package)
    assert found is not None
    return int(found[1]), int(found[2])


def _newer(ios: int, macos: int) -> list[str]:
    """What of the declared frameworks came after these systems."""
    text = "\n".join(file.read_text() for file in sorted((APPLE / "declared").rglob("*.swift")))
    found = re.findall(r"@available\(iOS ([\d.]+), macOS ([\d.]+), \*\)\s+(.*)", text)
    return [what for since_ios, since_macos, what in found if float(since_ios) > ios or float(since_macos) > macos]
