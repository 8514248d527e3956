"""``eechips init``."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.errors import StorageError, UsageError
from eechips.storage import write_file

KINDS = {
    "chips": "image chips at random points",
    "series": "a time series for each region",
    "images": "every image of a collection over a place",
    "points": "values at many points, in one table",
}
"""The kinds of recipes; each is a file in ``starters``."""

_PLACEHOLDER = "recipe.py"  # in the starters


@click.command("init", cls=VerbCommand, context_settings=HELP)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="chips",
    show_default=True,
    help="; ".join(f"{kind}: {text}" for kind, text in KINDS.items()) + ".",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@debug_option
def command(file: Path | None, kind: str, force: bool) -> None:
    """Write a recipe to start from: a short, commented Python file that runs as it is.

    The default name of FILE is the kind.

    \b
    Examples:
      eechips init
      eechips init my_recipe.py --kind points
    """
    path = Path(f"{kind}.py") if file is None else file
    if not path.suffix:
        path = path.with_suffix(".py")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists: choose another name, or overwrite it with --force")
    typed = shlex.quote(str(path))
    text = files("eechips.cli.starters").joinpath(f"{kind}.py").read_text(encoding="utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text.replace(_PLACEHOLDER, typed).encode())
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}") from error
    click.echo(f"Written: {path} ({KINDS[kind]})")
    click.echo(f"Try it:  eechips run {typed} --local --check")
    click.echo(f"Run it:  eechips run {typed} --local")
