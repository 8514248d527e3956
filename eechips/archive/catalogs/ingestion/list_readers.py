"""Read lists of STAC items or of their URLs: JSON lines and documents, Parquet, CSV (delimiter, column of the URLs),
lists of failed entries.
"""

from __future__ import annotations

import codecs
import csv
import json
import lzma
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, Any

import pyarrow as pa

from eechips.archive.catalogs.ingestion.item_lists import ItemList, find_lists, open_list
from eechips.archive.catalogs.item_json import parts
from eechips.errors import ConfigurationError, EechipsError, UsageError
from eechips.geo.crs import find_column, parse_crs
from eechips.storage.untrusted_files import parse_json
from eechips.web.redaction import is_redacted, redact

ADDRESS_COLUMNS = ("url", "href", "address", "item", "stac_url", "link")
"""Columns that are searched for URLs, unless one is named."""

FAILURE_COLUMNS = ("place", "address", "kind", "reason")
"""Columns of a list of failed entries, which is itself a list."""
_BYTES = 32_000_000  # of items in a chunk
_ADDRESS_BYTES = 16_000  # assumed for the item of a URL
_MOST = 20_000  # items in a chunk
_ROWS = 2000  # maximum rows of a Parquet file read at a time
_BLOCK = 1 << 20  # bytes of a document read at a time
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_OTHER_DELIMITERS = ";\t|"  # of CSV files in practice
_GEOMETRIES = ("geometry", "geom", "wkb_geometry", "the_geom")  # columns, where GeoParquet names none
_BROKEN = (OSError, EOFError, UnicodeError, csv.Error, zlib.error, lzma.LZMAError)
_SEPARATOR = b"\x1e"  # before each text of a sequence (RFC 8142)
_BRACKETS = (b"[", b"]", b"],", b",")  # lines of an array
_COLLECTION = b"FeatureCollection"


@dataclass(frozen=True, slots=True)
class ListEntry:
    """An entry of a list.

    Attributes:
        place: file and number of the line or row, for messages; without secrets.
        address: address of the item; None if the list holds the item itself.
        item: JSON, not parsed yet.
        is_foreign: whether the list is remote, so that it must not name local files.
    """

    place: str
    address: str | None = None
    item: bytes | None = None
    is_foreign: bool = False


def chunks(lists: Sequence[ItemList], column: str | None) -> Iterator[list[ListEntry]]:
    """Yield the entries of lists in chunks that fit into memory with their results; the chunks are deterministic.

    Args:
        column: with the URLs, in lists with columns; None for the first of ``ADDRESS_COLUMNS``.

    Raises:
        UsageError: if a list has no such column.
        ConfigurationError: if a list cannot be read.
    """
    waiting: list[ListEntry] = []
    size = 0
    for known in lists:
        for entry in _entries(known, column):
            waiting.append(entry)
            size += len(entry.item) if entry.item is not None else _ADDRESS_BYTES
            if size >= _BYTES or len(waiting) == _MOST:
                yield waiting
                waiting, size = [], 0
    if waiting:
        yield waiting


def _entries(known: ItemList, column: str | None) -> Iterator[ListEntry]:
    try:
        with open_list(known) as file:
            yield from _READERS.get(known.format, _of_lines)(known, file, column)
    except EechipsError:
        raise
    except _BROKEN as error:
        raise ConfigurationError(f"{known.name} cannot be read: {redact(str(error))}") from error
    except Exception as error:
        if not known.is_foreign:
            raise
        raise ConfigurationError(f"{known.name} cannot be read: {redact(str(error))}") from error  # a store's package


def _of_lines(known: ItemList, file: IO[bytes], _: str | None) -> Iterator[ListEntry]:
    """Yield an item or a URL for each line; also for an array with one element for each line."""
    head = _head(file)
    if _is_document(head):
        yield from _of_blocks(known, chain(head, iter(lambda: file.read(_BLOCK), b"")))
        return
    for number, line in enumerate(chain(head, file), start=1):
        text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip().lstrip(_SEPARATOR)
        if text.startswith(b"[") and not text.endswith(b"]"):
            text = text[1:].lstrip()
        if text.startswith((b"{", b'"')):
            text = text.rstrip(b",] \t")
        if text and text not in _BRACKETS:
            yield from _parts(known, number, text)


def _head(file: IO[bytes]) -> list[bytes]:
    """Read the first lines: up to the second that is not empty, or up to a limit of bytes."""
    head = []
    filled = 0
    while filled < 2 and (line := file.readline(_BYTES)):
        head.append(line)
        filled += bool(line.removeprefix(codecs.BOM_UTF8).strip())
        if not line.endswith(b"\n"):
            break
    return head


def _is_document(head: Sequence[bytes]) -> bool:
    """Return whether a file of lines begins like JSON with values over several lines, or is one very long line."""
    lines = [line.removeprefix(codecs.BOM_UTF8).strip().lstrip(_SEPARATOR) for line in head]
    lines = [line for line in lines if line]
    if not lines or not lines[0].startswith((b"{", b"[")):
        return False
    if len(head[-1]) >= _BYTES and not head[-1].endswith(b"\n"):
        return True
    first = lines[1] if lines[0] == b"[" and len(lines) > 1 else lines[0].removeprefix(b"[").lstrip()
    return first.startswith(b"{") and first.endswith((b"{", b"[", b",")) and not first.endswith(b"},")


def _of_document(known: ItemList, file: IO[bytes], _: str | None) -> Iterator[ListEntry]:
    """Yield an item, an array of items or URLs, a collection of features, or several of them."""
    yield from _of_blocks(known, iter(lambda: file.read(_BLOCK), b""))


def _of_blocks(known: ItemList, blocks: Iterator[bytes]) -> Iterator[ListEntry]:
    try:
        for number, text in enumerate(parts(blocks)):
            yield _part(known, f"{known.name}:{number}", text.encode(errors="surrogatepass"))
    except ValueError as error:
        raise ConfigurationError(f"{known.name} is not JSON: {error}") from error


def _of_table(known: ItemList, file: IO[bytes], column: str | None) -> Iterator[ListEntry]:
    csv.field_size_limit(max(csv.field_size_limit(), _BYTES))  # items are longer than 131,072 characters
    lines = codecs.iterdecode(file, "utf-8-sig")
    first_line = next((line for line in lines if line.strip()), "")
    # Strict: an unclosed quote would otherwise swallow the lines up to the next one.
    rows = csv.reader(chain([first_line], lines), delimiter=_delimiter(known.format, first_line, column), strict=True)
    try:
        first = next((row for row in rows if any(row)), None)
        if first is None:
            return
        if tuple(first) == FAILURE_COLUMNS and column not in FAILURE_COLUMNS:
            yield from _of_failures(known, rows, column)
            return
        index = _bare(first) if column is None else None
        if index is not None:
            yield from _parts(known, rows.line_num, first[index].strip().encode())
        else:
            index = first.index(_column(known, first, column))
        for row in rows:
            if len(row) > index and row[index].strip():
                yield from _parts(known, rows.line_num, row[index].strip().encode())
    except csv.Error as error:
        raise ConfigurationError(f"{known.name} cannot be read, at line {rows.line_num}: {error}") from error


def _delimiter(format: str, line: str, column: str | None) -> str:
    """Return the delimiter of a table, from its first line."""
    usual = _DELIMITERS[format]
    wanted = {column} if column is not None else {*ADDRESS_COLUMNS}
    for delimiter in (usual, *_OTHER_DELIMITERS):
        names = next(iter(csv.reader([line], delimiter=delimiter)), [])
        if wanted & ({*names} if column is not None else {name.strip().lower() for name in names}):
            return str(delimiter)
    return usual


def _bare(row: Sequence[str]) -> int | None:
    """Return the index of the URL or item in a first row without a header; None if the row is a header."""
    if {cell.strip().lower() for cell in row} & {*ADDRESS_COLUMNS}:
        return None
    indices = [index for index, cell in enumerate(row) if "://" in cell or cell.lstrip().startswith("{")]
    if len(row) == 1 and "/" in row[0]:
        return 0
    return indices[0] if len(indices) == 1 else None


def _of_failures(known: ItemList, rows: Iterator[list[str]], column: str | None) -> Iterator[ListEntry]:
    """Yield failed URLs; redacted ones are looked up in their original lists."""
    signed: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        place, address = (*row, "", "")[:2]
        if address and is_redacted(address) and not known.is_foreign:
            signed[place.rpartition(":")[0]][place] = address
        elif address:
            yield ListEntry(place, address=address, is_foreign=known.is_foreign)
    for name, wanted in signed.items():
        yield from _again(name, wanted, column)


def _again(name: str, wanted: dict[str, str], column: str | None) -> Iterator[ListEntry]:
    """Yield the entries of a list at places, if they still have the same URLs."""
    try:
        lists = [] if is_redacted(name) else find_lists([name])
    except EechipsError:
        lists = []  # the list no longer exists
    for known in lists:
        # Read as a remote list, a list of failures cannot lead to further lists.
        for entry in _entries(replace(known, is_foreign=True), column):
            address = wanted.get(entry.place)
            if address is not None and entry.address and _bare_of(redact(entry.address)) == _bare_of(address):
                del wanted[entry.place]
                yield replace(entry, is_foreign=known.is_foreign)
    for place, address in wanted.items():
        yield ListEntry(place, address=address)


def _bare_of(address: str) -> str:
    """Return a URL without the parameters that a new signature changes."""
    return address.partition("?")[0]


def _of_parquet(known: ItemList, source: IO[bytes], column: str | None) -> Iterator[ListEntry]:
    from eechips.archive.catalogs.item_json import plain
    from eechips.archive.catalogs.partitions.columns import items_of
    from eechips.geo.untrusted_parquet import BoundedParquet

    try:
        with BoundedParquet(source, _ROWS) as file:
            names = file.schema_arrow.names
            geometry = None if column is not None or "id" not in names else geometry_column(file, known.name)
            columns = None if geometry is not None else [_column(known, names, column)]
            number = 0
            for batch in file.iter_batches(batch_size=rows_at_once(file), columns=columns):
                table = pa.Table.from_batches([batch])
                if geometry is not None:
                    names = ["geometry" if name == geometry else name for name in table.column_names]
                    for value in items_of(table.rename_columns(names)):
                        yield ListEntry(f"{known.name}:{number}", item=json.dumps(value).encode())
                        number += 1
                    continue
                for cell in table.column(0).to_pylist():
                    if cell:
                        whole = json.dumps(plain(cell)) if isinstance(cell, (dict, list)) else cell
                        text = whole if isinstance(whole, bytes) else str(whole).encode()
                        yield from _parts(known, number, text.strip())
                    number += 1
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise ConfigurationError(f"{known.name} cannot be read: {error}") from error


def geometry_column(file: Any, label: str) -> str | None:
    """Return the geometry column of a table of items; None for other tables.

    Args:
        file: the Parquet file.
        label: its name, for messages.

    Raises:
        ConfigurationError: if its coordinates are projected: those of items are longitudes and latitudes.
    """
    names = file.schema_arrow.names
    try:
        geo = parse_json((file.schema_arrow.metadata or {})[b"geo"])
        primary, described = geo["primary_column"], dict(geo["columns"])
    except (KeyError, ValueError, TypeError):
        primary, described = None, {}
    column = next((name for name in ("geometry", primary, *_GEOMETRIES) if name in names), None)
    about = described.get(column)
    crs = about.get("crs") if isinstance(about, dict) else None
    try:
        parsed = parse_crs(crs if isinstance(crs, str) else json.dumps(crs)) if crs else None
    except UsageError as error:
        what = f"{label} has geometries in a coordinate reference system that is not understood"
        raise ConfigurationError(f"{what}: write it in EPSG:4326") from error
    if parsed is not None and parsed.is_projected:
        raise ConfigurationError(
            f"{label} has geometries in {parsed.name}, and those of items are longitudes and latitudes: write it in"
            " EPSG:4326"
        )
    return column


def rows_at_once(file: Any, rows: int = _ROWS, size: int = _BYTES) -> int:
    """Return how many rows of a Parquet file to read at a time: at most ``rows``, and about ``size`` bytes."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    widest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1.0)
    return max(1, min(rows, int(size / max(1.0, widest))))


def _parts(known: ItemList, number: int, text: bytes) -> Iterator[ListEntry]:
    """Yield the items of a line or cell: an item, a URL as a JSON string, a bare URL, or several items."""
    place = f"{known.name}:{number}"
    if text.startswith(b"[") or (text.startswith(b"{") and _COLLECTION in text):
        try:
            encoded_parts = [part.encode(errors="surrogatepass") for part in parts([text])]
        except ValueError:
            yield ListEntry(place, item=text)  # the validation reports it
            return
        if encoded_parts != [text]:
            for index, part in enumerate(encoded_parts):
                yield _part(known, f"{place}.{index}", part)
            return
    yield _entry(known, place, text)


def _entry(known: ItemList, place: str, text: bytes) -> ListEntry:
    if text.startswith((b"{", b"[")):
        return ListEntry(place, item=text)
    try:
        value = parse_json(text) if text.startswith(b'"') else text.decode()
    except ValueError:
        return ListEntry(place, item=text)  # the validation reports it
    if value.lstrip().startswith("{"):  # JSON in a JSON string
        return ListEntry(place, item=value.encode(errors="surrogatepass"))
    return ListEntry(place, address=value.strip(), is_foreign=known.is_foreign)


def _part(known: ItemList, place: str, text: bytes) -> ListEntry:
    """Return the entry of a part of a document, in which URLs are JSON strings."""
    return _entry(known, place, text) if text.startswith(b'"') else ListEntry(place, item=text)


def _column(known: ItemList, names: Sequence[str], wanted: str | None) -> str:
    """Return the column with the URLs."""
    if wanted is not None and wanted in names:
        return wanted
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None and (column := find_column(names, ADDRESS_COLUMNS)) is not None:
        return column
    asked = f"'{wanted}'" if wanted is not None else f"of URLs ({', '.join(ADDRESS_COLUMNS)})"
    raise UsageError(f"{known.name} has no column {asked}: it has {redact(', '.join(names))}; set `column`")


_READERS: Mapping[str, Callable[[ItemList, IO[bytes], str | None], Iterator[ListEntry]]] = {
    "parquet": _of_parquet, "csv": _of_table, "tsv": _of_table, "json": _of_document, "geojson": _of_document
}  # fmt: skip
