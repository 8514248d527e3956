"""Requests of a script outside of its pools, when a budget or a signal stops the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from local_tests.support.local_earth_engine import Server
from tests.support.programs import await_file
from tests.support.user_scripts import command, files, run

pytestmark = pytest.mark.slow

START = """
import ee, queue, requests, threading
from time import sleep

ee.Initialize()

def save(n):
    number = str(ee.Number(n).add(1).getInfo())
    with open(f"{n}.txt", "w") as file:
        file.write(number)
"""
LOOP = "for n in range(8):\n    save(n)\n"
CAUGHT = """
for n in range(8):
    while True:
        try:
            save(n)
            break
        except:
            sleep(0.01)
"""
LEFT_OUT = "for n in range(8):\n    try:\n        save(n)\n    except:\n        pass\n"
AWAITED = """
numbers = queue.Queue()
def put():
    for n in range(8):
        numbers.put(save(n))
threading.Thread(target=put).start()
for n in range(8):
    numbers.get()
"""
BY_REQUESTS = """
def fetch(n):
    region = ee.Geometry.Point([-105.2 + 0.01 * n, 40.0]).buffer(500).bounds()
    options = {"region": region, "dimensions": 32, "min": 0, "max": 4000, "format": "png"}
    content = requests.get(ee.Image("USGS/SRTMGL1_003").getThumbURL(options)).content
    with open(f"{n}.txt", "wb") as file:
        file.write(content)
for n in range(4):
    fetch(n)
"""


@pytest.mark.parametrize("body", [LOOP, CAUGHT, LEFT_OUT, AWAITED, BY_REQUESTS])
def test_a_budget_stops_a_script_without_a_pool(body: str, demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(START + body)
    stopped = run(script, demo_server, tmp_path, "--budget", "requests=6")
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "the limit of requests or bytes is reached" in stopped.stderr
    assert "Stopped; completed results are kept. To resume: eechips run" in stopped.stderr
    written = files(tmp_path / "run")
    assert 0 < len(written) < 8
    assert _last_event(tmp_path / "run") == "interrupted"
    resumed = run(script, demo_server, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    all_files = files(tmp_path / "run")
    assert len(all_files) == (4 if body is BY_REQUESTS else 8)
    assert written.items() <= all_files.items()
    assert _last_event(tmp_path / "run") == "finished"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_threads_of_a_script(number: int, demo_server: Server, tmp_path: Path) -> None:
    """The threads would send requests for hours."""
    script, marker = tmp_path / "script.py", tmp_path / "begun"
    body = (
        f"def work():\n    for n in range(10**6):\n        ee.Number(n).getInfo()\n        open({str(marker)!r}, 'w')\n"
        "threads = [threading.Thread(target=work) for _ in range(2)]\n"
        "for thread in threads:\n    thread.start()\nfor thread in threads:\n    thread.join()\n"
    )
    script.write_text(START + body)
    process = subprocess.Popen(command(script, demo_server), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    await_file(marker, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "completed results are kept" in said
    assert _last_event(tmp_path / "run") == "interrupted"


IN_CHILDREN = """
import multiprocessing

def work():
    for n in range(10**6):
        ee.Number(n).getInfo()
        open(MARKER, "w").close()

class Worker(multiprocessing.Process):
    def run(self):
        work()

children = [multiprocessing.Process(target=work), Worker()]
for child in children:
    child.start()
for child in children:
    child.join()
"""


@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_the_time_limit_stops_a_script_without_a_pool(demo_server: Server, tmp_path: Path, executor: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(START + "open('begun', 'w').close()\nfor n in range(10**6):\n    ee.Number(n).getInfo()\n")
    stopped = run(script, demo_server, tmp_path, "--budget", "minutes=0.01", "--executor", executor)
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "Stopping: the time limit is reached." in stopped.stderr
    assert "completed results are kept" in stopped.stderr
    assert "time limit reached" in (tmp_path / "run" / "run.log").read_text()


BESIDE_A_POOL = """
import multiprocessing.pool
def ask():
    while True:
        ee.Number(1).getInfo()
threading.Thread(target=ask, daemon=True).start()
multiprocessing.pool.ThreadPool(2).map(save, range(10**4))
"""


def test_the_time_limit_is_told_where_a_thread_beside_the_pool_sees_it_first(
    demo_server: Server, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(START + BESIDE_A_POOL)
    stopped = run(script, demo_server, tmp_path, "--budget", "minutes=0.05", "--executor", "threads")
    assert stopped.returncode == 130, stopped.stderr
    assert "Stopping: the time limit is reached" in stopped.stderr
    assert "time limit reached" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.parametrize("is_of_group", [True, False])
def test_children_of_a_script_stop_without_a_traceback(demo_server: Server, tmp_path: Path, is_of_group: bool) -> None:
    """A terminal sends Ctrl-C to all of them, ``kill`` to one."""
    script, marker = tmp_path / "script.py", tmp_path / "begun"
    script.write_text(START + IN_CHILDREN.replace("MARKER", repr(str(marker))))
    words = command(script, demo_server)
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    await_file(marker, process)
    (os.killpg if is_of_group else os.kill)(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "completed results are kept" in said


def _last_event(folder: Path) -> str:
    event: str = json.loads((folder / "run.log").read_text().splitlines()[-1])["event"]
    return event
