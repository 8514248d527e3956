"""Checksums and expected files: multihashes, MD5 of S3, fields of STAC assets."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.downloads.expected_file import Checksum, ExpectedFile, md5_from_headers, parse_multihash


@pytest.mark.parametrize(
    ("prefix", "algorithm"),
    [("1220", "sha256"), ("1114", "sha1"), ("1340", "sha512"), ("d50110", "md5"), ("1620", "sha3_256")],
)
@given(data=st.binary())
def test_multihashes_are_parsed(prefix: str, algorithm: str, data: bytes) -> None:
    digest = hashlib.new(algorithm, data).hexdigest()
    assert parse_multihash(prefix + digest) == Checksum(algorithm, digest)
    assert parse_multihash(prefix + digest[:-2]) is None


@given(st.text(max_size=80) | st.binary(max_size=40).map(bytes.hex))
def test_invalid_multihashes_are_ignored(text: str) -> None:
    found = parse_multihash(text)
    assert found is None or text.strip().lower().endswith(found.digest)


def test_md5_is_read_from_s3_headers() -> None:
    md5 = hashlib.md5(b"x").hexdigest()
    s3 = {"ETag": f'"{md5}"', "x-amz-request-id": "1"}
    assert md5_from_headers(s3) == md5
    assert md5_from_headers({**s3, "x-amz-server-side-encryption": "AES256"}) == md5
    assert md5_from_headers({**s3, "x-amz-server-side-encryption": "aws:kms"}) is None
    assert md5_from_headers({**s3, "ETag": f'"{md5}-3"'}) is None  # in parts
    assert md5_from_headers({"ETag": f'"{md5}"'}) is None  # of whatever


def test_expected_files_are_read_from_items() -> None:
    asset = {"type": "image/tiff; application=geotiff; profile=cloud-optimized", "file:size": 5, "proj:shape": [3, 4]}
    promise = ExpectedFile.of(asset | {"eo:bands": [{"name": "a"}]}, {"proj:epsg": 32613}, "tif")
    assert (promise.driver, promise.shape, promise.bands, promise.crs) == ("GTiff", (3, 4), 1, "EPSG:32613")
    assert ExpectedFile.from_json(json.loads(json.dumps(promise.to_json()))) == promise
    assert not ExpectedFile.of({"type": "application/json"}, {}, "json").is_raster
    assert ExpectedFile.of({}, {}, "tif").is_raster
