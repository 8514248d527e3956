"""Rings of longitude and latitude on the globe: around the antimeridian and the poles.

A ring is kept with longitudes that run on (179, 181), so that it is a plane polygon too. A ring that goes around a pole
is closed along the pole: (…, lon + 360, lat), (lon + 360, ±90), (lon, ±90), (lon, lat).
"""

from __future__ import annotations

import numpy as np

from eechips.emulator.projection import Coordinates


def unwrapped(points: Coordinates) -> Coordinates:
    """A line whose longitudes never jump by more than 180 degrees: each edge takes the short way round."""
    steps = np.diff(points[:, 0])
    turns = np.where(np.abs(steps) > 180.0, np.round(steps / 360.0), 0.0)
    if not turns.any():
        return points
    run = points.copy()
    run[1:, 0] -= 360.0 * np.cumsum(turns)
    return run


def close_at_pole(ring: Coordinates) -> Coordinates:
    """A closed, unwrapped ring, led along the pole where it goes around one.

    Which pole: the one on the ring's side of the equator, so that the smaller area is inside.
    """
    if abs(ring[-1, 0] - ring[0, 0]) < 180.0:
        return ring
    pole = 90.0 if float(ring[:, 1].mean()) >= 0.0 else -90.0
    return np.vstack([ring, [[ring[-1, 0], pole], [ring[0, 0], pole], ring[0]]])


def open_at_pole(ring: Coordinates) -> Coordinates:
    """The ring without the way along the pole that ``close_at_pole`` adds."""
    at_pole = np.abs(ring[:, 1]) == 90.0
    if not at_pole.any() or np.ptp(ring[:, 0]) < 360.0:
        return ring
    kept = ring[~at_pole]
    if len(kept) < 2:
        return ring
    step = np.abs(np.diff(kept, axis=0))
    repeated = (step[:, 1] < 1e-12) & (np.abs(step[:, 0] - 360.0) < 1e-9)
    kept = kept[np.r_[True, ~repeated]]
    closed = abs(kept[0, 1] - kept[-1, 1]) < 1e-12 and abs((kept[0, 0] - kept[-1, 0]) % 360.0) < 1e-9
    return kept if closed else np.vstack([kept, kept[:1]])
