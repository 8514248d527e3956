"""Parts of one version of a file are read together, whatever its servers call it; parts of two versions never are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.files.file_versions import describe_version, etag_of, is_same_version
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.archives.cog_files import check, raster, tiff
from local_tests.support.object_host import ObjectHost, object_host
from local_tests.support.parameters import slow_except

AREAS = [PixelWindow(10, 10, 20, 20), PixelWindow(900, 900, 20, 20), PixelWindow(400, 10, 20, 20)]
OLD, NEW = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"
APACHE = {"ETag": '"2d1-{size:x}-60dda8a1b2c00"', "Last-Modified": OLD}  # of a file on one of several servers
MARKS = [
    {"x-ms-blob-content-md5": "sQqNsWTgdUEFt6mb5y4/5Q=="},  # headers of documented answers
    {"x-goog-hash": "crc32c=n03x6A==, md5=Ojk9c3dhfxgoKVVHYwFbHQ=="},
    {"x-amz-version-id": "3/L4kqtJlcpXroDTDmpUMLUo"},
    {"Repr-Digest": "sha-256=:AEGPTgUMw5e96wxZuDtpfm23RBU3nFwtgY5fw4NYORo=:"},
]
DIFFERENT = [
    ({"x-ms-blob-content-md5": "sQqNsWTgdUEFt6mb5y4/5Q=="}, {"x-ms-blob-content-md5": "q1=="}),
    ({"x-goog-hash": "crc32c=n03x6A=="}, {"x-goog-hash": "md5=q1==, crc32c=n03x6B=="}),
    ({"Repr-Digest": "sha-256=:AA==:, sha-512=:AA==:"}, {"Repr-Digest": "sha-512=:AA==:, sha-256=:AB==:"}),
]
STRONG, WEAK = {"ETag": '"x"', "Last-Modified": OLD}, {"ETag": 'W/"x"', "Last-Modified": OLD}


@pytest.fixture
def host() -> Iterator[ObjectHost]:
    with object_host() as host:
        host.objects["a.tif"] = tiff(1000, 1000, tiled=True)
        yield host


@pytest.mark.parametrize(
    "answers",
    [
        [STRONG, WEAK, STRONG, WEAK],
        *slow_except([[WEAK, STRONG, WEAK, STRONG], [WEAK, WEAK, WEAK, WEAK]]),
        [STRONG, {**STRONG, "Last-Modified": NEW}, STRONG, STRONG],
        *slow_except([{"ETag": '"x"', **mark}, {"ETag": '"y"', "Last-Modified": NEW, **mark}] * 2 for mark in MARKS),
        [APACHE, {**APACHE, "ETag": '"7f3-{size:x}-60dda8a1b2c00"'}, APACHE, APACHE],
    ],
)
def test_servers_of_a_host_that_name_one_version_otherwise_are_read_together(
    answers: list[dict[str, str]], host: ObjectHost, tmp_path: Path
) -> None:
    size = len(host.objects["a.tif"])
    sized = [{name: value.replace("{size:x}", f"{size:x}") for name, value in answer.items()} for answer in answers]
    host.headers = [*sized, sized[0]]
    found = raster(host, tmp_path)
    for area in AREAS:
        check(host.objects["a.tif"], found, [0], area)
    assert found.header.version == sized[0]["ETag"].removeprefix("W/")
    later = raster(host, tmp_path)  # it asks for the version of what is kept
    check(host.objects["a.tif"], later, [0], AREAS[0])
    assert host.requests() == 5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (STRONG, {"ETag": '"y"', "Last-Modified": OLD}),  # size and time agree, as of a copy of a file
        (WEAK, {"ETag": 'W/"y"', "Last-Modified": OLD}),
        (WEAK, {"ETag": 'W/"x"', "Last-Modified": NEW}),
        (WEAK, {"ETag": '"x"', "Last-Modified": NEW}),
        ({"ETag": '"x"', "x-amz-version-id": "null"}, {"ETag": '"y"', "x-amz-version-id": "null"}),  # has no versions
        ({"ETag": '"x"', **MARKS[0]}, {"ETag": '"y"', "x-ms-blob-content-md5": "q1=="}),
        ({"ETag": '"x"', **MARKS[0]}, {"ETag": '"y"', **MARKS[2]}),
        ({"ETag": '"1-a-60dda8a1b2c00"'}, {"ETag": '"2-a-60dda8a1b2c00"'}),  # the size is another: not Apache's
    ],
)
def test_parts_of_versions_that_may_differ_are_refused_with_what_to_do(
    first: dict[str, str], second: dict[str, str], host: ObjectHost, tmp_path: Path
) -> None:
    host.headers = [first, first, second]
    found = raster(host, tmp_path)
    check(host.objects["a.tif"], found, [0], AREAS[0])
    with pytest.raises(ArchiveRefusedError, match=r"has changed since.*Start again.*read it from another archive"):
        found.read([0], AREAS[1], 0)
    assert host.requests() == 3
    with pytest.raises(ArchiveRefusedError, match="has changed since"):
        found.read([0], AREAS[2], 0)
    assert host.requests() == 3  # its host is not asked again


def test_a_weak_version_of_another_size_is_refused(host: ObjectHost, tmp_path: Path) -> None:
    host.headers = [WEAK, WEAK, WEAK]
    found = raster(host, tmp_path)
    check(host.objects["a.tif"], found, [0], AREAS[0])
    host.objects["a.tif"] += b"\0"
    with pytest.raises(ArchiveRefusedError, match="has changed since"):
        found.read([0], AREAS[1], 0)


@pytest.mark.parametrize("others", [STRONG, WEAK, {"Last-Modified": OLD}])
@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_digests_that_differ_outweigh_all_that_agrees(
    first: dict[str, str], second: dict[str, str], others: dict[str, str]
) -> None:
    versions = [describe_version({**others, **headers}, 10) for headers in (first, second, first)]
    assert not is_same_version(*versions[:2])
    assert is_same_version(*versions[::2])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"ETag": '"x"', **MARKS[1]}, {"ETag": '"y"', "x-goog-hash": "md5=Ojk9c3dhfxgoKVVHYwFbHQ=="}),
        ({"ETag": '"x"', "Repr-Digest": ""}, {"ETag": '"x"', "Last-Modified": NEW}),
        ({**STRONG, "x-goog-generation": "1"}, {**STRONG, "x-goog-generation": "2"}),  # as those of copies
    ],
)
def test_one_digest_is_enough_and_empty_or_numbered_marks_tell_nothing(
    first: dict[str, str], second: dict[str, str]
) -> None:
    versions = describe_version(first, 10), describe_version(second, 10)
    assert is_same_version(*versions)
    assert etag_of(versions[0]) == '"x"'
