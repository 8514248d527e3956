"""Distribute a run over a queue: ``eechips plan``, ``work`` and ``join``."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import click

from eechips.cli.command import VerbCommand
from eechips.cli.finish import finish, recipe_of, show_log
from eechips.cli.group import FAILURES
from eechips.cli.parameters import HELP, OUTPUT, debug_option, open_output
from eechips.engine import work_items
from eechips.engine.join import JoinResult, join_results
from eechips.engine.work_items import fetch_items, read_work_items
from eechips.errors import UsageError
from eechips.manifest.run_signature import is_own_job
from eechips.manifest.unit_record import State
from eechips.received_files import parse_json

_EXECUTE_CODE = frozenset({"run"})
_OPTIONS = frozenset({"--endpoint", "--send-credentials", "--credentials", "--scheduler", "--"})
"""``--`` starts options of Beam, which name files to execute."""

_trust_option = click.option(
    "--trust", is_flag=True, help="Execute the commands of the lines even if somebody else planned them."
)


def _check_job(words: Sequence[str], signature: str | None) -> None:
    """Refuse a command of somebody else that executes code, or names an endpoint or credentials.

    Args:
        words: of the command, from the verb on.
        signature: of the line that names it.

    Raises:
        UsageError: if the command is refused.
    """
    named = sorted({word.partition("=")[0] for word in words} & _OPTIONS)
    if (words[0] not in _EXECUTE_CODE and not named) or is_own_job(words, signature):
        return
    what = f"names {named[0]}" if named else "executes code"
    raise UsageError(
        f"somebody else, or another machine, planned these units with a command that {what}: eechips"
        f" {shlex.join(words)}. Give --trust to execute it"
    )


@click.command("plan", cls=VerbCommand, context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("verb")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF THE COMMAND]...")
@click.option("--emit", type=click.Choice(["jsonl"]), default="jsonl", show_default=True, help="Format of the units.")
@click.option("--to", "file", type=OUTPUT, default="-", metavar="FILE", help="Output file. [default: stdout]")
@click.pass_context
def plan_command(context: click.Context, verb: str, words: tuple[str, ...], emit: str, file: Path) -> None:
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
    with open_output(file) as lines:
        for item in work_items.plan_items(recipe, config, job):
            lines.write(item.to_json() + "\n")


@click.command("work", cls=VerbCommand, context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF A RUN]...")
@click.option("--units", type=click.File("r"), required=True, metavar="FILE|-", help="Lines written by eechips plan.")
@click.option("--out", required=True, metavar="DIR|URL", help="Results: a folder, or s3://bucket/folder.")
@click.option("--outcomes", type=OUTPUT, default="-", metavar="FILE", help="File for the outcomes. [default: stdout]")
@_trust_option
@debug_option
@click.pass_context
def work_command(
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
    with open_output(outcomes, keeps=True) as lines:
        for (job, signature), items in itertools.groupby(read_work_items(units), key=lambda t: (t.job, t.signature)):
            if not trust:
                _check_job(job, signature)
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
@_trust_option
@debug_option
@click.pass_context
def join_command(
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
        _check_job(job, items[0].signature)
    made = (*job, "--out", out, *words)
    recipe, config = recipe_of(context, made)
    command = shlex.join(["eechips", *made])
    config = dataclasses.replace(config, command=command)
    show_log(config)
    found = join_results(recipe, config, items, () if outcomes is None else _outcome_lines(outcomes))
    if missing is not None:
        with open_output(missing) as lines:
            lines.writelines(f"{item.to_json()}\n" for item in found.missing)
    if found.missing:
        for line in _missing_lines(found, command):
            click.echo(line, err=True)
        context.exit(FAILURES)
    finish(recipe, config)


def _outcome_lines(file: IO[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield parse_json(line)
            except ValueError as error:
                raise UsageError(f"line {number} of --outcomes is not JSON ({error}): {line:.120}") from None


def _missing_lines(found: JoinResult, command: str) -> Iterator[str]:
    """Describe missing results, and say what to do."""
    yield f"{len(found.missing):,} of {found.total:,} results are missing; nothing was joined"
    for _, reason in found.damaged[:_SHOWN]:
        yield f"  {reason}"
    for identifier, error in [*found.failed.items()][:_SHOWN]:
        yield f"  {identifier[:16]}: {error}"
    yield f"Queue their lines (--missing FILE) again, or fetch them here: {command}"
