"""Compare the grid of an image with the requested one: transform and coordinate reference system."""

from __future__ import annotations

import functools
from typing import Any

from eechips.errors import UsageError, ValidationError
from eechips.processes.warning_filters import ignore_warning

_MAX_OFFSET = 1e-3  # of a pixel, between a requested corner and that of the response: allows rounding only


def check_transform(expected: tuple[float, ...], actual: tuple[float, ...], width: int, height: int) -> None:
    """Raise ValidationError unless two transforms place the corners of an image within 0.001 pixels of each other."""
    if expected == actual:
        return
    a, b, _, d, e, _ = expected
    determinant = abs(a * e - b * d)
    differences = [x - y for x, y in zip(expected, actual, strict=True)]
    for column, row in ((0, 0), (width, 0), (0, height), (width, height)):
        dx = sum(v * k for v, k in zip(differences[:3], (column, row, 1), strict=True))
        dy = sum(v * k for v, k in zip(differences[3:], (column, row, 1), strict=True))
        # The offset in pixels: the inverse of the transform's linear part applied to (dx, dy).
        across, down = (e * dx - b * dy) / determinant, (a * dy - d * dx) / determinant
        if max(abs(across), abs(down)) > _MAX_OFFSET:
            raise ValidationError(f"the transform is {tuple(actual)} instead of {tuple(expected)}")


def check_crs(expected: str, actual: Any) -> None:
    """Raise ValidationError unless a rasterio CRS is the requested one."""
    if actual is None:
        raise ValidationError(f"there is no coordinate reference system, but {expected} was expected")
    if not _same_crs(expected, actual.to_wkt()):
        raise ValidationError(f"the coordinate reference system is {actual.to_string()} instead of {expected}")


@functools.lru_cache(maxsize=64)
def _same_crs(expected: str, found_wkt: str) -> bool:
    from pyproj import CRS

    from eechips.geo.crs import parse_crs

    actual = CRS.from_wkt(found_wkt)
    try:
        asked = parse_crs(expected)
    except UsageError:
        return True  # a code that PROJ does not know cannot be compared; the transform still is
    return bool(asked.equals(actual, ignore_axis_order=True)) or _parameters(asked) == _parameters(actual)


def _parameters(crs: Any) -> dict[str, Any]:
    """Return the PROJ parameters that place pixels, without names and metadata, which differ between writers."""
    ignore_warning(UserWarning, "You will likely lose important projection information")  # of names: that is the aim
    parameters: dict[str, Any] = crs.to_dict()
    return {k: v for k, v in parameters.items() if k not in ("type", "no_defs", "title")}
