"""Find where a projection is cut: the meridian opposite its central one, and whether it repeats beyond."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eechips_local.pixels.grids.pixel_grid import metres_per_unit, parse_crs, transformer

WHOLE = 360.0
"""Degrees of a turn."""

MOST_LATITUDE = 89.99
"""Degrees up to which cylinders without an end are followed: y of Mercator's is infinite at the poles."""

_LATITUDES = (-60.0, -30.0, 1.0, 45.0, 70.0)
_NEAR = 1e-7  # degrees on both sides of a meridian
_APART = 1000.0  # metres between the two, where a projection is cut there
# EPSG's parameters that hold the central meridian: of natural origin, projection centre, false origin, origin.
_CENTRAL_MERIDIAN = frozenset({"8802", "8812", "8822", "8833"})


@dataclass(frozen=True, slots=True)
class Seam:
    """The meridian at which a projection is cut.

    Attributes:
        west: degrees of longitude where the map begins; it ends one turn further east.
        start: x of the CRS where the map begins, of those that repeat.
        period: units of the CRS after which x starts again, of geographic CRSs and cylindrical projections; None for
            projections whose sides do not fit each other.
        most_latitude: degrees up to which the map reaches.
    """

    west: float
    start: float
    period: float | None
    most_latitude: float

    def shows(self, low: float, high: float) -> bool:
        """Return whether x of the CRS from ``low`` to ``high`` lies on the map, of those that repeat."""
        if self.period is None:
            return True
        hair = self.period * 1e-9
        return self.start - hair <= low and high <= self.start + self.period + hair

    @property
    def middle(self) -> float:
        """Degrees of longitude of the central meridian."""
        return self.west + WHOLE / 2.0


@lru_cache(512)
def seam_of(crs: str) -> Seam | None:
    """Return the seam of a CRS; None where it has none, as azimuthal projections and UTM.

    Longitudes are those of EPSG:4326. Whether a projection is cut shows by points on both sides of the meridian
    opposite to its central one.
    """
    parsed = parse_crs(crs)
    middle = parsed.prime_meridian.longitude if parsed.prime_meridian is not None else 0.0
    if parsed.is_geographic:
        turn = 2.0 * math.pi / parsed.axis_info[0].unit_conversion_factor
        return Seam(middle - WHOLE / 2.0, -turn / 2.0, turn, 90.0)
    operation = parsed.coordinate_operation
    for parameter in operation.params if operation is not None else ():
        if parameter.code in _CENTRAL_MERIDIAN:
            middle += math.degrees(float(parameter.value) * parameter.unit_conversion_factor)
    middle = (middle + 180.0) % WHOLE - 180.0
    move = transformer("EPSG:4326", crs).transform
    sides = [np.array(move([middle + 180.0 + near] * len(_LATITUDES), _LATITUDES)) for near in (-_NEAR, _NEAR)]
    with np.errstate(invalid="ignore"):
        step = sides[0] - sides[1]
    if not np.isfinite(step).all() or np.hypot(*step).min() * metres_per_unit(crs) < _APART:
        return None
    if np.ptp(step[0]) > 1.0 or np.abs(step[1]).max() > 1.0:
        return Seam(middle - WHOLE / 2.0, 0.0, None, 90.0)
    low, high = (move(middle, latitude)[1] for latitude in (MOST_LATITUDE, 90.0))
    endless = not math.isfinite(high) or (high - low) * metres_per_unit(crs) > _APART * _APART
    start, quarter = move([middle, middle + WHOLE / 4.0], [0.0, 0.0])[0]
    period = 4.0 * abs(quarter - start)
    return Seam(middle - WHOLE / 2.0, start - period / 2.0, period, MOST_LATITUDE if endless else 90.0)
