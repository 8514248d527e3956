"""Define values of expressions: dates, arrays, geometries, features, and collections, which pass filters to stores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import islice
from sys import maxsize
from typing import Any, Literal

import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.asset_model import Bounds, FeatureRow, Query
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.geometry.overlay import on_globe
from eechips_local.geometry.projected_shapes import project_shape
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.values.alike_elements import count_of, examples_of
from eechips_local.values.merged_parts import Order, Part, elements_of

Value = Any
"""Anything an expression may yield."""


@dataclass(frozen=True, slots=True)
class Date:
    """A moment: milliseconds since 1970-01-01 UTC."""

    milliseconds: float


@dataclass(frozen=True, slots=True)
class DateRange:
    """Moments from ``start`` (inclusive) to ``end`` (exclusive), in milliseconds since 1970."""

    start: float
    end: float


class Long(int):
    """A whole number that a cast made: its type has the name Long, while that of other small ones is Integer.

    Google's sample of ``ee.Algorithms.ObjectType`` has it of ``ee.Number(-3).int8()``, a message of ``Number.int()``.
    """


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
        geodesic_ring: whether the ring that users see as a footprint has geodesic edges; None if they see its shape.
    """

    shape: BaseGeometry
    projection: Projection = WGS84
    geodesic: bool = False
    unbounded: bool = False
    geodesic_ring: bool | None = None

    def within(self, target: Projection, tolerance: float) -> BaseGeometry:
        """Return the shape in another projection's coordinates, exact to ``tolerance`` of its units.

        Where x starts again after a period, as longitudes do, it goes on beyond the map: east is never less than west.
        """
        if self.projection == target and not self.geodesic:
            return self.shape
        return project_shape(self.shape, self.projection, target, geodesic=self.geodesic, tolerance=tolerance)

    @property
    def lonlat(self) -> BaseGeometry:
        """The shape in longitude and latitude with planar edges, exact to about a metre.

        Raises:
            InvalidError: if the coordinates lie where the projection has no place on Earth.
        """
        shape = self.within(WGS84, 1e-5)
        if not shape.is_empty and not all(map(math.isfinite, shape.bounds)):
            raise InvalidError(f"Unable to transform the geometry from {self.projection.crs} to EPSG:4326.")
        return shape

    @property
    def on_globe(self) -> BaseGeometry:
        """The same within -180 to 180 degrees, cut at the antimeridian."""
        return on_globe(self.lonlat)

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north in degrees."""
        w, s, e, n = self.lonlat.bounds
        return w, s, e, n


WHOLE_EARTH = Geometry(shapely.Polygon([(-180, -90), (180, -90), (180, 90), (-180, 90)]), unbounded=True)


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """A feature: a geometry (or None) with properties; ``system:index`` is its id."""

    geometry: Geometry | None
    properties: Mapping[str, Value]

    @classmethod
    def of(cls, row: FeatureRow) -> Feature:
        """Return the feature of a row of a stored table."""
        geometry = None if row.geometry is None else Geometry(row.geometry)
        return cls(geometry, {**row.properties, "system:index": row.index})

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
        fields: names of the properties that decide, ".geo" for the geometry; None if anything else may.
        is_exact: whether the narrowed query says as much as the filter.
        all_of: filters that say together what this one says; none if it is no conjunction.
        description: type and arguments, as ``getInfo`` shows them.
    """

    matches: Callable[[Any], bool]
    narrow: Callable[[Query], Query] = field(default=lambda query: query)
    pairs: Callable[[Any, Any], bool] | None = None
    fields: frozenset[str] | None = None
    is_exact: bool = False
    all_of: tuple[Filter, ...] = field(default=(), kw_only=True)
    description: Mapping[str, Value] = field(default_factory=lambda: {"type": "Filter"}, kw_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """A join of two collections: called with (primary, secondary, condition)."""

    apply: Callable[[Collection, Collection, Filter], Collection]


class Collection:
    """A lazy, ordered collection of images or features.

    Elements are computed on first use, and cached. Where images follow one by one from those of a store, filters and
    orders are passed to the store: only the images that are looked at are made.

    Attributes:
        element: "Image" or "Feature".
        properties: properties of the collection itself.
        id: id of a stored collection, else None.
        version: version of a stored collection, else None.
        columns: types of the columns of a table or of pixels, by name.
        added_columns: types of the columns that a reduction added to the elements' own.
        is_stored: whether the elements come from a store unchanged and in its order, perhaps filtered.
        query: what a store is asked for.
        parts: what the elements follow from, if that is known.
        order: how the collection follows from one in another order, if it does.
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
        added_columns: Mapping[str, str] | None = None,
        query: Query | None = None,
        filters: Sequence[Filter] = (),
        is_stored: bool = True,
        is_searchable: bool = True,
        count: Callable[[Query], int | None] | None = None,
        times: Callable[[Query], Sequence[float]] | None = None,
        examples: Callable[[Query, frozenset[str]], Sequence[Any] | None] | None = None,
        parts: Sequence[Part] = (),
        order: Order | None = None,
    ) -> None:
        """Makes a collection.

        Args:
            element: "Image" or "Feature".
            elements: computes them; may leave out what a query excludes.
            properties: properties of the collection itself.
            id: id of a stored collection.
            version: version of a stored collection.
            columns: types of the columns of a table or of pixels, by name.
            added_columns: types of the columns that a reduction added to the elements' own.
            query: passed to ``elements``.
            filters: what each must pass.
            is_stored: whether ``elements`` uses the query. If not, filtered copies share the cached elements.
            is_searchable: whether a query has no other effect on ``elements`` than to leave out what it excludes.
            count: returns the number of elements that have the times of a query, or None if that takes making them.
            times: returns the different times at which elements begin, milliseconds since 1970; None if not known.
            examples: returns elements as the method does.
            parts: what the elements follow from, one part after the other.
            order: how it follows from a collection in another order.
        """
        self.element = element
        self.properties: Mapping[str, Value] = properties or {}
        self.id = id
        self.version = version
        self.columns = columns
        self.added_columns: Mapping[str, str] = added_columns or {}
        self.is_stored = is_stored
        self.query = query or Query()
        self.parts = tuple(parts)
        self._elements = elements
        self._filters = tuple(filters)
        self._count = count
        self._times = times
        self._examples = examples
        self._known_examples: dict[frozenset[str], tuple[Any, ...] | None] = {}
        self.order = order
        self._may_search = is_searchable
        self._latest: tuple[Filter, Collection] | None = None
        self._made: list[Any] = []
        self._rest: Iterator[Any] | None = None
        self._failure: EarthEngineError | None = None

    @classmethod
    def of(cls, element: Literal["Image", "Feature"], elements: Sequence[Any], **facts: Any) -> Collection:
        """Return a collection of elements that are there already."""
        return cls(element, lambda _: iter(elements), is_stored=False, **facts)

    @classmethod
    def of_parts(cls, element: Literal["Image", "Feature"], parts: Sequence[Part], **facts: Any) -> Collection:
        """Return a collection of what follows from some collections, one part after the other."""
        return cls(element, lambda _: elements_of(parts), is_stored=False, parts=parts, **facts)

    @cached_property
    def is_searchable(self) -> bool:
        """Return whether all elements are images that follow one by one from those of stores."""
        sources = [part.source for part in self.parts] if self.order is None else [self.order.source]
        is_rooted = self.is_stored or bool(sources)
        return self.element == "Image" and self._may_search and is_rooted and all(s.is_searchable for s in sources)

    @property
    def is_listed_fast(self) -> bool:
        """Return whether the first elements are found without a search through the whole store."""
        return not self.is_stored or not self._filters or self.query.bounds is not None

    @cached_property
    def known_count(self) -> int | None:
        """Return the number of elements, if that is known without making them."""
        if self.order is not None:
            same: int | None = self.order.source.known_count
            return same
        if self.parts:
            return count_of(self.parts)
        if self._count is None or not all(condition.is_exact for condition in self._filters):
            return None
        return self._count(self.query)

    def examples(self, names: frozenset[str] = frozenset()) -> tuple[Any, ...] | None:
        """Return some elements, to one of which each element is alike in bands and properties; None if not known.

        See ``asset_model.Exemplified``. They need not be elements of this collection.

        Args:
            names: names of the properties in which they are alike; ``BAND_TYPES`` for types of bands.
        """
        if names not in self._known_examples:
            elements = self._examples(self.query, names) if self._examples else examples_of(self, names)
            self._known_examples[names] = None if elements is None else tuple(elements)
        return self._known_examples[names]

    def times(self) -> Sequence[float] | None:
        """Return the different times at which elements may begin, ascending, if they are known without making them."""
        return None if self._times is None else self._times(self.query)

    def _fresh(self) -> Iterator[Any]:
        if self.query.indices is not None and not self.query.indices:
            return  # no element can match: a store that ignores indices would list all that it has
        yield from (e for e in self._elements(self.query) if all(f.matches(e) for f in self._filters))

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
        """Return the elements that pass; stores are asked only for what may pass. What parts share is filtered once."""
        if self._latest is None or self._latest[0] is not condition:
            self._latest = condition, self._passing(condition)
        return self._latest[1]

    def _passing(self, condition: Filter) -> Collection:
        facts = self._facts()
        if self.is_stored:
            return self._copied(query=condition.narrow(self.query), filters=(*self._filters, condition))
        if self.is_searchable and self.order is not None:
            unordered: Collection = self.order.source
            return unordered.filtered(condition)._sorted(self.order.sort, self.order.key, facts)
        if self.is_searchable and self._keeps(condition.fields):
            parts = [replace(part, source=part.source.filtered(condition)) for part in self.parts]
            return Collection.of_parts(self.element, parts, **facts)
        if self.is_searchable and condition.all_of:
            first_kept = sorted(condition.all_of, key=lambda one: not self._keeps(one.fields))
            return reduce(Collection.filtered, first_kept, self)
        if self.is_searchable:

            def keeps(name: str) -> bool:
                return self._keeps(frozenset((name,)))

            # Filters that follow may still be ones that a store can be asked for.
            part = Part(self, lambda elements: filter(condition.matches, iter(elements)), keeps)
            return Collection.of_parts(self.element, [part], examples=self._like, **facts)
        return Collection(
            self.element, lambda _: iter(self), filters=(condition,), is_stored=False, examples=self._like, **facts
        )

    def _keeps(self, fields: frozenset[str] | None) -> bool:
        """Return whether the elements have the properties of those that they follow from."""
        return fields is not None and all(part.keeps(name) for part in self.parts for name in fields)

    def _facts(self) -> dict[str, Any]:
        return {
            "properties": self.properties, "id": self.id, "version": self.version, "columns": self.columns,
            "added_columns": self.added_columns,
        }  # fmt: skip

    def _facts_of_others(self) -> dict[str, Any]:
        """Return the facts of a collection of other elements: it has the columns of a stored table only, or none."""
        columns = self.columns if self.id is not None or self.columns == {} else None
        return {**self._facts(), "columns": columns, "added_columns": None}

    def reordered(self, sort: Callable[[Collection], Iterator[Any]], key: str) -> Collection:
        """Return the elements sorted by a property; ``sort`` yields the sorted elements of a collection."""
        return self._sorted(sort, key, self._facts())

    def _sorted(self, sort: Callable[[Collection], Iterator[Any]], key: str, facts: Mapping[str, Any]) -> Collection:
        return Collection(
            self.element, lambda _: sort(self), is_stored=False, examples=self._like, order=Order(self, sort, key),
            **facts,
        )  # fmt: skip

    def _like(self, _: Query, names: frozenset[str]) -> Sequence[Any] | None:
        """Return the examples of another collection that has some of these elements."""
        return self.examples(names)

    def limited(self, most: int) -> Collection:
        """Return the first elements, so many at most."""
        return Collection(
            self.element, lambda _: islice(iter(self), min(most, maxsize)), is_stored=False, examples=self._like,
            count=lambda _: None if (known := self.known_count) is None else min(most, known),
            **self._facts_of_others(),
        )  # fmt: skip

    def with_properties(self, properties: Mapping[str, Value]) -> Collection:
        """Return a copy with other properties."""
        elements: dict[str, Any] = {} if self.is_stored else {"elements": lambda _: iter(self), "filters": ()}
        return self._copied(**elements, properties=properties)

    def _copied(self, **changes: Any) -> Collection:
        own = {
            "elements": self._elements, "query": self.query, "filters": self._filters, "is_stored": self.is_stored,
            "is_searchable": self._may_search, "count": self._count, "times": self._times, "parts": self.parts,
            "examples": self._examples, "order": self.order, **self._facts(),
        }  # fmt: skip
        return Collection(self.element, **{**own, **changes})

    def transformed(
        self,
        transform: Callable[[Iterable[Any]], Iterator[Any]],
        keeps: Callable[[str], bool],
        element: Literal["Image", "Feature"] | None = None,
        **more: Any,
    ) -> Collection:
        """Return a collection with the same properties, whose elements follow one by one; see ``Part``."""
        facts = {**self._facts_of_others(), "columns": {}}  # the service lists none of what is mapped or classified
        return Collection.of_parts(element or self.element, [Part(self, transform, keeps, **more)], **facts)

    def derived(
        self,
        elements: Callable[[], Iterator[Any]],
        element: Literal["Image", "Feature"] | None = None,
        added_columns: Mapping[str, str] | None = None,
    ) -> Collection:
        """Return another collection with the same properties, made from this one's elements.

        Args:
            elements: makes them.
            element: what they are, if that is not what this one has.
            added_columns: types of columns that they have besides their own.
        """
        added = None if added_columns is None else {**self.added_columns, **added_columns}
        facts = {**self._facts_of_others(), "added_columns": added}
        if element not in (None, self.element):
            facts["columns"] = {}
        return Collection(element or self.element, lambda _: elements(), is_stored=False, **facts)
