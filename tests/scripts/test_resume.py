"""Killed scripts that list only missing files, and calls that write no file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eechips import open_run
from eechips.manifest.folder_lock import is_held
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import read_files
from local_tests.support.local_earth_engine import Server, wait_until
from tests.support.programs import run_program
from tests.support.user_scripts import command, run

pytestmark = pytest.mark.slow

LISTS = """
import os
from multiprocessing import Pool

import ee

ee.Initialize()

NAMES = [f"tile_{n:02d}" for n in range(20)]


def save(name):
    value = ee.Number(int(name[-2:])).add(1).getInfo()
    if os.environ.get("STOPS_AT") == name:
        open(os.environ["MARK"], "w").close()
        while not os.path.exists(os.environ["MARK"] + ".go"):
            pass
    with open(f"out/{name}.txt", "w") as file:
        file.write(str(value))
    return value


if __name__ == "__main__":
    os.makedirs("out", exist_ok=True)
    todo = [name for name in NAMES if not os.path.exists(f"out/{name}.txt")]
    print("to do:", len(todo))
    with Pool(2) as pool:
        print("sum:", sum(pool.map(save, todo)))
    with Pool(2) as pool:
        print("lengths:", pool.map(len, NAMES[:3]))
"""

READS_ITS_TABLE = """
import csv
import multiprocessing
import os
import signal

import ee

ee.Initialize()


def save(year, n):
    value = ee.Number(year).add(n).getInfo()
    if value == 2023 and not os.path.exists(os.environ["MARK"]):
        open(os.environ["MARK"], "w").close()
        os.killpg(0, signal.SIGKILL)
    with open("values.csv", "a", newline="") as file:
        csv.writer(file).writerow([year, n, value])


def rows():
    if not os.path.exists("values.csv"):
        return []
    with open("values.csv", newline="") as file:
        return [tuple(map(int, row[:2])) for row in csv.reader(file)]


if __name__ == "__main__":
    for year in (2010, 2020):
        todo = [(year, n) for n in range(5) if (year, n) not in rows()]
        print(year, "to do:", len(todo))
        if todo:
            with multiprocessing.get_context("spawn").Pool(processes=2, maxtasksperchild=1) as pool:
                pool.starmap(save, todo)
"""

WRITES_NOTHING = """
import os
from multiprocessing import Pool

import ee

ee.Initialize()


def save(n):
    try:
        value = ee.Image("NO/SUCH/IMAGE").getInfo() if n == 2 else ee.Number(n).getInfo()
    except ee.EEException:
        value = ee.Number(n).getInfo()
        return n
    if n == 4:
        return None
    with open(f"{n}.txt", "w") as file:
        file.write(str(value))


def counts(n):
    return ee.Number(n).getInfo()


if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(save, range(6))
        pool.map(counts, range(3))
"""


def interrupted(folder: Path, server: Server) -> None:
    """A run of the script that is killed, with all its processes, while one call is under way."""
    mark = folder / "mark"
    process = subprocess.Popen(
        command(folder / "lists.py", server), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "STOPS_AT": "tile_11", "MARK": str(mark)}, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: mark.exists() and (folder / "run/out").is_dir() and any((folder / "run/out").iterdir()), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (folder / "mark.go").touch()


def outputs(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((folder / "run" / "out").iterdir())}


EXPECTED = {f"tile_{n:02d}.txt": str(n + 1) for n in range(20)}


@pytest.mark.exhaustive
def test_a_killed_script_that_lists_missing_files_resumes(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "lists.py").write_text(LISTS)
    interrupted(tmp_path, demo_server)
    with Ledger(tmp_path / "run" / LEDGER_NAME, readonly=True) as ledger:
        assert len(list(read_files(ledger.database))) < 20
    done = run(tmp_path / "lists.py", demo_server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "to do: 20" in done.stdout  # it has not seen the results of these calls
    assert f"sum: {sum(range(1, 21))}" in done.stdout
    assert "lengths: [7, 7, 7]" in done.stdout
    assert outputs(tmp_path) == EXPECTED
    found = open_run(tmp_path / "run")
    assert found.counts == {"done": 23}
    assert found.verify() == []
    again = run(tmp_path / "lists.py", demo_server, tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "to do: 0" in again.stdout


@pytest.mark.exhaustive
def test_a_manager_of_a_killed_script_ends_with_it(demo_server: Server, tmp_path: Path) -> None:
    """Its process, a fork, held the lock of the folder, and calls with its objects had other names each time."""
    script, mark = tmp_path / "lists.py", tmp_path / "mark"
    text = LISTS.replace("import Pool", "import Manager, Pool").replace(
        "    todo =", "    manager = Manager()\n    lock = manager.Lock()\n    todo ="
    )
    text = text.replace("save(name):", "save(name, lock):")
    script.write_text(text.replace("pool.map(save, todo)", "pool.starmap(save, [(name, lock) for name in todo])"))
    process = subprocess.Popen(
        command(script, demo_server), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "STOPS_AT": "tile_11", "MARK": str(mark)},
    )  # fmt: skip
    wait_until(mark.exists, process)
    process.kill()
    process.wait()
    mark.with_suffix(".go").touch()
    wait_until(lambda: not is_held(tmp_path / "run"))
    done = run(script, demo_server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs(tmp_path) == EXPECTED


@pytest.mark.exhaustive
def test_a_file_that_was_named_but_not_recorded_is_made_again_and_one_of_the_user_stays(
    demo_server: Server, tmp_path: Path
) -> None:
    """The run is killed between the two: the script would take the file for done, and the ledger would not."""
    (tmp_path / "lists.py").write_text(LISTS)
    code = """
import os, signal, sys
from eechips.manifest.sqlite.ledger import Ledger
record, left = Ledger.record, 2
def killing(self, records, *rest):
    global left
    left -= any(record.file for record in records)
    if left < 0:
        os.killpg(0, signal.SIGKILL)
    return record(self, records, *rest)
Ledger.record = killing
from eechips.cli import main
main()
"""
    _, _, _, *words = command(tmp_path / "lists.py", demo_server)
    run_program(sys.executable, "-c", code, *words, status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    with Ledger(tmp_path / "run" / LEDGER_NAME, readonly=True) as ledger:
        recorded = {file.name for file in read_files(ledger.database)}
    unrecorded = {f"out/{name}" for name in outputs(tmp_path)} - recorded
    assert unrecorded
    (tmp_path / "run" / "out" / "notes.txt").write_text("mine")
    done = run(tmp_path / "lists.py", demo_server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs(tmp_path) == {**EXPECTED, "notes.txt": "mine"}
    assert open_run(tmp_path / "run").verify() == []


@pytest.mark.exhaustive
def test_a_list_that_is_shorter_for_another_reason_is_refused(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "lists.py"
    script.write_text(LISTS.replace("range(20)", "range(int(open(os.environ['COUNT']).read()))"))
    (tmp_path / "count").write_text("20")
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    interrupted(tmp_path, demo_server)
    (tmp_path / "count").write_text("11")  # without the call that was under way, among others
    refused = run(script, demo_server, tmp_path)
    assert refused.returncode == 2
    assert "differs from its last run" in refused.stderr


def test_a_killed_script_that_leaves_out_rows_of_its_table_resumes(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls write no file of their own, and it repeats no call of its first pool."""
    script = tmp_path / "table.py"
    script.write_text(READS_ITS_TABLE)
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    run_program(*command(script, demo_server), status=-signal.SIGKILL, cwd=tmp_path, start_new_session=True)
    for left in (5, 0):
        done = run(script, demo_server, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"2010 to do: 0\n2020 to do: {left}\n" in done.stdout
        assert "nothing is known" not in done.stderr
        expected = [f"{year},{n},{year + n}" for year in (2010, 2020) for n in range(5)]
        assert (tmp_path / "run" / "values.csv").read_text().splitlines() == expected
    assert open_run(tmp_path / "run").counts == {"done": 10}


@pytest.mark.exhaustive
def test_calls_that_write_no_file_are_reported(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "nothing.py").write_text(WRITES_NOTHING)
    for _ in range(2):
        done = run(tmp_path / "nothing.py", demo_server, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 of 6 calls of save() wrote no file, unlike the others" in done.stdout + done.stderr
        assert "counts()" not in done.stdout + done.stderr
    units = open_run(tmp_path / "run").units
    errors = units["error"].dropna().to_dict()
    assert sorted(errors) == [2, 4]
    assert errors[2].startswith("wrote no file, although 4 other calls of save() did; it has caught: ")
    assert "NO/SUCH/IMAGE" in errors[2]
    assert errors[4] == "wrote no file, although 4 other calls of save() did"
    assert set(units["state"]) == {"done"}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "call", ["partial(save, n)", "lambda: save(n)", "lambda n=n: save(n)", "Tile(n).save", "partial(Tile(n).save)"]
)
def test_calls_that_differ_by_their_functions_only_are_told_apart(
    call: str, demo_server: Server, tmp_path: Path
) -> None:
    """A script that leaves out existing files makes the calls that are left, one after the other."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\nfrom concurrent.futures import ThreadPoolExecutor\nfrom functools import partial\n"
        "def save(n):\n    open(f'{n}.txt', 'w').write(str(n))\n"
        "class Tile:\n    def __init__(self, n):\n        self.n = n\n"
        "    def save(self):\n        save(self.n)\n"
        "def main(executor):\n    for n in range(4):\n"
        "        if n == 2 and 'STOP' in os.environ:\n            os.killpg(0, signal.SIGKILL)\n"
        "        if not os.path.exists(f'{n}.txt'):\n"
        f"            executor.submit({call}).result()\n"
        "if __name__ == '__main__':\n    with ThreadPoolExecutor() as executor:\n        main(executor)\n"
    )
    environment = {**os.environ, "STOP": "1"}
    killed = subprocess.run(command(script, demo_server), cwd=tmp_path, env=environment, start_new_session=True)
    assert killed.returncode == -signal.SIGKILL
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path.name: path.read_text() for path in (tmp_path / "run").glob("*.txt")} == {
        f"{n}.txt": str(n) for n in range(4)
    }


PARTIAL = """
import os
from functools import partial
from multiprocessing import Pool

def save(folder, n, suffix):
    if n == 2 and "FAILS" in os.environ:
        raise ValueError(n)
    with open(f"{n}{suffix}", "w") as file:
        file.write(folder)

if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(partial(save, "x", suffix=".txt"), [n for n in range(4) if not os.path.exists(f"{n}.txt")])
"""


def test_the_only_call_left_of_a_partial_is_found(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PARTIAL)
    words, environment = command(script, demo_server), {**os.environ, "FAILS": "1"}
    assert subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True).returncode
    assert len(list((tmp_path / "run").glob("*.txt"))) == 3
    words = [sys.executable, "-m", "eechips", "retry", "run"]
    run_program(*words, status=0, cwd=tmp_path)
    assert len(list((tmp_path / "run").glob("*.txt"))) == 4


CONFIGURED = """
import sys, time
from multiprocessing import Pool
from omegaconf import OmegaConf

OmegaConf.register_new_resolver("now", lambda: str(time.time()), use_cache=True)

def save(n, settings):
    with open(f"{n}.txt", "w") as file:
        file.write(settings.text)

if __name__ == "__main__":
    settings = OmegaConf.create({"name": NAME, "folder": "${now:}", "part": {"text": "${name}"}})
    print(settings.folder)
    try:
        Pool(2).starmap(save, [(n, settings.part) for n in range(3)])
    except Exception as error:
        print("caught", error)
"""


def test_calls_with_a_configuration_are_found_again(demo_server: Server, tmp_path: Path) -> None:
    """Its pickle has the time, as those of hydra have; and a script that catches all errors hides no difference."""
    pytest.importorskip("omegaconf")
    script = tmp_path / "script.py"
    for _ in range(2):
        script.write_text(CONFIGURED.replace("NAME", "open(sys.argv[1]).read()"))
        (tmp_path / "name").write_text("a")
        result = run(script, demo_server, tmp_path, "--", str(tmp_path / "name"))
        assert result.returncode == 0, result.stderr
        assert open_run(tmp_path / "run").counts == {"done": 3}
    (tmp_path / "name").write_text("b")
    result = run(script, demo_server, tmp_path, "--", str(tmp_path / "name"))
    assert result.returncode == 2
    assert "caught" not in result.stdout
    assert "differs from its last run" in result.stderr


if not hasattr(os, "killpg"):
    pytest.skip("processes are killed by their group", allow_module_level=True)
