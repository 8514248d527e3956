"""Summarise a run in numbers, for its data card."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from eechips.geo.crs import parse_crs
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.manifest.data_source import DEMO_SOURCE
from eechips.manifest.pictures.display_styles import class_names
from eechips.manifest.run import Run
from eechips.text.progress_bar import progress_bar
from eechips.training.cards.label_fields import LabelFields
from eechips.training.quality import quality_table
from eechips.training.sample import ONLY, STRATA, Sample, SampleFile
from eechips.training.sample_reader import Samples
from eechips.training.splits import split_table

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees; west is greater than east across the antimeridian."""

_A, _E2 = 6_378_137.0, 0.006_694_379_990_14  # of WGS84


@dataclass(slots=True)
class LayerSummary:
    """The files of a layer.

    Attributes:
        name: name of the layer; empty if samples have one file.
        dataset: id of the asset that it shows; None if unknown.
        files: how many.
        bytes: number of bytes of all of them.
        suffixes: suffixes of their names, with how many there are of each, as in what follows.
        folders: first parts of their names.
        dtypes: numpy names.
        sizes: width and height in pixels.
        resolutions: edges of a pixel in metres, to three digits; of degrees along the meridian, to two.
        partial: files with masked pixels.
        valid: least share of valid pixels; None if unknown.
        rows: rows of tables, all together.
    """

    name: str
    dataset: str | None
    files: int = 0
    bytes: int = 0
    suffixes: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    bands: Counter[tuple[str, ...]] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    resolutions: Counter[float] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    partial: int = 0
    valid: float | None = None
    rows: int = 0

    def add(self, file: SampleFile) -> None:
        """Count a file."""
        self.files += 1
        self.bytes += file.bytes
        self.suffixes[file.suffix] += 1
        self.folders[file.name.rpartition("/")[0].partition("/")[0]] += 1
        self.rows += file.rows or 0
        if file.bands is not None:
            self.bands[file.bands] += 1
        if file.dtype is not None:
            self.dtypes[file.dtype] += 1
        if file.valid_fraction is not None:
            self.partial += file.valid_fraction < 1.0
            self.valid = file.valid_fraction if self.valid is None else min(self.valid, file.valid_fraction)
        grid = file.grid
        if grid is not None:
            self.sizes[grid.width, grid.height] += 1
            self.systems[grid.crs] += 1
            self.resolutions[_metres(grid)] += 1


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers.

    Attributes:
        info: run.json.
        states: units by state.
        samples: units with files.
        layers: in the order in which they come up.
        classes: names of the values of ``class``, of maps that eechips knows.
        stratum: field of a unit with the stratum that it was drawn in, or else the user's label; None if there is none.
        strata: samples by stratum and split, in order; the stratum is empty without one, the split without splits.
        bounds: bounds of all outlines; None if nothing has one.
        dates: the first and the last, ISO 8601; None if there are none.
        split_options: how the splits were made; None if they were not.
        checked: samples that were checked; None if none were.
        flags: samples by what is wrong with them.
        has_frames: whether files are frames of time series.
    """

    info: Mapping[str, Any]
    states: Mapping[str, int]
    samples: int
    layers: tuple[LayerSummary, ...]
    classes: Mapping[int, str]
    stratum: str | None
    strata: Mapping[tuple[Any, str], int]
    bounds: Bounds | None
    dates: tuple[str, str] | None
    split_options: Mapping[str, Any] | None
    checked: int | None
    flags: Mapping[str, int]
    has_frames: bool = False

    @property
    def files(self) -> int:
        """The number of files of the samples."""
        return sum(layer.files for layer in self.layers)

    @property
    def bytes(self) -> int:
        """The size of all files of the samples in bytes."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def splits(self) -> dict[str, int]:
        """The number of samples by split, in order of appearance; empty without splits."""
        split_counts: Counter[str] = Counter()
        for (_, split), count in self.strata.items():
            split_counts[split] += count
        return dict(split_counts) if self.split_options is not None else {}

    @property
    def is_synthetic(self) -> bool:
        """Return whether all data are synthetic, such as those of the demo planet."""
        return self.info.get("source") == DEMO_SOURCE

    def cite(self, citation: str) -> str:
        """Return a citation with the years of the data; see :func:`fill_year`."""
        return fill_year(citation, self.dates or _requested_days(self.info.get("parameters") or {}))


def fill_year(citation: str, days: tuple[str, str] | None) -> str:
    """Return a citation with the years of the data in the place of ``[year]``; unchanged if they are not known.

    Args:
        citation: as the producers ask for it (https://sentinels.copernicus.eu/documents/247904/690755/
            Sentinel_Data_Legal_Notice: "Contains modified Copernicus Sentinel data [Year]").
        days: the first and the last day of the data, as texts that begin with the year.
    """
    if days is None:
        return citation
    first, last = (day[:4] for day in days)
    return citation.replace("[year]", first if first == last else f"{first}–{last}")


def _requested_days(parameters: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first and the last requested day; None if an end is open."""
    start, end = parameters.get("start"), parameters.get("end")
    try:
        last = dt.date.fromisoformat(str(end)) - dt.timedelta(days=1)  # the end is exclusive
        return dt.date.fromisoformat(str(start)).isoformat(), last.isoformat()
    except ValueError:
        return None


def summarize(samples: Samples) -> Summary:
    """Summarise a run without opening its files."""
    run = samples.run
    sources, layers, has_frames = _sources(run), dict[str, LayerSummary](), False
    strata: Counter[tuple[Any, str]] = Counter()
    flags: Counter[str] = Counter()
    names: Counter[str] = Counter()
    split_options = split_table.options(run.path) if (run.path / split_table.SPLITS_NAME).is_file() else None
    labels = LabelFields((split_options or {}).get("stratum"))
    first, last, checked, grids = None, None, 0, []
    for sample in progress_bar(unit="samples", quiet=False, things=samples, is_kept=False):
        for file in sample.files:
            if file.layer not in layers:
                source = sources.get(file.layer if file.series is None else file.series)
                layers[file.layer] = LayerSummary(file.layer, source)
            layers[file.layer].add(file)
            has_frames = has_frames or file.series is not None
        grid = sample.files[0].grid
        if grid is not None:
            grids.append(grid)
        name, value = _stratum(sample)
        names[name] += 1
        strata[value, sample.split or ""] += 1
        labels.add(sample)
        flags.update(sample.flags or ())
        checked += sample.flags is not None
        for date in sample.dates:
            first, last = min(first or date, date), max(last or date, date)
    stratum = names.most_common(1)[0][0] if names else ""
    if not stratum:
        stratum, strata = labels.find() or (stratum, strata)
    order = _order_of_splits(samples)
    return Summary(
        info=run.info,
        states=run.counts,
        samples=len(samples),
        layers=tuple(layers.values()),
        classes=class_names(run.info) if stratum == "class" else {},
        stratum=stratum or None,
        strata=dict(sorted(strata.items(), key=lambda item: (_key(item[0][0]), order.index(item[0][1])))),
        bounds=bounds_of(grids),
        dates=None if first is None or last is None else (first, last),
        split_options=split_options,
        checked=checked if (run.path / quality_table.QUALITY_NAME).is_file() else None,
        flags=dict(sorted(flags.items())),
        has_frames=has_frames,
    )


def bounds_of(grids: Sequence[Grid]) -> Bounds | None:
    """Return the smallest box of longitude and latitude around grids; it may cross the antimeridian."""
    outlines = footprints(grids)
    located = outlines[[outline is not None for outline in outlines]]
    part_bounds = shapely.bounds(shapely.get_parts(located)).reshape(-1, 4)
    if not len(part_bounds):
        return None
    west, east = _around(part_bounds[:, 0], part_bounds[:, 2])
    return west, float(part_bounds[:, 1].min()), east, float(part_bounds[:, 3].max())


def _around(wests: Any, easts: Any) -> tuple[float, float]:
    """Return the smallest range of longitudes that contains given ranges: the circle without the widest gap."""
    order = np.argsort(wests, kind="stable")
    wests, reach = wests[order], np.maximum.accumulate(easts[order])
    gaps = np.append(wests[1:] - reach[:-1], wests[0] + 360.0 - reach[-1])
    widest = len(gaps) - 1 if gaps[-1] >= gaps.max() else int(gaps.argmax())
    return float(wests[(widest + 1) % len(gaps)]), float(reach[widest])


def _sources(run: Run) -> dict[str, str]:
    """Return the dataset of each layer, as far as run.json states it."""
    parameters = run.info.get("parameters") or {}
    layers = parameters.get("layers")
    if isinstance(layers, list):
        return {layer["layer"]: layer["dataset"] for layer in layers if isinstance(layer, dict) and "layer" in layer}
    dataset = parameters.get("dataset")
    return {ONLY: dataset} if isinstance(dataset, str) else {}


def _stratum(sample: Sample) -> tuple[str, Any]:
    return next(((name, sample.fields[name]) for name in STRATA if name in sample.fields), ("", ""))


def _order_of_splits(samples: Samples) -> list[str]:
    """Return the splits in their requested order; left-out samples come last."""
    usual = ["train", "validation", "test"]
    there = {name or "" for name in samples.splits}
    return [*(n for n in usual if n in there), *sorted(there - {*usual, split_table.NONE, ""}), split_table.NONE, ""]


def _key(value: Any) -> tuple[bool, Any]:
    """Return a key that sorts numbers before texts."""
    return (True, value) if isinstance(value, str) else (False, value)


def _metres(grid: Grid) -> float:
    """Return the edge of a pixel."""
    crs = parse_crs(grid.crs)
    _, down = grid.resolution
    if not crs.is_geographic:
        return float(f"{down * float(crs.axis_info[0].unit_conversion_factor):.3g}")
    _, latitude = grid.xy(grid.width / 2, grid.height / 2)
    radius = _A * (1 - _E2) / (1 - _E2 * math.sin(math.radians(latitude)) ** 2) ** 1.5  # of the meridian's curve
    return float(f"{math.radians(down) * radius:.2g}")
