"""What is made of a window, as a file, and of all windows, as one raster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from eechips.errors import RecipeError, UsageError
from eechips.formats import cog, geotiff
from eechips.geo.grid import Grid
from eechips.recipe import Unit
from eechips.warning_filters import ignore_warning

if TYPE_CHECKING:
    from eechips.engine.result_assembly import Results


def window_file(unit: Unit, pixels: Any, *, bands: Sequence[str] = (), nodata: float | None = None) -> bytes:
    """What a recipe returns for a window: its pixels as a GeoTIFF, in their place, with an internal mask.

    Args:
        unit: of the window.
        pixels: array, perhaps masked, (rows, columns) or (bands, rows, columns), as large as the window, or with its
            halo, which is cut off; true and false become 1 and 0. A pixel that is masked or NaN in any band has no data
            in all.
        bands: their names; ``B1``, ``B2``, … if there are none.
        nodata: value of pixels without data, beside those that are masked.

    Raises:
        RecipeError: if the array has another size, or a type that no GeoTIFF has.
    """
    data = np.ma.getdata(pixels)
    mask = np.ma.getmaskarray(pixels)
    if data.dtype.kind == "b":
        data = data.astype("uint8")
    if data.ndim == 2:
        data, mask = data[np.newaxis], mask[np.newaxis]
    if (halo := unit.get("halo", 0)) and data.shape[1:] == (unit["height"] + 2 * halo, unit["width"] + 2 * halo):
        data, mask = (each[:, halo:-halo, halo:-halo] for each in (data, mask))
    if data.shape[1:] != (unit["height"], unit["width"]) or data.ndim != 3:
        size = f"{unit['height']} rows and {unit['width']} columns"
        raise RecipeError(f"an array of shape {np.shape(pixels)} was made of a window of {size}")
    if data.dtype.name not in cog.ALL_DTYPES:
        known = ", ".join(cog.ALL_DTYPES)
        raise RecipeError(f"pixels of type {data.dtype.name} were made of a window, and can be one of {known}, or bool")
    names = tuple(bands) or tuple(f"B{number}" for number in range(1, len(data) + 1))
    if len(names) != len(data):
        raise RecipeError(f"{len(data)} bands were made of a window, and {len(names)} are named: {', '.join(names)}")
    absent = mask.any(axis=0)
    if data.dtype.kind in "fc":
        absent |= np.isnan(data).any(axis=0)
    if nodata is not None:
        _check_nodata(nodata, data.dtype.name)
        absent |= (data == np.array(nodata, dtype=data.dtype)).any(axis=0)
    location = Grid.from_json(unit["raster"]).window(unit["col_off"], unit["row_off"], unit["width"], unit["height"])
    filled = np.where(absent, data.dtype.type(0), data)  # the same file, whatever is left where there is no data
    ignore_warning(NotGeoreferencedWarning)  # of unit pixels whose corner is the origin
    return geotiff.encode(filled, ~absent, names, CRS.from_user_input(location.crs), location.affine)


def _check_nodata(nodata: float, dtype: str) -> None:
    try:
        cog.check_nodata(nodata, dtype)
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
    """Puts all windows of a run together: one cloud-optimised GeoTIFF, compared with them when it is written.

    A table beside it, ``<name>.windows.parquet``, says which windows it is made of, with their checksums.

    Args:
        results: of the run; what ``assemble`` is given.
        name: of the file, ending in ``.tif``.
        nodata: value of pixels without data; None for an internal mask.
        compress: one of ``eechips.formats.cog.COMPRESSIONS``.
        resampling: of the overviews, one of ``eechips.formats.cog.RESAMPLINGS``.

    Raises:
        RecipeError: if windows have different bands, or bands of different types.
        StorageError: if a window is not what it was when it was made, or the file cannot be written.
        ValidationError: if it turns out to be other than its windows.
    """
    from eechips.windows.joining import join

    join(results, name, nodata, compress, resampling)
