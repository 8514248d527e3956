"""Read blocks of TIFF files that are deflated or not compressed, without GDAL: only the upper rows that are needed are
fetched and inflated.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from eechips_local.archives.archive_errors import ArchiveError
from eechips_local.archives.files import tiff_header
from eechips_local.archives.files.tiff_header import TiffDirectory

# Values of tags: TIFF 6.0, sections 8 and 14, and Adobe's technical note of 2002; 32946 is an older number of deflate.
_PLAIN, _DEFLATES = 1, (8, 32946)
_INDEPENDENT, _DIFFERENCES = 1, 2
_GREY_RGB_PALETTE = (1, 2, 3)

LEAST_GAP = 64 << 10
"""Bytes: fewer between blocks, or at the end of one, are fetched too: they may save a request."""

_PIECE = 64 << 10  # bytes that are inflated at once beyond the rows of a block
_MARGIN = 1 / 64  # of a block, as rows are compressed to more or fewer bytes than others

Buffer = bytes | memoryview


class UnfinishedBlockError(ArchiveError):
    """More bytes of a block are needed than were fetched."""


class RasterBlock(Protocol):
    """A block of a raster. Threads share it."""

    @property
    def size(self) -> int:
        """Bytes in memory, at most."""
        ...

    def read(
        self, bands: Sequence[int], rows: slice, columns: slice
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return values, and where they are valid; None for everywhere.

        Args:
            bands: bands of the block.
            rows: rows of the block.
            columns: columns of the block.

        Returns:
            Arrays of shape (bands, rows, columns).

        Raises:
            ArchiveError: if the block is damaged.
        """
        ...


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """How bytes of a block are values.

    Attributes:
        dtype: data type of the values.
        stored: in the order of the file's bytes; unsigned integers of the same size, where differences are stored.
        width: columns of the block.
        height: rows of a block that is filled up, as writers may leave the lowest one of strips.
        samples: bands in the block, pixel by pixel.
        is_deflated: whether the bytes are compressed.
        is_differenced: whether each value is less by the one at its left.
        nodata: what is not valid, or None.
    """

    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    width: int
    height: int
    samples: int
    is_deflated: bool
    is_differenced: bool
    nodata: int | None

    @property
    def row_size(self) -> int:
        """Bytes of a row."""
        return self.width * self.samples * self.dtype.itemsize

    def length(self, count: int, rows: int, visible: int) -> int:
        """Return how many bytes of a block have its upper rows: an estimate where they are deflated.

        Args:
            count: bytes of the block.
            rows: upper rows that are needed.
            visible: its rows that are in the image.
        """
        if not self.is_deflated:
            return min(count, rows * self.row_size)
        length = int(count * (rows / visible + _MARGIN))
        return count if count - length < LEAST_GAP else length


class InflatedBlock:
    """A block, as ``RasterBlock``, of which only those rows are inflated that were needed, and the ones above.

    The checksum of a deflated block is at its end: it is compared when the last row in the image is inflated. Before
    that, damage is found where bytes are no deflated data. The transfer itself is checked elsewhere: length and ETag
    of each range, the checksum of what is kept on disk.

    Args:
        block_format: block format of the bytes.
        data: first bytes of the block, as the file has it.
        count: bytes of the whole block.
        visible: its rows that are in the image: the lowest tiles are filled up.
    """

    def __init__(self, block_format: BlockFormat, data: Buffer, count: int, rows: int, visible: int) -> None:
        self._format, self._count, self._rows, self._visible = block_format, count, rows, visible
        self.size = count + rows * block_format.row_size
        self.length = len(data)
        self._rest: Buffer = memoryview(data)
        self._begun: Buffer = b""  # pixels below the rows that are done, which a longer read has taken
        self._decoder = isal_zlib.decompressobj() if block_format.is_deflated else None
        self._parts: list[tuple[int, npt.NDArray[Any]]] = []
        self._done = 0
        self._is_damaged = False
        self._lock = threading.Lock()

    def read(
        self, bands: Sequence[int], rows: slice, columns: slice
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return values, and where they are valid; see ``RasterBlock``."""
        block_format = self._format
        with self._lock:
            self._grow(self._rows if rows.stop >= self._visible else rows.stop)
            parts = [*self._parts]
        decoded_parts = []
        for first, part in parts:
            values = part[max(0, rows.start - first) : max(0, rows.stop - first), : columns.stop]
            if len(values):
                decoded_parts.append(values)
        values = decoded_parts[0] if len(decoded_parts) == 1 else np.concatenate(decoded_parts)
        if list(bands) != list(range(block_format.samples)):
            values = values[:, :, bands]
        if block_format.is_differenced:
            values = np.add.accumulate(values, axis=1, dtype=block_format.stored.newbyteorder("="))
            values = values.view(block_format.dtype)
        values = values[:, columns].transpose(2, 0, 1)
        return values, None if block_format.nodata is None else np.not_equal(values, block_format.nodata)

    def extend(self, data: Buffer) -> None:
        """Go on with more bytes, if there are more.

        Args:
            data: first bytes of the block, those that it has among them.
        """
        with self._lock:
            if len(data) > self.length:
                self._rest = b"".join([self._rest, memoryview(data)[self.length :]])
                self.length = len(data)

    def _grow(self, stop: int) -> None:
        """Inflate the rows above one that are not inflated yet."""
        if self._is_damaged:
            raise ArchiveError("its pixels cannot be decoded: it is damaged")
        if stop <= self._done:
            return
        is_whole = self.length >= self._count
        if stop == self._rows and not is_whole:
            raise UnfinishedBlockError("the end of a block is needed, and was not fetched")
        block_format = self._format
        length = (stop - self._done) * block_format.row_size
        self._is_damaged = True
        pixel_bytes, self._begun = self._begun[:length], self._begun[length:]
        if len(pixel_bytes) < length:
            more = self._take(length - len(pixel_bytes))
            pixel_bytes = b"".join([pixel_bytes, more]) if len(pixel_bytes) else more
        if len(pixel_bytes) < length:
            if not is_whole and (self._decoder is None or not self._decoder.eof):
                self._begun, self._is_damaged = pixel_bytes, False
                raise UnfinishedBlockError("more of a block is needed than was fetched")
            raise ArchiveError("its pixels cannot be decoded: a block is too short")
        if stop == self._rows:
            self._end()
        self._is_damaged = False
        values: npt.NDArray[Any] = np.frombuffer(pixel_bytes, block_format.stored)
        self._parts.append((self._done, values.reshape(-1, block_format.width, block_format.samples)))
        self._done = stop

    def _take(self, length: int) -> Buffer:
        """Return the next bytes of the pixels; fewer at their end."""
        if self._decoder is None:
            chunk, self._rest = self._rest[:length], self._rest[length:]
            return chunk
        try:
            inflated: bytes = self._decoder.decompress(self._rest, length)
        except isal_zlib.IsalError as error:  # type: ignore[misc]  # a class, not an instance
            raise ArchiveError("its pixels cannot be decoded: it is damaged") from error
        self._rest = self._decoder.unconsumed_tail
        return inflated

    def _end(self) -> None:
        """Compare the checksum, which follows the bytes that a block has beyond its rows: a filled block's at most."""
        left = self._format.height * self._format.row_size
        while self._decoder is not None and not self._decoder.eof:
            beyond = len(self._take(_PIECE))
            if not beyond and not self._decoder.eof:
                raise ArchiveError("its pixels cannot be decoded: a block is too short")
            left -= beyond
            if left < 0:
                raise ArchiveError("its pixels cannot be decoded: a block is too long")
        self._decoder, self._rest = None, b""


def format_of(image: TiffDirectory, dtype: str, nodata: float | None, *, has_alpha: bool) -> BlockFormat | None:
    """Return how blocks are read here; None for those that GDAL decodes.

    Args:
        image: whose they are.
        dtype: data type of its values, as GDAL has them.
        nodata: as GDAL has it.
        has_alpha: whether a band masks the others.
    """
    kind, number = np.dtype(dtype), image.number
    samples = 1 if image.is_planar else image.samples
    compression, predictor = number(tiff_header.COMPRESSION, _PLAIN), number(tiff_header.PREDICTOR, _INDEPENDENT)
    is_deflated, is_differenced = compression in _DEFLATES, predictor == _DIFFERENCES and compression in _DEFLATES
    if (
        image.is_mask
        or (has_alpha and not image.is_planar)
        or number(tiff_header.BITS, 1) != kind.itemsize * 8
        or number(tiff_header.FILL_ORDER, 1) != 1
        or number(tiff_header.PHOTOMETRIC) not in _GREY_RGB_PALETTE
        or not (is_deflated or compression == _PLAIN)
        or (is_deflated and predictor not in (_INDEPENDENT, _DIFFERENCES))
        # GDAL compares floats with nodata loosely.
        or not (nodata is None or (kind.kind in "iu" and abs(nodata) < 2**53 and nodata == int(nodata)))
    ):
        return None
    hidden = None if nodata is None else int(nodata)
    stored = np.dtype(f"{image.order}{'u' if is_differenced else kind.kind}{kind.itemsize}")
    return BlockFormat(
        kind, stored, image.block_width, image.block_height, samples, is_deflated, is_differenced, hidden
    )
