"""Lists of STAC items: files that hold items, or the addresses of items."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from eechips.catalogs.addresses import is_web, told
from eechips.errors import ConfigurationError, EechipsError, UsageError

FORMATS = ("csv", "tsv", "txt", "json", "geojson", "ndjson", "jsonl", "geojsonl", "parquet")
"""Suffixes of lists; ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` may follow, but for Parquet."""

ADDRESS_COLUMNS = ("url", "href", "address", "item", "stac_url", "link")
"""Columns that addresses are looked for in, unless the caller names one."""

_BYTES = 32_000_000  # of items in a chunk
_ADDRESS_BYTES = 16_000  # what an address counts for: the item that it leads to
_MOST = 20_000  # items in a chunk
_ROWS = 2000  # of a Parquet file that are read at a time
_BROKEN = (OSError, EOFError, UnicodeError, csv.Error, zlib.error, lzma.LZMAError)
_COMPRESSED = re.compile(r"\.(gz|bz2|xz|zst)$", re.IGNORECASE)
_MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00", "zst": b"\x28\xb5\x2f\xfd"}
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "Last-Modified", "Content-MD5")
_SEPARATOR = b"\x1e"  # before each text of a sequence (RFC 8142)
_BRACKETS = (b"[", b"]", b"],", b",")  # lines of an array
_COLLECTION = b"FeatureCollection"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list.

    Attributes:
        place: file and number of the line or row, for messages; without secrets.
        address: of the item; None if the list holds the item itself.
        item: JSON, not looked at yet.
        is_foreign: whether the list is from elsewhere, so that it may not name files of this machine.
    """

    place: str
    address: str | None = None
    item: bytes | None = None
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class List:
    """A file that was found.

    Attributes:
        address: path, or address that fsspec knows.
        size: bytes.
        stamp: what tells this version of the file from others, if the store says so.
        is_foreign: whether it is on no disk of this machine.
    """

    address: str
    size: int | None
    stamp: str
    is_foreign: bool = False

    @property
    def name(self) -> str:
        """Its address for people: without what opens it."""
        return told(self.address)

    @property
    def format(self) -> str:
        """Its suffix."""
        return PurePosixPath(_COMPRESSED.sub("", self._path)).suffix.lstrip(".").lower()

    @property
    def compression(self) -> str | None:
        """How it is compressed, by its suffix."""
        found = _COMPRESSED.search(self._path)
        return found[1].lower() if found else None

    @property
    def _path(self) -> str:
        return urlsplit(self.address).path if is_web(self.address) else self.address


def find(patterns: Sequence[str]) -> list[List]:
    """The files of paths, addresses and patterns, such as ``s3://bucket/2020_*.ndjson``, in the order of their names.

    Raises:
        UsageError: if one finds nothing, or a file is no list.
        ConfigurationError: if a store does not answer.
    """
    found: dict[str, List] = {}
    for pattern in patterns:
        try:
            there = _matching(pattern)
        except ImportError as error:
            raise ConfigurationError(f"{told(pattern)} needs a package that is not installed: {error}") from None
        except FileNotFoundError as error:
            reason = f": {told(str(error.__cause__))}" if error.__cause__ is not None else ""
            raise UsageError(f"there is no list {told(pattern)}{reason}") from None
        except Exception as error:  # every store's package has exceptions of its own
            raise ConfigurationError(f"{told(pattern)} cannot be listed: {told(str(error))}") from error
        if not there:
            raise UsageError(f"there is no list {told(pattern)}")
        found |= {known.address: known for known in there}
    for known in found.values():
        if known.format not in FORMATS:
            raise UsageError(f"{known.name} is no list: its name must end in one of {', '.join(FORMATS)}")
    return list(found.values())


def _matching(pattern: str) -> list[List]:
    import fsspec

    files, path = fsspec.url_to_fs(pattern)
    is_here = _is_local(files)
    is_pattern = re.search(r"[*?\[]", path) is not None and not is_web(pattern)  # the web lists nothing
    if is_here and Path(path).exists():  # brackets in its own name
        is_pattern = False
    found = []
    for name in sorted(files.glob(path)) if is_pattern else [path]:
        info = files.info(name)
        stamp = next((info[key] for key in _STAMPS if info.get(key)), "")
        address = name if is_here else files.unstrip_protocol(name)
        found.append(List(address, info.get("size"), str(stamp), is_foreign=not is_here))
    return found


def chunks(lists: Sequence[List], column: str | None) -> Iterator[list[Entry]]:
    """The entries of lists, as many at a time as fit into memory with all that becomes of them; always the same.

    Args:
        lists: as they are found.
        column: that has the addresses, in lists with columns; None for the first of ``ADDRESS_COLUMNS``.

    Raises:
        UsageError: if a list has no such column.
        ConfigurationError: if a list cannot be read.
    """
    waiting: list[Entry] = []
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


def _entries(known: List, column: str | None) -> Iterator[Entry]:
    try:
        with _opened(known) as file:
            yield from _READERS.get(known.format, _of_lines)(known, file, column)
    except EechipsError:
        raise
    except _BROKEN as error:
        raise ConfigurationError(f"{known.name} cannot be read: {told(str(error))}") from error
    except Exception as error:
        if not known.is_foreign:
            raise
        raise ConfigurationError(f"{known.name} cannot be read: {told(str(error))}") from error  # a store's package


@contextmanager
def _opened(known: List) -> Iterator[IO[bytes]]:
    """The content of a list, as it was before it was compressed."""
    import fsspec

    if is_web(known.address):  # a server may send no lengths, no ranges, or decompress by itself: it is copied first
        with tempfile.TemporaryFile() as copy:
            files, path = fsspec.url_to_fs(known.address)
            files.get_file(path, copy)
            copy.seek(0)
            magic = _MAGIC.get(known.compression or "", b"")
            is_compressed = bool(magic) and copy.read(len(magic)) == magic
            copy.seek(0)
            with _decompressed(copy, known.compression if is_compressed else None) as file:
                yield file
    else:
        with (
            fsspec.open(known.address, "rb", compression=None) as source,
            _decompressed(source, known.compression) as file,
        ):
            yield file


@contextmanager
def _decompressed(file: IO[bytes], compression: str | None) -> Iterator[IO[bytes]]:
    if compression is None:
        yield file
        return
    with _OPENERS[compression](file) as stream:
        yield stream


def _zstandard(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))


def _of_lines(known: List, file: IO[bytes], _: str | None) -> Iterator[Entry]:
    """An item, or an address, in each line; also of an array that has its parts in lines."""
    for number, line in enumerate(file, start=1):
        text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip().lstrip(_SEPARATOR)
        if text.startswith(b"[") and not text.endswith(b"]"):
            text = text[1:].lstrip()
        if text.startswith((b"{", b'"')):
            text = text.rstrip(b",] \t")
        if text and text not in _BRACKETS:
            yield from _parts(known, number, text)


def _of_document(known: List, file: IO[bytes], _: str | None) -> Iterator[Entry]:
    """An item, an array of items or addresses, or a collection of features."""
    try:
        value = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{known.name} is no JSON: {error} (with an item in each line, its name must end in .ndjson)"
        ) from error
    for number, part in enumerate(_features(value)):
        yield _part(known, f"{known.name}:{number}", part)


def _of_table(known: List, file: IO[bytes], column: str | None) -> Iterator[Entry]:
    csv.field_size_limit(max(csv.field_size_limit(), _BYTES))  # items are longer than 131,072 characters
    # Strictly: a quote that is not closed would swallow the lines up to the next one.
    rows = csv.reader(
        codecs.iterdecode(file, "utf-8-sig"), delimiter="\t" if known.format == "tsv" else ",", strict=True
    )
    try:
        first = next((row for row in rows if any(row)), None)
        if first is None:
            return
        index = 0
        if column is None and len(first) == 1 and "/" in first[0]:  # no header: a column of addresses
            yield from _parts(known, rows.line_num, first[0].strip().encode())
        else:
            index = first.index(_column(known, first, column))
        for row in rows:
            if len(row) > index and row[index].strip():
                yield from _parts(known, rows.line_num, row[index].strip().encode())
    except csv.Error as error:
        raise ConfigurationError(f"{known.name} cannot be read, at line {rows.line_num}: {error}") from error


def _of_parquet(known: List, source: IO[bytes], column: str | None) -> Iterator[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from eechips.catalogs.columns import items_of

    try:
        with pq.ParquetFile(source) as file:
            names = file.schema_arrow.names
            is_stac = column is None and {"id", "geometry"} <= set(names)
            columns = None if is_stac else [_column(known, names, column)]
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                table = pa.Table.from_batches([batch])
                values: Any = items_of(table) if is_stac else table.column(0).to_pylist()
                for value in values:
                    if is_stac:
                        yield Entry(f"{known.name}:{number}", item=json.dumps(value).encode())
                    elif value:
                        yield from _parts(known, number, str(value).strip().encode())
                    number += 1
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise ConfigurationError(f"{known.name} cannot be read: {error}") from error


def _parts(known: List, number: int, text: bytes) -> Iterator[Entry]:
    """What a line or a cell holds: an item, a JSON string that is an address, a bare address; or several items."""
    place = f"{known.name}:{number}"
    if text.startswith(b"[") or (text.startswith(b"{") and _COLLECTION in text):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            yield Entry(place, item=text)  # which whoever reads it will tell
            return
        if isinstance(value, list) or isinstance(value.get("features"), list):
            for index, part in enumerate(_features(value)):
                yield _part(known, f"{place}.{index}", part)
            return
    yield _entry(known, place, text)


def _entry(known: List, place: str, text: bytes) -> Entry:
    if text.startswith(b"{"):
        return Entry(place, item=text)
    try:
        value = json.loads(text) if text.startswith(b'"') else text.decode()
    except ValueError:
        return Entry(place, item=text)  # which whoever reads it will tell
    return Entry(place, address=value, is_foreign=known.is_foreign)


def _part(known: List, place: str, part: Any) -> Entry:
    if isinstance(part, str):
        return Entry(place, address=part.strip(), is_foreign=known.is_foreign)
    return Entry(place, item=json.dumps(part).encode())


def _features(value: Any) -> Iterator[Any]:
    """The parts of an array, and of collections of features, such as pages of an API's answer."""
    if isinstance(value, list):
        for part in value:
            yield from _features(part) if isinstance(part, dict) else [part]
    elif isinstance(value, dict) and isinstance(value.get("features"), list):
        yield from value["features"]
    else:
        yield value


def _column(known: List, names: Sequence[str], wanted: str | None) -> str:
    """The column of addresses."""
    if wanted is not None and wanted in names:
        return wanted
    by_name = {name.strip().lower(): name for name in reversed(names)}
    if wanted is None:
        for name in ADDRESS_COLUMNS:
            if name in by_name:
                return by_name[name]
    asked = f"'{wanted}'" if wanted is not None else f"of addresses ({', '.join(ADDRESS_COLUMNS)})"
    raise UsageError(f"{known.name} has no column {asked}: there are {told(', '.join(names))}; --column names it")


def _is_local(files: Any) -> bool:
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    return "file" in protocols


_OPENERS: Mapping[str, Callable[[IO[bytes]], Any]] = {
    "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "zst": _zstandard
}  # fmt: skip
_READERS: Mapping[str, Callable[[List, IO[bytes], str | None], Iterator[Entry]]] = {
    "parquet": _of_parquet, "csv": _of_table, "tsv": _of_table, "json": _of_document, "geojson": _of_document
}  # fmt: skip
