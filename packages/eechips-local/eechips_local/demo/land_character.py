"""Place ecoregions on the planet, with the character of their land, the coast, and the mean temperature of a year.

A place belongs to the ecoregion of the site nearest to it, after the plane has been bent by noise. The bending makes
borders that look grown; it is smooth and invertible, so that ``ecoregions`` can draw the same borders as polygons. The
renderer never asks which polygon a pixel is in: it blends the characters of the nearest sites.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from eechips_local.demo.borders import atlas
from eechips_local.demo.painting import drawing_cache, mercator, noise
from eechips_local.demo.painting.mercator import SIZE, Floats, Rect
from eechips_local.demo.weather import rain_limits

# Octaves that bend the plane: (k, amplitude in units). Their slopes add up to less than one, so bending can be undone.
_BEND = ((18, 42_000.0), (16, 11_000.0), (14, 2_600.0))
_BLEND = 42_000.0
"""Units over which the characters of neighbouring ecoregions mix."""
_PLACES = 4096

COAST_OCTAVES = ((15, 2_000.0), (14, 1_500.0))
_COAST_BITS = 14
_COAST_LIMIT = 5.0e5
_COAST_UNITS = 16
"""Units in a step of the distance to the coast."""
_COAST_SHIFT = 1_500.0
"""Units by which land is wider than its outline on the lattice, which cuts the capes that towns stand on."""

LAPSE = 0.0062
"""Kelvin lost per metre of height."""

CHARACTERS = (
    "coast",  # units inland of the coast, negative at sea
    "base",  # height of the valleys, metres
    "relief",  # height of the hills above them, metres
    "ridge",  # sharpness of summits, 0 to 1
    "mesa",  # strength of steps in slopes, 0 to 1
    "forest",  # share of trees where nothing hinders them
    "needle",  # share of conifers among them
    "shrub",  # share of shrubs on open land
    "crop",  # share of gentle land that is tilled
    "pivot",  # share of fields that are watered circles
    "green",  # greenness of grass in summer
    "red",  # redness of the soil
    "bright",  # brightness of the soil
    "wet",  # water in streams, lakes
    "town",  # density of settlement
)

# By biome of RESOLVE: the characters after "coast".
_BIOMES: dict[int, tuple[float, ...]] = {
    #   base relief ridge mesa forest needle shrub crop pivot green red bright wet town
    1: (180, 420, 0.3, 0.0, 0.95, 0.0, 0.10, 0.15, 0.0, 0.95, 0.60, 0.40, 0.9, 0.3),
    2: (250, 380, 0.2, 0.0, 0.60, 0.0, 0.30, 0.35, 0.0, 0.65, 0.60, 0.50, 0.5, 0.5),
    3: (1300, 900, 0.5, 0.1, 0.75, 0.8, 0.25, 0.15, 0.0, 0.60, 0.50, 0.50, 0.5, 0.3),
    4: (150, 260, 0.2, 0.0, 0.62, 0.1, 0.10, 0.45, 0.0, 0.85, 0.25, 0.40, 0.8, 0.8),
    5: (700, 1100, 0.7, 0.0, 0.80, 0.95, 0.15, 0.06, 0.0, 0.60, 0.20, 0.45, 0.8, 0.2),
    6: (220, 260, 0.1, 0.0, 0.82, 0.9, 0.20, 0.01, 0.0, 0.60, 0.10, 0.35, 1.0, 0.03),
    7: (450, 300, 0.1, 0.1, 0.28, 0.0, 0.30, 0.25, 0.02, 0.55, 0.75, 0.50, 0.4, 0.3),
    8: (300, 130, 0.1, 0.0, 0.04, 0.3, 0.10, 0.72, 0.25, 0.45, 0.25, 0.50, 0.4, 0.5),
    9: (60, 60, 0.0, 0.0, 0.20, 0.0, 0.10, 0.20, 0.0, 0.90, 0.20, 0.30, 1.0, 0.1),
    10: (2900, 1300, 0.7, 0.1, 0.10, 0.5, 0.20, 0.05, 0.0, 0.50, 0.30, 0.50, 0.6, 0.1),
    11: (220, 380, 0.3, 0.0, 0.02, 0.5, 0.30, 0.0, 0.0, 0.55, 0.10, 0.40, 1.0, 0.0),
    12: (200, 700, 0.4, 0.0, 0.32, 0.4, 0.50, 0.35, 0.03, 0.35, 0.45, 0.55, 0.4, 0.7),
    13: (600, 480, 0.3, 0.4, 0.03, 0.6, 0.35, 0.02, 0.05, 0.18, 0.65, 0.75, 0.1, 0.1),
}

# Ecoregions that deserve better than their biome's average.
_ECOREGIONS: dict[int, tuple[float, ...]] = {
    0: (1800, 900, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.60, 0.5, 0.0),
    # Western shortgrass prairie: tilled plains with circles
    402: (1330, 130, 0.0, 0.06, 0.02, 0.3, 0.08, 0.68, 0.42, 0.38, 0.25, 0.52, 0.35, 0.45),
    # Colorado Rockies forests
    353: (2350, 1950, 0.9, 0.0, 0.86, 0.95, 0.15, 0.02, 0.0, 0.55, 0.25, 0.50, 0.85, 0.18),
    # Colorado Plateau shrublands: stepped red rock, pinyon and juniper
    429: (1600, 900, 0.2, 1.0, 0.26, 0.9, 0.30, 0.05, 0.15, 0.16, 0.95, 0.72, 0.12, 0.12),
    # Wyoming Basin shrub steppe: grey-green sagebrush
    438: (1950, 420, 0.1, 0.35, 0.02, 0.8, 0.85, 0.04, 0.35, 0.24, 0.12, 0.62, 0.25, 0.10),
    # Great Basin shrub steppe
    430: (1500, 1100, 0.4, 0.1, 0.06, 0.9, 0.70, 0.03, 0.35, 0.18, 0.25, 0.68, 0.15, 0.08),
}

# Height of valleys across the conterminous United States by longitude, metres: plains rise to the Rockies.
_US_BASE = (
    (-124.5, -122.0, -119.0, -116.0, -112.0, -108.0, -105.3, -103.0, -100.0, -97.0, -93.0, -88.0, -83.0, -80.0, -77.0),
    (100.0, 200.0, 900.0, 1200.0, 1500.0, 1700.0, 1650.0, 1250.0, 750.0, 380.0, 240.0, 180.0, 260.0, 280.0, 60.0),
)


@dataclass(frozen=True, slots=True)
class Ecoregion:
    """One ecoregion of the atlas, named as RESOLVE names it."""

    code: int
    name: str
    biome: int
    realm: str
    protection: int
    """NNH, 1 to 4."""


@dataclass(frozen=True)
class EcoregionSites:
    """Places that ecoregions are nearest to: positions in units and index of the ecoregion, all of shape (n,)."""

    ecoregions: tuple[Ecoregion, ...]
    x: Floats
    y: Floats
    owner: npt.NDArray[np.int64]
    characters: Floats
    """Shape (n, len(CHARACTERS)); "coast" is left at zero."""


def records(text: str) -> list[list[str]]:
    """Return the atlas's records, split at their bars."""
    return [line.split("|") for line in text.replace("\n  ", " ").splitlines()]


def places(text: str) -> Floats:
    """Return pairs of numbers, shape (n, 2)."""
    return np.array([[float(v) for v in pair.split(",")] for pair in text.split()], dtype=np.float64)


@cache
def sites() -> EcoregionSites:
    """Return the sites of all ecoregions, in the atlas's order."""
    ecoregions, xs, ys, owner, characters = [], [], [], [], []
    for number, (code, name, biome, realm, protection, where) in enumerate(records(atlas.ECOREGIONS)):
        ecoregions.append(Ecoregion(int(code), name, int(biome), realm, int(protection)))
        for longitude, latitude in places(where):
            xs.append(longitude)
            ys.append(latitude)
            owner.append(number)
            characters.append(_character(ecoregions[-1], longitude, latitude))
    return EcoregionSites(
        tuple(ecoregions), mercator.x_of(xs), mercator.y_of(ys), np.array(owner), np.array(characters, np.float64)
    )


def _character(ecoregion: Ecoregion, longitude: float, latitude: float) -> list[float]:
    values = list(_ECOREGIONS.get(ecoregion.code, _BIOMES[ecoregion.biome]))
    if ecoregion.code not in _ECOREGIONS and ecoregion.realm == "Nearctic" and 25.0 < latitude < 50.0:
        values[0] = float(np.interp(longitude, *_US_BASE)) + 0.1 * values[1]
    return [0.0, *values]


def bend(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return positions on the bent plane of positions in units; the arguments broadcast to two dimensions."""
    octaves = [(k, 101 + 2 * n + axis) for axis in (0, 1) for n, (k, _) in enumerate(_BEND)]
    waves = noise.gradient(x, y, octaves)
    dx = dy = np.float64(0.0)
    for n, (_, amplitude) in enumerate(_BEND):
        dx = dx + waves[n] * amplitude
        dy = dy + waves[n + len(_BEND)] * amplitude
    return x + dx, y + dy


def unbend(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the positions (1-d) that ``bend`` takes to these, to a few units."""
    px, py = x.copy(), y.copy()
    # Some at a time fit into the processor's cache.
    for first in range(0, len(x), _PLACES):
        some = slice(first, first + _PLACES)
        for _ in range(12):
            bx, by = bend(px[None, some], py[None, some])
            px[some] += x[some] - bx[0]
            py[some] += y[some] - by[0]
    return px, py


def wrapped(dx: Floats) -> Floats:
    """Return differences of x taken the short way around the planet."""
    result: Floats = dx - np.rint(dx * (1.0 / SIZE)) * SIZE
    return result


@cache
def _land_distance() -> npt.NDArray[np.int16]:
    """Return signed distance to the coast on a lattice of 2**14 units, positive inland, in steps of 16.

    ``land.txt`` has a ring of the land a line, without Antarctica and islands of less than 300 square kilometres, in
    tenths of a degree. It is Natural Earth's 1:50m land (public domain), thinned to 0.08 degrees.
    """
    steps: npt.NDArray[np.int16] = drawing_cache.kept("land", lambda: {"steps": _draw_distance()})["steps"]
    return steps


def _draw_distance() -> npt.NDArray[np.int16]:
    """Compute the distance of :func:`_land_distance`."""
    text = (files("eechips_local.demo") / "land.txt").read_text(encoding="ascii")
    rings = [places(line) * 0.1 for line in text.splitlines()]
    count = SIZE >> _COAST_BITS
    axis = np.arange(count + 1, dtype=np.float64) * float(1 << _COAST_BITS)
    x, y = axis[:-1, None], axis[None, :]
    best = np.full((count, count + 1), _COAST_LIMIT * _COAST_LIMIT)
    inside = np.zeros((count, count + 1), dtype=bool)
    reach = int(_COAST_LIMIT) // (1 << _COAST_BITS) + 1
    for ring in rings:
        px, py = mercator.x_of(ring[:, 0]), mercator.y_of(ring[:, 1])
        for ax, ay, bx, by in zip(px, py, np.roll(px, -1), np.roll(py, -1), strict=True):
            ex, ey = bx - ax, by - ay
            if ex == 0.0 and ey == 0.0:
                continue  # corners that fell together in rounding
            if ay != by:
                within = slice(*np.searchsorted(axis, sorted((ay, by))))
                inside[:, within] ^= x < ax + (y[:, within] - ay) * (ex / ey)
            if ex == 0.0 and ax in (0.0, SIZE):
                continue  # the date line is not a coast
            rows = slice(
                max(0, int(min(ay, by)) // (1 << _COAST_BITS) - reach),
                int(max(ay, by)) // (1 << _COAST_BITS) + reach + 2,
            )
            cols = slice(
                max(0, int(min(ax, bx)) // (1 << _COAST_BITS) - reach),
                int(max(ax, bx)) // (1 << _COAST_BITS) + reach + 2,
            )
            lx, ly = x[cols] - ax, y[:, rows] - ay
            t = np.clip((lx * ex + ly * ey) / (ex * ex + ey * ey), 0.0, 1.0)
            dx, dy = lx - t * ex, ly - t * ey
            best[cols, rows] = np.minimum(best[cols, rows], dx * dx + dy * dy)
    steps = np.rint(np.sqrt(best) * (1.0 / _COAST_UNITS))
    result: npt.NDArray[np.int16] = np.where(inside, steps, -steps).T.astype(np.int16)
    return result


def coast(x: Floats, y: Floats, finest: int = 14) -> Floats:
    """Return units inland of the coast (negative at sea); the arguments broadcast to two dimensions.

    Args:
        x: units.
        y: units.
        finest: octaves down to 2**finest units take part.
    """
    table = _land_distance()
    count = SIZE >> _COAST_BITS
    px, py = x * 2.0**-_COAST_BITS, np.clip(y * 2.0**-_COAST_BITS, 0.0, count - 0.001)
    ix, iy = np.floor(px).astype(np.int64), np.floor(py).astype(np.int64)
    fx, fy = px - ix, py - iy
    west, east = ix % count, (ix + 1) % count
    corners = ((iy, west), (iy, east), (iy + 1, west), (iy + 1, east))
    north_west, north_east, south_west, south_east = (
        table[corner].astype(np.float64) * _COAST_UNITS for corner in corners
    )
    upper = north_west + (north_east - north_west) * fx
    lower = south_west + (south_east - south_west) * fx
    value = upper + (lower - upper) * fy + _COAST_SHIFT
    chosen = [(k, a) for k, a in COAST_OCTAVES if k >= finest]
    waves = noise.gradient(x, y, [(k, 131 + k) for k, _ in chosen])
    for wave, (_, amplitude) in zip(waves, chosen, strict=True):
        value = value + wave * amplitude
    return value


def coast_lattice() -> Floats:
    """Return what `coast` returns on the nodes of its table, each 2**14 units, without octaves; shape (2049, 2048)."""
    return _land_distance().astype(np.float64) * _COAST_UNITS + _COAST_SHIFT


_TILE = 16
_LARGE = 10_000
"""Cells from which characters are computed one by one."""


@lru_cache(maxsize=1024)
def _tile(step: int, column: int, row: int) -> Floats:
    """Return characters at the nodes of a tile of the lattice of ``step`` units, shape (characters, 16, 16)."""
    table = sites()
    x = ((column * _TILE + np.arange(_TILE, dtype=np.float64)) * float(step))[None, :]
    y = ((row * _TILE + np.arange(_TILE, dtype=np.float64)) * float(step))[:, None]
    bx, by = bend(x, y)
    middle = wrapped(table.x - bx[8, 8]), table.y - by[8, 8]
    distance = np.sqrt(middle[0] * middle[0] + middle[1] * middle[1])
    # Every node lies within this of the middle node, bending included.
    radius = np.sqrt(np.max((bx - bx[8, 8]) * (bx - bx[8, 8]) + (by - by[8, 8]) * (by - by[8, 8])))
    chosen = np.flatnonzero(distance <= distance.min() + 2.0 * radius + _BLEND)
    dx = wrapped(bx - table.x[chosen, None, None])
    dy = by - table.y[chosen, None, None]
    away = np.sqrt(dx * dx + dy * dy)
    weight = np.maximum(0.0, 1.0 - (away - away.min(axis=0)) * (1.0 / _BLEND))
    weight *= weight
    result = np.zeros((len(CHARACTERS), _TILE, _TILE))
    total = np.zeros((_TILE, _TILE))
    for site, w in zip(chosen, weight, strict=True):
        total += w
        result += table.characters[site][:, None, None] * w
    result /= total
    _limit_by_rain(result, x[0], y[:, 0])
    result[0] = np.clip(coast(x, y), -_COAST_LIMIT, _COAST_LIMIT)
    result.setflags(write=False)
    return result


def _limit_by_rain(values: Floats, x: Floats, y: Floats) -> None:
    """Limit what grows by the rain of columns ``x`` and rows ``y``, in place; see ``rain_limits``."""
    longitude, latitude = np.meshgrid(mercator.longitude_of(x), mercator.latitude_of(y))
    base, forest, shrub, crop, green = (CHARACTERS.index(name) for name in ("base", "forest", "shrub", "crop", "green"))
    celsius = mean_kelvin(latitude, values[base]) - 273.15
    rain = rain_limits.useful_rain(longitude.ravel(), latitude.ravel(), celsius.ravel()).reshape(celsius.shape)
    values[green] = np.minimum(values[green], rain_limits.green_limit(rain))
    for woody in (forest, shrub):
        values[woody] = np.minimum(values[woody], rain_limits.woody_limit(rain))
    values[crop] *= rain_limits.tilled_share(rain)


def mean_kelvin(latitude: Floats, height: Floats) -> Floats:
    """Return the mean temperature of the air in a year, by degrees of latitude and metres of height."""
    result: Floats = 300.5 - 0.0082 * latitude * latitude - LAPSE * np.maximum(height, 0.0)
    return result


def characters(rect: Rect) -> Floats:
    """Return characters of the land at the centres of a rectangle's cells, shape (len(CHARACTERS), height, width).

    They are known on a lattice of 4,096 units (or the cells' own, where coarser); between follows a quadratic B-spline.
    """
    return characters_at(rect.x, rect.y, rect.pitch)


def characters_at(x: Floats, y: Floats, pitch: float) -> Floats:
    """Return characters at columns ``x`` and rows ``y`` (1-d, ascending), shape (len(CHARACTERS), len(y), len(x))."""
    step = 4096
    while step < pitch:
        step *= 2
    nodes_x, weights_x = _spline(x, step)
    nodes_y, weights_y = _spline(y, step)
    west, east = int(nodes_x[0]) - 1, int(nodes_x[-1]) + 2
    north, south = int(nodes_y[0]) - 1, int(nodes_y[-1]) + 2
    patch = np.empty((len(CHARACTERS), south - north, east - west))
    across = (SIZE // step) // _TILE
    for row in range(north // _TILE, (south - 1) // _TILE + 1):
        for column in range(west // _TILE, (east - 1) // _TILE + 1):
            tile = _tile(step, column % across if across else column, row)
            top, left = row * _TILE, column * _TILE
            y0, y1 = max(north, top), min(south, top + _TILE)
            x0, x1 = max(west, left), min(east, left + _TILE)
            patch[:, y0 - north : y1 - north, x0 - west : x1 - west] = tile[
                :, y0 - top : y1 - top, x0 - left : x1 - left
            ]
    i, j = nodes_x - west, nodes_y - north
    lines = patch[:, :, i - 1] * weights_x[0] + patch[:, :, i] * weights_x[1] + patch[:, :, i + 1] * weights_x[2]
    w0, w1, w2 = (w[:, None] for w in weights_y)
    result: Floats = np.empty((len(lines), len(y), len(x)))
    # A large plane fits into the processor's cache, all of them do not; small ones are faster all at once.
    parts: Iterable[tuple[Floats, Floats]] = zip(result, lines, strict=True)
    if len(y) * len(x) < _LARGE:
        parts = ((result, lines),)
    for plane, line in parts:
        np.multiply(line[..., j - 1, :], w0, out=plane)
        plane += line[..., j, :] * w1
        plane += line[..., j + 1, :] * w2
    return result


def _spline(positions: Floats, step: int) -> tuple[npt.NDArray[np.int64], tuple[Floats, Floats, Floats]]:
    t = positions * (1.0 / step)
    node = np.floor(t + 0.5)
    f = t - node
    return node.astype(np.int64), (0.5 * (0.5 - f) * (0.5 - f), 0.75 - f * f, 0.5 * (0.5 + f) * (0.5 + f))
