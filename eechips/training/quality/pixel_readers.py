"""Read the pixels of all chips of a run or a pack, with the layer and the split of each file, in as many threads as
memory allows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eechips.errors import EechipsError, UsageError
from eechips.formats import chip_suffixes
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from eechips.storage import LocalStore, Store
from eechips.training.packs.shard_index import INDEX_NAME, FileContent, PackIndex, read_index
from eechips.training.packs.shard_reader import read_shard
from eechips.training.quality.chip_pixels import BandPixels, decode_bands
from eechips.training.sample import SampleFile, array_of
from eechips.training.sample_reader import Samples, read_samples
from eechips.training.splits import split_table

_AT_ONCE = 500_000_000  # bytes of decoded pixels that are in memory, but for one file that has more
_WORKING = 4  # times the size of a file's pixels that measuring takes
_MOST_THREADS = 8
_REMOTE_THREADS = 16  # which wait most of the time


def reader_threads(store: Store, files: Iterable[SampleFile]) -> int:
    """Return how many threads read the files of a store: no more than there is memory for the largest file."""
    most = min(_MOST_THREADS, os.cpu_count() or 1) if isinstance(store, LocalStore) else _REMOTE_THREADS
    largest = max(map(_memory_of, files), default=0)
    return max(1, min(most, _AT_ONCE // max(1, largest)))


def _memory_of(file: SampleFile) -> int:
    """Return the bytes that measuring a file takes."""
    pixels = (file.width or 0) * (file.height or 0) * len(file.bands or "RGB") * (len(file.frames) or 1)
    return _WORKING * pixels * _bytes_of(file.dtype)


def _bytes_of(dtype: str | None) -> int:
    try:
        return int(np.dtype(dtype or "uint8").itemsize)
    except TypeError:  # of several types
        return 8


@dataclass(frozen=True, slots=True)
class PixelFile:
    """A file whose pixels are counted.

    Attributes:
        split: split of its sample.
        layer: its label.
        bands: names of its bands; None if unknown.
        sources: ids of the assets that it shows.
        read: returns its pixels.
    """

    split: str
    layer: str
    bands: tuple[str, ...] | None
    sources: tuple[str, ...]
    read: Callable[[], tuple[BandPixels, ...]]


class RunPixels:
    """The files of a run."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._splits = samples.assigned_splits()
        self.info: Mapping[str, Any] = samples.run.info
        self.samples = {name: n for name, n in _counted(self._splits).items() if name != split_table.NONE}
        self.left_out = self._splits.count(split_table.NONE)
        self.threads = reader_threads(samples.store, (file for sample in samples for file in sample.files))
        self.count = sum(1 for _ in self.files())
        if not self.count:
            raise UsageError(f"{samples.run.path} has no chips to compute statistics of")

    def files(self) -> Iterator[PixelFile]:
        """Yield the files with pixels, in the order of the plan."""
        for sample, split in zip(self._samples, self._splits, strict=True):
            for stored in sample.files:
                for number, file in enumerate(stored.each_frame()):
                    is_missing = file.frame is not None and file.valid_fraction == 0.0
                    if split != split_table.NONE and file.suffix in chip_suffixes() and not is_missing:
                        place = (number, len(stored.frames)) if stored.frames else None
                        yield PixelFile(split, file.array, file.bands, file.sources, self._read_later(file, place))

    def _read_later(self, file: SampleFile, place: tuple[int, int] | None) -> Callable[[], tuple[BandPixels, ...]]:
        def read() -> tuple[BandPixels, ...]:
            try:
                return _frame_bands(decode_bands(self._samples.read(file), file.suffix), place)
            except EechipsError as error:
                raise UsageError(f"{file.name}: {error}" if file.name not in str(error) else str(error)) from error

        return read


class PackPixels:
    """The files of a pack."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: PackIndex = read_index(folder)
        self.info = self._index.run
        self.samples, self.left_out = self._index.splits, sum(self._index.left_out.values())
        self.threads = reader_threads(LocalStore(folder), ())
        self.count = self._index.samples * len(self._index.layers)  # about: samples may lack a layer

    def files(self) -> Iterator[PixelFile]:
        """Yield the files with pixels, in the order of the shards."""
        for stored in self._index.shards:
            for entry in read_shard(self._folder, self._index.format, stored):
                known = entry.parsed_metadata["layers"]
                for layer, content in entry.layers.items():
                    if isinstance(content, FileContent) and content.suffix.lower() not in chip_suffixes():
                        continue
                    frames = known[layer].get("frames") or [known[layer]]
                    for number, frame in enumerate(frames):
                        if "frame" in frame and frame.get("valid_fraction") == 0.0:
                            continue
                        array = array_of(layer, known[layer].get("series"))
                        bands = known[layer].get("bands")
                        sources = tuple(frame.get("sources") or ())
                        place = (number, len(frames)) if "frames" in known[layer] else None
                        names = None if bands is None else tuple(bands)
                        yield PixelFile(stored.shard.split, array, names, sources, _pixels(content, place))


PixelReader = RunPixels | PackPixels
"""The files of a run, or those of a pack."""


def open_pixels(source: Run | str | Path) -> PixelReader:
    """Return the files of a run, or those of a pack if the source is the folder of one.

    Raises:
        UsageError: if there are no chips, or the source is neither.
    """
    if (
        not isinstance(source, Run)
        and (Path(source) / INDEX_NAME).is_file()
        and not (Path(source) / LEDGER_NAME).is_file()
    ):
        return PackPixels(Path(source))
    return RunPixels(read_samples(source))


def _frame_bands(bands: tuple[BandPixels, ...], place: tuple[int, int] | None) -> tuple[BandPixels, ...]:
    """Return the bands of one frame of a file: number and count of its frames; all bands for None."""
    if place is None:
        return bands
    number, size = place[0], len(bands) // place[1]
    return bands[number * size : (number + 1) * size]


def _pixels(content: Any, place: tuple[int, int] | None) -> Callable[[], tuple[BandPixels, ...]]:
    if isinstance(content, FileContent):
        return lambda: _frame_bands(decode_bands(content.data, content.suffix), place)
    if place is not None:
        values, valid = content.values[place[0]], content.valid[place[0]]
        return lambda: tuple(BandPixels(band, valid) for band in values)
    return lambda: tuple(BandPixels(band, content.valid) for band in content.values)


def _counted(splits: Iterable[str]) -> dict[str, int]:
    """Return the number of samples of each split: train, validation and test first, then others by name."""
    counts = Counter(splits)
    usual = [name for name in ("train", "validation", "test") if name in counts]
    return {name: counts[name] for name in [*usual, *sorted(counts.keys() - set(usual))]}
