"""``eechips plot``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.reports.figure import PLOT_NAME, plot
from eechips.storage import safe_component


@click.command("plot", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="ID",
    help="Only this region. May be repeated. [default: the first 12]",
)
@click.option(
    "--band",
    "bands",
    multiple=True,
    metavar="NAME",
    help="Only this column, or all columns of this band. May be repeated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Output file, PNG, PDF or SVG by its suffix. [default: DIR/{PLOT_NAME}, with the selection in its name]",
)
@debug_option
def command(folder: Path, regions: tuple[str, ...], bands: tuple[str, ...], out: Path | None) -> None:
    """Plot the time series of a run: a panel for each region, a line for each column.

    For runs of timeseries, and of recipes whose tables have a region, a column date, and values. Lines have gaps where
    data are missing. Needs matplotlib: pip install 'eechips[report]'.

    \b
    Examples:
      eechips plot outputs/timeseries-modis-lst
      eechips plot outputs/timeseries-modis-lst --region 7 --region 8       # plot-7,8.png
      eechips plot outputs/timeseries-modis-lst --region 7 --region 8 --out lst.pdf
      eechips plot outputs/vegetation --band NDVI_mean --band NDVI_p90
    """
    path = out if out is not None else folder / _name(regions, bands)
    is_there = path.exists()
    plot(folder, regions=regions, bands=bands, out=path)
    click.echo(path)
    if is_there:
        click.echo(f"Replaced the earlier {path.name}.", err=True)


def _name(regions: tuple[str, ...], bands: tuple[str, ...]) -> str:
    """Return the default name of a picture, which contains the selected regions and columns."""
    usual = Path(PLOT_NAME)
    chosen = ",".join((*regions, *bands))
    return f"{usual.stem}-{safe_component(chosen)}{usual.suffix}" if chosen else PLOT_NAME
