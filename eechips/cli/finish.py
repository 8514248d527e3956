"""How a verb that fetches ends: its run or its estimate, what is said of it, and the exit status."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from eechips.cli.command import FetchCommand
from eechips.cli.group import INTERRUPTED
from eechips.engine import Estimate, Forecast, RunConfig, estimate, run
from eechips.engine.disk import free_bytes
from eechips.errors import UsageError
from eechips.manifest.export import PARQUET_NAME
from eechips.manifest.failures import failures_of, kinds_of
from eechips.manifest.run import REPORT_NAME, Run
from eechips.objects import is_address
from eechips.recipe import Recipe
from eechips.text import format_bytes, format_duration

FAILURES = 1
"""Exit status of a run some of whose units failed."""

TYPED = "eechips.typed"
"""Key of click's ``meta`` for the words of the command, where they are not those that the process was started with."""

_TAKE = "eechips.take"  # key of click's ``meta`` for what receives recipe and config, so that nothing is fetched

_BYTES_PER_SECOND = 100e6 / 8  # of a line of 100 Mbit/s

_SHOWN = 3  # kinds of failure that are named; failures.csv has them all


def finish(recipe: Recipe, config: RunConfig) -> None:
    """Runs a recipe, or estimates it for ``--dry-run``, and leaves with the status that says how it went."""
    if (take := click.get_current_context().meta.get(_TAKE)) is not None:
        take(recipe, config)
        return
    show_log(config)
    if config.dry_run:
        for line in _foreseen(estimate(recipe, config), config):
            click.echo(line)
        return
    context = click.get_current_context()
    typed = shlex.join(context.meta.get(TYPED) or ["eechips", *sys.argv[1:]])
    done = run(recipe, dataclasses.replace(config, command=typed, confirm=_confirm))
    if done.paused:
        click.echo(f"Stopped after the first units; nothing is lost. To go on: {typed} --yes", err=True)
        return
    if done.interrupted:
        context.exit(INTERRUPTED)
    if not config.quiet:
        click.echo(_achieved(done))
        for path in done.assembled:
            if path.is_file():
                click.echo(f"Made of all results: {path}")
    if not context.meta.get("no report"):
        _report(done, quiet=config.quiet)
    if not done.is_complete:
        for line in _lost(done):
            click.echo(line, err=True)
        context.exit(FAILURES)


def recipe_of(context: click.Context, words: Sequence[str]) -> tuple[Recipe, RunConfig]:
    """The recipe and the config that a command would run.

    The words may come from elsewhere, such as out of a queue: a verb that does anything but fetch is not called.

    Args:
        context: of the present command.
        words: of the other one, from its verb on.

    Raises:
        UsageError: if it is no command that fetches.
    """
    root, taken = context.find_root(), []
    assert isinstance(root.command, click.Group)
    verb = root.command.get_command(root, words[0])
    if verb is None:
        raise UsageError(f"there is no `eechips {words[0]}` in this version")
    if not isinstance(verb, FetchCommand):
        raise UsageError(f"eechips {words[0]} fetches nothing: it has no units")
    inner = verb.make_context(words[0], list(words[1:]), parent=root)
    if inner.params.get("check"):
        raise UsageError(f"eechips {words[0]} --check tries a few units here, and hands none on: leave --check out")
    before = dict(inner.meta)
    inner.meta[_TAKE] = lambda recipe, config: taken.append((recipe, config))
    try:
        with inner:
            verb.invoke(inner)
    finally:
        inner.meta.clear()
        inner.meta.update(before)
    (found,) = taken
    return found


def show_log(config: RunConfig) -> None:
    """Shows on standard error what the planner has to say, unless the run is quiet."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("eechips")
    log.handlers = [handler]
    log.setLevel(logging.WARNING if config.quiet else logging.INFO)


def _foreseen(foreseen: Estimate, config: RunConfig) -> list[str]:
    size = "unknown" if foreseen.bytes is None else f"about {format_bytes(foreseen.bytes)}"
    lines = [f"units     {foreseen.units:,}", f"requests  {foreseen.requests:,}", f"bytes     {size}"]
    if foreseen.seconds is not None:
        lines.append(f"time      {_time(foreseen.seconds, foreseen, is_local=config.local)}")
    place = config.results or str(config.out)
    if foreseen.bytes and not is_address(place) and foreseen.bytes > (free := free_bytes(Path(place))):
        lines.append(f"disk      {format_bytes(free)} free where {place} is: too little")
    return lines


def _time(seconds: float, foreseen: Estimate, *, is_local: bool) -> str:
    """How long a run takes: as long as the service computes, or as long as the results travel."""
    service = f"{format_duration(seconds)} on Earth Engine" if foreseen.requests else format_duration(seconds)
    transfer = 0.0 if foreseen.bytes is None or is_local else foreseen.bytes / _BYTES_PER_SECOND
    if transfer <= seconds:
        return f"about {service}"
    return f"about {format_duration(transfer)} for the transfer at 100 Mbit/s; {service}"


def _confirm(foreseen: Forecast) -> bool:
    """Shows what the rest of a run takes; asks whether to go on, if there is somebody to ask."""
    for line in _expected(foreseen):
        click.echo(line)
    if click.get_current_context().meta.get("yes"):
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return click.confirm("Go on?", default=False, err=True)
    except click.Abort:  # Ctrl-C is an answer too
        click.echo(err=True)
        return False


def _expected(foreseen: Forecast) -> list[str]:
    return [
        f"tried     {foreseen.tried:,} units",
        f"left      {foreseen.left:,} units",
        f"requests  about {foreseen.requests:,}",
        f"bytes     about {format_bytes(foreseen.bytes)}",
        f"time      about {format_duration(foreseen.seconds)}, with {foreseen.slots:,} requests in flight",
        f"compute   {format_duration(foreseen.request_seconds)} of requests, added up; Earth Engine does not tell EECU",
    ]


def _achieved(done: Run) -> str:
    """What there is now, in one line."""
    status = done.status()
    empty = status.counts.get("empty", 0) - status.dropped
    whole = status.counts.get("done", 0) + empty
    blank = f", {empty:,} of them without data" if empty else ""
    rowless = f", {status.without_rows:,} of them without rows" if status.without_rows else ""
    dropped = f", {status.dropped:,} without data left out" if status.dropped else ""
    whole -= status.without_file
    fileless = f", {status.without_file:,} done without a file" if status.without_file else ""
    skipped = status.counts.get("skipped", 0)
    unwanted = f", {skipped:,} dropped" if skipped else ""
    wanted = status.total - status.dropped - skipped - status.without_file
    results = done.info.get("results")
    place = f"{results}; the ledger is in {done.path}" if results else str(done.path)
    count, folders = status.outside
    outside = ""
    if count:
        outside = (
            f"\n{count:,} files lie outside the run's folder, in {', '.join(folders[:_SHOWN])}"
            f"{', …' if len(folders) > _SHOWN else ''}: they are neither checked nor recorded. To have them recorded,"
            f" run the script again with --out {shlex.quote(os.path.commonpath(folders))}, or let it write by relative"
            " paths."
        )
    size = format_bytes(status.bytes)
    return f"{whole:,} of {wanted:,} results{blank}{rowless}{fileless}{dropped}{unwanted}, {size}, in {place}{outside}"


def _report(done: Run, *, quiet: bool) -> None:
    """Makes the page of a run, unless it is there, or the results are in an object store.

    The run is done: what goes wrong here is told, and changes nothing.
    """
    page, manifest = done.path / REPORT_NAME, done.path / PARQUET_NAME
    if done.info.get("results"):
        return
    if page.exists() and manifest.exists() and page.stat().st_mtime_ns >= manifest.stat().st_mtime_ns:
        return
    from eechips.reports.page import report

    try:
        report(done, quiet=quiet)
    except KeyboardInterrupt:
        click.echo(f"No report was made. To make it: eechips report {shlex.quote(str(done.path))}", err=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, the results are there
        click.echo(f"No report was made: {type(error).__name__}: {error}", err=True)
    else:
        if not quiet:
            click.echo(f"A look at them: {page}", err=True)


def _lost(done: Run) -> list[str]:
    """What failed, most frequent first, and what to do."""
    failures = failures_of(done.path)
    lines = [f"{len(failures):,} failed; {done.path / 'failures.csv'} has them all:"]
    lines += [f"  {kind.count:,} x {kind.error_class}: {kind.error}" for kind in kinds_of(failures)[:_SHOWN]]
    lines.append(f"To try them again: eechips retry {shlex.quote(str(done.path))}")
    return lines
