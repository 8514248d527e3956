"""``eechips failures``."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.errors import UsageError
from eechips.manifest.failures import Failure, group_failures, list_failures
from eechips.manifest.run import open_run

_COLUMNS = ("id", "name", "state", "error_class", "error", "attempts", "position", "unit")
_ID = 16  # digits of an id that are shown, as in names of files


@click.command("failures", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
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
@debug_option
def command(folder: Path, classes: tuple[str, ...], limit: int, traceback: bool, as_json: bool, as_csv: bool) -> None:
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
        click.echo(_json(failures, traceback=traceback))
    elif as_csv:
        click.echo(_csv(failures, traceback=traceback), nl=False)
    else:
        _show(folder, failures, limit or len(failures), traceback=traceback)


def _json(failures: Sequence[Failure], *, traceback: bool) -> str:
    kinds = [{"error_class": k.error_class, "error": k.error, "count": k.count} for k in group_failures(failures)]
    units = [{**_fields(f, traceback=traceback), "unit": json.loads(f.unit)} for f in failures]
    return json.dumps({"total": len(failures), "kinds": kinds, "units": units}, indent=2, ensure_ascii=False)


def _csv(failures: Sequence[Failure], *, traceback: bool) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*_COLUMNS, *(["traceback"] if traceback else [])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_fields(failure, traceback=traceback) for failure in failures)
    return buffer.getvalue()


def _fields(failure: Failure, *, traceback: bool) -> dict[str, Any]:
    fields = {name: getattr(failure, name) for name in _COLUMNS} | {"state": failure.state.value}
    return fields | {"traceback": failure.traceback} if traceback else fields


def _show(folder: Path, failures: Sequence[Failure], limit: int, *, traceback: bool) -> None:
    """Print the kinds, then a table of units; on a terminal, rows are cut to its width."""
    if not failures:
        click.echo("No failed units.")
        return
    for kind in group_failures(failures):
        click.echo(f"{kind.count:>9,}  {kind.error_class}: {_line(kind.error)}")
    click.echo()
    shown = failures[:limit]
    rows = [("ID", "NAME", "ATTEMPTS", "CLASS", "ERROR")]
    rows += [(f.id[:_ID], f.name, str(f.attempts), f.error_class, _line(f.error)) for f in shown]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(_row(rows[0], widths, room))
    for row, failure in zip(rows[1:], shown, strict=True):
        click.echo(_row(row, widths, room))
        if traceback and failure.traceback:
            click.echo("\n".join(f"    {line}" for line in failure.traceback.rstrip().splitlines()))
    if len(failures) > limit:
        click.echo(f"… and {len(failures) - limit:,} more (--limit 0 shows all)")
    click.echo(f"To retry: eechips retry {folder}", err=True)


def _row(row: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    text = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    return text if room is None or len(text) <= room else f"{text[: room - 1]}…"


def _line(text: str) -> str:
    return " ".join(text.split())
