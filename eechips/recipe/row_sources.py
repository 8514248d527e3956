"""Define sources of tables that can be requested in parts: by dates, or by places."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ee

_DAY = 86_400_000  # milliseconds
_TIME = "system:time_start"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Source of a table with one row for each image, in order of ``system:time_start``.

    The table is requested as a whole. If it is too large, it is requested by ranges of dates, whose rows are appended
    in the same order; images without a date then have no row.

    Attributes:
        images: the images.
        row: returns the row of an image; called once, with a variable for ``ee.ImageCollection.map``.
    """

    images: ee.ImageCollection
    row: Callable[[Any], Any]

    def rows(self, start: int | None = None, end: int | None = None) -> ee.FeatureCollection:
        """Return the rows of the images between two days.

        Args:
            start: first day, inclusive, as a proleptic ordinal (``datetime.date.toordinal``); None for all images.
            end: last day, exclusive; required with ``start``.
        """
        import ee

        images = self.images
        if start is not None and end is not None:
            images = images.filterDate(*(dt.date.fromordinal(day).isoformat() for day in (start, end)))
        rows: ee.FeatureCollection = ee.FeatureCollection(images.sort(_TIME).map(self.row))
        return rows

    def days(self) -> tuple[int, int] | None:
        """Fetch the day of the first image and the day after the last, as ordinals; None without dates."""
        import ee

        times = ee.List([self.images.aggregate_min(_TIME), self.images.aggregate_max(_TIME)]).getInfo()
        if times is None or None in times:
            return None
        epoch = dt.date(1970, 1, 1).toordinal()
        first, last = (epoch + int(time // _DAY) for time in times)
        return first, last + 1


@dataclass(frozen=True, slots=True, eq=False)
class SplittableTable:
    """Source of a table about many places, which can be requested in parts.

    A table that is too large is requested for each half of the places, and the rows are appended. A series is divided
    by ranges of dates first.

    Attributes:
        source: rows of all places.
        size: number of places.
        halves: returns the tables of the first and the second half of the places; called for two places or more.
        is_paged: whether a single place that is too large is requested in shorter pages. Not for a series.
    """

    source: ee.FeatureCollection | Series
    size: int
    halves: Callable[[], tuple[SplittableTable, SplittableTable]]
    is_paged: bool = False
