"""Classes of a script in what its calls have returned or raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import Server
from tests.scripts.test_old_scripts import run

SCRIPT = """
import enum
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import Pool

import ee

ee.Initialize()
Place = namedtuple("Place", "lon lat")

class Status(enum.Enum):
    DONE = "done"
    EMPTY = "empty"

@dataclass(frozen=True)
class Result:
    place: Place
    status: Status

    def doubled(self):
        return 2 * self.place.lon

class NoImages(Exception):
    pass

def fetch(n):
    if n == 3:
        raise NoImages(n)
    found = ee.Number(n).getInfo()
    return Result(Place(found, 40), Status.EMPTY if n == 1 else Status.DONE)

if __name__ == "__main__":
    for pool in (Pool(2), ThreadPoolExecutor(2)):
        with pool:
            results = list(pool.map(fetch, range(3)))
            print(sum(result.status is Status.DONE for result in results), [result.doubled() for result in results])
            print(results[2] == Result(Place(2, 40), Status("done")), isinstance(results[0].place, Place))
            try:
                list(pool.map(fetch, [3]))
            except NoImages as error:
                print("caught", error)
"""


@pytest.mark.exhaustive
def test_results_of_an_earlier_run_have_the_classes_of_the_script(demo_server: Server, tmp_path: Path) -> None:
    """No result was DONE any more, and no ``except`` took the error."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for _ in range(2):
        result = run(script, demo_server, tmp_path, "--executor", "processes:1")
        lines = [line for line in result.stdout.splitlines() if line[:1] in "2Tc"]
        assert lines[:6] == ["2 [0, 2, 4]", "True True", "caught 3"] * 2, result.stdout + result.stderr
    assert open_run(tmp_path / "run").counts == {"done": 6, "failed_permanent": 2}
