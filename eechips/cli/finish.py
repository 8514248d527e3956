"""How a verb that fetches ends: its run or its estimate, what is said of it, and the exit status."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
from collections import Counter

import click

from eechips.cli.group import INTERRUPTED
from eechips.engine import Estimate, RunConfig, estimate, run
from eechips.manifest.run import Run
from eechips.recipe import Recipe

FAILURES = 1
"""Exit status of a run some of whose units failed."""

_SHOWN = 3  # kinds of failure that are named; failures.csv has them all


def finish(recipe: Recipe, config: RunConfig) -> None:
    """Runs a recipe, or estimates it for ``--dry-run``, and leaves with the status that says how it went."""
    _show_log(logging.WARNING if config.quiet else logging.INFO)
    if config.dry_run:
        for line in _foreseen(estimate(recipe, config)):
            click.echo(line)
        return
    typed = shlex.join(["eechips", *sys.argv[1:]])
    done = run(recipe, dataclasses.replace(config, command=typed))
    context = click.get_current_context()
    if done.interrupted:
        context.exit(INTERRUPTED)
    if not config.quiet:
        click.echo(_achieved(done))
    if not done.is_complete:
        for line in _lost(done):
            click.echo(line, err=True)
        context.exit(FAILURES)


def _show_log(level: int) -> None:
    """Shows on standard error what the planner has to say."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("eechips")
    log.handlers = [handler]
    log.setLevel(level)


def _foreseen(foreseen: Estimate) -> list[str]:
    size = "unknown" if foreseen.bytes is None else f"about {human_bytes(foreseen.bytes)}"
    return [
        f"units     {foreseen.units:,}",
        f"requests  {foreseen.requests:,}",
        f"bytes     {size}",
        f"time      about {human_time(foreseen.seconds)} on Earth Engine",
    ]


def _achieved(done: Run) -> str:
    """What there is now, in one line."""
    status = done.status()
    whole = sum(status.counts.get(state, 0) for state in ("done", "empty"))
    empty = status.counts.get("empty", 0)
    blank = f", {empty:,} of them without data" if empty else ""
    return f"{whole:,} of {status.total:,} results{blank}, {human_bytes(status.bytes)}, in {done.path}"


def _lost(done: Run) -> list[str]:
    """What failed, most frequent first, and what to do."""
    failures = done.failures
    lines = [f"{len(failures):,} failed; {done.path / 'failures.csv'} has them all:"]
    counts = Counter(zip(failures["error_class"], failures["error"], strict=True))
    lines += [f"  {count:,} x {kind}: {message}" for (kind, message), count in counts.most_common(_SHOWN)]
    if "failed_transient" in set(failures["state"]):
        lines.append("The same command tries those again that may succeed later.")
    return lines


def human_bytes(count: float) -> str:
    """A number of bytes for people: 9.7 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_time(seconds: float) -> str:
    """A duration for people: 40 s, 3 min, 5.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
