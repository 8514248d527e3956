"""``eechips verify``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.engine.progress import Progress
from eechips.manifest.run import open_run
from eechips.text import format_count


@click.command("verify", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@debug_option
@click.pass_context
def command(ctx: click.Context, folder: Path) -> None:
    """Check that every file of a run is present, has the recorded sha256, and decodes.

    Prints a line for each missing, changed or damaged file, and exits with status 1 if there is one.

    \b
    Examples:
      eechips verify outputs/sample-naip
    """
    run = open_run(folder)
    files = run.file_count
    with Progress(files, 0, None, unit="files") as progress:

        def tell() -> None:
            progress.settle(failed=False)
            progress.show(0, 0)

        problems = run.verify(tell)
    for problem in problems:
        click.echo(f"{problem.file}: {problem.reason}")
    if problems:
        click.echo(f"{len(problems):,} of {format_count(files, 'file')} missing, changed or damaged", err=True)
        ctx.exit(1)
    click.echo(f"{format_count(files, 'file')}: all present and intact")
