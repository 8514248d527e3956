"""Train on a run while it is fetched: its samples in a shuffled, reproducible order, divided among ranks (``rank``,
``world_size``), with bounded files (``max_disk``).

:mod:`eechips.training.streams.stream_reader` reads them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.manifest.run import Run
from eechips.storage import is_address, local_path
from eechips.text.formatting import parse_bytes, parse_count
from eechips.training.splits import split_table
from eechips.training.streams.background_run import BackgroundRun, folder_of
from eechips.training.streams.stream_reader import StreamPart, StreamReader
from eechips.training.training_options import check_numbers

RANK, WORLD_SIZE = "RANK", "WORLD_SIZE"
"""Variables of the environment that torchrun and other starters set."""


class SampleStream:
    """The samples of a run, which may be under way, epoch by epoch: see :func:`stream`.

    Attributes:
        folder: folder of the run.
        seed: seed of the order; None for that of the plan.
        epoch: epoch of the next iteration.
        split: split of the samples; None for all.
        rank: number of this process among those that train together.
        world_size: number of these processes.
    """

    def __init__(
        self,
        source: partial[object] | Run | str | Path,
        *,
        seed: int | None,
        rank: int | None,
        world_size: int | None,
        max_disk: str | int | None = None,
        split: str | None = None,
    ) -> None:
        if seed is not None:
            check_numbers(seed=seed)
        self.seed, self.epoch, self.split = None if seed is None else int(seed), 0, split
        most = None if max_disk is None else parse_bytes(max_disk)
        self._is_bounded = most is not None
        if most is not None:
            _check_bound(source, split)
        self.rank, self.world_size = place_of(rank, world_size)
        self._background: BackgroundRun | None = None
        self._lock: Path | None = None
        self._reader: StreamReader | None = None
        self._state: Mapping[str, Any] | None = None
        self._is_followed = not isinstance(source, partial)
        self.folder = _source_folder(source, self.world_size)
        if split is not None:
            split_table.check_names(self.folder, split_table.read(self.folder), split)
        if isinstance(source, partial) and self.rank == 0:
            self._background = BackgroundRun(source, seed, most)
            self._lock = self._background.lock

    def __enter__(self) -> SampleStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process, such as a worker of a DataLoader, reads the folder alone.
        return {**self.__dict__, "_background": None, "_reader": None}

    def close(self) -> None:
        """Stop the run that is fetched for this stream: what is fetched is kept, and resumed by the next stream."""
        if self._background is not None:
            self._background.close()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; each epoch has a different order."""
        check_numbers(epoch=epoch)
        self.epoch, self._state, self._reader = int(epoch), None, None

    def read(
        self,
        worker: int = 0,
        workers: int = 1,
        *,
        ordinal: int = 0,
        parent: int | None = None,
        plan: str | None = None,
        is_shared: bool = False,
    ) -> StreamReader:
        """Return an iterator over the part of a worker of this process.

        Args:
            worker: number of the worker, from 0.
            workers: workers of this process, as many as of every other.
            ordinal: number of the sample in the epoch before which all is left out.
            parent: see :class:`~eechips.training.streams.stream_reader.StreamReader`.
            plan: likewise.
            is_shared: whether the reader begins the epoch, whose plan other processes are to know.
        """
        reader, readers = self.rank * workers + worker, self.world_size * workers
        part = StreamPart(
            self.folder, self.seed, self.epoch, reader, readers, self._is_followed, self._lock, self._is_bounded,
            self.split, is_shared,
        )  # fmt: skip
        return StreamReader(part, ordinal, parent, plan)

    def __iter__(self) -> StreamReader:
        self._reader = self.read(is_shared=self.world_size > 1)
        if self._state is not None:
            self._reader.load_state_dict(self._state)
            self._state = None
        return self._reader

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the epoch: after the sample that was returned last. It can be stored as JSON."""
        return dict(self._state) if self._state is not None else (self._reader or self.read()).state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration go on at a place.

        Raises:
            UsageError: if it is none; or if it is that of another stream, when the iteration begins.
        """
        check_numbers(**{name: state.get(name) for name in ("epoch", "reader", "readers", "ordinal")})
        self.epoch, self._state = state["epoch"], dict(state)


def stream(
    source: partial[object] | Run | str | Path,
    *,
    seed: int | None = 0,
    rank: int | None = None,
    world_size: int | None = None,
    max_disk: str | int | None = None,
    split: str | None = None,
) -> SampleStream:
    """Read the samples of a run while another process fetches it, in a shuffled, reproducible order.

    - The order of an epoch depends on the plan, the seed and the number of the epoch alone, not on the network. A run
      that is started here is fetched in the order of epoch 0. The reader waits for the next sample of the order, while
      the run fetches those after it without waiting for the reader.
    - Sample ``k`` of the order belongs to the reader ``k mod readers`` of all processes and workers: each sample is
      read once in an epoch. A unit that failed, is marked as bad, or is empty and has no file, is left out, so that
      readers may have different numbers of samples; the number of failed units is logged at the end of the epoch. If a
      later run has fetched it, the next epoch includes it.
    - All readers of an epoch read the units that were planned when the first of them began it. A run that is extended
      meanwhile has more units in the next epoch.
    - The run's folder is the data set: later epochs read it, and send no request. Nothing is removed from it, unless
      ``max_disk`` bounds its files.
    - With ``max_disk``, the run fetches what is read next, and removes what is read last of all: samples that were read
      in this epoch, and are far in the next one. **Each epoch then sends requests again**, for all samples that are not
      on the disk any more; near the end of an epoch the first samples of the next one are fetched. A data set that fits
      as a whole is kept, as without a bound. A unit that failed, and may succeed later, is tried again for the next
      epoch. An item has its files in memory, so that it can be read later. A reader
      that has stopped keeps its part of the disk, and delays no other.
    - The same program resumes both after it was killed: the run fetches what is missing, and :meth:`state_dict` tells
      where the epoch goes on.
    - If the run stops early, the next sample that is missing raises the reason.

    Args:
        source: a call that fetches a run, ``functools.partial(eechips.sample, …, out=DIR)``, which the process of rank
            0 has another process of this machine make; or the folder of a run that somebody fetches, or that is there.
        seed: seed of the order; None for the order of the plan. A folder that somebody fetches is read in the order in
            which it is fetched (``fetch_seed`` of its command; by default None) until it is complete.
        rank: number of this process among the processes that train together; None for ``RANK`` of the environment.
            They share the folder.
        world_size: number of these processes; None for ``WORLD_SIZE`` of the environment.
        max_disk: bytes that the files of the samples may take, such as ``20GB``, for data sets larger than the disk;
            None to keep all. It is the same in all processes. Files under way are counted as if each were as large as
            the largest so far: the bound is exceeded by no more than later files are larger. It has to hold the largest
            sample for each reader. The ledger and the log of the run are not counted. If another stream, or a command,
            has the same run fetched without it, all is kept.
        split: split of ``eechips split``, which has to be there already; None for all samples, including those without
            a split. The order is that of all samples without the others.

    Returns:
        The stream: iterate over it once for each epoch.

    Raises:
        UsageError: if the call names no folder, or cannot be made in another process; if ``max_disk`` is no number of
            bytes, or the call does not fetch to a folder; if the call extends a run for several processes; or if the
            run has no such split.
        EechipsError: the error that ended the run before its plan was whole.

    Example:
        >>> fetch = functools.partial(eechips.sample, "NAIP", per_ecoregion=25, local=True, out="outputs/naip")
        >>> with eechips.stream(fetch, seed=7) as samples:
        ...     for item in samples:
        ...         print(item.sample.id, item.pixels["image"].values.shape)
    """
    return SampleStream(source, seed=seed, rank=rank, world_size=world_size, max_disk=max_disk, split=split)


def _source_folder(source: partial[object] | Run | str | Path, world_size: int) -> Path:
    """Return the folder of the run that a stream reads, or fetches."""
    if isinstance(source, partial):
        if world_size > 1 and source.keywords.get("extend"):
            raise UsageError(
                "processes that train together cannot tell when one of them has extended the run: call it with"
                " `extend=True` before, and stream its folder"
            )
        return folder_of(source)
    if isinstance(source, Run):
        return source.path
    if isinstance(source, (str, Path)):
        return local_path(source)
    raise UsageError(
        "a stream reads the folder of a run, or fetches one: functools.partial(eechips.sample, …, out=DIR)"
    )


def _check_bound(source: partial[object] | Run | str | Path, split: str | None) -> None:
    """Check that the files of a stream may be removed: it fetches them itself, to a folder, and reads all."""
    if split is not None:
        raise UsageError("`max_disk` removes files, and `split` is of the files that are there: leave one of them out")
    if not isinstance(source, partial):
        raise UsageError("`max_disk` is for a stream that fetches its run: a folder that others fetch is only read")
    if is_address(str(source.keywords.get("out"))):
        raise UsageError("`max_disk` bounds the files of a folder, not those of an object store")


def place_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return the number of this process, and the number of processes that train together.

    Raises:
        UsageError: if one is no whole number from 0, or the first is not below the second.
    """
    if rank is None and world_size is None:
        texts = {name: os.environ.get(name) or default for name, default in ((RANK, "0"), (WORLD_SIZE, "1"))}
        numbers = {name: text if parse_count(text) is None else int(text) for name, text in texts.items()}
        check_numbers(**numbers)
        rank, world_size = (int(number) for number in numbers.values())
    rank, world_size = rank or 0, world_size or 1
    check_numbers(rank=rank, world_size=world_size)
    if not 0 <= rank < world_size:
        raise UsageError(f"there is no rank {rank}: {world_size} processes have the ranks 0 to {world_size - 1}")
    return int(rank), int(world_size)
