"""Smooth the time series of a run (Whittaker, Savitzky-Golay) and fill their gaps, in columns beside the values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from eechips.errors import UsageError
from eechips.extras import import_extra
from eechips.formats.csv import LINE_END, CsvFile
from eechips.manifest.export import write_table
from eechips.manifest.run import Run, open_run
from eechips.reports.output_path import output_path
from eechips.reports.region_series import SeriesTables, iterate_curves, open_series
from eechips.reports.report_options import SMOOTHING_METHODS
from eechips.storage import open_atomic
from eechips.storage.untrusted_files import has_metadata

Method = Literal["whittaker", "savgol"]
SMOOTHED_NAME = "smoothed.parquet"

_KEY = b"eechips.smoothing"
"""Metadata of the table: how it was smoothed."""
_REGIONS = 1_000  # in a batch that is written
_HEADER = 100_000  # bytes: the names of columns have fewer
_DEGREE = 2  # of the polynomials of Savitzky-Golay filters
_LEAST_VALUES = 3  # fewer determine no curve
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How values are smoothed.

    Attributes:
        method: see :func:`smooth`.
        days: length in days of variations that are reduced to half by ``whittaker``; of the window of ``savgol``.
        max_gap: longest time between two values, in days, that is filled.
        step: days from a row to the next; None for the dates of the values.
    """

    method: Method = "whittaker"
    days: int = 60
    max_gap: int = 90
    step: int | None = None

    def __post_init__(self) -> None:
        if self.method not in SMOOTHING_METHODS:
            raise UsageError(f"unknown method {self.method!r}: one of {', '.join(SMOOTHING_METHODS)}")
        if self.days < _LEAST_VALUES:
            raise UsageError(f"`days` must be at least {_LEAST_VALUES}, not {self.days}")
        if self.max_gap < 1 or (self.step is not None and self.step < 1):
            raise UsageError("`max_gap` and `step` must be at least 1 day")


def smooth(
    run: Run | str | Path,
    *,
    method: Method = "whittaker",
    days: int = 60,
    max_gap: int = 90,
    step: int | None = None,
    bands: Sequence[str] | str = (),
    out: str | Path | None = None,
) -> Path:
    """Smooth the time series of a run and fill their gaps; the values of the run stay as they are.

    The table has the region's id, ``date``, and for each column of values ``NDVI`` the columns ``NDVI`` (the values;
    several of a day are averaged), ``NDVI_smooth`` (the smoothed series) and ``NDVI_filled`` (the values, and the
    smoothed series where they are missing). Nothing is extrapolated before the first and after the last value.

    Methods:
        - ``whittaker``: on days, with a penalty on second differences and no weight for missing days (Eilers 2003, A
          perfect smoother, https://doi.org/10.1021/ac034173t). A sine with a period of ``days`` keeps half of its
          amplitude.
        - ``savgol``: values are interpolated linearly to days, then polynomials of degree 2 are fitted in a moving
          window of ``days`` (scipy.signal.savgol_filter).

    Args:
        run: the run, or its folder: of ``timeseries``, or of a recipe whose tables have a region, a ``date`` and
            values.
        method: whittaker or savgol.
        days: how much is smoothed; more is smoother.
        max_gap: days between two values beyond which a gap stays empty.
        step: a row every so many days from the first date of each region; None for the dates of the run.
        bands: columns, or bands with all their columns; all except counts and valid fractions if empty.
        out: output file, CSV or Parquet by its suffix; None for ``smoothed.parquet`` in the run's folder.

    Returns:
        The path of the table.

    Raises:
        UsageError: if the run has no time series or no such column, an option is out of range, scipy is missing, or
            the file would replace one that this function has not written.

    Example:
        >>> table = pd.read_parquet(eechips.smooth("outputs/timeseries-s2", days=45))
    """
    import_extra("scipy.linalg", "smoothing needs scipy", "series")
    smoothing = Smoothing(method, days, max_gap, step)
    run = open_run(run)
    path = output_path(run, out, SMOOTHED_NAME)
    is_csv = path.suffix.lower() == ".csv"
    if not is_csv and path.suffix.lower() != ".parquet":
        raise UsageError(f"`out` must end in .csv or .parquet, not {path.name}")
    if path.exists() and not (_has_columns(path) if is_csv else has_metadata(path, _KEY)):
        raise UsageError(f"{path} was not written by eechips smooth and is not replaced: choose another `out`")
    chosen = [bands] if isinstance(bands, str) else list(bands)
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = _smoothed(run, open_series(run), chosen, smoothing)
    first = next(frames, None)
    if first is None:
        raise UsageError("there is nothing to smooth: no region has a row")
    return _write_csv(path, first, frames) if is_csv else _write_parquet(path, first, frames, smoothing)


def _has_columns(path: Path) -> bool:
    """Return whether a CSV file begins with the columns of a smoothed table."""
    with path.open("rb") as file:
        names = file.read(_HEADER).splitlines()[:1]
    return bool(names) and names[0].endswith(b"_filled") and b"_smooth," in names[0]


def _write_csv(path: Path, first: pd.DataFrame, frames: Iterator[pd.DataFrame]) -> Path:
    """Write the smoothed series of all regions as CSV; a missing value is an empty cell."""
    with open_atomic(path) as whole, CsvFile(whole.buffer) as file:
        first.to_csv(file, index=False, lineterminator=LINE_END)
        for frame in frames:
            frame.to_csv(file, index=False, header=False, lineterminator=LINE_END)
    return path


def _write_parquet(path: Path, first: pd.DataFrame, frames: Iterator[pd.DataFrame], smoothing: Smoothing) -> Path:
    """Write the smoothed series of all regions as Parquet, some at a time."""
    schema = pa.Schema.from_pandas(first, preserve_index=False)
    schema = pa.schema(
        [pa.field(field.name, pa.float64() if pa.types.is_null(field.type) else field.type) for field in schema],
        metadata={_KEY: json.dumps(asdict(smoothing))},
    )

    def batches() -> Iterator[list[Any]]:
        some = [first]
        while some:
            table = pa.Table.from_pandas(pd.concat(some), schema=schema, preserve_index=False)
            yield list(table.columns)
            some = list(islice(frames, _REGIONS))

    return write_table(path, schema, batches())


def _smoothed(run: Run, tables: SeriesTables, bands: Sequence[str], smoothing: Smoothing) -> Iterator[pd.DataFrame]:
    """Yield the rows of each region."""
    for region, values in iterate_curves(run, tables, bands):
        dates = _dates(values.index, smoothing.step)
        columns: dict[str, Any] = {tables.id_column: [region] * len(dates), "date": dates.strftime("%Y-%m-%d")}
        for name in values.columns:
            raw = values[name].reindex(dates).to_numpy(float)
            curve = smooth_series(values[name], dates, smoothing)
            filled = np.where(np.isfinite(raw), raw, curve)
            columns |= {str(name): raw, f"{name}_smooth": curve, f"{name}_filled": filled}
        yield pd.DataFrame(columns)


def _dates(index: Any, step: int | None) -> pd.DatetimeIndex:
    days = pd.DatetimeIndex(index)
    return days if step is None or not len(days) else pd.date_range(days[0], days[-1], freq=f"{step}D")


def smooth_series(values: pd.Series[Any], dates: pd.DatetimeIndex, smoothing: Smoothing) -> NDArray[np.float64]:
    """Return the smoothed series at dates: NaN outside of the values, in long gaps, and if there are too few values.

    The values are sorted by date and unique; missing ones are NaN, as which infinite ones count.
    """
    known_values = values[np.isfinite(values)]
    result = np.full(len(dates), np.nan)
    if len(known_values) < _LEAST_VALUES:
        return result
    days = ((known_values.index.to_numpy() - known_values.index.to_numpy()[0]) / _DAY).astype(np.int64)
    daily = np.full(days[-1] + 1, np.nan)
    daily[days] = known_values.to_numpy(float)
    curve = whittaker(daily, smoothing.days) if smoothing.method == "whittaker" else _savgol(daily, smoothing.days)
    for start, end in pairwise(days):
        if end - start > smoothing.max_gap:
            curve[start + 1 : end] = np.nan
    wanted = ((dates.to_numpy() - known_values.index.to_numpy()[0]) / _DAY).astype(np.int64)
    inside = (wanted >= 0) & (wanted < len(curve))
    result[inside] = curve[wanted[inside]]
    return result


def whittaker(values: NDArray[np.float64], days: float) -> NDArray[np.float64]:
    """Smooth evenly spaced values; missing ones (NaN) are filled.

    The result z minimises the sum of the squared differences to the values plus λ times that of the second differences
    of z. A sine of angular frequency ω keeps 1 / (1 + λ (2 - 2 cos ω)²) of its amplitude (Eilers 2003): half, for a
    period of ``days``.

    Args:
        values: values of shape (n,), at least three of which are numbers.
        days: period that keeps half of its amplitude, in steps.
    """
    from scipy.linalg import solveh_banded

    penalty = (2.0 - 2.0 * math.cos(2.0 * math.pi / days)) ** -2
    weights = np.isfinite(values).astype(float)
    count = len(values)
    # The upper diagonals of λ D'D + W, where D are second differences.
    bands = np.zeros((3, count))
    bands[0, 2:] = 1.0
    bands[1, 1:] = -4.0
    bands[2] = 6.0
    bands[1, [1, -1]] = -2.0
    bands[2, [0, -1]], bands[2, [1, -2]] = 1.0, 5.0
    if count == _LEAST_VALUES:
        bands[2, 1] = 4.0
    bands *= penalty
    bands[2] += weights
    smoothed: NDArray[np.float64] = solveh_banded(bands, np.where(weights > 0.0, values, 0.0))
    return smoothed


def _savgol(values: NDArray[np.float64], days: int) -> NDArray[np.float64]:
    from scipy.signal import savgol_filter

    there = np.flatnonzero(np.isfinite(values))
    whole = np.interp(np.arange(len(values)), there, values[there])
    window = min(days, len(values)) // 2 * 2 + 1  # odd
    window -= 2 * (window > len(values))
    smoothed: NDArray[np.float64] = savgol_filter(whole, window, min(_DEGREE, window - 1))
    return smoothed
