"""Show what a run has done: ``eechips status`` (``--watch``, charts, speed, time left) and ``failures`` (summary,
table, CSV, JSON).
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eechips.cli.terminal import MARGIN, echo, echo_json, echo_lines, echo_spreadsheet, replace_lines
from eechips.commands.parameters import run_command
from eechips.errors import UsageError
from eechips.manifest.extensions import CODE_CHANGES, code_changes
from eechips.manifest.failures import Failure, group_failures, list_failures
from eechips.manifest.folder_lock import waiting_clause
from eechips.manifest.run import Run, open_run
from eechips.manifest.run_status import Status
from eechips.text.formatting import format_bytes, format_count, format_duration, one_line, rate_period

_INTERVAL = 2.0  # seconds between two refreshes
_COST = 10.0  # a refresh may take a tenth of the time, so that it does not slow down the run
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = "  .:-=+*#"  # as many levels, for terminals that have no blocks


@run_command("status")
@click.option("--watch", is_flag=True, help="Refresh every two seconds while the run is in progress.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch, one object per line.")
def status_command(folder: Path, watch: bool, as_json: bool) -> None:
    """Show the progress of a run: counts by state, failures by class, speed, time left.

    On a terminal, one line of blocks shows the units per second over time, another one the requests in flight. The run
    may be in progress.

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
        shown, is_running = _show_status(run, shown, as_json=as_json, watch=watch)
        if not watch or not is_running:
            return
        time.sleep(max(_INTERVAL, _COST * (time.monotonic() - began)))


def _show_status(run: Run, shown: int, *, as_json: bool, watch: bool) -> tuple[int, bool]:
    """Print the status of a run, on a terminal in place of the lines that were shown.

    Returns:
        The number of lines printed, and whether the run is in progress.
    """
    columns = shutil.get_terminal_size().columns
    if as_json:
        status = run.status()
        changes = list(map(asdict, code_changes(run.info)))
        content = {**status.to_json(), **({CODE_CHANGES: changes} if changes else {})}
        echo_json(content, indent=None if watch else 2)
        return 0, status.is_running
    status = run.status(intervals=columns)
    lines = [*_facts(run.path, status), *(change.describe() for change in code_changes(run.info))]
    if sys.stdout.isatty():
        lines += _charts(status)
        lines = [line[:columns] for line in lines]  # a wrapped line would not be replaced
    elif watch and status.is_running:
        lines.append("")
    replace_lines(lines, shown)
    return len(lines), status.is_running


def _facts(folder: Path, status: Status) -> list[str]:
    """Return names and values, one per line."""
    facts = [("run", str(folder)), ("units", _describe_units(status))]
    facts += [(state, f"{count:,}") for state, count in status.counts.items()]
    facts += [("", f"{count:,} {error}") for error, count in status.failures.items()]
    if status.exporting:
        facts.append(("exporting", f"{format_count(status.exporting, 'unit')}, the first since {status.oldest_export}"))
    facts += [("bytes", f"{status.bytes:,} ({format_bytes(status.bytes)})"), ("requests", f"{status.requests:,}")]
    if (stream := status.stream) is not None:
        count, sent = format_count(stream.samples, "sample"), format_count(stream.requests, "request")
        facts.append(("epoch", f"{stream.epoch}: {stream.read:,} of {count} read, {sent} since it began"))
    if status.rate is not None:
        recent = status.history.recent
        period, seconds = rate_period(status.rate)
        now = f", {recent * seconds:.1f} in the last minute" if recent is not None else ""
        facts.append(("speed", f"{status.rate * seconds:.1f} units per {period}{now}"))
    if status.seconds_left is not None:
        facts.append(("time left", f"about {format_duration(status.seconds_left)}"))
    if status.started:
        facts.append(("started", status.started))
        facts.append(("finished", status.finished or ("not yet" if status.is_running else "no: stopped")))
    width = 2 + max(len(name) for name, _ in facts)
    return [f"{name:<{width}}{value}" for name, value in facts]


def _describe_units(status: Status) -> str:
    if status.unplanned == 0:
        return f"{status.total:,}"
    if status.unplanned is None:
        return f"{status.total:,} planned so far; the plan is not complete"
    return f"{status.total + status.unplanned:,}, of which {status.unplanned:,} are not planned yet"


def _charts(status: Status) -> list[str]:
    """Draw units per second, and requests in flight if they are known, over time."""
    history = status.history
    levels = _BLOCKS if sys.stdout.encoding.lower().startswith("utf") else _ASCII
    limit = f", with a limit of {history.limits[-1]:,.0f}" if history.limits else ""
    rates = () if status.stream is not None else history.rates
    lines: list[str] = []
    for title, values, note in (("units per second", rates, ""), ("requests in flight", history.in_flight, limit)):
        if len(values) > 1:
            lines += [f"{title}: up to {max(values):.4g}{note}, in {format_duration(history.duration)}"]
            lines += [sparkline(values, levels)]
    return lines


def sparkline(values: Sequence[float], levels: str) -> str:
    """Draw a character for each value, which is not negative: a space for 0, the last of the levels for the maximum."""
    most, last = max(values) or 1.0, len(levels) - 1
    return "".join(levels[math.ceil(value / most * last)] for value in values)


_COLUMNS = ("id", "name", "state", "error_class", "error", "attempts", "position", "unit")
_ID = 16  # digits of an id that are shown, as in names of files


@run_command("failures")
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Only errors of this class. May be repeated.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="Maximum number of units in the table; 0 for all.",
)
@click.option("--traceback", is_flag=True, help="Show the traceback of errors in the recipe.")
@click.option("--json", "as_json", is_flag=True, help="Print kinds and all units as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all units as CSV.")
def failures_command(
    folder: Path, classes: tuple[str, ...], limit: int, traceback: bool, as_json: bool, as_csv: bool
) -> None:
    """List the failed units of a run: a summary by kind, then each unit.

    A class is a name such as PermanentError, or permanent. To run failed units again: eechips retry.

    \b
    Examples:
      eechips failures outputs/sample-naip
      eechips failures outputs/sample-naip --class recipe --traceback
      eechips failures outputs/sample-naip --json | jq -r '.units[].id'
      eechips failures outputs/sample-naip --csv > failed.csv
    """
    if as_json and as_csv:
        raise UsageError("choose one of --json and --csv")
    failures = list_failures(open_run(folder).path, classes)
    if as_json:
        echo_json(_json(failures, traceback=traceback), indent=2)
    elif as_csv:
        echo_spreadsheet(_rows(failures, traceback=traceback))
    else:
        _show_failures(folder, failures, limit or len(failures), traceback=traceback)


def _json(failures: Sequence[Failure], *, traceback: bool) -> dict[str, Any]:
    kinds = [{"error_class": k.error_class, "error": k.error, "count": k.count} for k in group_failures(failures)]
    units = [{**_fields(f, traceback=traceback), "unit": json.loads(f.unit)} for f in failures]
    return {"total": len(failures), "kinds": kinds, "units": units}


def _rows(failures: Sequence[Failure], *, traceback: bool) -> Iterator[Sequence[Any]]:
    yield (*_COLUMNS, "traceback") if traceback else _COLUMNS
    for failure in failures:
        yield tuple(_fields(failure, traceback=traceback).values())


def _fields(failure: Failure, *, traceback: bool) -> dict[str, Any]:
    fields = {name: getattr(failure, name) for name in _COLUMNS} | {"state": failure.state.value}
    return fields | {"traceback": failure.traceback} if traceback else fields


def _show_failures(folder: Path, failures: Sequence[Failure], limit: int, *, traceback: bool) -> None:
    """Print the kinds, then a table of units; on a terminal, rows are cut to its width."""
    if not failures:
        echo("No failed units.")
        return
    for kind in group_failures(failures):
        echo(f"{kind.count:>9,}  {kind.error_class}: {kind.error}")
    echo()
    shown = failures[:limit]
    rows = [("ID", "NAME", "ATTEMPTS", "CLASS", "ERROR")]
    rows += [(f.id[:_ID], one_line(f.name), str(f.attempts), f.error_class, one_line(f.error)) for f in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    echo(_row(rows[0], widths, room))
    for row, failure in zip(rows[1:], shown, strict=True):
        echo(_row(row, widths, room))
        if traceback and failure.traceback:
            echo_lines(MARGIN + line for line in failure.traceback.rstrip().splitlines())
    if len(failures) > limit:
        echo(f"… and {len(failures) - limit:,} more (--limit 0 shows all)")
    echo(f"To retry: {waiting_clause(folder)}eechips retry {shlex.quote(str(folder))}", err=True)


def _row(row: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    text = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    return text if room is None or len(text) <= room else f"{text[: room - 1]}…"
