"""Extend a run by what its archive has in addition: ``eechips update``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.finish import refresh
from eechips.cli.group import FAILURES, INTERRUPTED, NEWS
from eechips.cli.terminal import echo
from eechips.commands.command import VerbCommand
from eechips.commands.parameters import HELP, LocalPath
from eechips.commands.updated_runs import update
from eechips.manifest.run import open_run


@click.command("update", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=LocalPath(), metavar="DIR")
@click.option("--until", metavar="DATE", help="Day after the last that is fetched, YYYY-MM-DD.  [default: today, UTC]")
@click.option("--refetch", is_flag=True, help="Fetch results again whose images have a new version at the source.")
@click.option("--exit-code", is_flag=True, help="Exit with status 3 if something is new.")
@click.option("--trust", is_flag=True, help="Execute the command of run.json even if somebody else wrote it.")
def update_command(folder: Path, until: str | None, refetch: bool, exit_code: bool, trust: bool) -> None:
    """Add to a run of images, composites or time series what its archive has in addition, and print one line.

    The command in run.json is executed again with a later --end and --extend. Files that are there stay. Composites
    and tables end with the day before the latest image of the archive, and with a whole period. Images that have a new
    version at the source, later than their results, are counted, and fetched again with --refetch only.

    The exit status is 0 if the run is complete, whether or not there was something new, and 1 if units failed.

    \b
    Examples:
      eechips update outputs/images-s2
      eechips update outputs/images-s2 --until 2024-07-01
      eechips update outputs/images-s2 --exit-code
    """
    context = click.get_current_context()
    run_update = update(open_run(folder), until=until, refetch=refetch, trust=trust)
    if run_update.is_interrupted:
        context.exit(INTERRUPTED)
    echo(run_update.describe())
    if run_update.added:
        refresh(open_run(folder))
    for name in run_update.replaced:
        echo(f"New version: {name}", err=True)
    if not open_run(folder).is_complete:
        context.exit(FAILURES)
    if exit_code and run_update.has_news:
        context.exit(NEWS)
