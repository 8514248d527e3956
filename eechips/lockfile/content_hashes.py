"""Hash the content of a file in small parts, so that later content can be compared with it without the file: changed
share, window, bands.

Pixels are hashed by tile: a chip has about a hundred square tiles, so each has about 1% of its pixels, whose hash is a
byte. Tiles show where pixels have changed, and how many at most. Masked pixels have no value. Of a table, the sum of
the hashes of its rows shows whether any row has changed, whatever their order.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.errors import StorageError, UsageError, ValidationError
from eechips.files.hashes import mix_bits
from eechips.formats import TABLE_FORMATS, chip_suffixes
from eechips.storage.untrusted_files import read_frame
from eechips.training.quality.chip_pixels import ChipPixels, decode

LARGEST_CONTENT = 256 << 20
"""Bytes of a file whose content is hashed."""

_TILES = 100  # of a chip, at most
_ROW_BYTES = 4
_BAND_BYTES = 2
_MOST_PIXELS = 1 << 31
_MOST_BANDS = 1 << 16

_Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class ContentChange:
    """The difference between two contents of one file.

    Attributes:
        share: share of pixels, or rows, that have changed, 0 to 1; None if it is unknown, as with hashes, and for
            pixels on another grid.
        largest_share: share that is not exceeded: ``share``, or that of the tiles with changed pixels; None for hashes
            of tables.
        window: column, row, width and height around all changed pixels, or around their tiles; None for tables.
        bands: numbers of the bands with changed pixels, from 0.
        reason: what differs besides values; empty if nothing does.
    """

    share: float | None = None
    largest_share: float | None = None
    window: tuple[int, int, int, int] | None = None
    bands: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PixelHashes:
    """Hashes of the pixels of a chip.

    Attributes:
        bands: two bytes for each band.
        tiles: a byte for each tile, in rows.
    """

    width: int
    height: int
    bands: bytes
    tiles: bytes

    @classmethod
    def of(cls, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> PixelHashes:
        """Hash pixels.

        Args:
            values: (bands, rows, columns).
            valid: (rows, columns); values of other pixels do not count.
        """
        _, height, width = values.shape
        pixels: _Hashes = mix_bits(valid.astype(np.uint64))
        bands = bytearray()
        for band in values:
            bits = _bits(band, valid)
            bands += hashlib.blake2b(bits.tobytes() + valid.tobytes(), digest_size=_BAND_BYTES).digest()
            pixels = mix_bits(pixels ^ bits.astype(np.uint64))
        edge = _edge(width, height)
        places: _Hashes = np.arange(width * height, dtype=np.uint64).reshape(height, width)
        keyed = mix_bits(pixels ^ mix_bits(places))
        rows, columns = np.arange(0, height, edge), np.arange(0, width, edge)
        sums: _Hashes = np.add.reduceat(np.add.reduceat(keyed, rows, axis=0), columns, axis=1)
        return cls(width, height, bytes(bands), (mix_bits(sums) >> np.uint64(56)).astype(np.uint8).tobytes())

    def compare(self, other: PixelHashes) -> ContentChange | None:
        """Return how other pixels differ; None if they are the same."""
        reason = _other_shape(
            (len(self.bands) // _BAND_BYTES, self.height, self.width),
            (len(other.bands) // _BAND_BYTES, other.height, other.width),
        )
        if reason:
            return ContentChange(reason=reason)
        changed = _differ(self.tiles, other.tiles)
        bands = _differ(self.bands, other.bands).reshape(-1, _BAND_BYTES).any(axis=1)
        if not changed.any():
            if not bands.any():
                return None
            changed = np.ones_like(changed)  # a hash of eight bits misses one change in 256; which tile is unknown
        largest = float(_tile_sizes(self.width, self.height)[changed].sum() / (self.width * self.height))
        numbers = tuple(map(int, np.flatnonzero(bands)))
        return ContentChange(largest_share=largest, window=self._window(changed), bands=numbers)

    def _window(self, changed: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
        edge = _edge(self.width, self.height)
        rows, columns = np.nonzero(changed.reshape(-1, math.ceil(self.width / edge)))
        left, top = int(columns.min()) * edge, int(rows.min()) * edge
        right = min((int(columns.max()) + 1) * edge, self.width)
        bottom = min((int(rows.max()) + 1) * edge, self.height)
        return left, top, right - left, bottom - top

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        return {"size": [self.width, self.height], "bands": _text(self.bands), "tiles": _text(self.tiles)}


@dataclass(frozen=True, slots=True)
class RowHashes:
    """Hashes of the rows of a table.

    Attributes:
        columns: hash of the names of the columns.
        total: sum of the hashes of all rows, which tells whether any has changed.
    """

    rows: int
    columns: bytes
    total: bytes

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[bytes]) -> RowHashes:
        """Hash the rows of a table, each as bytes."""
        count = total = 0
        for count, row in enumerate(rows, start=1):  # noqa: B007 - the last number counts
            total += int.from_bytes(hashlib.blake2b(row, digest_size=_ROW_BYTES).digest(), "big")
        names = hashlib.blake2b("\0".join(columns).encode(), digest_size=_ROW_BYTES).digest()
        return cls(count, names, (total % (1 << 8 * _ROW_BYTES)).to_bytes(_ROW_BYTES, "big"))

    def compare(self, other: RowHashes) -> ContentChange | None:
        """Return how other rows differ; None if they are the same, in whatever order."""
        if self == other:
            return None
        if self.columns != other.columns:
            return ContentChange(reason=_OTHER_COLUMNS)
        return ContentChange(reason=_other_count(self.rows, other.rows) or "other rows")

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        return {"rows": self.rows, "columns": _text(self.columns), "total": _text(self.total)}


ContentHashes = PixelHashes | RowHashes


def hash_content(data: bytes, suffix: str) -> ContentHashes | None:
    """Hash the content of a chip or a table.

    Returns:
        None for a file of another kind, or one that is too large or does not decode.
    """
    suffix = suffix.lower()
    if len(data) > LARGEST_CONTENT:
        return None
    try:
        if suffix in TABLE_FORMATS:
            return RowHashes.of(*_rows(data, suffix))
        if suffix in chip_suffixes():
            pixels = decode(data, suffix)
            return PixelHashes.of(pixels.values, pixels.valid)
    except (ValidationError, UsageError, StorageError, io.UnsupportedOperation):
        return None
    return None


def compare_contents(before: bytes, after: bytes, suffix: str) -> ContentChange | None:
    """Compare every pixel or row of two contents of one file.

    A row counts as changed if the new table lacks it, or has it less often.

    Returns:
        The difference, with the exact share of the old pixels or rows that have changed; None if there is none.

    Raises:
        ValidationError, UsageError, StorageError, io.UnsupportedOperation: if one does not decode.
    """
    suffix = suffix.lower()
    if suffix not in TABLE_FORMATS:
        return _compare_pixels(decode(before, suffix), decode(after, suffix))
    (old_columns, old_rows), (columns, rows) = _rows(before, suffix), _rows(after, suffix)
    if old_columns != columns:
        return ContentChange(reason=_OTHER_COLUMNS)
    old, new = Counter(old_rows), Counter(rows)
    if old == new:
        return None
    share = (old - new).total() / old.total() if old else 1.0
    return ContentChange(share, share, reason=_other_count(old.total(), new.total()))


def _compare_pixels(before: ChipPixels, after: ChipPixels) -> ContentChange | None:
    reason = _other_shape(before.values.shape, after.values.shape)
    if reason:
        return ContentChange(reason=reason)
    if _type(before) != _type(after):
        reason = f"{_type(after)} instead of {_type(before)}"
        return ContentChange(reason=reason)
    masked = before.valid != after.valid
    changed, bands = masked.copy(), []
    for number, (old, new) in enumerate(zip(before.values, after.values, strict=True)):
        differs = _bits(old, before.valid) != _bits(new, after.valid)
        changed |= differs
        if differs.any() or masked.any():
            bands.append(number)
    if not changed.any():
        return None
    share = float(changed.mean())
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    window = (left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)
    return ContentChange(share, share, window, tuple(bands))


def content_hashes_from_json(value: Any) -> ContentHashes | None:
    """Read hashes of a lockfile; raise ValueError if they are none."""
    if value is None:
        return None
    if isinstance(value, dict) and value.keys() == {"rows", "columns", "total"}:
        rows, columns, total = value["rows"], _bytes(value["columns"]), _bytes(value["total"])
        if type(rows) is int and 0 <= rows < 1 << 53 and len(columns) == len(total) == _ROW_BYTES:
            return RowHashes(rows, columns, total)
    if isinstance(value, dict) and value.keys() == {"size", "bands", "tiles"}:
        size, bands, tiles = value["size"], _bytes(value["bands"]), _bytes(value["tiles"])
        if isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n < _MOST_PIXELS for n in size):
            is_sized = len(bands) % _BAND_BYTES == 0 and 0 < len(bands) <= _MOST_BANDS * _BAND_BYTES
            if len(tiles) == len(_tile_sizes(*size)) and is_sized:
                return PixelHashes(size[0], size[1], bands, tiles)
    raise ValueError("these are not hashes of content")


_OTHER_COLUMNS = "other columns"


def _rows(data: bytes, suffix: str) -> tuple[list[str], Iterable[bytes]]:
    """Return the columns of a table, and each of its rows as bytes."""
    if suffix == "csv":
        head, *rows = data.split(b"\n")
        return [head.decode(errors="replace")], filter(None, rows)
    frame = read_frame(data, suffix, name="the table")
    return list(map(str, frame.columns)), (repr(row).encode() for row in frame.itertuples(index=False, name=None))


def _bits(band: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Return the values of a band as unsigned integers of the same bits; those of masked pixels are 0."""
    plain = np.where(valid, band, np.zeros((), band.dtype))
    plain = plain.astype(np.float64) if plain.dtype.itemsize > 8 else plain
    plain = np.ascontiguousarray(plain, dtype=plain.dtype.newbyteorder("<"))
    return plain.view(f"u{plain.dtype.itemsize}")


def _type(pixels: ChipPixels) -> str:
    return pixels.values.dtype.name  # the same in any byte order


def _other_shape(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """Describe how pixels of another shape (bands, rows, columns) differ; empty if the shape is the same."""
    if before[1:] != after[1:]:
        return f"{after[2]}x{after[1]} pixels instead of {before[2]}x{before[1]}"
    return "" if before[0] == after[0] else f"{after[0]} bands instead of {before[0]}"


def _other_count(before: int, after: int) -> str:
    return "" if before == after else f"{after:,} rows instead of {before:,}"


def _edge(width: int, height: int) -> int:
    """Return the edge of the tiles of a chip, in pixels."""
    edge = max(1, math.isqrt(width * height // _TILES))
    while math.ceil(width / edge) * math.ceil(height / edge) > _TILES:
        edge += 1 + edge // 64
    return edge


def _tile_sizes(width: int, height: int) -> npt.NDArray[np.int64]:
    """Return the pixels of each tile."""
    edge = _edge(width, height)
    across = np.minimum(edge, width - np.arange(0, width, edge))
    down = np.minimum(edge, height - np.arange(0, height, edge))
    return np.outer(down, across).ravel()


def _differ(first: bytes, second: bytes) -> npt.NDArray[np.bool_]:
    is_different: npt.NDArray[np.bool_] = np.frombuffer(first, np.uint8) != np.frombuffer(second, np.uint8)
    return is_different


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("these are not hashes of content")
    return base64.b64decode(text, validate=True)
