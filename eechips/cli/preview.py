"""``eechips preview``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.manifest.run import open_run
from eechips.reports.contact_sheet import PREVIEW_NAME, layout, save


@click.command("preview", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--by",
    default="stratum",
    show_default=True,
    metavar="NAME",
    help="Column of the units, such as eco_name: a row for each of its values. stratum: the strata of the run. nothing:"
    " chips in no order.",
)
@click.option("--rows", type=click.IntRange(1), default=12, show_default=True, help="Maximum number of rows.")
@click.option(
    "--columns", type=click.IntRange(1), default=8, show_default=True, help="Maximum number of chips in a row."
)
@click.option(
    "--edge",
    type=click.IntRange(8, 1024),
    default=128,
    show_default=True,
    help="Edge of a chip in the picture, in pixels.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random selection.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Output file, PNG or JPEG by its suffix. [default: DIR/{PREVIEW_NAME}]",
)
@debug_option
def command(folder: Path, by: str, rows: int, columns: int, edge: int, seed: int, out: Path | None) -> None:
    """Make a contact sheet of a run: a picture of some chips, a row for each stratum.

    Prints the file name, how the chips are rendered, and the content of the rows. Datasets with a short name have
    their usual bands, value range and colours; others are stretched from the 2nd to the 98th percentile of all chips.
    Masked pixels are grey. Of several files of a place, the first is shown.

    \b
    Examples:
      eechips preview outputs/sample-naip
      eechips preview outputs/sample-naip --by eco_name --columns 5 --edge 192 --out chips.jpg
      eechips preview outputs/sample-naip --by nothing --rows 20 --columns 20 --edge 64
    """
    run = open_run(folder)
    chosen = layout(run, by=by, rows=rows, columns=columns, seed=seed)
    path, painted = save(run, chosen, edge, out)
    click.echo(path)
    for painting in painted:
        if painting.text:
            click.echo(f"rendered: {painting.text}")
        for code, name, colour in painting.classes:
            click.echo(f"class {code}: {f'{name}, ' if name else ''}#{colour}")
    for number, row in enumerate(chosen, start=1):
        if row.name:
            click.echo(f"row {number}: {row.name}, {len(row.files):,} of {row.total:,}")
