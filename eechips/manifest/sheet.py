"""A picture of some chips, side by side."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning

from eechips.formats import CHIP_FORMATS, MASK_BAND, sniff
from eechips.formats.interface import MAX_DECODED_BYTES
from eechips.formats.raster import check_size, encode_picture
from eechips.manifest.styles import Style, chosen
from eechips.warning_filters import ignore

Picture = npt.NDArray[np.uint8]
"""Red, green and blue: (3, rows, columns)."""

LARGEST_SHOWN = 32 << 30
"""Bytes of pixels of a GeoTIFF of which a small picture is made."""

GAP = 4  # pixels between two chips
_BACKGROUND = 255
_MASKED = 225  # light grey: no chip's black
_PERCENTILES = (2.0, 98.0)
"""Values between which data are stretched to 0–255."""


_MOST_CLASSES = 16
_LEAST_SHARE = 0.05  # of a dataset's usual range that values reach


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


def sheet(rows: Sequence[Sequence[Path]], edge: int, styles: Sequence[Style] = ()) -> Picture:
    """Chips in rows, each in a square, white between them; data of all of them are stretched alike.

    Args:
        rows: the chips of each row; rows may differ in length.
        edge: of a square, in pixels.
        styles: of the datasets that the chips may be of.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if it is no picture.
    """
    return sheet_of([[look(path, edge, styles=styles) for path in row] for row in rows], edge)


def sheet_of(looks: Sequence[Sequence[Look]], edge: int) -> Picture:
    """The same of files that were read already."""
    stretches = Stretches.of([seen for row in looks for seen in row])
    columns = max(len(row) for row in looks)
    step = edge + GAP
    whole = np.full((3, len(looks) * step + GAP, columns * step + GAP), _BACKGROUND, dtype=np.uint8)
    for i, row in enumerate(looks):
        for j, seen in enumerate(row):
            chip = seen.picture(stretches)
            _, height, width = chip.shape
            top, left = GAP + i * step + (edge - height) // 2, GAP + j * step + (edge - width) // 2
            whole[:, top : top + height, left : left + width] = chip
    return whole


PNG_MARK = b"Software\0eechips"
"""Keyword and text of a chunk: https://www.w3.org/TR/png-3/#11tEXt."""

_PNG_HEADER = 33  # bytes: the signature and the chunk IHDR


def png(image: Picture) -> bytes:
    """A picture as a PNG file that names eechips as the software that made it."""
    encoded = encode_picture(image, "PNG", zlevel=9)
    header = encoded[:_PNG_HEADER]
    chunk = b"tEXt" + PNG_MARK
    length, checksum = (number.to_bytes(4, "big") for number in (len(PNG_MARK), zlib.crc32(chunk)))
    return header + length + chunk + checksum + encoded[_PNG_HEADER:]


def picture(path: Path, edge: int) -> Picture:
    """A file's first three bands, or its first, as a picture that fits into a square.

    See :func:`look` for what is read and what is raised.
    """
    return look(path, edge).picture()


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Some pixels of a file: as many as a picture of it shows.

    Attributes:
        values: of the bands that are painted, one or three: (bands, rows, columns), of the file's type.
        valid: where they are not masked: (rows, columns).
        is_data: whether they are data, and no colours.
        names: of these bands; empty if nobody knows.
        style: of the dataset; None if it is not known.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    is_data: bool
    names: tuple[str, ...] = ()
    style: Style | None = field(default=None)

    @property
    def has_classes(self) -> bool:
        """Whether the values are codes of classes, or look like that: one band of bytes, of few different values."""
        if not self.is_data or len(self.values) != 1 or self.values.dtype.kind not in "iu":
            return False
        if self.style is not None:
            return bool(self.style.classes)
        return self.values.dtype == np.uint8 and len(np.unique(self.values[0][self.valid])) <= _MOST_CLASSES

    @property
    def codes(self) -> list[int]:
        """The classes that are there."""
        return [int(code) for code in np.unique(self.values[0][self.valid])] if self.has_classes else []

    def picture(self, stretches: Stretches | None = None) -> Picture:
        """As colours.

        Data are stretched between the values of the dataset's style, or from the 2nd to the 98th percentile of each
        band; each class has a colour of its own, the same in every file. Masked pixels are grey.

        Args:
            stretches: of several files, so that what is brighter in one of them looks so; None for this file's own.
        """
        shown: npt.NDArray[Any]
        if self.has_classes:
            shown = class_colours(self.style)[:, np.clip(self.values[0], 0, 255).astype(np.uint8)]
        elif self.is_data:
            shown = (stretches or Stretches.of([self])).apply(self)
            if self.style is not None and self.style.palette and len(shown) == 1:
                shown = _in_palette(shown[0], self.style.palette)
        else:
            shown = self.values
        pixels = np.where(self.valid, shown, _MASKED).astype(np.uint8)
        return np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels


def class_colours(style: Style | None) -> npt.NDArray[np.uint8]:
    """A colour for each of 256 codes, (3, 256): those of the style, and for others any."""
    if style is None or not style.colours:
        return _CLASS_COLOURS
    colours = _CLASS_COLOURS.copy()
    for code, colour in style.colours.items():
        if 0 <= code < colours.shape[1]:
            colours[:, code] = _rgb(colour)
    return colours


@dataclass(frozen=True, slots=True)
class Stretches:
    """Between which values the data of some files are stretched to 0–255.

    Attributes:
        ranges: lowest and highest value of each band, by what files have in common: names of bands and dtype.
    """

    ranges: Mapping[tuple[tuple[str, ...], str], Sequence[tuple[float, float]]]

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Stretches:
        """The values of the style, or from the 2nd to the 98th percentile of each band of all files that are alike."""
        groups: dict[tuple[tuple[str, ...], str], list[Look]] = defaultdict(list)
        for seen in looks:
            if seen.is_data and not seen.has_classes:
                groups[_kind(seen)].append(seen)
        return cls({kind: _ranges(alike) for kind, alike in groups.items()})

    def of_kind(self, seen: Look) -> Sequence[tuple[float, float]]:
        """The values between which the bands of a file are stretched."""
        return self.ranges.get(_kind(seen)) or Stretches.of([seen]).ranges[_kind(seen)]

    def apply(self, seen: Look) -> npt.NDArray[np.float64]:
        """The bands of a file that is alike one of those, stretched: (bands, rows, columns)."""
        gamma = 1.0 if seen.style is None else seen.style.gamma
        ranges = self.of_kind(seen)
        bands = [_stretched(band, *between) for band, between in zip(seen.values, ranges, strict=True)]
        return 255.0 * (np.stack(bands) / 255.0) ** (1.0 / gamma)


@dataclass(frozen=True, slots=True)
class Painting:
    """How files that are alike were painted.

    Attributes:
        text: bands and values, for people; empty for classes, and for files that are colours.
        classes: code, name and colour (hexadecimal) of each class that is there; the name is empty if it is not known.
    """

    text: str = ""
    classes: tuple[tuple[int, str, str], ...] = ()


def paintings(looks: Sequence[Look], stretches: Stretches | None = None) -> list[Painting]:
    """How some files are painted: one for those that are alike, in the order in which they come up.

    Args:
        looks: of the files.
        stretches: with which they are painted; None for their own.
    """
    stretches = stretches or Stretches.of(looks)
    groups: dict[tuple[bool, tuple[tuple[str, ...], str]], list[Look]] = defaultdict(list)
    for seen in looks:
        if seen.is_data:
            groups[(seen.has_classes, _kind(seen))].append(seen)
    return [
        _legend(alike) if has_classes else Painting(_in_words(alike[0], stretches.of_kind(alike[0])))
        for (has_classes, _), alike in groups.items()
    ]


def _legend(looks: Sequence[Look]) -> Painting:
    style = looks[0].style
    names, colours = style.classes if style else {}, class_colours(style)
    codes = sorted({code for seen in looks for code in seen.codes})
    listed = ((code, names.get(code, ""), bytes(colours[:, min(max(code, 0), 255)]).hex()) for code in codes)
    return Painting(classes=tuple(listed))


def _in_words(seen: Look, ranges: Sequence[tuple[float, float]]) -> str:
    names = ", ".join(seen.names) or ("the first three bands" if len(seen.values) == 3 else "the first band")
    colours = " as red, green and blue" if len(seen.values) == 3 else ""
    between = [f"{low:,.5g} to {high:,.5g}" for low, high in dict.fromkeys(ranges)]
    return f"{names}{colours}, {'; '.join(between)}"


def _kind(seen: Look) -> tuple[tuple[str, ...], str]:
    return seen.names or ("",) * len(seen.values), str(seen.values.dtype)


def _ranges(looks: Sequence[Look]) -> list[tuple[float, float]]:
    """Between which values the bands of files that are alike are stretched."""
    found = [_range(looks, band) for band in range(len(looks[0].values))]
    style = looks[0].style
    if style is None or style.low is None or style.high is None:
        return found
    # Scaled, or of another product: then the dataset's own range would show nothing.
    low, high = min(each for each, _ in found), max(each for _, each in found)
    is_usual = high - style.low > _LEAST_SHARE * (style.high - style.low) and low < style.high
    return [(style.low, style.high)] * len(found) if is_usual else found


def _in_palette(shown: npt.NDArray[np.float64], palette: Sequence[str]) -> npt.NDArray[np.float64]:
    """Values from 0 to 255 as colours of a palette, mixed between two."""
    colours = np.array([_rgb(colour) for colour in palette], dtype=np.float64)
    steps = np.linspace(0.0, 255.0, len(colours))
    return np.stack([np.interp(shown, steps, channel) for channel in colours.T])


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue


def _range(looks: Sequence[Look], band: int) -> tuple[float, float]:
    known = np.concatenate([seen.values[band][seen.valid & np.isfinite(seen.values[band])] for seen in looks])
    if not known.size:
        return 0.0, 0.0
    low, high = np.percentile(known.astype(np.float64), _PERCENTILES)
    return float(low), float(high)


def look(path: Path, edge: int, *, enlarges: bool = True, styles: Sequence[Style] = ()) -> Look:
    """Reads the bands of a file that make its picture, at the size at which they fit into a square.

    PNG and JPEG of 8 bits are colours; GeoTIFF, NPY and the rest are data. Of large files only as many pixels are read
    as are shown.

    Args:
        path: of the file.
        edge: of the square, in pixels.
        enlarges: whether files that are smaller than that are made larger.
        styles: of the datasets that the file may be of; see :func:`eechips.manifest.styles.chosen`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no picture.
    """
    if path.suffix == ".npy":
        return _array(path, edge, enlarges, styles)
    return _raster(path, edge, enlarges, styles)


def _raster(path: Path, edge: int, enlarges: bool, styles: Sequence[Style]) -> Look:
    ignore(NotGeoreferencedWarning)
    # The description of a virtual raster may name any file and any address; so may links beside the file.
    with path.open("rb") as start:
        name = sniff(start.read(16))
    known = CHIP_FORMATS.get(name) if name in CHIP_FORMATS else None
    if known is None or not known.gdal_driver:
        raise ValueError(f"{path} is not an image: its first bytes belong to no format that GDAL reads")
    alone = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
    with alone, rasterio.open(path, driver=known.gdal_driver) as file:
        check_size(file, LARGEST_SHOWN if file.driver == "GTiff" else MAX_DECODED_BYTES)  # a GeoTIFF is read in blocks
        alpha = ColorInterp.alpha in file.colorinterp
        height, width = _size(file.height, file.width, edge, enlarges)
        is_data = not known.is_picture or file.dtypes[0] != "uint8"
        names = [name or "" for name in file.descriptions[: file.count - alpha]]
        numbers, style = chosen(names, styles) if is_data else ([0, 1, 2] if len(names) >= 3 else [0], None)
        # Codes of classes have no mean; and what has one, loses little.
        may_be_classes = is_data and len(numbers) == 1 and (style.classes if style else file.dtypes[0] == "uint8")
        resampling = Resampling.nearest if may_be_classes else Resampling.average
        bands = [number + 1 for number in numbers]
        values = file.read(bands, out_shape=(len(bands), height, width), resampling=resampling)
        valid = file.dataset_mask(out_shape=(height, width)) != 0
        return _look(values, valid, is_data, [names[number] for number in numbers], style)


def _array(path: Path, edge: int, enlarges: bool, styles: Sequence[Style]) -> Look:
    array = np.load(path, allow_pickle=False, mmap_mode="r")
    mask: Any = None
    names: list[str] = []
    style: Style | None = None
    if array.dtype.names is not None:
        *every, last = array.dtype.names
        if array.dtype[last] == np.bool_ or last == MASK_BAND:
            mask = array[last]
        else:
            every.append(last)
        if not every:
            raise ValueError(f"{path} is no picture: it has a mask and no band")
        numbers, style = chosen(every, styles)
        names = [every[number] for number in numbers]
        bands = [array[name] for name in names]
    elif array.ndim == 2:
        bands = [array]
    elif array.ndim == 3:  # (rows, columns, bands), as arrays of pictures are
        bands = [array[..., i] for i in (range(3) if array.shape[-1] >= 3 else range(1))]
    else:
        raise ValueError(f"{path} is no picture: it has {array.ndim} dimensions")
    height, width = bands[0].shape
    if not (height and width):
        raise ValueError(f"{path} is no picture: it has {height} rows and {width} columns")
    size = _size(height, width, edge, enlarges)
    rows, columns = (
        np.linspace(0, old - 1, new).round().astype(int) for old, new in zip((height, width), size, strict=True)
    )
    pixels = np.ix_(rows, columns)
    values = np.stack([np.asarray(band[pixels]) for band in bands])
    valid = np.ones(values.shape[1:], dtype=bool) if mask is None else np.asarray(mask[pixels]) != 0
    return _look(values, valid, True, names, style)


def _look(
    values: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
    is_data: bool,
    names: Sequence[str],
    style: Style | None,
) -> Look:
    """A look; without the style if its values cannot be the dataset's own."""
    if style is not None and values.dtype == np.uint8 and style.dtype != "uint8":
        style = None
    return Look(values, valid, is_data, tuple(names) if all(names) else (), style)


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
