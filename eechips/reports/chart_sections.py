"""Build the sections of a report that are charts; a section without content is None."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.reports.markup import Markup, element, join
from eechips.reports.report_data import ReportData
from eechips.reports.section_markup import section
from eechips.text.formatting import format_compute, format_count, format_duration

_COLUMNS = 6  # regions of a table whose series are drawn
_SECONDS_PER_DAY = 86400.0
_BINS = 40


def throughput(data: ReportData) -> Markup | None:
    """Build the charts of throughput, requests in flight and errors over time."""
    history = data.status.history
    if len(history.rates) < 2:
        return None
    x = time_axis(history.duration)
    starts = [number * history.seconds for number in range(len(history.rates))]
    ends = [*starts[1:], history.duration]

    def steps(label: str, values: Sequence[float]) -> ChartLine:
        return ChartLine(label, [*starts, ends[-1]], [*values, values[-1]], steps=True)

    caption = f"Units per second, over {format_duration(history.duration)}"
    plots = [_figure(caption, lines(caption, [steps("units per second", history.rates)], x, fills=True))]
    if history.in_flight:
        drawn = [steps("requests in flight", history.in_flight)]
        if history.limits:
            drawn.append(steps("limit", history.limits))
        caption = "Requests in flight, and their limit"
        plots.append(_figure(caption, lines(caption, drawn, x, fills=True), legend([line.label for line in drawn])))
    edges = np.array([*starts, ends[-1]])
    failed = list(history.failed)
    series, names = [failed], ["units failed"]
    if any(history.rejected):
        series, names = [failed, list(history.rejected)], ["units failed", "requests rejected"]
    if any(map(any, series)):
        caption = "Failed units, and requests rejected by the service"
        plots.append(_figure(caption, bars(caption, edges, series, names, x), legend(names)))
    else:
        plots.append(element("p", "No failed units and no rejected requests in the log.", class_="note"))
    commands = (
        f"The run took {history.commands} commands; the pauses between them are left out."
        if history.commands > 1
        else ""
    )
    return section(
        "throughput",
        "Throughput",
        element("div", *plots, class_="plots"),
        element("p", commands, class_="note") if commands else None,
    )


def compute(data: ReportData) -> Markup | None:
    """Build the histogram of the units' EECU-seconds, as far as they were profiled."""
    seconds = data.compute
    if not seconds.size:
        return None
    counted = f"{seconds.size:,} of {format_count(data.status.total, 'unit')} profiled"
    facts = f"{counted}; {float(seconds.mean()):.3g} EECU-seconds a unit on average."
    used = data.info.get("compute")
    if isinstance(used, dict) and isinstance(used.get("eecu_seconds"), (int, float)):
        facts += f" The run has used about {format_compute(float(used['eecu_seconds']))}, planning included."
    if isinstance(tag := data.info.get("workload_tag"), str):
        facts += f" Workload tag: {tag}."
    x = round_axis(0.0, float(seconds.max()))
    counts, edges = np.histogram(seconds, bins=_BINS, range=(0.0, x.high))
    caption = "Units by EECU-seconds"
    plot = _figure(caption, bars(caption, edges, [counts.tolist()], ["units"], x))
    return section("compute", "Compute", element("div", plot, class_="plots"), element("p", facts, class_="note"))


def series(data: ReportData) -> Markup | None:
    """Build the charts of time series, one for each region."""
    curves = data.curves
    if curves is None:
        return None
    from eechips.reports.figure import with_gaps

    values = [curve.values.to_numpy(float, na_value=np.nan) for curve in curves.curves]
    known = (
        np.concatenate([curve_values[np.isfinite(curve_values)] for curve_values in values]) if values else np.empty(0)
    )
    if not known.size:
        return None
    columns = list(dict.fromkeys(str(column) for curve in curves.curves for column in curve.values.columns))[:_COLUMNS]
    days = [_days(curve.values.index) for curve in curves.curves]
    x = _date_axis(min(day.min() for day in days if len(day)), max(day.max() for day in days if len(day)))
    y = round_axis(float(known.min()), float(known.max()))
    plots = []
    for curve in curves.curves:
        drawn = []
        for column in columns:
            if column in curve.values:
                broken = with_gaps(curve.values[column])
                drawn.append(
                    ChartLine(column, _days(broken.index).tolist(), broken.to_numpy(float, na_value=np.nan).tolist())
                )
        caption = f"{curves.id_column} {curve.region}"
        drawing = lines(f"{', '.join(columns)} of {caption}", drawn, x, y)
        plots.append(_figure(caption, drawing, region=curve.region))
    of = f"The first {len(curves.curves)} of {curves.total:,} regions." if curves.total > len(curves.curves) else ""
    apart = "" if data.places.has_places else "The regions are not on a map, since the plan has their ids only."
    note = " ".join(part for part in (f"{columns[0]}." if len(columns) == 1 else "", of, apart) if part)
    return section(
        "series",
        "Time series",
        legend(columns),
        element("div", *plots, class_="plots"),
        element("p", note, class_="note") if note else None,
    )


def _days(index: Any) -> npt.NDArray[np.float64]:
    """Convert dates to days since 1970."""
    days: npt.NDArray[np.float64] = index.to_numpy().astype("datetime64[s]").astype(np.int64) / _SECONDS_PER_DAY
    return days


def _date_axis(first: float, last: float) -> ChartAxis:
    """Make an axis of days since 1970, labelled with years, months or days."""
    last = max(last, first + 1.0)
    begin, end = (np.datetime64(int(day), "D") for day in (math.floor(first), math.ceil(last)))
    years = (end.astype("datetime64[Y]") - begin.astype("datetime64[Y]")).astype(int)
    if years >= 3:
        every = max(1, math.ceil(years / 6))
        moments = np.arange(begin.astype("datetime64[Y]"), end.astype("datetime64[Y]") + 1)
        moments = moments[moments.astype(int) % every == 0]
        marks = [(moment, str(moment)) for moment in moments]
    elif (end - begin).astype(int) > 70:
        every = max(1, math.ceil((end - begin).astype(int) / 30.4 / 6))
        months = np.arange(begin.astype("datetime64[M]"), end.astype("datetime64[M]") + 1)
        marks = [(month, str(month)) for month in months[months.astype(int) % every == 0]]
    else:
        every = max(1, math.ceil((end - begin).astype(int) / 5))
        marks = [(day, str(day)[5:]) for day in np.arange(begin, end + 1)[::every]]
    ticks = [(float(moment.astype("datetime64[D]").astype(int)), text) for moment, text in marks]
    return ChartAxis(first, last, [(day, text) for day, text in ticks if first <= day <= last])


def _figure(caption: str, *parts: Any, region: str | None = None) -> Markup:
    return element("figure", element("figcaption", caption), *parts, class_="plot", data_region=region)


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
    """Draw a histogram by the edges of its bins, one more than bins; several counts are stacked."""
    totals = np.sum(np.asarray(counts, dtype=np.float64), axis=0)
    y = round_axis(0.0, max(float(totals.max(initial=0.0)), 1.0))
    shapes, base = [], np.zeros(len(totals))
    for number, series in enumerate(counts):
        for bin_, count in enumerate(series):
            if count <= 0:
                continue
            left, right = _x(x, edges[bin_]), _x(x, edges[bin_ + 1])
            top, bottom = _y(y, base[bin_] + count), _y(y, base[bin_])
            tip = f"{edges[bin_]:.4g} to {edges[bin_ + 1]:.4g}: {count:,.0f} {names[number]}"
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
