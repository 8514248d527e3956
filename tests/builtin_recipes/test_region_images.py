"""A picture of each polygon of a file, against rasterio's mask of the source rasters."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from PIL import Image
from pyproj import Geod

import eechips
from eechips.builtin_recipes.rasters.composites import Composites
from eechips.builtin_recipes.rasters.images import Images
from eechips.commands.option_names import option_names
from eechips.errors import RegionError, UsageError
from eechips.geo.grid import Grid
from eechips.reports.contact_sheet import layout
from eechips_local.assets import ingest
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, initialize, wait_until
from tests.support import coded_store
from tests.support.field_scenes import (
    BANDS,
    DATES,
    LEFT,
    OTHER,
    SCENES,
    TOP,
    check_clipped,
    field_shapes,
    in_metres,
    masked,
    write_fields,
    write_scenes,
)

LARGE = "users/someone/large"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regions")
    write_scenes(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, serve: Callable[..., Server]) -> Server:
    return serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")


def _options(server: Server, **options: Any) -> dict[str, Any]:
    return {"endpoint": server.url, "rate": None, "executor": "threads", "quiet": True, **options}


def _fields(folder: Path, **options: Any) -> dict[str, Any]:
    return {"regions": str(folder / "fields.gpkg"), "columns": "id=field", **options}


def _units(run: eechips.Run) -> pd.DataFrame:
    """Return the units with the regions as a column, as the manifest has them."""
    return run.units.assign(region=[unit["region"] for unit in run.units["unit"]])


@pytest.fixture(scope="module")
def clipped(server: Server, folder: Path) -> eechips.Run:
    """The images of zone 31, clipped."""
    start, end = "2020-05-02", "2020-08-01"
    options = _options(server, start=start, end=end, clip=True, out=folder / "clipped")
    return eechips.images(SCENES, **_fields(folder), **options)


@pytest.mark.slow
def test_each_file_is_the_image_that_rasterio_clips(clipped: eechips.Run, folder: Path) -> None:
    shapes = gpd.read_file(folder / "fields.gpkg").to_crs("EPSG:32631").set_index("field").geometry
    assert clipped.counts == {"done": 3 * len(DATES), "empty": len(DATES)}  # a speck has no pixel's centre
    assert clipped.verify() == []
    for unit in clipped.units.to_dict("records"):
        region, image = unit["unit"]["region"], unit["unit"]["image"]
        assert unit["file"] == f"images/{region}/{DATES[image]}_{image}.tif"
        check_clipped(clipped.path / unit["file"], folder / f"{image}.tif", shapes[region])


@pytest.mark.slow
def test_the_manifest_has_the_region_of_each_file(clipped: eechips.Run) -> None:
    table = gpd.read_parquet(clipped.path / "manifest.parquet")
    assert table.groupby("region").size().to_dict() == dict.fromkeys(field_shapes(), len(DATES))
    assert clipped.info["parameters"]["id_field"] == "field"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [Images, Composites])
def test_columns_of_the_file_are_properties_of_each_file(
    server: Server, folder: Path, tmp_path: Path, recipe: Callable[..., Images | Composites]
) -> None:
    """Labels of polygons were lost. Columns called like a field of the unit do not hide it in names of files."""
    fields = gpd.read_file(folder / "fields.gpkg").assign(crop="rye", date="2019-10-01", plants=[7, *[None] * 3])
    fields.to_file(tmp_path / "fields.gpkg")
    initialize(server)
    every = {"every": "1 month"} if recipe is Composites else {}
    options: dict[str, Any] = {"start": "2020-05-02", "end": "2020-05-10", "columns": "id=field", **every}
    units = list(recipe(dataset=SCENES, regions=str(tmp_path / "fields.gpkg"), **options).get_requests())
    assert {unit["region"]: unit["properties"] for unit in units} == {
        name: {"field": name, "crop": "rye", "unit_date": "2019-10-01", "plants": 7 if number == 0 else None}
        for number, name in enumerate(fields["field"])
    }


@pytest.mark.slow
def test_a_region_without_the_centre_of_a_pixel_is_told_and_has_one_pixel(
    server: Server, folder: Path, caplog: CapturedLog
) -> None:
    caplog.set_level(logging.WARNING, "eechips")
    options = _options(server, start="2020-05-02", end="2020-05-10", out=folder / "speck")
    clip = eechips.images(SCENES, **_fields(folder, clip=True), **options)
    assert "1 region without the centre of a pixel inside: clipped to them, files have no data: speck" in caplog.text
    assert _units(clip).set_index("region").loc["speck", ["width", "height", "valid_fraction"]].tolist() == [1, 1, 0]
    whole = eechips.images(SCENES, **_fields(folder), **options | {"out": folder / "whole"})
    units = _units(whole).set_index("region")
    assert units.loc["speck", ["width", "height", "valid_fraction"]].tolist() == [1, 1, 1]
    with rasterio.open(folder / "a.tif") as source, rasterio.open(whole.path / units.loc["speck", "file"]) as file:
        assert file.read().ravel().tolist() == [
            band for bands in source.sample([(LEFT + 1002, TOP - 501.5)]) for band in bands
        ]


@pytest.mark.slow
def test_images_of_another_zone_are_on_the_grid_of_the_region(server: Server, folder: Path) -> None:
    run = eechips.images(SCENES, **_fields(folder), **_options(server, out=folder / "zones"))
    for _, units in _units(run).groupby("region"):
        assert len(units) == len(DATES) + 1
        assert len({(unit["crs"], *unit["transform"], unit["width"]) for unit in units.to_dict("records")}) == 1
    for unit in run.units.to_dict("records"):
        assert unit["crs"] == "EPSG:32631"
        assert ("is_resampled" in unit["unit"]) == (unit["unit"]["image"] == OTHER)
        grid = Grid.from_json(unit["unit"]["grid"])
        expected = np.zeros((2, *grid.shape), dtype=np.uint16)
        with (
            rasterio.open(folder / f"{unit['unit']['image']}.tif") as source,
            rasterio.open(run.path / unit["file"]) as file,
        ):
            place = {"dst_transform": grid.affine, "dst_crs": grid.crs, "dst_nodata": 0, "tolerance": 0}
            rasterio.warp.reproject(rasterio.band(source, [1, 2]), expected, **place)
            assert np.array_equal(file.read_masks(1) > 0, expected[0] > 0)
            assert np.array_equal(file.read(masked=True).filled(0), expected)


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["native", "EPSG:4326"])
def test_a_margin_is_pixels_around_the_region(server: Server, crs: str, folder: Path) -> None:
    options: dict[str, Any] = {"crs": crs, **({} if crs == "native" else {"scale": 10.0})}
    initialize(server)
    plain, wide = (
        {unit["region"]: Grid.from_json(unit["grid"]) for unit in Images(dataset=SCENES, **each).get_requests()}
        for each in (_fields(folder, **options), _fields(folder, margin=95.0, **options))
    )
    assert plain.keys() == wide.keys() == field_shapes().keys()
    for region, grid in plain.items():
        column, row = (float(place) for place in wide[region].pixel(*grid.xy(0, 0)))
        assert (column, row) == pytest.approx((round(column), round(row)), abs=1e-6)
        assert wide[region].width == grid.width + 2 * round(column)
        assert wide[region].height == grid.height + 2 * round(row)
        if crs == "native":
            assert (round(column), round(row)) == (10, 10)
        else:
            geod, (x, y), (far_x, far_y) = Geod(ellps="WGS84"), grid.xy(0, 0), wide[region].xy(0, 0)
            for end in ((far_x, y), (x, far_y)):
                distance = geod.inv(x, y, *end)[2]
                assert 94 < distance < 107


@pytest.mark.slow
def test_composites_are_those_of_the_clipped_images(server: Server, folder: Path) -> None:
    options = _options(server, start="2020-05-02", end="2020-08-02", every="1 month", reducer="mean", clip=True)
    run = eechips.composites(SCENES, **_fields(folder), **options, out=folder / "months")
    assert run.units["file"].isna().sum() == len(field_shapes())  # of the second month, which has no image
    shapes = gpd.read_file(folder / "fields.gpkg").to_crs("EPSG:32631").set_index("field").geometry
    for unit in run.units[run.units["file"].notna()].to_dict("records"):
        names = unit["unit"]["sources"]
        assert names == (["a", "b"] if unit["unit"]["start"] == "2020-05-02" else ["c"])
        each = [masked(folder / f"{name}.tif", shapes[unit["unit"]["region"]]) for name in names]
        _, valid, transform = each[0]
        with rasterio.open(run.path / unit["file"]) as file:
            assert file.transform == transform
            assert np.array_equal(file.read_masks(1) > 0, valid)
            expected = np.mean([values for values, _, _ in each], axis=0, dtype=np.float64)
            assert np.array_equal(file.read()[:, valid], expected[:, valid].astype(np.float32))
        assert unit["file"].startswith(f"composites/{unit['unit']['region']}/2020-0")


@pytest.mark.slow
def test_a_picture_is_transparent_outside_the_outline(clipped: eechips.Run, server: Server, folder: Path) -> None:
    options = _options(server, start="2020-05-02", end="2020-05-10", clip=True, format="png", bands="B1", limit=1)
    run = eechips.images(SCENES, **_fields(folder, stretch="0,9000"), **options, out=folder / "pictures")
    for unit in run.units.to_dict("records"):
        same = clipped.units[clipped.units["file"] == unit["file"].replace(".png", ".tif")].iloc[0]
        with Image.open(run.path / unit["file"]) as picture, rasterio.open(clipped.path / same["file"]) as file:
            alpha = np.asarray(picture.convert("RGBA"))[..., 3]
            assert np.array_equal(alpha > 0, file.read_masks(1) > 0)


@pytest.mark.slow
def test_ids_that_are_no_file_names_stay_in_their_folders(
    server: Server, folder: Path, tmp_path: Path, caplog: CapturedLog
) -> None:
    caplog.set_level(logging.WARNING, "eechips")
    ids = ["../../up", "a/b", "A_B", "Wäldchen 你好", "", "x" * 300, "/etc/passwd", "twice", "twice", None]
    shapes = [in_metres(shapely.box(0, 0, 95, 95), 100 * number, 1000) for number in range(len(ids))]
    frame = gpd.GeoDataFrame({"field": ids}, geometry=shapes, crs="EPSG:32631").to_crs("EPSG:4326")
    frame.to_file(tmp_path / "hostile.geojson")
    run = eechips.images(
        SCENES, regions=str(tmp_path / "hostile.geojson"), columns="id=field", start="2020-05-02", end="2020-05-10",
        **_options(server, out=tmp_path / "run"),
    )  # fmt: skip
    assert sorted(_units(run)["region"]) == sorted({name for name in ids if name})
    assert run.counts == {"done": 7}
    files = [run.path / name for name in run.units["file"]]
    assert len(set(files)) == 7
    assert all(file.is_file() and file.resolve().parent.parent == run.path / "images" for file in files)
    assert "'a/b' and 'A_B'" in caplog.text
    assert "column 'region' tells their files apart" in option_names(caplog.text)
    assert "2 features without field" in caplog.text
    widths = _units(run).set_index("region")["width"]
    assert widths["twice"] == 20 > widths["a/b"]


@pytest.mark.slow
def test_a_broken_polygon_is_repaired_and_told(server: Server, tmp_path: Path, caplog: CapturedLog) -> None:
    caplog.set_level(logging.WARNING, "eechips")
    bow = in_metres(shapely.Polygon([(0, 0), (200, 200), (200, 0), (0, 200)]), 1200, 1800)
    write_fields(tmp_path / "bow.gpkg", {"bow": bow})
    options = _options(server, start="2020-07-01", end="2020-08-01", clip=True, out=tmp_path / "run")
    run = eechips.images(SCENES, regions=str(tmp_path / "bow.gpkg"), columns="id=field", **options)
    assert "repaired 1 of 1 polygons" in caplog.text
    assert run.units["valid_fraction"].item() == pytest.approx(0.5, abs=0.07)


@pytest.mark.slow
def test_regions_without_images_are_told(server: Server, tmp_path: Path, caplog: CapturedLog) -> None:
    caplog.set_level(logging.WARNING, "eechips")
    shapes = {
        "here": in_metres(shapely.box(0, 0, 90, 90), 500, 500),
        "far": in_metres(shapely.box(0, 0, 90, 90), 90_000, 0),
    }
    path = write_fields(tmp_path / "two.gpkg", shapes)
    options = _options(server, start="2020-07-01", end="2020-08-01")
    run = eechips.images(SCENES, regions=str(path), columns="id=field", out=tmp_path / "run", **options)
    assert _units(run)["region"].tolist() == ["here"]
    assert "1 region without an image: far" in caplog.text
    write_fields(tmp_path / "far.gpkg", {"far": shapes["far"]})
    for function in (eechips.images, eechips.composites):
        with pytest.raises(UsageError, match="has no image"):
            function(SCENES, regions=str(tmp_path / "far.gpkg"), out=tmp_path / "none", **options)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [Images, Composites])
def test_options_that_contradict_each_other_are_refused(folder: Path, tmp_path: Path, recipe: type[Images]) -> None:
    fields = str(folder / "fields.gpkg")
    for options, message in (
        ({}, "give `roi`"),
        ({"roi": "4,39,5,40", "regions": fields}, "leave one of them out"),
        ({"roi": "4,39,5,40", "columns": "id=field"}, "`columns` describes the regions"),
        ({"roi": "4,39,5,40", "margin": 3.0}, "`margin` describes the regions"),
        ({"regions": fields, "margin": -1.0}, "must be 0 metres or more"),
    ):
        with pytest.raises(UsageError, match=message):
            recipe(dataset=SCENES, **options)
    for options, message in (
        ({"regions": fields, "columns": "id=filed"}, "field"),
        ({"regions": str(tmp_path / "none.gpkg")}, "there is no file"),
        ({"regions": "FAO/GAUL/2015/level2", "columns": "id=ADM2_CODE"}, "takes the path of a vector file"),
    ):
        with pytest.raises(RegionError, match=message):
            recipe(dataset=SCENES, **options)


@pytest.mark.slow
def test_a_recipe_with_regions_depends_on_them_where_it_clips(folder: Path, tmp_path: Path) -> None:
    other = write_fields(tmp_path / "other.gpkg", {"concave": field_shapes()["ring"]})
    one, two = _fields(folder), {"regions": str(other), "columns": "id=field"}
    assert Images(dataset=SCENES, **one).identity == Images(dataset=SCENES, **two).identity
    assert Images(dataset=SCENES, **one, clip=True).identity != Images(dataset=SCENES, **two, clip=True).identity


@pytest.mark.slow
@pytest.mark.parametrize("option", ["regions", "roi"])
def test_a_clipped_result_depends_on_the_content_of_a_file_and_not_on_its_path(
    folder: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / "copy.gpkg").write_bytes((folder / "fields.gpkg").read_bytes())
    paths = (folder / "fields.gpkg", tmp_path / "copy.gpkg")
    for recipe in (Images, Composites):
        one, two = (recipe(dataset=SCENES, clip=True, **{option: str(path)}) for path in paths)
        assert one.identity == two.identity


@pytest.mark.slow
def test_previews_and_reports_name_and_outline_the_regions(clipped: eechips.Run, tmp_path: Path) -> None:
    rows = layout(clipped)
    assert sorted(row.name for row in rows) == sorted(field_shapes())
    assert [chip.label for chip in rows[0].chips] == list(DATES.values())
    with Image.open(eechips.preview(clipped, out=tmp_path / "sheet.png")) as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    assert ((sheet[..., 0] > 200) & (sheet[..., 2] < 80)).any()  # yellow; the chips are of other colours
    text = Path(eechips.report(clipped, out=tmp_path / "report.html")).read_text(encoding="utf-8")
    for region in field_shapes():
        assert region in text


@pytest.mark.exhaustive
def test_a_killed_run_continues(server: Server, clipped: eechips.Run, folder: Path, tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "eechips", "images", "--dataset", SCENES, "--regions", str(folder / "fields.gpkg"),
        "--columns", "id=field", "--clip", "--start", "2020-05-02", "--end", "2020-08-01", "--endpoint", server.url,
        "--executor", "threads", "--in-flight", "1", "--rate", "3", "-q", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    process = subprocess.Popen(words, start_new_session=True)
    wait_until(lambda: list((tmp_path / "run").glob("images/*/*.tif")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "manifest.parquet").exists()
    subprocess.run(words, check=True, timeout=120)
    found = eechips.open_run(tmp_path / "run").units.set_index("file")["sha256"].to_dict()
    assert found == clipped.units.set_index("file")["sha256"].to_dict()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_region_that_is_too_large_for_a_request_comes_in_parts(folder: Path, serve: Callable[..., Server]) -> None:
    size = 4_600  # of two bands of 16 bits: more than 48 MB
    store = folder / "large"
    row, column = np.mgrid[:size, :size].astype(np.uint16)
    coded_store.write_geotiff(
        folder / "large.tif", "EPSG:32631", Affine(10, 0, LEFT, 0, -10, TOP), np.stack([row, column]) + 1
    )
    ingest(folder / "large.tif", store, f"{LARGE}/one", bands=BANDS, time_start="2020-05-03")
    server = serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")
    edge = size * 10.0
    shape = shapely.Polygon([(5, 5), (edge - 4, 1_000), (edge - 7_000, edge - 3), (1_000, edge / 2)])
    path = write_fields(folder / "large.gpkg", {"large": in_metres(shapely.segmentize(shape, 200), 0, 0)})
    run = eechips.images(
        LARGE, regions=str(path), columns="id=field", clip=True, **_options(server, out=folder / "large-run")
    )
    (unit,) = run.units.to_dict("records")
    assert unit["requests"] > 1
    geometry = gpd.read_file(path).to_crs("EPSG:32631").geometry[0]
    check_clipped(run.path / unit["file"], folder / "large.tif", geometry)
