"""Find lists of STAC items by path, URL or pattern, local or remote, in any accepted format, and open them:
decompressed, in UTF-8.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa

from eechips.errors import ConfigurationError, UsageError
from eechips.web.redaction import redact
from eechips.web.urls import is_http

FORMATS = ("csv", "tsv", "txt", "json", "geojson", "ndjson", "jsonl", "geojsonl", "parquet")
"""Suffixes of lists; ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` may follow, except for Parquet."""
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # in this order
_COMPRESSED = re.compile(r"\.(gz|bz2|xz|zst)$", re.IGNORECASE)

MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00", "zst": b"\x28\xb5\x2f\xfd"}
"""First bytes of compressed files, by suffix."""
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "Last-Modified", "Content-MD5")


@dataclass(frozen=True, slots=True)
class ItemList:
    """A file with a list.

    Attributes:
        address: path, or URL of fsspec.
        size: bytes.
        stamp: identifies the version of the file; empty if the store has none.
        is_foreign: whether it is remote.
        label: name in messages; None for its redacted URL.
    """

    address: str
    size: int | None
    stamp: str
    is_foreign: bool = False
    label: str | None = None

    @property
    def name(self) -> str:
        """Name in messages, without secrets."""
        return redact(self.address) if self.label is None else self.label

    @property
    def format(self) -> str:
        """Suffix of the format."""
        return PurePosixPath(_COMPRESSED.sub("", self._path)).suffix.lstrip(".").lower()

    @property
    def compression(self) -> str | None:
        """Suffix of the compression; None if there is none."""
        match = _COMPRESSED.search(self._path)
        return match[1].lower() if match else None

    @property
    def _path(self) -> str:
        return urlsplit(self.address).path if is_http(self.address) else self.address


def find_lists(patterns: Sequence[str]) -> list[ItemList]:
    """Find the files of paths, URLs and patterns, such as ``s3://bucket/2020_*.ndjson``, sorted by name.

    Raises:
        UsageError: if a pattern matches nothing, or a file is not a list.
        ConfigurationError: if a store does not respond.
    """
    lists_by_address: dict[str, ItemList] = {}
    for pattern in patterns:
        try:
            there = _matching(pattern)
        except ImportError as error:
            raise ConfigurationError(f"{redact(pattern)} needs a package that is not installed: {error}") from None
        except FileNotFoundError as error:
            reason = f": {redact(str(error.__cause__))}" if error.__cause__ is not None else ""
            raise UsageError(f"there is no list {redact(pattern)}{reason}") from None
        except Exception as error:  # every store's package has exceptions of its own
            raise ConfigurationError(f"{redact(pattern)} cannot be listed: {redact(str(error))}") from error
        if not there:
            raise UsageError(f"there is no list {redact(pattern)}")
        lists_by_address |= {known.address: known for known in there}
    for known in lists_by_address.values():
        if known.format not in FORMATS:
            raise UsageError(f"{known.name} is not a list: its name must end in one of {', '.join(FORMATS)}")
    return list(lists_by_address.values())


def _matching(pattern: str) -> list[ItemList]:
    files, path = fsspec.url_to_fs(pattern)
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    is_here = "file" in protocols
    is_pattern = re.search(r"[*?\[]", path) is not None and not is_http(pattern)  # web servers list no files
    if is_here and Path(path).exists():  # brackets in the name itself
        is_pattern = False
    item_lists = []
    for name, info in _files(files, sorted(files.glob(path)) if is_pattern else [path]):
        stamp = next((info[key] for key in _STAMPS if info.get(key)), "")
        address = name if is_here else files.unstrip_protocol(name)
        item_lists.append(ItemList(address, info.get("size"), str(stamp), is_foreign=not is_here))
    return item_lists


def _files(files: Any, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield files with their metadata; of a folder all files that are not hidden, as Spark and Dask write them."""
    for name in names:
        info = files.info(name)
        if info.get("type") != "directory":
            yield name, info
            continue
        for below, own in sorted(files.find(name, detail=True).items()):
            inside = below.removeprefix(name.rstrip("/")).strip("/").split("/")
            if not any(part.startswith((".", "_")) for part in inside):
                yield below, own


@contextmanager
def open_list(known: ItemList) -> Iterator[IO[bytes]]:
    """Open a list, and decompress it."""
    if is_http(known.address):  # servers may omit lengths, lack ranges, or decompress: copy the file first
        with tempfile.TemporaryFile() as copy:
            files, path = fsspec.url_to_fs(known.address)
            files.get_file(path, copy)
            copy.seek(0)
            magic = MAGIC.get(known.compression or "", b"")
            is_compressed = bool(magic) and copy.read(len(magic)) == magic
            copy.seek(0)
            with _decompressed(copy, known.compression if is_compressed else None) as file:
                yield _in_utf8(known, file)
    else:
        with (
            fsspec.open(known.address, "rb", compression=None) as source,
            _decompressed(source, known.compression) as file,
        ):
            yield _in_utf8(known, file)


@contextmanager
def _decompressed(file: IO[bytes], compression: str | None) -> Iterator[IO[bytes]]:
    if compression is None:
        yield file
        return
    with _OPENERS[compression](file) as stream:
        yield stream


def _in_utf8(known: ItemList, file: IO[bytes]) -> IO[bytes]:
    """Convert a text in UTF-16 or UTF-32 with a byte order mark, as PowerShell and Excel write it, to UTF-8."""
    if known.format == "parquet":
        return file
    if not hasattr(file, "peek"):  # of a store's package, which may not read single lines efficiently
        file = cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, file)))
    head = cast(io.BufferedReader, file).peek(4)
    encoding = {2: "utf-16", 4: "utf-32"}.get(next((len(mark) for mark in _WIDE if head.startswith(mark)), 0))
    return file if encoding is None else codecs.EncodedFile(file, "utf-8", encoding)


def _zstandard(file: IO[bytes]) -> IO[bytes]:
    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))


_OPENERS: Mapping[str, Callable[[IO[bytes]], Any]] = {
    "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "zst": _zstandard
}  # fmt: skip
