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
    """One row for each image, in order of ``system:time_start``: the source of a table.

    It is asked for as a whole; what turns out too large is asked for by ranges of dates, whose rows follow each other
    as those of the whole would. Then images without a date have no row.

    Attributes:
        images: the images.
        row: an image's row; called once, with a variable for ``ee.ImageCollection.map``.
    """

    images: ee.ImageCollection
    row: Callable[[Any], Any]

    def rows(self, start: int | None = None, end: int | None = None) -> ee.FeatureCollection:
        """Return the rows of the images between two days.

        Args:
            start: first day, inclusive, as a proleptic ordinal (``datetime.date.toordinal``); None for all images.
            end: last day, exclusive; given if ``start`` is.
        """
        import ee

        images = self.images
        if start is not None and end is not None:
            images = images.filterDate(*(dt.date.fromordinal(day).isoformat() for day in (start, end)))
        rows: ee.FeatureCollection = ee.FeatureCollection(images.sort(_TIME).map(self.row))
        return rows

    def days(self) -> tuple[int, int] | None:
        """Ask for the day of the first image and the day after the last, as ordinals; None without dates."""
        import ee

        found = ee.List([self.images.aggregate_min(_TIME), self.images.aggregate_max(_TIME)]).getInfo()
        if found is None or None in found:
            return None
        epoch = dt.date(1970, 1, 1).toordinal()
        first, last = (epoch + int(time // _DAY) for time in found)
        return first, last + 1


@dataclass(frozen=True, slots=True, eq=False)
class SplittableTable:
    """Rows about many places: the source of a table, of which some places can be asked for at a time.

    What turns out too large is asked for by halves of the places, whose rows follow each other. A series is asked for
    by ranges of dates first.

    Attributes:
        source: the rows of all its places.
        size: how many places there are.
        halves: the same for the first half of them and for the second; called if there are at least two.
    """

    source: ee.FeatureCollection | Series
    size: int
    halves: Callable[[], tuple[SplittableTable, SplittableTable]]
