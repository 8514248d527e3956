"""Record in the ledger which units of a plan were planned first, for estimates, and how many it will have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eechips.manifest.ledger import Ledger

_KEY = "preview"  # in meta


@dataclass(frozen=True, slots=True)
class PreviewRecord:
    """The previews of a plan.

    A later command plans the same ranges by the same requests, whose responses are kept. Requests for longer ranges may
    have other responses, as new images appear.

    Attributes:
        ends: positions after the last units of the previews, in their order; empty without a preview.
        size: number of units of the whole plan; None if it is unknown.
    """

    ends: tuple[int, ...] = ()
    size: int | None = None

    @classmethod
    def read(cls, ledger: Ledger) -> PreviewRecord:
        """Return the record of a ledger."""
        stored = ledger.meta().get(_KEY)
        return cls() if stored is None else cls(tuple(stored["ends"]), stored["size"])

    def extended(self, end: int, size: int) -> PreviewRecord:
        """Return the record with a further preview.

        Args:
            end: position after its last unit.
            size: number of units of the whole plan.
        """
        return PreviewRecord((*(earlier_end for earlier_end in self.ends if earlier_end < end), end), size)

    def note(self, ledger: Ledger) -> None:
        """Store the record."""
        ledger.note(_KEY, {"ends": list(self.ends), "size": self.size})
