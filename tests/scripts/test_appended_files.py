"""Files to which calls and the script append, when the script is run again."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from eechips.scripts.pooling.appended_files import AppendedFiles
from local_tests.support.local_earth_engine import Server
from tests.support.programs import run_program
from tests.support.user_scripts import command, files, plain, run

BEFORE = {0: ["x,8\n", "y,9\n"]}
YEARS = {1: ["a,1\n", "b,2\n"], 2: ["c,3\n"], 3: ["a,1\n", "d,4\n"]}


def play(
    out: Path, years: Mapping[int, list[str]] = YEARS, *, calls: bool = False, left_out: Iterable[int] = (),
    header: str = "absent", again: bool = True, killed: int = -1, stopped: int = 0, mark: str = "",
    reads: bool = False,
) -> AppendedFiles:  # fmt: skip
    """A script that appends the rows of each year after a use of a pool, or whose calls do; of year 0 before them."""
    appended, table = AppendedFiles(out), out / "rows.csv"
    for use, rows in years.items():
        if use in left_out:
            continue
        if use:
            appended.receive(use, [{"calls.csv": row.encode()} for row in rows] if calls else [], is_again=again)
        if use and use == stopped:
            break
        appended.use("rows.csv", "a")
        with table.open("a") as file:
            if header == "each year" or (header == "absent" and not file.tell()):
                file.write("name,value\n")
            file.writelines(f"{row.rstrip()}{mark}\n" for row in rows[: len(rows) // 2 if use == killed else None])
        if use == killed:
            return appended
        if reads:
            appended.use("rows.csv", "r")
    if not reads:
        appended.finish()
    return appended


def texts(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(out.glob("*.csv"))}


@pytest.mark.parametrize("header", ["absent", "each year", "none"])
@pytest.mark.parametrize("kills", [(0,), (1,), (2,), (3,), (3, 1), (2, 3), (1, 3, 0, 2)])
def test_lines_that_the_script_appends_again_are_there_once(
    tmp_path: Path, header: str, kills: tuple[int, ...]
) -> None:
    expected, resumed = tmp_path / "expected", tmp_path / "resumed"
    for folder in (expected, resumed):
        folder.mkdir()
    play(expected, BEFORE | YEARS, header=header, again=False)
    for number, use in enumerate(kills):
        play(resumed, BEFORE | YEARS, header=header, again=number > 0, killed=use)
    play(resumed, BEFORE | YEARS, header=header, reads=True)
    assert texts(resumed) == texts(expected)
    for _ in range(3):
        appended = play(resumed, BEFORE | YEARS, header=header)
        assert texts(resumed) == texts(expected)
        assert appended.repeated == []


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_a_run_that_is_stopped_while_a_script_appends_again_loses_and_repeats_no_line(
    tmp_path: Path, stopped: int
) -> None:
    play(tmp_path, again=False)
    before = texts(tmp_path)
    play(tmp_path, stopped=stopped)
    assert texts(tmp_path) == before
    play(tmp_path)
    assert texts(tmp_path) == before


def test_rows_of_calls_that_succeed_later_are_added_and_none_are_lost(tmp_path: Path) -> None:
    first = {1: ["a,1\n"], 2: YEARS[2], 3: YEARS[3]}
    play(tmp_path, first, again=False, calls=True)
    for _ in range(2):
        play(tmp_path, calls=True)
        assert texts(tmp_path)["calls.csv"] == "a,1\nb,2\nc,3\na,1\nd,4\n"
        lines = texts(tmp_path)["rows.csv"].splitlines()
        assert lines[0] == "name,value"
        assert sorted(lines[1:]) == ["a,1", "a,1", "b,2", "c,3", "d,4"]


def test_a_script_that_leaves_out_what_it_has_keeps_its_rows(tmp_path: Path) -> None:
    """Calls of one use succeed later; the others are not repeated, and their rows do not come again."""
    first = {1: ["a,1\n"], 2: YEARS[2], 3: YEARS[3]}
    play(tmp_path, first, again=False, calls=True)
    play(tmp_path, {1: ["a,1\n", "b,2\n"]}, calls=True, again=False)
    assert texts(tmp_path)["calls.csv"] == "a,1\nb,2\nc,3\na,1\nd,4\n"
    assert texts(tmp_path)["rows.csv"] == "name,value\na,1\nc,3\na,1\nd,4\na,1\nb,2\n"
    play(tmp_path, {2: YEARS[2]}, calls=True)
    assert texts(tmp_path)["calls.csv"] == "a,1\nb,2\nc,3\na,1\nd,4\n"


def test_lines_that_differ_from_those_before_stay_and_are_said(tmp_path: Path) -> None:
    play(tmp_path, {1: YEARS[1]}, again=False, mark=",10:00")
    appended = play(tmp_path, {1: YEARS[1]}, mark=",11:00")
    assert texts(tmp_path)["rows.csv"] == "name,value\na,1,10:00\nb,2,10:00\na,1,11:00\nb,2,11:00\n"
    assert appended.repeated == ["rows.csv"]


def test_files_of_an_earlier_run_that_are_read_and_changed_are_named(tmp_path: Path) -> None:
    for name in ("read.json", "changed.json", "table.db", "anew.json"):
        (tmp_path / name).write_text("[1]")
    appended = AppendedFiles(tmp_path)
    for name, mode in {
        "read.json": "r",
        "changed.json": "r",
        "table.db": "r+",
        "anew.json": "w",
        "own.json": "w",
    }.items():
        appended.use(name, mode)
    for name in ("changed.json", "table.db", "anew.json", "own.json"):
        (tmp_path / name).write_text("[2]")
        appended.use(name, "r")
    (tmp_path / "own.json").write_text("[2, 3]")
    appended.finish()
    assert appended.changed == ["changed.json", "table.db"]


def test_lines_are_found_as_whole_lines_only(tmp_path: Path) -> None:
    """A file that was changed between two runs has the lines elsewhere, or as ends of others."""
    play(tmp_path, {1: ["5,1\n"]}, again=False, header="none", calls=True)
    for name in ("rows.csv", "calls.csv"):
        (tmp_path / name).write_text("15,1\n5,1\n25,1\n")
    play(tmp_path, {1: ["5,1\n"]}, header="none", calls=True)
    assert texts(tmp_path) == dict.fromkeys(("calls.csv", "rows.csv"), "15,1\n5,1\n25,1\n")


def test_a_file_that_is_written_anew_has_all_lines(tmp_path: Path) -> None:
    play(tmp_path, again=False, calls=True)
    for name in ("rows.csv", "calls.csv"):
        (tmp_path / name).unlink()
    play(tmp_path, calls=True)
    assert texts(tmp_path) == {
        "calls.csv": "a,1\nb,2\nc,3\na,1\nd,4\n",
        "rows.csv": "name,value\na,1\nb,2\nc,3\na,1\nd,4\n",
    }


def test_an_open_file_gets_what_it_has_not_flushed(tmp_path: Path) -> None:
    play(tmp_path, {1: YEARS[1]}, again=False)
    appended = AppendedFiles(tmp_path)
    appended.receive(1, [], is_again=True)
    appended.use("rows.csv", "a")
    with (tmp_path / "rows.csv").open("a") as file:
        file.writelines(YEARS[1])
        file.flush()
        file.write("last,9\n")
        appended.finish()
    assert texts(tmp_path)["rows.csv"] == "name,value\na,1\nb,2\nlast,9\n"


TABLES = """
import csv
import multiprocessing
import os
import signal

import ee

ee.Initialize()


def work(year, n):
    value = ee.Number(year).add(n).getInfo()
    if value == 2022 and not os.path.exists(os.environ["MARK"]):
        open(os.environ["MARK"], "w").close()
        os.killpg(0, signal.SIGKILL)
    with open("calls.csv", "a") as file:
        file.write(f"{year},{value}\\n")
    return year, n, value


if __name__ == "__main__":
    whole = open("whole.csv", "a", newline="")
    for year in (2000, 2010, 2020):
        with multiprocessing.Pool(2) as pool:
            rows = pool.starmap(work, [(year, n) for n in range(3)])
        is_new = not os.path.exists("rows.csv")
        with open("rows.csv", "a", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([["year", "n", "value"]] * is_new + rows)
        csv.writer(whole).writerows(rows)
        with open("years.log", "a") as file:
            file.write(f"{year} done\\n")
"""


@pytest.mark.slow
def test_a_killed_script_has_the_tables_of_one_that_was_not(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main part of the script appends the rows, also those of the years before the kill."""
    script, expected = tmp_path / "tables.py", tmp_path / "expected"
    script.write_text(TABLES)
    expected.mkdir()
    monkeypatch.setenv("MARK", str(tmp_path))
    plain(script, demo_server, expected)
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    run_program(*command(script, demo_server), status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    assert len((tmp_path / "run" / "rows.csv").read_bytes().splitlines()) == 7
    for _ in range(2):
        done = run(script, demo_server, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "twice" not in done.stderr
        assert _sorted(tmp_path / "run") == _sorted(expected)


def _sorted(folder: Path) -> dict[str, list[bytes]]:
    """Lines of files; those that processes of plain Python append have no fixed order."""
    return {name: sorted(data.splitlines()) for name, data in files(folder).items()}


LEFT_OPEN = """
import multiprocessing
import os

def open_rows():
    global rows
    rows = open(f"rows_{os.getpid()}.csv", "a")

def work(n):
    rows.write(f"{n}\\n")
    rows.flush()

if __name__ == "__main__":
    with multiprocessing.Pool(2, initializer=open_rows) as pool:
        pool.map(work, range(6))
"""


@pytest.mark.slow
def test_calls_that_leave_a_file_open_fail(demo_server: Server, tmp_path: Path) -> None:
    """Lines of all calls but the first of each worker were lost, with exit status 0."""
    script = tmp_path / "script.py"
    script.write_text(LEFT_OPEN)
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 1
    assert re.search(r"6 x UsageError: the call leaves \S+ open", result.stderr + result.stdout)
