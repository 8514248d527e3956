"""Read masks beside remote rasters. GDAL is not left to find them: it opens a mask with any driver, such as VRT.

A check before does not help: the server may send another file the next time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioIOError
from rasterio.windows import Window as RasterWindow

from eechips.geo.untrusted_rasters import check_references

_PER_DATASET = 2  # GMF_PER_DATASET: https://gdal.org/en/stable/development/rfc/rfc15_nodatabitmask.html


@dataclass(frozen=True, slots=True)
class WindowMask:
    """What a mask beside a raster says of a window.

    Attributes:
        name: name of its file.
        absent: where a band has no data, by the band's position in the window; others have no mask.
    """

    name: str
    absent: Mapping[int, npt.NDArray[np.bool_]]

    def apply(self, pixels: np.ma.MaskedArray[Any, Any]) -> np.ma.MaskedArray[Any, Any]:
        """Return pixels with this mask; it replaces that of nodata values, as in GDAL."""
        mask = np.ma.getmaskarray(pixels)
        for position, absent in self.absent.items():
            mask[position] = absent
        return np.ma.MaskedArray(pixels.data, mask, fill_value=pixels.fill_value)


def read_mask(source: Any, name: str, bands: Sequence[int], window: RasterWindow) -> WindowMask:
    """Read a window of a mask.

    Args:
        source: the mask, opened by rasterio.
        bands: numbers of the raster's bands, from 1.

    Raises:
        rasterio.errors.RasterioError: if it cannot be read, or is smaller than the raster.
    """
    check_references(source)
    tags, absent = source.tags(), {}
    for position, band in enumerate(bands):
        flags = tags.get(f"INTERNAL_MASK_FLAGS_{band}", "")
        if flags.isdecimal():
            values = source.read(1 if int(flags) & _PER_DATASET else band, window=window)
            if values.shape != (window.height, window.width):
                raise RasterioIOError(f"the mask {name} has another size than the raster")
            absent[position] = values == 0
    return WindowMask(name, absent)
