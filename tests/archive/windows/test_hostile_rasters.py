"""Rasters of strangers whose content, or that of a mask beside them, is a list of other files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eechips.archive.windows import describe
from eechips.client.retry import RetryPolicy
from eechips.errors import EechipsError
from tests.support.raster_server import Bucket
from tests.support.watched_folder import watch_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")

ONCE = RetryPolicy(retries=0)
SOURCE = "<SourceFilename relativeToVRT='0'>{path}</SourceFilename>"
HEAD = (
    "<VRTDataset rasterXSize='16' rasterYSize='16'><SRS>EPSG:32610</SRS>"
    "<GeoTransform>500000,10,0,4000000,0,-10</GeoTransform>{}</VRTDataset>"
)
BAND = "<VRTRasterBand dataType='Byte' band='1'{}</VRTRasterBand>"
SIMPLE = f"><SimpleSource>{SOURCE}<SourceBand>1</SourceBand></SimpleSource>"
CONTENT = {
    "raster": HEAD.format(BAND.format(SIMPLE)),
    "bytes of a file": HEAD.format(BAND.format(f" subClass='VRTRawRasterBand'>{SOURCE}<LineOffset>16</LineOffset>")),
    "server": "<GDAL_WMS><Service name='TMS'><ServerUrl>file://{path}</ServerUrl></Service></GDAL_WMS>",
}
MASK = HEAD.format("<Metadata><MDI key='INTERNAL_MASK_FLAGS_1'>2</MDI></Metadata>" + BAND.format(SIMPLE))


def write(path: Path) -> Path:
    place = rasterio.transform.from_origin(500_000, 4_000_000, 10, 10)
    profile = {"driver": "GTiff", "width": 16, "height": 16, "count": 1, "dtype": "uint8", "crs": "EPSG:32610"}
    with rasterio.open(path, "w", **profile, transform=place) as file:
        file.write(np.full((1, 16, 16), 7, np.uint8))
    return path


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    return write(tmp_path / "outside" / "canary.tif")


@pytest.mark.parametrize("where", ["file", "s3", "http"])
@pytest.mark.parametrize("kind", CONTENT)
def test_the_content_of_a_named_format_leads_to_no_other_file(
    bucket: Bucket, canary: Path, kind: str, where: str
) -> None:
    for name in ("scene.tif", "scene.img", *(("scene",) if where != "file" else ())):
        (bucket.folder / name).write_text(CONTENT[kind].format(path=canary))
        base = {"file": str(bucket.folder), "s3": "s3://bucket"}.get(
            where, f"{bucket.environment['AWS_ENDPOINT_URL']}/bucket"
        )
        with watch_folder(canary.parent) as watched:
            with pytest.raises(EechipsError, match="supported file format"):
                describe(f"{base}/{name}", policy=ONCE)
            assert watched.touched() == []


@pytest.mark.parametrize("where", ["file", "s3"])
def test_a_mask_beside_a_raster_leads_to_no_other_file(bucket: Bucket, canary: Path, where: str) -> None:
    path = write(bucket.folder / "scene.tif")
    (bucket.folder / "scene.tif.msk").write_text(MASK.format(path=canary))
    with pytest.raises(EechipsError, match=r"refers to other files|supported file format"):
        describe(str(path) if where == "file" else "s3://bucket/scene.tif", policy=ONCE)


def test_a_virtual_raster_that_is_named_as_one_is_read(tmp_path: Path, canary: Path) -> None:
    (tmp_path / "mosaic.vrt").write_text(CONTENT["raster"].format(path=canary))
    assert describe(str(tmp_path / "mosaic.vrt")).dtypes == ("uint8",)
