"""Add the chips of a run to a catalogue, as ``eechips catalog DIR`` does; refuse chips without a date, skip those
without a place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from eechips.archive.catalogs.catalog import Catalog
from eechips.archive.catalogs.items import ItemSource, SkippedUnits, collection_of, items
from eechips.archive.catalogs.options import BuildOptions
from eechips.archive.catalogs.partitions.merge_plan import MergeResult
from eechips.archive.catalogs.partitions.schema import Schema
from eechips.archive.catalogs.update import collection_path, folder_of, update
from eechips.errors import UsageError
from eechips.manifest.run import Run, open_run
from eechips.option_fields import filled, takes
from eechips.text.formatting import format_count
from eechips.text.progress_bar import progress_bar
from eechips.text.timestamps import parse_timestamp
from eechips.training.sample_reader import read_samples

FOLDER = "catalog"
"""Default folder of a run's catalogue, below the run's."""

_BATCH = 20_000  # items of a sorted run
_DAY = len("2021-01-01")


@dataclass(frozen=True, slots=True)
class CatalogBuild:
    """Result of adding a run.

    Attributes:
        without_place: units without a location, such as tables, which become no items.
    """

    catalog: Catalog
    outcome: MergeResult
    without_place: int


@takes(BuildOptions)
def catalog(run: Run | str | Path, **options: Any) -> CatalogBuild:
    """Write the chips of a run into a catalogue of STAC items, as GeoParquet in Hive-style partitions.

    Items of the catalogue are kept; of two versions of an item the one completed later wins. Partitions without changes
    keep their files.

    Args:
        run: the run, finished or not, or its folder.
        options: fields of ``BuildOptions``.

    Returns:
        The catalogue, and counts of the merged items.

    Raises:
        UsageError: if the folder holds no run, the run has no chips, the date of a chip is unknown, the catalogue has
            another layout, an option is wrong, or an extra is missing.
        RunLockedError: if another process writes the catalogue.
        StorageError: if a file cannot be written.

    Example:
        >>> built = eechips.catalog("outputs/sample-naip", out="outputs/catalog")
        >>> built.catalog.partitions(bbox=(-105.3, 39.9, -105.2, 40.0))
    """
    wanted = filled(BuildOptions, options)
    run = open_run(run)
    samples = read_samples(run)
    folder = run.path / FOLDER if wanted.out is None else folder_of(wanted.out)
    name = wanted.collection or run.path.resolve().name
    source = ItemSource(
        collection=name,
        home=str(folder.resolve() / collection_path(name)),
        base=(wanted.base or run.address or str(run.path.resolve())).rstrip("/"),
        info=run.info,
        dates=None if wanted.date is None else _dates(wanted.date),
    )
    left = SkippedUnits()

    def described(schema: Schema) -> list[dict[str, Any]]:
        own = schema.statistics["collections"].get(source.collection)
        return [] if own is None else [collection_of(source, own["bbox"], own["start"], own["end"])]

    with progress_bar(len(samples), "chips", quiet=wanted.quiet) as bar:
        batches = _batches(items(samples, source, left), bar.update, run, left)
        changed_catalog, outcome = update(
            folder,
            wanted.layout,
            batches,
            described,
            give_up=wanted.give_up_unreadable,
            mixed=wanted.mixed,
            is_shown=not wanted.quiet,
        )
    return CatalogBuild(changed_catalog, outcome, left.without_place)


def _batches(
    stac_items: Iterator[dict[str, Any]], advance: Callable[[int], object], run: Run, left: SkippedUnits
) -> Iterator[list[dict[str, Any]]]:
    """Yield batches of items. After the last, reject runs without chips, or with chips without a date."""
    count = 0
    while batch := list(islice(stac_items, _BATCH)):
        yield batch
        count += len(batch)
        advance(len(batch))
    if left.without_date:
        total = format_count(count + left.without_date, "chip")
        verb = "has" if left.without_date == 1 else "have"
        raise UsageError(
            f"{left.without_date:,} of {total} {verb} no date, which STAC requires: set `date`, such as"
            " 2021-01-01/2021-12-31"
        )
    if not count:
        there = (
            f"none of {format_count(left.without_place, 'result')} has a location"
            if left.without_place
            else "there are no results"
        )
        raise UsageError(f"{run.path} has no chips for a catalogue: {there}")


def _dates(text: str) -> tuple[str, str]:
    """Parse ``A`` or ``A/B`` into the first and last moment as RFC 3339; a last day is included."""
    first, _, last = text.partition("/")
    moments = [parse_timestamp(part) for part in (first, last or first)]
    if None in moments:
        raise UsageError(f"'{text}' is not a date such as 2021-01-01, or two such as 2021-01-01/2021-12-31")
    start, end = (moment.astimezone(timezone.utc) for moment in moments if moment is not None)
    if last and len(last) == _DAY:
        end += timedelta(days=1) - timedelta(seconds=1)
    if end < start:
        raise UsageError(f"'{text}' ends before it begins")
    texts = (moment.isoformat().replace("+00:00", "Z") for moment in (start, end))
    return next(texts), next(texts)
