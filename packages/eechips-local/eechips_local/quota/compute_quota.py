"""Keep account of the compute of requests, by workload tag, and enforce a quota of EECU-hours for the month, which
begins at midnight Pacific time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from eechips_local.protocol.request_errors import EarthEngineError

_PACIFIC = "America/Los_Angeles"
UNTAGGED = ""
"""In the account: requests without a workload tag."""
SPENT = (
    "Your usage exceeded the custom quota for 'earthengine.googleapis.com/monthly_eecu_usage_time', which is adjustable"
    " by your administrator in the Google Cloud console: https://console.cloud.google.com/quotas/?project=_."
)
"""In the form of the message that Earth Engine documents for the quota of a day
(https://developers.google.com/earth-engine/guides/cost_controls, read 2026-11)."""


class ComputeSpentError(EarthEngineError):
    """The compute of the month is used up (HTTP 429)."""

    code = 429
    status = "RESOURCE_EXHAUSTED"


@dataclass(slots=True)
class TagAccount:
    """What requests with one workload tag have used.

    Attributes:
        requests: requests that computed anything.
        eecu_seconds: EECU seconds of these.
    """

    requests: int = 0
    eecu_seconds: float = 0.0


@dataclass(slots=True)
class ComputeQuota:
    """The compute of a project. A month begins at midnight Pacific time, as the service's quotas do.

    Attributes:
        now: returns the present time, aware.
        tags: accounts since the server has started, by workload tag.
        month: in which requests are counted, such as ``2026-11``.
        in_month: EECU-seconds of the month.
        stubs: ids of the datasets whose synthetic stubs requests have loaded.
        stubs_file: file to which these ids are appended, one a line; None for none.

    Threads may share it: exports charge it from theirs.
    """

    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    tags: dict[str, TagAccount] = field(default_factory=dict)
    month: str = ""
    in_month: float = 0.0
    stubs: set[str] = field(default_factory=set)
    stubs_file: Path | None = None
    _lock: Lock = field(default_factory=Lock, repr=False)

    def charge(self, tag: str | None, seconds: float, stubs: Iterable[str] = ()) -> None:
        """Charge a request, and note the datasets whose stubs it has loaded."""
        with self._lock:
            self._note(stubs)
            self._turn()
            account = self.tags.setdefault(tag or UNTAGGED, TagAccount())
            account.requests += 1
            account.eecu_seconds += seconds
            self.in_month += seconds

    def check(self, hours: float | None) -> None:
        """Reject a request if the compute of the month is used up.

        Args:
            hours: EECU-hours of a month; None for any number.

        Raises:
            ComputeSpentError: if they are used.
        """
        with self._lock:
            self._turn()
        if hours is not None and self.in_month >= 3600.0 * hours:
            raise ComputeSpentError(SPENT)

    def report(self) -> dict[str, Any]:
        """Return the account as JSON."""
        with self._lock:
            self._turn()
            return {
                "month": self.month,
                "month_eecu_seconds": self.in_month,
                "eecu_seconds": sum(account.eecu_seconds for account in self.tags.values()),
                "workload_tags": {
                    tag: {"requests": account.requests, "eecu_seconds": account.eecu_seconds}
                    for tag, account in sorted(self.tags.items())
                },
            }

    def _note(self, stubs: Iterable[str]) -> None:
        added = sorted(set(stubs) - self.stubs)
        self.stubs.update(added)
        if added and self.stubs_file is not None:
            with self.stubs_file.open("a", encoding="utf-8") as file:
                file.writelines(f"{dataset}\n" for dataset in added)

    def _turn(self) -> None:
        try:
            zone: tzinfo = ZoneInfo(_PACIFIC)
        except ZoneInfoNotFoundError:  # a system without a database
            zone = timezone(timedelta(hours=-8))
        month = f"{self.now().astimezone(zone):%Y-%m}"
        if month != self.month:
            self.month, self.in_month = month, 0.0
