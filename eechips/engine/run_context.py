"""Give recipes access to the run that executes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eechips.client.transport import Timeouts, Transport
from eechips.engine.config import RunConfig
from eechips.engine.progress import Progress
from eechips.engine.run_log import RunLog
from eechips.manifest.ledger import Ledger
from eechips.storage import Store


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of a recipe with a lifespan, which fetches its results in threads of the parent.

    Attributes:
        transport: provides slots, the pauses between retries, and the retry policy.
        timeouts: of requests.
        unit_timeout: seconds that one unit may take; the recipe enforces it.
        store: of the results.
        log: of the run; threads may share it.
        quiet: show no messages.
        token: of the run's writer, in the names of temporary files.
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
        config: of the run.
        ledger: of the run, with a plan that is empty at first.
        log: of the run.
        settle: fetches the open units between two positions of the plan; returns False if the run was stopped.
    """

    config: RunConfig
    ledger: Ledger
    log: RunLog
    settle: Callable[[int, int], bool]

    def say(self, text: str) -> None:
        """Show a line to the user."""
        Progress(0, 0, 0, quiet=self.config.quiet).say(text)
