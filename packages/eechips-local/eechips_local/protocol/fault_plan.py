"""Define the types and options of faults, plan them with a seed, and report which of them occurred."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from eechips_local.protocol.field_checks import checked_fields
from eechips_local.protocol.request_errors import InvalidError

FaultType = Literal[
    "reject",
    "status",
    "reset",
    "reset-body",
    "stall",
    "stall-body",
    "truncate",
    "truncate-silently",
    "gzip",
    "wrong-content",
    "html",
    "restricted",
    "expired",
]
"""Types of faults:

- ``reject``: 429, as if the quota were exceeded; with ``retry_after``, that header too.
- ``status``: an error of that ``status`` (500 unless given), with a ``message``.
- ``reset``, ``reset-body``: the connection is reset before, or in the middle of, the body.
- ``stall``, ``stall-body``: a pause of ``seconds``, before or in the middle of the body.
- ``truncate``: half of the body, then the connection closes although Content-Length promised more.
- ``truncate-silently``: half of the body without Content-Length, correctly terminated.
- ``gzip``: the body is compressed, with Content-Encoding.
- ``wrong-content``: other bytes under 200, with the right type.
- ``html``: an HTML error page under 200.
- ``restricted``: a normal response with the header of the restricted mode.
- ``expired``: 404, as if the name had expired.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault in a plan.

    Attributes:
        type: see ``FaultType``.
        on: pattern of the kinds of request it happens to ("thumbnails:*").
        probability: probability that it happens to one of them.
        times: greatest number of occurrences; None for no limit.
        after: number of requests without the fault before the first.
        status: status of the error, for ``status``.
        message: message of the error, for ``status`` ("Computation timed out.").
        retry_after: seconds in the header, for ``reject`` and ``status``.
        seconds: seconds of a stall.
    """

    type: FaultType
    on: str = "*"
    probability: float = 1.0
    times: int | None = None
    after: int = 0
    status: int = 500
    message: str = "An internal error has occurred."
    retry_after: float | None = None
    seconds: float = 3600.0

    @classmethod
    def parse(cls, document: Any) -> Fault:
        """Create it from JSON.

        Raises:
            InvalidError: if it is malformed.
        """
        values = checked_fields(document, _CHECKS, "fault")
        if "type" not in values:
            raise InvalidError(f"A fault must have a type, one of {', '.join(get_args(FaultType))}.")
        return cls(**values)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "type": lambda v: isinstance(v, str) and v in get_args(FaultType),
    "on": lambda v: isinstance(v, str),
    "probability": lambda v: _number(v) and 0 <= v <= 1,
    "times": lambda v: v is None or _whole(v),
    "after": _whole,
    "status": lambda v: _whole(v) and 400 <= v <= 599,
    "message": lambda v: isinstance(v, str),
    "retry_after": lambda v: v is None or (_number(v) and v >= 0),
    "seconds": lambda v: _number(v) and v >= 0,
}


class FaultPlan:
    """Decides which requests meet which fault. The first matching fault of the plan applies."""

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)
        self._struck = [0] * len(self._faults)
        self._random = random.Random(seed)

    @classmethod
    def parse(cls, document: Any) -> FaultPlan:
        """Create it from JSON: ``{"seed": 0, "faults": [{"type": "reject", "probability": 0.01}, …]}``.

        Raises:
            InvalidError: if it is malformed.
        """
        if not isinstance(document, Mapping) or not isinstance(document.get("faults"), list):
            raise InvalidError("A fault plan is an object with a list of 'faults' and perhaps a 'seed'.")
        seed = document.get("seed", 0)
        if not isinstance(seed, int):
            raise InvalidError("The seed of a fault plan must be an integer.")
        return cls([Fault.parse(f) for f in document["faults"]], seed)

    def strike(self, kind: str) -> Fault | None:
        """Return the fault that a request meets, or None."""
        for index, fault in enumerate(self._faults):
            if not fnmatchcase(kind, fault.on):
                continue
            drawn = self._random.random()  # always drawn, so that an exhausted fault does not shift the others
            self._seen[index] += 1
            spent = fault.times is not None and self._struck[index] >= fault.times
            if spent or self._seen[index] <= fault.after or drawn >= fault.probability:
                continue
            self._struck[index] += 1
            return fault
        return None

    def report(self) -> dict[str, Any]:
        """Return the plan, and how often each fault met a request; ``consumed`` once all that are limited are used
        up.
        """
        rows = [
            {**{k: v for k, v in asdict(f).items() if v is not None}, "seen": seen, "struck": struck}
            for f, seen, struck in zip(self._faults, self._seen, self._struck, strict=True)
        ]
        limited = [(f.times, s) for f, s in zip(self._faults, self._struck, strict=True) if f.times is not None]
        return {"faults": rows, "consumed": all(struck >= times for times, struck in limited)}
