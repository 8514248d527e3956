"""``eechips datasets``."""

from __future__ import annotations

import dataclasses
import json

import click

from eechips.cli.options import HELP, debug_option
from eechips.datasets import DATASETS


@click.command("datasets", context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Everything that is known of them, as JSON.")
@debug_option
def command(as_json: bool) -> None:
    """List the datasets that have a short name: id, bands, scale, dates, licence.

    Any other Earth Engine id works as well: eechips asks the server for its bands and scale.

    \b
    Examples:
      eechips datasets
      eechips datasets --json | jq '.[].id'
    """
    if as_json:
        records = [{**dataclasses.asdict(dataset), "source": dataset.source} for dataset in DATASETS]
        click.echo(json.dumps(records, indent=2, ensure_ascii=False))
        return
    rows = [("ALIAS", "ID", "BANDS", "SCALE", "DATES", "LICENCE")]
    for dataset in DATASETS:
        scale = f"{dataset.scale:.0f} m"
        dates = f"{dataset.start} - {dataset.end or ''}".rstrip()
        rows.append((dataset.alias, dataset.id, ",".join(dataset.bands), scale, dates, dataset.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
