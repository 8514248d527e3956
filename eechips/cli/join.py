"""``eechips join``."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import click

from eechips.cli.command import VerbCommand
from eechips.cli.finish import FAILURES, finish, recipe_of, show_log
from eechips.cli.jobs import check_job, trust_option
from eechips.cli.options import HELP, OUTPUT, debug_option, written
from eechips.engine.join import JoinResult, join_results
from eechips.engine.work_items import read_work_items
from eechips.errors import UsageError
from eechips.received_files import parse_json

_SHOWN = 3


@click.command("join", cls=VerbCommand, context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF A RUN]...")
@click.option(
    "--units", type=click.File("r"), required=True, metavar="FILE|-", help="All lines written by eechips plan."
)
@click.option("--out", required=True, metavar="DIR|URL", help="Results: the --out of eechips work.")
@click.option(
    "--outcomes",
    type=click.File("r"),
    metavar="FILE",
    help="Outcomes written by eechips work, to compare the results with.",
)
@click.option("--missing", type=OUTPUT, metavar="FILE", help="File for the lines whose results are missing.")
@trust_option
@debug_option
@click.pass_context
def command(
    context: click.Context,
    words: tuple[str, ...],
    units: IO[str],
    out: str,
    outcomes: IO[str] | None,
    missing: Path | None,
    trust: bool,
) -> None:
    """Check the results of the workers of a queue, and join them into one run.

    Every result is read once and must decode; with --outcomes, it must have the checksum that its worker wrote. Then
    the folder becomes a run, with manifest and ledger, and the recipe assembles the results, for example windows into
    one raster. If results are missing, their lines are written to --missing, to be queued again, and the exit status
    is 1. To resume, repeat the command.

    \b
    Examples:
      eechips join --units units.jsonl --out s3://bucket/ndvi --missing again.jsonl
      eechips join --units units.jsonl --outcomes outcomes.jsonl --out outputs/ndvi
      eechips plan run recipe.py -p href=s3://bucket/scene.tif | eechips join --units - --out s3://bucket/ndvi
    """
    items = list(read_work_items(units))
    jobs = {item.job for item in items}
    if len(jobs) != 1:
        raise UsageError(
            f"the lines come from {len(jobs)} commands: give all lines of one `eechips plan`, and no others"
        )
    (job,) = jobs
    if not trust:
        check_job(job, items[0].signature)
    made = (*job, "--out", out, *words)
    recipe, config = recipe_of(context, made)
    command = shlex.join(["eechips", *made])
    config = dataclasses.replace(config, command=command)
    show_log(config)
    found = join_results(recipe, config, items, () if outcomes is None else _lines(outcomes))
    if missing is not None:
        with written(missing) as lines:
            lines.writelines(f"{item.to_json()}\n" for item in found.missing)
    if found.missing:
        for line in _lacking(found, command):
            click.echo(line, err=True)
        context.exit(FAILURES)
    finish(recipe, config)


def _lines(file: IO[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield parse_json(line)
            except ValueError as error:
                raise UsageError(f"line {number} of --outcomes is not JSON ({error}): {line:.120}") from None


def _lacking(found: JoinResult, command: str) -> Iterator[str]:
    """Describe missing results, and say what to do."""
    yield f"{len(found.missing):,} of {found.total:,} results are missing; nothing was joined"
    for _, reason in found.damaged[:_SHOWN]:
        yield f"  {reason}"
    for identifier, error in [*found.failed.items()][:_SHOWN]:
        yield f"  {identifier[:16]}: {error}"
    yield f"Queue their lines (--missing FILE) again, or fetch them here: {command}"
