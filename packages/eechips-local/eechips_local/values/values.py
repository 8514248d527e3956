"""Define the values of expressions, besides Python's numbers, strings, lists and dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.model import Bounds, Query
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.geometry.overlay import on_globe
from eechips_local.geometry.projected_shapes import project_shape
from eechips_local.protocol.request_errors import EarthEngineError

Value = Any
"""Anything an expression may yield."""

Function = Callable[..., Value]
"""A function of the graph (``functionDefinitionValue``), called with positional values."""


@dataclass(frozen=True, slots=True)
class Date:
    """A moment: milliseconds since 1970-01-01 UTC."""

    milliseconds: float


@dataclass(frozen=True, slots=True)
class DateRange:
    """Moments from ``start`` (inclusive) to ``end`` (exclusive), in milliseconds since 1970."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class ErrorMargin:
    """Greatest error of an approximate operation, in metres or units of the projection."""

    value: float
    unit: Literal["meters", "projected", "infinite"] = "meters"


@dataclass(frozen=True, slots=True)
class Blob:
    """An ``ee.Blob``: the URL of a file in Google Cloud Storage."""

    url: str


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """An ``ee.Array``: any number of dimensions, 64-bit floats or integers."""

    values: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionMatrix(Array):
    """An ``ee.ConfusionMatrix``: a square array whose rows and columns have labels.

    Attributes:
        order: the labels.
    """

    order: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A geometry.

    Attributes:
        shape: in the coordinates of ``projection``.
        projection: longitude and latitude unless said otherwise.
        geodesic: whether edges follow great circles rather than straight lines in the projection.
        unbounded: the whole Earth; ``shape`` is then the full longitude/latitude rectangle.
    """

    shape: BaseGeometry
    projection: Projection = WGS84
    geodesic: bool = False
    unbounded: bool = False

    def within(self, target: Projection, tolerance: float) -> BaseGeometry:
        """Return the shape in another projection's coordinates, exact to ``tolerance`` of its units.

        Where x starts again after a period, as longitudes do, it goes on beyond the map: east is never less than west.
        """
        if self.projection == target and not self.geodesic:
            return self.shape
        return project_shape(self.shape, self.projection, target, geodesic=self.geodesic, tolerance=tolerance)

    @property
    def lonlat(self) -> BaseGeometry:
        """The shape in longitude and latitude with planar edges, exact to about a metre."""
        return self.within(WGS84, 1e-5)

    @property
    def on_globe(self) -> BaseGeometry:
        """The same within -180 to 180 degrees, cut at the antimeridian."""
        return on_globe(self.lonlat)

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north in degrees."""
        w, s, e, n = self.lonlat.bounds
        return w, s, e, n


WHOLE_EARTH = Geometry(shapely.box(-180, -90, 180, 90), unbounded=True)


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """A feature: a geometry (or None) with properties; ``system:index`` is its id."""

    geometry: Geometry | None
    properties: Mapping[str, Value]

    def with_properties(self, properties: Mapping[str, Value]) -> Feature:
        """Return a copy with other properties."""
        return replace(self, properties=properties)


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """A filter of elements.

    Attributes:
        matches: whether an element passes.
        narrow: narrows a query to a store, or leaves it as it is.
        pairs: whether two elements match, for joins; None where the filter is of one element only.
    """

    matches: Callable[[Any], bool]
    narrow: Callable[[Query], Query] = field(default=lambda query: query)
    pairs: Callable[[Any, Any], bool] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """A join of two collections: called with (primary, secondary, condition)."""

    apply: Callable[[Collection, Collection, Filter], Collection]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Weights of a neighbourhood at one scale.

    Attributes:
        values: shape (height, width); the first row is the northernmost of a north-up grid.
        x: column of the pixel itself.
        y: row of the pixel itself.
    """

    values: npt.NDArray[np.float64]
    x: int
    y: int


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A neighbourhood.

    Attributes:
        weights: called with the edge of a pixel in metres; kernels in pixels ignore it.
        description: type and parameters, as ``getInfo`` shows them.
    """

    weights: Callable[[float], Weights]
    description: Mapping[str, Any]


class Collection:
    """A lazy, ordered collection of images or features.

    Elements are computed on first use, and cached.

    Attributes:
        element: "Image" or "Feature".
        properties: of the collection itself.
        id: of a stored collection, else None.
        version: of a stored collection, else None.
    """

    def __init__(
        self,
        element: Literal["Image", "Feature"],
        elements: Callable[[Query], Iterator[Any]],
        *,
        properties: Mapping[str, Value] | None = None,
        id: str | None = None,
        version: int | None = None,
        columns: Mapping[str, str] | None = None,
        query: Query | None = None,
        filters: Sequence[Filter] = (),
        reads: bool = True,
        count: Callable[[], int] | None = None,
    ) -> None:
        """Makes a collection.

        Args:
            element: "Image" or "Feature".
            elements: computes them; may leave out what a query excludes.
            properties: of the collection itself.
            id: of a stored collection.
            version: of a stored collection.
            columns: types of the columns of a table, by name.
            query: passed to ``elements``.
            filters: what each must pass.
            reads: whether ``elements`` uses the query. If not, filtered copies share the cached elements.
            count: returns the number of elements without computing them; None where that is impossible.
        """
        self.element = element
        self.properties: Mapping[str, Value] = properties or {}
        self.id = id
        self.version = version
        self.columns = columns
        self._elements = elements
        self._query = query or Query()
        self._filters = tuple(filters)
        self._reads = reads
        self._count = count
        self._made: list[Any] = []
        self._rest: Iterator[Any] | None = None
        self._failure: EarthEngineError | None = None

    @classmethod
    def of(cls, element: Literal["Image", "Feature"], elements: Sequence[Any], **facts: Any) -> Collection:
        """Return a collection of elements that are there already."""
        return cls(element, lambda _: iter(elements), reads=False, **facts)

    @property
    def is_stored(self) -> bool:
        """Return whether the elements come from a store unchanged, perhaps filtered."""
        return self._reads

    @property
    def is_listed_fast(self) -> bool:
        """Return whether the first elements are found without a search through the whole store."""
        return not self._reads or not self._filters or self._query.bounds is not None

    def count(self) -> int | None:
        """Return the number of elements, if that is known without making them."""
        return None if self._count is None else self._count()

    def _fresh(self) -> Iterator[Any]:
        for element in self._elements(self._query):
            if all(f.matches(element) for f in self._filters):
                yield element

    def __iter__(self) -> Iterator[Any]:
        position = 0
        while True:
            if position == len(self._made):
                if self._failure is not None:
                    raise self._failure
                if self._rest is None:
                    self._rest = self._fresh()
                try:
                    self._made.append(next(self._rest))
                except StopIteration:
                    return
                except EarthEngineError as error:
                    self._failure = error  # the iterator has ended: raise the same error again
                    raise
            yield self._made[position]
            position += 1

    def filtered(self, condition: Filter) -> Collection:
        """Return the elements that pass; stored collections read only what may pass."""
        return Collection(
            self.element,
            self._elements if self._reads else lambda _: iter(self),
            properties=self.properties,
            id=self.id,
            version=self.version,
            columns=self.columns,
            query=condition.narrow(self._query),
            filters=(*self._filters, condition) if self._reads else (condition,),
            reads=self._reads,
        )

    def derived(
        self, elements: Callable[[], Iterator[Any]], element: Literal["Image", "Feature"] | None = None
    ) -> Collection:
        """Return another collection with the same properties, made from this one's elements."""
        return Collection(
            element or self.element,
            lambda _: elements(),
            properties=self.properties,
            id=self.id,
            version=self.version,
            columns=self.columns if element in (None, self.element) else None,
            reads=False,
        )
