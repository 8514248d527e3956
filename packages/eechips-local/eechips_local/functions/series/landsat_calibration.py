"""``ee.Algorithms.Landsat.TOA`` and ``calibratedRadiance``: radiance, reflectance and brightness temperature of raw
scenes.

Coefficients stand in the scene's metadata. What is missing there is taken from Chander, Markham and Helder (2009),
"Summary of current radiometric calibration coefficients for Landsat MSS, TM, ETM+, and EO-1 ALI sensors", Remote
Sensing of Environment 113, 893-903: tables 3 to 5 (solar irradiance), 7 (thermal constants) and equation 2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels
from eechips_local.pixels.pixelwise_rasters import PerPixel, PixelFunction
from eechips_local.pixels.types import FLOAT
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.calendar import to_datetime
from eechips_local.values.values import Value

_BAND = re.compile(r"B(\d+(?:_VCID_[12])?)")

# Mean solar irradiance outside the atmosphere in W/(m² µm), by spacecraft and band.
_IRRADIANCE: Mapping[str, Mapping[str, float]] = {
    "LANDSAT_1": {"4": 1823.0, "5": 1559.0, "6": 1276.0, "7": 880.1},
    "LANDSAT_2": {"4": 1829.0, "5": 1539.0, "6": 1268.0, "7": 886.6},
    "LANDSAT_3": {"4": 1839.0, "5": 1555.0, "6": 1291.0, "7": 887.9},
    "LANDSAT_4": {"1": 1983.0, "2": 1795.0, "3": 1539.0, "4": 1028.0, "5": 219.8, "7": 83.49},
    "LANDSAT_5": {"1": 1983.0, "2": 1796.0, "3": 1536.0, "4": 1031.0, "5": 220.0, "7": 83.44},
    "LANDSAT_7": {"1": 1997.0, "2": 1812.0, "3": 1533.0, "4": 1039.0, "5": 230.8, "7": 84.90, "8": 1362.0},
}
# The multispectral scanners of Landsat 4 and 5.
_SCANNER: Mapping[str, Mapping[str, float]] = {
    "LANDSAT_4": {"1": 1827.0, "2": 1569.0, "3": 1260.0, "4": 866.4},
    "LANDSAT_5": {"1": 1824.0, "2": 1570.0, "3": 1249.0, "4": 853.4},
}
# K1 in W/(m² sr µm) and K2 in kelvin, by spacecraft.
_THERMAL: Mapping[str, tuple[float, float]] = {
    "LANDSAT_4": (671.62, 1284.30),
    "LANDSAT_5": (607.76, 1260.56),
    "LANDSAT_7": (666.09, 1282.71),
}
_THERMAL_BANDS = ("6", "6_VCID_1", "6_VCID_2", "10", "11")


class _Scene:
    """The metadata of a raw scene."""

    def __init__(self, properties: Mapping[str, Value]) -> None:
        self._properties = properties

    def number(self, name: str) -> float | None:
        """Return a number of the metadata, or None."""
        value = self._properties.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def require(self, name: str) -> float:
        """Return a number of the metadata.

        Raises:
            InvalidError: if it is missing.
        """
        value = self.number(name)
        if value is None:
            raise InvalidError(f"The image has no numeric property '{name}'.")
        return value

    def radiance(self, band: str) -> tuple[float, float]:
        """Return slope and intercept of the radiance of a band."""
        return self.require(f"RADIANCE_MULT_BAND_{band}"), self.require(f"RADIANCE_ADD_BAND_{band}")

    def thermal(self, band: str) -> tuple[float, float]:
        """Return K1 and K2 of a thermal band."""
        own = self.number(f"K1_CONSTANT_BAND_{band}"), self.number(f"K2_CONSTANT_BAND_{band}")
        known = _THERMAL.get(str(self._properties.get("SPACECRAFT_ID")))
        if own[0] is not None and own[1] is not None:
            return own[0], own[1]
        return known if known is not None else (self.require(f"K1_CONSTANT_BAND_{band}"), 0.0)

    @property
    def sun(self) -> float:
        """The sine of the sun's elevation at the centre of the scene."""
        return math.sin(math.radians(self.require("SUN_ELEVATION")))

    def reflectance(self, band: str) -> tuple[float, float]:
        """Return slope and intercept of the reflectance of a band, of light that falls at the sun's angle."""
        slope, intercept = self.number(f"REFLECTANCE_MULT_BAND_{band}"), self.number(f"REFLECTANCE_ADD_BAND_{band}")
        if slope is not None and intercept is not None:
            return slope / self.sun, intercept / self.sun
        slope, intercept = self.radiance(band)
        factor = math.pi * self._distance() ** 2 / (self._irradiance(band) * self.sun)
        return slope * factor, intercept * factor

    def _irradiance(self, band: str) -> float:
        craft, sensor = str(self._properties.get("SPACECRAFT_ID")), str(self._properties.get("SENSOR_ID"))
        table = (_SCANNER if sensor.startswith("MSS") else _IRRADIANCE).get(craft) or _IRRADIANCE.get(craft, {})
        return table[band] if band in table else self.require(f"REFLECTANCE_MULT_BAND_{band}")

    def _distance(self) -> float:
        """Return the distance from Earth to Sun in astronomical units.

        Where the metadata lack it: U.S. Naval Observatory, "Approximate solar coordinates", exact to 0.0003.
        """
        known = self.number("EARTH_SUN_DISTANCE")
        if known is not None:
            return known
        seconds = to_datetime(self.require("system:time_start")).timestamp() - 946_728_000  # since 2000-01-01 12:00
        days = seconds / 86_400
        anomaly = math.radians(357.529 + 0.98560028 * days)
        return 1.00014 - 0.01671 * math.cos(anomaly) - 0.00014 * math.cos(2 * anomaly)


def _linear(slope: float, intercept: float) -> PixelFunction:
    def compute(pixels: Sequence[Pixels]) -> Pixels:
        return Pixels((pixels[0].values * slope + intercept).astype(np.float32), pixels[0].mask)

    return compute


def _temperature(slope: float, intercept: float, k1: float, k2: float) -> PixelFunction:
    def compute(pixels: Sequence[Pixels]) -> Pixels:
        radiance = pixels[0].values * slope + intercept
        emits = radiance > 0
        with np.errstate(all="ignore"):
            kelvin = k2 / np.log1p(k1 / np.where(emits, radiance, 1.0))
        return Pixels(np.where(emits, kelvin, 0.0).astype(np.float32), pixels[0].mask)

    return compute


def _calibrated(image: Image, calibrate: Callable[[str], PixelFunction]) -> Image:
    """Return the image with its numbered bands calibrated; all others stay as they are."""
    numbers = [_BAND.fullmatch(band.name) for band in image.bands]
    if not any(numbers):
        raise InvalidError("The image has no bands of a Landsat scene (B1, B2, …).")
    chosen = [(band, match[1]) for band, match in zip(image.bands, numbers, strict=True) if match]
    raster = PerPixel(tuple((band,) for band, _ in chosen), tuple(calibrate(number) for _, number in chosen))
    calibrated_bands = {
        band.name: replace(band, raster=raster, index=i, type=FLOAT) for i, (band, _) in enumerate(chosen)
    }
    return image.with_bands([calibrated_bands.get(band.name, band) for band in image.bands])


def is_calibrated(band: ImageBand) -> bool:
    """Return whether ``toa`` calibrates a band: its name is a number behind a B."""
    return _BAND.fullmatch(band.name) is not None


def is_thermal(band: ImageBand, sensor: Value) -> bool:
    """Return whether a band of a Landsat scene holds temperatures; the sixth of multispectral scanners does not."""
    number = _BAND.fullmatch(band.name)
    if number is None or number[1] not in _THERMAL_BANDS:
        return False
    return number[1] in ("10", "11") or not str(sensor).startswith(("OLI", "MSS"))


@function("Landsat.calibratedRadiance")
def calibrated_radiance(image: Image) -> Image:
    """Return radiance in W/(m² sr µm), by the slope and intercept of each band in the metadata.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-landsat-calibratedradiance
    """
    scene = _Scene(image.properties)
    return _calibrated(image, lambda number: _linear(*scene.radiance(number)))


@function("Landsat.TOA")
def toa(input: Image) -> Image:
    """Return reflectance at the top of the atmosphere, and brightness temperature in kelvin of thermal bands.

    The sun's elevation is that of the scene's centre. Bands of quality and angles stay as they are.
    https://developers.google.com/earth-engine/apidocs/ee-algorithms-landsat-toa
    """
    scene, sensor = _Scene(input.properties), input.properties.get("SENSOR_ID")
    thermal = {band.name for band in input.bands if is_thermal(band, sensor)}

    def calibrate(number: str) -> PixelFunction:
        if f"B{number}" in thermal:
            return _temperature(*scene.radiance(number), *scene.thermal(number))
        return _linear(*scene.reflectance(number))

    return _calibrated(input, calibrate)


@function("Landsat.translateMetadata")
def translate_metadata(input: Image) -> Image:
    """Return the image as it is, as documented."""
    return input
