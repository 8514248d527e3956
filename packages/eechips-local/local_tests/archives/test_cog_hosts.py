"""Hosts of rasters that send less, change, fail or deny access."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.files.file_ranges import FileRanges
from eechips_local.archives.files.folder_transport import FileResponse
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.host_pauses import HostPauses
from eechips_local.archives.hosts.host_permits import HostPermits
from eechips_local.archives.hosts.signing import Signer
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.archives.cog_files import NumberedSigner, check, raster, tiff
from local_tests.support.object_host import ObjectHost
from local_tests.support.parameters import slow_except
from local_tests.support.stopped_clock import StoppedClock


def test_host_that_sends_less_at_once_is_asked_for_the_rest(host: ObjectHost, tmp_path: Path) -> None:
    """RFC 9110, 15.3.7: a server may send only some of the requested range."""
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    host.most_bytes = 70_000
    check(content, raster(host, tmp_path), [0], PixelWindow(10, 10, 900, 900))
    assert host.requests() < 8 * len(content) / host.most_bytes


def test_host_that_sends_a_little_less_each_time_is_read_to_the_end(host: ObjectHost, tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(1_500_000)
    host.objects["a.bin"], host.most_bytes = content, -1000
    pauses = HostPauses(tmp_path / "pauses")
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    transport, permits = HostTransport(AllowedHosts.of_files(description)), HostPermits(tmp_path / "permits", 1)
    ranges = FileRanges(transport, Signer(description), permits, pauses)
    fetched = ranges.read_spans(f"{host.url}/a.bin", "c", ((10, 100), (1000, 5), (200_000, 1_400_000)))
    assert [bytes(part) for part in fetched.parts] == [content[10:110], content[1000:1005], content[200_000:]]
    assert host.requests() < 1500 / 64 + 6


def test_page_type_of_the_right_part_is_no_page(host: ObjectHost, tmp_path: Path) -> None:
    """Servers without a type for rasters may have HTML as their default."""
    host.objects["a.tif"] = content = tiff(100, 100)
    host.headers = [{"Content-Type": "text/html"}] * 9
    check(content, raster(host, tmp_path), [0], PixelWindow(0, 0, 100, 100))
    assert len(host.headers) >= 7


def test_host_that_sends_tiny_parts_is_refused(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(1000, 1000)
    host.most_bytes = 100
    with pytest.raises(ArchiveError, match="sends 100 bytes of what was asked for"):
        assert raster(host, tmp_path, clock=StoppedClock()).header
    assert host.requests() <= 12


PASSING = slow_except(
    ["reset", "truncate", "503", "520", "429", "407", "other range", "html", "redirect", "whole", "gzip"],
    "520", "html", "redirect",
)  # fmt: skip


@pytest.mark.parametrize("fault", PASSING)
def test_passing_faults_are_repeated(fault: Any, host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True)
    host.objects["a.tif"] = content
    host.faults, clock = [fault, None, fault, fault, None], StoppedClock()
    check(content, raster(host, tmp_path, clock=clock), [0], PixelWindow(10, 10, 300, 300))
    assert not host.faults
    assert len(clock.pauses) == 3
    assert 0.125 <= clock.pauses[0] <= 0.25
    assert all(0.125 <= pause <= 0.5 for pause in clock.pauses)  # of one request that failed twice, or of two


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("redirect", "none of its hosts.*TOML file.*hosts = .*file = "),
        ("whole", "ignores ranges"),
        ("gzip", "compressed by its host"),
    ],
)
def test_hosts_that_are_unfit_are_refused(fault: Any, message: str, host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(1000, 1000)
    host.faults, clock = [fault] * 3, StoppedClock()
    with pytest.raises(ArchiveRefusedError, match=message):
        assert raster(host, tmp_path, clock=clock).header
    assert not host.faults
    assert len(clock.pauses) == 2


def test_a_page_of_a_proxy_is_told_of_and_asked_for_again_later(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(1000, 1000)
    host.faults = ["html"] * 60
    with pytest.raises(ArchiveError, match="a web page comes instead, as from a proxy or a login page"):
        assert raster(host, tmp_path, clock=StoppedClock()).header
    assert len(host.faults) >= 60 - 12  # ahead, and when it is needed
    host.faults.clear()
    assert raster(host, tmp_path).header


def test_host_that_answers_without_the_size_of_a_file_is_told_of(tmp_path: Path) -> None:

    class Transport:
        def open(self, url: str, headers: object, connect: float, silence: float) -> FileResponse:
            return FileResponse(206, {"Content-Range": "bytes 0-9/*", "Content-Length": "10"}, bytes(10))

    pauses = HostPauses(tmp_path / "pauses", clock=StoppedClock())
    signer = Signer(ArchiveDescription("test", "Test", hosts=("files.example",)))
    ranges = FileRanges(Transport(), signer, HostPermits(tmp_path / "permits", 1), pauses)
    with pytest.raises(ArchiveError, match="without saying which, and of how many bytes"):
        ranges.read("https://files.example/a.tif", "c", 0, 10)
    assert not pauses.is_away("files.example")


@pytest.mark.parametrize("encoding", ["", "Identity", "aws-chunked", "aws-chunked,identity"])
def test_encodings_that_change_nothing_may_be_named(encoding: str, host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(100, 100)
    host.headers = [{"Content-Encoding": encoding}]
    assert raster(host, tmp_path).header.grid.shape == (100, 100)
    assert host.requests() == 1


def test_unit_of_ranges_may_be_written_in_any_case(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff(100, 100)
    host.headers = [{"Content-Range": f"Bytes 0-{len(content) - 1}/{len(content)}"}]
    assert raster(host, tmp_path).header.grid.shape == (100, 100)
    assert host.requests() == 1


def test_missing_file_is_refused_without_its_signature(host: ObjectHost, tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefusedError, match="HTTP 404") as caught:
        assert raster(host, tmp_path, "b.tif?sig=secret").header.grid
    assert "secret" not in str(caught.value)


def test_file_that_ends_before_its_pixels_is_asked_for_once(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    found = raster(host, tmp_path)
    assert found.header.grid
    host.objects["a.tif"] = content[:100_000]
    with pytest.raises(ArchiveRefusedError, match=r"is damaged, or has changed: it ends before byte [0-9,]{7}"):
        found.read([0], PixelWindow(980, 980, 20, 20), 0)
    assert host.requests() == 2


def test_file_whose_host_goes_on_denying_access_is_refused(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff()
    for signer, requests in ((None, 1), (NumberedSigner(9), 3)):
        host.faults, before = ["403"] * requests, host.requests()
        with pytest.raises(ArchiveRefusedError, match=r"a\.tif cannot be read: its host denies access \(HTTP 403\)"):
            assert raster(host, tmp_path, signer=signer, clock=StoppedClock()).header
        assert not host.faults
        assert host.requests() - before == requests
    host.faults = ["403"]  # of a signature that has expired
    check(content, raster(host, tmp_path, signer=NumberedSigner(9)), [0], PixelWindow(0, 0, 9, 9))
    assert not host.faults


AZURE = (
    b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code><Message>Signature not valid in the "
    b"specified time frame, see https://a.example/?sig=secret\nRequestId:1</Message></Error>"
)
EULA = (
    b'{"status_code": 403, "error_description": "EULA Acceptance Failure", '
    b'"resolution_url": "https://urs.earthdata.nasa.gov/approve_app?client_id=secret"}'
)
TOKEN = b'{"error_description": "The token eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.secret.abcDEF-123 is not valid"}'
KEYS = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
S3 = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message><Token>secret</Token></Error>"


@pytest.mark.parametrize(
    ("denial", "query", "said"),
    [
        (
            AZURE,
            "?sig=secret",
            r"AuthenticationFailed: Signature not valid .* frame, see\. Its item .* has expired: search",
        ),
        (
            S3,
            "?X-Amz-Signature=secret",
            r"AccessDenied: Request has expired\. Its item has an address with a signature",
        ),
        (S3, "", r"AccessDenied: Request has expired\. Buckets of S3"),
        (KEYS, "", r"\(HTTP 403\): ExpiredToken: The provided token has expired\. Renew the keys of AWS, or correct"),
        (EULA, "", r"\(HTTP 403\): EULA Acceptance Failure\. Accept the licence of its data: at https://urs\."),
        (b"<html>sig=secret</html>", "?sig=secret", r"\(HTTP 403\)\. Its item has .*, which may have expired: search"),
        (b"", "", r"\(HTTP 403\)\. Buckets of S3 also"),
        (TOKEN, "", r"The token is not valid\. Buckets of S3"),
    ],
)
def test_what_a_host_says_of_access_reaches_the_user_without_signatures(
    denial: bytes, query: str, said: str, host: ObjectHost, tmp_path: Path
) -> None:
    host.objects["a.tif"], host.denial, host.faults = tiff(), denial, ["403"] * 3
    with pytest.raises(ArchiveRefusedError, match=said) as caught:
        assert raster(host, tmp_path, f"a.tif{query}").header
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (KEYS, r"its host denies access \(HTTP 400\): ExpiredToken: The provided token has expired\. Renew the keys"),
        (b"<html>Bad Request</html>", r"its host answers with HTTP 400\.$"),
        (b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>", r"its host answers with HTTP 400\.$"),
    ],
)
def test_a_request_that_a_host_calls_wrong_is_denied_only_where_it_names_the_keys(
    body: bytes, said: str, host: ObjectHost, tmp_path: Path
) -> None:
    """S3 answers so to a token that has expired: https://issues.apache.org/jira/browse/HADOOP-18353."""
    host.objects["a.tif"], host.denial, host.faults = tiff(), body, ["400"] * 3
    with pytest.raises(ArchiveRefusedError, match=said):
        assert raster(host, tmp_path).header


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (206, {"Content-Range": f"bytes {'0' * 5000}-9/100"}, ArchiveError),
        (206, {"Content-Range": f"bytes 0-9/{'9' * 5000}"}, ArchiveError),
        (200, {"Content-Length": "9" * 5000}, ArchiveRefusedError),
        (200, {"Content-Length": "ten"}, ArchiveRefusedError),
    ],
)
def test_headers_of_responses_with_wrong_numbers_are_errors_of_the_archive(
    status: int, headers: dict[str, str], error: type[Exception], tmp_path: Path
) -> None:

    class Transport:
        def open(self, url: str, headers_: object, connect: float, silence: float) -> FileResponse:
            return FileResponse(status, headers, b"0123456789")

    description = ArchiveDescription("test", "Test", hosts=("archive.example",))
    pauses = HostPauses(tmp_path, clock=StoppedClock())
    ranges = FileRanges(Transport(), Signer(description), HostPermits(tmp_path, 1), pauses)
    with pytest.raises(error):
        ranges.read("https://archive.example/a.tif", "c", 0, 10)
