"""Listings of object stores whose pages have no end, as a faulty store, cache or proxy sends them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from urllib.request import urlopen

import pytest

from eechips.errors import ConfigurationError, ValidationError
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
_GS = json.dumps({"items": [{"name": "run/a", "size": "1", "updated": _TIME}], "nextPageToken": "same"}).encode()
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
            list(ObjectStore(f"{store}://bucket/run").sizes([""]))


def test_a_listing_of_empty_pages_of_s3_is_given_up() -> None:
    """obstore asks for the next page on and on: it must stop when it is given up."""
    pytest.importorskip("obstore")
    requests = Counter[bool]()

    def answer(path: str, _: Mapping[str, str], __: bytes) -> Answer:
        requests["own" in path] += 1
        return 200, {"Content-Type": "application/xml"}, _S3.replace(_S3_OBJECTS.encode(), b"")

    with serve_function(answer) as url:
        backend = S3Backend("bucket", {**ACCOUNT, "AWS_ENDPOINT_URL": url}, page_seconds=0.2)
        with pytest.raises(ValidationError, match="the pages of bucket bucket have no end: they have no objects"):
            list(backend.pages("bucket/run"))
        listed = requests[False]
        for _ in range(100):  # a listing that goes on sends others meanwhile
            urlopen(f"{url}/own").close()
        assert requests == {False: pytest.approx(listed, abs=3), True: 100}  # one may have been on its way


def test_a_listing_of_another_place_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name was cut out of the key of another place, and might be that of a result."""
    pytest.importorskip("obstore")
    page = _S3.replace(b"run/0", b"ran/0").replace(b"true", b"false")

    with serve_function(lambda *_: (200, {"Content-Type": "application/xml"}, page)) as url:
        for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError, match="has bucket/ran/0000, which does not lie there"):
            list(ObjectStore("s3://bucket/run").sizes([""]))
