"""Report the state of a run to the user and its log, while units are fetched."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from eechips.engine.executors.executor import Executor
from eechips.engine.export_monitor import ExportMonitor
from eechips.engine.progress import Progress
from eechips.engine.quota_sharing import QuotaSharing
from eechips.engine.run_log import RunLog
from eechips.engine.slow_units import SlowUnits
from eechips.text import format_duration

_THROUGHPUT_SECONDS = 5.0  # between two events of the throughput in the log
_WAIT_SECONDS = 600.0  # between two messages on a wait that the service asks for


class RunMonitor:
    """Report slots, throughput, pauses and slow units; each change of state once.

    Args:
        executor: of the run.
        progress: shown to the user.
        log: of the run.
        slow: units that take long; None for no reports of these.
        sharing: the part of the run in a shared quota; None if it has the quota for itself.
        exports: of chips; None if none are exported.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        executor: Executor[Any],
        progress: Progress,
        log: RunLog,
        slow: SlowUnits | None,
        sharing: QuotaSharing | None = None,
        exports: ExportMonitor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor, self._progress, self._log = executor, progress, log
        self._slow, self._sharing, self._exports, self._clock = slow, sharing, exports, clock
        self._is_offline = self._is_restricted = False
        self._wait_reported: float | None = None
        self._shown_notices: dict[str, str | None] = {}
        self._throughput_logged = clock()

    def watch(self, settled: int) -> None:
        """Report the changes since the previous call.

        Args:
            settled: units that are settled.
        """
        throttle = self._executor.throttle
        self._progress.show(throttle.in_flight, throttle.limit)
        self._watch_restriction(is_restricted=throttle.is_restricted)
        self._watch_network(is_offline=throttle.offline_since is not None)
        self._watch_notice("executor", self._executor.notice)
        self._watch_notice("quota", None if self._sharing is None else self._sharing.message)
        self._watch_wait(throttle.asked_left)
        self._watch_slow()
        if self._exports is not None and (text := self._exports.message()) is not None:
            self._progress.say(text)
        if self._clock() - self._throughput_logged >= _THROUGHPUT_SECONDS:
            self._throughput_logged = self._clock()
            self._log.write(
                "throughput",
                settled=settled,
                in_flight=throttle.in_flight,
                limit=throttle.limit,
                sent=throttle.sent,
                rejected=throttle.rejected,
            )

    def _watch_restriction(self, *, is_restricted: bool) -> None:
        if is_restricted == self._is_restricted:
            return
        self._is_restricted = is_restricted
        self._log.write("restricted" if is_restricted else "unrestricted")
        self._progress.say(
            "Earth Engine announces restricted mode: the project's compute of this month is used up, and fewer"
            " requests run at once."
            if is_restricted
            else "Earth Engine has lifted restricted mode."
        )

    def _watch_network(self, *, is_offline: bool) -> None:
        if is_offline == self._is_offline:
            return
        self._is_offline = is_offline
        self._log.write("offline" if is_offline else "online")
        self._progress.say(
            "No connection to the service: waiting for it. Nothing is lost; Ctrl-C stops."
            if is_offline
            else "The service is reachable again."
        )

    def _watch_notice(self, source: str, notice: str | None) -> None:
        if notice == self._shown_notices.get(source):
            return
        self._shown_notices[source] = notice
        self._log.write("notice", text=notice)
        if notice is not None:
            self._progress.say(notice)

    def _watch_wait(self, left: float) -> None:
        """Report a long Retry-After: when it begins, every ten minutes, and when it ends."""
        now, reported = self._clock(), self._wait_reported
        if left > 0.0 and (reported is None or now - reported >= _WAIT_SECONDS):
            until = datetime.now(timezone.utc) + timedelta(seconds=left)
            self._wait_reported = now
            self._log.write("waiting", seconds=round(left))
            self._progress.say(
                f"Earth Engine asks to wait: the run resumes in {format_duration(left)}, at {until:%H:%M} UTC."
                " Nothing is lost; Ctrl-C stops."
            )
        elif left <= 0.0 and reported is not None:
            self._wait_reported = None
            self._log.write("wait over")
            self._progress.say("The wait that Earth Engine asked for is over: the run resumes.")

    def _watch_slow(self) -> None:
        """Report slow units, if no unit finishes."""
        if self._slow is None:
            return
        if self._is_offline or self._wait_reported is not None:
            self._slow.wait()
        elif (text := self._slow.message()) is not None:
            self._log.write("slow", text=text)
            self._progress.say(text)
