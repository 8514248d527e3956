"""Parse the header ``Retry-After``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from eechips.text.timestamps import parse_http_date

_LONGEST_WAIT = 366 * 86400.0  # seconds; quotas are renewed each month at the latest


def parse_retry_after(headers: Mapping[str, str], now: Callable[[], datetime] | None = None) -> float | None:
    """Return the seconds of a ``Retry-After`` header (RFC 9110, 10.2.3); None without one that can be meant.

    Args:
        headers: with lower-case names.
        now: returns the present time, for headers with a date; None for the server's ``Date``, since its clock may
            differ, or else the time of this machine.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        seconds = float(value)
    else:
        date = parse_http_date(value)
        if date is None:
            return None
        present = now() if now is not None else parse_http_date(headers.get("date", "")) or datetime.now(timezone.utc)
        seconds = max(0.0, (date - present).total_seconds())
    return seconds if seconds <= _LONGEST_WAIT else None  # a run would stop
