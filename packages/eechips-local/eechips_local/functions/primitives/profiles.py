"""``Profile``: what requests have cost. The client calls it in ``ee.profilePrinting``."""

from __future__ import annotations

from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.quota.compute_cost import GET_PROFILES, profile_text

_MOST_ENTRIES = 200
"""Rows of a profile by default, as the signature's description says."""


@function(GET_PROFILES)
def get_profiles(ids: list[str], format: str, maxEntries: int | None) -> str:
    """Return the profiles of requests together, as a table of EECU-seconds, memory, counts and descriptions."""
    if format != "text":
        raise InvalidError(f"Profile.getProfiles: The local Earth Engine has the format 'text' only, not {format!r}.")
    wrong = next((identifier for identifier in ids if not isinstance(identifier, str)), None)
    if wrong is not None:
        raise InvalidError(f"Profile.getProfiles: a profile id must be a String, not {type_name(wrong)}.")
    return profile_text(ids, _MOST_ENTRIES if maxEntries is None else maxEntries)
