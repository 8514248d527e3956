"""Find the units that an extension adds to time series: further dates of the same regions, and further regions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import shapely

from eechips.errors import UsageError
from eechips.jobs.grown_plans import check_regions_stay
from eechips.jobs.table_options import TimeSeriesOptions
from eechips.planning.separate_regions import outline_error
from eechips.planning.zones import Zones
from eechips.recipe import Unit, canonical_json

Dates = tuple[str | None, str | None]
"""First day, and day after the last, ISO 8601; None for no bound."""


def new_dates(before: Dates, now: Dates, *, is_table: bool) -> list[tuple[str, str]]:
    """Return the dates that an extension adds before and after those of a run.

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
        earlier: units of the run.
        zones: regions of the file as it is now; None for a table on the server, whose regions stay.
        options: options of the extension.
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
        regions |= {part["region"]: _outline(part) for part in parts}
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
    """Return the indices of regions of a file that a run lacks.

    Raises:
        UsageError: if a region is missing, or its outline has changed.
    """
    check_regions_stay(regions, frozenset(zones.ids), options.regions)
    assert zones.geometries is not None
    further = []
    for index, (region, geometry) in enumerate(zip(zones.ids, zones.geometries, strict=True)):
        if region not in regions:
            further.append(index)
        elif regions[region] != canonical_json(shapely.geometry.mapping(geometry)):
            raise outline_error(region, "table")
    return further


def _outline(part: Mapping[str, Any]) -> str | None:
    return canonical_json(part["geometry"]) if "geometry" in part else None
