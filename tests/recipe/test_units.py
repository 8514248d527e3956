"""Ids of units whose lines somebody else may have changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eechips.recipe import units
from eechips.recipe.units import IdCheck, Unit, unit_id

IDENTITY = "0" * 64
UNIT: Unit = {"kind": "point", "name": 'Zoë "A"', "lon": 1.5}


def test_repeats_of_a_unit_match_in_the_order_of_the_plan() -> None:
    ids = IdCheck(IDENTITY)
    for position, repeat in enumerate([0, 1, 2, 5]):
        assert ids.matches(UNIT, unit_id(UNIT, IDENTITY, repeat), 10 * position)
    assert not ids.matches(UNIT, unit_id({**UNIT, "lon": 1.6}, IDENTITY), 40)
    assert not IdCheck(IDENTITY).matches(UNIT, unit_id(UNIT, IDENTITY, 3), 2)


@pytest.mark.parametrize(("bytes_of_a_unit", "most"), [(20, 1000), (10_000, 100)])
def test_lines_with_wrong_ids_cost_a_bounded_number_of_ids(
    bytes_of_a_unit: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line with a wrong id and a high position took 18 seconds."""
    monkeypatch.setattr(units, "_MOST_REPEATS", 1000)
    tried: list[int] = []

    def numbers(first: int, end: int) -> Iterator[int]:
        for number in range(first, end):
            tried.append(number)
            yield number

    monkeypatch.setattr(units, "range", numbers, raising=False)
    ids = IdCheck(IDENTITY)
    unit: dict[str, Any] = {"kind": "call", "value": "a" * bytes_of_a_unit}
    for _ in range(3):
        assert not ids.matches(unit, "f" * 64, 1 << 60)
    assert len(tried) <= most + 3
