"""Fixtures of the tests of scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scene_runs import write
from tests.support.scene_servers import FileServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write six files to serve."""
    for number in range(6):
        write(tmp_path / "files" / f"s{number}.tif", number)
    return tmp_path / "files"


@pytest.fixture
def server(folder: Path) -> Iterator[FileServer]:
    """Serve the files without faults."""
    with FileServer(folder) as found:
        yield found
