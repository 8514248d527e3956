"""A local Earth Engine of unusual rasters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_tests.comparisons.odd_rasters import fill
from local_tests.support.local_earth_engine import Server, initialize


@pytest.fixture(scope="session")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the rasters' files, ``NAME.tif``, and of the store."""
    folder = tmp_path_factory.mktemp("odd")
    fill(folder)
    return folder


@pytest.fixture(scope="session")
def odd_server(odd_folder: Path, serve: Callable[..., Server]) -> Server:
    """Serve the rasters alone, without a quota."""
    return serve("--assets", str(odd_folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")


@pytest.fixture
def ee(odd_server: Server) -> Any:
    """Return the real client, connected to the server of the rasters."""
    return initialize(odd_server)
