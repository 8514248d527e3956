"""Build the sections of a report that are charts; a section without content is None."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.geo.ellipsoid import Floats
from eechips.reports.markup import Markup, element
from eechips.reports.region_series import label_columns
from eechips.reports.report_data import ReportData
from eechips.reports.section_markup import section, small_print
from eechips.reports.svg_chart import ChartAxis, ChartLine, bars, legend, lines, round_axis, time_axis
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
    pauses = f"The run took {history.commands} commands; the pauses between them are left out."
    shown = element("div", *plots, class_="plots")
    return section("throughput", "Throughput", shown, small_print(pauses) if history.commands > 1 else None)


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
    return section("compute", "Compute", element("div", plot, class_="plots"), small_print(facts))


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
    labels = list(label_columns(columns, data.info).values())
    apart = "" if data.places.has_places else "The regions are not on a map, since the plan has their ids only."
    note = " ".join(part for part in (f"{labels[0]}." if len(labels) == 1 else "", of, apart) if part)
    return section("series", "Time series", legend(labels), element("div", *plots, class_="plots"), small_print(note))


def _days(index: Any) -> Floats:
    """Convert dates to days since 1970."""
    days: Floats = index.to_numpy().astype("datetime64[s]").astype(np.int64) / _SECONDS_PER_DAY
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
