"""Distribute a run over a queue: ``eechips plan``, ``work`` and ``join``."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from eechips.cli.group import FAILURES, INTERRUPTED, show_notes
from eechips.cli.terminal import echo, echo_lines, open_output
from eechips.commands.command import VerbCommand
from eechips.commands.parameters import HELP, LocalPath
from eechips.commands.queued_runs import MOST_SHOWN, choose_part, describe_missing, items_by_command, recipe_of_job
from eechips.commands.untrusted_commands import check_planned, hash_files, parameter_names
from eechips.errors import UsageError
from eechips.storage.untrusted_files import parse_json
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.engine.queues.queue_join import JoinResult

_OUTPUT = LocalPath(dir_okay=False, allow_dash=True)
"""A file for lines that other commands read; ``-`` for standard output."""

_trust_option = click.option(
    "--trust", is_flag=True, help="Execute the commands of the lines even if somebody else planned them."
)


@click.command("plan", cls=VerbCommand, context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("verb")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF THE COMMAND]...")
@click.option("--emit", type=click.Choice(["jsonl"]), default="jsonl", show_default=True, help="Format of the units.")
@click.option("--to", "file", type=_OUTPUT, default="-", metavar="FILE", help="Output file. [default: stdout]")
@click.pass_context
def plan_command(context: click.Context, verb: str, words: tuple[str, ...], emit: str, file: Path) -> None:
    """Write the units of a command, one JSON line each, for a queue of workers (eechips work).

    A line contains all that a worker needs. Put each line, or a batch of lines, into a message of the queue.

    \b
    Examples:
      eechips plan sample --dataset NAIP --per-ecoregion 1000 --project my-project > units.jsonl
      eechips plan run recipe.py -p year=2020 --to units.jsonl
    """
    from eechips.cli.recipe_execution import finish, show_log
    from eechips.engine.queues.queue_items import plan_items

    job = (verb, *words)
    files = hash_files(job)
    show_notes(is_quiet=not {"-q", "--quiet"}.isdisjoint(words))
    recipe, config = recipe_of_job(job)
    if config.dry_run:
        finish(recipe, config)
        return
    show_log(config)
    with open_output(file) as lines:
        count = 0
        for item in plan_items(recipe, config, job, files):
            lines.write(item.to_json() + "\n")
            count += 1
    if str(file) != "-" and not config.quiet:
        echo(f"Written: {format_count(count, 'unit')} to {file}", err=True)


@click.command("work", cls=VerbCommand, context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF A RUN]...")
@click.option("--units", type=click.File("r"), required=True, metavar="FILE|-", help="Lines written by eechips plan.")
@click.option("--out", required=True, metavar="DIR|URL", help="Results: a folder, or s3://bucket/folder.")
@click.option("--outcomes", type=_OUTPUT, default="-", metavar="FILE", help="File for the outcomes. [default: stdout]")
@click.option(
    "--part",
    metavar="N/COUNT",
    help="Fetch one part of the units of FILE: 3/40 is the third of 40. auto: that of this task of a SLURM job array,"
    " an AWS Batch array or a Cloud Run job; auto/40 in an indexed job of Kubernetes.",
)
@click.option(
    "--ledger",
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Keep the ledger of these units in a folder: the same command then resumes after a kill. All parts and plans"
    " may share the folder.",
)
@_trust_option
@click.pass_context
def work_command(
    context: click.Context,
    words: tuple[str, ...],
    units: IO[str],
    out: str,
    outcomes: Path,
    part: str | None,
    ledger: Path | None,
    trust: bool,
) -> None:
    """Fetch units of eechips plan on a worker, and write the outcome of each as a JSON line.

    A worker keeps no state, except with --ledger: a unit that is delivered twice gives the same file. Options of a run
    that are added here, such as --in-flight or --project, replace the plan's. The exit status is 1 if some units
    failed, 2 if no work could be done, and 130 if a signal or the budget stopped it. After 2 and 130, deliver the units
    without outcome again.

    Every line names the command that planned it. One that sets more than data, such as a recipe, an endpoint, a project
    or credentials, must be your own: planned with the same cache folder, and unchanged. Otherwise give these options
    here, or --trust if only you can write to the queue.

    \b
    Examples:
      eechips work --units units.jsonl --out outputs/naip
      eechips work --units units.jsonl --part auto --out /shared/naip
      eechips work --units units.jsonl --part 3/8 --out /shared/naip --ledger /shared/ledgers
      aws sqs receive-message … | jq -r '.Messages[].Body' | eechips work --units - --out s3://bucket/naip
    """
    from eechips.engine.queues.queue_items import fetch_items, lacks_outcomes, read_work_items
    from eechips.manifest.manifest_columns import State

    failed = is_stopped = False
    with open_output(outcomes, keeps=True) as lines:
        for (job, _, is_own), items in items_by_command(read_work_items(choose_part(units, part))):
            if not trust:
                check_planned(items[0], parameter_names(job[0], words), is_own=is_own)
            recipe, config = recipe_of_job((*job, *words))
            batch = fetch_items(recipe, config, items, out, ledger)
            for outcome in batch:
                failed = failed or State(outcome["state"]).is_failure
                lines.write(json.dumps(outcome, ensure_ascii=False) + "\n")
            lines.flush()
            is_stopped = lacks_outcomes(items, batch)
            if is_stopped:
                break
    if is_stopped:
        context.exit(INTERRUPTED)
    if failed:
        context.exit(FAILURES)


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
@click.option("--missing", type=_OUTPUT, metavar="FILE", help="File for the lines whose results are missing.")
@_trust_option
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
    from eechips.cli.recipe_execution import finish, show_log
    from eechips.engine.queues.queue_items import read_job
    from eechips.engine.queues.queue_join import join_results

    items, job = read_job(units)
    if not trust:
        check_planned(items[0], parameter_names(job[0], words), is_own=all(item.is_own for item in items))
    added = tuple(word for word in words if word != "--local" or word not in job)  # given again, as the hint says
    job_words = (*job, "--out", out, *added)
    recipe, config = recipe_of_job(job_words)
    command = shlex.join(["eechips", *job_words])
    config = dataclasses.replace(config, command=command)
    show_log(config)
    join_result = join_results(recipe, config, items, () if outcomes is None else _outcome_lines(outcomes))
    if missing is not None:
        with open_output(missing) as lines:
            lines.writelines(f"{item.to_json()}\n" for item in join_result.missing)
    if join_result.missing:
        echo_lines(_missing_lines(join_result, missing, command), err=True)
        context.exit(FAILURES)
    finish(recipe, config)


def _outcome_lines(file: IO[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield parse_json(line)
            except ValueError as error:
                raise UsageError(f"line {number} of --outcomes is not JSON ({error}): {line:.120}") from None


def _missing_lines(join_result: JoinResult, file: Path | None, command: str) -> Iterator[str]:
    """Describe missing results, and say what to do."""
    yield describe_missing(join_result)
    for _, reason in join_result.damaged[:MOST_SHOWN]:
        yield f"  {reason}"
    for identifier, error in [*join_result.failed.items()][:MOST_SHOWN]:
        yield f"  {identifier[:16]}: {error}"
    queued = (
        "Queue their lines (--missing FILE) again" if file is None else f"Their lines are in {file}: queue them again"
    )
    yield f"{queued}, or fetch them here: {command}"
