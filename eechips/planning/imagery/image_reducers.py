"""Reducers that make one image of several: names as users write them, and the reducers of Earth Engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from eechips.errors import UsageError
from eechips.text.suggestion import describe_choices

if TYPE_CHECKING:
    import ee

REDUCERS = ("mean", "median", "min", "max", "mode", "stdDev", "count", "mosaic")
"""Reducers of a pixel's values in a period, besides pNN and qualityMosaic:BAND."""

QUALITY_PREFIX = "qualityMosaic:"
"""What comes before the name of the band whose greatest value selects the image of a pixel."""

_FRACTIONAL = ("mean", "median", "stdDev")
_PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")


def check_reducer(name: str) -> None:
    """Check the name of a reducer; raise UsageError if there is no such reducer."""
    percentile = _PERCENTILE.fullmatch(name)
    if percentile and float(percentile[1]) > 100:
        raise UsageError(f"reducer={name!r}: a percentile is at most 100")
    if not (percentile or name in REDUCERS or (name.startswith(QUALITY_PREFIX) and name != QUALITY_PREFIX)):
        known = describe_choices(name, [*REDUCERS, f"{QUALITY_PREFIX}BAND"])
        raise UsageError(f"unknown reducer {name!r}, nor is it a percentile such as p10; {known}")


def is_fractional(name: str) -> bool:
    """Return whether values of a reducer are fractions even for integer bands."""
    return name in _FRACTIONAL or _PERCENTILE.fullmatch(name) is not None


def reduced_dtype(name: str) -> str | None:
    """Return the numpy name of the type of a frame that a reducer makes; None for that of the bands."""
    if name == "count":
        return "uint16"
    return "float32" if is_fractional(name) else None


def make_reducer(name: str) -> ee.Reducer:
    """Return the reducer of a name; not of ``mosaic`` and ``qualityMosaic``, which are no reducers of Earth Engine."""
    import ee

    percentile = _PERCENTILE.fullmatch(name)
    return ee.Reducer.percentile([float(percentile[1])]) if percentile else getattr(ee.Reducer, name)()
