"""``eechips run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eechips.cli.command import FetchCommand
from eechips.cli.fetch_command import run_options
from eechips.cli.finish import FAILURES, finish
from eechips.cli.options import HELP, given
from eechips.cli.parameter_types import Assignment
from eechips.jobs.user_recipes import checked, script_recipe


@click.command("run", cls=FetchCommand, context_settings=HELP)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-p", "parameters", type=Assignment(), multiple=True, help="Value of a parameter of the recipe.")
@click.option(
    "--max-memory",
    metavar="SIZE",
    help="Memory of a worker, Python included, as 256MB, for recipes that size their units by it. The same as"
    " -p max_memory=SIZE.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Try three units of the plan, show their results, and estimate the run. The files are deleted, unless --out is"
    " given: then they are in DIR/check.",
)
@run_options()
def command(
    recipe: Path, parameters: tuple[tuple[str, str], ...], max_memory: str | None, check: bool, **options: Any
) -> None:
    """Run a recipe, or an existing script that uses a pool.

    A recipe is a Python file with two functions. get_requests returns a list of small JSON values, the units;
    get_result receives the number and value of a unit in a worker process, and returns what to fetch: a Chip, a Table,
    bytes or an array.

    In a script, each item passed to multiprocessing.Pool, or another pool of Python, becomes a unit. Arguments after --
    are the script's. Files that it writes to relative paths are written to the run's folder.

    With --executor beam, arguments after -- are options of Beam; arguments of a script precede them, with another --.

    \b
    Examples:
      eechips run recipes/naip_chips.py -p per_ecoregion=25 --local --check
      eechips run recipes/naip_chips.py -p per_ecoregion=25 --local
      eechips run recipes/modis_lst.py --project my-project --out outputs/lst
      eechips run recipes/cog_ndvi.py -p href=s3://bucket/scene.tif --max-memory 512MB --processes 4
      eechips run my_script.py --local -- 500 --fast
      eechips run my_script.py --local --executor beam -- 500 --fast -- --runner=DirectRunner
    """
    values = dict(parameters) if max_memory is None else {**dict(parameters), "max_memory": max_memory}
    chosen = {"path": recipe, "parameters": values, **_shared_out(given(options))}
    if not check:
        finish(*script_recipe(chosen))
        return
    found = checked(script_recipe, chosen)
    for line in found.lines:
        click.echo(line)
    if found.failed:
        click.get_current_context().exit(FAILURES)


def _shared_out(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the arguments after ``--`` divided between the script and Beam."""
    words = options.pop("pipeline_options", ())
    if options.get("executor") != "beam":
        return {**options, "arguments": words}
    last = max((number for number, word in enumerate(words) if word == "--"), default=-1)
    return {**options, "arguments": words[: max(last, 0)], "pipeline_options": words[last + 1 :]}
