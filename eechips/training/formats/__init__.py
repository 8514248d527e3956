"""How samples are packed: one module per format, imported when it is needed.

Every module has

``SUFFIX``
    of a shard's file.
``IS_DECODED``
    whether it holds arrays, so that all samples must have the same shape, rather than the files as they are.
``CLOSING``
    names of files that say that others are there, and so come last.
``weight(sizes, metadata)``
    bytes that a sample takes at most: of its files (or arrays) of the given sizes, and of its metadata.
``write(folder, shard, layout, entries)``
    writes a shard below a folder; what is in it depends on its samples alone.
``ids(folder, shard)``
    the ids of the samples that a shard holds, found by reading it.
``read(folder, shard)``
    the samples of a shard, in their order.
``finish(folder, shards, layout)``
    writes what all shards together need.
"""

from __future__ import annotations

import importlib
from types import ModuleType

FORMATS = ("webdataset", "tfrecord", "parquet", "zarr", "hdf5")


def format_of(name: str) -> ModuleType:
    """The module of a format, one of ``FORMATS``."""
    return importlib.import_module(f"eechips.training.formats.{name}")


__all__ = ["FORMATS", "format_of"]
