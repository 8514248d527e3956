"""Threads that calls of pools start: their requests and paths are those of the calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import files, plain, run

pytestmark = pytest.mark.slow

_NESTED = """
from multiprocessing import Pool
from multiprocessing.pool import ThreadPool
import ee
ee.Initialize()

def value(n):
    return ee.Number(n).add(1).getInfo()

def work(n):
    with ThreadPool(3) as threads:
        values = threads.map(value, range(n, n + 4))
    with open(f"{n}.csv", "w") as file:
        file.write("value\\n" + "\\n".join(map(str, values)))

if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(work, range(3))
"""


def test_requests_of_nested_pools_are_counted(demo_server: Server, tmp_path: Path) -> None:
    """A unit had none, and neither a budget nor the compute of the run knew of them."""
    (tmp_path / "script.py").write_text(_NESTED)
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    units = open_run(tmp_path / "run").units
    assert list(units["requests"]) == [4, 4, 4]
    assert units["eecu_seconds"].max() > 0


_NESTED_PROCESSES = """
import concurrent.futures
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import ee

ee.Initialize()

def begin(number):
    global added
    added = number

def value(n):
    return ee.Number(n).add(added).getInfo()

def work(n):
    numbers = range(n, n + 3)
    with ProcessPoolExecutor(2, initializer=begin, initargs=(1,)) as executor:
        values = list(executor.map(value, numbers, chunksize=2))
    with multiprocessing.get_context("fork").Pool(2, begin, (2,), maxtasksperchild=1) as pool:
        values += pool.map(value, numbers)
    with concurrent.futures.ProcessPoolExecutor(2, None, begin, (3,)) as executor:
        futures = [executor.submit(value, number) for number in numbers]
        values += sorted(future.result() for future in concurrent.futures.as_completed(futures))
    with open(f"{n}.txt", "w") as file:
        file.write(str(values))

if __name__ == "__main__":
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(work, range(2)))
"""


def test_calls_of_threads_may_open_pools_of_processes(demo_server: Server, tmp_path: Path) -> None:
    """Workers may not have children: each call failed."""
    script = tmp_path / "script.py"
    script.write_text(_NESTED_PROCESSES)
    (tmp_path / "plain").mkdir()
    expected = plain(script, demo_server, tmp_path / "plain")
    assert expected.returncode == 0, expected.stderr
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == files(tmp_path / "plain")
    assert list(open_run(tmp_path / "run").units["requests"]) == [9, 9]


_ZARR = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import zarr

root = zarr.open_group("cube.zarr", mode="w")
for name in ("values", "more"):
    root.create_array(name, shape=(5, 4), chunks=(1, 4), dtype="int32")

def fill(name, n):
    zarr.open_group("cube.zarr", mode="r+")[name][n] = n + 1

with ThreadPoolExecutor(2) as executor:
    for name in ("values", "more"):
        list(executor.map(fill, [name] * 5, range(5)))
group = zarr.open_group("cube.zarr", mode="r")
np.savetxt("sums.csv", group["values"][:].sum(axis=1) + group["more"][:].sum(axis=1))
"""


def test_calls_fill_an_array_of_the_script(demo_server: Server, tmp_path: Path) -> None:
    """zarr reads in a thread that it keeps: the second call of a process did not find the array."""
    script = tmp_path / "script.py"
    script.write_text(_ZARR)
    (tmp_path / "plain").mkdir()
    expected = plain(script, demo_server, tmp_path / "plain")
    assert expected.returncode == 0, expected.stderr
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == files(tmp_path / "plain")
