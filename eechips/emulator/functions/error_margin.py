"""``ErrorMargin``."""

from __future__ import annotations

from typing import Literal, cast

from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.registry import function
from eechips.emulator.values import ErrorMargin

_INFINITE = 2.0e7  # metres; as much and more counts as infinite (apidocs/ee-errormargin)


@function("ErrorMargin")
def make(value: float | None, unit: str) -> ErrorMargin:
    """The greatest error that an approximate operation may make."""
    if unit not in ("meters", "projected", "infinite"):
        raise InvalidError(f"Unknown error margin unit '{unit}'. Must be 'meters', 'projected' or 'infinite'.")
    if unit != "infinite" and value is None:
        raise InvalidError("An error margin must have a value unless it is infinite.")
    amount = abs(value or 0.0)
    if unit == "infinite" or (unit == "meters" and amount >= _INFINITE):
        return ErrorMargin(0.0, "infinite")
    return ErrorMargin(amount, cast(Literal["meters", "projected"], unit))
