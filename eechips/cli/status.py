"""``eechips status``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from eechips.cli.options import HELP, debug_option
from eechips.manifest.run import Status, open_run


@click.command("status", context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@debug_option
def command(folder: Path, as_json: bool) -> None:
    """Show what a run folder holds: counts by state, failures by class, rate, bytes.

    It may be asked while the run is going on.

    \b
    Examples:
      eechips status outputs/sample-naip
      eechips status outputs/sample-naip --json | jq .counts
    """
    status = open_run(folder).status()
    if as_json:
        click.echo(json.dumps(status.to_json(), indent=2, ensure_ascii=False))
        return
    for name, value in _lines(folder, status):
        click.echo(f"{name:<10}{value}")


def _lines(folder: Path, status: Status) -> list[tuple[str, str]]:
    """Names and values, one for each line."""
    lines = [("run", str(folder)), ("units", f"{status.total:,}")]
    lines += [(state, f"{count:,}") for state, count in status.counts.items()]
    lines += [("", f"{count:,} {error}") for error, count in status.failures.items()]
    lines.append(("bytes", f"{status.bytes:,}"))
    lines.append(("requests", f"{status.requests:,}"))
    if status.rate is not None:
        lines.append(("rate", f"{status.rate:.1f} a second"))
    if status.started:
        lines.append(("started", status.started))
        lines.append(("finished", status.finished or "not yet, or interrupted"))
    return lines
