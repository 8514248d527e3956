"""Lists of STAC items: files that hold items, or the addresses of items."""

from __future__ import annotations

import codecs
import csv
import json
import lzma
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from eechips.errors import ConfigurationError, UsageError

FORMATS = ("csv", "tsv", "txt", "json", "geojson", "ndjson", "jsonl", "geojsonl", "parquet")
"""Suffixes of lists; ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` may follow, but for Parquet."""

ADDRESS_COLUMNS = ("url", "href", "address", "item", "stac_url", "link")
"""Columns that addresses are looked for in, unless the caller names one."""

_BYTES = 32_000_000  # of items in a chunk
_ADDRESS_BYTES = 16_000  # what an address counts for: the item that it leads to
_MOST = 20_000  # items in a chunk
_ROWS = 2000  # of a Parquet file that are read at a time
_BROKEN = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error, lzma.LZMAError)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_COMPRESSED = re.compile(r"\.(gz|bz2|xz|zst)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list.

    Attributes:
        place: file and number of the line or row, for messages.
        address: of the item; None if the list holds the item itself.
        item: JSON, not looked at yet.
    """

    place: str
    address: str | None = None
    item: bytes | None = None


@dataclass(frozen=True, slots=True)
class List:
    """A file that was found.

    Attributes:
        address: path, or address that fsspec knows.
        size: bytes.
        stamp: what tells this version of the file from others, if the store says so.
    """

    address: str
    size: int | None
    stamp: str

    @property
    def format(self) -> str:
        """Its suffix."""
        path = urlsplit(self.address).path if _WEB.match(self.address) else self.address
        return PurePosixPath(_COMPRESSED.sub("", path)).suffix.lstrip(".").lower()


def find(patterns: Sequence[str]) -> list[List]:
    """The files of paths, addresses and patterns, such as ``s3://bucket/2020_*.ndjson``, in the order of their names.

    Raises:
        UsageError: if one finds nothing, or a file is no list.
        ConfigurationError: if a store does not answer.
    """
    import fsspec

    found: dict[str, List] = {}
    for pattern in patterns:
        try:
            files, path = fsspec.url_to_fs(pattern)
            is_pattern = re.search(r"[*?\[]", path) is not None and not _WEB.match(pattern)  # the web lists nothing
            paths = sorted(files.glob(path)) if is_pattern else [path]
            there = [(name, files.info(name)) for name in paths if files.exists(name)]
        except ImportError as error:
            raise ConfigurationError(f"{pattern} needs a package that is not installed: {error}") from None
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{pattern} cannot be listed: {error}") from error
        if not there:
            raise UsageError(f"there is no list {pattern}")
        for name, info in there:
            address = name if _is_local(files) else files.unstrip_protocol(name)
            stamp = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or ""
            found[address] = List(address, info.get("size"), str(stamp))
    for known in found.values():
        if known.format not in FORMATS:
            raise UsageError(f"{known.address} is no list: its name must end in one of {', '.join(FORMATS)}")
    return list(found.values())


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
        try:
            for entry in _entries(known, column):
                waiting.append(entry)
                size += len(entry.item) if entry.item is not None else _ADDRESS_BYTES
                if size >= _BYTES or len(waiting) == _MOST:
                    yield waiting
                    waiting, size = [], 0
        except _BROKEN as error:
            raise ConfigurationError(f"{known.address} cannot be read: {error}") from error
    if waiting:
        yield waiting


def _entries(known: List, column: str | None) -> Iterator[Entry]:
    if known.format == "parquet":
        yield from _of_parquet(known, column)
        return
    import fsspec

    with fsspec.open(known.address, "rb", compression="infer") as file:
        if known.format in ("csv", "tsv"):
            yield from _of_table(known, file, column)
        elif known.format in ("json", "geojson"):
            yield from _of_document(known, file)
        else:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if text:
                    yield _entry(f"{known.address}:{number}", text)


def _entry(place: str, text: bytes) -> Entry:
    """An item, a JSON string that is an address, or a bare address."""
    if text.startswith(b"{"):
        return Entry(place, item=text)
    return Entry(place, address=json.loads(text) if text.startswith(b'"') else text.decode())


def _of_document(known: List, file: IO[bytes]) -> Iterator[Entry]:
    """An item, an array of items or addresses, or a collection of features."""
    try:
        value = json.load(file)
    except ValueError as error:
        raise ConfigurationError(f"{known.address} is no JSON: {error}") from error
    if isinstance(value, dict):
        value = value["features"] if isinstance(value.get("features"), list) else [value]
    for number, part in enumerate(value):
        place = f"{known.address}:{number}"
        yield Entry(place, address=part) if isinstance(part, str) else Entry(place, item=json.dumps(part).encode())


def _of_table(known: List, file: IO[bytes], column: str | None) -> Iterator[Entry]:
    csv.field_size_limit(max(csv.field_size_limit(), _BYTES))  # items are longer than 131,072 characters
    rows = csv.reader(codecs.iterdecode(file, "utf-8-sig"), delimiter="\t" if known.format == "tsv" else ",")
    first = next(rows, None)
    if first is None:
        return
    index = 0
    if column is None and len(first) == 1 and "/" in first[0]:  # no header: a column of addresses
        yield Entry(f"{known.address}:1", address=first[0].strip())
    else:
        index = first.index(_column(known, first, column))
    for row in rows:
        if len(row) > index and row[index].strip():
            yield _entry(f"{known.address}:{rows.line_num}", row[index].strip().encode())


def _of_parquet(known: List, column: str | None) -> Iterator[Entry]:
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    from eechips.catalogs.columns import items_of

    try:
        with fsspec.open(known.address, "rb") as source, pq.ParquetFile(source) as file:
            names = file.schema_arrow.names
            is_stac = column is None and {"id", "geometry", "bbox"} <= set(names)
            columns = None if is_stac else [_column(known, names, column)]
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                table = pa.Table.from_batches([batch])
                values: Any = items_of(table) if is_stac else table.column(0).to_pylist()
                for value in values:
                    place = f"{known.address}:{number}"
                    number += 1
                    if is_stac:
                        yield Entry(place, item=json.dumps(value).encode())
                    elif value:
                        yield _entry(place, str(value).strip().encode())
    except pa.ArrowException as error:
        raise ConfigurationError(f"{known.address} cannot be read: {error}") from error


def _column(known: List, names: Sequence[str], wanted: str | None) -> str:
    """The column of addresses."""
    if wanted is not None and wanted in names:
        return wanted
    by_name = {name.strip().lower(): name for name in names}
    if wanted is None:
        for name in ADDRESS_COLUMNS:
            if name in by_name:
                return by_name[name]
    asked = f"'{wanted}'" if wanted is not None else f"of addresses ({', '.join(ADDRESS_COLUMNS)})"
    raise UsageError(f"{known.address} has no column {asked}: there are {', '.join(names)}")


def _is_local(files: Any) -> bool:
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    return "file" in protocols
