"""Write and query catalogues: ``eechips catalog build``, ``ingest``, ``partitions``, ``new`` and ``repair``."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from eechips.archive.catalogs.options import (
    CHANGES,
    ITEMS,
    LAYOUT,
    PLACE,
    REQUESTS,
    WORKERS,
    BuildOptions,
    IngestOptions,
)
from eechips.cli.terminal import echo, echo_json, echo_lines
from eechips.commands.command import VerbCommand, typed_options
from eechips.commands.parameters import HELP, LocalPath, config_options
from eechips.errors import UsageError
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.archive.catalogs.catalog import Catalog
    from eechips.archive.catalogs.partitions.merge_plan import MergeResult


_BUILD = "build"
_MANY, _FEW = 1000, 20  # partitions of a catalogue, items of a partition


class _RunOrVerb(click.Group):
    """A group that runs ``build`` if its first argument is the folder of a run."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and the remaining arguments."""
        if args and args[0] not in self.commands:
            args = [_BUILD, *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave options before the folder to ``build``."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [_BUILD, *args]
        return super().parse_args(ctx, args)


class _CatalogCommand(VerbCommand):
    """A command that writes a catalogue."""

    headings = (PLACE, ITEMS, REQUESTS, WORKERS, LAYOUT, CHANGES)


@click.group("catalog", cls=_RunOrVerb, context_settings=HELP, subcommand_metavar="DIR | COMMAND [OPTIONS]")
def catalog_command() -> None:
    """Write and query catalogues: STAC items in partitioned GeoParquet, for DuckDB and similar tools.

    With the folder of a run, this is the command build.

    \b
    Examples:
      eechips catalog outputs/sample-naip                            # to outputs/sample-naip/catalog
      eechips catalog outputs/sample-naip --out outputs/catalog      # shared by several runs
      eechips catalog ingest 'lists/*.ndjson' --out outputs/scenes   # your own items
      eechips catalog partitions outputs/catalog --bbox=-105.3,39.9,-105.2,40.0 --start 2021-06-01
    """


@catalog_command.command(_BUILD, cls=_CatalogCommand, context_settings=HELP)
@click.argument("folder", type=LocalPath(), metavar="DIR")
@config_options(BuildOptions)
@click.pass_context
def build_command(ctx: click.Context, /, folder: Path, **options: Any) -> None:
    """Add the chips of a run to a catalogue, or update them.

    The catalogue is a folder of Parquet files, collection=…/cell=…/year=…/month=…/items.parquet, with a list of them
    and statistics in _schema.json. Existing items are kept; of two versions of a chip the newer one counts; unchanged
    partitions are not rewritten. The layout (--by to --most-cells) is fixed when the catalogue is created.

    Exit status: 1 if a partition cannot be read; it is left unchanged, and all others are updated.

    \b
    Examples:
      eechips catalog outputs/sample-naip
      eechips catalog outputs/sample-naip --out outputs/catalog --resolution 4 --period year
      eechips catalog outputs/sample-naip --base https://example.org/naip
      eechips catalog outputs/elevation --date 2000-02-11/2000-02-22
    """
    from eechips.archive.catalogs.run_catalogue import catalog

    built = catalog(folder, **typed_options(options))
    if built.without_place:
        echo(f"{format_count(built.without_place, 'result')} without a location left out", err=True)
    _print_changes(built.outcome)
    _print_summary(built.catalog)
    if built.outcome.stopped:
        ctx.exit(1)


@catalog_command.command("ingest", cls=_CatalogCommand, context_settings=HELP)
@click.argument("lists", nargs=-1, required=True, metavar="LIST…")
@config_options(IngestOptions)
@click.pass_context
def ingest_command(ctx: click.Context, /, lists: tuple[str, ...], **options: Any) -> None:
    """Add lists of STAC items, or of their URLs, to a catalogue.

    A list is a Parquet, CSV, TSV, NDJSON, JSON or text file, local or at any URL that fsspec supports; patterns with *
    work. Entries that are not items are listed in _failures.csv, repairs are counted; all counts are in _ingest.json.
    To resume an interrupted command, repeat it.

    Lists of more than 100 MB are validated and sorted by one process per core, up to four.

    Exit status: 1 if an entry gave no item, or a partition cannot be read.

    \b
    Examples:
      eechips catalog ingest items.ndjson --out outputs/scenes
      eechips catalog ingest 's3://bucket/2020_*.parquet' --out outputs/scenes --in-flight 100
      eechips catalog ingest urls.csv --column stac --out outputs/scenes --collection sentinel-2-l2a
      eechips catalog ingest scenes.txt --hook my_hooks:item_of --out outputs/scenes
    """
    from eechips.archive.catalogs.ingestion.ingest import FAILURES_NAME, ingest

    ingested = ingest(lists, **typed_options(options))
    counts = ingested.counts
    addresses = f" ({counts.addresses:,} address{'' if counts.addresses == 1 else 'es'})" if counts.addresses else ""
    helpers = "" if ingested.processes == 1 else f"; sorted by {ingested.processes} processes"
    echo(f"entries: {counts.entries:,}{addresses}; items: {counts.items:,}{helpers}")
    for name, kinds in (("failed", counts.failures), ("repaired", counts.mended)):
        if kinds:
            summary = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
            echo(f"{name}: {summary}", err=name == "failed")
    if counts.failures:
        echo(f"Failed entries are listed in {Path(options['out']) / FAILURES_NAME}", err=True)
    _print_changes(ingested.outcome)
    _print_summary(ingested.catalog)
    if counts.failures or ingested.outcome.stopped:
        ctx.exit(1)


@catalog_command.command("partitions", cls=VerbCommand, context_settings=HELP)
@click.argument("place", metavar="CATALOG")
@click.option("--bbox", metavar="W,S,E,N", help="Only partitions that can contain items in this box.")
@click.option("--point", metavar="LON,LAT", help="Only partitions that can contain items at this point.")
@click.option("--start", metavar="T", help="Only partitions with items that end at this time (ISO 8601, UTC) or later.")
@click.option("--end", metavar="T", help="Only partitions with items that begin before this time.")
@click.option(
    "--collection",
    "collections",
    multiple=True,
    metavar="ID",
    help="Only partitions of this collection. May be repeated.",
)
@click.option(
    "--mission",
    "missions",
    multiple=True,
    metavar="NAME",
    help="Only partitions of this mission, in a catalogue by mission. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all details as JSON.")
def partitions_command(
    place: str,
    bbox: str | None,
    point: str | None,
    start: str | None,
    end: str | None,
    collections: tuple[str, ...],
    missions: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the partitions of a catalogue that can contain items of a place and time: files to read, one per line.

    No other partition contains such items. CATALOG is a folder, or the URL of a copy in an object store.

    \b
    Examples:
      eechips catalog partitions outputs/catalog
      eechips catalog partitions s3://bucket/catalog --mission sentinel-2
      eechips catalog partitions outputs/catalog --point=-105.25,39.95
      eechips catalog partitions outputs/catalog --bbox=-105.3,39.9,-105.2,40.0 --start 2021-06-01 --end 2021-09-01
    """
    from eechips.archive.catalogs.catalog import open_catalog

    if bbox is not None and point is not None:
        raise UsageError("choose one of --bbox and --point")
    catalog = open_catalog(place)
    partitions = catalog.partitions(
        bbox=point if bbox is None else bbox, start=start, end=end, collections=collections, missions=missions
    )
    if as_json:
        echo_json([partition.to_json() for partition in partitions], indent=1)
        return
    for partition in partitions:
        echo(catalog.address(partition))


@catalog_command.command("new", cls=VerbCommand, context_settings=HELP)
@click.argument("place", metavar="CATALOG")
@click.argument("ids", type=click.File("r", encoding="utf-8"), metavar="IDS")
@click.option("--collection", metavar="ID", help="Collection of the ids, if the catalogue has several.")
def new_command(place: str, ids: IO[str], collection: str | None) -> None:
    """List the ids of a list that a catalogue does not have, one per line, in the order of the list.

    CATALOG is a folder, or the URL of a copy in an object store. IDS is a text file with one id per line; - is the
    standard input. The index of the catalogue's ids is read, not its partitions.

    \b
    Examples:
      eechips catalog new outputs/scenes ids.txt > new.txt
      eechips catalog new s3://bucket/catalog - --collection sentinel-2-l2a < ids.txt
    """
    from eechips.archive.catalogs.catalog import open_catalog

    texts = [line for line in ids.read().split("\n") if line]
    is_there = open_catalog(place).contains(texts, collection=collection)
    echo_lines(text for text, there in zip(texts, is_there, strict=True) if not there)


@catalog_command.command("repair", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=LocalPath(), metavar="CATALOG")
def repair_command(folder: Path) -> None:
    """Complete an interrupted change of a catalogue, and its index of ids.

    Commands that read a catalogue never change it: they refuse a partly changed catalogue. Repeating the interrupted
    command completes its change as well. The whole index of ids is read; what is missing, damaged or out of date is
    written again.

    \b
    Examples:
      eechips catalog repair outputs/catalog
    """
    from eechips.archive.catalogs.catalog import open_catalog
    from eechips.archive.catalogs.update import repair

    repaired = repair(folder)
    if repaired.is_completed:
        echo("Completed an interrupted change.")
    if repaired.is_indexed:
        echo("Completed the index of ids.")
    if not (repaired.is_completed or repaired.is_indexed):
        echo("Nothing to repair.")
    _print_summary(open_catalog(folder))


def _print_summary(catalog: Catalog) -> None:
    """Print the size of a catalogue, with advice if its partitions are small."""
    echo_lines(catalog.summary.split("\n"))
    count = len(catalog.schema.partitions)
    if count > _MANY and len(catalog) < _FEW * count:
        echo(
            f"Partitions have {len(catalog) / count:.0f} items on average: a new catalogue with a lower --resolution,"
            " or a longer --period, is faster to read",
            err=True,
        )


def _print_changes(outcome: MergeResult) -> None:
    """Print how many items were added, updated and moved, and which partitions failed."""
    counts = {
        "new": outcome.new,
        "existing": outcome.replaced,
        "moved": outcome.moved,
        "older than the catalogue's": outcome.older,
    }
    summary = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"
    changed = len(outcome.written) + len(outcome.removed)
    echo(f"items: {summary}; partitions changed: {changed:,}")
    if outcome.mixed:
        from eechips.archive.catalogs.partitions.merge_plan import describe_mixed

        echo(f"mixed types: {describe_mixed(outcome.mixed)}; see --mixed", err=True)
    for path, reason in sorted(outcome.stopped.items()):
        echo(f"{path} cannot be read and is left unchanged: {reason}", err=True)
    if outcome.blocked:
        echo(
            f"{format_count(outcome.blocked, 'item')} could not be added: restore these files and repeat the command,"
            " or give --give-up-unreadable",
            err=True,
        )
    for path, reason in sorted(outcome.lost.items()):
        echo(f"{path} could not be read and was removed: {reason}", err=True)
