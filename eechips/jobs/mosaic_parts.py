"""Assemble the fetched windows of a mosaic on the disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.engine.progress import Progress
from eechips.engine.result_assembly import CompletedUnit, Results
from eechips.engine.result_stores import refuse_small_disk
from eechips.errors import StorageError
from eechips.files.hashes import hash_file
from eechips.formats import cog
from eechips.geo.grid import Window
from eechips.jobs.mosaic_tiles import MosaicLayout
from eechips.recipe import canonical_json
from eechips.storage import ID_LENGTH, fold_case, safe_component
from eechips.text.formatting import format_bytes, format_count

MOSAIC_NAME = "mosaic.tif"
_MOSAICS = "mosaics"  # folder of those of several regions
SMALL_DISK = "choose another folder, a smaller region, or a coarser scale"

_COMPRESSION = 0.7  # bytes of a window's file for each byte of its pixels; as in engine.estimate
_WRITTEN = 2 * cog.GROWTH - 1  # bytes written for each byte of a mosaic: overviews are written twice
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class MosaicPart:
    """A fetched window whose file is unchanged.

    Attributes:
        layout: layout of the mosaic.
        window: its position in the mosaic.
        path: path of its file.
        file: path below the output folder.
        bytes: number of bytes of the file.
        sha256: SHA-256 digest of the file.
        valid_fraction: share of its pixels that are not masked.
    """

    layout: MosaicLayout
    window: Window
    path: Path
    file: str
    bytes: int
    sha256: str
    valid_fraction: float

    @classmethod
    def of(cls, settled: CompletedUnit) -> MosaicPart:
        """Check that the file is unchanged since it was fetched.

        Raises:
            StorageError: if it has changed.
        """
        record, path, unit = settled.record, settled.path, settled.unit
        assert path is not None
        if hash_file(path) != record.sha256:
            raise StorageError(
                f"{path} has changed since it was fetched: remove it, and the same command fetches it again"
            )
        window = Window(unit["column"], unit["row"], unit["width"], unit["height"])
        facts_of = (str(record.file), record.bytes or 0, str(record.sha256), record.valid_fraction or 0.0)
        return cls(MosaicLayout.from_json(unit["mosaic"]), window, path, *facts_of)


def assemble_mosaic(
    results: Results, pieces: Sequence[MosaicPart], mosaic: cog.Mosaic, name: str = MOSAIC_NAME
) -> None:
    """Make a mosaic, compare it with its windows, and write the table of windows, ``<name>.windows.parquet``.

    Args:
        results: results of the run.
        pieces: all windows with data.
        mosaic: grid, bands and encoding of the mosaic.
        name: name of its file, ending in ``.tif``.

    Raises:
        StorageError: if the disk is too small, or the mosaic cannot be written.
        ValidationError: if the pixels of the mosaic differ from its windows.
    """
    windows = _make(results, pieces, mosaic, name)
    layout = canonical_json({"mosaic": name, **pieces[0].layout.to_json()})
    with results.make(f"{name.removesuffix('.tif')}.windows.parquet") as path:
        pq.write_table(windows.replace_schema_metadata({"eechips": layout}), path)


def _make(results: Results, pieces: Sequence[MosaicPart], mosaic: cog.Mosaic, name: str) -> pa.Table:
    """Make a mosaic, compare it with its windows, and return the table of windows.

    See :func:`assemble_mosaic`.
    """
    stored = sum(piece.bytes for piece in pieces)
    written = round(_WRITTEN * (mosaic.bytes if mosaic.compress == "none" else stored))
    refuse_small_disk(pieces[0].path.parent, written, SMALL_DISK)
    with results.make(name) as path:
        with results.progress(math.ceil(written / _MEGABYTE), "MB") as progress:
            mosaic.write(path, _Gauge(progress).show)
        with results.progress(len(pieces), "windows checked") as progress:
            digests = []
            for _, digest in mosaic.check(path):
                digests.append(digest)
                progress.settle(failed=False)
                progress.show(0, 0)
        size = path.stat().st_size
    what = f"{mosaic.grid.width:,}x{mosaic.grid.height:,} pixels, {', '.join(mosaic.bands[:8])} of {mosaic.dtype}"
    results.say(f"{name}: {what}, {format_bytes(size)}, of {format_count(len(pieces), 'window')}")
    return _windows(pieces, digests)


def assemble_mosaics(
    results: Results,
    pieces: Mapping[Any, Sequence[MosaicPart]],
    failed: Collection[Any],
    describe: Callable[[Sequence[MosaicPart]], cog.Mosaic],
) -> None:
    """Make the mosaic of each region, ``mosaics/<region>.tif``, and the table of all windows.

    The table, ``mosaics.windows.parquet``, has the columns ``region`` and ``mosaic``, the file, besides those of a
    single mosaic.

    Args:
        results: results of the run.
        pieces: windows with data of each region of the plan; names of files depend on all regions.
        failed: regions of which a window failed; they have no mosaic.
        describe: returns grid, bands and encoding of the mosaic of some windows.

    Raises:
        StorageError: if the disk is too small, or a mosaic cannot be written.
        ValidationError: if the pixels of a mosaic differ from its windows.
    """
    tables = []
    for region, name in _names(pieces).items():
        if region in failed:
            results.say(f"No mosaic of {region}: one of its windows failed")
            continue
        if not pieces[region]:
            results.say(f"No mosaic of {region}: no window has data")
            continue
        windows = _make(results, pieces[region], describe(pieces[region]), name)
        for column, value in (("mosaic", name), ("region", str(region))):
            windows = windows.add_column(0, column, pa.array([value] * len(windows)))
        tables.append(windows)
    if tables:
        with results.make(f"{_MOSAICS}.windows.parquet") as path:
            pq.write_table(pa.concat_tables(tables), path)


def _names(regions: Iterable[Any]) -> dict[Any, str]:
    """Return the name of the mosaic of each region.

    Of regions whose ids name the same file, such as ``a/b`` and ``A_B``, the later ones have a digest of the id, too.
    """
    names = {}
    taken = set()
    for region in regions:
        name = safe_component(region)
        if fold_case(name) in taken:
            name = f"{name}-{hashlib.sha256(str(region).encode()).hexdigest()[:ID_LENGTH]}"
        taken.add(fold_case(name))
        names[region] = f"{_MOSAICS}/{name}.tif"
    return names


def estimate_disk(layout: MosaicLayout, compress: str) -> int:
    """Return the bytes of disk for making a mosaic: windows, mosaic, and a file of overviews."""
    grid = layout.grid
    raw = grid.width * grid.height * len(layout.bands) * np.dtype(layout.dtype).itemsize
    return round(raw * (_COMPRESSION + _WRITTEN * (1.0 if compress == "none" else _COMPRESSION)))


class _Gauge:
    """Show the number of written megabytes."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._shown = progress, 0

    def show(self, written: int) -> None:
        """Update the display."""
        while self._shown < written // _MEGABYTE:
            self._progress.settle(failed=False)
            self._shown += 1
        self._progress.show(0, 0)


def _windows(pieces: Sequence[MosaicPart], digests: Sequence[str]) -> pa.Table:
    """Return the table of a mosaic's windows, with their checksums."""
    return pa.table(
        {
            "row": [piece.window.row for piece in pieces],
            "column": [piece.window.column for piece in pieces],
            "width": [piece.window.width for piece in pieces],
            "height": [piece.window.height for piece in pieces],
            "file": [piece.file for piece in pieces],
            "bytes": [piece.bytes for piece in pieces],
            "sha256": [piece.sha256 for piece in pieces],
            "pixels_sha256": list(digests),
            "valid_fraction": [piece.valid_fraction for piece in pieces],
        }
    )
