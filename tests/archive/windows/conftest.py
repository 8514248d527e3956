"""A bucket of rasters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.raster_server import Bucket, serving_bucket


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Serve an empty folder, to which the environment leads those who read from S3."""
    folder = tmp_path / "bucket"
    folder.mkdir()
    with serving_bucket(folder) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        yield served
