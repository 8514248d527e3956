"""Calls of thread pools that cannot be sent to another process: threads of the script make them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import files, plain, run

_SCRIPT = """
import csv, json, queue, sqlite3, threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.pool import ThreadPool
import ee
ee.Initialize()

lock, found, left = threading.Lock(), queue.Queue(), queue.Queue(maxsize=2)
memory = sqlite3.connect(":memory:", check_same_thread=False)
memory.execute("CREATE TABLE numbers (n, value)")
log = open("log.csv", "w")
rows = csv.writer(log)

def value(n):
    return ee.Number(n).add(1).getInfo()

def listed(n):
    found.put((n, value(n)))

def stored(n, database):
    with lock:
        database.execute("INSERT INTO numbers VALUES (?, ?)", (n, value(n)))

def written(n):
    with lock:
        rows.writerow([n])

def saved(n):
    with open(f"{n}.txt", "w") as file:
        file.write(str(value(n)))
    return n

def taken(numbers):
    names = []
    while (n := numbers.get()) is not None:
        names.append(n)
    return names

with ThreadPoolExecutor(3) as executor:
    taking = executor.submit(taken, left)
    for n in range(5):
        left.put(n)
    left.put(None)
    list(executor.map(listed, range(5)))
    waiting = [executor.submit(stored, n, memory) for n in range(5)] + [executor.submit(saved, n) for n in range(2)]
    for future in as_completed(waiting):
        future.result()
with ThreadPool(2) as pool:
    pool.map(written, range(3))
    pool.apply_async(listed, (7,))
    pool.close()
    pool.join()
log.close()
with open("summary.json", "w") as file:
    numbers = sorted(memory.execute("SELECT * FROM numbers").fetchall())
    json.dump([sorted(found.get() for _ in range(6)), numbers, taking.result()], file)
"""


@pytest.mark.slow
def test_calls_with_queues_files_and_databases_are_made_in_the_script(demo_server: Server, tmp_path: Path) -> None:
    """Results in a queue were lost without a word, and calls with an open file or a database were refused."""
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    (tmp_path / "plain").mkdir()
    expected = plain(script, demo_server, tmp_path / "plain")
    assert expected.returncode == 0, expected.stderr
    for _ in range(2):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert files(tmp_path / "run").keys() == files(tmp_path / "plain").keys()
        for name in ("summary.json", "0.txt", "1.txt"):
            assert (tmp_path / "run" / name).read_text() == (tmp_path / "plain" / name).read_text()
        assert sorted((tmp_path / "run" / "log.csv").read_text().split()) == ["0", "1", "2"]
        for name, count in (("listed", 6), ("stored", 5), ("taken", 1), ("written", 3)):
            assert re.search(
                rf"Not recorded.*: {count} calls? of {name}\(\), made in the script's own threads", result.stderr
            )
    assert [unit["value"]["function"] for unit in open_run(tmp_path / "run").units["unit"]] == ["saved", "saved"]


@pytest.mark.slow
def test_an_error_of_such_a_call_is_one_of_the_script(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(
        "import queue\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "def work(numbers):\n    raise ValueError(numbers.get())\n"
        "numbers = queue.Queue()\nnumbers.put('of one')\n"
        "with ThreadPoolExecutor() as executor:\n"
        "    try:\n        executor.submit(work, numbers).result()\n"
        "    except ValueError as error:\n        print('caught', error)\n"
        "    numbers.put('of another')\n    list(executor.map(work, [numbers]))\n"
    )
    result = run(script, demo_server, tmp_path)
    assert "caught of one" in result.stdout
    assert result.returncode == 2
    assert "fails.py, line 4: ValueError: of another" in result.stderr


_PRINTS = """
import threading
from concurrent.futures import ThreadPoolExecutor

import ee

ee.Initialize()
best, lock = -1, threading.Lock()


def keep(n):
    global best
    value = ee.Number(n).multiply(7).mod(5).getInfo()
    with lock:
        best = max(best, value)


with ThreadPoolExecutor(2) as pool:
    list(pool.map(keep, range(4)))
print("best:", best)
"""


@pytest.mark.slow
def test_calls_in_threads_whose_result_is_printed_are_no_error(demo_server: Server, tmp_path: Path) -> None:
    """The script was said to have passed no call to a pool, with the exit status 2."""
    (tmp_path / "script.py").write_text(_PRINTS)
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "best: 4" in result.stdout
    assert "4 calls of keep(), made in the script's own threads" in result.stderr
    assert "passed no call" not in result.stderr
