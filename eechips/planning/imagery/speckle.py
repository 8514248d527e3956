"""Reduce the speckle of radar images on the server: boxcar and Lee filters, with windows of 3 to 15 pixels.

Filters work on power, in a square window around each pixel. Masked pixels have no weight and stay masked. Windows are
of the pixels of the result, so filters suit chips on the image's own pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ee

from eechips.errors import UsageError

LOOKS = 4.4
"""Equivalent number of looks of Sentinel-1 GRD, mode IW (https://sentiwiki.copernicus.eu/web/s1-products)."""

FILTERS = ("boxcar", "lee")

_DATASETS = {"COPERNICUS/S1_GRD": True, "COPERNICUS/S1_GRD_FLOAT": False}  # whether values are decibels
_POLARISATIONS = ("VV", "VH", "HH", "HV")
_USUAL_SIZE, _LEAST_SIZE, _MOST_SIZE = 7, 3, 15
_TO_EXPONENT = math.log(10.0) / 10.0
_LEAST_VARIANCE = 1e-30


@dataclass(frozen=True, slots=True)
class SpeckleFilter:
    """A filter of the polarisations of an image; hashable and picklable.

    Attributes:
        name: ``boxcar``, the mean of the window; or ``lee``, the filter of Lee 1980
            (https://doi.org/10.1109/TPAMI.1980.4766994), as in Mullissa et al. 2021
            (https://doi.org/10.3390/rs13101954), section 2.3: x = m + b (z - m), where m is the mean and v the variance
            of the window, b = max(0, (v - m² / L) / (v (1 + 1 / L))), and L the number of looks.
        size: edge of the window in pixels, odd.
        is_decibel: whether the stored values are decibels.
    """

    name: str
    size: int
    is_decibel: bool

    @property
    def text(self) -> str:
        """``lee:7``."""
        return f"{self.name}:{self.size}"

    def filters(self, band: str) -> bool:
        """Return whether a band is filtered: backscatter, not the angle."""
        return band in _POLARISATIONS

    def apply(self, image: ee.Image, bands: Sequence[str]) -> ee.Image:
        """Return an image with the filtered values of its polarisations, as float32, in place of the stored ones.

        Args:
            bands: the names of all its bands.
        """
        names = list(filter(self.filters, bands))
        if not names:
            return image
        power: Any = image.select(names).toDouble()
        if self.is_decibel:
            power = power.multiply(_TO_EXPONENT).exp()
        kernel = ee.Kernel.square(self.size // 2, "pixels")
        values = power.reduceNeighborhood(ee.Reducer.mean(), kernel).rename(names)
        if self.name == "lee":
            variance = power.reduceNeighborhood(ee.Reducer.variance(), kernel).rename(names)
            signal = variance.subtract(values.multiply(values).divide(LOOKS)).divide(1.0 + 1.0 / LOOKS)
            weight = signal.max(0.0).divide(variance.max(_LEAST_VARIANCE))
            values = values.add(weight.multiply(power.subtract(values)))
        if self.is_decibel:
            values = values.log().divide(_TO_EXPONENT)
        return image.addBands(values.toFloat().rename(names), None, True)


def parse_speckle(text: str | None, dataset: str) -> SpeckleFilter | None:
    """Parse the speckle filter of a dataset; None for a dataset without speckle.

    Args:
        text: ``lee``, or with the edge of the window in pixels, ``lee:5``; None for no filter.
        dataset: asset id, of a collection or of one of its images.

    Raises:
        UsageError: if there is no such filter, or the window is no odd number from 3 to 15.
    """
    if text is None:
        return None
    name, colon, size = (part.strip().lower() for part in text.partition(":"))
    if name not in FILTERS:
        raise UsageError(f"speckle={text!r}: the filters are {' and '.join(FILTERS)}, with the window, as in lee:7")
    edge = int(size) if size.isdecimal() else _USUAL_SIZE if not colon else 0
    if not (_LEAST_SIZE <= edge <= _MOST_SIZE and edge % 2):
        raise UsageError(f"speckle={text!r}: the window is an odd number of pixels, {_LEAST_SIZE} to {_MOST_SIZE}")
    known = next((candidate for candidate in (dataset, dataset.rpartition("/")[0]) if candidate in _DATASETS), None)
    return None if known is None else SpeckleFilter(name, edge, _DATASETS[known])
