"""``eechips preview``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.options import HELP, debug_option
from eechips.manifest.run import open_run
from eechips.reports.contact_sheet import PREVIEW_NAME, layout, save


@click.command("preview", context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--by",
    default="stratum",
    show_default=True,
    metavar="NAME",
    help="A column of the units, such as eco_name: a row for each of its values. stratum: what the run was stratified"
    " by. nothing: any chips.",
)
@click.option("--rows", type=click.IntRange(1), default=12, show_default=True, help="Rows at most.")
@click.option("--columns", type=click.IntRange(1), default=8, show_default=True, help="Chips of a row at most.")
@click.option("--edge", type=click.IntRange(8, 1024), default=128, show_default=True, help="Of a chip, in pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"PNG or JPEG, by its name. [default: DIR/{PREVIEW_NAME}]",
)
@debug_option
def command(folder: Path, by: str, rows: int, columns: int, edge: int, seed: int, out: Path | None) -> None:
    """Make a contact sheet of a run: a picture of some chips, a row for each stratum.

    Prints the name of the file, how the chips are painted, and what the rows are. Datasets that eechips knows have
    their usual bands, values and colours; other data are stretched alike, from the 2nd to the 98th percentile of all
    chips. Masked pixels are grey. Of places with several files the first is shown.

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
            click.echo(f"painted: {painting.text}")
        for code, name, colour in painting.classes:
            click.echo(f"class {code}: {f'{name}, ' if name else ''}#{colour}")
    for number, row in enumerate(chosen, start=1):
        if row.name:
            click.echo(f"row {number}: {row.name}, {len(row.files):,} of {row.total:,}")
