"""Test the stored, compared and shown forms of URLs."""

from __future__ import annotations

import pytest

from eechips.web.urls import host_of, is_remote


@pytest.mark.parametrize(
    ("address", "host"),
    [("https://User:pw@Host.org:8080/x", "host.org:8080"), ("s3://bucket/x", "bucket"), ("/x/y", ""),
     ("x", ""), ("file:///x", ""), ("http:///x", "")],
)  # fmt: skip
def test_hosts_have_no_user_and_are_lower_case(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.org\\@host.org/x",
        "https://evil.org\\.host.org",
        "http://a b/",
        "http://[::1",
        "http://x:0",
        "http://x:y",
    ],
)
def test_urls_whose_host_differs_between_programs_have_none(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        host_of(address)


def test_an_arn_is_a_bucket() -> None:
    assert host_of("s3://arn:aws:s3:us-west-2:1:accesspoint/x/y") == "arn:aws:s3:us-west-2:1:accesspoint"


@pytest.mark.parametrize(
    "address", ["https://x/a", "HTTP://x/a", "s3://b/a", "gs://b/a", "abfs://c@a/b", "https://x/a::b"]
)
def test_addresses_of_the_web_and_of_stores_are_remote(address: str) -> None:
    assert is_remote(address)


@pytest.mark.parametrize(
    "address",
    ["/etc/passwd", "file:///etc/passwd", "FILE:///x", "local:///x", "./x", "~/x", "", "C:\\x", "simplecache::file:///x",
     "s3://b::file:///x", "zip://x::https://y", "http:/etc/passwd", "https:x", "memory://x", "ftp://x/y", "git://x"],
)  # fmt: skip
def test_addresses_that_may_lead_to_local_files_are_not_remote(address: str) -> None:
    assert not is_remote(address)
