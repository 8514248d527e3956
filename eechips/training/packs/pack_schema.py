"""Derive the schema of a pack from its samples: layers, shapes, values of fields; refuse chips that one array cannot
hold.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.datasets.result_bands import cf_units
from eechips.errors import UsageError
from eechips.formats import chip_suffixes
from eechips.text.progress_bar import progress_bar
from eechips.training.packs.shard_index import MOST_VALUES, PackLayer, PackLayout, metadata_of
from eechips.training.quality.chip_pixels import decode_file
from eechips.training.sample_reader import Samples, values_of


class PackSchema:
    """The common schema of samples, and the size of each.

    Attributes:
        layout: the layers.
        fields: the values that fields of the units have, as far as they are few.
        digests: digests of all that is packed of each sample.

    Raises:
        UsageError: if they are to become arrays, and cannot.
    """

    def __init__(self, samples: Samples, *, is_decoded: bool, quiet: bool) -> None:
        self.samples = samples
        self.digests: list[bytes] = []
        kinds: dict[str, Counter[_Kind]] = {}
        suffixes: dict[str, set[str]] = {}
        values: dict[str, set[Any] | None] = {}
        sizes: list[tuple[int, ...]] = []
        with progress_bar(len(samples), "samples", quiet=quiet, label="listing", is_kept=False) as bar:
            for sample in samples:
                text = metadata_of(sample).encode()
                self.digests.append(hashlib.sha256(text).digest())
                sizes.append((len(text), *(file.bytes for file in sample.files)))
                for file in sample.files:
                    kind = _Kind(file.bands, file.dtype, file.width, file.height, len(file.frames))
                    kinds.setdefault(file.label, Counter())[kind] += 1
                    suffixes.setdefault(file.label, set()).add(file.suffix)
                _add(values, sample.fields)
                bar.update(1)
        units = _band_units(samples.run.info.get("bands") or ())
        layout = {
            label: PackLayer(
                tuple(sorted(suffixes[label])), **_common(kinds[label]), units=_of_bands(kinds[label], units)
            )
            for label in sorted(kinds)
        }
        if is_decoded:
            self._check_alike(layout, kinds)
            layout = {label: self._shaped(label, layer) for label, layer in layout.items()}
            sizes = [(metadata, *_array_bytes(layout)) for metadata, *_ in sizes]
        self.layout: PackLayout = layout
        self.fields = {name: values_of(known) for name, known in sorted(values.items()) if known is not None}
        self._sizes = sizes

    def weigh(self, weight: Callable[[Sequence[int], int], int]) -> npt.NDArray[np.int64]:
        """Return the bytes of each sample in a shard, by the function of a format."""
        return np.array([weight(sizes, metadata) for metadata, *sizes in self._sizes], dtype=np.int64)

    def _check_alike(self, layout: PackLayout, kinds: Mapping[str, Counter[_Kind]]) -> None:
        for label, counts in kinds.items():
            if counts.total() != len(self.samples):
                missing = len(self.samples) - counts.total()
                of = f"{missing:,} of {len(self.samples):,} samples"
                raise UsageError(f"{of} have no {label}: arrays need them; {_CUBES}, {_ELSE}")
            if len(counts) > 1:
                most = [f"{count:,} of {kind.words}" for kind, count in counts.most_common(3)]
                what = ", ".join([*most, "…"] if len(counts) > len(most) else most)
                raise UsageError(f"chips of {label} differ, and one array cannot hold them: {what}; {_CUBES}, {_ELSE}")
        for label, layer in layout.items():
            others = [suffix for suffix in layer.suffixes if suffix not in chip_suffixes()]
            if others:
                raise UsageError(f"{label} is {others[0]}, which has no pixels: an array cannot hold it; {_ELSE}")

    def _shaped(self, label: str, layer: PackLayer) -> PackLayer:
        """Return a layer with the shape of its first file, as the manifest may lack the number of bands."""
        [file] = (file for file in self.samples[0].files if file.label == label)
        pixels = decode_file(self.samples.read(file), file.suffix, file.frames)
        return replace(layer, dtype=pixels.values.dtype.name, shape=pixels.values.shape)


def _add(values: dict[str, set[Any] | None], fields: Mapping[str, Any]) -> None:
    """Add the fields of a unit to the known values of each field; None for fields with too many values."""
    for name, value in fields.items():
        known = values.setdefault(name, set())
        if known is not None:
            known.add(value)
            if len(known) > MOST_VALUES:
                values[name] = None


def _array_bytes(layout: PackLayout) -> tuple[int, ...]:
    """Return the bytes of the pixels and of the mask of a sample, for each layer."""
    sizes = []
    for layer in layout.values():
        assert layer.shape is not None
        count = math.prod(layer.shape)
        sizes += [count * np.dtype(layer.dtype).itemsize, count // layer.shape[-3]]
    return tuple(sizes)


_CUBES = "--to geozarr has arrays for each sample"
_ELSE = "--to webdataset, tfrecord or parquet hold files as they are"


@dataclass(frozen=True, slots=True)
class _Kind:
    """The types and sizes in which files of a layer must agree."""

    bands: tuple[str, ...] | None
    dtype: str | None
    width: int | None
    height: int | None
    frames: int

    @property
    def words(self) -> str:
        count = f"{len(self.bands)}x" if self.bands is not None else ""
        count = f"{self.frames}x{count}" if self.frames else count
        return f"{count}{self.height}x{self.width} {self.dtype}"


def _band_units(bands: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the units of bands by name, without bands whose units differ between datasets."""
    known: dict[str, set[str]] = {}
    for band in bands:
        known.setdefault(str(band.get("band")), set()).add(cf_units(band))
    return {name: units.pop() for name, units in known.items() if len(units) == 1 and "" not in units}


def _of_bands(kinds: Iterable[_Kind], units: Mapping[str, str]) -> dict[str, str]:
    """Return the units of the bands of a layer, as far as they are known."""
    names = dict.fromkeys(name for kind in kinds for name in kind.bands or ())
    return {name: units[name] for name in names if name in units}


def _common(kinds: Mapping[_Kind, int]) -> dict[str, Any]:
    bands, dtypes = {kind.bands for kind in kinds}, {kind.dtype for kind in kinds}
    return {"bands": bands.pop() if len(bands) == 1 else None, "dtype": dtypes.pop() if len(dtypes) == 1 else None}
