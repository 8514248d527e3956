"""Define the criteria of a search in a catalogue."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from shapely.geometry.base import BaseGeometry

from eechips.planning.image_filters import PropertyCondition


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Criteria of a search.

    Attributes:
        stac: URL of an API, or path or URL of a static catalogue or of STAC GeoParquet: a file, a pattern, or a
            folder.
        collections: ids; empty for all.
        region: in longitude and latitude (EPSG:4326); None for everywhere.
        start: first moment, aware; None for no bound.
        end: moment after the last, aware; None for no bound.
        conditions: on properties of the items.
        most: maximum number of items; None for all.
    """

    stac: str
    collections: tuple[str, ...] = ()
    region: BaseGeometry | None = None
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    conditions: tuple[PropertyCondition, ...] = ()
    most: int | None = None
