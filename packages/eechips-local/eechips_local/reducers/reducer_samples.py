"""Define the samples that reducers take: values, weights and flags at each place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.values.values import Array, Value

Values = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SampleColumn:
    """One input of a sample: n values at each place.

    Attributes:
        values: shape (n, \\*places), or (n, \\*places, \\*array) where each value is an array.
        weights: shape (n, \\*places): mask times, or at most, the part of the pixel that lies in the region.
        inside: shape (n, \\*places): the value is no null and, of a pixel, its centre lies in the region.
        present: shape (n, \\*places): there is an input, though it may be null.
    """

    values: Values
    weights: Weights
    inside: Flags
    present: Flags


@dataclass(frozen=True, slots=True, eq=False)
class ReducerSample:
    """Input of a reducer: n values of each input at each place.

    Attributes:
        values: shape (inputs, n, \\*places[, \\*array]); of dtype object where they are not all numbers.
        weights: shape (n, \\*places), or (inputs, n, \\*places) where inputs have weights of their own.
        inside: likewise; which values an unweighted reducer takes. See :class:`SampleColumn`.
        present: shape (n, \\*places): where there is an input at all. None: where one is inside.
        arrays: dimensions of each value: 0 for numbers.
        pixels: shape (n, \\*places): pixels whose centre is in the region, masked or not. None: no region.
        counts_nulls: the reducer is made unweighted, and counts masked pixels if it counts nulls.
        whole: for each input, whether its values are whole numbers that only have the type of the other inputs. Empty:
            the type says so.
    """

    values: Values
    weights: Weights
    inside: Flags
    present: Flags | None = None
    arrays: int = 0
    pixels: Flags | None = None
    counts_nulls: bool = False
    whole: tuple[bool, ...] = ()

    def column(self, index: int) -> SampleColumn:
        """Return one of the inputs."""
        values = self.values[index]
        if self.whole and self.whole[index]:
            values = values.astype(np.int64)
        own = self.weights.ndim == self.values.ndim - self.arrays
        weights = self.weights[index] if own else self.weights
        inside = self.inside[index] if self.inside.ndim == self.values.ndim - self.arrays else self.inside
        return SampleColumn(values, weights, inside, inside if self.present is None else self.present)

    def null_counts(self) -> npt.NDArray[np.int64]:
        """Return how many masked pixels count at each place."""
        column = self.column(0)
        if self.pixels is None or not self.counts_nulls:
            return np.zeros(column.inside.shape[1:], dtype=np.int64)
        return np.asarray((self.pixels & ~column.inside).sum(axis=0))

    def columns(self) -> list[SampleColumn]:
        """Return all inputs."""
        return [self.column(index) for index in range(len(self.values))]

    def select(self, inputs: Sequence[int]) -> ReducerSample:
        """Return some of the inputs."""
        columns = [self.column(index) for index in inputs]
        values, whole = stacked([c.values for c in columns]) if columns else (self.values[:0], ())
        return replace(
            self,
            values=values,
            weights=np.stack([c.weights for c in columns]) if columns else self.weights[:0],
            inside=np.stack([c.inside for c in columns]) if columns else self.inside[:0],
            whole=whole,
        )

    def tuples(self) -> tuple[Weights, Flags]:
        """Return weights and flags of the inputs taken together: the least weight, and where none is null."""
        columns = self.columns()
        weights, inside = columns[0].weights, columns[0].inside
        for column in columns[1:]:
            weights, inside = np.minimum(weights, column.weights), inside & column.inside
        return weights, inside


def stacked(inputs: Sequence[Values]) -> tuple[Values, tuple[bool, ...]]:
    """Return the values of inputs together, and which are whole numbers where others are not: see `ReducerSample`."""
    values = np.stack(inputs)
    if values.dtype.kind != "f":
        return values, ()
    whole = tuple(part.dtype.kind in "biu" for part in inputs)
    return values, whole if any(whole) else ()


def sample_of(rows: Sequence[Sequence[Value]], weights: Sequence[Sequence[Value]] | None = None) -> ReducerSample:
    """Return a sample of one place, of plain values.

    Args:
        rows: for each input, its values; nulls among them.
        weights: for each input, a weight for each of its values, null for none; or None: all 1.
    """
    columns = [_packed(row) for row in rows]
    arrays = {values.ndim - 1 for values, _ in columns if values.dtype != object}
    if len({values.shape[1:] for values, _ in columns}) > 1 or len(arrays) > 1:
        columns = [_packed(row, plain=False) for row in rows]
    objects = any(v.dtype == object for v, _ in columns)
    inside = np.stack([flags for _, flags in columns])
    counted = inside.astype(np.float64)
    if weights is not None:
        counted *= [[0.0 if w is None else float(w) for w in row] for row in weights]
    values, whole = stacked([v.astype(object) if objects else v for v, _ in columns])
    present = np.ones(inside.shape[1:], dtype=bool)
    return ReducerSample(values, counted, inside, present, values.ndim - 2, whole=whole)


def _packed(row: Sequence[Value], *, plain: bool = True) -> tuple[Values, Flags]:
    """Return values and where they are not null: numbers or equal arrays packed, else objects."""
    inside = np.fromiter((v is not None for v in row), dtype=bool, count=len(row))
    held = [v for v in row if v is not None]
    if plain and all(isinstance(v, (bool, int, float)) for v in held):
        whole = all(isinstance(v, int) and abs(v) < 2**53 for v in held)
        numbers = [0 if v is None else v for v in row]
        return np.asarray(numbers, dtype=np.int64 if whole and held else np.float64), inside
    if plain and all(isinstance(v, Array) for v in held) and len({v.values.shape for v in held}) == 1:
        filler = np.zeros_like(held[0].values)
        return np.stack([filler if v is None else v.values for v in row]), inside
    values = np.empty(len(row), dtype=object)
    values[:] = row
    return values, inside


def flat_places(part: Values, lead: int) -> Values:
    """Return an array with the axes behind the first ``lead`` made one, though it may be empty."""
    return part.reshape(*part.shape[:lead], math.prod(part.shape[lead:]))


def joined(samples: Sequence[ReducerSample]) -> ReducerSample:
    """Return samples that follow each other as one."""
    if len(samples) == 1:
        return samples[0]
    first = samples[0]
    own = first.weights.ndim == first.values.ndim - first.arrays
    axis = 1 if own else 0
    flags_axis = 1 if first.inside.ndim == first.values.ndim - first.arrays else 0
    present = None
    if first.present is not None:
        present = np.concatenate([s.present for s in samples if s.present is not None])
    return ReducerSample(
        np.concatenate([s.values for s in samples], axis=1),
        np.concatenate([s.weights for s in samples], axis=axis),
        np.concatenate([s.inside for s in samples], axis=flags_axis),
        present,
        first.arrays,
        whole=first.whole if all(s.whole == first.whole for s in samples) else (),
    )
