"""Partial files: versions, resumed downloads, takeover from ended writers, quarantine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.downloads.integrity import QUARANTINE, quarantine, release
from eechips.archive.downloads.partial_files import FileVersion, PartialFile, claim_partial, forget, parse_content_range
from eechips.archive.scenes.download import remove_if_empty
from eechips.files.temporary_names import new_writer


def test_content_ranges_are_parsed() -> None:
    assert parse_content_range("bytes 5-9/20") == (5, 10, 20)
    assert parse_content_range("bytes 5-9/*") == (5, 10, None)
    assert parse_content_range("bytes */20") is None
    assert parse_content_range(None) is None
    assert parse_content_range(f"bytes 0-{'9' * 5000}/20") is None


def test_versions_are_compared_by_validators() -> None:
    old, new = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:01 GMT"
    assert FileVersion.of({"ETag": '"a"', "Last-Modified": old, "Date": new}, 1).validator == '"a"'
    assert FileVersion.of({"ETag": 'W/"a"', "Last-Modified": old, "Date": new}, 1).validator is None
    assert FileVersion.of({"Last-Modified": old, "Date": new}, 1).validator == old
    assert FileVersion.of({"Last-Modified": old, "Date": old}, 1).validator is None  # may change within the second
    assert FileVersion.of({"Last-Modified": old}, 1).validator is None
    assert not FileVersion(5, '"a"', None).is_same(FileVersion(6, '"a"', None))
    assert not FileVersion(5, '"a"', None).is_same(FileVersion(5, '"b"', None))
    assert FileVersion(5, '"a"', None).is_same(FileVersion(5, None, old))


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=50), st.booleans()), min_size=1, max_size=8))
def test_an_interrupted_download_resumes(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[bytes, bool]]
) -> None:
    path = tmp_path_factory.mktemp("part") / "partial" / "x.data"
    whole = b"".join(piece for piece, _ in pieces)
    partial = PartialFile(path, ["md5"])
    partial.begin(FileVersion(len(whole), '"a"', None))
    for piece, is_killed in pieces:
        if is_killed:
            partial.close()
            partial = PartialFile(path, ["md5"])
        partial.write(piece)
    assert partial.is_complete
    partial.close()
    assert path.read_bytes() == whole
    assert partial.digest() == hashlib.sha256(whole).hexdigest()
    assert partial.digest("md5") == hashlib.md5(whole).hexdigest()


def test_a_partial_file_without_a_valid_record_is_discarded(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "partial" / "x.data")
    partial.begin(FileVersion(10, '"a"', None))
    partial.write(b"12345")
    partial.close()
    assert PartialFile(tmp_path / "partial" / "x.data").size == 5
    assert PartialFile(tmp_path / "partial" / "x.data", ["md5"]).size == 0
    note = json.loads((tmp_path / "partial" / "x.json").read_text())
    (tmp_path / "partial" / "x.json").write_text(json.dumps({**note, "boot": "another"}))
    assert PartialFile(tmp_path / "partial" / "x.data").size == 0
    newer = {**note["version"], "parts": 3}
    damaged = [{}, [], {**note, "version": newer}, {**note, "version": {**note["version"], "total": "10"}}]
    for content in ("{", *map(json.dumps, [*damaged, {**note, "algorithms": ["sha256", "md9"]}])):
        (tmp_path / "partial" / "x.json").write_text(content)
        assert PartialFile(tmp_path / "partial" / "x.data").size == 0


def test_failures_are_counted_across_processes(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "partial" / "x.data")
    partial.begin(FileVersion(1, None, None))
    partial.write(b"1")
    partial.reset(failed=True)
    assert PartialFile(tmp_path / "partial" / "x.data").failures == 1
    assert not (tmp_path / "partial" / "x.data").exists()


BEGIN = """
import sys
from pathlib import Path
from eechips.archive.downloads.partial_files import FileVersion, PartialFile, claim_partial
from eechips.files.temporary_names import new_writer
with claim_partial(Path(sys.argv[1]), new_writer()) as path:
    partial = PartialFile(path)
    partial.begin(FileVersion(10, '"a"', None))
    partial.write(b"12345")
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_a_part_is_taken_over_once_its_writer_has_ended(tmp_path: Path) -> None:
    folder, writer = tmp_path / "partial" / "x", new_writer()
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"
        with claim_partial(folder, writer) as path:
            assert PartialFile(path).size == 0
        forget(folder, writer)
        assert len(list(folder.iterdir())) == 2
        other.kill()
    with claim_partial(folder, writer) as path, claim_partial(folder, writer) as second:
        assert (PartialFile(path).size, PartialFile(second).size) == (5, 0)
        forget(folder, writer)
        assert path.is_file()
    with claim_partial(folder, new_writer()) as path:
        assert PartialFile(path).size == 5  # a later run of the same process
    forget(folder, writer)
    assert not folder.exists()


def test_release_keeps_the_quarantine_of_other_units(tmp_path: Path) -> None:
    """Threads put things there and take them away at once."""

    def others(number: int) -> None:
        for _ in range(200):
            release(tmp_path, f"{number:016x}")

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(others, number) for number in range(3)]
        for number in range(100, 150):
            arrived = tmp_path / f"{number}.data"
            arrived.write_bytes(b"wrong")
            kept = quarantine(tmp_path, f"{number:016x}", arrived, "tif", {"reason": "it is wrong"})
            assert kept.read_bytes() == b"wrong"
            release(tmp_path, f"{number:016x}")
            assert not kept.exists()
        for each in done:
            each.result()
    remove_if_empty(tmp_path)
    assert not (tmp_path / QUARANTINE).exists()
