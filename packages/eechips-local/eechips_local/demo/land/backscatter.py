"""Radar backscatter in C band of the things that land is made of, and of the ground in a rectangle.

Coefficients are rounded values of sigma nought for an angle of incidence of 38 degrees, in the range of published
Sentinel-1 statistics by land cover (for crops: https://doi.org/10.1016/j.rse.2017.07.015); nothing is copied. Clouds
and the sun play no part. Crops grow as the optical sensors see them grow, so a field's backscatter rises and falls with
its vegetation index; but radar sees stems and ears rather than green, so some crops are days ahead or behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

from eechips_local.demo.land import crop_calendar, natural_cover
from eechips_local.demo.land.farmland import Field32
from eechips_local.demo.land.ground_layers import Ground, GroundLayer
from eechips_local.demo.land.terrain import nodes
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.upsampling import Upsampler
from eechips_local.demo.weather import climate, rainfall

_F = np.float32
_MIDDLE = 38.0
_MOISTURE_PITCH = 1024


def _power(vv: float, vh: float) -> tuple[float, float]:
    """Return powers of decibels."""
    return 10.0 ** (vv / 10.0), 10.0 ** (vh / 10.0)


_SOIL, _DRY_GRASS, _LIVE_GRASS = _power(-12.5, -21.0), _power(-12.8, -20.5), _power(-10.8, -17.3)
_LEAFLESS = _power(-9.6, -15.6)

SIGMA: Final = {
    "shrub": _power(-11.0, -17.0),
    "stubble": _power(-13.0, -21.8),
    "conifer": _power(-9.2, -14.4),
    "broadleaf": _power(-8.4, -13.6),
    "rock": _power(-10.2, -18.5),
    "sand": _power(-16.0, -24.0),
    "water": _power(-21.0, -28.0),
    "snow": _power(-13.0, -20.5),
    "asphalt": _power(-16.5, -24.0),
    "gravel": _power(-13.5, -21.5),
    "roof": _power(-2.0, -10.0),
}
"""Powers in VV and VH by names of ``spectra.REFLECTANCE``."""

CROPS: Final = {
    crop_calendar.CORN: _power(-9.2, -13.8),
    crop_calendar.COTTON: _power(-9.4, -15.0),
    crop_calendar.SORGHUM: _power(-9.6, -14.4),
    crop_calendar.SOYBEANS: _power(-8.8, -14.9),
    crop_calendar.WINTER_WHEAT: _power(-13.8, -16.6),
    crop_calendar.ALFALFA: _power(-10.2, -15.8),
    crop_calendar.HAY: _power(-11.0, -16.8),
    crop_calendar.FALLOW: _power(-11.8, -18.5),
}
"""Powers in VV and VH of fully grown crops."""

DELAYS: Final = {
    crop_calendar.CORN: 8,
    crop_calendar.COTTON: 10,
    crop_calendar.SORGHUM: 8,
    crop_calendar.SOYBEANS: 10,
    crop_calendar.WINTER_WHEAT: -5,
}
"""Days by which the structure of crops follows their greenness; of others it keeps pace."""

# Bare soil and stubble after heavy rain scatter that many times more.
_WET = 1.1
_HOUSES = _power(-7.5, -15.5)
_WET_SNOW = _power(-18.5, -25.5)
_FLOOR = _power(-30.0, -34.0)


@dataclass(frozen=True, slots=True)
class Look:
    """How the radar looks at the ground.

    Attributes:
        east: eastward part of the direction in which it looks, a unit vector.
        south: southward part.
        angle: angle of incidence in the cells, degrees.
    """

    east: float
    south: float
    angle: Field32


def backscatter(ground: Ground, when: date, north: float, look: Look) -> npt.NDArray[np.float32]:
    """Return the power scattered back in VV and VH, shape (2, height, width).

    Args:
        ground: without clouds.
        when: date, for the weather.
        north: latitude of the middle of the scene, for the season.
        look: look direction of the radar.
    """
    vigour = climate.season_of_growth(north, when)
    rect, land = ground.rect, ground.terrain
    up = Upsampler(rect, land.rect)
    cover, green = up(natural_cover.grass_cover(land)), ground.open_green * _F(vigour)
    wet = _F(1.0) + _F(_WET) * _moisture(ground, when)
    away = look.angle - _F(_MIDDLE)
    crop = _crop(ground, when, wet) if "crop" in ground.layers else None
    facing = _slope_factor(ground, up, look)
    facing *= np.clip(_F(1.0) - _F(0.027) * away, _F(0.5), _F(1.6))
    result = np.empty((2, rect.height, rect.width), dtype=np.float32)
    for n in range(2):
        bare = _F(_SOIL[n]) * wet
        dry = _F(_DRY_GRASS[n]) * (_F(0.5) + _F(0.5) * wet)
        value = bare + (dry + _F(_LIVE_GRASS[n] - _DRY_GRASS[n]) * green - bare) * cover
        for name, layer in ground.layers.items():
            over = crop[n] if name == "crop" and crop is not None else _scattered(name, layer, n, vigour, when)
            value += (over - value) * _share(name, layer)
        if ground.houses is not None:
            value += (_F(_HOUSES[n]) - value) * (ground.houses * _F(0.7))
        result[n] = value * facing + _F(_FLOOR[n])
    return result


def _share(name: str, layer: GroundLayer) -> Field32:
    # Crowns hide the gaps between them from a radar that looks aside.
    if name in ("conifer", "broadleaf"):
        hidden: Field32 = np.minimum(layer.share * _F(1.35), _F(1.0))
        return hidden
    return layer.share


def _scattered(name: str, layer: GroundLayer, band: int, vigour: float, when: date) -> np.float32:
    power = SIGMA[layer.first][band]
    if name == "broadleaf":
        power = _LEAFLESS[band] + (power - _LEAFLESS[band]) * min(1.0, max(0.0, 2.2 * vigour - 0.2))
    elif name == "snow":
        # It melts when plants wake.
        power += (_WET_SNOW[band] - power) * min(1.0, max(0.0, 3.0 * vigour - 0.6))
    elif name == "water":
        # Wind makes water rough; it changes every day.
        power *= 0.6 + 2.2 * float(noise.random(when.toordinal(), 0, 1021)[0])
    return _F(power)


def _crop(ground: Ground, when: date, wet: Field32) -> npt.NDArray[np.float32]:
    """Return powers of fields, shape (2, height, width): stubble or soil through which the crop grows."""
    rect, layer, blocks = ground.rect, ground.layers["crop"], ground.blocks
    result = np.empty((2, rect.height, rect.width), dtype=np.float32)
    if blocks is None:
        grown = layer.mix if layer.mix is not None else np.zeros((1, 1), dtype=np.float32)
        full = [np.full((1, 1), value, dtype=np.float32) for value in CROPS[crop_calendar.CORN]]
        rough = np.ones((1, 1), dtype=np.float32)
    else:
        stand = crop_calendar.standing(blocks, when, DELAYS)
        powers = np.zeros((2, 256))
        for code, pair in CROPS.items():
            powers[:, code] = pair
        full = [blocks.spread(power[stand.codes]) for power in powers]
        grown = blocks.spread(stand.green)
        # Some fields are ploughed, others harrowed.
        rough = blocks.spread(0.75 + 0.5 * noise.random(blocks.field, when.year, 561))
    for n in range(2):
        stubble = _F(SIGMA[layer.first][n]) * wet * rough
        result[n] = stubble + (full[n] - stubble) * grown
    return result


def _moisture(ground: Ground, when: date) -> Field32:
    at = nodes(ground.rect, _MOISTURE_PITCH)
    return Upsampler(ground.rect, at)(rainfall.soil_moisture(at, when))


def _slope_factor(ground: Ground, up: Upsampler, look: Look) -> Field32:
    """Return how much brighter slopes are that face the radar; water is level."""
    land = ground.terrain
    rise = up(land.east * look.east + land.south * look.south)
    factor: Field32 = np.clip(_F(1.0) + _F(1.8) * rise, _F(0.3), _F(3.5))
    if "water" in ground.layers:
        factor += (_F(1.0) - factor) * ground.layers["water"].share
    return factor
