"""Find the units of a table's columns, from the bands that run.json describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eechips.datasets.result_bands import describe_units

_WITHOUT_UNITS = frozenset({"count", "variance"})
"""Reducers whose values have no units, or others than their band."""


def column_units(columns: Sequence[str], info: Mapping[str, Any]) -> dict[str, str]:
    """Return the units of columns of values; columns without known units are left out.

    Args:
        columns: names, ``<band>`` or ``<band>_<reducer>``.
        info: content of run.json.
    """
    units = {str(band.get("band")): describe_units(band) for band in info.get("bands", ())}
    reducers = str(info.get("parameters", {}).get("reducer") or "").split(",")
    named = dict(units) if reducers[0] not in _WITHOUT_UNITS or len(reducers) > 1 else {}
    named |= {f"{band}_{name}": units[band] for band in units for name in reducers if name not in _WITHOUT_UNITS}
    return {column: named[column] for column in columns if named.get(column)}


def common_units(columns: Sequence[str], info: Mapping[str, Any]) -> str:
    """Return the units that all columns have; empty if they differ or are not known."""
    units = column_units(columns, info)
    return units[columns[0]] if len(units) == len(columns) and len(set(units.values())) == 1 else ""


def label_columns(columns: Sequence[str], info: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of columns: their names, with their units where they are known."""
    units = column_units(columns, info)
    return {column: f"{column} ({units[column]})" if column in units else column for column in columns}
