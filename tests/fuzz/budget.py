"""The time of a fuzzer: half a second by default; ``EECHIPS_FUZZ_SECONDS`` is divided among all that are collected.

    EECHIPS_FUZZ_SECONDS=3600 pytest tests/fuzz                       # an hour for all of them
    EECHIPS_FUZZ_SECONDS=60 EECHIPS_FUZZ_SEED=9000 pytest tests/fuzz  # other inputs than those from seed 0 on

The fixture ``budget`` is in conftest.py. The seed of an input that fails is printed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

DEFAULT = 0.5  # seconds of a test
LEAST = 20  # seeds, however slow the machine is


@dataclass
class Budget:
    """The time in which a test may look for an input that fails.

    Attributes:
        seconds: seconds of the test.
        first: seed.
        last: seed so far.
    """

    seconds: float
    first: int = 0
    last: int = -1

    def draws(self, least: int = LEAST) -> Iterator[random.Random]:
        """Generators of random numbers, each with a seed of its own, until the time is over."""
        end, self.last = time.monotonic() + self.seconds, self.first - 1
        while self.last + 1 < self.first + least or time.monotonic() < end:
            self.last += 1
            yield random.Random(self.last)

    def search(self, check: Callable[..., None], *strategies: Any, examples: int = 50) -> None:
        """Has hypothesis look for an input that fails, and shrink it, until the time is over."""
        import hypothesis

        options = hypothesis.settings(max_examples=examples, deadline=None, database=None)
        for draw in self.draws(least=1):
            seeded = hypothesis.seed(draw.getrandbits(64))
            seeded(options(hypothesis.given(*strategies)(check)))()


def share(tests: int) -> Budget:
    """The budget of one of so many tests."""
    seconds = float(os.environ.get("EECHIPS_FUZZ_SECONDS", DEFAULT * tests)) / tests
    return Budget(seconds, int(os.environ.get("EECHIPS_FUZZ_SEED", "0")))
