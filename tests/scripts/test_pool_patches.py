"""Pools of installed libraries in a script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from eechips import open_run
from eechips.processes.context_values import context_value
from eechips.scripts.pooling import pools
from eechips.scripts.pooling.call_folder import CallResult, Program
from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.original_pools import HOST
from local_tests.support.local_earth_engine import Server
from tests.scripts.test_old_scripts import files, run

LIBRARY = """
import os
import ee
from joblib import Parallel, delayed

def fetch(image, points, backend=None):
    ee.Initialize()  # as geemap.download_ee_image_tiles_parallel in each process

    def save(n):
        ee.Initialize()
        found = image.reduceRegion("first", points[n], 30).get("elevation").getInfo()
        with open(f"{n}.txt", "w") as file:
            file.write(str(found))
        return n

    return Parallel(n_jobs=2, backend=backend)(delayed(save)(n) for n in range(len(points)))
"""
OTHER = """
from joblib import Parallel, delayed

def double(numbers):
    return Parallel(n_jobs=2)(delayed(lambda n: 2 * n)(n) for n in numbers)
"""
SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import ee
import fetching, doubling
ee.Initialize()
image = ee.Image("USGS/SRTMGL1_003")
if __name__ == "__main__":
    points = [ee.Geometry.Point(-105 - n / 10, 40) for n in range(3)]
    print(fetching.fetch(image, points), doubling.double([1, 2]))
    print(fetching.fetch(image, points[:1], "threading"))
"""


@pytest.mark.exhaustive
def test_processes_of_a_library_that_ask_earth_engine_are_those_of_the_run(demo_server: Server, tmp_path: Path) -> None:
    """They had no endpoint, and asked the user for credentials; threads have both, and other libraries need none."""
    package = tmp_path / "lib" / "site-packages"
    package.mkdir(parents=True)
    (package / "fetching.py").write_text(LIBRARY)
    (package / "doubling.py").write_text(OTHER)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(package)))
    for _ in range(2):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "[0, 1, 2] [2, 4]" in result.stdout
        assert "[0]\n" in result.stdout
    values = files(tmp_path / "run")
    assert sorted(values) == ["0.txt", "1.txt", "2.txt"]
    assert all(float(value) for value in values.values())
    units = open_run(tmp_path / "run").units
    assert [unit["value"]["function"] for unit in units["unit"]] == ["save"] * 3
    assert set(units["state"]) == {"done"}


@pytest.mark.exhaustive
def test_workers_are_no_forks_of_the_process_of_the_script(demo_server: Server, tmp_path: Path) -> None:
    """A fork would have the locks of its threads as they were, and its client."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom multiprocessing import Pool\n"
        "def parent(n):\n    return os.getppid()\n"
        "if __name__ == '__main__':\n    print(os.getpid() in Pool(2).map(parent, range(4)))\n"
    )
    result = run(script, demo_server, tmp_path)
    assert "False" in result.stdout, result.stderr


class _Host:
    """Makes calls at once, in this process."""

    def execute(self, calls: Sequence[Call], _: Program) -> list[CallResult]:
        return [CallResult(call.function(*call.arguments)) for call in calls]


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_values_are_requested_with_a_timeout_as_of_the_original(name: str) -> None:
    with context_value(HOST, _Host()):
        values = getattr(pools.Pool(), name)(abs, [-1, -2, -3])
    assert [values.next(timeout=1.0), values.next(1), next(values)] == [1, 2, 3]
    with pytest.raises(StopIteration):
        values.next(timeout=1.0)
