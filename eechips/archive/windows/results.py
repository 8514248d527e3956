"""Write the result of a window as a file, after its shape and type were checked, and join all windows into
one raster.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from eechips.errors import RecipeError, StorageError, UsageError
from eechips.files.hashes import hash_file
from eechips.formats import geotiff, mosaic_cog
from eechips.formats.nodata_values import check_nodata
from eechips.geo.grid import Grid, Window
from eechips.processes.warning_filters import ignore_warning
from eechips.recipe import Unit
from eechips.text.formatting import format_count

if TYPE_CHECKING:  # mosaics need pyarrow and the client, for which workers with little memory have no room
    from eechips.builtin_recipes.rasters.mosaic_tiles import MosaicLayout, MosaicPart
    from eechips.engine.results.result_assembly import CompletedUnit, Results


def window_file(unit: Unit, pixels: Any, *, bands: Sequence[str] = (), nodata: float | None = None) -> bytes:
    """Encode the pixels of a window as a georeferenced GeoTIFF with an internal mask.

    Args:
        pixels: array, masked or not, of shape (rows, columns) or (bands, rows, columns), as large as the window, or
            with its halo, which is cut off; booleans become 1 and 0. A pixel that is masked or NaN in any band has no
            data in all bands.
        bands: names; ``B1``, ``B2``, … if there are none.
        nodata: value of pixels without data, beside the mask.

    Raises:
        RecipeError: if the array has another shape, or a dtype that GeoTIFF lacks.
    """
    data = np.ma.getdata(pixels)
    mask = np.ma.getmaskarray(pixels)
    if data.dtype.kind == "b":
        data = data.astype("uint8")
    if data.ndim == 2:
        data, mask = data[np.newaxis], mask[np.newaxis]
    if (halo := unit.get("halo", 0)) and data.shape[1:] == (unit["height"] + 2 * halo, unit["width"] + 2 * halo):
        data, mask = (array[:, halo:-halo, halo:-halo] for array in (data, mask))
    if data.shape[1:] != (unit["height"], unit["width"]) or data.ndim != 3:
        size = f"{unit['height']} rows and {unit['width']} columns"
        raise RecipeError(f"the result of a window of {size} has the shape {np.shape(pixels)}")
    if data.dtype.name not in mosaic_cog.ALL_DTYPES:
        known = ", ".join(mosaic_cog.ALL_DTYPES)
        raise RecipeError(f"the result of a window has the dtype {data.dtype.name}; allowed are {known}, and bool")
    names = tuple(bands) or tuple(f"B{number}" for number in range(1, len(data) + 1))
    if len(names) != len(data):
        raise RecipeError(
            f"the result of a window has {format_count(len(data), 'band')}, but {len(names)} names: {', '.join(names)}"
        )
    absent = mask.any(axis=0)
    if data.dtype.kind in "fc":
        absent |= np.isnan(data).any(axis=0)
    if nodata is not None:
        _check_nodata(nodata, data.dtype.name)
        absent |= (data == np.array(nodata, dtype=data.dtype)).any(axis=0)
    location = Grid.from_json(unit["raster"]).window(unit["col_off"], unit["row_off"], unit["width"], unit["height"])
    filled = np.where(absent, data.dtype.type(0), data)  # the file does not depend on masked values
    ignore_warning(NotGeoreferencedWarning)  # of unit pixels with the corner at the origin
    return geotiff.encode(filled, ~absent, names, CRS.from_user_input(location.crs), location.affine)


def _check_nodata(nodata: float, dtype: str) -> None:
    try:
        check_nodata(nodata, dtype)
    except UsageError as error:
        raise RecipeError(str(error).replace("--nodata", "nodata")) from None


def join_windows(
    results: Results,
    name: str = "mosaic.tif",
    *,
    nodata: float | None = None,
    compress: str = "deflate",
    resampling: str = "average",
) -> None:
    """Join all windows of a run into one cloud-optimised GeoTIFF, and compare it with them.

    A table beside it, ``<name>.windows.parquet``, lists the windows with their checksums.

    Args:
        results: results of the run, as ``assemble`` receives them.
        name: name of the file, ending in ``.tif``.
        nodata: value of pixels without data; None for an internal mask.
        compress: one of ``eechips.formats.cog_options.COMPRESSIONS``.
        resampling: resampling of the overviews, one of ``eechips.formats.cog_options.RESAMPLINGS``.

    Raises:
        RecipeError: if windows have different bands, or bands of different types.
        StorageError: if the file of a window has changed, or the raster cannot be written.
        ValidationError: if the raster differs from its windows.
    """
    from eechips.builtin_recipes.rasters.mosaic_tiles import assemble_mosaic

    if results.failed:
        results.say(f"No {name}: {results.failed:,} of {format_count(len(results), 'window')} failed")
        return
    pieces = [_piece(settled) for settled in results if settled.path is not None]
    if not pieces:
        results.say(f"No {name}: no window has data")
        return
    layout = _layout_of(pieces)
    check_nodata(nodata, layout.dtype)
    mosaic = mosaic_cog.Mosaic(
        grid=layout.grid,
        bands=layout.bands,
        dtype=layout.dtype,
        tiles=[mosaic_cog.Tile(piece.window, piece.path) for piece in pieces],
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
    from eechips.builtin_recipes.rasters.mosaic_tiles import MosaicLayout, MosaicPart

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
    return MosaicPart(layout, window, path, record)
