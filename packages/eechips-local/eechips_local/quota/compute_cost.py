"""Charge requests for what they compute, in EECU-seconds, by a model that is the same on every machine.

Earth Engine measures what a computation uses; that differs from request to request
(https://developers.google.com/earth-engine/guides/computation_overview#stability_and_predictability). The local Earth
Engine counts instead: functions that it calls, and pixels that it computes. The constants are of the order of what the
profiler of Earth Engine shows for chips; they are no measurement of it.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from eechips_local.protocol.request_errors import InvalidError

REQUEST_SECONDS = 0.004
"""EECU-seconds of a request that computes anything."""
CALL_SECONDS = 0.0002
"""EECU-seconds of a call of a function, for each element that a mapped function is called for."""
PIXEL_SECONDS = 2e-7
"""EECU-seconds of a pixel of a band that is read or computed, for each step: of each image of a mosaic, of each
operation on it."""
_PIXEL_BYTES = 5
"""Bytes of a pixel in a profile's peak memory: a value of 4 bytes, and a mask."""

PROFILE_REQUEST_HEADER = "x-earth-engine-computation-profiling"
PROFILE_RESPONSE_HEADER = "x-earth-engine-computation-profile"
GET_PROFILES = "Profile.getProfiles"

_PREFIX = "local-"
_MOST_IDS = 1000


@dataclass(slots=True)
class ComputeCost:
    """What the evaluation of a request has computed so far.

    Attributes:
        calls: calls of functions.
        pixels: pixels of bands, over all steps.
        stubs: ids of the datasets whose synthetic stubs were loaded; not those that the process has loaded before.
    """

    calls: int = 0
    pixels: int = 0
    stubs: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """EECU-seconds. Requests that compute nothing are free: descriptions of assets, profiles."""
        return sum(row.seconds for row in self.profile)

    @property
    def profile(self) -> tuple[ProfileRow, ...]:
        """The rows of the request's profile."""
        if not (self.calls or self.pixels):
            return ()
        rows = [
            ProfileRow(PIXEL_SECONDS * self.pixels, _PIXEL_BYTES * self.pixels, self.pixels, "Computing pixels"),
            ProfileRow(CALL_SECONDS * self.calls, 1000, self.calls, "Algorithms"),
            ProfileRow(REQUEST_SECONDS, 1000, 1, "(plumbing)"),
        ]
        return tuple(row for row in rows if row.count)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A row of a profile.

    Attributes:
        seconds: EECU-seconds.
        memory: bytes.
        count: number of events.
        description: description of what was done.
    """

    seconds: float
    memory: int
    count: int
    description: str


COST: ContextVar[ComputeCost | None] = ContextVar("COST", default=None)
"""Of the request that is being evaluated; None outside of one."""


def charge_call(name: str) -> None:
    """Charge the request that is being evaluated for a call of a function."""
    cost = COST.get()
    if cost is not None and name != GET_PROFILES:
        cost.calls += 1


def charge_pixels(count: int) -> None:
    """Charge the request that is being evaluated for pixels of bands."""
    cost = COST.get()
    if cost is not None:
        cost.pixels += count


def note_stub(dataset: str) -> None:
    """Note that the request that is being evaluated has loaded the stub of a dataset."""
    cost = COST.get()
    if cost is not None:
        cost.stubs.add(dataset)


def profile_id(cost: ComputeCost) -> str:
    """Return the id of a request's profile, unlike all others. It contains the profile: the server need not keep it."""
    text = json.dumps([cost.calls, cost.pixels, secrets.randbits(32)]).encode()
    return _PREFIX + base64.urlsafe_b64encode(binascii.crc32(text).to_bytes(4, "big") + text).decode().rstrip("=")


def find_profile(identifier: str) -> ComputeCost:
    """Return what a profile's id stands for.

    Raises:
        InvalidError: if the server has not made the id.
    """
    packed = identifier.removeprefix(_PREFIX)
    try:
        content = base64.b64decode(packed + "=" * (-len(packed) % 4), b"-_", validate=True)
        checksum, text = content[:4], content[4:]
        if packed == identifier or binascii.crc32(text).to_bytes(4, "big") != checksum:
            raise ValueError("not made here")
        calls, pixels, _ = json.loads(text)
        return ComputeCost(calls, pixels)
    except (ValueError, TypeError) as error:
        raise InvalidError(f"Profile '{identifier[:100]}' not found.") from error


def profile_text(identifiers: Sequence[str], most: int) -> str:
    """Return profiles together as a table, in the form of ``ee.profilePrinting``.

    Args:
        identifiers: ids of the profiles.
        most: rows at most; further ones are merged into the last.

    Raises:
        InvalidError: if an id is unknown, or there are none or too many.
    """
    if not 0 < len(identifiers) <= _MOST_IDS:
        raise InvalidError(f"Between 1 and {_MOST_IDS} profile ids are required, not {len(identifiers)}.")
    if most < 1:
        raise InvalidError("maxEntries must be positive.")
    whole = ComputeCost()
    requests = 0
    for identifier in identifiers:
        cost = find_profile(identifier)
        whole.calls, whole.pixels = whole.calls + cost.calls, whole.pixels + cost.pixels
        requests += bool(cost.profile)
    rows = [
        ProfileRow(REQUEST_SECONDS * requests, row.memory, requests, row.description)
        if row.description == "(plumbing)"
        else row
        for row in whole.profile
    ]
    rows.sort(key=lambda row: -row.seconds)
    if len(rows) > most:
        merged = rows[most - 1 :]
        rows[most - 1 :] = [
            ProfileRow(
                sum(r.seconds for r in merged), max(r.memory for r in merged), sum(r.count for r in merged), "(...)"
            )
        ]
    return "".join([" EECU·s PeakMem   Count  Description\n", *map(_line, rows)])


def _line(row: ProfileRow) -> str:
    seconds = f"{row.seconds:.3f}" if row.seconds >= 0.0005 else "-"
    memory = next((f"{row.memory / size:.0f}{unit}" for size, unit in _SIZES if row.memory >= size), str(row.memory))
    return f"{seconds:>7} {memory:>7} {row.count:>7}  {row.description}\n"


_SIZES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
