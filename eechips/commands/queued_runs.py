"""Distribute a run over a queue: :func:`plan`, :func:`work` and :func:`join`; refuse options that cannot be sent, and
lines of two plans.

Each unit travels with the command that planned it, as it is typed.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips.commands.fetching import find_command, recipe_of
from eechips.commands.parameters import command_words
from eechips.commands.untrusted_commands import check_planned, hash_files
from eechips.engine.config import RunConfig
from eechips.errors import MissingResultsError, UsageError
from eechips.option_fields import options_of, takes
from eechips.text.formatting import format_count
from eechips.text.suggestion import did_you_mean_option

if TYPE_CHECKING:
    from eechips.engine.queues.queue_items import WorkItem
    from eechips.engine.queues.queue_join import JoinResult
    from eechips.manifest.run import Run
    from eechips.recipe import Recipe

_SOURCES = {"run": "recipe", "scenes": "stac"}
"""The first argument of functions that fetch, where it is no dataset."""

MOST_SHOWN = 3
"""Reasons for missing results that a message has."""


def items_by_command(items: Iterable[WorkItem]) -> Iterator[tuple[tuple[Any, ...], list[WorkItem]]]:
    """Yield consecutive items of one command, which are all of this user or all of others."""
    for key, group in itertools.groupby(items, key=lambda item: (item.job, item.files, item.is_own)):
        yield key, list(group)


def choose_part(lines: Iterable[str], part: str | None) -> Iterable[str]:
    """Return the lines of one part of a plan, such as ``3/40``; None for all."""
    from eechips.engine.queues.queue_items import WorkPart

    return lines if part is None else WorkPart.parse(part, os.environ).choose(lines)


def describe_missing(join_result: JoinResult) -> str:
    """Say how many results are missing."""
    missing = len(join_result.missing)
    verb = "is" if missing == 1 else "are"
    return f"{missing:,} of {format_count(join_result.total, 'result')} {verb} missing; nothing was joined"


def recipe_of_job(job: Sequence[str]) -> tuple[Recipe, RunConfig]:
    """Return recipe and config of a command that was planned.

    Raises:
        UsageError: if this version has no such command, or it does not fetch.
    """
    try:
        return recipe_of(job)
    except click.exceptions.Exit:  # by --help, with status 0
        raise UsageError(f"eechips {shlex.join(job)} has no units: it fetches nothing") from None
    except click.ClickException as error:
        raise UsageError(f"eechips {shlex.join(job)}: {error.format_message()}") from error


def plan(command: str, source: Any = None, **options: Any) -> Iterator[str]:
    """Plan what a function fetches, and yield its units, one JSON line each, for a queue of workers.

    Put each line, or a batch of lines, into a message of the queue; :func:`eechips.work` fetches it.

    Args:
        command: name of the function: ``"sample"``.
        source: first argument of the function: a dataset, a STAC catalogue, or the file of a recipe, which the workers
            can read as well.
        options: options of the function.

    Yields:
        Lines, while they are planned.

    Raises:
        UsageError: if there is no such function, or an option is wrong.
        ConfigurationError: if credentials, project or endpoint are.
        RequestError: if Earth Engine rejects a planning request.

    Example:
        >>> lines = list(eechips.plan("sample", "NAIP", per_ecoregion=1000, project="my-project"))
    """
    from eechips.engine.queues.queue_items import plan_items

    try:
        fetching = find_command(command)
    except UsageError:
        raise UsageError(f"{command!r} has no units: it is not a function that fetches") from None
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
    if recipe_of_job(job)[0].identity != recipe.identity:
        raise UsageError(f"these options cannot be sent to workers, as they cannot be typed: eechips {shlex.join(job)}")
    return (item.to_json() for item in plan_items(recipe, config, job, hash_files(job)))


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
        lines: lines of the plan, any of them.
        out: results: a folder, or ``s3://bucket/folder``.
        part: one part of the lines, such as ``3/40``; ``auto`` is that of this task of an array of tasks.
        ledger: folder that keeps the ledgers of calls, so that the same call resumes after a kill.
        trust: execute commands of others that set more than data, such as a recipe, an endpoint, a project or
            credentials. For queues to which only you can write.
        options: fields of ``RunConfig``.

    Returns:
        The outcome of each unit: columns of the manifest, as JSON values, such as ``state`` and ``file``. Units that
        were not tried, as the call was interrupted or its budget is spent, have none: deliver their lines again.

    Raises:
        UsageError: if a line is none of a plan, or is refused.
        EechipsError: as a run does. Then no outcome is known: deliver the lines again.

    Example:
        >>> outcomes = eechips.work(lines[:100], "s3://bucket/naip", in_flight=5)
    """
    from eechips.engine.queues.queue_items import fetch_items, lacks_outcomes, read_work_items

    outcomes: list[dict[str, Any]] = []
    place = None if ledger is None else Path(ledger)
    for (job, _, is_own), items in items_by_command(read_work_items(choose_part(lines, part))):
        if not trust:
            check_planned(items[0], options, is_own=is_own)
        recipe, config = recipe_of_job(job)
        batch = fetch_items(recipe, _with_options(config, options), items, str(out), place)
        outcomes += batch
        if lacks_outcomes(items, batch):
            break
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
        lines: lines of the plan, all of them.
        out: folder of the results, as for :func:`eechips.work`.
        outcomes: outcomes that the calls of :func:`eechips.work` returned, of as many units as there are.
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
    from eechips.engine.queues.queue_items import read_job
    from eechips.engine.queues.queue_join import join_results
    from eechips.engine.run import run

    items, job = read_job(lines)
    if not trust:
        check_planned(items[0], options, is_own=all(item.is_own for item in items))
    job_words = (*job, f"--out={out}") if "--" not in job else (job[0], f"--out={out}", *job[1:])
    recipe, config = recipe_of_job(job_words)
    config = dataclasses.replace(_with_options(config, options), command=shlex.join(["eechips", *job_words]))
    join_result = join_results(recipe, config, items, outcomes)
    if join_result.missing:
        reasons = [*(reason for _, reason in join_result.damaged), *join_result.failed.values()]
        raise MissingResultsError(
            describe_missing(join_result) + (f": {'; '.join(reasons[:MOST_SHOWN])}" if reasons else ""),
            lines=tuple(item.to_json() for item in join_result.missing),
        )
    return run(recipe, config)


def _options_of_file(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of :func:`eechips.run` with the parameters of the recipe, as they are typed, by themselves."""
    from eechips.builtin_recipes.recipe_options import RUN_OPTIONS

    chosen = dict(options)
    path = chosen.pop("recipe", None)
    if not isinstance(path, (str, Path)):
        raise UsageError("functions cannot be sent through a queue: write them into a file that the workers can read")
    arguments, parameters = chosen.pop("arguments", ()), dict(chosen.pop("parameters", None) or {})
    parameters |= {name: chosen.pop(name) for name in list(chosen) if name not in RUN_OPTIONS}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    return {**chosen, "path": path, "arguments": tuple(arguments), "parameters": texts}


def _with_options(config: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """Return a config with other values for some options of a run."""
    known = options_of(RunConfig)
    for name in options:
        if name not in known:
            raise UsageError(f"there is no option {name!r}{did_you_mean_option(name, list(known))}")
    paths = {name for name, (_, option) in known.items() if option.kind in ("file", "folder")}
    values: dict[str, Any] = dict(options)
    for name in paths & values.keys():
        values[name] = None if values[name] is None else Path(values[name])
    return dataclasses.replace(config, **values)
