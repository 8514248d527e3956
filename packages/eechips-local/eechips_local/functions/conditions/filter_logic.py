"""``Filter.and``, ``or``, ``not``, ``always``, ``never``, ``notNull`` and ``hasGeometry``: logic, and conditions on one
element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import Any

from eechips_local.evaluation.asset_model import Query
from eechips_local.functions.registration import function
from eechips_local.values.element_properties import GEOMETRY_FIELDS, Element, geometry_if_any, property_of
from eechips_local.values.filter_conditions import FilterCondition, Operand, fields_of
from eechips_local.values.values import Filter

Narrow = Callable[[Query], Query]
_answered_once = lru_cache(maxsize=1)  # for each element: filters may share parts, several levels deep


def opposite(condition: Filter) -> FilterCondition:
    """Pass where another filter fails."""
    pairs = condition.pairs

    def fails(element: Element) -> bool:
        return not condition.matches(element)

    def unpaired(primary: Element, secondary: Element) -> bool:
        return not (pairs(primary, secondary) if pairs is not None else condition.matches(primary))

    other = FilterCondition(matches=fails, pairs=unpaired, fields=condition.fields)
    if not isinstance(condition, FilterCondition):
        return other
    return replace(other, narrow=condition.contrary, contrary=condition.narrow)


def _pairs(condition: Filter, primary: Element, secondary: Element) -> bool:
    return condition.matches(primary) if condition.pairs is None else condition.pairs(primary, secondary)


@dataclass(frozen=True, slots=True)
class _Narrowing:
    """Narrows a query by each of some steps, once even where filters share parts."""

    steps: tuple[Narrow, ...]

    @classmethod
    def by(cls, filters: Sequence[Filter]) -> _Narrowing:
        steps = [s for f in filters for s in (f.narrow.steps if isinstance(f.narrow, cls) else (f.narrow,))]
        return cls(tuple(dict.fromkeys(steps)))

    def __call__(self, query: Query) -> Query:
        for step in self.steps:
            query = step(query)
        return query


@dataclass(frozen=True, slots=True)
class _Choice:
    """Narrows a query to what holds all that one of some steps may pass."""

    steps: tuple[Narrow, ...]

    @classmethod
    def by(cls, filters: Sequence[Filter]) -> Narrow:
        steps = _Narrowing.by(filters).steps
        if not filters or any(isinstance(step, cls) for step in steps):
            return _unchanged  # choices in choices may share parts, which would be asked exponentially often
        return cls(tuple(dict.fromkeys(f.narrow for f in filters)))

    def __call__(self, query: Query) -> Query:
        return reduce(Query.around, [step(query) for step in self.steps])


def _unchanged(query: Query) -> Query:
    return query


def _first(filters: Sequence[Filter], attribute: str) -> Any:
    return next(
        (attribute_value for f in filters if (attribute_value := getattr(f, attribute, None)) is not None), None
    )


def _fields(filters: Sequence[Filter]) -> frozenset[str] | None:
    fields = [condition.fields for condition in filters]
    return None if None in fields else frozenset(name for names in fields if names is not None for name in names)


@function("Filter.and")
def and_(filters: list[Filter]) -> FilterCondition:
    """Return a filter for elements that pass all of some filters."""
    return FilterCondition(
        matches=_answered_once(lambda element: all(f.matches(element) for f in filters)),
        narrow=_Narrowing.by(filters),
        pairs=_answered_once(lambda primary, secondary: all(_pairs(f, primary, secondary) for f in filters)),
        fields=_fields(filters),
        is_exact=all(f.is_exact for f in filters),
        all_of=tuple(filters),
        measure=_first(filters, "measure"),
        lookup=_first(filters, "lookup"),
        seek=_first(filters, "seek"),
    )


@function("Filter.or")
def or_(filters: list[Filter]) -> FilterCondition:
    """Return a filter for elements that pass one of some filters."""
    return FilterCondition(
        matches=_answered_once(lambda element: any(f.matches(element) for f in filters)),
        narrow=_Choice.by(filters),
        pairs=_answered_once(lambda primary, secondary: any(_pairs(f, primary, secondary) for f in filters)),
        fields=_fields(filters),
        measure=_first(filters, "measure"),
    )


@function("Filter.not")
def not_(filter: Filter) -> FilterCondition:
    """Return a filter for elements that fail another filter."""
    return opposite(filter)


def of_one(
    matches: Callable[[Element], bool], fields: Iterable[str] = (), narrow: Narrow | None = None
) -> FilterCondition:
    """Return a condition on some properties of one element; in a join, on the primary one."""
    return FilterCondition(
        matches=matches,
        narrow=narrow or _unchanged,
        pairs=lambda primary, secondary: matches(primary),
        fields=fields_of(*map(Operand, fields)),
    )


@function("Filter.always")
def always() -> FilterCondition:
    """Return a filter that every element passes."""
    return of_one(lambda element: True)


@function("Filter.never")
def never() -> FilterCondition:
    """Return a filter that no element passes."""
    return of_one(lambda element: False)


@function("Filter.notNull")
def not_null(properties: list[str]) -> FilterCondition:
    """Return a filter for elements whose properties of these names all have a value."""
    return of_one(lambda element: all(property_of(element, name) is not None for name in properties), properties)


@function("Filter.hasGeometry")
def has_geometry() -> FilterCondition:
    """Return a filter for elements that have a geometry."""
    return of_one(lambda element: geometry_if_any(element) is not None, GEOMETRY_FIELDS)
