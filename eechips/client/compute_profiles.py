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

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eechips.errors import ValidationError

if TYPE_CHECKING:
    from eechips.client.transport import Transport

PROFILE_REQUEST_HEADER = "X-Earth-Engine-Computation-Profiling"
PROFILE_RESPONSE_HEADER = "x-earth-engine-computation-profile"
MOST_PROFILES = 100
"""Profiles that are fetched by one request: some 40 kB of a body, of the 10 MB that a request may have."""

_GET_PROFILES = "Profile.getProfiles"
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class ProfileShare:
    """A unit's share of a profiled request.

    Attributes:
        profile: id of the profile.
        share: of the unit, above 0 and up to 1.
    """

    profile: str
    share: float = 1.0


def fetch_profiles(transport: Transport, profiles: Sequence[str]) -> list[float]:
    """Return the EECU-seconds of profiled requests, in one request that is not profiled itself.

    Args:
        transport: of this process, whose client is initialised.
        profiles: ids, :data:`MOST_PROFILES` at most.

    Raises:
        RequestError: if the service refuses; it may have forgotten one of them.
        Stopped: if the run is stopping.
    """
    import ee

    def send() -> None:
        with contextlib.suppress(KeyError):  # the captured request has no result
            ee.data.computeValue(ee.Number(1))

    request = transport.capture(send)  # the client forms the URL, the headers and the workload tag
    body = {**json.loads(request.text), "expression": _expression(profiles)}

    def accept(content: bytes) -> list[float]:
        try:
            texts = json.loads(content)["result"]
            if not isinstance(texts, list) or len(texts) != len(profiles):
                raise ValueError("another number of profiles")
            return [parse_profile(text) for text in texts]
        except (ValueError, KeyError, TypeError) as error:
            raise ValidationError(f"no profiles came back: {error}") from None

    with transport.metered():
        return transport.post(replace(request, body=json.dumps(body)), accept)


def parse_profile(text: str) -> float:
    """Return the EECU-seconds of a profile.

    Raises:
        ValueError: if the text is no profile.
    """
    head, *lines = str(text).splitlines() or [""]
    if not head.split() or not head.split()[0].startswith("EECU"):
        raise ValueError(f"the first column is not EECU-seconds: {head[:60]!r}")
    cells = [line.split(maxsplit=1)[0] for line in lines if line.strip()]
    return math.fsum(0.0 if cell == _NOTHING else float(cell.replace(",", "")) for cell in cells)


def _expression(profiles: Sequence[str]) -> dict[str, Any]:
    """Return an expression of a list of profiles as texts.

    Each is merged to one row, so that it is rounded once.
    """
    calls = [
        {
            "functionInvocationValue": {
                "functionName": _GET_PROFILES,
                "arguments": {"ids": {"constantValue": [profile]}, "maxEntries": {"constantValue": 1}},
            }
        }
        for profile in profiles
    ]
    return {"result": "0", "values": {"0": {"arrayValue": {"values": calls}}}}
