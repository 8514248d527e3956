"""Servers over the real data, and services that fail as planned."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.engine_service import Service, serving
from tests.integration import stack_store
from tests.integration.real_store import fill
from tests.integration.stack_store import Stack


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


@pytest.fixture(scope="session")
def real_store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An asset store of the real imagery, for reading: all processes of pytest-xdist have the same."""
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
    return stack_store.fill(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="session")
def stack_server(stack: Stack, serve: Callable[..., Server]) -> Server:
    """The small store alone, without a quota."""
    return serve("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none", "--workers", "2")
