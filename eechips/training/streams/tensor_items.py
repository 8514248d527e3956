"""Convert samples to items of PyTorch datasets: labels as numbers, types that PyTorch lacks, values of
masked pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from eechips.errors import UsageError
from eechips.training.quality.chip_pixels import ChipPixels, FramePixels, decode_file, seconds_of, stack_frames
from eechips.training.sample import Sample, SampleFile
from eechips.training.sample_reader import values_of

Item = dict[str, Any]
Transform = Callable[[Item], Any]
Types: TypeAlias = "torch.dtype | Mapping[str, torch.dtype] | None"

LABEL = "label"
TIMES = "_times"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?")
_OTHERS = ("id", "crs", "transform", "bounds")
"""Further keys of items."""

# Types that PyTorch computes with; it has no arithmetic for larger unsigned types.
_HELD_BY = {"uint16": torch.int32, "uint32": torch.int64}


@dataclass(frozen=True)
class LabelValues:
    """What the values of a label become.

    Attributes:
        classes: values by number; empty if they have fractions.
        numbers: numbers that are texts, as in units of a CSV file, by text.
    """

    classes: tuple[Any, ...] = ()
    numbers: Mapping[str, int | float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorItems:
    """Convert samples to items.

    Attributes:
        label: field of the units; None for none.
        labels: classes of the label, and numbers of its texts.
        dtype: data type of the pixels, or by layer; None for that of the file.
        fill: value of masked pixels; None to keep those of the file.
        transform: called with each item by the dataset; None for none.
    """

    layers: tuple[str, ...]
    label: str | None
    labels: LabelValues
    dtype: Types
    fill: float | None
    transform: Transform | None

    def of_sample(self, sample: Sample, read: Callable[[SampleFile], bytes], target: torch.Tensor | None) -> Item:
        """Return the item of a sample of a run, not transformed yet."""
        wanted = [file for file in sample.files if file.array in self.layers]
        pixels = {file.label: decode_file(read(file), file.suffix, file.frames) for file in wanted}
        grids = {file.array: (file.crs, file.transform) for file in wanted}
        frames = {
            file.label: (file.array, file.frame, seconds_of(next(iter(file.dates), None) or file.start))
            for file in wanted
            if file.frame is not None
        }
        return self.make(sample.id, join_frames(pixels, frames), grids, target)

    def make(
        self,
        identifier: str,
        pixels: Mapping[str, ChipPixels | FramePixels],
        grids: Mapping[str, tuple[str | None, Sequence[float] | None]],
        target: torch.Tensor | None,
    ) -> Item:
        """Return an item that is not transformed yet."""
        item: Item = {}
        for layer, layer_pixels in pixels.items():
            item[layer] = self._tensor(layer, layer_pixels)
            item[f"{layer}_valid"] = torch.from_numpy(np.ascontiguousarray(layer_pixels.valid))
            if isinstance(layer_pixels, FramePixels):
                item[layer + TIMES] = torch.from_numpy(layer_pixels.times)
        if target is not None:
            item[LABEL] = target
        item["id"] = identifier
        for layer, (crs, transform) in grids.items():
            if crs is not None and transform is not None:
                *_, height, width = pixels[layer].values.shape
                item["crs"] = crs
                item["transform"] = torch.tensor(transform, dtype=torch.float64)
                item["bounds"] = torch.tensor(_bounds(transform, width, height), dtype=torch.float64)
                break
        return item

    def targets(self, values: Sequence[Any]) -> torch.Tensor:
        """Convert labels to a tensor.

        Raises:
            UsageError: if a sample has no label, or a label that is not a class.
        """
        known, numbers = self.labels.classes, self.labels.numbers
        values = [numbers.get(value, value) if isinstance(value, str) else value for value in values]
        missing = sum(value is None for value in values)
        if missing:
            raise UsageError(
                f"{missing:,} of {len(values):,} samples have no field '{self.label}': choose a label that all have"
            )
        if not known:
            if any(isinstance(value, str) for value in values):
                raise UsageError(f"'{self.label}' has too many values to be listed in the pack: give classes=")
            return torch.tensor(values, dtype=torch.float32)
        indices = {value: index for index, value in enumerate(known)}
        others = [value for value in values if value not in indices]
        if others:
            raise UsageError(f"'{self.label}' is {others[0]!r} in a sample, which is none of the classes")
        return torch.tensor([indices[value] for value in values], dtype=torch.int64)

    def _tensor(self, layer: str, pixels: ChipPixels | FramePixels) -> torch.Tensor:
        values = pixels.values
        if self.fill is not None:
            values = np.where(np.expand_dims(pixels.valid, -3), values, np.asarray(self.fill, dtype=values.dtype))
        if values.dtype.name == "uint64":
            raise UsageError(f"PyTorch has no type that holds uint64, which {layer} is")
        wanted = self.dtype.get(layer) if isinstance(self.dtype, Mapping) else self.dtype
        held = _HELD_BY.get(values.dtype.name)
        if held is not None:
            values = values.astype(np.int64 if held is torch.int64 else np.int32)
        # PyTorch shares the memory of contiguous, writable arrays in native byte order.
        values = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C", "W"])
        tensor = torch.from_numpy(values)
        return tensor if wanted is None else tensor.to(wanted)


def join_frames(
    pixels: Mapping[str, ChipPixels | FramePixels], frames: Mapping[str, tuple[str, int, float]]
) -> dict[str, ChipPixels | FramePixels]:
    """Join frames to one layer each.

    Args:
        pixels: pixels of the files by layer.
        frames: frames of files that are frames: name of the joined layer, number of the frame, and its time.
    """
    joined: dict[str, ChipPixels | FramePixels] = {layer: part for layer, part in pixels.items() if layer not in frames}
    series: dict[str, list[tuple[int, str, float]]] = {}
    for layer, (name, number, time) in frames.items():
        series.setdefault(name, []).append((number, layer, time))
    for name, part in series.items():
        part.sort()
        chips = [chip for _, layer, _ in part if isinstance(chip := pixels[layer], ChipPixels)]
        joined[name] = stack_frames(chips, [time for *_, time in part])
    return joined


def _bounds(transform: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    a, b, c, d, e, f = transform
    corners = [(a * i + b * j + c, d * i + e * j + f) for i in (0, width) for j in (0, height)]
    across, up = zip(*corners, strict=True)
    return min(across), min(up), max(across), max(up)


def check_layers(layers: Sequence[str] | None, there: tuple[str, ...], label: str | None) -> tuple[str, ...]:
    """Check the names of layers, and return them; all layers for None."""
    wanted = there if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
    for name in wanted:
        if name not in there:
            raise UsageError(f"there is no layer '{name}': there are {', '.join(there)}")
        if name in _OTHERS or (name == LABEL and label is not None):
            others = ", ".join(repr(other) for other in wanted if other != name) or "…"
            raise UsageError(
                f"items have '{name}' of their own, so that a layer of that name cannot be loaded: give"
                f" layers=[{others}], or fetch it by another name"
            )
    return wanted


def label_values(classes: Sequence[Any] | None, there: Iterable[Any]) -> LabelValues:
    """Return the classes of a label, in the order of their indices, and the numbers that its texts are.

    Args:
        classes: those that the user gives; None for all values.
        there: values of the label, of all units. Units of a CSV file have texts, also in a column of numbers.
    """
    values = values_of(there)
    if classes is not None and any(isinstance(value, str) for value in classes):
        return LabelValues(tuple(classes))
    numbers = _numbers(values)
    if classes is not None:
        return LabelValues(tuple(classes), {**numbers, **{str(value): value for value in classes}})
    known = values_of(numbers.values()) if numbers else values
    return LabelValues(() if any(isinstance(value, float) for value in known) else known, numbers)


def _numbers(values: Sequence[Any]) -> dict[str, int | float | None]:
    """Return the numbers of texts, and None for empty ones; nothing unless all are numbers, each another one."""
    if not all(isinstance(value, str) and (_NUMBER.fullmatch(value) or not value.strip()) for value in values):
        return {}
    numbers = {text: _number(text) if text.strip() else None for text in values}
    known = [number for number in numbers.values() if number is not None]
    is_exact = len(set(known)) == len(known) and all(map(math.isfinite, known))
    return numbers if known and is_exact else {}


def _number(text: str) -> int | float:
    if text.lstrip("-").isdigit():
        return int(text)
    number = float(text)
    return int(number) if number.is_integer() else number
