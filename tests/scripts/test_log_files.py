"""Log files of scripts, to which calls log in workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import files, plain, run

pytestmark = pytest.mark.slow

LOGS = """
import logging
from multiprocessing import Pool

class Short(logging.Formatter):
    def format(self, record):
        return f"{record.levelname[0]} {super().format(record)}"

own = logging.getLogger("own")
quiet = logging.getLogger("quiet")

def work(n):
    logging.info("root %d", n)
    own.debug("own %d", n)
    quiet.warning("quiet %d", n)
    try:
        assert n != 1, "one"
        open(f"{n}.txt", "w").write("x")
    except AssertionError as error:
        logging.error("failed: %s", error)

if __name__ == "__main__":
    logging.basicConfig(filename="root.log", filemode="w", level="INFO", format="%(levelname)s:%(message)s")
    handler = logging.FileHandler("own.log", "w")
    handler.setFormatter(Short())
    own.addHandler(handler)
    own.setLevel("DEBUG")
    own.propagate = False
    quiet.setLevel("ERROR")
    logging.info("begin")
    with Pool(1) as pool:
        pool.map(work, range(3))
    logging.info("end")
"""


@pytest.mark.exhaustive
def test_log_files_have_the_lines_of_calls_in_the_order_of_the_plan(demo_server: Server, tmp_path: Path) -> None:
    script, there = tmp_path / "logs.py", tmp_path / "there"
    script.write_text(LOGS)
    there.mkdir()
    assert plain(script, demo_server, there).returncode == 0
    expected = files(there)
    assert b"INFO:root 2\n" in expected["root.log"]
    for _ in range(2):  # the second has the results of the first
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert files(tmp_path / "run") == expected
        assert "1 of 3 calls of work() wrote no file" in result.stderr + result.stdout


CHIPS = """
import logging
import sys
from multiprocessing import Pool
import ee
import eechips
ee.Initialize()

def work(n):
    logging.info("line %d", n)
    with open("rows.txt", "a") as file:
        print(n, file=file)
    if "write" in sys.argv:
        open("beside.txt", "w").close()
    return eechips.Table([{"n": n}])

if __name__ == "__main__":
    logging.basicConfig(filename="root.log", filemode="w", level="INFO", format="%(message)s")
    with Pool(1) as pool:
        pool.map(work, range(3))
"""


@pytest.mark.exhaustive
def test_lines_of_calls_that_return_tables_stay_in_a_moved_run(demo_server: Server, tmp_path: Path) -> None:
    script, out = tmp_path / "chips.py", tmp_path / "run"
    script.write_text(CHIPS)
    assert run(script, demo_server, tmp_path).returncode == 0
    assert (out / "root.log").read_text() == "line 0\nline 1\nline 2\n"
    assert (out / "rows.txt").read_text() == "0\n1\n2\n"
    refused = run(script, demo_server, tmp_path, "--out", "beside", "--", "write")
    assert refused.returncode != 0
    failures = open_run(tmp_path / "beside").failures
    assert "returns a Table and has written beside.txt, which cannot be kept" in failures["error"].iloc[0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.rename(elsewhere / "run")
    subprocess.run([sys.executable, "-m", "eechips", "trust", "run", "--yes"], cwd=elsewhere, check=True)
    result = run(script, demo_server, elsewhere)
    assert result.returncode == 0, result.stderr
    assert (elsewhere / "run" / "root.log").read_text() == "line 0\nline 1\nline 2\n"


def test_logs_of_calls_in_threads_of_the_script_are_written_once(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "logs.py"
    script.write_text(LOGS)
    result = run(script, demo_server, tmp_path, "--executor", "threads")
    assert result.returncode == 0, result.stderr
    assert sorted((tmp_path / "run" / "own.log").read_text().split("\n")) == ["", "D own 0", "D own 1", "D own 2"]


IN_WORKERS = """
import logging
import multiprocessing

def open_log():
    logging.getLogger("own").addHandler(logging.FileHandler("own.log"))

def work(n):
    logging.basicConfig(filename="root.log", level="INFO")
    logging.getLogger("own").warning("call %d", n)

if __name__ == "__main__":
    with multiprocessing.Pool(2, initializer=open_log) as pool:
        pool.map(work, range(6))
"""


def test_a_worker_has_the_lines_of_all_its_calls_in_files_that_it_opens_once(
    demo_server: Server, tmp_path: Path
) -> None:
    """Only the first call of each worker had lines: later ones went to a file that was removed."""
    script = tmp_path / "logs.py"
    script.write_text(IN_WORKERS)
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "own.log").read_text() == "".join(f"call {n}\n" for n in range(6))
    assert (tmp_path / "run" / "root.log").read_text() == "".join(f"WARNING:own:call {n}\n" for n in range(6))
