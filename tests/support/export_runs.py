"""A local Earth Engine whose requests for pixels time out, and runs that export these chips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import fsspec
import pytest

from eechips.engine.run_features import export_polling
from eechips.manifest.run import open_run
from local_tests.support.local_earth_engine import Host, Server
from tests.support.commands import run_command

BUCKET = "my-bucket"
PLACE = f"gs://{BUCKET}/exported"
TIMEOUT = "Computation timed out."
MEMORY = "User memory limit exceeded."
EXPORT = ["--export-to", PLACE]
"""Options of a run."""
_FETCHING = ("sample", "images", "composites", "mosaic", "timeseries", "points", "run", "plan")


@dataclass(frozen=True)
class ExportService:
    """A local Earth Engine with buckets.

    Attributes:
        server: server that is running.
        buckets: has a folder for each bucket.
    """

    server: Server
    buckets: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which clients of Cloud Storage find the buckets."""
        return {**os.environ, "STORAGE_EMULATOR_HOST": self.server.url}

    @property
    def files(self) -> list[Path]:
        """The exported files."""
        return sorted(self.buckets.glob("*/exported/*"))

    def plan_faults(self, *faults: dict[str, Any]) -> None:
        """Replace the plan of faults."""
        body = json.dumps({"seed": 0, "faults": faults}).encode()
        with urlopen(Request(f"{self.server.url}/_faults", body, {"Content-Type": "application/json"})):
            pass

    def time_out(self, times: int | None, message: str = TIMEOUT, on: str = "image:computePixels") -> dict[str, Any]:
        """Return the fault of requests that take too long."""
        limit = {} if times is None else {"times": times}
        return {"type": "status", "on": on, "status": 400, "message": message, **limit}

    def count(self, kind: str) -> int:
        """Return the number of requests of a kind."""
        return self.server.requests().get(kind, 0)

    def operations(self) -> set[str]:
        """Return the names of all tasks."""
        with urlopen(f"{self.server.url}/v1/projects/local/operations") as response:
            return {each["name"] for each in json.load(response).get("operations", ())}

    def start(self, folder: Path, *words: str) -> subprocess.Popen[str]:
        """Start a command in a folder, as a process that can be stopped."""
        command = [sys.executable, "-m", "eechips", *self._arguments(words)]
        return subprocess.Popen(
            command, cwd=folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, folder: Path, *words: str, status: int = 0) -> str:
        """Run a command in a folder, in this process, and return its output.

        States of tasks are requested soon: the tasks of the service take minutes, those here take none.

        Args:
            folder: where it runs.
            *words: words of the command.
            status: its exit status.
        """
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("STORAGE_EMULATOR_HOST", self.server.url)
            patch.setattr(export_polling, "_FIRST_WAIT", 0.05)
            arguments = self._arguments(words)
            patch.setattr("sys.argv", ["eechips", *arguments])  # which the run keeps for another command
            done = run_command(*arguments, status=status)
        assert "Traceback" not in done.output, done.output
        return done.output

    def _arguments(self, words: Sequence[str]) -> list[str]:
        service = ["--endpoint", self.server.url, "--rate", "none"] if words[0] in _FETCHING else []
        return [*words, *service]


def checksums(out: Path) -> dict[str, str]:
    """Return the checksums of the files of a run, all of whose units are done, by the id of their unit."""
    units = open_run(out).units
    assert set(units["state"]) == {"done"}, units[["state", "error"]]
    return dict(zip(units["id"], units["sha256"], strict=True))


@contextmanager
def export_service(host: Host, folder: Path, *options: str) -> Iterator[ExportService]:
    """Serve the demo planet, with buckets in a folder, and with further options."""
    server = host.start("--rate", "none", "--concurrency", "none", "--buckets", str(folder), *options)
    fsspec.get_filesystem_class("gs").clear_instance_cache()  # those of another server
    try:
        yield ExportService(server, folder)
    finally:
        host.stop(server)
