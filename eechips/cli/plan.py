"""``eechips plan``."""

from __future__ import annotations

from typing import IO

import click

from eechips.cli.finish import EMIT, Emission
from eechips.cli.options import HELP
from eechips.errors import UsageError


@click.command("plan", context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("verb")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF THE VERB]...")
@click.option("--emit", type=click.Choice(["jsonl"]), default="jsonl", show_default=True, help="How units are written.")
@click.option("--to", "file", type=click.File("w"), default="-", metavar="FILE", help="Where to. [default: stdout]")
@click.pass_context
def command(context: click.Context, verb: str, words: tuple[str, ...], emit: str, file: IO[str]) -> None:
    """Write the units that a verb would fetch, one JSON line each, for workers elsewhere (eechips work).

    A line has all that a worker needs: put it into a queue, a batch of them into a message.

    \b
    Examples:
      eechips plan sample --dataset NAIP --per-ecoregion 1000 --project my-project > units.jsonl
      eechips plan run recipe.py -p year=2020 --to units.jsonl
    """
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    found = root.command.get_command(root, verb)
    if found is None or not any(parameter.name == "dry_run" for parameter in found.params):
        raise UsageError(f"eechips {verb} fetches nothing: there is nothing to plan")
    inner = found.make_context(verb, list(words), parent=root)
    inner.meta[EMIT] = Emission((verb, *words), lambda ticket: file.write(ticket.to_json() + "\n"))
    with inner:
        found.invoke(inner)
