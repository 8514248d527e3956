"""Describe a run to its scheduler, and to recipes that take part in it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eechips.client.http_messages import Timeouts
from eechips.client.transport import Transport
from eechips.engine.config import RunConfig
from eechips.engine.executors.executor import Executor
from eechips.engine.interrupt import Interrupt
from eechips.engine.progress import Progress
from eechips.engine.run_feature import RunFeature
from eechips.engine.run_log import RunLog
from eechips.manifest.ledger import Ledger
from eechips.storage import Store


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of a recipe with a lifespan, which fetches its results in threads of the parent.

    Attributes:
        transport: provides slots, the pauses between retries, and the retry policy.
        unit_timeout: seconds that one unit may take; the recipe enforces it.
        quiet: show no messages.
        token: token of the run's writer, in the names of temporary files.
    """

    transport: Transport
    timeouts: Timeouts
    unit_timeout: float
    store: Store
    log: RunLog
    quiet: bool
    token: str

    def say(self, text: str) -> None:
        """Show a line to the user."""
        Progress(0, 0, None, quiet=self.quiet).say(text)


@dataclass(frozen=True, slots=True)
class RecipeContext:
    """The context of a recipe that adds units to the plan while it runs.

    Attributes:
        ledger: ledger of the run, with a plan that is empty at first.
        settle: fetches the open units between two positions of the plan; returns False if the run was stopped.
    """

    config: RunConfig
    ledger: Ledger
    log: RunLog
    settle: Callable[[int, int], bool]

    def say(self, text: str) -> None:
        """Show a line to the user."""
        Progress(0, 0, 0, quiet=self.config.quiet).say(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerContext:
    """The parts of a run that a scheduler uses.

    Attributes:
        ledger: ledger of the run; the scheduler is its only writer.
        check: called at least twice a second; raises an error if the run cannot continue.
        deadline: no unit starts after this time, on the clock.
        features: what takes part in the run beside fetching its units, in the order of calls.
        clock: seconds, monotonic.
    """

    ledger: Ledger
    store: Store
    executor: Executor[Any]
    progress: Progress
    log: RunLog
    interrupt: Interrupt
    check: Callable[[], None] = lambda: None
    deadline: float = math.inf
    features: tuple[RunFeature, ...] = ()
    clock: Callable[[], float] = time.monotonic
