"""Hash the content of a file in small parts, so that later content can be compared with it without the file.

Pixels are hashed by tile: a chip has about a hundred square tiles, so each has about 1% of its pixels. Of each tile,
one byte is the hash of all its pixels, and one byte that of a single pixel. Tiles show where pixels have changed, and
how many at most; the single pixels, a stratified sample, estimate how many. Masked pixels have no value.

Tables are hashed by row. The smallest hashes are kept: by them the share of rows that two tables have in common is
known exactly for small tables, and estimated for others, whatever the order of the rows (Broder, "On the resemblance
and containment of documents", 1997). The sum of all hashes shows whether any row has changed.
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
from eechips.formats import chip_suffixes
from eechips.storage.untrusted_files import read_frame
from eechips.training.quality.chip_pixels import ChipPixels, decode

LARGEST_CONTENT = 256 << 20
"""Bytes of a file whose content is hashed."""

_TILES = 100  # of a chip, at most
_KEPT_ROWS = 64  # hashes of rows that are kept
_ROW_BYTES = 4
_BAND_BYTES = 2
_MOST_PIXELS = 1 << 31
_MOST_BANDS = 1 << 16

_Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class ContentChange:
    """The difference between two contents of one file.

    Attributes:
        share: share of pixels, or rows, that have changed, 0 to 1; None if it cannot be told, such as for pixels on
            another grid. An estimate, unless ``is_exact``.
        largest_share: share that is not exceeded: that of the tiles with changed pixels, or ``share`` if it is exact.
            None for tables of many rows.
        window: column, row, width and height around all changed pixels, or around their tiles; None for tables.
        bands: numbers of the bands with changed pixels, from 0.
        reason: what differs besides values; empty if nothing does.
        is_exact: whether every pixel or row was compared.
    """

    share: float | None
    largest_share: float | None = None
    window: tuple[int, int, int, int] | None = None
    bands: tuple[int, ...] = ()
    reason: str = ""
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class PixelHashes:
    """Hashes of the pixels of a chip.

    Attributes:
        bands: two bytes for each band.
        tiles: a byte for each tile, in rows.
        samples: a byte for one pixel of each tile.
    """

    width: int
    height: int
    bands: bytes
    tiles: bytes
    samples: bytes

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
        sampled = pixels[_sample_places(width, height, edge)]
        return cls(width, height, bytes(bands), _top_bytes(sums), _top_bytes(sampled))

    def compare(self, other: PixelHashes) -> ContentChange | None:
        """Return how other pixels differ; None if they are the same."""
        reason = _other_shape(
            (len(self.bands) // _BAND_BYTES, self.height, self.width),
            (len(other.bands) // _BAND_BYTES, other.height, other.width),
        )
        if reason:
            return ContentChange(None, reason=reason)
        tiles, samples = _differ(self.tiles, other.tiles), _differ(self.samples, other.samples)
        bands = _differ(self.bands, other.bands).reshape(-1, _BAND_BYTES).any(axis=1)
        changed = tiles | samples
        if not changed.any():
            if not bands.any():
                return None
            changed = np.ones_like(tiles)  # a hash of eight bits misses one change in 256; which tile is unknown
            samples = np.zeros_like(tiles)
        sizes = _tile_sizes(self.width, self.height)
        total = self.width * self.height
        largest = float(sizes[changed].sum() / total)
        least = int(changed.sum()) / total if tiles.any() else 1 / total
        share = min(max(float(sizes[samples].sum() / total), least), largest)
        return ContentChange(share, largest, self._window(changed), tuple(map(int, np.flatnonzero(bands))))

    def _window(self, changed: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
        edge = _edge(self.width, self.height)
        rows, columns = np.nonzero(changed.reshape(-1, math.ceil(self.width / edge)))
        left, top = int(columns.min()) * edge, int(rows.min()) * edge
        right = min((int(columns.max()) + 1) * edge, self.width)
        bottom = min((int(rows.max()) + 1) * edge, self.height)
        return left, top, right - left, bottom - top

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        return {
            "size": [self.width, self.height],
            "bands": _text(self.bands),
            "tiles": _text(self.tiles),
            "samples": _text(self.samples),
        }


@dataclass(frozen=True, slots=True)
class RowHashes:
    """Hashes of the rows of a table.

    Attributes:
        columns: hash of the names of the columns.
        smallest: the smallest different hashes of rows, ascending.
        total: sum of the hashes of all rows, which tells whether any has changed.
    """

    rows: int
    columns: bytes
    smallest: bytes
    total: bytes

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[bytes]) -> RowHashes:
        """Hash the rows of a table, each as bytes."""
        count, total, hashes = 0, 0, set()
        for count, row in enumerate(rows, start=1):  # noqa: B007 - the last number counts
            row_hash = hashlib.blake2b(row, digest_size=_ROW_BYTES).digest()
            total += int.from_bytes(row_hash, "big")
            hashes.add(row_hash)
            if len(hashes) > 64 * _KEPT_ROWS:
                hashes = set(sorted(hashes)[:_KEPT_ROWS])
        names = hashlib.blake2b("\0".join(columns).encode(), digest_size=_ROW_BYTES).digest()
        whole = (total % (1 << 8 * _ROW_BYTES)).to_bytes(_ROW_BYTES, "big")
        return cls(count, names, b"".join(sorted(hashes)[:_KEPT_ROWS]), whole)

    def compare(self, other: RowHashes) -> ContentChange | None:
        """Return how other rows differ; None if they are the same, in whatever order."""
        if self == other:
            return None
        if self.columns != other.columns:
            return ContentChange(None, reason=_OTHER_COLUMNS)
        before, after = _parts(self.smallest), _parts(other.smallest)
        smallest = sorted(before | after)[:_KEPT_ROWS]
        common = sum(row_hash in before and row_hash in after for row_hash in smallest)
        is_exact = max(len(before), len(after)) < _KEPT_ROWS
        reason = _other_count(self.rows, other.rows)
        if is_exact:
            share = len(before - after) / len(before) if before else 1.0
            if share or reason:
                return ContentChange(share, share, reason=reason)
            if before == after:
                return ContentChange(None, reason=_OTHER_NUMBERS)
        alike = common / max(len(smallest), 1)  # of all different rows of both
        kept = alike / (1 + alike) * (self.rows + other.rows)
        least = 0.0 if reason else 1 / max(self.rows, 1)
        return ContentChange(min(max(1 - kept / self.rows, least), 1.0) if self.rows else 1.0, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        return {
            "rows": self.rows,
            "columns": _text(self.columns),
            "smallest": _text(self.smallest),
            "total": _text(self.total),
        }


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
        if suffix in _TABLES:
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
    if suffix not in _TABLES:
        return _compare_pixels(decode(before, suffix), decode(after, suffix))
    (old_columns, old_rows), (columns, rows) = _rows(before, suffix), _rows(after, suffix)
    if old_columns != columns:
        return ContentChange(None, reason=_OTHER_COLUMNS, is_exact=True)
    old, new = Counter(old_rows), Counter(rows)
    if old == new:
        return None
    share = (old - new).total() / old.total() if old else 1.0
    return ContentChange(share, share, reason=_other_count(old.total(), new.total()), is_exact=True)


def _compare_pixels(before: ChipPixels, after: ChipPixels) -> ContentChange | None:
    reason = _other_shape(before.values.shape, after.values.shape)
    if reason:
        return ContentChange(None, reason=reason, is_exact=True)
    if _type(before) != _type(after):
        reason = f"{_type(after)} instead of {_type(before)}"
        return ContentChange(None, reason=reason, is_exact=True)
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
    return ContentChange(share, share, window, tuple(bands), is_exact=True)


def content_hashes_from_json(value: Any) -> ContentHashes | None:
    """Read hashes of a lockfile; raise ValueError if they are none."""
    if value is None:
        return None
    if isinstance(value, dict) and value.keys() == {"rows", "columns", "smallest", "total"}:
        rows = value["rows"]
        columns, smallest, total = (_bytes(value[name]) for name in ("columns", "smallest", "total"))
        is_sized = len(smallest) <= _KEPT_ROWS * _ROW_BYTES and len(smallest) % _ROW_BYTES == 0
        is_sized &= len(columns) == len(total) == _ROW_BYTES
        if type(rows) is int and 0 <= rows < 1 << 53 and is_sized:
            return RowHashes(rows, columns, smallest, total)
    if isinstance(value, dict) and value.keys() == {"size", "bands", "tiles", "samples"}:
        size = value["size"]
        bands, tiles, samples = (_bytes(value[name]) for name in ("bands", "tiles", "samples"))
        if isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n < _MOST_PIXELS for n in size):
            count = len(_tile_sizes(*size))
            is_sized = len(bands) % _BAND_BYTES == 0 and 0 < len(bands) <= _MOST_BANDS * _BAND_BYTES
            if len(tiles) == len(samples) == count and is_sized:
                return PixelHashes(size[0], size[1], bands, tiles, samples)
    raise ValueError("these are not hashes of content")


_TABLES = ("csv", "parquet")
_OTHER_COLUMNS = "other columns"
_OTHER_NUMBERS = "other numbers of the same rows"


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


def _sample_places(width: int, height: int, edge: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return row and column of the pixel of each tile whose hash is kept: any, but always the same."""
    corners = np.meshgrid(np.arange(0, height, edge), np.arange(0, width, edge), indexing="ij")
    tops, lefts = (coordinates.ravel() for coordinates in corners)
    across, down = np.minimum(edge, width - lefts), np.minimum(edge, height - tops)
    drawn = (mix_bits(np.arange(len(tops), dtype=np.uint64)) >> np.uint64(1)).astype(np.int64) % (across * down)
    return (tops + drawn // across).astype(np.intp), (lefts + drawn % across).astype(np.intp)


def _top_bytes(values: _Hashes) -> bytes:
    return (mix_bits(values) >> np.uint64(56)).astype(np.uint8).tobytes()


def _differ(first: bytes, second: bytes) -> npt.NDArray[np.bool_]:
    is_different: npt.NDArray[np.bool_] = np.frombuffer(first, np.uint8) != np.frombuffer(second, np.uint8)
    return is_different


def _parts(data: bytes) -> set[bytes]:
    return {data[start : start + _ROW_BYTES] for start in range(0, len(data), _ROW_BYTES)}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("these are not hashes of content")
    return base64.b64decode(text, validate=True)
