"""Profile requests: what they cost the service, in EECU-seconds.

A request with a header is profiled, and its response names the profile. The service computes profiles like any value:
``Profile.getProfiles`` (ee/data.py, ``profiling``, and ee/_helpers.py, ``profilePrinting``, of earthengine-api 1.7.50).
A profile is a text::

     EECU·s PeakMem   Count  Description
      0.072     47k      44  (plumbing)
      1.500    124k      14  Algorithm Image.reduceRegion
          -     59k      12  Loading assets

The sum of the first column is the compute of the request. A dash is less than a thousandth of an EECU-second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PROFILE_REQUEST_HEADER = "X-Earth-Engine-Computation-Profiling"
PROFILE_RESPONSE_HEADER = "x-earth-engine-computation-profile"
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class ProfileShare:
    """A unit's share of a profiled request.

    Attributes:
        profile: id of the profile.
        share: share of the unit, above 0 and up to 1.
    """

    profile: str
    share: float = 1.0


def parse_profile(text: str) -> float:
    """Return the EECU-seconds of a profile; raise ValueError if the text is no profile."""
    head, *lines = str(text).splitlines() or [""]
    if not head.split() or not head.split()[0].startswith("EECU"):
        raise ValueError(f"the first column is not EECU-seconds: {head[:60]!r}")
    cells = [line.split(maxsplit=1)[0] for line in lines if line.strip()]
    return math.fsum(0.0 if cell == _NOTHING else float(cell.replace(",", "")) for cell in cells)
