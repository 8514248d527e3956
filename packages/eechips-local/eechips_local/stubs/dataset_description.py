"""Define what is known of a dataset: bands, dates, extent, columns, and the interval that its id or title names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any, Literal, NamedTuple

from eechips_local.evaluation.asset_model import Bounds

Kind = Literal["image", "collection", "table"]
TimeUnit = Literal["minute", "hour", "day", "month", "year"]

GLOBE: Bounds = (-180.0, -90.0, 180.0, 90.0)


class BandClass(NamedTuple):
    """A class of a band: its value, its name, and its colour as six hexadecimal digits ("" if it has none)."""

    value: int
    name: str
    colour: str


class Column(NamedTuple):
    """A property of images, or a column of a table.

    Attributes:
        name: as in Earth Engine.
        type: as Earth Engine's catalogue names it.
        values: those that it may have; none if they are not stated.
        limits: least and greatest value, of numbers; None if they are not stated.
    """

    name: str
    type: str
    values: tuple[str | int | float, ...] = ()
    limits: tuple[float, float] | None = None


class BitField(NamedTuple):
    """A field of bits: its first bit, the number of its bits, and the values that it may have if they are stated."""

    first: int
    length: int
    values: tuple[int, ...] = ()


class Interval(NamedTuple):
    """Time from the start of an image to that of the next one: a number of units.

    Images of some days may be counted anew from the first day of each year or month, as those of MODIS are.
    """

    number: int
    unit: TimeUnit
    restart: Literal["year", "month"] | None = None

    @property
    def days(self) -> int:
        """About how many days there are in it, one at the least."""
        return {"day": self.number, "month": 30 * self.number, "year": 365 * self.number}.get(self.unit, 1)


YEAR = Interval(1, "year")
"""The time of images of which none is known."""


# The interval in the id or title of a dataset.
_COUNTED = re.compile(r"(?<!\d)(\d{1,2})[- ]?(hour|day|month|year)", re.IGNORECASE)
_NAMED: tuple[tuple[str, Interval], ...] = (
    (r"t3h\b", Interval(3, "hour")),
    (r"hourly", Interval(1, "hour")),
    (r"pentad", Interval(5, "day", "month")),
    (r"dekad", Interval(10, "day", "month")),
    (r"daily", Interval(1, "day")),
    (r"monthly", Interval(1, "month")),
    (r"yearly|annual", Interval(1, "year")),
    (r"^landsat/", Interval(16, "day")),
)


def named_interval(text: str) -> Interval | None:
    """Return the interval that the id and title of a collection name ("16-Day", "MONTHLY"); None if they name none."""
    if (counted := _COUNTED.search(text)) is not None:
        return Interval(int(counted[1]), counted[2].lower())  # type: ignore[arg-type]
    return next((interval for pattern, interval in _NAMED if re.search(pattern, text, re.IGNORECASE)), None)


@dataclass(frozen=True, slots=True)
class BandDescription:
    """What is known of a band.

    Attributes:
        name: as in Earth Engine.
        description: in a few words.
        units: units of the values after scale and offset.
        dtype: numpy name of the stored type; None if it is not known.
        pixel_size: metres; None if it is not known.
        minimum: least stored value; None if it is not known.
        maximum: greatest stored value; None likewise.
        is_estimated: whether these are extremes of pixels, not limits.
        scale: value = stored * ``scale`` + ``offset``.
        offset: see ``scale``.
        wavelength: micrometres; None if the band has none.
        classes: its classes, if it is a map of classes.
        bits: its fields, if its values are bit fields.
        events: least and greatest value of pixels that something has happened to, whose others are 0, if it shows that.
        follows: name of the band of flags that are set where something has happened.
    """

    name: str
    description: str = ""
    units: str = ""
    dtype: str | None = None
    pixel_size: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    is_estimated: bool = False
    scale: float = 1.0
    offset: float = 0.0
    wavelength: float | None = None
    classes: tuple[BandClass, ...] = ()
    bits: tuple[BitField, ...] = ()
    events: tuple[int, int] | None = None
    follows: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetDescription:
    """What is known of a dataset.

    Attributes:
        id: as in Earth Engine.
        title: as in the catalogue.
        kind: an image, a collection of images, or a table.
        bands: in order; none of a table.
        columns: properties of the images, or columns of the table.
        start: UTC; None if it is not known.
        end: UTC, exclusive; None if images are still added.
        interval: interval of the images of a collection; None if it is not known.
        images: ``system:index``, first and last year of each image, if they do not follow an interval.
        bounds: extent in degrees.
        transform: affine transform of the pixels in EPSG:4326, if they do not begin in a corner of the bounds.
        is_point_table: whether the rows of the table are points.
        index: ``system:index`` of an image, as of ``strftime``; None for one that follows the interval.
        is_composite: see ``ImageAsset``.
        properties: properties of all images, with their values.
        variants: properties of which each interval has an image for every value, as those of scenarios and models.
        projected_from: when images begin to be of other scenarios than "historical", before which all are of that; None
            if scenarios have all times.
    """

    id: str
    title: str
    kind: Kind
    bands: tuple[BandDescription, ...] = ()
    columns: tuple[Column, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    interval: Interval | None = None
    images: tuple[tuple[str, int, int], ...] = ()
    bounds: Bounds = GLOBE
    transform: tuple[float, ...] | None = None
    is_point_table: bool = False
    index: str | None = None
    is_composite: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    variants: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    projected_from: datetime | None = None


def midnight_of(day: date) -> datetime:
    """Return the midnight of UTC at which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
