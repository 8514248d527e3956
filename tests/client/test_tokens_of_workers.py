"""Access tokens of a run with worker processes: each inherits that of the parent, and refreshes it by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eechips.manifest.run import open_run
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.process_tree import kinds
from local_tests.support.token_server import TokenServer, token_server
from tests.support.engine_recipes import CHIPS
from tests.support.engine_service import Service
from tests.support.proxy import tcp_proxy

COUNT = 4
LIFETIME = 6.0


class Running:
    """``eechips run`` with worker processes, at a service that wants tokens of a few seconds."""

    def __init__(self, folder: Path, server: TokenServer, endpoint: str, count: int) -> None:
        (folder / "recipe.py").write_text(CHIPS)
        self.folder, self._count = folder, count
        options = ["--in-flight", "24", "--executor", f"processes:{COUNT}", "--rate", "none", "--project", "my-project"]
        self.process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "eechips",
                    "run",
                    "recipe.py",
                    "--out",
                    "out",
                    "-p",
                    f"count={count}",
                    *options,
                ),
                *("--endpoint", endpoint, "--send-credentials", "--credentials", server.key(folder / "key.json").name),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def workers(self) -> list[int]:
        return kinds(self.process.pid)["workers"]

    def ended(self) -> tuple[int, str]:
        """Exit status and output, which has no secret and no traceback."""
        output, _ = self.process.communicate(timeout=240)
        for word in ("ya29.", "Bearer", "PRIVATE KEY", "Traceback"):
            assert word not in output
        for path in (self.folder / "out").rglob("*"):
            assert not path.is_file() or b"ya29." not in path.read_bytes(), path
        return self.process.returncode, output

    def assert_whole(self) -> None:
        run = open_run(self.folder / "out")
        assert run.counts == {"done": self._count}
        assert run.verify() == []


@contextlib.contextmanager
def running(folder: Path, server: TokenServer, count: int) -> Iterator[Running]:
    with tcp_proxy(server.url, "127.0.0.2") as wire:  # no address of this machine's own: credentials are sent there
        found = Running(folder, server, wire.url, count)
        try:
            yield found
        finally:
            found.process.kill()
            found.process.wait()


@pytest.fixture
def guarded(service: Service) -> Iterator[TokenServer]:
    """The service behind one that wants tokens, in real time."""
    service.latency = 0.5
    with token_server(lifetime=LIFETIME, upstream=service.url) as found:
        found.clock = time.monotonic
        yield found


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_survives_the_death_of_all_workers_during_a_refresh(guarded: TokenServer, tmp_path: Path) -> None:
    with running(tmp_path, guarded, count=900) as run:
        wait_until(lambda: len(run.workers) == COUNT, run.process)
        for pid in run.workers:
            for about in ("environ", "cmdline"):
                assert b"ya29." not in Path(f"/proc/{pid}/{about}").read_bytes()
        guarded.plan("token", "hold")
        wait_until(lambda: guarded.held == 1, run.process)
        for pid in run.workers:
            os.kill(pid, signal.SIGKILL)
        status, output = run.ended()
    assert status == 0, output
    run.assert_whole()
    assert guarded.requests["token"] > 2


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_whose_credentials_are_revoked_ends_with_one_sentence(guarded: TokenServer, tmp_path: Path) -> None:
    with running(tmp_path, guarded, count=5000) as run:
        wait_until(lambda: len(run.workers) == COUNT, run.process)
        guarded.outages["token"] = "400 invalid_grant"
        before = guarded.requests["token"]
        status, output = run.ended()
    assert status == 2, output
    (error,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert "the credentials do not work (invalid_grant" in error
    assert before < guarded.requests["token"] <= before + 1 + COUNT
