"""Servers over the real data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.integration.real_store import fill


@pytest.fixture(scope="session")
def real_store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An asset store of the real imagery."""
    store = tmp_path_factory.mktemp("assets")
    fill(store, real_data)
    return store


@pytest.fixture(scope="session")
def real_server(real_store: Path, serve: Callable[..., Server]) -> Server:
    """The real data alone, without a quota."""
    return serve("--assets", str(real_store), "--no-demo", "--rate", "none", "--concurrency", "none")
