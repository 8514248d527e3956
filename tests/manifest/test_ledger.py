"""The ledger: complete plans, durable outcomes, a million units."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from eechips.errors import RunLockedError, RunMismatchError, StorageError, UsageError
from eechips.manifest.export import export_parquet
from eechips.manifest.failures import export_failures
from eechips.manifest.folder_lock import LOCK_NAME, lock_folder
from eechips.manifest.manifest_columns import Record, State, UnitFile, WorkUnit
from eechips.manifest.run import open_run
from eechips.manifest.sqlite.database import connect
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import (
    bytes_of_units,
    read_dropped,
    read_files,
    read_status_numbers,
    sum_totals,
)

META = {"recipe": "sample", "parameters": {"seed": 1}}


def listed(ledger: Ledger) -> list[tuple[int, str, int]]:
    return [(file.position, file.name, file.size) for file in read_files(ledger.database)]


def planned(count: int) -> Iterator[WorkUnit]:
    for position in range(count):
        identifier = hashlib.sha256(str(position).encode()).hexdigest()
        unit = f'{{"coordinates":[{position / 7},40.0],"kind":"point"}}'
        yield WorkUnit(position, identifier, unit, f"chips/{identifier[:16]}")


def done(position: int, **more: object) -> Record:
    file = f"chips/{position}.png"
    values = {"file": file, "bytes": 100 + position, "sha256": "ab", "width": 256, "bands": '["R", "G"]'}
    return Record(position=position, state=State.DONE, requests=2, **{**values, **more})  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan(META, planned(5))
        yield ledger


def test_a_plan_round_trips(ledger: Ledger) -> None:
    assert ledger.has_plan
    assert ledger.meta() == {**META, "units": 5}
    assert list(ledger.open_units()) == list(planned(5))
    assert ledger.counts() == {State.PLANNED: 5}


def test_a_file_beyond_the_first_has_an_owner_also_if_it_was_looked_for_before(ledger: Ledger) -> None:
    assert ledger.owner("chips/0.more.tif") is None
    ledger.record(
        [done(0, files=(UnitFile("chips/0.png", 100, "ab", metadata="{}"), UnitFile("chips/0.more.tif", 5, "cd")))]
    )
    assert ledger.owner("chips/0.more.tif") == 0
    ledger.record([done(0)])  # the next result has one file
    assert ledger.owner("chips/0.more.tif") is None


def test_a_batch_that_fails_leaves_no_tables_that_are_looked_into(ledger: Ledger) -> None:
    assert ledger.owner("chips/0.png") is None
    with pytest.raises(StorageError):
        ledger.record([done(0, files=(UnitFile("chips/0.more.tif", object(), "cd"),))])  # type: ignore[arg-type]
    ledger.record([done(0)])
    assert ledger.owner("chips/0.png") == 0


def test_an_interrupted_plan_is_not_stored(tmp_path: Path) -> None:
    def broken() -> Iterator[WorkUnit]:
        yield from planned(3)
        raise KeyboardInterrupt

    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        with pytest.raises(KeyboardInterrupt):
            ledger.store_plan(META, broken())
        assert not ledger.has_plan
    with pytest.raises(UsageError, match="no run yet"):
        open_run(tmp_path)
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan(META, planned(2))
        with pytest.raises(KeyboardInterrupt):
            ledger.store_plan({}, broken())
        assert ledger.counts() == {State.PLANNED: 2}


def test_outcomes_are_kept_and_open_units_are_retried(tmp_path: Path, ledger: Ledger) -> None:
    transient = Record(
        position=1, state=State.FAILED_TRANSIENT, error_class="TransientError", error="503", attempts=11, requests=11
    )
    permanent = Record(position=2, state=State.FAILED_PERMANENT, error_class="PermanentError", error="no")
    empty = done(3, valid_fraction=0.0)
    ledger.record([done(0), transient, permanent, Record(**{**_fields(empty), "state": State.EMPTY})])
    assert [u.position for u in ledger.open_units()] == [1, 4]
    ledger.record([done(1)])
    run = open_run(tmp_path)
    assert run.counts == {"planned": 1, "done": 2, "empty": 1, "failed_permanent": 1}
    assert not run.is_complete
    row = run.units.loc[1]
    assert (row["attempts"], row["requests"], row["state"]) == (12, 13, "done")
    assert pd.isna(row["error"])
    assert row["bands"] == ["R", "G"]
    assert run.units.loc[0, "unit"] == {"coordinates": [0.0, 40.0], "kind": "point"}
    assert run.failures["error_class"].tolist() == ["PermanentError"]
    status = run.status()
    assert status.failures == {"PermanentError": 1}
    assert status.bytes == 100 + 101 + 103
    assert status.to_json()["total"] == 5


def test_units_that_finish_within_a_second_have_no_speed(ledger: Ledger) -> None:
    ledger.record([done(0, finished="2026-01-01T00:00:00.000Z"), done(1, finished="2026-01-01T00:00:00.001Z")])
    assert read_status_numbers(ledger.database).rate is None
    ledger.record([done(2, finished="2026-01-01T00:00:04.000Z")])
    assert read_status_numbers(ledger.database).rate == pytest.approx(0.5, rel=1e-4)


def _fields(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in Record.__slots__}


def test_compute_adds_up_over_runs_and_survives_a_result_that_is_dropped(ledger: Ledger) -> None:
    def stored() -> list[float | None]:
        return [value for batch in ledger.batches(("eecu_seconds",)) for (value,) in batch]

    ledger.record([done(0), done(1, eecu_seconds=0.25)])
    assert stored() == [None, 0.25, None, None, None]
    ledger.add_compute([(0, 0.5), (1, 0.5)], {"months": {}})
    ledger.reopen([0])
    assert stored()[:2] == [0.5, 0.75]
    ledger.record([done(0)])
    assert stored()[0] == 0.5, "a run without profiles adds nothing"
    assert ledger.meta()["compute"] == {"months": {}}


def test_open_units_are_read_while_others_are_recorded(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan(META, planned(5000))
        seen = []
        for unit in ledger.open_units():
            seen.append(unit.position)
            if unit.position % 2:
                ledger.record([done(unit.position)])
        assert seen == list(range(5000))
        assert ledger.counts() == {State.PLANNED: 2500, State.DONE: 2500}


def test_units_that_replace_others_come_after_the_last_and_each_replaces_one(tmp_path: Path, ledger: Ledger) -> None:
    def added(position: int, replaces: int) -> WorkUnit:
        identifier = hashlib.sha256(str(position).encode()).hexdigest()
        return WorkUnit(position, identifier, "{}", f"chips/{position}", replaces=replaces)

    empty = [Record(position=n, state=State.EMPTY, valid_fraction=0.0) for n in (1, 3)]
    ledger.record([*empty, done(0), Record(**{**_fields(done(2)), "state": State.EMPTY})])
    assert list(read_dropped(ledger.database)) == [1, 3]  # 2 has kept its file
    reading = ledger.open_units()
    ledger.add([added(5, 1)])
    assert [unit.position for unit in reading] == [4]
    assert [unit.position for unit in ledger.open_units()] == [4, 5]
    assert ledger.unit(5) == added(5, 1)
    assert list(read_dropped(ledger.database)) == [3]
    assert read_status_numbers(ledger.database).dropped == 2
    with pytest.raises(StorageError):
        ledger.add([added(6, 3), added(7, 1)])
    assert ledger.end == 6
    assert ledger.known([added(5, 1).id, added(6, 3).id]) == {added(5, 1).id}
    ledger.note("redrawn", True)
    assert ledger.meta() == {**META, "redrawn": True, "units": 6}
    totals = sum_totals(ledger.database)
    assert (totals.units, totals.requests, totals.bytes, totals.dropped) == (4, 4, 202, 2)
    run = open_run(tmp_path)
    assert run.units["replaces"].dropna().to_dict() == {5: 1}
    assert pd.read_parquet(export_parquet(ledger, tmp_path))["replaces"].dropna().tolist() == [1]


def test_totals_count_all_files_of_a_unit(ledger: Ledger) -> None:
    """An estimate, and the check of the disk, multiply the bytes of the units that were tried."""
    files = (UnitFile("chips/0-t1.png", 1000, "a" * 64), UnitFile("chips/0-t2.png", 2000, "b" * 64))
    ledger.record([done(0, files=files)])
    assert sum_totals(ledger.database).bytes == 100 + 1000 + 2000
    ledger.record([done(1)])
    assert sum_totals(ledger.database).bytes == 100 + 1000 + 2000 + 101
    assert bytes_of_units(ledger.database) == [100 + 1000 + 2000, 101]


def test_a_file_belongs_to_one_unit(ledger: Ledger) -> None:
    ledger.record([done(0)])
    assert ledger.owner("chips/0.png") == 0
    assert ledger.owner("chips/1.png") is None
    with pytest.raises(StorageError):
        ledger.record([done(4), done(1, file="chips/0.png")])
    assert ledger.counts() == {State.PLANNED: 4, State.DONE: 1}


def test_reopened_units_forget_their_file(ledger: Ledger) -> None:
    ledger.record([done(0), done(1)])
    assert listed(ledger) == [(0, "chips/0.png", 100), (1, "chips/1.png", 101)]
    assert ledger.reopen([0]) == 1
    assert listed(ledger) == [(1, "chips/1.png", 101)]
    assert next(ledger.open_units()).attempts == 1


def test_the_export_holds_every_unit(tmp_path: Path, ledger: Ledger) -> None:
    ledger.record([done(0, transform="[1.0, 0.0, 5.0, 0.0, -1.0, 6.0]", crs="EPSG:32613", seconds=0.5)])
    ledger.record([Record(position=1, state=State.FAILED_PERMANENT, error_class="PermanentError", error='no, "x"\n')])
    frame = pd.read_parquet(export_parquet(ledger, tmp_path))
    assert frame["position"].tolist() == [0, 1, 2, 3, 4]
    assert frame["state"].tolist() == ["done", "failed_permanent", "planned", "planned", "planned"]
    assert frame["id"].tolist() == [unit.id for unit in planned(5)]
    assert list(frame["transform"][0]) == [1.0, 0.0, 5.0, 0.0, -1.0, 6.0]
    failures = pd.read_csv(export_failures(ledger, tmp_path))
    assert failures["error"].tolist() == ['no, "x"\n']
    ledger.record([done(1)])
    with lock_folder(tmp_path):  # whose holder alone removes files of the run
        assert export_failures(ledger, tmp_path) is None
    assert not (tmp_path / "failures.csv").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / LEDGER_NAME).write_text("not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(StorageError, match="damaged or no ledger") as told:
        Ledger(tmp_path / LEDGER_NAME)
    if (handles := Path("/proc/self/fd")).exists():
        opened = [handle.readlink() for handle in handles.iterdir() if handle.is_symlink()]
        assert tmp_path / LEDGER_NAME not in opened, told  # which keeps alive what was not closed
    with pytest.raises(UsageError, match="holds no run"):
        open_run(tmp_path / "nowhere")
    (tmp_path / "outputs" / "a").mkdir(parents=True)
    (tmp_path / "outputs" / "a" / LEDGER_NAME).touch()
    with pytest.raises(UsageError, match=r"holds no run: .*; name one in it: .*/outputs/a$"):
        open_run(tmp_path / "outputs")
    other = tmp_path / "other.sqlite"
    with contextlib.closing(sqlite3.connect(other)) as db, db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(RunMismatchError, match=r"format 99.*: install a newer eechips"):
        Ledger(other)


def test_a_closed_ledger_is_one_file_that_can_be_read_without_writing(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan(META, planned(3))
    assert [p.name for p in tmp_path.iterdir()] == [LEDGER_NAME]
    assert open_run(tmp_path).counts == {"planned": 3}
    assert [p.name for p in tmp_path.iterdir()] == [LEDGER_NAME]


def test_a_ledger_of_a_process_killed_while_it_wrote_is_read(tmp_path: Path) -> None:
    """No command that reads a run opened it, and ``verify --reopen`` replaced it by a manifest, which may be older."""
    path = tmp_path / LEDGER_NAME
    with Ledger(path) as ledger:
        ledger.store_plan(META, planned(400))
    code = f"""if True:
        import os, signal, sqlite3
        database = sqlite3.connect({str(path)!r}, isolation_level=None)
        database.execute("PRAGMA cache_size = 1")  # so that pages are written before the end of the transaction
        database.execute("BEGIN")
        database.execute("UPDATE units SET name = name || hex(zeroblob(99))")
        os.kill(os.getpid(), signal.SIGKILL)"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    journal = tmp_path / f"{LEDGER_NAME}-journal"
    assert journal.stat().st_size
    with Ledger(path, readonly=True) as ledger:
        assert ledger.database.execute("SELECT max(length(name)) FROM units").fetchone() == (22,)
        with pytest.raises(StorageError, match="readonly"):
            ledger.database.execute("DELETE FROM units")
    assert open_run(tmp_path).counts == {"planned": 400}
    assert not journal.exists()


def test_verify_finds_what_is_wrong(tmp_path: Path, ledger: Ledger) -> None:
    files = {0: b"a,b\n1,2\n", 1: b"a,b\n1,2\n", 2: b"a,b\n1\n", 3: b"a,b\n1,2\n"}
    (tmp_path / "chips").mkdir()
    records = []
    for position, data in files.items():
        name = f"chips/{position}.csv"
        (tmp_path / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        records.append(done(position, file=name, bytes=len(data), sha256=digest))
    ledger.record(records)
    assert [p.file for p in open_run(tmp_path).verify()] == ["chips/2.csv"]
    (tmp_path / "chips/0.csv").unlink()
    (tmp_path / "chips/1.csv").write_bytes(b"a,b\n1,3\n")
    problems = open_run(tmp_path).verify()
    assert [p.file for p in problems] == ["chips/0.csv", "chips/1.csv", "chips/2.csv"]
    assert ["missing" in problems[0].reason, "sha256" in problems[1].reason, "unequal" in problems[2].reason] == [
        True
    ] * 3


def _hold(folder: Path, pipe: object) -> None:
    with lock_folder(folder):
        pipe.send("held")  # type: ignore[attr-defined]
        pipe.recv()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_one_process_at_a_time_opens_a_ledger(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_hold, args=(tmp_path, theirs))
    child.start()
    assert ours.poll(60)
    assert ours.recv() == "held"
    with pytest.raises(RunLockedError, match=f"process {child.pid} is running"), lock_folder(tmp_path):
        pass
    child.kill()
    child.join()
    with lock_folder(tmp_path):
        pass


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_million_units_are_recorded(tmp_path: Path) -> None:
    """A row costs less than 100 of SQLite's instructions to store, and less than 30 to resume."""
    steps: list[int] = []
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.database.set_progress_handler(lambda: steps.append(1), 1_000_000)
        ledger.store_plan(META, planned(1_000_000))
    stored = len(steps)
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.database.set_progress_handler(lambda: steps.append(1), 1_000_000)
        assert ledger.counts() == {State.PLANNED: 1_000_000}
        assert next(ledger.open_units()).position == 0
    assert stored < 100
    assert len(steps) - stored < 30


def test_damaged_bytes_in_the_message_of_an_error_are_damage(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE units (position)")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = CAST(x'4352454154452054ed4c45' AS TEXT)")
        db.commit()
    with contextlib.closing(connect(path, readonly=True)) as db, pytest.raises(StorageError) as told:
        db.execute("SELECT * FROM units")
    assert "is damaged or no ledger: its bytes are no text. What helps: eechips verify" in str(told.value)


def test_a_text_that_is_not_unicode_is_no_damage_of_the_ledger(tmp_path: Path) -> None:
    database = connect(tmp_path / LEDGER_NAME, readonly=False)
    database.execute("CREATE TABLE texts (text)")
    with pytest.raises(UnicodeEncodeError):
        database.executemany("INSERT INTO texts VALUES (?)", (("\ud800".encode(),) for _ in range(1)))
    database.close()


@pytest.mark.parametrize(("mask", "rights"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_files_have_the_rights_of_the_umask(mask: int, rights: int, tmp_path: Path) -> None:
    """Others of a group could not go on with a run, whose ledger and lock they could not write."""
    before = os.umask(mask)
    try:
        with lock_folder(tmp_path), Ledger(tmp_path / LEDGER_NAME) as ledger:
            assert ledger.writer_name
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes.keys() >= {LOCK_NAME, LEDGER_NAME}
    assert set(modes.values()) == {rights}
