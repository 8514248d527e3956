"""Relief and water: heights, slopes, and how far the streams are.

Streams follow the zero lines of smooth noise, and heights grow with the absolute value of the same noise, so every
stream lies at the bottom of a valley. Each order of streams bends the relief only as far as the larger streams near by
allow: that keeps the floors of the larger valleys flat, and makes side valleys fall towards them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps

import numpy as np

from eechips_local.demo import land_character
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import Floats, Rect

FINEST = 16
"""Units between the nodes on which relief is evaluated, at the least."""

# Streams meander: (k, units).
_MEANDER = ((13, 1500.0), (11, 420.0), (9, 75.0))
# Orders of relief: k, share of the relief, breadth of valley floors.
_ORDERS = (
    (16, 1.05, 0.022),
    (14, 0.85, 0.03),
    (12, 0.42, 0.035),
    (10, 0.115, 0.05),
    (9, 0.048, 0.06),
    (8, 0.022, 0.08),
)
_ROUGH = ((7, 0.016), (6, 0.007))
_MEAN = 0.26
"""Mean of the absolute value of the noise: what an octave too fine to see contributes."""
_STREAMS = 4
_LAKES = 13
_PATCHES = (12, 10, 8)

SUN = (0.55, 0.50, 0.67)
"""Direction to the sun when photographs are taken: east, south, up. Late morning, as survey flights prefer."""


@dataclass(frozen=True)
class Terrain:
    """Relief on the cells of a rectangle (all arrays of shape (height, width), float64).

    Attributes:
        rect: where.
        characters: shape (characters, height, width), in the order of ``land_character.CHARACTERS``.
        height: metres above the sea; below zero at sea.
        east: slope towards the east, metres per metre.
        south: slope towards the south.
        streams: signed distance to the nearest stream of each order in units, the largest first; shape (4, …).
        rise: height above the valley of the largest streams, 0 to about 1.
        lake: above zero in lakes.
        patches: noise of 4,096, 1,024 and 256 units for whatever grows in patches; shape (3, …).
    """

    rect: Rect
    characters: Floats
    height: Floats
    east: Floats
    south: Floats
    streams: Floats
    rise: Floats
    lake: Floats
    patches: Floats

    def character(self, name: str) -> Floats:
        """Return one of ``land_character.CHARACTERS``."""
        result: Floats = self.characters[land_character.CHARACTERS.index(name)]
        return result

    @cached_property
    def is_sea(self) -> bool:
        """Whether no cell is land: of datasets of the land there is nothing, on any date."""
        return not (self.character("coast") > 0.0).any()

    @cached_property
    def slope(self) -> Floats:
        """Metres per metre in the direction of steepest ascent."""
        return np.sqrt(self.east * self.east + self.south * self.south)

    @cached_property
    def light(self) -> Floats:
        """Brightness of the ground under the sun, 1 where it is level."""
        steep = np.sqrt(1.0 + self.east * self.east + self.south * self.south)
        lit = (SUN[2] - self.east * SUN[0] - self.south * SUN[1]) / (steep * SUN[2])
        return np.clip(0.25 + 0.75 * lit, 0.22, 1.5)


def kept_with_relief(compute: Callable[[Terrain], Floats]) -> Callable[[Terrain], Floats]:
    """Keep what follows from a relief alone with it: the next date of the place asks for the same."""

    @wraps(compute)
    def kept(land: Terrain) -> Floats:
        known = land.__dict__
        if compute.__name__ not in known:
            result = compute(land)
            result.setflags(write=False)
            known[compute.__name__] = result
        value: Floats = known[compute.__name__]
        return value

    return kept


def nodes(rect: Rect, finest: int = FINEST) -> Rect:
    """Return the nodes, at least ``finest`` units apart, between which a rectangle of pixels lies."""
    if rect.pitch >= finest:
        return rect
    ratio = finest // rect.pitch
    # Nodes are the centres of larger cells: one more is needed on every side of the outermost pixel centres.
    west, north = (rect.column - ratio // 2) // ratio, (rect.row - ratio // 2) // ratio
    east = (rect.column + rect.width - 1 + ratio // 2) // ratio
    south = (rect.row + rect.height - 1 + ratio // 2) // ratio
    return Rect(finest, west, north, east - west + 1, south - north + 1)


def terrain(rect: Rect) -> Terrain:
    """Return the relief on the cells of a rectangle whose pitch is ``FINEST`` or more.

    Details shorter than a cell are left out, their mean kept.
    """
    wide = rect.grown(1)
    pitch = float(rect.pitch)
    characters = land_character.characters(wide)
    named = dict(zip(land_character.CHARACTERS, characters, strict=True))
    x, y = wide.x[None, :], wide.y[:, None]
    px, py = _meander(x, y, pitch)
    octaves = [(k, 11 + n) for n, (k, _, _) in enumerate(_ORDERS)] + [(k, 31) for k, _ in _ROUGH] + [(_LAKES, 41)]
    octaves += [(k, 51 + n) for n, k in enumerate(_PATCHES)]
    waves = noise.gradient(px, py, octaves)
    rise, above, damp = _relief(waves, pitch)
    for wave, (k, share) in zip(waves[len(_ORDERS) :], _ROUGH, strict=False):
        above = above + wave * (share * noise.fading(k, pitch)) * damp
    ridge = named["ridge"]
    basin = waves[len(_ORDERS) + len(_ROUGH)]
    crest = np.maximum(0.0, 1.0 - 3.0 * np.abs(basin))
    above = above + crest * damp * ridge * (0.20 * noise.fading(_LAKES, pitch))
    # Summits level out: none is twice as high as the hills around it.
    above = above * 1.8 / (1.0 + 1.35 * np.maximum(above, 0.0))
    lake = (basin - 0.74 + 0.22 * named["wet"]) - 1.2 * rise * rise
    # Lakes lie at the level of the valleys, and the land falls towards them.
    above = above * (1.0 - noise.smoothstep(-0.22, 0.0, lake))
    local = named["relief"] * above
    local = local + (_steps(local, 85.0) - local) * named["mesa"]
    inland = np.clip(named["coast"] * (1.0 / 60_000.0), -1.0, 1.0)
    height = np.where(inland > 0.0, (named["base"] + local) * noise.smoothstep(0.0, 1.0, inland) + 1.0, 4000.0 * inland)
    metres = 2.0 * pitch * mercator.EQUATOR_UNIT * mercator.cosine_of(rect.y)[:, None]
    inner = (slice(1, -1), slice(1, -1))
    shown = np.array([noise.fading(k, pitch) for k in _PATCHES]).reshape(-1, 1, 1)
    return Terrain(
        rect=rect,
        characters=characters[:, 1:-1, 1:-1],
        height=height[inner],
        east=(height[1:-1, 2:] - height[1:-1, :-2]) / metres,
        south=(height[2:, 1:-1] - height[:-2, 1:-1]) / metres,
        streams=_distance(waves[:_STREAMS], pitch),
        rise=rise[inner],
        lake=lake[inner],
        patches=waves[-len(_PATCHES) :, 1:-1, 1:-1] * shown,
    )


def _meander(x: Floats, y: Floats, pitch: float) -> tuple[Floats, Floats]:
    octaves = [(k, 21 + 2 * n + axis) for axis in (0, 1) for n, (k, _) in enumerate(_MEANDER)]
    waves = noise.gradient(x, y, octaves)
    dx = dy = np.float64(0.0)
    for n, (k, amplitude) in enumerate(_MEANDER):
        shown = amplitude * noise.fading(k, pitch)
        dx = dx + waves[n] * shown
        dy = dy + waves[n + len(_MEANDER)] * shown
    return x + dx, y + dy


def _relief(waves: Floats, pitch: float) -> tuple[Floats, Floats, Floats]:
    """Return the height above the largest valleys in shares of the relief: of the first order, of all; what damps the
    finest.
    """
    damp = np.ones(waves.shape[1:])
    above = np.zeros(waves.shape[1:])
    rise = above
    for n, (wave, (k, share, floor)) in enumerate(zip(waves, _ORDERS, strict=False)):
        shown = noise.fading(k, pitch)
        rises = np.sqrt(wave * wave + floor * floor) - floor
        rises = rises * shown + _MEAN * (1.0 - shown)
        above = above + rises * share * damp
        damp = damp * np.minimum(1.0, 0.22 + 3.6 * rises)
        if n == 0:
            rise = rises
    return rise, above, damp


def _steps(height: Floats, step: float) -> Floats:
    """Return slopes turned into benches and cliffs."""
    t = height * (1.0 / step)
    whole = np.floor(t)
    part = t - whole
    steep = np.clip((part - 0.58) * (1.0 / 0.30), 0.0, 1.0)
    return (whole + 0.22 * part + 0.78 * steep * steep * (3.0 - 2.0 * steep)) * step


def _distance(waves: Floats, pitch: float) -> Floats:
    """Return signed distance to the zero lines of waves known with a margin of one cell, in units."""
    middle = waves[:, 1:-1, 1:-1]
    dx = (waves[:, 1:-1, 2:] - waves[:, 1:-1, :-2]) * (0.5 / pitch)
    dy = (waves[:, 2:, 1:-1] - waves[:, :-2, 1:-1]) * (0.5 / pitch)
    steep: Floats = np.sqrt(dx * dx + dy * dy)
    least = np.array([0.12 / (1 << k) for k, _, _ in _ORDERS[:_STREAMS]]).reshape(-1, 1, 1)
    result: Floats = middle / (steep + least)
    return result
