"""``eechips catalog``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips.cli.options import HELP, FunctionT, debug_option

if TYPE_CHECKING:
    from eechips.catalogs.catalog import Catalog
    from eechips.catalogs.merge import MergeResult

_BUILD = "build"
_MANY, _FEW = 1000, 20  # partitions of a catalogue, items of a partition


class _RunOrVerb(click.Group):
    """A group whose first argument may be the folder of a run: then ``build`` is meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, and what is left of the arguments."""
        if args and args[0] not in self.commands:
            args = [_BUILD, *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leaves options before the folder to ``build``."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [_BUILD, *args]
        return super().parse_args(ctx, args)


def _catalog_options(function: FunctionT) -> FunctionT:
    """Adds those of ``CatalogOptions``."""
    options = [
        click.option(
            "--by",
            type=click.Choice(["collection", "mission"]),
            help="First level of partitions. [default: collection]",
        ),
        click.option(
            "--grid", type=click.Choice(["h3", "s2", "mgrs", "utm", "tiles"]), help="Of partitions. [default: h3]"
        ),
        click.option("--resolution", type=int, metavar="N", help="Of h3 [default: 2] or s2 [default: 5]."),
        click.option("--tiles", type=click.Path(path_type=Path), metavar="FILE", help="GeoJSON, for --grid tiles."),
        click.option(
            "--period", type=click.Choice(["year", "month", "day", "none"]), help="Of a partition. [default: month]"
        ),
        click.option(
            "--most-cells", type=int, metavar="N", help="What meets more cells goes to 'global'. [default: 10]"
        ),
        click.option(
            "--give-up-unreadable", is_flag=True, help="Remove partitions that cannot be read, with what was in them."
        ),
        click.option(
            "--mixed",
            type=click.Choice(["keep", "cast", "refuse"]),
            default="keep",
            show_default=True,
            help="Values of another type than most of their property: keep them in 'properties', cast them, or stop.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.group("catalog", cls=_RunOrVerb, context_settings=HELP, subcommand_metavar="DIR | COMMAND [OPTIONS]")
def command() -> None:
    """Catalogues of chips: STAC items as GeoParquet, partitioned for DuckDB and the like.

    With the folder of a run, it is the command build.

    \b
    Examples:
      eechips catalog outputs/sample-naip                            # into outputs/sample-naip/catalog
      eechips catalog outputs/sample-naip --out outputs/catalog      # which other runs may share
      eechips catalog ingest 'lists/*.ndjson' --out outputs/scenes   # of items of your own
      eechips catalog partitions outputs/catalog --bbox=-105.3,39.9,-105.2,40.0 --start 2021-06-01
    """


@command.command(_BUILD, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--out", metavar="CATALOG", help="Its folder. [default: DIR/catalog]")
@click.option("--collection", metavar="ID", help="Id of the STAC collection. [default: the name of DIR]")
@click.option("--base", metavar="URL", help="Where readers find the run's files. [default: where they are now]")
@click.option("--date", metavar="D[/D]", help="For chips of which no date is known: a date, or the first and the last.")
@_catalog_options
@debug_option
@click.pass_context
def build_command(
    ctx: click.Context,
    /,
    folder: Path,
    out: str | None,
    collection: str | None,
    base: str | None,
    date: str | None,
    **options: Any,
) -> None:
    """Write the chips of a run into a catalogue, or bring the catalogue up to date.

    The catalogue is a folder of Parquet files, collection=…/cell=…/year=…/month=…/items.parquet, with a list of them
    and statistics in _schema.json. What it has already stays; of two versions of a chip the newer wins; partitions in
    which nothing changes keep their files. How it is laid out (--by to --most-cells) is fixed once it is made.

    Exit status: 1 if a partition cannot be read: it is left as it is, and all others are up to date.

    \b
    Examples:
      eechips catalog outputs/sample-naip
      eechips catalog outputs/sample-naip --out outputs/catalog --resolution 4 --period year
      eechips catalog outputs/sample-naip --base https://example.org/naip
      eechips catalog outputs/elevation --date 2000-02-11/2000-02-22
    """
    from eechips.catalogs.build import catalog

    built = catalog(
        folder,
        out=out,
        collection=collection,
        base=base,
        date=date,
        **options,
    )
    if built.without_place:
        click.echo(f"{built.without_place:,} results lie nowhere and are left out", err=True)
    _tell(built.outcome)
    _sum_up(built.catalog)
    if built.outcome.stopped:
        ctx.exit(1)


@command.command("ingest", context_settings=HELP)
@click.argument("lists", nargs=-1, required=True, metavar="LIST…")
@click.option("--out", required=True, metavar="CATALOG", help="Its folder.")
@click.option("--column", metavar="NAME", help="That has the addresses. [default: url, href, …, whichever there is]")
@click.option("--hook", metavar="HOOK", help="module:function or script:COMMAND, which makes an item from an address.")
@click.option("--collection", metavar="ID", help="For items that name none.")
@click.option("--strict", is_flag=True, help="Refuse items that would have to be mended.")
@click.option("--in-flight", type=int, default=64, show_default=True, help="Requests at once, at most.")
@click.option("--per-host", type=int, default=32, show_default=True, help="Of them to one host.")
@click.option("--retries", type=int, default=5, show_default=True, help="Repeats of a request that failed for now.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds that an answer may take.")
@click.option("--processes", type=int, metavar="N", help="Of this machine, that check and sort. [default: by size]")
@click.option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster that does it instead. [default: by size]")
@_catalog_options
@debug_option
@click.pass_context
def ingest_command(
    ctx: click.Context,
    /,
    lists: tuple[str, ...],
    out: str,
    column: str | None,
    hook: str | None,
    collection: str | None,
    strict: bool,
    in_flight: int,
    per_host: int,
    retries: int,
    timeout: float,
    processes: int | None,
    scheduler: str | None,
    **options: Any,
) -> None:
    """Bring lists of STAC items, or of their addresses, into a catalogue.

    A list is a Parquet, CSV, TSV, NDJSON, JSON or text file, here or wherever fsspec reaches; patterns with * work.
    What is no item is listed in _failures.csv, what had to be mended is counted; _ingest.json has all counts.
    Interrupted, the same command goes on where it stopped.

    Lists of more than 100 MB are checked and sorted by the Dask cluster that Dask's configuration names
    (DASK_SCHEDULER_ADDRESS), or, if it names none, by as many processes as the machine has cores, up to four.

    Exit status: 1 if an entry brought no item, or a partition cannot be read.

    \b
    Examples:
      eechips catalog ingest items.ndjson --out outputs/scenes
      eechips catalog ingest 's3://bucket/2020_*.parquet' --out outputs/scenes --in-flight 100
      eechips catalog ingest urls.csv --column stac --out outputs/scenes --collection sentinel-2-l2a
      eechips catalog ingest scenes.txt --hook my_hooks:item_of --out outputs/scenes
    """
    from eechips.catalogs.ingest import FAILURES_NAME, ingest

    ingested = ingest(
        lists,
        out,
        column=column,
        hook=hook,
        collection=collection,
        strict=strict,
        in_flight=in_flight,
        per_host=per_host,
        retries=retries,
        timeout=timeout,
        processes=processes,
        scheduler=scheduler,
        **options,
    )
    counts = ingested.counts
    addresses = f" ({counts.addresses:,} addresses)" if counts.addresses else ""
    helpers = "" if ingested.crew.is_alone else f"; sorted by {ingested.crew}"
    click.echo(f"entries: {counts.entries:,}{addresses}; items: {counts.items:,}{helpers}")
    for name, kinds in (("failed", counts.failures), ("mended", counts.mended)):
        if kinds:
            told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
            click.echo(f"{name}: {told}", err=name == "failed")
    if counts.failures:
        click.echo(f"{Path(out) / FAILURES_NAME} lists what failed", err=True)
    _tell(ingested.outcome)
    _sum_up(ingested.catalog)
    if counts.failures or ingested.outcome.stopped:
        ctx.exit(1)


@command.command("partitions", context_settings=HELP)
@click.argument("place", metavar="CATALOG")
@click.option("--bbox", metavar="W,S,E,N", help="Only those that can hold items here.")
@click.option("--point", metavar="LON,LAT", help="The same for a point.")
@click.option("--start", metavar="T", help="Only of items that end at this date, or date and time (UTC), or later.")
@click.option("--end", metavar="T", help="Only of items that begin before it.")
@click.option("--collection", "collections", multiple=True, metavar="ID", help="Only of a collection; may be repeated.")
@click.option("--mission", "missions", multiple=True, metavar="NAME", help="The same, in a catalogue by mission.")
@click.option("--json", "as_json", is_flag=True, help="With what is known of each, as JSON.")
@debug_option
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
    """List the partitions of a catalogue that can hold items of a place and a time: files to read, one per line.

    No other partition has any such item. CATALOG is a folder, or the address of a copy in an object store.

    \b
    Examples:
      eechips catalog partitions outputs/catalog
      eechips catalog partitions s3://bucket/catalog --mission sentinel-2
      eechips catalog partitions outputs/catalog --point=-105.25,39.95
      eechips catalog partitions outputs/catalog --bbox=-105.3,39.9,-105.2,40.0 --start 2021-06-01 --end 2021-09-01
    """
    from eechips.catalogs.catalog import open_catalog
    from eechips.errors import UsageError

    if bbox is not None and point is not None:
        raise UsageError("--bbox and --point exclude each other")
    catalog = open_catalog(place)
    found = catalog.partitions(
        bbox=point if bbox is None else bbox, start=start, end=end, collections=collections, missions=missions
    )
    if as_json:
        click.echo(json.dumps([partition.to_json() for partition in found], indent=1, ensure_ascii=False))
        return
    for partition in found:
        click.echo(catalog.address(partition))


@command.command("repair", context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="CATALOG")
@debug_option
def repair_command(folder: Path) -> None:
    """Complete a change that was interrupted while files of a catalogue were put in place.

    Commands that read a catalogue never change it: they refuse a catalogue that is half changed. The command that was
    interrupted completes its change as well when it is run again.

    \b
    Examples:
      eechips catalog repair outputs/catalog
    """
    from eechips.catalogs.catalog import open_catalog
    from eechips.catalogs.update import repair

    is_repaired = repair(folder)
    click.echo("an interrupted change was completed" if is_repaired else "nothing to repair")
    _sum_up(open_catalog(folder))


def _sum_up(catalog: Catalog) -> None:
    """How much there is; and what to do if it lies in crumbs."""
    click.echo(catalog.summary)
    count = len(catalog.schema.partitions)
    if count > _MANY and len(catalog) < _FEW * count:
        click.echo(
            f"partitions have {len(catalog) / count:.0f} items each: a new catalogue with a lower --resolution, or a"
            " longer --period, would be read faster",
            err=True,
        )


def _tell(outcome: MergeResult) -> None:
    """What became of the items."""
    counts = {
        "new": outcome.new,
        "known": outcome.replaced,
        "of them moved": outcome.moved,
        "older than what is there": outcome.older,
    }
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"
    changed = len(outcome.written) + len(outcome.removed)
    click.echo(f"items: {told}; partitions changed: {changed:,}")
    if outcome.mixed:
        from eechips.catalogs.merge import describe_mixed

        click.echo(f"mixed types: {describe_mixed(outcome.mixed)}; --mixed says what becomes of them", err=True)
    for path, reason in sorted(outcome.stopped.items()):
        click.echo(f"{path} cannot be read, and is left as it is: {reason}", err=True)
    if outcome.blocked:
        click.echo(
            f"{outcome.blocked:,} items belong there: restore these files and try again, or --give-up-unreadable",
            err=True,
        )
    for path, reason in sorted(outcome.lost.items()):
        click.echo(f"{path} could not be read, and was given up: {reason}", err=True)
