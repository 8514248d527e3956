"""What a recipe has around it that fetches by itself, in the process of its run."""

from __future__ import annotations

from dataclasses import dataclass

from eechips.client.transport import Timeouts, Transport
from eechips.engine.progress import Progress
from eechips.engine.run_log import RunLog
from eechips.storage import Store


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where units are worked at.

    Attributes:
        transport: lends slots, waits before something is repeated, and has the policy of that.
        timeouts: of requests.
        unit_timeout: seconds that one unit may take; whoever fetches by itself sees to it.
        store: where results go.
        log: of the run; threads may share it.
        quiet: whether the user is to be left alone.
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
        """Shows the user a line."""
        Progress(0, 0, None, quiet=self.quiet).say(text)
