"""Regions whose cloudy seasons are not the usual ones of their latitude: monsoons, dry summers, cold coasts.

Shares of passes in the morning that are cloudy are estimates, in percent, to about 10, after the maps of MODIS: Wilson
and Jetz (2016), PLOS Biology 14, e1002415 (https://www.earthenv.org/cloud).
"""

from __future__ import annotations

import numpy as np

from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.weather import climate

# Degrees east and north of the middle, degrees to the edge; shares in the middle of January, April, July and October.
_REGIONS: tuple[tuple[float, float, float, tuple[float, float, float, float]], ...] = (
    # The monsoon of Asia, and the dry air behind it.
    (74.0, 19.0, 7.0, (10, 12, 88, 35)),
    (80.0, 21.0, 8.0, (20, 20, 88, 35)),
    (77.0, 28.5, 6.0, (35, 20, 62, 10)),
    (77.0, 11.0, 6.0, (30, 50, 82, 70)),
    (90.0, 24.0, 7.0, (20, 50, 90, 45)),
    (70.0, 26.0, 6.0, (25, 15, 45, 5)),
    (101.0, 15.0, 7.0, (28, 45, 86, 68)),
    (113.0, 26.0, 9.0, (70, 80, 60, 48)),
    (116.0, 38.0, 8.0, (28, 40, 62, 32)),
    (104.0, 43.0, 9.0, (30, 42, 50, 28)),
    (90.0, 31.0, 9.0, (30, 58, 72, 30)),
    # The dry summers of the Mediterranean and of the lands to its east.
    (-5.0, 38.0, 6.0, (45, 48, 10, 38)),
    (3.0, 35.0, 6.0, (50, 42, 10, 35)),
    (14.5, 38.5, 5.0, (60, 48, 12, 42)),
    (24.0, 38.5, 5.0, (62, 50, 12, 38)),
    (33.0, 39.0, 6.0, (70, 60, 20, 38)),
    (36.0, 32.0, 5.0, (45, 30, 6, 25)),
    (44.0, 33.0, 6.0, (42, 35, 5, 15)),
    (55.0, 32.0, 8.0, (38, 35, 6, 10)),
    (62.0, 40.0, 8.0, (60, 48, 10, 25)),
    (46.0, 23.0, 8.0, (25, 25, 5, 5)),
    (30.0, 26.0, 8.0, (12, 8, 5, 6)),
    # The west of North America.
    (-120.0, 37.5, 5.0, (55, 32, 6, 18)),
    (-117.0, 34.0, 4.0, (40, 30, 12, 22)),
    (-116.0, 40.0, 5.0, (58, 50, 18, 28)),
    # The Sahel and Ethiopia.
    (2.0, 13.5, 7.0, (15, 35, 70, 38)),
    (15.0, 12.0, 7.0, (12, 28, 72, 38)),
    (32.0, 15.0, 7.0, (10, 14, 48, 20)),
    (39.0, 9.0, 5.0, (25, 50, 88, 42)),
    # The dry winters of the south of Africa.
    (28.0, -14.0, 8.0, (85, 35, 5, 30)),
    (28.0, -26.0, 6.0, (55, 38, 8, 40)),
    (21.0, -23.0, 7.0, (40, 28, 6, 28)),
    # The Andes, the Atacama and the coast of Peru.
    (-67.0, -17.5, 4.0, (75, 38, 10, 28)),
    (-68.5, -23.5, 3.0, (10, 5, 5, 5)),
    (-72.0, -23.0, 3.0, (30, 40, 45, 45)),
    (-77.0, -12.0, 4.0, (55, 60, 85, 80)),
    (-71.0, -33.5, 4.0, (12, 25, 50, 38)),
    # Australia: wet summers in the north, wet winters in the south.
    (132.0, -14.0, 6.0, (80, 38, 8, 30)),
    (133.0, -24.0, 9.0, (35, 22, 18, 25)),
    (117.0, -32.0, 6.0, (22, 33, 58, 40)),
    (139.0, -34.5, 5.0, (32, 40, 62, 48)),
    (150.0, -33.0, 6.0, (58, 48, 38, 48)),
)

_WHOLE = 0.5
"""Nearness to regions from which on their seasons alone count."""

_MIDDLE, _QUARTER = 15.0, 365.25 / 4.0
"""Day of the year in the middle of January, and days from one of the four months to the next."""


Seasons = tuple[Floats, Floats]
"""How much regions count, shape (height, width), and shares of four months, shape (4, height, width)."""


def seasons(at: Rect) -> Seasons:
    """Return the seasons of regions in cells of some 80 km."""
    east, north = mercator.longitude_of(at.x)[None, :], climate.latitude(at)
    cosine = mercator.cosine_of(at.y)[:, None]
    near = np.zeros((at.height, at.width))
    shares = np.zeros((4, at.height, at.width))
    for longitude, latitude, edge, percent in _REGIONS:
        away = east - longitude
        away = (away - 360.0 * np.rint(away * (1.0 / 360.0))) * cosine
        up = north - latitude
        inside = np.maximum(0.0, 1.0 - (away * away + up * up) * (1.0 / (edge * edge)))
        inside *= inside
        near += inside
        shares += inside * (np.array(percent)[:, None, None] * 0.01)
    shares /= np.maximum(near, 1e-9)
    return noise.smoothstep(0.0, _WHOLE, near), shares


def with_regions(seasons: Seasons, usual: Floats, day: float) -> Floats:
    """Return the share of passes that are cloudy: the usual share, replaced by the share of a region inside it.

    Args:
        seasons: seasons of regions in the cells.
        usual: shares by latitude and aridity, shape (height, width).
        day: day of the year.
    """
    count, shares = seasons
    if not count.any():
        return usual
    quarters = (day - _MIDDLE) * (1.0 / _QUARTER)
    before = int(np.floor(quarters))
    since = quarters - before
    local = shares[before % 4] + (shares[(before + 1) % 4] - shares[before % 4]) * since
    result: Floats = usual + (local - usual) * count
    return result
