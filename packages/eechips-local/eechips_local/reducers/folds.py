"""``Reducer.min``, ``max``, ``first``, ``last``, ``product``, ``count``, ``countDistinct``, ``countRuns``,
``allNonZero``, ``bitwiseAnd``: reducers that take one value after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers.reducer_samples import Flags, ReducerSample, SampleColumn, Values
from eechips_local.reducers.reducer_types import Kind, Output, OutputSpec, Reducer, boxed, directly, numbers
from eechips_local.values.elementwise import to_integers
from eechips_local.values.ordering import check_comparable, compare_key, distinct_key

Picked = tuple[list[Values], Flags]
"""For each input a value at each place, and where there is one."""


def _picking(
    names: Sequence[str], choose: Callable[[SampleColumn], tuple[Values, Flags]], *, inputs: int, arrays: bool = False
) -> Reducer:
    """Return a reducer that picks one of the tuples of inputs, by the first of them.

    Args:
        names: names of the outputs, one for each input.
        choose: gives the index of the chosen tuple at each place, and where its first input is no null.
        inputs: how many.
        arrays: whether they may be arrays, which ``choose`` must not compare then.
    """

    def summarise(sample: ReducerSample) -> Picked:
        columns = sample.columns()
        if not len(columns[0].values):
            nothing = np.zeros(columns[0].inside.shape[1:], dtype=bool)
            return [np.zeros(c.values.shape[1:], c.values.dtype) for c in columns], nothing
        where, valid = choose(columns[0])
        return [_taken(column.values, where) for column in columns], valid

    def merge(parts: Sequence[Picked]) -> Picked:
        stacked = [np.stack([values[i] for values, _ in parts]) for i in range(inputs)]
        flags = np.stack([valid for _, valid in parts])
        values = np.stack(stacked)
        return summarise(ReducerSample(values, flags.astype(np.float64), flags, None, values.ndim - 1 - flags.ndim))

    def finish(picked: Picked) -> list[Output]:
        values, valid = picked
        return [Output(v, valid) for v in values]

    specs = [OutputSpec(name, "same", source) for source, name in enumerate(names)]
    return Reducer(tuple(specs), (False,) * inputs, summarise, merge, finish, compact=True, arrays=arrays)


def _taken(values: Values, where: Any) -> Any:
    index = np.asarray(where)[None]
    picked = np.take_along_axis(values, index.reshape(index.shape + (1,) * (values.ndim - index.ndim)), axis=0)[0]
    return boxed(picked) if values.dtype == object and not isinstance(picked, np.ndarray) else np.asarray(picked)


def _extreme(sign: int) -> Callable[[SampleColumn], tuple[Values, Flags]]:
    """Return the position of the least (sign -1) or greatest (1) value, the first of several."""

    def choose(column: SampleColumn) -> tuple[Values, Flags]:
        values, inside = column.values, column.inside
        valid = np.asarray(inside.any(axis=0))
        if values.dtype == object:
            return np.asarray(_extreme_object(values, inside, sign)), valid
        if values.dtype.kind == "b":
            values = values.astype(np.uint8)
        worst: Any = -sign * np.inf
        if values.dtype.kind in "iu":
            limits = np.iinfo(values.dtype)
            worst = limits.min if sign > 0 else limits.max
        candidates = np.where(inside, values, values.dtype.type(worst))
        where = candidates.argmax(axis=0) if sign > 0 else candidates.argmin(axis=0)
        # A value that is as bad as what stands for nulls must still be found.
        lost = valid & ~np.take_along_axis(inside, np.asarray(where)[None], axis=0)[0]
        return np.where(lost, inside.argmax(axis=0), where), valid

    return choose


def _extreme_object(values: Values, inside: Flags, sign: int) -> int:
    held = [i for i in range(len(values)) if inside[i]]
    check_comparable([values[i] for i in held])

    def key(index: int) -> Any:
        return compare_key(values[index])

    return max(held, key=key, default=0) if sign > 0 else min(held, key=key, default=0)


MIN = _picking(("min",), _extreme(-1), inputs=1)
MAX = _picking(("max",), _extreme(1), inputs=1)


def extreme(name: str, inputs: int) -> Reducer:
    """Return the least ("min") or greatest ("max") value of the first input, with what the others have there."""
    if inputs < 1:
        raise InvalidError(f"The number of inputs must be positive; found {inputs}.")
    names = [name, *(f"{name}{i}" for i in range(1, inputs))]
    return _picking(names, _extreme(-1 if name == "min" else 1), inputs=inputs)


def _end(*, last: bool, nulls: bool) -> Callable[[SampleColumn], tuple[Values, Flags]]:
    """Return a function that finds the first or last input, null or not, or the first or last that is not null."""

    def choose(column: SampleColumn) -> tuple[Values, Flags]:
        wanted = column.present if nulls else column.inside
        order = wanted[::-1] if last else wanted
        where = order.argmax(axis=0)
        where = len(wanted) - 1 - where if last else where
        is_inside = np.take_along_axis(column.inside & wanted, np.asarray(where)[None], axis=0)[0]
        return np.asarray(where), np.asarray(is_inside)

    return choose


FIRST_NON_NULL = _picking(("first",), _end(last=False, nulls=False), inputs=1, arrays=True)
LAST_NON_NULL = _picking(("last",), _end(last=True, nulls=False), inputs=1, arrays=True)


def _ending(name: str, *, last: bool) -> Reducer:
    """Return the first or last input. A null may be the first: so whether there was any input is kept beside the
    value.
    """

    def summarise(sample: ReducerSample) -> tuple[Values, Flags, Flags]:
        column = sample.column(0)
        seen = np.asarray(column.present.any(axis=0))
        if not len(column.values):
            return np.zeros(column.values.shape[1:], column.values.dtype), seen, seen
        where, valid = _end(last=last, nulls=True)(column)
        return _taken(column.values, where), valid, seen

    def merge(parts: Sequence[tuple[Values, Flags, Flags]]) -> tuple[Values, Flags, Flags]:
        values, valid, seen = (np.stack(part) for part in zip(*parts, strict=True))
        where, is_valid = _end(last=last, nulls=True)(SampleColumn(values, valid.astype(np.float64), valid, seen))
        return _taken(values, where), is_valid, np.asarray(seen.any(axis=0))

    def finish(state: tuple[Values, Flags, Flags]) -> list[Output]:
        return [Output(state[0], state[1])]

    return Reducer((OutputSpec(name, "same"),), (False,), summarise, merge, finish, compact=True, arrays=True)


FIRST = _ending("first", last=False)
LAST = _ending("last", last=True)


def _folding(
    name: str,
    kind: Kind,
    fold: Callable[[SampleColumn], Values],
    again: Callable[[Values], Values],
    *,
    always: bool = False,
    arrays: bool = False,
) -> Reducer:
    """Return a reducer of one input to one number.

    Args:
        name: name of the output.
        kind: kind of the output.
        fold: reduces a column along its first axis.
        again: reduces results of ``fold`` along the first axis.
        always: whether there is a result where there is no value.
        arrays: whether values may be arrays.
    """

    def summarise(sample: ReducerSample) -> tuple[Values, Flags]:
        column = sample.column(0)
        return np.asarray(fold(column)), np.asarray(column.inside.any(axis=0))

    def merge(parts: Sequence[tuple[Values, Flags]]) -> tuple[Values, Flags]:
        values, valid = np.stack([v for v, _ in parts]), np.any([f for _, f in parts], axis=0)
        return np.asarray(again(values)), valid

    def finish(state: tuple[Values, Flags]) -> list[Output]:
        return [Output(state[0], np.ones_like(state[1]) if always else state[1])]

    return Reducer((OutputSpec(name, kind),), (False,), summarise, merge, finish, compact=True, arrays=arrays)


def _whole(column: SampleColumn, filler: int) -> Values:
    """Return values as 64-bit integers, the nearest where they are beyond these; with something else instead of
    nulls.
    """
    return to_integers(np.where(column.inside, numbers(column.values), filler))


PRODUCT = _folding(
    "product",
    "double",
    lambda c: np.where(c.inside, numbers(c.values), 1).astype(np.float64).prod(axis=0),
    lambda v: v.prod(axis=0),
)
COUNT = _folding("count", "count", lambda c: c.inside.sum(axis=0), lambda v: v.sum(axis=0), always=True, arrays=True)
COUNT_EVERY = _folding(
    "count", "count", lambda c: c.present.sum(axis=0), lambda v: v.sum(axis=0), always=True, arrays=True
)
ANY = _folding(
    "any", "flag", lambda c: ((numbers(c.values) != 0) & c.inside).any(axis=0).astype(np.uint8), lambda v: v.max(axis=0)
)
ALL = _folding(
    "all",
    "flag",
    lambda c: ((numbers(c.values) != 0) | ~c.inside).all(axis=0).astype(np.uint8),
    lambda v: v.min(axis=0),
)
BITWISE_AND = _folding(
    "bitwiseAnd", "same", lambda c: np.bitwise_and.reduce(_whole(c, -1)), lambda v: np.bitwise_and.reduce(v)
)
BITWISE_OR = _folding(
    "bitwiseOr", "same", lambda c: np.bitwise_or.reduce(_whole(c, 0)), lambda v: np.bitwise_or.reduce(v)
)


def _distinct(*, nulls: bool) -> Callable[[ReducerSample], Sequence[Output]]:
    def reduce(sample: ReducerSample) -> Sequence[Output]:
        column = sample.column(0)
        lacking = (column.present & ~column.inside).any(axis=0) if nulls else 0
        count = _distinct_counts(column) + lacking
        return [Output(count, np.ones(count.shape, dtype=bool))]

    return reduce


def _distinct_counts(column: SampleColumn) -> Values:
    values, inside = column.values, column.inside
    if values.dtype == object:
        return np.asarray(len({distinct_key(v) for v, there in zip(values, inside, strict=True) if there}))
    if values.ndim == 1:
        return np.asarray(len(np.unique(values[inside])))
    ordered = np.sort(np.where(inside, values, np.inf), axis=0)
    fresh = np.ones(ordered.shape, dtype=bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    return np.asarray((fresh & (np.arange(len(ordered)).reshape(-1, *[1] * (ordered.ndim - 1)) < inside.sum(0))).sum(0))


COUNT_DISTINCT = directly((OutputSpec("count", "count"),), (False,), _distinct(nulls=True))
COUNT_DISTINCT_NON_NULL = directly((OutputSpec("count", "count"),), (False,), _distinct(nulls=False))


def _runs(sample: ReducerSample) -> Sequence[Output]:
    """Run of equal values; nulls are left out and break no run."""
    column = sample.column(0)
    values, inside = column.values, column.inside
    if values.dtype == object:
        keys = [distinct_key(v) for v, there in zip(values, inside, strict=True) if there]
        count = np.asarray(sum(1 for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]))
        return [Output(count, np.ones((), dtype=bool))]
    count = np.zeros(values.shape[1:], dtype=np.intp)
    last = np.zeros(values.shape[1:], dtype=values.dtype)
    begun = np.zeros(values.shape[1:], dtype=bool)
    if values.ndim == 1:
        values, inside = values[inside][:, None], np.ones((int(inside.sum()), 1), dtype=bool)
        fresh = np.ones(len(values), dtype=bool)
        fresh[1:] = values[1:, 0] != values[:-1, 0]
        return [Output(np.asarray(fresh.sum()), np.ones((), dtype=bool))]
    for value, there in zip(values, inside, strict=True):
        count += there & (~begun | (value != last))
        last = np.where(there, value, last)
        begun |= there
    return [Output(count, np.ones(count.shape, dtype=bool))]


COUNT_RUNS = directly((OutputSpec("count", "count"),), (False,), _runs)
