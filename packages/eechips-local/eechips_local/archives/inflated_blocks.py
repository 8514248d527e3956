"""Read blocks of TIFF files that are deflated or not compressed, without GDAL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from eechips_local.archives import tiff_header
from eechips_local.archives.archive_errors import ArchiveError
from eechips_local.archives.tiff_header import TiffDirectory

# Values of tags: TIFF 6.0, sections 8 and 14, and Adobe's technical note of 2002; 32946 is an older number of deflate.
_PLAIN, _DEFLATES = 1, (8, 32946)
_INDEPENDENT, _DIFFERENCES = 1, 2
_GREY_RGB_PALETTE = (1, 2, 3)


class RasterBlock(Protocol):
    """A block of a raster."""

    @property
    def size(self) -> int:
        """Bytes in memory."""
        ...

    def read(self, band: int, rows: slice, columns: slice) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return values of a band, and where they are valid; None for everywhere."""
        ...


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """How bytes of a block are values.

    Attributes:
        dtype: of the values.
        stored: in the order of the file's bytes; unsigned integers of the same size, where differences are stored.
        width: columns of the block.
        samples: bands in the block, pixel by pixel.
        is_deflated: whether the bytes are compressed.
        is_differenced: whether each value is less by the one at its left.
        nodata: what is not valid, or None.
    """

    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    width: int
    samples: int
    is_deflated: bool
    is_differenced: bool
    nodata: int | None

    def inflate(self, data: bytes, rows: int) -> InflatedBlock:
        """Return a block whose checksum is right.

        Args:
            data: of the block, as the file has it.
            rows: of the block.

        Raises:
            ArchiveError: if the block is damaged.
        """
        length = rows * self.width * self.samples * self.dtype.itemsize
        try:
            found = isal_zlib.decompress(data, bufsize=length) if self.is_deflated else data
        except isal_zlib.IsalError as error:  # type: ignore[misc]  # a class, not an instance
            raise ArchiveError("its pixels cannot be decoded: it is damaged") from error
        if len(found) < length:
            raise ArchiveError("its pixels cannot be decoded: a block is too short")
        return InflatedBlock(self, found[:length])


@dataclass(frozen=True, slots=True, eq=False)
class InflatedBlock:
    """A block, as ``RasterBlock``.

    Attributes:
        block_format: of the bytes.
        data: the bytes, not compressed.
    """

    block_format: BlockFormat
    data: bytes

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.data)

    def read(self, band: int, rows: slice, columns: slice) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return values of a band, and where they are valid; None for everywhere."""
        block_format = self.block_format
        values: npt.NDArray[Any] = np.frombuffer(self.data, block_format.stored).reshape(
            -1, block_format.width, block_format.samples
        )
        values = values[rows, :, band]
        if block_format.is_differenced:
            whole = np.add.accumulate(values[:, : columns.stop], axis=1, dtype=block_format.stored.newbyteorder("="))
            values = whole.view(block_format.dtype)
        values = values[:, columns]
        return values, None if block_format.nodata is None else np.not_equal(values, block_format.nodata)


def format_of(image: TiffDirectory, dtype: str, nodata: float | None, *, has_alpha: bool) -> BlockFormat | None:
    """Return how blocks are read here; None for those that GDAL decodes.

    Args:
        image: whose they are.
        dtype: of its values, as GDAL has them.
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
    return BlockFormat(kind, stored, image.block_width, samples, is_deflated, is_differenced, hidden)
