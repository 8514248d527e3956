"""``ee.Image.loadGeoTIFF``: GeoTIFF files in Cloud Storage as images."""

from __future__ import annotations

from dataclasses import replace

from rasterio.errors import RasterioError

from eechips_local.assets.asset_errors import IngestError
from eechips_local.assets.cloud_storage import local_object
from eechips_local.assets.footprint import outline
from eechips_local.assets.ingestion.raster_files import RasterFiles
from eechips_local.assets.ingestion.remote_rasters import RemoteFile, gdal_name, is_remote_name, reading
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, RasterSource
from eechips_local.evaluation.context import Context
from eechips_local.functions.registration import function
from eechips_local.pixels.file_source import FileSource, RasterReadError
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.stored_image import stored_image
from eechips_local.protocol.request_errors import InvalidError


@function("Image.loadGeoTIFF")
def load_geotiff(context: Context, uri: str) -> Image:
    """Return a GeoTIFF as an image with the bands B0, B1, ….

    The file is read from the folder of buckets of the server, or from Cloud Storage.
    https://developers.google.com/earth-engine/apidocs/ee-image-loadgeotiff
    """
    path = local_object(context, uri)
    name = gdal_name(uri) if path is None else str(path)
    try:
        asset = _described(uri, name)
    except (IngestError, RasterioError, RasterReadError) as error:
        raise InvalidError(f"{uri[:200]} cannot be read as a GeoTIFF: {error}") from error
    return replace(stored_image(asset), id=None, version=None)


def _described(uri: str, name: str) -> ImageAsset:
    """Return a file as a stored image; its pixels are read when they are needed."""
    with RasterFiles(("GTiff",)) as rasters:
        bands = rasters.sources(name, names=None, resampling=None, nodata=None, crs=None)
        dataset = rasters.open(name)
        grid = PixelGrid(bands[0].crs, dataset.transform, dataset.width, dataset.height)
    with reading(name):
        file = FileSource.open(name)
    source: RasterSource = RemoteFile(uri, file) if is_remote_name(name) else file
    infos = tuple(
        BandInfo(f"B{position}", PixelType.of(band.dtype), grid, source, band.number - 1)
        for position, band in enumerate(bands)
    )
    return ImageAsset(uri, infos, {}, outline(grid))
