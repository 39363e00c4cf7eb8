#!/usr/bin/env bash
# Make .venv ready: uv (brought in if missing), Python 3.12, every dependency. Safe to run again at any time.
#   scripts/setup.sh         install
#   scripts/setup.sh lock    resolve requirements.lock anew
set -euo pipefail
cd "$(dirname "$0")/.."

find_uv() {
    if command -v uv > /dev/null; then
        command -v uv
    else
        if [ ! -x .tools/bin/uv ]; then
            echo "setup: bringing in uv" >&2
            python3 -m venv .tools >&2
            .tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.7' >&2
        fi
        echo .tools/bin/uv
    fi
}

uv=$(find_uv)

if [ "${1:-}" = lock ]; then
    exec "$uv" pip compile pyproject.toml --all-extras --group dev --group docs --python-version 3.12 \
        --python-platform x86_64-manylinux_2_28 --generate-hashes --no-annotate --no-header \
        --quiet --output-file requirements.lock
fi

echo "setup: Python $(cat .python-version) and dependencies into .venv (once, about 6 GB)" >&2
"$uv" venv --quiet --allow-existing --python "$(cat .python-version)" .venv
export VIRTUAL_ENV="$PWD/.venv"
if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
    "$uv" pip sync --quiet --require-hashes --compile-bytecode requirements.lock
    "$uv" pip install --quiet --no-deps --editable .
else # the lock is for Linux x86; elsewhere the ranges of pyproject.toml hold
    "$uv" pip install --quiet --compile-bytecode --editable '.[all]' --group dev --group docs
fi
touch .venv/.ready
