"""Intersection of geometries and cells, against cells as polygons."""

from __future__ import annotations

import h3
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.archive.catalogs.partitions.grid_systems import H3
from eechips.archive.catalogs.partitions.layout import GLOBAL_CELL, assign_cells, grid_json, grid_of
from eechips.errors import UsageError


def outline(cell: str) -> shapely.Polygon:
    return shapely.Polygon([(lon, lat) for lat, lon in h3.cell_to_boundary(cell)])


@pytest.mark.slow
@given(
    st.floats(-100, 100),
    st.floats(-60, 60),
    st.floats(0.01, 6),
    st.floats(0.01, 6),
    st.floats(0, 90),
    st.integers(2, 3),
)
@settings(max_examples=60, deadline=None)
def test_polygons_meet_the_cells_that_they_intersect(
    lon: float, lat: float, width: float, height: float, turn: float, resolution: int
) -> None:
    """All cells around are looked at, one by one, as polygons."""
    box = shapely.box(lon - width, lat - height, lon + width, lat + height)
    shape = shapely.affinity.rotate(box, turn)
    centre = h3.latlng_to_cell(lat, lon, resolution)
    around = h3.grid_disk(centre, 14 if resolution == 2 else 30)
    expected = {cell for cell in around if outline(cell).intersects(shape)}
    found = H3(resolution).cells(shape)
    for cell in found ^ expected:  # cells whose edges only just touch the polygon
        assert outline(cell).distance(shape) < 1e-6 or outline(cell).intersection(shape).area < 1e-6
    assert H3(resolution).exceeds(shape, len(found) - 1)
    assert not H3(resolution).exceeds(shape, len(found))


@pytest.mark.parametrize(
    ("shape", "cells"),
    [
        (shapely.Point(8, 50), 1),
        (shapely.LineString([(8, 50), (30, 50)]), 6),
        (shapely.MultiPolygon([shapely.box(179.9, 0, 180, 0.1), shapely.box(-180, 0, -179.9, 0.1)]), 1),
        (shapely.MultiPoint([(8, 50), (8.001, 50), (-100, 3)]), 2),
        (shapely.box(-180, 85, 180, 90), 8),
    ],
)
def test_cells_of_shapes_of_every_type(shape: shapely.Geometry, cells: int) -> None:
    grid = H3(2)
    assert grid.exceeds(shape, cells - 1)
    assert not grid.exceeds(shape, 3 * cells)


def test_the_world_in_small_cells_is_not_listed() -> None:
    assert H3(12).exceeds(shapely.box(-180, -90, 180, 90), 10_000)
    assert H3(12).exceeds(shapely.box(0, 0, 90, 60), 10_000)


def test_items_lie_under_the_cell_of_their_middle_or_are_global() -> None:
    shapes = [shapely.box(8, 50, 8.01, 50.01), shapely.box(0, 40, 20, 55), shapely.box(8, 50, 10, 51)]
    boxes = np.array([shape.bounds for shape in shapes])
    wkb = pa.chunked_array([pa.array(shapely.to_wkb(shapes))])
    cells = assign_cells(H3(2), boxes, wkb, 10)
    assert cells == [h3.latlng_to_cell(50.005, 8.005, 2), GLOBAL_CELL, h3.latlng_to_cell(50.5, 9.0, 2)]
    assert assign_cells(H3(2), boxes, wkb, 1) == [cells[0], GLOBAL_CELL, GLOBAL_CELL]


def test_grids_are_json_values() -> None:
    assert grid_of(grid_json(H3(5))) == H3(5)
    with pytest.raises(UsageError, match="no grid 'squares': there are h3, s2"):
        grid_of({"name": "squares"})
    with pytest.raises(UsageError, match="0 to 15, not 16"):
        H3(16)
