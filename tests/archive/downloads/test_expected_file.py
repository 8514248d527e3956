"""Validation of downloaded files against the fields of their STAC assets."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import from_origin

from eechips.archive.downloads.assets import jpeg2000_copies, make_unit, select_assets
from eechips.archive.downloads.criteria import Search
from eechips.archive.downloads.document_reader import DocumentReader
from eechips.archive.downloads.expected_file import (
    DRIVERS,
    Checksum,
    ExpectedFile,
    MisdescribedError,
    inspect,
    md5_from_headers,
    parse_multihash,
)
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.integrity import VAGUE_TYPES, create_digest
from eechips.archive.downloads.search import items
from eechips.archive.downloads.search_cache import SearchCache
from eechips.archive.downloads.signers import Secrets
from eechips.archive.downloads.token_signers import Auth, make_signer
from eechips.errors import ValidationError
from eechips.planning.imagery.image_filters import parse_condition
from eechips_local.assets.ingestion.item_metadata import data_of, is_data

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
HDF5 = b"\x89HDF\r\n\x1a\n\x02\x08\x08" + bytes(17) + b"\x30" + bytes(19)  # 48 bytes, as it says of itself
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Earthdata Login</title></head></html>"


def write(path: Path, driver: str = "GTiff", **changes: Any) -> Path:
    profile = {"driver": driver, "width": 40, "height": 30, "count": 1, "dtype": "uint8", "crs": "EPSG:32613"}
    profile |= {"transform": from_origin(5e5, 4.4e6, 10, 10), **changes}
    if profile["crs"] is None:
        del profile["crs"], profile["transform"]
    values = np.random.default_rng(1).integers(0, 255, (profile["count"], 30, 40)).astype(profile["dtype"])
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
    return path


def promise(asset: dict[str, Any], properties: dict[str, Any] | None = None, suffix: str = "tif") -> ExpectedFile:
    made = ExpectedFile.of(asset, properties or {}, suffix)
    assert ExpectedFile.from_json(json.loads(json.dumps(made.to_json()))) == made
    return made


@pytest.mark.parametrize(
    ("prefix", "algorithm", "oracle"),
    [
        ("1114", "sha1", hashlib.sha1),
        ("1220", "sha256", hashlib.sha256),
        ("1340", "sha512", hashlib.sha512),
        ("93201c", "sha224", hashlib.sha224),
        ("2030", "sha384", hashlib.sha384),
        ("1440", "sha3_512", hashlib.sha3_512),
        ("1530", "sha3_384", hashlib.sha3_384),
        ("1620", "sha3_256", hashlib.sha3_256),
        ("171c", "sha3_224", hashlib.sha3_224),
        ("d50110", "md5", hashlib.md5),
        ("952020", "sha512_256", lambda data: hashlib.new("sha512_256", data)),
        # The example of the file extension: https://github.com/stac-extensions/file
        ("90e40210", "blake2b-16", lambda data: hashlib.blake2b(data, digest_size=16)),
        ("a0e40220", "blake2b-32", lambda data: hashlib.blake2b(data, digest_size=32)),
        ("c0e40240", "blake2b-64", hashlib.blake2b),
        ("e0e40220", "blake2s-32", hashlib.blake2s),
    ],
)
@given(data=st.binary(max_size=100))
def test_checksums_of_every_kind(prefix: str, algorithm: str, oracle: Any, data: bytes) -> None:
    digest = oracle(data).hexdigest()
    assert parse_multihash(prefix + digest) == Checksum(algorithm, digest)
    assert parse_multihash(f" {(prefix + digest).upper()}\n") == Checksum(algorithm, digest)
    assert parse_multihash(f"f{prefix}{digest}") == Checksum(algorithm, digest)  # multibase
    found = create_digest(algorithm)
    found.update(data)
    assert found.hexdigest() == digest


def test_the_example_of_the_file_extension() -> None:
    found = parse_multihash("90e40210163700a8a6501eccd00b6d3b44ddaed0")
    assert found == Checksum("blake2b-16", "163700a8a6501eccd00b6d3b44ddaed0")


@pytest.mark.parametrize(
    "text",
    [
        hashlib.md5(b"x").hexdigest(),  # without what says that it is one
        hashlib.sha256(b"x").hexdigest(),
        "QmYtUc4iTCbbfVSDNKvtQqrfyezPPnFvE33wFmutw9PBBk",  # base58
        "zQmYtUc4iTCbbfVSDNKvtQqrfyezPPnFvE33wFmutw9PBBk",
        "1220zz",
        "1e20" + "00" * 32,  # blake3
        "b201040badcafe",  # crc32
    ],
)
def test_unknown_checksums_are_reported_and_ignored(text: str, tmp_path: Path) -> None:
    made = promise({"file:checksum": text, "type": TIFF})
    assert made.known_checksum is None
    assert made.is_checksum_unknown
    inspect(write(tmp_path / "x.tif"), made)


@pytest.mark.parametrize(
    ("kind", "suffix", "named", "is_image"),
    [
        (TIFF, "", "tif", True),
        (TIFF, "tiff", "tiff", True),
        ("image/jp2", "", "jp2", True),
        ("image/jpx", "jp2", "jp2", True),
        ("image/x-something", "tif", "tif", True),
        (None, "jp2", "jp2", True),
        (None, "", "", True),  # nobody knows
        ("application/octet-stream", "dat", "dat", True),
        ("application/octet-stream", "hdf", "hdf", False),
        ("application/zip", "zip", "zip", False),
        ("application/x-hdf5", "", "", False),
        ("image/png", "", "png", False),
        ("text/html", "", "", False),
        (None, "nc4", "nc4", False),
    ],
)
def test_suffix_and_image_type_follow_the_media_type(kind: str | None, suffix: str, named: str, is_image: bool) -> None:
    made = ExpectedFile(media_type=kind, suffix=suffix)
    assert (made.local_suffix, made.is_image) == (named, is_image)


def test_fields_of_the_wrong_type_are_ignored() -> None:
    odd = {"file:size": "12", "proj:shape": ["30", 40.0], "proj:epsg": 32613.0}
    assert promise(odd) == ExpectedFile(size=12, shape=(30, 40), crs="EPSG:32613", suffix="tif")
    for value in (None, -1, 1.5, "big", True, [], {}, float("inf")):
        none = {"file:size": value, "proj:shape": [value, 3], "file:checksum": None, "type": None, "bands": value}
        assert promise(none).size is None
        assert promise(none).shape is None
        assert promise(none).bands is None
    for shape in ("30,40", [30], [30, 40, 1], [0, 0], [None, None], {"a": 1}):
        assert promise({"proj:shape": shape}).shape is None
    assert promise({"proj:code": None}, {"proj:code": "EPSG:4326"}).crs is None  # it has none, as the asset says
    assert promise({}, {"proj:code": "EPSG:4326"}).crs == "EPSG:4326"


def test_md5_as_an_etag() -> None:
    digest = hashlib.md5(b"x").hexdigest()
    s3 = {"x-amz-request-id": "1"}
    assert md5_from_headers({**s3, "ETag": f'"{digest}"'}) == digest
    for etag in (f'"{digest}-2"', f'W/"{digest}"', digest, f'"{digest.upper()}"', f'"{digest[:-1]}"', ""):
        assert md5_from_headers({**s3, "ETag": etag}) is None
    for name in ("x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption"):
        told = {**s3, "ETag": f'"{digest}"', "x-amz-server-side-encryption": "aws:kms", name: "aws:kms"}
        assert md5_from_headers(told) is None
    assert md5_from_headers({"Server": "AmazonS3", "ETag": f'"{digest}"'}) == digest
    assert md5_from_headers({"Server": "nginx", "ETag": f'"{digest}"'}) is None


GRID = {"proj:code": "EPSG:32613", "proj:shape": [30, 40]}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pictures_need_not_lie_on_the_grid_of_their_scene(tmp_path: Path) -> None:
    large = {"proj:code": "EPSG:32613", "proj:shape": [10980, 10980]}
    png = write(tmp_path / "x.png", "PNG", crs=None)
    jpeg = write(tmp_path / "x.jpg", "JPEG", crs=None, count=3)
    tif = write(tmp_path / "x.tif")
    inspect(png, promise({"type": "image/png", "roles": ["thumbnail"]}, large, "png"))
    inspect(jpeg, promise({"type": "image/jpeg"}, large, "jpg"))
    inspect(tif, promise({"type": TIFF, "roles": ["overview", "visual"]}, large))
    inspect(jpeg, promise({"type": "image/jpeg", "proj:code": "EPSG:32613", "proj:shape": [30, 40]}, {}, "jpg"))
    with pytest.raises(ValidationError, match="pixels"):
        inspect(jpeg, promise({"type": "image/jpeg", "proj:shape": [31, 40]}, {}, "jpg"))
    with pytest.raises(ValidationError, match="pixels"):
        inspect(tif, promise({"type": TIFF, "roles": ["data"]}, large))


def test_bands_and_alpha(tmp_path: Path) -> None:
    rgba = write(tmp_path / "x.tif", count=4, photometric="RGB", alpha="YES")
    three = [{"name": name} for name in "RGB"]
    inspect(rgba, promise({"type": TIFF, "eo:bands": three}))
    inspect(rgba, promise({"type": TIFF, "raster:bands": [*three, {}]}))
    for wrong in (three[:2], [{}] * 5):
        with pytest.raises(ValidationError, match="4 bands"):
            inspect(rgba, promise({"type": TIFF, "bands": wrong}))


def test_crs_of_files_are_compared_by_meaning(tmp_path: Path) -> None:
    named = CRS.from_wkt(CRS.from_epsg(26913).to_wkt().replace("NAD83 / UTM zone 13N", "UTM Zone 13, NAD 83"))
    custom = write(tmp_path / "x.tif", crs=named)
    inspect(custom, promise({"type": TIFF, "proj:epsg": 26913}))
    with pytest.raises(ValidationError, match="CRS"):
        inspect(custom, promise({"type": TIFF, "proj:epsg": 26914}))
    with pytest.raises(ValidationError, match="CRS"):
        inspect(custom, promise({"type": TIFF, "proj:code": "EPSG:32613"}))  # another datum
    inspect(custom, promise({"type": TIFF, "proj:code": "XYZ:1"}))  # which nobody knows
    nad83 = write(tmp_path / "d.tif", crs="EPSG:4269")
    inspect(nad83, promise({"type": TIFF}, {"proj:epsg": 5498}))  # as the Planetary Computer declares 3DEP
    with pytest.raises(ValidationError, match="CRS"):
        inspect(nad83, promise({"type": TIFF}, {"proj:epsg": 9518}))  # WGS 84 and heights
    inspect(write(tmp_path / "h.tif", crs="EPSG:5498"), promise({"type": TIFF}, {"proj:epsg": 4269}))
    sinusoidal = write(tmp_path / "s.tif", crs="+proj=sinu +R=6371007.181 +units=m")
    inspect(sinusoidal, promise({"type": TIFF, "proj:epsg": None}, {"proj:epsg": 4326}))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_of_radar_has_points_in_the_place_of_a_grid(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", crs=None)
    with rasterio.open(path, "r+") as file:
        points = [GroundControlPoint(r, c, 10 + c / 10, 50 - r / 10) for r, c in ((0, 0), (0, 40), (30, 0), (30, 40))]
        file.gcps = points, CRS.from_epsg(4326)
    inspect(path, promise({"type": TIFF, "proj:epsg": 4326}))
    with pytest.raises(ValidationError, match="CRS"):
        inspect(path, promise({"type": TIFF, "proj:epsg": 32613}))


@pytest.mark.parametrize("kind", ["image/geotiff", "application/octet-stream", "", None, "IMAGE/TIFF"])
def test_a_raster_is_known_by_its_suffix_where_the_type_says_nothing(tmp_path: Path, kind: str | None) -> None:
    asset = {"type": kind, "proj:shape": [30, 41]}
    with pytest.raises(ValidationError, match="pixels"):
        inspect(write(tmp_path / "x.tif"), promise(asset))


def test_truncated_jpeg2000_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jp2", "JP2OpenJPEG")
    inspect(path, promise({"type": "image/jp2"}, GRID, "jp2"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValidationError, match="GDAL cannot open the file"):
        inspect(path, promise({"type": "image/jp2"}, GRID, "jp2"))


def zipped() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr(zipfile.ZipInfo("S2A.SAFE/manifest.safe"), "<xfdu/>")  # without the time, as ids of tests have it
    return target.getvalue()


@pytest.mark.parametrize(
    ("media_type", "suffix", "good"),
    [
        ("application/zip", "zip", zipped()),
        (None, "zip", zipped()),
        ("application/x-netcdf", "nc", b"CDF\x02rest"),
        ("application/netcdf", "nc4", HDF5),
        ("application/x-hdf5", "h5", HDF5),
        ("application/x-hdf", "hdf", b"\x0e\x03\x13\x01"),
        ("application/xml", "xml", b"\xef\xbb\xbf<?xml version='1.0'?><a/>"),
        ("text/xml", "xml", "<?xml version='1.0' encoding='utf-16'?><a/>".encode("utf-16")),
        ("application/json", "json", b' \n{"a": 1}'),
        ("application/geo+json", "geojson", b"{}"),
        ("application/vnd.apache.parquet", "parquet", b"PAR1" + bytes(12) + b"PAR1"),
        ("application/pdf", "pdf", b"%PDF-1.4"),
        ("text/plain", "txt", b"GROUP = LANDSAT_METADATA_FILE"),
        ("application/vnd.laszip+copc", "laz", b"LASF"),
        (TIFF, "tif", None),
    ],
)
def test_an_html_page_is_refused(tmp_path: Path, media_type: str | None, suffix: str, good: bytes | None) -> None:
    """Some hosts send such pages with status 200 for any request."""
    path, made = tmp_path / "x", promise({"type": media_type}, {}, suffix)
    if good is not None:
        path.write_bytes(good)
        inspect(path, made)
    path.write_bytes(PAGE)
    with pytest.raises(ValidationError, match="an HTML page"):
        inspect(path, made)
    if suffix not in ("txt", "laz", "tif"):
        for wrong in (b"Access denied", b"\x00" * 600):
            path.write_bytes(wrong)
            with pytest.raises(ValidationError, match="does not begin like"):
                inspect(path, made)


def test_an_expected_html_file_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(PAGE)
    for asset, suffix in (({"type": "text/html"}, "html"), ({}, "html"), ({"type": "text/html"}, "")):
        inspect(tmp_path / "x", promise(asset, {}, suffix))


@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        b"\xef\xbb\xbf\n <HTML lang='en'>",
        b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
        b"<!-- " + b"x" * 900 + b" -->\n<html>",
        b"<script>location='/login'</script>",
        b"",
    ],
)
def test_an_html_page_instead_of_an_unknown_file_is_refused(tmp_path: Path, page: bytes) -> None:
    """A login in the place of a file without type and suffix, or of metadata; or nothing at all."""
    (tmp_path / "x").write_bytes(page)
    for asset in ({}, {"type": "application/octet-stream"}, {"type": "application/xml"}, {"type": "application/pdf"}):
        with pytest.raises(ValidationError):
            inspect(tmp_path / "x", promise(asset, {}, ""))


def test_xml_and_other_text_are_accepted(tmp_path: Path) -> None:
    for content in (b"<?xml version='1.0'?><headers/>", b"<!-- html --><metadata/>", b"<htmlx/>", b"{}", b"\0<html>"):
        (tmp_path / "x").write_bytes(content)
        inspect(tmp_path / "x", promise({}, {}, ""))
    (tmp_path / "x").write_bytes(b"")
    inspect(tmp_path / "x", promise({"file:size": 0}, {}, ""))


@pytest.mark.parametrize(
    "content",
    [
        b'<VRTDataset rasterXSize="9" rasterYSize="9"></VRTDataset>',
        b'<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>',
        b"STACIT:whatever",
    ],
)
def test_gdal_does_not_follow_references_in_a_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(ValidationError, match="GDAL cannot open the file"):
        inspect(tmp_path / "x.tif", promise({"type": TIFF}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
FIELDS = [
    "type", "roles", "href", "file:size", "file:checksum", "checksum:multihash", "proj:shape", "proj:code", "proj:epsg",
    "bands", "eo:bands", "raster:bands",
]  # fmt: skip


ASSETS = st.fixed_dictionaries(
    {"href": st.text(min_size=1, max_size=9) | JSON}, optional={name: JSON for name in FIELDS if name != "href"}
)


@example(asset={"file:size": "0\x1f"}, properties={})
@given(asset=st.dictionaries(st.sampled_from(FIELDS), JSON), properties=st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_asset_fields_are_accepted(asset: dict[str, Any], properties: dict[str, Any]) -> None:
    made = ExpectedFile.of(asset, properties, "tif")
    assert ExpectedFile.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.size is None or made.size >= 0


@pytest.mark.slow
@settings(max_examples=60)
@given(
    features=st.lists(
        JSON
        | st.fixed_dictionaries(
            {"id": st.text(max_size=3) | st.integers()},
            optional={
                "collection": JSON,
                "geometry": JSON | st.fixed_dictionaries({"type": st.just("Polygon"), "coordinates": JSON}),
                "bbox": JSON,
                "properties": JSON | st.fixed_dictionaries({"datetime": JSON, "eo:cloud_cover": JSON}),
                "assets": JSON | st.dictionaries(st.text(max_size=3), JSON | ASSETS),
                "links": JSON,
            },
        ),
        max_size=3,
    )
)
def test_any_list_entry_is_an_item_or_is_reported(
    tmp_path_factory: pytest.TempPathFactory, features: list[Any]
) -> None:
    """No entry raises an error, and accepted entries can be stored."""
    folder = tmp_path_factory.mktemp("list")
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with HostSessions(1, 1.0, 1.0) as hosts:
        plain, narrow = (DocumentReader(hosts, make_signer(Auth(), Secrets({}), hosts)) for _ in range(2))
        found = list(items(Search(stac=str(folder / "items.json")), plain))
        wanted = Search(
            stac=str(folder / "items.json"),
            region=shapely.box(-180, -90, 180, 90),
            start=dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
            conditions=(parse_condition("eo:cloud_cover < 20"),),
        )
        assert len(list(items(wanted, narrow))) <= len(found)
    same = len({(str(i.get("collection")), i["id"]) for i in found})
    assert len(found) == same
    assert len(found) + len(plain.unread) <= len(features)
    answer = SearchCache(folder / "items.parquet", "of the tests")
    assert answer.keep(found, plain.unread) == len(found)
    if found:
        assert [each["id"] for each in answer] == [each["id"] for each in found]
        assert answer.unread == len(plain.unread)
    for item in found:
        for key in item["assets"]:
            unit = make_unit(item, key)
            assert ExpectedFile.from_json(unit["expected"]).to_json() == unit["expected"]
        list(select_assets(item, None))
        list(select_assets(item, ["B04"]))


@pytest.mark.parametrize("kind", [*DRIVERS, *VAGUE_TYPES])
def test_both_distributions_read_a_media_type_alike(kind: str) -> None:
    """RFC 3745 registers image/jpx beside image/jp2."""
    driver = DRIVERS.get(kind)
    bare = {"href": "a", "type": kind, "roles": ["data"]}
    assert is_data(bare) == (driver in ("GTiff", "JP2OpenJPEG"))
    assert is_data({**bare, "href": "a.tif"}) == (driver in ("GTiff", "JP2OpenJPEG") or kind in VAGUE_TYPES)
    assets = {"a": {**bare, "href": "a.jp2"}, "b": {**bare, "href": "a.tif", "type": TIFF}}
    is_copy = driver == "JP2OpenJPEG" or kind in VAGUE_TYPES
    assert jpeg2000_copies({"assets": assets}) == (["a"] if is_copy else [])
    assert data_of(assets)[0] == ("a" if driver == "GTiff" else "b")


def test_an_error_of_a_wrong_description_keeps_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    described = promise({"type": TIFF, "proj:shape": [3, 4]})
    with pytest.raises(MisdescribedError) as raised:
        inspect(path, described)
    restored = pickle.loads(pickle.dumps(raised.value))
    assert (str(restored), restored.metadata) == (str(raised.value), inspect(path, promise({"type": TIFF})))
