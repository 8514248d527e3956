"""Export images and tables as assets: files that are ingested into the folder of exported assets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import rasterio

from eechips.emulator.assets.asset_ingestion import POLICIES, ingest
from eechips.emulator.assets.asset_names import is_id
from eechips.emulator.context import Context
from eechips.emulator.exports.destinations import AssetDestination
from eechips.emulator.exports.image_grids import Progress, blocks, count_blocks, create_geotiff, read_block
from eechips.emulator.exports.jobs import ExportedFile, ExportJob
from eechips.emulator.pixels import encode as formats
from eechips.emulator.pixels.lazy_image import Image, ImageBand
from eechips.emulator.pixels.pixel_grid import PixelGrid
from eechips.emulator.pixels.types import cast_values
from eechips.emulator.request_errors import InvalidError
from eechips.emulator.value_json import Encoder
from eechips.emulator.writable_assets import changes_of, changing, writable_folder

_POLICIES = {name.upper(): resampling for name, resampling in POLICIES.items()}
_OWN = ("system:index", "system:footprint", "system:id", "system:version", "system:asset_size")


def check_free(asset: AssetDestination, context: Context) -> None:
    """Check that an asset can be made.

    Raises:
        InvalidError: if its id is invalid, or it is there already and shall not be replaced.
    """
    if not is_id(asset.id):
        raise InvalidError(f"Invalid asset name: '{asset.uri[:200]}'.")
    if not asset.overwrite and context.store.get(asset.id) is not None:
        raise InvalidError(f"Cannot overwrite asset '{asset.uri}'.")
    check_quota(asset, context, 0)


def check_quota(asset: AssetDestination, context: Context, size: int) -> None:
    """Check that the folder has room for an asset.

    Args:
        asset: to be.
        context: of the task.
        size: bytes of its files.

    Raises:
        FailedPreconditionError: if it has none.
    """
    with changing():
        changes_of(writable_folder(context)).check_quota(asset.id, size)


def ingest_image(
    image: Image,
    grid: PixelGrid,
    options: Mapping[str, Any],
    context: Context,
    job: ExportJob,
    report: Callable[[float], None],
) -> list[ExportedFile]:
    """Make an image asset: a GeoTIFF with a mask for each band, since their masks may differ."""
    assert job.asset is not None
    check_free(job.asset, context)
    resampling = _resampling(image.bands, options)
    paths = [job.folder / f"{index}.tif" for index in range(len(image.bands))]
    progress = Progress(count_blocks(grid) + 1, report)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        files = [
            create_geotiff(path, grid, 1, formats.dtype_of(band.type))
            for path, band in zip(paths, image.bands, strict=True)
        ]
        for window, block in blocks(grid):
            for file, pixels in zip(files, read_block(image.bands, block, context), strict=True):
                values = cast_values(pixels.values, np.dtype(file.dtypes[0]))
                file.write(np.where(pixels.valid, values, values.dtype.type(0)), 1, window=window)
                file.write_mask(pixels.valid, window=window)
            progress.step()
        for file in files:
            file.close()
    names = [band.name for band in image.bands]
    check_quota(job.asset, context, sum(path.stat().st_size for path in paths))
    ingest(
        paths, job.asset.root, job.asset.id, one_image=True, bands=names, resampling=resampling,
        properties=_properties(image.properties, context),
    )  # fmt: skip
    progress.step()
    return []


def _resampling(bands: Sequence[ImageBand], options: Mapping[str, Any]) -> dict[str, str]:
    """Return how pyramids are made, by band. The default is MEAN (Export.image.toAsset)."""
    default = options.get("pyramidingPolicy") or "MEAN"
    policies = {band.name: default for band in bands} | dict(options.get("pyramidingPolicyOverrides") or {})
    for name, policy in policies.items():
        if not isinstance(policy, str) or policy not in _POLICIES:
            raise InvalidError(
                f"The local Earth Engine has no pyramiding policy '{policy}' (band '{name}'): use one of"
                f" {', '.join(_POLICIES)}."
            )
        if name not in {band.name for band in bands}:
            raise InvalidError(f"The pyramiding policy of the band '{name}' is of no band of the image.")
    return {name: _POLICIES[policy] for name, policy in policies.items()}


def _properties(properties: Mapping[str, Any], context: Context) -> dict[str, Any]:
    encoder = Encoder(context)
    return {name: encoder.encode(value) for name, value in properties.items() if name not in _OWN and value is not None}
