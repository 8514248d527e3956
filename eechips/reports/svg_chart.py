"""Draw lines and histograms as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips.reports.markup import Markup, element, join
from eechips.text.formatting import format_count

_WIDTH, _HEIGHT = 420.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 10.0, 26.0
_TICKS = 4  # approximate number of ticks of an axis
_NARROWEST = 1e-300  # of an axis
_LETTER = 6.2  # width of a character in axis labels


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line of a chart; NaN interrupts it.

    Attributes:
        label: shown in the legend.
        steps: whether a value is constant up to the next point.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    steps: bool = False


@dataclass(frozen=True, slots=True)
class ChartAxis:
    """An axis of a chart.

    Attributes:
        low: value at its beginning.
        high: value at its end; greater than ``low``.
        ticks: values and labels.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """Return the position of a value along the axis, 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def round_axis(low: float, high: float) -> ChartAxis:
    """Return an axis from a round number to a round number, with round numbers between."""
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = (low - 0.5, low + 0.5) if math.isfinite(low) else (0.0, 1.0)
    if high - low <= max(_NARROWEST, 1e-12 * abs(low)):  # no round floats in between
        half = max(0.5, 1e-9 * abs(low))
        low, high = low - half, low + half
    step = _round_step((high - low) / _TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return ChartAxis(first * step, last * step, [(n * step, _number(n * step, step)) for n in range(first, last + 1)])


def time_axis(seconds: float) -> ChartAxis:
    """Return an axis of a duration."""
    seconds = max(seconds, 1.0)
    steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]
    step = next((step for step in steps if seconds / step <= 6), 86400 * math.ceil(seconds / 86400 / 6))
    unit, name = (
        (1, "s") if step < 60 else (60, "min") if step < 3600 else (3600, "h") if step < 86400 else (86400, "d")
    )
    count = math.floor(seconds / step)
    return ChartAxis(0.0, seconds, [(n * step, f"{n * step / unit:g} {name}" if n else "0") for n in range(count + 1)])


def bars(
    label: str, edges: npt.NDArray[np.float64], counts: Sequence[Sequence[float]], names: Sequence[str], x: ChartAxis
) -> Markup:
    """Draw a histogram by the edges of its bins, one more than bins; several counts are stacked.

    Args:
        names: what is counted, in the plural: "units", "requests rejected".
    """
    totals = np.sum(np.asarray(counts, dtype=np.float64), axis=0)
    y = round_axis(0.0, max(float(totals.max(initial=0.0)), 1.0))
    shapes, base = [], np.zeros(len(totals))
    for number, series in enumerate(counts):
        for bin_, count in enumerate(series):
            if count <= 0:
                continue
            left, right = _x(x, edges[bin_]), _x(x, edges[bin_ + 1])
            top, bottom = _y(y, base[bin_] + count), _y(y, base[bin_])
            noun, _, rest = names[number].partition(" ")
            counted = format_count(round(count), noun.removesuffix("s"))
            tip = f"{edges[bin_]:.4g} to {edges[bin_ + 1]:.4g}: {f'{counted} {rest}'.rstrip()}"
            shapes.append(
                element(
                    "rect",
                    element("title", tip),
                    class_=f"s{number}",
                    x=f"{left + 0.4:.1f}",
                    y=f"{top:.1f}",
                    width=f"{max(right - left - 0.8, 0.6):.1f}",
                    height=f"{max(bottom - top, 0.7):.1f}",
                )
            )
        base = base + np.asarray(series, dtype=np.float64)
    return _svg(label, x, y, join(*shapes))


def lines(
    label: str, drawn: Sequence[ChartLine], x: ChartAxis, y: ChartAxis | None = None, *, fills: bool = False
) -> Markup:
    """Draw lines, interrupted where values are missing; a value without neighbours is a dot.

    Without ``y`` the vertical axis goes from 0 to the maximum; with ``fills`` the area below the first line is filled.
    """
    if y is None:
        y = round_axis(0.0, max([1e-9, *(value for line in drawn for value in line.y if math.isfinite(value))]))
    shapes = []
    for number, line in enumerate(drawn):
        for piece in _pieces(line):
            places = [(_x(x, px), _y(y, py)) for px, py in piece]
            if len(places) == 1:
                shapes.append(
                    element("circle", class_=f"s{number}", cx=f"{places[0][0]:.1f}", cy=f"{places[0][1]:.1f}", r="1.6")
                )
                continue
            path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
            if fills and number == 0:
                floor = f"L{places[-1][0]:.1f} {_y(y, y.low):.1f}L{places[0][0]:.1f} {_y(y, y.low):.1f}Z"
                shapes.append(element("path", class_="area", d=path + floor))
            shapes.append(element("path", class_=f"line s{number}", d=path))
    return _svg(label, x, y, join(*shapes))


def legend(names: Sequence[str]) -> Markup:
    """Return the legend; empty for fewer than two series."""
    if len(names) < 2:
        return Markup()
    entries = [element("li", element("span", class_=f"key s{number}"), name) for number, name in enumerate(names)]
    return element("ul", *entries, class_="keys")


def _pieces(line: ChartLine) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for px, py in zip(line.x, line.y, strict=True):
        if not math.isfinite(py):
            pieces.append([])
            continue
        if line.steps and pieces[-1]:
            pieces[-1].append((px, pieces[-1][-1][1]))
        pieces[-1].append((px, py))
    return [piece for piece in pieces if piece]


def _svg(label: str, x: ChartAxis, y: ChartAxis, content: Markup) -> Markup:
    parts = []
    for value, text in y.ticks:
        at = f"{_y(y, value):.1f}"
        parts.append(element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=at, y2=at))
        parts.append(
            element("text", text, class_="tick", x=_LEFT - 5, y=f"{_y(y, value) + 3.5:.1f}", text_anchor="end")
        )
    free = 0.0
    for value, text in x.ticks:
        wide = _LETTER * len(text)
        left = min(max(_x(x, value) - wide / 2, _LEFT), _WIDTH - _RIGHT - wide)
        if left < free:
            continue  # it would overlap the previous label
        free = left + wide + _LETTER
        parts.append(
            element("text", text, class_="tick", x=f"{left + wide / 2:.1f}", y=_HEIGHT - 8, text_anchor="middle")
        )
    return element(
        "svg", *parts, content, viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", role="img", aria_label=label, class_="chart"
    )


def _x(axis: ChartAxis, value: float) -> float:
    return _LEFT + axis.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: ChartAxis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.share(value) * (_HEIGHT - _BOTTOM - _TOP)


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= least * (1 - 1e-9))


def _number(value: float, step: float) -> str:
    if abs(value) >= 1e6 and step >= 1e4:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4 and step >= 10:
        return f"{value / 1e3:g}k"
    if step >= 1:
        return f"{value:g}"
    digits = -math.floor(math.log10(step) + 1e-9)
    is_half = abs(step * 10**digits - round(step * 10**digits)) > 1e-6  # 0.25 has one more digit
    return f"{value:.{digits + is_half}f}"
