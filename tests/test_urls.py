"""Test the stored, compared and shown forms of URLs."""

from __future__ import annotations

import pytest

from eechips.urls import host_of, is_redacted, is_remote, redact_urls


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://x/a.json?n=1&author=me&page_token_count=", "https://x/a.json?n=1&author=me&page_token_count="),
        ("https://x/a.json?token=s3cret", "https://x/a.json?token=***"),
        ("https://x/a?sv=2022&sp=r&sig=s%2F&se=2030", "https://x/a?sv=2022&sp=r&sig=***&se=2030"),
        ("https://x/a?X-Amz-Credential=k%2F1&X-Amz-Signature=s&X-Amz-Expires=9",
         "https://x/a?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Expires=9"),
        ("https://x/a?X-Goog-Signature=s&GoogleAccessId=me", "https://x/a?X-Goog-Signature=***&GoogleAccessId=***"),
        ("https://x/a?AWSAccessKeyId=k&Signature=s&Expires=1", "https://x/a?AWSAccessKeyId=***&Signature=***&Expires=1"),
        ("https://x/a?apikey=s&api_key=s&subscription-key=s", "https://x/a?apikey=***&api_key=***&subscription-key=***"),
        ("https://me:s3cret@x/a", "https://me:***@x/a"),
        ("https://s3cret@x/a", "https://***@x/a"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("simplecache::https://x/a?sig=s", "simplecache::https://x/a?sig=***"),
        ("could not read https://x/a?sig=s, nor http://y:z@q", "could not read https://x/a?sig=*** nor http://y:***@q"),
        ("/data/key=a/token=b.json", "/data/key=a/token=b.json"),
    ],
)  # fmt: skip
def test_secrets_are_redacted(address: str, expected: str) -> None:
    assert redact_urls(address) == expected
    assert redact_urls(expected) == expected
    assert is_redacted(expected) == (expected != address)
    assert not is_redacted(address)


@pytest.mark.parametrize(
    ("address", "host"),
    [("https://User:pw@Host.org:8080/x", "host.org:8080"), ("s3://bucket/x", "bucket"), ("/x/y", ""),
     ("x", ""), ("file:///x", ""), ("http:///x", "")],
)  # fmt: skip
def test_hosts_have_no_user_and_are_lower_case(address: str, host: str) -> None:
    assert host_of(address) == host


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
