"""Read tables that are text: separators, decimal commas, encodings other than UTF-8, limits of size, perhaps geometries
as WKT.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
import logging
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from eechips.errors import RegionError
from eechips.geo.ellipsoid import Geometries
from eechips.geo.geometry_depth import is_too_deep

_TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_DECIMAL_POINT = re.compile(r"\d\.\d")

WKT_NAMES = ("wkt", "geometry", "geom", "the_geom", "wkt_geom", "wkt_geometry")
"""Names of columns with geometries as WKT, in upper or lower case, in order of precedence."""

_DELIMITERS = ",;\t|"
_MOST_BYTES = 1 << 30
_MOST_VALUES = 100_000_000
_MOST_VERTICES = 50_000_000
_SEPARATOR = re.compile(r"""\A("?)sep=.\1(?=\r?\n)""", re.IGNORECASE)  # for Excel
_HEADER = re.compile(r"^.*[^ \r\n].*", re.MULTILINE)  # pandas skips lines of blanks only
_DATE = re.compile(r"(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4})(?:([ T])\d{1,2}:\d\d(:\d\d)?( ?[AaPp][Mm])?)?")
_SRID = re.compile(r"\s*SRID\s*=\s*(\d+)\s*;", re.IGNORECASE)
_BYTE_ORDERS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

_log = logging.getLogger(__name__)


def is_text_table(path: Path) -> bool:
    """Return whether a file is a text table, by its suffix."""
    return path.suffix.lower() in _TEXT_SUFFIXES


def name_rows(path: Path) -> str:
    """Return a file's path for messages on its rows. A spreadsheet counts the header of a text table as row 1."""
    return f"{path} (row 1 is the first below the header)" if is_text_table(path) else str(path)


def guess_date_formats(texts: Sequence[str]) -> list[str]:
    """Return formats of dates with which ``datetime.strptime`` parses all texts, such as ``6/1/20 10:00``.

    Args:
        texts: dates that are not ISO 8601.
    """
    match = _DATE.fullmatch(texts[0])
    if match is None:
        return []
    first, separator, _, last, time, seconds, half = match.groups()
    clock = "" if not time else f"{time[0]}{'%I' if half else '%H'}:%M{':%S' if seconds else ''}"
    clock += "" if not half else " %p" if half[0] == " " else "%p"
    year = "%Y" if max(len(first), len(last)) == 4 else "%y"
    orders = (("%d", "%m", year), ("%m", "%d", year), (year, "%m", "%d"))
    formats = (separator.join(order) + clock for order in orders)
    fits = [date_format for date_format in formats if _parses(date_format, set(texts))]
    return fits[:1] if separator == "." else fits  # after a dot, the month is second


def _parses(date_format: str, texts: Iterable[str]) -> bool:
    """Return whether all texts are dates of a format."""
    try:
        for text in texts:
            dt.datetime.strptime(text, date_format)
    except ValueError:
        return False
    return True


def read_text_table(path: Path, *, notes: int = logging.WARNING) -> pa.Table:
    """Read the columns of a file as text, so that values stay unchanged: ``007`` does not become 7.

    The text is UTF-8, UTF-16 with a byte order mark, or else Windows-1252, which is logged.

    Args:
        path: file with names of columns in its first line that is not blank.
        notes: level at which to log what is noteworthy.

    Raises:
        RegionError: if the file has more than 1 GiB or 100 million values, rows with more values than names, names
            twice, or bytes that are no text.
    """
    import pandas as pd

    if path.stat().st_size > _MOST_BYTES:
        raise RegionError(f"{path} has more than {_MOST_BYTES >> 20:,} MiB: divide it, or convert it to Parquet")
    text = _decode(path, path.read_bytes(), notes)
    if "\n" not in text:
        text = text.replace("\r", "\n")  # Excel on a Mac may end lines so
    text = _SEPARATOR.sub("", text)  # its line stays, for numbers of lines
    first = _HEADER.search(text)
    if first is None:
        raise RegionError(f"{path} is empty: a table has a header, and a row for each place")
    header = first[0].rstrip("\r")
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        names = next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error as error:
        raise RegionError(f"{path} cannot be read as CSV: the header: {error}") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RegionError(f"{path} has more than one column {twice[0]!r}")
    if text.count("\n") * len(names) > _MOST_VALUES:
        raise RegionError(f"{path} has more than {_MOST_VALUES:,} values: divide it, or leave columns out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of rows with more values than the header
            frame = pd.read_csv(
                io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, na_filter=False, index_col=False
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        commas = delimiter == "," and DECIMAL_COMMA.search(text[first.end() :].replace('"', ""))
        hint = "; if its numbers have decimal commas, separate the columns by semicolons" if commas else ""
        reason = " ".join(str(error).split())
        if isinstance(error, pd.errors.ParserWarning):
            reason = f"a row has more values than the header has names: {header[:80]!r}"
        raise RegionError(f"{path} cannot be read as CSV: {reason}{hint}") from None
    return pa.table({str(name): pa.array(frame[name].tolist(), pa.string()) for name in frame.columns})


def with_decimal_points(path: Path, table: pa.Table, names: Sequence[str], *, may_be_thousands: bool) -> pa.Table:
    """Return a table whose columns of numbers with decimal commas, as Excel writes in many countries, have points.

    A column stays as it is if a value has a decimal point. Values that are no numbers stay, for a message about them.

    Args:
        path: file, for a message in the log.
        names: columns that must be numbers.
        may_be_thousands: whether commas may separate thousands: then a column stays if three digits follow each.
    """
    changed = []
    for name in names:
        column = table.column(name)
        texts = [] if column.type != pa.string() else [text.strip() for text in column.to_pylist() if text is not None]
        commas = [text for text in texts if DECIMAL_COMMA.fullmatch(text)]
        if not commas or any(_DECIMAL_POINT.search(text) for text in texts):
            continue
        if may_be_thousands and all(len(text.partition(",")[2]) == 3 for text in commas):
            continue
        changed.append(name)
        points = [
            text.replace(",", ".") if text is not None and DECIMAL_COMMA.fullmatch(text.strip()) else text
            for text in column.to_pylist()
        ]
        table = table.set_column(table.column_names.index(name), name, pa.array(points, pa.string()))
    if changed:
        _log.info("%s: decimal commas of %s are read as decimal points", path, " and ".join(changed))
    return table


def parse_wkt(path: Path, table: pa.Table, name: str) -> tuple[Geometries, str | None]:
    """Parse a column of geometries as WKT.

    Args:
        path: file, for messages.
        table: columns of text.

    Returns:
        Shapely geometries, shape (n,), None for empty texts; and the CRS if all of them say it (``SRID=32632;POINT…``).

    Raises:
        RegionError: if a text is no WKT, or the geometries are nested too deep or have too many vertices; the message
            has the row.
    """
    texts = table.column(name).to_pylist()
    srids: set[str | None] = set()
    geometries = np.full(len(texts), None, dtype=object)
    vertices = 0
    for index, text in enumerate(texts):
        srid = _SRID.match(text)
        plain = text[srid.end() if srid else 0 :].strip()
        if not plain:
            continue
        srids.add(srid[1] if srid else None)
        if is_too_deep(plain):
            raise RegionError(f"{name_rows(path)}: row {index + 1:,}: {name} is nested too deep")
        vertices += plain.count(",") + 1
        if vertices > _MOST_VERTICES:
            raise RegionError(f"{path} has more than {_MOST_VERTICES:,} vertices: divide it")
        try:
            geometries[index] = shapely.from_wkt(plain)
        except shapely.errors.GEOSException as error:
            reason = str(error).splitlines()[0][:100]
            raise RegionError(
                f"{name_rows(path)}: row {index + 1:,}: {name} is not WKT: {plain[:40]!r} ({reason})"
            ) from None
    if len(srids) > 1:
        raise RegionError(f"{path}: {name} has geometries in several coordinate reference systems (SRID)")
    known = srids.pop() if srids else None
    return geometries, None if known is None else f"EPSG:{known}"


def _decode(path: Path, data: bytes, notes: int) -> str:
    """Decode a text; raise RegionError, with the line, if bytes are no text in any of the encodings."""
    for mark, codec in _BYTE_ORDERS.items():
        if data.startswith(mark):
            try:
                return data.decode(codec)
            except UnicodeDecodeError as error:
                raise RegionError(f"{path} is damaged: byte {error.start:,} is not UTF-16 text") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start
    line = data.count(b"\n", 0, start) + 1
    begin = data.rfind(b"\n", 0, start) + 1
    shown = data[begin:].partition(b"\n")[0].rstrip(b"\r")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode("cp1252")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise RegionError(f"{path}: line {line:,}: byte 0x{byte:02X} is not text: save the file as UTF-8") from None
    _log.log(
        notes,
        "%s is not UTF-8: it is read as Windows-1252, for example line %s as %r. If that is wrong, save it as UTF-8",
        path,
        f"{line:,}",
        shown.decode("cp1252", errors="replace")[:80],
    )
    return text
