"""Record in the ledger which units of a plan were planned first, for estimates, and how many it will have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eechips.manifest.ledger import Ledger

_KEY = "previews"  # in meta


@dataclass(frozen=True, slots=True)
class PreviewRecord:
    """The previews of a plan.

    A later command plans the same units by the same requests, whose responses are kept. Requests for other units may
    have other responses, as new images appear.

    Attributes:
        drawn: positions of the units of each preview, ascending; empty without a preview.
        size: number of units of the whole plan; None if it is unknown.
    """

    drawn: tuple[tuple[int, ...], ...] = ()
    size: int | None = None

    @classmethod
    def read(cls, ledger: Ledger) -> PreviewRecord:
        """Return the record of a ledger."""
        stored = ledger.meta().get(_KEY)
        return cls() if stored is None else cls(tuple(map(tuple, stored["drawn"])), stored["size"])

    def extended(self, drawn: Sequence[int], size: int) -> PreviewRecord:
        """Return the record with a further preview.

        Args:
            drawn: positions of its units.
            size: number of units of the whole plan.
        """
        return PreviewRecord((*self.drawn, tuple(drawn)), size)

    @property
    def values(self) -> dict[str, Any]:
        """The JSON value of the record in a ledger, by its name."""
        return {_KEY: {"drawn": self.drawn, "size": self.size}}
