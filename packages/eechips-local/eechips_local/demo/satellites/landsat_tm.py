"""Landsat 4, 5 and 7: surface reflectance, top of the atmosphere, and raw scenes; the gaps of Landsat 7, and saturation
(``QA_RADSAT``).

Bands, scales and bits: https://developers.google.com/earth-engine/datasets/catalog/LANDSAT_LT05_C02_T1_L2 and
https://developers.google.com/earth-engine/datasets/catalog/LANDSAT_LE07_C02_T1_TOA. The land, its clouds and the
values of flags are those of Landsat 8 on the same day.

The scan line corrector of Landsat 7 failed on 31 May 2003. From then on two scans leave a wedge between them, nothing
in the middle of the swath and 14 pixels at its edges, so that some 22% of each scene are missing:
https://www.usgs.gov/landsat-missions/landsat-7
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eechips_local.demo import synthetic_label
from eechips_local.demo.land_character import wrapped
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.satellites import landsat_scenes, wrs
from eechips_local.demo.satellites.landsat import Landsat
from eechips_local.demo.satellites.landsat_level1 import (
    RadianceScale,
    angles,
    at_top,
    paint_surface,
    tier_id,
    tier_title,
    whole,
)
from eechips_local.demo.satellites.landsat_scenes import LandsatOverpass
from eechips_local.demo.satellites.wrs import Swath, WrsScene
from eechips_local.demo.weather.cloud_regime import CloudRegime
from eechips_local.evaluation.asset_model import ImageAsset
from eechips_local.evaluation.lazy_values import LazyMapping, uncomputed

Level = Literal["surface", "top", "raw"]

# Band of Landsat 8's surface that each band shows, and the reflectance of the atmosphere above it.
_REFLECTIVE: Mapping[int, tuple[str, float]] = {
    1: ("SR_B2", 0.07), 2: ("SR_B3", 0.04), 3: ("SR_B4", 0.02), 4: ("SR_B5", 0.01), 5: ("SR_B6", 0.003),
    7: ("SR_B7", 0.002),
}  # fmt: skip
_PANCHROMATIC = ("SR_B4", 0.03)
_THERMAL = ("ST_ATRAN", "ST_CDIST", "ST_DRAD", "ST_EMIS", "ST_EMSD", "ST_QA", "ST_TRAD", "ST_URAD")
_ANGLES = ("SAA", "SZA", "VAA", "VZA")
_OPACITY = 80  # thousandths
_NO_CIRRUS = ~0xC004
"""Bits of QA_PIXEL without the bits of cirrus, which these sensors do not measure."""

_FAILURE = date(2003, 5, 31)
_SCANS, _WIDEST = 960.0, 420.0
"""Metres of two scans along the track, and of the gap between them at the edge of the swath."""

_MAXIMUM = 255.0
_TM = {"B1": 0.306, "B2": 0.638, "B3": 0.540, "B4": 0.673, "B5": 0.431, "B7": 0.621}
_BRIGHTEST: Mapping[int, Mapping[str, float]] = {
    4: _TM,
    5: _TM,
    7: {"B1": 0.301, "B2": 0.341, "B3": 0.313, "B4": 0.729, "B5": 0.423, "B7": 0.400, "B8": 0.561},
}
"""Reflectance, times the sine of the sun's elevation, at which bands are saturated, as over clouds and snow.

That is pi times the greatest radiance by the irradiance of the sun: Chander, Markham and Helder 2009; of Landsat 7 in
high gain, but for the bands 4 and 8.
"""


# Radiance of one step of the thermal band, and of zero; usual ones.
_SCALE = RadianceScale(0.055, 1.2, _MAXIMUM)
# K1 and K2 by satellite: Chander, Markham and Helder 2009, https://doi.org/10.1016/j.rse.2009.01.007
_CONSTANTS: Mapping[int, tuple[float, float]] = {4: (671.62, 1284.30), 5: (607.76, 1260.56), 7: (666.09, 1282.71)}

_SURFACE: Mapping[str, str] = {
    **{f"SR_B{number}": below for number, (below, _) in _REFLECTIVE.items()},
    **{name: name for name in (*_THERMAL, "QA_PIXEL", "QA_RADSAT")},
    "ST_B6": "ST_B10",
    "SR_CLOUD_QA": "QA_PIXEL",
}
_SURFACE_BANDS = (
    *(f"SR_B{number}" for number in _REFLECTIVE), "SR_ATMOS_OPACITY", "SR_CLOUD_QA", "ST_B6", *_THERMAL,
    "QA_PIXEL", "QA_RADSAT",
)  # fmt: skip
_TM_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "QA_PIXEL", "QA_RADSAT", *_ANGLES)
_ETM_BANDS = (
    "B1", "B2", "B3", "B4", "B5", "B6_VCID_1", "B6_VCID_2", "B7", "B8", "QA_PIXEL", "QA_RADSAT", *_ANGLES,
)  # fmt: skip


def _surface_band(name: str) -> str | None:
    """Return the band of Landsat 8's surface that a band needs; None if it is constant."""
    if name in _SURFACE:
        return _SURFACE[name]
    if name == "B8":
        return _PANCHROMATIC[0]
    if name.startswith("B6"):
        return "ST_B10"
    return _REFLECTIVE[int(name[1])][0] if name.startswith("B") else None


def _is_scanned(scene: WrsScene, rect: Rect) -> npt.NDArray[np.bool_]:
    """Return which cells of a rectangle do not lie in the gaps of a scene."""
    longitude, latitude = wrs.middle(scene)
    _, lean = wrs.leans(scene)
    middle_x, middle_y = mercator.x_of(longitude), mercator.y_of(latitude)
    metres = mercator.EQUATOR_UNIT * float(mercator.cosine_of(middle_y))
    east, south = wrapped(rect.x - middle_x)[None, :] * metres, (rect.y - middle_y)[:, None] * metres
    sine, cosine = math.sin(math.radians(lean)), math.cos(math.radians(lean))
    across, along = east * cosine + south * sine, south * cosine - east * sine
    scanned: npt.NDArray[np.bool_] = np.mod(along, _SCANS) >= np.abs(across) * (_WIDEST * 2.0 / wrs.ETM.width)
    return scanned


@dataclass(frozen=True, slots=True)
class ThematicOverpass:
    """Scene of a pass, at one level.

    Attributes:
        surface: what Landsat 8 would see.
        satellite: 4, 5 or 7.
        names: names of the bands.
        level: level of processing.
        azimuth: azimuth of the sun, degrees.
        elevation: likewise.
        gaps: the scene that has gaps between its scans; None for none.
    """

    surface: LandsatOverpass
    satellite: int
    names: tuple[str, ...]
    level: Level
    azimuth: float
    elevation: float
    gaps: WrsScene | None = None

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """See ``painted_source.PaintedScene``: stored values of the surface; reflectances and kelvins above it."""
        names = [self.names[band] for band in bands]
        below = [_surface_band(name) for name in names]
        measured = [source for source, _ in _REFLECTIVE.values()] if "QA_RADSAT" in names else []
        known = paint_surface(self.surface, rect, [*below, *measured])
        values = np.empty((len(bands), rect.height, rect.width), dtype=np.float32)
        for n, (name, source) in enumerate(zip(names, below, strict=True)):
            if name == "QA_RADSAT":
                values[n] = self._saturation(known)
            else:
                values[n] = self._constant(name) if source is None else self._value(name, known[source])
        if self.gaps is None:
            return values, None
        return values, np.broadcast_to(_is_scanned(self.gaps, rect), values.shape)

    def _value(self, name: str, below: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return the value of a band over Landsat 8's."""
        if name == "QA_PIXEL":
            return below.astype(np.int64) & _NO_CIRRUS
        if name == "SR_CLOUD_QA":
            flags = below.astype(np.int64)
            # Cloud, shadow, beside a cloud, snow and water: bits 3, 4, 1, 5 and 7 of QA_PIXEL; bits 1 to 5 here.
            pairs = ((3, 1), (4, 2), (1, 3), (5, 4), (7, 5))
            return np.asarray(sum(((flags >> bit) & 1) << here for bit, here in pairs))
        if self.level == "surface" or name.startswith("QA"):
            return below
        if name.startswith("B6"):
            return below * np.float32(0.00341802) + np.float32(148.0)
        return at_top(below, (_PANCHROMATIC if name == "B8" else _REFLECTIVE[int(name[1])])[1])

    def _saturation(self, known: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.int64]:
        """Return QA_RADSAT: bit 0 is set where band 1 is saturated, and so on.

        https://developers.google.com/earth-engine/datasets/catalog/LANDSAT_LT05_C02_T1_L2
        """
        sine = np.float32(math.sin(math.radians(self.elevation)))
        flags = np.zeros(next(iter(known.values())).shape, dtype=np.int64)
        for number, (source, haze) in _REFLECTIVE.items():
            limit = _BRIGHTEST[self.satellite][f"B{number}"]
            flags |= (at_top(known[source], haze) * sine >= limit).astype(np.int64) << (number - 1)
        return flags

    def _constant(self, name: str) -> float:
        return _OPACITY if name == "SR_ATMOS_OPACITY" else angles(self.azimuth, self.elevation).get(name, 0)

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[Any]:
        """See ``painted_source.PaintedScene``; zero is left to mean nothing."""
        sine = math.sin(math.radians(self.elevation))
        result = np.empty(values.shape, dtype=np.float64)
        for n, band in enumerate(bands):
            name, value = self.names[band], np.asarray(values[n], dtype=np.float64)
            if name.startswith(("SR_B", "ST_B")):
                result[n] = whole(value, 65_535.0)
            elif name.startswith("B6"):
                stored, kelvin = _SCALE.encode(value, *_CONSTANTS[self.satellite])
                result[n] = stored if self.level == "raw" else kelvin
            elif name.startswith("B"):
                step = _BRIGHTEST[self.satellite][name] / _MAXIMUM
                stored = whole(value * sine / step, _MAXIMUM)
                result[n] = stored if self.level == "raw" else stored * (step / sine)
            else:
                result[n] = np.rint(value)
        return result


def _stored(name: str, level: Level) -> tuple[str, bool]:
    """Return the dtype of a band, and whether it is read smoothly."""
    if name.startswith(("SR_B", "ST_B")):
        return "uint16", True
    if name in ("QA_PIXEL", "QA_RADSAT"):
        return "uint16", False
    if name == "SR_CLOUD_QA":
        return "uint8", False
    if name.startswith("B"):
        return ("uint8" if level == "raw" else "float32"), True
    return "int16", False


@dataclass(frozen=True, slots=True)
class ThematicLandsat(Landsat):
    """A ``CollectionAsset``: Landsat 4, 5 or 7 at one level.

    Attributes:
        level: level of processing.
        real_time: see ``LandsatLevel1``.
    """

    level: Level
    real_time: bool = False

    @property
    def prefix(self) -> str:
        """See ``Landsat.prefix``."""
        return f"LE{self.number:02d}" if self.number == 7 else f"LT{self.number:02d}"

    @property
    def swath(self) -> Swath:
        """See ``Landsat.swath``."""
        return wrs.ETM if self.number == 7 else wrs.TM

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        ending = {"surface": "_L2", "top": "_TOA", "raw": ""}[self.level]
        return f"LANDSAT/{self.prefix}/C02/{tier_id(self.real_time)}{ending}"

    @property
    def title(self) -> str:
        """The title of the collection."""
        sensor = "" if self.number == 7 else " TM"
        if self.level == "surface":
            return f"USGS Landsat {self.number} Level 2, Collection 2, Tier 1"
        kind = "Raw Scenes" if self.level == "raw" else "TOA Reflectance"
        return f"USGS Landsat {self.number}{sensor} Collection 2 {tier_title(self.real_time)} {kind}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the bands."""
        return _SURFACE_BANDS if self.level == "surface" else _ETM_BANDS if self.number == 7 else _TM_BANDS

    def make_image(self, scene: WrsScene, when: date) -> ImageAsset:
        """Return the image of a scene on a day."""
        modern = Landsat.make_image(self, scene, when)
        known = uncomputed(modern.properties)
        sun = known["SUN_AZIMUTH"], known["SUN_ELEVATION"]
        gaps = scene if self.number == 7 and when > _FAILURE else None
        seen = landsat_scenes.overpass_of(scene, when, self.regime)
        overpass = ThematicOverpass(seen, self.number, self.names, self.level, *sun, gaps)
        bands = self.bands_of(scene, overpass, {name: _stored(name, self.level) for name in self.names})
        dropped = ("IMAGE_QUALITY_OLI", "TEMPERATURE_ADD_BAND_ST_B10", "TEMPERATURE_MULT_BAND_ST_B10")
        properties = {k: v for k, v in known.items() if k not in dropped}
        properties |= {"IMAGE_QUALITY": 9, "SENSOR_ID": "ETM" if self.number == 7 else "TM", **self._calibration()}
        if self.level != "surface":
            product = str(properties["LANDSAT_PRODUCT_ID"]).replace("L2SP", "L1TP")
            properties |= {"PROCESSING_LEVEL": "L1TP", "LANDSAT_PRODUCT_ID": product}
            del properties["L1_LANDSAT_PRODUCT_ID"]
        return replace(modern, bands=bands, properties=LazyMapping(synthetic_label.marked(properties)))

    def _calibration(self) -> dict[str, float]:
        """Return slopes and intercepts. Radiance has usual values of Landsat."""
        if self.level == "surface":
            return {"TEMPERATURE_ADD_BAND_ST_B6": 149.0, "TEMPERATURE_MULT_BAND_ST_B6": 0.00341802}
        calibration: dict[str, float] = {}
        for name in self.names:
            if not name.startswith("B"):
                continue
            number = name.removeprefix("B")
            if number.startswith("6"):
                k1, k2 = _CONSTANTS[self.number]
                calibration |= {f"K1_CONSTANT_BAND_{number}": k1, f"K2_CONSTANT_BAND_{number}": k2}
                calibration[f"RADIANCE_MULT_BAND_{number}"] = _SCALE.slope
                calibration[f"RADIANCE_ADD_BAND_{number}"] = _SCALE.intercept
            else:
                calibration |= {f"RADIANCE_MULT_BAND_{number}": 0.7, f"RADIANCE_ADD_BAND_{number}": -2.0}
                step = _BRIGHTEST[self.number][name] / _MAXIMUM
                calibration |= {f"REFLECTANCE_MULT_BAND_{number}": step, f"REFLECTANCE_ADD_BAND_{number}": 0.0}
        return calibration


# Number, first day, first day without an image, days by which the satellite follows Landsat 8.
_SATELLITES = (
    (4, date(1982, 8, 22), date(1993, 12, 15), 8),
    (5, date(1984, 3, 16), date(2012, 5, 6), 0),
    (7, date(1999, 5, 28), date(2024, 1, 20), 8),
)


def collections(until: date, regime: CloudRegime) -> tuple[ThematicLandsat, ...]:
    """Return all levels of Landsat 4, 5 and 7, up to a day."""
    levels: tuple[Level, ...] = ("surface", "top", "raw")
    return tuple(
        ThematicLandsat(number, first, shift, min(end, until), regime, level, real_time)
        for number, first, end, shift in _SATELLITES
        for level in levels
        for real_time in ((False, True) if number == 7 and level != "surface" else (False,))
    )
