"""``eechips work``."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import IO

import click

from eechips.cli.command import VerbCommand
from eechips.cli.finish import FAILURES, recipe_of
from eechips.cli.jobs import check_job, trust_option
from eechips.cli.options import HELP, OUTPUT, debug_option, written
from eechips.engine.work_items import fetch_items, read_work_items
from eechips.errors import UsageError
from eechips.manifest.unit_record import State


@click.command("work", cls=VerbCommand, context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF A RUN]...")
@click.option("--units", type=click.File("r"), required=True, metavar="FILE|-", help="Lines written by eechips plan.")
@click.option("--out", required=True, metavar="DIR|URL", help="Results: a folder, or s3://bucket/folder.")
@click.option("--outcomes", type=OUTPUT, default="-", metavar="FILE", help="File for the outcomes. [default: stdout]")
@trust_option
@debug_option
@click.pass_context
def command(
    context: click.Context, words: tuple[str, ...], units: IO[str], out: str, outcomes: Path, trust: bool
) -> None:
    """Fetch units of eechips plan on a worker, and write the outcome of each as a JSON line.

    A worker is stateless: a unit that is delivered twice gives the same file. Options of a run that are added here,
    such as --in-flight or --project, replace those of the plan. The exit status is 1 if some units failed, and 2 if
    no work could be done: then deliver the units again.

    Every line names the command that planned it. A command that executes code (eechips run), or names an endpoint or
    credentials, must be your own: planned with the same cache folder. Give --trust if only you can write to the queue.

    \b
    Examples:
      eechips work --units units.jsonl --out outputs/naip
      split -n r/8 units.jsonl part- && eechips work --units part-aa --out s3://bucket/naip --in-flight 5
      aws sqs receive-message … | jq -r '.Messages[].Body' | eechips work --units - --out s3://bucket/naip
    """
    failed = False
    with written(outcomes, keeps=True) as lines:
        for (job, signature), items in itertools.groupby(read_work_items(units), key=lambda t: (t.job, t.signature)):
            if not trust:
                check_job(job, signature)
            try:
                recipe, config = recipe_of(context, (*job, *words))
            except click.exceptions.Exit:  # by --help, with status 0
                raise UsageError(f"eechips {shlex.join(job)} has no units: it fetches nothing") from None
            for outcome in fetch_items(recipe, config, list(items), out):
                failed = failed or State(outcome["state"]).is_failure
                lines.write(json.dumps(outcome, ensure_ascii=False) + "\n")
            lines.flush()
    if failed:
        context.exit(FAILURES)
