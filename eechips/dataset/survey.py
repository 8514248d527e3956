"""What the samples of a pack have in common: layers, shapes, values of their fields."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.dataset.pixels import decode
from eechips.dataset.samples import PIXELS, SampleFile, Samples, values_of
from eechips.dataset.shards import MOST_VALUES, Layer, Layout, metadata_of
from eechips.errors import UsageError


class Survey:
    """What samples have in common.

    Args:
        samples: at least one.
        is_decoded: whether they become arrays.

    Raises:
        UsageError: if they are to become arrays, and cannot.
    """

    def __init__(self, samples: Samples, *, is_decoded: bool) -> None:
        self.samples, self.is_decoded = samples, is_decoded
        kinds: dict[str, Counter[_Kind]] = {}
        suffixes: dict[str, dict[str, None]] = {}
        values: dict[str, set[Any] | None] = {}
        for sample in samples:
            for file in sample.files:
                kinds.setdefault(file.label, Counter())[_kind(file)] += 1
                suffixes.setdefault(file.label, {})[file.suffix] = None
            for name, value in sample.fields.items():
                known = values.setdefault(name, set())
                if known is not None:
                    known.add(value)
                    values[name] = known if len(known) <= MOST_VALUES else None
        self.layout: Layout = {
            label: Layer(tuple(sorted(suffixes[label])), **_common(kinds[label])) for label in sorted(kinds)
        }
        self.fields = {name: values_of(known) for name, known in sorted(values.items()) if known is not None}
        if is_decoded:
            self._check_alike(kinds)
            self.layout = {label: self._shaped(label, layer) for label, layer in self.layout.items()}

    def measure(self, weight: Callable[[Sequence[int], int], int]) -> tuple[npt.NDArray[np.int64], list[bytes]]:
        """Bytes of every sample in a shard, and a digest of all that is packed of it."""
        arrays = [
            size
            for layer in self.layout.values()
            if layer.shape is not None and layer.dtype is not None
            for size in (int(np.prod(layer.shape)) * np.dtype(layer.dtype).itemsize, layer.shape[1] * layer.shape[2])
        ]
        weights, digests = [], []
        for sample in self.samples:
            text = metadata_of(sample).encode()
            sizes = arrays if self.is_decoded else [file.bytes for file in sample.files]
            weights.append(weight(sizes, len(text)))
            digests.append(hashlib.sha256(text).digest())
        return np.array(weights, dtype=np.int64), digests

    def _check_alike(self, kinds: Mapping[str, Counter[_Kind]]) -> None:
        for label, counts in kinds.items():
            if counts.total() != len(self.samples):
                missing = len(self.samples) - counts.total()
                of = f"{missing:,} of {len(self.samples):,} samples"
                raise UsageError(f"{of} have no {label}: arrays cannot leave them out; {_ELSE}")
            if len(counts) > 1:
                most = [f"{count:,} of {kind.words}" for kind, count in counts.most_common(3)]
                what = ", ".join([*most, "…"] if len(counts) > len(most) else most)
                raise UsageError(f"chips of {label} differ, and one array cannot hold them: {what}; {_ELSE}")
        for label, layer in self.layout.items():
            others = [suffix for suffix in layer.suffixes if suffix not in PIXELS]
            if others:
                raise UsageError(f"{label} is {others[0]}, which has no pixels: an array cannot hold it; {_ELSE}")

    def _shaped(self, label: str, layer: Layer) -> Layer:
        """A layer with the shape that its first file has: what is known of files does not always say how many bands."""
        [file] = (file for file in self.samples[0].files if file.label == label)
        pixels = decode(self.samples.store.read(file.name), file.suffix)
        bands, height, width = pixels.values.shape
        return replace(layer, dtype=pixels.values.dtype.name, shape=(bands, height, width))


_ELSE = "--to webdataset, tfrecord or parquet hold files as they are"


@dataclass(frozen=True, slots=True)
class _Kind:
    """What makes files of a layer alike: types and sizes."""

    bands: tuple[str, ...] | None
    dtype: str | None
    width: int | None
    height: int | None

    @property
    def words(self) -> str:
        count = f"{len(self.bands)}x" if self.bands is not None else ""
        return f"{count}{self.height}x{self.width} {self.dtype}"


def _kind(file: SampleFile) -> _Kind:
    return _Kind(file.bands, file.dtype, file.width, file.height)


def _common(kinds: Mapping[_Kind, int]) -> dict[str, Any]:
    bands, dtypes = {kind.bands for kind in kinds}, {kind.dtype for kind in kinds}
    return {"bands": bands.pop() if len(bands) == 1 else None, "dtype": dtypes.pop() if len(dtypes) == 1 else None}
