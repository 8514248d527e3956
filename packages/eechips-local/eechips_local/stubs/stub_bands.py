"""Decide the type, the range and the subject of the values that a stub's band shows, by its words and units."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eechips_local.stubs import band_words
from eechips_local.stubs.class_bands import LAND_CLASSES, LAND_WORDS, known_classes, land_of
from eechips_local.stubs.dataset_description import YEAR, BandDescription, Interval

Subject = Literal[
    "classes",
    "presence",
    "flags",
    "events",
    "elevation",
    "temperature",
    "reflectance",
    "brightness",
    "vegetation",
    "water",
    "rain",
    "evaporation",
    "snow",
    "settlement",
    "probability",
    "other",
    "unknown",
    band_words.AirSubject,
]
Spacing = Literal["even", "low", "decades"]
"""How values lie between their ends: evenly, most of them near the least one, or as many in each decade."""


_SUBJECTS: tuple[tuple[Subject, str], ...] = (
    ("water", r"precip|\brain|moisture|runoff|humid|snow water|evapo"),
    (
        "settlement",
        r"^(?!.*(travel time|distance|nearest)).*(populat|built|night|\bradiance|\burban|impervious|\bpeople)",
    ),
    ("vegetation", r"ndvi|\bevi\b|\blai\b|fpar|fapar|\bgpp|\bnpp|vegetat|canop|\btree|forest|biomass|leaf|photosynth"),
)
_RAIN = re.compile(r"precipitation|\bprecip|\brain(fall)?\b|^(pr|ppt|prcp)\b")
_PART_OF_RAIN = re.compile(
    r"run ?off|water content|fraction|type|precipitable|error|index|quality|probab|weight|convective|large.scale|snow"
    r"|source|ratio|evapo|minimum|maximum|cumulative|column|bias|season|count"
)
"""What bands show that name rain, and are not all of it."""

# Units of rain: what a millimetre is in them, and whether they are of a day; else of the time of an image.
_RAIN_UNITS: tuple[tuple[str, float, bool], ...] = (
    (r"^(mm|millimet\w+)( ?/ ?|\^?-1 | )(h|hr|hour)", 1.0 / 24.0, True),
    (r"^(mm|millimet\w+) ?/ ?d", 1.0, True),
    (r"^kg ?[/ ]m\^-?2[/ ]s", 1.0 / 86_400.0, True),
    (r"^m/s$", 1.0 / 86_400_000.0, True),
    (r"^mm|^kg/m\^2(/\d+ ?days?)?$", 1.0, False),
    (r"^m$", 0.001, False),
)
_EVAPORATION = re.compile(r"(reference|potential) evapotranspiration|^pet\b")
"""Water that evaporates where it is not short, as much as sunlight and warmth let it."""
_ALFALFA = 1.2
"""Times as much evaporates from alfalfa as from grass: ASCE-EWRI (2005), doi:10.1061/9780784408056."""
_SNOW = re.compile(r"snow[ -]?cover|ndsi|snow depth|^swe\b|snow water equivalent")
_OF_SNOW = re.compile(r"albedo|density|temperature|melt|evapo|flux|error|quality|flag|fall|days|rate")
"""What bands show that name snow, and not how much of it there is."""

_FIRES = re.compile(r"^FIRMS$|/(MCD64A1|VNP64A1|FireCCI)")
"""Datasets whose pixels are masked where nothing burns."""

_MOST_RAIN = 250.0
"""Millimetres of a day."""

_DAILY_MEANS = re.compile(r"^ECMWF/ERA5_LAND/MONTHLY(_BY_HOUR)?$")
"""Datasets whose sums are means of days: https://confluence.ecmwf.int/display/CKB/ERA5-Land%3A+data+documentation"""
_ELEVATION = re.compile(r"\belevation|\bdem\b|\bdsm\b|\bdtm\b|\baltitude|terrain height|surface height")
_METRES = ("m", "meters", "metres", "meter")
_TEMPERATURE = re.compile(r"temperature|brightness temp")
_CELSIUS = re.compile(r"°\s*c\b|deg.*\bc\b|celsius")
_KELVIN = re.compile(r"^k$|kelvin")
_THERMAL = 5.0
"""Micrometres from which a band sees heat, not light."""

# Usual values where nothing is stated, by units.
_USUAL: tuple[tuple[str, tuple[float, float]], ...] = (
    (r"%|percent", (0.0, 100.0)),
    (r"^k$|kelvin", (250.0, 315.0)),
    (r"°\s*c\b|deg.*\bc\b|celsius", (-20.0, 40.0)),
    (r"deg|°", (0.0, 180.0)),
    (r"^m/s|^m s|meters per second", (0.0, 12.0)),
    (r"^fraction$", (0.0, 1.0)),
)
# The same, by descriptions.
_DESCRIBED: tuple[tuple[str, tuple[float, float]], ...] = (
    (r"\bday of (the )?year|^ordinal day", (1.0, 366.0)),
    (r"^((the|estimated) )?number of (?!people)|total number of", (0.0, 30.0)),
)
_ERROR = re.compile(r"\berr(or)?\b|uncertaint|standard deviation|\bstd ?dev|\brmse\b|root-mean-square")
_ERROR_SHARE = 0.1
"""Share of the span of usual values that errors of them reach, where zero is none of these, as of temperatures."""
_HEIGHTS = (0.0, 4000.0)
"""Metres, of elevations."""
_HIGH = 1000.0
"""Metres that heights of land exceed; bands within them show differences of heights, or one coast."""
_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
_BRIGHTEST = 2.0
"""Reflectance that no band exceeds by its scale."""
_WHOLE_UNITS = ("%", "percent", "", "count", "cm")
_WIDE = 20.0
"""Whole ranges at least so wide are those of whole numbers, of bands whose type is not stated."""
_SPACED: tuple[Subject, ...] = ("water", "rain", "settlement", "other")
"""Subjects whose values are shares of the range; the values of others are those of the land."""
_DECADES = 100.0
"""Times the least value, above it, that values of bands of several decades reach."""
_LEAST = 0.01
"""Share of the greatest value that the least one of a band with rare high values has at most."""
_PROBABILITY = re.compile(r"\bprobab")
_DEVIATION = re.compile(r"standard deviation|\bstd ?dev")
"""What rarely is near its greatest value, also where that is all of a share."""
_RARE = re.compile(r"precip|\brain")
"""What rarely is near its greatest value, unless it is a share."""
_TYPE_LIMITS = frozenset({32_766, 32_767, 65_533, 65_534, 65_535})
"""Greatest values of 16-bit numbers, without those of fill: by any power of ten, they limit the type."""
_BITS = 31
"""Bits of flags that are set at most."""
_EXACT = 2**53
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class BandPlan:
    """What a band of a stub shows.

    Attributes:
        dtype: data type of the stored values.
        low: least stored value.
        high: greatest stored value.
        subject: what the values follow; "unknown" if no range of them is known, and they cannot be read.
        seed: seed of the noise that tells bands apart.
        scale: value = stored * ``scale`` + ``offset``.
        offset: see ``scale``.
        is_celsius: whether temperatures are in degrees Celsius, not kelvin.
        wavelength: micrometres, of reflectances.
        codes: stored values of classes or flags.
        land: for each of ``LAND_CLASSES``, which of ``codes`` it has; empty if the classes do not name land.
        spacing: see ``Spacing``.
        amount: what a millimetre of rain is, of a day if ``is_daily``, else of all days of an image.
        is_daily: see ``amount``.
        is_fire: whether it is masked where nothing burns.
        interval: time of an image.
        extreme: 1 of the warmest hour of days, -1 of the coldest, 0 of all.
    """

    name: str
    dtype: str
    low: float
    high: float
    subject: Subject
    seed: int
    scale: float = 1.0
    offset: float = 0.0
    is_celsius: bool = False
    wavelength: float = 0.0
    codes: tuple[int, ...] = ()
    land: tuple[tuple[int, ...], ...] = ()
    spacing: Spacing = "even"
    amount: float = 1.0
    is_daily: bool = False
    is_fire: bool = False
    interval: Interval | None = None
    extreme: int = 0

    @property
    def is_smooth(self) -> bool:
        """Whether values between those of two cells mean anything."""
        return not self.codes


def with_ranges_of_like_bands(bands: Sequence[BandDescription]) -> tuple[BandDescription, ...]:
    """Return bands; one without a range has that of the first of its kind, if a range of one of these is stated.

    Records state ranges of the bands that their pictures show: of radiance_1, as a rule, and not of the other 284.
    """
    stated: dict[tuple[str, str, float, float], BandDescription] = {}
    for band in bands:
        if band.description and band.minimum is not None and band.maximum is not None:
            stated.setdefault(_kind(band), band)
    return tuple(
        replace(band, minimum=like.minimum, maximum=like.maximum, is_estimated=like.is_estimated)
        if (like := stated.get(_kind(band))) is not None and _range(band) is None
        else band
        for band in bands
    )


def _kind(band: BandDescription) -> tuple[str, str, float, float]:
    """Return what bands of one kind have in common: units, factors, and the description but for numbers."""
    return _NUMBERS.sub("#", band.description), band.units, band.scale, band.offset


def plan_band(band: BandDescription, dataset: str, interval: Interval | None = None) -> BandPlan:
    """Return what a band of a dataset shows, of images of some time."""
    seed = zlib.crc32(f"{dataset}/{band.follows or band.name}".encode()) & 0xFFFFFF
    codes = _plan_codes(band, seed, interval)
    return _plan_numbers(band, dataset, seed, interval) if codes is None else codes


def _plan_codes(band: BandDescription, seed: int, interval: Interval | None) -> BandPlan | None:
    """Return the plan of a band of classes, flags or one value; None for one of continuous values."""
    if len(band.classes) == 1:
        return _presence(band, band.classes[0].value, band.classes[0].name, seed)
    if band.classes:
        classes = known_classes(band.classes)
        codes = tuple(sorted({band_class.value for band_class in classes}))
        dtype = band.dtype or smallest_type(codes[0], codes[-1])
        return BandPlan(band.name, dtype, codes[0], codes[-1], "classes", seed, codes=codes, land=land_of(classes))
    if band.bits:
        total = max(field.first + field.length for field in band.bits)
        codes = _flags(band)
        dtype = band.dtype or smallest_type(0, (1 << min(total, 31)) - 1)
        return BandPlan(band.name, dtype, 0, codes[-1], "flags", seed, codes=codes, interval=interval)
    if band.events is not None:
        codes = (0, *range(band.events[0], band.events[1] + 1))
        return BandPlan(band.name, band.dtype or smallest_type(0, codes[-1]), 0, codes[-1], "events", seed, codes=codes)
    if band.minimum is not None and band.minimum == band.maximum and float(band.minimum).is_integer():
        return _presence(band, int(band.minimum), "", seed)
    return None


def _plan_numbers(band: BandDescription, dataset: str, seed: int, interval: Interval | None) -> BandPlan:
    known = _range(band)
    low, high = known or (0.0, 1.0)
    subject = _subject(band, low, high) if known else "unknown"
    amount, is_daily = _rain_units(band) or _millimetres(band) or (1.0, False)
    if interval is not None and interval.unit in ("minute", "hour") and not is_daily:
        amount *= interval.number / (1440.0 if interval.unit == "minute" else 24.0)
    if subject == "evaporation" and "alfalfa" in _words(band):
        amount *= _ALFALFA
    if subject in ("dryness", "humidity", "saturation"):
        amount = band_words.unit_of_air(band.units)
    dtype = band.dtype or _dtype(band, low, high)
    if subject == "rain" and dtype not in _INTEGERS:
        high = max(high, (_MOST_RAIN if is_daily else _most_rain(interval)) * amount / band.scale)
    return BandPlan(
        band.name,
        dtype,
        low,
        high,
        subject,
        seed,
        band.scale,
        band.offset,
        is_celsius=_CELSIUS.search(band.units.lower()) is not None,
        wavelength=band.wavelength or 0.0,
        spacing=_spacing(band, low, high) if subject in _SPACED else "even",
        amount=amount,
        is_daily=is_daily or _DAILY_MEANS.match(dataset) is not None,
        is_fire=_FIRES.search(dataset) is not None,
        interval=interval,
        extreme=band_words.extreme_of_day(_words(band)),
    )


def _most_rain(interval: Interval | None) -> float:
    """Return millimetres that no image exceeds; records state the ranges that their pictures show."""
    number, unit, _ = interval or YEAR
    return _MOST_RAIN * {"day": number, "month": 12 * number, "year": 50 * number}.get(unit, 1)


def _rain_units(band: BandDescription) -> tuple[float, bool] | None:
    """Return what a millimetre of rain is in a band's units, and whether it is of a day; None for other bands."""
    words = _words(band)
    if _RAIN.search(words) is None or _PART_OF_RAIN.search(words) is not None:
        return None
    return _millimetres(band)


def _millimetres(band: BandDescription) -> tuple[float, bool] | None:
    """Return what a millimetre of water is in a band's units, and whether it is of a day; None in units of else."""
    units = band.units.lower()
    return next(((amount, daily) for pattern, amount, daily in _RAIN_UNITS if re.search(pattern, units)), None)


def _presence(band: BandDescription, code: int, name: str, seed: int) -> BandPlan:
    """Return a plan of one value where something is, such as forest; the pixels of other land are masked."""
    words = f"{name} {band.name} {band.description}".lower().replace("_", " ")
    kind = next((land for land, pattern in LAND_WORDS if re.search(pattern, words)), None)
    land = () if kind is None else tuple((code,) if other == kind else () for other in LAND_CLASSES)
    dtype = band.dtype or smallest_type(code, code)
    return BandPlan(band.name, dtype, code, code, "presence", seed, codes=(code,), land=land)


def _spacing(band: BandDescription, low: float, high: float) -> Spacing:
    """Return how values lie in a range.

    Ranges that records call estimated are extremes of all pixels: where they begin at zero, most values are far from
    the greatest; shares, which end at 1 or 100, are not. Most standard deviations are far from it, too, and amounts of
    rain, and most values from the limits of their type.
    """
    if low > 0.0 and high >= low * _DECADES and not (low.is_integer() and high.is_integer()):
        return "decades"
    if not -_LEAST * high <= low <= _LEAST * high:
        return "even"
    top = high * band.scale
    is_share = 0.9 <= top <= 1.0 or 90.0 <= top <= 100.0
    is_of_type = any(round(high * factor, 6) in _TYPE_LIMITS for factor in (1, 10, 100, 1_000, 10_000))
    words = _words(band)
    is_rare = band.is_estimated or _RARE.search(words) is not None
    is_low = is_of_type or _DEVIATION.search(words) is not None or (is_rare and not is_share)
    return "low" if is_low else "even"


def _flags(band: BandDescription) -> tuple[int, ...]:
    """Return values of bit fields: of a clear pixel the least of each field, of others the next one in one field.

    The values of one field alone, of which a picture shows several, are those shown: the others are of no data.
    """
    if len(band.bits) == 1 and band.minimum is not None and band.maximum is not None:
        shown = sorted({value for value in band.bits[0].values if band.minimum <= value <= band.maximum})
        if len(shown) > 1:
            return tuple(value << band.bits[0].first for value in shown)
    known = [(field.first, sorted({*field.values}) or [0, 1]) for field in band.bits if field.first < _BITS]
    clear = sum(values[0] << first for first, values in known)
    others = {clear + ((values[1] - values[0]) << first) for first, values in known if len(values) > 1}
    return (clear, *sorted(others))


def smallest_type(low: float, high: float) -> str:
    """Return the numpy name of the smallest integer type that holds two whole numbers."""
    for name in _INTEGERS:
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return name
    return "int64" if abs(low) < _EXACT and abs(high) < _EXACT else "float64"


def _dtype(band: BandDescription, low: float, high: float) -> str:
    """Return the type of continuous values: integers if they are scaled, else floating point."""
    is_whole = float(low).is_integer() and float(high).is_integer()
    if is_whole and (band.scale != 1.0 or (band.units.lower() in _WHOLE_UNITS and high - low >= _WIDE)):
        return smallest_type(low, high)
    return "float32" if max(abs(low), abs(high)) < 1e30 else "float64"


def usual_values(units: str) -> tuple[float, float] | None:
    """Return the least and greatest usual value in some units, if they have any."""
    return next((usual for pattern, usual in _USUAL if re.search(pattern, units.lower())), None)


def _range(band: BandDescription) -> tuple[float, float] | None:
    """Return the least and the greatest stored value: as stated, else as usual for the units; None without either."""
    if band.minimum is not None and band.maximum is not None and band.minimum <= band.maximum:
        return float(band.minimum), float(band.maximum)
    usual_range = _usual_range(band)
    if _is_reflectance(band):
        usual_range = 0.0, 0.7
    elif _names_height(band):
        usual_range = _HEIGHTS
    if usual_range is None:
        return None
    low, high = usual_range
    ends = sorted(((low - band.offset) / band.scale, (high - band.offset) / band.scale))
    if band.scale != 1.0:
        ends = [float(round(end)) for end in ends]
    if band.dtype is not None and band.dtype in _INTEGERS:
        limits = np.iinfo(band.dtype)
        ends = [float(min(max(end, limits.min), limits.max)) for end in ends]
    return (ends[0], ends[1]) if ends[0] < ends[1] else (0.0, 1.0)


def _usual_range(band: BandDescription) -> tuple[float, float] | None:
    """Return the least and greatest value that is usual for what a band's description names, or for its units."""
    description = band.description.lower()
    described = next((usual for pattern, usual in _DESCRIBED if re.search(pattern, description)), None)
    usual = described or usual_values(band.units)
    if usual is not None and usual is not described and usual[0] != 0.0 and _ERROR.search(_words(band)) is not None:
        return 0.0, (usual[1] - usual[0]) * _ERROR_SHARE
    return usual


def _words(band: BandDescription) -> str:
    return f"{band.name} {band.description}".lower().replace("_", " ")


def _subject(band: BandDescription, low: float, high: float) -> Subject:
    words, units = _words(band), band.units.lower()
    least, greatest = sorted((low * band.scale + band.offset, high * band.scale + band.offset))
    if (_KELVIN.search(units) and least <= 285.0 <= greatest) or (
        _CELSIUS.search(units) and _TEMPERATURE.search(words) and least <= 12.0 <= greatest
    ):
        return "temperature"
    if _names_height(band) and least <= 100.0 and greatest >= _HIGH:
        return "elevation"
    if _PROBABILITY.search(words) and low == 0.0 and greatest in (1.0, 100.0):
        return "probability"
    if _is_reflectance(band):
        # Digital numbers without a scale show what light they stand for, not how much.
        return "reflectance" if greatest <= _BRIGHTEST else "brightness"
    if least >= 0.0 and _rain_units(band) is not None:
        return "rain"
    if low >= 0.0 and _EVAPORATION.search(words) is not None and _millimetres(band) is not None:
        return "evaporation"
    if (of_air := band_words.air_subject(words, units, least, greatest)) is not None:
        return of_air
    if low >= 0.0 and _SNOW.search(words) is not None and _OF_SNOW.search(words) is None:
        return "snow"
    return next((subject for subject, pattern in _SUBJECTS if re.search(pattern, words)), "other")


def _names_height(band: BandDescription) -> bool:
    return band.units.lower() in _METRES and _ELEVATION.search(_words(band)) is not None


def _is_reflectance(band: BandDescription) -> bool:
    return band.wavelength is not None and 0.0 < band.wavelength < _THERMAL and not _KELVIN.search(band.units.lower())
