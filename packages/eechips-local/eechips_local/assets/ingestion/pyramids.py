"""Decide how the pyramids of stored rasters are made, by average, mode or nearest, and build them.

Each pixel of a level is made of a block of 2x2 pixels of the level below.
So are Earth Engine's (https://developers.google.com/earth-engine/guides/scale). GDAL's overviews differ: it stretches
pixels where a size is odd, 513 columns become 257 of 1.996 columns each, and counts masked pixels for the mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import MemoryFile
from rasterio.windows import Window

from eechips_local.assets.asset_errors import IngestError

RESAMPLINGS = ("average", "nearest", "mode")
_TILE = 256
_STRIP_PIXELS = 1 << 22
_APART = 1e-6
"""Floats that differ by less GDAL takes for the nodata value."""

Values = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def choose_resampling(requested: str | Mapping[str, str] | None, band: str, colour: ColorInterp) -> str:
    """Return how the pyramid of a band is made, one of ``RESAMPLINGS``.

    Args:
        requested: what the user requests, for all bands or by name; by default "mode" for a band with a colour table,
            whose values are classes that have no average, else "average".
        colour: how the file says that the band is displayed.

    Raises:
        IngestError: if there is no such resampling.
    """
    chosen = requested if isinstance(requested, str) else (requested or {}).get(band)
    if chosen is None:
        return "mode" if colour is ColorInterp.palette else "average"
    if chosen not in RESAMPLINGS:
        raise IngestError(f"Pyramids are made by {', '.join(RESAMPLINGS)}, not by {chosen!r}.")
    return chosen


def pyramid_factors(width: int, height: int) -> list[int]:
    """Return powers of two until all is in one tile (https://developers.google.com/earth-engine/guides/scale)."""
    halvings = max(0, math.ceil(math.log2(max(width, height) / _TILE)))
    return [2**level for level in range(1, halvings + 1)]


@contextmanager
def add_pyramid(path: str, policy: str, new_file: Callable[[], str]) -> Iterator[str]:
    """Hold a virtual raster that has the pixels of a GeoTIFF and a pyramid above them, and yield its name.

    Args:
        path: path of the GeoTIFF.
        policy: "average" of the valid pixels of a block; "mode", the most frequent of them, the first of several;
            "nearest", the upper left one (https://developers.google.com/earth-engine/guides/image_upload).
        new_file: returns the path of a new file for a level; the caller removes it.
    """
    with rasterio.open(path) as raster:
        factors = pyramid_factors(raster.width, raster.height)
    if not factors:
        yield path
        return
    levels = [path]
    for _ in factors:
        level_file = new_file()
        _write_level(levels[-1], level_file, policy)
        levels.append(level_file)
    with MemoryFile(ext=".vrt") as plain:
        rasterio.shutil.copy(path, plain.name, driver="VRT")
        with MemoryFile(_add_overviews(bytes(plain.getbuffer()), levels[1:]), ext=".vrt") as virtual:
            yield virtual.name


def _write_level(below: str, level_file: str, policy: str) -> None:
    with rasterio.open(below) as finer:
        width, height = math.ceil(finer.width / 2), math.ceil(finer.height / 2)
        profile = {**finer.profile, "width": width, "height": height, "photometric": "MINISBLACK", "alpha": "NO"}
        has_mask = MaskFlags.per_dataset in finer.mask_flag_enums[0]
        rows = max(2, _STRIP_PIXELS // (finer.width * finer.count) // 2 * 2)
        with rasterio.open(level_file, "w", **profile) as coarser:
            for top in range(0, finer.height, rows):
                strip = Window(0, top, finer.width, min(rows, finer.height - top))
                values, valid = combine_blocks(finer.read(window=strip), finer.read_masks(window=strip) != 0, policy)
                if finer.nodata is not None:
                    values = _mark_missing(values, valid, finer.nodata)
                place = Window(0, top // 2, width, values.shape[1])
                coarser.write(values, window=place)
                if has_mask:
                    coarser.write_mask(valid[0], window=place)


def _mark_missing(values: Values, valid: Mask, nodata: float) -> Values:
    """Give masked pixels the nodata value, and valid ones whose mean is that value the next one, as GDAL does.

    GDAL's ``overview.cpp`` takes ``GDALGetNoDataReplacementValue``.
    """
    missing = values.dtype.type(nodata)
    clashing = valid & (values == missing)
    if clashing.any():  # never where nodata is the type's last number, which no mean of others is
        other = (missing * (1 + _APART) if missing else _APART) if values.dtype.kind == "f" else missing + 1
        values = np.where(clashing, other, values).astype(values.dtype)
    return np.where(valid, values, missing)


def combine_blocks(values: Values, valid: Mask, policy: str) -> tuple[Values, Mask]:
    """Combine blocks of 2x2 pixels; those of the last row and column may have fewer.

    Args:
        values: shape (bands, rows, columns).
        valid: same shape.
        policy: see :func:`add_pyramid`.

    Returns:
        Values and validity, half as many rows and columns, rounded up.
    """
    cells, known = _blocks(values), _blocks(valid)
    if policy == "nearest":
        return cells[..., 0], known[..., 0]
    counts = known.sum(axis=-1)
    if policy == "average":
        means = np.where(known, cells, 0).sum(axis=-1, dtype=np.float64) / np.maximum(counts, 1)
        rounded = means if values.dtype.kind == "f" else np.floor(means + 0.5)
        return rounded.astype(values.dtype), counts > 0
    votes = ((cells[..., None] == cells[..., None, :]) & known[..., None, :]).sum(axis=-1) * known
    winner = votes.argmax(axis=-1)[..., None]
    return np.take_along_axis(cells, winner, axis=-1)[..., 0], counts > 0


def _blocks(values: Values) -> Values:
    """Return the pixels of each block along a last axis, row by row; pixels outside are zero, and not valid."""
    bands, height, width = values.shape
    rows, columns = math.ceil(height / 2), math.ceil(width / 2)
    padded = np.pad(values, ((0, 0), (0, 2 * rows - height), (0, 2 * columns - width)))
    return padded.reshape(bands, rows, 2, columns, 2).swapaxes(2, 3).reshape(bands, rows, columns, 4)


def _add_overviews(virtual: bytes, levels: Sequence[str]) -> bytes:
    """Add overviews to the bands and the mask of a virtual raster, as GDAL writes it."""
    root = ElementTree.fromstring(virtual)
    for band in list(root.iter("VRTRasterBand")):
        number = band.findtext("*/SourceBand", "1")
        for level in levels:
            overview = ElementTree.SubElement(band, "Overview")
            ElementTree.SubElement(overview, "SourceFilename", relativeToVRT="0").text = level
            ElementTree.SubElement(overview, "SourceBand").text = number
    return ElementTree.tostring(root)
