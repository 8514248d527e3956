"""Charts made of text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eechips.cli.inspect_commands import bars, width_for


def test_a_chart_has_bars_and_an_axis() -> None:
    assert bars([0, 1, 8, 9, 16], height=2, top=16, end="5 s") == ["      16┤   ▁█", "        ┤ ▁███", "       0┼0 5 s"]
    assert bars([0, 8, 16], height=2, top=16, end="3 s", is_plain=True) == [
        "      16|  #",
        "        | ##",
        "       0+3 s",
    ]


def height_of(column: list[str]) -> int:
    """Eighths of rows that a column of a chart fills, counted from below; -1 if it has a hole."""
    levels = [" ▁▂▃▄▅▆▇█".index(cell) for cell in column]
    full = sum(level == 8 for level in levels)
    above = levels[full:]
    return 8 * full + above[0] if above and not any(above[1:]) else (8 * full if not above else -1)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=200),
    st.integers(1, 8),
    st.floats(0.1, 100),
    st.text("ab", max_size=9),
)
def test_every_bar_is_as_high_as_its_value(values: list[float], height: int, top: float, end: str) -> None:
    *rows, axis = (line[9:] for line in bars(values, height=height, top=top, end=end))
    assert len(rows) == height
    assert axis.endswith(end)
    columns = zip(*(row.ljust(len(values)) for row in reversed(rows)), strict=True)
    for value, column in zip(values, columns, strict=True):
        drawn, exact = height_of(list(column)), min(value / top, 1) * height * 8
        assert exact - 1e-6 <= drawn < exact + 1 + 1e-6


def test_the_width_leaves_room_for_the_numbers() -> None:
    values = [1.0] * width_for(80)
    assert max(map(len, bars(values, height=3, top=1, end="1 min"))) <= 80
    assert width_for(5) == 10
