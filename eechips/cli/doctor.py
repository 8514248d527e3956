"""``eechips doctor``."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from eechips.cli.command import VerbCommand, option_names
from eechips.cli.finish import FAILURES
from eechips.cli.options import HELP, debug_option, given
from eechips.engine.doctor import Finding, doctor

_INDENT = 22  # columns before the detail


@click.command("doctor", cls=VerbCommand, context_settings=HELP)
@click.option("--project", envvar="EECHIPS_PROJECT", show_envvar=True, help="As for a run.")
@click.option("--credentials", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="As for a run.")
@click.option("--endpoint", envvar="EECHIPS_ENDPOINT", show_envvar=True, metavar="URL", help="As for a run.")
@click.option("--send-credentials", is_flag=True, help="As for a run.")
@click.option("--local", is_flag=True, help="Check what a run with --local needs.")
@click.option(
    "--local-assets",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="With --local: serve this folder of assets, or catalogue, instead of the demo planet.",
)
@click.option(
    "--out",
    default="outputs",
    show_default=True,
    metavar="DIR|URL",
    help="Folder, or object store (s3://bucket/folder), of the results: free space and write access are checked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def command(as_json: bool, out: str, **options: Any) -> None:
    """Find what would keep a run from working: versions, credentials, project, endpoint, quota, disk, clock.

    A few small requests are sent; no pixels are computed. The exit status is 1 if a run would fail.

    \b
    Examples:
      eechips doctor
      eechips doctor --project my-project --credentials key.json
      eechips doctor --local
      eechips doctor --out s3://bucket/naip
      eechips doctor --json | jq '.findings[] | select(.state != "ok")'
    """
    findings = doctor(out=out, **given(options))
    would_fail = any(finding.state == "failed" for finding in findings)
    if as_json:
        document = {"ok": not would_fail, "findings": [dataclasses.asdict(finding) for finding in findings]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            click.echo("\n".join(_lines(finding)))
        click.echo(_conclusion(findings))
    if would_fail:
        click.get_current_context().exit(FAILURES)


def _conclusion(findings: Sequence[Finding]) -> str:
    failed = [finding.detail for finding in findings if finding.state == "failed"]
    return f"A run would not work now: {failed[0].rstrip('.')}." if failed else "A run would work."


def _lines(finding: Finding) -> list[str]:
    """Return state, name and detail, wrapped to the terminal, with the advice below."""
    width = max(shutil.get_terminal_size((100, 24)).columns, 2 * _INDENT)
    texts = [finding.detail, *([f"To do: {finding.advice}"] if finding.advice else [])]
    lines = [
        line
        for text in map(option_names, texts)
        for line in textwrap.wrap(text, width - _INDENT, break_on_hyphens=False)
    ]
    heads = [f"{finding.state:<9}{finding.name:<{_INDENT - 9}}", *[" " * _INDENT] * (len(lines) - 1)]
    return [head + line for head, line in zip(heads, lines, strict=True)]
