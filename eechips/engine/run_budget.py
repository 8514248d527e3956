"""Bound what a run may use: requests, bytes, minutes, compute."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal

from eechips.errors import UsageError
from eechips.text.suggestion import did_you_mean

_FACTORS: Mapping[str, int] = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MOST = Decimal(10**18)
"""Amount beyond which a bound means nothing."""
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?(?:E[+-]?\d+)?)\s*([KMGT]?B?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBudget:
    """What a run may use before it stops; it can be resumed. None is no bound.

    Attributes:
        requests: HTTP requests, planning included.
        bytes: received bytes.
        minutes: after which nothing new starts.
        eecu_hours: compute of a month, planning included.
    """

    requests: int | None = None
    bytes: int | None = None
    minutes: float | None = None
    eecu_hours: float | None = None

    @classmethod
    def parse(cls, value: str | Mapping[str, str | float]) -> RunBudget:
        """Return the budget of a text such as ``minutes=90,bytes=2GB``, or of amounts by name.

        Raises:
            UsageError: if a name is unknown, or an amount is not above 0.
        """
        if not isinstance(value, (str, Mapping)):
            raise UsageError(f"`budget` is text such as minutes=90,bytes=2GB, or amounts by name, not {value!r}")
        parts = [part.partition("=") for part in value.split(",") if part.strip()] if isinstance(value, str) else []
        pairs = [(name, amount) for name, _, amount in parts] if isinstance(value, str) else list(value.items())
        names = [field.name for field in fields(cls)]
        amounts: dict[str, Decimal] = {}
        for key, text in pairs:
            name = str(key).strip().replace("-", "_")
            if name not in names:
                raise UsageError(f"`budget` bounds {', '.join(names)}, not {key!r}{did_you_mean(name, names)}")
            amounts[name] = _amount(name, text)
        whole = {name: int(amount) for name, amount in amounts.items() if name in ("requests", "bytes")}
        if any(whole[name] != amounts[name] for name in whole):
            raise UsageError(f"`budget` counts whole requests and bytes, not {value!r}")
        others = {name: float(amount) for name, amount in amounts.items() if name not in whole}
        return cls(**whole, **others)  # type: ignore[arg-type]


def _amount(name: str, text: str | float) -> Decimal:
    matched = _AMOUNT.fullmatch(str(text).upper())
    if matched is None or (matched[2] and name != "bytes"):
        raise UsageError(f"`budget` {name}={text} is not an amount, such as minutes=90 or bytes=2GB")
    amount = Decimal(matched[1]) * _FACTORS[matched[2].removesuffix("B")]
    if not 0 < amount <= _MOST:
        raise UsageError(f"`budget` {name} must be above 0, and at most {_MOST:.0e}, not {text}")
    return amount
