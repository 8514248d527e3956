"""Read masks beside remote rasters. GDAL is not left to find them: it opens a mask with any driver, such as VRT.

A check before does not help: the server may send another file the next time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioIOError
from rasterio.windows import Window as RasterWindow

from eechips.geo.untrusted_rasters import check_references

_PER_DATASET = 2  # GMF_PER_DATASET: https://gdal.org/en/stable/development/rfc/rfc15_nodatabitmask.html
_FLAGS = re.compile(r"INTERNAL_MASK_FLAGS_([1-9][0-9]{0,8})=([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class WindowMask:
    """What a mask beside a raster says of a window.

    Attributes:
        name: name of its file.
        shape: rows and columns of the whole mask.
        masked: numbers of the raster's bands that it has a mask for, from 1.
        absent: where a band has no data, by the band's number; empty if the mask is too small.
    """

    name: str
    shape: tuple[int, int]
    masked: frozenset[int]
    absent: Mapping[int, npt.NDArray[np.bool_]]

    def apply(
        self, pixels: np.ma.MaskedArray[Any, Any], source: Any, bands: Sequence[int]
    ) -> np.ma.MaskedArray[Any, Any]:
        """Return pixels with this mask; it replaces that of nodata values, but not a mask in the raster, as in GDAL.

        Args:
            source: the raster, opened by rasterio without this mask.
            bands: numbers of the bands of the pixels.

        Raises:
            rasterio.errors.RasterioIOError: see :meth:`check_size`.
        """
        self.check_size(source)
        mask, used = np.ma.getmaskarray(pixels), self._used(source)
        for position, band in enumerate(bands):
            if band in used:
                mask[position] = self.absent[band]
        return np.ma.MaskedArray(pixels.data, mask, fill_value=pixels.fill_value)

    def check_size(self, source: Any) -> None:
        """Check that a mask that a raster needs is as large as the raster; GDAL takes a larger one.

        Raises:
            rasterio.errors.RasterioIOError: if it is smaller.
        """
        if self._used(source) and (self.shape[0] < source.height or self.shape[1] < source.width):
            raise RasterioIOError(
                f"the mask {self.name} has {self.shape[1]} x {self.shape[0]} pixels, and the raster {source.width} x"
                f" {source.height}: remove the mask, or make it anew"
            )

    def _used(self, source: Any) -> set[int]:
        """Return the bands that get this mask: GDAL takes a raster's own first (``GTiffRasterBand::GetMaskBand``)."""
        own = [flags == [MaskFlags.per_dataset] for flags in source.mask_flag_enums]
        return {band for band in self.masked if band <= len(own) and not own[band - 1]}


def read_mask(source: Any, name: str, bands: Sequence[int], window: RasterWindow) -> WindowMask:
    """Read a window of a mask.

    Args:
        source: the mask, opened by rasterio.
        bands: numbers of the raster's bands, from 1.

    Raises:
        rasterio.errors.RasterioError: if it cannot be read.
    """
    check_references(source)
    layers = _layers(source)
    fits = window.row_off + window.height <= source.height and window.col_off + window.width <= source.width
    wanted = [band for band in bands if fits and band in layers]
    absent = {band: source.read(layers[band], window=window) == 0 for band in wanted}
    return WindowMask(name, source.shape, frozenset(layers), absent)


def _layers(source: Any) -> dict[int, int]:
    """Return the number of the mask's band for each band of the raster that has one (``GetMaskBand`` of GDAL)."""
    layers = {}
    for name, flags in source.tags().items():
        if match := _FLAGS.fullmatch(f"{name}={flags}"):
            band = int(match[1])
            layers[band] = 1 if int(match[2]) & _PER_DATASET else band
    return {band: layer for band, layer in layers.items() if layer <= source.count}
