"""Changes that are cut short, and changes at once: an asset has one id, no asset is lost, and quotas hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from eechips_local.assets import FolderStore, ingest
from eechips_local.assets.asset_changes import AssetChanges
from eechips_local.assets.asset_errors import AssetError, AssetExistsError, QuotaExceededError
from eechips_local.assets.ingestion.asset_ingestion import IngestTask
from eechips_local.assets.ingestion.image_plans import ImagePlanner
from eechips_local.assets.ingestion.raster_files import RasterFiles
from local_tests.support.export_tasks import Folders, export_server, finished
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import CRS, STACK, TRANSFORM, Stack

ROOT = "projects/p/assets"
MOVE = """
import os, signal, sys
from pathlib import Path
from eechips_local.assets import asset_changes
from eechips_local.assets.ingestion import publish

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(*{"put": (asset_changes, "put"), "withdraw": (asset_changes, "withdraw"), "files": (publish, "_remove_all"),
          "journal": (publish, "remove")}[sys.argv[1]], die)
asset_changes.AssetChanges(Path(sys.argv[2])).move(sys.argv[3], sys.argv[4])
"""


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    path = tmp_path / "image.tif"
    grid = {"crs": CRS, "transform": TRANSFORM, "width": 64, "height": 64, "count": 1, "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", **grid) as file:
        file.write(np.random.default_rng(3).integers(0, 60_000, (1, 64, 64)).astype("uint16"))
    return path


@pytest.fixture
def folder(tmp_path: Path, raster: Path) -> Path:
    """Return a folder of assets with a collection of two images."""
    for name in "ab":
        ingest(raster, tmp_path / "assets", f"{ROOT}/images/{name}")
    return tmp_path / "assets"


def ids(folder: Path) -> list[str]:
    """The ids that clients see below the root."""
    with closing(FolderStore(folder)) as store:

        def below(parent: str) -> list[str]:
            return [found for child in store.children(parent) for found in (child, *below(child))]

        return sorted(name.removeprefix(f"{ROOT}/") for name in below(ROOT))


def cut_short(where: str, folder: Path, source: str, target: str) -> None:
    command = [sys.executable, "-c", MOVE, where, str(folder), f"{ROOT}/{source}", f"{ROOT}/{target}"]
    assert subprocess.run(command).returncode == -9


OLD, NEW = ["images", "images/a", "images/b"], ["moved", "moved/a", "moved/b"]
READERS: dict[str, Callable[[Path, Path], object]] = {
    "the next server": lambda folder, raster: AssetChanges(folder).recover(),
    "the next change": lambda folder, raster: AssetChanges(folder).create(f"{ROOT}/new", "folder", {}),
    "the next ingestion": lambda folder, raster: ingest(raster, folder, f"{ROOT}/new"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "reader",
    ["the next server", *(pytest.param(name, marks=pytest.mark.slow) for name in READERS if name != "the next server")],
)
@pytest.mark.parametrize(
    ("where", "seen", "wanted"),
    [
        pytest.param("put", OLD, OLD, marks=pytest.mark.slow),
        ("withdraw", OLD + NEW, NEW),
        pytest.param("files", NEW, NEW, marks=pytest.mark.slow),
    ],
)
def test_a_move_that_was_cut_short_leaves_one_id(
    folder: Path, raster: Path, where: str, seen: list[str], wanted: list[str], reader: str
) -> None:
    cut_short(where, folder, "images", "moved")
    assert ids(folder) == seen
    READERS[reader](folder, raster)
    assert [name for name in ids(folder) if name != "new"] == wanted
    assert not (folder / ".move.json").exists()
    with closing(FolderStore(folder)) as store:
        found = store.get(f"{ROOT}/{wanted[1]}")
        assert found is not None


@pytest.mark.slow
def test_an_asset_that_is_made_under_the_new_id_later_is_no_reason_to_remove_the_old_one(
    folder: Path, raster: Path
) -> None:
    cut_short("put", folder, "images/a", "images/c")
    ingest(raster, folder, f"{ROOT}/images/c")
    AssetChanges(folder).recover()
    assert ids(folder) == [*OLD, "images/c"]


@pytest.mark.slow
def test_a_server_that_starts_finishes_a_move(
    serve: Callable[..., Server], stack: Stack, tmp_path: Path, folder: Path
) -> None:
    cut_short("withdraw", folder, "images", "moved")
    ee: Any = initialize(export_server(serve, stack, Folders(tmp_path)))
    found = ee.data.listAssets(ROOT)["assets"]
    assert [asset["name"] for asset in found] == [f"{ROOT}/moved"]


def make(folder: Path, raster: Path, name: str, overwrite: bool, **limits: int) -> Callable[[], list[str]]:
    """Return the ingestion of an image, which has been checked already."""
    admit = AssetChanges(folder, **limits).admit
    task = IngestTask(folder, {}, 1, overwrite=overwrite, admit=admit)

    def run() -> list[str]:
        with RasterFiles() as rasters:
            plans = ImagePlanner(rasters, None, None, None, None).images({f"{ROOT}/{name}": raster}, {}, {})
            return task.run("image", {plan.id: partial(task.image, rasters, plan) for plan in plans})

    return run


@pytest.mark.parametrize(
    ("limits", "error"), [({"most_assets": 4}, "Asset count quota"), ({"most_bytes": 30_000}, "Asset storage quota")]
)
def test_of_two_ingestions_that_were_checked_the_second_must_fit_when_it_is_published(
    folder: Path, raster: Path, limits: dict[str, int], error: str
) -> None:
    first, second = (make(folder, raster, name, False, **limits) for name in ("c", "d"))
    assert first() == [f"{ROOT}/c"]
    with pytest.raises(QuotaExceededError, match=error):
        second()
    assert ids(folder) == ["c", *OLD]
    assert not list(folder.rglob("d"))
    make(folder, raster, "c", True, **limits)()  # what it replaces counts no more


def test_of_two_ingestions_under_one_id_the_second_replaces_nothing(folder: Path, raster: Path) -> None:
    first, second = (make(folder, raster, "c", False) for _ in range(2))
    first()
    with pytest.raises(AssetExistsError, match="Cannot overwrite asset"):
        second()
    assert issubclass(AssetExistsError, AssetError)
    assert ids(folder) == ["c", *OLD]


@pytest.mark.slow
def test_of_several_exports_at_once_one_makes_the_asset(
    serve: Callable[..., Server], stack: Stack, tmp_path: Path
) -> None:
    ee: Any = initialize(export_server(serve, stack, Folders(tmp_path), "--exports", "4", "--asset-count", "2"))
    one = [ee.batch.Export.image.toAsset(ee.Image(f"{STACK}/image_{n}"), "x", f"{ROOT}/one") for n in range(4)]
    for task in one:
        task.start()
    states = [finished(task) for task in one]
    assert sorted(status["state"] for status in states) == ["COMPLETED", *["FAILED"] * 3]
    name = f"projects/earthengine-legacy/assets/{ROOT}/one"  # as the client names ids of projects of this form
    assert {status.get("error_message") for status in states} == {None, f"Cannot overwrite asset '{name}'."}
    others = [ee.batch.Export.image.toAsset(ee.Image(f"{STACK}/image_{n}"), "x", f"{ROOT}/n{n}") for n in range(4)]
    for task in others:
        task.start()
    states = [finished(task) for task in others]
    assert sorted(status["state"] for status in states) == ["COMPLETED", *["FAILED"] * 3]
    assert ee.data.getAssetRootQuota(ROOT)["asset_count"]["usage"] == 2
