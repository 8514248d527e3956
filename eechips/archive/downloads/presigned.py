"""Use the presigned URLs of a catalogue while they are valid, then search the catalogue for new ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

from eechips.archive.downloads.signers import Signer
from eechips.errors import TransientError
from eechips.web.urls import display_url, is_signed

AssetKey = tuple[str | None, str, str]
"""Collection, item and key of an asset."""

_INTERVAL = 0.5
"""Seconds between two searches of the catalogue."""
_ASKS = 2
"""Searches for one asset whose URLs are rejected in a row."""
_USELESS, _OLD = 3, 60.0
"""After so many new URLs that are rejected at once, URLs younger than so many seconds are not renewed: their hosts
reject them for another reason than their age."""
_GLANCE = 0.2  # seconds between two checks whether another thread's search has brought a URL


class _State(threading.local):
    """State of a thread's last request.

    Attributes:
        used: presigned URL of the catalogue that was used.
        is_new: whether that was the first use of a renewed URL.
        is_next_new: whether the next use is.
        asset: the asset of the last search.
        asks: searches for that asset.
    """

    used: str | None = None
    is_new: bool = False
    is_next_new: bool = False
    asset: AssetKey | None = None
    asks: int = 0


class PresignedUrls:
    """Sign assets with the presigned URLs of the catalogue; leave all others to another signer.

    Queries are not stored. A run that resumes from the search cache, or that outlives the signatures, searches the
    catalogue again. A URL that is rejected even then is left to the other signer. Threads share it.

    Args:
        signed: URLs with a query, by asset. May grow, also during a search.
        before: assets that the catalogue presigned for an earlier command.
        ask: searches the catalogue again and updates ``signed``; returns the reason of a failure, or None.
        pause: waits; may raise to stop.
    """

    def __init__(
        self,
        inner: Signer,
        signed: dict[AssetKey, str],
        before: Collection[AssetKey] = (),
        ask: Callable[[], str | None] = lambda: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner, self._signed, self._ask, self._pause, self._clock = inner, signed, ask, pause, time.monotonic
        self._before = set(before)
        self._asked: float | None = None
        self._useless = 0
        self._asking = threading.Lock()
        self._state = _State()

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the headers of the other signer."""
        return self._inner.headers(url)

    def sign(self, href: str, asset: AssetKey) -> str:
        """Return the presigned URL of the catalogue, or the URL of the other signer.

        Raises:
            TransientError: if the search of the catalogue fails.
        """
        state = self._state
        if state.is_new:  # and it was accepted
            self._useless = state.asks = 0
        if asset in self._before and asset not in self._signed:
            self._renewed(href, asset, None)
            self._before.discard(asset)
        signed_url = state.used = self._signed.get(asset)
        state.is_new, state.is_next_new = state.is_next_new and signed_url is not None, False
        if signed_url is None or not is_signed(signed_url):
            return self._inner.sign(signed_url or href, asset[0] or "")
        return signed_url

    def renew(self, href: str, asset: AssetKey, region: str | None = None) -> bool:
        """Return whether there is another URL, or another signature, than the one this thread used last.

        Raises:
            TransientError: if the search of the catalogue fails.
        """
        state = self._state
        refused = state.used
        if state.is_new:
            self._useless += 1
            state.is_new = False
        # A stored query, which the user chose to keep, may be outdated.
        is_stored = refused is None and "?" in href and asset != state.asset
        is_other = refused is None or not is_signed(refused)
        if is_other and self._inner.renew(refused or href, asset[0] or "", region):
            return True
        if refused is None and not is_stored:
            return False
        if state.asset != asset:
            state.asset, state.asks = asset, 0
        if state.asks < _ASKS and self._renewed(href, asset, refused or href):
            state.is_next_new = True
            return True
        if self._signed.get(asset) == refused:
            self._signed.pop(asset, None)
        return refused is not None

    def _renewed(self, href: str, asset: AssetKey, refused: str | None) -> bool:
        """Search for an asset's URL unless another thread does; return whether there is another URL now."""

        def is_there() -> bool:
            return self._signed.get(asset, refused) != refused

        while not self._asking.acquire(timeout=_GLANCE):
            if is_there():
                return True
        try:
            if is_there():
                return True
            age = None if self._asked is None else self._clock() - self._asked
            if age is not None and self._useless >= _USELESS and age < _OLD:
                return False
            if age is not None and age < _INTERVAL:
                self._pause(_INTERVAL - age)
            self._state.asks += 1
            error = self._ask()
            self._asked = self._clock()
            if error is not None and not is_there():
                raise TransientError(f"the URL of {display_url(href)} has expired, and {error}")
            return is_there()
        finally:
            self._asking.release()
