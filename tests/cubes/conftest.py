"""Fixtures of cubes: a cache of their own, and connections that end with each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_tests.support.local_earth_engine import Server, initialize


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a user's cache, in which its processes share the quota, too."""
    from eechips.cubes.cube_service import close_services

    folder = tmp_path / "cache"
    monkeypatch.setenv("EECHIPS_CACHE", str(folder))
    yield folder
    close_services()


@pytest.fixture
def stack_ee(stack_server: Server) -> Any:
    """Return the real client, connected to a small store."""
    return initialize(stack_server)
