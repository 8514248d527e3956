"""Request the statistics of one region, or of several regions together, check the rows of the responses, and merge the
tables of all.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import ee
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eechips.builtin_recipes.tables.embedding_means import normalize
from eechips.client.http.marked_requests import check_count
from eechips.client.table_rows import refusing_other_values, repeated_keys
from eechips.engine.results.result_assembly import Results
from eechips.errors import ValidationError
from eechips.formats import TableFormat
from eechips.formats.large_tables import TableAppender, TableSpill
from eechips.formats.table import arrange_columns
from eechips.geo.grid import Transform, service_crs
from eechips.planning.areas.region_reducers import COUNT, VALID_FRACTION, Statistics
from eechips.planning.imagery.periods import Period
from eechips.recipe import Table, Unit
from eechips.recipe.results import Series, SplittableTable
from eechips.text.formatting import format_count

_TIME, _INDEX = "system:time_start", "system:index"

# Enough for any region at any scale; the default of 1e7 is too small for a county at 10 m.
_MAX_PIXELS = 10**13
_EXACT = 2**53  # the largest integer up to which a double holds all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """Parameters of the reduction of pixels.

    Attributes:
        id_column: name of the column with the region's id.
        crs: CRS of the pixels; None for the CRS of each image's first band.
        transform: transform of the pixels, with ``crs``.
        scale: edge of the pixels in metres, without ``crs``; None for the images' own.
        vector: numeric columns that are together a mean vector, which is divided by its length.
        min_clear: least valid fraction of a region, 0 to 1; with less, its values are missing.
    """

    bands: tuple[str, ...]
    statistics: Statistics
    id_column: str
    crs: str | None = None
    transform: Transform | None = None
    scale: float | None = None
    vector: tuple[str, ...] = ()
    min_clear: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numeric columns: of the statistics, and of the valid fraction of each band."""
        return (*self.statistics.columns(self.bands), *self.statistics.valid_fractions(self.bands))

    @property
    def shares(self) -> tuple[str, ...]:
        """Names of the bands of :meth:`validity`."""
        return tuple(f"{band}_{VALID_FRACTION}" for band in self.bands)

    def validity(self, values: ee.Image) -> Any:
        """Return an image that is 1 where a band has data and 0 elsewhere, also beyond the footprint.

        Its mean in a region is the valid fraction: each pixel has the weight of its part inside the region, so that
        regions smaller than a pixel have one, too.
        """
        masks: Any = values.mask().gt(0).unmask(0, False)
        return masks.rename(list(self.shares))

    @property
    def share_reducer(self) -> ee.Reducer:
        """The reducer of :meth:`validity`."""
        mean: Any = ee.Reducer.mean()
        reducer: ee.Reducer = mean.setOutputs([VALID_FRACTION])
        return reducer

    @property
    def pixels(self) -> dict[str, Any]:
        """Arguments of Earth Engine's reductions that select the pixel grid."""
        if self.crs is not None:
            return {"crs": service_crs(self.crs), "crsTransform": list(self.transform or ())}
        return {"scale": self.scale}

    def finished(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """Return the columns of a table, without values of too few valid pixels, vectors divided by their length.

        Raises:
            ValidationError: if a value is missing although pixels with data were counted.
        """
        return self._normalized(self._clear(columns))

    def _clear(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        cleared = dict(columns)
        shares = self.statistics.valid_fractions(self.bands)
        for share, names in zip(shares, self.statistics.values(self.bands).values(), strict=True):
            counts = columns[share.removesuffix(VALID_FRACTION) + COUNT]
            clear = [(fraction or 0.0) >= self.min_clear for fraction in columns[share]]
            for name in names:
                if any(count and value is None for count, value in zip(counts, columns[name], strict=True)):
                    raise ValidationError(f"the response has no {name} of pixels that have data")
                cleared[name] = [
                    value if is_kept else None for value, is_kept in zip(columns[name], clear, strict=True)
                ]
        return cleared

    def _normalized(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        if not self.vector:
            return columns
        vectors = np.array([columns[name] for name in self.vector], dtype=np.float64).T
        components = normalize(vectors).T.tolist()
        values = [[None if value != value else value for value in column] for column in components]
        return {**columns, **dict(zip(self.vector, values, strict=True))}


@dataclass(frozen=True, slots=True, eq=False)
class Elements:
    """The elements that have a row each for each region.

    Attributes:
        images: in any order; each has a time.
        values: returns the bands of an image that are reduced.
        count: number of images, if there is a row for each image and region; None for rows of regions that meet the
            image's footprint.
    """

    images: ee.ImageCollection
    values: Callable[[ee.Image], ee.Image]
    count: int | None = None

    def check_rows(self, received: int, regions: int) -> None:
        """Refuse fewer rows than there are images and regions, or more."""
        if self.count is not None:
            check_count(received, self.count * regions)


def composite_elements(elements: Elements, bands: Sequence[str], periods: Sequence[Period], name: str) -> Elements:
    """Return one image for each period, with the time of its first day; without images it is fully masked.

    A composite has no projection of its own, so reductions of it need an explicit pixel grid.

    Args:
        elements: images of the composites.
        bands: names of the bands that ``elements.values`` returns.
        periods: in order.
        name: name of a reducer, or ``mosaic`` for the latest image on top.
    """
    # Added to each period, since a reducer of no images returns no bands.
    nothing = ee.ImageCollection([ee.Image.constant([0] * len(bands)).rename(list(bands)).updateMask(0)])

    def composite(edges: Any) -> Any:
        start, end = (ee.Date(ee.List(edges).get(side)) for side in (0, 1))
        some = elements.images.filterDate(start, end).sort(_TIME)
        some = some.map(lambda image: elements.values(ee.Image(image)))
        if name == "mosaic":
            period_image = some.merge(nothing).mosaic()
        else:
            period_image = some.merge(nothing).reduce(Statistics((name,)).single()).rename(list(bands))
        return period_image.set(_TIME, start.millis())

    edges = [[_milliseconds(period.start), _milliseconds(period.end)] for period in periods]
    images = ee.ImageCollection(ee.List(edges).map(composite))
    return Elements(images, lambda image: image, count=len(periods))


def reduce_region(
    elements: Elements, reduction: Reduction, region: Any, geometry: ee.Geometry, table_format: TableFormat
) -> Table:
    """Return the table of one region: a row for each image that meets it, by time."""
    outputs = reduction.statistics.outputs(reduction.bands)
    reducer = reduction.statistics.reducer()
    where: dict[str, Any] = {"geometry": geometry, "maxPixels": _MAX_PIXELS, **reduction.pixels}

    def row(element: Any) -> Any:
        image: Any = ee.Image(element)
        chosen: Any = elements.values(image)
        shares = reduction.validity(chosen).reduceRegion(reducer=reduction.share_reducer, **where)
        reduced: Any = chosen.reduceRegion(reducer=reducer, **where)
        row_values = [reduced.get(output) for output in outputs] + [shares.get(name) for name in reduction.shares]
        values = dict(zip(reduction.columns, row_values, strict=True))
        return ee.Feature(None, {reduction.id_column: region, "date": image.date().format("YYYY-MM-dd"), **values})

    columns = (reduction.id_column, "date", *reduction.columns)

    @refusing_other_values()
    def unpack(rows: list[dict[str, Any]]) -> Mapping[str, Sequence[Any]]:
        for row in rows:
            if not _is_same(other := row.get(reduction.id_column), region):
                raise ValidationError(f"the response has rows of region {other!r}, not of {region!r}")
        elements.check_rows(len(rows), 1)
        _check_distinct([row[_INDEX] for row in rows if row[_INDEX] is not None])
        _check_order([(0, row.get("date")) for row in rows])
        return reduction.finished(dict(zip(*arrange_columns(rows, columns), strict=True)))

    return Table(Series(elements.images, row), format=table_format, unpack=unpack)


def reduce_regions(elements: Elements, reduction: Reduction, regions: Sequence[tuple[Any, ee.Geometry]]) -> Table:
    """Return the table of several regions: for each region, a row for each image that meets it, by time.

    Each image becomes one feature with the values of all regions, since a page of the response has at most 1,000
    features.

    Args:
        elements: elements that meet any of the regions.
        regions: id and geometry of each region.
    """
    outputs = reduction.statistics.outputs(reduction.bands, of_collection=True)
    # reduceRegions omits the name of a single band.
    outputs = (*outputs, *(reduction.shares if len(reduction.bands) > 1 else (VALID_FRACTION,)))
    request = _RegionsRequest(elements, reduction, regions, outputs)
    return Table(request.table(0, len(regions)), format="parquet", unpack=request.unpack)


@dataclass(frozen=True)
class _RegionsRequest:
    """A request of a row for each element, whose cells are lists of the regions' outputs.

    Attributes:
        outputs: names that ``reduceRegions`` gives the outputs.
    """

    elements: Elements
    reduction: Reduction
    regions: Sequence[tuple[Any, ee.Geometry]]
    outputs: Sequence[str]

    def table(self, first: int, end: int) -> SplittableTable:
        """Return the table of the regions from one number to before another."""
        middle = (first + end) // 2
        return SplittableTable(
            Series(self.elements.images, self._row(first, end)),
            end - first,
            lambda: (self.table(first, middle), self.table(middle, end)),
        )

    def _row(self, first: int, end: int) -> Callable[[Any], Any]:
        reduction, reducer = self.reduction, self.reduction.statistics.reducer()
        numbered = [ee.Feature(geometry, {"number": number}) for number, (_, geometry) in enumerate(self.regions)]
        collection = ee.FeatureCollection(numbered[first:end])

        def row(element: Any) -> Any:
            image: Any = ee.Image(element)
            there = collection if self.elements.count is not None else collection.filterBounds(image.geometry())
            chosen: Any = self.elements.values(image)
            reduced: Any = chosen.reduceRegions(collection=there, reducer=reducer, **reduction.pixels)
            # The same features, with one more property each.
            reduced = reduction.validity(chosen).reduceRegions(
                collection=reduced, reducer=reduction.share_reducer, **reduction.pixels
            )

            def cells(feature: Any) -> Any:
                return [ee.Feature(feature).get(name) for name in ("number", *self.outputs)]

            packed = reduced.toList(end - first).map(cells)
            return ee.Feature(None, {"date": image.date().format("YYYY-MM-dd"), "cells": packed})

        return row

    @refusing_other_values()
    def unpack(self, rows: list[dict[str, Any]]) -> Mapping[str, Sequence[Any]]:
        """Return the columns of the table, sorted by region and time."""
        _check_distinct([(row[_INDEX], cell[0]) for row in rows if row[_INDEX] is not None for cell in row["cells"]])
        cells = [(cell[0], row.get("date"), *cell[1:]) for row in rows for cell in row["cells"]]
        if any(not 0 <= cell[0] < len(self.regions) for cell in cells):
            raise ValidationError(
                f"the response has rows of other regions than the {len(self.regions):,} that were asked for"
            )
        self.elements.check_rows(len(cells), len(self.regions))
        cells.sort(key=itemgetter(0))  # stable: keeps the order by time within each region
        _check_order([(cell[0], cell[1]) for cell in cells])
        numbers, dates, *values = zip(*cells, strict=True) if cells else [()] * (2 + len(self.outputs))
        ids = [self.regions[number][0] for number in numbers]
        names = (self.reduction.id_column, "date", *self.reduction.columns)
        return self.reduction.finished(dict(zip(names, (ids, dates, *values), strict=True)))


def _is_same(value: Any, region: Any) -> bool:
    """Return whether the id in a row is that of its region; numbers in JSON have the 53 bits of a double."""
    return bool(value == region) or (isinstance(region, (int, float)) and abs(region) > _EXACT)


def _check_distinct(keys: Sequence[Any]) -> None:
    """Refuse rows of one image and region that came twice: images of a collection have an index each."""
    repeated = repeated_keys(keys)
    if repeated:
        raise ValidationError(f"the response has a row twice: {repeated[0]!r}")


def _check_order(keys: Sequence[tuple[int, Any]]) -> None:
    """Refuse rows that are not in the order in which they were asked for: a proxy may have altered others as well."""
    if any(day is None for _, day in keys) or any(map(operator.lt, keys[1:], keys)):
        raise ValidationError("the rows of the response are not in the order of their dates")


def _milliseconds(day: dt.date) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.timezone.utc).timestamp() * 1000)


MOST_ROWS = 1_000_000
"""Maximum rows sorted in memory at once: some 250 MB with ids as text."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Columns and files of a table.

    Attributes:
        id_column: name of the column with the region's id.
        values: names of the numeric columns.
        counts: names of the integer columns among them.
        by_year: whether there is a file for each year, in Hive-style folders (``series/year=2019/…``); else one file.
    """

    id_column: str
    values: tuple[str, ...]
    counts: frozenset[str]
    format: TableFormat
    by_year: bool = False

    def schema(self, ids: pa.DataType) -> pa.Schema:
        """Return the schema: ids of the given type, dates as text (YYYY-MM-DD), numbers float64, counts int64."""
        numbers = [(name, pa.int64() if name in self.counts else pa.float64()) for name in self.values]
        return pa.schema([(self.id_column, ids), ("date", pa.string()), *numbers])


def merge_tables(results: Results, layout_for: Callable[[Unit], TableLayout], most_rows: int = MOST_ROWS) -> None:
    """Merge the parts of a run, Parquet files of several regions each, to one table.

    Rows are sorted by region id; rows of one region keep the order of their part. If the rows do not fit in memory,
    they are first distributed to files by ranges of ids, on the disk of the results, which take about as much space as
    the uncompressed parts.

    Args:
        results: results of units with ``"regions"``, a list of ``{"region": id, …}``.
        layout_for: returns the layout of the table for any unit.
        most_rows: maximum rows sorted at once.
    """
    parts: list[Path] = []
    missing = rows = 0
    layout: TableLayout | None = None
    for settled in results:
        layout = layout or layout_for(settled.unit)
        if settled.path is None:
            missing += len(settled.unit["regions"])
        else:
            parts.append(settled.path)
            rows += settled.record.rows or 0
    assert layout is not None, "a plan has units"
    schema = layout.schema(_id_type(layout.id_column, parts))
    count = max(1, math.ceil(rows / most_rows))
    with TableSpill(results.folder, schema, count) as ranges, _Files(results, layout, schema) as files:
        _deal(parts, schema, ranges, count)
        for number in range(count):
            files.write(_in_order(ranges.take(number)))
    if missing:
        results.say(f"{format_count(missing, 'region')} missing in the table: requests failed")


def _id_type(column: str, parts: Sequence[Path]) -> pa.DataType:
    """Return the common type of the ids: float64 for integers and fractions, text for other mixtures."""
    types = {pq.read_schema(path).field(column).type for path in parts} - {pa.null()}
    if len(types) <= 1:
        return next(iter(types), pa.string())
    return pa.float64() if types == {pa.int64(), pa.float64()} else pa.string()


def _deal(parts: Sequence[Path], schema: pa.Schema, ranges: TableSpill, count: int) -> None:
    """Distribute the rows of all parts to ``count`` ranges of ids."""
    if count == 1:
        for path in parts:
            ranges.add(0, _read(path, schema))
        return
    ids = np.unique(np.concatenate([_read(path, schema, 1).column(0).unique().to_pandas() for path in parts]))
    limits = ids[[len(ids) * number // count for number in range(1, count)]]
    for path in parts:
        table = _read(path, schema)
        which = np.searchsorted(limits, table.column(0).to_pandas().to_numpy(), side="right")
        for number in np.unique(which).tolist():
            ranges.add(number, table.filter(pa.array(which == number)))


def _read(path: Path, schema: pa.Schema, columns: int | None = None) -> pa.Table:
    """Read the first columns of a part in the types of the schema: columns of empty parts may have no type."""
    wanted = pa.schema(list(schema)[:columns])
    return pq.read_table(path, columns=wanted.names).cast(wanted)


def _in_order(table: pa.Table) -> pa.Table:
    """Sort a table by its first column; the sort is stable."""
    keys = table.column(0).to_pandas().to_numpy()
    return table.take(pa.array(np.argsort(keys, kind="stable")))


class _Files:
    """Write the files of a table. At the end of a ``with`` block they receive their final names, in order."""

    def __init__(self, results: Results, layout: TableLayout, schema: pa.Schema) -> None:
        self._results, self._layout, self._schema = results, layout, schema
        self._open: dict[str, tuple[ExitStack, TableAppender]] = {}

    def __enter__(self) -> _Files:
        if not self._layout.by_year:
            self._file("series")  # even without rows
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, (stack, _) in sorted(self._open.items()):
            stack.__exit__(kind, error, trace)

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if not self._layout.by_year:
            self._file("series").write(table)
            return
        years = pc.utf8_slice_codeunits(table.column("date"), 0, 4)
        for year in sorted(pc.unique(years).to_pylist()):
            self._file(f"series/year={year}/series").write(table.filter(pc.equal(years, year)))

    def _file(self, stem: str) -> TableAppender:
        if stem not in self._open:
            stack = ExitStack()
            path = stack.enter_context(self._results.make(f"{stem}.{self._layout.format}"))
            self._open[stem] = stack, stack.enter_context(TableAppender(path, self._schema, self._layout.format))
        return self._open[stem][1]
