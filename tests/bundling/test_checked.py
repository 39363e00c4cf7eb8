"""What a bundle's README says of the checks of its sample is said of the sample as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from converter.bundled import PLATFORMS, Platform
from converter.bundling.readme import checked
from converter.bundling.writing import sample_files
from tests.bundling import kotlin, swift
from tests.bundling.comparing import SIDES, WAYS
from tests.bundling.record import CHECKS, sources
from tests.bundling.texts import captions


@pytest.mark.parametrize("platform", PLATFORMS)
def test_checks_were_made_on_these_sources(platform: Platform) -> None:
    """A sample that changed since has to go through its checks again: `make bundle-checks`."""
    record = checked()[platform]

    assert record.sources == sources(platform), "run 'make bundle-checks'"
    assert (record.checks, record.not_checked) == (CHECKS[platform].said, CHECKS[platform].not_said)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_tests_that_are_named_exist(platform: Platform) -> None:
    """Every test that a record rests on is there."""
    root = Path(__file__).parents[2]

    assert all((root / test).is_file() for test in CHECKS[platform].tests)


def test_numbers_of_the_words_are_those_of_the_tests() -> None:
    """As many texts and pictures as the record says are compared, with these versions of compilers and library."""
    said = " ".join(CHECKS["web"].said)
    package = sample_files("web")["package.json"].read_text()

    assert f"on {len(captions())} texts" in said
    for platform, compiler in (("android", f"Kotlin {kotlin.VERSION} "), ("ios", f"Swift {swift.VERSION}'s ")):
        said_too = " ".join(CHECKS[platform].said)
        assert f"on {len(captions())} texts" in said_too
        assert f"on {len(WAYS) * len(SIDES)} sizes and ways" in said_too
        assert compiler in said_too
    assert re.search(r"onnxruntime-web (\S+)", said)[1] in package  # type: ignore[index]
