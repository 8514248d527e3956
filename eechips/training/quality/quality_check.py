"""Check the chips of a run, of files that an earlier check has read only those that have changed; flag defects, and say
what could not be checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import shapely
from rasterio.errors import NotGeoreferencedWarning
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError, UsageError, ValidationError
from eechips.formats import chip_suffixes, validate
from eechips.geo.polygons import wrap_at_antimeridian
from eechips.geo.vector_paths import is_vector_file
from eechips.geo.vectors import read_vectors
from eechips.manifest.added_columns import add_findings
from eechips.manifest.region_file import read_region_file
from eechips.manifest.run import Run
from eechips.option_fields import filled, takes
from eechips.processes.parallel_map import parallel_map
from eechips.processes.warning_filters import ignore_warning
from eechips.storage import Store
from eechips.text.progress_bar import progress_bar
from eechips.training.quality import quality_table
from eechips.training.quality.chip_statistics import ChipStatistics, compute_statistics
from eechips.training.quality.pixel_readers import reader_threads
from eechips.training.quality.quality_flags import FLAGS, CheckedFile, set_flags
from eechips.training.sample import SampleFile
from eechips.training.sample_reader import Samples, read_samples
from eechips.training.training_options import CheckOptions


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The result of a check.

    Attributes:
        files: a row for every file; see :func:`eechips.training.quality.quality_table.read`.
        read: number of files that were read; the others had been read before.
        unchecked: flags that could not be set, with the reason.
    """

    run: Run
    files: pd.DataFrame
    read: int
    unchecked: Mapping[str, str]

    def __repr__(self) -> str:
        flagged, units = self.flagged["id"].nunique(), self.files["id"].nunique()
        left = f"; not checked: {', '.join(self.unchecked)}" if self.unchecked else ""
        return f"<eechips check of {self.run.path}: {flagged} of {units} units flagged{left}>"

    @property
    def flagged(self) -> pd.DataFrame:
        """The rows with a flag."""
        return self.files[self.files["flags"].map(len) > 0]

    @property
    def counts(self) -> pd.DataFrame:
        """The number of files with each flag: rows flag, columns layer (``""`` for units of one file)."""
        flag_rows = self.flagged.explode("flags")
        table: pd.DataFrame = pd.crosstab(flag_rows["flags"], flag_rows["layer"].fillna(""))
        return table.reindex([name for name in FLAGS if name in table.index])

    def units(self, flags: Collection[str] = tuple(FLAGS)) -> dict[str, list[str]]:
        """Return the flags of units that have any of the given flags, by id, in the order of the plan."""
        flags_of: dict[str, set[str]] = {}
        flagged = self.flagged
        for identifier, own in zip(flagged["id"], flagged["flags"], strict=True):
            names = set(own) & set(flags)
            if names:
                flags_of.setdefault(identifier, set()).update(names)
        return {identifier: [name for name in FLAGS if name in names] for identifier, names in flags_of.items()}


@takes(CheckOptions)
def check(run: Run | str | Path, **options: Any) -> QualityReport:
    """Check the chips of a run, and write their flags to ``quality.parquet`` beside the manifest.

    Files that an earlier check has read, and that have not changed since, are not read again; the flags are set anew.
    With ``bits=None`` near duplicates are not searched for.

    Args:
        run: the run, finished or in progress, or its folder.
        options: fields of ``CheckOptions``.

    Returns:
        The statistics and flags, as written.

    Raises:
        UsageError: if the run has no chips, or an option is out of range.
        StorageError: if it cannot be written.

    Example:
        >>> eechips.check("outputs/sample-naip").flagged[["file", "flags"]]
    """
    chosen = filled(CheckOptions, options)
    samples = read_samples(run)
    info = samples.run.info
    region = requested_region(chosen.roi, samples.run.path, info)
    ignored = _ignored(chosen.ignore, samples)
    if not any(file.suffix in chip_suffixes() for sample in samples for file in sample.files):
        raise UsageError(f"{samples.run.path} has no chips to check")
    files, count, started = _measured(samples, info, again=chosen.again, quiet=chosen.quiet)
    set_flags(files, chosen, info, region, ignored)
    unchecked = _unchecked(files, region is not None, info, chosen.bits)
    report = QualityReport(samples.run, _frame(files), count, unchecked)
    quality_table.write(samples.run.path, report.files, _recorded(chosen, ignored), started)
    add_findings(samples.run, "flags", quality_table.flags(samples.run.path))
    return report


def _recorded(options: CheckOptions, ignored: frozenset[tuple[str, str | None]]) -> dict[str, Any]:
    """Return the options that decide the flags, as JSON."""
    recorded_options = {name: value for name, value in asdict(options).items() if name not in ("again", "quiet")}
    recorded_options["roi"] = None if options.roi is None else str(options.roi)
    recorded_options["ignore"] = sorted(f"{flag}:{layer}" if layer is not None else flag for flag, layer in ignored)
    return recorded_options


def _ignored(ignore: str | Sequence[str], samples: Samples) -> frozenset[tuple[str, str | None]]:
    words = ignore.split(",") if isinstance(ignore, str) else [part for text in ignore for part in text.split(",")]
    pairs = set()
    for word in filter(None, (word.strip() for word in words)):
        flag, colon, layer = word.partition(":")
        if flag not in FLAGS:
            raise UsageError(f"ignore {word!r}: unknown flag; known are {', '.join(FLAGS)}")
        if colon and layer not in samples.layers:
            there = ", ".join(name for name in samples.layers if name) or "none"
            raise UsageError(f"ignore {word!r}: unknown layer; known are {there}")
        pairs.add((flag, layer if colon else None))
    return frozenset(pairs)


def _measured(
    samples: Samples, info: Mapping[str, Any], *, again: bool, quiet: bool
) -> tuple[list[CheckedFile], int, float]:
    """Return the files with pixels and their statistics, the number of files that were read, and the time before."""
    reader = _Reader(samples.store, [dataset["id"] for dataset in info.get("datasets") or ()])
    work = [(sample, file) for sample in samples for file in sample.files if file.suffix in chip_suffixes()]
    checked_files = []
    ignore_warning(NotGeoreferencedWarning)
    earlier = {} if again else quality_table.measured(samples.run.path)
    with quality_table.Journal(samples.run.path) as journal:
        known = _unchanged(samples.store, [file for _, file in work], earlier)
        unread = (file for index, (_, file) in enumerate(work) if index not in known)
        fresh = parallel_map(reader.read, unread, reader_threads(samples.store, (file for _, file in work)))
        with progress_bar(len(work) - len(known), quiet=quiet) as bar:
            for index, (sample, file) in enumerate(work):
                digest: str | None = file.sha256
                measures: ChipStatistics | None = known.get(index)
                if measures is None:
                    digest, measures = next(fresh)
                    bar.update(1)
                    if digest is not None and measures is not None:
                        journal.add(file.name, digest, measures)
                checked_files.append(CheckedFile(sample.id, sample.unit, file, digest, measures))
    # A missing file has no checksum.
    return checked_files, sum(file.sha256 is not None for file in checked_files) - len(known), journal.started


def _unchanged(
    store: Store, files: Sequence[SampleFile], earlier: Mapping[tuple[str, str], tuple[float, ChipStatistics]]
) -> dict[int, ChipStatistics]:
    """Return the statistics of files that have not changed since an earlier check, by their numbers."""
    folders = sorted({file.name.rpartition("/")[0] for file in files})
    there = {file.name: file for file in store.files(folders)} if earlier else {}
    unchanged = {}
    for index, file in enumerate(files):
        known, stored = earlier.get((file.name, file.sha256)), there.get(file.name)
        if known is None or stored is None or stored.size != file.bytes:
            continue
        started, measures = known
        if stored.changed is None or stored.changed <= started:  # a store may not tell times
            unchanged[index] = measures
    return unchanged


class _Reader:
    """Read and measure files, for several threads."""

    def __init__(self, store: Store, datasets: Sequence[str]) -> None:
        self._store, self._datasets = store, datasets

    def read(self, file: SampleFile) -> tuple[str | None, ChipStatistics | None]:
        """Return SHA-256 and statistics of a file; None if it is missing or does not decode."""
        try:
            data = self._store.read(file.name)
        except OSError:
            return None, None
        digest = hashlib.sha256(data).hexdigest()
        try:
            if digest != file.sha256:
                validate(data, file.suffix)  # to the last byte
            return digest, compute_statistics(data, file, self._datasets)
        except (ValidationError, UsageError, ValueError):  # an array of objects, or of other dimensions
            return digest, None


def _frame(files: Sequence[CheckedFile]) -> pd.DataFrame:
    nothing, names = ChipStatistics(), [field.name for field in fields(ChipStatistics)]
    rows = [
        {
            "id": checked.id,
            "layer": checked.file.layer or None,
            "file": checked.file.name,
            "bytes": checked.file.bytes,
            "sha256": checked.sha256,
            "flags": checked.flags,
            "duplicate_of": checked.duplicate_of,
            **{name: getattr(checked.measures or nothing, name) for name in names},
        }
        for checked in files
    ]
    return pd.DataFrame(rows)


def _unchecked(
    files: Sequence[CheckedFile], has_region: bool, info: Mapping[str, Any], bits: int | None
) -> dict[str, str]:
    """Return the flags that were not checked for any file, with the reason."""
    reasons = {}
    measures = [checked.measures for checked in files if checked.measures is not None]
    if all(statistics.cloud_fraction is None for statistics in measures):
        reasons["cloudy"] = "no file has a quality band that shows clouds, such as SCL or QA_PIXEL"
    if not has_region:
        roi = (info.get("parameters") or {}).get("roi")
        what = f"only Earth Engine knows {roi}" if roi else "the run has no region"
        reasons["outside"] = f"{what}: name one with `roi`, as W,S,E,N or a file"
    elif not any(checked.file.transform for checked in files):
        reasons["outside"] = "the location of the files is unknown: they have no crs and transform"
    if all(statistics.offset is None for statistics in measures):
        reasons["shifted"] = "files of this kind say nothing of their place: only the manifest was compared"
    if bits is not None and all(statistics.dhash is None for statistics in measures):
        reasons["near_duplicate"] = "there is too little to see in the chips, or they are smaller than 9x9 pixels"
    return reasons


def requested_region(roi: str | Path | None, folder: Path, info: Mapping[str, Any]) -> BaseGeometry | None:
    """Return the region that must contain the chips of a run.

    Args:
        roi: ``W,S,E,N`` in degrees, or a vector file; None for what run.json says.
        info: run.json.

    Returns:
        Polygons in longitude and latitude; None if the run has no region, or one that only Earth Engine knows, or a
        file that is not there any more, see :func:`eechips.manifest.region_file.find_region_file`.

    Raises:
        RegionError: if ``roi`` is given and is neither.
    """
    if roi is not None:
        box = _box(str(roi))
        if box is not None:
            return box
        if not is_vector_file(roi):
            raise RegionError(f"roi {str(roi)!r} is neither W,S,E,N in degrees nor a vector file")
        return shapely.union_all(read_vectors(Path(roi), crs_option=None).geometries)
    named = (info.get("parameters") or {}).get("roi")
    box = _box(named) if isinstance(named, str) else None
    return read_region_file(folder, info) if box is None else box


def _box(roi: str) -> BaseGeometry | None:
    """Return the box ``W,S,E,N``; None if the text is none."""
    try:
        west, south, east, north = map(float, roi.split(","))
    except ValueError:
        return None
    if not (south < north and west != east):
        raise RegionError(f"{roi!r} is not W,S,E,N in degrees")
    return wrap_at_antimeridian(shapely.box(west, south, east + 360.0 if east < west else east, north))
