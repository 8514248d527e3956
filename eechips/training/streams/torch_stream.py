"""Load a run that is being fetched as a PyTorch dataset: classes of its label, and the state from which the epoch of a
DataLoader continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils.data import IterableDataset, get_worker_info

from eechips.errors import UsageError
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.stream_epoch import EpochPlan, read_plan
from eechips.training.sample import fields_of
from eechips.training.streams.sample_stream import SampleStream
from eechips.training.streams.stream_reader import StreamItem, StreamReader
from eechips.training.streams.tensor_items import Item, TensorItems, Transform, Types, check_layers, label_values
from eechips.training.training_options import check_numbers

ORDINAL = "ordinal"
"""Key of an item's number in the order of the epoch."""


class TorchStream(IterableDataset[Any]):
    """The samples of a run while it is fetched, as items of a DataLoader: see :func:`stream`.

    Attributes:
        stream: stream of the samples.
    """

    def __init__(self, samples: SampleStream, items: TensorItems, layers: Sequence[str] | None) -> None:
        self.stream = samples
        self._items, self._layers = items, layers
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # shared with persistent workers
        self._workers = torch.ones((), dtype=torch.int64).share_memory_()  # of the latest iteration
        self._ordinals: dict[int, int] = {}  # after the last one noted, by worker
        self._state: dict[str, Any] | None = None
        self._plan: str | None = None

    def __enter__(self) -> TorchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the run that is fetched for this stream: what is fetched is kept, and resumed by the next stream."""
        self.stream.close()

    @property
    def classes(self) -> tuple[Any, ...]:
        """Values of the label by number."""
        return self._items.labels.classes

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration for all workers; each epoch has a different order.

        Raises:
            UsageError: if it is no whole number from 0.
        """
        check_numbers(epoch=epoch)
        self._epoch.fill_(epoch)
        self._ordinals, self._plan = {}, None

    def note(self, ordinals: torch.Tensor) -> None:
        """Note the ordinals of a batch that the training is done with, for :meth:`state_dict`.

        Args:
            ordinals: ``batch["ordinal"]``, int64, (samples,).
        """
        workers, world_size = int(self._workers), self.stream.world_size
        for ordinal in ordinals.tolist():
            worker = ordinal % (workers * world_size) - self.stream.rank * workers
            self._ordinals[worker] = max(self._ordinals.get(worker, 0), ordinal + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the epoch: after the batches that were noted. It can be stored as JSON."""
        workers = int(self._workers)
        known = self._state["ordinals"] if self._state is not None and self._state["epoch"] == int(self._epoch) else []
        ordinals = [
            self._ordinals.get(worker, known[worker] if worker < len(known) else 0) for worker in range(workers)
        ]
        if self._plan is None and self._ordinals:
            readers, epoch = workers * self.stream.world_size, int(self._epoch)
            shared = read_plan(self.stream.folder, EpochPlan(readers, epoch, self.stream.seed, self.stream.split))
            self._plan = None if shared is None else shared.digest
        return {
            **self._own, "epoch": int(self._epoch), "workers": workers, "ordinals": ordinals, "plan": self._plan
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration of the epoch go on at a place, with as many workers as before.

        Call it before the DataLoader starts its workers.

        Raises:
            UsageError: if it is that of another seed, rank or number of processes; when the iteration begins, if it is
                that of another plan.
        """
        for name, value in self._own.items():
            if state.get(name) != value:
                raise UsageError(f"the state is that of another stream: {name} {state.get(name)} there, {value} here")
        check_numbers(**{name: state.get(name) for name in ("epoch", "workers")})
        ordinals = state.get("ordinals")
        if not isinstance(ordinals, Sequence) or len(ordinals) != state["workers"]:
            raise UsageError(f"the state has no places for {state['workers']} workers, but {ordinals!r:.80}")
        check_numbers(**{f"ordinals[{worker}]": ordinal for worker, ordinal in enumerate(ordinals)})
        self.set_epoch(state["epoch"])
        self._workers.fill_(state["workers"])
        self._state, self._plan = dict(state), state.get("plan")

    @property
    def _own(self) -> dict[str, Any]:
        own = self.stream
        return {"seed": own.seed, "rank": own.rank, "world_size": own.world_size, "split": own.split}

    def __iter__(self) -> TorchStreamReader:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        epoch, ordinal, plan = int(self._epoch), 0, None
        if self._state is not None and self._state["epoch"] == epoch:
            if self._state["workers"] != workers:
                raise UsageError(
                    f"epoch {epoch} was begun with {self._state['workers']} workers, each of which reads a part of it:"
                    f" num_workers={self._state['workers']} continues it, not {workers}"
                )
            ordinal, plan = self._state["ordinals"][worker], self._state.get("plan")
        self._workers.fill_(workers)
        self.stream.epoch = epoch
        parent = None if info is None else os.getppid()
        reader = self.stream.read(worker, workers, ordinal=ordinal, parent=parent, plan=plan, is_shared=True)
        return TorchStreamReader(reader, self._convert())

    def _convert(self) -> Callable[[StreamItem], Any]:
        """Return the function that makes an item of a sample."""
        known: list[TensorItems] = []

        def convert(stream_item: StreamItem) -> Any:
            if not known:  # the layers are those of the first sample
                arrays = tuple(dict.fromkeys(file.array for file in stream_item.sample.files))
                names = check_layers(self._layers, arrays, self._items.label)
                if ORDINAL in names:
                    raise UsageError("items have 'ordinal' of their own, so that a layer of that name cannot be loaded")
                known.append(replace(self._items, layers=names))
            [items] = known
            target = None
            if items.label is not None:
                [target] = items.targets([stream_item.sample.fields.get(items.label)])
            item: Item = {**items.of_sample(stream_item.sample, stream_item.read, target), ORDINAL: stream_item.ordinal}
            return item if items.transform is None else items.transform(item)

        return convert


class TorchStreamReader(Iterator[Any]):
    """Iterate over the items of a worker; ``StatefulDataLoader`` of torchdata stores and restores its place."""

    def __init__(self, reader: StreamReader, convert: Callable[[StreamItem], Any]) -> None:
        self._reader, self._convert = reader, convert

    def __next__(self) -> Any:
        return self._convert(next(self._reader))

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the epoch."""
        return self._reader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at a place of the same epoch.

        Raises:
            UsageError: if it is that of another reader, seed or epoch.
        """
        self._reader.load_state_dict(state)


def stream(
    source: partial[object] | Run | str | Path,
    *,
    seed: int | None = 0,
    rank: int | None = None,
    world_size: int | None = None,
    max_disk: str | int | None = None,
    split: str | None = None,
    layers: Sequence[str] | None = None,
    label: str | None = None,
    classes: Sequence[Any] | None = None,
    dtype: Types = None,
    fill: float | None = None,
    transform: Transform | None = None,
) -> TorchStream:
    """Train on a run while another process fetches it, in a shuffled, reproducible order.

    Order, parts of processes and workers, failed units, later epochs and ends are those of :func:`eechips.stream`.
    All processes need the same number of workers. The order of the batches depends on that number, and not on the
    network. Items are those of :class:`~eechips.torch.ChipDataset`, and ``ordinal``: the number in the order of the
    epoch.

    Training goes on in the middle of an epoch by ``StatefulDataLoader`` of torchdata; or by
    :meth:`~TorchStream.note`, :meth:`~TorchStream.state_dict` and :meth:`~TorchStream.load_state_dict` with any
    DataLoader.

    Args:
        source: as for :func:`eechips.stream`.
        seed: as for :func:`eechips.stream`.
        rank: number of this process among the processes that train together; None to ask torch.distributed, or else
            ``RANK`` of the environment.
        world_size: number of these processes; None to ask torch.distributed, or else ``WORLD_SIZE``.
        max_disk: as for :func:`eechips.stream`: then later epochs send requests again.
        split: as for :func:`eechips.stream`.
        layers: names; None for all.
        label: field of the units, as for :class:`~eechips.torch.ChipDataset`.
        classes: values of the label in the order of their indices; None for all values of the plan, sorted.
        dtype: as for :class:`~eechips.torch.ChipDataset`.
        fill: as for :class:`~eechips.torch.ChipDataset`.
        transform: called with each item; its result replaces the item. :meth:`TorchStream.note` needs ``ordinal``.

    Raises:
        UsageError: as :func:`eechips.stream`; or if the plan of the run lacks the label.
        EechipsError: the error that ended the run before its plan was whole.

    Example:
        >>> fetch = functools.partial(eechips.sample, "NAIP", per_ecoregion=25, local=True, out="outputs/naip")
        >>> chips = eechips.torch.stream(fetch, seed=7, label="eco_name")
        >>> loader = DataLoader(chips, batch_size=32, num_workers=2, persistent_workers=True)
    """
    rank, world_size = ask_distributed(rank, world_size)
    samples = SampleStream(source, seed=seed, rank=rank, world_size=world_size, max_disk=max_disk, split=split)
    try:
        known = label_values(classes, () if label is None else _planned_values(samples, label))
    except BaseException:
        samples.close()
        raise
    items = TensorItems((), label, known, dtype, fill, transform)
    return TorchStream(samples, items, layers)


def ask_distributed(rank: int | None, world_size: int | None) -> tuple[int | None, int | None]:
    """Return the rank and the number of processes of torch.distributed, if neither is given and it is initialized."""
    if rank is None and world_size is None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return rank, world_size


def _planned_values(samples: SampleStream, label: str) -> list[Any]:
    """Return the values of a field of all planned units."""
    samples.read().wait_for_plan()
    with Ledger(samples.folder / LEDGER_NAME, readonly=True) as ledger:
        units = [fields_of(json.loads(unit)) for (unit,) in ledger.rows(("unit",))]
    if not any(label in fields for fields in units):
        there = ", ".join(dict.fromkeys(name for fields in units for name in fields))
        raise UsageError(f"no unit has a field '{label}'; there are: {there or 'none'}")
    return [fields.get(label) for fields in units]
