"""Write TFRecord files of tf.train.Example messages.

Records: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details. Messages:
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/example.proto, in the encoding of
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

Values = bytes | npt.NDArray[Any]
"""Of a feature: bytes make a bytes list of one, integers an int64 list, floats a float list."""

_BYTES, _FLOATS, _INTEGERS = 1, 2, 3  # fields of Feature
_MASK = 0xA282EAD8


def example(features: Mapping[str, Values]) -> bytes:
    """Return a serialised tf.train.Example."""
    return _field(
        1,
        b"".join(_field(1, _field(1, _text(name)) + _field(2, _feature(features[name]))) for name in sorted(features)),
    )


def _text(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _feature(values: Values) -> bytes:
    if isinstance(values, bytes):
        return _field(_BYTES, _field(1, values))
    flat = values.reshape(-1)
    if flat.dtype.kind == "f":
        return _field(_FLOATS, _field(1, flat.astype("<f4").tobytes()))
    return _field(_INTEGERS, _field(1, _varints(flat.astype(np.int64))))


def _field(number: int, content: bytes) -> bytes:
    """Return a field of bytes: number and wire type 2, length, content."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varints(values: npt.NDArray[np.int64]) -> bytes:
    """Return packed integers: 7 bits a byte, the least first; all bytes of one but the last have the highest bit."""
    left = values.view(np.uint64)
    groups = (left[:, None] >> np.arange(0, 70, 7, dtype=np.uint64)[None, :]) & np.uint64(0x7F)
    length = np.ones(len(left), dtype=np.int64)
    for shift in range(7, 64, 7):
        length += (left >> np.uint64(shift)) > 0
    position = np.arange(10)
    more = position[None, :] < length[:, None] - 1
    kept = position[None, :] < length[:, None]
    return bytes((groups.astype(np.uint8) | (more.astype(np.uint8) << 7))[kept].tobytes())


def record(content: bytes) -> bytes:
    """Return a record: its length and content, each followed by its masked CRC-32C."""
    length = struct.pack("<Q", len(content))
    return length + _masked_crc(length) + content + _masked_crc(content)


def _masked_crc(content: bytes) -> bytes:
    crc = int(google_crc32c.value(content))
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


class RecordFiles:
    """Writes records to numbered files, each up to a size. A context manager.

    Args:
        is_compressed: by gzip.
        most_bytes: maximum size of a file before compression, unless its first record has more.

    Attributes:
        names: names of the files, in order.
    """

    def __init__(self, folder: Path, *, is_compressed: bool, most_bytes: int) -> None:
        self._folder = folder
        self._is_compressed = is_compressed
        self._most_bytes = most_bytes
        self._file: gzip.GzipFile | BinaryIO | None = None
        self._size = 0
        self.names: list[str] = []

    def __enter__(self) -> RecordFiles:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, content: bytes) -> None:
        """Write a record, to another file if the present one would become too large."""
        encoded_record = record(content)
        if self._size and self._size + len(encoded_record) > self._most_bytes:
            self._open()
        assert self._file is not None
        self._file.write(encoded_record)
        self._size += len(encoded_record)

    def _open(self) -> None:
        if self._file is not None:
            self._file.close()
        name = f"{len(self.names)}.tfrecord"
        path = self._folder / name
        # Without the time, so that the same records make the same file.
        self._file = gzip.GzipFile(path, "wb", 6, mtime=0) if self._is_compressed else path.open("wb")
        self._size = 0
        self.names.append(name)


def as_numbers(values: Sequence[float] | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return numbers of a table as floats: all that Earth Engine exports to TFRecord are."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.float32)
