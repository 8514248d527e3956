"""EECHIPS/DEMO/MIXED: a collection of this demo planet alone, whose images differ in all that images may differ in.

Earth Engine has no such dataset. Collections that users upload are like it: bands that are missing, in another order,
or of another type, other pixels, images without a date, and images without an outline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import ImageSearch
from eechips_local.demo.land import ground_cover
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import PaintedSource, outline_around
from eechips_local.demo.weather import climate
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query
from eechips_local.geometry.longitude_boxes import box_meets
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer

ID = "EECHIPS/DEMO/MIXED"
_BANDS = ("red", "green", "blue", "nir")
_PLACE = (-104.6, 40.4)
_EDGE = 20_000.0
# Stored value of a reflectance of 1, by type.
_FULL: Mapping[str, float] = {"uint8": 250.0, "uint16": 10_000.0, "float32": 1.0}


@dataclass(frozen=True, slots=True)
class MixedImage:
    """How an image differs from the others.

    Attributes:
        index: ``system:index``.
        month: month of 2020, from 1.
        bands: in order.
        dtype: numpy name of the type of all bands.
        crs: CRS of the pixels.
        pixel: edge of a pixel in metres.
        is_dated: whether it has ``system:time_start``.
        has_outline: whether it has ``system:footprint`` and pixels of its own.
    """

    index: str
    month: int
    bands: tuple[str, ...] = _BANDS
    dtype: str = "uint16"
    crs: str = "EPSG:32613"
    pixel: float = 10.0
    is_dated: bool = True
    has_outline: bool = True


IMAGES = (
    MixedImage("a_usual", 1),
    MixedImage("b_no_nir", 2, ("red", "green", "blue")),
    MixedImage("c_bytes", 3, dtype="uint8"),
    MixedImage("d_fractions", 4, dtype="float32"),
    MixedImage("e_other_order", 5, ("nir", "red", "green", "blue")),
    MixedImage("f_other_zone", 6, crs="EPSG:32612", pixel=20.0),
    MixedImage("g_infrared", 7, ("nir", "red")),
    MixedImage("h_undated", 8, is_dated=False),
    MixedImage("i_no_outline", 9, has_outline=False),
    MixedImage("j_usual", 10),
)


@dataclass(frozen=True, slots=True)
class _Month:
    """Scene of a month: reflectance of the ground, in steps of a type."""

    image: MixedImage

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        when = date(2020, self.image.month, 15)
        ground = ground_cover.ground(rect, when, climate.snow_line(when, _PLACE[1]))
        vigour = climate.season_of_growth(_PLACE[1], when)
        return ground.reflectance([self.image.bands[band] for band in bands], vigour), None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[Any]:
        """See ``painted_source.PaintedScene``; fractions are rounded so that machines agree."""
        dtype = self.image.dtype
        if dtype == "float32":
            rounded: npt.NDArray[Any] = np.rint(np.asarray(values, dtype=np.float64) * 1024.0) * (1.0 / 1024.0)
            return rounded
        stored: npt.NDArray[Any] = np.clip(np.rint(values * _FULL[dtype]), 1, np.iinfo(dtype).max)
        return stored


@lru_cache(maxsize=len(IMAGES))
def _drawn(image: MixedImage) -> ImageAsset:
    x, y = transformer("EPSG:4326", image.crs).transform(*_PLACE)
    left, top = ((round(value / image.pixel) * image.pixel) for value in (x - _EDGE / 2, y + _EDGE / 2))
    count = round(_EDGE / image.pixel)
    grid = PixelGrid(image.crs, Affine(image.pixel, 0.0, left, 0.0, -image.pixel, top), count, count)
    right, bottom = left + _EDGE, top - _EDGE
    source = PaintedSource(grid, _Month(image), image.dtype)
    start = synthetic_label.millis(2020, image.month, 15)
    dates = {"system:time_start": start, "system:time_end": start} if image.is_dated else {}
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return synthetic_label.image(
        ID,
        tuple(BandInfo(name, PixelType.of(image.dtype), grid, source, n) for n, name in enumerate(image.bands)),
        {"system:index": image.index, **dates},
        outline_around(image.crs, corners, _PLACE[0]),
        is_composite=not image.has_outline,
    )


@dataclass(frozen=True, slots=True)
class MixedImages(ImageSearch):
    """A ``CollectionAsset``: ten images of 2020 near Greeley in Colorado."""

    @property
    def id(self) -> str:
        """The full id."""
        return ID

    @property
    def band_names(self) -> tuple[str, ...]:
        """The names of all bands; each image has some of them."""
        return _BANDS

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        title = "Images that differ in bands, types, pixels, dates and outlines; on the demo planet only"
        return synthetic_label.dated(title, date(2020, 1, 15), date(2020, 10, 16))

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        for image in IMAGES:
            drawn = _drawn(image)
            if query.bounds is None or not image.has_outline or box_meets(drawn.footprint.bounds, query.bounds):
                yield drawn

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""
        return next((_drawn(image) for image in IMAGES if image.index == index), None)
