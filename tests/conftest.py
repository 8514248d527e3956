"""What all tests share: the local Earth Engine as a process of its own, the real client, the real data."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

if TYPE_CHECKING:
    from tests.integration.stack_store import Stack

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", action="store_true", help="also run the tests that need an Earth Engine account")


def pytest_configure(config: pytest.Config) -> None:
    """Takes away what users set for themselves: their project, their service, their cache."""
    if not config.getoption("--live"):
        for name in ("EECHIPS_PROJECT", "EECHIPS_ENDPOINT", "EECHIPS_CACHE"):
            os.environ.pop(name, None)
    # Whoever starts the tests in the background may have these ignored (nohup), and so would all that tests start.
    defaults = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    for number, default in ((getattr(signal, name, None), default) for name, default in defaults.items()):
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)
    # The demo planet's data end today; what tests find there must not depend on the day.
    os.environ["EECHIPS_DEMO_UNTIL"] = "2025-01-01"
    # Read when gcsfs is imported, by whichever test does: it would ask by gRPC, which no emulator answers, for minutes.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    if sys.version_info < (3, 11):  # what Google's client tells commands is not ours
        os.environ.setdefault("PYTHONWARNINGS", "ignore:You are using a non-supported Python version:FutureWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What may take longest begins first, so that no process is left alone with it (--no-loadscope-reorder).
    longest: dict[Path, float] = {}
    for item in items:
        for mark in item.iter_markers("timeout"):
            longest[item.path] = max(longest.get(item.path, 0.0), float(mark.args[0]))
    items.sort(key=lambda item: longest.get(item.path, 0.0), reverse=True)
    if config.getoption("--live"):
        return
    for item in items:
        if "live" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs an Earth Engine account: --live"))


@dataclass(frozen=True)
class Server:
    """A local Earth Engine that is running."""

    url: str
    process: subprocess.Popen[str]

    def stats(self) -> dict[str, Any]:
        """What it was asked so far: requests by kind, responses by status, requests in flight."""
        with urlopen(f"{self.url}/_stats") as response:
            found: dict[str, Any] = json.load(response)
        return found

    def requests(self) -> dict[str, int]:
        """Requests so far, by kind."""
        counted: dict[str, int] = self.stats()["requests"]
        return counted


def start_server(*arguments: str) -> Server:
    """Starts a local Earth Engine; it ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "eechips.emulator", "--port", "0", "--exit-with-parent", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"The local Earth Engine did not start: exit status {process.wait()}.")
    return Server(json.loads(line)["url"], process)


def stop_server(server: Server) -> None:
    """Closes its standard input and waits for it."""
    with server.process as process:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


@contextmanager
def held(server: Server, count: int) -> Iterator[None]:
    """So many computations are in flight inside the block, for certain: they get no answer, and then hang up."""
    faults = json.dumps({"seed": 0, "faults": [{"type": "stall", "times": count}]}).encode()
    with urlopen(Request(f"{server.url}/_faults", faults, {"Content-Type": "application/json"})):
        pass
    parts = urlsplit(server.url)
    body = b'{"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}'
    head = (
        f"POST /v1/projects/local/value:compute HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=60))
            connection.sendall(head.encode() + body)
        wait_until(lambda: server.stats()["in_flight"]["now"] == count)
        yield
    wait_until(lambda: server.stats()["in_flight"]["now"] == 0)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, for a minute at most."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Server]]:
    """Starts local Earth Engines with the arguments of ``python -m eechips.emulator``, one for each set of them."""
    running: dict[tuple[str, ...], Server] = {}
    with ExitStack() as stack:

        def start(*arguments: str) -> Server:
            if arguments not in running:
                running[arguments] = start_server(*arguments)
                stack.callback(stop_server, running[arguments])
            return running[arguments]

        yield start


@pytest.fixture(scope="session")
def demo_server(serve: Callable[..., Server]) -> Server:
    """The demo planet without a quota."""
    return serve("--rate", "none", "--concurrency", "none")


def initialize(server: Server) -> Any:
    """Points the real client at a server."""
    import ee
    from google.auth.credentials import AnonymousCredentials

    ee.Reset()
    ee.Initialize(AnonymousCredentials(), url=server.url, project="local")
    ee.data.setMaxRetries(0)
    return ee


@pytest.fixture
def demo_ee(demo_server: Server) -> Any:
    """The real client, on the demo planet."""
    return initialize(demo_server)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real imagery beside the project."""
    if not (SHARED_DATA / "MANIFEST.csv").exists():
        pytest.skip("no real data: ../shared/data is missing")
    return SHARED_DATA


@pytest.fixture(scope="session")
def real_store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An asset store of the real imagery, for reading: all processes of pytest-xdist have the same."""
    from tests.integration.real_store import fill

    own = tmp_path_factory.getbasetemp()
    store = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "real-store"
    with store.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it takes ten seconds: the others wait for the first
        if not store.exists():
            made = tmp_path_factory.mktemp("assets")
            fill(made, real_data)
            made.rename(store)
    return store


@pytest.fixture(scope="session")
def real_server(real_store: Path, serve: Callable[..., Server]) -> Server:
    """The real data alone, without a quota."""
    return serve("--assets", str(real_store), "--no-demo", "--rate", "none", "--concurrency", "none")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A small asset store, and the arrays that are in it."""
    from tests.integration import stack_store

    return stack_store.fill(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="session")
def stack_server(stack: Stack, serve: Callable[..., Server]) -> Server:
    """The small store alone, without a quota."""
    return serve("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none", "--workers", "2")
