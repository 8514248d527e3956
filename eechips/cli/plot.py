"""``eechips plot``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.options import HELP, debug_option
from eechips.reports.figure import PLOT_NAME, plot
from eechips.storage import safe_component


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
    help=f"PNG, PDF or SVG, by its name. [default: DIR/{PLOT_NAME}, with what was chosen]",
)
@debug_option
def command(folder: Path, regions: tuple[str, ...], bands: tuple[str, ...], out: Path | None) -> None:
    """Draw the time series of a run: a panel for each region, a line for each column.

    Works on runs of timeseries, and of recipes whose tables have a region, a column date, and values. Where data are
    missing the line has a gap. Needs matplotlib: pip install 'eechips[report]'.

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
        click.echo(f"It is in the place of an earlier {path.name}.", err=True)


def _name(regions: tuple[str, ...], bands: tuple[str, ...]) -> str:
    """The usual name of a picture: each choice of regions and columns has its own, so that plots are kept apart."""
    usual = Path(PLOT_NAME)
    chosen = ",".join((*regions, *bands))
    return f"{usual.stem}-{safe_component(chosen)}{usual.suffix}" if chosen else PLOT_NAME
