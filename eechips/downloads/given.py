"""Addresses that a catalogue gives signed: used while they open, and asked for again when they do not any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

from eechips.downloads.signing import Address, Signer

_INTERVAL = 5.0
"""Seconds between two questions to the catalogue: what it signs and nobody accepts is not asked for without end."""


class Given:
    """Leaves addresses as they are that the catalogue has given signed; has another signer do all others.

    Signatures are not kept. Whoever goes on with a kept answer, or longer than signatures open, has the catalogue asked
    again. An address that does not open even so is the other signer's from then on. Threads share it.

    Args:
        inner: the other signer.
        signed: addresses with signatures, by what they are without. May grow.
        before: addresses, without signatures, that the catalogue has signed for an earlier command.
        ask: has the catalogue asked again, so that ``signed`` has what it signs now; raises nothing that it can tell.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        inner: Signer,
        signed: dict[str, str],
        before: Collection[str] = (),
        ask: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._signed, self._ask, self._clock = inner, signed, ask, clock
        self._before = set(before)
        self._asked: float | None = None
        self._asking = threading.Lock()
        self._last = threading.local()

    def headers(self, url: str) -> Mapping[str, str]:
        """As the other signer."""
        return self._inner.headers(url)

    def sign(self, href: str, collection: str) -> Address:
        """As the catalogue gave it, or as the other signer."""
        if href in self._before and href not in self._signed:
            with self._asking:
                if href in self._before and href not in self._signed:
                    self._ask_again()
                self._before.discard(href)
        found = self._last.value = self._signed.get(href)
        return self._inner.sign(href, collection) if found is None else Address(found)

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        """Whether there is another signature than the one that this thread has shown last, or another signer's."""
        refused = getattr(self._last, "value", None)
        if refused is None:
            return self._inner.renew(href, collection, region)
        with self._asking:
            if self._signed.get(href) == refused:  # else another thread was faster
                self._ask_again()
            if self._signed.get(href) == refused:
                del self._signed[href]
        return True

    def _ask_again(self) -> None:
        now = self._clock()
        if self._asked is None or now - self._asked >= _INTERVAL:
            self._ask()
            self._asked = self._clock()
