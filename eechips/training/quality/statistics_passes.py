"""Compute statistics of the pixels of a run or a pack, by layer, band and split, and write ``stats.json``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from eechips import datasets
from eechips.errors import StorageError, UsageError
from eechips.manifest.run import Run
from eechips.option_fields import filled, takes
from eechips.processes.parallel_map import parallel_map
from eechips.storage import write_file
from eechips.storage.untrusted_files import read_json
from eechips.text.progress_bar import progress_bar
from eechips.training.quality.band_statistics import BandStatistics, BandTotals, count_fine
from eechips.training.quality.chip_pixels import BandPixels
from eechips.training.quality.class_weights import MOST_KINDS, ClassStatistics, ClassTotals
from eechips.training.quality.pixel_readers import PixelFile, PixelReader, open_pixels
from eechips.training.splits.split_balance import TRAIN
from eechips.training.splits.split_table import WHOLE
from eechips.training.training_options import StatsOptions

STATS_NAME = "stats.json"
"""The file with the statistics, in the folder of the run or pack."""

SCHEMA = "eechips-stats-1"
"""Name and version of the file's schema, in its field ``schema``."""

_MOST_UNNAMED = 256  # values of a map of classes that no record names, in all files


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """Statistics of a layer.

    Attributes:
        bands: names of the bands, in their order in the files.
        dtypes: numpy names of their types.
        files: number of files by split.
        overall: statistics of each band in all files.
        splits: the same by split; empty if there are no splits.
        classes: classes of bands that are maps of classes: their classes in all files.
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

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.samples.items())
        return f"<eechips statistics: {counts}; layers {', '.join(self.layers)}>"

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
        layer_bands = {name: list(layer.bands) for name, layer in self.layers.items()}
        return next(iter(layer_bands.values())) if len(layer_bands) == 1 else layer_bands

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each layer, split and band, with all statistics; percentiles are ``p1``, ``p2``, …"""
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
        layer_values = {}
        for layer_name, layer in self.layers.items():
            bands = layer.splits.get(self.reference, layer.overall)
            layer_values[layer_name] = [getattr(band, name) for band in bands]
        return next(iter(layer_values.values())) if len(layer_values) == 1 else layer_values


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
    reader = open_pixels(source)
    target = path / STATS_NAME if chosen.out is None else Path(chosen.out)
    _check_target(target)
    statistics = _compute(reader, quiet=chosen.quiet)
    write_file(target, (json.dumps(statistics.to_json(), indent=1, ensure_ascii=False) + "\n").encode())
    return statistics


_FileTotals = dict[str, tuple[BandTotals, ClassTotals | None]]
"""Totals of one file by name of the band; counts of classes where the band is a map of classes."""


@dataclass(slots=True)
class _LayerTotals:
    """Totals of a layer.

    Attributes:
        bands: totals by name of the band, then by split.
        classes: counts by name of the band, then by split; of maps of classes.
        names: names of the classes by name of the band.
        unclassed: bands that the record does not call maps of classes, and that have too many values for one.
        files: number of files by split.
    """

    bands: dict[str, dict[str, BandTotals]] = field(default_factory=dict)
    classes: dict[str, dict[str, ClassTotals]] = field(default_factory=dict)
    names: dict[str, Mapping[int, str]] = field(default_factory=dict)
    unclassed: set[str] = field(default_factory=set)
    files: Counter[str] = field(default_factory=Counter)

    def add_classes(self, band: str, split: str, counts: ClassTotals, names: Mapping[int, str]) -> None:
        """Add the classes of a file.

        Args:
            names: names of the classes; empty for a band that is a map of classes if it has few values.

        Raises:
            UsageError: if a map of classes that are named has too many values.
        """
        if band in self.unclassed:
            return
        self.names.setdefault(band, names)
        totals = self.classes.setdefault(band, {}).setdefault(split, ClassTotals())
        if names or len(counts.counts) <= MOST_KINDS:
            totals.add(counts)
        if not names and (len(counts.counts) > MOST_KINDS or len(totals.counts) > _MOST_UNNAMED):
            self.unclassed.add(band)
            del self.classes[band]

    def overall(self, band: str) -> BandTotals:
        """Join the totals of all splits of a band."""
        parts = self.bands[band]
        joined = BandTotals(next(iter(parts.values())).dtype)
        for part in parts.values():
            joined.add(replace(part, fine={}))
        for upper in joined.wanted_bins():
            for part in parts.values():
                if upper in part.fine:
                    joined.add_fine(upper, part.fine[upper])
        return joined


def _compute(reader: PixelReader, *, quiet: bool) -> DatasetStatistics:
    layers: dict[str, _LayerTotals] = {}
    listed = reader.info.get("datasets") or ()
    of_run = [dataset["id"] for dataset in listed if isinstance(dataset, Mapping) and "id" in dataset]
    with progress_bar(reader.count, quiet=quiet) as bar:
        for file, totals in parallel_map(partial(_first_pass, of_run), reader.files(), reader.threads):
            layer = layers.setdefault(file.layer, _LayerTotals())
            layer.files[file.split] += 1
            for name, (band, classes) in totals.items():
                _add(layer, file, name, band, classes, _classes(file, name, of_run))
            bar.update(1)
        wanted = _wanted(layers)
        if any(wanted.values()):
            bar.reset(total=reader.count)
            for file, fine in parallel_map(partial(_second_pass, wanted), reader.files(), reader.threads):
                for name, band_counts in fine.items():
                    for upper, counts in band_counts.items():
                        layers[file.layer].bands[name][file.split].add_fine(upper, counts)
                bar.update(1)
    order = list(reader.samples)
    return DatasetStatistics(
        reader.samples, reader.left_out, {name: _layer_of(layer, order) for name, layer in layers.items()}
    )


def _first_pass(of_run: Sequence[str], file: PixelFile) -> tuple[PixelFile, _FileTotals]:
    file_totals: _FileTotals = {}
    bands = dict(_named(file))
    for name, band in bands.items():
        may_have_classes = bool(_classes(file, name, of_run)) or len(bands) == 1
        is_whole = may_have_classes and band.values.dtype.kind in "iu"
        classes = ClassTotals.of(band.values[band.valid]) if is_whole else None
        file_totals[name] = BandTotals.of(band), classes
    return file, file_totals


def _second_pass(
    wanted: Mapping[tuple[str, str, str], frozenset[int]], file: PixelFile
) -> tuple[PixelFile, dict[str, dict[int, Any]]]:
    if not any(bins for key, bins in wanted.items() if key[0] == file.layer and key[2] == file.split):
        return file, {}
    bands = ((name, band, wanted[file.layer, name, file.split]) for name, band in _named(file))
    return file, {name: count_fine(band, bins) for name, band, bins in bands if bins}


def _named(file: PixelFile) -> Iterator[tuple[str, BandPixels]]:
    """Yield the bands of a file with their names, or with numbers from 1 if the names are unknown."""
    pixels = file.read()
    names = file.bands
    if names is None or len(names) != len(pixels) or len(set(names)) < len(names):
        names = tuple(str(number) for number in range(1, len(pixels) + 1))
    yield from zip(names, pixels, strict=True)


def _add(
    layer: _LayerTotals,
    file: PixelFile,
    name: str,
    band: BandTotals,
    classes: ClassTotals | None,
    names: Mapping[int, str],
) -> None:
    parts = layer.bands.setdefault(name, {})
    try:
        parts.setdefault(file.split, BandTotals(band.dtype)).add(band)
        for part in parts.values():
            if part.is_counted != band.is_counted:
                raise UsageError(f"some files have the type {part.dtype}, others {band.dtype}")
        if classes is not None:
            layer.add_classes(name, file.split, classes, names)
    except UsageError as error:
        raise UsageError(f"band {name} of layer {file.layer}: {error}") from None


def _wanted(layers: Mapping[str, _LayerTotals]) -> dict[tuple[str, str, str], frozenset[int]]:
    """Return the bins of the second pass by layer, band and split: those of the split and of all splits together."""
    wanted_bins = {}
    for label, layer in layers.items():
        for name, parts in layer.bands.items():
            overall = layer.overall(name).wanted_bins()
            for split, part in parts.items():
                wanted_bins[label, name, split] = part.wanted_bins() | overall
    return wanted_bins


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


def _classes(file: PixelFile, band: str, of_run: Sequence[str]) -> Mapping[int, str]:
    """Return the names of the classes of a band by the datasets that a file shows; empty if it is no map of classes."""
    collections = dict.fromkeys(source.rpartition("/")[0] for source in file.sources)
    return next(filter(None, (_classes_of(name, band) for name in (*collections, *file.sources, *of_run))), {})


@lru_cache(maxsize=4096)
def _classes_of(identifier: str, band: str) -> Mapping[int, str]:
    record = datasets.find_dataset(identifier) if identifier else None
    if record is None:
        return {}
    return next((known.classes for known in record.bands if known.name == band), {})


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
    """Raise UsageError if there is a file that eechips has not written, or a link or pipe."""
    try:
        is_own = read_json(path, path.parent)["schema"] == SCHEMA
    except FileNotFoundError:
        return
    except (StorageError, UsageError, KeyError, TypeError):
        is_own = False
    if not is_own:
        raise UsageError(f"{path} was not written by eechips stats and is not replaced: move it away")
