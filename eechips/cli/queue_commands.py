"""Distribute a run over a queue: ``eechips plan``, ``work`` and ``join``, and the functions of the same names.

The functions are here because each unit travels with the command that planned it, as it is typed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from eechips.cli.command import FetchCommand, VerbCommand
from eechips.cli.group import FAILURES, main
from eechips.cli.parameters import HELP, OUTPUT, LocalPath, command_words, open_output
from eechips.cli.terminal import echo
from eechips.cli.untrusted_commands import check_planned, hash_files, parameter_names
from eechips.engine.config import RunConfig
from eechips.errors import MissingResultsError, UsageError
from eechips.option_fields import options_of, takes
from eechips.storage.received_files import parse_json
from eechips.text.formatting import format_count
from eechips.text.suggestion import did_you_mean

if TYPE_CHECKING:
    from eechips.engine.join import JoinResult
    from eechips.engine.work_items import WorkItem
    from eechips.manifest.run import Run
    from eechips.recipe import Recipe

_SOURCES = {"run": "recipe", "scenes": "stac"}
"""The first argument of functions that fetch, where it is no dataset."""

_trust_option = click.option(
    "--trust", is_flag=True, help="Execute the commands of the lines even if somebody else planned them."
)


def _by_command(items: Iterable[WorkItem]) -> Iterator[tuple[tuple[Any, ...], list[WorkItem]]]:
    """Yield consecutive items of one command, which are all of this user or all of others."""
    for key, group in itertools.groupby(items, key=lambda item: (item.job, item.files, item.is_own)):
        yield key, list(group)


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
    from eechips.cli.finish import finish, recipe_of, show_log
    from eechips.engine.work_items import plan_items

    job = (verb, *words)
    files = hash_files(context, job)
    recipe, config = recipe_of(context, job)
    if config.dry_run:
        finish(recipe, config)
        return
    show_log(config)
    with open_output(file) as lines:
        for item in plan_items(recipe, config, job, files):
            lines.write(item.to_json() + "\n")


@click.command("work", cls=VerbCommand, context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF A RUN]...")
@click.option("--units", type=click.File("r"), required=True, metavar="FILE|-", help="Lines written by eechips plan.")
@click.option("--out", required=True, metavar="DIR|URL", help="Results: a folder, or s3://bucket/folder.")
@click.option("--outcomes", type=OUTPUT, default="-", metavar="FILE", help="File for the outcomes. [default: stdout]")
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
    failed, and 2 if no work could be done: then deliver the units again.

    Every line names the command that planned it. One that sets more than data, such as a recipe, an endpoint, a project
    or credentials, must be your own: planned with the same cache folder, and unchanged. Otherwise give these options
    here, or --trust if only you can write to the queue.

    \b
    Examples:
      eechips work --units units.jsonl --out outputs/naip
      eechips work --units units.jsonl --part auto --out /shared/naip --quota-folder /shared/quota
      eechips work --units units.jsonl --part 3/8 --out /shared/naip --ledger /shared/ledgers
      aws sqs receive-message … | jq -r '.Messages[].Body' | eechips work --units - --out s3://bucket/naip
    """
    from eechips.cli.finish import recipe_of
    from eechips.engine.work_items import fetch_items, read_work_items
    from eechips.manifest.unit_record import State

    failed = False
    chosen = _choose_part(units, part)
    with open_output(outcomes, keeps=True) as lines:
        for (job, _, is_own), items in _by_command(read_work_items(chosen)):
            if not trust:
                check_planned(context, items[0], parameter_names(context, job[0], words), is_own=is_own)
            try:
                recipe, config = recipe_of(context, (*job, *words))
            except click.exceptions.Exit:  # by --help, with status 0
                raise UsageError(f"eechips {shlex.join(job)} has no units: it fetches nothing") from None
            for outcome in fetch_items(recipe, config, items, out, ledger):
                failed = failed or State(outcome["state"]).is_failure
                lines.write(json.dumps(outcome, ensure_ascii=False) + "\n")
            lines.flush()
    if failed:
        context.exit(FAILURES)


def _choose_part(lines: Iterable[str], part: str | None) -> Iterable[str]:
    from eechips.engine.work_part import WorkPart

    return lines if part is None else WorkPart.parse(part, os.environ).choose(lines)


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
    from eechips.cli.finish import finish, recipe_of, show_log
    from eechips.engine.join import join_results

    items, job = _items_of_one_job(units)
    if not trust:
        is_own = all(item.is_own for item in items)
        check_planned(context, items[0], parameter_names(context, job[0], words), is_own=is_own)
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
            echo(line, err=True)
        context.exit(FAILURES)
    finish(recipe, config)


def _items_of_one_job(lines: Iterable[str]) -> tuple[list[WorkItem], tuple[str, ...]]:
    """Return the items of lines, and the words of the command that planned them all."""
    from eechips.engine.work_items import read_work_items

    items = list(read_work_items(lines))
    jobs = {(item.job, item.files) for item in items}
    if len(jobs) != 1:
        raise UsageError(
            f"the lines come from {len(jobs)} commands: give all lines of one `eechips plan`, and no others"
        )
    ((job, _),) = jobs
    return items, job


def _outcome_lines(file: IO[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield parse_json(line)
            except ValueError as error:
                raise UsageError(f"line {number} of --outcomes is not JSON ({error}): {line:.120}") from None


def _count_missing(found: JoinResult) -> str:
    """Say how many results are missing."""
    verb = "is" if len(found.missing) == 1 else "are"
    return f"{len(found.missing):,} of {format_count(found.total, 'result')} {verb} missing; nothing was joined"


def _missing_lines(found: JoinResult, command: str) -> Iterator[str]:
    """Describe missing results, and say what to do."""
    yield _count_missing(found)
    for _, reason in found.damaged[:_SHOWN]:
        yield f"  {reason}"
    for identifier, error in [*found.failed.items()][:_SHOWN]:
        yield f"  {identifier[:16]}: {error}"
    yield f"Queue their lines (--missing FILE) again, or fetch them here: {command}"


def plan(command: str, source: Any = None, **options: Any) -> Iterator[str]:
    """Plan what a function fetches, and yield its units, one JSON line each, for a queue of workers.

    Put each line, or a batch of lines, into a message of the queue; :func:`eechips.work` fetches it.

    Args:
        command: name of the function: ``"sample"``.
        source: first argument of the function: a dataset, a STAC catalogue, or the file of a recipe, which the workers
            can read as well.
        options: of the function.

    Yields:
        Lines, while they are planned.

    Raises:
        UsageError: if there is no such function, or an option is wrong.
        ConfigurationError: if credentials, project or endpoint are.
        RequestError: if Earth Engine rejects a planning request.

    Example:
        >>> lines = list(eechips.plan("sample", "NAIP", per_ecoregion=1000, project="my-project"))
    """
    from eechips.engine.work_items import plan_items

    fetching = main.get_command(click.Context(main), command)
    if not isinstance(fetching, FetchCommand):
        raise UsageError(f"{command!r} has no units: it is no function that fetches")
    chosen = options if source is None else {_SOURCES.get(command, "dataset"): source, **options}
    positional: list[str] = []
    if command == "run":
        chosen = _options_of_file(chosen)
        positional = [str(chosen["path"]), *(["--", *chosen["arguments"]] if chosen["arguments"] else [])]
    recipe, config = fetching.make(chosen)
    if config.dry_run:
        raise UsageError(f"`dry_run` plans no units: call eechips.{command} with it")
    typed = {name: value for name, value in chosen.items() if name not in ("path", "arguments")}
    job = (command, *command_words(fetching, typed), *positional)
    if _recipe_of_job(job)[0].identity != recipe.identity:
        raise UsageError(f"these options cannot be sent to workers, as they cannot be typed: eechips {shlex.join(job)}")
    files = hash_files(_root(), job)
    return (item.to_json() for item in plan_items(recipe, config, job, files))


@takes(RunConfig)
def work(
    lines: Iterable[str],
    out: str | Path,
    *,
    part: str | None = None,
    ledger: str | Path | None = None,
    trust: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Fetch units of :func:`eechips.plan`, on any machine.

    No state is kept between calls, except with ``ledger``: a unit that is delivered twice gives the same file. Options
    of the run that are given here replace the plan's.

    Args:
        lines: of the plan, any of them.
        out: results: a folder, or ``s3://bucket/folder``.
        part: one part of the lines, such as ``3/40``; ``auto`` is that of this task of an array of tasks.
        ledger: folder that keeps the ledgers of calls, so that the same call resumes after a kill.
        trust: execute commands of others that set more than data, such as a recipe, an endpoint, a project or
            credentials. For queues to which only you can write.
        options: fields of ``RunConfig``.

    Returns:
        The outcome of each unit: columns of the manifest, as JSON values, such as ``state`` and ``file``.

    Raises:
        UsageError: if a line is none of a plan, or is refused.
        EechipsError: as a run does. Then no outcome is known: deliver the lines again.

    Example:
        >>> outcomes = eechips.work(lines[:100], "s3://bucket/naip", in_flight=5)
    """
    from eechips.engine.work_items import fetch_items, read_work_items

    outcomes: list[dict[str, Any]] = []
    place = None if ledger is None else Path(ledger)
    chosen = _choose_part(lines, part)
    for (job, _, is_own), items in _by_command(read_work_items(chosen)):
        if not trust:
            check_planned(_root(), items[0], options, is_own=is_own)
        recipe, config = _recipe_of_job(job)
        outcomes += fetch_items(recipe, _with_options(config, options), items, str(out), place)
    return outcomes


@takes(RunConfig)
def join(
    lines: Iterable[str],
    out: str | Path,
    *,
    outcomes: Iterable[Mapping[str, Any]] = (),
    trust: bool = False,
    **options: Any,
) -> Run:
    """Check the results of :func:`eechips.work`, and join them into one run.

    Every result is read once and must decode; with ``outcomes``, it must have the checksum that its worker reported.

    Args:
        lines: of the plan, all of them.
        out: of the results, as for :func:`eechips.work`.
        outcomes: that the calls of :func:`eechips.work` returned, of as many units as there are.
        trust: see :func:`eechips.work`.
        options: fields of ``RunConfig``.

    Returns:
        The run, with what the command makes of all results, such as a mosaic.

    Raises:
        MissingResultsError: if results are missing or damaged; ``lines`` has the lines to be queued again.
        UsageError: if lines of the plan are missing, or are refused.

    Example:
        >>> run = eechips.join(lines, "s3://bucket/naip", outcomes=outcomes)
    """
    from eechips.engine.join import join_results
    from eechips.engine.run import run

    items, job = _items_of_one_job(lines)
    if not trust:
        check_planned(_root(), items[0], options, is_own=all(item.is_own for item in items))
    made = (*job, f"--out={out}") if "--" not in job else (job[0], f"--out={out}", *job[1:])
    recipe, config = _recipe_of_job(made)
    config = dataclasses.replace(_with_options(config, options), command=shlex.join(["eechips", *made]))
    found = join_results(recipe, config, items, outcomes)
    if found.missing:
        reasons = [*(reason for _, reason in found.damaged), *found.failed.values()]
        raise MissingResultsError(
            _count_missing(found) + (f": {'; '.join(reasons[:_SHOWN])}" if reasons else ""),
            lines=tuple(item.to_json() for item in found.missing),
        )
    return run(recipe, config)


def _options_of_file(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of :func:`eechips.run` with the parameters of the recipe, as they are typed, by themselves."""
    from eechips.jobs.recipe_options import RUN_OPTIONS

    chosen = dict(options)
    path = chosen.pop("recipe", None)
    if not isinstance(path, (str, Path)):
        raise UsageError("functions cannot be sent through a queue: write them into a file that the workers can read")
    arguments, parameters = chosen.pop("arguments", ()), dict(chosen.pop("parameters", None) or {})
    parameters |= {name: chosen.pop(name) for name in list(chosen) if name not in RUN_OPTIONS}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    return {**chosen, "path": path, "arguments": tuple(arguments), "parameters": texts}


def _recipe_of_job(job: Sequence[str]) -> tuple[Recipe, RunConfig]:
    """Return recipe and config of a command that was planned.

    Raises:
        UsageError: if this version has no such command, or it does not fetch.
    """
    from eechips.cli.finish import recipe_of

    try:
        return recipe_of(_root(), job)
    except click.exceptions.Exit:  # by --help, with status 0
        raise UsageError(f"eechips {shlex.join(job)} has no units: it fetches nothing") from None
    except click.ClickException as error:
        raise UsageError(f"eechips {shlex.join(job)}: {error.format_message()}") from error


def _root() -> click.Context:
    return click.Context(main, info_name="eechips")


def _with_options(config: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """Return a config with other values for some options of a run."""
    known = options_of(RunConfig)
    for name in options:
        if name not in known:
            raise UsageError(f"there is no option {name!r}{did_you_mean(name, list(known))}")
    paths = {name for name, (_, option) in known.items() if option.kind in ("file", "folder")}
    values: dict[str, Any] = dict(options)
    for name in paths & values.keys():
        values[name] = None if values[name] is None else Path(values[name])
    return dataclasses.replace(config, **values)
