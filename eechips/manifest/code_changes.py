"""Changes of a recipe's code that the user has accepted between two commands of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CODE_CHANGES = "code_changes"
"""In the ledger and in run.json: a list of accepted changes, see :class:`CodeChange`."""

_DIGITS = 16  # of a hash


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A change of a recipe's code.

    Attributes:
        before: identity of the recipe before, SHA-256, hexadecimal.
        after: identity of the recipe since then.
        accepted: ISO 8601, UTC.
        position: place in the plan of the first unit that was fetched with the changed code; None if none was left.
        unit: its id.
        units: number of units that were left.
    """

    before: str
    after: str
    accepted: str
    position: int | None
    unit: str | None
    units: int

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CodeChange:
        """Return the change of a JSON value; values that are missing count as unknown."""
        position, unit = value.get("position"), value.get("unit")
        return cls(
            before=str(value.get("before")),
            after=str(value.get("after")),
            accepted=str(value.get("accepted")),
            position=position if isinstance(position, int) else None,
            unit=None if unit is None else str(unit),
            units=units if isinstance(units := value.get("units"), int) else 0,
        )

    def describe(self) -> str:
        """Return a sentence for the status and the report."""
        what = (
            f"The recipe's code was changed on {self.accepted[:10]} ({self.before[:_DIGITS]} to {self.after[:_DIGITS]})"
        )
        if self.position is None or self.unit is None:
            return f"{what}, when no unit was left."
        left = "1 unit was" if self.units == 1 else f"{self.units:,} units were"
        return f"{what}: {left} left for the changed code, from no. {self.position} ({self.unit[:_DIGITS]}) on."


def code_changes(stored: Mapping[str, Any]) -> Iterator[CodeChange]:
    """Yield the changes in run.json, or in the metadata of a ledger, in their order."""
    changes = stored.get(CODE_CHANGES)
    for change in changes if isinstance(changes, list) else ():
        if isinstance(change, dict):
            yield CodeChange.from_json(change)
