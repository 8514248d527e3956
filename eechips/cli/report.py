"""``eechips report``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.manifest.run import REPORT_NAME
from eechips.reports.page import report
from eechips.reports.thumbnails import MOST_THUMBNAILS, THUMBNAILS


@click.command("report", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Output file. [default: DIR/{REPORT_NAME}, which links to the files of the run]",
)
@click.option(
    "--thumbnails",
    type=click.IntRange(0, MOST_THUMBNAILS),
    default=THUMBNAILS,
    show_default=True,
    metavar="N",
    help="Maximum number of chips, selected equally from each stratum.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random selection.")
@debug_option
def command(folder: Path, out: Path | None, thumbnails: int, seed: int) -> None:
    """Make the report of a run: one HTML file that needs no network.

    It shows the settings, a map, chips by stratum, histograms, throughput and errors over time, failures, and
    licences; for time series, a chart for each region. Every run makes it at its end, unless --no-report is given or
    the results are in an object store. The run may be in progress.

    \b
    Examples:
      eechips report outputs/sample-naip
      eechips report outputs/sample-naip --thumbnails 1000 --out naip.html
    """
    click.echo(report(folder, out=out, thumbnails=thumbnails, seed=seed))
