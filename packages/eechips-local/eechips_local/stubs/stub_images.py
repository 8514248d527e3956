"""Make images and collections of stubs from the description of a dataset: grids, dates, ``system:index``, variants."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from functools import cached_property, partial
from itertools import islice, product
from typing import Any, TypeAlias

import shapely

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import query_boxes, wanted_indices
from eechips_local.demo.painting.painted_source import PaintedSource
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query
from eechips_local.evaluation.lazy_values import LazySequence
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.stubs.dataset_description import DatasetDescription, Interval, midnight_of
from eechips_local.stubs.dated_names import numbers_named
from eechips_local.stubs.stub_bands import BandPlan, plan_band, with_ranges_of_like_bands
from eechips_local.stubs.stub_grids import SINUSOIDAL_IDS, pixel_grid
from eechips_local.stubs.stub_properties import EARLIEST, check_equals, forecast_time, millis, property_values
from eechips_local.stubs.stub_scene import StubScene

_USUAL_SIZE = 1000.0  # metres of a pixel whose size is not stated
_KEPT_BANDS = 1 << 16  # bands of a collection's images that are kept: scripts read one composite at many places
_IMAGE_BANDS = 15  # bands that need as much memory as the properties of an image
_MINUTES: Mapping[str, int] = {"minute": 1, "hour": 60, "day": 1440}
_FORMATS: Mapping[str, str] = {
    "minute": "%Y%m%dT%H%M", "hour": "%Y%m%dT%H", "day": "%Y%m%d", "month": "%Y%m", "year": "%Y",
}  # fmt: skip
_DATE = re.compile(
    r"(?:(?<!\d)|(?<=F1\d))(?P<year>(?:19|20)\d\d)(?:[_-]?(?P<month>[01]\d)(?:[_-]?(?P<day>[0-3]\d))?)?(?!\d)"
)
"""A date in a name; that of a satellite of DMSP, such as F18, may precede it."""
_DAY_OF_YEAR = re.compile(r"(?<!\d)(?P<day>(?:19|20)\d\d[0-3]\d\d)(?P<time>\d{4}(?:\d\d(?:\d{6})?)?)?(?!\d)")
"""Year and day of the year in a name, before a time of day if any, as in those of GOES and GEDI."""

_Span: TypeAlias = "tuple[range, tuple[Mapping[str, Any], ...]]"
_SourceKey: TypeAlias = "tuple[str, bool, PixelGrid]"

_SCENARIO, _PAST = "scenario", "historical"
"""Property of models of the climate, and its value before their projections begin."""

_YEAR = timedelta(days=366)


class ImageMaker:
    """Makes the images of a dataset.

    Args:
        dataset: dataset of an image, or a collection of images.
    """

    def __init__(self, dataset: DatasetDescription) -> None:
        self._dataset = dataset
        self.footprint = shapely.box(*dataset.bounds)

    @cached_property
    def _groups(self) -> tuple[tuple[_SourceKey, tuple[BandPlan, ...]], ...]:
        """The bands that one source holds, by its stored type, whether it is smooth, and its grid."""
        plan_groups: dict[_SourceKey, list[BandPlan]] = {}
        for plan, grid in self._plans:
            plan_groups.setdefault((plan.dtype, plan.is_smooth, grid), []).append(plan)
        return tuple((key, tuple(plans)) for key, plans in plan_groups.items())

    @cached_property
    def _places(self) -> tuple[tuple[str, PixelType, PixelGrid, int, int], ...]:
        """Name, type and grid of each band, the number of its group, and its number there: the same in all images."""
        places = {
            id(plan): (number, place)
            for number, (_, plans) in enumerate(self._groups)
            for place, plan in enumerate(plans)
        }
        return tuple((plan.name, PixelType.of(plan.dtype), grid, *places[id(plan)]) for plan, grid in self._plans)

    @cached_property
    def _plans(self) -> tuple[tuple[BandPlan, PixelGrid], ...]:
        dataset = self._dataset
        sizes = {band.pixel_size or _USUAL_SIZE for band in dataset.bands}
        grids = {size: pixel_grid(dataset, size) for size in sizes}
        bands = with_ranges_of_like_bands(dataset.bands)
        return tuple(
            (plan_band(band, dataset.id, dataset.interval), grids[band.pixel_size or _USUAL_SIZE]) for band in bands
        )

    @cached_property
    def _legends(self) -> dict[str, Any]:
        """Values, names and colours of classes, as Earth Engine stores them on images."""
        legends: dict[str, Any] = {}
        for band in self._dataset.bands:
            if band.classes:
                legends[f"{band.name}_class_values"] = [band_class.value for band_class in band.classes]
                legends[f"{band.name}_class_names"] = [band_class.name for band_class in band.classes]
                if all(band_class.colour for band_class in band.classes):
                    legends[f"{band.name}_class_palette"] = [band_class.colour for band_class in band.classes]
        return legends

    @cached_property
    def _factors(self) -> dict[str, float]:
        """Properties that say how stored values become those of a band, as the pixels of the stub do."""
        named = {column.name for column in self._dataset.columns}
        factors: dict[str, float] = {}
        for band in self._dataset.bands:
            factors |= {f"{band.name}_scale": band.scale, f"{band.name}_offset": band.offset}
        return {name: factor for name, factor in factors.items() if name in named}

    def make(
        self, id: str, start: datetime | None, end: datetime | None, variant: Mapping[str, Any] | None = None
    ) -> ImageAsset:
        """Return an image.

        Args:
            start: when it begins, UTC; None if it has no time.
            end: when it ends.
            variant: the values of its ``DatasetDescription.variants``.
        """
        when = (start or EARLIEST).date()
        index = id.rpartition("/")[2]
        times = {"system:time_start": start, "system:time_end": end}
        values = {**property_values(self._dataset, index, start), **self._dataset.properties, **(variant or {})}
        properties = {
            **values,
            **forecast_time(start, values),
            **self._legends,
            **self._factors,
            "system:index": index,
            **{name: millis(time) for name, time in times.items() if time is not None},
        }
        return ImageAsset(
            id=id,
            bands=LazySequence(partial(self._bands, when)),
            properties=synthetic_label.marked(properties),
            footprint=self.footprint,
            version=synthetic_label.VERSION,
            is_composite=self._dataset.is_composite,
        )

    def _bands(self, when: date) -> tuple[BandInfo, ...]:
        sources = [
            PaintedSource(grid, StubScene(self._dataset.id, plans, when), dtype, is_smooth)
            for (dtype, is_smooth, grid), plans in self._groups
        ]
        return tuple(BandInfo(name, kind, grid, sources[group], n) for name, kind, grid, group, n in self._places)


@dataclass(frozen=True)
class StubCollection:
    """A ``CollectionAsset`` of one image for each interval and variant, over the extent of the dataset.

    Attributes:
        until: the first day without an image.
    """

    dataset: DatasetDescription
    until: date

    @property
    def id(self) -> str:
        """See ``CollectionAsset.id``."""
        return self.dataset.id

    @property
    def properties(self) -> Mapping[str, Any]:
        """See ``CollectionAsset.properties``."""
        return synthetic_label.marked(
            {"title": self.dataset.title, "date_range": [millis(self._start), millis(self._end)]}
        )

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``."""
        is_of_time = query == Query(start=query.start, end=query.end)
        return sum(len(numbers) * len(variants) for numbers, variants in self._found(query)) if is_of_time else None

    def examples(self, query: Query) -> Sequence[ImageAsset]:
        """See ``Exemplified.examples``."""
        return list(islice(self.images(Query(start=query.start, end=query.end)), 1))

    @cached_property
    def _variants(self) -> tuple[Mapping[str, Any], ...]:
        """The values that tell images of one interval apart."""
        names = [name for name, _ in self.dataset.variants]
        combinations = product(*(values for _, values in self.dataset.variants))
        return tuple(dict(zip(names, values, strict=True)) for values in combinations)

    @cached_property
    def _spans(self) -> tuple[_Span, ...]:
        """The numbers of all intervals, with the variants that each has."""
        begin = self.dataset.projected_from
        if begin is None:
            return ((range(self._size), self._variants),)
        split = min(self._number_of(millis(begin)), self._size)
        past, future = (
            tuple(variant for variant in self._variants if (variant[_SCENARIO] == _PAST) is is_past)
            for is_past in (True, False)
        )
        return (range(split), past), (range(split, self._size), future)

    def _found(self, query: Query) -> Iterator[_Span]:
        """Yield the numbers of the intervals in the time of a query, with the variants that each has."""
        wanted = self._numbers(query)
        for numbers, variants in self._spans:
            yield range(max(numbers.start, wanted.start), min(numbers.stop, wanted.stop)), variants

    @cached_property
    def _size(self) -> int:
        return self._number_at(self._end - timedelta(milliseconds=1)) + 1

    def _numbers(self, query: Query) -> range:
        """Return the numbers of the intervals in the time of a query."""
        query = query.timed()
        first = 0 if query.start is None else max(0, self._number_of(query.start))
        last = self._size if query.end is None else max(first, self._number_of(query.end))
        return numbers_named(range(first, last), self._time, "" if self.dataset.images else self._format, query)

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """See ``CollectionAsset.images``."""
        check_equals(self.dataset, query)
        wanted = wanted_indices(query)
        if wanted is not None:
            yield from (image for index in wanted if (image := self.image(index)) is not None)
            return
        if query.bounds is not None and not any(self._maker.footprint.intersects(b) for b in query_boxes(query.bounds)):
            return
        for numbers, variants in self._found(query):
            wanted_variants = [v for v in variants if all(query.equals.get(name, v[name]) == v[name] for name in v)]
            for number in numbers:
                yield from (self._image(number, variant) for variant in wanted_variants)

    def images_from(self, start: int) -> Iterator[ImageAsset]:
        """See ``Seekable.images_from``."""
        for numbers, variants in self._spans:
            count = len(variants)
            for n in range(start, len(numbers) * count):
                yield self._image(numbers[n // count], variants[n % count])
            start = max(0, start - len(numbers) * count)

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None.

        An index of another form is answered if it names a date of the collection, as that of a tile does.
        """
        if self.dataset.images:
            numbers = (number for number, (name, *_) in enumerate(self.dataset.images) if name == index)
            return next((self._image(number, {}) for number in numbers), None)
        read = next(((time, v) for v in self._variants if (time := self._time_of(index, v)) is not None), None)
        if read is None:
            return self._named_image(index)
        time, variant = read
        # An index may be rounded down: the image may begin within its minute, hour or day.
        number = self._number_at(max(time, self._start))
        for candidate in (number, number + 1):
            has_it = any(candidate in numbers and variant in variants for numbers, variants in self._spans)
            if has_it and self._index(candidate, variant) == index:
                return self._image(candidate, variant)
        return None

    def _time_of(self, index: str, variant: Mapping[str, Any]) -> datetime | None:
        """Return the time that the index of an image of a variant names, or None if it is none of that variant."""
        text = self._format.format(**variant)
        try:
            time = datetime.strptime(index, text).replace(tzinfo=timezone.utc)
        except ValueError:
            return None
        # One year of a climatology stands for all.
        return time if "%Y" in text else time.replace(year=self._start.year)

    def _named_image(self, index: str) -> ImageAsset | None:
        """Return an image of the first time that an index names, if there is one."""
        time = next(self._named_times(index), None)
        if time is None:
            return None
        end = self._end if self._interval is None else self._time(self._number_at(time) + 1)
        named = [v for v in self._variants if all(str(value) in index for value in v.values())]
        return self._maker.make(f"{self.id}/{index}", time, min(end, self._end), [*named, *self._variants][0])

    def _named_times(self, index: str) -> Iterator[datetime]:
        """Yield times of the collection that an index names: days of years, and dates no coarser than the interval."""
        unit = self._interval.unit if self._interval is not None else "year"
        needed = {"year": "year", "month": "month"}.get(unit, "day")
        texts = [(match["day"] + (match["time"] or "0000")[:4], "%Y%j%H%M") for match in _DAY_OF_YEAR.finditer(index)]
        for match in _DATE.finditer(index):
            if match[needed] is not None:
                parts = [text for text in match.groups() if text is not None]
                texts.append(("".join(parts), "%Y%m%d"[: 2 * len(parts)]))
        for text, form in texts:
            try:
                time = datetime.strptime(text, form).replace(tzinfo=timezone.utc)
            except ValueError:
                continue
            if "%j" not in form and "%d" not in form and time.year == self._start.year:
                time = max(time, self._start)  # the year of the first image may begin before it
            if self._start <= time < self._end:
                yield time

    @cached_property
    def _maker(self) -> ImageMaker:
        return ImageMaker(self.dataset)

    @cached_property
    def _start(self) -> datetime:
        return self.dataset.start or datetime(2000, 1, 1, tzinfo=timezone.utc)

    @cached_property
    def _end(self) -> datetime:
        """The end of the last image: as stated, at most the day until which there are images."""
        stated = self.dataset.end or midnight_of(self.until)
        # Also scenarios of the future have images; nothing ends before it begins.
        return max(stated, self._start + timedelta(days=1))

    @cached_property
    def _interval(self) -> Interval | None:
        """The interval of the images; None for one image of the whole time."""
        is_long = self._end - self._start > _YEAR
        return self.dataset.interval or (Interval(1, "year") if is_long else None)

    @cached_property
    def _format(self) -> str:
        """Of ``system:index``, with the values of variants in braces: no finer than the interval."""
        if self.dataset.index is not None:
            return self.dataset.index
        if self._interval is None:
            text = "%Y%m%d"
        else:
            text = "%Y_%m_%d" if SINUSOIDAL_IDS.match(self.id) else _FORMATS[self._interval.unit]
        return "_".join([text, *(f"{{{name}}}" for name, _ in self.dataset.variants)])

    @cached_property
    def _starts(self) -> tuple[datetime, ...]:
        """The starts of images that are listed, or that are counted anew each year or month."""
        if self.dataset.images:
            return tuple(datetime(first, 1, 1, tzinfo=timezone.utc) for _, first, _ in self.dataset.images)
        assert self._interval is not None
        count, _, restart = self._interval
        is_yearly = restart == "year"
        months = (1,) if is_yearly else range(1, 13)
        # Images may be counted from another day than the first, as those of Aqua are.
        first = self._start.timetuple().tm_yday - 1 if is_yearly else self._start.day - 1
        starts = []
        for year in range(self._start.year, self._end.year + 1):
            for month in months:
                begin = datetime(year, month, 1, tzinfo=timezone.utc)
                length = 365 if is_yearly else 30
                days = range(first % count, length - (0 if is_yearly else count - 1), count)
                starts += [begin + timedelta(days=day) for day in days]
        return tuple(start for start in starts if self._start <= start < self._end)

    def _index(self, number: int, variant: Mapping[str, Any]) -> str:
        if self.dataset.images:
            return self.dataset.images[number][0]
        return self._time(number).strftime(self._format.format(**variant))

    def _time(self, number: int) -> datetime:
        """Return when an image begins: months and years begin on their first day, save in the first image."""
        if number <= 0 or self._interval is None:
            return self._start
        count, unit, restart = self._interval
        if restart is not None:
            return self._starts[number] if number < len(self._starts) else self._end
        if unit in _MINUTES:
            return self._start + timedelta(minutes=number * count * _MINUTES[unit])
        months = number * count * (12 if unit == "year" else 1)
        first = self._start.year * 12 + (0 if unit == "year" else self._start.month - 1) + months
        return datetime(first // 12, first % 12 + 1, 1, self._start.hour, tzinfo=timezone.utc)

    def _number_of(self, moment: float) -> int:
        """Return the number of the first image that begins at milliseconds since 1970 or later."""
        if moment <= millis(self._start):
            return 0
        if moment >= millis(self._end):
            return self._size
        number = self._number_at(EARLIEST + timedelta(milliseconds=moment))
        return number if millis(self._time(number)) >= moment else number + 1

    def _number_at(self, time: datetime) -> int:
        """Return the number of the last image that begins at a time, not before the first one, or earlier."""
        if self._interval is None:
            return 0
        count, unit, restart = self._interval
        if restart is not None:
            return bisect.bisect_right(self._starts, time) - 1
        if unit in _MINUTES:
            return (time - self._start) // timedelta(minutes=count * _MINUTES[unit])
        years = time.year - self._start.year
        return years // count if unit == "year" else (years * 12 + time.month - self._start.month) // count

    @cached_property
    def _kept(self) -> dict[tuple[Any, ...], ImageAsset]:
        return {}

    def _image(self, number: int, variant: Mapping[str, Any]) -> ImageAsset:
        key = (number, *variant.values())
        image = self._kept.get(key)
        if image is None:
            if (len(self._kept) + 1) * (len(self.dataset.bands) + _IMAGE_BANDS) > _KEPT_BANDS:
                self._kept.clear()
            image = self._kept[key] = self._make(number, variant)
        return image

    def _make(self, number: int, variant: Mapping[str, Any]) -> ImageAsset:
        start = self._time(number)
        end = self._end if self._interval is None else min(self._time(number + 1), self._end)
        if self.dataset.images:
            end = end.replace(year=self.dataset.images[number][2] + 1)
        return self._maker.make(f"{self.id}/{self._index(number, variant)}", start, end, variant)


def stub_image(dataset: DatasetDescription) -> ImageAsset:
    """Return the image that is described."""
    image = ImageMaker(dataset).make(dataset.id, dataset.start, dataset.end)
    return replace(image, properties={"title": dataset.title, **image.properties})
