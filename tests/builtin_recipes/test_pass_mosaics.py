"""``eechips images --mosaic-by``: tiles of one pass as one image, against rasterio.merge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from rasterio.merge import merge

import eechips
from eechips.errors import UsageError
from eechips_local.assets import ingest
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff

S2, OWN = "COPERNICUS/S2_SR_HARMONIZED", "users/someone/tiles"
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_400_000)
SIZE = 100
ROI = "-104.9999,39.7355,-104.9807,39.7475"
# Tile, time, platform and orbit of each image. Tiles of a pass overlap; one pass goes on after midnight.
IMAGES = (
    ("west", "2020-06-04T17:50:00", "Sentinel-2A", 13),
    ("east", "2020-06-04T17:50:15", "Sentinel-2A", 13),
    ("west", "2020-06-04T18:10:00", "Sentinel-2B", 56),
    ("west", "2020-06-14T23:59:50", "Sentinel-2A", 13),
    ("east", "2020-06-15T00:00:05", "Sentinel-2A", 13),
    ("east", "2020-06-24T17:50:00", "Sentinel-2A", 13),
)
DAYS, ORBITS = ((0, 1), (2,), (3,), (4,), (5,)), ((0, 1), (2,), (3, 4), (5,))
COLUMNS = {"west": 0, "east": 70}  # of the first pixel of a tile


def tile(number: int) -> npt.NDArray[np.uint16]:
    """Pixels of an image; 0 is no data, which has another place in every image."""
    values = np.random.default_rng(number).integers(1, 10_000, (1, SIZE, SIZE), dtype=np.uint16)
    values[0, 10 * number : 10 * number + 25, 5:90] = 0
    return values


def path_of(folder: Path, number: int) -> Path:
    return folder / f"{number}.tif"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as files."""
    folder = tmp_path_factory.mktemp("tiles")
    for number, (name, *_) in enumerate(IMAGES):
        transform = TRANSFORM * Affine.translation(COLUMNS[name], 0)
        write_geotiff(path_of(folder, number), "EPSG:32613", transform, tile(number), nodata=0)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, serve: Callable[..., Server]) -> Server:
    store = folder / "store"
    for number, (name, time, platform, orbit) in enumerate(IMAGES):
        about = {"SPACECRAFT_NAME": platform, "SENSING_ORBIT_NUMBER": orbit}
        for dataset, properties in ((S2, about), (OWN, {"SPACECRAFT_NAME": platform})):
            asset = f"{dataset}/{number}_{name}"
            ingest(path_of(folder, number), store, asset, bands=["B4"], time_start=time, properties=properties)
    return serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")


def fetch(server: Server, out: Path, dataset: str = S2, **options: Any) -> eechips.Run:
    given: dict[str, Any] = {"bands": "B4", "executor": "threads", "quiet": True, "rate": None, "roi": ROI}
    return eechips.images(dataset, endpoint=server.url, out=out, **{**given, **options})


def check_merged(run: eechips.Run, row: Any, folder: Path, numbers: tuple[int, ...]) -> None:
    """Check a file against rasterio.merge, with the latest image on top."""
    latest_first = [path_of(folder, number) for number in reversed(numbers)]
    with rasterio.open(run.path / row["file"]) as file:
        values, valid = file.read(1), file.read_masks(1) > 0
        merged, transform = merge(latest_first, bounds=tuple(file.bounds), res=10, nodata=0)
        assert transform.almost_equals(file.transform)
    np.testing.assert_array_equal(valid, merged[0] != 0)
    np.testing.assert_array_equal(values[valid], merged[0][valid])
    assert row["valid_fraction"] == pytest.approx((merged[0] != 0).mean())
    assert list(row["sources"]) == [f"{S2}/{number}_{IMAGES[number][0]}" for number in numbers]
    assert list(row["dates"]) == [f"{IMAGES[number][1]}Z" for number in numbers]


@pytest.mark.slow
@pytest.mark.parametrize(("by", "passes"), [("day", DAYS), ("orbit", ORBITS)])
def test_tiles_of_a_pass_are_one_file(
    server: Server, folder: Path, tmp_path: Path, by: str, passes: tuple[tuple[int, ...], ...]
) -> None:
    run = fetch(server, tmp_path / "run", mosaic_by=by)
    assert set(run.units["state"]) == {"done"}
    assert run.units["transform"].map(tuple).nunique() == 1
    for (_, row), numbers in zip(run.units.iterrows(), passes, strict=True):
        first = numbers[0]
        assert row["file"] == f"images/{IMAGES[first][1][:10]}_{first}_{IMAGES[first][0]}.tif"
        check_merged(run, row, folder, numbers)
    assert run.verify() == []


@pytest.mark.slow
def test_passes_cost_no_request_and_other_runs_keep_their_plan(server: Server, tmp_path: Path) -> None:
    def planned(out: str, **options: Any) -> int:
        before = sum(server.requests().values())
        fetch(server, tmp_path / out, dry_run=True, **options)
        return int(sum(server.requests().values()) - before)

    assert planned("passes", mosaic_by="orbit") == planned("images")
    run = fetch(server, tmp_path / "run", limit=2)
    assert [unit.keys() for unit in run.units["unit"]] == [{"kind", "image", "date", "time", "grid"}] * 2
    assert "mosaic_by" not in run.info["parameters"]
    with pytest.raises(UsageError, match="mosaic_by"):
        fetch(server, tmp_path / "run", limit=2, mosaic_by="day")


@pytest.mark.slow
def test_each_region_has_its_passes(server: Server, folder: Path, tmp_path: Path) -> None:
    boxes = {"both": (-104.995, 39.74, -104.989, 39.746), "east": (-104.987, 39.74, -104.982, 39.746)}
    regions = tmp_path / "regions.geojson"
    features = [
        f'{{"type": "Feature", "properties": {{"id": "{name}"}}, "geometry": {shapely.to_geojson(shapely.box(*box))}}}'
        for name, box in boxes.items()
    ]
    regions.write_text(f'{{"type": "FeatureCollection", "features": [{", ".join(features)}]}}')
    run = fetch(server, tmp_path / "run", roi=None, regions=str(regions), columns="id=id", mosaic_by="orbit", limit=3)
    rows = run.units
    passes = {"both": ((0, 1), (2,), (3, 4)), "east": ((1,), (4,), (5,))}
    for region, each in passes.items():
        there = rows[rows["unit"].map(lambda unit, region=region: unit["region"] == region)]
        for (_, row), numbers in zip(there.iterrows(), each, strict=True):
            check_merged(run, row, folder, numbers)


@pytest.mark.slow
def test_a_mosaic_whose_images_become_more_is_said_and_kept(
    server: Server, folder: Path, tmp_path: Path, caplog: CapturedLog
) -> None:
    """The dates of the run end within a pass: a later extension finds a tile of the same pass."""
    options: dict[str, Any] = {"mosaic_by": "orbit", "start": "2020-06-01"}
    run = fetch(server, tmp_path / "run", end="2020-06-15", **options)
    assert len(run.units) == 3
    kept = (run.path / run.units["file"][2]).read_bytes()
    again = fetch(server, tmp_path / "run", end="2020-07-01", extend=True, **options)
    assert "The mosaic of 2020-06-14 would have 2 images now, not 1: its file is kept" in caplog.text
    assert len(again.units) == 4
    assert (run.path / again.units["file"][2]).read_bytes() == kept
    check_merged(again, again.units.iloc[3], folder, (5,))


@pytest.mark.slow
def test_tiles_of_two_utm_zones_are_on_the_pixels_of_most(
    tmp_path: Path, folder: Path, serve: Callable[..., Server]
) -> None:
    """Pixels of the other zone are the nearest ones."""
    west, store = path_of(folder, 0), tmp_path / "store"
    other = Affine(10, 0, -13_403, 0, -10, 4_417_004)  # of zone 14, over the east
    path, values = tmp_path / "other.tif", np.arange(1, 400 * 300 + 1, dtype=np.int64).reshape(1, 300, 400) % 60_000 + 1
    write_geotiff(path, "EPSG:32614", other, values.astype(np.uint16))
    for name, file, second in (("a", path, 10), ("b", west, 20), ("c", path_of(folder, 1), 30)):
        time = f"2020-06-04T17:50:{second}"
        ingest(file, store, f"{OWN}/{name}", bands=["B4"], time_start=time)
    server = serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")
    run = fetch(server, tmp_path / "run", OWN, mosaic_by="day")
    (row,) = run.units.to_dict("records")
    assert len(row["sources"]) == 3
    with rasterio.open(run.path / row["file"]) as file:
        shown, valid = file.read(1), file.read_masks(1) > 0
        merged, _ = merge([path_of(folder, 1), west], bounds=tuple(file.bounds), res=10, nodata=0)
        columns, lines = np.meshgrid(np.arange(file.width) + 0.5, np.arange(file.height) + 0.5)
        xs, ys = file.transform * (columns.ravel(), lines.ravel())
        assert file.crs == "EPSG:32613"
    places = np.array(~other * np.array(rasterio.warp.transform("EPSG:32613", "EPSG:32614", xs, ys)))
    column, line = (np.floor(each).astype(int).reshape(shown.shape) for each in places)
    inside = (column >= 0) & (column < 400) & (line >= 0) & (line < 300)
    below = values[0][np.where(inside, line, 0), np.where(inside, column, 0)]
    expected = np.where(merged[0] != 0, merged[0], np.where(inside, below, 0))
    assert 0 < np.count_nonzero(inside & (merged[0] == 0)) < inside.size
    np.testing.assert_array_equal(valid, expected != 0)
    np.testing.assert_array_equal(shown[valid], expected[valid])


@pytest.mark.slow
def test_a_collection_without_orbits_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the image 0_west of users/someone/tiles has no number of an orbit"):
        fetch(server, tmp_path / "run", OWN, mosaic_by="orbit")
    with pytest.raises(UsageError, match="`mosaic_by` is day or orbit, not 'week'"):
        fetch(server, tmp_path / "other", mosaic_by="week")
