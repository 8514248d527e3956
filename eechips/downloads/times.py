"""Moments as others write them (RFC 3339, and what is near to it)."""

from __future__ import annotations

import datetime as dt
import re

_MOMENT = re.compile(r"(?P<head>[^.]+?)(?:[.,](?P<fraction>\d+))?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?")


def parse_moment(text: str) -> dt.datetime | None:
    """The moment that a text is, aware; UTC if it does not say. None if it is none.

    Python 3.10 takes neither Z, nor hours alone, nor fractions of other lengths than 3 and 6.
    """
    head, zone = text.strip(), ""
    if "T" in head or " " in head or "t" in head:
        found = _MOMENT.fullmatch(head)
        if found is None:
            return None
        head, zone = found["head"].replace("t", "T"), (found["zone"] or "")
        if found["fraction"]:
            head += f".{found['fraction'][:6]:0<6}"
        zone = "+00:00" if zone in ("Z", "z") else zone
        if len(zone) == 3:
            zone += ":00"
        elif len(zone) == 5:
            zone = f"{zone[:3]}:{zone[3:]}"
    try:
        moment = dt.datetime.fromisoformat(head + zone)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
