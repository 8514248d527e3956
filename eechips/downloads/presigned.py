"""Addresses that a catalogue gives with a query, which may be a signature: used while they open, then asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from eechips.downloads.signing import SignedUrl, Signer
from eechips.errors import TransientError
from eechips.urls import display_url, is_signed

AssetKey = tuple[str | None, str, str]
"""Collection, item and key of an asset."""

_INTERVAL = 0.5
"""Seconds between two questions to the catalogue."""
_ASKS = 2
"""Questions for one asset whose addresses are refused one after the other."""
_USELESS, _OLD = 3, 60.0
"""After so many new addresses that are refused at once, those younger than so many seconds are not asked for again:
hosts that refuse them do so for another reason than their age."""
_GLANCE = 0.2  # seconds between two looks whether an answer that is on its way has brought an address


@dataclass(frozen=True, slots=True)
class AssetReference:
    """An asset whose address is wanted.

    Attributes:
        href: its address, as it is stored.
        asset: which it is.
    """

    href: str
    asset: AssetKey

    @property
    def collection(self) -> str:
        """Of its item; empty if it has none."""
        return self.asset[0] or ""


class _State(threading.local):
    """What a thread has done last.

    Attributes:
        used: address of the catalogue's that it used.
        is_new: whether that was the first use of one that it had asked for.
        is_next_new: whether the next one is.
        asset: that it has asked for last.
        asks: questions for that asset.
    """

    used: str | None = None
    is_new: bool = False
    is_next_new: bool = False
    asset: AssetKey | None = None
    asks: int = 0


class PresignedUrls:
    """Leaves addresses as the catalogue has given them, if they have a query; has another signer do all others.

    Queries are not stored. Whoever resumes with a stored answer, or needs longer than signatures open, has the
    catalogue asked again. An address that does not open even so is the other signer's from then on. Threads share it.

    Args:
        inner: the other signer.
        signed: addresses with a query, by their assets. May grow, also while the catalogue is asked.
        before: assets that the catalogue has given with a query to an earlier command.
        ask: has the catalogue asked again, so that ``signed`` has what it gives now; returns why that failed, or None.
        pause: waits; may raise to stop.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        inner: Signer,
        signed: dict[AssetKey, str],
        before: Collection[AssetKey] = (),
        ask: Callable[[], str | None] = lambda: None,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._signed, self._ask, self._pause, self._clock = inner, signed, ask, pause, clock
        self._before = set(before)
        self._asked: float | None = None
        self._useless = 0
        self._asking = threading.Lock()
        self._state = _State()

    def headers(self, url: str) -> Mapping[str, str]:
        """As the other signer."""
        return self._inner.headers(url)

    def sign(self, wanted: AssetReference) -> SignedUrl:
        """The address as the catalogue gave it, or as the other signer does.

        Raises:
            TransientError: if the catalogue, which has to be asked, does not answer.
        """
        state, asset = self._state, wanted.asset
        if state.is_new:  # and it was not refused
            self._useless = state.asks = 0
        if asset in self._before and asset not in self._signed:
            self._renewed(wanted, None)
            self._before.discard(asset)
        found = state.used = self._signed.get(asset)
        state.is_new, state.is_next_new = state.is_next_new and found is not None, False
        if found is None or not is_signed(found):
            return self._inner.sign(found or wanted.href, wanted.collection)
        return SignedUrl(found)

    def renew(self, wanted: AssetReference, region: str | None = None) -> bool:
        """Whether there is another address than the one that this thread has used last, or another signature.

        Raises:
            TransientError: if the catalogue, which has to be asked, does not answer.
        """
        state, asset = self._state, wanted.asset
        refused = state.used
        if state.is_new:
            self._useless += 1
            state.is_new = False
        # Where the query is stored, because the user wants that, the catalogue may have another one by now.
        is_stored = refused is None and "?" in wanted.href and asset != state.asset
        if (refused is None or not is_signed(refused)) and self._inner.renew(
            refused or wanted.href, wanted.collection, region
        ):
            return True
        if refused is None and not is_stored:
            return False
        if state.asset != asset:
            state.asset, state.asks = asset, 0
        if state.asks < _ASKS and self._renewed(wanted, refused or wanted.href):
            state.is_next_new = True
            return True
        if self._signed.get(asset) == refused:
            self._signed.pop(asset, None)
        return refused is not None

    def _renewed(self, wanted: AssetReference, refused: str | None) -> bool:
        """Has the catalogue asked for an asset, unless another thread has; whether there is another address now."""

        def is_there() -> bool:
            return self._signed.get(wanted.asset, refused) != refused

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
                raise TransientError(f"{display_url(wanted.href)} has to be asked for again, and {error}")
            return is_there()
        finally:
            self._asking.release()
