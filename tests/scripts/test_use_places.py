"""The place in a script at which it uses a pool."""

from __future__ import annotations

from typing import Any

from eechips.scripts.pooling.use_places import present_place


def _place_of_call(_: Any = None) -> str:
    return present_place()


def test_turns_of_for_loops_are_different_places() -> None:
    places: list[str] = []
    for _ in range(2):
        turns: list[str] = []
        for year, (month, name) in ((2020, (1, "a")), (2020, (2, "a")), (2021, (2, "a")), (2021, (2, "b"))):
            if name:
                turns.append(_place_of_call((year, month)))
        turns += [_place_of_call(year) for year in (2020, 2021)]
        for index, year in enumerate((2020, 2021)):
            turns.append(_place_of_call((index, year)))
        assert len(set(turns)) == len(turns) == 8
        places += turns
    assert len(set(places)) == 16


def test_places_do_not_depend_on_other_variables() -> None:
    """Objects of a loop may have other addresses in each process."""
    places: list[str] = []
    number = 0
    while number < 2:
        number += 1
        places.append(_place_of_call(object()))
    for thing in (object(), [object()], {"a": object()}):
        places.append(_place_of_call(thing))
    assert len(set(places[:2])) == 1
    assert len(set(places[2:])) == 1
    assert places[0] != places[2] != _place_of_call()
