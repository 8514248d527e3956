"""Compute thin cirrus: clouds of ice, high above the others, through which the ground shows.

Vapour below them keeps all other light at 1.38 micrometres away, so a band there shows cirrus alone: B9 of Landsat 8,
B10 of Sentinel-2.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from eechips_local.demo.land.farmland import Field32
from eechips_local.demo.land.terrain import nodes
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.upsampling import Upsampler
from eechips_local.demo.weather import climate
from eechips_local.demo.weather.cloud_regime import CloudRegime

DETECTED = 0.01
"""Reflectance at 1.38 micrometres from which a place counts as cirrus: Zhu, Wang and Woodcock (2015), Remote Sensing of
Environment 159, 269, as the code of USGS: https://github.com/USGS-EROS/espa-cfmask.
"""

GAIN: Mapping[str, float] = {"swir1": 0.7, "swir2": 0.5}
"""Reflectance per that at 1.38 micrometres; 1 in shorter waves, of which ice absorbs nothing: Gao et al. (2002), IEEE
Transactions on Geoscience and Remote Sensing 40, 1659.
"""

_ZONES = ((0.0, 10.0, 20.0, 30.0, 45.0, 60.0, 75.0), (0.42, 0.29, 0.13, 0.10, 0.18, 0.18, 0.08))
"""Degrees from the belt of rain at the equator, and the share of places and days with cirrus there, 17% of all: Sassen,
Wang and Liu (2008), Journal of Geophysical Research 113, D00A12.
"""

_MOST, _HALF = 0.07, 0.2
"""Reflectance of the thickest cirrus, and the cloudiness that has half of it: invented."""

_FINEST, _SMALLEST, _SEED = 1 << 10, 14, 0
"""Units between nodes, the smallest octave of a field without the edges of low clouds, and another sky than theirs."""


def reflectance(rect: Rect, when: date, regime: CloudRegime = "climate") -> Field32:
    """Return the reflectance of cirrus at 1.38 micrometres, of the cells of a rectangle on a date."""
    if regime != "climate":
        return np.zeros((rect.height, rect.width), dtype=np.float32)
    at = nodes(rect, _FINEST)
    share = np.interp(np.abs(climate.from_belt(climate.latitude(at), when)), *_ZONES)
    depth = np.maximum(climate.cloudiness(at, when, share, _SEED, _SMALLEST), 0.0)
    return Upsampler(rect, at)(_MOST * depth / (depth + _HALF))
