"""``Join.simple``, ``inverted``, ``inner``, ``saveAll``, ``saveFirst`` and ``saveBest``: pairs of elements of two
collections that match a condition, and its measure.

Guides: developers.google.com/earth-engine/guides/joins_intro and those after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.lazy_values import updated
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.collection_order import in_order
from eechips_local.values.element_properties import Element, with_properties
from eechips_local.values.filter_conditions import FilterCondition
from eechips_local.values.values import Collection, Feature, Filter, Join

INDEX = "system:index"

Matches = Callable[[Element], Iterator[Element]]
"""Gives the secondary elements that match a primary one, in their order."""


def matcher(secondary: Collection, condition: Filter) -> Matches:
    """Return a function that finds the matches of a primary element; the condition's lookup spares trying them all.

    Of a collection that is neither bounded in space nor in time, the store is asked for the matches of each element.
    """
    seek = condition.seek if isinstance(condition, FilterCondition) and _is_unbounded(secondary) else None
    elements: list[Element] = []
    lookups: list[Callable[[Element], Any]] = []
    pairs = condition.pairs

    def prepare() -> None:
        elements.extend(secondary)
        build = condition.lookup if isinstance(condition, FilterCondition) else None
        every = range(len(elements))
        lookups.append(build(elements) if build is not None else lambda primary: every)

    def candidates(primary: Element) -> Iterable[Element]:
        if seek is not None:
            sought = seek(primary)
            return () if sought is None else secondary.filtered(sought)
        if not lookups:
            prepare()
        return (elements[position] for position in lookups[0](primary))

    def matches(primary: Element) -> Iterator[Element]:
        for other in candidates(primary):
            if pairs(primary, other) if pairs is not None else condition.matches(primary):
                yield other

    return matches


def _is_unbounded(collection: Collection) -> bool:
    if not collection.is_searchable:
        return False
    query = collection.query
    is_wide = query.start is None and query.end is None and query.bounds is None
    return is_wide if collection.is_stored else any(_is_unbounded(part.source) for part in collection.parts)


def _measure(condition: Filter, key: str | None) -> Callable[[Element, Element], float] | None:
    """Return the measure of a condition, where it is to be saved.

    Raises:
        InvalidError: if the condition has none.
    """
    if key is None:
        return None
    measure = condition.measure if isinstance(condition, FilterCondition) else None
    if measure is None:
        raise InvalidError(
            f"The join condition has no measure to save as '{key}'. Use Filter.withinDistance or Filter.maxDifference."
        )
    return measure


def _measured(
    primary: Element, match: Element, key: str | None, measure: Callable[[Element, Element], float] | None
) -> Element:
    if key is None or measure is None:
        return match
    return with_properties(match, updated(match.properties, {key: measure(primary, match)}))


def _ordered(matches: Iterable[Element], ordering: str | None, ascending: bool) -> list[Element]:
    return list(matches) if ordering is None else in_order(matches, ordering, ascending)


def _with(element: Element, key: str, value: Any) -> Element:
    return with_properties(element, updated(element.properties, {key: value}))


@function("Join.apply")
def apply(context: Context, join: Join, primary: Collection, secondary: Collection, condition: Filter) -> Collection:
    """Return the join of two collections."""

    def timed(elements: Iterable[Element]) -> Iterator[Element]:
        for element in elements:
            context.check_time()
            yield element

    joined = join.apply(primary, secondary, condition)
    return joined.transformed(timed, lambda name: True, is_aligned=True, reads=frozenset, has_same_bands=True)


def _chosen(
    primary: Collection,
    condition: Filter,
    choose: Callable[[Iterable[Element]], Iterator[Element]],
    key: str | None = None,
) -> Collection:
    """Return those primary elements that a join yields, perhaps with what it saves as a property."""
    return primary.transformed(choose, lambda name: name != key, reads=lambda: condition.fields, has_same_bands=True)


@function("Join.simple")
def simple() -> Join:
    """Return primary elements that have a match."""

    def joined(primary: Collection, secondary: Collection, condition: Filter) -> Collection:
        matches = matcher(secondary, condition)

        def matched(elements: Iterable[Element]) -> Iterator[Element]:
            return (e for e in elements if next(matches(e), None) is not None)

        return _chosen(primary, condition, matched)

    return Join(joined)


@function("Join.inverted")
def inverted() -> Join:
    """Return primary elements that have no match."""

    def joined(primary: Collection, secondary: Collection, condition: Filter) -> Collection:
        matches = matcher(secondary, condition)

        def unmatched(elements: Iterable[Element]) -> Iterator[Element]:
            return (e for e in elements if next(matches(e), None) is None)

        return _chosen(primary, condition, unmatched)

    return Join(joined)


@function("Join.inner")
def inner(primaryKey: str, secondaryKey: str, measureKey: str | None) -> Join:
    """Return features without geometry that hold a primary element and one of its matches, one for each pair."""

    def joined(primary: Collection, secondary: Collection, condition: Filter) -> Collection:
        measure = _measure(condition, measureKey)
        matches = matcher(secondary, condition)

        def elements() -> Iterator[Feature]:
            for element in primary:
                for match in matches(element):
                    index = f"{element.properties.get(INDEX)}_{match.properties.get(INDEX)}"
                    properties = {INDEX: index, primaryKey: element, secondaryKey: match}
                    if measure is not None and measureKey is not None:
                        properties[measureKey] = measure(element, match)
                    yield Feature(None, properties)

        return Collection("Feature", lambda _: elements())

    return Join(joined)


@function("Join.saveAll")
def save_all(matchesKey: str, ordering: str | None, ascending: bool, measureKey: str | None, outer: bool) -> Join:
    """Return primary elements with the list of their matches."""

    def joined(primary: Collection, secondary: Collection, condition: Filter) -> Collection:
        measure = _measure(condition, measureKey)
        matches = matcher(secondary, condition)

        def saved(elements: Iterable[Element]) -> Iterator[Element]:
            for element in elements:
                ordered_matches = _ordered(matches(element), ordering, ascending)
                if ordered_matches or outer:
                    yield _with(
                        element, matchesKey, [_measured(element, m, measureKey, measure) for m in ordered_matches]
                    )

        return _chosen(primary, condition, saved, matchesKey)

    return Join(joined)


@function("Join.saveFirst")
def save_first(matchKey: str, ordering: str | None, ascending: bool, measureKey: str | None, outer: bool) -> Join:
    """Return primary elements with their first match."""

    def joined(primary: Collection, secondary: Collection, condition: Filter) -> Collection:
        measure = _measure(condition, measureKey)
        matches = matcher(secondary, condition)

        def saved(elements: Iterable[Element]) -> Iterator[Element]:
            for element in elements:
                candidates = matches(element)
                match = next(iter(candidates if ordering is None else _ordered(candidates, ordering, ascending)), None)
                if match is not None:
                    yield _with(element, matchKey, _measured(element, match, measureKey, measure))
                elif outer:
                    yield element

        return _chosen(primary, condition, saved, matchKey)

    return Join(joined)


@function("Join.saveBest")
def save_best(matchKey: str, measureKey: str, outer: bool) -> Join:
    """Return primary elements with the match that has the least measure."""

    def joined(primary: Collection, secondary: Collection, condition: Filter) -> Collection:
        measure = _measure(condition, measureKey)
        assert measure is not None
        matches = matcher(secondary, condition)

        def saved(elements: Iterable[Element]) -> Iterator[Element]:
            for element in elements:
                measured_matches = [(measure(element, match), match) for match in matches(element)]
                if measured_matches:
                    least, match = min(measured_matches, key=lambda pair: pair[0])
                    yield _with(element, matchKey, _with(match, measureKey, least))
                elif outer:
                    yield element

        return _chosen(primary, condition, saved, matchKey)

    return Join(joined)
