"""Outlines of polygons on pictures of chips, against their distances in the chip's CRS."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pytest
import shapely
import shapely.affinity
from affine import Affine
from PIL import Image

import eechips
from eechips.files.hashes import hash_file
from eechips.manifest.pictures.chip_pictures import GAP, OUTLINE
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from eechips.reports.thumbnails import make_thumbnails
from eechips.reports.unit_columns import read_units
from tests.support.finished_run import TRANSFORM, geotiff_of, write_run

SIDE = 64
FIRST = Affine(*TRANSFORM)


def write_fields(folder: Path, pixels: list[Any]) -> Any:
    """Write polygons in pixels of the first chip as a file, in degrees; return them in metres, and run.json."""
    fields = [shapely.affinity.affine_transform(each, FIRST.to_shapely()) for each in pixels]
    path = folder / "fields.gpkg"
    gpd.GeoDataFrame(geometry=fields, crs="EPSG:32613").to_crs("EPSG:4326").to_file(path)
    return fields, {"parameters": {"roi": path.name, "roi_sha256": hash_file(path)}, "directory": str(folder)}


def yellow(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (picture.astype(int) - OUTLINE == 0).all(axis=-1)


@pytest.mark.slow
def test_fields_are_outlined_on_the_chips_of_a_sheet(tmp_path: Path) -> None:
    pixels = [
        shapely.Polygon([(10, 12), (50, 20), (45, 50), (30, 30), (12, 48)]),
        shapely.box(60, 5, 90, 40),  # on two chips
        shapely.Point(160, 30).buffer(20) - shapely.Point(160, 30).buffer(8),
        shapely.box(-500, -500, 800, 900),  # all chips lie in it: it has no edge there
    ]
    fields, info = write_fields(tmp_path, pixels)
    units = [
        ({"kind": "point", "value": n}, {"": ("tif", geotiff_of(np.full((3, SIDE, SIDE), 70, np.uint8), column=n))})
        for n in range(4)
    ]
    run = write_run(tmp_path, units, **info)
    with Image.open(eechips.preview(run, by="nothing", rows=1, columns=4, edge=SIDE)) as image:
        sheet = np.asarray(image)
    lines = shapely.union_all([field.boundary for field in fields])
    for number in range(4):
        left = GAP + number * (SIDE + GAP)
        drawn = yellow(sheet[GAP : GAP + SIDE, left : left + SIDE])
        place = FIRST @ Affine.translation(SIDE * number, 0)
        rows, columns = np.nonzero(drawn)
        centres = shapely.points(*(place @ np.array([columns + 0.5, rows + 0.5])))
        pixel = FIRST.a
        assert (shapely.distance(centres, lines) <= pixel).all()
        chip = shapely.box(*sorted_bounds(place))
        on_chip = shapely.intersection(lines, chip)
        assert drawn.any() == (not on_chip.is_empty)
        if not on_chip.is_empty:
            steps = shapely.points(shapely.get_coordinates(shapely.segmentize(on_chip, pixel / 2)))
            assert (shapely.distance(steps, shapely.multipoints(centres)) <= 1.5 * pixel).all()


def sorted_bounds(place: Affine) -> tuple[float, float, float, float]:
    (west, north), (east, south) = place @ (0.0, 0.0), place @ (float(SIDE), float(SIDE))
    return west, south, east, north


@pytest.mark.parametrize("has_fields", [True, False])
def test_pictures_of_a_report_have_the_outlines_too(tmp_path: Path, has_fields: bool) -> None:
    _, info = write_fields(tmp_path, [shapely.box(20, 20, 40, 40)])
    data = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(1, SIDE, SIDE)
    run = write_run(tmp_path, [({"kind": "point"}, {"": ("tif", geotiff_of(data))})], **(info if has_fields else {}))
    made = make_thumbnails(run, read_units(run.path, seed=0), quiet=True)
    (thumbnails,) = made.of.values()
    assert made.has_outlines is has_fields  # the page says what the lines are
    (tmp_path / "picture").write_bytes(thumbnails[0].data)
    with Image.open(tmp_path / "picture") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    blue_lacks = picture[..., 0] - picture[..., 2] > 60  # of JPEG, whose colours are approximate
    assert blue_lacks[19:22, 22:38].any(axis=0).all() == has_fields
    assert not blue_lacks[25:35, 25:35].any()
    assert thumbnails[0].means == (data.mean(),)


def test_files_that_have_changed_and_boxes_have_no_outline(tmp_path: Path) -> None:
    _, info = write_fields(tmp_path, [shapely.box(20, 20, 40, 40)])
    info["parameters"]["roi_sha256"] = "0" * 64
    units = [({"kind": "point"}, {"": ("tif", geotiff_of(np.full((3, SIDE, SIDE), 70, np.uint8)))})]
    for name, described in (("changed", info), ("box", {"parameters": {"roi": "-105,39,-104,40"}})):
        run = write_run(tmp_path / name, units, **described)
        with Image.open(eechips.preview(run, edge=SIDE)) as image:
            assert not yellow(np.asarray(image)).any()


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:999999", "", "LOCAL_CS[]"])
def test_a_chip_of_an_unknown_crs_has_no_outline_and_the_others_have(tmp_path: Path, crs: str) -> None:
    _, info = write_fields(tmp_path, [shapely.box(20, 20, 40, 40)])
    data = np.full((3, SIDE, SIDE), 70, np.uint8)
    units = [({"kind": "point", "value": n}, {"": ("tif", geotiff_of(data + n))}) for n in range(2)]
    run = write_run(tmp_path, units, **info)
    with closing(sqlite3.connect(run.path / LEDGER_NAME)) as database, database:
        assert database.execute("UPDATE units SET crs = ? WHERE position = 0", (crs,)).rowcount == 1
    with Image.open(eechips.preview(run, by="nothing", rows=1, columns=2, edge=SIDE)) as image:
        sheet = np.asarray(image)
    assert [yellow(sheet[:, start : start + SIDE]).any() for start in (GAP, GAP + SIDE + GAP)] == [False, True]
