"""Recognise addresses with signatures, find when these expire, hide them in records, and remember until then where
redirects lead.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlsplit

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.items.item_properties import milliseconds

_LONGEST = 3000.0  # seconds
_UNSTATED = 60.0  # seconds that a redirect is good for that does not say how long
_MARGIN = 60.0  # seconds before a signature expires
_MOST, _LONGEST_URL = 4096, 8192
_MAX_AGE = re.compile(r"(?i)(?:^|[,\s])max-age=\"?([0-9]{1,9})")
_FORBIDDEN = re.compile(r"(?i)(?:^|[,\s])(?:no-store|no-cache)")


@dataclass(frozen=True, slots=True)
class Redirect:
    """An address to which another one leads.

    Attributes:
        url: with its signature, so that no message shows it.
        until: seconds on the monotonic clock until which it is good.
        is_other_host: whether another host is on the way, which gets no credentials.
    """

    url: str = field(repr=False)
    until: float
    is_other_host: bool


class RedirectTargets:
    """Where addresses lead. Threads share it."""

    def __init__(self, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self._redirects: OrderedDict[str, Redirect] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, url: str) -> Redirect | None:
        """Return where an address leads, if that is known and good."""
        with self._lock:
            redirect = self._redirects.get(url)
        return redirect if redirect is not None and self._clock.monotonic() < redirect.until else None

    def remove(self, url: str) -> None:
        """Forget where an address leads."""
        with self._lock:
            self._redirects.pop(url, None)

    def keep(self, url: str, redirect: Redirect) -> None:
        """Remember where an address leads, unless that is too long an address."""
        if len(redirect.url) > _LONGEST_URL:
            return
        with self._lock:
            self._redirects[url] = redirect
            self._redirects.move_to_end(url)
            while len(self._redirects) > _MOST:
                self._redirects.popitem(last=False)

    def find_end(self, target: str, headers: Mapping[str, str]) -> float:
        """Return until when a redirect is good, on the monotonic clock.

        NASA's hosts say it by ``max-age`` (``try_download_from_bucket`` of https://github.com/asfadmin/thin-egress-app),
        others by the signature of the target only.

        Args:
            target: where it leads.
            headers: headers of the response that says so.
        """
        control = headers.get("Cache-Control", "")
        if _FORBIDDEN.search(control):
            return self._clock.monotonic()
        stated = _MAX_AGE.search(control)
        expiry = find_expiry(target)
        good = [_LONGEST]
        if expiry is not None:
            good.append(expiry - _MARGIN - self._clock.time())
        if stated is not None:
            good.append(float(stated[1]))
        elif expiry is None:
            good.append(_UNSTATED)
        return self._clock.monotonic() + min(good)


def find_expiry(url: str) -> float | None:
    """Return when the signature of an address expires, in seconds since 1970; None if it does not say so.

    Signatures of CloudFront, and S3's older ones, have ``Expires``; S3's newer ones have ``X-Amz-Date`` and
    ``X-Amz-Expires``; Azure's have ``se``.
    """
    values = {name: texts[0] for name, texts in parse_qs(urlsplit(url).query).items()}
    try:
        if "X-Amz-Date" in values:
            signed = datetime.strptime(values["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            return signed.timestamp() + float(values["X-Amz-Expires"])
        if "Expires" in values:
            return float(values["Expires"])
    except (ValueError, KeyError):
        return 0.0  # it says so in an unknown way
    expiry = milliseconds(values.get("se"))
    return None if expiry is None else expiry / 1000.0


def hide_signature(href: str) -> str:
    """Return an address as runs may record it: without its query, if that has a signature."""
    bare, _, query = href.partition("?")
    return bare if is_signed(query.partition("#")[0]) else href


def is_signed(query: str) -> bool:
    """Return whether an address has a signature already: of Azure, S3 or CloudFront."""
    return bool({"sig", "X-Amz-Signature", "Signature"} & set(parse_qs(query)))
