"""Find which images of a collection have the bands that are needed, and leave the others out.

The images of many collections differ in bands: Sentinel-1's by polarisation, NAIP's by film, Sentinel-2's by the years
in which quality bands were added and removed. An image that lacks a selected band fails the whole request, and a mosaic
or a reduction takes only images with the same bands. ``system:band_names`` is a property of stored images that filters
and aggregations read as any other: public scripts filter so (``ee.Filter.listContains('system:band_names', 'B4')`` on
S2_SR_HARMONIZED, ``'SSS'`` on HYCOM/sea_temp_salinity), and list the bands of S1_GRD by
``aggregate_array('system:band_names')``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ee
import numpy as np

from eechips.planning import planning_requests
from eechips.planning.image_filters import PropertyFilter
from eechips.text.formatting import format_count

BAND_NAMES = "system:band_names"

SURVEYED = 1000
"""Images whose band names are compared where no record says which bands vary."""

_TYPED = 50  # images whose band types are compared
_COUNTED = 10_000  # images that are counted before the count is "more than"
_NAMED = 3  # layouts that a message lists

_WHOLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32")

PixelRange = tuple[str, float | None, float | None]
"""An ``ee.PixelType``: precision ("int", "float" or "double"), least and greatest value."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BandSurvey:
    """The bands of some images of a collection.

    Attributes:
        layouts: lists of band names, with the number of images that have each.
        types: for each band its types: precision, least and greatest value. The service compares all three.
    """

    layouts: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    types: Mapping[str, frozenset[PixelRange]] = field(default_factory=dict)

    def varying(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of some bands that some images have and others lack."""
        having = {name: sum(name in layout for layout in self.layouts) for name in names}
        return tuple(name for name, count in having.items() if 0 < count < len(self.layouts))

    def dtype(self, name: str, dtype: str) -> str:
        """Return the numpy type that holds a band of all images; ``dtype`` is that of one image."""
        return str(np.result_type(dtype, *(smallest_dtype(*pixel_range) for pixel_range in self.types.get(name, ()))))

    def has_one_type(self, name: str) -> bool:
        """Return whether a band has the same type in all images."""
        return len(self.types.get(name, ())) <= 1

    def __str__(self) -> str:
        ordered = sorted(self.layouts.items(), key=lambda item: -item[1])
        shown = [f"{count:,} {'has' if count == 1 else 'have'} {', '.join(names)}" for names, count in ordered[:_NAMED]]
        looked = sum(self.layouts.values())
        prefix = f"of the first {looked:,}, " if looked >= SURVEYED else ""
        return prefix + "; ".join(shown) + ("; …" if len(ordered) > _NAMED else "")


def has_bands(names: Sequence[str]) -> tuple[PropertyFilter, ...]:
    """Return the conditions that images have bands."""
    return tuple(PropertyFilter(BAND_NAMES, "has", (name,)) for name in names)


def survey_bands(images: ee.ImageCollection, *, with_types: bool = False) -> tuple[dict[str, Any] | None, BandSurvey]:
    """Compare the bands of the first images of a collection, in one request.

    Args:
        images: filtered images of a dataset.
        with_types: whether the types of bands are compared, too.

    Returns:
        The description of the first image, as ``getInfo`` returns it, or None without images; and its survey. The
        survey is empty if the images do not have the property.
    """
    types: Any = images.toList(_TYPED).map(lambda image: ee.Image(image).bandTypes()) if with_types else ee.List([])
    asked: Any = ee.List([images.toList(1), images.limit(SURVEYED).aggregate_array(BAND_NAMES), types])
    first, names, described = asked.getInfo()
    held: dict[str, set[PixelRange]] = {}
    for image_bands in described:
        for name, kind in image_bands.items():
            held.setdefault(name, set()).add((kind["precision"], kind.get("min"), kind.get("max")))
    layouts = Counter(tuple(image_bands) for image_bands in names)
    return (first[0] if first else None), BandSurvey(
        layouts, {name: frozenset(band_types) for name, band_types in held.items()}
    )


def tell_left_out(dataset: str, images: ee.ImageCollection, names: Sequence[str], *, is_local: bool) -> None:
    """Log how many images lack one of some bands, and are left out; nothing if none does. One request.

    Args:
        dataset: id of the collection.
        images: filtered images, also those that lack a band.
        names: names of the bands.
        is_local: whether they are those of a region; of all others only the first are looked at.
    """
    lacking = [test.filter().Not() for test in has_bands(names)]
    looked = images if is_local else images.limit(SURVEYED)
    try:
        count: Any = (
            looked.filter(lacking[0] if len(lacking) == 1 else ee.Filter.Or(*lacking))
            .limit(_COUNTED + 1)
            .size()
            .getInfo()
        )
    except ee.EEException as error:
        if not planning_requests.is_too_large(error):
            raise
        count = None  # there are too many images to count: the number is told for information only
    if count == 0:
        return
    if count is None or count > _COUNTED:
        number = "images" if count is None else f"more than {_COUNTED:,} images"
    else:
        number = format_count(count, "image")
    place = "there" if is_local else f"of the first {SURVEYED:,}"
    verbs = ("lacks", "is") if count == 1 else ("lack", "are")
    _log.warning("%s: %s %s %s %s and %s left out", dataset, number, place, verbs[0], _listed(names), verbs[1])


def smallest_dtype(precision: str, low: float | None, high: float | None) -> str:
    """Return the smallest numpy type for the values of an ``ee.PixelType``."""
    if precision == "double":
        return "float64"
    if precision == "float" or low is None or high is None:
        return "float32"
    holding = (name for name in _WHOLE if np.iinfo(name).min <= low and high <= np.iinfo(name).max)
    return next(holding, "float64")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
