"""``eechips join``."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import click

from eechips.cli.finish import FAILURES, finish, recipe_of, show_log
from eechips.cli.jobs import check_job, trust_option
from eechips.cli.options import HELP, OUTPUT, debug_option, written
from eechips.engine.join import JoinResult, join_results
from eechips.engine.work_items import read_work_items
from eechips.errors import UsageError
from eechips.received_files import parse_json

_SHOWN = 3


@click.command("join", context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF A RUN]...")
@click.option("--units", type=click.File("r"), required=True, metavar="FILE|-", help="All lines of eechips plan.")
@click.option("--out", required=True, metavar="DIR|URL", help="Where the results are, as eechips work was told.")
@click.option("--outcomes", type=click.File("r"), metavar="FILE", help="What eechips work has told, to compare with.")
@click.option("--missing", type=OUTPUT, metavar="FILE", help="For the lines whose results are not there.")
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
    """Make one run of the results of a queue: all must be there; they are checked, listed, and put together.

    Every result is read once and must decode; with --outcomes, it must be the one that its worker has told of. Then the
    folder is that of a run, with manifest and ledger, and what the recipe makes of all results, such as one raster of
    all windows, is made. If some are missing nothing is made, their lines are written to --missing, to be put into the
    queue again, and the exit status is 1. The same command goes on.

    \b
    Examples:
      eechips join --units units.jsonl --out s3://bucket/ndvi --missing again.jsonl
      eechips join --units units.jsonl --outcomes outcomes.jsonl --out outputs/ndvi
      eechips plan run recipe.py -p href=s3://bucket/scene.tif | eechips join --units - --out s3://bucket/ndvi
    """
    items = list(read_work_items(units))
    jobs = {item.job for item in items}
    if len(jobs) != 1:
        raise UsageError(f"the lines are of {len(jobs)} commands: give all those of one `eechips plan`, and no others")
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
                raise UsageError(f"line {number} of --outcomes is no JSON ({error}): {line:.120}") from None


def _lacking(found: JoinResult, command: str) -> Iterator[str]:
    """What is not there, and what to do."""
    yield f"{len(found.missing):,} of {found.total:,} results are not there; nothing was put together"
    for _, reason in found.damaged[:_SHOWN]:
        yield f"  {reason}"
    for identifier, error in [*found.failed.items()][:_SHOWN]:
        yield f"  {identifier[:16]}: {error}"
    yield f"Deliver their lines (--missing FILE) again; or make them here: {command}"
