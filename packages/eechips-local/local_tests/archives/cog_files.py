"""Rasters of a host that are read by ranges, beside what rasterio reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.files.cog_raster import CogRaster, RangeCogReader
from eechips_local.archives.files.file_ranges import AddressSigner, SignedAddress
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.signing import Signer
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.support.object_host import ObjectHost

Array = npt.NDArray[Any]
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_400_000)


def tiff(
    width: int = 300, height: int = 200, count: int = 1, dtype: str = "uint16", mask: bool = False, **options: Any
) -> bytes:
    """Return a GeoTIFF with noise on a slope."""
    rng = np.random.default_rng(width * height * count)
    slope = np.arange(width * height).reshape(height, width) % 211
    values = np.stack([(slope + rng.integers(0, 9, slope.shape) + band).astype(dtype) for band in range(count)])
    profile = {
        "driver": "GTiff", "width": width, "height": height, "count": count, "dtype": dtype, "crs": "EPSG:32613",
        "transform": TRANSFORM, **options,
    }  # fmt: skip
    with MemoryFile() as memory:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), memory.open(**profile) as dataset:
            dataset.write(values)
            if mask:
                dataset.write_mask(slope % 3 > 0)
        return bytes(memory.getbuffer())


def cog(content: bytes, **options: Any) -> bytes:
    """Return a cloud-optimised copy."""
    with MemoryFile(content) as source, MemoryFile(ext=".tif") as made:
        copy_raster(source.name, made.name, driver="COG", **options)
        return bytes(made.getbuffer())


class NumberedSigner:
    """Signs with a number, the next one when the host has refused one, up to the greatest."""

    def __init__(self, greatest: int) -> None:
        self._number, self._greatest = 1, greatest

    def sign(self, href: str, collection: str, refused: SignedAddress | None = None) -> SignedAddress:
        if refused is not None and refused.url.endswith(f"={self._number}"):
            self._number = min(self._number + 1, self._greatest)
        return SignedAddress(f"{href}?token={self._number}")


def reader_of(
    host: ObjectHost,
    folder: Path,
    since: float | None = None,
    signer: AddressSigner | None = None,
    clock: Clock = CLOCK,
) -> RangeCogReader:
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    transport = HostTransport(AllowedHosts.of_files(description), clock=clock)
    return RangeCogReader(transport, signer or Signer(description), folder, since=since, clock=clock)


def raster(host: ObjectHost, folder: Path, name: str = "a.tif", **options: Any) -> CogRaster:
    return reader_of(host, folder, **options).open(f"{host.url}/{name}", collection="c")


def expected(content: bytes, bands: list[int], window: PixelWindow, level: int) -> tuple[Array, Array]:
    """Return what rasterio reads."""
    options = {} if level == 0 else {"overview_level": level - 1}
    area = Window(window.column, window.row, window.width, window.height)  # type: ignore[call-arg]
    with MemoryFile(content) as memory, memory.open(**options) as dataset:
        indexes = [band + 1 for band in bands]
        return dataset.read(indexes, window=area), dataset.read_masks(indexes, window=area) != 0


def check(content: bytes, found: CogRaster, bands: list[int], window: PixelWindow, level: int = 0) -> None:
    values, valid = found.read(bands, window, level)
    true_values, true_valid = expected(content, bands, window, level)
    np.testing.assert_array_equal(values, true_values)
    np.testing.assert_array_equal(valid, true_valid)
    assert values.dtype == true_values.dtype
    found.reader.parts.wait_until_kept()  # other readers find it on disk


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {},
    "strips of deflate": {"compress": "deflate", "blockysize": 7, "predictor": 2},
    "one strip": {"blockysize": 200},
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 48},
    "lzw": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "lzw", "predictor": 2},
    "zstd": {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "zstd", "predictor": 2, "count": 3},
    "floats": {"tiled": True, "compress": "deflate", "predictor": 3, "dtype": "float32", "nodata": 17.0},
    "differences of floats": {"tiled": True, "compress": "deflate", "predictor": 2, "dtype": "float32"},
    "differences of longs": {
        "tiled": True, "compress": "deflate", "predictor": 2, "dtype": "int64", "nodata": 17, "ENDIANNESS": "BIG",
    },
    "not a number": {"tiled": True, "dtype": "float64", "nodata": float("nan")},
    "nodata": {"tiled": True, "nodata": 17, "compress": "deflate"},
    "signed bytes": {"tiled": True, "dtype": "int8", "nodata": -128, "count": 2},
    "big endian": {"tiled": True, "ENDIANNESS": "BIG", "dtype": "int32", "compress": "deflate", "predictor": 2},
    "big tiff": {"tiled": True, "BIGTIFF": "YES", "compress": "packbits"},
    "planar": {"tiled": True, "interleave": "band", "count": 5, "compress": "deflate", "predictor": 2},
    "planar strips": {"interleave": "band", "count": 3, "blockysize": 16, "compress": "lzw"},
    "mask": {"tiled": True, "count": 3, "dtype": "uint8", "mask": True, "compress": "deflate"},
    "alpha": {"tiled": True, "count": 4, "dtype": "uint8", "photometric": "RGB", "alpha": "YES"},
    "planar alpha": {"tiled": True, "count": 4, "dtype": "uint8", "interleave": "band", "alpha": "YES"},
    "jpeg": {"tiled": True, "count": 3, "dtype": "uint8", "compress": "jpeg", "photometric": "YCBCR"},
    "jpeg of four": {"tiled": True, "count": 4, "dtype": "uint8", "compress": "jpeg"},
    "jpeg strips": {"count": 1, "dtype": "uint8", "compress": "jpeg", "blockysize": 16},
    "twelve bits": {"tiled": True, "dtype": "uint16", "NBITS": 12, "compress": "deflate"},
    "half floats": {"tiled": True, "dtype": "float32", "NBITS": 16, "nodata": 17.0, "compress": "deflate"},
    "half floats of strips": {"dtype": "float32", "NBITS": 16, "blockysize": 7, "ENDIANNESS": "BIG"},
    "one bit": {"tiled": True, "dtype": "uint8", "NBITS": 1},
    "sparse": {"tiled": True, "SPARSE_OK": "TRUE", "nodata": 0},
}  # fmt: skip
