"""Find the units that an extension (``extend``, ``update``) adds to a plan of images, composites or time series for
more dates or regions; refuse one that leaves some out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ee
import shapely

from eechips.builtin_recipes.tables.point_survey import share_pixels
from eechips.builtin_recipes.tables.table_options import TimeSeriesOptions
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.planning import asset_metadata
from eechips.planning.areas.separate_regions import SeparateRegions, outline_error
from eechips.planning.areas.zones import Zones
from eechips.planning.imagery import inventory
from eechips.recipe import AddedUnits, ChangedUnit, EarlierPlan, Unit, canonical_json
from eechips.recipe.units import COMPLETES
from eechips.text.formatting import some_of

_SHOWN = 5  # regions that a message names

GROWING = frozenset({"start", "end", "regions", "regions_sha256"})
"""Parameters that may differ in an extension: the dates, and the file of regions, which may have further ones."""


def check_dates_grow(earlier: Mapping[str, Any], start: str | None, end: str | None) -> None:
    """Raise UsageError if an extension leaves out dates.

    Args:
        earlier: parameters of the run.
        start: first date of the extension, ISO 8601; None for the earliest image.
        end: date after the last; None for none.
    """
    first, last = earlier.get("start"), earlier.get("end")
    if start is not None and (first is None or start > first):
        raise UsageError(_fewer("start", first or "the earliest image", start))
    if end is not None and (last is None or end < last):
        raise UsageError(_fewer("end", last or "open", end))


def check_growth(earlier: EarlierPlan, start: str | None, end: str | None, regions: SeparateRegions | None) -> None:
    """Raise UsageError if an extension leaves out dates or a region, or clips a region to another outline.

    Args:
        start: first date of the extension, ISO 8601; None for the earliest image.
        end: date after the last; None for none.
        regions: regions of the extension; None if it has one.
    """
    check_dates_grow(earlier.parameters, start, end)
    if regions is not None:
        check_files_stay(earlier.units, regions)


def check_periods_stay(before: Iterable[tuple[Any, ...]], now: Collection[tuple[Any, ...]], changed: str) -> None:
    """Raise UsageError if a period of a run begins or ends at another day in its extension.

    Args:
        before: periods of the run; each ends with its first day and the day after its last.
        now: those of the extension, in the same form.
        changed: what would change.
    """
    cut = next((period for period in before if period not in now), None)
    if cut is not None:
        raise UsageError(
            f"the period of the run from {cut[-2]} to {cut[-1]} would have other days now, and its {changed} would"
            " change: let `start` and `end` be ends of whole periods, or choose another output folder"
        )


def _fewer(name: str, before: str, now: str) -> str:
    return (
        f"`{name}` is {before} in the run and {now} now: an extension adds dates and leaves none out. Give a range that"
        " has the dates of before, or choose another output folder"
    )


def find_last_day(dataset: str, around: ee.Geometry | None, end: str | None, until: dt.date) -> dt.date | None:
    """Return the day of the latest image that meets a region, among those that a run lacks: one request.

    Args:
        dataset: id of the collection.
        around: the region; None for the whole Earth.
        end: end of the run, exclusive, ISO 8601.
        until: day after the last that is searched.

    Returns:
        None if the collection has no image since the end of the run.

    Raises:
        UsageError: if the run has no end.
    """
    if end is None:
        raise UsageError(
            "the run has no `end`, so its results have all images up to the day when they were fetched, and it is"
            " unknown which are new: fetch it in another folder with `end`"
        )
    if end >= until.isoformat():
        return None
    images = asset_metadata.filter_images(dataset, "collection", end, until.isoformat())
    return inventory.fetch_last_day(images if around is None else images.filterBounds(around))


def check_regions_stay(before: Iterable[Any], now: Collection[Any], path: object) -> None:
    """Raise UsageError if an extension, whose regions have the ids ``now``, lacks one of those ``before``."""
    missing = [region for region in before if region not in now]
    if missing:
        raise UsageError(
            f"{path} lacks regions of the run ({some_of(missing, _SHOWN)}): an extension adds regions and leaves none"
            " out. Add them to the file, or choose another output folder"
        )


def check_files_stay(units: Iterable[Unit], regions: SeparateRegions) -> None:
    """Raise UsageError if an extension leaves out a region of units, or clips one to another outline."""
    outlines = {unit["region"]: unit.get("outline") for unit in units}
    check_regions_stay(outlines, frozenset(regions.zones.ids), regions.path)
    regions.check_outlines(outlines)


class _EarlierUnit(NamedTuple):
    """The number of a unit in the plan; number and names of its images. A tuple, as there may be a million."""

    number: int
    images: tuple[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _EarlierPlaces:
    """What a plan has: by key of a unit its place and its images, and by region the pixel grid.

    A key is a region (None for the only one), and the image or the period.
    """

    images: Mapping[tuple[Any, ...], _EarlierUnit]
    grids: Mapping[Any, Mapping[str, Any]]


def add_images(earlier: Iterable[Unit], planned: Iterator[Unit], *, is_placed: bool) -> AddedUnits:
    """Return the units of images, or of mosaics of them, that a plan lacks.

    Args:
        planned: units of the same images and more, planned again.
        is_placed: whether all images of a region are on one pixel grid: that of the run.

    Raises:
        UsageError: if the outline of a region has changed.
    """
    known = _read(earlier, ("image",))
    added: list[Unit] = []
    changed: list[ChangedUnit] = []
    for unit in planned:
        if is_placed:
            unit = _placed(unit, known.grids, marks={"is_resampled": True})
        region, shown = unit.get("region"), unit.get("sources", [unit["image"]])
        before = next((known.images[region, name] for name in shown if (region, name) in known.images), None)
        if before is None:
            added.append(unit)
        elif before.images != (now := _images(unit)):
            what = f"mosaic{_of_region(unit)} of {unit['date']}"
            changed.append(ChangedUnit(before.number, unit, _describe_images(what, before.images[0], now[0])))
    return AddedUnits(added, tuple(changed))


def add_composites(earlier: Iterable[Unit], planned: Iterator[Unit]) -> AddedUnits:
    """Return the units of composites that a plan lacks. All are on the pixel grid of their region.

    Args:
        planned: units of the same periods and more, planned again.

    Raises:
        UsageError: if a period of the run ends or begins at another day, so that its file would change; or if the
            outline of a region has changed.
    """
    names = ("start", "end")
    known = _read(earlier, names)
    added: list[Unit] = []
    changed: list[ChangedUnit] = []
    planned_keys = set()
    for unit in planned:
        unit, key = _placed(unit, known.grids), _key(unit, names)
        planned_keys.add(key)
        if key not in known.images:
            added.append(unit)
        elif known.images[key].images != (now := _images(unit)):
            before, what = known.images[key], f"composite{_of_region(unit)} from {unit['start']} to {unit['end']}"
            changed.append(ChangedUnit(before.number, unit, _describe_images(what, before.images[0], now[0])))
    again = {key[0] for key in planned_keys}
    check_periods_stay((key for key in known.images if key[0] in again), planned_keys, "file")
    return AddedUnits(added, tuple(changed))


def _of_region(unit: Unit) -> str:
    return f" of region {unit['region']}" if "region" in unit else ""


def _describe_images(what: str, before: int, now: int) -> str:
    count = f"{now:,} images now, not {before:,}" if now != before else "other images now"
    return f"The {what} would have {count}: its file is kept"


def _read(units: Iterable[Unit], names: Sequence[str]) -> _EarlierPlaces:
    images: dict[tuple[Any, ...], _EarlierUnit] = {}
    grids: dict[Any, Mapping[str, Any]] = {}
    for index, unit in enumerate(units):
        if COMPLETES in unit:
            continue
        images[_key(unit, names)] = _EarlierUnit(index, _images(unit))
        grids.setdefault(unit.get("region"), unit["grid"])
    return _EarlierPlaces(images, grids)


def _key(unit: Unit, names: Sequence[str]) -> tuple[Any, ...]:
    return (unit.get("region"), *(unit[name] for name in names))


def _images(unit: Unit) -> tuple[int, tuple[str, ...]]:
    return unit.get("images", 1), tuple(unit.get("sources", ()))


def _placed(unit: Unit, grids: Mapping[Any, Mapping[str, Any]], marks: Mapping[str, Any] | None = None) -> Unit:
    """Return a unit on the pixel grid that its region has in the run.

    Args:
        unit: planned now.
        grids: grids of the run, by region.
        marks: further fields of a unit that is moved to another grid.

    Raises:
        UsageError: if the grids show that the outline of the region has changed.
    """
    region = unit.get("region")
    before = grids.get(region)
    if before is None:
        return unit
    now, then = Grid.from_json(unit["grid"]), Grid.from_json(before)
    if now == then:
        return unit
    if share_pixels((then, now)):
        raise outline_error(region)
    return {**unit, "grid": before, **(marks or {})}


Dates = tuple[str | None, str | None]
"""First day, and day after the last, ISO 8601; None for no bound."""


def new_dates(before: Dates, now: Dates, *, is_table: bool) -> list[tuple[str, str]]:
    """Return the periods that an extension adds before and after the period of a run.

    Args:
        before: periods of the run.
        now: periods of the extension; they include the dates of the run.
        is_table: whether all rows become one table, which has rows of a region in the order of the units.

    Raises:
        UsageError: if the run has no bound there, so that it is unknown which dates are new; or if earlier dates would
            come after later ones in a table.
    """
    (start, end), (first, last) = before, now
    if (start is not None and first is None) or (end is not None and last is None):
        raise UsageError("`start` and `end` must be given to extend a run that has them")
    added_dates = []
    if first is not None and start is not None and first < start:
        if is_table:
            raise UsageError("one table grows by later dates only: choose another output folder for earlier ones")
        added_dates.append((first, start))
    if last is not None and end is not None and last > end:
        added_dates.append((end, last))
    return added_dates


def add_series(
    earlier: Iterable[Unit],
    zones: Zones | None,
    options: TimeSeriesOptions,
    spans: Sequence[tuple[str, str]],
    plan: Callable[[Zones | None], Iterator[Unit]],
) -> Iterator[Unit]:
    """Yield units of the run's regions with further dates, and units of further regions with all dates.

    Args:
        zones: regions of the file as it is now; None for a table on the server, whose regions stay.
        spans: dates that are new.
        plan: plans regions with all dates.

    Raises:
        UsageError: if a region is missing, or its outline has changed.
    """
    regions: dict[Any, str | None] = {}
    seen: set[str] = set()
    for unit in earlier:
        parts = unit.get("regions") or [unit]
        key = canonical_json([part["region"] for part in parts])
        if key in seen:  # further dates of the same regions
            continue
        seen.add(key)
        regions |= {p["region"]: canonical_json(p["geometry"]) if "geometry" in p else None for p in parts}
        for start, end in spans:
            yield {**unit, "start": start, "end": end}
    if zones is None:
        return
    further = _further(regions, zones, options)
    if further:
        assert zones.geometries is not None
        new = Zones([zones.ids[index] for index in further], zones.geometries[further])
        for unit in plan(new):
            yield {**unit, "start": options.start, "end": options.end}


def _further(regions: Mapping[Any, str | None], zones: Zones, options: TimeSeriesOptions) -> list[int]:
    """Return the indices of regions of a file that a run lacks; raise UsageError if one is missing or has changed."""
    check_regions_stay(regions, frozenset(zones.ids), options.regions or options.roi)
    assert zones.geometries is not None
    further = []
    for index, (region, geometry) in enumerate(zip(zones.ids, zones.geometries, strict=True)):
        if region not in regions:
            further.append(index)
        elif regions[region] != canonical_json(shapely.geometry.mapping(geometry)):
            raise outline_error(region, "table")
    return further
