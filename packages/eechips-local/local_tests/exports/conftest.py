"""Fixtures of exports: a server that exports into folders, the real client, and a name that nothing else has."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from local_tests.support.export_tasks import Folders, export_server
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import Stack


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return the folders of the server."""
    return Folders(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def server(serve: Callable[..., Server], stack: Stack, folders: Folders) -> Server:
    """Serve the small store, and export into the folders."""
    return export_server(serve, stack, folders)


@pytest.fixture
def ee(server: Server) -> Any:
    """Return the real client, connected to the server."""
    return initialize(server)


@pytest.fixture
def name() -> str:
    """Return a name for files."""
    return f"export_{uuid.uuid4().hex}"
