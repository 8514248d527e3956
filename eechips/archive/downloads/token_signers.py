"""Sign requests of downloads with tokens that an endpoint issues, renewed before they expire: OAuth 2.0, shared access
signatures; check ``auth`` and its options.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.signers import (
    AUTHS,
    AuthName,
    HeaderSigner,
    LastToken,
    NetrcSigner,
    S3Signer,
    Secrets,
    Signer,
    basic_header,
    is_encrypted,
    matches_host,
    refuse_unencrypted,
)
from eechips.client import retry
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, PermanentError, UsageError
from eechips.text.timestamps import parse_timestamp
from eechips.web.urls import display_url

_BLOBS = ("*.blob.core.windows.net",)
_UNKNOWN_SECONDS = 300.0  # assumed validity of a signature without an expiry
_MARGIN, _SHARE = 30.0, 0.1
"""A signature is renewed so many seconds before it expires, or at this share of its validity, whichever is later."""
_POLICY = RetryPolicy(retries=5, delay=0.5, max_delay=8.0, total=60.0, longest_wait=60.0, is_of_run=False)
"""Longer waits are left to the repeats of the transfer, which a stop of the run ends."""


@dataclass(slots=True)
class _Token:
    """A token and its validity.

    Attributes:
        until: seconds since 1970, with a margin before the expiry.
        refresh: refresh token; None if there is none.
    """

    value: str
    until: float
    refresh: str | None = None


class OAuthSigner(Signer):
    """Send an OAuth 2.0 token, and renew it when it expires.

    The grants are client credentials (RFC 6749, 4.4), a resource owner's password (4.3), and refreshing (6).

    Args:
        token_url: URL that issues tokens.
        names: hosts that receive them.
        secrets: client id, client secret, user name and password.
    """

    def __init__(
        self, token_url: str, names: Sequence[str], secrets: Secrets, hosts: HostSessions, clock: Callable[[], float]
    ) -> None:
        self._url, self._names, self._hosts, self._clock = token_url, names, hosts, clock
        self._form = {"client_id": secrets.need("client_id", "auth='oauth'")}
        if secrets.get("client_secret"):
            self._form["client_secret"] = secrets.need("client_secret", "auth='oauth'")
        if secrets.get("username"):
            password = secrets.need("password", "auth='oauth' with a username")
            self._grant = {"grant_type": "password", "username": secrets.need("username", ""), "password": password}
        else:
            secrets.need("client_secret", "auth='oauth' without a username")
            self._grant = {"grant_type": "client_credentials"}
        self._token: _Token | None = None
        self._asking = threading.Lock()
        self._last = LastToken()

    def headers(self, url: str) -> Mapping[str, str]:
        """Return a valid token for hosts that may receive it; request one if necessary."""
        if not matches_host(url, self._names):
            return {}
        refuse_unencrypted(url)
        with self._asking:
            if self._token is None or self._token.until <= self._clock():
                self._token = self._fetch(self._token)
            self._last.value = self._token.value
            return {"Authorization": f"Bearer {self._token.value}"}

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        """Discard the token unless another thread has renewed it; return True."""
        with self._asking:
            if self._token is not None and self._token.value == self._last.value:  # else another thread renewed it
                self._token.until = 0.0
        return True

    def _fetch(self, before: _Token | None) -> _Token:
        if before is not None and before.refresh:
            try:
                return self._ask({"grant_type": "refresh_token", "refresh_token": before.refresh})
            except PermanentError:
                pass  # the refresh token has expired, too
        try:
            return self._ask(self._grant)
        except PermanentError as error:
            raise ConfigurationError(f"no token was issued: {error}") from None

    def _ask(self, grant: Mapping[str, str]) -> _Token:
        response = retry.call(lambda: self._hosts.request_json("POST", self._url, {}, {**self._form, **grant}), _POLICY)
        if not isinstance(response, dict) or not isinstance(response.get("access_token"), str):
            raise PermanentError(f"{display_url(self._url)} did not return an access_token")
        until = self._clock() + _use(_seconds(response.get("expires_in")))
        return _Token(response["access_token"], until, response.get("refresh_token"))


class SasSigner(Signer):
    """Request signed URLs from an endpoint, or tokens for all URLs of a collection.

    The Planetary Computer has both (https://planetarycomputer.microsoft.com/docs/concepts/sas/):
    ``GET /sign?href=…`` returns ``{"href", "msft:expiry"}``, ``GET /token/{collection}`` ``{"token", "msft:expiry"}``.

    Args:
        token_url: with ``{collection}``, or to which ``?href=`` is added.
        names: hosts whose URLs are signed; if empty, those of Azure for tokens, and all for signed URLs.
    """

    def __init__(self, token_url: str, names: Sequence[str], hosts: HostSessions, clock: Callable[[], float]) -> None:
        self._url, self._hosts, self._clock = token_url, hosts, clock
        self._is_token = "{collection}" in self._url
        self._names = names or (_BLOBS if self._is_token else ())
        self._known: dict[str, _Token] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._making = threading.Lock()
        self._last = LastToken()

    def sign(self, href: str, collection: str) -> str:
        """Return the URL with a valid signature; request one if necessary."""
        if self._names and not matches_host(href, self._names):
            return href
        key = collection if self._is_token else href
        with self._lock(key):
            known = self._known.get(key)
            if known is None or known.until <= self._clock():
                known = self._known[key] = self._fetch(href, collection)
        self._last.value = known.value
        if not self._is_token:
            return known.value
        return f"{href}{'&' if '?' in href else '?'}{known.value.lstrip('?')}"

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        """Discard the signature unless another thread has renewed it; return whether it applied to the URL."""
        key = collection if self._is_token else href
        with self._lock(key):
            known = self._known.get(key)
            if known is not None and known.value == self._last.value:  # else another thread renewed it
                del self._known[key]
        return not self._names or matches_host(href, self._names)

    def _fetch(self, href: str, collection: str) -> _Token:
        if self._is_token:
            url, name = self._url.replace("{collection}", quote(collection, safe="")), "token"
        else:
            url, name = f"{self._url}{'&' if '?' in self._url else '?'}href={quote(href, safe='')}", "href"
        response = retry.call(lambda: self._hosts.request_json("GET", url, {}), _POLICY)
        if not isinstance(response, dict) or not isinstance(response.get(name), str):
            raise PermanentError(f"{display_url(url)} did not return a {name}")
        return _Token(response[name], _expiry(response, self._clock()))

    def _lock(self, key: str) -> threading.Lock:
        with self._making:
            return self._locks.setdefault(key, threading.Lock())


def _expiry(response: Mapping[str, Any], now: float) -> float:
    """Return when to renew a signature, in seconds since 1970, from the endpoint's response."""
    for name in ("msft:expiry", "expiry", "expires", "expires_at", "expiration"):
        value = response.get(name)
        if isinstance(value, str) and (moment := parse_timestamp(value)) is not None:
            return now + _use(moment.timestamp() - now)
        if isinstance(value, (int, float)):
            return now + _use(float(value) - now)
    return now + _use(_seconds(response.get("expires_in")))


def _seconds(value: Any) -> float:
    """Return a validity in seconds; five minutes if it is unknown."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return _UNKNOWN_SECONDS


def _use(seconds: float) -> float:
    """Return the seconds for which to use a signature that is valid for so many seconds."""
    return max(0.0, seconds - min(_MARGIN, _SHARE * seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Authorisation of downloads.

    Attributes:
        kind: ``none``; ``bearer`` sends a token; ``basic`` sends a user name and password; ``netrc`` sends each host
            its entry of ``.netrc``; ``oauth`` sends a token that is requested with client credentials, or with a user
            name and password; ``sas`` requests signed URLs, or a token for the URLs of a collection, from an endpoint.
        hosts: hosts that receive the secrets: ``data.example.com``, ``*.example.com``; no others.
        token_url: URL for tokens of ``oauth`` and ``sas``; for ``sas`` it contains ``{collection}``, or receives
            ``?href=``.
        requester_pays: whether your AWS account pays for transfers from S3.

    Raises:
        UsageError: if parameters are missing or contradict each other.
        ConfigurationError: if the token URL is not https.
    """

    kind: AuthName = "none"
    hosts: tuple[str, ...] = ()
    token_url: str | None = None
    requester_pays: bool = False

    def __post_init__(self) -> None:
        if self.kind not in AUTHS:
            raise UsageError(f"auth must be one of {', '.join(AUTHS)}, not {self.kind!r}")
        needs_url = self.kind in ("oauth", "sas")
        if needs_url and not self.token_url:
            raise UsageError(f"auth={self.kind!r} needs token_url, the URL that issues tokens")
        if self.token_url and not needs_url:
            raise UsageError("token_url is only for auth='oauth' or auth='sas'")
        if self.kind in ("bearer", "basic", "oauth") and not self.hosts:
            raise UsageError(f"auth={self.kind!r} needs auth_host, the host that receives the secret")
        if self.token_url and not is_encrypted(self.token_url):
            raise ConfigurationError(f"{display_url(self.token_url)} is not https: no secrets are sent to it")


def make_signer(auth: Auth, secrets: Secrets, hosts: HostSessions, clock: Callable[[], float] = time.time) -> Signer:
    """Return the signer for a kind of authorisation.

    Raises:
        ConfigurationError: if a secret is missing.
    """
    inner: Signer
    if auth.kind == "bearer":
        token = secrets.need("token", "auth='bearer'")
        inner = HeaderSigner(auth.hosts, f"Bearer {token}")
    elif auth.kind == "basic":
        use = "auth='basic'"
        inner = HeaderSigner(auth.hosts, basic_header(secrets.need("username", use), secrets.need("password", use)))
    elif auth.kind == "netrc":
        inner = NetrcSigner()
    elif auth.kind == "oauth":
        inner = OAuthSigner(auth.token_url or "", auth.hosts, secrets, hosts, clock)
    elif auth.kind == "sas":
        inner = SasSigner(auth.token_url or "", auth.hosts, hosts, clock)
    else:
        inner = Signer()
    return S3Signer(inner, auth.requester_pays)
