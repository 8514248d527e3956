"""``Reducer.combine``, ``repeat``, ``forEach``, ``unweighted``, ``splitWeights``, ``setOutputs``, ``disaggregate``:
reducers made of others, and the names of their outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers.collect import collecting, items
from eechips_local.reducers.reducer_samples import ReducerSample, sample_of, stacked
from eechips_local.reducers.reducer_types import Output, OutputSpec, Reducer, boxed, numbers, plain_value
from eechips_local.values.values import Array, Value

# Inputs, and outputs, that a reducer made of others may have: copies of copies grow fast.
_MOST_FIELDS = 10_000


def _changed(reducer: Reducer, change: Callable[[ReducerSample], ReducerSample], weighted: Sequence[bool]) -> Reducer:
    """Return a reducer whose samples are changed first."""
    return replace(reducer, weighted=tuple(weighted), summarise=lambda sample: reducer.summarise(change(sample)))


def unweighted(reducer: Reducer) -> Reducer:
    """Return the reducer with all weights 1 (where the pixel's centre is inside) or 0."""

    def change(sample: ReducerSample) -> ReducerSample:
        return replace(sample, weights=sample.inside.astype(np.float64), counts_nulls=True)

    return _changed(reducer, change, [False] * reducer.inputs)


def split_weights(reducer: Reducer) -> Reducer:
    """Return the reducer with each weighted input replaced by two unweighted ones: a value and its weight."""
    weighted = reducer.weighted
    if not any(weighted):
        raise InvalidError("The reducer has no weighted inputs.")

    def change(sample: ReducerSample) -> ReducerSample:
        columns = iter(sample.columns())
        values, weights, inside = [], [], []
        for own in weighted:
            column = next(columns)
            values.append(column.values)
            if own:
                weight = next(columns)
                there = column.inside & weight.inside
                weights.append(np.where(there, np.maximum(numbers(weight.values), 0), 0).astype(np.float64))
                inside.append(there)
            else:
                weights.append(column.inside.astype(np.float64))
                inside.append(column.inside)
        together, whole = stacked(values)
        return replace(sample, values=together, weights=np.stack(weights), inside=np.stack(inside), whole=whole)

    return _changed(reducer, change, [False] * (len(weighted) + sum(weighted)))


def side_by_side(reducers: Sequence[Reducer], outputs: Sequence[OutputSpec], *, shared: bool) -> Reducer:
    """Return several reducers at once, over the same inputs (shared) or each over the next ones."""
    if sum(r.inputs for r in reducers) > _MOST_FIELDS or len(outputs) > _MOST_FIELDS:
        raise InvalidError(f"A reducer may have at most {_MOST_FIELDS} inputs and outputs.")
    starts = [0]
    for reducer in reducers:
        starts.append(0 if shared else starts[-1] + reducer.inputs)

    def parts(sample: ReducerSample) -> list[ReducerSample]:
        if shared:
            return [sample] * len(reducers)
        return [sample.select(range(start, start + r.inputs)) for start, r in zip(starts, reducers, strict=False)]

    def summarise(sample: ReducerSample) -> list[Any]:
        return [reducer.summarise(part) for reducer, part in zip(reducers, parts(sample), strict=True)]

    def merge(states: Sequence[list[Any]]) -> list[Any]:
        return [reducer.merge(list(own)) for reducer, own in zip(reducers, zip(*states, strict=True), strict=True)]

    def finish(state: list[Any]) -> list[Output]:
        return [output for reducer, own in zip(reducers, state, strict=True) for output in reducer.finish(own)]

    weighted: tuple[bool, ...]
    if shared:
        weighted = tuple(any(flags) for flags in zip(*(r.weighted for r in reducers), strict=True))
    else:
        weighted = tuple(flag for reducer in reducers for flag in reducer.weighted)
    return Reducer(
        tuple(outputs), weighted, summarise, merge, finish,
        compact=all(r.compact for r in reducers), arrays=all(r.arrays for r in reducers),
    )  # fmt: skip


def combine(first: Reducer, second: Reducer, prefix: str = "", *, shared: bool) -> Reducer:
    """Return both reducers' outputs, on the same inputs (shared) or on one after the other.

    Raises:
        InvalidError: if the inputs are to be shared and differ in number.
    """
    if shared and first.inputs != second.inputs:
        raise InvalidError(f"Cannot share inputs: the first reducer takes {first.inputs}, the second {second.inputs}.")
    names = _distinct([*first.names, *(prefix + name for name in second.names)])
    others = second.outputs
    if not shared:
        others = tuple(replace(spec, source=spec.source + first.inputs) for spec in others)
    specs = [*first.outputs, *others]
    return side_by_side((first, second), _renamed(specs, names), shared=shared)


def _renamed(specs: Sequence[OutputSpec], names: Sequence[str]) -> list[OutputSpec]:
    return [spec if spec.name == name else replace(spec, name=name) for spec, name in zip(specs, names, strict=True)]


def _distinct(names: Sequence[str]) -> list[str]:
    """Append 1, 2, … to names that occur again, until each is another."""
    numbers: dict[str, int] = {}
    result: dict[str, None] = {}
    for name in names:
        distinct = name
        while distinct in result:
            numbers[name] = numbers.get(name, 0) + 1
            distinct = f"{name}{numbers[name]}"
        result[distinct] = None
    return [*result]


def for_each(reducer: Reducer, names: Sequence[str]) -> Reducer:
    """Return a copy of the reducer for each name, each with inputs of its own.

    Outputs are called as the names; with several outputs a copy, "<name>_<output>".
    """
    if not names:
        raise InvalidError("At least one output name must be given.")
    single = len(reducer.outputs) == 1
    specs = [
        replace(spec, name=name if single else f"{name}_{spec.name}", source=spec.source + index * reducer.inputs)
        for index, name in enumerate(names)
        for spec in reducer.outputs
    ]
    return side_by_side([reducer] * len(names), specs, shared=False)


def repeat(reducer: Reducer, count: int) -> Reducer:
    """Copy of the reducer, each with inputs of its own; each output is the list of the copies' outputs.

    Lists of numbers are arrays of one dimension more where they become pixels.
    """
    if not 1 <= count <= _MOST_FIELDS:
        raise InvalidError(f"The number of copies must be between 1 and {_MOST_FIELDS}; found {count}.")
    names = [f"{name}{index}" for index in range(count) for name in reducer.names]
    copies = side_by_side(
        [reducer] * count, _renamed([spec for _ in range(count) for spec in reducer.outputs], names), shared=False
    )

    def finish(state: Any) -> list[Output]:
        outputs = copies.finish(state)
        output_count = len(reducer.outputs)
        return [_listed(outputs[which::output_count], reducer.outputs[which]) for which in range(output_count)]

    specs = tuple(
        OutputSpec(spec.name, "object" if spec.kind == "object" else "list", dimensions=spec.dimensions + 1)
        for spec in reducer.outputs
    )
    return replace(copies, outputs=specs, finish=finish)


def _listed(outputs: Sequence[Output], spec: OutputSpec) -> Output:
    """Return the copies' outputs as one: lists, but arrays at many places, where all copies have a result."""
    valid = np.asarray(outputs[0].valid)
    if valid.ndim == 0:
        return Output(boxed([plain_value(output, spec) for output in outputs]), np.ones((), dtype=bool))
    if spec.kind == "object":
        lists = np.empty(valid.shape, dtype=object)
        for place in np.ndindex(valid.shape):
            lists[place] = [plain_value(Output(o.values[place], o.valid[place]), spec) for o in outputs]
        return Output(lists, np.ones(valid.shape, dtype=bool))
    values = np.stack([o.values for o in outputs], axis=valid.ndim)
    return Output(values, np.logical_and.reduce([o.valid for o in outputs]))


def set_outputs(reducer: Reducer, names: Sequence[str | None]) -> Reducer:
    """Return the reducer with its outputs renamed; those whose name is null or empty are dropped."""
    if len(names) != len(reducer.outputs):
        raise InvalidError(f"Need {len(reducer.outputs)} output names")  # as tests of openforis/sepal quote it
    kept = [(index, name) for index, name in enumerate(names) if name]
    if not kept:
        raise InvalidError("At least one output must be kept.")

    def finish(state: Any) -> list[Output]:
        outputs = reducer.finish(state)
        return [outputs[index] for index, _ in kept]

    specs = tuple(replace(reducer.outputs[index], name=name) for index, name in kept)
    return replace(reducer, outputs=specs, finish=finish)


def for_each_element(reducer: Reducer) -> Reducer:
    """Return the reducer at each position of arrays of one shape: outputs are arrays of that shape."""
    reducer.check_numbers()

    def spread(sample: ReducerSample) -> tuple[ReducerSample, int]:
        """Return positions of the arrays as further places; flags are the same at all of them."""
        if not sample.arrays:
            raise InvalidError("The inputs must be arrays.")
        tail = sample.values.shape[sample.values.ndim - sample.arrays :]
        pad = (1,) * len(tail)

        def wide(part: Any) -> Any:
            return np.broadcast_to(part.reshape(*part.shape, *pad), (*part.shape, *tail))

        present = None if sample.present is None else wide(sample.present)
        return ReducerSample(sample.values, wide(sample.weights), wide(sample.inside), present), len(tail)

    def summarise(sample: ReducerSample) -> tuple[Any, int]:
        wide, dimensions = spread(sample)
        return reducer.summarise(wide), dimensions

    def merge(parts: Sequence[tuple[Any, int]]) -> tuple[Any, int]:
        return reducer.merge([state for state, _ in parts]), parts[0][1]

    def finish(state: tuple[Any, int]) -> list[Output]:
        inner, dimensions = state
        axes = tuple(range(-dimensions, 0))
        return [Output(o.values, np.asarray(np.asarray(o.valid).any(axis=axes))) for o in reducer.finish(inner)]

    specs = tuple(replace(spec, dimensions=1) for spec in reducer.outputs)
    return Reducer(specs, reducer.weighted, summarise, merge, finish, reducer.compact, arrays=True)


def disaggregate(reducer: Reducer, axis: int | None) -> Reducer:
    """Return the reducer over the items of its inputs: of lists, of dictionaries' values, of arrays along an axis or
    whole.
    """
    if reducer.inputs != 1:
        raise InvalidError("Only reducers of one input can be disaggregated.")

    def pieces(value: Value) -> list[Value]:
        if isinstance(value, Array):
            if axis is None:
                elements: list[Value] = value.values.ravel().tolist()
                return elements
            if not -value.values.ndim <= axis < value.values.ndim:
                raise InvalidError(f"The axis {axis} is out of range for an array of {value.values.ndim} dimensions.")
            parts = np.split(value.values, value.values.shape[axis], axis)
            return [Array(part) if part.size > 1 else part.item() for part in parts]
        if isinstance(value, list):
            return value
        if isinstance(value, Mapping):
            return list(value.values())
        return [value]

    def make(sample: ReducerSample) -> list[Value]:
        column = sample.column(0)
        values = [piece for row in items(sample, 1) for piece in ([None] if row[0] is None else pieces(row[0]))]
        if not values and not len(column.values):
            return reducer.results(sample_of([[]]))
        return reducer.results(sample_of([values]))

    return collecting([replace(s, kind="object") for s in reducer.outputs], (False,), make, arrays=True)
