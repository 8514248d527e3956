"""Make tables from the description of a dataset: rows with the stated columns, over its extent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial

import shapely

from eechips_local.demo import demo_tables
from eechips_local.demo.demo_tables import DemoTable
from eechips_local.demo.painting.noise import hashed
from eechips_local.evaluation.asset_model import Bounds, FeatureRow, Query
from eechips_local.stubs.dataset_description import DatasetDescription
from eechips_local.stubs.stub_properties import check_equals, property_values

_COARSE = (20, 10)
_FINE = (10, 10)
"""Columns and rows of cells: over the extent, and over the demo area."""

DEMO_AREA: Bounds = (-105.6, 39.6, -104.4, 40.6)
"""The plains and mountains that the documentation's examples show, in degrees."""

_ACROSS = 3
"""Cells that lie across a searched place, at the least: halves of halves of the coarse ones."""
_FINEST = 14
_CELL_BITS = 65
"""Bits of the number of a cell, at the most: of its level, row and column."""
_GAP = 0.05
"""Share of a cell at each side that its polygon leaves, so that pictures show more than one colour."""

# Types of columns as Earth Engine names them, by those of its catalogue.
_TYPES = {"DOUBLE": "Float", "INT": "Integer", "STRING": "String", "DATETIME": "Long", "GEOMETRY": "Geometry"}
_GEOMETRY = "GEOMETRY"
_MOST_YEARS = 50
_DAYS = 5
"""Number that tells the noise of days from others."""


@dataclass(frozen=True, slots=True)
class StubTable(DemoTable):
    """A table of cells: coarse ones over the whole extent, finer ones where a place is searched."""

    dataset: DatasetDescription

    def rows(self, query: Query) -> Iterator[FeatureRow]:
        """See ``TableAsset.rows``. So that a small place has rows too, they are as fine as the place is small."""
        check_equals(self.dataset, query)
        level = 0 if query.bounds is None else _level(self.dataset.bounds, query.bounds)
        if level == 0 or query.bounds is None:
            return DemoTable.rows(self, query)
        fine = _cells_within(self.dataset.bounds, query.bounds, level)
        return replace(self, draw=partial(_made, self.dataset, tuple(fine))).matching(query)

    def matching(self, query: Query) -> Iterator[FeatureRow]:
        """Return the rows that match a query."""
        return DemoTable.rows(self, query)


def stub_table(dataset: DatasetDescription) -> StubTable:
    """Return the table that is described."""
    columns = {column.name: _TYPES.get(column.type, "List") for column in dataset.columns}
    return StubTable(dataset.id, columns, partial(_rows, dataset), dataset.title, dataset)


@lru_cache(maxsize=16)
def _rows(dataset: DatasetDescription) -> demo_tables.Rows:
    """Return the rows of the coarse cells."""
    return _made(dataset, tuple(enumerate(_cells(dataset.bounds))))


def _made(dataset: DatasetDescription, cells: Sequence[tuple[int, Bounds]]) -> demo_tables.Rows:
    """Return a row for each of some numbered cells: a point in its middle, or a polygon."""
    plain = [column for column in dataset.columns if column.type != _GEOMETRY]
    known = DatasetDescription(dataset.id, dataset.title, dataset.kind, columns=tuple(plain))
    years = _years(dataset)
    result = []
    for number, (west, south, east, north) in cells:
        middle = shapely.Point((west + east) / 2.0, (south + north) / 2.0)
        across, down = (east - west) * _GAP, (north - south) * _GAP
        edges = shapely.box(*(round(v, 9) for v in (west + across, south + down, east - across, north - down)))
        shape = middle if dataset.is_point_table else edges
        for n, year in enumerate(years):
            index = demo_tables.index_of(number + (n << _CELL_BITS))
            start = _time_within(dataset, number) if len(years) == 1 else year
            result.append(FeatureRow(index, shape, property_values(known, index, start)))
    return tuple(result)


def _time_within(dataset: DatasetDescription, number: int) -> datetime | None:
    """Return the time of a numbered row: any day of the dataset, if its first and last are known."""
    if dataset.start is None or dataset.end is None or dataset.end <= dataset.start:
        return dataset.start
    days = max(1, (dataset.end - dataset.start).days)
    return dataset.start + timedelta(days=int(hashed(len(dataset.id), number & 0xFFFFFFFF, _DAYS)[0]) % days)


def _years(dataset: DatasetDescription) -> Sequence[datetime | None]:
    """Return the years of which each cell has a row: all of a table with a column of years, if they are few."""
    start, end = dataset.start, dataset.end
    if start is None or end is None or not any(column.name.lower() == "year" for column in dataset.columns):
        return (start,)
    years = range(start.year, (end - timedelta(milliseconds=1)).year + 1)
    return [start.replace(year=year, month=1, day=1) for year in years] if 1 < len(years) <= _MOST_YEARS else (start,)


def _level(extent: Bounds, place: Bounds) -> int:
    """Return how often the coarse cells are halved for a place: 0 for a point, and across the antimeridian."""
    sides = [(place[axis + 2] - place[axis]) / ((extent[axis + 2] - extent[axis]) / _COARSE[axis]) for axis in (0, 1)]
    return (
        0 if min(sides) < 0.0 or max(sides) == 0.0 else min(_FINEST, max(0, math.ceil(math.log2(_ACROSS / max(sides)))))
    )


def _cells_within(extent: Bounds, place: Bounds, level: int) -> Iterator[tuple[int, Bounds]]:
    """Return the cells of a level that meet a place, with their numbers."""
    counts = [parts << level for parts in _COARSE]
    edges = [(extent[axis + 2] - extent[axis]) / counts[axis] for axis in (0, 1)]
    ranges = [
        range(
            max(0, math.floor((place[axis] - extent[axis]) / edges[axis])),
            min(counts[axis], math.floor((place[axis + 2] - extent[axis]) / edges[axis]) + 1),
        )
        for axis in (0, 1)
    ]
    for row in ranges[1]:
        for column in ranges[0]:
            west, south = extent[0] + column * edges[0], extent[1] + row * edges[1]
            yield ((level << 30) + row << 30) + column, (west, south, west + edges[0], south + edges[1])


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
