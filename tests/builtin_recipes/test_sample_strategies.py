"""The ways of ``eechips sample`` to choose places, over rasters of which every pixel is known."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from pystac.extensions.grid import GridExtension

import eechips
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.errors import RegionError, UnknownDatasetError, UsageError
from eechips.geo.crs import project, unproject
from eechips.geo.ellipsoid import great_circle
from eechips.geo.grid import Grid
from eechips.planning.areas.regions import parse_box
from eechips.planning.imagery.map_bands import MapName, fetch_map
from eechips.planning.sampling.cell_grids import MajorTomGrid
from eechips.planning.sampling.class_strata import ClassPool
from eechips.planning.sampling.stratified_draw import StratifiedDraw
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, initialize
from tests.support import coded_store
from tests.support.coded_store import LARGE, MAP, MASK, PLACES, ROOT, YEARS, Raster, classes, coded, large_classes

pytestmark = pytest.mark.slow

UTM = f"{ROOT}/utm"
CRS, TRANSFORM = PLACES["utm"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coded_store.fill(tmp_path_factory.mktemp("coded"))


@pytest.fixture(scope="module")
def server(store: Path, serve: Callable[..., Server]) -> Server:
    return serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")


def roi(width: int = 400, height: int = 300, transform: Affine = TRANSFORM) -> str:
    """A box within the raster."""
    corners = [transform * corner for corner in ((1, 1), (width - 1, 1), (1, height - 1), (width - 1, height - 1))]
    lon, lat = unproject(CRS, corners).T
    west, east = max(lon[0], lon[2]), min(lon[1], lon[3])
    return f"{west},{max(lat[2], lat[3])},{east},{min(lat[0], lat[1])}"


def plan(server: Server, **options: Any) -> list[dict[str, Any]]:
    initialize(server)
    return list(ChipSample(**{"dataset": UTM, "roi": roi(), "size": 8, "format": "tif", **options}).get_requests())


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    given = {
        "dataset": UTM,
        "roi": roi(),
        "size": 8,
        "format": "tif",
        "executor": "threads",
        "quiet": True,
        "rate": None,
    }
    return eechips.sample(endpoint=server.url, out=out, **{**given, **options})


def pixels(units: list[dict[str, Any]]) -> np.ndarray:
    """Columns and rows of the raster under the units' points."""
    xy = project(CRS, [unit["coordinates"] for unit in units])
    return np.floor(np.column_stack(~TRANSFORM * xy.T)).astype(int)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(("of", "truth"), [(MAP, classes()), (LARGE, large_classes())], ids=["small", "large"])
@pytest.mark.parametrize("count", [3, 30])
def test_every_class_has_exactly_its_points_on_its_pixels(
    server: Server, caplog: CapturedLog, of: str, truth: np.ndarray, count: int
) -> None:
    height, width = truth.shape
    box = roi(width, height)
    units = plan(server, per_class=f"{count}:{of}:value", roi=box)
    columns, rows = pixels(units).T
    assert truth[rows, columns].tolist() == [unit["class"] for unit in units]
    assert len(set(zip(columns.tolist(), rows.tolist(), strict=True))) == len(units), "a pixel comes twice"
    west, south, east, north = map(float, box.split(","))
    there = {}
    for number in np.unique(truth[truth > 0]).tolist():
        all_rows, all_columns = np.nonzero(truth == number)
        step = max(1, len(all_rows) // 5000)  # enough of the common ones
        all_rows, all_columns = all_rows[::step], all_columns[::step]
        lon, lat = unproject(CRS, np.column_stack(TRANSFORM * (all_columns + 0.5, all_rows + 0.5))).T
        there[number] = int(((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)).sum())
    assert Counter(unit["class"] for unit in units) == {c: min(n, count) for c, n in there.items()}
    for number, n in there.items():
        told = any(f"class {number} has only {n} of {count} points" in message for message in caplog.messages)
        assert told == (n < count)
    assert plan(server, per_class=f"{count}:{of}:value", roi=box) == units
    assert plan(server, per_class=f"{count}:{of}:value", roi=box, seed=1) != units


@pytest.mark.exhaustive
@pytest.mark.parametrize("classes_named", [None, (1, 2, 3, 4)])
def test_in_a_large_region_points_are_drawn_and_what_they_miss_is_searched(
    server: Server, classes_named: tuple[int, ...] | None
) -> None:
    initialize(server)
    layer = fetch_map("--per-class", MapName(LARGE, "value"), None)
    box = shapely.box(*map(float, roi(3000, 3000).split(",")))
    pool = ClassPool(layer, box, 0, classes_named, few_pixels=1000)
    found = pool.find_classes(20)
    assert found == (classes_named or (1, 2))
    assert not pool.is_complete
    draws = StratifiedDraw(pool, list(found), 20)
    points = draws.interleaved()
    columns, rows = pixels([{"coordinates": point} for _, point in points]).T
    assert large_classes()[rows, columns].tolist() == [key for key, _ in points]
    assert len({(c, r) for c, r in zip(columns.tolist(), rows.tolist(), strict=True)}) == len(points)
    assert pool.is_complete == (classes_named is not None)
    assert draws.missing == ({} if classes_named is None else {4: 18})  # two of its four pixels lie in the region
    if classes_named is not None:
        assert draws.replacement(3, points[2][1], 3) is not None


def test_points_of_a_class_are_uniform(server: Server) -> None:
    units = plan(server, per_class=f"2000:{MAP}:value:2")
    columns, rows = pixels(units).T
    found, _, _ = np.histogram2d(columns, rows, bins=[np.linspace(160, 380, 6), np.linspace(10, 290, 6)])
    assert found.sum() > 1500
    expected = found.sum() / 25
    assert ((found - expected) ** 2 / expected).sum() < 51  # chi-squared, 24 degrees of freedom, 0.1%


def test_classes_may_be_named_and_masked(server: Server) -> None:
    units = plan(server, per_class=f"4:{MAP}:value:9,7", mask_image=f"{MASK}:value", min_distance="15m")
    columns, rows = pixels(units).T
    values = classes()[rows, columns]
    assert set(values.tolist()) <= {7, 9}
    assert (coded()[1][rows, columns] % 2 == 1).all()
    assert Counter(values.tolist())[7] == 4
    assert [unit["class"] for unit in units][:2] == [9, 7]


def test_empty_units_of_a_class_are_drawn_again(server: Server, tmp_path: Path) -> None:
    """The map reaches beyond the images: other pixels of the same class come instead, up to ten for a place."""
    options: dict[str, Any] = {
        "per_class": f"5:{LARGE}:value:1", "roi": roi(600, 450), "on_empty": "redraw", "seed": 2,
    }  # fmt: skip
    run = sample(server, tmp_path, **options)
    assert run.counts == {"done": 4, "empty": 14}
    assert len(run.units["replaces"].dropna()) == 13, "of one place, the tenth draw is empty as well"
    assert {unit["class"] for unit in run.units["unit"]} == {1}
    again = sample(server, tmp_path, **options)
    assert again.units["id"].tolist() == run.units["id"].tolist()


def test_points_in_total_are_uniform_inside_the_region_and_may_be_masked(server: Server) -> None:
    units = plan(server, total=200)
    assert len(units) == 200
    box = shapely.box(*map(float, roi().split(",")))
    assert all(box.contains(shapely.Point(unit["coordinates"])) for unit in units)
    assert units[:50] == plan(server, total=50)
    masked = plan(server, total=60, mask_image=f"{MASK}:value")
    columns, _ = pixels(masked).T
    assert (columns % 2 == 0).all()  # columns are counted from 1 in the raster
    kept = [unit for unit in plan(server, total=300) if pixels([unit])[0][0] % 2 == 0]
    assert [unit["coordinates"] for unit in masked] == [unit["coordinates"] for unit in kept[:60]]


def test_the_world_is_where_no_region_is_given(server: Server) -> None:
    units = plan(server, total=500, roi=None, dataset=f"{ROOT}/degrees")
    lon, lat = np.array([unit["coordinates"] for unit in units]).T
    assert lon.min() < -170
    assert lon.max() > 170
    assert np.abs(np.sin(np.radians(lat)).mean()) < 0.1


@pytest.mark.parametrize("crs", ["native", "utm", "EPSG:5070", "EPSG:4326", "EPSG:3857"])
def test_no_two_chips_overlap(server: Server, crs: str) -> None:
    units = plan(server, total=100, min_distance="chip", crs=crs, size=16)
    assert len(units) > 30
    grids = [Grid.from_json(unit["grid"]) for unit in units]
    squares = [
        shapely.Polygon(project(CRS, unproject(g.crs, [g.xy(*c) for c in ((0, 0), (16, 0), (16, 16), (0, 16))])))
        for g in grids
    ]
    first, second = shapely.STRtree(squares).query(squares, predicate="intersects")
    assert (first == second).all()
    with_distance = plan(server, total=20, min_distance="400m", crs=crs)
    points = np.array([unit["coordinates"] for unit in with_distance])
    i, j = np.triu_indices(len(points), 1)
    assert great_circle(points[i], points[j]).min() >= 400


def test_a_regular_grid_has_rows_of_points(server: Server) -> None:
    units = plan(server, cells="regular:200m")
    points = np.array([unit["coordinates"] for unit in units])
    i, j = np.triu_indices(len(points), 1)
    assert great_circle(points[i], points[j]).min() == pytest.approx(200, rel=1e-3)
    assert len(units) == pytest.approx(3980 * 2980 / 200**2, rel=0.15)
    assert {"row", "column"} <= set(units[0])


def write_plots(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "plots.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


def at(column: float, row: float) -> dict[str, float]:
    ((lon, lat),) = unproject(CRS, [TRANSFORM * (column, row)])
    return {"lon": lon, "lat": lat}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "gpkg", "parquet"])
def test_points_of_a_file_keep_their_columns(server: Server, tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame([{"plot": "A 1", "n": 3, **at(50, 60)}, {"plot": "B/2", "n": 4, **at(150.5, 90.5)}])
    path = tmp_path / f"plots.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        geometry = gpd.points_from_xy(frame["lon"], frame["lat"])
        spatial = gpd.GeoDataFrame(frame[["plot", "n"]], geometry=geometry, crs="EPSG:4326").to_crs("EPSG:5070")
        spatial.to_file(path) if suffix == "gpkg" else spatial.to_parquet(path)
    run = sample(server, tmp_path / "out", points=str(path), roi=None, name="{plot}-{n}", size=4)
    assert [p.name for p in sorted((tmp_path / "out").glob("*.tif"))] == ["A_1-3.tif", "B_2-4.tif"]
    assert [unit["properties"]["plot"] for unit in run.units["unit"]] == ["A 1", "B/2"]
    with rasterio.open(run.path / "A_1-3.tif") as chip:
        assert np.array_equal(chip.read([1, 2]), coded()[:, 58:62, 48:52])
    inside = plan(server, points=str(path), roi=roi(100, 100))
    assert [unit["properties"]["plot"] for unit in inside] == ["A 1"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "geojson", "shp"])
def test_the_column_id_of_a_file_names_the_chips(server: Server, tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame([{"id": 12, **at(50, 60)}, {"id": 7, **at(150.5, 90.5)}])
    path = tmp_path / f"plots.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        geometry = gpd.points_from_xy(frame["lon"], frame["lat"])
        gpd.GeoDataFrame(frame[["id"]], geometry=geometry, crs="EPSG:4326").to_file(path)
    run = sample(server, tmp_path / "out", points=str(path), roi=None, name="plots/{id}", size=4)
    assert list(run.units["file"]) == ["plots/12.tif", "plots/7.tif"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("date", "window", "month"),
    [
        ("2020-01-25", "30d", 1),
        ("2020-01-25T12:00:00Z", "30d", 1),  # as far from January as from February: the earlier
        ("2020-01-25T13:00:00Z", "30d", 2),
        ("2020-02-11", "1d", 2),
        ("2020-02-11T01:00:00Z", "1d", None),
        ("2020-11-01", "8w", None),
        ("2020-11-06", "8w", 12),
    ],
)
@pytest.mark.parametrize("form", ["tif", "png"])
def test_labels_are_paired_with_the_nearest_image(
    server: Server, tmp_path: Path, date: str, window: str, month: int | None, form: str
) -> None:
    path = write_plots(tmp_path, [{"date": date, **at(100, 100)}])
    (unit,) = plan(server, dataset=YEARS, points=path, roi=None, columns="date=date", near=window, grid="native")
    assert ("image" in unit) == (month is not None)
    if month is not None:
        assert unit["date"].startswith(f"2020-{month:02}")
    if "T12" in date or month is None:
        run = sample(
            server, tmp_path / "out", dataset=YEARS, points=path, roi=None, columns="date=date", near=window, size=8,
            format=form,
        )  # fmt: skip
        (row,) = run.units.to_dict("records")
        assert row["state"] == ("empty" if month is None else "done")
        if form == "png":
            with Image.open(run.path / row["file"]) as picture:
                shown = picture.convert("LA")
                assert np.unique(np.asarray(shown)[..., 1]).tolist() == [0 if month is None else 255]
                assert np.unique(np.asarray(shown)[..., 0]).tolist() == [month or 0]
            return
        with rasterio.open(run.path / row["file"]) as chip:
            assert np.unique(chip.read(1)).tolist() == [month or 0]


def assert_nearest(raster: Raster, chip: rasterio.DatasetReader) -> None:
    """A chip's pixels are those of the source in which their centres lie; those outside are masked."""
    columns, rows = np.meshgrid(np.arange(chip.width) + 0.5, np.arange(chip.height) + 0.5)
    xy = np.column_stack([c.ravel() for c in chip.transform * (columns, rows)])
    places = project(raster.crs, unproject(chip.crs.to_string(), xy))
    column, row = (np.floor(c).astype(int) for c in ~raster.transform * places.T)
    height, width = raster.valid.shape
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    assert np.array_equal(chip.read_masks(1).ravel() > 0, inside)
    expected = raster.values[:, row[inside], column[inside]]
    assert np.array_equal(chip.read()[:2].reshape(2, -1)[:, inside], expected)


def test_several_datasets_lie_on_the_same_pixels(server: Server, store: Path, tmp_path: Path) -> None:
    datasets = [UTM, f"{ROOT}/albers", f"{ROOT}/degrees", MAP]
    run = sample(server, tmp_path, dataset=datasets, total=8, bands=[f"{UTM}:column,row"], seed=1)
    layers = run.layers
    assert set(layers.index.get_level_values("layer")) == {"utm", "albers", "degrees", "classes"}
    assert run.verify() == []
    for position in run.units.index:
        chips = {
            name: rasterio.open(run.path / layers.loc[(position, name), "file"]) for name in layers.loc[position].index
        }
        assert len({(chip.transform, chip.crs, chip.shape) for chip in chips.values()}) == 1
        ours = chips["utm"]
        columns, rows = ours.read([1, 2])
        assert ours.descriptions[:2] == ("column", "row")
        expected = classes()[rows.astype(int) - 1, columns.astype(int) - 1]
        assert np.array_equal(chips["classes"].read(1), expected)
        for name in ("albers", "degrees"):
            assert_nearest(coded_store.source(store.parent, name), chips[name])
        for chip in chips.values():
            chip.close()
    fractions = layers["valid_fraction"].groupby("position").min()
    assert run.units["valid_fraction"].tolist() == fractions.tolist()
    assert (run.units["state"] == np.where(fractions == 0, "empty", "done")).all()


def test_a_sample_that_lacks_a_dataset_is_empty(server: Server, tmp_path: Path) -> None:
    """The map covers a part of the image only: without it there is no file of the others, and others are drawn."""
    datasets, options = [UTM, MAP], {"total": 6, "roi": roi(600, 300), "seed": 3}
    skipped = sample(server, tmp_path / "skip", dataset=datasets, on_empty="skip", **options)
    assert set(skipped.counts) == {"done", "empty"}
    assert len(list(skipped.path.rglob("*.tif"))) == 2 * skipped.counts["done"] == len(skipped.layers)
    full = sample(server, tmp_path / "redraw", dataset=datasets, on_empty="redraw", **options)
    assert full.counts["done"] == 6
    assert len(full.layers) == 12
    assert full.verify() == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, UsageError, "give exactly one of `per_ecoregion`, `per_class`, `total`, `cells`, `points` or `regions`$"),
        ({"total": 1, "cells": "regular:1km"}, UsageError, "exactly one of .*, not `total` and `cells`"),
        ({"total": 0}, UsageError, "`total` must be at least 1"),
        ({"per_class": "3"}, UsageError, "the map of classes, as in 100:ESA"),
        ({"per_class": f"3:{MAP}:value:1,1"}, UsageError, "names a class twice"),
        ({"per_class": f"3:{MAP}:value:a"}, UsageError, "classes must be whole numbers, as in 10,40,50"),
        ({"total": 3, "near": "3d"}, UsageError, "`columns` date=NAME and `near` belong together"),
        ({"total": 3, "grid": "10km"}, UsageError, "for a place every 10km, use cells='regular:10km'"),
        ({"cells": "regular:1 mile"}, UsageError, "`cells` regular: '1 mile' is not a distance"),
        ({"cells": "majortom:1km", "min_distance": "2km"}, UsageError, "`cells` says how far apart they are"),
        ({"total": 3, "away_from": "a.csv"}, UsageError, "`away_from` needs the distance to its places"),
        ({"total": 3, "away_from": "a.csv", "min_distance": "9m"}, RegionError, r"there is no file a\.csv"),
        ({"cells": "h3:99"}, UsageError, "the resolution must be 0 to 15"),
        ({"total": 3, "columns": "id=code"}, UsageError, "`cells` and `regions`, not to `total`"),
        ({"cells": "regular:1km", "on_empty": "redraw"}, UsageError, "`cells` has none: use keep or skip"),
        ({"total": 3, "min_distance": "near"}, UsageError, "`min_distance` 'near' is not a distance"),
        ({"total": 3, "mask_image": f"{MASK}:vlaue"}, UnknownDatasetError, "did you mean 'value'"),
        ({"total": 3, "mask_image": UTM}, UsageError, "say which band, as users/someone/coded/utm:row"),
        ({"total": 3, "mask_image": "WORLDCOVR:Map"}, UnknownDatasetError, "`mask_image`: .*did you mean WORLDCOVER"),
        ({"total": 3, "mask_image": f"{ROOT}/no"}, UnknownDatasetError, "there is no dataset"),
        ({"per_class": f"3:{UTM}:row"}, UsageError, "more than 256 different values"),
        ({"per_class": f"3:{MAP}", "roi": "10,10,10.01,10.01"}, RegionError, "has no value in the region"),
        ({"points": "no.csv"}, RegionError, r"there is no file no\.csv"),
        ({"total": 3, "dataset": [UTM, UTM]}, UsageError, "`dataset` names .* twice"),
        ({"total": 3, "dataset": [UTM, MAP], "bands": "row"}, UsageError, "name the dataset, as in bands="),
        ({"total": 3, "dataset": [UTM, MAP], "bands": "utm:row"}, UsageError, "names none of the datasets"),
        ({"total": 3, "dataset": [UTM, MAP], "stretch": "3,4", "format": "png"}, UsageError, "is for one dataset"),
        ({"total": 3, "grid": "thumb", "crs": "utm", "format": "png"}, UsageError, "with `crs`, use grid='native'"),
    ],
)
def test_invalid_strategies_are_refused(
    server: Server, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        sample(server, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)


def test_files_of_points_that_cannot_be_used(server: Server, tmp_path: Path) -> None:
    path = write_plots(tmp_path, [{"date": "2020-01-01", **at(5, 5)}, {"date": "", **at(9, 9)}])
    with pytest.raises(RegionError, match="row 2: no date in 'date'"):
        plan(server, points=path, roi=None, columns="date=date", near="3d")
    with pytest.raises(RegionError, match="no column 'datum'"):
        plan(server, points=path, roi=None, columns="date=datum", near="3d")
    with pytest.raises(UsageError, match="`columns` date=NAME and `near` belong together"):
        plan(server, points=path, roi=None, columns="date=date")
    with pytest.raises(RegionError, match=r"no place is left: no point lies in the region$"):
        plan(server, points=path, roi="0,0,1,1")
    with pytest.raises(RegionError, match=r"no point lies in the region, or `min_distance` excludes all$"):
        plan(server, points=path, roi="0,0,1,1", min_distance="9km")


def test_places_are_the_centres_of_cells_whose_codes_are_in_the_manifest(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "run", cells="majortom:500m", name="{grid_cell}")
    expected = MajorTomGrid(500.0).list_places(parse_box(roi()).polygon())
    assert len(expected) > 4
    units = pd.read_parquet(run.path / "manifest.parquet")
    assert units["grid_code"].tolist() == [place.fields["grid_code"] for place in expected]
    assert all(code.startswith("MAJORTOM-0.5-") for code in units["grid_code"])
    assert [json.loads(unit)["coordinates"] for unit in units["unit"]] == [list(place.point) for place in expected]
    assert {Path(file).stem for file in units["file"]} == set(units["grid_cell"])
    assert run.info["parameters"]["cells"] == "majortom:0.5km"
    assert run.verify() == []


def test_items_of_a_catalogue_have_the_codes_of_their_cells(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "run", cells="majortom:500m", limit=2)
    eechips.catalog(run.path, date="2020-06-01")
    items = [pystac.Item.from_dict(item) for item in eechips.open_catalog(run.path / "catalog").items()]
    codes = pd.read_parquet(run.path / "manifest.parquet")["grid_code"]
    assert sorted(GridExtension.ext(item).code for item in items) == sorted(codes)
    assert len(items) == 2


def test_cells_of_a_file_need_no_region_and_give_their_columns_to_units(server: Server, tmp_path: Path) -> None:
    west, south, east, north = map(float, roi().split(","))
    edges = np.linspace(west, east, 4)
    squares = [shapely.box(a, south, b, north) for a, b in pairwise(edges.tolist())]
    frame = gpd.GeoDataFrame({"cell": ["a", "b", "c"], "crop": [1, 2, 3]}, geometry=squares, crs=4326)
    frame.to_parquet(tmp_path / "grid.parquet")
    units = plan(server, cells=tmp_path / "grid.parquet", roi=None)
    assert [unit["grid_code"] for unit in units] == ["a", "b", "c"]
    assert [unit["properties"]["crop"] for unit in units] == [1, 2, 3]
    for unit, square in zip(units, squares, strict=True):
        assert unit["coordinates"] == pytest.approx([square.centroid.x, square.centroid.y], abs=1e-8)


def write_others(folder: Path) -> Path:
    """Squares to keep away from, by GeoPandas."""
    west, south, east, north = map(float, roi().split(","))
    draw = np.random.default_rng(5)
    lon, lat = draw.uniform(west, east, 12), draw.uniform(south, north, 12)
    squares = shapely.box(lon, lat, lon + 0.0005, lat + 0.0005)
    gpd.GeoDataFrame(geometry=squares, crs=4326).to_file(folder / "others.gpkg")
    return folder / "others.gpkg"


def in_metres(units: list[dict[str, Any]]) -> gpd.GeoSeries:
    """The places of units in UTM, whose lengths are 0.04% too small at most."""
    lon, lat = np.array([unit["coordinates"] for unit in units]).T
    return gpd.GeoSeries.from_xy(lon, lat, crs=4326).to_crs(CRS)


@pytest.mark.parametrize(
    "options",
    [{"total": 40}, {"per_class": f"5:{MAP}:value"}, {"cells": "regular:150m"}, {"cells": "majortom:200m"}],
    ids=lambda options: next(iter(options)),
)
def test_points_keep_the_distance_to_those_of_another_table(
    server: Server, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = write_others(tmp_path)
    others = gpd.read_file(path).to_crs(CRS).union_all()
    free = plan(server, **options)
    kept = plan(server, **options, away_from=path, min_distance="120m")
    assert in_metres(free).distance(others).min() < 120.0
    assert in_metres(kept).distance(others).min() >= 120.0 * 0.9996
    if "cells" in options:  # those that are far enough, and no others
        is_far = (in_metres(free).distance(others) >= 120.0).tolist()
        expected = [unit["coordinates"] for unit, far in zip(free, is_far, strict=True) if far]
        assert [unit["coordinates"] for unit in kept] == expected
    elif "total" in options:
        assert len(kept) == 40
        points = np.array([unit["coordinates"] for unit in kept])
        pairs = great_circle(points[:, None], points[None])
        assert pairs[~np.eye(len(points), dtype=bool)].min() >= 120.0


def test_the_table_to_keep_away_from_may_be_a_manifest_and_is_part_of_the_plan(server: Server, tmp_path: Path) -> None:
    first = sample(server, tmp_path / "first", total=10, seed=1)
    manifest = first.path / "manifest.parquet"
    second = sample(server, tmp_path / "second", total=10, seed=2, away_from=manifest, min_distance="100m")
    others = gpd.read_parquet(manifest).to_crs(CRS).union_all()
    units = pd.read_parquet(second.path / "manifest.parquet")["unit"].map(json.loads).tolist()
    assert in_metres(units).distance(others).min() >= 99.9
    assert second.info["parameters"]["away_from_sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
