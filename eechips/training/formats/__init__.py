"""Write and read shards: one module for each pack format, imported when it is first used.

Here belongs how samples become bytes and back. Which samples go into which shard is decided in
:mod:`eechips.training.packs.sharding`. Another package adds a format as an entry point of the group
``eechips.pack_formats``: a module, or an object, with the members of :class:`PackFormat`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eechips.registry import Registry

if TYPE_CHECKING:
    from eechips.training.packs.shard_index import PackEntry, PackLayout, Shard


class PackFormat(Protocol):
    """A format of shards.

    Attributes:
        SUFFIX: suffix of the file of a shard.
        IS_DECODED: the format stores arrays, so that all samples must have one shape, and not the files as they are.
        CLOSING: names of files that are written last, because they list the others.
    """

    SUFFIX: str
    IS_DECODED: bool
    CLOSING: Collection[str]

    def weight(self, sizes: Sequence[int], metadata: int) -> int:
        """Return the maximum number of bytes of a sample, from the sizes of its files (or arrays) and its metadata."""

    def write(self, folder: Path, shard: Shard, layout: PackLayout, entries: Iterable[PackEntry]) -> None:
        """Write a shard below a folder. Its content depends on its samples alone."""

    def ids(self, folder: Path, shard: Shard) -> list[str]:
        """Return the ids of the samples in a shard, by reading it."""

    def read(self, folder: Path, shard: Shard) -> Iterator[PackEntry]:
        """Yield the samples of a shard in their order."""

    def finish(self, folder: Path, shards: Sequence[Shard], layout: PackLayout) -> None:
        """Write the files of ``CLOSING``; a format without any needs no such function."""


PACK_FORMATS: Registry[PackFormat] = Registry(
    "pack format",
    "eechips.pack_formats",
    {
        name: f"eechips.training.formats.{name}"
        for name in ("webdataset", "tfrecord", "parquet", "zarr", "hdf5", "geozarr")
    },
)
"""All pack formats by name."""

__all__ = ["PACK_FORMATS", "PackFormat"]
