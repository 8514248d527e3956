"""Columns and geometries of tables, as files with columns hold them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eechips_local.evaluation.context import Context
from eechips_local.exports.table_files import planar
from eechips_local.values.value_json import Encoder
from eechips_local.values.values import Feature

_INDEX, _GEO = "system:index", ".geo"


def column_names(features: Sequence[Feature], selectors: Sequence[str] | None) -> list[str]:
    """Return the columns besides the geometry: the selected ones, or all properties but the index."""
    if selectors is not None:
        return [name for name in selectors if name != _GEO]
    return sorted({name for feature in features for name in feature.properties if name != _INDEX})


def column(features: Sequence[Feature], name: str, context: Context) -> pa.Array:
    """Return the values of a property as 64-bit integers, doubles or texts; lists and objects are JSON."""
    encoder = Encoder(context)
    values = [encoder.encode(feature.properties.get(name)) for feature in features]
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, int) and abs(value) < 2**63 for value in known):
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    if known and all(isinstance(value, (int, float)) for value in known):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    texts = [value if isinstance(value, str | None) else json.dumps(value) for value in values]
    return pa.array(texts, pa.string())


def shapes(features: Sequence[Feature]) -> npt.NDArray[np.object_]:
    """Return the geometries in longitude and latitude with straight edges; None where there is none."""
    geometries = np.empty(len(features), dtype=object)
    for index, feature in enumerate(features):
        geometry = planar(feature).geometry
        geometries[index] = None if geometry is None else geometry.lonlat
    return geometries
