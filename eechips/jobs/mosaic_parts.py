"""Assemble the fetched windows of a mosaic on the disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.engine.disk_space import refuse_small_disk
from eechips.engine.progress import Progress
from eechips.engine.result_assembly import CompletedUnit, Results
from eechips.errors import StorageError
from eechips.files.hashes import hash_file
from eechips.formats import cog
from eechips.geo.grid import Window
from eechips.jobs.mosaic_tiles import MosaicLayout
from eechips.recipe import canonical_json
from eechips.text.formatting import format_bytes, format_count

MOSAIC_NAME = "mosaic.tif"
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
    with results.make(f"{name.removesuffix('.tif')}.windows.parquet") as path:
        _list(pieces, digests, path, name)
    what = f"{mosaic.grid.width:,}x{mosaic.grid.height:,} pixels, {', '.join(mosaic.bands[:8])} of {mosaic.dtype}"
    results.say(f"{name}: {what}, {format_bytes(size)}, of {format_count(len(pieces), 'window')}")


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


def _list(pieces: Sequence[MosaicPart], digests: Sequence[str], path: Path, name: str) -> None:
    """Write the table of a mosaic's windows, with their checksums."""
    columns = {
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
    layout = canonical_json({"mosaic": name, **pieces[0].layout.to_json()})
    pq.write_table(pa.table(columns).replace_schema_metadata({"eechips": layout}), path)
