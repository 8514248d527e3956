"""``eechips card``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.training.dataset_card import card


@click.command("card", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--title", metavar="TEXT", help="Title of the dataset. [default: the name of the folder]")
@click.option("--creator", metavar="NAME", help="Creator of the dataset.")
@click.option("--url", metavar="URL", help="URL of the published dataset.")
@click.option("--version", default="1.0.0", show_default=True, metavar="N.N.N", help="Version of the dataset.")
@click.option("--overwrite", is_flag=True, help="Replace a README.md that eechips did not write.")
@debug_option
def command(
    folder: Path, title: str | None, creator: str | None, url: str | None, version: str, overwrite: bool
) -> None:
    """Write a data card for a finished run: README.md, croissant.json and a contact sheet.

    README.md lists the contents (counts, classes, bounds, dates, resolution, splits, flags), the licence and citation
    of every source, and the commands to reproduce the dataset. croissant.json is the machine-readable form
    (Croissant 1.0). The same run gives the same files.

    \b
    Examples:
      eechips card outputs/sample-naip
      eechips card outputs/landcover --title "Land cover of the Front Range" --creator "A. Person"
    """
    made = card(folder, title=title, creator=creator, url=url, version=version, overwrite=overwrite)
    for path in (made.readme, made.croissant, made.sheet):
        if path is not None:
            click.echo(path)
