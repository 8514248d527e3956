"""Read the time series of a run from the tables of its regions, or from one table; average images of a day, and find
the columns' units.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from eechips.datasets.result_bands import describe_units
from eechips.errors import UsageError
from eechips.manifest.run import Run
from eechips.storage import LocalStore
from eechips.storage.untrusted_files import open_parquet, read_frame, translate_read_errors
from eechips.text.suggestion import describe_choices

_DATE = "date"
_BATCH = 65_536  # rows of a table that are read at a time


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The time series of a region.

    Attributes:
        region: its id, as text.
        values: a column for each quantity; the index has unique, sorted dates.
    """

    region: str
    values: pd.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """The time series of regions of a run.

    Attributes:
        id_column: name of the column with the region's id.
        curves: in the requested order, or in the order of the run.
        total: number of regions of the run.
    """

    id_column: str
    curves: list[Curve]
    total: int


def read_curves(run: Run, regions: Sequence[Any] = (), bands: Sequence[str] = (), *, most: int) -> Curves:
    """Read the time series of a run from tables with a column ``date``.

    Args:
        run: the run, finished or in progress.
        regions: ids, as values or as text; empty for the first ones.
        bands: names of columns, or of bands for all of their columns; empty for all except counts and valid fractions.
        most: maximum regions if none are named.

    Raises:
        UsageError: if the run has no time series, or no such region or column; the message lists regions or columns.
        StorageError: if a table is damaged.
    """
    with translate_read_errors(run.path):
        tables = open_series(run)
        names = list(dict.fromkeys(str(region) for region in regions))
        known = tables.ids()
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UsageError(
                f"there is no region {unknown[0]!r} in {run.path}; {describe_choices(unknown[0], list(known))}"
            )
        if not known:
            raise UsageError(f"{run.path} has no time series: no region has a row")
        chosen = names or list(known)[:most]
        curves = [Curve(name, _curve(tables.read(known[name]), bands)) for name in chosen]
        return Curves(tables.id_column, curves, len(known))


def iterate_curves(run: Run, tables: SeriesTables, bands: Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Yield the id of each region, and its values by date as :class:`Curve` has them, without loading all tables.

    ``bands`` is as in :func:`read_curves`.

    Raises:
        UsageError: if there is no such column; the message lists columns.
        StorageError: if a table is damaged.
    """
    with translate_read_errors(run.path):
        for region, rows in tables.regions():
            yield region, _curve(rows, bands)


def open_series(run: Run) -> SeriesTables:
    """Open the tables of time series of a run.

    Raises:
        UsageError: if the run has none.
        StorageError: if a table is damaged.
    """
    if run.info.get("recipe") == "points":  # a column `date` of the user's file is that of a place
        raise UsageError(f"{run.path} has no time series: it has values at points; `eechips timeseries` makes series")
    with translate_read_errors(run.path):
        paths = [path for path in run.assembled if path.suffix in (".csv", ".parquet")]
        return _OneTable(paths) if paths else _tables(run)


class _OneTable:
    """All regions in one table, perhaps in several files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.id_column = _id_column(_read(paths[0], rows=0), paths[0])
        ids = (_ids_in(path, self.id_column) for path in paths if len(paths) > 1 and path.suffix == ".csv")
        self._texts = _texts(self.id_column, chain.from_iterable(ids))

    def ids(self) -> dict[str, Any]:
        """Regions by their ids as text."""
        return {str(value): value for path in self._paths for value in _ids_in(path, self.id_column, self._texts)}

    def read(self, region: Any) -> pd.DataFrame:
        """Return the rows of a region."""
        rows = [_rows(path, self.id_column, region, self._texts) for path in self._paths]
        return pd.concat(rows, ignore_index=True)

    def regions(self) -> Iterator[tuple[Any, pd.DataFrame]]:
        """Yield the rows of each region, in the order of their ids, in which the rows of each file are."""
        parts = heapq.merge(*(_parts(path, self.id_column, self._texts) for path in self._paths), key=itemgetter(0))
        for region, some in groupby(parts, key=itemgetter(0)):
            yield region, pd.concat([rows for _, rows in some], ignore_index=True)


class _Tables:
    """Tables of each region; several of one region are of different dates, as an extended run has them.

    Args:
        paths: paths of the files, Parquet or CSV, in the order of the plan, with the region if the plan has it.
    """

    def __init__(self, paths: Sequence[tuple[Path, Any]]) -> None:
        self.id_column = _id_column(_read(paths[0][0], rows=0), paths[0][0])
        self._paths: dict[str, list[Path]] = {}
        ids: list[Any] = []
        for path, region in paths:
            own = [region] if region is not None else _ids_in(path, self.id_column)
            ids += own
            for value in own:
                self._paths.setdefault(str(value), []).append(path)
        self._texts = _texts(self.id_column, ids)

    def ids(self) -> dict[str, Any]:
        """Regions by their ids as text."""
        return {name: name for name in self._paths}

    def read(self, region: Any) -> pd.DataFrame:
        """Return the rows of a region."""
        table = pd.concat([_read(path, texts=self._texts) for path in self._paths[region]], ignore_index=True)
        region_rows: pd.DataFrame = table[table[self.id_column].astype(str) == region]
        return region_rows

    def regions(self) -> Iterator[tuple[Any, pd.DataFrame]]:
        """Yield the rows of each region."""
        groups: dict[tuple[Path, ...], set[str]] = {}
        for name, own in self._paths.items():
            groups.setdefault(tuple(own), set()).add(name)
        shared = Counter(path for paths in groups for path in paths)
        for paths, names in groups.items():
            table = pd.concat([_read(path, texts=self._texts) for path in paths], ignore_index=True)
            has_others = any(shared[path] > 1 for path in paths)
            for region, rows in table.groupby(self.id_column, sort=False):
                if not has_others or str(region) in names:
                    yield region, rows


SeriesTables = _OneTable | _Tables
"""The tables of time series of a run: ``id_column`` is the name of the column with the region's id."""


def _parts(path: Path, column: str, texts: Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Yield the rows of each region of a file, in its order; a region may come in several parts."""
    if path.suffix != ".parquet":
        yield from _read(path, texts=texts).groupby(column, sort=False)
        return
    with open_parquet(path) as file:
        for batch in file.iter_batches(_BATCH):
            yield from batch.to_pandas().groupby(column, sort=False)


def _tables(run: Run) -> _Tables:
    units = run.units
    there = units[units["file"].notna()]
    paths = [
        (LocalStore(run.path).file(file), unit.get("region") if isinstance(unit, dict) else None)
        for file, unit in zip(there["file"], there["unit"], strict=True)
        if file.endswith((".csv", ".parquet"))
    ]
    local = [(path, region) for path, region in paths if path.is_file()]
    if run.address is not None and len(local) < len(paths):
        raise UsageError(f"the tables of {run.path} are in {run.address}: copy them into the folder, under their names")
    if not local:  # it has none, or its script has removed them
        raise UsageError(f"{run.path} has no time series: it has no tables among its results")
    return _Tables(local)


def _id_column(table: pd.DataFrame, path: Path) -> str:
    columns = [str(column) for column in table.columns]
    others = [column for column in columns if column != _DATE]
    if _DATE not in columns or len(others) < 2:
        there = ", ".join(columns)
        raise UsageError(
            f"{path} is not a time series: it needs a column of regions, one called date, and values: {there}"
        )
    return others[0]


def _texts(column: str, ids: Iterable[Any]) -> Sequence[str]:
    """Return the column of the ids if it is read as text: one file may have the digits 10001, another 08013."""
    return (column,) if any(isinstance(value, str) for value in ids) else ()


def _read(
    path: Path, columns: list[str] | None = None, rows: int | None = None, texts: Sequence[str] = ()
) -> pd.DataFrame:
    return read_frame(path, path.suffix[1:], columns=columns, rows=rows, texts=texts)


def _ids_in(path: Path, column: str, texts: Sequence[str] = ()) -> list[Any]:
    """Return the ids of the regions in a file."""
    return _read(path, columns=[column], texts=texts)[column].drop_duplicates().tolist()


def _rows(path: Path, column: str, region: Any, texts: Sequence[str]) -> pd.DataFrame:
    if path.suffix == ".parquet":
        with open_parquet(path) as file:
            tables = (pa.Table.from_batches([batch]) for batch in file.iter_batches(_BATCH))
            chosen = [table.filter(pc.field(column) == region) for table in tables]
            chosen_rows: pd.DataFrame = pa.concat_tables([file.schema_arrow.empty_table(), *chosen]).to_pandas()
            return chosen_rows
    table = _read(path, texts=texts)
    region_rows: pd.DataFrame = table[table[column] == region]
    return region_rows


def _curve(rows: pd.DataFrame, bands: Sequence[str]) -> pd.DataFrame:
    """Return the values by date; several images of a day are averaged, since a line has one point for each date."""
    numbers = [str(c) for c in rows.columns[1:] if c != _DATE and not _is_text(rows[c])]
    if bands:
        chosen = [column for band in bands for column in _columns_of(band, numbers)]
    else:
        chosen = [column for column in numbers if not _is_of_pixels(column)] or numbers
    values = rows[chosen].astype(float)
    values.index = pd.DatetimeIndex(pd.to_datetime(rows[_DATE]))
    daily_means: pd.DataFrame = values.groupby(level=0).mean()
    return daily_means.sort_index()


def _columns_of(band: str, columns: list[str]) -> list[str]:
    if band in columns:
        return [band]
    band_columns = [column for column in columns if column.startswith(f"{band}_") and not _is_of_pixels(column)]
    if not band_columns:
        raise UsageError(f"there is no column {band!r}; {describe_choices(band, columns)}")
    return band_columns


def _is_of_pixels(column: str) -> bool:
    """Return whether a column says how many pixels have data, or which share of them."""
    return column in ("count", "valid_fraction") or column.endswith(("_count", "_valid_fraction"))


def _is_text(values: pd.Series[Any]) -> bool:
    return not pd.api.types.is_numeric_dtype(values) and bool(values.notna().any())


_WITHOUT_UNITS = frozenset({"count", "variance"})
"""Reducers whose values have no units, or others than their band."""


def column_units(columns: Sequence[str], info: Mapping[str, Any]) -> dict[str, str]:
    """Return the units of columns of values; columns without known units are left out.

    Args:
        columns: names, ``<band>`` or ``<band>_<reducer>``.
        info: content of run.json.
    """
    units = {str(band.get("band")): describe_units(band) for band in info.get("bands", ())}
    reducers = str(info.get("parameters", {}).get("reducer") or "").split(",")
    named = dict(units) if reducers[0] not in _WITHOUT_UNITS or len(reducers) > 1 else {}
    named |= {f"{band}_{name}": units[band] for band in units for name in reducers if name not in _WITHOUT_UNITS}
    return {column: named[column] for column in columns if named.get(column)}


def common_units(columns: Sequence[str], info: Mapping[str, Any]) -> str:
    """Return the units that all columns have; empty if they differ or are not known."""
    units = column_units(columns, info)
    return units[columns[0]] if len(units) == len(columns) and len(set(units.values())) == 1 else ""


def label_columns(columns: Sequence[str], info: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of columns: their names, with their units where they are known."""
    units = column_units(columns, info)
    return {column: f"{column} ({units[column]})" if column in units else column for column in columns}
