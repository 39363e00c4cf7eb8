#!/usr/bin/env bash
# Bring in Swift's compiler for the tests of the Swift sample. Debian, as root; safe to run again at any time.
# Where Debian's package is not to be had, .tools/swift becomes the /usr of a Debian that has it; the tests lay it over
# /usr for the compiler's processes alone.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v swiftc > /dev/null || [ -x .tools/swift/bin/swiftc ]; then
    exit
fi
apt-get update -q
if apt-cache policy swiftlang | grep -q 'Candidate: [0-9]'; then
    exec apt-get install -y -q swiftlang libc6-dev
fi

echo "swift: this Debian has no swiftlang; bringing in that of trixie (once, 3 minutes and 2.5 GB)" >&2
apt-get install -y -q debootstrap
made=$PWD/.tools/swift.part # a run that was killed left one perhaps
rm -rf --one-file-system "$made"
mkdir -p "$made"
unshare --mount debootstrap --variant=minbase --include=swiftlang,libc6-dev trixie "$made" # its mounts end with it
mv -T "$made/usr" .tools/swift
rm -rf --one-file-system "$made"
