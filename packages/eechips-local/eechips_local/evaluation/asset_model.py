"""Define the interface of asset stores: images, collections, tables, queries, and sources of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from shapely.geometry.base import BaseGeometry

from eechips_local.pixels.grids.pixel_grid import PixelGrid

if TYPE_CHECKING:
    from eechips_local.algorithms.classification import Classifier

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees (EPSG:4326)."""


@dataclass(frozen=True, slots=True)
class PixelType:
    """The type of a band's values, as ``ee.PixelType``.

    Attributes:
        precision: "int", "float" (32 bits) or "double" (64 bits).
        minimum: least value, None where the precision does not bound it.
        maximum: greatest value, None likewise.
        dimensions: number of array dimensions of each pixel; 0 for scalars.
    """

    precision: Literal["int", "float", "double"]
    minimum: float | None = None
    maximum: float | None = None
    dimensions: int = 0

    @classmethod
    def of(cls, dtype: npt.DTypeLike) -> PixelType:
        """Return the type that holds every value of a numpy dtype."""
        return _pixel_type(np.dtype(dtype))


@cache
def _pixel_type(dtype: np.dtype[Any]) -> PixelType:
    if dtype.kind == "b":
        return PixelType("int", 0, 1)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return PixelType("int", int(info.min), int(info.max))
    return PixelType("float") if dtype.itemsize <= 4 else PixelType("double")


@dataclass(frozen=True, slots=True)
class PixelWindow:
    """A rectangle of pixels of one pyramid level: first column, first row, columns, rows."""

    column: int
    row: int
    width: int
    height: int


class RasterSource(Protocol):
    """Stored pixels on one grid, for one or several bands. Picklable, or cheap to open again; safe in threads."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Decimation factors of the pyramid, ascending, the first is 1. Level sizes are ``PixelGrid.level``'s."""
        ...

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read native pixels.

        Args:
            bands: indices from 0.
            window: inside the level's extent.
            level: position in ``levels`` (0 is full resolution).

        Returns:
            Values of shape (bands, height, width) in the stored dtype, and where they are valid (same shape).
        """
        ...


@dataclass(frozen=True, slots=True)
class BandInfo:
    """One band of a stored image: its name, type, grid and where its pixels are.

    Attributes:
        name: as ``bandNames`` gives it.
        pixel_type: pixel type of its values.
        grid: grid of full resolution.
        source: source of its pixels.
        index: index of the source's bands.
        keeps_extent: whether the pixels of pyramid levels are stretched over the extent; see ``PixelGrid.level``.
        is_unbounded: whether it has no extent and no scale of its own, as a constant.
    """

    name: str
    pixel_type: PixelType
    grid: PixelGrid
    source: RasterSource
    index: int
    keeps_extent: bool = True
    is_unbounded: bool = False


@dataclass(frozen=True, slots=True)
class ImageAsset:
    """A stored image.

    Attributes:
        id: the full Earth Engine id ("USDA/NAIP/DOQQ/m_3008501_ne_16_1_20110815").
        bands: in order; they may be made when they are first looked at.
        properties: includes ``system:index`` and, where known, ``system:time_start`` and ``system:time_end``
            (milliseconds since 1970). ``system:footprint`` is left out: it is made from ``footprint``.
        footprint: outline in longitude and latitude.
        version: microseconds since 1970, as Earth Engine prints it.
        is_composite: whether Earth Engine computes it on request: it then has no extent, no outline and no scale of
            its own.
    """

    id: str
    bands: Sequence[BandInfo]
    properties: Mapping[str, Any]
    footprint: BaseGeometry
    version: int = 0
    is_composite: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A range of numbers that a property must lie in, both ends included.

    Attributes:
        least: minus infinity for no bound.
        greatest: infinity for no bound.
        others: whether elements without a number there match as well.
    """

    least: float = -math.inf
    greatest: float = math.inf
    others: bool = False

    def within(self, other: Range) -> Range:
        """Return the intersection with another range."""
        return Range(max(self.least, other.least), min(self.greatest, other.greatest), self.others and other.others)

    def around(self, other: Range) -> Range:
        """Return the least range that holds this and another one."""
        return Range(min(self.least, other.least), max(self.greatest, other.greatest), self.others or other.others)


_ANY = Range(others=True)


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions by which a store narrows an image collection or a table before it reads anything.

    A store may return more than matches, never less: the evaluator applies the exact filters again.

    Attributes:
        bounds: every image that meets these (west may exceed east across the antimeridian), or None.
        start: least ``system:time_start`` in milliseconds, inclusive, or None.
        end: greatest ``system:time_start`` in milliseconds, exclusive, or None.
        equals: property values that must be equal, e.g. {"system:index": "m_3008501_…"}.
        ranges: what properties must lie within, e.g. {"CLOUD_COVER": Range(greatest=20)}.
        indices: values of ``system:index``, one of which an element must have, or None.
        having: names of bands that images have.
        lacking: names of bands that images do not have.
        holding: names of properties, each with a text that is in the list which the property is.
        first_index: what ``system:index`` is not before, in the order of texts.
        last_index: what it is not after, or None.
    """

    bounds: Bounds | None = None
    start: float | None = None
    end: float | None = None
    equals: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    indices: frozenset[str] | None = None
    having: frozenset[str] = frozenset()
    lacking: frozenset[str] = frozenset()
    holding: frozenset[tuple[str, str]] = frozenset()
    first_index: str = ""
    last_index: str | None = None

    def timed(self) -> Query:
        """Return the query with the range of its times as start and end, for images that all have a time."""
        span = self.ranges.get("system:time_start")
        if span is None:
            return self
        start = span.least if self.start is None else max(span.least, self.start)
        after = math.nextafter(span.greatest, math.inf)
        ranges = {name: known for name, known in self.ranges.items() if name != "system:time_start"}
        return replace(
            self,
            start=None if start == -math.inf else start,
            end=self.end if span.greatest == math.inf else min(after, math.inf if self.end is None else self.end),
            ranges=ranges,
        )

    def around(self, other: Query) -> Query:
        """Return a query of what this one asks for, and another."""
        mine, its = self._spans(), other._spans()
        return Query(
            bounds=_box_around(self.bounds, other.bounds),
            start=None if self.start is None or other.start is None else min(self.start, other.start),
            end=None if self.end is None or other.end is None else max(self.end, other.end),
            equals={name: value for name, value in self.equals.items() if other.equals.get(name) == value},
            ranges={name: span for name in mine.keys() & its.keys() if (span := mine[name].around(its[name])) != _ANY},
            indices=None if self.indices is None or other.indices is None else self.indices | other.indices,
            having=self.having & other.having,
            lacking=self.lacking & other.lacking,
            holding=self.holding & other.holding,
            first_index=min(self.first_index, other.first_index),
            last_index=None if None in (ends := (self.last_index, other.last_index)) else max(filter(None, ends)),
        )

    def _spans(self) -> dict[str, Range]:
        """Return the ranges of properties; a number that one must equal is a range of itself alone."""
        is_number = {name: isinstance(value, (int, float)) and value == value for name, value in self.equals.items()}
        numbers = {name: Range(value, value) for name, value in self.equals.items() if is_number[name]}
        return {**self.ranges, **{name: span for name, span in numbers.items() if name not in self.ranges}}

    def admits(self, name: str, number: float) -> bool:
        """Return whether an element whose property ``name`` is a number may match."""
        span = self.ranges.get(name)
        is_equal = bool(self.equals.get(name, number) == number)
        return is_equal and (span is None or span.least <= number <= span.greatest)


def _box_around(one: Bounds | None, other: Bounds | None) -> Bounds | None:
    """Return the least rectangle around two; None if one is None or they are not one across the antimeridian."""
    if one == other:
        return one
    if one is None or other is None or one[0] > one[2] or other[0] > other[2]:
        return None
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


class CollectionAsset(Protocol):
    """A stored image collection."""

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        ...

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection itself."""
        ...

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """Return the images that may match, in the order of their ids."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A stored image collection that knows numbers of images without creating them."""

    def count(self, query: Query) -> int | None:
        """Return the number of images that match a query exactly; None if it asks for what takes creating them."""
        ...


@runtime_checkable
class Dated(Protocol):
    """A stored image collection that knows when its images begin without creating them."""

    def times(self, query: Query) -> Sequence[float]:
        """Return the different times at which images in the time of a query may begin, in milliseconds, ascending."""
        ...


@runtime_checkable
class Exemplified(Protocol):
    """A stored image collection that knows how its images differ without creating them."""

    def examples(self, query: Query) -> Sequence[ImageAsset]:
        """Return images to one of which each image of a query is alike.

        Alike images have bands of the same names and types in the same order, and properties of the same names and
        kinds: number, text, or list of texts. Examples need not match the query.
        """
        ...


@runtime_checkable
class Seekable(Protocol):
    """A stored image collection that can start at any position without creating the images before."""

    def images_from(self, start: int) -> Iterator[ImageAsset]:
        """Return all images in the order of their ids, from a position on."""
        ...


@runtime_checkable
class Versioned(Protocol):
    """A stored asset that knows when it was last changed."""

    @property
    def version(self) -> int:
        """Microseconds since 1970, as Earth Engine prints it; 0 if it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One row of a stored table: ``system:index``, geometry in longitude and latitude (or None), properties."""

    index: str
    geometry: BaseGeometry | None
    properties: Mapping[str, Any]


class TableAsset(Protocol):
    """A stored feature collection."""

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        ...

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the table itself."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """Earth Engine type names of the columns ("String", "Float", "Long", "Geometry", …)."""
        ...

    def rows(self, query: Query) -> Iterator[FeatureRow]:
        """Return the rows that may match, in stored order. ``Query.start`` and ``end`` bound ``system:time_start``."""
        ...


@dataclass(frozen=True, slots=True)
class FolderAsset:
    """A folder, which has children only.

    Attributes:
        id: the full Earth Engine id.
        version: as that of an image; 0 if it is not known.
    """

    id: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierAsset:
    """A stored classifier.

    Attributes:
        id: the full Earth Engine id.
        read: reads its document, which ``functions/learning/classifier_assets.py`` describes.
        version: as that of an image.
    """

    id: str
    properties: Mapping[str, Any]
    read: Callable[[], Mapping[str, Any]]
    version: int = 0
    _classifiers: list[Classifier] = field(default_factory=list, repr=False)

    def classifier(self, build: Callable[[Mapping[str, Any]], Classifier]) -> Classifier:
        """Return the classifier, built when it is first used: a process then fits its model once for all requests.

        Args:
            build: returns the classifier of a document.
        """
        if not self._classifiers:
            self._classifiers.append(build(self.read()))
        return self._classifiers[0]


Asset = ImageAsset | CollectionAsset | TableAsset | FolderAsset | ClassifierAsset


class AssetStore(Protocol):
    """A source of assets: a folder on disk, a catalogue, or the demo planet."""

    def get(self, asset_id: str) -> Asset | None:
        """Return the asset of that id, or None if there is none."""
        ...

    def children(self, parent: str) -> Iterable[str]:
        """Return ids of the assets directly under a folder or collection; "" is the root."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return a few facts to show a person: what it is, where, how many assets."""
        ...


def child_ids(parent: str, ids: Iterable[str]) -> list[str]:
    """Return the ids directly under a folder that are some of ``ids``, or folders of some; "" is the root."""
    prefix = f"{parent}/" if parent else ""
    return list(
        dict.fromkeys(prefix + name[len(prefix) :].partition("/")[0] for name in ids if name.startswith(prefix))
    )
