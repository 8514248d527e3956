"""Keep the number of requests in flight that a project's quota allowed, for later runs.

The service does not publish its limits: a run learns them from rejected requests
(:mod:`eechips.client.quota.congestion`), and the next run of the same project begins with them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from eechips.storage.cached_records import load_record, save_record

FOLDER = "limits"


@dataclass(frozen=True, slots=True)
class LearnedLimit:
    """Limit of a project's quota that a run has learned.

    Attributes:
        in_flight: requests that may be in flight at once, at least 1.
        restricted: whether the service said that it restricts the project's parallelism
            (``x-earth-engine-quota-status: parallelism_restricted=true``).
        seen: when, ISO 8601, UTC.
    """

    in_flight: int
    restricted: bool
    seen: str


def load_learned_limit(endpoint: str, project: str) -> LearnedLimit | None:
    """Load the limit that earlier runs learned of a project's quota; None if there is none, or it is damaged."""
    record = load_record(FOLDER, endpoint, project)
    in_flight, restricted, seen = (record.get(field.name) for field in dataclasses.fields(LearnedLimit))
    if type(in_flight) is not int or in_flight < 1 or not isinstance(restricted, bool) or not isinstance(seen, str):
        return None
    return LearnedLimit(in_flight, restricted, seen)


def save_learned_limit(endpoint: str, project: str, learned: LearnedLimit) -> bool:
    """Store the limit that a run learned, in place of the stored one; return whether it was stored."""
    return save_record(FOLDER, endpoint, project, {"project": project, **dataclasses.asdict(learned)})
