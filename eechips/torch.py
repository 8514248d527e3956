"""Load runs and packs as PyTorch datasets: labels, shuffle buffer, epochs, shards of each rank, time series padded to
batches.

::

    from torch.utils.data import DataLoader
    from eechips.torch import ChipDataset, ShardDataset

    chips = ChipDataset("outputs/landcover", split="train", label="class")
    loader = DataLoader(chips, batch_size=32, shuffle=True, num_workers=4, persistent_workers=True)

    shards = ShardDataset("outputs/landcover/packs/webdataset", split="train", label="class", shuffle=True)
    loader = DataLoader(shards, batch_size=32, num_workers=4, persistent_workers=True)

An item is a dict, which PyTorch's default collation joins to batches:

``<layer>``
    pixels, (bands, rows, columns); ``image`` for samples with one file.
``<layer>_valid``
    bool, (rows, columns): false for masked pixels, whose values have no meaning.

Of a time series (``eechips sample --frames``, ``--every``) the frames are one layer, called like the dataset, or
``image``: pixels (frames, bands, rows, columns), ``<layer>_valid`` (frames, rows, columns), and

``<layer>_times``
    float64, (frames,): seconds since 1970; NaN for a missing frame without a period.

Samples with different numbers of frames are joined to batches by :func:`collate_frames`.

Then
``label``
    class index (int64), or the value of a field with fractions (float32); if requested.
``id``
    of the unit, as in the tables of :func:`eechips.load`.
``crs``, ``transform``, ``bounds``
    of the first layer that has them: code or WKT; (a, b, c, d, e, f), pixel corners to coordinates; left, bottom,
    right, top in units of the crs; float64.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from eechips.errors import UsageError
from eechips.manifest.run import Run
from eechips.recipe.results import MASK_SUFFIX
from eechips.text.formatting import format_count
from eechips.training.packs.shard_index import FileContent, PackEntry, StoredShard, read_index
from eechips.training.packs.shard_reader import read_shard
from eechips.training.quality.chip_pixels import decode_file, frame_time
from eechips.training.sample import array_of, fields_of
from eechips.training.sample_reader import Samples, read_samples
from eechips.training.streams.sample_stream import place_of
from eechips.training.training_options import check_numbers

try:
    import torch
    from torch.utils.data import Dataset, IterableDataset, default_collate, get_worker_info
except ImportError as error:
    raise UsageError("eechips.torch needs PyTorch: pip install 'eechips[torch]'") from error

from eechips.training.streams.tensor_items import (
    TIMES,
    Item,
    TensorItems,
    Transform,
    Types,
    check_layers,
    join_frames,
    label_values,
)
from eechips.training.streams.torch_stream import TorchStream, ask_distributed, stream

T = TypeVar("T")
_log = logging.getLogger(__name__)


class ChipDataset(Dataset[Any]):
    """The samples of a run by index, as PyTorch's samplers need.

    The files are read from the run's folder or object store. Workers share the list of samples.

    Args:
        run: the run, or its folder.
        split: split of ``eechips split``; None for all samples, including those without a split.
        layers: names; None for all.
        label: field of the units, such as ``class`` or ``eco_name``. Texts and integers become class indices, numbers
            with fractions stay unchanged. A column of numbers of a CSV file has numbers, not texts.
        classes: values of the label in the order of their indices; None for all values of the run, sorted, which are
            the same for all splits.
        dtype: data type of all pixels, or by layer; None for that of the file, or the next larger one that PyTorch
            computes with: uint16 becomes int32, uint32 int64.
        fill: value of masked pixels; None to keep the values of the file, which are 0 in files of Earth Engine.
        transform: called with each item; its result replaces the item.

    Attributes:
        samples: metadata of the samples, in the order of the items.
        classes: values of the label by index; empty without a label, or if it has fractions.

    Raises:
        UsageError: if the run, split, layer or field does not exist, or a sample has no label.
    """

    def __init__(
        self,
        run: Run | str | Path,
        *,
        split: str | None = None,
        layers: Sequence[str] | None = None,
        label: str | None = None,
        classes: Sequence[Any] | None = None,
        dtype: Types = None,
        fill: float | None = None,
        transform: Transform | None = None,
    ) -> None:
        every = read_samples(run)
        self.samples: Samples = every if split is None else every.of_split(split)
        known = label_values(classes, () if label is None else every.field(label))
        self._items = TensorItems(check_layers(layers, every.arrays, label), label, known, dtype, fill, transform)
        self._targets = None if label is None else self._items.targets(self.samples.field(label))

    @property
    def classes(self) -> tuple[Any, ...]:
        """Values of the label by number."""
        return self._items.labels.classes

    @property
    def labels(self) -> torch.Tensor:
        """Labels of all samples, as in items, for samplers that weight classes.

        Raises:
            UsageError: if no label was requested.
        """
        if self._targets is None:
            raise UsageError("the dataset has no labels: give it label=")
        return self._targets.clone()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Any:
        target = None if self._targets is None else self._targets[number]
        item = self._items.of_sample(self.samples[number], self.samples.read, target)
        return item if self._items.transform is None else self._items.transform(item)


class ShardDataset(IterableDataset[Any]):
    """The samples of a pack, shard by shard, for storage where many small files are slow.

    Every sample is read once in an epoch with any number of workers, since each worker has its own shards. There should
    be at least as many shards as workers, of about the same size. Processes that train together have different shards,
    too, and may have different numbers of samples.

    Args:
        pack: folder of ``eechips pack``.
        split: split of the shards; None for all.
        layers: as for :class:`ChipDataset`.
        label: as for :class:`ChipDataset`.
        classes: as for :class:`ChipDataset`.
        dtype: as for :class:`ChipDataset`.
        fill: as for :class:`ChipDataset`.
        transform: as for :class:`ChipDataset`.
        shuffle: whether to shuffle shards in every epoch, and samples within a buffer.
        buffer: samples in the buffer of each worker.
        seed: seed of the order; the same seed, epoch and number of workers give the same order.
        rank: number of this process among the processes that train together; None to ask torch.distributed, or the
            environment (``RANK``) before that is initialized.
        world_size: number of these processes; None likewise (``WORLD_SIZE``).

    Attributes:
        classes: values of the label by index; empty without a label, or if it has fractions.

    Raises:
        UsageError: if the pack is incomplete, or has no such split, layer or label.
    """

    def __init__(
        self,
        pack: str | Path,
        *,
        split: str | None = None,
        layers: Sequence[str] | None = None,
        label: str | None = None,
        classes: Sequence[Any] | None = None,
        dtype: Types = None,
        fill: float | None = None,
        transform: Transform | None = None,
        shuffle: bool = False,
        buffer: int = 1000,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if buffer < 1:
            raise UsageError(f"a buffer of {buffer} samples holds none")
        index = read_index(pack)
        if split is not None and split not in index.splits:
            raise UsageError(f"{pack} has no split '{split}'; known are {', '.join(index.splits)}")
        known = label_values(classes, () if label is None else index.fields.get(label, ()))
        names = check_layers(layers, tuple(index.layers), label)
        self._items = TensorItems(names, label, known, dtype, fill, transform)
        self._folder, self._format = Path(pack), index.format
        rank, world_size = place_of(*ask_distributed(rank, world_size))
        check_numbers(seed=seed)
        shards = [stored for stored in index.shards if split in (None, stored.shard.split)]
        self._shards: list[StoredShard] = shards[rank::world_size]
        if len(shards) % world_size:
            _log.warning(
                "%s: %s for %d processes: some read more samples than others, or none, and training that synchronises "
                "at every step stops; pack with a smaller shard_count, or use ChipDataset with DistributedSampler",
                pack, format_count(len(shards), "shard"), world_size,
            )  # fmt: skip
        self._is_shuffled, self._buffer, self._seed, self._rank = shuffle, buffer, seed, rank
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # shared with persistent workers

    @property
    def classes(self) -> tuple[Any, ...]:
        """Values of the label by number."""
        return self._items.labels.classes

    @property
    def count(self) -> int:
        """Number of samples of an epoch, in this process and its workers.

        There is no ``len()``, from which PyTorch would compute the number of batches: each worker's last batch may be
        incomplete.
        """
        return sum(stored.shard.count for stored in self._shards)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration for all workers; each epoch has a different order.

        Raises:
            UsageError: if it is no whole number from 0.
        """
        check_numbers(epoch=epoch)
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        epoch = int(self._epoch)
        shards = list(self._shards)
        if self._is_shuffled:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(shards))
            shards = [shards[number] for number in order]
        items = self._read(shards[worker::workers])
        if self._is_shuffled:
            items = _mixed(items, self._buffer, np.random.default_rng([self._seed, epoch, self._rank, worker]))
        return (self._make(entry) for entry in items)

    def _read(self, shards: Sequence[StoredShard]) -> Iterator[PackEntry]:
        for stored in shards:
            yield from read_shard(self._folder, self._format, stored)

    def _make(self, entry: PackEntry) -> Any:
        metadata = entry.parsed_metadata
        wanted = {layer: entry.layers[layer] for layer in self._items.layers if layer in entry.layers}
        facts = metadata["layers"]
        pixels = {
            name: decode_file(content.data, content.suffix, facts[name].get("frames", ()))
            if isinstance(content, FileContent)
            else content
            for name, content in wanted.items()
        }
        frames = {
            layer: (array_of(layer, facts[layer].get("series")), facts[layer]["frame"], frame_time(facts[layer]))
            for layer in pixels
            if "frame" in facts[layer]
        }
        grids = {
            frames[layer][0] if layer in frames else layer: (facts[layer].get("crs"), facts[layer].get("transform"))
            for layer in pixels
        }
        target = None
        if self._items.label is not None:
            [target] = self._items.targets([fields_of(metadata["unit"]).get(self._items.label)])
        item = self._items.make(entry.id, join_frames(pixels, frames), grids, target)
        return item if self._items.transform is None else self._items.transform(item)


def collate_frames(items: Sequence[Item]) -> Item:
    """Join items into a batch, as ``collate_fn`` of a DataLoader; pad time series to the longest of the batch.

    Padded frames come last: their pixels are 0, ``<layer>_valid`` is false, and ``<layer>_times`` is NaN. Everything
    else is joined as PyTorch does it by default.

    Args:
        items: items of :class:`ChipDataset` or :class:`ShardDataset`, without a ``transform`` that renames their keys.

    Example:
        >>> DataLoader(chips, batch_size=8, num_workers=4, collate_fn=collate_frames)
    """
    series = {name.removesuffix(TIMES) for item in items for name in item if name.endswith(TIMES)}
    padding = {name + end: value for name in series for end, value in (("", 0), (MASK_SUFFIX, 0), (TIMES, math.nan))}
    longest = {name: max(len(item[name]) for item in items) for name in padding if all(name in item for item in items)}
    padded = [
        {
            name: _padded(field, longest[name], padding[name]) if name in longest else field
            for name, field in item.items()
        }
        for item in items
    ]
    batch: Item = default_collate(padded)
    return batch


def _padded(values: torch.Tensor, length: int, value: float) -> torch.Tensor:
    """Return a tensor with so many elements along its first axis."""
    if len(values) == length:
        return values
    return torch.cat([values, values.new_full((length - len(values), *values.shape[1:]), value)])


def _mixed(items: Iterator[T], size: int, rng: np.random.Generator) -> Iterator[T]:
    """Shuffle items with a buffer of ``size`` items."""
    waiting: list[T] = []
    for item in items:
        if len(waiting) < size:
            waiting.append(item)
            continue
        number = int(rng.integers(size))
        yield waiting[number]
        waiting[number] = item
    for number in rng.permutation(len(waiting)):
        yield waiting[number]


__all__ = ["ChipDataset", "ShardDataset", "TorchStream", "collate_frames", "stream"]
