"""Plot the time series of a run: a panel for each region, a line for each column."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eechips.errors import UsageError
from eechips.extras import import_extra
from eechips.manifest.run import Run, open_run
from eechips.processes.warning_filters import ignore_warning
from eechips.reports.output_path import output_path
from eechips.reports.region_series import Curves, common_units, label_columns, read_curves
from eechips.reports.report_options import MOST_PANELS
from eechips.storage import write_file
from eechips.text.formatting import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_NAME = "plot.png"

_ACROSS = ((12, 3), (32, 4), (MOST_PANELS, 5))  # panels side by side, up to a number of panels
_WIDTH, _LEAST_WIDTH = 12.6, 2.8  # of a figure and of a panel, in inches
_DOTS_PER_INCH = 150
_GAP = 3.0  # times the third quartile of the steps between dates: lines are interrupted in longer gaps
_LEGEND = 4  # columns of the legend
_LONE = 4.0  # size of the dot of a value without neighbours, in points
_MOST_TITLE, _MOST_NOTE = 120, 400  # characters
_INK, _FAINT = "#333333", "#8a8a8a"
_COLOURS = ("#1b6ca8", "#d1495b", "#3a8f5c", "#e0a030", "#7b5ea7", "#5f6b76", "#2aa9a1", "#a8572b")


def plot(
    run: Run | str | Path,
    *,
    regions: Sequence[Any] | str | int = (),
    bands: Sequence[str] | str = (),
    out: str | Path | None = None,
) -> Figure:
    """Plot the time series of regions of a run.

    Args:
        run: the run, or its folder: of ``timeseries``, or of a recipe whose tables have a region, a ``date`` and
            values.
        regions: ids of regions, up to ``MOST_PANELS``; the first ones if
            empty; the figure says how many are left out.
        bands: columns, or bands with all their columns; all except counts and valid fractions if empty.
        out: output file, PNG, PDF or SVG by its suffix; None to write no file.

    Returns:
        The figure, which notebooks display, also without pyplot.

    Raises:
        UsageError: if the run has no time series, no such region or column, matplotlib is missing, or the file is a
            result of the run.

    Example:
        >>> eechips.plot("outputs/timeseries-modis-lst", regions=[7, 8], out="lst.png")
    """
    return plot_regions(run, regions=regions, bands=bands, out=out)[0]


def plot_regions(
    run: Run | str | Path,
    *,
    regions: Sequence[Any] | str | int = (),
    bands: Sequence[str] | str = (),
    out: str | Path | None = None,
) -> tuple[Figure, int]:
    """Plot the time series of regions; see :func:`plot`.

    Returns:
        The figure, and the number of the run's regions that are not in it.
    """
    figure_class = _matplotlib()
    regions = [regions] if isinstance(regions, (str, int)) else list(regions)
    if len(regions) > MOST_PANELS:
        raise UsageError(f"{len(regions)} regions are too many for one figure: choose at most {MOST_PANELS}")
    run = open_run(run)
    path = None if out is None else output_path(run, out, PLOT_NAME)
    bands = [bands] if isinstance(bands, str) else list(bands)
    curves = read_curves(run, regions, bands, most=MOST_PANELS)
    with _plain_texts():
        figure = _draw(figure_class, curves, run.info)
    if path is not None:
        save(figure, path)
    return figure, curves.total - len(curves.curves)


def save(figure: Figure, path: Path) -> None:
    """Save a figure atomically; raise UsageError if matplotlib does not know the suffix."""
    suffix = path.suffix.lstrip(".").lower() or "png"
    if suffix not in figure.canvas.get_supported_filetypes():
        raise UsageError(f"{path}: a plot is png, pdf or svg, not {suffix}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=_DOTS_PER_INCH)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, buffer.getvalue())


def _matplotlib() -> type[Figure]:
    import_extra("matplotlib.backends.backend_agg", "plots need matplotlib", "report")  # draws figures without pyplot
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that notebooks display, without pyplot."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return NotebookFigure


@contextlib.contextmanager
def _plain_texts() -> Iterator[None]:
    """Draw names as they are: a dollar sign starts no formula. Letters that the font lacks are drawn as a box."""
    import matplotlib

    ignore_warning(UserWarning, r"Glyph \d+")
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        yield


def _draw(figure_class: type[Figure], curves: Curves, info: dict[str, Any]) -> Figure:
    count = len(curves.curves)
    across = 1 if count == 1 else 2 if count in (2, 4) else next(few for most, few in _ACROSS if count <= most)
    down = math.ceil(count / across)
    panel = max(_WIDTH / max(across, 3), _LEAST_WIDTH)
    columns = list(dict.fromkeys(str(column) for curve in curves.curves for column in curve.values.columns))
    width, height = (9.0, 3.6) if count == 1 else (panel * across, 1.9 * down + 1.1)
    height += 0.19 * max(0, math.ceil(len(columns) / _LEGEND) - 2)  # rows of the legend
    figure = figure_class(figsize=(width, height), layout="constrained", facecolor="white")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    labels = {column: column for column in columns} if common_units(columns, info) else label_columns(columns, info)
    colours = {column: _COLOURS[number % len(_COLOURS)] for number, column in enumerate(columns)}
    for panel, curve in zip(panels, curves.curves, strict=False):
        _style(panel)
        for column in curve.values.columns:
            _line(panel, curve.values[column], colours[str(column)], one_line(labels[str(column)], _MOST_TITLE))
        if not curve.values.notna().to_numpy().any():
            panel.text(0.5, 0.5, "no data", transform=panel.transAxes, ha="center", va="center", color=_FAINT)
        if count > 1:
            panel.set_title(
                one_line(f"{curves.id_column} {curve.region}", _MOST_TITLE), fontsize=8.5, color=_INK, loc="left", pad=3
            )
    _finish(figure, panels, curves, columns, info)
    return figure


def _style(panel: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    panel.grid(True, color="#e6e6e6", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=8, color=_FAINT, labelcolor=_INK, length=2.5)
    panel.xaxis.get_offset_text().set_fontsize(8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color(_FAINT)


def _line(panel: Axes, values: pd.Series[Any], colour: str, label: str) -> None:
    """Draw a line, interrupted in long gaps; values without neighbours are dots."""
    broken = with_gaps(values)
    dates, numbers = broken.index.to_numpy(), broken.to_numpy(float)
    there = np.isfinite(numbers)
    before, after = np.r_[False, there[:-1]], np.r_[there[1:], False]
    lone = there & ~before & ~after
    width = 1.4 if len(values) < 120 else 0.9
    panel.plot(dates, numbers, color=colour, linewidth=width, label=label, solid_joinstyle="round")
    panel.plot(dates[lone], numbers[lone], color=colour, linestyle="none", marker=".", markersize=_LONE)


def with_gaps(values: pd.Series[Any]) -> pd.Series[Any]:
    """Leave out missing values; insert one into every gap that is much longer than most steps between dates.

    A line thus joins the values on both sides of a cloudy date, and ends where many dates have none. Three quarters of
    the steps count, not half: clear dates come in groups, and the steps between these are no gaps.
    """
    values = values.dropna()
    steps = np.diff(values.index.to_numpy())
    if len(steps) < 2:
        return values
    lengths = steps.astype(np.int64)
    long = np.flatnonzero(lengths > _GAP * np.quantile(lengths, 0.75))
    if not len(long):
        return values
    middles = values.index.to_numpy()[long] + steps[long] / 2
    gapped_series: pd.Series[Any] = pd.concat([values, pd.Series(np.nan, index=pd.DatetimeIndex(middles))])
    return gapped_series.sort_index()


def _finish(figure: Figure, panels: Any, curves: Curves, columns: Sequence[str], info: dict[str, Any]) -> None:
    for panel in panels[len(curves.curves) :]:
        panel.set_visible(False)
    across = panels[0].get_gridspec().ncols
    for index, panel in enumerate(panels[: len(curves.curves)]):
        if index + across >= len(curves.curves):  # no panel below: show the dates here
            panel.tick_params(labelbottom=True)
    _mark_only_date(panels[0], curves)
    figure.suptitle(one_line(_title(curves, info), _MOST_TITLE), fontsize=10.5, color=_INK, x=0.01, ha="left")
    figure.supylabel(one_line(_quantity(columns, info), _MOST_TITLE), fontsize=8.5, color=_INK)
    if len(columns) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower left", ncols=min(len(columns), _LEGEND), fontsize=8, frameon=False
        )
    notes = [*info.get("notes", ())]
    if curves.total > len(curves.curves) and len(curves.curves) > 1:
        notes.append(f"{len(curves.curves)} of {curves.total:,} regions.")
    if notes:
        figure.supxlabel(one_line(" ".join(notes), _MOST_NOTE), fontsize=7, color=_FAINT, x=0.99, ha="right")


def _mark_only_date(panel: Axes, curves: Curves) -> None:
    """Label the only date of all panels, which share their axes: an axis of one date would have years around it."""
    dates = {date for curve in curves.curves for date in curve.values.dropna(how="all").index}
    if len(dates) == 1:
        (date,) = dates
        panel.set_xticks([date], [f"{date:%Y-%m-%d}"])


def _title(curves: Curves, info: dict[str, Any]) -> str:
    used = [dataset.get("title") or dataset["id"] for dataset in info.get("datasets", ())[:1]]
    parts = used or [str(info.get("recipe", ""))]
    if len(curves.curves) == 1:
        parts.append(f"{curves.id_column} {curves.curves[0].region}")
    every = info.get("parameters", {}).get("every")
    if every:
        parts.append(f"every {str(every).removeprefix('1 ')}")
    return ", ".join(part for part in parts if part)


def _quantity(columns: Sequence[str], info: dict[str, Any]) -> str:
    """Return the label of the values: band, reducer, scaling and units, unless the legend names them."""
    parameters = info.get("parameters", {})
    reducers = str(parameters.get("reducer") or "").split(",")
    if len(reducers) > 1:
        bands = {column.removesuffix(f"_{name}") for column in columns for name in reducers if column.endswith(name)}
        text = bands.pop() if len(bands) == 1 else ""
    else:
        text = columns[0] if len(columns) == 1 else ""
        text = f"{reducers[0]} of {text}" if text and reducers[0] else text
    factor, summand = parameters.get("multiply"), parameters.get("add")
    if factor is not None:
        text = f"{text or 'values'} × {factor:g}"
    if summand is not None:
        text = f"{text or 'values'} {'+' if summand >= 0 else '−'} {abs(summand):g}"
    units = common_units(columns, info)
    return f"{text} ({units})" if text and units else text or units
