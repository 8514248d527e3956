"""``eechips report``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.options import HELP, debug_option
from eechips.manifest.run import REPORT_NAME
from eechips.reports.page import report
from eechips.reports.thumbnails import MOST_THUMBNAILS, THUMBNAILS


@click.command("report", context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"The file. [default: DIR/{REPORT_NAME}, where it can name the files of the run]",
)
@click.option(
    "--thumbnails",
    type=click.IntRange(0, MOST_THUMBNAILS),
    default=THUMBNAILS,
    show_default=True,
    metavar="N",
    help="Chips that are shown at most, as many of each stratum as there are.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn at random.")
@debug_option
def command(folder: Path, out: Path | None, thumbnails: int, seed: int) -> None:
    """Make the report of a run: one HTML file that needs no network.

    What was asked and what came, a map, chips by stratum, histograms, throughput and errors over time, failures, and
    whose the data are; for time series, a chart for each region. It is made at the end of every run, too, unless
    that has --no-report or its results go to an object store. It may be made while a run goes on.

    \b
    Examples:
      eechips report outputs/sample-naip
      eechips report outputs/sample-naip --thumbnails 1000 --out naip.html
    """
    click.echo(report(folder, out=out, thumbnails=thumbnails, seed=seed))
