"""Compute statistics of the pixels of a run or a pack, by layer, band and split."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips import datasets
from eechips.errors import EechipsError, UsageError
from eechips.formats import chip_suffixes
from eechips.manifest.ledger import LEDGER_NAME
from eechips.manifest.run import Run
from eechips.option_fields import filled, takes
from eechips.processes.parallel_map import parallel_map
from eechips.storage import LocalStore, write_file
from eechips.text.progress_bar import progress_bar
from eechips.training import split_table
from eechips.training.band_statistics import BandStatistics, BandTotals, count_fine
from eechips.training.chip_pixels import BandPixels, decode_bands
from eechips.training.class_counts import ClassStatistics, ClassTotals
from eechips.training.formats import PACK_FORMATS
from eechips.training.pixel_memory import PixelMemory
from eechips.training.sample import SampleFile, array_of
from eechips.training.samples import Samples, read_samples
from eechips.training.shard_index import INDEX_NAME, FileContent, PackIndex, read_index
from eechips.training.split_assignment import TRAIN
from eechips.training.split_table import WHOLE
from eechips.training.training_options import StatsOptions

if TYPE_CHECKING:
    import pandas as pd

STATS_NAME = "stats.json"
"""The file with the statistics, in the folder of the run or pack."""

SCHEMA = "eechips-stats-1"
"""Name and version of the file's schema, in its field ``schema``."""

_MOST_THREADS = 8
_REMOTE_THREADS = 16  # which wait most of the time


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """Statistics of a layer.

    Attributes:
        bands: names of the bands, in their order in the files.
        dtypes: numpy names of their types.
        files: number of files by split.
        overall: statistics of each band in all files.
        splits: the same by split; empty if there are no splits.
        classes: of bands that are maps of classes: their classes in all files.
        split_classes: the same by split.
    """

    bands: tuple[str, ...]
    dtypes: tuple[str, ...]
    files: Mapping[str, int]
    overall: tuple[BandStatistics, ...]
    splits: Mapping[str, tuple[BandStatistics, ...]]
    classes: Mapping[str, ClassStatistics]
    split_classes: Mapping[str, Mapping[str, ClassStatistics]]


@dataclass(frozen=True, slots=True)
class DatasetStatistics:
    """Statistics of the pixels of a run or pack.

    Attributes:
        samples: number of samples by split; ``all`` if there are no splits.
        left_out: number of samples that are in no split and no statistics.
        layers: statistics by layer; ``image`` is the layer of samples with one file. All frames of a dataset are one
            layer; missing ones are left out.
    """

    samples: Mapping[str, int]
    left_out: int
    layers: Mapping[str, LayerStatistics]

    @property
    def reference(self) -> str:
        """The split whose statistics normalise pixels: ``train``, or ``all`` if there is no such split."""
        return TRAIN if TRAIN in self.samples else WHOLE

    @property
    def means(self) -> Any:
        """Mean of each band in the split ``reference``: a list, or a list for each layer if there are several."""
        return self._of_bands("mean")

    @property
    def stds(self) -> Any:
        """Standard deviation of each band, like ``means``."""
        return self._of_bands("std")

    @property
    def bands(self) -> Any:
        """Names of the bands, like ``means``."""
        found = {name: list(layer.bands) for name, layer in self.layers.items()}
        return next(iter(found.values())) if len(found) == 1 else found

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each layer, split and band, with all statistics; percentiles are ``p1``, ``p2``, …"""
        import pandas as pd

        rows = []
        for name, layer in self.layers.items():
            for split, bands in {WHOLE: layer.overall, **layer.splits}.items():
                for band, own in zip(layer.bands, bands, strict=True):
                    values = {key: value for key, value in asdict(own).items() if key != "percentiles"}
                    percentiles = {f"p{q}": value for q, value in own.percentiles.items()}
                    rows.append({"layer": name, "split": split, "band": band, **values, **percentiles})
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """Convert to the JSON value of ``stats.json``; docs/how-to/stats.md describes it."""
        return {
            "schema": SCHEMA,
            "samples": dict(self.samples),
            "left_out": self.left_out,
            "reference": self.reference,
            "bands": self.bands,
            "means": self.means,
            "stds": self.stds,
            "layers": {name: _layer_json(layer) for name, layer in self.layers.items()},
        }

    def _of_bands(self, name: str) -> Any:
        found = {}
        for layer_name, layer in self.layers.items():
            bands = layer.splits.get(self.reference, layer.overall)
            found[layer_name] = [getattr(band, name) for band in bands]
        return next(iter(found.values())) if len(found) == 1 else found


@takes(StatsOptions)
def stats(source: Run | str | Path, **options: Any) -> DatasetStatistics:
    """Compute statistics of every band, and write them to ``stats.json``.

    Masked pixels, nodata values, NaN and infinite values are left out, and so are samples in the split ``none``. Files
    are read one after the other; those with other types than integers of up to 16 bits are read twice. Files must be
    unchanged.

    Args:
        source: a run or its folder, or the folder of a pack.
        options: fields of ``StatsOptions``.

    Returns:
        The statistics, as written.

    Raises:
        UsageError: if there are no chips, files are missing or have changed, bands of one name have different kinds of
            types, or ``out`` is a file that eechips has not written.
        StorageError: if the file cannot be written.

    Example:
        >>> found = eechips.stats("outputs/sample-naip")
        >>> found.bands, found.means, found.stds
    """
    chosen = filled(StatsOptions, options)
    path = source.path if isinstance(source, Run) else Path(source)
    reader: _Reader = _PackReader(path) if _is_pack(source) else _RunReader(read_samples(source))
    target = path / STATS_NAME if chosen.out is None else Path(chosen.out)
    _check_target(target)
    found = _compute(reader, quiet=chosen.quiet)
    write_file(target, (json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n").encode())
    return found


@dataclass(frozen=True, slots=True)
class _File:
    """A file whose pixels are counted.

    Attributes:
        split: of its sample.
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


class _RunReader:
    """The files of a run."""

    def __init__(self, samples: Samples) -> None:
        self._samples, self._memory = samples, PixelMemory()
        self._splits = samples.assigned_splits()
        self.info: Mapping[str, Any] = samples.run.info
        self.samples = {name: n for name, n in _counted(self._splits).items() if name != split_table.NONE}
        self.left_out = self._splits.count(split_table.NONE)
        is_local = isinstance(samples.store, LocalStore)
        self.threads = min(_MOST_THREADS, os.cpu_count() or 1) if is_local else _REMOTE_THREADS
        self.count = sum(1 for _ in self.files())
        if not self.count:
            raise UsageError(f"{samples.run.path} has no chips to compute statistics of")

    def files(self) -> Iterator[_File]:
        """Yield the files with pixels, in the order of the plan."""
        for sample, split in zip(self._samples, self._splits, strict=True):
            for stored in sample.files:
                for number, file in enumerate(stored.each_frame()):
                    is_missing = file.frame is not None and file.valid_fraction == 0.0
                    if split != split_table.NONE and file.suffix in chip_suffixes() and not is_missing:
                        place = (number, len(stored.frames)) if stored.frames else None
                        yield _File(split, file.array, file.bands, file.sources, self._read_later(file, place))

    def _read_later(self, file: SampleFile, place: tuple[int, int] | None) -> Callable[[], tuple[BandPixels, ...]]:
        def read() -> tuple[BandPixels, ...]:
            with self._memory.room(file):
                try:
                    return _frame_bands(decode_bands(self._samples.read(file), file.suffix), place)
                except EechipsError as error:
                    raise UsageError(f"{file.name}: {error}" if file.name not in str(error) else str(error)) from error

        return read


class _PackReader:
    """The files of a pack."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: PackIndex = read_index(folder)
        self.info = self._index.run
        self.samples, self.left_out = self._index.splits, sum(self._index.left_out.values())
        self.threads = min(_MOST_THREADS, os.cpu_count() or 1)
        self.count = self._index.samples * len(self._index.layers)  # about: samples may lack a layer

    def files(self) -> Iterator[_File]:
        """Yield the files with pixels, in the order of the shards."""
        module = PACK_FORMATS.get(self._index.format)
        for stored in self._index.shards:
            for entry in module.read(self._folder, stored.shard):
                known = json.loads(entry.metadata)["layers"]
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
                        yield _File(stored.shard.split, array, names, sources, _pixels(content, place))


_Reader = _RunReader | _PackReader


def _is_pack(source: Run | str | Path) -> bool:
    if isinstance(source, Run):
        return False
    return (Path(source) / INDEX_NAME).is_file() and not (Path(source) / LEDGER_NAME).is_file()


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


@dataclass(slots=True)
class _LayerTotals:
    """Totals of a layer.

    Attributes:
        bands: totals by name of the band, then by split.
        classes: counts by name of the band, then by split; of maps of classes.
        names: names of the classes by name of the band.
        files: number of files by split.
    """

    bands: dict[str, dict[str, BandTotals]] = field(default_factory=dict)
    classes: dict[str, dict[str, ClassTotals]] = field(default_factory=dict)
    names: dict[str, Mapping[int, str]] = field(default_factory=dict)
    files: Counter[str] = field(default_factory=Counter)

    def overall(self, band: str) -> BandTotals:
        """Join the totals of all splits of a band."""
        parts = self.bands[band]
        joined = BandTotals(next(iter(parts.values())).dtype)
        for part in parts.values():
            joined.add(_without_fine(part))
        for upper in joined.wanted_bins():
            for part in parts.values():
                if upper in part.fine:
                    joined.add_fine(upper, part.fine[upper])
        return joined


def _compute(reader: _Reader, *, quiet: bool) -> DatasetStatistics:
    layers: dict[str, _LayerTotals] = {}
    records = _Records(reader.info)
    with progress_bar(reader.count, quiet=quiet) as bar:
        for file, totals in parallel_map(_first_pass(records), reader.files(), reader.threads):
            layer = layers.setdefault(file.layer, _LayerTotals())
            layer.files[file.split] += 1
            for name, (band, classes) in totals.items():
                _add(layer, file, name, band, classes)
                if classes is not None:
                    layer.names.setdefault(name, records.classes(file, name))
            bar.update(1)
        wanted = _wanted(layers)
        if any(wanted.values()):
            bar.reset(total=reader.count)
            for file, fine in parallel_map(_second_pass(wanted), reader.files(), reader.threads):
                for name, found in fine.items():
                    for upper, counts in found.items():
                        layers[file.layer].bands[name][file.split].add_fine(upper, counts)
                bar.update(1)
    order = list(reader.samples)
    return DatasetStatistics(
        reader.samples, reader.left_out, {name: _layer_of(layer, order) for name, layer in layers.items()}
    )


def _first_pass(records: _Records) -> Callable[[_File], tuple[_File, dict[str, tuple[BandTotals, ClassTotals | None]]]]:
    def measure(file: _File) -> tuple[_File, dict[str, tuple[BandTotals, ClassTotals | None]]]:
        found: dict[str, tuple[BandTotals, ClassTotals | None]] = {}
        for name, band in _named(file):
            is_class_map = band.values.dtype.kind in "iu" and bool(records.classes(file, name))
            classes = ClassTotals.of(band.values[band.valid]) if is_class_map else None
            found[name] = BandTotals.of(band), classes
        return file, found

    return measure


def _second_pass(
    wanted: Mapping[tuple[str, str, str], frozenset[int]],
) -> Callable[[_File], tuple[_File, dict[str, dict[int, Any]]]]:
    def measure(file: _File) -> tuple[_File, dict[str, dict[int, Any]]]:
        if not any(bins for key, bins in wanted.items() if key[0] == file.layer and key[2] == file.split):
            return file, {}
        found = {}
        for name, band in _named(file):
            bins = wanted[file.layer, name, file.split]
            if bins:
                found[name] = count_fine(band, bins)
        return file, found

    return measure


def _named(file: _File) -> Iterator[tuple[str, BandPixels]]:
    """Yield the bands of a file with their names, or with numbers from 1 if the names are unknown."""
    pixels = file.read()
    names = file.bands
    if names is None or len(names) != len(pixels) or len(set(names)) < len(names):
        names = tuple(str(number) for number in range(1, len(pixels) + 1))
    yield from zip(names, pixels, strict=True)


def _add(layer: _LayerTotals, file: _File, name: str, band: BandTotals, classes: ClassTotals | None) -> None:
    parts = layer.bands.setdefault(name, {})
    try:
        parts.setdefault(file.split, BandTotals(band.dtype)).add(band)
        for part in parts.values():
            if part.is_counted != band.is_counted:
                raise UsageError(f"some files have the type {part.dtype}, others {band.dtype}")
        if classes is not None:
            layer.classes.setdefault(name, {}).setdefault(file.split, ClassTotals()).add(classes)
    except UsageError as error:
        raise UsageError(f"band {name} of layer {file.layer}: {error}") from None


def _wanted(layers: Mapping[str, _LayerTotals]) -> dict[tuple[str, str, str], frozenset[int]]:
    """Return the bins of the second pass by layer, band and split: those of the split and of all splits together."""
    found = {}
    for label, layer in layers.items():
        for name, parts in layer.bands.items():
            overall = layer.overall(name).wanted_bins()
            for split, part in parts.items():
                found[label, name, split] = part.wanted_bins() | overall
    return found


def _without_fine(part: BandTotals) -> BandTotals:
    return BandTotals(
        part.dtype, part.pixels, part.valid, part.least, part.greatest, part.mean, part.squares, part.coarse
    )


def _layer_of(layer: _LayerTotals, order: Iterable[str]) -> LayerStatistics:
    """Compute the statistics of a layer; every split has all of its bands."""
    splits = [split for split in order if split in layer.files and split != WHOLE]
    overall = {name: layer.overall(name) for name in layer.bands}
    everything: dict[str, ClassTotals] = {}
    for name, parts in layer.classes.items():
        everything[name] = ClassTotals()
        for part in parts.values():
            everything[name].add(part)
    return LayerStatistics(
        bands=tuple(layer.bands),
        dtypes=tuple(overall[name].dtype.name for name in layer.bands),
        files={split: layer.files[split] for split in order if split in layer.files},
        overall=tuple(overall[name].statistics() for name in layer.bands),
        splits={
            split: tuple(
                parts.get(split, BandTotals(overall[name].dtype)).statistics() for name, parts in layer.bands.items()
            )
            for split in splits
        },
        classes={name: counts.statistics(layer.names[name]) for name, counts in everything.items()},
        split_classes={
            split: {
                name: parts.get(split, ClassTotals()).statistics(layer.names[name])
                for name, parts in layer.classes.items()
            }
            for split in splits
        },
    )


class _Records:
    """The classes of bands, by the records of the datasets that files show.

    Args:
        info: run.json, or the entry ``run`` of a pack's index.
    """

    def __init__(self, info: Mapping[str, Any]) -> None:
        listed = info.get("datasets") or ()
        self._of_run = tuple(each["id"] for each in listed if isinstance(each, Mapping) and "id" in each)

    def classes(self, file: _File, band: str) -> Mapping[int, str]:
        """Return the names of the classes of a band; empty if it is no map of classes."""
        collections = dict.fromkeys(source.rpartition("/")[0] for source in file.sources)
        candidates = (*collections, *file.sources, *self._of_run)
        return next(filter(None, (_classes_of(name, band) for name in candidates)), {})


@lru_cache(maxsize=4096)
def _classes_of(identifier: str, band: str) -> Mapping[int, str]:
    record = datasets.find_dataset(identifier) if identifier else None
    if record is None:
        return {}
    return next((known.classes for known in record.bands if known.name == band), {})


def _counted(splits: Iterable[str]) -> dict[str, int]:
    """Return the number of samples of each split: train, validation and test first, then others by name."""
    found = Counter(splits)
    usual = [name for name in ("train", "validation", "test") if name in found]
    return {name: found[name] for name in [*usual, *sorted(found.keys() - set(usual))]}


def _layer_json(layer: LayerStatistics) -> dict[str, Any]:
    def part(bands: tuple[BandStatistics, ...], classes: Mapping[str, ClassStatistics]) -> dict[str, Any]:
        return {
            "pixels": [band.pixels for band in bands],
            "valid": [band.valid for band in bands],
            "valid_fraction": [band.valid / band.pixels if band.pixels else None for band in bands],
            "mins": [band.min for band in bands],
            "maxs": [band.max for band in bands],
            "means": [band.mean for band in bands],
            "stds": [band.std for band in bands],
            "percentiles": {str(q): [band.percentiles[q] for band in bands] for q in bands[0].percentiles},
            "classes": {name: asdict(counts) for name, counts in classes.items()},
        }

    return {
        "bands": list(layer.bands),
        "dtypes": list(layer.dtypes),
        "files": dict(layer.files),
        WHOLE: part(layer.overall, layer.classes),
        "splits": {split: part(bands, layer.split_classes[split]) for split, bands in layer.splits.items()},
    }


def _check_target(path: Path) -> None:
    """Raise UsageError if there is a file that eechips has not written."""
    if not path.exists():
        return
    try:
        is_own = json.loads(path.read_bytes())["schema"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
        is_own = False
    if not is_own:
        raise UsageError(f"{path} was not written by eechips stats and is not replaced: move it away")
