"""Join the windows of a run. The import is deferred to the end of the run: it needs more memory than many windows."""

from __future__ import annotations

import json
from collections.abc import Sequence

from eechips.engine.result_assembly import CompletedUnit, Results
from eechips.errors import RecipeError, StorageError
from eechips.files.hashes import hash_file
from eechips.formats import cog
from eechips.geo.grid import Grid, Window
from eechips.jobs.mosaic_parts import MosaicPart, assemble_mosaic
from eechips.jobs.mosaic_tiles import MosaicLayout
from eechips.text.formatting import format_count


def join(results: Results, name: str, nodata: float | None, compress: str, resampling: str) -> None:
    """Implement :func:`eechips.archive.windows.join_windows`."""
    if results.failed:
        results.say(f"No {name}: {results.failed:,} of {format_count(len(results), 'window')} failed")
        return
    pieces = [_piece(settled) for settled in results if settled.path is not None]
    if not pieces:
        results.say(f"No {name}: no window has data")
        return
    layout = _layout_of(pieces)
    cog.check_nodata(nodata, layout.dtype)
    mosaic = cog.Mosaic(
        grid=layout.grid,
        bands=layout.bands,
        dtype=layout.dtype,
        tiles=[cog.Tile(piece.window, piece.path) for piece in pieces],
        nodata=nodata,
        compress=compress,
        resampling=resampling,
    )
    assemble_mosaic(results, pieces, mosaic, name)


def _layout_of(pieces: Sequence[MosaicPart]) -> MosaicLayout:
    """Return the layout that all windows share."""
    first = pieces[0]
    for piece in pieces:
        if piece.layout != first.layout:
            raise RecipeError(
                f"the windows differ: {_shown(first)}, and {_shown(piece)}. A recipe must return the same bands of the"
                " same type for all windows of a raster"
            )
    return first.layout


def _shown(piece: MosaicPart) -> str:
    bands = ", ".join(piece.layout.bands)
    return f"the one at column {piece.window.column}, row {piece.window.row} has {bands} of {piece.layout.dtype}"


def _piece(settled: CompletedUnit) -> MosaicPart:
    """Return a window's file, checked against its record."""
    record, path, unit = settled.record, settled.path, settled.unit
    assert path is not None
    if hash_file(path) != record.sha256:
        raise StorageError(f"{path} has changed: remove it, and run the command again")
    bands = tuple(json.loads(record.bands or "[]"))
    layout = MosaicLayout(Grid.from_json(unit["raster"]), "image", bands, str(record.dtype))
    window = Window(unit["col_off"], unit["row_off"], unit["width"], unit["height"])
    location = layout.grid.window(window.column, window.row, window.width, window.height)
    if (record.width, record.height) != (location.width, location.height) or json.loads(
        record.transform or "[]"
    ) != list(location.transform):
        raise StorageError(f"{path} does not lie in its window: remove it, and run the command again")
    facts = (str(record.file), record.bytes or 0, str(record.sha256), record.valid_fraction or 0.0)
    return MosaicPart(layout, window, path, *facts)
