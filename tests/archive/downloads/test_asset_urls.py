"""URLs of assets: signatures, stored queries, suffixes, hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips.web.urls import display_url, file_suffix, host_of, identity_url, is_signed, local_path, strip_signature

SIGNED = [
    "https://a.blob.core.windows.net/c/x.tif?st=2020&se=2021&sp=r&sv=2020-08-04&sr=c&sig=SECRET%3D",
    "https://b.s3.amazonaws.com/x.tif?X-Amz-Algorithm=A&X-Amz-Credential=SECRET&X-Amz-Signature=SECRET",
    "https://storage.googleapis.com/b/x.tif?X-Goog-Algorithm=A&X-Goog-Credential=SECRET&X-Goog-Signature=SECRET",
    "https://d1.cloudfront.net/x.tif?Expires=1&Signature=SECRET&Key-Pair-Id=SECRET",
    "https://user:SECRET@example.com/x.tif",
    "https://example.com/x.tif?access_token=SECRET",
    "https://example.com/x.tif?md5=SECRET&exp=1700000000",
    "https://example.com/x.tif?zz=SECRET&valid-until=2030-01-01",
]


@pytest.mark.parametrize("address", SIGNED)
def test_signatures_are_stripped_from_urls(address: str) -> None:
    assert "SECRET" in address
    assert "SECRET" not in strip_signature(address)
    assert strip_signature(address).partition("?")[0] == display_url(address)
    assert is_signed(address) == ("@" not in address)
    assert file_suffix(address) == "tif"


def test_only_named_query_parameters_are_stored() -> None:
    for address in ("s3://bucket/a b/x.tif", "/data/x.tif", "https://example.com/x.tif"):
        assert strip_signature(address) == identity_url(address) == address
    address = "https://x.org/y.tif?collection=a%20b&sig=1"
    assert strip_signature(address) == "https://x.org/y.tif"
    assert strip_signature(address, ("collection",)) == "https://x.org/y.tif?collection=a%20b"
    assert strip_signature(address, "*") == address


def test_urls_that_differ_by_query_stay_distinct() -> None:
    first, second = (identity_url(f"https://x.org/search?q={name}&md5=abc") for name in ("a", "b"))
    assert first != second
    assert "q=a" not in first
    assert identity_url("https://x.org/search?q=a&md5=def") == first
    assert identity_url("https://x.org/search?q=a&md5=def", ("q",)) == "https://x.org/search?q=a"


@pytest.mark.parametrize(
    ("address", "suffix"),
    [("https://x.org/a/B04.JP2?x=1.5", "jp2"), ("s3://b/k.tar.gz", "gz"), ("https://x.org/download", ""),
     ("https://x.org/v1.0/file", ""), ("https://x.org/a.b%20c", "")],
)  # fmt: skip
def test_suffixes_of_urls_are_found(address: str, suffix: str) -> None:
    assert file_suffix(address) == suffix


def test_urls_of_files_and_hosts_are_parsed() -> None:
    assert local_path("file:///a%20b/x.tif") == Path("/a b/x.tif")
    assert local_path("x.tif") == Path("x.tif")
    assert local_path("https://x.org/x.tif") is None
    assert host_of("https://u:p@X.org:8080/y") == "x.org:8080"
