"""Check, weigh and decode the arrays of samples for the array formats, Zarr and HDF5."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from eechips.errors import UsageError
from eechips.recipe.results import MASK_SUFFIX
from eechips.training.packs.shard_index import FileContent, PackEntry, PackLayer, PackLayout
from eechips.training.quality.chip_pixels import ChipPixels, FramePixels, with_times

_T = TypeVar("_T")

ID, METADATA = "id", "metadata"

READ_AT_ONCE = 16
"""Samples that are written at a time: each write has a cost, and their pixels stay in memory."""

_OF_SAMPLE = 4_000  # id, and what is kept around chunks


def check_layout(layout: PackLayout) -> None:
    """Raise UsageError if two arrays would have one name."""
    names = [ID, METADATA, *layout, *(layer + MASK_SUFFIX for layer in layout)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"a layer cannot be called {twice[0]} here: the name is taken by another array")


def decoded(entry: PackEntry, name: str, layer: PackLayer) -> ChipPixels | FramePixels:
    """Return the pixels of a layer, which must have the shape and dtype of the other samples.

    Raises:
        UsageError: if they are not.
    """
    pixels = entry.layers[name]
    assert not isinstance(pixels, FileContent)
    if pixels.values.shape != layer.shape or pixels.values.dtype.name != layer.dtype:
        form = f"{pixels.values.shape} of {pixels.values.dtype.name}"
        file = entry.parsed_metadata["layers"][name]["file"]
        raise UsageError(f"{file} has {form} where others have {layer.shape} of {layer.dtype}: arrays cannot hold both")
    return pixels


def entries_of(arrays: Mapping[str, Any], layers: Sequence[str]) -> Iterator[PackEntry]:
    """Yield the samples of some rows of all arrays."""
    for number, (identifier, text) in enumerate(zip(arrays[ID], arrays[METADATA], strict=True)):
        facts = json.loads(str(text))["layers"]
        pixels: dict[str, ChipPixels | FramePixels] = {}
        for name in layers:
            values, valid = arrays[name][number], arrays[name + MASK_SUFFIX][number]
            frames = facts[name].get("frames", ())
            pixels[name] = with_times(values, valid, frames) if frames else ChipPixels(values, valid)
        yield PackEntry(str(identifier), str(text), pixels)


def valid_shape(shape: tuple[_T, ...]) -> tuple[_T, ...]:
    """Return the shape of the valid pixels of a sample, or its dimensions: those of its values, without the bands."""
    return (*shape[:-3], *shape[-2:])


def weight(sizes: Sequence[int], metadata: int) -> int:
    """Return the maximum bytes of a sample, before compression."""
    return sum(sizes) + metadata + _OF_SAMPLE


def attributes(layer: PackLayer) -> dict[str, Any]:
    """Return the attributes of the array of a layer."""
    return {"bands": list(layer.bands)} if layer.bands is not None else {}
