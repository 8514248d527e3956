"""Write TFRecord: records of ``tf.train.Example``, which TensorFlow and JAX's loaders read.

A record is a length, its checksum, the content, its checksum; checksums are CRC-32C, masked
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details). The content is a protocol buffer:
a map of names to features, each a list of bytes, floats or integers
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/example.proto). It is written here field
by field, because what serializes maps of protocol buffers may write them in another order each time; the same samples
are to make the same bytes.

Features: ``id``, ``split``, ``metadata`` (JSON), and of each layer ``<layer>/encoded`` (the file as it is) and
``<layer>/format`` (its suffix).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from eechips.errors import StorageError
from eechips.extras import import_extra
from eechips.training.packs.shard_index import FileContent, PackEntry, PackLayout, Shard

SUFFIX = ".tfrecord"
IS_DECODED = False
CLOSING = frozenset[str]()

_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_AROUND = _LENGTH.size + 2 * _CHECKSUM.size
_OF_FEATURE = 400  # bytes at most of what a layer has around its file: names, format, lengths
_OF_SAMPLE = 800  # likewise, of id, split and metadata


def weight(sizes: Sequence[int], metadata: int) -> int:
    """Return the maximum bytes of a sample."""
    return _AROUND + _OF_SAMPLE + metadata + sum(_OF_FEATURE + size for size in sizes)


def write(folder: Path, shard: Shard, layout: PackLayout, entries: Iterable[PackEntry]) -> None:
    """Write a shard.

    Raises:
        UsageError: if google-crc32c is missing.
    """
    checksum = _masked()
    with (folder / f"{shard.stem}{SUFFIX}").open("wb") as file:
        for entry in entries:
            record = example(_features(entry, shard.split))
            length = _LENGTH.pack(len(record))
            file.write(length + _CHECKSUM.pack(checksum(length)))
            file.write(record)
            file.write(_CHECKSUM.pack(checksum(record)))


def ids(folder: Path, shard: Shard) -> list[str]:
    """Return the ids of the samples in a shard, and compare the checksums."""
    return [features["id"].decode() for features in _records(folder / f"{shard.stem}{SUFFIX}")]


def read(folder: Path, shard: Shard) -> Iterator[PackEntry]:
    """Yield the samples of a shard."""
    for features in _records(folder / f"{shard.stem}{SUFFIX}"):
        metadata = features["metadata"].decode()
        layers: dict[str, FileContent] = {}
        entry = PackEntry(features["id"].decode(), metadata, layers)
        for layer in entry.parsed_metadata["layers"]:
            layers[layer] = FileContent(features[f"{layer}/format"].decode(), features[f"{layer}/encoded"])
        yield entry


def _features(entry: PackEntry, split: str) -> dict[str, bytes]:
    features = {"id": entry.id.encode(), "metadata": entry.metadata.encode(), "split": split.encode()}
    for layer, content in entry.layers.items():
        assert isinstance(content, FileContent)
        features |= {f"{layer}/encoded": content.data, f"{layer}/format": content.suffix.encode()}
    return features


def example(features: dict[str, bytes]) -> bytes:
    """Return a tf.train.Example of features that each have one value of bytes, serialized."""
    entries = []
    for name in sorted(features):
        feature = _field(1, _field(1, features[name]))  # Feature.bytes_list, BytesList.value
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))  # Features.feature: key, value
    return _field(1, b"".join(entries))  # Example.features


def _field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited field of a message (https://protobuf.dev/programming-guides/encoding/)."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _records(path: Path) -> Iterator[dict[str, bytes]]:
    checksum = _masked()
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            if len(head) < _LENGTH.size:
                raise StorageError(f"{path} is cut off inside a record")
            _check(path, file, head, checksum)
            record = file.read(_LENGTH.unpack(head)[0])
            _check(path, file, record, checksum)
            yield features_of(memoryview(record))


def _check(path: Path, file: BinaryIO, content: bytes, checksum: Callable[[bytes], int]) -> None:
    stored_checksum = file.read(_CHECKSUM.size)
    if len(stored_checksum) < _CHECKSUM.size or _CHECKSUM.unpack(stored_checksum)[0] != checksum(content):
        raise StorageError(f"{path} is damaged: the checksum of a record is wrong")


def features_of(message: memoryview) -> dict[str, bytes]:
    """Return the features of an Example that each have one value of bytes; other features are omitted."""
    features = {}
    for _, body in _fields(message):
        for _, entry in _fields(body):
            parts = dict(_fields(entry))
            for kind, values in _fields(parts[2]):
                if kind == 1:
                    features[bytes(parts[1]).decode()] = b"".join(bytes(value) for _, value in _fields(values))
    return features


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    position = 0
    while position < len(message):
        tag, position = _number(message, position)
        length, position = _number(message, position)
        yield tag >> 3, message[position : position + length]
        position += length


def _number(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _masked() -> Callable[[bytes], int]:
    google_crc32c = import_extra("google_crc32c", "TFRecord needs google-crc32c", "pack")

    def masked(data: bytes) -> int:
        crc: int = google_crc32c.value(data)
        return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF

    return masked
