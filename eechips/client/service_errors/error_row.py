"""Define a row of the table of the service's errors, and when an answer matches it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Literal

from eechips.errors import BatchUse

# Sources of rows of several tables.
DEBUGGING = "https://developers.google.com/earth-engine/guides/debugging"
REASONS = "https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto"
USAGE = "https://developers.google.com/earth-engine/guides/usage"

Period = Literal["day", "month"]
QuotaWindow = Literal["", "minute", "day", "month"]
"""Over which a quota counts, if an error's details say it; ``minute`` for all that is shorter than a day."""


class ErrorAction(Enum):
    """Reaction to an error of the service."""

    TRANSIENT = "send again"
    TOO_LARGE = "split"
    INDIVISIBLE = "fail the unit: a part is as large as the whole"
    PERMANENT = "fail the unit"
    UNAVAILABLE = "stop the run; resume later"
    CONFIGURATION = "stop the run"
    CREDENTIALS = "stop the run: the credentials are refused"


@dataclass(frozen=True, slots=True)
class ServiceError:
    """One row.

    Attributes:
        cure: what the user can do, a clause without a full stop; empty where only the message can tell, or nothing is
            to be done.
        source: where it is documented.
        kind: what to do.
        message: regular expression, searched in the message; empty for none.
        reasons: reasons of ErrorInfo, in capitals, or of ``errors[]``.
        codes: HTTP statuses; empty for any. A row with neither message, reasons nor window is found by them alone.
        cause: why the project cannot be used, a clause without a full stop.
        window: window of a quota that the details of the error name; such a row needs neither message nor reason.
        period: after which the quota is renewed. Details that name another period rule the row out.
        batch: when a batch task may compute what was too large.
        is_queue_full: whether too many batch tasks wait for the service to start one more.
        repeats: times that a request which is to be split is sent again first.
        repeats_alone: times that a request which cannot be split any more is sent again before it fails.
    """

    name: str
    cure: str
    source: str
    kind: ErrorAction
    message: str = ""
    reasons: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    cause: str = ""
    window: QuotaWindow = ""
    period: Period | None = None
    batch: BatchUse = "never"
    is_queue_full: bool = False
    repeats: int = 0
    repeats_alone: int = 0


passing = partial(ServiceError, kind=ErrorAction.TRANSIENT, cure="")
"""Make the row of an error that passes by itself."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """Content of an error body.

    Attributes:
        reasons: reasons of ``google.rpc.ErrorInfo`` and of ``errors[]``.
        window: window of the quota that the error's details name.
        damage: why it is none that the service has sent; empty if it is one.
    """

    message: str
    reasons: tuple[str, ...] = ()
    window: QuotaWindow = ""
    damage: str = ""


def quota_window(unit: str, names: Sequence[str] = ()) -> QuotaWindow:
    """Return over which a quota counts.

    Args:
        unit: ``quota_unit`` of an ErrorInfo, such as ``1/d/{project}`` or ``1/min/{project}/{user}``. The syntax is
            that of ``google.api.QuotaLimit.unit``: quotas with other units are not renewed by time.
        names: names of the limit and its metric, such as ``ReadsPerDayPerProject`` or
            ``earthengine.googleapis.com/daily_eecu_usage_time``.
    """
    match = re.search(r"/(s|min|h|d|mo)\b", unit)
    if match is not None:
        return _UNITS.get(match[1], "minute")
    for name in names:
        for window, pattern in _NAMED.items():
            if re.search(pattern, name, re.IGNORECASE):
                return window
    return ""


_UNITS: Mapping[str, QuotaWindow] = {"d": "day", "mo": "month"}
_NAMED: Mapping[QuotaWindow, str] = {
    "minute": r"per[_-]?(?:min|sec|hour|100s)|qpm|qps",
    "day": r"per[_-]?day|daily|qpd",
    "month": r"per[_-]?month|monthly",
}


def matches(row: ServiceError, code: int, body: ErrorBody) -> bool:
    """Return whether an answer matches a row."""
    is_said = bool(row.message) and re.search(row.message, body.message, re.IGNORECASE | re.DOTALL) is not None
    is_named = bool(set(row.reasons) & set(body.reasons))
    if row.period and body.window not in ("", row.period):
        return False  # of the words of a message, "per day" may be an advice
    if row.kind is ErrorAction.CREDENTIALS:
        return is_named or code in row.codes
    if row.codes and code not in row.codes:
        return is_named
    if row.window:
        return row.window == body.window
    return is_said or is_named or not (row.message or row.reasons)
