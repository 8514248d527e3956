"""``eechips status``."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from eechips.cli.chart import bars, width_for
from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.manifest.run import Run, Status, open_run
from eechips.text import format_bytes, format_duration

_INTERVAL = 2.0  # seconds between two refreshes
_COST = 10.0  # a refresh may take a tenth of the time, so that it does not slow down the run
_HEIGHT = 5  # rows of the chart


@click.command("status", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--watch", is_flag=True, help="Refresh every two seconds while the run is in progress.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch, one object per line.")
@debug_option
def command(folder: Path, watch: bool, as_json: bool) -> None:
    """Show the progress of a run: counts by state, failures by class, speed, time left.

    On a terminal, charts show units per second and requests in flight over time. The run may be in progress.

    \b
    Examples:
      eechips status outputs/sample-naip
      eechips status outputs/sample-naip --watch
      eechips status outputs/sample-naip --json | jq .counts
    """
    run = open_run(folder)
    shown = 0
    while True:
        began = time.monotonic()
        shown, is_running = _show(run, shown, as_json=as_json, watch=watch)
        if not watch or not is_running:
            return
        time.sleep(max(_INTERVAL, _COST * (time.monotonic() - began)))


def _show(run: Run, shown: int, *, as_json: bool, watch: bool) -> tuple[int, bool]:
    """Print the status of a run.

    Args:
        run: the run.
        shown: number of lines of the last refresh, which are replaced on a terminal.
        as_json: print JSON.
        watch: the status is refreshed later.

    Returns:
        The number of lines printed, and whether the run is in progress.
    """
    columns = shutil.get_terminal_size().columns
    if as_json:
        status = run.status()
        click.echo(json.dumps(status.to_json(), indent=None if watch else 2, ensure_ascii=False))
        return 0, status.is_running
    status = run.status(intervals=width_for(columns))
    lines = _facts(run.path, status)
    if sys.stdout.isatty():
        lines += _charts(status)
        lines = [line[:columns] for line in lines]  # a wrapped line would not be replaced
    elif watch and status.is_running:
        lines.append("")
    back = f"\x1b[{shown}F\x1b[J" if shown and sys.stdout.isatty() else ""
    click.echo(back + "\n".join(lines))
    return len(lines), status.is_running


def _facts(folder: Path, status: Status) -> list[str]:
    """Return names and values, one per line."""
    facts = [("run", str(folder)), ("units", f"{status.total:,}")]
    facts += [(state, f"{count:,}") for state, count in status.counts.items()]
    facts += [("", f"{count:,} {error}") for error, count in status.failures.items()]
    facts += [("bytes", f"{status.bytes:,} ({format_bytes(status.bytes)})"), ("requests", f"{status.requests:,}")]
    if status.rate is not None:
        recent = status.history.recent
        now = f", {recent:.1f} in the last minute" if recent is not None else ""
        facts.append(("speed", f"{status.rate:.1f} units per second{now}"))
    if status.seconds_left is not None:
        facts.append(("time left", f"about {format_duration(status.seconds_left)}"))
    if status.started:
        facts.append(("started", status.started))
        facts.append(("finished", status.finished or ("not yet" if status.is_running else "no: stopped")))
    width = 2 + max(len(name) for name, _ in facts)
    return [f"{name:<{width}}{value}" for name, value in facts]


def _charts(status: Status) -> list[str]:
    """Draw units per second, and requests in flight if they are known."""
    history = status.history
    is_plain = not _has_blocks(sys.stdout.encoding)
    lines: list[str] = []
    limit = f" (limit {history.limits[-1]:,.0f})" if history.limits else ""
    for title, values in (("units per second", history.rates), (f"requests in flight{limit}", history.in_flight)):
        if len(values) > 1:
            end = format_duration(history.duration)
            drawn = bars(values, height=_HEIGHT, top=_rounded_up(values), end=end, is_plain=is_plain)
            lines += ["", title, *drawn]
    return lines


def _has_blocks(encoding: str) -> bool:
    try:
        "┤█".encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _rounded_up(values: Sequence[float]) -> float:
    """Return a round number that is not below any value."""
    most = max(values)
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= most * (1 - 1e-9))
