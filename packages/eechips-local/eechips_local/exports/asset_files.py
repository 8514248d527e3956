"""Export images as assets, with pyramiding policies and properties; check for all tasks that an asset's id is free and
within the quota.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from eechips_local.assets.asset_names import check_band_ids, check_new_id
from eechips_local.assets.ingestion.asset_ingestion import POLICIES, IngestTask
from eechips_local.assets.ingestion.image_plans import ImagePlanner
from eechips_local.assets.ingestion.raster_files import RasterFiles
from eechips_local.assets.writable_assets import OWN, changes_of, changing, is_too_long, writable_folder
from eechips_local.evaluation.context import Context
from eechips_local.exports.destinations import AssetDestination
from eechips_local.exports.image_grids import Progress, blocks, count_blocks, create_geotiff, read_block
from eechips_local.exports.process_messages import ExportedFile, ExportJob
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand
from eechips_local.pixels.output import encode as formats
from eechips_local.pixels.types import cast_values
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.value_json import Encoder

_POLICIES = {name.upper(): resampling for name, resampling in POLICIES.items()}


def check_free(asset: AssetDestination, context: Context) -> None:
    """Check that an asset can be made.

    Raises:
        InvalidError: if its id is invalid, or it is there already and shall not be replaced.
        FailedPreconditionError: if the folder has no room for another asset.
    """
    with changing():
        check_new_id(asset.id)
    if not asset.overwrite and context.store.get(asset.id) is not None:
        raise InvalidError(f"Cannot overwrite asset '{asset.uri}'.")
    with changing():
        changes_of(writable_folder(context)).check_room(asset.id)


@contextmanager
def publishing(asset: AssetDestination, context: Context) -> Iterator[None]:
    """Turn errors into the service's; refuse an asset that another task has made meanwhile as one that was there."""
    # Here, since a server without folders has no use for the libraries of assets.
    from eechips_local.assets.asset_errors import AssetExistsError

    with changing():
        try:
            yield
        except AssetExistsError:
            check_free(asset, context)
            raise


def asset_task(asset: AssetDestination, properties: Mapping[str, Any], context: Context) -> IngestTask:
    """Return the ingestion that makes an asset, within the quota and unless another task has made it meanwhile.

    Args:
        asset: to be.

    Raises:
        FailedPreconditionError: if the server has no folder for it.
    """
    folder = writable_folder(context)
    return IngestTask(
        Path(folder.path).absolute(),
        properties,
        int(time.time() * 1e6),
        overwrite=asset.overwrite,
        admit=changes_of(folder).admit,
    )


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
    with changing():
        check_band_ids(band.name for band in image.bands)
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
    task = asset_task(job.asset, _properties(image.properties, context), context)
    with publishing(job.asset, context), RasterFiles() as rasters:
        (plan,) = ImagePlanner(rasters, names, resampling, None, None).one(paths, job.asset.id, task.facts)
        task.run("image", {plan.id: partial(task.image, rasters, plan)})
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
    kept = {name: value for name, value in properties.items() if name not in OWN and not is_too_long(value)}
    return {name: encoder.encode(value) for name, value in kept.items() if value is not None}
