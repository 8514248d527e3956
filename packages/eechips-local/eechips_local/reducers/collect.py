"""``Reducer.toList``, ``toCollection`` and ``group``: reducers that keep what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.reducers.reducer_samples import ReducerSample, flat_places
from eechips_local.reducers.reducer_types import Output, OutputSpec, Reducer, boxed, directly
from eechips_local.values.ordering import compare_key, distinct_key
from eechips_local.values.values import Array, Collection, Feature, Value

# Tuples that one list may hold: as Python's objects they take some hundred bytes each.
_MOST_ITEMS = 5_000_000


def items(sample: ReducerSample, optional: int) -> list[list[Value]]:
    """Return the tuples of a sample of one place as plain values, nulls among the optional inputs; others are
    dropped.
    """
    columns = sample.columns()
    required = columns[: len(columns) - optional]
    kept = columns[0].present.copy()
    for column in required:
        kept &= column.inside
    if int(kept.sum()) > _MOST_ITEMS:
        raise MemoryLimitError()
    rows: list[list[Value]] = []
    taken = [(_plain(c.values[kept], sample.arrays), c.inside[kept].tolist()) for c in columns]
    for position in range(int(kept.sum())):
        rows.append([values[position] if inside[position] else None for values, inside in taken])
    return rows


def _plain(values: Any, arrays: int) -> list[Value]:
    if arrays:
        return [Array(value) for value in values]
    plain_values: list[Value] = values.tolist()
    return plain_values


def _per_place(sample: ReducerSample) -> tuple[tuple[int, ...], list[ReducerSample]]:
    """Return a sample's places, each on its own."""
    columns = sample.columns()
    places = columns[0].weights.shape[1:]
    if not places:
        return places, [sample]
    count = int(np.prod(places))
    tail = sample.values.shape[sample.values.ndim - sample.arrays :] if sample.arrays else ()
    values = sample.values.reshape(*sample.values.shape[:2], count, *tail)
    weights, inside = (
        np.stack([getattr(c, part) for c in columns]).reshape(*sample.values.shape[:2], count)
        for part in ("weights", "inside")
    )
    present = flat_places(columns[0].present, 1) if sample.present is not None else None
    return places, [
        ReducerSample(
            values[:, :, i], weights[:, :, i], inside[:, :, i], None if present is None else present[:, i],
            sample.arrays, whole=sample.whole,
        )
        for i in range(count)
    ]  # fmt: skip


def collecting(outputs: Sequence[OutputSpec], weighted: Sequence[bool], make: Any, *, arrays: bool = False) -> Reducer:
    """Return a reducer whose outputs are objects, made place by place.

    Args:
        outputs: what is known of them.
        weighted: for each input, whether it heeds weights.
        make: from the sample of one place to a value for each output, or None for null.
        arrays: whether inputs may be arrays.
    """

    def reduce(sample: ReducerSample) -> list[Output]:
        places, samples = _per_place(sample)
        rows = [make(part) for part in samples]
        collected = []
        for which in range(len(outputs)):
            values = np.empty(len(rows), dtype=object)
            for place, row in enumerate(rows):
                values[place] = row[which]
            valid = np.array([row[which] is not None for row in rows], dtype=bool).reshape(places)
            collected.append(Output(values.reshape(places) if places else boxed(values[0]), valid))
        return collected

    return directly(outputs, weighted, reduce, arrays=arrays)


def to_list(tuple_size: int | None, optional: int) -> Reducer:
    """Return all values, or all tuples of them."""
    size = 1 if tuple_size is None else tuple_size
    if size < 1:
        raise InvalidError(f"The tuple size must be positive; found {tuple_size}.")
    if not 0 <= optional <= size:
        raise InvalidError(f"The number of optional inputs must be between 0 and {size}; found {optional}.")

    def make(sample: ReducerSample) -> list[Value]:
        rows = items(sample, optional)
        return [[row[0] for row in rows] if tuple_size is None else rows]

    return collecting((OutputSpec("list", "object"),), (False,) * size, make, arrays=True)


def to_collection(names: Sequence[str], optional: int) -> Reducer:
    """Return a feature without geometry for each tuple, its inputs as properties; nulls are left out."""
    if not names:
        raise InvalidError("At least one property name must be given.")
    if not 0 <= optional <= len(names):
        raise InvalidError(f"The number of optional inputs must be between 0 and {len(names)}; found {optional}.")

    def make(sample: ReducerSample) -> list[Value]:
        features = [
            Feature(None, {"system:index": str(i), **{n: v for n, v in zip(names, row, strict=True) if v is not None}})
            for i, row in enumerate(items(sample, optional))
        ]
        return [Collection.of("Feature", features)]

    return collecting((OutputSpec("features", "object"),), (False,) * len(names), make, arrays=True)


def group(reducer: Reducer, field: int, name: str) -> Reducer:
    """Return a list of dictionaries, one for each value of an input: that value, and the outputs of a reducer over the
    others.

    Groups come in the order of their values. Tuples whose group is null are left out, and groups without other
    values. Those of features stay, without the outputs that are null: a run against the service found no key (code
    68389982771).
    """
    if not 0 <= field <= reducer.inputs:
        raise InvalidError("Reducer.group groupField out of range.")
    if any(reducer.weighted[field:]):  # quoted of sum and frequencyHistogram
        raise InvalidError("Group input must come after weighted inputs.")
    others = [i for i in range(reducer.inputs + 1) if i != field]

    def make(sample: ReducerSample) -> list[Value]:
        columns = sample.columns()
        key = columns[field]
        kept = key.weights > 0 if any(reducer.weighted) else key.inside
        inputs = sample.select(others)
        groups: list[Value] = []
        for value, chosen in _partition(key.values, kept):
            part = ReducerSample(
                inputs.values[:, chosen],
                inputs.weights[:, chosen],
                inputs.inside[:, chosen],
                None if sample.present is None else sample.present[chosen],
                sample.arrays,
                whole=inputs.whole,
            )
            is_empty = not (part.weights.any() or part.inside.any())
            if is_empty and sample.present is None:  # pixels
                continue
            outputs = dict(zip(reducer.names, reducer.results(part), strict=True))
            if sample.present is None and outputs.get("groups") == [] and len(outputs) == 1:
                continue
            known = {output: result for output, result in outputs.items() if result is not None}
            groups.append({name: value, **(known if is_empty else outputs)})
        return [groups]

    weighted = [False] * (reducer.inputs + 1)
    for position, own in zip(others, reducer.weighted, strict=True):
        weighted[position] = own
    return collecting((OutputSpec("groups", "object"),), weighted, make)


def _partition(values: Any, kept: Any) -> list[tuple[Value, Any]]:
    """Return different values in order, and where each of them is."""
    where = np.flatnonzero(kept)
    if values.dtype != object:
        order = where[np.argsort(values[where], kind="stable")]
        ordered = values[order]
        starts = (
            np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, dtype=np.intp)
        )
        pieces = np.split(order, starts[1:])
        return [(ordered[start].item(), piece) for start, piece in zip(starts, pieces, strict=False)]
    indices_by_key: dict[Any, list[int]] = {}
    for index in where:
        indices_by_key.setdefault(distinct_key(values[index]), []).append(int(index))
    pairs = [(values[indices[0]], np.asarray(indices)) for indices in indices_by_key.values()]
    return sorted(pairs, key=lambda pair: compare_key(pair[0]))
