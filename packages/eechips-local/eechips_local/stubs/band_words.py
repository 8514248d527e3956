"""Read from the words on a band what of the air, the ground or fires it shows."""

from __future__ import annotations

import re
from typing import Literal

AirSubject = Literal["sunlight", "dryness", "humidity", "saturation", "emissivity"]
"""What bands show of the air and the ground; saturation is relative humidity."""

_PASCALS = {"kpa": 1.0, "hpa": 10.0, "mbar": 10.0, "pa": 1000.0}
"""What a kilopascal is in other units of pressure."""
_SUNLIGHT = re.compile(r"downward \w*\s?(shortwave|solar) radiation")
_DEFICIT = re.compile(r"vapou?r pressure deficit")
_NEAR = r"^(?!.*(\d ?hpa|\bpl\d|entire atmosphere|error|flag)).*"
"""Of air near the ground, not at a pressure far above it."""
_HUMIDITY, _SATURATION = re.compile(f"{_NEAR}specific humidity"), re.compile(f"{_NEAR}relative humidity")
_MASS_FRACTIONS = {"mass fraction": 1.0, "kg/kg": 1.0, "g/kg": 1000.0}
_EMISSIVITY = re.compile(r"emissivity")
_NOT_EMISSIVITY = re.compile(r"cloud|deviation|sdev|error|quality|flag")
_MOST, _LEAST = (
    re.compile(r"\bmax(imum)?\b|^t(mmx|max)\b|^vpdmax\b"),
    re.compile(r"\bmin(imum)?\b|^t(mmn|min)\b|^vpdmin\b"),
)
_LAND, _WATER, _CLOUD, _FIRES = 5, 3, 4, (7, 8, 9)


def air_subject(words: str, units: str, least: float, greatest: float) -> AirSubject | None:
    """Return what a band shows by its words and units, in lower case, and its ends; None of others."""
    if units == "w/m^2" and _SUNLIGHT.search(words) is not None:
        return "sunlight"
    if _DEFICIT.search(words) is not None and units in _PASCALS:
        return "dryness"
    if _HUMIDITY.search(words) is not None and units in _MASS_FRACTIONS:
        return "humidity"
    if _SATURATION.search(words) is not None and units == "%":
        return "saturation"
    if _EMISSIVITY.search(words) is None or _NOT_EMISSIVITY.search(words) is not None:
        return None
    return "emissivity" if least <= 0.95 and 0.99 <= greatest <= 1.1 else None


def unit_of_air(units: str) -> float:
    """Return what a kilopascal, or the whole mass of air, is in units; 1 of shares."""
    return (_PASCALS | _MASS_FRACTIONS).get(units.lower(), 1.0)


def extreme_of_day(words: str) -> int:
    """Return 1 for bands of the warmest hour of days, -1 of the coldest, 0 of all hours."""
    return (_MOST.search(words) is not None) - (_LEAST.search(words) is not None)


def fire_codes(name: str, codes: tuple[int, ...]) -> tuple[int, int, int, tuple[int, ...]] | None:
    """Return the codes of land, water, cloud and of fires; None if a band is no mask of fires.

    Of MOD14, VNP14 and their composites: Giglio et al. (2020), MODIS Collection 6 and 6.1 Active Fire Product User's
    Guide, table 5.
    """
    fires = tuple(code for code in _FIRES if code in codes)
    if name != "FireMask" or not fires or not {_LAND, _WATER, _CLOUD} <= set(codes):
        return None
    return _LAND, _WATER, _CLOUD, fires
