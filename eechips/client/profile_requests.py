"""Fetch the profiles of requests, several by one request."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from eechips.client.compute_profiles import parse_profile
from eechips.client.http.transport import Transport
from eechips.errors import ValidationError

MOST_PROFILES = 100
"""Profiles that are fetched by one request: some 40 kB of a body, of the 10 MB that a request may have."""

_GET_PROFILES = "Profile.getProfiles"


def fetch_profiles(transport: Transport, profiles: Sequence[str]) -> list[float]:
    """Return the EECU-seconds of profiled requests, in one request that is not profiled itself.

    Args:
        transport: transport of this process, whose client is initialised.
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


def fetch_all_profiles(transport: Transport, profiles: Sequence[str]) -> list[float]:
    """Return the EECU-seconds of any number of profiled requests; see :func:`fetch_profiles`."""
    parts = (profiles[first : first + MOST_PROFILES] for first in range(0, len(profiles), MOST_PROFILES))
    return [seconds for part in parts for seconds in fetch_profiles(transport, part)]


def _expression(profiles: Sequence[str]) -> dict[str, Any]:
    """Return an expression of a list of profiles as texts. Each is merged to one row, so that it is rounded once."""
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
