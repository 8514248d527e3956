"""Parse and write the header of a TIFF, find its end and the byte ranges of its blocks, and make a small TIFF of some.

The small TIFF has the tags of the first image and of its mask, and the wanted blocks. GDAL decodes it, so all
compressions and predictors give the pixels of the whole file. A block that it lacks lies beyond its end, so that a read
of it fails.

TIFF 6.0: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf; BigTIFF:
https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from mmap import mmap
from typing import Literal

import numpy as np
import numpy.typing as npt

from eechips.geo.grid import Window

MOST_BYTES = 8 << 20
"""Bytes of a header, at most: the offsets of 500,000 blocks."""

_MOST_IMAGES = 64
_MOST_DIRECTORIES = 4096  # more only occur in files made to waste time
_MOST_TAGS = 1000
_CLASSIC, _BIG = 42, 43
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # types of unsigned integers
_LONG, _LONG8 = 4, 16
_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES, _PLANAR = 254, 256, 257, 259, 277, 284
_STRIPS, _ROWS, _STRIP_SIZES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 322, 323, 324, 325
_BLOCK_TAGS = ((_STRIPS, _STRIP_SIZES), (_TILES, _TILE_SIZES))
_DIRECTORIES = 330  # offsets of further directories
_PLACES = frozenset((_DIRECTORIES, *_BLOCK_TAGS[0], *_BLOCK_TAGS[1]))
_POINTERS = frozenset((_DIRECTORIES, 34665, 34853, 40965))  # to further directories, which the small TIFF lacks
_REDUCED, _MASK = 1, 4  # of the subfile type
_SEPARATE = 2  # planes
_OLD_JPEG = 6
_ABSENT = 1 << 40  # offset of blocks that a small TIFF lacks

Range = tuple[int, int]
"""First byte, and the one after the last."""


class UnsupportedTiffError(Exception):
    """A header that is not that of a TIFF, is damaged, or has blocks that cannot be read in parts."""


class IncompleteHeaderError(Exception):
    """A header that continues beyond the bytes at hand, up to ``end`` at least."""

    def __init__(self, end: int) -> None:
        super().__init__(f"the header continues up to byte {end:,}")
        self.end = end


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of an image.

    Attributes:
        kind: number of its type.
        count: number of its values.
        data: values in the byte order of the file.
    """

    kind: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TiffImage:
    """An image or mask of a file, as divided into blocks.

    Attributes:
        tags: by number, without those of offsets and sizes of blocks.
        width: pixels.
        height: pixels.
        block_width: pixels of a block.
        block_height: pixels of a block.
        planes: number of bands that have blocks of their own, else 1.
        offsets: offsets of the blocks, by plane, row and column; 0 for missing ones.
        sizes: sizes of the blocks in bytes.
    """

    tags: Mapping[int, Tag]
    is_tiled: bool
    width: int
    height: int
    block_width: int
    block_height: int
    planes: int
    offsets: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.uint64]

    @property
    def block_tags(self) -> tuple[int, int]:
        """The tags of the offsets and sizes of the blocks."""
        return _BLOCK_TAGS[self.is_tiled]

    def blocks(self, window: Window, bands: Sequence[int]) -> list[int]:
        """Return the indices of the blocks of a window that exist, in ascending order.

        Args:
            window: inside the image.
            bands: numbers from 1.
        """
        across, down = -(-self.width // self.block_width), -(-self.height // self.block_height)
        columns = range(window.column // self.block_width, -(-(window.column + window.width) // self.block_width))
        rows = range(window.row // self.block_height, -(-(window.row + window.height) // self.block_height))
        planes = [0] if self.planes == 1 else sorted({band - 1 for band in bands})
        indices = [(plane * down + row) * across + column for plane in planes for row in rows for column in columns]
        return [index for index in indices if self.sizes[index]]


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """The first image of a file, and its mask.

    Attributes:
        order: ``<`` or ``>``.
        images: the first image, and its mask if there is one.
    """

    order: Literal["<", ">"]
    images: tuple[TiffImage, ...]

    def ranges(self, window: Window, bands: Sequence[int]) -> list[Range]:
        """Return the byte ranges of the blocks of a window, sorted, without repetition."""
        pairs = {
            (int(image.offsets[index]), int(image.offsets[index] + image.sizes[index]))
            for image in self.images
            for index in image.blocks(window, bands)
        }
        return sorted(pairs)

    def small(self, blocks: Mapping[int, bytes]) -> bytes:
        """Return a TIFF that has some blocks only, by their offset in the original file."""
        starts: dict[int, int] = {}
        size = 0
        for offset, data in blocks.items():
            starts[offset] = size
            size += len(data)
        head = len(self.dumps())
        wanted = np.array(sorted(starts), np.uint64)
        moved = np.array([head + starts[int(offset)] for offset in wanted], np.uint64)

        def relocated(image: TiffImage) -> TiffImage:
            offsets = np.where(image.sizes > 0, np.uint64(_ABSENT), image.offsets)
            if len(wanted):
                places = np.minimum(np.searchsorted(wanted, image.offsets), len(wanted) - 1)
                offsets = np.where((wanted[places] == image.offsets) & (image.sizes > 0), moved[places], offsets)
            return replace(image, offsets=offsets)

        return replace(self, images=tuple(map(relocated, self.images))).dumps() + b"".join(blocks.values())

    def dumps(self) -> bytes:
        """Return a TIFF without blocks, which keeps their original offsets, for :func:`parse_layout`."""
        return encode_header(self, is_big=True)[0]


def parse_layout(data: bytes, size: int) -> TiffLayout:
    """Parse the header of a TIFF.

    Args:
        data: beginning of the file, or the result of ``dumps``.
        size: size of the file in bytes: no block ends beyond it.

    Raises:
        IncompleteHeaderError: if more of the file is needed.
        UnsupportedTiffError: if the header is damaged, has more than ``MOST_BYTES``, or is not that of a TIFF.
    """
    if len(data) < 16:
        raise IncompleteHeaderError(16) if size >= 16 else UnsupportedTiffError("the file has less than 16 bytes")
    if data[:2] not in (b"II", b"MM"):
        raise UnsupportedTiffError("the file is not a TIFF")
    reader = _Reader(data, size, "<" if data[:2] == b"II" else ">")
    images: list[TiffImage] = []
    at, seen = reader.first, set[int]()
    while at:
        if at in seen or len(seen) >= _MOST_IMAGES:
            raise UnsupportedTiffError("the list of images does not end")
        seen.add(at)
        tags, at = reader.directory(at)
        kind = reader.number(tags, _SUBFILE, 0)
        if not images or kind & (_MASK | _REDUCED) == _MASK:
            images.append(_image(reader, tags))
        if len(images) == 2:
            break
    if not images:
        raise UnsupportedTiffError("the file has no image")
    return TiffLayout(reader.order, tuple(images))


def find_end(data: mmap) -> int:
    """Return the end of the last directory, value or block of a TIFF, in bytes, as far as a truncated file tells.

    Returns:
        0 if the file is no TIFF, or damaged in another way.
    """
    end = 0
    try:
        reader = _Reader(data, sys.maxsize, "<" if data[:2] == b"II" else ">", sys.maxsize)
        todo, seen = [reader.first], set[int]()
        while todo and end <= len(data) and len(seen) + len(todo) <= _MOST_DIRECTORIES:
            at = todo.pop()
            if at and at not in seen:
                seen.add(at)
                tags, following = reader.directory(at, _PLACES)
                todo += [following, *reader.numbers(tags, _DIRECTORIES).tolist()]
                for places, counts in _BLOCK_TAGS:
                    offsets, sizes = reader.numbers(tags, places), reader.numbers(tags, counts)
                    least = min(len(offsets), len(sizes))
                    ends = (offsets[:least] + sizes[:least])[(offsets[:least] > 0) & (sizes[:least] > 0)]
                    end = max(end, int(ends.max(initial=0)))  # sparse blocks have no pixels
    except IncompleteHeaderError as error:
        return error.end
    except UnsupportedTiffError:
        return 0
    return end


class _Reader:
    """Read the directories of a TIFF, within bounds: none lies beyond ``most``."""

    def __init__(self, data: bytes | mmap, size: int, order: Literal["<", ">"], most: int = MOST_BYTES) -> None:
        self._data, self.size, self.order, self._most = data, size, order, most
        self._left = most  # of values outside of directories; tags of a small file may share the same bytes
        version = self._unpack("H", 2)
        self._is_big = version == _BIG
        if version not in (_CLASSIC, _BIG) or (self._is_big and self._unpack("H", 4) != 8):
            raise UnsupportedTiffError("the file is not a TIFF")
        self.first = self._unpack("Q", 8) if self._is_big else self._unpack("I", 4)

    def directory(self, at: int, wanted: Container[int] = range(1 << 16)) -> tuple[dict[int, Tag], int]:
        """Return the wanted tags of a directory, and the position of the next directory; 0 for the last."""
        count_format, entry_size, value_size = ("Q", 20, 8) if self._is_big else ("H", 12, 4)
        count = self._unpack(count_format, at)
        if count > _MOST_TAGS:
            raise UnsupportedTiffError(f"an image has {count:,} tags")
        start = at + struct.calcsize(count_format)
        tags: dict[int, Tag] = {}
        for entry in range(start, start + count * entry_size, entry_size):
            tag, kind = self._unpack("H", entry), self._unpack("H", entry + 2)
            values = self._unpack("Q" if self._is_big else "I", entry + 4)
            length = _SIZES.get(kind, 0) * values
            if not length:
                continue
            place = entry + entry_size - value_size
            if length > value_size:
                place = self._unpack("Q" if self._is_big else "I", place)
                self._left -= length
                if self._left < 0:
                    raise UnsupportedTiffError(f"the tags have more than {MOST_BYTES >> 20} MiB of values")
            self._check_end(place + length)
            if tag in wanted:
                tags[tag] = Tag(kind, values, self._bytes(place, length))
        return tags, self._unpack("Q" if self._is_big else "I", start + count * entry_size)

    def numbers(self, tags: Mapping[int, Tag], tag: int) -> npt.NDArray[np.uint64]:
        """Return the values of a tag of unsigned integers; none if there is no such tag."""
        tag_entry = tags.get(tag)
        if tag_entry is None:
            return np.empty(0, np.uint64)
        if tag_entry.kind not in _NUMBERS:
            raise UnsupportedTiffError(f"tag {tag} has no integers")
        return np.frombuffer(tag_entry.data, self.order + _NUMBERS[tag_entry.kind]).astype(np.uint64)

    def number(self, tags: Mapping[int, Tag], tag: int, default: int) -> int:
        """Return the first value of a tag."""
        numbers = self.numbers(tags, tag)
        return int(numbers[0]) if len(numbers) else default

    def _unpack(self, code: str, at: int) -> int:
        number: int = struct.unpack(self.order + code, self._bytes(at, struct.calcsize(code)))[0]
        return number

    def _bytes(self, at: int, length: int) -> bytes:
        self._check_end(at + length)
        return self._data[at : at + length]

    def _check_end(self, end: int) -> None:
        if end > min(max(self.size, len(self._data)), self._most):
            raise UnsupportedTiffError(f"the header has values up to byte {end:,}")
        if end > len(self._data):
            raise IncompleteHeaderError(end)


def _image(reader: _Reader, tags: Mapping[int, Tag]) -> TiffImage:
    """Return the layout of an image, which must be consistent."""
    is_tiled = _TILES in tags
    width, height = reader.number(tags, _WIDTH, 0), reader.number(tags, _HEIGHT, 0)
    across = reader.number(tags, _TILE_WIDTH, 0) if is_tiled else width
    down = reader.number(tags, _TILE_HEIGHT, 0) if is_tiled else min(height, reader.number(tags, _ROWS, height))
    samples = reader.number(tags, _SAMPLES, 1)
    planes = samples if reader.number(tags, _PLANAR, 1) == _SEPARATE else 1
    offsets = reader.numbers(tags, _TILES if is_tiled else _STRIPS)
    sizes = reader.numbers(tags, _TILE_SIZES if is_tiled else _STRIP_SIZES)
    if not min(width, height, across, down, planes):
        raise UnsupportedTiffError("an image has no pixels")
    if reader.number(tags, _COMPRESSION, 1) == _OLD_JPEG:
        raise UnsupportedTiffError("an image has JPEG in the form of TIFF 6.0, whose tables are not in its tags")
    expected = planes * -(-width // across) * -(-height // down)
    if not len(offsets) == len(sizes) == expected:
        raise UnsupportedTiffError(
            f"an image of {expected:,} blocks has {len(offsets):,} offsets, {len(sizes):,} sizes"
        )
    if (sizes > reader.size).any() or (offsets > reader.size).any() or (offsets + sizes > reader.size).any():
        raise UnsupportedTiffError("a block lies beyond the end of the file")
    sizes = np.where(offsets == 0, np.uint64(0), sizes)
    others = {tag: value for tag, value in tags.items() if tag not in _POINTERS.union(_BLOCK_TAGS[is_tiled])}
    return TiffImage(others, is_tiled, width, height, across, down, planes, offsets, sizes)


def encode_header(layout: TiffLayout, *, is_big: bool) -> tuple[bytes, dict[tuple[int, int], int]]:
    """Encode a TIFF without blocks; its size does not depend on their offsets.

    Args:
        is_big: whether it is a BigTIFF. Offsets and sizes of blocks have 8 bytes then, otherwise 4.

    Returns:
        The TIFF, and the position of the values of each tag in it, by the number of the image and that of the tag.
    """
    order = layout.order
    offset = "Q" if is_big else "I"
    value_size = struct.calcsize(offset)
    header = bytearray(b"II" if order == "<" else b"MM")
    header += struct.pack(f"{order}HHHQ", _BIG, 8, 0, 16) if is_big else struct.pack(f"{order}HI", _CLASSIC, 8)
    places: dict[tuple[int, int], int] = {}
    for number, image in enumerate(layout.images):
        tags = dict(image.tags)
        for tag, values in zip(image.block_tags, (image.offsets, image.sizes), strict=True):
            kind = Tag(_LONG8 if is_big else _LONG, len(values), values.astype(f"{order}u{value_size}").tobytes())
            tags[tag] = kind
        count = struct.pack(f"{order}{'Q' if is_big else 'H'}", len(tags))
        start = len(header) + len(count)
        beyond = start + (4 + 2 * value_size) * len(tags) + value_size
        entries, values_after = bytearray(), bytearray()
        for tag, value in sorted(tags.items()):
            entries += struct.pack(f"{order}HH{offset}", tag, value.kind, value.count)
            if len(value.data) <= value_size:
                places[number, tag] = start + len(entries)
                entries += value.data.ljust(value_size, b"\0")
                continue
            places[number, tag] = beyond + len(values_after)
            entries += struct.pack(order + offset, places[number, tag])
            values_after += value.data + bytes(-len(value.data) % 8)
        end = beyond + len(values_after)
        following = end if number + 1 < len(layout.images) else 0
        header += count + entries + struct.pack(order + offset, following) + values_after
    return bytes(header), places
