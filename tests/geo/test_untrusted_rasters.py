"""Rasters of strangers whose metadata lead to other files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioIOError

from eechips.archive.windows.raster import describe
from eechips.errors import EechipsError, ValidationError
from eechips.formats import validate
from eechips.geo.untrusted_rasters import open_raster
from eechips.manifest.pictures.chip_pictures import render_chip
from eechips_local.assets.asset_errors import UnreadableFileError
from eechips_local.assets.ingestion.raster_files import RasterFiles
from eechips_local.pixels.file_source import open_file
from tests.support.watched_folder import WatchedFolder, watch_folder

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


def write_tiff(path: Path, edge: int, value: int) -> None:
    profile = {"driver": "GTiff", "width": edge, "height": edge, "count": 1, "dtype": "uint8"}
    place = rasterio.transform.from_origin(500_000, 4_000_000, 10, 10)
    with rasterio.open(path, "w", **profile, crs="EPSG:32613", transform=place) as file:
        file.write(np.full((1, edge, edge), value, dtype=np.uint8))
        file.update_tags(x="y" * 400)


def lead_to(path: Path, target: Path) -> None:
    """Replace the metadata of a GeoTIFF by a reference to the overviews in another file."""
    data = path.read_bytes()
    start = data.index(b"<GDALMetadata>")
    size = data.index(b"\0", start) - start
    item = f'<Item name="OVERVIEW_FILE" domain="OVERVIEWS">{target}</Item>'
    metadata = f"<GDALMetadata>{item}</GDALMetadata>".encode().ljust(size)
    assert len(metadata) == size
    path.write_bytes(data[:start] + metadata + data[start + size :])


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    write_tiff(tmp_path / "outside" / "canary.tif", 32, 99)
    path = tmp_path / "chip.tif"
    write_tiff(path, 256, 7)
    lead_to(path, tmp_path / "outside" / "canary.tif")
    return path


def test_gdal_follows_the_reference(hostile: Path) -> None:
    with rasterio.open(hostile, driver="GTiff") as file:
        assert set(np.unique(file.read(out_shape=(1, 32, 32)))) == {99}


def test_no_reader_of_rasters_from_outside_follows_it(hostile: Path) -> None:
    watched: WatchedFolder
    with watch_folder(hostile.parent / "outside") as watched:
        with pytest.raises(RasterioIOError, match="refer to another file"), open_raster(hostile, ("GTiff",)):
            pass
        with pytest.raises(OSError, match="refer to another file"):
            render_chip(hostile, 32)
        with pytest.raises(ValidationError, match="refer to another file"):
            validate(hostile.read_bytes(), "tif")
        with pytest.raises(RasterioIOError, match="refer to another file"):
            open_file(str(hostile))
        with RasterFiles() as rasters, pytest.raises(UnreadableFileError, match="refer to another file"):
            rasters.open(str(hostile))
        with pytest.raises(EechipsError, match="refer to another file"):
            describe(str(hostile))
        assert watched.touched() == []


def test_an_ingested_file_is_no_list_of_others(hostile: Path) -> None:
    outside = hostile.parent / "outside" / "canary.tif"
    source = f"<SimpleSource><SourceFilename>{outside}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    mask = '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    virtual = f'<VRTDataset rasterXSize="32" rasterYSize="32">{mask}{band}</VRTDataset>'
    (hostile.parent / "list.tif").write_text(virtual)
    write_tiff(hostile.parent / "masked.tif", 32, 7)
    (hostile.parent / "masked.tif.msk").write_text(virtual)
    (hostile.parent / "named.vrt").write_text(virtual)
    with RasterFiles() as rasters, pytest.raises(UnreadableFileError, match="supported file format"):
        rasters.open(str(hostile.parent / "list.tif"))
    for drivers in (None, ("GTiff",)):
        with RasterFiles(drivers) as rasters, pytest.raises(UnreadableFileError, match="no GeoTIFF, or damaged"):
            rasters.open(str(hostile.parent / "masked.tif"))
    with RasterFiles() as rasters:
        assert rasters.open(str(hostile.parent / "named.vrt")).driver == "VRT"


def test_a_raster_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"/>')
    with pytest.raises(RasterioIOError), open_raster(path, ("GTiff", "PNG")):
        pass
