"""Write the manifest's JSON schema: `python -m converter.publishing.schema`."""

from __future__ import annotations

from pathlib import Path

from converter.publishing.manifest import SCHEMA, schema

if __name__ == "__main__":
    Path(__file__).with_name(SCHEMA).write_bytes(schema())
