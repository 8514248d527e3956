"""Write HDF5: a file for each shard, with an array for each layer.

Arrays: ``<layer>`` (samples, bands, rows, columns), ``<layer>_valid`` (samples, rows, columns), a chunk for each
sample, compressed without loss; ``id`` and ``metadata`` (JSON). Files with several frames have the frames before
the bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.recipe.results import MASK_SUFFIX
from eechips.training.formats.arrays import (
    ID,
    METADATA,
    READ_AT_ONCE,
    attributes,
    check_layout,
    decoded,
    entries_of,
    valid_shape,
    weight,
)
from eechips.training.shard_index import PackEntry, PackLayout, Shard

SUFFIX = ".h5"
IS_DECODED = True
CLOSING = frozenset[str]()

# Without times, so that the same samples make the same bytes.
_OPTIONS: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "track_times": False}


def write(folder: Path, shard: Shard, layout: PackLayout, entries: Iterable[PackEntry]) -> None:
    """Write a shard.

    Raises:
        UsageError: if samples differ in shape or type, or h5py is missing.
    """
    h5py = _h5py()
    check_layout(layout)
    with h5py.File(folder / f"{shard.stem}{SUFFIX}", "w") as file:
        for name, layer in layout.items():
            assert layer.shape is not None
            valid = valid_shape(layer.shape)
            array = file.create_dataset(
                name, (shard.count, *layer.shape), layer.dtype, chunks=(1, *layer.shape), **_OPTIONS
            )
            array.attrs.update(attributes(layer))
            file.create_dataset(name + MASK_SUFFIX, (shard.count, *valid), "bool", chunks=(1, *valid), **_OPTIONS)
        texts = h5py.string_dtype()
        identifiers = file.create_dataset(ID, (shard.count,), texts, track_times=False)
        metadata = file.create_dataset(METADATA, (shard.count,), texts, track_times=False)
        for number, entry in enumerate(entries):
            identifiers[number], metadata[number] = entry.id, entry.metadata
            for name, layer in layout.items():
                pixels = decoded(entry, name, layer)
                file[name][number], file[name + MASK_SUFFIX][number] = pixels.values, pixels.valid


def ids(folder: Path, shard: Shard) -> list[str]:
    """Return the ids of the samples in a shard."""
    with _h5py().File(folder / f"{shard.stem}{SUFFIX}") as file:
        sample_ids: list[str] = file[ID].asstr()[:].tolist()
        return sample_ids


def read(folder: Path, shard: Shard) -> Iterator[PackEntry]:
    """Yield the samples of a shard."""
    with _h5py().File(folder / f"{shard.stem}{SUFFIX}") as file:
        layers = [name for name in file if name + MASK_SUFFIX in file]
        arrays = {name: file[name].asstr() if name in (ID, METADATA) else file[name] for name in file}
        for first in range(0, shard.count, READ_AT_ONCE):
            part = {name: array[first : first + READ_AT_ONCE] for name, array in arrays.items()}
            yield from entries_of(part, layers)


def finish(folder: Path, shards: Sequence[Shard], layout: PackLayout) -> None:
    """Do nothing: the shards are complete."""


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UsageError("HDF5 needs h5py: pip install 'eechips[pack]'") from error
    return h5py


__all__ = ["CLOSING", "IS_DECODED", "SUFFIX", "finish", "ids", "read", "weight", "write"]
