"""Fixtures of local Earth Engines: the demo planet, the real data, a small store. Conftests register them."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local_tests.support import captured_log
from local_tests.support.local_earth_engine import Host, Server, hosting, initialize
from local_tests.support.suite_recording import SUITE_RECORDING, SuiteRecording

if TYPE_CHECKING:
    from local_tests.support.stack_store import Stack

SHARED_DATA = Path(__file__).resolve().parents[5] / "shared" / "data"


def register_fixtures(config: pytest.Config) -> None:
    """Register these fixtures and the log's, once for all folders: of what conftests import, each has its own."""
    for module in (sys.modules[__name__], captured_log):
        if not config.pluginmanager.is_registered(module):
            config.pluginmanager.register(module)


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """Run a process for local Earth Engines. Tests of processes start their own, by `start_server`."""
    with hosting() as found:
        yield found


@pytest.fixture(scope="session")
def serve(request: pytest.FixtureRequest, host: Host) -> Callable[..., Server]:
    """Start local Earth Engines by arguments of ``eechips_local.run_server``, one for each set of arguments."""
    recording: SuiteRecording | None = request.config.pluginmanager.get_plugin(SUITE_RECORDING)
    return cache(host.start) if recording is None else recording.start_by(host.start)


@pytest.fixture
def serve_briefly(host: Host) -> Iterator[Callable[..., Server]]:
    """Start local Earth Engines for one test, without recording them."""
    started: list[Server] = []

    def start(*arguments: str) -> Server:
        started.append(host.start(*arguments))
        return started[-1]

    yield start
    for server in started:
        host.stop(server)  # again, perhaps: a test may have stopped it


@pytest.fixture(scope="session")
def demo_server(serve: Callable[..., Server]) -> Server:
    """Serve the demo planet without a quota."""
    return serve("--rate", "none", "--concurrency", "none")


@pytest.fixture
def demo_ee(demo_server: Server) -> Any:
    """Return the real client, connected to the demo planet."""
    return initialize(demo_server)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real imagery beside the project."""
    if not (SHARED_DATA / "MANIFEST.csv").exists():
        pytest.skip("no real data: ../shared/data is missing")
    return SHARED_DATA


def fill_once(name: str, fill: Callable[[Path, Path], None], data: Path, folders: pytest.TempPathFactory) -> Path:
    """Return a folder that one process of pytest-xdist has filled from data; the others wait, and share it."""
    own = folders.getbasetemp()
    store = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with store.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not store.exists():
            made = folders.mktemp("assets")
            fill(made, data)
            made.rename(store)
    return store


@pytest.fixture(scope="session")
def real_store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an asset store of the real imagery, for reading. To make it takes ten seconds, for 811 dates."""
    from local_tests.support.real_store import fill

    return fill_once("real-store", fill, real_data, tmp_path_factory)


@pytest.fixture(scope="session")
def real_server(real_store: Path, serve: Callable[..., Server]) -> Server:
    """Serve the real data alone, without a quota."""
    return serve("--assets", str(real_store), "--no-demo", "--rate", "none", "--concurrency", "none")


@pytest.fixture(scope="session")
def photograph_server(
    real_data: Path, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Server:
    """Serve the real photographs and ecoregions alone, without a quota."""
    from local_tests.support.real_store import fill_photographs

    store = fill_once("photograph-store", fill_photographs, real_data, tmp_path_factory)
    return serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """Return a small asset store and the arrays in it."""
    from local_tests.support import stack_store

    return stack_store.fill(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="session")
def stack_server(stack: Stack, serve: Callable[..., Server]) -> Server:
    """Serve the small store alone, without a quota."""
    return serve("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none")
