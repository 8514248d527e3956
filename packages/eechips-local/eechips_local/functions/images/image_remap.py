"""``Image.remap`` and ``interpolate``: values replaced by tables, and piecewise linear functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.images.image_bands import choose
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels
from eechips_local.pixels.pixelwise_rasters import PixelFunction, both, mapped
from eechips_local.pixels.types import DOUBLE, Numbers, ranged, union_type
from eechips_local.protocol.request_errors import InvalidError, check_choice
from eechips_local.values.ragged_arrays import by_shape
from eechips_local.values.values import Array


def _numbers(values: Sequence[Any], name: str) -> Numbers:
    """Return a list of numbers as an array: integers if all are.

    Raises:
        InvalidError: in the words of https://github.com/openforis/pysepal/issues/246.
    """
    for position, value in enumerate(values):
        if not isinstance(value, (bool, int, float)):
            raise InvalidError(
                f"Unrecognized type in '{name}' list at position {position}: expected a number or array, found"
                f" Type<{type_name(value)}>."
            )
    whole = all(isinstance(v, int) and -(2**63) <= v < 2**63 for v in values)
    return np.asarray(list(values), dtype=np.int64 if whole else np.float64)


def _first_band(image: Image, name: str | None) -> ImageBand:
    if not image.bands:
        raise InvalidError("Image has no bands.")
    if name is None:
        return image.bands[0]
    chosen = choose(image, [name])
    if len(chosen) != 1:
        raise InvalidError(f"'{name}' matches {len(chosen)} bands; one is needed.")
    return chosen[0]


def _type_of(values: Numbers) -> PixelType:
    kind = PixelType("int") if values.dtype.kind == "i" else DOUBLE
    return ranged(kind, [v.item() for v in values])


@function("Image.remap")
def remap(image: Image, from_: list[Any], to: list[Any] | Array, defaultValue: Any, bandName: str | None) -> Image:
    """Return one band, renamed "remapped", with values replaced by others; those not listed get the default, or are
    masked.
    """
    band = _first_band(image, bandName)
    if not from_:
        raise InvalidError("List of values to remap must not be empty.")
    listed: dict[str, list[Any]] = {"from": from_, "to": list(to)}  # type: ignore[arg-type]
    listed["defaultValue"] = [] if defaultValue is None else [defaultValue]
    if any(isinstance(value, Array) for values in listed.values() for value in values):
        kind, look_up = _array_table(*(_arrays(values, name) for name, values in listed.items()))
        return image.with_bands([replace(mapped([band], look_up, lambda _: kind)[0], name="remapped")])
    source, target = _numbers(from_, "from"), _numbers(to, "to")  # type: ignore[arg-type]
    _check_lengths(source, target)
    # Where a value is listed twice the last counts.
    order = np.argsort(source, kind="stable")
    keys, results = source[order], target[order]
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, dtype=bool)
    keys, results = keys[last], results[last]
    kind = _type_of(results)
    default = None
    if defaultValue is not None:
        default = _numbers([defaultValue], "defaultValue")
        kind = union_type(kind, _type_of(default)) if len(keys) else _type_of(default)
    look_up = _looked_up(keys, results.astype(_wide(kind)), None if default is None else default.astype(_wide(kind))[0])
    (remapped,) = mapped([band], look_up, lambda _: kind)
    return image.with_bands([replace(remapped, name="remapped")])


def _check_lengths(source: Sequence[Any] | Numbers, target: Sequence[Any] | Numbers) -> None:
    if len(source) != len(target):
        raise InvalidError(
            f"The lists 'from' and 'to' must have the same number of values; found {len(source)} and {len(target)}."
        )


def _arrays(values: Sequence[Any], name: str) -> list[Numbers]:
    _numbers([0 if isinstance(value, Array) else value for value in values], name)
    return [value.values if isinstance(value, Array) else np.asarray(value) for value in values]


def _array_table(
    source: list[Numbers], target: list[Numbers], default: list[Numbers]
) -> tuple[PixelType, PixelFunction]:
    """Return the type and function of a table with arrays ("numbers or ee.Array", as Google documents both lists)."""
    _check_lengths(source, target)
    results = [*target, *(default or target[:1])]  # the last for pixels that are not listed
    if len({result.shape for result in results}) > 1:
        raise InvalidError("The arrays in 'to', and 'defaultValue', must have the same shape.")
    table = np.stack(results)
    kind = replace(_type_of(table.ravel()), dimensions=table.ndim - 1)

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        values, mask = pixels[0].values, pixels[0].mask
        index = np.full(mask.shape, -1, dtype=np.intp)
        for position, key in enumerate(source):
            if key.shape == values.shape[2:]:
                index[(values == key).reshape(*mask.shape, -1).all(axis=2)] = position
        return Pixels(table[index], mask if default else both(mask, index >= 0))

    return kind, by_shape(pixel)


def _wide(kind: PixelType) -> Any:
    return np.int64 if kind.precision == "int" else np.float64


def _looked_up(keys: Numbers, results: Numbers, default: Any) -> PixelFunction:
    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        values, mask = pixels[0].values, pixels[0].mask
        if values.ndim > 2:
            raise InvalidError("Array images cannot be remapped.")
        if not len(keys):
            index, known = np.zeros(values.shape, dtype=np.intp), np.zeros(values.shape, dtype=bool)
        else:
            index = np.searchsorted(keys, values).clip(0, len(keys) - 1)
            known = keys[index] == values
        replaced = results[index] if len(keys) else np.zeros(values.shape, dtype=results.dtype)
        if default is None:
            return Pixels(replaced, both(mask, known))
        return Pixels(np.where(known, replaced, default), mask)

    return pixel


@function("Image.interpolate")
def interpolate(image: Image, x: list[float], y: list[float], behavior: str) -> Image:
    """Return values of the first band in the piecewise linear function through given points."""
    if len(x) != len(y):
        raise InvalidError(f"The lists 'x' and 'y' must be of the same length; found {len(x)} and {len(y)}.")
    if len(x) < 2:
        raise InvalidError("At least two points are needed to interpolate.")
    knots, levels = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not (np.diff(knots) > 0).all():
        raise InvalidError("The x values must be strictly increasing.")
    check_choice("behavior", behavior, ("extrapolate", "clamp", "mask", "input"))

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        values = pixels[0].values.astype(np.float64)
        index = np.searchsorted(knots, values, side="right").clip(1, len(knots) - 1)
        slope = (levels[index] - levels[index - 1]) / (knots[index] - knots[index - 1])
        line = levels[index - 1] + slope * (values - knots[index - 1])
        outside = (values < knots[0]) | (values > knots[-1])
        if behavior == "clamp":
            return Pixels(np.where(outside, np.interp(values, knots, levels), line), pixels[0].mask)
        if behavior == "input":
            return Pixels(np.where(outside, values, line), pixels[0].mask)
        return Pixels(line, both(pixels[0].mask, ~outside) if behavior == "mask" else pixels[0].mask)

    return image.with_bands(mapped(image.bands[:1], pixel, lambda _: DOUBLE))
