"""A recipe whose plan sends a request for each hundred units, and can be paused."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ee

from eechips.engine.config import RunConfig
from eechips.engine.run import run
from eechips.manifest.run import Run
from eechips.planning.planning_requests import request_each

SIZE = 100


class Gradual:
    """Units are numbers, and what the service adds to them.

    Args:
        count: number of units.
        before: called with each number before its unit is given.
        first: first of the numbers.
    """

    name = "gradual"
    identity = "0" * 64
    datasets = ()
    plans_gradually = True

    def __init__(self, count: int, before: Callable[[int], None] | None = None, first: int = 0) -> None:
        self.parameters = {"count": count}
        self._count, self._before, self._first = count, before, first

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_before": None}

    def get_requests(self) -> Iterator[dict[str, int]]:
        for number, answer in enumerate(request_each(range(self._first, self._first + self._count), _ask, size=SIZE)):
            if self._before is not None:
                self._before(number)
            yield {"number": self._first + number, "answer": answer}

    def get_result(self, index: int, unit: dict[str, int]) -> bytes:
        return b"text %d" % unit["answer"]


def _ask(numbers: Sequence[int]) -> list[int]:
    """One request for a hundred numbers."""
    first: Any = ee.Number(1).add(numbers[0]).getInfo()
    return [first + number - numbers[0] for number in numbers]


def run_gradual(recipe: Gradual, out: Path, url: str, **options: Any) -> Run:
    """Run it with few workers."""
    settings: dict[str, Any] = {
        "executor": "processes:2",
        "rate": None,
        "retries": 4,
        "quiet": True,
        "command": "eechips …",
    }
    return run(recipe, RunConfig(out=out, endpoint=url, **{**settings, **options}))


def wait_for(path: Path) -> None:
    """Wait for a file.

    Raises:
        TimeoutError: if it is not there after a minute.
    """
    end = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.02)


def main() -> None:
    """Run it in a process that somebody kills: only 1,500 of its units are planned."""
    out, url, mark = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])

    def before(number: int) -> None:
        if number == 1500:
            mark.touch()
            wait_for(mark.with_name("never"))

    run_gradual(Gradual(2000, before), out, url)


if __name__ == "__main__":
    from tests.support.gradual_recipe import main as main_of_module

    main_of_module()
