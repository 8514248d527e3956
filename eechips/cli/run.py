"""``eechips run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eechips.cli.finish import FAILURES, finish
from eechips.cli.options import HELP, Assignment, chip_options, given, run_options
from eechips.jobs.user_recipes import checked, script_recipe


@click.command("run", context_settings=HELP)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-p", "parameters", type=Assignment(), multiple=True, help="Value for a parameter of the recipe.")
@click.option(
    "--max-memory",
    metavar="SIZE",
    help="What a worker may take in all, Python included, as 256MB: for recipes that make their units as large as that"
    " allows. The same as -p max_memory=SIZE.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Try three units of the plan only, show what comes of them, and what the whole run would take. The files are"
    " not kept; with --out they are, in DIR/check.",
)
@chip_options
@run_options
def command(
    recipe: Path, parameters: tuple[tuple[str, str], ...], max_memory: str | None, check: bool, **options: Any
) -> None:
    """Run a recipe: a Python file with get_requests and get_result. Or a script that has a pool of its own, as it is.

    get_requests returns a list of small JSON values; get_result takes the number and value of each, in one of the
    worker processes, and returns what to fetch: a Chip or a Table; or bytes or an array.

    A script is executed with what it calls through multiprocessing.Pool, or any other pool of Python's, made units of
    the run. What follows after -- are its arguments. Files that it writes by relative paths go into the run's folder.

    With --executor beam, what follows after -- are options of Beam; those of a script stand before, with another --.

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
    """The options, with what follows after ``--`` given to whom it is for: the script, or Beam."""
    words = options.pop("pipeline_options")
    if options["executor"] != "beam":
        return {**options, "arguments": words}
    last = max((number for number, word in enumerate(words) if word == "--"), default=-1)
    return {**options, "arguments": words[: max(last, 0)], "pipeline_options": words[last + 1 :]}
