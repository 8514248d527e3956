"""Fixtures: a server with a folder of assets that clients may change, the real client, and a new folder there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from local_tests.support.export_tasks import Folders, export_server
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import Stack

ROOT = "projects/some-project/assets"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return the folders of the server."""
    return Folders(tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def server(serve: Callable[..., Server], stack: Stack, folders: Folders) -> Server:
    """Serve the small store, with two workers, and a folder that clients may change."""
    return export_server(serve, stack, folders, "--workers", "2")


@pytest.fixture
def ee(server: Server) -> Any:
    """Return the real client, connected to the server."""
    return initialize(server)


@pytest.fixture
def home(ee: Any) -> str:
    """Return the id of a new folder."""
    found = f"{ROOT}/f{uuid.uuid4().hex}"
    ee.data.createFolder(found)
    return found
