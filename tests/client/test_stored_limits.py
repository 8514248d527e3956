"""The file of learned quotas: complete, shared by processes, and optional."""

from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.quota.stored_limits import LIMITS_NAME, LearnedLimit, load_learned_limit, save_learned_limit
from eechips.files.local_paths import CACHE_VARIABLE, cache_folder

SERVICE = "https://earthengine-highvolume.googleapis.com"
LOOPBACK = "http://127.0.0.1:43210"
FORTY = LearnedLimit(40, False, "2026-01-02T03:04:05.678Z")
FOUR = LearnedLimit(4, True, "2026-02-02T03:04:05.678Z")


def test_the_last_learned_limit_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    assert load_learned_limit(SERVICE, "mine", folder) is None
    assert save_learned_limit(SERVICE, "mine", FORTY, folder)
    assert save_learned_limit(SERVICE, "other", FOUR, folder)
    assert save_learned_limit(LOOPBACK, "mine", FOUR, folder)
    assert load_learned_limit(SERVICE, "mine", folder) == FORTY
    assert save_learned_limit(SERVICE, "mine", FOUR, folder)
    assert (
        load_learned_limit(SERVICE, "mine", folder)
        == load_learned_limit(SERVICE, "other", folder)
        == load_learned_limit(LOOPBACK, "mine", folder)
        == FOUR
    )
    assert load_learned_limit(LOOPBACK, "other", folder) is None


@pytest.mark.parametrize(
    "damaged",
    [
        b"", b"{", b"\xff\xfe", b"null", b"[1]", b"[" * 100_000,
        b'{"%s": 3}' % SERVICE.encode(),
        b'{"%s": {"mine": [1]}}' % SERVICE.encode(),
        b'{"%s": {"mine": {"in_flight": 40}}}' % SERVICE.encode(),
        b'{"%s": {"mine": {"in_flight": 0, "restricted": false, "seen": ""}}}' % SERVICE.encode(),
        b'{"%s": {"mine": {"in_flight": true, "restricted": false, "seen": ""}}}' % SERVICE.encode(),
    ],
)  # fmt: skip
def test_a_damaged_file_is_ignored_and_rewritten(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / LIMITS_NAME).write_bytes(damaged)
    assert load_learned_limit(SERVICE, "mine", tmp_path) is None
    assert save_learned_limit(SERVICE, "mine", FORTY, tmp_path)
    assert load_learned_limit(SERVICE, "mine", tmp_path) == FORTY


@pytest.mark.slow
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["a", "in_flight", "restricted", "seen"]), inner)
        ),
        max_leaves=20,
    )
)
def test_any_json_is_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    folder = tmp_path_factory.mktemp("cache")
    (folder / LIMITS_NAME).write_text(json.dumps(content))
    found = load_learned_limit("a", "a", folder)
    assert found is None or found.in_flight >= 1


def test_sound_entries_survive_beside_damaged_ones(tmp_path: Path) -> None:
    sound = {"in_flight": 40, "restricted": False, "seen": FORTY.seen, "of a newer version": 1}
    (tmp_path / LIMITS_NAME).write_text(json.dumps({SERVICE: {"mine": sound, "other": 7}, "x": []}))
    assert load_learned_limit(SERVICE, "mine", tmp_path) == FORTY
    assert save_learned_limit(SERVICE, "third", FOUR, tmp_path)
    assert load_learned_limit(SERVICE, "mine", tmp_path) == FORTY


def test_an_unwritable_folder_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not save_learned_limit(SERVICE, "mine", FORTY, tmp_path / "file" / "folder")
    assert load_learned_limit(SERVICE, "mine", tmp_path / "file" / "folder") is None
    (tmp_path / LIMITS_NAME).mkdir()
    assert not save_learned_limit(SERVICE, "mine", FORTY, tmp_path)


def test_loopback_is_remembered_only_where_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert not save_learned_limit(LOOPBACK, "local", FORTY)
    assert not (tmp_path / "xdg").exists()
    assert save_learned_limit(SERVICE, "mine", FORTY)
    assert (
        load_learned_limit(SERVICE, "mine")
        == load_learned_limit(SERVICE, "mine", tmp_path / "xdg" / "eechips")
        == FORTY
    )
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "named"))
    assert load_learned_limit(SERVICE, "mine") is None
    assert save_learned_limit(LOOPBACK, "local", FOUR)
    assert load_learned_limit(LOOPBACK, "local") == load_learned_limit(LOOPBACK, "local", tmp_path / "named") == FOUR


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for relative in ("", "cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_folder() == tmp_path / ".cache" / "eechips"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "eechips"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_old_entries_are_dropped(tmp_path: Path) -> None:
    entries = {f"p{n}": {"in_flight": 40, "restricted": False, "seen": f"2026-01-{n:03d}"} for n in range(500)}
    (tmp_path / LIMITS_NAME).write_text(json.dumps({SERVICE: entries}))
    assert save_learned_limit(SERVICE, "mine", FOUR, tmp_path)
    kept = json.loads((tmp_path / LIMITS_NAME).read_text())[SERVICE]
    assert len(kept) == 200
    assert {"mine", "p499", "p301"} <= kept.keys()
    assert "p300" not in kept


def _write_many(folder: Path, writer: int) -> None:
    for n in range(10):
        assert save_learned_limit(SERVICE, f"project-{writer}-{n}", FORTY, folder)


@pytest.mark.slow
def test_concurrent_processes_and_threads_keep_all_entries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=_write_many, args=(tmp_path, number)) for number in range(3)]
    threads = [threading.Thread(target=_write_many, args=(tmp_path, 10 + number)) for number in range(3)]
    for process in processes:
        process.start()
    for thread in threads:
        thread.start()
    for worker in [*processes, *threads]:
        worker.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    found = json.loads((tmp_path / LIMITS_NAME).read_text())[SERVICE]
    assert len(found) == 60
