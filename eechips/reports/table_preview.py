"""Read tables among the results: their first rows, and the locations of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eechips.reports.unit_columns import MOST_UNITS, UnitColumn, UnitColumns
from eechips.storage.received_files import open_parquet, read_frame

_ROWS = 8  # rows of the preview of a table
_COLUMNS = 16
_COLOURING = 6  # maximum columns of a table for colouring its places
_LONGITUDES, _LATITUDES = ("longitude", "lon", "long", "lng", "x"), ("latitude", "lat", "y")


@dataclass(frozen=True, slots=True, eq=False)
class TableHead:
    """First rows of a table.

    Attributes:
        name: name of the file.
        columns: names; of many columns, the first ones.
        rows: values as text.
        total: number of rows of the table.
        left_out: number of columns that are not shown.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: int
    left_out: int


def read_head(path: Path) -> TableHead:
    """Read the first rows of a table.

    Args:
        path: path of a CSV or Parquet file.
    """
    frame = read_frame(path, path.suffix[1:], rows=_ROWS)
    if path.suffix == ".csv":
        with path.open("rb") as file:
            total = max(sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1, len(frame))
    else:
        with open_parquet(path) as table:
            total = table.metadata.num_rows
    names = [str(name) for name in frame.columns]
    shown = frame.iloc[:, :_COLUMNS]
    rows = [[_text(value) for value in row] for row in shown.itertuples(index=False)]
    return TableHead(path.name, names[:_COLUMNS], rows, total, max(len(names) - _COLUMNS, 0))


def read_locations(path: Path, *, seed: int = 0, most: int = MOST_UNITS) -> UnitColumns | None:
    """Return the rows of a table as places on a map, if it has columns of longitude and latitude.

    Args:
        path: path of a CSV or Parquet file.
        seed: seed of the random selection, if it has more rows than ``most``.
        most: maximum number of rows.
    """
    import pandas as pd

    columns = list(read_frame(path, path.suffix[1:], rows=0).columns)
    named = {str(column).lower(): str(column) for column in reversed(columns)}
    longitude = next((named[name] for name in _LONGITUDES if name in named), None)
    latitude = next((named[name] for name in _LATITUDES if name in named), None)
    if longitude is None or latitude is None:
        return None
    others = [str(column) for column in columns if column not in (longitude, latitude)]
    wanted = [longitude, latitude, *others[: _COLOURING // 2], *others[-_COLOURING // 2 :]]
    wanted = list(dict.fromkeys(wanted))
    frame = read_frame(path, path.suffix[1:], columns=wanted)
    total = len(frame)
    if total > most:
        frame = frame.sample(most, random_state=seed).sort_index()
    places = frame[[longitude, latitude]].apply(pd.to_numeric, errors="coerce").to_numpy(float, copy=True)
    places[~((np.abs(places[:, 0]) <= 360) & (np.abs(places[:, 1]) <= 90))] = np.nan
    count = len(frame)
    return UnitColumns(
        total=total,
        ids=[""] * count,
        states=["row"] * count,
        files=[None] * count,
        bytes=np.zeros(count, dtype=np.int64),
        valid=np.full(count, np.nan),
        errors=[None] * count,
        centres=places,
        outlines=np.full(count, None, dtype=object),
        columns=[column for name in wanted[2:] if (column := _column(name, frame[name])) is not None],
        tallies={},
    )


def _column(name: str, values: Any) -> UnitColumn | None:
    import pandas as pd

    known = values.dropna()
    different = known.nunique() if len(known) else 0
    if different < 2:
        return None
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return UnitColumn(name, "number", values.to_numpy(float, na_value=np.nan))
    texts = [None if pd.isna(value) else str(value) for value in values]
    return UnitColumn(name, "category" if different <= min(200, len(known) // 2 + 1) else "text", texts)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
