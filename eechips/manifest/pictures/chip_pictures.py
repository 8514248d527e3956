"""Render chips as small pictures: values between two percentiles become black to white, classes get colours; arrange
them in a sheet, and describe the colours.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning

from eechips.formats import CHIP_FORMATS, MASK_BAND, sniff
from eechips.formats.chip_format import MAX_DECODED_BYTES
from eechips.formats.npy import map_array
from eechips.formats.raster import check_size, encode_picture
from eechips.geo.untrusted_rasters import open_raster
from eechips.manifest.pictures.display_styles import DisplayStyle, choose_style
from eechips.processes.warning_filters import ignore_warning

Picture = npt.NDArray[np.uint8]
"""Red, green and blue: (3, rows, columns)."""

MAX_SHOWN_BYTES = 32 << 30
"""Bytes of pixels of a GeoTIFF of which a small picture is made."""

GAP = 4  # pixels between two chips
_BACKGROUND = 255
_MASKED = 225  # light grey: no chip's black
OUTLINE = (255, 212, 0)
"""Red, green and blue of outlines of polygons: yellow, which few images have."""
_PERCENTILES = (2.0, 98.0)
"""Values between which data are stretched to 0–255."""


_MOST_CLASSES = 16
_LEAST_SHARE = 0.05  # of a dataset's usual range that values reach


def _class_colours() -> npt.NDArray[np.uint8]:
    """Make a colour for each of 256 codes, (3, 256), hues a golden angle apart; code 0 is dark."""
    codes = np.arange(256)
    hues = (codes * 0.381966) % 1.0
    # Smooth hues as cosines, brighter and darker in turns (https://iquilezles.org/articles/palettes/, the idea).
    waves = 0.5 + 0.38 * np.cos(2 * np.pi * (hues + np.array([[0.0], [0.33], [0.67]])))
    colours: npt.NDArray[np.uint8] = np.round(waves * np.where(codes % 3 == 1, 0.72, 1.0) * 255).astype(np.uint8)
    colours[:, 0] = 40
    return colours


_CLASS_COLOURS = _class_colours()


def render_sheet(
    rows: Sequence[Sequence[Path]],
    edge: int,
    styles: Sequence[DisplayStyle] = (),
    captions: Sequence[npt.NDArray[np.uint8]] = (),
) -> Picture:
    """Return chips in rows, each in a square, white between them; data of all of them are stretched alike.

    Args:
        rows: the chips of each row; rows may differ in length.
        edge: edge length of a square, in pixels.
        styles: styles of the datasets that the chips may be of.
        captions: see :func:`arrange_sheet`.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if it is no picture.
    """
    return arrange_sheet([[render_chip(path, edge, styles=styles) for path in row] for row in rows], edge, captions)


def arrange_sheet(
    chips: Sequence[Sequence[RenderedChip]], edge: int, captions: Sequence[npt.NDArray[np.uint8]] = ()
) -> Picture:
    """Return the same of files that were read already.

    Args:
        edge: edge length of a square, in pixels.
        captions: a picture of grey values above each row, (rows, columns), all of one height; none if empty.
    """
    stretches = StretchRanges.of([chip for row in chips for chip in row])
    columns = max(len(row) for row in chips)
    step = edge + GAP
    head = captions[0].shape[0] if captions else 0
    whole = np.full((3, len(chips) * (step + head) + GAP, columns * step + GAP), _BACKGROUND, dtype=np.uint8)
    for i, caption in enumerate(captions):
        top, width = GAP + i * (step + head), min(caption.shape[1], whole.shape[2] - GAP)
        whole[:, top : top + head, GAP : GAP + width] = caption[:, :width]
    for i, row in enumerate(chips):
        for j, chip in enumerate(row):
            picture = chip.picture(stretches)
            _, height, width = picture.shape
            top, left = GAP + i * (step + head) + head + (edge - height) // 2, GAP + j * step + (edge - width) // 2
            whole[:, top : top + height, left : left + width] = picture
    return whole


PNG_MARK = b"Software\0eechips"
"""Keyword and text of a chunk: https://www.w3.org/TR/png-3/#11tEXt."""

_PNG_HEADER = 33  # bytes: the signature and the chunk IHDR


def encode_png(image: Picture) -> bytes:
    """Return a picture as a PNG file that names eechips as the software that made it."""
    encoded = encode_picture(image, "PNG", zlevel=9)
    header = encoded[:_PNG_HEADER]
    chunk = b"tEXt" + PNG_MARK
    length, checksum = (number.to_bytes(4, "big") for number in (len(PNG_MARK), zlib.crc32(chunk)))
    return header + length + chunk + checksum + encoded[_PNG_HEADER:]


@dataclass(frozen=True, slots=True, eq=False)
class RenderedChip:
    """Some pixels of a file: as many as a picture of it shows.

    Attributes:
        values: values of the bands that are painted, one or three: (bands, rows, columns), of the file's type.
        valid: where they are not masked: (rows, columns).
        is_data: whether they are data, and no colours.
        names: names of these bands; empty if unknown.
        style: style of the dataset; None if it is not known.
        outline: pixels of lines that are drawn above: (rows, columns); None for none.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    is_data: bool
    names: tuple[str, ...] = ()
    style: DisplayStyle | None = field(default=None)
    outline: npt.NDArray[np.bool_] | None = None

    @property
    def has_classes(self) -> bool:
        """Return whether the values are class codes, or look like them: one band of bytes with few values."""
        if not self.is_data or len(self.values) != 1 or self.values.dtype.kind not in "iu":
            return False
        if self.style is not None:
            return bool(self.style.classes)
        return self.values.dtype == np.uint8 and len(np.unique(self.values[0][self.valid])) <= _MOST_CLASSES

    @property
    def codes(self) -> list[int]:
        """The classes that are there."""
        return [int(code) for code in np.unique(self.values[0][self.valid])] if self.has_classes else []

    def picture(self, stretches: StretchRanges | None = None) -> Picture:
        """Render the values as red, green and blue.

        Data are stretched between the values of the dataset's style, or from the 2nd to the 98th percentile of each
        band; each class has a colour of its own, the same in every file. Masked pixels are grey.

        Args:
            stretches: stretches of several files, so that what is brighter in one of them chips so; None for this
                file's own.
        """
        shown: npt.NDArray[Any]
        if self.has_classes:
            shown = class_colours(self.style)[:, np.clip(self.values[0], 0, 255).astype(np.uint8)]
        elif self.is_data:
            shown = (stretches or StretchRanges.of([self])).apply(self)
            if self.style is not None and self.style.palette and len(shown) == 1:
                shown = _in_palette(shown[0], self.style.palette)
        else:
            shown = self.values
        pixels = np.where(self.valid, shown, _MASKED).astype(np.uint8)
        pixels = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels
        if self.outline is not None:
            pixels[:, self.outline] = np.array(OUTLINE, dtype=np.uint8)[:, None]
        return pixels


def class_colours(style: DisplayStyle | None) -> npt.NDArray[np.uint8]:
    """Make a colour for each of 256 codes, (3, 256), hues a golden angle apart; code 0 is dark."""
    if style is None or not style.colours:
        return _CLASS_COLOURS
    colours = _CLASS_COLOURS.copy()
    for code, colour in style.colours.items():
        if 0 <= code < colours.shape[1]:
            colours[:, code] = _rgb(colour)
    return colours


@dataclass(frozen=True, slots=True)
class StretchRanges:
    """Between which values the data of some files are stretched to 0–255.

    Attributes:
        ranges: lowest and highest value of each band, by what files have in common: names of bands and dtype.
    """

    ranges: Mapping[tuple[tuple[str, ...], str], Sequence[tuple[float, float]]]

    @classmethod
    def of(cls, chips: Sequence[RenderedChip]) -> StretchRanges:
        """Compute value ranges: of the style, or the 2nd to 98th percentile of each band of files that are alike."""
        groups: dict[tuple[tuple[str, ...], str], list[RenderedChip]] = defaultdict(list)
        for chip in chips:
            if chip.is_data and not chip.has_classes:
                groups[_kind(chip)].append(chip)
        return cls({kind: _ranges(alike) for kind, alike in groups.items()})

    def of_kind(self, chip: RenderedChip) -> Sequence[tuple[float, float]]:
        """Return the values between which the bands of a file are stretched."""
        return self.ranges.get(_kind(chip)) or StretchRanges.of([chip]).ranges[_kind(chip)]

    def apply(self, chip: RenderedChip) -> npt.NDArray[np.float64]:
        """Return the bands of a file that is alike one of those, stretched: (bands, rows, columns)."""
        gamma = 1.0 if chip.style is None else chip.style.gamma
        ranges = self.of_kind(chip)
        bands = [_stretched(band, *between) for band, between in zip(chip.values, ranges, strict=True)]
        return 255.0 * (np.stack(bands) / 255.0) ** (1.0 / gamma)


@dataclass(frozen=True, slots=True)
class BandColours:
    """Colours of files that are displayed alike.

    Attributes:
        text: bands and values, for people; empty for classes, and for files that are colours.
        classes: code, name and colour (hexadecimal) of each class that is there; the name is empty if it is not known.
    """

    text: str = ""
    classes: tuple[tuple[int, str, str], ...] = ()


def describe_colours(chips: Sequence[RenderedChip], stretches: StretchRanges | None = None) -> list[BandColours]:
    """Describe the colours of files, once for files that are displayed alike, in order of appearance.

    Args:
        stretches: with which they are painted; None for their own.
    """
    stretches = stretches or StretchRanges.of(chips)
    groups: dict[tuple[bool, tuple[tuple[str, ...], str]], list[RenderedChip]] = defaultdict(list)
    for chip in chips:
        if chip.is_data:
            groups[(chip.has_classes, _kind(chip))].append(chip)
    return [
        _legend(alike) if has_classes else BandColours(_in_words(alike[0], stretches.of_kind(alike[0])))
        for (has_classes, _), alike in groups.items()
    ]


def _legend(chips: Sequence[RenderedChip]) -> BandColours:
    style = chips[0].style
    names, colours = style.classes if style else {}, class_colours(style)
    codes = sorted({code for chip in chips for code in chip.codes})
    listed = ((code, names.get(code, ""), bytes(colours[:, min(max(code, 0), 255)]).hex()) for code in codes)
    return BandColours(classes=tuple(listed))


def _in_words(chip: RenderedChip, ranges: Sequence[tuple[float, float]]) -> str:
    names = ", ".join(chip.names) or ("the first three bands" if len(chip.values) == 3 else "the first band")
    colours = " as red, green and blue" if len(chip.values) == 3 else ""
    between = [f"{low:,.5g} to {high:,.5g}" for low, high in dict.fromkeys(ranges)]
    return f"{names}{colours}, {'; '.join(between)}"


def _kind(chip: RenderedChip) -> tuple[tuple[str, ...], str]:
    return chip.names or ("",) * len(chip.values), str(chip.values.dtype)


def _ranges(chips: Sequence[RenderedChip]) -> list[tuple[float, float]]:
    """Return between which values the bands of files that are alike are stretched."""
    ranges = [_range(chips, band) for band in range(len(chips[0].values))]
    style = chips[0].style
    if style is None or style.low is None or style.high is None:
        return ranges
    # Scaled, or of another product: then the dataset's own range would show nothing.
    low, high = min(limit for limit, _ in ranges), max(limit for _, limit in ranges)
    is_usual = high - style.low > _LEAST_SHARE * (style.high - style.low) and low < style.high
    return [(style.low, style.high)] * len(ranges) if is_usual else ranges


def _in_palette(shown: npt.NDArray[np.float64], palette: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return values from 0 to 255 as colours of a palette, mixed between two."""
    colours = np.array([_rgb(colour) for colour in palette], dtype=np.float64)
    steps = np.linspace(0.0, 255.0, len(colours))
    return np.stack([np.interp(shown, steps, channel) for channel in colours.T])


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue


def _range(chips: Sequence[RenderedChip], band: int) -> tuple[float, float]:
    known = np.concatenate([chip.values[band][chip.valid & np.isfinite(chip.values[band])] for chip in chips])
    if not known.size:
        return 0.0, 0.0
    low, high = np.percentile(known.astype(np.float64), _PERCENTILES)
    return float(low), float(high)


def render_chip(
    path: Path,
    edge: int,
    *,
    enlarges: bool = True,
    styles: Sequence[DisplayStyle] = (),
    frame: int = 0,
    bands: Sequence[str] = (),
) -> RenderedChip:
    """Read the bands of a file that make its picture, at the size at which they fit into a square.

    PNG and JPEG of 8 bits are colours; GeoTIFF, NPY and the rest are data. Of large files only as many pixels are read
    as are shown.

    Args:
        edge: edge length of the square, in pixels.
        enlarges: whether files that are smaller than that are made larger.
        styles: styles of the datasets that the file may be of; see
            :func:`eechips.manifest.pictures.display_styles.choose_style`.
        frame: number of the frame, of a file with several.
        bands: names of the bands of a frame; empty for a file that is one.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no picture.
    """
    if path.suffix == ".npy":
        return _array(path, edge, enlarges, styles, frame)
    return _raster(path, edge, enlarges, styles, frame, bands)


def _raster(
    path: Path, edge: int, enlarges: bool, styles: Sequence[DisplayStyle], frame: int, frame_bands: Sequence[str]
) -> RenderedChip:
    ignore_warning(NotGeoreferencedWarning)
    ignore_warning(NodataShadowWarning)
    # The description of a virtual raster may name any file and any address; so may links beside the file.
    with path.open("rb") as start:
        name = sniff(start.read(16))
    known = CHIP_FORMATS.get(name) if name in CHIP_FORMATS else None
    if known is None or not known.gdal_driver:
        raise ValueError(f"{path} is not an image: its first bytes belong to no format that GDAL reads")
    with open_raster(path, (known.gdal_driver,)) as file:
        check_size(
            file, MAX_SHOWN_BYTES if file.driver == "GTiff" else MAX_DECODED_BYTES
        )  # a GeoTIFF is read in blocks
        alpha = ColorInterp.alpha in file.colorinterp
        height, width = _size(file.height, file.width, edge, enlarges)
        is_data = not known.is_picture or file.dtypes[0] != "uint8"
        names = list(frame_bands) or [name or "" for name in file.descriptions[: file.count - alpha]]
        before = frame * len(frame_bands)
        if before + len(names) > file.count:
            raise ValueError(f"{path} has {file.count} bands, and no frame {frame} of {len(names)}")
        numbers, style = choose_style(names, styles) if is_data else ([0, 1, 2] if len(names) >= 3 else [0], None)
        # Codes of classes have no mean; and what has one, loses little.
        may_be_classes = is_data and len(numbers) == 1 and (style.classes if style else file.dtypes[0] == "uint8")
        resampling = Resampling.nearest if may_be_classes else Resampling.average
        bands = [before + number + 1 for number in numbers]
        values = file.read(bands, out_shape=(len(bands), height, width), resampling=resampling)
        if frame_bands:  # each has a mask of its own
            valid = (file.read_masks(bands, out_shape=(len(bands), height, width)) != 0).all(axis=0)
        else:
            valid = file.dataset_mask(out_shape=(height, width)) != 0
        return _look(values, valid, is_data, [names[number] for number in numbers], style)


def _array(path: Path, edge: int, enlarges: bool, styles: Sequence[DisplayStyle], frame: int) -> RenderedChip:
    array = map_array(path)
    if array.dtype.names is not None and array.ndim == 3:
        if frame >= len(array):
            raise ValueError(f"{path} has {len(array)} frames, and no frame {frame}")
        array = array[frame]
    mask: Any = None
    names: list[str] = []
    style: DisplayStyle | None = None
    if array.dtype.names is not None:
        *every, last = array.dtype.names
        if array.dtype[last] == np.bool_ or last == MASK_BAND:
            mask = array[last]
        else:
            every.append(last)
        if not every:
            raise ValueError(f"{path} is not a picture: it has a mask and no band")
        numbers, style = choose_style(every, styles)
        names = [every[number] for number in numbers]
        bands = [array[name] for name in names]
    elif array.ndim == 2:
        bands = [array]
    elif array.ndim == 3:  # (rows, columns, bands), as arrays of pictures are
        bands = [array[..., i] for i in (range(3) if array.shape[-1] >= 3 else range(1))]
    else:
        raise ValueError(f"{path} is not a picture: it has {array.ndim} dimensions")
    height, width = bands[0].shape
    if not (height and width):
        raise ValueError(f"{path} is not a picture: it has {height} rows and {width} columns")
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
    style: DisplayStyle | None,
) -> RenderedChip:
    """Return a look; without the style if its values cannot be the dataset's own."""
    if style is not None and values.dtype == np.uint8 and style.dtype not in ("uint8", None):
        style = None
    return RenderedChip(values, valid, is_data, tuple(names) if all(names) else (), style)


def _size(height: int, width: int, edge: int, enlarges: bool) -> tuple[int, int]:
    """Return the size at which an image fits into a square."""
    factor = edge / max(height, width)
    if factor > 1.0 and not enlarges:
        return height, width
    return max(1, round(height * factor)), max(1, round(width * factor))


def _stretched(band: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.float64]:
    """Stretch values to 0–255. They are halved: the range of a float chip may exceed the largest float64."""
    low, high = low / 2.0, high / 2.0
    if high <= low:
        return np.full(band.shape, 127.0)
    values = np.clip(np.nan_to_num(band.astype(np.float64)) / 2.0, low, high)
    return (values - low) / (high - low) * 255.0
