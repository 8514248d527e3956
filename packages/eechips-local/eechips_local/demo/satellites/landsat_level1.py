"""Raw scenes and reflectance at the top of the atmosphere of Landsat 8 and 9 (LANDSAT/LC08/C02/T1, T1_TOA; LC09).

Of Landsat 8 also T1_RT and T1_RT_TOA, which have the scenes of Tier 1 and those not yet sorted into tiers.
Bands and metadata: https://developers.google.com/earth-engine/datasets/catalog/LANDSAT_LC08_C02_T1. The atmosphere adds
light to that of the surface, most in the blue, and takes its share from what comes through.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.satellites import landsat, landsat_scenes
from eechips_local.demo.satellites.landsat import Landsat
from eechips_local.demo.satellites.landsat_scenes import LandsatOverpass
from eechips_local.demo.satellites.wrs import WrsScene
from eechips_local.demo.weather import cirrus
from eechips_local.demo.weather.cloud_regime import CloudRegime
from eechips_local.evaluation.asset_model import ImageAsset
from eechips_local.evaluation.lazy_values import LazyMapping, uncomputed

# Band of the surface, and the reflectance of the atmosphere above it.
_REFLECTIVE: Mapping[str, tuple[str, float]] = {
    "B1": ("SR_B1", 0.10),
    "B2": ("SR_B2", 0.07),
    "B3": ("SR_B3", 0.04),
    "B4": ("SR_B4", 0.02),
    "B5": ("SR_B5", 0.01),
    "B6": ("SR_B6", 0.003),
    "B7": ("SR_B7", 0.002),
    "B8": ("SR_B4", 0.03),
}
_CLEAR = 0.002
"""Reflectance without clouds in the band that sees only high ones."""
# K1 and K2 of the thermal bands, and kelvins by which they are colder than the surface.
_THERMAL: Mapping[str, tuple[float, float, float]] = {
    "B10": (774.8853, 1321.0789, 1.0),
    "B11": (480.8883, 1201.1442, 2.0),
}
_QUALITY = ("QA_PIXEL", "QA_RADSAT")
_ANGLES = ("SAA", "SZA", "VAA", "VZA")
BANDS = (*_REFLECTIVE, "B9", *_THERMAL, *_QUALITY, *_ANGLES)
_SLOPE, _INTERCEPT, _MAXIMUM = 2.0e-5, -0.1, 65_535.0
_VIEW_ZENITH = 300  # hundredths of a degree


def whole(values: npt.NDArray[np.float64], most: float) -> npt.NDArray[np.float64]:
    """Return whole numbers up to one; zero is left to mean nothing."""
    rounded: npt.NDArray[np.float64] = np.clip(np.rint(values), 1, most)
    return rounded


@dataclass(frozen=True, slots=True)
class RadianceScale:
    """The numbers in which radiances of thermal bands are stored: radiance = number * ``slope`` + ``intercept``."""

    slope: float
    intercept: float
    most: float

    def encode(
        self, kelvin: npt.NDArray[np.float64], k1: float, k2: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the numbers of temperatures, and the temperatures of the numbers, by the band's constants."""
        stored = whole((k1 / np.expm1(k2 / kelvin) - self.intercept) / self.slope, self.most)
        return stored, k2 / np.log1p(k1 / (stored * self.slope + self.intercept))


_SCALE = RadianceScale(3.342e-4, 0.1, _MAXIMUM)


@dataclass(frozen=True, slots=True)
class Level1Overpass:
    """Scene of a pass above the atmosphere.

    Attributes:
        surface: the scene below it.
        azimuth: azimuth of the sun, degrees.
        elevation: likewise.
        is_raw: whether numbers as sent to the ground are stored, not reflectances and kelvins.
    """

    surface: LandsatOverpass
    azimuth: float
    elevation: float
    is_raw: bool

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``: reflectances, kelvins and flags."""
        names = [BANDS[band] for band in bands]
        below = [_surface_band(name) for name in names]
        known = paint_surface(self.surface, rect, below)
        values = np.empty((len(bands), rect.height, rect.width), dtype=np.float32)
        for n, (name, source) in enumerate(zip(names, below, strict=True)):
            if name == "B9":
                values[n] = cirrus.reflectance(rect, self.surface.when, self.surface.regime) + np.float32(_CLEAR)
            elif source is None:
                values[n] = angles(self.azimuth, self.elevation).get(name, 0)
            elif name in _REFLECTIVE:
                values[n] = at_top(known[source], _REFLECTIVE[name][1])
            elif name in _THERMAL:
                values[n] = known[source] * np.float32(0.00341802) + np.float32(149.0 - _THERMAL[name][2])
            else:
                values[n] = known[source]
        return values, None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[Any]:
        """See ``painted_source.PaintedScene``. Reflectances and kelvins are computed from the raw numbers."""
        sine = math.sin(math.radians(self.elevation))
        result = np.empty(values.shape, dtype=np.float64)
        for n, band in enumerate(bands):
            name, value = BANDS[band], np.asarray(values[n], dtype=np.float64)
            if name in _THERMAL:
                stored, kelvin = _SCALE.encode(value, *_THERMAL[name][:2])
                result[n] = stored if self.is_raw else kelvin
            elif name in _REFLECTIVE or name == "B9":
                stored = whole((value * sine - _INTERCEPT) / _SLOPE, _MAXIMUM)
                result[n] = stored if self.is_raw else stored * (_SLOPE / sine) + _INTERCEPT / sine
            else:
                result[n] = np.rint(value)
        return result.astype(np.float32)


def paint_surface(
    surface: LandsatOverpass, rect: Rect, below: Iterable[str | None]
) -> dict[str, npt.NDArray[np.float32]]:
    """Paint the bands of the surface that other bands are computed from, each once.

    Args:
        surface: overpass whose surface is painted.
        rect: pixels to paint.
        below: a band of the surface for each band; None for those that need none.

    Returns:
        Arrays of shape (height, width) by band of the surface.
    """
    wanted = sorted({name for name in below if name is not None}, key=landsat_scenes.BANDS.index)
    painted = surface.paint(rect, [landsat_scenes.BANDS.index(name) for name in wanted])[0] if wanted else ()
    return dict(zip(wanted, painted, strict=True))


def angles(azimuth: float, elevation: float) -> dict[str, int]:
    """Return the bands of angles that are not zero, in hundredths of a degree."""
    return {"SAA": round(azimuth * 100), "SZA": round((90.0 - elevation) * 100), "VZA": _VIEW_ZENITH}


def at_top(stored: npt.NDArray[np.float32], haze: float) -> npt.NDArray[np.float32]:
    """Return the reflectance above the atmosphere of a stored one of the surface."""
    air = np.float32(haze)
    return (stored * np.float32(2.75e-5) - np.float32(0.2)) * (1 - air) + air


def _surface_band(name: str) -> str | None:
    if name in _REFLECTIVE:
        return _REFLECTIVE[name][0]
    return "ST_B10" if name in _THERMAL else "QA_PIXEL" if name == "QA_PIXEL" else None


def _stored(name: str, *, is_raw: bool) -> tuple[str, bool]:
    """Return the dtype of a band, and whether it is read smoothly."""
    if name in _ANGLES:
        return "int16", False
    if name in _QUALITY:
        return "uint16", False
    return ("uint16" if is_raw else "float32"), True


@dataclass(frozen=True, slots=True)
class LandsatLevel1(Landsat):
    """A ``CollectionAsset``: one of the two satellites, before the atmosphere is corrected for.

    Attributes:
        is_raw: whether it is of raw scenes; else of reflectance.
        real_time: whether it is the collection that has scenes of the last days, too.
    """

    is_raw: bool
    real_time: bool = False

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return f"LANDSAT/{self.prefix}/C02/{tier_id(self.real_time)}{'' if self.is_raw else '_TOA'}"

    @property
    def title(self) -> str:
        """The title of the collection."""
        kind = "Raw Scenes" if self.is_raw else "TOA Reflectance"
        return f"USGS Landsat {self.number} Collection 2 {tier_title(self.real_time)} {kind}"

    def make_image(self, scene: WrsScene, when: date) -> ImageAsset:
        """Return the image of a scene on a day."""
        surface = Landsat.make_image(self, scene, when)
        properties = {k: v for k, v in uncomputed(surface.properties).items() if k not in _SURFACE_ONLY}
        sun = properties["SUN_AZIMUTH"], properties["SUN_ELEVATION"]
        overpass = Level1Overpass(landsat_scenes.overpass_of(scene, when, self.regime), *sun, self.is_raw)
        bands = self.bands_of(scene, overpass, {name: _stored(name, is_raw=self.is_raw) for name in BANDS})
        product = str(properties["LANDSAT_PRODUCT_ID"]).replace("L2SP", "L1TP")
        properties |= {"PROCESSING_LEVEL": "L1TP", "LANDSAT_PRODUCT_ID": product, **_calibration()}
        return replace(surface, bands=bands, properties=LazyMapping(properties))


_SURFACE_ONLY = ("TEMPERATURE_ADD_BAND_ST_B10", "TEMPERATURE_MULT_BAND_ST_B10", "L1_LANDSAT_PRODUCT_ID")


def _calibration() -> dict[str, float]:
    """Return slopes, intercepts and thermal constants; those of radiance are the usual ones of Landsat 8."""
    calibration: dict[str, float] = {}
    for band in range(1, 10):
        calibration |= {f"REFLECTANCE_MULT_BAND_{band}": _SLOPE, f"REFLECTANCE_ADD_BAND_{band}": _INTERCEPT}
        calibration |= {f"RADIANCE_MULT_BAND_{band}": 0.01, f"RADIANCE_ADD_BAND_{band}": -50.0}
    for name, (k1, k2, _) in _THERMAL.items():
        number = name.removeprefix("B")
        calibration |= {f"RADIANCE_MULT_BAND_{number}": _SCALE.slope, f"RADIANCE_ADD_BAND_{number}": _SCALE.intercept}
        calibration |= {f"K1_CONSTANT_BAND_{number}": k1, f"K2_CONSTANT_BAND_{number}": k2}
    return calibration


def tier_id(real_time: bool) -> str:
    """Return a tier as it is in ids: https://developers.google.com/earth-engine/datasets/catalog/LANDSAT_LC08_C02_T1_RT."""
    return "T1_RT" if real_time else "T1"


def tier_title(real_time: bool) -> str:
    """Return a tier as it is in titles."""
    return "Tier 1 and Real-Time data" if real_time else "Tier 1"


def collections(until: date, regime: CloudRegime) -> tuple[LandsatLevel1, ...]:
    """Return raw scenes and reflectance of Landsat 8 and 9, up to a day."""
    return tuple(
        LandsatLevel1(satellite.number, satellite.first, satellite.shift, satellite.until, regime, is_raw, real_time)
        for satellite in landsat.collections(until, regime)
        for is_raw in (True, False)
        for real_time in ((False, True) if satellite.number == 8 else (False,))
    )
