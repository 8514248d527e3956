"""``eechips datasets``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import click

from eechips.cli.command import VerbCommand
from eechips.cli.group import OneSentence
from eechips.cli.options import HELP, debug_option
from eechips.datasets import list_datasets


@click.command("datasets", cls=VerbCommand, context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print all details as JSON.")
@click.option("--local", "is_local", is_flag=True, help="Those that the demo planet of --local has, by any name.")
@debug_option
def command(as_json: bool, is_local: bool) -> None:
    """List the datasets that have a short name: id, bands, scale, dates, licence.

    Any other Earth Engine id works as well: eechips asks the server for its bands and scale.

    \b
    Examples:
      eechips datasets
      eechips datasets --json | jq '.[].id'
      eechips datasets --local
    """
    if is_local:
        _list_local(as_json)
        return
    if as_json:
        records = [{**dataclasses.asdict(dataset), "source": dataset.source} for dataset in list_datasets()]
        click.echo(json.dumps(records, indent=2, ensure_ascii=False))
        return
    rows = [("ALIAS", "ID", "BANDS", "SCALE", "DATES", "SYNONYMS", "LICENCE")]
    for dataset in list_datasets():
        scale = f"{dataset.scale:.0f} m"
        dates = f"{dataset.start} - {dataset.end or ''}".rstrip()
        synonyms = ",".join(dataset.synonyms)
        rows.append((dataset.alias, dataset.id, ",".join(dataset.bands), scale, dates, synonyms, dataset.licence))
    _print_table(rows)


def _list_local(as_json: bool) -> None:
    try:
        from eechips.emulator.demo import dataset_list
    except ModuleNotFoundError as error:
        raise OneSentence(f"{error.name} is not installed: pip install 'eechips[local]'") from error
    entries = dataset_list.entries()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
        return
    rows = [("ID", "KIND", "DATES", "BANDS OR COLUMNS")]
    rows += [(entry.id, entry.kind, entry.dates, ",".join(entry.names)) for entry in entries]
    _print_table(rows)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
