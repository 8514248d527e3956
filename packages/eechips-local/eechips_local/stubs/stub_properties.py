"""Make the properties of a stub's images and the columns of its rows, by names, types and stated values; refuse queries
for made-up values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.demo.painting.noise import hashed
from eechips_local.evaluation.asset_model import Query
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.stubs.dataset_description import Column, DatasetDescription

EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""Of images without a time."""
_MADE_UP = "synthetic {}"
_NAMES_DATE = re.compile(r"(^|_)date(_|$)|[a-z]Date$", re.IGNORECASE)
"""Names of texts that are dates: Google's example of USGS/LIMA/SR_METADATA parses ACQ_DATE as yyyy-MM-dd."""
_NAMES_SIZE = re.compile(r"area(sqkm|acres)|shape_(area|leng)")
"""Names of texts that are numbers: Google's guide of filters of a FeatureCollection parses areasqkm of USGS/WBD."""
_TIME_PARTS: Mapping[str, str] = {"year": "%Y", "month": "%m", "day": "%d", "doy": "%j", "hour": "%H"}
"""Names of numbers that are of the time of an image, also after "creation_", as in records of forecasts."""
_CREATION = "creation_"
_NAMES_TIME = re.compile(r"time_(start|end)")
_TIME = "%Y-%m-%dT%H:%M:%S"
"""Google's example of LARSE/GEDI/GEDI02_A_002_INDEX asks for time_start > "2020-10-10T15:57:18"."""
_GRANULE = timedelta(minutes=23)
"""A quarter of GEDI's orbit: https://lpdaac.usgs.gov/products/gedi02_av002"""
MADE_UP_NAMES = frozenset(_MADE_UP.format(number) for number in range(10))
"""Values of texts whose meaning is unknown."""


def forecast_time(start: datetime | None, values: Mapping[str, Any]) -> dict[str, int]:
    """Return the time that a forecast is for, if the record has properties of it and of the hours to it."""
    if start is None or not {"forecast_time", "forecast_hours"} <= values.keys():
        return {}
    return {"forecast_time": millis(start + timedelta(hours=values["forecast_hours"]))}


def property_values(dataset: DatasetDescription, index: str, start: datetime | None) -> dict[str, Any]:
    """Return values of the stated properties of an image, or columns of a row, by their types.

    Args:
        index: ``system:index`` of the image or row.
        start: when it begins; the values of years, months and days follow it.
    """
    words = hashed(len(index), sum(map(ord, index)), _seeds(tuple(column.name for column in dataset.columns)))
    return {
        column.name: _value(column, word, start) for column, word in zip(dataset.columns, words.tolist(), strict=True)
    }


@lru_cache(maxsize=256)
def _seeds(names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return the seeds of the values of some columns."""
    return np.array([sum(map(ord, name)) for name in names], dtype=np.int64)


def check_equals(dataset: DatasetDescription, query: Query) -> None:
    """Refuse a query for a value of a property whose values are made up: that none has it would mislead.

    Raises:
        InvalidError: if there is one.
    """
    for column in dataset.columns:
        wanted = query.equals.get(column.name)
        is_stated = column.values or column.name in dataset.properties or column.name in dict(dataset.variants)
        is_made_up = column.type == "STRING" and not is_stated
        if is_made_up and isinstance(wanted, str) and wanted not in MADE_UP_NAMES:
            raise InvalidError(
                f"The stub of {dataset.id} has made up values of {column.name!r}, so none is {wanted!r}; "
                "`eechips-local assets ingest` prepares files of your own, whose values can be searched for."
            )


def _value(column: Column, word: int, start: datetime | None) -> Any:
    name, values = column.name, column.values
    kind, is_list = column.type.removesuffix("_LIST"), column.type.endswith("_LIST")
    part = name.lower().removeprefix(_CREATION)
    if start is not None and kind in ("INT", "DOUBLE") and part in _TIME_PARTS:
        value: Any = int(start.strftime(_TIME_PARTS[part]))
    elif start is not None and kind in ("INT", "DOUBLE") and name == "creation_time":
        value = millis(start)
    elif values:
        return list(values) if is_list else values[word % len(values)]
    elif column.limits is not None:
        low, high = column.limits
        value = low + (high - low) * ((word % 10_000) / 10_000.0)
        value = round(value) if kind == "INT" else value
    elif kind == "DOUBLE":
        value = (word % 10_000) / 100.0
    elif kind == "INT":
        value = word % 100
    elif kind == "DATETIME":
        value = millis(start or EARLIEST)
    elif _NAMES_TIME.fullmatch(name) is not None:
        value = ((start or EARLIEST) + (_GRANULE if name.endswith("end") else timedelta())).strftime(_TIME)
    elif _NAMES_DATE.search(name) is not None:
        value = (start or EARLIEST).strftime("%Y-%m-%d")
    elif _NAMES_SIZE.fullmatch(name) is not None:
        value = str((word % 10_000_000) / 100.0)
    else:
        value = _MADE_UP.format(word % 10)
    return [value] * 3 if is_list else value


def millis(time: datetime) -> int:
    """Return milliseconds since 1970."""
    return (time - EARLIEST) // timedelta(milliseconds=1)
