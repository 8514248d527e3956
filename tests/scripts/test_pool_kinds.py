"""Pools of scripts: event loops, joblib and others, and those of installed packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import run

pytestmark = pytest.mark.slow


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_event_loop_awaits_the_calls_of_an_executor(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "loop.py"
    script.write_text(
        "import asyncio\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "def work(n):\n"
        "    with open(f'{n}.txt', 'w') as f:\n        f.write('x')\n"
        "    if n == 3:\n        raise ValueError(n)\n"
        "    return n\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    with ThreadPoolExecutor(2) as executor:\n"
        "        waiting = [loop.run_in_executor(executor, work, n) for n in range(4)]\n"
        "        print(await asyncio.gather(*waiting, return_exceptions=True))\n"
        "asyncio.run(main())\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 1, result.stderr
    assert "[0, 1, 2, ValueError(3)]" in result.stdout
    made = open_run(tmp_path / "run")
    assert made.counts == {"done": 3, "failed_permanent": 1}
    assert {unit["value"]["use"] for unit in made.units["unit"]} == {1}  # at once, not one after the other


@pytest.mark.exhaustive
def test_an_event_loop_awaits_calls_without_an_executor(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "loop.py"
    script.write_text(
        "import asyncio, threading\nfrom functools import partial\n"
        "lock = threading.Condition()\n"
        "def work(n, mode='w'):\n"
        "    with open(f'{n}.txt', mode) as f:\n        f.write('x')\n"
        "    return n\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    waiting = [loop.run_in_executor(None, partial(work, n)) for n in range(2)]\n"
        "    waiting += [asyncio.to_thread(work, n, mode='a') for n in range(2, 4)]\n"
        "    print(await asyncio.gather(*waiting), await loop.run_in_executor(None, len, 'ab'))\n"
        "    print(await asyncio.to_thread(lock.acquire))\n"
        "asyncio.run(main())\n"
    )
    for _ in range(2):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "[0, 1, 2, 3]" in result.stdout
    arguments = [unit["value"]["arguments"] for unit in open_run(tmp_path / "run").units["unit"]]
    assert sorted(arguments) == [[0], [1], [2], [3]]


@pytest.mark.slow
def test_threads_of_an_event_loop_wait_for_what_its_tasks_do(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(
        "import asyncio, queue, subprocess, sys, threading\n"
        "event, items = threading.Event(), queue.Queue()\n"
        "def work(n):\n"
        "    with open(f'{n}.txt', 'w') as f:\n        f.write('x')\n"
        "def take():\n    return items.get(timeout=60)\n"
        "async def set_soon():\n    event.set()\n    items.put(7)\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'raise SystemExit(5)'])\n"
        "    waits = [asyncio.to_thread(event.wait, 60), asyncio.to_thread(take), asyncio.to_thread(child.wait)]\n"
        "    waits += [loop.run_in_executor(None, lambda: event.wait(60)), asyncio.create_task(set_soon())]\n"
        "    print(await asyncio.gather(*waits))\n"
        "    await asyncio.to_thread(work, 1)\n"
        "asyncio.run(main())\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[True, 7, 5, True, None]" in result.stdout
    assert [unit["value"]["function"] for unit in open_run(tmp_path / "run").units["unit"]] == ["work"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_pools_of_installed_packages_are_their_own(demo_server: Server, tmp_path: Path) -> None:
    package = tmp_path / "elsewhere" / "site-packages" / "of_others.py"
    package.parent.mkdir(parents=True)
    package.write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from multiprocessing.pool import Pool, ThreadPool\n"
        "class Executor(ThreadPoolExecutor):\n"
        "    def map(self, function, items):\n        return super().map(function, [*items, 3])\n"
        "class Own(ThreadPool):\n"
        "    def __init__(self, label, **options):\n        self.label = label\n        super().__init__(**options)\n"
        "def doubled(items):\n"
        "    with Executor(2) as executor:\n        items = list(executor.map(lambda n: 2 * n, items))\n"
        "    for kind in (lambda: Own('x', processes=2), lambda: ThreadPool(2), lambda: Pool(2)):\n"
        "        with kind() as pool:\n            items = pool.map(abs, items)\n"
        "    return items\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(package.parent)!r})\nimport of_others\n"
        "from multiprocessing import Pool\n"
        "def work(n):\n    return n\n"
        "if __name__ == '__main__':\n    print(of_others.doubled(Pool(2).map(work, [1, 2])))\n"
    )
    result = run(script, demo_server, tmp_path)
    assert "[2, 4, 6]" in result.stdout, result.stderr
    assert open_run(tmp_path / "run").counts == {"done": 2}


_JOBLIB = """
import ee
import joblib
from joblib import Parallel, delayed
class Shown(Parallel):
    def __call__(self, *args, **options):
        return Parallel.__call__(self, *args, **options)
def work(n, power=1):
    ee.Initialize()
    if n == 9:
        raise ValueError("nine")
    with open(f"{n}-{power}.csv", "w") as file:
        file.write(f"value\\n{ee.Number(n).pow(power).getInfo()}\\n")
    return n ** power
if __name__ == "__main__":
    found = []
    def note(n):
        found.append(n)
    print(Parallel(n_jobs=2)(delayed(work)(n, power=2) for n in range(3)))
    print(list(Parallel(n_jobs=2, return_as="generator")(delayed(work)(n) for n in [4, 5])))
    with Shown(n_jobs=2, backend="threading") as parallel:
        parallel(delayed(note)(n) for n in [7, 8])
    print(found, Parallel()([]))
    try:
        Parallel(n_jobs=2)(delayed(work)(n) for n in [9])
    except ValueError as error:
        print("caught", error)
"""


@pytest.mark.parametrize("name", ["one", "again"])
def test_calls_of_joblib_are_units(demo_server: Server, tmp_path: Path, name: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(_JOBLIB)
    for _ in range(1 if name == "one" else 2):  # what is done is not done again
        result = run(script, demo_server, tmp_path)
        lines = [line for line in result.stdout.splitlines() if line[:1] in "[c"]
        assert lines == ["[0, 1, 4]", "[4, 5]", "[7, 8] []", "caught nine"], result.stderr
    made = open_run(tmp_path / "run")
    assert made.counts == {"done": 7, "failed_permanent": 1}
    assert set(made.units["file"].dropna()) == {"0-2.csv", "1-2.csv", "2-2.csv", "4-1.csv", "5-1.csv"}
    assert (tmp_path / "run" / "2-2.csv").read_text() == "value\n4\n"
    assert not (tmp_path / "0-2.csv").exists()


@pytest.mark.exhaustive
def test_joblib_of_installed_packages_is_their_own(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from multiprocessing import Pool\nimport numpy as np\n"
        "from sklearn.ensemble import RandomForestClassifier\n"
        "def work(n):\n    return n\n"
        "if __name__ == '__main__':\n    x = np.arange(40.0).reshape(20, 2)\n"
        "    forest = RandomForestClassifier(8, n_jobs=2, random_state=0).fit(x, np.arange(20) // 10)\n"
        "    print(len(forest.estimators_), Pool(2).map(work, [1, 2]))\n"
    )
    result = run(script, demo_server, tmp_path)
    assert "8 [1, 2]" in result.stdout, result.stderr
    assert open_run(tmp_path / "run").counts == {"done": 2}


_ITEMS = """
import ee
def getRequests():
    ee.Initialize()
    return ee.List.sequence(1, 3).getInfo()
def getResult(item):
    index, number = item
    with open(f"{index}.csv", "w") as file:
        file.write(f"value\\n{ee.Number(number).getInfo()}\\n")
"""


_KINDS = [
    ("joblib", "joblib.Parallel(n_jobs=2)(joblib.delayed(getResult)(item) for item in items)"),
    ("loky", "list(loky.get_reusable_executor(max_workers=2).map(getResult, items))"),
    ("pqdm.threads", "pqdm.threads.pqdm(items, getResult, n_jobs=2)"),
    ("pqdm.processes", "pqdm.processes.pqdm(items, getResult, n_jobs=2)"),
    ("multiprocess", "multiprocess.Pool(2).map(getResult, items)"),
    (
        "pathos.multiprocessing",
        "p = pathos.multiprocessing.ProcessPool(2); p.close(); p.restart(); p.amap(getResult, items).get()",
    ),
    (
        "pathos.threading",
        "list(pathos.threading.ThreadPool(2).imap(lambda n, item: getResult((n, item)), *zip(*items)))",
    ),
]


@pytest.mark.parametrize(
    ("package", "opens"),
    [
        ("p_tqdm", "p_tqdm.p_umap(getResult, items, num_cpus=2)"),
        *(pytest.param(*kind, marks=pytest.mark.exhaustive) for kind in _KINDS),
    ],
)
def test_functions_that_take_one_item_are_called_by_the_script(
    demo_server: Server, tmp_path: Path, package: str, opens: str
) -> None:
    pytest.importorskip(package)
    script = tmp_path / "script.py"
    lines = ["items = list(enumerate(getRequests()))", opens]
    script.write_text(f"import {package}\n{_ITEMS}if __name__ == '__main__':\n    " + "\n    ".join(lines) + "\n")
    result = run(script, demo_server, tmp_path)
    made = open_run(tmp_path / "run")
    assert made.counts == {"done": 3}, result.stderr
    assert set(made.units["file"]) == {"0.csv", "1.csv", "2.csv"}


def test_an_error_of_processes_that_lack_the_run_says_so(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom dask import compute, delayed\n"
        "if __name__ == '__main__':\n    compute(delayed(os._exit)(3), scheduler='processes')\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 2
    assert "have neither the endpoint nor the credentials of the run" in result.stderr


def test_calls_that_nothing_awaits_are_made_at_the_end_and_cancelled_ones_are_not(
    demo_server: Server, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor, as_completed\n"
        "def work(n):\n    with open(f'{n}.txt', 'w') as f:\n        f.write('x')\n    return n\n"
        "executor = ThreadPoolExecutor(2)\n"
        "futures = [executor.submit(work, n) for n in range(4)]\n"
        "print(futures[3].cancel(), sorted(future.result() for future in as_completed(futures[:3])))\n"
        "ThreadPoolExecutor(1).submit(work, 4)\n"
        "sys.exit()\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "True [0, 1, 2]" in result.stdout
    assert set(open_run(tmp_path / "run").units["file"]) == {"0.txt", "1.txt", "2.txt", "4.txt"}


CANCELLING = """
from concurrent.futures import ThreadPoolExecutor, as_completed, wait


def work(n):
    with open(f"{n}.txt", "w") as file:
        file.write("x")
    return n


executor = ThreadPoolExecutor(2)
futures = [executor.submit(work, n) for n in range(4)]
futures[2].add_done_callback(lambda _: futures[3].cancel())
print(futures[1].cancel(), futures[1].cancel(), len(wait(futures).done), len(list(as_completed(futures))))
futures += [executor.submit(work, n) for n in range(4, 6)]
executor.shutdown(cancel_futures=True)
try:
    with ThreadPoolExecutor() as other:
        futures.append(other.submit(work, 6))
        raise ValueError
except ValueError:
    print([future.cancelled() for future in futures])
"""


def test_cancelled_calls_hold_nothing_up_and_are_not_made_at_the_end(demo_server: Server, tmp_path: Path) -> None:
    """A call is cancelled before it is made, by a callback after it was, by a shutdown; and not by an exception."""
    script = tmp_path / "script.py"
    script.write_text(CANCELLING)
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "True True 4 4" in result.stdout
    assert "[False, True, False, True, True, True, False]" in result.stdout
    assert set(open_run(tmp_path / "run").units["file"]) == {"0.txt", "2.txt", "3.txt", "6.txt"}


WAITING = """
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Manager, Pool

import ee

ee.Initialize()


def double(number):
    return ee.Number(number).multiply(2).getInfo()


def count(number, counter, lock):
    with lock:
        counter.value += 1


if __name__ == "__main__":
    doubles, waiting, ended = [], queue.Queue(), threading.Event()
    free, executor = threading.BoundedSemaphore(2), ThreadPoolExecutor(2)
    for number in range(5):
        while executor._work_queue.qsize() > 1:
            time.sleep(0.01)
        free.acquire()
        future = executor.submit(double, number)
        future.add_done_callback(lambda done: (doubles.append(done.result()), free.release()))
    executor.shutdown()

    def end(value):
        doubles.append(value)
        if len(doubles) == 11:
            ended.set()

    pool, counter, lock = Pool(2), Manager().Value("i", 0), Manager().Lock()
    for number in range(3):
        pool.apply_async(double, (number,), callback=waiting.put)
    doubles += [waiting.get() for _ in range(3)]
    for number in range(3):
        pool.apply_async(double, (number,), callback=end)
    while not ended.wait(0.01):
        pass
    counted = pool.starmap_async(count, [(number, counter, lock) for number in range(3)])
    while counter.value < 3 or counted._number_left or pool._cache or pool._taskqueue.qsize():
        time.sleep(0.01)
    print(sorted(doubles))
"""


@pytest.mark.slow
def test_calls_for_which_the_script_waits_are_made(demo_server: Server, tmp_path: Path) -> None:
    """It waited forever: for a semaphore, a queue or an event of callbacks, or in a loop for a shared number."""
    script = tmp_path / "script.py"
    script.write_text(WAITING)
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert str(sorted([0, 2, 4] * 3 + [6, 8])) in result.stdout
    assert open_run(tmp_path / "run").counts == {"done": 14}
