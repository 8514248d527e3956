"""Define reducers: samples in, outputs out, at once or block by block; how many bands they take, types and names of the
bands of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.pixels.types import bounds_of, ranged, type_text
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.reducers.reducer_samples import Flags, ReducerSample, Values, joined
from eechips_local.values.values import Array, Date, Value

Kind = Literal["same", "within", "double", "sum", "count", "flag", "list", "object"]

# What an accumulator may hold of values that cannot be summed up before all are there.
_BUDGET = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output of a reducer at each place: values of shape (\\*places[, \\*array]), and where there is one.

    Outputs that are no numbers (lists, dictionaries, collections) are of dtype object.
    """

    values: Any
    valid: Flags


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """Output of a reducer as known before the reduction.

    Attributes:
        kind: "same" as an input, "within" the range of one, "double", "sum" (double where weights may be fractions),
            "count" (a whole number), "flag" (0 or 1), "list" (of numbers; an array where it becomes a pixel), or
            "object" (anything else).
        source: which input it is the same as.
        dimensions: dimensions of the array that each output is; 0 for a number.
        empty: the result of no input at all, where that is not null.
    """

    name: str
    kind: Kind = "double"
    source: int = 0
    dimensions: int = 0
    empty: Value = None

    def pixel_type(self, inputs: Sequence[PixelType]) -> PixelType:
        """Return the type of the pixels of a band that holds this output.

        Columns of the service show that of a mean, Float<-32768.0, 32767.0> of 16 bits, and that of a
        count, Long<0, 4294967295>.
        """
        if self.kind in ("same", "within") and not self.dimensions:
            source = inputs[min(self.source, len(inputs) - 1)]
            return source if self.kind == "same" else ranged(PixelType("double"), bounds_of(source) or ())
        if self.kind == "count":
            return PixelType("int", 0, 2**32 - 1, self.dimensions)
        if self.kind == "flag":
            return PixelType("int", 0, 1)
        return PixelType("double", dimensions=self.dimensions)


_TYPED_ARRAYS = {"Reducer.max", "Reducer.min", "Reducer.countDistinctNonNull"}
"""Reducers whose results over arrays have types; what they pick of arrays is not known."""


def _work(reducer: Reducer) -> tuple[object, ...]:
    """Return what a reducer does, without its description."""
    return (
        reducer.outputs, reducer.weighted, reducer.summarise, reducer.merge, reducer.finish, reducer.compact,
        reducer.arrays,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Reducer:
    """A reducer.

    Weighted inputs take every pixel that lies at least partly in the region, with its weight; unweighted ones the
    pixels whose centre lies in it (https://developers.google.com/earth-engine/guides/reducers_reduce_region).

    A reduction goes in three steps, so that a region may be read block by block: samples are summarised, summaries
    merged, and the outputs taken from what is left. :meth:`apply` does all three.

    Attributes:
        outputs: in order.
        weighted: for each input, whether it heeds weights.
        summarise: takes what is needed from a sample.
        merge: puts the summaries of samples that follow each other together.
        finish: gives one Output for each of ``outputs``.
        compact: whether summaries are small, however large the sample.
        arrays: whether inputs may be arrays.
        description: type and arguments, as ``getInfo`` shows them.
    """

    outputs: tuple[OutputSpec, ...]
    weighted: tuple[bool, ...]
    summarise: Callable[[ReducerSample], Any]
    merge: Callable[[Sequence[Any]], Any]
    finish: Callable[[Any], Sequence[Output]]
    compact: bool = False
    arrays: bool = False
    description: Mapping[str, Any] = field(default_factory=lambda: {"type": "Reducer"}, kw_only=True)

    def equals(self, other: Reducer) -> bool:
        """Return whether it does what another one does, whatever their descriptions."""
        return _work(self) == _work(other)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(spec.name for spec in self.outputs)

    @property
    def text(self) -> str:
        """Its type, with that of the reducer it repeats or groups, as messages name it: Reducer.group(Reducer.sum)."""
        inner, kind = self.description.get("reducer"), str(self.description["type"])
        return f"{kind}({inner.text})" if isinstance(inner, Reducer) else kind

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return len(self.weighted)

    @property
    def scalar(self) -> bool:
        """Return whether the outputs are numbers or arrays of them, not lists, dictionaries or collections."""
        return all(spec.kind != "object" for spec in self.outputs)

    def check_numbers(self) -> None:
        """Check that each output is one number, as elements of arrays are.

        Raises:
            InvalidError: if one is an array, a list, a dictionary or a collection.
        """
        for spec in self.outputs:
            if spec.kind in ("list", "object") or spec.dimensions:
                raise InvalidError(f"The reducer's outputs must be numbers, but '{spec.name}' is not.")

    def apply(self, sample: ReducerSample) -> list[Output]:
        """Reduce a sample at each of its places.

        Raises:
            InvalidError: if the inputs are arrays, which this reducer cannot take.
        """
        if sample.arrays and not self.arrays:
            raise InvalidError("The reducer does not take arrays as inputs.")
        with _java_doubles():
            return list(self.finish(self.summarise(sample)))

    def results(self, sample: ReducerSample) -> list[Value]:
        """Reduce a sample of one place to plain values, null where there is none."""
        return self.plain(self.apply(sample))

    def plain(self, outputs: Sequence[Output]) -> list[Value]:
        """Return outputs at one place as plain values: numbers, Arrays, lists, dictionaries; null where there is
        none.
        """
        return [plain_value(output, spec) for output, spec in zip(outputs, self.outputs, strict=True)]

    def accumulator(self, budget: int = _BUDGET) -> Accumulator:
        """Return something that takes samples one after the other.

        Args:
            budget: bytes that may be held of inputs that cannot be summed up.
        """
        return Accumulator(self, budget)

    def band_types(self, inputs: Sequence[PixelType]) -> list[PixelType]:
        """Return types of bands that hold the outputs.

        Raises:
            InvalidError: if an output cannot be held by a band, or an input is an array that the reducer refuses: in
                the words that openforis/sepal's assetCollectionSchema.mjs quotes, of reducers that its
                docs/recipes/band-math.md lists.
        """
        arrays = [] if self.arrays or self.text in _TYPED_ARRAYS else [kind for kind in inputs if kind.dimensions]
        if arrays:
            raise InvalidError(f"Input to {self.text} must be a numeric scalar, not Type<{type_text(arrays[0])}>.")
        for spec in self.outputs:
            if spec.kind == "object":
                raise InvalidError(f"The output '{spec.name}' of the reducer is not a number, so no band can hold it.")
        return [spec.pixel_type(inputs) for spec in self.outputs]

    def column_types(self, inputs: Sequence[PixelType]) -> list[str]:
        """Return the types of columns that hold the outputs, as the service lists them.

        Those of groups are recorded in sepal-contrib/sepal_mgci@a1716f9 (notebooks/reduceRegions.ipynb), those of means
        in hibapoctep/Sentinel-2@b6c7361 (3-Colecciones de imagenes.ipynb).
        """
        names = {"groups": "List<Dictionary<Object>>"}
        return [
            names.get(spec.name, "Object") if spec.kind in ("object", "list") else type_text(spec.pixel_type(inputs))
            for spec in self.outputs
        ]

    def output_names(self, bands: Sequence[str], *, short: bool) -> list[str]:
        """Return names of the results over an image's bands.

        Args:
            bands: names of the inputs.
            short: name the only output of a one-input reducer after its band alone.
        """
        if self.inputs != 1:
            return list(self.names)
        if short and len(self.outputs) == 1:
            return list(bands)
        return [f"{band}_{name}" for band in bands for name in self.names]

    def check_inputs(self, count: int) -> None:
        """Check that the bands of an image can be reduced: one by one, or all together.

        Raises:
            InvalidError: if not.
        """
        if not count or self.inputs not in (1, count):
            raise InvalidError(f"Need {self.inputs} bands for {self.text}, image has {count}.")

    def groups(self, count: int) -> list[tuple[int, ...]]:
        """Return the bands of each call: each on its own for a reducer of one input, else all together."""
        if count:
            self.check_inputs(count)
        return [(index,) for index in range(count)] if self.inputs == 1 else [tuple(range(count))]


def _java_doubles() -> np.errstate:
    """Return arithmetic as of Java's doubles: what is too large is infinite, and has no warning; nor has inf - inf,
    NaN.
    """
    return np.errstate(over="ignore", invalid="ignore")


@dataclass(slots=True, eq=False)
class Accumulator:
    """State of a reduction that receives its samples block by block."""

    reducer: Reducer
    budget: int = _BUDGET
    _parts: list[Any] = field(default_factory=list)
    _held: int = 0

    def add(self, sample: ReducerSample) -> None:
        """Take another sample, of the same places, which follows those before.

        Raises:
            LimitError: if that would hold more than the budget.
        """
        if sample.arrays and not self.reducer.arrays:
            raise InvalidError("The reducer does not take arrays as inputs.")
        with _java_doubles():
            self._parts.append(self.reducer.summarise(sample))
            if self.reducer.compact:
                if len(self._parts) > 1:
                    self._parts = [self.reducer.merge(self._parts)]
                return
        self._held += sample.values.nbytes + sample.weights.nbytes + sample.inside.nbytes
        if self._held > self.budget:
            raise MemoryLimitError()

    def finish(self) -> list[Value]:
        """Return the results, as :meth:`Reducer.results` gives them; at least one sample must have been taken."""
        with _java_doubles():
            whole = self._parts[0] if len(self._parts) == 1 else self.reducer.merge(self._parts)
            return self.reducer.plain(list(self.reducer.finish(whole)))


def plain_value(output: Output, spec: OutputSpec) -> Value:
    """Return an output at one place as a plain value."""
    if not np.all(output.valid):
        return spec.empty
    value = output.values
    if spec.dimensions and spec.kind not in ("list", "object"):
        return Array(np.asarray(value))
    if isinstance(value, np.ndarray) and value.ndim and spec.kind == "same":
        return Array(value)
    if isinstance(value, np.ndarray):
        return value.item() if value.ndim == 0 else value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def plain_values(output: Output, spec: OutputSpec) -> list[Value]:
    """Return an output at places in a row as plain values."""
    valid = np.asarray(output.valid).tolist()
    if spec.dimensions or spec.kind == "object":
        return [plain_value(Output(output.values[place], there), spec) for place, there in enumerate(valid)]
    return [value if there else spec.empty for value, there in zip(output.values.tolist(), valid, strict=True)]


def scattered(size: int, parts: Sequence[tuple[npt.NDArray[np.intp], Output]]) -> Output:
    """Return outputs at some of so many places, by the positions of these, as one; there is none at the other
    places.
    """
    valid = np.zeros(size, dtype=bool)
    shapes = {np.shape(output.values)[np.ndim(output.valid) :] for _, output in parts} or {()}
    if len(shapes) > 1:
        raise InvalidError(f"Arrays must have one shape; found {' and '.join(map(str, sorted(shapes)))}.")
    dtype = np.result_type(*(output.values for _, output in parts)) if parts else np.float64
    values = np.zeros((size, *shapes.pop()), dtype=dtype)
    for places, output in parts:
        values[places], valid[places] = output.values, output.valid
    return Output(values, valid)


def boxed(value: Value) -> Values:
    """Return anything as an array of no dimensions that holds it."""
    box = np.empty((), dtype=object)
    box[()] = value
    return box


def directly(
    outputs: Sequence[OutputSpec],
    weighted: Sequence[bool],
    reduce: Callable[[ReducerSample], Sequence[Output]],
    *,
    arrays: bool = False,
) -> Reducer:
    """Return a reducer that needs all values at once."""
    return Reducer(tuple(outputs), tuple(weighted), lambda sample: sample, joined, reduce, arrays=arrays)


def by_name(reducer: Reducer, sample: ReducerSample) -> Mapping[str, Value]:
    """Return the results of a sample of one place, by the names of the outputs."""
    return dict(zip(reducer.names, reducer.results(sample), strict=True))


def numbers(values: Values) -> Values:
    """Return values as numbers.

    Raises:
        InvalidError: if some are not.
    """
    if values.dtype != object:
        return values.astype(np.uint8) if values.dtype == bool else values
    try:
        return np.array([0.0 if v is None else _number(v) for v in values.ravel()]).reshape(values.shape)
    except TypeError:
        raise InvalidError("Unable to use an object that is not a number as an input of the reducer.") from None


def _number(value: Value) -> float:
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, Date):
        return float(value.milliseconds)
    raise TypeError
