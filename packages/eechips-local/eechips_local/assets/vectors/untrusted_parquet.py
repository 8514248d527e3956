"""Open Parquet files of others within bounds: some kilobytes can claim, and become, gigabytes.

Three things make a file grow when it is read: compressed pages, dictionaries whose long values are repeated by short
numbers, and values that repeat the one before (``DELTA_BYTE_ARRAY``). The footer says how large pages become, but
nothing compares it with them. So the headers of pages are read from the bytes that pyarrow is given, before it
decompresses them. The format: https://parquet.apache.org/docs/file-format/data-pages/.

The local Earth Engine has a copy, because it shares no code with the rest; a test compares them.
"""

from __future__ import annotations

import contextlib
import io
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

_MOST = 1 << 30  # bytes of memory that a batch of rows may need beyond the bytes read for it
_LEAST_WHOLE, _SHARE, _MOST_WHOLE = 512 << 20, 100, 4 << 30  # bytes of all rows: of any file, for each byte, at most
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_DICTIONARY, _DATA, _DATA_V2 = 2, 0, 3  # types of pages
_DELTA_BYTES = 7  # encoding DELTA_BYTE_ARRAY
_REPEATING = (2, _DELTA_BYTES, 8)  # and those with a dictionary
_MOST_NESTED = 8  # structures in the header of a page
_CODECS = {0: "uncompressed", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_SMALL = 4096  # bytes of a dictionary whose longest value is not looked for


@dataclass(frozen=True)
class _Chunk:
    """The pages of a column in a row group.

    Attributes:
        group: number of the row group.
        column: number of the column: several can have the same pages.
        is_repeated: whether a row can have any number of values.
        width: bytes of a value; None for texts.
    """

    group: int
    column: int
    start: int
    end: int
    values: int
    is_repeated: bool
    width: int | None
    codec: str


class BoundedParquet(pq.ParquetFile):  # type: ignore[misc]
    """A Parquet file whose reading raises ``ArrowInvalid`` where it needs more memory than its bytes justify.

    Args:
        source: path, or a file that can seek, which stays open.
        rows: rows that are decoded at once, at most.
        options: see ``pyarrow.parquet.ParquetFile``.
    """

    def __init__(self, source: Path | str | IO[bytes], rows: int = 8192, **options: Any) -> None:
        self._rows = rows
        with contextlib.ExitStack() as stack:
            is_path = isinstance(source, (Path, str))
            file: Any = stack.enter_context(Path(source).open("rb")) if is_path else source  # type: ignore[arg-type]
            self._size = file.seek(0, io.SEEK_END)
            checked = _CheckedFile(file, rows)
            metadata = pq.read_metadata(checked)
            checked.bound(metadata.schema)
            super().__init__(checked, metadata=metadata, **options)
            self._opened = stack.pop_all()

    def close(self, force: bool = False) -> None:
        """Close the file, if it was given by its path."""
        super().close(force)
        self._opened.close()

    def iter_batches(self, batch_size: int = 65536, **options: Any) -> Iterator[pa.RecordBatch]:
        """Yield rows, see ``pyarrow.parquet.ParquetFile``."""
        batches: Iterator[pa.RecordBatch] = super().iter_batches(min(batch_size, self._rows), **options)
        return batches

    def read(self, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        """Return all rows."""
        return self.read_row_groups(range(self.num_row_groups), columns, **options)

    def read_row_group(self, i: int, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        """Return the rows of a row group."""
        return self.read_row_groups([i], columns, **options)

    def read_row_groups(
        self, row_groups: Sequence[int], columns: Sequence[str] | None = None, **options: Any
    ) -> pa.Table:
        """Return the rows of row groups."""
        names = None if columns is None else list(columns)
        batches, size = [], 0
        for batch in self.iter_batches(self._rows, row_groups=list(row_groups), columns=names, **options):
            size += batch.nbytes
            _check(size, self._size, min(_MOST_WHOLE, _LEAST_WHOLE + _SHARE * self._size))
            batches.append(batch)
        return pa.Table.from_batches(batches) if batches else super().read_row_groups([], names)


class _CheckedFile(io.RawIOBase):
    """A file whose pages of Parquet are looked at before they are given to the reader."""

    def __init__(self, file: IO[bytes], rows: int) -> None:
        self._file, self._rows = file, rows
        self._chunks: list[_Chunk] = []
        self._starts: list[int] = []
        self._seen: dict[int, dict[int, tuple[int, int]]] = {}

    def bound(self, schema: pq.ParquetSchema) -> None:
        """Check what is read from now on: the chunks that the footer describes."""
        self._chunks = sorted(_read_chunks(self._file, schema), key=lambda chunk: chunk.start)
        self._starts = [chunk.start for chunk in self._chunks]

    def read(self, size: int = -1) -> bytes:
        position = self._file.tell()
        data = self._file.read(size)
        end = position + len(data)
        for chunk in self._chunks[bisect_left(self._starts, position) : bisect_right(self._starts, end)]:
            if chunk.start == position or chunk.end <= end:  # else it is not read yet, but lies behind another
                self._look_at(chunk, data[chunk.start - position : chunk.end - position])
        return data

    def _look_at(self, chunk: _Chunk, data: bytes) -> None:
        seen = self._seen.setdefault(chunk.group, {})
        if chunk.column not in seen:
            seen[chunk.column] = len(data), _measure(chunk, data, self._rows)
            _check(sum(need for _, need in seen.values()), sum(read for read, _ in seen.values()))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _check(need: int, read: int, most: int | None = None) -> None:
    """Raise ``ArrowInvalid`` if rows need more memory than a file's bytes and a bound."""
    bound = read + (_MOST if most is None else most)
    if need > bound:
        raise pa.ArrowInvalid(
            f"{read:,} bytes of it can become {need:,}, and {bound:,} are the limit: if you trust it, write it with "
            "smaller row groups, and without DELTA_BYTE_ARRAY"
        )


def _read_chunks(file: IO[bytes], schema: pq.ParquetSchema) -> Iterator[_Chunk]:
    """Yield the chunks that the footer of a file describes.

    Its bytes are parsed here: accessors of pyarrow 25's metadata end the process where a damaged footer contradicts
    itself ("Definition level histogram size mismatch"), as they do not translate the exceptions of the library.
    """
    end = file.seek(-8, io.SEEK_END)
    size = int.from_bytes(file.read(4), "little")
    file.seek(end - size)
    footer, _ = _parse(file.read(size), 0)
    for group, described in enumerate(_members(footer, 4)):
        columns = _members(described, 1)
        if len(columns) != len(schema):
            raise pa.ArrowInvalid("the footer is damaged")
        for number, column in enumerate(columns):
            yield _chunk_of(group, number, column.get(3), schema.column(number))


def _chunk_of(group: int, number: int, described: Any, column: pq.ColumnSchema) -> _Chunk:
    """Return a chunk, given the fields of its ``ColumnMetaData``."""
    if not isinstance(described, dict) or not all(isinstance(described.get(key), int) for key in (4, 5, 7, 9)):
        raise pa.ArrowInvalid("the footer is damaged")
    start, dictionary = described[9], described.get(11)
    if isinstance(dictionary, int) and 0 < dictionary < start:
        start = dictionary
    kind = column.physical_type
    width = column.length if kind == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(kind)
    end = start + max(0, described[7])
    codec = _CODECS.get(described[4], "")
    return _Chunk(group, number, start, end, described[5], column.max_repetition_level > 0, width, codec)


def _number(fields: dict[int, Any], key: int) -> int:
    """Return an integer that is a field of a structure; -1 if it is none."""
    number = fields.get(key)
    return number if isinstance(number, int) else -1


def _members(fields: dict[int, Any], key: int) -> list[dict[int, Any]]:
    """Return a list of structures that is a field of another one."""
    members = fields.get(key, [])
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise pa.ArrowInvalid("the footer is damaged")
    return members


def _measure(chunk: _Chunk, data: bytes, rows: int) -> int:
    """Return how many bytes a number of rows of a chunk have at most, when they are read."""
    sizes: list[tuple[int, int]] = []  # values and bytes of the pages
    dictionary, repeating, longest, position, seen = 0, 0, 0, 0, 0
    while position < len(data) and seen < chunk.values:
        header, position = _parse(data, position)
        size, stored = _number(header, 2), _number(header, 3)
        if min(size, stored) < 0:
            raise pa.ArrowInvalid("its structures are damaged")
        if header.get(1) == _DICTIONARY:
            _check(size, len(data))
            dictionary = size
            longest = max(longest, _find_longest(chunk, data[position : position + stored], size))
        elif header.get(1) in (_DATA, _DATA_V2):
            described = header.get(5) or header.get(8)
            if not isinstance(described, dict):
                raise pa.ArrowInvalid("its structures are damaged")
            count = max(0, _number(described, 1))
            encoding = described.get(2 if 5 in header else 4)
            repeating += count if encoding in _REPEATING else 0
            longest = max(longest, size if encoding == _DELTA_BYTES else 0)
            sizes.append((count, size))
            seen += count
        position += stored
    count = seen if chunk.is_repeated else min(rows, seen)
    if chunk.width is not None:
        return dictionary + max((size for _, size in sizes), default=0) + count * (chunk.width + 4)
    pages = sum(size for _, size in sizes) if chunk.is_repeated else _widest(sizes, rows)
    return dictionary + pages + min(count, repeating) * longest + 4 * count


def _widest(sizes: list[tuple[int, int]], rows: int) -> int:
    """Return the bytes of the largest pages next to each other in which a number of rows can lie."""
    widest = total = first = between = 0
    for last, (_, size) in enumerate(sizes):
        total += size
        if last - first >= 2:
            between += sizes[last - 1][0]
        while last > first and between + 2 > rows:  # a value of the first page and one of the last
            total -= sizes[first][1]
            first += 1
            between -= sizes[first][0] if first < last else 0
        widest = max(widest, total)
    return widest


def _find_longest(chunk: _Chunk, stored: bytes, size: int) -> int:
    """Return the bytes of the longest value of a dictionary, or more."""
    if chunk.width is not None or size <= _SMALL:
        return chunk.width or size
    try:
        content = stored if chunk.codec == "uncompressed" else pa.decompress(stored, size, chunk.codec, asbytes=True)
    except (pa.ArrowException, ValueError, OSError):
        return size  # the reader will say what is wrong
    longest = position = 0
    while position + 4 <= len(content):
        length = int.from_bytes(content[position : position + 4], "little")
        longest, position = max(longest, length), position + 4 + length
    return min(longest, size)


def _parse(data: bytes, position: int, nested: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a structure in Thrift's compact protocol by their numbers, and where it ends.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """
    fields: dict[int, Any] = {}
    number = 0
    try:
        while (head := data[position]) & 15:
            position += 1
            if head >> 4:
                number += head >> 4
            else:
                number, position = _integer(data, position)
            fields[number], position = _value(data, position, head & 15, nested)
    except IndexError:
        raise pa.ArrowInvalid("its structures are damaged") from None
    return fields, position + 1


def _value(data: bytes, position: int, kind: int, nested: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return kind == 1, position
    if kind in (4, 5, 6):
        return _integer(data, position)
    if kind == 12 and nested < _MOST_NESTED:
        return _parse(data, position, nested + 1)
    if kind == 8:
        length, position = _varint(data, position)
        return None, position + length
    if kind in (3, 7):
        return None, position + (1 if kind == 3 else 8)
    if kind in (9, 10):
        return _list(data, position, nested)
    raise pa.ArrowInvalid("its structures are damaged")  # Parquet has no maps


def _list(data: bytes, position: int, nested: int) -> tuple[list[Any], int]:
    count, kind = data[position] >> 4, data[position] & 15
    position += 1
    if count == 15:
        count, position = _varint(data, position)
    members = []
    for _ in range(count):
        if kind in (1, 2):  # in a list, a truth value has a byte
            member: Any = data[position] == 1
            position += 1
        else:
            member, position = _value(data, position, kind, nested)
        members.append(member)
    return members, position


def _integer(data: bytes, position: int) -> tuple[int, int]:
    number, position = _varint(data, position)
    return (number >> 1) ^ -(number & 1), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return number, position
        if shift > 63:
            raise pa.ArrowInvalid("its structures are damaged")
