"""A picture of some chips, side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning

from eechips.recipe import MASK_BAND
from eechips.warning_filters import ignore
from eechips.writers.raster import encode_picture

Picture = npt.NDArray[np.uint8]
"""Red, green and blue: (3, rows, columns)."""

PICTURES = frozenset({"png", "jpg", "jpeg", "tif", "tiff", "npy"})
"""Suffixes of files that can be shown."""

GAP = 4  # pixels between two chips
_BACKGROUND = 255
_MASKED = 225  # light grey: no chip's black
_PERCENTILES = (2.0, 98.0)
"""Values between which data are stretched to 0–255."""


_MOST_CLASSES = 16


def _class_colours() -> npt.NDArray[np.uint8]:
    """A colour for each of 256 codes, (3, 256): hues a golden angle apart, so that neighbours differ; 0 is dark."""
    codes = np.arange(256)
    hues = (codes * 0.381966) % 1.0
    # Smooth hues as cosines, brighter and darker in turns (https://iquilezles.org/articles/palettes/, the idea).
    waves = 0.5 + 0.38 * np.cos(2 * np.pi * (hues + np.array([[0.0], [0.33], [0.67]])))
    colours: npt.NDArray[np.uint8] = np.round(waves * np.where(codes % 3 == 1, 0.72, 1.0) * 255).astype(np.uint8)
    colours[:, 0] = 40
    return colours


_CLASS_COLOURS = _class_colours()


def sheet(rows: Sequence[Sequence[Path]], edge: int) -> Picture:
    """Chips in rows, each in a square, white between them; data of all of them are stretched alike.

    Args:
        rows: the chips of each row; rows may differ in length.
        edge: of a square, in pixels.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if it is no picture.
    """
    looks = [[look(path, edge) for path in row] for row in rows]
    stretches = Stretches.of([seen for row in looks for seen in row])
    columns = max(len(row) for row in rows)
    step = edge + GAP
    whole = np.full((3, len(rows) * step + GAP, columns * step + GAP), _BACKGROUND, dtype=np.uint8)
    for i, row in enumerate(looks):
        for j, seen in enumerate(row):
            chip = seen.picture(stretches)
            _, height, width = chip.shape
            top, left = GAP + i * step + (edge - height) // 2, GAP + j * step + (edge - width) // 2
            whole[:, top : top + height, left : left + width] = chip
    return whole


def png(image: Picture) -> bytes:
    """A picture as a PNG file."""
    return encode_picture(image, "PNG", zlevel=9)


def picture(path: Path, edge: int) -> Picture:
    """A file's first three bands, or its first, as a picture that fits into a square.

    See :func:`look` for what is read and what is raised.
    """
    return look(path, edge).picture()


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Some pixels of a file: as many as a picture of it shows.

    Attributes:
        values: of the first three bands, or of the first: (bands, rows, columns), of the file's type.
        valid: where they are not masked: (rows, columns).
        is_data: whether they are data, and no colours.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    is_data: bool

    @property
    def has_classes(self) -> bool:
        """Whether the values look like codes of classes: one band of bytes, of few different values."""
        if not self.is_data or len(self.values) != 1 or self.values.dtype != np.uint8:
            return False
        return len(np.unique(self.values[0][self.valid])) <= _MOST_CLASSES

    def picture(self, stretches: Stretches | None = None) -> Picture:
        """As colours.

        Data are stretched from the 2nd to the 98th percentile of each band; each class has a colour of its own, the
        same in every file. Masked pixels are grey.

        Args:
            stretches: of several files, so that what is brighter in one of them looks so; None for this file's own.
        """
        shown: npt.NDArray[Any]
        if self.has_classes:
            shown = _CLASS_COLOURS[:, self.values[0]]
        elif self.is_data:
            shown = (stretches or Stretches.of([self])).apply(self)
        else:
            shown = self.values
        pixels = np.where(self.valid, shown, _MASKED).astype(np.uint8)
        return np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels


@dataclass(frozen=True, slots=True)
class Stretches:
    """Between which values the data of some files are stretched to 0–255.

    Attributes:
        ranges: lowest and highest value of each band, by what files have in common: number of bands and dtype.
    """

    ranges: Mapping[tuple[int, str], Sequence[tuple[float, float]]]

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Stretches:
        """From the 2nd to the 98th percentile of each band of all files that are alike."""
        groups: dict[tuple[int, str], list[Look]] = defaultdict(list)
        for seen in looks:
            if seen.is_data and not seen.has_classes:
                groups[_kind(seen)].append(seen)
        return cls({kind: [_range(alike, band) for band in range(kind[0])] for kind, alike in groups.items()})

    def apply(self, seen: Look) -> npt.NDArray[np.float64]:
        """The bands of a file that is alike one of those, stretched: (bands, rows, columns)."""
        ranges = self.ranges.get(_kind(seen)) or Stretches.of([seen]).ranges[_kind(seen)]
        return np.stack([_stretched(band, *between) for band, between in zip(seen.values, ranges, strict=True)])


def _kind(seen: Look) -> tuple[int, str]:
    return len(seen.values), str(seen.values.dtype)


def _range(looks: Sequence[Look], band: int) -> tuple[float, float]:
    known = np.concatenate([seen.values[band][seen.valid & np.isfinite(seen.values[band])] for seen in looks])
    if not known.size:
        return 0.0, 0.0
    low, high = np.percentile(known.astype(np.float64), _PERCENTILES)
    return float(low), float(high)


def look(path: Path, edge: int, *, enlarges: bool = True) -> Look:
    """Reads a file's first three bands, or its first, at the size at which they fit into a square.

    PNG and JPEG of 8 bits are colours; GeoTIFF, NPY and the rest are data. Of large files only as many pixels are read
    as are shown.

    Args:
        path: of the file.
        edge: of the square, in pixels.
        enlarges: whether files that are smaller than that are made larger.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no picture.
    """
    if path.suffix == ".npy":
        return Look(*_array(path, edge, enlarges), is_data=True)
    values, valid = _raster(path, edge, enlarges)
    return Look(values, valid, is_data=path.suffix in (".tif", ".tiff") or values.dtype != np.uint8)


def _raster(path: Path, edge: int, enlarges: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    ignore(NotGeoreferencedWarning)
    with rasterio.open(path) as file:
        alpha = ColorInterp.alpha in file.colorinterp
        height, width = _size(file.height, file.width, edge, enlarges)
        bands = [1, 2, 3] if file.count - alpha >= 3 else [1]
        # Codes of classes have no mean; and what has one, loses little.
        may_be_classes = path.suffix in (".tif", ".tiff") and len(bands) == 1 and file.dtypes[0] == "uint8"
        resampling = Resampling.nearest if may_be_classes else Resampling.average
        values = file.read(bands, out_shape=(len(bands), height, width), resampling=resampling)
        return values, file.dataset_mask(out_shape=(height, width)) != 0


def _array(path: Path, edge: int, enlarges: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    array = np.load(path, allow_pickle=False, mmap_mode="r")
    mask: Any = None
    if array.dtype.names is not None:
        *names, last = array.dtype.names
        if array.dtype[last] == np.bool_ or last == MASK_BAND:
            mask = array[last]
        else:
            names.append(last)
        bands = [array[name] for name in (names[:3] if len(names) >= 3 else names[:1])]
    elif array.ndim == 2:
        bands = [array]
    elif array.ndim == 3:  # (rows, columns, bands), as arrays of pictures are
        bands = [array[..., i] for i in (range(3) if array.shape[-1] >= 3 else range(1))]
    else:
        raise ValueError(f"{path} is no picture: it has {array.ndim} dimensions")
    height, width = bands[0].shape
    size = _size(height, width, edge, enlarges)
    rows, columns = (
        np.linspace(0, old - 1, new).round().astype(int) for old, new in zip((height, width), size, strict=True)
    )
    pixels = np.ix_(rows, columns)
    values = np.stack([np.asarray(band[pixels]) for band in bands])
    return values, np.ones(values.shape[1:], dtype=bool) if mask is None else np.asarray(mask[pixels]) != 0


def _size(height: int, width: int, edge: int, enlarges: bool) -> tuple[int, int]:
    """The size at which an image fits into a square."""
    factor = edge / max(height, width)
    if factor > 1.0 and not enlarges:
        return height, width
    return max(1, round(height * factor)), max(1, round(width * factor))


def _stretched(band: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.float64]:
    values = np.nan_to_num(band.astype(np.float64))
    if high <= low:
        return np.full(band.shape, 127.0)
    stretched: npt.NDArray[np.float64] = np.clip((values - low) * (255.0 / (high - low)), 0.0, 255.0)
    return stretched
