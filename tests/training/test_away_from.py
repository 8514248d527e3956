"""``eechips split --away-from``: no chip of a test set is near the footprints of other data."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Geod, Transformer

import eechips
from eechips.errors import LeakageError, RegionError, UsageError
from eechips.formats import geotiff
from eechips.training.sample_reader import read_samples
from eechips.training.splits import split_table
from eechips.training.splits.splitting import check_splits
from tests.support.commands import run_command
from tests.support.finished_run import Files, pictures, write_run

Unit = tuple[dict[str, object], Files]
GEOD = Geod(ellps="WGS84")
EDGE = 640.0


def chip(east: float, north: float, epsg: int = 32613) -> Unit:
    """A unit whose GeoTIFF is 640 m wide, at coordinates in metres of a UTM zone."""
    values = np.full((1, 8, 8), 7, dtype=np.uint8)
    grid = Affine(80.0, 0.0, east, 0.0, -80.0, north)
    data = geotiff.encode(values, np.ones((8, 8), dtype=bool), ("B1",), rasterio.crs.CRS.from_epsg(epsg), grid)
    return {"kind": "point", "coordinates": [east, north], "epsg": epsg}, {"": ("tif", data)}


def corners(count: int, seed: int) -> list[tuple[float, float]]:
    draw = np.random.default_rng(seed)
    return [(float(x), float(y)) for x, y in draw.integers(0, 1000, (count, 2)) * 80.0 + [400_000.0, 4_400_000.0]]


OWN, OTHER = corners(300, 1), corners(200, 2)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_run(folder, [chip(*place) for place in OWN])
    return folder


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A run of 300 chips."""
    return Path(shutil.copytree(original, tmp_path / "run"))


def apart(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Metres between two squares of one plane, which is 0.04% too small there at most."""
    dx, dy = (max(abs(a - b) - EDGE, 0.0) for a, b in zip(one, other, strict=True))
    return float(np.hypot(dx, dy))


def near(metres: float) -> set[int]:
    """Numbers of chips nearer than a distance to another data set's, in the plane of UTM."""
    return {i for i, own in enumerate(OWN) if any(apart(own, other) < metres * 0.9996 for other in OTHER)}


def overlapping() -> set[int]:
    return {
        i
        for i, own in enumerate(OWN)
        if any(max(abs(own[0] - other[0]), abs(own[1] - other[1])) < EDGE - 0.5 for other in OTHER)
    }


def write_footprints(path: Path) -> Path:
    """The other data set's squares, reprojected by PROJ, by GeoPandas."""
    squares = [shapely.box(x, y - EDGE, x + EDGE, y) for x, y in OTHER]
    frame = gpd.GeoDataFrame({"n": range(len(squares))}, geometry=squares, crs=32613)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".geojson":
        frame.to_crs(4326).to_file(path)
    else:
        frame.to_file(path)
    return path


def left_out(folder: Path) -> set[int]:
    table = split_table.table(folder)
    return set(np.flatnonzero(table["split"] == "none").tolist())


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".parquet", ".geojson", ".gpkg"])
def test_chips_that_overlap_other_footprints_are_left_out_and_counted(run: Path, suffix: str) -> None:
    path = write_footprints(run.parent / f"other{suffix}")
    done = run_command("split", run, "--by", "random", "--away-from", path, "--near", "drop", status=0)
    wanted = overlapping()
    assert 10 < len(wanted) < 100
    assert f"Near the footprints of other data: {len(wanted)} chips, left out" in done.output
    table = pd.read_parquet(run / "splits.parquet")
    assert set(np.flatnonzero(table["near_footprints"]).tolist()) == wanted
    assert wanted <= left_out(run)
    options = split_table.options(run)
    assert options["away_from"] == [str(path)]
    assert (options["distance"], options["away"], options["near_footprints"]) == (0.0, "drop", len(wanted))


@pytest.mark.slow
def test_the_distance_is_measured_between_edges_and_ratios_hold_for_the_rest(run: Path) -> None:
    path = write_footprints(run.parent / "other.parquet")
    found = eechips.split(run, by="random", away_from=path, distance="2km", near="drop", ratios="0.5,0.5")
    wanted = near(2_000.0)
    assert len(overlapping()) < len(wanted) < 250
    assert found.near_footprints == len(wanted)
    table = split_table.table(run)
    assert set(np.flatnonzero(table["near_footprints"]).tolist()) == wanted
    rest = table.loc[~table["near_footprints"], "home"].value_counts()
    assert rest["train"] == pytest.approx((300 - len(wanted)) / 2, abs=1)


@pytest.mark.slow
def test_the_footprints_may_be_those_of_another_run(run: Path) -> None:
    write_run(run.parent / "other", [chip(*place) for place in OTHER])
    found = eechips.split(run, by="random", away_from=run.parent / "other", distance="1km", near="drop")
    assert set(np.flatnonzero(found.splits["near_footprints"]).tolist()) == near(1_000.0)


@pytest.mark.slow
def test_blocks_near_the_footprints_may_be_in_the_training_split(run: Path) -> None:
    path = write_footprints(run.parent / "other.parquet")
    done = run_command(
        *("split", run, "--block-size", "4km", "--ratios", "a=1,train=2", "--near", "drop"),
        *("--away-from", path, "--distance", "500m", "--away", "train"),
        status=0,
    )
    table = split_table.table(run)
    wanted = near(500.0)
    assert f"Near the footprints of other data: {len(wanted)} chips, left out, or in train" in done.output
    blocks = set(table["block"].iloc[sorted(wanted)])
    assert set(table.loc[table["block"].isin(blocks), "home"]) == {"train"}
    assert set(table["split"].iloc[sorted(wanted)]) <= {"train", "none"}
    assert (table["split"] == "a").sum() > 20


@pytest.mark.slow
def test_chips_that_come_later_move_no_others_to_the_training_split(tmp_path: Path) -> None:
    path = write_footprints(tmp_path / "other.parquet")
    options = {"block_size": "8km", "ratios": "1,1", "near": "drop", "away_from": path, "away": "train"}
    write_run(tmp_path / "few", [chip(*OWN[n]) for n in range(300) if n not in overlapping()])
    eechips.split(tmp_path / "few", **options)
    before = split_table.table(tmp_path / "few")
    write_run(tmp_path / "many", [chip(*place) for place in OWN])
    shutil.copy(tmp_path / "few" / "splits.parquet", tmp_path / "many")
    found = eechips.split(tmp_path / "many", **options)
    after = split_table.table(tmp_path / "many")
    assert after.loc[before.index, "home"].tolist() == before["home"].tolist()
    near_table = after[after["near_footprints"]]
    assert found.near_footprints == len(near_table) == len(overlapping())
    assert set(near_table["split"]) == {"none", "train"}
    assert "test" in set(near_table["home"])
    eechips.split(tmp_path / "many", **{**options, "distance": "1m"})
    moved = split_table.table(tmp_path / "many")
    assert set(moved.loc[moved["near_footprints"], "home"]) == {"train"}


@pytest.mark.slow
def test_by_time_chips_of_later_splits_near_the_footprints_are_left_out(tmp_path: Path) -> None:
    units = [
        ({**unit, "date": f"20{10 + n % 10}-06-01"}, files)
        for n, (unit, files) in enumerate(chip(*place) for place in OWN)
    ]
    run = write_run(tmp_path / "run", units).path
    path = write_footprints(tmp_path / "other.parquet")
    eechips.split(run, by="time", date_field="date", away_from=path, away="train", ratios="0.5,0.5")
    table = split_table.table(run)
    late = {n for n in overlapping() if n % 10 >= 5}
    assert left_out(run) == late
    assert set(table["split"].iloc[sorted(overlapping() - late)]) == {"train"}


@pytest.mark.slow
def test_the_antimeridian_is_no_border(tmp_path: Path) -> None:
    west = Transformer.from_crs(4326, 32601, always_xy=True).transform(-179.99, 10.0)
    east = Transformer.from_crs(4326, 32660, always_xy=True).transform(179.99, 10.0)
    places = [chip(*west, epsg=32601), chip(*east, epsg=32660)]
    places += [chip(west[0] + 50_000.0 * n, west[1], epsg=32601) for n in (1, 2)]
    run = write_run(tmp_path / "run", places).path
    # Some 1.1 km to the east and 1.1 km to the west of the point, less the width of the chip that begins in the east.
    gpd.GeoDataFrame(geometry=[shapely.Point(180.0, 9.999)], crs=4326).to_file(tmp_path / "point.geojson")
    to_west = GEOD.inv(-180.0, 9.999, -179.99, 9.999)[2]
    for distance, wanted in ((to_west + 2, {0, 1}), (to_west - 2, {1}), (to_west - EDGE - 40, set())):
        found = eechips.split(
            run, by="random", away_from=tmp_path / "point.geojson", distance=f"{distance}m", ratios="1,1", fresh=True
        )
        assert set(np.flatnonzero(found.splits["near_footprints"]).tolist()) == wanted


@pytest.mark.slow
def test_an_existing_split_can_be_checked_against_footprints(run: Path) -> None:
    path = write_footprints(run.parent / "other.parquet")
    eechips.split(run, by="random", near="drop")
    done = run_command("split", run, "--check", "--away-from", path, status=1)
    assert re.search(r"Leakage: \d+ chips of test, validation overlap footprints of the other data set", done.output)
    with pytest.raises(LeakageError, match="lie nearer than 1km to footprints of the other data set"):
        check_splits(run, away_from=path, distance="1km")
    eechips.split(run, by="random", near="drop", away_from=path, fresh=True)
    run_command("split", run, "--check", "--away-from", path, status=0)


@pytest.mark.slow
def test_several_data_sets_are_joined(run: Path) -> None:
    path = write_footprints(run.parent / "other.parquet")
    first, second = run.parent / "first.parquet", run.parent / "second.parquet"
    frame = gpd.read_parquet(path)
    frame[:30].to_parquet(first)
    frame[30:].to_parquet(second)
    run_command("split", run, "--by", "random", "--near", "drop", "--away-from", first, "--away-from", second, status=0)
    assert set(np.flatnonzero(split_table.table(run)["near_footprints"]).tolist()) == overlapping()


@pytest.mark.slow
def test_later_chips_keep_the_splits_of_earlier_ones(run: Path) -> None:
    path = write_footprints(run.parent / "other.parquet")
    eechips.split(run, by="random", away_from=path, near="drop")
    before = (run / "splits.parquet").read_bytes()
    found = eechips.split(run, by="random", away_from=path, near="drop")
    assert found.kept > 200
    assert (run / "splits.parquet").read_bytes() == before


@pytest.mark.parametrize("crs", [4326, 32613])
def test_a_footprint_without_area_has_a_distance(run: Path, tmp_path: Path, crs: int) -> None:
    """As of footprints that were rounded: a polygon of a chip's diagonal, which goes back on itself."""
    (x, y), path = OWN[0], tmp_path / "flat.parquet"
    diagonal = shapely.Polygon([(x, y), (x + EDGE, y - EDGE), (x, y), (x, y)])
    far = shapely.box(300_000.0, 4_300_000.0, 300_640.0, 4_300_640.0)
    gpd.GeoDataFrame(geometry=[far, diagonal], crs=32613).to_crs(crs).to_parquet(path)
    line = shapely.LineString([(x, y), (x + EDGE, y - EDGE)])
    expected = {
        i for i, (east, north) in enumerate(OWN) if line.intersects(shapely.box(east, north - EDGE, east + EDGE, north))
    }
    found = eechips.split(run, by="random", away_from=path, near="drop")
    assert 0 in expected
    assert set(np.flatnonzero(found.splits["near_footprints"]).tolist()) == expected


@pytest.mark.slow
def test_what_cannot_be_measured_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="distance needs away_from"):
        eechips.split(run, distance="1km")
    with pytest.raises(RegionError, match="there is no file"):
        eechips.split(run, away_from=tmp_path / "none.parquet")
    with pytest.raises(UsageError, match="neither the folder of a run nor a vector file"):
        eechips.split(run, away_from=tmp_path)
    unplaced = write_run(tmp_path / "unplaced", pictures(4)).path
    with pytest.raises(UsageError, match="4 of 4 results have no crs and transform"):
        eechips.split(unplaced, by="random", away_from=write_footprints(tmp_path / "other.parquet"))
    gpd.GeoDataFrame(geometry=[shapely.box(-180, -90, 180, 90)], crs=4326).to_parquet(tmp_path / "all.parquet")
    with pytest.raises(UsageError, match="all chips are near the footprints"):
        eechips.split(run, away_from=tmp_path / "all.parquet")
    with pytest.raises(UsageError, match="no chips are left in"):
        eechips.split(run, away_from=tmp_path / "all.parquet", away="train")
    assert not (run / "splits.parquet").exists()
    assert read_samples(run).splits == [None] * 300
