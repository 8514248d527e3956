"""Group chips for a split: by squares (``block_size``), H3 cells (``resolution``), dates (``cuts``), and distance from
another data set (``away_from``).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.errors import UsageError
from eechips.geo.crs import project
from eechips.geo.ellipsoid import Booleans, Floats
from eechips.geo.feature_index import FeatureIndex
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.geo.h3_cells import load_h3
from eechips.geo.vectors import read_features
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from eechips.text.formatting import format_count
from eechips.training.sample import Sample
from eechips.training.sample_reader import read_samples
from eechips.training.splits.split_balance import Ratios
from eechips.training.splits.split_table import NONE

EQUAL_AREA = "EPSG:6933"
"""The plane of square blocks: WGS 84 / NSIDC EASE-Grid 2.0 Global, cylindrical and equal-area."""

LEAST_SIZE = 10.0
"""Least size of a block in metres: smaller blocks contain single chips."""


def squares(lonlat: Floats, size: float) -> list[str]:
    """Assign places to blocks that are squares of equal area.

    They are squares on the ground at 30 degrees of latitude. Towards the poles they become narrower from west to east
    and longer from south to north, and keep their area.

    Args:
        lonlat: longitudes and latitudes in degrees, (n, 2).
        size: edge in metres, in the plane of ``EQUAL_AREA``.

    Returns:
        A name for each place: ``column/row`` of its square, counted from longitude 0 and the equator.

    Raises:
        UsageError: if the size is too small.
    """
    if not size >= LEAST_SIZE:
        raise UsageError(f"block_size must be at least {LEAST_SIZE:g} m")
    cells = np.floor(project(EQUAL_AREA, lonlat) / size).astype(np.int64) if len(lonlat) else np.empty((0, 2), int)
    return [f"{column}/{row}" for column, row in cells.tolist()]


def hexagons(lonlat: Floats, resolution: int) -> list[str]:
    """Assign places to blocks that are H3 cells (https://h3geo.org), of nearly one size all over the Earth.

    Args:
        lonlat: longitudes and latitudes in degrees, (n, 2).
        resolution: 0 to 15; 5 has cells of 253 km², 6 of 36 km² on average.

    Returns:
        Indexes of the cells, hexadecimal.

    Raises:
        UsageError: if there is no such resolution, or h3 is not installed.
    """
    h3 = load_h3()
    if not 0 <= resolution <= 15:
        raise UsageError(f"resolution must be 0 to 15, not {resolution}")
    return [h3.latlng_to_cell(latitude, longitude, resolution) for longitude, latitude in lonlat.tolist()]


def places(lonlat: Floats) -> list[str]:
    """Assign each place to a block of its own, so that only chips of the same place stay together."""
    return [f"{longitude:.6f},{latitude:.6f}" for longitude, latitude in (lonlat + 0.0).tolist()]


Span = tuple[dt.date, dt.date]
"""First and last day, both inclusive."""

_FIELDS = ("date", "time", "label_date", "observed")


def dates_of(sample: Sample, field: str | None) -> Span | None:
    """Return the first and last day of a sample's images; None if unknown.

    Args:
        field: field of its unit, with the date; None for the dates of its sources, or, where these are not known, what
            its unit says: a period, or a field that is called like a date.
    """
    if field is not None:
        return _span([sample.fields.get(field)])
    if sample.dates:
        return _span(sample.dates)
    start, end = _day(sample.unit.get("start")), _day(sample.unit.get("end"))
    if start is not None and end is not None and start < end:
        return start, end - dt.timedelta(days=1)
    return _span([next((sample.fields[name] for name in _FIELDS if name in sample.fields), None)])


def parse_cuts(text: str | Sequence[str]) -> tuple[dt.date, ...]:
    """Return the days of ``2019-01-01,2020-01-01``.

    Raises:
        UsageError: if one is no day, or they are not in order.
    """
    words = text.split(",") if isinstance(text, str) else list(text)
    days = tuple(day for word in words if (day := _day(word.strip())) is not None)
    if len(days) < len(words) or list(days) != sorted(set(days)):
        raise UsageError(f"cuts {text!r} is not days in order, as in 2019-01-01,2020-01-01")
    return days


def cuts_of(spans: Sequence[Span], ratios: Ratios) -> tuple[dt.date, ...]:
    """Return the first days of splits whose sizes are as close to the shares as whole days allow; the earliest first.

    Raises:
        UsageError: if there are fewer days than splits.
    """
    counts = Counter(last for _, last in spans)
    days = sorted(counts)
    if len(days) < len(ratios.names):
        raise UsageError(
            f"the chips are of {format_count(len(days), 'day')}, too few for {len(ratios.names)} splits: give fewer"
            " `ratios`, or another `by`"
        )
    before = [0]  # chips that are over before a day
    for day in days:
        before.append(before[-1] + counts[day])
    cuts, wanted, place = [], 0.0, 0
    for index, share in enumerate(ratios.shares[:-1]):
        wanted += share * len(spans)
        left = len(ratios.names) - 2 - index  # cuts that are still to come, each with a day of its own
        places = range(place + 1, len(days) - left)
        place = min(places, key=lambda candidate: (abs(before[candidate] - wanted), candidate))
        cuts.append(days[place])
    return tuple(cuts)


def split_of(span: Span, cuts: Sequence[dt.date], names: Sequence[str]) -> str:
    """Return the split of a chip: the first ends before the first cut. ``none`` if a cut falls into its days."""
    first, last = (sum(day >= cut for cut in cuts) for day in span)
    return names[first] if first == last else NONE


def _span(values: Sequence[Any]) -> Span | None:
    days = [_day(value) for value in values]
    known = [day for day in days if day is not None]
    return (min(known), max(known)) if known and len(known) == len(days) else None


def _day(value: Any) -> dt.date | None:
    try:
        return dt.date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


Paths = str | Path | Sequence[str | Path]


def list_paths(paths: Paths) -> tuple[Path, ...]:
    """Return one path or several as a tuple."""
    return (Path(paths),) if isinstance(paths, (str, Path)) else tuple(Path(path) for path in paths)


def read_footprints(path: Path) -> npt.NDArray[np.object_]:
    """Read the footprints of a data set.

    Args:
        path: folder of a run, or a vector file: GeoParquet, GeoJSON, or another format that GDAL reads.

    Returns:
        Geometries in EPSG:4326, (n,); None for rows without one.

    Raises:
        UsageError: if the run has no files with a location, or the folder holds no run.
        RegionError: if the file cannot be read.
    """
    if not path.is_dir():
        return read_features(path)[0]
    if not (path / LEDGER_NAME).is_file():
        raise UsageError(f"`away_from`: {path} is neither the folder of a run nor a vector file")
    outlines = footprints([grid for sample in read_samples(path) for grid in sample.grids])
    if shapely.is_missing(outlines).all():
        raise UsageError(f"`away_from`: the run {path} has no files with crs and transform: their location is unknown")
    return outlines


def find_near(grids: Sequence[Sequence[Grid]], paths: Sequence[Path], metres: float) -> Booleans:
    """Find units of which a file overlaps the footprints of another data set, or lies nearer than a distance.

    Args:
        grids: grids of the files of every unit.
        paths: see :func:`read_footprints`.
        metres: along the geodesic; 0 for those that overlap.

    Returns:
        Shape (units,).

    Raises:
        UsageError: if the location of a unit is unknown.
    """
    unknown = sum(not own for own in grids)
    if unknown:
        raise UsageError(
            f"`away_from`: {unknown:,} of {len(grids):,} results have no crs and transform, so that their location is"
            " unknown"
        )
    numbers: dict[Grid, int] = {}
    units = [(unit, numbers.setdefault(grid, len(numbers))) for unit, own in enumerate(grids) for grid in own]
    shapes: npt.NDArray[Any] = footprints(list(numbers))
    if shapely.is_missing(shapes).any():
        raise UsageError("`away_from`: a chip reaches beyond the area of its crs: its location is undefined")
    distances = np.full(len(shapes), np.inf)
    for path in paths:
        distances = np.minimum(distances, FeatureIndex(read_footprints(path)).distances(shapes, metres))
    is_near = np.zeros(len(grids), dtype=bool)
    for unit, number in units:
        is_near[unit] |= bool(np.isfinite(distances[number]))
    return is_near
