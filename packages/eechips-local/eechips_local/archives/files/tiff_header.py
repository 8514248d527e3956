"""Parse headers of TIFF files: where blocks, masks and levels of the pyramid lie; refuse JPEG 2000, and too large
headers or blocks.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eechips_local.archives.archive_errors import ArchiveRefusedError

_LEAST_READ = 32 << 10
_MOST_HEADER = 32 << 20
_MOST_DIRECTORIES = 64
_MOST_TAGS = 512
_MOST_BLOCK = 64 << 20
_MOST_SIDE = 1 << 21
_MOST_SAMPLES = 4096

# Bytes of the types of values: TIFF 6.0, section 2, and BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_COUNTS, PLANAR = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
FILL_ORDER, PREDICTOR, EXTRA_SAMPLES, SAMPLE_FORMAT = 266, 317, 338, 339
METADATA, NODATA = 42112, 42113  # GDAL's: https://gdal.org/en/stable/drivers/raster/gtiff.html
_SUB_DIRECTORIES = 330  # Adobe's technical note of 1995
_NUMBERS = (
    SUBFILE, WIDTH, LENGTH, COMPRESSION, PHOTOMETRIC, SAMPLES, STRIP_ROWS, PLANAR, TILE_WIDTH, TILE_LENGTH, FILL_ORDER,
    PREDICTOR,
)  # fmt: skip
_LAYOUT = {STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS, 288, 289}
_JPEG2000, _CODESTREAM = b"jP  ", b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, I.5.1 and A.4.1
_OLD_JPEG = 6  # its tables lie outside of the directory


class MissingBytesError(Exception):
    """Bytes of a header that are not there yet.

    Attributes:
        start: start of the first of them.
        length: length of how many.
    """

    def __init__(self, start: int, length: int) -> None:
        super().__init__(start, length)
        self.start, self.length = start, length


@dataclass(slots=True)
class HeaderBytes:
    """Ranges of a file that hold its header.

    Attributes:
        parts: bytes by their offsets.
    """

    size: int
    parts: dict[int, bytes] = field(default_factory=dict)

    def take(self, start: int, length: int) -> memoryview:
        """Return bytes.

        Raises:
            MissingBytesError: if they are to be fetched.
            ArchiveRefusedError: if they cannot be those of a header.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise ArchiveRefusedError("its header refers to bytes behind its end")
        for offset, part in self.parts.items():
            if offset <= start and start + length <= offset + len(part):
                return memoryview(part)[start - offset : start - offset + length]
        if length + sum(map(len, self.parts.values())) > _MOST_HEADER:
            raise ArchiveRefusedError(f"its header takes more than {_MOST_HEADER >> 20} MB")
        raise MissingBytesError(start, min(max(length, _LEAST_READ), self.size - start))


@dataclass(frozen=True, slots=True)
class TiffTag:
    """An entry of a directory.

    Attributes:
        type: TIFF's number of it.
        count: number of values.
        data: the values, in the file's byte order.
    """

    type: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class TiffDirectory:
    """One image of a file: full resolution, a level of the pyramid, or a mask of either.

    Attributes:
        order: byte order, "<" or ">".
        tags: but those of the layout.
        width: columns.
        height: rows.
        samples: bands.
        is_planar: whether each band has blocks of its own.
        is_tiled: whether blocks are tiles, else strips.
        block_width: columns of a block.
        block_height: rows of a block.
        offsets: offsets of the blocks in the file; 0 for those that it leaves out.
        counts: their bytes.
    """

    order: str
    tags: Mapping[int, TiffTag]
    width: int
    height: int
    samples: int
    is_planar: bool
    is_tiled: bool
    block_width: int
    block_height: int
    offsets: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.uint64]

    @property
    def across(self) -> int:
        """Blocks in a row of blocks."""
        return math.ceil(self.width / self.block_width)

    @property
    def down(self) -> int:
        """Rows of blocks."""
        return math.ceil(self.height / self.block_height)

    def number(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        return _number(self.tags, self.order, tag, default)

    def rows_of(self, number: int) -> int:
        """Return the rows of a block: the last strip has fewer, tiles are filled up."""
        if self.is_tiled:
            return self.block_height
        return min(self.block_height, self.height - number % self.down * self.block_height)

    def visible_rows_of(self, number: int) -> int:
        """Return the rows of a block that are in the image."""
        return min(self.block_height, self.height - number // self.across % self.down * self.block_height)

    @property
    def is_reduced(self) -> bool:
        """Whether it is a level of the pyramid, or the mask of one."""
        return bool(self.number(SUBFILE) & 1)

    @property
    def is_mask(self) -> bool:
        """Whether it says where another is valid."""
        return bool(self.number(SUBFILE) & 4)


def _number(tags: Mapping[int, TiffTag], order: str, tag: int, default: int) -> int:
    tiff_tag = tags.get(tag)
    if tiff_tag is None or tiff_tag.type not in _CODES or not tiff_tag.count:
        return default
    return int(np.frombuffer(tiff_tag.data, order + _CODES[tiff_tag.type], 1)[0])


def parse_directories(header: HeaderBytes) -> tuple[TiffDirectory, ...]:
    """Return the images of a file.

    Raises:
        MissingBytesError: if more of the header is to be fetched.
        ArchiveRefusedError: if it is none that can be read; the message ends "because …" sentences.
    """
    start = bytes(header.take(0, min(16, header.size)))
    if start[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") or len(start) < 16:
        if start[4:8] == _JPEG2000 or start[:4] == _CODESTREAM:
            raise ArchiveRefusedError(
                "it is JPEG 2000, whose windows cannot be read by ranges; an archive with Cloud Optimized GeoTIFFs has "
                "the same scenes (earth-search and planetary-computer have those of Sentinel-2)"
            )
        raise ArchiveRefusedError("it is no TIFF file")
    order, is_big = ("<" if start[:2] == b"II" else ">"), b"+" in start[:4]
    place = int(struct.unpack(order + ("Q" if is_big else "I"), start[8:16] if is_big else start[4:8])[0])
    directories: list[TiffDirectory] = []
    seen: set[int] = set()
    left, is_chained = _MOST_HEADER, True
    below: Iterator[int] = iter(())  # directories of levels below the first, as some programs write them
    while place:
        if place in seen or len(seen) >= _MOST_DIRECTORIES:
            raise ArchiveRefusedError("its directories go in circles, or are too many")
        seen.add(place)
        tags, following = _read_tags(header, order, place, left, is_big=is_big)
        left -= sum(len(tag.data) for tag in tags.values())
        if not directories and _SUB_DIRECTORIES in tags:
            below = iter(_numbers(tags[_SUB_DIRECTORIES], order).tolist())
        directories.append(_directory(tags, order))
        is_chained = is_chained and following > 0
        place = following if is_chained else next(below, 0)
    if not directories:
        raise ArchiveRefusedError("it holds no image")
    return tuple(directories)


def _read_tags(
    header: HeaderBytes, order: str, place: int, left: int, *, is_big: bool
) -> tuple[dict[int, TiffTag], int]:
    """Return the tags of a directory, and where the next directory is.

    Args:
        order: byte order, "<" or ">".
        place: offset of the directory.
        left: maximum bytes of values. The tags of a small file may share the same bytes.
        is_big: whether the file is a BigTIFF.
    """
    count_size, entry, inline = (8, 20, 8) if is_big else (2, 12, 4)
    number, offset = order + ("Q" if is_big else "H"), order + ("Q" if is_big else "I")
    count = struct.unpack(number, header.take(place, count_size))[0]
    if count > _MOST_TAGS:
        raise ArchiveRefusedError(f"a directory has {count} tags")
    body = bytes(header.take(place + count_size, count * entry + inline))
    tags: dict[int, TiffTag] = {}
    for i in range(count):
        at = i * entry
        tag, kind, values = struct.unpack_from(order + ("HHQ" if is_big else "HHI"), body, at)
        length = _SIZES.get(kind, 0) * values
        value = at + entry - inline
        if length <= inline:
            data = body[value : value + length]
        else:
            data = bytes(header.take(struct.unpack_from(offset, body, value)[0], length))
        left -= len(data)
        if left < 0:
            raise ArchiveRefusedError(f"its header takes more than {_MOST_HEADER >> 20} MB")
        tags.setdefault(tag, TiffTag(kind, values, data))  # as libtiff: the first of several
    return tags, int(struct.unpack_from(offset, body, count * entry)[0])


def _directory(tags: dict[int, TiffTag], order: str) -> TiffDirectory:
    def number(tag: int, default: int = 0) -> int:
        return _number(tags, order, tag, default)

    for tag in _NUMBERS:  # libtiff ignores some that are not one number, and refuses others
        if tag in tags and (tags[tag].type not in _CODES or tags[tag].count != 1):
            raise ArchiveRefusedError(f"its tag {tag} is not one number")
    width, height, samples = number(WIDTH), number(LENGTH), number(SAMPLES, 1)
    is_tiled = TILE_OFFSETS in tags or TILE_WIDTH in tags
    block_width = number(TILE_WIDTH) if is_tiled else width
    block_height = number(TILE_LENGTH) if is_tiled else min(number(STRIP_ROWS, height), height)
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE and 0 < samples <= _MOST_SAMPLES):
        raise ArchiveRefusedError(f"it claims {width}x{height} pixels of {samples} bands")
    if min(block_width, block_height) < 1 or number(PLANAR, 1) not in (1, 2) or number(COMPRESSION, 1) == _OLD_JPEG:
        raise ArchiveRefusedError("its layout or compression is not supported")
    is_planar = number(PLANAR, 1) == 2 and samples > 1
    together = 1 if is_planar else samples
    if block_width * block_height * together * max(1, number(BITS, 1) // 8) > _MOST_BLOCK:
        raise ArchiveRefusedError(
            f"its blocks of {block_width}x{block_height} pixels take more than {_MOST_BLOCK >> 20} MB: it is not made "
            "for reading parts"
        )
    blocks = math.ceil(width / block_width) * math.ceil(height / block_height) * (samples if is_planar else 1)
    offsets, counts = (
        _values(tags.get(pair[0 if is_tiled else 1]), order, blocks)
        for pair in ((TILE_OFFSETS, STRIP_OFFSETS), (TILE_COUNTS, STRIP_COUNTS))
    )
    if ((offsets == 0) != (counts == 0)).any():
        raise ArchiveRefusedError("it lists a block without its place, or without its size")
    if int(counts.max()) > 2 * _MOST_BLOCK:
        raise ArchiveRefusedError(f"a block of it takes {int(counts.max())} bytes")
    kept = {tag: value for tag, value in tags.items() if tag not in _LAYOUT}
    return TiffDirectory(
        order, kept, width, height, samples, is_planar, is_tiled, block_width, block_height, offsets, counts
    )


def _values(tag: TiffTag | None, order: str, count: int) -> npt.NDArray[np.uint64]:
    """Return a number for each block.

    Raises:
        ArchiveRefusedError: if there are others than blocks.
    """
    if tag is None or tag.type not in _CODES or tag.count != count:
        raise ArchiveRefusedError(f"it lists {0 if tag is None else tag.count} of {count} blocks")
    return _numbers(tag, order)


def _numbers(tag: TiffTag, order: str) -> npt.NDArray[np.uint64]:
    """Return the values of a tag; none for one of a type that is no whole number."""
    data = tag.data if tag.type in _CODES else b""
    return np.frombuffer(data, order + _CODES.get(tag.type, "u1")).astype(np.uint64)


def pyramid(directories: Iterable[TiffDirectory]) -> list[tuple[int, TiffDirectory, TiffDirectory | None]]:
    """Return decimation factors, images and masks of the levels, full resolution first.

    Sizes of levels may be rounded up or down: GDAL's own overviews are rounded up, those of its COG driver down. What
    is neither, or has samples of another kind, is left out, and what has no mask where full resolution has one. What is
    no data in full resolution is none in any level: programs write it there only, and GDAL looks for it there.
    """
    first, *others = directories
    masks = {(d.width, d.height): d for d in reversed(others) if d.is_mask}
    has_mask = (first.width, first.height) in masks
    levels = {1: first}
    for image in others:
        if not image.is_reduced or image.is_mask or _sample_kind(image) != _sample_kind(first):
            continue
        factor = _factor(first, image)
        if factor is not None and (not has_mask or (image.width, image.height) in masks):
            levels.setdefault(factor, replace(image, tags=_with_nodata(image, first)))
    return [
        (factor, levels[factor], masks[levels[factor].width, levels[factor].height] if has_mask else None)
        for factor in sorted(levels)
    ]


def _with_nodata(image: TiffDirectory, first: TiffDirectory) -> dict[int, TiffTag]:
    """Return the tags of a level, and the tags of full resolution that say which values are nodata."""
    own = {tag: value for tag, value in image.tags.items() if tag not in (METADATA, NODATA)}
    return own | {tag: first.tags[tag] for tag in (METADATA, NODATA) if tag in first.tags}


def _sample_kind(image: TiffDirectory) -> tuple[int, int, int]:
    """Return the number of samples, their bits, and what these are."""
    return image.samples, image.number(BITS, 1), image.number(SAMPLE_FORMAT, 1)


def _factor(first: TiffDirectory, image: TiffDirectory) -> int | None:
    """Return by what a level is decimated, powers of two first; None if by no whole number."""
    guess = max(1, round(first.width / image.width))
    for factor in (1 << (guess - 1).bit_length(), 1 << (guess.bit_length() - 1), guess, guess + 1, guess - 1):
        if factor > 1 and all(
            size in (whole // factor, math.ceil(whole / factor))
            for whole, size in ((first.width, image.width), (first.height, image.height))
        ):
            return factor
    return None
