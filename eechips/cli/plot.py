"""``eechips plot``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.options import HELP, debug_option
from eechips.reports.figure import plot

_NAME = "plot.png"


@click.command("plot", context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--region", "regions", multiple=True, metavar="ID", help="A region; repeatable. [default: the first 12]")
@click.option(
    "--band", "bands", multiple=True, metavar="NAME", help="A column, or a band with all its columns; repeatable."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"PNG, PDF or SVG, by its name. [default: DIR/{_NAME}]",
)
@debug_option
def command(folder: Path, regions: tuple[str, ...], bands: tuple[str, ...], out: Path | None) -> None:
    """Draw the time series of a run: a panel for each region, a line for each column.

    Works on runs of timeseries, and of recipes whose tables have a region, a column date, and values. Where data are
    missing the line has a gap. Needs matplotlib: pip install 'eechips[report]'.

    \b
    Examples:
      eechips plot outputs/timeseries-modis-lst
      eechips plot outputs/timeseries-modis-lst --region 7 --region 8 --out lst.png
      eechips plot outputs/vegetation --band NDVI_mean --band NDVI_p90
    """
    path = out if out is not None else folder / _NAME
    plot(folder, regions=regions, bands=bands, out=path)
    click.echo(path)
