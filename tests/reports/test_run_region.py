"""The region of a run as a report's map has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.files.hashes import hash_file
from eechips.geo.vectors import read_vectors
from eechips.reports.region_outlines import region_rings
from local_tests.support.captured_log import CapturedLog


def info(folder: Path, name: str, **changed: Any) -> dict[str, Any]:
    """Return the run.json of a run with a file as region."""
    given = {"roi": name, "roi_sha256": hash_file(folder / name), **changed}
    return {"parameters": given, "directory": str(folder)}


def drawn(folder: Path, found: dict[str, Any]) -> Any:
    """Return the shape of rings, in which every second nested ring is a hole."""
    whole: Any = shapely.Polygon()
    for ring in region_rings(folder, found):
        assert ring[0] == ring[-1]
        whole = shapely.symmetric_difference(whole, shapely.Polygon(ring))
    return whole


@pytest.mark.parametrize("name", ["roi", "bbox", "region"])
@pytest.mark.parametrize("value", ["6.9,45.9,7.6,46.7", [6.9, 45.9, 7.6, 46.7]])
def test_a_box_becomes_a_ring(name: str, value: Any) -> None:
    (ring,) = region_rings(Path(), {"parameters": {name: value}})
    assert ring == [(6.9, 45.9), (7.6, 45.9), (7.6, 46.7), (6.9, 46.7), (6.9, 45.9)]


def test_a_box_across_the_antimeridian_continues_beyond_180() -> None:
    (ring,) = region_rings(Path(), {"parameters": {"roi": "178,-18,-179,-16"}})
    assert shapely.Polygon(ring).bounds == (178, -18, 181, -16)


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        {},
        {"roi": None},
        {"roi": "FAO/GAUL/2015/level1:ADM1_NAME=Colorado"},
        {"roi": "1,2,3"},
        {"roi": "west,south,east,north"},
        {"roi": "0,60,10,50"},
        {"roi": ["a", 1, 2, 3]},
        {"region": {"type": "Polygon"}},
        {"roi": "nowhere.geojson", "roi_sha256": "0" * 64},
    ],
)
def test_regions_that_are_not_local_have_no_ring(parameters: Any, tmp_path: Path) -> None:
    assert region_rings(tmp_path, {"parameters": parameters, "directory": str(tmp_path)}) == []


def test_notes_on_a_file_are_not_logged_again(tmp_path: Path, caplog: CapturedLog) -> None:
    path = tmp_path / "areas.csv"
    path.write_bytes(f"name,wkt\nPeñón,{shapely.box(7.0, 46.0, 7.5, 46.5).wkt!r}\n".replace("'", '"').encode("cp1252"))
    read_vectors(path)
    assert "it is read as Windows-1252" in caplog.text
    caplog.clear()
    assert len(region_rings(tmp_path, info(tmp_path, path.name))) == 1
    assert caplog.text == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "crs"), [("geojson", "EPSG:4326"), ("gpkg", "EPSG:32632"), ("parquet", "EPSG:3857")]
)
def test_polygons_of_a_file_become_rings(tmp_path: Path, suffix: str, crs: str) -> None:
    pond = shapely.Point(7.3, 46.3).buffer(0.05)
    shapes = [
        shapely.box(7.0, 46.0, 7.5, 46.5) - pond,
        shapely.box(7.5, 46.0, 7.8, 46.2),
        shapely.box(9, 47, 9.1, 47.1),
    ]
    frame = gpd.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_crs(crs)
    path = tmp_path / f"area.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_file(path)
    truth = shapely.union_all(shapes)
    found = drawn(tmp_path, info(tmp_path, path.name))
    assert len(region_rings(tmp_path, info(tmp_path, path.name))) == 3
    assert shapely.hausdorff_distance(found.boundary, truth.boundary, densify=0.01) < 0.004  # a thousandth of it, twice


@pytest.mark.slow
def test_a_changed_file_has_no_region(tmp_path: Path, caplog: CapturedLog) -> None:
    path = tmp_path / "area.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(7.0, 46.0, 7.5, 46.5)], crs="EPSG:4326").to_file(path)
    before = info(tmp_path, path.name)
    assert region_rings(tmp_path, before)
    gpd.GeoDataFrame(geometry=[shapely.box(8.0, 46.0, 8.5, 46.5)], crs="EPSG:4326").to_file(path)
    assert region_rings(tmp_path, before) == []
    assert f"The outlines of {path.name} are left out: the run lacks the signature of your key" in caplog.text
    assert drawn(tmp_path, info(tmp_path, path.name)).bounds == (8.0, 46.0, 8.5, 46.5)
    assert drawn(tmp_path, {**info(tmp_path, path.name, roi=str(path)), "directory": "/elsewhere"}).area > 0


@pytest.mark.slow
@settings(max_examples=3)  # each reads its file in a process of its own
@given(st.integers(3, 400), st.floats(0.001, 20), st.integers(0, 10_000))
def test_a_shape_of_many_corners_keeps_its_shape_with_few(corners: int, size: float, seed: int) -> None:
    import tempfile

    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = size * (1 + 0.1 * np.random.default_rng(seed).random(corners))
    shape = shapely.Polygon(np.column_stack([10 + radii * np.cos(angles), 20 + radii * np.sin(angles)]))
    with tempfile.TemporaryDirectory() as folder:
        gpd.GeoDataFrame(geometry=[shape], crs="EPSG:4326").to_file(Path(folder) / "area.geojson")
        found = drawn(Path(folder), info(Path(folder), "area.geojson"))
    west, south, east, north = shape.bounds
    assert (
        shapely.hausdorff_distance(found.boundary, shape.boundary) <= 1.01e-3 * max(east - west, north - south) + 2e-6
    )
