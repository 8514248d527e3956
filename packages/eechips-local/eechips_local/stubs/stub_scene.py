"""Paint the bands of a stub: values that follow from the land of the demo planet, within the stated ranges; which
datasets are masked at sea.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.demo.land import farmland, natural_cover
from eechips_local.demo.land.terrain import Terrain, nodes
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.upsampling import Upsampler
from eechips_local.demo.satellites import vegetation
from eechips_local.demo.weather import climate, humidity, rainfall, sunlight, wildfires
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.stubs import band_words
from eechips_local.stubs.class_bands import LAND_CLASSES
from eechips_local.stubs.dataset_description import YEAR
from eechips_local.stubs.stub_bands import BandPlan

_MARGIN = 1.0 / 64.0
"""Share of a range at both ends that no value has, so that rounding leaves none outside."""

_STEPS = 65_536.0
"""Shares of a range are rounded to this part, so that machines agree."""

_SURE = 4.0
"""Times by which probabilities are steeper than noise: classifiers are sure of most pixels."""

_TEXTURE = 0.3
"""Share of the range by which the brightness of one kind of land differs."""
_FINE = (8, 7, 6, 5)
"""Octaves of that."""

# Octaves of noise that tell bands apart: wavelength of 2**k units, and strength.
_OCTAVES = ((20, 0.34), (17, 0.26), (14, 0.20), (11, 0.14), (9, 0.08))
_OF_EVENTS = ((20, 0.02), (17, 0.1), (14, 0.3), (11, 0.3), (9, 0.1))
"""Octaves of what happens in patches, such as loss of forest: whole regions do not lose theirs."""
_KELVIN = 273.15
_OF_LOGARITHM, _OF_WATER = (0.157, 0.727), 0.99
"""Vegetation indices for which emissivity is measured, and that of water."""
_DEEP = -500.0
"""Metres below which no land lies: the shore of the Dead Sea is at -440."""
_CLEAR = 0.8
"""Share of the pixels, roughly, that have no flag."""
_KEPT = 16
"""Arrays of cells that are kept for the next date of the same place, of half a megabyte each."""
_OF_LAND = re.compile(
    r"^ECMWF/ERA5_LAND/|^NASA/([FGN]LDAS|ORNL/DAYMET\w*|SMAP)/|^IDAHO_EPSCOR/|^GRIDMET/|^OREGONSTATE/PRISM/"
    r"|^(MODIS|NASA/VIIRS|NOAA/VIIRS)/\d+/(M[COY]D|VNP)(13|15|16|17)|^UCSB-CH[CG]/|^WORLDCLIM/"
    r"|^RUB/RUBCLIM/LCZ/"
)
"""Datasets of land, whose pixels are masked at sea.

Of ERA5-Land and NLDAS that is tested by https://github.com/Open-ET/openet-refet-gee (test_hourly.py) and
https://github.com/Open-ET/openet-core (test_a_utils.py), of local climate zones by
https://github.com/vergauwenthomas/MetObs_toolkit (test_gee.py); their records say of the others that they are of land.
"""

_NO_RANGE = (
    "The local Earth Engine knows no range of the band {!r} of {}, so its stub has no pixels of it. `eechips-local"
    " serve --demo-datasets FOLDER` takes ranges from Google's records of datasets."
)


@dataclass(frozen=True, slots=True)
class StubScene:
    """A scene of a stub on a date.

    Attributes:
        dataset: id.
        bands: all bands that one source holds: of one stored type, all smooth or none.
    """

    dataset: str
    bands: tuple[BandPlan, ...]
    when: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """See ``painted_source.PaintedScene``."""
        at = nodes(rect)
        land = _Land(at, self.when)
        plans = [self.bands[band] for band in bands]
        for plan in plans:
            if plan.subject == "unknown":
                raise InvalidError(_NO_RANGE.format(plan.name, self.dataset))
        if not all(plan.is_smooth for plan in plans):
            columns, rows = _holding(rect.column, rect.width, rect, at), _holding(rect.row, rect.height, rect, at)
            place = np.ix_(rows - at.row, columns - at.column)
            present = [land.is_present(plan)[place] for plan in plans] if _has_presence(plans) else None
            codes = np.stack([land.codes(plan)[place] for plan in plans])
            return codes, self._shown(rect, land, codes.shape, None if present is None else np.stack(present))
        up = Upsampler(rect, at)
        shares = np.stack([up(land.shares(plan)) for plan in plans])
        return shares, self._shown(rect, land, shares.shape, None)

    def _shown(
        self, rect: Rect, land: _Land, shape: tuple[int, ...], present: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.bool_] | None:
        """Return which values are not masked; None for all.

        Args:
            rect: cells of the values.
            land: the land on their nodes.
            shape: shape of the values.
            present: which of them are there at all; None for all.
        """
        plan = self.bands[0]
        if plan.is_fire:
            present = np.broadcast_to(wildfires.burning(rect, self.when, (plan.interval or YEAR).days), shape)
        if _OF_LAND.search(self.dataset) is None:
            return present
        inland = np.broadcast_to(Upsampler(rect, nodes(rect))(land.coast) > 0.0, shape)
        return inland if present is None else inland & present

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[Any]:
        """See ``painted_source.PaintedScene``: stored values of shares of the range, or codes as they are."""
        plans = [self.bands[band] for band in bands]
        if not all(plan.is_smooth for plan in plans):
            return values
        # Many days have no rain, and many places no snow.
        least = np.array([0.0 if plan.subject in ("rain", "snow") else _MARGIN for plan in plans])[:, None, None]
        shares = np.rint(np.clip(values, least, 1.0 - _MARGIN).astype(np.float64) * _STEPS) * (1.0 / _STEPS)
        low = np.array([plan.low for plan in plans])[:, None, None]
        high = np.array([plan.high for plan in plans])[:, None, None]
        for n, plan in enumerate(plans):
            if plan.spacing == "low":
                shares[n] = shares[n] * shares[n] * shares[n]
        stored: Floats = low * (1.0 - shares) + high * shares
        for n, plan in enumerate(plans):
            if plan.spacing == "decades":
                stored[n] = _in_decades(shares[n], plan.low, plan.high)
        return np.rint(stored) if np.dtype(plans[0].dtype).kind in "iu" else stored


def _has_presence(plans: Sequence[BandPlan]) -> bool:
    return any(plan.subject == "presence" for plan in plans)


def _in_decades(shares: Floats, low: float, high: float) -> Floats:
    """Return values from ``low`` to ``high``, as many in each octave: exact on all machines, as no logarithm is."""
    octaves = shares * round(math.log2(high / low), 6)
    whole = np.floor(octaves)
    result: Floats = np.minimum(np.ldexp(low * (1.0 + octaves - whole), whole.astype(np.int32)), high)
    return result


def _holding(first: int, count: int, rect: Rect, at: Rect) -> npt.NDArray[np.int64]:
    """Return the numbers of the nodes, which are larger cells, that hold consecutive cells."""
    return np.arange(first, first + count) * rect.pitch // at.pitch


class _Land:
    """The land on the nodes of a rectangle on a date; each of its aspects is computed on first use.

    Args:
        rect: rectangle of pitch 16 or more.
    """

    def __init__(self, rect: Rect, when: date) -> None:
        self._rect = rect
        self._when = when

    def shares(self, plan: BandPlan) -> Floats:
        """Return how far values lie from the least to the greatest one: 0 to 1."""
        physical = self._physical.get(plan.subject)
        if physical is None:
            return self._share_of[plan.subject](plan)
        stored = (physical(plan) - plan.offset) * (1.0 / plan.scale)
        shares = np.clip((stored - plan.low) / max(plan.high - plan.low, 1e-300), 0.0, 1.0)
        return np.cbrt(shares) if plan.spacing == "low" else shares

    def codes(self, plan: BandPlan) -> Floats:
        """Return codes of classes or flags."""
        codes = np.array(plan.codes, dtype=np.float64)
        even = _spread(_patches(self._rect, plan.seed)) if plan.subject == "events" else self._even(plan.seed)
        fires = band_words.fire_codes(plan.name, plan.codes)
        if fires is not None:
            return self._fires(plan, fires, even)
        if plan.subject in ("flags", "events"):
            lifted = np.clip((even - _CLEAR) / (1.0 - _CLEAR), 0.0, 1.0)
            return codes[np.where(even < _CLEAR, 0, 1 + _index(lifted, len(codes) - 1))]
        if not plan.land or plan.subject == "presence":
            return codes[_index(even, len(codes))]
        result = np.zeros(even.shape)
        for number, values in enumerate(plan.land):
            choices = np.array(values, dtype=np.float64)[_index(even, len(values))]
            result = np.where(self._kind == number, choices, result)
        return result

    def _fires(self, plan: BandPlan, codes: tuple[int, int, int, tuple[int, ...]], even: Floats) -> Floats:
        """Return a mask of fires: of those that burned areas show, by how sure they are."""
        land, water, cloud, fires = codes
        burning = wildfires.burning(self._rect, self._when, (plan.interval or YEAR).days)
        sure = np.array(fires, dtype=np.float64)[_index(even, len(fires))]
        ground = np.where(even < _CLEAR, np.where(self.coast > 0.0, land, water), cloud)
        return np.where(burning, sure, ground)

    def is_present(self, plan: BandPlan) -> npt.NDArray[np.bool_]:
        """Return where a band of presence has its value, and all of other bands."""
        if plan.subject != "presence":
            return np.ones(self._kind.shape, dtype=bool)
        if not plan.land:
            present: npt.NDArray[np.bool_] = self._even(plan.seed) > 0.5
            return present
        return np.isin(self._kind, [number for number, values in enumerate(plan.land) if values])

    @property
    def _physical(self) -> Mapping[str, Callable[[BandPlan], Floats]]:
        return {
            "temperature": self._temperature,
            "elevation": self._elevation,
            "reflectance": self._reflectance,
            "rain": self._rain,
            "sunlight": self._sunlight,
            "evaporation": self._evaporation,
            "dryness": self._dryness,
            "humidity": self._humidity,
            "saturation": self._saturation,
            "emissivity": self._emissivity,
        }

    @property
    def _share_of(self) -> Mapping[str, Callable[[BandPlan], Floats]]:
        return {
            "vegetation": lambda plan: np.clip(0.85 * self._green + 0.15 * self._even(plan.seed), 0.0, 1.0),
            "snow": lambda plan: self._freezing * (0.9 + 0.1 * self._even(plan.seed)),
            "water": lambda plan: np.clip(0.8 * self._wet + 0.2 * self._even(plan.seed), 0.0, 1.0),
            "settlement": lambda plan: np.clip(0.9 * self._settled + 0.1 * self._even(plan.seed), 0.0, 1.0),
            # Most land reflects less than a half; what is seen from near is not all alike.
            "brightness": lambda plan: np.clip(2.0 * self._reflectance(plan) + _TEXTURE * self._texture, 0.0, 1.0),
            "probability": lambda plan: np.clip(0.5 + _SURE * (self._even(plan.seed) - 0.5), 0.0, 1.0),
            "other": lambda plan: np.clip(0.7 * self._even(plan.seed) + 0.3 * self._high, 0.0, 1.0),
        }

    def _temperature(self, plan: BandPlan) -> Floats:
        kelvin = self._kelvin + (self._even(plan.seed) - 0.5) * 4.0 + 0.5 * plan.extreme * self._span
        return kelvin - _KELVIN if plan.is_celsius else kelvin

    @property
    def _span(self) -> Floats:
        """Kelvin between the coldest and the warmest hour of a day; about none at sea."""
        return np.where(self.coast > 0.0, sunlight.daily_range(self._wet), 1.0)

    @cached_property
    def _kelvin(self) -> Floats:
        """Mean temperature of the day, of which each band has its own."""
        usual = climate.mean_temperature(self._relief, climate.day_of_year(self._when))
        return usual + 3.0 * self._weather

    def _dryness(self, plan: BandPlan) -> Floats:
        return humidity.deficit(self._kelvin - _KELVIN, self._span, self._wet, plan.extreme) * plan.amount

    def _humidity(self, plan: BandPlan) -> Floats:
        vapour = humidity.vapour_pressure(self._kelvin - _KELVIN, self._span, self._wet)
        return humidity.specific_humidity(vapour, np.maximum(self._relief.height, 0.0)) * plan.amount

    def _saturation(self, plan: BandPlan) -> Floats:
        return 100.0 * humidity.relative_humidity(self._kelvin - _KELVIN, self._span, self._wet, plan.extreme)

    def _emissivity(self, plan: BandPlan) -> Floats:
        """Return emissivity by vegetation: Van de Griend and Owe (1993), doi:10.1080/01431169308904400."""
        of_land = 1.0094 + 0.047 * np.log(np.clip(self._index, *_OF_LOGARITHM))
        return np.where((self.coast > 0.0) & (self._index > 0.0), of_land, _OF_WATER)

    def _rain(self, plan: BandPlan) -> Floats:
        """Return the rain of the days of an image: of all of them, or of one on average."""
        after = self._end(plan)
        amount = rainfall.total(self._rect, self._when, after) * plan.amount
        return amount * (1.0 / (after - self._when).days) if plan.is_daily else amount

    def _end(self, plan: BandPlan) -> date:
        """Return the first day after an image."""
        number, unit, _ = plan.interval or YEAR
        if unit not in ("month", "year"):
            return self._when + timedelta(days=number if unit == "day" else 1)
        months = self._when.year * 12 + self._when.month - 1 + number * (12 if unit == "year" else 1)
        return date(months // 12, months % 12 + 1, 1)

    def _sunlight(self, plan: BandPlan) -> Floats:
        """Return watts a square metre, of a day in the middle of an image's; they differ a little with the band."""
        day = climate.day_of_year(self._when + (self._end(plan) - self._when) / 2)
        return sunlight.on_ground(climate.latitude(self._rect), day, self._wet) * (0.95 + 0.1 * self._even(plan.seed))

    def _evaporation(self, plan: BandPlan) -> Floats:
        """Return the water that sunlight and warmth evaporate on the days of an image, or on one of them."""
        after = self._end(plan)
        day = climate.day_of_year(self._when + (after - self._when) / 2)
        usual = climate.mean_temperature(self._relief, day)
        amount = sunlight.reference_evaporation(self._sunlight(plan), usual + 2.0 * self._weather) * plan.amount
        return amount if plan.is_daily else amount * (after - self._when).days

    def _elevation(self, plan: BandPlan) -> Floats:
        """Return heights; where the range has deep sea, also those of its floor."""
        height = self._relief.height
        return height if plan.low * plan.scale + plan.offset < _DEEP else np.maximum(height, 0.0)

    def _reflectance(self, plan: BandPlan) -> Floats:
        """Return reflectances as plants and soil have them, so that their indices follow the vegetation."""
        index = np.clip(self._index, -0.2, 0.92)
        red = 0.025 + 0.24 * (1.0 - index) * (1.0 - index)
        size = plan.wavelength
        if size < 0.5:
            return red * 0.55
        if size < 0.6:
            return red * 0.8 + 0.01
        if size < 0.69:
            return red
        if size < 1.3:
            return red * (1.0 + index) / (1.0 - index)
        return (0.36 - 0.22 * index) if size < 1.9 else (0.28 - 0.22 * index)

    @cached_property
    def _relief(self) -> Terrain:
        return climate.relief(self._rect)

    @property
    def coast(self) -> Floats:
        """How far inland, in units; negative at sea."""
        coast: Floats = self._relief.character("coast")
        return coast

    @cached_property
    def _texture(self) -> Floats:
        """Differences within a field or a wood, about -0.6 to 0.6; none where they are smaller than the cells."""
        waves, strengths = _shown_waves(self._rect, [(k, k, 1.0) for k in _FINE])
        texture: Floats = (waves * np.array(strengths)[:, None, None]).sum(axis=0) / len(_FINE)
        return texture

    @cached_property
    def _index(self) -> Floats:
        """Vegetation index, -0.2 to 0.92."""
        painted, _ = vegetation.Indices(self._when).paint(self._rect, (0,))
        result: Floats = painted[0] * 1e-4
        return result

    @cached_property
    def _green(self) -> Floats:
        return np.clip((self._index + 0.1) * (1.0 / 1.0), 0.0, 1.0)

    @cached_property
    def _wet(self) -> Floats:
        return rainfall.soil_moisture(self._rect, self._when)

    @cached_property
    def _freezing(self) -> Floats:
        """Share of the ground under snow, as of ERA5-Land."""
        usual = climate.mean_temperature(self._relief, climate.day_of_year(self._when))
        return climate.frozen(usual + 2.0 * self._weather)

    @cached_property
    def _settled(self) -> Floats:
        return _settlement(self._rect)

    @cached_property
    def _weather(self) -> Floats:
        return climate.weather(self._rect, self._when)

    @cached_property
    def _high(self) -> Floats:
        height = np.maximum(self._relief.height, 0.0)
        return height / (height + 900.0)

    @cached_property
    def _kind(self) -> npt.NDArray[np.int64]:
        """Index in ``LAND_CLASSES``."""
        land = self._relief
        lines = climate.snow_lines(climate.latitude(self._rect), self._when)
        conditions = {
            "water": (land.lake > 0.0) | (land.character("coast") <= 0.0),
            "snow": natural_cover.snow_share(land, lines) > 0.7,
            "built": farmland.settlement(self._rect) > 0.25,
            "tree": natural_cover.tree_density(land) > 0.4,
            "crop": (land.character("crop") > 0.35) & (land.slope < 0.12),
            "shrub": land.character("shrub") > 0.3,
            "bare": land.character("green") < 0.2,
        }
        numbers = [LAND_CLASSES.index(name) for name in conditions]
        return np.select(list(conditions.values()), numbers, default=LAND_CLASSES.index("grass"))

    def _even(self, seed: int) -> Floats:
        """Return noise of a band, 0 to 1, spread about evenly; a part of it is new every day."""
        return _spread(_lasting_waves(self._rect, seed) + 0.05 * self._weather)


def _spread(total: Floats) -> Floats:
    """Return sums of waves, which are rarely far from zero, spread about evenly from 0 to 1."""
    return 0.5 + 0.5 * total / (np.abs(total) + 0.12)


@lru_cache(maxsize=_KEPT)
def _settlement(rect: Rect) -> Floats:
    return np.clip(farmland.settlement(rect) * 1.5, 0.0, 1.0)


@lru_cache(maxsize=_KEPT)
def _lasting_waves(rect: Rect, seed: int) -> Floats:
    """Return noise of a band that is the same on all dates, about -1 to 1."""
    waves, strengths = _shown_waves(rect, [(k, seed + k, strength) for k, strength in _OCTAVES])
    total = np.zeros(waves.shape[1:])
    for wave, strength in zip(waves, strengths, strict=True):
        total = total + wave * strength
    return total


@lru_cache(maxsize=_KEPT)
def _patches(rect: Rect, seed: int) -> Floats:
    """Return noise of a band of events, as strong at every pitch, about -1 to 1."""
    waves, strengths = _shown_waves(rect, [(k, seed + k, strength) for k, strength in _OF_EVENTS])
    total = np.zeros(waves.shape[1:])
    for wave, strength in zip(waves, strengths, strict=True):
        total = total + wave * (strength / sum(strengths))
    return total


def _shown_waves(rect: Rect, octaves: Sequence[tuple[int, int, float]]) -> tuple[Floats, list[float]]:
    """Return noise of those octaves that show at a pitch, and their strengths: others are too fine to be computed.

    Args:
        octaves: k, seed and strength of each.
    """
    faded = [(k, seed, strength * noise.fading(k, rect.pitch)) for k, seed, strength in octaves]
    shown = [octave for octave in faded if octave[2] > 0.0]
    waves = noise.gradient(rect.x[None, :], rect.y[:, None], [(k, seed) for k, seed, _ in shown])
    return waves, [strength for _, _, strength in shown]


def _index(share: Floats, count: int) -> npt.NDArray[np.int64]:
    """Return which of equal parts of 0 to 1 a number is in."""
    return np.clip((share * count).astype(np.int64), 0, count - 1)
