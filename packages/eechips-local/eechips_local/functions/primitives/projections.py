"""``ee.Projection``: codes and WKT of a CRS, affine transforms, ``nominalScale``, ``atScale``, ``scale``,
``translate``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from affine import Affine

from eechips_local.evaluation.type_conversion import mismatch
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.pixel_grid import UNKNOWN_CODES, UnknownCrsError, code_of, named_crs, parse_crs
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Value

_ELEMENT = re.compile(r'PARAMETER\s*\[\s*"elt_([012])_([012])"\s*,\s*([-+.\deE]+)\s*\]')

_AUTHORITY = re.compile(r'(?:AUTHORITY|ID)\[\s*"EPSG"\s*,\s*"?(\d+)"?\s*\]\s*\]\s*$')
"""The last part of a WKT."""


@function("Projection", "Proj")
def make(crs: Value, transform: list[Value] | None, transformWkt: str | None) -> Projection:
    """Return a projection: a CRS and an affine transform from its coordinates to the CRS's."""
    base = crs if isinstance(crs, Projection) else _named(crs)
    if transform is not None and transformWkt is not None:
        raise InvalidError("May not specify both 'transform' and 'transformWkt'.")
    if transformWkt is not None:
        return Projection(base.crs, _parsed(transformWkt))
    if transform is None:
        return base
    return Projection(base.crs, _affine(transform))


def _named(crs: Value) -> Projection:
    """Return the projection of a code or WKT."""
    if not isinstance(crs, str):
        raise mismatch(crs, "String", "Argument 'crs'")
    try:
        return Projection(_code_of(crs))
    except UnknownCrsError as error:
        raise InvalidError(str(error)) from error


def _code_of(crs: str) -> str:
    """Return the EPSG code that a WKT states at its end if both are the same CRS; else the text.

    Google's sample prints such a projection with its code (apidocs/ee-projection).
    """
    parsed, stated = named_crs(crs), _AUTHORITY.search(crs)
    if stated is None or parsed.to_epsg() != int(stated[1]):
        return crs
    code = f"EPSG:{stated[1]}"
    return crs if code in UNKNOWN_CODES else code


def _affine(values: Sequence[Value]) -> Affine:
    """Return an affine transform of [xScale, xShearing, xTranslation, yShearing, yScale, yTranslation]."""
    if len(values) != 6 or not all(isinstance(v, (int, float)) for v in values):
        raise InvalidError("The transform of a projection must be a list of 6 numbers.")
    affine_transform = Affine(*(float(v) for v in values))
    if not affine_transform.determinant:
        raise InvalidError("The transform of a projection must be invertible.")
    return affine_transform


def _parsed(wkt: str) -> Affine:
    """Return the affine transform of a WKT math transform; elements that are left out are the identity's."""
    if not re.match(r'\s*PARAM_MT\s*\[\s*"Affine"', wkt):
        raise InvalidError(f"The transform of a projection could not be parsed: {wkt:.100}")
    elements = {(int(row), int(column)): float(value) for row, column, value in _ELEMENT.findall(wkt)}
    identity = {(0, 0): 1.0, (1, 1): 1.0}
    return _affine([elements.get(at, identity.get(at, 0.0)) for at in ((r, c) for r in (0, 1) for c in (0, 1, 2))])


@function("Projection.crs")
def crs(projection: Projection) -> str | None:
    """Return the authority code of the CRS, or null for one that is defined by WKT.

    Measured on the service (openforis/sepal@1b83d8673d: ``docs/recipes/sampling-design.md``).
    """
    return code_of(projection.crs)


@function("Projection.wkt")
def wkt(projection: Projection) -> str:
    """Return the CRS as WKT 1."""
    return str(parse_crs(projection.crs).to_wkt("WKT1_GDAL", pretty=True))


@function("Projection.transform")
def transform(projection: Projection) -> str:
    """Return the affine transform as WKT; like GeoTools it leaves out what is the identity's."""
    t = projection.transform
    parts = ["num_row", "num_col"]
    lines = [f'PARAMETER["{name}", 3]' for name in parts]
    for row, values in enumerate(((t.a, t.b, t.c), (t.d, t.e, t.f))):
        for column, value in enumerate(values):
            if value != (1.0 if row == column else 0.0):
                lines.append(f'PARAMETER["elt_{row}_{column}", {float(value)!r}]')
    return 'PARAM_MT["Affine", \n  ' + ", \n  ".join(lines) + "]"


@function("Projection.nominalScale")
def nominal_scale(proj: Projection) -> float:
    """Return metres of one unit, at the point of true scale."""
    return proj.nominal_scale


@function("Projection.atScale")
def at_scale(projection: Projection, meters: float) -> Projection:
    """Return a copy with units of so many metres at the point of true scale; origin and directions stay.

    Raises:
        InvalidError: if that is not a positive number.
    """
    if not 0.0 < meters < math.inf:
        raise InvalidError(f"The scale must be positive, but was {meters}.")
    return projection.at_scale(meters)


@function("Projection.scale")
def scale(projection: Projection, x: float, y: float) -> Projection:
    """Return a copy with units so many times as large."""
    if not x or not y:
        raise InvalidError("A projection cannot be scaled by 0.")
    t = projection.transform
    return Projection(projection.crs, Affine(t.a * x, t.b * y, t.c, t.d * x, t.e * y, t.f))


@function("Projection.translate")
def translate(projection: Projection, x: float, y: float) -> Projection:
    """Return a copy with the origin so many units farther."""
    t = projection.transform
    return Projection(projection.crs, Affine(t.a, t.b, t.a * x + t.b * y + t.c, t.d, t.e, t.d * x + t.e * y + t.f))
