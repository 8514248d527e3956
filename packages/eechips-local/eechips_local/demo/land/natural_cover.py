"""Compute which shares of the ground are under grass, trees, rock and snow, on the nodes of relief, and the height of
the treeline.
"""

from __future__ import annotations

import numpy as np

from eechips_local.demo.land.terrain import Terrain, kept_with_relief
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import Floats


def grass_cover(land: Terrain) -> Floats:
    """Return the share of open land that grass covers, by node."""
    share: Floats = np.clip(0.22 + 1.5 * land.character("green"), 0.0, 0.95)
    return share


def treeline(land: Terrain) -> Floats:
    """Return the height above which no trees grow, metres, shape (rows, 1): 3,500 m at 39 degrees, lower towards the
    poles.
    """
    away = np.abs(mercator.latitude_of(land.rect.y))
    limit: Floats = np.clip(3550.0 - 95.0 * (away - 39.0), 150.0, 4100.0)[:, None]
    return limit


@kept_with_relief
def tree_density(land: Terrain) -> Floats:
    """Return the share of the ground under trees, by node: fewer on dry ground and southern slopes, none above the
    treeline.
    """
    forest, wet = land.character("forest"), land.character("wet")
    limit = treeline(land)
    patch = land.patches[0] * 1.0 + land.patches[1] * 0.75 + land.patches[2] * 0.45
    density = forest + patch * (0.07 + 1.9 * forest * (1.0 - forest))
    density += np.clip(land.south * 0.9, -0.30, 0.30) * (1.0 - 0.6 * wet)
    # Conifers of dry country keep to the hills.
    density += (
        land.character("needle")
        * (1.0 - wet)
        * np.clip(1.1 * land.rise - 0.22, -0.2, 0.3)
        * np.clip(6.0 * forest - 0.3, 0.0, 1.0)
    )
    density *= noise.smoothstep(0.0, 1.0, (limit + 90.0 + 160.0 * patch - land.height) * (1.0 / 260.0))
    density *= 1.0 - 0.75 * noise.smoothstep(0.75, 1.25, land.slope)
    density *= np.where(land.character("coast") > 0.0, 1.0, 0.0)
    result: Floats = np.clip(density, 0.0, 1.0)
    return result


def rockiness(land: Terrain) -> Floats:
    """Return the share of bare rock, by node: cliffs, and the ground above the treeline."""
    limit = treeline(land)
    patch = land.patches[1] * 0.8 + land.patches[2] * 0.8
    rock = noise.smoothstep(0.45, 0.95, land.slope + 0.25 * patch + 0.15 * land.character("mesa"))
    high = noise.smoothstep(0.0, 1.0, (land.height - limit - 60.0 + 220.0 * patch) * (1.0 / 330.0))
    return np.clip(np.maximum(rock, 0.85 * high), 0.0, 1.0)


def snow_share(land: Terrain, line: float | Floats = 330.0) -> Floats:
    """Return the share of the ground under snow, by node.

    Args:
        land: relief.
        line: metres from the treeline up to the line of snow; in summer 330. One number, or one for each row.
    """
    patch = land.patches[1] * 1.0 + land.patches[2] * 0.7
    above = (land.height - treeline(land) - line) * (1.0 / 260.0) + 1.15 * patch - 1.1 * land.slope - 0.25 * land.east
    return np.where(land.character("coast") > 0.0, noise.smoothstep(0.0, 0.5, above), 0.0)
