"""Staging: temporary files name their writer, and only those that nobody will complete are removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eechips.archive.downloads.partial_files import claim_partial
from eechips.files.abandoned_files import ABANDONED_AFTER, is_abandoned, sweep_beside
from eechips.files.scratch_folders import scratch_folder
from eechips.files.temporary_names import (
    SCRATCH_PREFIX,
    Writer,
    is_running,
    new_writer,
    scratch_name,
    temporary_name,
    writer_of,
)
from eechips.storage import LocalStore, ObjectStore, Store
from tests.support.programs import run_program

RUN = "a run"
ELSEWHERE = "0123456789ab"
AGE = int(ABANDONED_AFTER) + 60


def ended_writer(run: str | None = None) -> Writer:
    """A writer of a process that has ended."""
    code = f"from eechips.files.temporary_names import new_writer; print(new_writer({run!r}))"
    text = run_program(sys.executable, "-c", code, status=0).stdout.strip()
    run_part, place, pid, started, number = text.split("-")
    return Writer(run_part, place, int(pid), int(started), number)


ENDED = ended_writer()


def older(name: str, seconds: int) -> str:
    """A temporary name that was made earlier."""
    begin, _, written = name.removesuffix(".part").rpartition("-")
    return f"{begin}-{int(written, 16) - seconds:x}.part"


def test_a_process_is_distinguished_from_a_later_one_with_its_pid() -> None:
    writer = new_writer()
    assert is_running(writer) is True
    assert is_running(ENDED) is False
    if writer.started:
        assert is_running(replace(writer, started=writer.started + 1)) is False
    assert is_running(replace(writer, started=0)) is None
    assert is_running(replace(writer, place=ELSEWHERE)) is None


def test_a_zombie_process_counts_as_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from eechips.files.temporary_names import new_writer; print(new_writer(), flush=True)"],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        run_part, place, pid, started, number = process.stdout.read().strip().split("-")
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_running(Writer(run_part, place, int(pid), int(started), number)) is (False if int(started) else None)


@pytest.mark.parametrize(
    ("of", "age", "is_removed"),
    [
        (lambda me: replace(me, number="0" * 8), AGE, False),  # another run of a process that is running
        (lambda _: ENDED, 0, True),
        (lambda me: replace(ENDED, run=me.run), 0, True),
        (lambda me: replace(me, place=ELSEWHERE), 0, True),  # this run's, which has one process at a time
        (lambda me: replace(me, place=ELSEWHERE, run="f" * 8), 0, False),  # who knows
        (lambda me: replace(me, place=ELSEWHERE, run="f" * 8), AGE, True),
        (lambda _: replace(new_writer(), place=ELSEWHERE), 0, False),
        (lambda me: replace(me, started=0, number="0" * 8, run="f" * 8), 0, False),
        (lambda me: replace(me, started=0, number="0" * 8, run="f" * 8), AGE, True),
    ],
)
def test_only_files_without_a_living_writer_are_abandoned(
    of: Callable[[Writer], Writer], age: int, is_removed: bool
) -> None:
    asking = new_writer(RUN)
    name = older(temporary_name("a.tif", f"{of(asking)}-0123456789abcdef"), age)
    assert is_abandoned(name, asking) is is_removed
    assert is_abandoned(name, asking, own=True) is is_removed


def test_own_files_are_abandoned_only_on_request() -> None:
    asking = new_writer(RUN)
    name = temporary_name("a.tif", str(asking))
    assert not is_abandoned(name, asking)
    assert is_abandoned(name, asking, own=True)


def test_a_writer_without_a_run_shares_no_run_with_others() -> None:
    assert not is_abandoned(temporary_name("a.tif", str(replace(new_writer(), place=ELSEWHERE))), new_writer())


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
@example(".video.mp4.part")
@example(f"{SCRATCH_PREFIX}merge")
@example(".a.tif.12-3-4.part")
def test_files_of_others_are_never_abandoned(name: str) -> None:
    asking = new_writer(RUN)
    assert not is_abandoned(name, asking, own=True)
    assert not is_abandoned(f".{name}.part", asking, own=True)
    assert not is_abandoned(f"{SCRATCH_PREFIX}{name}", asking, own=True)


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=300))
@example("a" * 255)
@example("é" * 127)
def test_a_temporary_name_fits_into_a_folder_and_names_its_writer(name: str) -> None:
    asking = new_writer(RUN)
    found = temporary_name(f"folder/{name}", f"{asking}-0123456789abcdef")
    folder, _, last = found.partition("/")
    assert folder == "folder"
    assert len(last.encode()) <= 255
    assert is_abandoned(last, asking, own=True)
    assert not is_abandoned(last, new_writer(RUN + "2"), own=True)


def test_long_names_of_one_writer_stay_apart() -> None:
    token = str(new_writer())
    assert temporary_name("a" * 250 + ".b.tif", token) != temporary_name("a" * 250 + ".c.tif", token)


def test_a_scratch_folder_is_there_for_the_block_and_swept_if_its_process_was_killed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with scratch_folder(tmp_path) as mine:
        (mine / "file").write_text("")
        left = tmp_path / "below" / f"{SCRATCH_PREFIX}{ENDED}-1"
        left.mkdir(parents=True)
        (left / "file").write_text("")
        (tmp_path / f"{SCRATCH_PREFIX}merge").mkdir()
        assert store.sweep(new_writer(RUN)) == 1
        assert not left.exists()
        assert (mine / "file").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "below"] == [f"{SCRATCH_PREFIX}merge"]


def test_a_machine_whose_clock_is_ahead_removes_nothing_of_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = replace(new_writer("another"), place=ELSEWHERE)
    (tmp_path / scratch_name(far)).mkdir()
    (tmp_path / temporary_name("a.tif", str(far))).write_bytes(b"x")
    (tmp_path / f"{far}.data").write_bytes(b"x")
    (tmp_path / f"{far}.json").write_bytes(b"{}")
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + 2 * ABANDONED_AFTER)
    assert LocalStore(tmp_path).sweep(new_writer(RUN)) == 0
    sweep_beside(tmp_path / "a.tif", new_writer(RUN))
    with claim_partial(tmp_path, new_writer(RUN)) as path:
        assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 4


FOLDERS = st.sampled_from(["", "a/", "b/", "b/c/", "b/c/d/"])
KINDS = st.sampled_from(["ended", "running", "elsewhere", "old elsewhere", "own", "foreign", "result"])


@pytest.mark.parametrize("kind", ["folder", "file", "memory"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.tuples(FOLDERS, KINDS), max_size=12),
    runs=st.sets(FOLDERS.filter(bool), max_size=2),
    own=st.booleans(),
)
def test_a_sweep_removes_what_is_abandoned_and_nothing_else(
    kind: str, files: list[tuple[str, str]], runs: set[str], own: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("sweep")
    stores: dict[str, Callable[[], Store]] = {
        "folder": lambda: LocalStore(root),
        "file": lambda: ObjectStore(f"file://{root}"),
        "memory": lambda: ObjectStore(f"memory://{root}"),
    }
    store, asking = stores[kind](), new_writer(RUN)
    running, far = new_writer("another"), replace(new_writer("another"), place=ELSEWHERE)
    expected: set[str] = set()

    def put(name: str) -> None:
        if isinstance(store, LocalStore):
            path = store.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        else:
            target = fsspec.filesystem(kind)
            target.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            target.pipe_file(f"{root}/{name}", b"x")

    for number, (folder, what) in enumerate(files):
        name = f"{folder}{number}.tif"
        named = {
            "ended": temporary_name(name, f"{ENDED}-0123456789abcdef"),
            "running": temporary_name(name, str(running)),
            "elsewhere": temporary_name(name, str(far)),
            "old elsewhere": older(temporary_name(name, str(far)), AGE),
            "own": temporary_name(name, str(asking)),
            "foreign": f"{folder}.{number}.tif.part",
            "result": name,
        }[what]
        put(named)
        is_others = any(folder.startswith(run) for run in runs)
        is_swept = what in ("ended", "old elsewhere") or (what == "own" and own)
        if is_others or not is_swept:
            expected.add(named)
    for run in runs:
        put(f"{run}.eechips.lock")
        expected.add(f"{run}.eechips.lock")
    folders = ["", "a", "b", "b/c", "b/c/d"]
    before = {file.name for file in store.files(folders)}
    assert store.sweep(asking, own=own) == len(before - expected)
    assert {file.name for file in store.files(folders)} == expected


def test_names_of_a_clock_before_1970_have_their_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a writer in the name of its scratch folder, a run cannot end."""
    monkeypatch.setattr(time, "time", lambda: -1e9)
    writer = new_writer()
    for name in (scratch_name(writer), temporary_name("a.png", str(writer))):
        found = writer_of(name)
        assert found is not None
        assert replace(found, number="") == replace(writer, number="")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")
def test_a_fork_leaves_the_folder_of_its_parent() -> None:
    code = """
import os
from eechips.files.scratch_folders import temporary_folder_of
class Owner: pass
owner = Owner()
folder = temporary_folder_of(owner)
child = os.fork()
if child == 0:
    del owner
    os._exit(not folder.exists())
assert os.waitpid(child, 0)[1] == 0
del owner
print(folder.exists())
"""
    done = run_program(sys.executable, "-c", code, status=0)
    assert (done.stdout, done.stderr) == ("False\n", "")
