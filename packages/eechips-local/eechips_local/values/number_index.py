"""Filter collections by ranges of numbers without trying all elements."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from eechips_local.evaluation.asset_model import Query, Range
from eechips_local.evaluation.context import Context
from eechips_local.values.element_properties import property_of
from eechips_local.values.ordering import plain
from eechips_local.values.values import Collection, Filter


class NumberIndex:
    """The elements of a collection, sorted by the numbers of their properties.

    A mapped function filters the same table for each image: from the second filter on, only elements in its ranges are
    tried.

    Args:
        source: the collection.
    """

    def __init__(self, source: Collection) -> None:
        self._source = source
        self._elements: Sequence[Any] | None = None
        self._is_used = False
        self._sorted: dict[str, tuple[list[float], list[int], list[int]]] = {}

    def candidates(self, query: Query) -> Iterator[Any]:
        """Return the elements that may lie in the ranges of a query, in their order."""
        if not self._is_used:
            self._is_used = True
            return iter(self._source)
        if self._elements is None:
            self._elements = list(self._source)
        positions = min((self._positions(name, span) for name, span in query.ranges.items()), key=len)
        return map(self._elements.__getitem__, sorted(positions))

    def _positions(self, name: str, span: Range) -> list[int]:
        if name not in self._sorted:
            self._sorted[name] = self._sort(name)
        numbers, positions, others = self._sorted[name]
        return positions[bisect_left(numbers, span.least) : bisect_right(numbers, span.greatest)] + others

    def _sort(self, name: str) -> tuple[list[float], list[int], list[int]]:
        """Sort the elements by a property.

        Returns:
            The numbers in ascending order, the position of the element of each, and the positions of elements without a
            number.
        """
        assert self._elements is not None
        numbered: list[tuple[float, int]] = []
        others: list[int] = []
        for position, element in enumerate(self._elements):
            value = plain(property_of(element, name))
            if isinstance(value, (int, float)) and value == value:
                numbered.append((value, position))
            else:
                others.append(position)
        numbered.sort()
        return [number for number, _ in numbered], [position for _, position in numbered], others


class _NumberSelection(Collection):
    """The elements of a collection that pass filters of ranges."""

    def __init__(self, index: NumberIndex, source: Collection, query: Query, filters: tuple[Filter, ...]) -> None:
        super().__init__(
            source.element, index.candidates, query=query, filters=filters, is_stored=False, **source._facts()
        )
        self._index, self._source = index, source

    def narrowed(self, condition: Filter) -> _NumberSelection:
        """Return the elements that pass another one, too."""
        query, filters = condition.narrow(self.query), (*self._filters, condition)
        return _NumberSelection(self._index, self._source, query, filters)


def select_numbers(context: Context, collection: Collection, condition: Filter) -> Collection | None:
    """Return the elements whose numbers lie in the ranges of a filter; None if it has none, or a store looks for them.

    Ranges of the same table are intersected before an element is tried.
    """
    if collection.is_stored or collection.is_searchable or not condition.narrow(Query()).ranges:
        return None
    if isinstance(collection, _NumberSelection):
        return collection.narrowed(condition)
    index = context.note(("numbers", id(collection)), lambda: NumberIndex(collection))
    return _NumberSelection(index, collection, condition.narrow(Query()), (condition,))
