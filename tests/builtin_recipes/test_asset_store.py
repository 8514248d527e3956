"""The process that puts scenes into asset stores, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eechips.archive.scenes.assembly import open_store
from eechips.errors import StorageError, UsageError
from eechips_local.assets import FolderStore
from tests.support.scene_servers import item


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    grid = {"crs": "EPSG:32613", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 4_430_000)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=64, height=64, count=1, dtype="uint16", **grid
    ) as file:
        file.write(np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64))
    found = item("a", {"data": {"href": "a.tif", "type": "image/tiff"}})
    path = tmp_path / "a.json"
    path.write_text(json.dumps(found))
    return path


@pytest.mark.slow
def test_scenes_become_assets_and_failures_are_raised(scene: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as put:
        put(scene, "archive/a", ("data",))
        with pytest.raises(UsageError, match="missing"):
            put(tmp_path / "missing.json", "archive/b", ("data",))
        with pytest.raises(UsageError, match=r"\.\."):
            put(scene, "../outside", ("data",))
        put(scene, "archive/c", ("data",))
    with FolderStore(tmp_path / "store") as store:
        assert list(store.children("archive")) == ["archive/a", "archive/c"]


@pytest.mark.slow
def test_an_ended_process_is_reported(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with open_store(tmp_path / "file" / "store") as put, pytest.raises((UsageError, StorageError), match="file"):
        put(scene, "archive/a", ("data",))
