"""Make tables from the description of a dataset: rows with the stated columns, over its extent."""

from __future__ import annotations

from functools import lru_cache, partial

import shapely

from eechips_local.demo import demo_tables
from eechips_local.demo.demo_tables import DemoTable
from eechips_local.evaluation.model import Bounds, FeatureRow
from eechips_local.stubs.dataset_description import DatasetDescription
from eechips_local.stubs.stub_images import property_values

_COARSE = (20, 10)
_FINE = (10, 10)
"""Columns and rows of cells: over the extent, and over the demo area."""

DEMO_AREA: Bounds = (-105.6, 39.6, -104.4, 40.6)
"""The plains and mountains that the documentation's examples show, in degrees."""

# Types of columns as Earth Engine names them, by those of its catalogue.
_TYPES = {"DOUBLE": "Float", "INT": "Integer", "STRING": "String", "DATETIME": "Long", "GEOMETRY": "Geometry"}
_GEOMETRY = "GEOMETRY"


def stub_table(dataset: DatasetDescription) -> DemoTable:
    """Return the table that is described."""
    columns = {column.name: _TYPES.get(column.type, "List") for column in dataset.columns}
    return DemoTable(dataset.id, columns, partial(_rows, dataset), dataset.title)


@lru_cache(maxsize=16)
def _rows(dataset: DatasetDescription) -> demo_tables.Rows:
    """Return a row for each of some cells: points in their middle, or polygons that leave a gap between them."""
    plain = [column for column in dataset.columns if column.type != _GEOMETRY]
    known = DatasetDescription(dataset.id, dataset.title, dataset.kind, columns=tuple(plain))
    result = []
    for number, (west, south, east, north) in enumerate(_cells(dataset.bounds)):
        middle = shapely.Point((west + east) / 2.0, (south + north) / 2.0)
        inner = shapely.box(*(round(v, 9) for v in _shrunk(west, south, east, north)))
        index = demo_tables.index_of(number)
        shape = middle if dataset.is_point_table else inner
        result.append(FeatureRow(index, shape, property_values(known, index, dataset.start)))
    return tuple(result)


def _shrunk(west: float, south: float, east: float, north: float) -> Bounds:
    across, down = (east - west) * 0.1, (north - south) * 0.1
    return west + across, south + down, east - across, north - down


def _cells(bounds: Bounds) -> list[Bounds]:
    """Return cells over bounds; where they hold the demo area, finer ones there."""
    area = shapely.box(*DEMO_AREA)
    coarse = _divided(bounds, _COARSE)
    if not shapely.box(*bounds).contains(area):
        return coarse
    return [*_divided(DEMO_AREA, _FINE), *(cell for cell in coarse if not shapely.box(*cell).intersects(area))]


def _divided(bounds: Bounds, parts: tuple[int, int]) -> list[Bounds]:
    west, south, east, north = bounds
    columns, rows = parts
    across, down = (east - west) / columns, (north - south) / rows
    return [
        (west + i * across, south + j * down, west + (i + 1) * across, south + (j + 1) * down)
        for j in range(rows)
        for i in range(columns)
    ]
