"""Packs that are made again or resumed, and what stops one."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import eechips
from eechips.errors import RunLockedError, StorageError, UsageError
from eechips.files.temporary_names import temporary_name
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.run import Run
from eechips.training.formats import webdataset
from eechips.training.packs.shard_index import read_index
from eechips.training.sample_reader import read_samples
from local_tests.support.local_earth_engine import wait_until
from tests.support.finished_run import layered, pictures, write_run
from tests.support.packs import DECODED, SOME, contents, split_run, write_packable_run
from tests.support.programs import EECHIPS, largest_file, name_ended_writer, run_program


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_packable_run(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("to", SOME)
def test_a_repeated_pack_does_nothing(run: Run, tmp_path: Path, to: str) -> None:
    first = eechips.pack(run, to, out=tmp_path, shard_count=4)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert eechips.pack(run, to, out=tmp_path, shard_count=4) == first
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize("to", [SOME[0], SOME[3]])
def test_only_damaged_shards_are_made_again(run: Run, tmp_path: Path, to: str) -> None:
    eechips.pack(run, to, out=tmp_path, shard_count=4)
    before = contents(tmp_path)
    shards = [stored.files for stored in read_index(tmp_path).shards]
    damaged, missing = tmp_path / shards[1][0].name, tmp_path / shards[2][0].name
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    missing.unlink()
    times = {
        path: path.stat().st_ino for files in (shards[0], *shards[3:]) for f in files if (path := tmp_path / f.name)
    }
    eechips.pack(run, to, out=tmp_path, shard_count=4)
    assert contents(tmp_path) == before
    assert {path: path.stat().st_ino for path in times} == times


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("to", ["webdataset", DECODED[0]])
def test_a_killed_pack_resumes(tmp_path: Path, to: str) -> None:
    run = write_run(tmp_path / "run", layered(60))
    eechips.pack(run, to, out=tmp_path / "whole", shard_count=2)
    whole, out = contents(tmp_path / "whole"), tmp_path / "out"
    program = f"import eechips; eechips.pack({str(run.path)!r}, {to!r}, out={str(out)!r}, shard_count=2)"
    for shards in (1, 8):
        done = kill_after(program, out / "shards.jsonl", shards)
        assert shards <= done < 30
        assert not (out / "shards.json").exists()
        assert not list(out.glob("*/zarr.json"))  # nor does anything say that arrays with holes are there
    lines = (out / "shards.jsonl").read_text().splitlines()[1:]
    # The journal names a shard before its files have their names: the kill may have come between both.
    named = [out / file["name"] for line in lines[:-1] for file in json.loads(line)["files"]]
    kept = {path: path.stat().st_ino for path in named}
    assert len(kept) >= 7
    eechips.pack(run, to, out=out, shard_count=2)
    assert contents(out) == whole
    assert {path: path.stat().st_ino for path in kept} == kept
    assert not list(out.glob(".scratch*"))


def kill_after(program: str, journal: Path, shards: int) -> int:
    """Kills a program when its journal has a head and so many lines; returns how many it had in the end."""
    process = subprocess.Popen([sys.executable, "-c", program])
    wait_until(lambda: journal.exists() and journal.read_text().count("\n") > shards, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return journal.read_text().count("\n") - 1


@pytest.mark.slow
def test_a_truncated_index_line_is_ignored(run: Run, tmp_path: Path) -> None:
    eechips.pack(run, "webdataset", out=tmp_path / "whole", shard_count=2)
    whole = contents(tmp_path / "whole")
    index = read_index(tmp_path / "whole")
    head = {
        name: getattr(index, name) for name in ("format", "seed", "shard_count", "shard_bytes", "selected", "identity")
    }
    lines = [json.dumps(head), *(json.dumps(stored.to_json()) for stored in index.shards[:2])]
    ended = name_ended_writer()
    for end in (len("\n".join(lines)) - 20, len(lines[0]) - 3, 0):
        shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        (tmp_path / "cut" / temporary_name("shards.jsonl", ended)).write_text("killed")
        (tmp_path / "cut" / "shards.json").unlink()
        (tmp_path / "cut" / "shards.jsonl").write_text("\n".join(lines)[:end])
        eechips.pack(run, "webdataset", out=tmp_path / "cut", shard_count=2)
        assert contents(tmp_path / "cut") == whole
        shutil.rmtree(tmp_path / "cut")


def test_a_file_of_the_user_is_not_replaced_by_a_shard_also_when_a_pack_is_resumed(run: Run, tmp_path: Path) -> None:
    eechips.pack(run, "webdataset", out=tmp_path, shard_count=2)
    whole = contents(tmp_path)
    index = read_index(tmp_path)
    names = ("format", "seed", "shard_count", "shard_bytes", "selected", "identity")
    journal = [{name: getattr(index, name) for name in names}, index.shards[0].to_json()]
    (tmp_path / "shards.json").unlink()
    (tmp_path / "shards.jsonl").write_text("".join(json.dumps(line) + "\n" for line in journal))
    own = tmp_path / index.shards[1].files[0].name
    own.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists and does not belong to this pack"):
        eechips.pack(run, "webdataset", out=tmp_path, shard_count=2)
    assert own.read_bytes() == b"mine"
    own.unlink()
    eechips.pack(run, "webdataset", out=tmp_path, shard_count=2)
    assert contents(tmp_path) == whole


def test_the_list_of_shards_of_a_complete_pack_is_removed(run: Run, tmp_path: Path) -> None:
    """A kill between the index and the removal left it for good."""
    eechips.pack(run, "webdataset", out=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "shards.jsonl").write_text("{}\n")
    eechips.pack(run, "webdataset", out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_another_pack_is_not_written_over(run: Run, tmp_path: Path) -> None:
    eechips.pack(run, "webdataset", out=tmp_path, shard_count=4)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="was made with seed='0'; remove it, or choose another `out`"):
        eechips.pack(run, "webdataset", out=tmp_path, shard_count=4, seed=1)
    with pytest.raises(UsageError, match="was made with to='webdataset'; remove"):
        eechips.pack(run, "hdf5", out=tmp_path, shard_count=4)
    other = write_run(tmp_path / "other", layered(23, seed=1))
    split_run(other, ["train", "train", "test", "none"])
    with pytest.raises(UsageError, match="was made of other samples"):
        eechips.pack(other, "webdataset", out=tmp_path, shard_count=4)
    shutil.rmtree(tmp_path / "other")
    assert contents(tmp_path) == before


def test_files_of_others_are_not_written_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train-000001.tar").write_text("mine")
    with pytest.raises(UsageError, match=r"train-000001\.tar exists and is not a pack of eechips"):
        eechips.pack(run, "webdataset", out=tmp_path, shard_count=4)
    assert (tmp_path / "train-000001.tar").read_text() == "mine"


def test_one_process_at_a_time_packs_a_run(run: Run, tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(RunLockedError):
        eechips.pack(run, "webdataset", out=tmp_path)


def test_a_file_that_has_changed_is_not_packed(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(5))
    path = tmp_path / read_samples(run)[3].files[0].name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(UsageError, match="has changed since it was fetched: eechips verify"):
        eechips.pack(run, "webdataset")
    path.unlink()
    with pytest.raises(UsageError, match="is missing: eechips verify"):
        eechips.pack(run, "webdataset")
    assert not (tmp_path / "packs" / "webdataset" / "shards.json").exists()
    path.write_bytes(data)
    assert eechips.pack(run, "webdataset").samples == 5


def test_a_sample_that_was_lost_on_the_way_is_noticed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = webdataset.write

    def lossy(folder: Path, shard: Any, layout: Any, entries: Any) -> None:
        write(folder, shard, layout, list(entries)[1:])

    monkeypatch.setattr(webdataset, "write", lossy)
    with pytest.raises(StorageError, match="test-000000 reads back with 5 samples"):
        eechips.pack(run, "webdataset", out=tmp_path)
    assert not [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"]


@pytest.mark.slow
def test_a_full_disk_stops_the_pack(run: Run, tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    done = run_program(*EECHIPS, "pack", run.path, "--to", "webdataset", "--out", tmp_path, status=2, preexec_fn=limit)
    assert f"could not write into {tmp_path}" in done.stderr
    assert not list(tmp_path.glob("*.tar"))
    assert not (tmp_path / "shards.json").exists()
    assert eechips.pack(run, "webdataset", out=tmp_path).samples == 18


FILL = """
import resource
import signal
import sys

import eechips
from eechips.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run, out, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
for part in range(9, 0, -1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * part // 10, resource.RLIM_INFINITY))
    try:
        eechips.pack(run, "hdf5", out=out)
    except StorageError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_full_disk_does_not_end_the_process_in_libhdf5(run: Run, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    eechips.pack(run, "hdf5", out=whole)
    size = max(path.stat().st_size for path in whole.glob("*.h5"))
    full = tmp_path / "full"
    done = run_program(sys.executable, "-c", FILL, run.path, full, size, status=0)
    starts = [line.partition(" too large")[0] for line in done.stdout.splitlines()]
    assert starts == [f"could not write into {full}: File"] * 9
    assert eechips.pack(run, "hdf5", out=full).samples == 18
    assert contents(full) == contents(whole)


def test_a_pack_that_fails_leaves_no_threads(run: Run, tmp_path: Path) -> None:
    """They ended when the exception was forgotten, perhaps in a call of libhdf5 that one of them waited for."""
    with largest_file(9_000), pytest.raises(StorageError) as caught:
        eechips.pack(run, "hdf5", out=tmp_path)
    assert caught.traceback
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pack")]
