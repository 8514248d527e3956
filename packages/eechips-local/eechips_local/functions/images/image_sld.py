"""``Image.sldStyle``: colour maps of OGC Styled Layer Descriptors 1.0 and Symbology Encoding 1.1.

Of raster symbolizers the channel selection and the colour map are understood, as
developers.google.com/earth-engine/guides/image_visualization#styled_layer_descriptors describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, bands_from
from eechips_local.pixels.pixelwise_rasters import Joint, both
from eechips_local.pixels.types import BYTE
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.colors import parse_color

_MOST_TEXT = 1 << 20
_NAMES = ("vis-red", "vis-green", "vis-blue")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _ColorMapEntry:
    quantity: float
    color: tuple[int, int, int]
    shown: bool


def _local(element: ElementTree.Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def _parse(text: str) -> ElementTree.Element:
    """Return the only raster symbolizer of a document or fragment.

    Raises:
        InvalidError: if there is none, or it is no XML.
    """
    if len(text) > _MOST_TEXT or "<!" in text.replace("<!--", ""):
        raise InvalidError("The SLD document must not have a document type or more than a million characters.")
    try:
        root = ElementTree.fromstring(text.strip())
    except ElementTree.ParseError as error:
        raise InvalidError(f"The SLD document could not be parsed: {error}.") from error
    symbolizers = [element for element in root.iter() if _local(element) == "RasterSymbolizer"]
    if len(symbolizers) != 1:
        raise InvalidError(f"Exactly one RasterSymbolizer is required; found {len(symbolizers)}.")
    return symbolizers[0]


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element.iter() if _local(child) == name]


def _band(image: Image, channel: ElementTree.Element) -> ImageBand:
    names = _children(channel, "SourceChannelName")
    wanted = (names[0].text or "").strip() if names else "1"
    if any(_local(child) in ("Normalize", "Histogram") for child in channel.iter()):
        raise InvalidError("The local Earth Engine has no contrast enhancement of SLD styles.")
    for band in image.bands:
        if band.name == wanted:
            return band
    if wanted.isdecimal() and 1 <= float(wanted) <= len(image.bands):
        return image.bands[int(float(wanted)) - 1]
    raise InvalidError(f"The SLD channel '{wanted}' is not a band of the image.")


@function("Image.sldStyle")
def sld_style(input: Image, sldXml: str) -> Image:
    """Return red, green and blue of an image in a style."""
    if not input.bands:
        raise InvalidError("Image has no bands.")
    symbolizer = _parse(sldXml)
    gray = _children(symbolizer, "GrayChannel")
    colors = [
        channel_elements[0]
        for n in ("Red", "Green", "Blue")
        if (channel_elements := _children(symbolizer, f"{n}Channel"))
    ]
    maps = _children(symbolizer, "ColorMap")
    if any(_local(child) in ("Normalize", "Histogram") for child in symbolizer.iter()):
        raise InvalidError("The local Earth Engine has no contrast enhancement of SLD styles.")
    if len(colors) == 3 and not maps:
        return _image(input, [_band(input, channel) for channel in colors], _bytes)
    band = _band(input, gray[0]) if gray else input.bands[0]
    if not maps:
        return _image(input, [band] * 3, _bytes)
    entries = [_entry(element) for element in _children(maps[0], "ColorMapEntry")]
    if not entries:
        raise InvalidError("The ColorMap has no entries.")
    kind = maps[0].get("type", "ramp")
    if kind not in _MAPS:
        raise InvalidError(f"Unknown type '{kind}' of ColorMap. Must be one of {', '.join(map(repr, _MAPS))}.")
    choose = _MAPS[kind]
    table = np.array([entry.color for entry in entries], dtype=np.float64)
    at = np.array([entry.quantity for entry in entries])
    shown = np.array([entry.shown for entry in entries])
    if kind != "values" and (np.diff(at) < 0).any():
        raise InvalidError("The entries of the ColorMap must be in ascending order of their quantities.")

    def paint(pixels: Sequence[Pixels]) -> list[Pixels]:
        values = pixels[0].values.astype(np.float64)
        mask = both(pixels[0].mask, choose(values, at, shown.astype(np.float64)) > 0)
        return [
            Pixels(np.floor(np.nan_to_num(choose(values, at, table[:, c])) + 0.5).astype(np.uint8), mask)
            for c in range(3)
        ]

    return _image(input, [band], paint)


def _entry(element: ElementTree.Element) -> _ColorMapEntry:
    try:
        quantity = float(element.get("quantity", "nan"))
        opacity = float(element.get("opacity", "1"))
    except ValueError as error:
        raise InvalidError("The quantity and the opacity of a ColorMapEntry must be numbers.") from error
    if not np.isfinite(quantity):
        raise InvalidError("Each ColorMapEntry needs a quantity.")
    # "Opacity is only taken into account when it is 0.0": apidocs/ee-image-sldstyle.
    return _ColorMapEntry(quantity, parse_color(element.get("color", "")), opacity != 0)


def _ramp(values: Floats, at: Floats, levels: Floats) -> Floats:
    """Return levels between those of the entries."""
    interpolated: Floats = np.interp(values, at, levels)
    return interpolated


def _intervals(values: Floats, at: Floats, levels: Floats) -> Floats:
    """Return the level of the first entry that is greater; nothing beyond the last."""
    where = np.searchsorted(at, values, side="right")
    return np.where(where < len(at), levels[np.minimum(where, len(at) - 1)], 0.0)


def _values(values: Floats, at: Floats, levels: Floats) -> Floats:
    """Return the level of the entry that is equal; nothing elsewhere."""
    entry_levels = np.zeros(values.shape)
    for quantity, level in zip(at, levels, strict=True):
        entry_levels[values == quantity] = level
    return entry_levels


_MAPS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "ramp": _ramp,
    "intervals": _intervals,
    "values": _values,
}


def _bytes(pixels: Sequence[Pixels]) -> list[Pixels]:
    """Return values clamped to 0 to 255."""
    return [Pixels(np.clip(np.nan_to_num(p.values), 0, 255).astype(np.uint8), p.mask) for p in pixels]


def _image(image: Image, bands: Sequence[ImageBand], paint: Callable[[Sequence[Pixels]], Sequence[Pixels]]) -> Image:
    if any(band.type.dimensions for band in bands):
        raise InvalidError("Array images cannot be visualized.")
    raster = Joint(tuple(bands), paint)
    return image.computed(bands_from(raster, bands[0], _NAMES, BYTE))
