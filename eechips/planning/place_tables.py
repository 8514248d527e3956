"""Read tables of places, points or polygons: find columns of coordinates and dates, and list the faults of rows
(swapped degrees, no number, no date).
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from eechips.errors import RegionError
from eechips.geo.crs import LAT_NAMES, LON_NAMES, find_column
from eechips.geo.ellipsoid import Booleans, Floats, Geometries, Indices
from eechips.geo.file_crs import WGS84, choose_crs, crs_cure
from eechips.geo.text_tables import DECIMAL_COMMA, guess_date_formats, is_text_table, name_rows, with_decimal_points
from eechips.geo.vector_paths import hash_vectors
from eechips.geo.vectors import read_table, repair, to_wgs84
from eechips.text.suggestion import describe_choices

Kind = Literal["points", "polygons"]

_DATE_NAMES = {"date", "datetime", "eventdate", "observed", "time", "timestamp"}  # eventDate: Darwin Core
_YEAR_FIRST = re.compile(r"\d{4}-?\d\d-?\d\d([T ].*)?")
_FIRST = {"m": "month", "y": "year"}
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]*)?([eE][-+]?[0-9]+)?$"  # float64 has all integers of 15 digits
_WANTED: Mapping[Kind, str] = {
    "points": "chips need points; for polygons, use `regions` (their extents) or `cells` (chips at their centres)",
    "polygons": "`cells` needs polygons; for points, use `points`",
}
_log = logging.getLogger(__name__)
_SHOWN = 5  # rows that a message names
_MOST_DEGREES = 1000.0  # greater coordinates are metres, not mistyped degrees


@dataclass(frozen=True, eq=False)
class _Fault:
    """Rows of a file that cannot be used, and why."""

    rows: Indices
    reason: str

    def __str__(self) -> str:
        return f"{_rows(self.rows)}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Places:
    """The rows of a file, each with a geometry.

    Attributes:
        sha256: SHA-256 of its bytes.
        geometries: shapely geometries in EPSG:4326, shape (n,), longitudes within -180 to 180; None for a row without
            a geometry.
        table: columns of the file, with a row for each geometry; columns of a CSV file are unchanged text,
            but for decimal commas of coordinates.
        reading: options without which the geometries would differ, as JSON: ``input_crs``.
        has_geometries: whether the file has geometries, and not columns of coordinates.
    """

    path: Path
    sha256: str
    kind: Kind
    geometries: Geometries
    table: pa.Table
    reading: dict[str, Any] = field(default_factory=dict)
    has_geometries: bool = False

    def __len__(self) -> int:
        return len(self.geometries)

    @property
    def known(self) -> Indices:
        """Indices of the rows that have a geometry."""
        return np.flatnonzero(~shapely.is_missing(self.geometries))

    def moments(self, field: str, date_format: str | None = None) -> Floats:
        """Read a column of dates.

        Args:
            date_format: format of the dates for ``datetime.strptime`` (``%d/%m/%Y``); None for ISO 8601.

        Returns:
            Milliseconds since 1970, UTC, shape (n,); NaN for rows without a date.

        Raises:
            RegionError: if the column does not exist, or a value is not a date in this format.
        """
        moments, faults = self._parse_dates(field, date_format)
        _raise_faults(self.path, faults)
        return moments

    def _row_faults(
        self, known: list[_Fault], dates: tuple[str, str | None] | None, *, is_complete: bool
    ) -> list[_Fault]:
        """Return further faults: wrong dates and, if rows must be complete, rows without coordinates or date."""
        faults: list[_Fault] = []
        if is_complete:
            faults += _missing(shapely.is_missing(self.geometries), known, "no coordinates; leave the row out")
        if dates is not None:
            moments, wrong_dates = self._parse_dates(*dates)
            faults += wrong_dates
            if is_complete:
                faults += _missing(np.isnan(moments), wrong_dates, f"no date in {dates[0]!r}")
        return faults

    def _parse_dates(self, field: str, date_format: str | None) -> tuple[Floats, list[_Fault]]:
        """Return what :meth:`moments` returns, and the fault of values that are no dates, if there are any."""
        import pandas as pd

        self._check_date_field(field)
        column = self.table.column(field)
        if pa.types.is_temporal(column.type):
            texts = column.to_pandas()
        else:
            texts = column.cast(pa.string()).to_pandas().str.strip()
            texts = texts.mask(texts == "")
        timestamps = pd.Series(pd.to_datetime(texts, utc=True, errors="coerce", format=date_format or "ISO8601"))
        timestamps = timestamps.where(timestamps.dt.year.between(1800, 2199))  # others overflow, and no image has them
        wrong = np.flatnonzero(timestamps.isna() & texts.notna())
        faults = []
        if len(wrong):
            is_rare = len(wrong) < int(timestamps.notna().sum())
            faults.append(_Fault(wrong, _no_date(field, texts[wrong].tolist(), date_format, is_rare=is_rare)))
        moments = (timestamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(milliseconds=1)
        return np.asarray(moments, dtype=np.float64), faults

    def typed(self) -> pa.Table:
        """Return the columns; text of a CSV file becomes numbers where that is lossless.

        Integers of one form (``7``, not ``007`` or ``+7``) become int64, other numbers double, and empty cells null.
        Long integers that neither type holds stay text.
        """
        if not is_text_table(self.path):
            return self.table
        named = zip(self.table.column_names, self.table.columns, strict=True)
        return pa.table({name: _typed(cells) if pa.types.is_string(cells.type) else cells for name, cells in named})

    def with_coordinates(self) -> Places:
        """Return points of geometries with the columns ``lon`` and ``lat``, as points of columns have them."""
        has_columns = not {"lon", "lat"}.isdisjoint(map(str.lower, self.table.column_names))
        if not self.has_geometries or self.kind != "points" or has_columns:
            return self
        table, missing = self.table, shapely.is_missing(self.geometries)
        for name, read in (("lon", shapely.get_x), ("lat", shapely.get_y)):
            table = table.append_column(name, pa.array(read(self.geometries), mask=missing))
        return replace(self, table=table)

    def warn_of_unused_dates(self) -> None:
        """Log the first column whose name is that of a date. Call this where dates would choose the images."""
        name = next((name for name in self.table.column_names if name.lower() in _DATE_NAMES), None)
        if name is not None:
            _log.warning(
                "%s: dates of column %r are not used; `columns` date=%s and `near` 30d take the images nearest to them",
                self.path,
                name,
                name,
            )

    def check_field(self, field: str) -> None:
        """Check that a column exists.

        Raises:
            RegionError: if it does not; the message lists the columns.
        """
        if field not in self.table.column_names:
            raise RegionError(
                f"{self.path} has no column {field!r}; {describe_choices(field, self.table.column_names)}"
            )

    def _check_date_field(self, field: str) -> None:
        """Check that a column of dates exists, and that its name does not end with a format without ``%``."""
        name, colon, date_format = field.partition(":")
        names = self.table.column_names
        if colon and field not in names and name in names:
            raise RegionError(
                f"{date_format!r} is not a format of dates: write %d for day, %m for month and %Y for year, "
                f"as in columns='date={name}:%d/%m/%Y'"
            )
        self.check_field(field)

    def check_unique(self, field: str) -> None:
        """Check that a column has a different value in every row.

        Raises:
            RegionError: if values are missing or repeated; the message names the first such rows.
        """
        self.check_field(field)
        values = self.table.column(field).to_pandas()
        without = np.flatnonzero(values.isna() | (values.astype(str) == ""))
        if len(without):
            raise RegionError(
                f"{name_rows(self.path)}: {_rows(without)}: {field} is empty, but it must identify the row"
            )
        twice = values[values.duplicated()]
        again = np.flatnonzero((values == twice.iloc[0]).to_numpy()) if len(twice) else twice.to_numpy()
        if len(again):
            others = f", and {len(twice):,} rows repeat an earlier one" if len(twice) >= len(again) else ""
            raise RegionError(
                f"{name_rows(self.path)}: {_rows(again)} have the same {field}: {values[again[0]]!r}{others}"
            )


def read_places(
    path: Path,
    lon_field: str | None = None,
    lat_field: str | None = None,
    *,
    crs: str | None = None,
    only: Kind | None = None,
    dates: tuple[str, str | None] | None = None,
    is_complete: bool = False,
) -> Places:
    """Read the places of a file. Invalid polygons are repaired, with a warning.

    Args:
        path: CSV (separated by comma, semicolon, tab or bar) with a column of WKT; CSV or Parquet with columns of
            longitude and latitude; GeoParquet, or another vector file, with any CRS.
        lon_field: column of the longitude; None for the first of ``LON_NAMES``.
        lat_field: column of the latitude; None for the first of ``LAT_NAMES``.
        crs: CRS of the coordinates if the file does not say it; None for longitude and latitude in degrees (WGS84).
        only: the kind that is wanted; None for both.
        dates: column of the dates, and their format, as :meth:`Places.moments` has them; None not to look at dates.
        is_complete: whether every row must have coordinates, and a date if there is a column of dates.

    Raises:
        RegionError: if the file cannot be read, has no rows, is of another kind than wanted, or mixes points and
            polygons, or if coordinates or dates are wrong. The message has all such rows, by their numbers from 1.
    """
    geometries, table, own_crs = read_table(path)
    if len(table) == 0 and (geometries is None or not len(geometries)):
        raise RegionError(f"{path} holds no rows: a table has a header, and a row for each place")
    digest = hash_vectors(path)
    faults: list[_Fault] = []
    kind: Kind = "points"
    has_geometries = geometries is not None
    if geometries is None:
        _check_kind(path, kind, only)
        lon = _find_column(path, table, lon_field, LON_NAMES, "longitude")
        lat = _find_column(path, table, lat_field, LAT_NAMES, "latitude")
        table = with_decimal_points(path, table, (lon, lat), may_be_thousands=crs is not None)
        geometries = to_wgs84(path, _from_columns(table, lon, lat, faults), crs or WGS84)
    else:
        if lon_field is not None or lat_field is not None:
            raise RegionError(f"{path} has geometries: leave lon and lat of `columns` out")
        known_crs = choose_crs(path, own_crs, crs)
        geometries = _single_points(geometries)
        kind = _kind(path, geometries)
        _check_kind(path, kind, only)
        geometries, note = repair(name_rows(path), geometries, lambda index: f"row {index + 1:,}")
        if note:
            _log.warning("%s", note)
        geometries = to_wgs84(path, geometries, known_crs)
    faults += _range_faults(path, geometries)
    reading = {} if crs is None else {"input_crs": crs}
    places = Places(path, digest, kind, _normalized(kind, geometries), table, reading, has_geometries)
    _raise_faults(path, faults + places._row_faults(faults, dates, is_complete=is_complete))
    return places


def _raise_faults(path: Path, faults: Sequence[_Fault]) -> None:
    """Raise RegionError with all faults; nothing if there are none."""
    if len(faults) == 1:
        raise RegionError(f"{name_rows(path)}: {faults[0]}")
    if faults:
        raise RegionError(f"{name_rows(path)} has {len(faults)} faults", list(map(str, faults)))


def _missing(is_missing: Booleans, faults: Sequence[_Fault], reason: str) -> list[_Fault]:
    """Return the fault of rows that lack something, if there are any. Rows that have another fault do not count."""
    rows = np.setdiff1d(np.flatnonzero(is_missing), np.concatenate([[], *(fault.rows for fault in faults)]))
    return [_Fault(rows, reason)] if len(rows) else []


def _from_columns(table: pa.Table, lon_name: str, lat_name: str, faults: list[_Fault]) -> Geometries:
    """Return points from columns; add faults of rows whose coordinates are no numbers, or that have one of the two."""
    lon, wrong_lon = _coordinates(table, lon_name, faults)
    lat, wrong_lat = _coordinates(table, lat_name, faults)
    half = np.flatnonzero((np.isnan(lon) != np.isnan(lat)) & ~wrong_lon & ~wrong_lat)
    if len(half):
        faults.append(_Fault(half, "one coordinate without the other"))
    return points(lon, lat)


def points(lon: Floats, lat: Floats) -> Geometries:
    """Return points as geometries; None where a coordinate is NaN."""
    geometries: Geometries = shapely.points(lon, lat)
    geometries[np.isnan(lon) | np.isnan(lat)] = None
    return geometries


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    texts = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    for pattern, kind in ((_INTEGER, pa.int64()), (_NUMBER, pa.float64())):
        if texts.null_count < len(texts) and pc.all(pc.match_substring_regex(texts, pattern)).as_py():
            return texts.cast(kind)
    return texts


def _find_column(path: Path, table: pa.Table, wanted: str | None, names: Sequence[str], axis: str) -> str:
    """Return the column that is wanted, or the first that has one of the names; raise RegionError if there is none."""
    there = table.column_names
    if wanted is not None and wanted not in there:
        raise RegionError(f"{path} has no column {wanted!r}; {describe_choices(wanted, there)}")
    name = wanted or find_column(there, names)
    if name is None:
        alike = {key: [name for name in there if key in name.lower()] for key in ("lon", "lat")}
        pair = ",".join(f"{key}={columns[0] if len(columns) == 1 else 'NAME'}" for key, columns in alike.items())
        raise RegionError(f"no {axis} column in {path} ({', '.join(there)}): name both, as in columns='{pair}'")
    return name


def _coordinates(table: pa.Table, name: str, faults: list[_Fault]) -> tuple[Floats, Booleans]:
    """Return a column of coordinates as numbers, NaN where it has none, and where it has something else; add that."""
    import pandas as pd

    column = table.column(name)
    values = column.to_pandas()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = values.str.strip()
        values = values.mask(values == "")
    numbers: Floats = np.asarray(pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))
    says_nan = values.astype(str).str.lower().isin(["nan", "na", "null", "none"])
    missing = values.isna().to_numpy() | np.asarray(says_nan, dtype=np.bool_)
    is_wrong = ~missing & ~np.isfinite(numbers)
    if is_wrong.any():
        wrong = np.flatnonzero(is_wrong)
        value = values[wrong[0]]
        hint = "; write a decimal point, not a comma" if DECIMAL_COMMA.fullmatch(str(value)) else ""
        if "°" in str(value):
            hint = "; write degrees as a decimal number, as in -104.7526"
        faults.append(_Fault(wrong, f"{name} is not a number: {value!r}{hint}"))
    return np.where(is_wrong, np.nan, numbers), is_wrong


def _single_points(geometries: Geometries) -> Geometries:
    """Replace multipoints of one point, as programs write of whole layers, by the point, and empty ones by None."""
    is_multiple = shapely.get_type_id(geometries) == shapely.GeometryType.MULTIPOINT
    is_single = is_multiple & (shapely.get_num_geometries(geometries) < 2)
    return np.where(is_single, shapely.get_geometry(geometries, 0), geometries)


def _kind(path: Path, geometries: Geometries) -> Kind:
    there = ~shapely.is_missing(geometries)
    kinds = {shapely.GeometryType(number).name for number in np.unique(shapely.get_type_id(geometries[there]))}
    if kinds <= {"POINT"} and kinds:
        return "points"
    if kinds <= {"POLYGON", "MULTIPOLYGON"} and kinds:
        return "polygons"
    kinds_text = " and ".join(sorted(kind.lower() for kind in kinds)) or "no geometries"
    raise RegionError(f"{path} holds {kinds_text}: it must hold points only, or polygons only")


def _check_kind(path: Path, kind: Kind, only: Kind | None) -> None:
    if only is not None and kind != only:
        raise RegionError(f"{path} holds {kind}: {_WANTED[only]}")


def _range_faults(path: Path, geometries: Geometries) -> list[_Fault]:
    """Return the faults of coordinates that are out of range, one for each such row."""
    bounds = shapely.bounds(geometries)
    with np.errstate(invalid="ignore"):
        low = np.flatnonzero((np.abs(bounds[:, [1, 3]]) > 90).any(axis=1))
        far = np.setdiff1d(np.flatnonzero((bounds[:, 0] < -180) | (bounds[:, 2] > 360)), low)
    faults = []
    for rows, what, limits in ((low, "latitude", "-90 and 90"), (far, "longitude", "-180 and 180")):
        if len(rows):
            value = bounds[rows[0]][1 if what == "latitude" else 0]
            why = _why(path, value, may_be_swapped=what == "latitude")
            faults.append(_Fault(rows, f"the {what} {value:g} is not within {limits} degrees; {why}"))
    return faults


def _normalized(kind: Kind, geometries: Geometries) -> Geometries:
    """Replace empty geometries by None, and wrap longitudes of points to -180 to 180."""
    geometries = geometries.copy()
    geometries[shapely.is_empty(geometries)] = None
    if kind == "points":  # longitudes may also count from 0 to 360
        x = shapely.get_x(geometries)
        return points(np.where(x > 180, x - 360, x), shapely.get_y(geometries))
    return geometries


def _why(path: Path, coordinate: float, *, may_be_swapped: bool) -> str:
    """Return a likely reason why a coordinate is out of range, and what helps, for the end of a message."""
    if abs(coordinate) > _MOST_DEGREES:
        return f"it looks projected (metres): {crs_cure(path)}"
    if may_be_swapped and abs(coordinate) <= 180.0:
        return "are longitude and latitude swapped?"
    return "correct it, or leave the row out"


def _no_date(field: str, texts: Sequence[str], date_format: str | None, *, is_rare: bool) -> str:
    """Return the message about values that are no dates; ``is_rare`` says whether most values of the field are."""
    cure = "write it as in the other rows"
    if date_format is not None:
        fault = f"{field} is not a date with the format {date_format}: {texts[0]!r}"
        return f"{fault}; correct it, or {cure}" if is_rare else fault
    strange = [text for text in texts if not _YEAR_FIRST.fullmatch(text)]
    fault = f"{field} is not a date (YYYY-MM-DD): {(strange or texts)[0]!r}"
    if not strange:
        return f"{fault}; there is no such day" + (" or time" if ":" in texts[0] else "")
    if is_rare:
        return f"{fault}; {cure}"
    formats = guess_date_formats(strange)
    if not formats:
        return f"{fault}; write all as YYYY-MM-DD"
    likeliest, *others = formats
    alternatives = ", ".join(f"or, with the {_FIRST[text[1].lower()]} first, {text}" for text in others)
    advice = f"'date={field}:{likeliest}'" + (f" ({alternatives})" if others else "")
    return f"{fault}; give its format, as in columns={advice}, or, if there are several, write all as YYYY-MM-DD"


def _rows(indices: Indices) -> str:
    """Return ``row 3``, or ``rows 3, 7, 9 and 12 more``, counted from 1 without the header."""
    numbers = [f"{int(index) + 1:,}" for index in indices[:_SHOWN]]
    more = len(indices) - len(numbers)
    return ("row " if len(indices) == 1 else "rows ") + ", ".join(numbers) + (f" and {more:,} more" if more else "")


def json_columns(table: Any) -> dict[str, list[Any]]:
    """Return the columns of an Arrow table as JSON values."""
    return {name: [_json(value) for value in table.column(name).to_pylist()] for name in table.column_names}


def _json(value: Any) -> Any:
    """Return a value of a table as JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, list):
        return [_json(member) for member in value]
    if isinstance(value, dict):
        return {str(name): _json(member) for name, member in value.items()}
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
