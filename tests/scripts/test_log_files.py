"""Log files of scripts, to which calls log in workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_tests.support.local_earth_engine import Server
from tests.scripts.test_old_scripts import files, plain, run

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


def test_logs_of_calls_in_threads_of_the_script_are_written_once(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "logs.py"
    script.write_text(LOGS)
    result = run(script, demo_server, tmp_path, "--executor", "threads")
    assert result.returncode == 0, result.stderr
    assert sorted((tmp_path / "run" / "own.log").read_text().split("\n")) == ["", "D own 0", "D own 1", "D own 2"]
