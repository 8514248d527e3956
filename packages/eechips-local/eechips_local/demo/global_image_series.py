"""Collections of global images, one for each of many dates."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from itertools import pairwise
from typing import Any

import shapely

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import wanted_indices
from eechips_local.demo.painting.painted_source import PaintedScene, PaintedSource
from eechips_local.demo.synthetic_label import midnight
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query
from eechips_local.evaluation.lazy_values import LazySequence
from eechips_local.pixels.grids.pixel_grid import PixelGrid

GLOBE = shapely.box(-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True, slots=True)
class GlobalSeries:
    """A ``CollectionAsset`` whose images cover the globe.

    Attributes:
        id: the full Earth Engine id.
        title: as in the catalogue.
        grid: grid of all images.
        bands: name and dtype of each.
        dates: dates of the images, ascending; ``system:index`` ascends with them. The last element ends the last image.
        index: ``system:index`` of a date.
        scene: what is seen on a date.
        smooth: see ``PaintedSource``.
        extra: more properties of an image.
    """

    id: str
    title: str
    grid: PixelGrid
    bands: tuple[tuple[str, str], ...]
    dates: Callable[[], Sequence[tuple[date, date]]]
    index: Callable[[date], str]
    scene: Callable[[date], PaintedScene]
    smooth: bool = True
    extra: Callable[[date], Mapping[str, Any]] | None = None

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        dates = self.dates()
        return synthetic_label.dated(self.title, dates[0][0], dates[-1][1])

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """See ``CollectionAsset.images``."""
        wanted = wanted_indices(query)
        for first, after in self._within(query):
            if wanted is None or self.index(first) in wanted:
                yield self._image(first, after)

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``."""
        return len(self._within(query)) if query == Query(start=query.start, end=query.end) else None

    def examples(self, query: Query) -> Sequence[ImageAsset]:
        """See ``Exemplified.examples``."""
        return [self._image(*dates) for dates in self._within(query)[:1]]

    def _within(self, query: Query) -> Sequence[tuple[date, date]]:
        """Return the dates in the time of a query."""
        query = query.timed()
        dates = self.dates()
        begin = 0 if query.start is None else bisect_left(dates, query.start, key=_start_of)
        end = len(dates) if query.end is None else bisect_left(dates, query.end, key=_start_of)
        return dates[begin:end]

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""
        return next(iter(self.images(Query(equals={"system:index": index}))), None)

    def _image(self, first: date, after: date) -> ImageAsset:
        properties = {
            "system:index": self.index(first),
            "system:time_start": midnight(first),
            "system:time_end": midnight(after),
            **(self.extra(first) if self.extra else {}),
        }
        return synthetic_label.image(self.id, LazySequence(partial(self._bands, first)), properties, GLOBE)

    def _bands(self, first: date) -> tuple[BandInfo, ...]:
        scene = self.scene(first)
        sources = {dtype: PaintedSource(self.grid, scene, dtype, self.smooth) for _, dtype in self.bands}
        return tuple(
            BandInfo(name, PixelType.of(dtype), self.grid, sources[dtype], n)
            for n, (name, dtype) in enumerate(self.bands)
        )


def _start_of(dates: tuple[date, date]) -> int:
    return midnight(dates[0])


def underscored(when: date) -> str:
    """Return a date as MODIS images are named: 2003_01_01."""
    return f"{when.year:04d}_{when.month:02d}_{when.day:02d}"


def year_of(when: date) -> str:
    """Return a date as yearly images are named: 2003."""
    return str(when.year)


def digits(when: date) -> str:
    """Return a date as eight digits: 20030101."""
    return f"{when:%Y%m%d}"


@cache
def years(wanted: Sequence[int]) -> tuple[tuple[date, date], ...]:
    """Return first days of years, each with the day after it."""
    return tuple((date(year, 1, 1), date(year + 1, 1, 1)) for year in wanted)


@cache
def months(first_year: int, until: date) -> tuple[tuple[date, date], ...]:
    """Return every whole month from a year on and before a day."""
    starts = [date(year, month, 1) for year in range(first_year, until.year + 2) for month in range(1, 13)]
    return tuple((first, after) for first, after in pairwise(starts) if after <= until)


def legend(band: str, classes: Sequence[tuple[int, str, str]], when: date) -> Mapping[str, Any]:
    """Return the properties of images that tell values, names and colours of classes; the same on all dates."""
    return {
        f"{band}_class_values": [value for value, _, _ in classes],
        f"{band}_class_names": [name for _, name, _ in classes],
        f"{band}_class_palette": [colour for _, _, colour in classes],
    }
