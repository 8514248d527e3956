"""``ee.Array``: ``get``, ``slice``, ``cat``, ``pad``, ``reshape``, ``transpose``, ``sort``, ``mask``, ``reduce``,
``accum``: shapes, positions and reductions along axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.context import Context
from eechips_local.functions.primitives.array_arithmetic import check_size
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import SUM, Reducer, ReducerSample
from eechips_local.values.values import Array

Numbers = npt.NDArray[Any]

_MOST_AXES = 32  # numpy's


def _axis(array: Array, axis: int, *, beyond: int = 0) -> int:
    """Return the axis, if the array has it (or could have it with ``beyond`` more)."""
    if not 0 <= axis < array.values.ndim + beyond:
        raise InvalidError(f"Axis {axis} is out of range for an array of {array.values.ndim} dimensions.")
    return axis


@function("Array.toList")
def to_list(array: Array) -> list[Any]:
    """Return the numbers as nested lists."""
    if not array.values.ndim:
        raise InvalidError("An array without dimensions cannot be turned into a list.")
    numbers: list[Any] = array.values.tolist()
    return numbers


@function("Array.length")
def length(array: Array) -> Array:
    """Return the length of each axis."""
    return Array(np.asarray(array.values.shape, dtype=np.int64))


def _check_position(array: Array, position: list[int], least: list[int]) -> None:
    shape = array.values.shape
    if len(position) != len(shape):
        raise InvalidError(f"The position must have {len(shape)} coordinates. Found {len(position)}.")
    if not all(low <= index < size for low, index, size in zip(least, position, shape, strict=True)):
        raise InvalidError(f"Position {position} is out of range for an array of shape {list(shape)}.")


@function("Array.get")
def get(array: Array, position: list[int]) -> int | float:
    """Return the number at a position; negative coordinates count from the end.

    So scripts take the last of sorted thresholds (``get([-1])`` in "Otsu's Method for Image Segmentation",
    https://medium.com/google-earth/otsus-method-for-image-segmentation-f5c48f405e).
    """
    _check_position(array, position, [-size for size in array.values.shape])
    number: int | float = array.values[tuple(position)].item()
    return number


@function("Array.cut")
def cut(array: Array, position: list[int]) -> Array:
    """Return the part at a position along each axis, or all of the axis for -1; the dimensions stay."""
    _check_position(array, position, [-1] * array.values.ndim)
    return Array(array.values[tuple(slice(None) if i < 0 else slice(i, i + 1) for i in position)])


@function("Array.slice")
def sliced(array: Array, axis: int, start: int, end: int | None, step: int) -> Array:
    """Return the positions from ``start`` to before ``end`` along an axis."""
    if step < 1:
        raise InvalidError(f"The step must be positive. Found {step}.")
    return Array(array.values[(slice(None),) * _axis(array, axis) + (slice(start, end, step),)])


def axis_of_keys(keys: Sequence[int], values: Sequence[int]) -> int | None:
    """Return the axis along which keys belong to values.

    One key belongs to the last axis in which the values have one element, too. The change maps of eMapR/LT-GEE and
    eMapR/lt-gee-py (``getChangeMap``) need this: what they leave of one segment, of shape (1, 1) or (8, 1), is masked
    by ``arrayProject([0])`` only if it has shape (1, 0) or (8, 0).

    Args:
        keys: shape of the keys; more than one element in one axis at most.
        values: shape of the values.

    Returns:
        The axis; None if there is none.
    """
    long = [axis for axis, size in enumerate(keys) if size != 1]
    fitting = [axis for axis, (one, other) in enumerate(zip(keys, values, strict=False)) if one == other]
    axes = [axis for axis in fitting if axis in (long or fitting)]
    return axes[-1] if axes and len(long) <= 1 and len(keys) == len(values) else None


@function("Array.mask")
def mask(input: Array, mask: Array) -> Array:
    """Return the positions at which a mask, which extends along one axis, is not zero."""
    values, flags = input.values, mask.values != 0
    axis = axis_of_keys(flags.shape, values.shape)
    if axis is None:
        raise InvalidError(
            "The mask must extend along one axis only, and as far as the array does. "
            f"Found {list(flags.shape)} for an array of shape {list(values.shape)}."
        )
    return Array(np.compress(flags.ravel(), values, axis=axis))


def concatenated(arrays: list[Array], axis: int) -> Array:
    """Return arrays one after the other along an axis, which may be one more than they have.

    Raises:
        InvalidError: if their dimensions differ elsewhere.
    """
    if not arrays:
        raise InvalidError("At least one array is needed.")
    if not 0 <= axis < _MOST_AXES:
        raise InvalidError(f"Axis {axis} is out of range.")
    parts = [a.values.reshape(a.values.shape + (1,) * (axis + 1 - a.values.ndim)) for a in arrays]
    shapes = {p.shape[:axis] + p.shape[axis + 1 :] for p in parts}
    if len({p.ndim for p in parts}) > 1 or len(shapes) > 1:
        listed_shapes = ", ".join(str(list(a.values.shape)) for a in arrays[:10])
        raise InvalidError(
            f"Arrays must have the same dimensionality and the same length on all axes but axis {axis}. Found"
            f" {listed_shapes}."
        )
    check_size(sum(p.size for p in parts))
    return Array(np.concatenate(parts, axis=axis))


@function("Array.cat")
def cat(arrays: list[Array], axis: int) -> Array:
    """Return arrays one after the other along an axis."""
    return concatenated(arrays, axis)


@function("Array.repeat")
def repeat(array: Array, axis: int, copies: int) -> Array:
    """Copy of the array, one after the other along an axis."""
    if copies < 0:
        raise InvalidError(f"The number of copies must not be negative. Found {copies}.")
    check_size(max(array.values.size, 1) * copies)
    if not 0 <= axis < _MOST_AXES:
        raise InvalidError(f"Axis {axis} is out of range.")
    values = array.values.reshape(array.values.shape + (1,) * (axis + 1 - array.values.ndim))
    copied = [1] * values.ndim
    copied[axis] = copies
    return Array(np.tile(values, copied))


@function("Array.pad")
def pad(array: Array, lengths: list[int], pad: float) -> Array:
    """Return the array extended to given lengths with one number."""
    values = array.values
    if len(lengths) < values.ndim or len(lengths) > _MOST_AXES:
        raise InvalidError(f"A length is needed for each of the {values.ndim} axes. Found {len(lengths)}.")
    values = values.reshape(values.shape + (1,) * (len(lengths) - values.ndim))
    shape: tuple[int, ...] = values.shape
    missing = [max(0, wanted - size) for wanted, size in zip(lengths, shape, strict=True)]
    check_size(math.prod(size + extra for size, extra in zip(shape, missing, strict=True)))
    if values.dtype.kind != "f" and (not float(pad).is_integer() or abs(pad) >= 2**63):
        values = values.astype(np.float64)
    return Array(np.pad(values, [(0, extra) for extra in missing], constant_values=pad))


@function("Array.reshape")
def reshape(array: Array, shape: Array) -> Array:
    """Return the same numbers in another shape."""
    if shape.values.ndim != 1 or shape.values.size > _MOST_AXES:
        raise InvalidError("The shape must be a one-dimensional array.")
    sizes = [int(size) for size in shape.values]
    if any(size < -1 for size in sizes) or sizes.count(-1) > 1:
        raise InvalidError(f"At most one component of the shape may be -1. Found {sizes}.")
    try:
        return Array(array.values.reshape(sizes))
    except ValueError as error:
        now = list(array.values.shape)  # the words of github.com/wouellette/ee-dynamic-time-warping/issues/4
        raise InvalidError(f"Shape incompatible with array's existing dimensions: {sizes} vs. {now}.") from error


@function("Array.project")
def project(array: Array, axes: list[int]) -> Array:
    """Return the array along some axes, in its own order; the others must be at most one long."""
    kept = sorted(_axis(array, axis) for axis in axes)
    if len(set(kept)) != len(kept):
        raise InvalidError(f"Axes must not be repeated. Found {axes}.")
    dropped = [axis for axis in range(array.values.ndim) if axis not in kept]
    if any(array.values.shape[axis] != 1 for axis in dropped):
        raise InvalidError(f"Dropped axes must be at most length 1. Found {list(array.values.shape)}.")
    sizes = [array.values.shape[axis] for axis in kept]
    return Array(array.values.transpose(kept + dropped).reshape(sizes))


@function("Array.transpose", "Array.matrixTranspose")
def transpose(array: Array, axis1: int, axis2: int) -> Array:
    """Return the array with two axes exchanged."""
    values = array.values
    missing = max(axis1, axis2) + 1 - values.ndim
    if min(axis1, axis2) < 0 or values.ndim + max(missing, 0) > _MOST_AXES:
        raise InvalidError(f"Axes {axis1} and {axis2} are out of range for an array of {values.ndim} dimensions.")
    return Array(np.swapaxes(values.reshape(values.shape + (1,) * max(missing, 0)), axis1, axis2))


@function("Array.sort")
def sort(array: Array, keys: Array | None) -> Array:
    """Return the array in ascending order of its numbers, or of keys along one axis; equal ones stay in their order."""
    order = array if keys is None else keys
    if sum(size != 1 for size in order.values.shape) > 1:
        raise InvalidError(f"Keys may only have several elements along one axis. Found {list(order.values.shape)}.")
    extra = array.values.ndim - order.values.ndim
    axis = axis_of_keys((*order.values.shape, *[1] * extra), array.values.shape)
    if axis is None:
        raise InvalidError(
            f"The keys must be as long as the array. Found {list(order.values.shape)} for {list(array.values.shape)}."
        )
    return Array(np.take(array.values, np.argsort(order.values.ravel(), kind="stable"), axis=axis))


@function("Array.argmax")
def argmax(array: Array) -> list[int] | None:
    """Return the position of the greatest number, the first of several; null where there are none."""
    if not array.values.size:
        return None
    numbers = array.values if array.values.dtype.kind != "f" else np.nan_to_num(array.values, nan=-np.inf)
    return [int(index) for index in np.unravel_index(int(np.argmax(numbers)), array.values.shape)]


def _reduced(reducer: Reducer, values: Numbers) -> list[Numbers]:
    """Return a reducer's outputs for values of shape (inputs, n, …)."""
    inside = np.ones(values.shape[1:], dtype=bool)
    outputs = reducer.apply(ReducerSample(values, inside.astype(np.float64), inside))
    for output in outputs:
        if not np.all(output.valid):
            raise InvalidError("The reducer gives no number for at least one position.")
    return [np.asarray(output.values) for output in outputs]


@function("Array.reduce")
def reduce(array: Array, reducer: Reducer, axes: list[int], fieldAxis: int | None) -> Array:
    """Return the array with axes collapsed to length 1 by a reducer."""
    reducer.check_numbers()
    over = sorted({_axis(array, axis) for axis in axes})
    field = None if fieldAxis is None else _axis(array, fieldAxis)
    if field is None and (reducer.inputs > 1 or len(reducer.names) > 1):
        raise InvalidError("A field axis must be specified for a reducer with several inputs or outputs.")
    if field in over:
        raise InvalidError(f"The field axis {field} cannot be reduced over.")
    if field is not None and array.values.shape[field] != reducer.inputs:
        raise InvalidError(
            f"The field axis must be as long as the reducer has inputs, {reducer.inputs}. "
            f"Found {array.values.shape[field]}."
        )
    values = array.values[None] if field is None else np.moveaxis(array.values, field, 0)
    rest_over = [axis if field is None or axis < field else axis - 1 for axis in over]
    kept = [axis for axis in range(values.ndim - 1) if axis not in rest_over]
    rest = values.shape[1:]
    values = values.transpose(0, *(a + 1 for a in rest_over), *(a + 1 for a in kept))
    values = values.reshape(len(values), -1, *(rest[a] for a in kept))
    shape = [1 if axis in rest_over else size for axis, size in enumerate(rest)]
    outputs = [output.reshape(shape) for output in _reduced(reducer, values)]
    return Array(outputs[0] if field is None else np.stack(outputs, axis=field))


@function("Array.accum")
def accum(context: Context, array: Array, axis: int, reducer: Reducer | None) -> Array:
    """Return the array with each number replaced by the reduction of those up to it along an axis."""
    reducer = reducer or SUM
    reducer.check_numbers()
    if reducer.inputs != 1 or len(reducer.names) != 1:
        raise InvalidError("The reducer must have one input and one output.")
    values = np.moveaxis(array.values, _axis(array, axis), 0)
    rows = []
    for end in range(1, len(values) + 1):
        context.check_time()
        rows.append(_reduced(reducer, values[None, :end])[0])
    if not rows:
        return array
    accumulated = np.stack(rows)
    whole = (
        array.values.dtype.kind != "f"
        and accumulated.dtype.kind == "f"
        and bool(np.all(accumulated == np.floor(accumulated)))
    )
    return Array(np.moveaxis(accumulated.astype(np.int64) if whole else accumulated, 0, axis))


@function("Array.dotProduct")
def dot_product(array1: Array, array2: Array) -> int | float:
    """Return the sum of the products of two one-dimensional arrays."""
    a, b = array1.values, array2.values
    if a.ndim != 1 or a.shape != b.shape:
        raise InvalidError(f"Both arrays must be 1-D and of one length. Found {list(a.shape)} and {list(b.shape)}.")
    both_whole = a.dtype.kind != "f" and b.dtype.kind != "f"
    wide = np.int64 if both_whole else np.float64
    number: int | float = np.dot(a.astype(wide), b.astype(wide)).item()
    return number
