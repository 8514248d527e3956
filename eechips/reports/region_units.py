"""Read the regions of time series as units of a report: their outlines, and the states of their units."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.errors import GEOSException

from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.reports.unit_columns import MOST_UNITS, UnitColumn, UnitColumns, draw_numbers, read_report_rows
from eechips.reports.unit_locations import centres_of
from eechips.storage import ID_LENGTH

_PRECISION = 5e-3  # precision of corners as a share of the region's extent


def read_regions(folder: Path, *, seed: int = 0, most: int = MOST_UNITS) -> UnitColumns | None:
    """Read the regions of a run, also those that share a unit; None if its units have no regions.

    Regions of a table on the server have no outlines, since the plan has their ids only.

    Args:
        folder: of the run.
        seed: of the random selection, if the run has more than ``most`` regions.
        most: maximum number of regions.
    """
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        found = list(_regions(ledger))
    if not found:
        return None
    kept = draw_numbers(len(found), most, seed)
    some = found if kept is None else [found[number] for number in sorted(kept)]
    outlines = np.full(len(some), None, dtype=object)
    outlines[:] = [_outline(region.get("geometry")) for region, *_ in some]
    return UnitColumns(
        total=len(found),
        ids=[identifier for _, identifier, *_ in some],
        states=[state for _, _, state, *_ in some],
        files=[file for *_, file, _ in some],
        bytes=np.zeros(len(some), dtype=np.int64),
        valid=np.full(len(some), np.nan),
        errors=[error for *_, error in some],
        centres=centres_of(outlines),
        outlines=outlines,
        columns=[UnitColumn("region", "text", [str(region["region"]) for region, *_ in some])],
        tallies={},
    )


def _regions(ledger: Ledger) -> Iterator[tuple[Mapping[str, Any], str, str, str | None, str | None]]:
    """Yield each region with the id (empty for several regions), state, file and error of its unit."""
    for identifier, text, state, file, *_, error_class, error in read_report_rows(ledger.database):
        unit = json.loads(text)
        message = None if error_class is None else f"{error_class}: {error}"
        if not isinstance(unit, dict):
            continue
        if "region" in unit:
            yield unit, identifier[:ID_LENGTH], state, file, message
        for region in unit["regions"] if isinstance(unit.get("regions"), list) else ():
            if isinstance(region, dict) and "region" in region:
                yield region, "", state, None, message


def _outline(geometry: Any) -> Any:
    """Return the simplified polygons of a GeoJSON geometry; None for anything else."""
    if not isinstance(geometry, Mapping):
        return None
    try:
        shape = shapely.geometry.shape(geometry)
        if shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty:
            return None
        west, south, east, north = shape.bounds
        simple = shapely.simplify(shape, _PRECISION * max(east - west, north - south))
    except (GEOSException, ValueError, TypeError, KeyError, AttributeError, IndexError):  # not of eechips
        return None
    return shape if simple.is_empty else simple
