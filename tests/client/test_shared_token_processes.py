"""The access token that the processes of a run share: real processes and a token endpoint that counts.

Every process is told the time with each request, so that hours pass at once and in all of them alike.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from eechips.client.credentials import find_credentials
from eechips.client.http_messages import Timeouts
from eechips.client.permits import QuotaLimits
from eechips.client.retry import RetryPolicy
from eechips.client.shared_token import SharedToken
from eechips.client.throttle import Throttle
from eechips.client.transport import Transport
from eechips.errors import EechipsError
from eechips.manifest import open_run
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.process_tree import kinds
from local_tests.support.token_server import TokenServer, token_server
from tests.support.engine_recipes import CHIPS
from tests.support.engine_service import Service
from tests.support.preloaded_processes import preloaded_context
from tests.support.proxy import tcp_proxy

COUNT = 4
IMPATIENT = RetryPolicy(retries=0)
HOUR = 3600


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


def work(url: str, credentials: Any, shared: SharedToken, throttle: Throttle, seat: int, pipe: Pipe) -> None:
    """The body of a process: sends a request at each moment that it is told, and tells what came of it."""
    if type(credentials).__module__ == "google.auth.compute_engine.credentials":
        from google.auth.compute_engine import _metadata

        setting: Any = _metadata
        setting._GCE_METADATA_HOST = url.partition("//")[2]
    now = 0.0
    transport = Transport(
        url, throttle.client(seat), IMPATIENT, Timeouts(5, 5, 10), credentials=credentials, shared_token=shared,
        clock=lambda: now,
    )  # fmt: skip
    while (moment := pipe.recv()) is not None:
        now = moment
        try:
            response, _ = transport.request(f"{url}/v1/projects/p/value:compute", "POST", "{}")
            pipe.send(str(response.status))
        except EechipsError as error:
            pipe.send(f"{type(error).__name__}: {error}")


class Workers:
    """Processes that share a token."""

    def __init__(self, server: TokenServer, credentials: Any, context: BaseContext, count: int) -> None:
        self._server = server
        self._throttle = throttle = Throttle(context, QuotaLimits(in_flight=count, start=count), clients=count)
        shared = SharedToken(is_shared=True)
        self.pipes: list[Pipe] = []
        self.processes: list[BaseProcess] = []
        for seat in range(count):
            ours, theirs = context.Pipe()
            make: Any = context
            process = make.Process(
                target=work, args=(server.url, credentials, shared, throttle, seat, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def send(self, *workers: int) -> None:
        """Has some of the processes ask, all at once."""
        for each in workers:
            self.pipes[each].send(self._server.clock())

    def receive(self, *workers: int) -> list[str]:
        """Return the results of sent requests."""
        for each in workers:
            assert self.pipes[each].poll(60)
        return [self.pipes[each].recv() for each in workers]

    def ask(self) -> list[str]:
        """Has all of them ask at once; returns what came of it."""
        everybody = range(len(self.pipes))
        self.send(*everybody)
        return self.receive(*everybody)

    def kill(self, worker: int) -> None:
        """Kills a process."""
        pid = self.processes[worker].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.processes[worker].join()


@contextlib.contextmanager
def workers(
    server: TokenServer, credentials: Any = None, context: BaseContext | None = None, count: int = COUNT
) -> Iterator[Workers]:
    known = server.user() if credentials is None else credentials
    found = Workers(server, known, context or preloaded_context(), count)
    try:
        yield found
    finally:
        for process in found.processes:
            process.kill()
            process.join()


def credentials_of(kind: str, server: TokenServer, folder: Path) -> Any:
    """Credentials of a kind that get their tokens from the server, and the party that gives them."""
    subject = folder / "subject"
    subject.write_text("jwt")
    if kind == "user":
        return server.user(), "token"
    if kind == "service account":
        return find_credentials("https://earthengine.googleapis.com", server.key(folder / "key.json")), "token"
    if kind == "metadata server":
        from google.auth.compute_engine import Credentials

        make: Any = Credentials
        return make(), "metadata"
    from google.auth import identity_pool

    load: Any = identity_pool.Credentials.from_info
    impersonates = kind == "impersonated account"
    found = load(server.external_account(subject, impersonates=impersonates), scopes=["s"])
    return found, "impersonate" if impersonates else "sts"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "user",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("service account", "external account", "impersonated account", "metadata server")
        ),
    ],
)
def test_processes_refresh_one_token_an_hour(server: TokenServer, tmp_path: Path, kind: str) -> None:
    credentials, party = credentials_of(kind, server, tmp_path)
    with workers(server, credentials) as asking:
        for _ in range(4 * 18):  # four hours
            assert asking.ask() == ["200"] * COUNT
            server.advance(HOUR / 18)
    assert server.requests[party] == 5  # after 0, 3400, 6800, 10200 and 13600 seconds
    assert server.refused == 0


@pytest.mark.slow
def test_processes_that_are_started_anew_share_a_token(server: TokenServer) -> None:
    with workers(server, context=multiprocessing.get_context("spawn"), count=3) as asking:
        for expiries in range(3):
            assert asking.ask() == ["200"] * 3
            assert server.requests["token"] == expiries + 1
            server.advance(HOUR)
    assert server.refused == 0


@pytest.mark.slow
@pytest.mark.parametrize("waits", [False, True], ids=["before the others ask", "while the others wait"])
def test_a_killed_refresh_is_repeated_by_one_process(server: TokenServer, waits: bool) -> None:
    with workers(server) as asking:
        assert asking.ask() == ["200"] * COUNT
        server.advance(HOUR)
        server.plan("token", "hold")
        asking.send(0)
        server.await_requests("token", 2)
        others = range(1, COUNT)
        if waits:
            asking.send(*others)
        asking.kill(0)
        if not waits:
            asking.send(*others)
        assert asking.receive(*others) == ["200"] * (COUNT - 1)
    assert server.requests["token"] == 3
    assert server.refused == 0


@pytest.mark.slow
def test_a_refresh_that_fails_is_tried_by_one_process_for_all(server: TokenServer) -> None:
    with workers(server) as asking:
        assert asking.ask() == ["200"] * COUNT
        server.advance(HOUR)
        server.outages["token"] = "503 backend"
        for _ in range(60):  # two minutes
            before = server.requests["token"]
            assert all(answer.startswith("UnreachableError: ") for answer in asking.ask())
            assert server.requests["token"] <= before + 1
            server.advance(2)
        assert server.requests["token"] <= 1 + 8  # after 0, 1, 3, 7, 15, 31, 61 and 91 seconds, and somewhat later
        server.outages.clear()
        server.advance(30)
        before = server.requests["token"]
        assert asking.ask() == ["200"] * COUNT
        assert server.requests["token"] == before + 1
    assert server.refused == 0


@pytest.mark.slow
def test_an_outage_before_the_expiry_is_seen_by_one_process_and_delays_none(server: TokenServer) -> None:
    with workers(server) as asking:
        assert asking.ask() == ["200"] * COUNT
        server.advance(HOUR - 200)
        server.outages["token"] = "reset"
        for _ in range(18):  # three minutes
            assert asking.ask() == ["200"] * COUNT
            server.advance(10)
    assert server.requests["token"] <= 1 + 9
    assert server.refused == 0


@pytest.mark.slow
def test_a_token_that_is_refused_is_refreshed_by_one_process(server: TokenServer) -> None:
    with workers(server) as asking:
        for renewals in range(1, 4):
            assert asking.ask() == ["200"] * COUNT
            assert server.requests["token"] == renewals
            assert server.refused <= (renewals - 1) * COUNT
            server.revoke()


@pytest.mark.slow
def test_credentials_that_are_revoked_are_asked_for_once(server: TokenServer) -> None:
    with workers(server) as asking:
        assert asking.ask() == ["200"] * COUNT
        server.advance(HOUR)
        server.outages["token"] = "400 invalid_grant"
        answers = asking.ask()
        server.advance(20)  # while the run ends
        answers += asking.ask()
    assert {answer.partition(" (")[0] for answer in answers} == {"ConfigurationError: the credentials do not work"}
    assert len(set(answers)) == 1
    assert server.requests["token"] == 2


LIFETIME = 6.0
DUE = LIFETIME * 0.75
"""Seconds after which a token of a run is replaced."""


class Running:
    """``eechips run`` with worker processes, at a service that wants tokens of a few seconds."""

    def __init__(self, folder: Path, server: TokenServer, endpoint: str, count: int) -> None:
        (folder / "recipe.py").write_text(CHIPS)
        self.folder, self._count = folder, count
        self._began = time.monotonic()
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
    def seconds(self) -> float:
        return time.monotonic() - self._began

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
def test_a_run_with_several_workers_refreshes_one_token_per_expiry(guarded: TokenServer, tmp_path: Path) -> None:
    with running(tmp_path, guarded, count=900) as run:
        wait_until(lambda: len(run.workers) == COUNT, run.process)
        for pid in run.workers:
            for about in ("environ", "cmdline"):
                assert b"ya29." not in Path(f"/proc/{pid}/{about}").read_bytes()
        status, output = run.ended()
        seconds = run.seconds
    assert status == 0, output
    run.assert_whole()
    assert guarded.requests["token"] >= 3
    assert guarded.requests["token"] <= 1 + seconds / DUE + guarded.refused


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_survives_the_death_of_all_workers_during_a_refresh(guarded: TokenServer, tmp_path: Path) -> None:
    with running(tmp_path, guarded, count=900) as run:
        wait_until(lambda: len(run.workers) == COUNT, run.process)
        guarded.plan("token", "hold")
        wait_until(lambda: guarded.held == 1, run.process)
        for pid in run.workers:
            os.kill(pid, signal.SIGKILL)
        status, output = run.ended()
        seconds = run.seconds
    assert status == 0, output
    run.assert_whole()
    assert guarded.requests["token"] <= 2 + seconds / DUE + guarded.refused


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
    assert guarded.requests["token"] == before + 1
