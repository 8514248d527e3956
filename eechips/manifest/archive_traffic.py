"""Count what a run takes from open archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eechips.text.formatting import format_bytes, format_count

TRAFFIC = "archive_traffic"
"""In the ledger and in run.json: requests of a run to open archives, and the bytes received."""


@dataclass(frozen=True, slots=True)
class ArchiveTraffic:
    """Requests that were sent to open archives: of searches, of tokens, and for parts of files.

    Attributes:
        requests: number of requests, repeated ones too.
        bytes: bytes of their responses.
        used: bytes of blocks by the shares of their pixels that were used.
    """

    requests: int = 0
    bytes: int = 0
    used: int = 0

    @classmethod
    def from_json(cls, value: Any) -> ArchiveTraffic:
        """Return what ``dataclasses.asdict`` has made JSON of; none for anything else."""
        if not isinstance(value, Mapping):
            return cls()
        numbers = (value.get(name) for name in ("requests", "bytes", "used"))
        return cls(*(number if isinstance(number, int) else 0 for number in numbers))

    def __add__(self, other: ArchiveTraffic) -> ArchiveTraffic:
        return ArchiveTraffic(self.requests + other.requests, self.bytes + other.bytes, self.used + other.used)

    def __sub__(self, other: ArchiveTraffic) -> ArchiveTraffic:
        return ArchiveTraffic(self.requests - other.requests, self.bytes - other.bytes, self.used - other.used)

    def describe(self) -> str:
        """Return it as a text: "132 requests, 4.5 MB"."""
        return f"{format_count(self.requests, 'request')}, {format_bytes(self.bytes)}"
