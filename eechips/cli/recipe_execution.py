"""Run the recipe of a verb, or estimate it (``--dry-run``); ask whether to begin or continue; print outcome, failures
and advice; set the exit status.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from eechips.cli.group import DEBUG, FAILURES, INTERRUPTED, show_messages, show_notes
from eechips.cli.terminal import ask, echo, echo_lines, forgiving_output
from eechips.commands.command import TYPED, UNFINISHED
from eechips.commands.option_names import option_names
from eechips.engine.config import RunConfig
from eechips.engine.costs.compute_sample import ComputeRange
from eechips.engine.costs.cost_descriptions import (
    Estimate,
    Forecast,
    PlanningCost,
    describe_bytes,
    describe_compute,
    describe_expected,
    describe_range,
    describe_requests,
    is_much,
)
from eechips.engine.costs.estimate import estimate
from eechips.engine.results.result_stores import free_bytes
from eechips.engine.run import run
from eechips.errors import RecipeError
from eechips.manifest.data_source import TRAFFIC, ArchiveTraffic
from eechips.manifest.export import PARQUET_NAME
from eechips.manifest.extensions import plan_parts
from eechips.manifest.failures import Failure, group_failures, list_failures
from eechips.manifest.manifest_columns import State
from eechips.manifest.reserved_names import REPORT_NAME
from eechips.manifest.run import Run
from eechips.recipe import Recipe
from eechips.storage import is_address
from eechips.text.formatting import format_bytes, format_count, format_duration

_BYTES_PER_SECOND = 100e6 / 8  # of a line of 100 Mbit/s

_MADE = 3  # assembled files that are printed: scenes have one for each item
_SHOWN = 3  # kinds of failure that are printed; failures.csv has all


def finish(recipe: Recipe, config: RunConfig) -> None:
    """Run a recipe, or estimate it for ``--dry-run``, and exit with the status of the outcome."""
    show_log(config)
    context = click.get_current_context()
    if config.dry_run:
        echo_lines(_estimated(estimate(recipe, config), config))
        context.meta[UNFINISHED] = "dry run"
        return
    # Without --debug of eechips itself, which is not the run's.
    words = sys.argv[2:] if sys.argv[1:2] == ["--debug"] else sys.argv[1:]
    typed = shlex.join(context.meta.get(TYPED) or ["eechips", *words])
    is_verbose = bool(context.meta.get(DEBUG))
    done = run(
        recipe,
        dataclasses.replace(config, command=typed, confirm=_confirm, confirm_start=_confirm_start, verbose=is_verbose),
    )
    if done.paused:
        where = "after the units of the estimate" if config.estimate is not None else "before the first unit"
        echo(f"Stopped {where}. To resume: {typed} --yes", err=True)
        context.meta[UNFINISHED] = "paused"
        return
    if done.interrupted:
        context.exit(INTERRUPTED)
    with forgiving_output():  # the run has its report and its status all the same
        _conclude(done, config)
        if not done.is_complete:
            echo_lines(_failed(done), err=True)
            context.exit(FAILURES)


def _conclude(done: Run, config: RunConfig) -> None:
    """Print the outcome of a run that has ended, and make its report."""
    if not config.quiet:
        echo_lines(_summary(done))
        if compute := done.info.get("compute"):
            used = ComputeRange(compute["eecu_seconds"], compute["low"], compute["high"])
            echo(f"Compute: {describe_compute(used)}", err=True)
        if (taken := ArchiveTraffic.from_json(done.info.get(TRAFFIC))).requests:
            echo(f"Taken from the archive: {taken.describe()}", err=True)
        assembled = [path for path in done.assembled if path.is_file()]
        for path in assembled[:_MADE]:
            echo(f"Made from all results: {path}")
        if assembled[_MADE:]:
            echo(f"{format_count(len(assembled) - _MADE, 'further file')} made from all results in {done.path}")
    if config.extend:
        refresh(done)
    _report(done, quiet=config.quiet)


def show_log(config: RunConfig) -> None:
    """Show the log of the planner on standard error, unless the run is quiet."""
    show_messages()
    show_notes(is_quiet=config.quiet)


def _estimated(foreseen: Estimate, config: RunConfig) -> list[str]:
    lines = [f"units     {foreseen.units:,}"]
    if (planning := foreseen.planning) is not None:
        sent = "all of them" if planning.sent >= planning.requests else f"{planning.sent:,} of them"
        lines.append(f"planning  {_planning(planning, foreseen.units)}; {sent} sent by this dry run")
    lines += [f"requests  {describe_requests(foreseen)}", f"bytes     {describe_bytes(foreseen)}"]
    if foreseen.seconds is not None and not config.archives:  # how fast an archive responds is unknown
        lines.append(f"time      {_time(foreseen.seconds, foreseen, is_local=config.is_local)}")
    if foreseen.compute is not None:
        lines.append(f"compute   {option_names(describe_expected(foreseen))}")
    place = config.results or str(config.out)
    if foreseen.bytes and not is_address(place) and foreseen.bytes > (free := free_bytes(Path(place))):
        lines.append(f"disk      {format_bytes(free)} free at {place}: not enough")
    return lines


def _planning(planning: PlanningCost, units: int) -> str:
    """Return requests and time of planning, the latter with its range where it is extrapolated from some units."""
    text, least, most = format_count(planning.requests, "request"), planning.least_seconds, planning.most_seconds
    text += f", {_duration(planning.seconds)}"
    if least is None or most is None:
        return text
    ends = [_duration(seconds) for seconds in (least, most)]
    text += f" ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else ""
    return f"about {text}, extrapolated from {planning.tried:,} of {format_count(units, 'unit')}"


def _duration(seconds: float) -> str:
    return format_duration(max(1.0, seconds))


def _time(seconds: float, foreseen: Estimate, *, is_local: bool) -> str:
    """Return the duration of a run: that of the computation, or that of the transfer if it is longer."""
    planning = foreseen.planning
    duration = _duration(seconds)
    service = f"{duration} on Earth Engine" if foreseen.requests else duration
    if planning is not None and planning.seconds >= 1.0:
        service += f", {_duration(planning.seconds)} of it for planning"
    transfer = 0.0 if foreseen.bytes is None or is_local else foreseen.bytes / _BYTES_PER_SECOND
    if transfer <= seconds:
        return f"about {service}"
    return f"about {format_duration(transfer)} for the transfer at 100 Mbit/s; {service}"


def _confirm(foreseen: Forecast) -> bool:
    """Show the forecast for the rest of a run; ask whether to continue, if this is a terminal."""
    echo_lines(_expected(foreseen))
    if click.get_current_context().meta.get("yes"):
        return True
    return sys.stdin.isatty() and sys.stderr.isatty() and _ask()


def _confirm_start(foreseen: Estimate) -> bool:
    """Ask whether to begin a run that may use much of the month's compute, if this is a terminal."""
    if click.get_current_context().meta.get("yes") or not is_much(foreseen.compute):
        return True
    question = "This may take more than a tenth of the month's compute. Begin?"
    return not (sys.stdin.isatty() and sys.stderr.isatty()) or _ask(question)


def _ask(question: str = "Continue?") -> bool:
    try:
        return ask(question)
    except click.Abort:  # Ctrl-C means no
        echo(err=True)
        return False


def _expected(foreseen: Forecast) -> list[str]:
    compute = f"{format_duration(foreseen.request_seconds)} of requests; the service reports no EECU"
    if foreseen.compute is not None:
        compute = describe_compute(foreseen.compute)
    requests = format_count(foreseen.slots, "request")
    return [
        f"tried     {format_count(foreseen.tried, 'unit')}",
        f"left      {format_count(foreseen.left, 'unit')}",
        *_planned(foreseen),
        f"requests  {_requests(foreseen)}",
        f"bytes     {describe_bytes(foreseen)}",
        *([] if foreseen.archives is None else [f"archive   {foreseen.archives.describe()}"]),
        f"time      about {format_duration(foreseen.seconds)}, with {requests} in flight",
        f"compute   {compute}",
    ]


def _requests(foreseen: Forecast) -> str:
    text, least, most = f"about {foreseen.requests:,}", foreseen.least_requests, foreseen.most_requests
    if least is not None and most is not None and least < most:
        text += f" (95%: {least:,} to {most:,})"
    if foreseen.shares_requests:
        text += ": units that are near each other share some"
    return text


def _planned(foreseen: Forecast) -> list[str]:
    """Say what planning the rest of a run costs, if it is not planned."""
    if not foreseen.unplanned:
        return []
    if (planning := foreseen.planning) is None:
        return [
            f"planning  of {format_count(foreseen.unplanned, 'unit')}; its cost is unknown, as none was planned now"
        ]
    lines = [f"planning  {_planning(planning, foreseen.tried + foreseen.left)}"]
    if (used := planning.compute) is not None and used.low is not None and used.high is not None:
        lines.append(f"          {describe_range(used.low, used.high)}, apart from the figures below")
    return lines


def _summary(done: Run) -> list[str]:
    """Summarise the results of a run in one line, and in another its files outside its folder."""
    status = done.status()
    empty = status.counts.get("empty", 0) - status.dropped
    whole = status.counts.get("done", 0) + empty
    blank = f", {empty:,} of them without data" if empty else ""
    rowless = f", {status.without_rows:,} of them without rows" if status.without_rows else ""
    dropped = f", {status.dropped:,} without data left out" if status.dropped else ""
    whole -= status.without_file
    skipped = status.counts.get("skipped", 0)
    unwanted = f", {skipped:,} dropped" if skipped else ""
    wanted = status.total - status.dropped - skipped - status.without_file
    results = [f"{whole:,} of {format_count(wanted, 'result')}{blank}{rowless}"]
    if status.without_file:
        fileless = f"{format_count(status.without_file, 'unit')} done without a file"
        results = [*results, fileless] if wanted else [fileless]
    target = done.info.get("results")
    place = f"{target} (ledger in {done.path})" if target else str(done.path)
    empties = status.dropped + empty
    returned = "get_result returned nothing. Files that it writes itself are not in the run: have it return their bytes"
    is_recipe = "arguments" not in (done.info.get("parameters") or {})
    none = "No result has data: the dataset may have none at these places, or between these dates"
    return [
        f"{', '.join(results)}{dropped}{unwanted}, {format_bytes(status.bytes)}, in {place}",
        *([none] if empties and empties == status.total else []),
        *([returned] if is_recipe and 0 < status.without_file == status.total else []),
        *_files_outside(*status.outside),
    ]


def _files_outside(count: int, folders: Sequence[str]) -> list[str]:
    """Name the folders of files that a script has written outside the run, and say how they are recorded."""
    if not count:
        return []
    common = os.path.commonpath(folders)
    again = f"run the script again with --out {shlex.quote(common)}, or " if Path(common).is_dir() else ""
    return [
        f"{format_count(count, 'file')} outside the run's folder, in {', '.join(folders[:_SHOWN])}"
        f"{', …' if len(folders) > _SHOWN else ''}: not recorded and not verified. To record them,"
        f" {again}let it write to relative paths."
    ]


def refresh(done: Run) -> None:
    """Bring what was made of an extended run up to date, and print what was not."""
    if not plan_parts(done.info) or done.info.get("results"):
        return
    from eechips.training.refreshed_files import refresh_files

    echo_lines(refresh_files(done.path), err=True)


def _report(done: Run, *, quiet: bool) -> None:
    """Make the report of a run, unless it is up to date, or in an object store; an error is only printed."""
    page, manifest = done.path / REPORT_NAME, done.path / PARQUET_NAME
    if done.info.get("results"):
        return
    if page.exists() and manifest.exists() and page.stat().st_mtime_ns >= manifest.stat().st_mtime_ns:
        return
    from eechips.reports.page import report

    try:
        report(done, quiet=quiet)
    except KeyboardInterrupt:
        echo(f"No report was made. To make it: eechips report {shlex.quote(str(done.path))}", err=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, the results are there
        echo(f"No report was made: {type(error).__name__}: {error}", err=True)
    else:
        if not quiet:
            echo(f"Report: {page}", err=True)


def _failed(done: Run) -> list[str]:
    """Summarise the failures, most frequent first, and say what to do."""
    failures = list_failures(done.path)
    if not failures:
        left = sum(count for state, count in done.counts.items() if State(state).is_open)
        return [f"{format_count(left, 'unit')} not fetched. A script may have taken partial files for these results."]
    lines = [f"{format_count(len(failures), 'unit')} failed; all are listed in {done.path / 'failures.csv'}:"]
    lines += [f"  {kind.count:,} x {kind.error_class}: {kind.error}" for kind in group_failures(failures)[:_SHOWN]]
    lines.append(_advice(failures, shlex.quote(str(done.path))))
    return lines


def _advice(failures: Sequence[Failure], folder: str) -> str:
    """Say how to retry failed units; errors of the recipe's own code must be fixed first."""
    if all(failure.error_class == RecipeError.__name__ for failure in failures):
        return (
            f"Fix the code first: eechips failures {folder} --traceback. Then repeat the command with"
            f" --accept-changed-code, and retry: eechips retry {folder}"
        )
    return f"To retry: eechips retry {folder}"
