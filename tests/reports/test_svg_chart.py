"""Charts show their values."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eechips.reports.svg_chart import ChartAxis, ChartLine, bars, legend, lines, round_axis, time_axis

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)


def shapes(svg: str, name: str) -> list[ElementTree.Element]:
    return [each for each in ElementTree.fromstring(svg).iter(name) if each.get("class") != "grid"]


@given(NUMBERS, NUMBERS)
@example(-2.2250738585e-313, 0.0)
@example(1e9, np.nextafter(1e9, 2e9))
@example(1e300, 1e300)
@example(-1e15, -1e15)
def test_a_round_axis_holds_its_range(low: float, high: float) -> None:
    axis = round_axis(low, high)
    slack = 1e-6 * (axis.high - axis.low)
    if high > low:
        assert axis.low <= low + slack
        assert axis.high >= high - slack
    values = [value for value, _ in axis.ticks]
    assert 2 <= len(values) <= 7
    assert values[0] == pytest.approx(axis.low)
    assert values[-1] == pytest.approx(axis.high)
    assert axis.share(axis.low) == 0.0
    assert axis.share(axis.high) == 1.0


def test_numbers_are_written_short() -> None:
    assert [text for _, text in round_axis(0, 1).ticks] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert [text for _, text in round_axis(0, 90_000).ticks] == ["0", "25k", "50k", "75k", "100k"]
    assert [text for _, text in round_axis(0, 4e6).ticks] == ["0", "1M", "2M", "3M", "4M"]
    assert [text for _, text in round_axis(-3, 4).ticks] == ["-4", "-2", "0", "2", "4"]


@pytest.mark.parametrize(
    ("seconds", "texts"),
    [
        (4.0, ["0", "1 s", "2 s", "3 s", "4 s"]),
        (300.0, ["0", "1 min", "2 min", "3 min", "4 min", "5 min"]),
        (6 * 3600.0, ["0", "1 h", "2 h", "3 h", "4 h", "5 h", "6 h"]),
        (20 * 86400.0, ["0", "4 d", "8 d", "12 d", "16 d", "20 d"]),
        (0.0, ["0", "1 s"]),
    ],
)
def test_time_axes_have_round_labels(seconds: float, texts: list[str]) -> None:
    assert [text for _, text in time_axis(seconds).ticks] == texts


def test_bars_are_as_high_as_counts() -> None:
    svg = bars(
        "of <chips>",
        np.array([0.0, 1.0, 2.0, 3.0]),
        [[4, 0, 2], [0, 0, 1]],
        ["units", "units failed"],
        round_axis(0, 3),
    )
    found = shapes(svg, "rect")
    assert [each.get("class") for each in found] == ["s0", "s0", "s1"]
    heights = [float(each.get("height", "")) for each in found]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[1] == pytest.approx(2 * heights[2], abs=0.2)
    bottom = float(found[2].get("y", "")) + heights[2]
    assert bottom == pytest.approx(float(found[1].get("y", "")), abs=0.2)  # one lies on the other
    assert [each.findtext("title") for each in found] == ["0 to 1: 4 units", "2 to 3: 2 units", "2 to 3: 1 unit failed"]
    assert ElementTree.fromstring(svg).get("aria-label") == "of <chips>"


def test_lines_break_where_values_are_missing() -> None:
    nan = math.nan
    line = ChartLine("x", [0, 1, 2, 3, 4, 5], [1, 2, nan, 3, nan, 1])
    svg = lines("series", [line], ChartAxis(0, 5, []), ChartAxis(0, 4, []))
    paths = [each.get("d", "") for each in shapes(svg, "path")]
    assert len(paths) == 1
    assert len(re.findall(r"[ML]", paths[0])) == 2
    assert len(shapes(svg, "circle")) == 2


def test_steps_hold_their_value() -> None:
    svg = lines(
        "pace", [ChartLine("x", [0, 1, 2], [1, 3, 3], steps=True)], ChartAxis(0, 2, []), ChartAxis(0, 4, []), fills=True
    )
    area, path = (each.get("d", "") for each in shapes(svg, "path"))
    points = [tuple(map(float, part.split())) for part in path[1:].split("L")]
    assert points[1] == (points[2][0], points[0][1])  # along first, then up
    assert area.startswith(path)
    assert area.endswith("Z")


def test_several_lines_have_a_legend() -> None:
    assert legend(["one"]) == ""
    assert legend(["a", "<b>"]).count("<li>") == 2
    assert "&lt;b&gt;" in legend(["a", "<b>"])
