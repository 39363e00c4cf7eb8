"""A real OCI registry: the `docker-registry` program on a free port, its storage in a folder."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

INSTALL = "apt-get install -y docker-registry"


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class RegistryServer:
    """One registry, which can be stopped and started again on the same storage."""

    folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """A repository there, as `mcconvert publish` takes it."""
        return f"oci://{self.host}/acme/nano"

    def start(self, largest_file_bytes: int = 0) -> None:
        """Start, and wait until it answers. `largest_file_bytes`: its storage takes no larger file than that."""
        program = shutil.which("docker-registry")
        if program is None:
            pytest.skip(f"no docker-registry here; '{INSTALL}' or 'make test-servers' brings it in")
        limit = ["prlimit", f"--fsize={largest_file_bytes}"] if largest_file_bytes else []
        with (self.folder / "registry.log").open("ab") as log:
            command = [*limit, program, "serve", str(self._config())]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._wait()

    def stop(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def get(self, path: str, **headers: str) -> bytes:
        """Read by plain HTTP, with nothing of ours in between."""
        request = urllib.request.Request(f"http://{self.host}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def _config(self) -> Path:
        storage = {"filesystem": {"rootdirectory": str(self.folder / "storage")}, "cache": {}}
        config: dict[str, Any] = {"version": 0.1, "log": {"level": "warn"}, "http": {"addr": self.host}}
        config["storage"] = storage | self.changes.get("storage", {})
        config |= {key: value for key, value in self.changes.items() if key != "storage"}
        path = self.folder / "registry.json"  # JSON is YAML
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def _wait(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                self.get("/v2/")
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
        pytest.fail(f"docker-registry did not answer: {(self.folder / 'registry.log').read_text()[-500:]}")
