"""Make pictures and pages of a run: ``eechips report``, ``preview``, ``plot``, ``smooth`` and ``georeference``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eechips.cli.terminal import echo
from eechips.commands.parameters import FunctionT, LocalPath, run_command
from eechips.reports.report_options import MOST_PANELS, MOST_THUMBNAILS, SMOOTHING_METHODS, THUMBNAILS
from eechips.storage import safe_component
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.reports.smoothing import Method

_bands = click.option(
    "--band",
    "bands",
    multiple=True,
    metavar="NAME",
    help="Only this column, or all columns of this band. May be repeated.",
)


def _out_option(text: str) -> Callable[[FunctionT], FunctionT]:
    """Declare the option for the file that a command writes."""
    return click.option("--out", type=LocalPath(dir_okay=False), metavar="FILE", help=text)


@run_command("report")
@_out_option("Output file. [default: DIR/report.html, which links to the files of the run]")
@click.option(
    "--thumbnails",
    type=click.IntRange(0, MOST_THUMBNAILS),
    default=THUMBNAILS,
    show_default=True,
    metavar="N",
    help="Maximum number of chips, selected equally from each stratum.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random selection.")
def report_command(folder: Path, out: Path | None, thumbnails: int, seed: int) -> None:
    """Make the report of a run: one HTML file that needs no network.

    It shows failures, a map, chips by stratum, histograms, a table of units, throughput and errors over time, settings
    and licences; for time series, a chart for each region. Its search box selects units. Every run makes it at its end,
    unless the results are in an object store. The run may be in progress.

    \b
    Examples:
      eechips report outputs/sample-naip
      eechips report outputs/sample-naip --thumbnails 1000 --out naip.html
    """
    from eechips.reports.page import report

    echo(report(folder, out=out, thumbnails=thumbnails, seed=seed))


@run_command("preview")
@click.option(
    "--by",
    default="stratum",
    show_default=True,
    metavar="NAME",
    help="Column of the units, such as eco_name: a row for each of its values. stratum: the strata of the run, or the"
    " places of a time series. nothing: chips in no order.",
)
@click.option("--rows", type=click.IntRange(1), default=12, show_default=True, help="Maximum number of rows.")
@click.option(
    "--columns",
    type=click.IntRange(1),
    help="Maximum number of chips in a row. [default: 8; 24 frames of a time series]",
)
@click.option(
    "--edge",
    type=click.IntRange(8, 1024),
    default=128,
    show_default=True,
    help="Edge of a chip in the picture, in pixels.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random selection.")
@_out_option("Output file, PNG or JPEG by its suffix. [default: DIR/preview.png]")
def preview_command(
    folder: Path, by: str, rows: int, columns: int | None, edge: int, seed: int, out: Path | None
) -> None:
    """Make a contact sheet of a run: a picture of some chips, a row for each stratum.

    Of a time series, rows are places, by their names in your file or their coordinates, and columns are dates. Prints
    the file name, how the chips are rendered, and the content of the rows. Datasets with a short name have their usual
    bands, value range and colours; others are stretched from the 2nd to the 98th percentile of all chips. Masked pixels
    are grey. Of several files of a place, the first is shown.

    \b
    Examples:
      eechips preview outputs/sample-naip
      eechips preview outputs/sample-naip --by eco_name --columns 5 --edge 192 --out chips.jpg
      eechips preview outputs/sample-naip --by nothing --rows 20 --columns 20 --edge 64
    """
    from eechips.manifest.run import open_run
    from eechips.reports.contact_sheet import layout, save

    run = open_run(folder)
    chosen = layout(run, by=by, rows=rows, columns=columns, seed=seed)
    path, painted = save(run, chosen, edge, out)
    echo(path)
    for painting in painted:
        if painting.text:
            echo(f"rendered: {painting.text}")
        for code, name, colour in painting.classes:
            echo(f"class {code}: {f'{name}, ' if name else ''}#{colour}")
    for number, row in enumerate(chosen, start=1):
        if row.name:
            echo(f"row {number}: {row.caption}")


@run_command("plot")
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="ID",
    help=f"Only this region. May be repeated. [default: the first {MOST_PANELS}]",
)
@_bands
@_out_option("Output file, PNG, PDF or SVG by its suffix. [default: DIR/plot.png, with the selection in its name]")
def plot_command(folder: Path, regions: tuple[str, ...], bands: tuple[str, ...], out: Path | None) -> None:
    """Plot the time series of a run: a panel for each region, a line for each column.

    For runs of timeseries, and of recipes whose tables have a region, a column date, and values. Lines are
    interrupted in long gaps. Needs matplotlib: pip install 'eechips[report]'.

    \b
    Examples:
      eechips plot outputs/timeseries-modis-lst
      eechips plot outputs/timeseries-modis-lst --region 7 --region 8       # plot-7,8.png
      eechips plot outputs/timeseries-modis-lst --region 7 --region 8 --out lst.pdf
      eechips plot outputs/vegetation --band NDVI_mean --band NDVI_p90
    """
    from eechips.reports.figure import plot_regions

    path = out if out is not None else folder / _picture_name(regions, bands)
    is_there = path.exists()
    _, left_out = plot_regions(folder, regions=regions, bands=bands, out=path)
    echo(path)
    if left_out and not regions:
        shown = f"The first {MOST_PANELS} regions are shown"
        echo(
            f"{shown}; {left_out:,} more {'is' if left_out == 1 else 'are'} left out: choose regions with --region.",
            err=True,
        )
    if is_there:
        echo(f"Replaced the earlier {path.name}.", err=True)


@run_command("smooth")
@click.option(
    "--method",
    type=click.Choice(SMOOTHING_METHODS),
    default="whittaker",
    show_default=True,
    help="Whittaker's smoother, or Savitzky-Golay filters.",
)
@click.option(
    "--days",
    type=int,
    default=60,
    show_default=True,
    help="whittaker: variations with a period of this many days keep half their amplitude. savgol: length of the"
    " window.",
)
@click.option(
    "--max-gap",
    type=int,
    default=90,
    show_default=True,
    metavar="DAYS",
    help="Longest time between two values that is filled.",
)
@click.option("--step", type=int, metavar="DAYS", help="A row every so many days. [default: the dates of the run]")
@_bands
@_out_option("Output file, CSV or Parquet by its suffix. [default: DIR/smoothed.parquet]")
def smooth_command(
    folder: Path, method: Method, days: int, max_gap: int, step: int | None, bands: tuple[str, ...], out: Path | None
) -> None:
    """Smooth the time series of a run and fill their gaps, in columns beside the values.

    For a column NDVI, the table has NDVI, NDVI_smooth, and NDVI_filled: the values, and the smoothed series where they
    are missing. Nothing is extrapolated, and the run's own tables stay as they are. Needs scipy:
    pip install 'eechips[series]'.

    \b
    Examples:
      eechips smooth outputs/timeseries-s2
      eechips smooth outputs/timeseries-s2 --band NDVI --days 45 --step 10
      eechips smooth outputs/timeseries-modis-lst --method savgol --days 91 --out smoothed.csv
    """
    from eechips.reports.smoothing import smooth

    echo(smooth(folder, method=method, days=days, max_gap=max_gap, step=step, bands=bands, out=out))


@run_command("georeference")
def georeference_command(folder: Path) -> None:
    """Write where the PNG and JPEG files of a run lie, in files beside them: .aux.xml, and world files (.pgw, .jgw).

    GDAL and QGIS read the coordinate reference system and the transform from .aux.xml. Other programs read the
    transform from world files, which are written only if the rows of a picture run from west to east.

    \b
    Examples:
      eechips georeference outputs/sample-naip
    """
    from eechips.reports.world_files import georeference

    count = georeference(folder)
    echo(f"Written beside {format_count(count, 'picture')}: .aux.xml, and world files")


def _picture_name(regions: tuple[str, ...], bands: tuple[str, ...]) -> str:
    """Return the default name of a picture, which contains the selected regions and columns."""
    from eechips.reports.figure import PLOT_NAME

    usual = Path(PLOT_NAME)
    chosen = ",".join((*regions, *bands))
    return f"{usual.stem}-{safe_component(chosen)}{usual.suffix}" if chosen else PLOT_NAME
