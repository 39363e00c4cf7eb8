"""Write `converter/bundling/checked.json`: run each platform's checks, and note what they were run on.

python -m tests.bundling.record

A platform whose checks fail or are skipped keeps the record that it has, and `test_checked.py` fails as long as that
tells of other sources.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from converter.bundled import PLATFORMS, CheckedSample, Platform
from converter.bundling.readme import CHECKED, checked
from converter.bundling.writing import sample_files
from converter.files import write_atomically
from converter.records import to_json


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The tests of one platform's sample, and what is said of it when they passed."""

    tests: tuple[str, ...]
    said: tuple[str, ...]
    not_said: tuple[str, ...] = ()


CHECKS: Mapping[Platform, Checks] = {
    "ios": Checks(
        tests=("tests/bundling/test_ios_sample.py",),
        said=(
            "Built by Swift 6.0.3's `swift build` on Linux without a warning, against Foundation as Linux has it and "
            "declarations of what it uses of Core ML, Vision, Core Graphics, Core Video and ImageIO, written by hand: "
            "some held against Apple's reference, the others from knowledge of it. None is newer than iOS 16 and "
            "macOS 13.",
            "Its tokenizer run there and compared with the proven tokenizer on 304 texts, its resizing and its floats "
            "with Pillow's and PyTorch's on 16 sizes and ways of resizing in both layouts: all equal. The documents, "
            "pixels and tokens of a real bundle's test: read, and equal.",
            "Seen to fail to compile with a wrong label, member and type, a call that is not awaited, an optional "
            "taken for a value, and a warning; seen to differ with letters that are not lowered, and weights of fewer "
            "bits.",
        ),
        not_said=(
            "Apple's frameworks were not called: neither a Mac nor a device was at hand. Run its own test on a Mac "
            "before you build on it.",
        ),
    ),
    "android": Checks(
        tests=("tests/bundling/test_android_sample.py",),
        said=(
            "Compiled with Kotlin 2.4.20 without a warning, against Android's own org.json and against declarations "
            "of what it uses of android.* and of LiteRT's CompiledModel, written from their references.",
            "Its tokenizer run on a JVM and compared with the proven tokenizer on 304 texts, its resizing and its "
            "floats with Pillow's and PyTorch's on 16 sizes and ways of resizing: all equal.",
            "Seen to fail to compile with a method that LiteRT does not have.",
        ),
        not_said=(
            "The Gradle project was not built, and LiteRT was not called: neither Android's SDK nor a device was at "
            "hand. Run its own test on a device before you build on it.",
        ),
    ),
    "python": Checks(
        tests=("tests/bundling/test_python_sample.py",),
        said=(
            "Run with onnxruntime on the files of a real export, in a process that can import neither mcconvert nor "
            "torch: cosines with PyTorch above 0.9999.",
            "Its preparation of pictures compared with mcconvert's on 20 sizes and ways of resizing: every bit equal.",
            "Seen to fail with a wrong mean, another way of resizing, another filter.",
        ),
    ),
    "server": Checks(
        tests=("tests/bundling/test_python_sample.py", "tests/bundling/test_server_sample.py"),
        said=(
            "Run with onnxruntime on the files of a real export of any batch: cosines with PyTorch above 0.9999.",
            "Asked over HTTP by many at once: the same embeddings, several inputs in one call; broken pictures, empty "
            "and too large bodies are refused, and it goes on.",
        ),
        not_said=("The Dockerfile was not built.",),
    ),
    "web": Checks(
        tests=("tests/bundling/test_web_sample.py",),
        said=(
            "Run in Chromium with onnxruntime-web 1.30.0 (WebAssembly, one thread) on the files of a real export: "
            "cosines with PyTorch above 0.9999, no value further off than 1e-5, nothing on the console.",
            "Its tokens compared with the proven tokenizer's on 304 texts, its pixels with Pillow's on 12 sizes and "
            "ways of resizing: all equal.",
            "A picture turned by its EXIF and a transparent one opened as Pillow opens them.",
            "Seen to fail with a wrong mean, another filter, another layout.",
        ),
        not_said=("Other browsers.",),
    ),
}  # fmt: skip


def sources(platform: Platform) -> dict[str, str]:
    """The sha256 of each file of a platform's sample."""
    return {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in sample_files(platform).items()}


def main() -> None:
    """Run, and write what passed whole."""
    records = checked() if CHECKED.exists() else {}
    for platform, checks in CHECKS.items():
        before = sources(platform)
        if _passed(checks.tests):
            records[platform] = CheckedSample(sources=before, checks=checks.said, not_checked=checks.not_said)
    write_atomically(CHECKED, to_json({name: records[name] for name in PLATFORMS if name in records}))


def _passed(tests: tuple[str, ...]) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", *tests], capture_output=True, text=True, check=False
    )
    last = done.stdout.strip().splitlines()[-1]
    print(f"{' '.join(tests)}: {last}")
    return done.returncode == 0 and not re.search(r"skipped|failed|error", last)


if __name__ == "__main__":
    main()
