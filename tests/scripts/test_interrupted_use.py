"""Scripts that were killed before they received what their calls returned, and are run again."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from eechips import open_run, verify
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command
from tests.support.programs import run_program
from tests.support.user_scripts import command, files, run

pytestmark = pytest.mark.slow

SCRIPT = """
import glob, os, shutil, signal
from multiprocessing import Pool
import ee
import pyarrow

ee.Initialize()
STOPS = os.environ.get("STOPS_AT", "")

def save(n):
    value = ee.Number(n).add(1).getInfo()
    if STOPS == str(n):
        os.killpg(0, signal.SIGKILL)
    os.makedirs("o", exist_ok=True)
    with open(f"o/{n}.txt", "w") as file:
        file.write(str(value))
    return value

def opens(n, opened):
    try:
        with opened(f"o/{n}.txt") as file:
            file.read()
        return True
    except FileNotFoundError:
        return False

def main():
    BEGIN
    if STOPS == "begin":
        os.killpg(0, signal.SIGKILL)
    values = []
    for numbers in (range(4), range(4, 10)):
        with Pool(2) as pool:
            values += pool.map(save, [n for n in numbers if not has(n)])
    print("sum:", sum(values))

def has(n):
    return HAS

if __name__ == "__main__":
    main()
"""
EXPECTED = {f"{n}.txt": str(n + 1) for n in range(10)}


def killed(words: list[str], folder: Path, **variables: str) -> None:
    """Run a command that kills itself and its processes."""
    run_program(*words, status=-signal.SIGKILL, cwd=folder, env={**os.environ, **variables}, start_new_session=True)


def outputs(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "run" / "o").iterdir()}


def written(folder: Path, begin: str = "pass", has: str = "False") -> Path:
    script = folder / "script.py"
    script.write_text(SCRIPT.replace("BEGIN", begin).replace("HAS", has))
    return script


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("has", "begin"),
    [
        ("os.path.exists(f'o/{n}.txt')", "pass"),
        ("f'o/{n}.txt' in glob.glob('o/*')", "pass"),
        ("opens(n, open)", "pass"),
        ("opens(n, pyarrow.OSFile)", "pass"),
        ("False", "[os.remove(path) for n in range(4, 10) if opens(n, open) for path in [f'o/{n}.txt']]"),
        ("False", "os.path.exists('o') and (os.rename('o', 'p'), shutil.rmtree('p'))"),
        ("False", "shutil.rmtree('o', ignore_errors=True)"),
    ],
)
def test_results_equal_those_of_an_uninterrupted_run(demo_server: Server, tmp_path: Path, has: str, begin: str) -> None:
    """It is killed in its second pool, then before it opens its first one."""
    script = written(tmp_path, begin, has)
    words = command(script, demo_server)
    killed(words, tmp_path, STOPS_AT="8")
    before = set(outputs(tmp_path))
    assert before > {f"{n}.txt" for n in range(4)}
    killed(words, tmp_path, STOPS_AT="begin")
    done = run(script, demo_server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs(tmp_path) == EXPECTED
    assert open_run(tmp_path / "run").verify() == []
    if has == "False":
        assert "sum: 55" in done.stdout
    else:
        assert "sum: 45" in done.stdout  # the first pool had passed its values to the script, which has left it out now
        assert "has left out 4 calls of save() since" in done.stdout + done.stderr
    again = run(script, demo_server, tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "has left out" not in again.stdout + again.stderr
    assert outputs(tmp_path) == EXPECTED


@pytest.mark.exhaustive
def test_verify_says_that_results_are_set_aside(demo_server: Server, tmp_path: Path) -> None:
    """It is killed in its second pool, then before it opens its first one."""
    script = written(tmp_path)
    words = command(script, demo_server)
    killed(words, tmp_path, STOPS_AT="8")
    assert open_run(tmp_path / "run").verify() == []
    killed(words, tmp_path, STOPS_AT="begin")
    problems = verify(tmp_path / "run", reopen=True)  # nothing is fetched again for it
    assert problems
    assert {problem.reason for problem in problems} == {
        "set aside until the script goes on: repeat the command of the run"
    }
    told = run_command("verify", tmp_path / "run", status=1).output
    assert "set aside" in told
    assert "--reopen" not in told
    assert "present and intact" not in told
    done = run(script, demo_server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs(tmp_path) == EXPECTED
    units = open_run(tmp_path / "run").units
    assert units["attempts"].max() == 1
    assert verify(tmp_path / "run") == []


@pytest.mark.exhaustive
def test_values_that_were_complete_but_not_received_are_given_again(demo_server: Server, tmp_path: Path) -> None:
    """It is killed after the last call of a pool, before ``map`` returns."""
    script = written(tmp_path, has="os.path.exists(f'o/{n}.txt')")
    code = """
import os, signal
from eechips.manifest.sqlite.ledger import Ledger
note, left = Ledger.note, 1
def killing(self, key, value):
    global left
    left -= key == "use_under_way" and value is None
    if left < 0:
        os.killpg(0, signal.SIGKILL)
    note(self, key, value)
Ledger.note = killing
from eechips.cli import main
main()
"""
    _, _, _, *words = command(script, demo_server)
    killed([sys.executable, "-c", code, *words], tmp_path)
    assert outputs(tmp_path) == EXPECTED
    done = run(script, demo_server, tmp_path)
    assert "sum: 45" in done.stdout, done.stdout + done.stderr
    assert outputs(tmp_path) == EXPECTED


if not hasattr(os, "killpg"):
    pytest.skip("processes are killed by their group", allow_module_level=True)


LOOPS = """
import glob
import os
import shutil
import signal
from multiprocessing import Pool

import ee

ee.Initialize()


def stop(place):
    if place == os.environ["STOPS_AT"] and not os.path.exists(os.environ["MARK"]):
        open(os.environ["MARK"], "w").close()
        os.killpg(0, signal.SIGKILL)


def save(year, n):
    text = str(ee.Number(year).add(n).getInfo())
    stop(text)
    with open(f"tiles/{n}.txt", "w") as file:
        file.write(text)


if __name__ == "__main__":
    for year in (2000, 2010, 2020):
        if os.environ["SKIPS"] and os.path.exists(f"{year}.csv"):
            continue
        os.makedirs("tiles", exist_ok=True)
        with Pool(2) as pool:
            pool.starmap(save, [(year, n) for n in range(10)])
        tiles = sorted(glob.glob("tiles/*.txt"))
        stop(str(year) + " received")
        with open(f"{year}.csv", "w") as file:
            file.writelines(open(tile).read() + "\\n" for tile in tiles)
        os.rename("tiles/0.txt", f"{year}_0.txt")
        shutil.rmtree("tiles")
        stop(str(year) + " removed")
"""


@pytest.mark.parametrize(("place", "skips"), [("2010 received", ""), ("2019", ""), ("2020 removed", "1")])
def test_files_that_a_script_removes_may_have_the_same_names_again(
    place: str, skips: str, demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each use of the pool writes files of the same names, which the script removes; a kill leaves some of them.

    One that leaves out the years that it has ended with units that were not fetched.
    """
    monkeypatch.setenv("STOPS_AT", place)
    monkeypatch.setenv("SKIPS", skips)
    (tmp_path / "loops.py").write_text(LOOPS)
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    words = command(tmp_path / "loops.py", demo_server)
    run_program(*words, status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    for _ in range(2):
        done = run(tmp_path / "loops.py", demo_server, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        for year in (2000, 2010, 2020):
            assert (tmp_path / "run" / f"{year}.csv").read_text().split() == [str(year + n) for n in range(10)]
            assert (tmp_path / "run" / f"{year}_0.txt").read_text() == str(year)
    assert open_run(tmp_path / "run").counts == {"done": 30}


RIVERS = """
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import ee

ee.Initialize()


class River:
    def __init__(self, name):
        self.name = name

    def save(self, n):
        value = ee.Number(n).add(len(self.name)).getInfo()
        if (self.name, n) == ("Brahmaputra", 9) and not os.path.exists(os.environ["MARK"]):
            open(os.environ["MARK"], "w").close()
            os.killpg(0, signal.SIGKILL)
        return value


for name in ("Indus", "Ganges", "Brahmaputra"):
    if os.path.exists(name + ".txt"):
        print(name, "is done")
        continue
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(River(name).save, range(10)))
    with open(name + ".txt", "w") as file:
        file.write(str(found))
    if os.environ.get("STOPS_AFTER") == name:
        os.killpg(0, signal.SIGKILL)
"""


def test_calls_with_equal_arguments_of_other_objects_are_told_apart(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that leaves out the pools whose results it has got the values of the first for the calls of the last."""
    (tmp_path / "rivers.py").write_text(RIVERS)
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    words = command(tmp_path / "rivers.py", demo_server)
    run_program(*words, status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    for removed in ("", "Ganges.txt"):
        if removed:
            (tmp_path / "run" / removed).unlink()
        done = run(tmp_path / "rivers.py", demo_server, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        for name in ("Indus", "Ganges", "Brahmaputra"):
            assert (tmp_path / "run" / f"{name}.txt").read_text() == str([n + len(name) for n in range(10)])
    assert open_run(tmp_path / "run").counts == {"done": 30}


def test_calls_that_a_script_leaves_out_undone_are_said(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice was to fix the code of no failed unit."""
    (tmp_path / "rivers.py").write_text(RIVERS)
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    words = command(tmp_path / "rivers.py", demo_server)
    run_program(*words, status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    (tmp_path / "run" / "Brahmaputra.txt").touch()
    done = run(tmp_path / "rivers.py", demo_server, tmp_path)
    assert done.returncode == 1
    assert "not fetched. A script may have taken partial files for these results." in done.stderr
    assert "Fix the code" not in done.stderr


def test_pools_with_equal_calls_are_told_apart_by_their_place(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two pools, a script that leaves out the first got its values for the second."""
    (tmp_path / "rivers.py").write_text(RIVERS)
    (tmp_path / "mark").touch()
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("STOPS_AFTER", "Indus")
    words = command(tmp_path / "rivers.py", demo_server)
    run_program(*words, status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    monkeypatch.delenv("STOPS_AFTER")
    done = run(tmp_path / "rivers.py", demo_server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "were others" not in done.stderr
    for name in ("Indus", "Ganges", "Brahmaputra"):
        assert (tmp_path / "run" / f"{name}.txt").read_text() == str([n + len(name) for n in range(10)])


TIMED = """
import os, signal, time
from multiprocessing import Pool
import ee

ee.Initialize()
STARTED = time.time_ns()

def save(n):
    assert n < 2 or os.environ.get("STOPS") != "call"
    return ee.Number(n).add(STARTED > 0).getInfo()

if __name__ == "__main__":
    for repetition in range(2):
        print(Pool(2).map(save, range(3)))
        if os.environ.get("STOPS") == "script":
            os.killpg(0, signal.SIGKILL)
"""


@pytest.mark.parametrize(("stops", "status"), [("script", -signal.SIGKILL), ("call", 1), ("", 0)])
def test_results_of_calls_whose_variables_were_others_are_said(
    stops: str, status: int, demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable with the time differs in each run, so that only the place says which use of the pool it is.

    Results in a folder with the time in its name were in two, and a sum of them was wrong without a word.
    """
    (tmp_path / "timed.py").write_text(TIMED)
    monkeypatch.setenv("STOPS", stops)
    words = command(tmp_path / "timed.py", demo_server)
    run_program(*words, status=status, cwd=tmp_path, start_new_session=True)
    monkeypatch.delenv("STOPS")
    again = run(tmp_path / "timed.py", demo_server, tmp_path)
    assert "Calls of save() have the results of an earlier run, in which variables" in again.stderr
    assert again.stdout.count("[1, 2, 3]") == (0 if stops == "call" else 2)
    assert open_run(tmp_path / "run").counts == ({"done": 2, "failed_permanent": 1} if stops == "call" else {"done": 6})


UNORDERED = """
import json
import os
import signal
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from multiprocessing import Pool

import ee

ee.Initialize()
SITES = {"Ames", "Boulder", "Cairo", "Delhi", "Essen", "Fes", "Gent", "Hanoi"}


def save(site):
    value = ee.String(site).length().getInfo()
    if site == "Delhi" and not os.path.exists(os.environ["MARK"]):
        open(os.environ["MARK"], "w").close()
        os.killpg(0, signal.SIGKILL)
    return value


def split(name):
    parts = [] if len(name) > 2 else [name + "0", name + "1"]
    return str(ee.String(name).cat("!").getInfo()), parts


if __name__ == "__main__":
    tiles = []
    with ThreadPoolExecutor(2) as threads:
        pending = {threads.submit(split, "a"), threads.submit(split, "b")}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                name, parts = future.result()
                tiles.append(name)
                pending |= {threads.submit(split, part) for part in parts}
    with Pool(2) as pool:
        lengths = dict(zip(SITES, pool.map(save, SITES)))
    with open("values.json", "w") as file:
        json.dump([sorted(tiles), lengths], file, sort_keys=True)
"""


def test_calls_in_the_order_of_a_set_resume(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sets of texts have another order in each process: the script was refused as another one."""
    script, mark = tmp_path / "script.py", tmp_path / "mark"
    script.write_text(UNORDERED)
    monkeypatch.setenv("MARK", str(mark))
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    run_program(*command(script, demo_server), status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    for seed in ("2", "3"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        done = run(script, demo_server, tmp_path)
        assert done.returncode == 0, done.stderr
        tiles, lengths = json.loads((tmp_path / "run" / "values.json").read_text())
        assert len(set(tiles)) == len(tiles) == 14
        assert lengths == {site: len(site) for site in lengths}
        assert len(lengths) == 8
    assert open_run(tmp_path / "run").counts == {"done": 22}


WAVES = """
import asyncio
import os
import signal

import ee

ee.Initialize()


def save(number):
    if number == 5 and not os.path.exists(os.environ["MARK"]):
        open(os.environ["MARK"], "w").close()
        os.killpg(0, signal.SIGKILL)
    with open(f"{number}.txt", "w") as file:
        file.write(str(ee.Number(number).getInfo()))


def square(number):
    return ee.Number(number).multiply(number).getInfo()


async def main():
    size, squares = int(os.environ["SIZE"]), []
    for first in range(0, 8, size):
        wave = range(first, min(first + size, 8))
        calls = [asyncio.to_thread(function, number) for number in wave for function in (save, square)]
        squares += (await asyncio.gather(*calls))[1::2]
    with open("squares.csv", "a") as file:
        file.writelines(f"{square}\\n" for square in squares)
    print(squares, open("squares.csv").read().split())


asyncio.run(main())
"""


def test_calls_that_an_event_loop_collects_otherwise_resume(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which calls it makes together depends on how long others took: the script was refused as another one."""
    script = tmp_path / "script.py"
    script.write_text(WAVES)
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("SIZE", "3")
    run_program(*command(script, demo_server), status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    squares = [number * number for number in range(8)]
    for size in ("2", "4"):
        monkeypatch.setenv("SIZE", size)
        done = run(script, demo_server, tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{squares} {list(map(str, squares))}\n" in done.stdout
        assert files(tmp_path / "run") == {
            **{f"{number}.txt": str(number).encode() for number in range(8)},
            "squares.csv": "".join(f"{square}\n" for square in squares).encode(),
        }
        assert open_run(tmp_path / "run").counts == {"done": 16}
