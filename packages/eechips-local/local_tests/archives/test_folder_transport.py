"""Files beside a static catalogue, read as those of any archive."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription, ItemQuery
from eechips_local.archives.files.cog_raster import RangeCogReader
from eechips_local.archives.files.folder_transport import FolderTransport
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.signing import Signer
from eechips_local.archives.items.item_search import open_search
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.archives.sample_items import write_cog
from local_tests.archives.stac_server import make_item, stac_server


def write_items(folder: Path, href: str) -> ArchiveDescription:
    """Write a list of one item whose red band is at an address."""
    folder.mkdir(exist_ok=True)
    item = {**make_item(1), "assets": {"B04": {"href": href}}}
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    return ArchiveDescription(name="mine", title="Mine", file=str(folder / "items.json"))


def open_reader(description: ArchiveDescription, kept: Path) -> RangeCogReader:
    """The reader of a file's archive."""
    transport = FolderTransport(Path(description.file), HostTransport(AllowedHosts.of_files(description)))
    return pickle.loads(pickle.dumps(RangeCogReader(transport, Signer(description), kept)))


def find_href(description: ArchiveDescription) -> str:
    """Address of the red band of the one item."""
    (item,) = open_search(description, None).items("s2", ItemQuery())
    href: str = item["assets"]["B04"]["href"]
    return href


def test_pixels_of_a_catalogue_s_folder_equal_rasterio_s(tmp_path: Path) -> None:
    description = write_items(tmp_path / "mine", "./rasters/B04.tif")
    path = tmp_path / "mine" / "rasters" / "B04.tif"
    path.parent.mkdir()
    values = np.random.default_rng(1).integers(0, 10_000, (1, 300, 200)).astype("uint16")
    write_cog(path, values, Affine(10, 0, 500_000, 0, -10, 5_000_000))
    reader = open_reader(description, tmp_path / "kept")
    found, valid = reader.open(find_href(description), collection="s2").read([0], PixelWindow(30, 40, 100, 150), 0)
    with rasterio.open(path) as dataset:
        expected = dataset.read(window=rasterio.windows.Window(30, 40, 100, 150))
    np.testing.assert_array_equal(found, expected)
    assert valid.all()


@pytest.mark.parametrize("href", ["../secret.tif", "/etc/passwd", "file:///etc/passwd", "link.tif", "/dev/zero"])
def test_files_outside_of_the_folder_are_not_read(href: str, tmp_path: Path) -> None:
    description = write_items(tmp_path / "mine", href)
    write_cog(tmp_path / "secret.tif", np.ones((1, 64, 64), "uint8"), Affine(10, 0, 0, 0, -10, 0))
    (tmp_path / "mine" / "link.tif").symlink_to(tmp_path / "secret.tif")
    reader = open_reader(description, tmp_path / "kept")
    with pytest.raises(ArchiveRefusedError, match="is not below"):
        reader.open(find_href(description), collection="s2").read([0], PixelWindow(0, 0, 9, 9), 0)


def test_an_archive_of_an_address_reads_no_file_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_cog(path, np.ones((1, 64, 64), "uint8"), Affine(10, 0, 0, 0, -10, 0))
    with stac_server() as server:
        description = server.describe(hosts=(server.url.removeprefix("http://"),))
        reader = RangeCogReader(
            HostTransport(AllowedHosts.of_files(description)), Signer(description), tmp_path / "kept"
        )
        for href in (str(path), f"file://{path}"):
            with pytest.raises(ArchiveRefusedError):
                reader.open(href, collection="s2").read([0], PixelWindow(0, 0, 9, 9), 0)


def test_a_changed_or_missing_file_is_an_error(tmp_path: Path) -> None:
    description = write_items(tmp_path / "mine", "B04.tif")
    path = tmp_path / "mine" / "B04.tif"
    reader = open_reader(description, tmp_path / "kept")
    with pytest.raises(ArchiveRefusedError, match="there is no such file"):
        reader.open(find_href(description), collection="s2").read([0], PixelWindow(0, 0, 9, 9), 0)
    write_cog(path, np.zeros((1, 900, 900), "uint8"), Affine(10, 0, 0, 0, -10, 0))
    raster = reader.open(find_href(description), collection="s2")
    assert not raster.read([0], PixelWindow(0, 0, 9, 9), 0)[0].any()
    write_cog(path, np.ones((1, 900, 900), "uint8"), Affine(10, 0, 0, 0, -10, 0))
    with pytest.raises(ArchiveError, match="has changed"):
        raster.read([0], PixelWindow(800, 800, 9, 9), 0)


def test_a_changed_file_is_not_read_from_what_is_kept(tmp_path: Path) -> None:
    description = write_items(tmp_path / "mine", "B04.tif")
    path = tmp_path / "mine" / "B04.tif"
    write_cog(path, np.zeros((1, 900, 900), "uint8"), Affine(10, 0, 0, 0, -10, 0))
    raster = open_reader(description, tmp_path / "kept").open(find_href(description), collection="s2")
    assert not raster.read([0], PixelWindow(0, 0, 9, 9), 0)[0].any()
    before = raster.header.version
    write_cog(path, np.ones((1, 900, 900), "uint8"), Affine(10, 0, 0, 0, -10, 0))
    with pytest.raises(ArchiveError, match="has changed"):
        raster.read([0], PixelWindow(0, 0, 9, 9), 0)
    assert raster.read([0], PixelWindow(0, 0, 9, 9), 0)[0].all()
    write_cog(path, np.full((1, 900, 900), 2, "uint8"), Affine(10, 0, 0, 0, -10, 0))
    assert raster.header.version != before
    assert (raster.read([0], PixelWindow(0, 0, 9, 9), 0)[0] == 2).all()


def test_a_raster_that_a_file_beside_it_masks_or_places_is_refused(tmp_path: Path) -> None:
    description = write_items(tmp_path / "mine", "B04.tif")
    path = tmp_path / "mine" / "B04.tif"
    write_cog(path, np.ones((1, 64, 64), "uint8"), Affine(10, 0, 0, 0, -10, 0))
    raster = open_reader(description, tmp_path / "kept").open(find_href(description), collection="s2")
    beside = path.with_name("B04.tif.aux.xml")
    beside.write_text('<PAMDataset><PAMRasterBand band="1"><NoDataValue>1</NoDataValue></PAMRasterBand></PAMDataset>')
    with rasterio.open(path) as dataset:
        assert not dataset.read_masks().any()
    with pytest.raises(ArchiveRefusedError, match=r"in B04.tif.aux.xml, which is not read"):
        raster.read([0], PixelWindow(0, 0, 9, 9), 0)
    beside.unlink()
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.zeros((64, 64), "uint8"))
    with pytest.raises(ArchiveRefusedError, match=r"in B04.tif.msk, which is not read"):
        raster.read([0], PixelWindow(0, 0, 9, 9), 0)
    path.with_name("B04.tif.msk").rename(path.with_name("B04.tif.MSK"))
    with rasterio.open(path) as dataset:
        assert not dataset.read_masks().any()
    with pytest.raises(ArchiveRefusedError, match=r"in B04.tif.MSK, which is not read"):
        raster.read([0], PixelWindow(0, 0, 9, 9), 0)


BAND = '<PAMRasterBand band="{}">{}</PAMRasterBand>'
# As ArcGIS and gdalinfo -stats write them beside good files; and what gives the pixels other places or another mask.
SAME = [
    BAND.format(1, '<Metadata><MDI key="STATISTICS_MAXIMUM">1</MDI></Metadata>'),
    BAND.format(1, "<NoDataValue>nan</NoDataValue>"),
    "<SRS>EPSG:32632</SRS>",
    "<GeoTransform>0, 10, 0, 0, 0, -10</GeoTransform>",
]
OTHER = [
    BAND.format(1, "<NoDataValue>1</NoDataValue>"),
    BAND.format(2, "<ColorInterp>Alpha</ColorInterp>"),
    '<Metadata><MDI key="NODATA_VALUES">1 1</MDI></Metadata>',
    "<SRS>EPSG:32633</SRS>",
    "<GeoTransform>5, 10, 0, 0, 0, -10</GeoTransform>",
]


@pytest.mark.parametrize("content", [*SAME, *OTHER])
def test_a_file_beside_a_raster_counts_where_gdal_sees_other_pixels_by_it(content: str, tmp_path: Path) -> None:
    description = write_items(tmp_path / "mine", "B04.tif")
    path = tmp_path / "mine" / "B04.tif"
    # GDAL masks by a band of transparency where there is no nodata value, and numbers are bytes.
    dtype, nodata = ("float32", float("nan")) if content in SAME else ("uint8", None)
    write_cog(path, np.ones((2, 64, 64), dtype), Affine(10, 0, 0, 0, -10, 0), nodata=nodata)
    raster = open_reader(description, tmp_path / "kept").open(find_href(description), collection="s2")
    path.with_name("B04.tif.aux.xml").write_text(f"<PAMDataset>{content}</PAMDataset>")
    if content in SAME:
        assert raster.read([0], PixelWindow(0, 0, 9, 9), 0)[1].all()
    else:
        with pytest.raises(ArchiveRefusedError, match=r"in B04.tif.aux.xml, which is not read"):
            raster.read([0], PixelWindow(0, 0, 9, 9), 0)
