"""Small things drawn once: bark, stones, tussocks, shrubs and crowns of trees on periodic squares.

A texture repeats after 1,024 units, at every pitch on the same places, and is kept as bytes: what a byte holds cannot
differ between machines. It is stored with a margin, so that the part for a rectangle is a view and costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from eechips_local.demo.painting import drawing_cache, noise
from eechips_local.demo.painting.mercator import Floats, Rect

PERIOD = 1024
_MARGIN = 640
_BARE = 255.0
# The shadow of a tree is its crown moved away from the sun, drawn as three overlapping discs: how far they lie, in
# lengths of the shadow; which way; the square of their radius, in radii of the crown.
_SHADOW = (1.0, 0.66, 0.33)
_AWAY = (0.74, 0.67)
_ROUND = 0.8

Bytes = npt.NDArray[np.uint8]
Name = Literal["grain", "mottle", "rock", "pine", "pine_tone", "pine_shadow", "oak", "oak_tone", "oak_shadow", "bush"]


@dataclass(frozen=True)
class Crowns:
    """Crowns of trees seen from above, shape (1024, 1024).

    Attributes:
        rank: 0 to 254: the tree stands where the density of trees (times 255) is higher; 255 where no tree ever is.
        tone: brightness, 128 on average.
        shadow: rank of the tree whose shadow falls here.
    """

    rank: Bytes
    tone: Bytes
    shadow: Bytes


def load() -> None:
    """Load all textures for the finest cells. Otherwise each is drawn when it is first used."""
    for name in get_args(Name):
        _padded(name, 1)


def part(name: Name, rect: Rect) -> Bytes:
    """Return the part of a texture for a rectangle, shape (height, width); a view, not to be written to."""
    pitch = min(rect.pitch, PERIOD)
    square = _padded(name, pitch)
    period = PERIOD // pitch
    if rect.width > _MARGIN or rect.height > _MARGIN:
        rows = (np.arange(rect.row, rect.row + rect.height) % period)[:, None]
        return square[rows, np.arange(rect.column, rect.column + rect.width) % period]
    top, left = rect.row % period, rect.column % period
    return square[top : top + rect.height, left : left + rect.width]


@cache
def _padded(name: Name, pitch: int) -> Bytes:
    square = _square(name, pitch)
    reach = PERIOD // pitch + _MARGIN
    repeats = -(-reach // square.shape[0])
    result: Bytes = np.ascontiguousarray(np.tile(square, (repeats, repeats))[:reach, :reach])
    result.setflags(write=False)
    return result


@cache
def _square(name: Name, pitch: int) -> Bytes:
    if pitch > 1:
        finer = _square(name, pitch // 2).astype(np.uint16)
        total = finer[::2, ::2] + finer[1::2, ::2] + finer[::2, 1::2] + finer[1::2, 1::2]
        return ((total + 2) // 4).astype(np.uint8)
    return _finest()[name]


@cache
def _finest() -> drawing_cache.Arrays:
    """Return all textures for the finest cells."""
    return drawing_cache.kept("textures", lambda: {name: _drawn(name) for name in get_args(Name)})


def _drawn(name: Name) -> Bytes:
    if name == "grain":
        return _bytes(_fractal(((1, 0.55), (2, 0.8), (3, 0.8), (4, 0.6)), 301) * 95.0 + 128.0)
    if name == "mottle":
        return _bytes(_fractal(((4, 0.5), (5, 0.8), (6, 1.0), (7, 0.8)), 311) * 95.0 + 128.0)
    if name == "rock":
        folds = _fractal(((3, 1.0), (2, 0.5), (1, 0.4)), 321)
        blocks = np.abs(_fractal(((5, 1.0), (4, 0.7)), 331))
        return _bytes(115.0 + 110.0 * np.minimum(1.0, 2.2 * blocks) * 0.6 + folds * 75.0 - 20.0)
    if name == "bush":
        return _crowns(4, 0.9, 2.3, 0.0, 401).rank
    trees = _crowns(6, 2.5, 4.5, 1.4, 411) if name.startswith("pine") else _crowns(11, 4.2, 7.6, 1.0, 421)
    if name.endswith("shadow"):
        return trees.shadow
    return trees.tone if name.endswith("tone") else trees.rank


def _bytes(values: Floats) -> Bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _fractal(octaves: tuple[tuple[int, float], ...], seed: int) -> Floats:
    """Return periodic value noise of wavelengths 2**k, about ±1, shape (1024, 1024)."""
    total = np.zeros((PERIOD, PERIOD))
    for k, weight in octaves:
        count = PERIOD >> k
        index = np.arange(count)
        lattice = noise.random(index[None, :], index[:, None], seed + k) * 2.0 - 1.0
        # Places within a square of the lattice; they are the same in all of them.
        within = np.arange(0.5, 1 << k, dtype=np.float64) * 2.0**-k
        f = noise.fade(within)
        step = np.roll(lattice, -1, axis=1) - lattice
        across = (lattice[:, :, None] + step[:, :, None] * f).reshape(count, PERIOD)
        step = np.roll(across, -1, axis=0) - across
        part = step[:, None, :] * f[:, None]
        part += across[:, None, :]
        part *= weight
        total += part.reshape(PERIOD, PERIOD)
    return total


@dataclass(frozen=True, slots=True)
class _Trees:
    """Trees, the largest first: positions and radii in cells, ranks from 0 to 254, tints about 0."""

    x: Floats
    y: Floats
    radius: Floats
    rank: Floats
    tint: Floats

    @classmethod
    def plant(cls, spacing: int, least: float, most: float, seed: int) -> _Trees:
        """Return one tree in each square of a jittered lattice."""
        count = -(-PERIOD // spacing)
        j, i = (index.ravel() for index in np.indices((count, count)))
        pace = PERIOD / count
        x = (i + 0.15 + 0.7 * noise.random(i, j, seed)) * pace
        y = (j + 0.15 + 0.7 * noise.random(i, j, seed + 1)) * pace
        size = noise.random(i, j, seed + 2)
        radius = least + (most - least) * size * size
        rank = np.floor(noise.random(i, j, seed + 3) * 255.0)
        tint = (noise.random(i, j, seed + 4) - 0.5) * 44.0
        # The largest come first, so that those which reach a place are the first few.
        order = np.argsort(-radius, kind="stable")
        return cls(*(values[order] for values in (x, y, radius, rank, tint)))


@cache
def _crowns(spacing: int, least: float, most: float, tall: float, seed: int) -> Crowns:
    """Draw trees: nearer the sun bright, away from it dark, shadow beside it.

    ``tall`` is the length of the shadow in radii.
    """
    trees = _Trees.plant(spacing, least, most, seed)
    x, y, radius, rank, tint = trees.x, trees.y, trees.radius, trees.rank, trees.tint
    ranks = np.full((PERIOD, PERIOD), _BARE)
    tones = np.full((PERIOD, PERIOD), 128.0)
    shadows = np.full((PERIOD, PERIOD), _BARE)
    tops = np.zeros((PERIOD, PERIOD))
    reach = int(most * (1.0 + tall)) + 2
    px, py = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            n = int(np.searchsorted(-radius, -_too_small(dx, dy, tall, least, most)))
            if n == 0:
                continue
            at = ((py[:n] + dy) % PERIOD, (px[:n] + dx) % PERIOD)
            ex, ey = (px[:n] + dx + 0.5 - x[:n]) / radius[:n], (py[:n] + dy + 0.5 - y[:n]) / radius[:n]
            near = ex * ex + ey * ey
            if tall > 0.0:
                shade = np.zeros(n, dtype=bool)
                for step in _SHADOW:
                    sx, sy = ex + _AWAY[0] * tall * step, ey + _AWAY[1] * tall * step
                    shade |= sx * sx + sy * sy < _ROUND
                hit = (at[0][shade], at[1][shade])
                shadows[hit] = np.minimum(shadows[hit], rank[:n][shade])
            top = radius[:n] * (1.0 - near) + 0.01 * rank[:n] / 255.0
            over = (near < 1.0) & (top > tops[at])
            hit = (at[0][over], at[1][over])
            tops[hit] = top[over]
            ranks[hit] = rank[:n][over]
            lit = (0.62 * ex + 0.55 * ey) * 62.0 - near * 26.0 + 16.0
            tones[hit] = (128.0 + tint[:n] + lit)[over]
    return Crowns(_bytes(ranks), _bytes(tones), _bytes(shadows))


def _too_small(dx: int, dy: int, tall: float, least: float, most: float) -> float:
    """Return a radius between ``least`` and ``most`` (0: none is) with which a tree does not reach so many cells away.

    A crown and its shadow are star-shaped: what a tree reaches, a larger one does.
    """
    radii = np.linspace(least, most, 33)
    # Trees stand anywhere in their cell, at most half its diagonal from the middle.
    slack = 0.7072
    reached = radii > math.hypot(dx, dy) - slack
    for step in _SHADOW:
        away = np.hypot(dx + _AWAY[0] * tall * step * radii, dy + _AWAY[1] * tall * step * radii)
        reached |= radii * math.sqrt(_ROUND) > away - slack
    return float(radii[~reached].max(initial=0.0))
