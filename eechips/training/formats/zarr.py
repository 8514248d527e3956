"""Write Zarr 3 with sharding: a group for each split, with an array for each layer.

Arrays of ``<split>.zarr``: ``<layer>`` (samples, bands, rows, columns), ``<layer>_valid`` (samples, rows, columns), a
chunk for each sample; ``id`` and ``metadata`` (JSON). Files with several frames have the axis ``time`` before the
bands. The dimensions of several layers are named so that xarray opens them together: see :func:`dimensions`.

A shard of samples is a file of each array
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html). What says that the arrays are
there, ``zarr.json``, comes when all shards are: a pack that is not whole has no array with holes. That of the group has
what those of its arrays say (consolidated metadata), so that a store is opened by one request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eechips.errors import UsageError
from eechips.extras import import_extra
from eechips.processes.warning_filters import ignore_warning
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
from eechips.training.packs.shard_index import PackEntry, PackLayout, Shard

SUFFIX = ".zarr"
IS_DECODED = True
CLOSING = frozenset({"zarr.json"})


def write(folder: Path, shard: Shard, layout: PackLayout, entries: Iterable[PackEntry]) -> None:
    """Write the arrays of a shard; :func:`finish` writes ``zarr.json``.

    Raises:
        UsageError: if samples differ in shape or type, or zarr is missing.
    """
    zarr = import_zarr()
    check_layout(layout)
    arrays: dict[str, Any] = {name: np.empty(shard.count, dtype=object) for name in (ID, METADATA)}
    for name, layer in layout.items():
        assert layer.shape is not None
        arrays[name] = np.empty((shard.count, *layer.shape), dtype=layer.dtype)
        arrays[name + MASK_SUFFIX] = np.empty((shard.count, *valid_shape(layer.shape)), dtype=np.bool_)
    for number, entry in enumerate(entries):
        arrays[ID][number], arrays[METADATA][number] = entry.id, entry.metadata
        for name, layer in layout.items():
            pixels = decoded(entry, name, layer)
            arrays[name][number], arrays[name + MASK_SUFFIX][number] = pixels.values, pixels.valid
    with zarr.config.set({"array.write_empty_chunks": True}):  # a chip of zeros is a chip
        group = _create(zarr, folder, shard, layout)
        for name, array in arrays.items():
            group[name][shard.first : shard.first + shard.count] = array


def ids(folder: Path, shard: Shard) -> list[str]:
    """Return the ids of the samples in a shard."""
    group = import_zarr().open_group(folder / f"{shard.group}{SUFFIX}", mode="r")
    sample_ids: list[str] = group[ID][shard.first : shard.first + shard.count].tolist()
    return sample_ids


def read(folder: Path, shard: Shard) -> Iterator[PackEntry]:
    """Yield the samples of a shard. Zarr 2 is refused, as its codecs may execute code and the shard may be received."""
    group = import_zarr().open_group(folder / f"{shard.group}{SUFFIX}", mode="r", zarr_format=3)
    layers = sorted(name for name in group.array_keys() if name + MASK_SUFFIX in group)
    end = shard.first + shard.count
    for first in range(shard.first, end, READ_AT_ONCE):
        part = {name: group[name][first : min(first + READ_AT_ONCE, end)] for name in group.array_keys()}
        yield from entries_of(part, layers)


def finish(folder: Path, shards: Sequence[Shard], layout: PackLayout) -> None:
    """Write the groups and arrays, which have no shards here."""
    zarr = import_zarr()
    for split in dict.fromkeys(shard.split for shard in shards):
        group = _create(zarr, folder, next(shard for shard in shards if shard.split == split), layout)
        ignore_warning(zarr.errors.ZarrUserWarning)  # the specification of Zarr 3 does not have it yet
        zarr.consolidate_metadata(group.store)


def dimensions(layout: PackLayout) -> dict[str, tuple[str, ...]]:
    """Return the names of the dimensions of a sample in each layer: (band, y, x), or (time, band, y, x) of frames.

    xarray opens a group only if each dimension has one length. The bands of several layers differ: their dimension is
    ``<layer>_band``. Layers share ``time``, ``y`` and ``x`` if all have one length; otherwise those are
    ``<layer>_time``, ``<layer>_y`` and ``<layer>_x``.
    """
    axes = {name: ("time", "band", "y", "x")[-len(layer.shape or ()) :] for name, layer in layout.items()}
    lengths: dict[str, set[int]] = {}
    for name, layer in layout.items():
        for axis, length in zip(axes[name], layer.shape or (), strict=True):
            lengths.setdefault(axis, set()).add(length)
    own = {axis for axis, axis_lengths in lengths.items() if len(axis_lengths) > 1} | (
        {"band"} if len(layout) > 1 else set()
    )
    return {
        name: tuple(f"{name}_{axis}" if axis in own else axis for axis in axis_names)
        for name, axis_names in axes.items()
    }


def _create(zarr: Any, folder: Path, shard: Shard, layout: PackLayout) -> Any:
    """Return the group of a shard's split, with all of its arrays, which are empty."""
    group = zarr.create_group(folder / f"{shard.group}{SUFFIX}", zarr_format=3)
    compressors = zarr.codecs.ZstdCodec(checksum=True)
    named = dimensions(layout)
    for name, layer in layout.items():
        assert layer.shape is not None
        for array, shape, dtype, axes in (
            (name, layer.shape, layer.dtype, named[name]),
            (name + MASK_SUFFIX, valid_shape(layer.shape), "bool", valid_shape(named[name])),
        ):
            group.create_array(
                array,
                shape=(shard.total, *shape),
                chunks=(1, *shape),
                shards=(shard.stride, *shape),
                dtype=dtype,
                compressors=compressors,
                dimension_names=("sample", *axes),
                attributes=attributes(layer) if array == name else {},
            )
    for name in (ID, METADATA):
        group.create_array(
            name,
            shape=(shard.total,),
            chunks=(shard.stride,),
            dtype=str,
            compressors=compressors,
            dimension_names=("sample",),
        )
    return group


def import_zarr() -> Any:
    """Import zarr.

    Raises:
        UsageError: if it is missing, or too old.
    """
    need = "Zarr needs zarr 3.1, which needs Python 3.11"
    zarr = import_extra("zarr", need, "pack")
    if tuple(int(part) for part in zarr.__version__.split(".")[:2]) < (3, 1):
        raise UsageError(f"{need}: pip install 'eechips[pack]'; installed is {zarr.__version__}")
    return zarr


__all__ = ["CLOSING", "IS_DECODED", "SUFFIX", "finish", "ids", "import_zarr", "read", "weight", "write"]
