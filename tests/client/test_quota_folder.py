"""The records of a shared quota in a real folder, and in a bucket of a real server."""

from __future__ import annotations

import dataclasses
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.quota_folder import QuotaFolder, is_run_alive
from eechips.client.quota.quota_members import Grant, RunReport, TermRecord
from eechips.client.quota.shared_quota import SharedQuota
from eechips.client.quota.throttle import Throttle
from eechips.errors import EechipsError
from eechips.files.temporary_names import new_writer
from local_tests.support.object_server import missing_packages, serving_objects

ENDPOINT, PROJECT = "https://earthengine-highvolume.googleapis.com", "fields"
REPORT = RunReport("ab-1", 3, 7, 12, 5, 4, 9, 1000, 120, 2, False, "eechips sample, process 1 on laptop")
TERM = TermRecord(
    7, "ab-2", 12, 40.0, True, {"ab-1": Grant(5, 6, 2, 12.5), "ab-3": Grant(0, 0, 0, None)}, about="eechips"
)


@pytest.fixture(params=["folder", "s3"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QuotaFolder]:
    if request.param == "folder":
        folder = QuotaFolder(tmp_path / "quota", ENDPOINT, PROJECT)
        folder.prepare()
        yield folder
        return
    reason = missing_packages("s3")
    if reason is not None:
        pytest.skip(reason)
    with serving_objects("quota") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        folder = QuotaFolder("s3://quota/shared", ENDPOINT, PROJECT)
        folder.prepare()
        yield folder


@pytest.mark.slow
def test_records_are_read_as_they_were_written(records: QuotaFolder) -> None:
    assert records.find() == ([], [])
    assert records.create_term(TERM)
    assert not records.create_term(dataclasses.replace(TERM, leader="ab-9"))
    records.write_report(REPORT)
    assert records.find() == ([7], ["ab-1"])
    assert records.read_term(7) == TERM
    assert records.read_report("ab-1") == REPORT
    later = dataclasses.replace(TERM, count=13, is_over=True)
    records.write_term(later)
    assert records.read_term(7) == later
    records.remove_term(7)
    records.remove_report("ab-1")
    assert records.find() == ([], [])
    assert records.read_term(7) is None
    assert records.read_report("ab-1") is None
    records.remove_report("ab-1")


def member(records: QuotaFolder, run: str) -> tuple[SharedQuota, Throttle]:
    throttle = Throttle(None, QuotaLimits(in_flight=1000, start=40, is_known=False), clients=1)
    return SharedQuota(records, throttle, run, QuotaFolder("x", "", "").times), throttle


@pytest.mark.slow
def test_two_runs_divide_the_slots(records: QuotaFolder) -> None:
    (first, large), (second, small) = member(records, "a-1"), member(records, "a-2")
    first.join()
    assert (first.is_leader, large.limit) == (True, 40)
    second.join()
    assert (second.is_leader, small.limit, second.is_waiting) == (False, 0, True)
    for _ in range(6):
        first.step()
        second.step()
    # One without requests could use four more than none; the other has the rest, and uses none of it.
    assert large.limit + small.limit <= 40
    assert small.limit >= 1
    first.leave()
    second.step()
    assert second.is_leader
    second.step()
    assert small.limit == 40
    second.leave()
    assert records.find() == ([], [])


def test_projects_and_endpoints_are_apart(tmp_path: Path) -> None:
    places = [(ENDPOINT, "a"), (ENDPOINT, "b"), ("http://127.0.0.1:8000", "a")]
    for endpoint, project in places:
        folder = QuotaFolder(tmp_path, endpoint, project)
        folder.prepare()
        folder.write_report(REPORT)
        assert folder.find() == ([], ["ab-1"])
    assert len(list(tmp_path.iterdir())) == 3
    everything = " ".join(f"{path} {path.read_text()}" for path in tmp_path.rglob("*.json"))
    assert ENDPOINT not in everything


def test_the_folder_of_a_group_stays_one(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    QuotaFolder(tmp_path / "shared", ENDPOINT, PROJECT).prepare()
    (folder,) = (tmp_path / "shared").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2775


def test_a_place_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EechipsError, match=r"cannot use .*file to share the quota"):
        QuotaFolder(tmp_path / "file", ENDPOINT, PROJECT).prepare()


def write(folder: Path, name: str, text: str) -> QuotaFolder:
    found = QuotaFolder(folder, ENDPOINT, PROJECT)
    found.prepare()
    (place,) = [path for path in folder.iterdir() if path.is_dir()]
    (place / name).write_text(text)
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1}, {"count": -1}, {"count": "1"}, {"count": True}, {"count": 1e300}, {"count": 10**400},
        {"held": 1.5}, {"about": 7}, {"is_restricted": 1}, {"wanted": None},
    ],
)  # fmt: skip
def test_reports_that_no_run_writes_are_ignored(tmp_path: Path, change: dict[str, object]) -> None:
    whole = {"version": 2, **dataclasses.asdict(REPORT)}
    assert write(tmp_path, "run-ab-1.json", json.dumps(whole)).read_report("ab-1") == REPORT
    assert write(tmp_path, "run-ab-1.json", json.dumps({**whole, **change})).read_report("ab-1") is None


@pytest.mark.parametrize("run", ["../../x", "a/b", "", "a" * 200])
def test_ids_of_runs_cannot_leave_the_folder(tmp_path: Path, run: str) -> None:
    content = {"version": 2, **dataclasses.asdict(TERM), "grants": {run: dataclasses.asdict(Grant(1, 1, 0, None))}}
    assert write(tmp_path, "term-7.json", json.dumps(content)).read_term(7) is None


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_any_content_is_read_or_ignored(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    records = write(folder, "term-7.json", json.dumps(content))
    assert records.read_term(7) is None
    assert write(folder, "run-ab-1.json", json.dumps(content)).read_report("ab-1") is None


def test_files_of_others_in_the_folder_are_no_records(tmp_path: Path) -> None:
    records = write(tmp_path, "notes.txt", "")
    for name in ("run-x y.json", "term-x.json", "term-7.json.bak", "run-..json"):
        write(tmp_path, name, "{}")
    assert records.find() == ([], [])


def test_processes_of_this_machine_are_seen() -> None:
    assert is_run_alive(str(new_writer())) is True
    assert is_run_alive(str(dataclasses.replace(new_writer(), pid=2**22 + 1))) is False
    assert is_run_alive(str(dataclasses.replace(new_writer(), place="0" * 12))) is None
    assert is_run_alive("somebody") is None


def test_a_link_in_the_place_of_a_new_folder_shares_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write to the folder above can replace a folder as soon as it is made."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "private").mkdir(mode=0o700)
    mkdir = Path.mkdir

    def make_and_replace(path: Path, *arguments: Any, **options: Any) -> None:
        mkdir(path, *arguments, **options)
        if path.parent == tmp_path / "shared":
            path.rmdir()
            path.symlink_to(tmp_path / "private")

    monkeypatch.setattr(Path, "mkdir", make_and_replace)
    for _ in ("new", "there"):
        with pytest.raises(EechipsError, match=r"cannot use .*shared to share the quota"):
            QuotaFolder(tmp_path / "shared", ENDPOINT, PROJECT).prepare()
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700
