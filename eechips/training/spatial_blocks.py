"""Group chips into spatial blocks that stay together in a split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eechips.errors import ConfigurationError, UsageError
from eechips.geo.crs import project

EQUAL_AREA = "EPSG:6933"
"""The plane of square blocks: WGS 84 / NSIDC EASE-Grid 2.0 Global, cylindrical and equal-area."""

LEAST_SIZE = 10.0
"""Least size of a block in metres: smaller blocks contain single chips."""

Floats = npt.NDArray[np.float64]


def squares(lonlat: Floats, size: float) -> list[str]:
    """Assign places to blocks that are squares of equal area.

    They are squares on the ground at 30 degrees of latitude. Towards the poles they become narrower from west to east
    and longer from south to north, and keep their area.

    Args:
        lonlat: longitudes and latitudes in degrees, (n, 2).
        size: edge in metres, in the plane of ``EQUAL_AREA``.

    Returns:
        A name for each place: ``column/row`` of its square, counted from longitude 0 and the equator.

    Raises:
        UsageError: if the size is too small.
    """
    if not size >= LEAST_SIZE:
        raise UsageError(f"block_size must be at least {LEAST_SIZE:g} m")
    cells = np.floor(project(EQUAL_AREA, lonlat) / size).astype(np.int64) if len(lonlat) else np.empty((0, 2), int)
    return [f"{column}/{row}" for column, row in cells.tolist()]


def hexagons(lonlat: Floats, resolution: int) -> list[str]:
    """Assign places to blocks that are H3 cells (https://h3geo.org), of nearly one size all over the Earth.

    Args:
        lonlat: longitudes and latitudes in degrees, (n, 2).
        resolution: 0 to 15; 5 has cells of 253 km², 6 of 36 km² on average.

    Returns:
        Indexes of the cells, hexadecimal.

    Raises:
        UsageError: if there is no such resolution.
        ConfigurationError: if h3 is not installed.
    """
    try:
        import h3
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"by='h3' needs H3: pip install 'eechips[stac]' ({error})") from None
    if not 0 <= resolution <= 15:
        raise UsageError(f"resolution must be 0 to 15, not {resolution}")
    return [h3.latlng_to_cell(latitude, longitude, resolution) for longitude, latitude in lonlat.tolist()]


def places(lonlat: Floats) -> list[str]:
    """Assign each place to a block of its own, so that only chips of the same place stay together.

    Args:
        lonlat: longitudes and latitudes in degrees, (n, 2).
    """
    return [f"{longitude:.6f},{latitude:.6f}" for longitude, latitude in (lonlat + 0.0).tolist()]
