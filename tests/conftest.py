"""What all tests share: the local Earth Engine as a process of its own, the real client, the real data."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.engine_service import Service, serving
from tests.support.local_earth_engine import Server, initialize, start_server, stop_server

if TYPE_CHECKING:
    from tests.support.stack_store import Stack

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
    from tests.support.real_store import fill

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
    from tests.support import stack_store

    return stack_store.fill(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="session")
def stack_server(stack: Stack, serve: Callable[..., Server]) -> Server:
    """The small store alone, without a quota."""
    return serve("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none", "--workers", "2")


@pytest.fixture
def service() -> Iterator[Service]:
    """A small service that can be told to fail, for one test."""
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """The same for all tests of a module."""
    with serving() as found:
        yield found
