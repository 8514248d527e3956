"""Collections that change, for runs that are locked and rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from local_tests.support.local_earth_engine import Server
from tests.support.changing_images import Source


@pytest.fixture
def make_source(tmp_path: Path, serve_briefly: Callable[..., Server]) -> Callable[[int], Source]:
    def make(count: int) -> Source:
        (tmp_path / "source").mkdir()
        return Source(tmp_path / "source", count, serve_briefly)

    return make
