"""Regions of files: ids, duplicates, the antimeridian."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from eechips.errors import RegionError
from eechips.geo.polygons import wrap_at_antimeridian
from eechips.planning.areas.regions import parse_box
from eechips.planning.areas.zones import fetch_zones, measure_zones, read_zones
from eechips_local.assets import ingest
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, initialize

SQUARE = shapely.box(10, 50, 11, 51)
_BLANK_IDS = ("007", "", "  ", "8", "")


def write(path: Path, geometries: list[Any], **columns: Any) -> Path:
    gpd.GeoDataFrame(columns, geometry=geometries, crs="EPSG:4326").to_file(path)
    return path


@pytest.mark.slow
def test_features_of_one_id_are_one_region_at_the_place_of_the_first(tmp_path: Path, caplog: CapturedLog) -> None:
    other, third = shapely.box(20, 50, 21, 51), shapely.box(11, 50, 12, 51)
    path = write(tmp_path / "a.gpkg", [SQUARE, other, third], code=["x", "y", "x"])
    with caplog.at_level(logging.WARNING, logger="eechips"):
        zones = read_zones(path, "code")
    assert "1 region joins several features with the same code: x" in caplog.text
    assert zones.ids == ["x", "y"]
    assert zones.geometries is not None
    assert zones.geometries[0].equals(shapely.box(10, 50, 12, 51))


@pytest.mark.slow
def test_features_of_one_id_of_a_table_are_named(demo_ee: Any, caplog: CapturedLog) -> None:
    asset = "FAO/GAUL_SIMPLIFIED_500m/2015/level2"
    with caplog.at_level(logging.WARNING, logger="eechips"):
        zones = fetch_zones(asset, "ADM2_CODE")
        assert caplog.text == ""
        assert 0 < len(fetch_zones(asset, "ADM0_NAME")) < len(zones)
    assert f"{asset}: " in caplog.text
    assert "several features with the same ADM0_NAME: " in caplog.text


@pytest.mark.slow
def test_features_of_a_table_with_a_blank_id_are_left_out(
    tmp_path: Path, serve_briefly: Callable[..., Server], caplog: CapturedLog
) -> None:
    squares = [shapely.box(west, 0, west + 1, 1) for west in range(len(_BLANK_IDS))]
    path = write(tmp_path / "a.gpkg", squares, code=_BLANK_IDS)
    ingest(path, tmp_path / "store", "projects/local/assets/fields")
    initialize(serve_briefly("--no-demo", "--assets", str(tmp_path / "store")))
    with caplog.at_level(logging.WARNING, logger="eechips"):
        assert fetch_zones("projects/local/assets/fields", "code").ids == ["007", "8"]
    assert "3 features without code are left out" in caplog.text


@pytest.mark.slow
def test_integer_ids_stay_integers_beside_missing_ones(tmp_path: Path, caplog: CapturedLog) -> None:
    path = write(tmp_path / "a.gpkg", [SQUARE, SQUARE, SQUARE], code=[7, None, 9])
    with caplog.at_level(logging.WARNING, logger="eechips"):
        assert read_zones(path, "code").ids == [7, 9]
    assert "1 feature without code is left out: number 2" in caplog.text


def test_features_with_a_blank_id_are_left_out_and_not_joined(tmp_path: Path, caplog: CapturedLog) -> None:
    """A CSV file has an empty cell where another format has no value."""
    rows = ["code,wkt", *(f'{code},"{shapely.box(west, 0, west + 1, 1).wkt}"' for west, code in enumerate(_BLANK_IDS))]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="eechips"):
        assert read_zones(path, "code").ids == ["007", "8"]
    assert "3 features without code are left out: number 2, 3, 5" in caplog.text
    assert "several features" not in caplog.text


@pytest.mark.slow
def test_long_integer_ids_beside_missing_ones_stay_apart(tmp_path: Path) -> None:
    """Ids of neighbouring cells of H3 differ by less than float64 tells apart."""
    ids = [622236750694711295, 622236750694711297, None]
    shapes = [shapely.box(west, 0, west + 1, 1) for west in (0, 2, 4)]
    zones = read_zones(write(tmp_path / "a.gpkg", shapes, code=pd.array(ids, "Int64")), "code")
    assert zones.ids == ids[:2]
    assert zones.geometries is not None
    assert all(map(shapely.equals, zones.geometries, shapes[:2]))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["gpkg", "geojson"])
def test_dates_are_ids_as_text(tmp_path: Path, suffix: str) -> None:
    """A unit of work is JSON, which has no dates; GeoJSON's texts are read as dates if all are."""
    dates = [dt.date(2023, 1, 1), None, dt.date(2023, 2, 1)]
    path = write(tmp_path / f"a.{suffix}", [SQUARE, SQUARE, SQUARE], day=dates)
    assert read_zones(path, "day").ids == ["2023-01-01", "2023-02-01"]


@pytest.mark.slow
def test_without_a_field_regions_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [SQUARE, shapely.box(0, 0, 1, 1)], n=[1, 2])
    assert read_zones(path, None).ids == [1, 2]
    assert read_zones(path, None, parse_box("-1,-1,0.5,0.5")).ids == [2]
    with pytest.raises(RegionError, match=r"no region of .* meets 100,0,101,1"):
        read_zones(path, None, parse_box("100,0,101,1"))


@pytest.mark.slow
def test_geometry_beyond_180_degrees_is_wrapped(tmp_path: Path) -> None:
    zones = read_zones(write(tmp_path / "a.geojson", [shapely.box(179, -18, 182, -16)]), None)
    assert zones.geometries is not None
    expected = shapely.union_all([shapely.box(179, -18, 180, -16), shapely.box(-180, -18, -178, -16)])
    assert zones.geometries[0].equals(expected)


@given(st.floats(-400, 400), st.floats(0.1, 300), st.floats(-80, 70))
def test_area_is_kept_at_the_antimeridian(west: float, width: float, south: float) -> None:
    region = shapely.box(west, south, west + width, south + 5)
    moved = wrap_at_antimeridian(region)
    assert moved.bounds[0] >= -180
    assert moved.bounds[2] <= 180
    assert moved.area == pytest.approx(region.area)


@pytest.mark.slow
def test_a_region_around_the_earth_is_pointed_out(tmp_path: Path, caplog: CapturedLog) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.box(-179, -18, 179, -16)], name=["Fiji"])
    with caplog.at_level(logging.WARNING, logger="eechips"):
        read_zones(path, "name")
    assert "region Fiji is 358 degrees wide: if it is meant to cross the antimeridian" in caplog.text


@pytest.mark.slow
def test_bounds_areas_and_points_of_regions_are_measured(tmp_path: Path) -> None:
    shapes = measure_zones(read_zones(write(tmp_path / "a.gpkg", [SQUARE]), None))
    assert shapes.bounds.tolist() == [[10, 50, 11, 51]]
    assert SQUARE.contains(shapely.Point(shapes.points[0]))
    assert shapes.areas[0] == pytest.approx(7.87e9, rel=0.02)  # of the ellipsoid
    assert shapes.vertices.tolist() == [5]


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:3832", "EPSG:32660", "EPSG:3460"])
def test_a_region_of_another_projection_is_cut_at_the_antimeridian(tmp_path: Path, crs: str) -> None:
    """Pacific Mercator, UTM zone 60 north, Fiji Map Grid: all go on beyond 180 degrees. With a hole on one side."""
    sign = 1 if crs == "EPSG:32660" else -1
    south, north = sorted((sign * 16.0, sign * 18.0))
    degrees = shapely.Polygon(
        shapely.box(178.5, south, 181.0, north).exterior, [shapely.box(180.2, south + 0.5, 180.6, north - 0.5).exterior]
    )
    dense = shapely.segmentize(degrees, 0.01)
    to_crs = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    there = shapely.transform(dense, lambda xy: np.column_stack(to_crs.transform(xy[:, 0], xy[:, 1])))
    gpd.GeoDataFrame(geometry=[there], crs=crs).to_file(tmp_path / "fiji.gpkg")
    zones = read_zones(tmp_path / "fiji.gpkg", None)
    assert zones.geometries is not None
    (found,) = zones.geometries
    assert found.is_valid
    assert found.bounds[0] == pytest.approx(-180)
    assert found.bounds[2] == pytest.approx(180)
    assert found.area == pytest.approx(degrees.area, rel=1e-4)
    assert found.intersects(shapely.Point(-179.1, (south + north) / 2))
    assert not found.intersects(shapely.Point(-179.6, (south + north) / 2))
    assert not found.intersects(shapely.Point(0, (south + north) / 2))


@pytest.mark.slow
def test_a_region_around_a_pole_is_refused(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.box(-1e6, -1e6, 1e6, 1e6)], crs="EPSG:3031").to_file(tmp_path / "pole.gpkg")
    with pytest.raises(RegionError, match="feature 1 goes around a pole, which is not a point in degrees: divide it"):
        read_zones(tmp_path / "pole.gpkg", None)
