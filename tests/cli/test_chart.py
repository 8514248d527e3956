"""Charts made of text."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from eechips.cli.inspect_commands import sparkline

LEVELS = " ▁▂▃▄▅▆▇█"


def test_the_maximum_is_the_highest_level() -> None:
    assert sparkline([0, 1, 8, 9, 16], LEVELS) == " ▁▄▅█"
    assert sparkline([0, 0], LEVELS) == "  "
    assert sparkline([0, 8, 16], "  .:-=+*#") == " -#"


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=200))
def test_levels_are_those_of_the_values(values: list[float]) -> None:
    drawn = [LEVELS.index(character) for character in sparkline(values, LEVELS)]
    for value, level in zip(values, drawn, strict=True):
        exact = value / (max(values) or 1.0) * 8
        assert math.ceil(exact - 1e-6) <= level <= math.ceil(exact + 1e-6)
