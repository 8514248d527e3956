"""The grids of UTM: its zones, and the 100 km squares of MGRS in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from shapely.geometry.base import BaseGeometry

from eechips.catalogs.areas import meets_more, stepped
from eechips.geo.crs import project

_SOUTH, _NORTH = -80.0, 84.0  # latitudes between which there are zones
_REACH = 5_000.0  # metres: what is smaller meets six cells at most, where zones meet
_BANDS = "CDEFGHJKLMNPQRSTUVWX"  # of 8 degrees, the last of 12
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")  # of 100 km, in every third zone the same
_ROWS = "ABCDEFGHJKLMNPQRSTUV"  # of 100 km, five further in even zones


@dataclass(frozen=True, slots=True)
class Mgrs:
    """The squares of 100 km of the Military Grid Reference System, such as ``13TDE``, which Sentinel-2's tiles have."""

    name = "mgrs"

    def most(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """How many cells items can meet that are so large across."""
        return stepped(metres, (_REACH, 6))

    def to_json(self) -> dict[str, Any]:
        """``{"name": "mgrs"}``."""
        return {"name": self.name}

    def homes(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """The squares that places lie in; ``north`` and ``south`` around the poles."""
        return _squares(longitudes, latitudes)

    def is_over(self, geometry: BaseGeometry, cells: int) -> bool:
        """Whether a geometry meets more than so many squares, about."""
        return meets_more(geometry, cells, self.homes, largest=1.05e10, step=0.2)


@dataclass(frozen=True, slots=True)
class Utm:
    """The zones of UTM, with those of Norway and Svalbard: ``13N``, ``13S``; ``N`` and ``S`` around the poles."""

    name = "utm"

    def most(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """How many cells items can meet that are so large across."""
        return stepped(metres, (_REACH, 6))

    def to_json(self) -> dict[str, Any]:
        """``{"name": "utm"}``."""
        return {"name": self.name}

    def homes(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """The zones that places lie in."""
        zone, is_north = _zones(longitudes, latitudes)
        pairs = zip(zone.tolist(), is_north.tolist(), strict=True)
        return [f"{number or ''}{'N' if north else 'S'}" for number, north in pairs]

    def is_over(self, geometry: BaseGeometry, cells: int) -> bool:
        """Whether a geometry meets more than so many zones, about."""
        return meets_more(geometry, cells, self.homes, largest=8e12, step=0.5)


def _zones(
    longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Numbers of the zones that places lie in, 0 around the poles; and whether places are in the north."""
    zone = np.minimum(np.floor((longitudes + 180.0) / 6.0), 59).astype(np.int64) + 1
    zone[(latitudes >= 56) & (latitudes < 64) & (longitudes >= 3) & (longitudes < 12)] = 32
    svalbard = (latitudes >= 72) & (latitudes <= _NORTH) & (longitudes >= 0) & (longitudes < 42)
    zone[svalbard] = 31 + 2 * np.searchsorted([9.0, 21.0, 33.0], longitudes[svalbard], side="right")
    zone[(latitudes < _SOUTH) | (latitudes > _NORTH)] = 0
    return zone, latitudes >= 0


def _squares(longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
    zone, is_north = _zones(longitudes, latitudes)
    found = np.where(is_north, "north", "south").astype(object)
    lonlat = np.column_stack([longitudes, latitudes])
    for number, hemisphere in {*zip(zone.tolist(), is_north.tolist(), strict=True)}:
        if not number:
            continue
        chosen = (zone == number) & (is_north == hemisphere)
        x, y = np.floor(project(f"EPSG:{326 if hemisphere else 327}{number:02}", lonlat[chosen]) / 1e5).astype(int).T
        bands = np.clip((latitudes[chosen] - _SOUTH) // 8, 0, len(_BANDS) - 1).astype(int)
        columns, shift = _COLUMNS[(number - 1) % 3], 0 if number % 2 else 5
        rows = (y + shift) % len(_ROWS)
        found[chosen] = [
            f"{number:02}{_BANDS[band]}{columns[column - 1]}{_ROWS[row]}"
            for band, column, row in zip(bands.tolist(), x.tolist(), rows.tolist(), strict=True)
        ]
    return list(found)
