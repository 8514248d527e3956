"""``eechips plan``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.finish import finish, recipe_of, show_log
from eechips.cli.options import HELP, OUTPUT, written
from eechips.engine import work_items


@click.command("plan", cls=VerbCommand, context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("verb")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF THE COMMAND]...")
@click.option("--emit", type=click.Choice(["jsonl"]), default="jsonl", show_default=True, help="Format of the units.")
@click.option("--to", "file", type=OUTPUT, default="-", metavar="FILE", help="Output file. [default: stdout]")
@click.pass_context
def command(context: click.Context, verb: str, words: tuple[str, ...], emit: str, file: Path) -> None:
    """Write the units of a command, one JSON line each, for a queue of workers (eechips work).

    A line contains all that a worker needs. Put each line, or a batch of lines, into a message of the queue.

    \b
    Examples:
      eechips plan sample --dataset NAIP --per-ecoregion 1000 --project my-project > units.jsonl
      eechips plan run recipe.py -p year=2020 --to units.jsonl
    """
    job = (verb, *words)
    recipe, config = recipe_of(context, job)
    if config.dry_run:
        finish(recipe, config)
        return
    show_log(config)
    with written(file) as lines:
        for item in work_items.plan_items(recipe, config, job):
            lines.write(item.to_json() + "\n")
