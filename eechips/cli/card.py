"""``eechips card``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.options import HELP, debug_option
from eechips.training.dataset_card import card


@click.command("card", context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--title", metavar="TEXT", help="Name of the data set. [default: that of the folder]")
@click.option("--creator", metavar="NAME", help="Who made it.")
@click.option("--url", metavar="URL", help="Where it is published.")
@click.option("--version", default="1.0.0", show_default=True, metavar="N.N.N", help="Of the data set.")
@click.option("--overwrite", is_flag=True, help="Replace a README.md that eechips has not made.")
@debug_option
def command(
    folder: Path, title: str | None, creator: str | None, url: str | None, version: str, overwrite: bool
) -> None:
    """Describe a finished run as a data set: README.md, croissant.json and a picture of some chips.

    The card says what there is (counts, classes, bounds, dates, resolution, splits, flags), whose it is (licence and
    citation of every source), and how to make it again. croissant.json says the same to machines (Croissant 1.0). The
    same run gives the same files.

    \b
    Examples:
      eechips card outputs/sample-naip
      eechips card outputs/landcover --title "Land cover of the Front Range" --creator "A. Person"
    """
    made = card(folder, title=title, creator=creator, url=url, version=version, overwrite=overwrite)
    for path in (made.readme, made.croissant, made.sheet):
        if path is not None:
            click.echo(path)
