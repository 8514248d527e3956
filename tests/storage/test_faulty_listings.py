"""Listings that a faulty store, cache or proxy sends: pages without end, documents of other kinds, missing objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from eechips.client.retry import RetryPolicy
from eechips.engine.plans.resumed_files import ResumedFiles
from eechips.errors import ConfigurationError, StorageError, ValidationError
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.storage import ObjectStore
from eechips.storage.s3_backend import S3Backend
from local_tests.support.function_server import Answer, serve_function
from local_tests.support.object_server import ACCOUNT

_TIME = "2024-01-01T00:00:00Z"
_S3_OBJECTS = "".join(
    f"<Contents><Key>run/{number:04}</Key><LastModified>{_TIME}</LastModified><Size>1</Size></Contents>"
    for number in range(1000)
)
_S3 = (
    f"<ListBucketResult><Name>bucket</Name><IsTruncated>true</IsTruncated>{_S3_OBJECTS}"
    "<NextContinuationToken>same</NextContinuationToken></ListBucketResult>"
).encode()
_GS = json.dumps(
    {"kind": "storage#objects", "items": [{"name": "run/a", "size": "1", "updated": _TIME}], "nextPageToken": "same"}
).encode()
_AZURE = (
    b'<EnumerationResults ContainerName="bucket"><Blobs><Blob><Name>run/a</Name><Properties>'
    b"<BlobType>BlockBlob</BlobType><Content-Length>1</Content-Length>"
    b"<Last-Modified>Mon, 01 Jan 2024 00:00:00 GMT</Last-Modified></Properties></Blob></Blobs>"
    b"<NextMarker>same</NextMarker></EnumerationResults>"
)


@pytest.mark.parametrize(
    ("store", "page", "kind", "message"),
    [
        ("s3", _S3, "application/xml", "the pages of bucket bucket have no end: run/0000 repeats"),
        ("gs", _GS, "application/json", "the pages of bucket bucket have no end: a token of page 2 repeats"),
        ("az", _AZURE, "application/xml", "the pages of container bucket have no end: a token of page 2 repeats"),
    ],
)
def test_a_listing_whose_pages_repeat_is_an_error(
    store: str, page: bytes, kind: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"s3": "obstore", "gs": "gcsfs", "az": "adlfs"}[store])

    def answer(_: str, __: Mapping[str, str], ___: bytes) -> Answer:
        return 200, {"Content-Type": kind}, page

    with serve_function(answer) as url:
        azure = f"DefaultEndpointsProtocol=http;AccountName=name;AccountKey=a2V5;BlobEndpoint={url}/name;"
        own = {"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        for name, value in {
            **ACCOUNT,
            **own,
            "AWS_ENDPOINT_URL": url,
            "AZURE_STORAGE_CONNECTION_STRING": azure,
        }.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError, match=message):
            list(ObjectStore(f"{store}://bucket/run").files([""]))


@pytest.mark.parametrize("is_in_order", [True, False])
@pytest.mark.parametrize("cut", ["document", "body", "every"])
def test_a_listing_of_s3_begins_anew_after_a_damaged_page(
    cut: str, is_in_order: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore requests refused pages again, and no damaged ones: one ended the command. Directory buckets list in no
    order: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html.
    """
    pytest.importorskip("obstore")
    monkeypatch.setattr("eechips.storage.s3_backend._FIRST_PAUSE", 0.0)
    objects = _S3_OBJECTS.split("</Contents>")[:-1]
    objects = objects if is_in_order else objects[::-1]
    damages = [True, cut == "every", cut == "every"]

    def answer(path: str, _: Mapping[str, str], __: bytes) -> Answer:
        left = objects[600:] if "continuation-token" in parse_qs(urlsplit(path).query) else objects
        page = "".join(f"{text}</Contents>" for text in left[:600])
        more = "<NextContinuationToken>second</NextContinuationToken>" if len(left) > 600 else ""
        truncated = f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>"
        body = f"<ListBucketResult><Name>bucket</Name>{truncated}{page}{more}</ListBucketResult>".encode()
        if not more and damages and damages.pop():
            return 200, {"Content-Length": str(len(body))} if cut == "body" else {}, body[: len(body) // 2]
        return 200, {"Content-Type": "application/xml"}, body

    with serve_function(answer) as url:
        backend = S3Backend("bucket", {**ACCOUNT, "AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "3"})
        pages = backend.pages("bucket/run/", 600)
        if cut == "every":
            with pytest.raises(Exception, match="list response"):
                list(pages)
        else:
            names = [file.name for page in pages for file in page]
            numbers = range(1000) if is_in_order else range(999, -1, -1)
            assert names == [f"bucket/run/{number:04}" for number in numbers]


def test_a_listing_of_s3_whose_pages_repeat_after_a_damaged_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setattr("eechips.storage.s3_backend._FIRST_PAUSE", 0.0)
    bodies = iter([_S3, _S3[:5000]])

    with serve_function(lambda *_: (200, {"Content-Type": "application/xml"}, next(bodies, _S3))) as url:
        pages = S3Backend("bucket", {**ACCOUNT, "AWS_ENDPOINT_URL": url}).pages("bucket/run/")
        with pytest.raises(ValidationError, match="the pages of bucket bucket have no end: run/0000 repeats"):
            list(pages)


def test_a_listing_of_another_place_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name was cut out of the key of another place, and might be that of a result."""
    pytest.importorskip("obstore")
    page = _S3.replace(b"run/0", b"ran/0").replace(b"true", b"false")

    with serve_function(lambda *_: (200, {"Content-Type": "application/xml"}, page)) as url:
        for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError, match="has bucket/ran/0000, which does not lie there"):
            list(ObjectStore("s3://bucket/run").files([""]))


HTML = b"<html><body>Log in to this network</body></html>"
OTHERS = {
    "s3": [HTML, b"<Error><Code>SlowDown</Code></Error>", b"<ListAllMyBucketsResult></ListAllMyBucketsResult>"],
    "gs": [HTML, b"{}", b"null", b"[]", b'{"error": {"code": 503}}'],
}


@pytest.mark.parametrize(("store", "page"), [(store, page) for store, pages in OTHERS.items() for page in pages])
@pytest.mark.parametrize("has_etag", [True, False])
def test_a_page_that_is_no_listing_is_no_empty_one(
    store: str, page: bytes, has_etag: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log-in of a network answers every request so. All results would be fetched again."""
    pytest.importorskip({"s3": "obstore", "gs": "gcsfs"}[store])
    headers = {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"} if has_etag else {}

    with serve_function(lambda *_: (200, headers, page)) as url:
        variables = {"AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "1", "STORAGE_EMULATOR_HOST": url}
        for name, value in {**ACCOUNT, **variables}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(
            ConfigurationError, match=r"(?i)could not list (?!.*object has no)|name was made up|is no listing"
        ):
            list(ObjectStore(f"{store}://bucket/run").files([""]))


@pytest.mark.parametrize("status", [404, 403])
def test_an_empty_listing_is_one_where_an_object_with_a_made_up_name_is_missing(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    requested = []

    def answer(path: str, _: Mapping[str, str], __: bytes) -> Answer:
        listing = b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
        requested.append(path)
        return (200, {}, listing) if "list-type" in path else (status, {}, b"")

    with serve_function(answer) as url:
        for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        store = ObjectStore("s3://bucket/run")
        for _ in range(2):
            assert list(store.files([""])) == []
    assert len(requested) == 3  # two listings, one object


@pytest.mark.parametrize("is_there", [True, False])
def test_a_result_that_exists_but_is_not_listed_is_not_fetched_again(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is not quite S3 has more objects than fit a page, and gives no token of the next one."""
    pytest.importorskip("obstore")
    page = _S3.replace(b"<NextContinuationToken>same</NextContinuationToken>", b"")

    def answer(path: str, _: Mapping[str, str], __: bytes) -> Answer:
        if "list-type" in path:
            return 200, {"Content-Type": "application/xml"}, page
        headers = {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        return (200, headers, b"1") if is_there else (404, {}, b"")

    recorded = [{"file": f"{number:04}", "bytes": 1, "sha256": "0" * 64} for number in range(1001)]
    with serve_function(answer) as url, Ledger(tmp_path / LEDGER_NAME) as ledger:
        for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        ledger.store_plan({}, ())
        files = ResumedFiles(ledger, ObjectStore("s3://bucket/run"), RetryPolicy(retries=0), quiet=True)
        if is_there:
            with pytest.raises(StorageError, match=r"^1000 is in the store of the results, but not in its listing"):
                files.is_assembled(recorded)
        else:
            assert not files.is_assembled(recorded)
