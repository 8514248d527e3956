"""Headers of rasters that are wrong, or would fill the memory."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from rasterio.crs import CRS

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.archives.cog_files import LAYOUTS, check, cog, raster, tiff
from local_tests.support.object_host import ObjectHost


def huge(width: int, height: int, side: int) -> bytes:
    """Return the header of a TIFF file that claims to be large, as a bomb does."""
    tiles = min(-(-width // side) * -(-height // side), 2**32 - 1)
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1),
        (322, 4, 1, side), (323, 4, 1, side), (324, 4, tiles, 300), (325, 4, tiles, 300),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(70_000)


def shared_values(tags: int, size: int) -> bytes:
    """Return a TIFF file with many tags whose values are the same bytes of it."""
    entries = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, 1), 278: (4, 1, 64), 273: (4, 1, 8)}
    entries |= {279: (4, 1, 64), **{40_000 + n: (1, size, 8) for n in range(tags)}}
    directory = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    content = struct.pack("<2sHI", b"II", 42, 8 + size) + bytes(size) + struct.pack("<H", len(entries))
    return content + directory + bytes(4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (shared_values(100, 500_000), "header takes more than 32 MB"),
        (huge(1 << 30, 1 << 30, 1 << 24), "claims 1073741824x1073741824"),
        (huge(1 << 20, 1 << 20, 1 << 16), "take more than 64 MB"),
        (huge(1 << 20, 1 << 20, 16), "behind its end"),
        (huge(0, 100, 16), "claims 0x100"),
        (b"II*\0" + struct.pack("<IH", 8, 0) + struct.pack("<I", 8) + bytes(100), "holds no|circles|lists|claims 0x0"),
        (b"II*\0" + struct.pack("<IH", 8, 60_000) + bytes(100), "60000 tags"),
        (b"\x89PNG" + bytes(100), "no TIFF file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "JPEG 2000, whose windows cannot be read by ranges"),
        (b"\xff\x4f\xff\x51" + bytes(100), "JPEG 2000"),
        (b"II*\0", "no TIFF file"),
        (tiff(crs="+proj=eqc +R=3396190 +units=m"), "by a transform and a CRS of the Earth"),
    ],
)
def test_bombs_are_refused_with_few_requests(content: bytes, message: str, host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content
    with pytest.raises(ArchiveRefusedError, match=message):
        assert raster(host, tmp_path).header
    assert host.requests() <= 3


def altered(content: bytes, tag: int, *, number: int = 0, count: int = 0, value: int | None = None) -> bytes:
    """Return a TIFF file whose first directory has another number, count or first value for a tag."""
    data = bytearray(content)
    start = struct.unpack_from("<I", data, 4)[0]
    at = next(
        at
        for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12)
        if struct.unpack_from("<H", data, at)[0] == tag
    )
    _, kind, values, place = struct.unpack_from("<HHII", data, at)
    size = {3: 2, 4: 4}[kind]
    if value is not None:
        struct.pack_into({2: "<H", 4: "<I"}[size], data, at + 8 if size * values <= 4 else place, value)
    struct.pack_into("<HHI", data, at, number or tag, kind, count or values)
    return bytes(data)


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("strips of deflate", {"tag": 317, "count": 2}, "its tag 317 is not one number"),
        ("tiles", {"tag": 284, "value": 5}, "layout or compression is not supported"),
        ("strips", {"tag": 273, "value": 0}, "lists a block without its place"),
        ("one strip", {"tag": 279, "value": 0}, "lists a block without its place, or without its size"),
    ],
)
def test_header_that_libtiff_reads_in_another_way_or_not_is_refused(
    layout: str, change: dict[str, int], message: str, host: ObjectHost, tmp_path: Path
) -> None:
    host.objects["a.tif"] = altered(tiff(**LAYOUTS[layout]), **change)
    with pytest.raises(ArchiveRefusedError, match=message):
        assert raster(host, tmp_path).header


def test_first_of_two_tags_with_one_number_counts_as_for_libtiff(host: ObjectHost, tmp_path: Path) -> None:
    content = altered(tiff(compress="deflate", predictor=2), 339, number=317)
    host.objects["a.tif"] = content
    check(content, raster(host, tmp_path), [0], PixelWindow(0, 0, 300, 200))


def test_overviews_whose_samples_are_others_are_left_out(host: ObjectHost, tmp_path: Path) -> None:
    content = cog(tiff(700, 431, dtype="float32"), blocksize=128)
    host.objects["a.tif"] = altered(content, 339, value=1)  # unsigned: the bits of its overviews would be integers
    found = raster(host, tmp_path)
    assert (found.levels, found.header.dtypes) == ((1,), ("uint32",))


def test_header_of_gigabytes_is_refused_before_it_is_fetched(host: ObjectHost, tmp_path: Path) -> None:
    content = huge(1 << 21, 1 << 21, 16)  # the places of its blocks would take 32 GB
    host.objects["a.tif"] = content
    host.sizes["a.tif"] = 10 << 40
    with pytest.raises(ArchiveRefusedError, match="header takes more than 32 MB"):
        assert raster(host, tmp_path).header
    assert host.requests() == 1


@pytest.mark.parametrize("ellipsoid", ["WGS 84", "GRS 1980"])
def test_zone_of_an_unspecified_datum_is_that_of_its_ellipsoid(
    ellipsoid: str, host: ObjectHost, tmp_path: Path
) -> None:
    """Files of HLS are in such a CRS; this is that of NASA-IMPACT/hls-cmr_stac, tests/data."""
    zone = CRS.from_epsg(32619).to_wkt()
    datum = f'DATUM["Not specified (based on {ellipsoid} spheroid)",SPHEROID["{ellipsoid}",6378137,298.257223563]]'
    unspecified = re.sub(r'DATUM\["WGS_1984",SPHEROID\[.*?\],AUTHORITY\["EPSG","6326"\]\]', datum, zone)
    unspecified = re.sub(r',AUTHORITY\["EPSG","(?:4326|32619)"\]', "", unspecified)
    host.objects["a.tif"] = tiff(crs=unspecified)
    found = raster(host, tmp_path).header.grid.crs
    assert (found == "EPSG:32619") == (ellipsoid == "WGS 84")
    assert ellipsoid == "WGS 84" or ellipsoid in found
