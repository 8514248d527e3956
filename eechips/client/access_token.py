"""Authorise requests with access tokens, and refresh tokens before they expire.

One :class:`Authorizer` serves all threads of a process, and the processes of a run share one token
(:mod:`eechips.client.shared_token`). It is refreshed once, by the thread that finds it stale; the others, of all
processes, use the old one as long as it is valid, and wait for the new one after that. An outage of the token endpoint
that is over before the token expires delays nothing; one process at a time asks whether it is over. Failures to refresh
are classified by what the token endpoint did, not by the class that google.auth raises: its ``RefreshError`` stands for
a revoked account as well as for an endpoint that is down for a moment
(https://googleapis.dev/python/google-auth/latest/reference/google.auth.exceptions.html).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from eechips.client.credentials import find_cure
from eechips.client.error_classification import classify_exception, is_transient_status
from eechips.client.shared_token import SharedToken, TokenState
from eechips.errors import ConfigurationError, EechipsError, TransientError, UnreachableError
from eechips.web.redaction import redact

if TYPE_CHECKING:
    import requests

_MARGIN = 225.0
"""Seconds before its expiry at which a token is replaced: google.auth's own margin, which suits the metadata server,
as that hands out its cached token until 300 seconds before the end."""
_MARGIN_PART = 0.25
"""The margin is at most this part of a token's lifetime: a token of two minutes is not refreshed for each request."""
_LAST = 10.0
"""Seconds before its expiry from which a token is not used: it has to arrive, and clocks differ."""
_UNAUTHENTICATED = 401
_TIMEOUT = 30.0
"""Seconds to wait for an answer of a token endpoint, at most: google.auth would wait for 120, three times."""
_LONGEST_DELAY = 30.0
"""Seconds between two tries to refresh, while the token endpoint fails."""
_NAP = 0.05
"""Seconds between two looks whether another process has refreshed the token."""
_PASSING = re.compile(r"temporarily_unavailable|internal_failure|server_error", re.IGNORECASE)
"""Errors of OAuth that say so themselves: https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1."""
_WRONG_CLOCK = re.compile(r"reasonable timeframe|iat and exp|token used too (?:early|late)", re.IGNORECASE)
_OF_GCLOUD = re.compile(r" *Please run `gcloud[^`]*` to reauthenticate\.?", re.IGNORECASE)
"""Advice of google.auth for credentials of gcloud, which it gives for those of the Earth Engine client as well."""
_LONGEST = 600  # characters of a message


class Authorizer:
    """Source of valid access tokens for requests. Threads may share it.

    Args:
        credentials: credentials of google.auth.
        shared: the token that the processes of a run share; None for one of its own.
        clock: seconds, monotonic; for a shared token the same in all processes.
    """

    def __init__(
        self, credentials: Any, shared: SharedToken | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._shared = SharedToken() if shared is None else shared
        self._clock = clock
        self._refreshing = threading.Lock()
        self._state = self._measured() if credentials.token else TokenState()
        self._refused: str | None = None
        self._accepted: str | None = None
        self._adopted: str | None = None
        self._had_token = bool(credentials.token)
        self._adopt(self._shared.read())

    def authorize(self, headers: MutableMapping[str, str]) -> str:
        """Add the authorization to the headers of a request; refreshes the token first if it is about to expire.

        The credentials' own quota project is left out, as the Earth Engine client does: the request names its project.

        Returns:
            The token, for :meth:`should_resend`.

        Raises:
            UnreachableError: if no token can be had at present; ``retry_after`` says when to try again.
            TransientError: if what came was no token.
            ConfigurationError: if the credentials do not work; says what to do.
        """
        if not self._is_valid or not self._is_due:
            with self._refreshing:
                if not self._is_valid:
                    self._replace()
                return self._apply(headers)
        if self._refreshing.acquire(blocking=False):  # else another thread is about it
            try:
                if self._is_due:
                    self._replace()
            finally:
                self._refreshing.release()
        return self._apply(headers)

    @property
    def _is_valid(self) -> bool:
        """Return whether there is a token that the service takes, as far as is known."""
        token = self._credentials.token
        return bool(token) and token != self._refused and self._clock() < self._state.expires_at

    @property
    def _is_due(self) -> bool:
        """Return whether the token is to be replaced."""
        return self._clock() >= self._state.stale_from

    def _apply(self, headers: MutableMapping[str, str]) -> str:
        fields: dict[str, str] = {}
        self._credentials.apply(fields)
        headers.update({name: value for name, value in fields.items() if name.lower() != "x-goog-user-project"})
        return next(value for name, value in fields.items() if name.lower() == "authorization").partition(" ")[2]

    def should_resend(self, token: str, status: int, resent: int, *, is_public: bool = False) -> bool:
        """Return whether a request is to be sent again because its token was refused; the next one has another token.

        A token may have expired by the clock of the service, or may have been revoked. The second one is replaced only
        if another process has obtained it, as it may be as old as the first.

        Args:
            resent: number of times that the request was sent again already.
            is_public: whether the service responds to anybody, so that its response shows nothing of the token.

        Raises:
            TransientError: if the last token was accepted for other requests.
        """
        if status != _UNAUTHENTICATED:
            if status < 500 and status not in (408, 429) and not is_public:  # the token was accepted
                self._accepted = token
            return False
        if resent == 0 or (resent == 1 and token == self._adopted):
            self._refuse(token)
            return True
        if token == self._accepted:
            raise TransientError(
                "the credentials were refused, as they were not for other requests; if that goes on,"
                f" {find_cure(self._credentials)}",
                status=status,
            )
        return False

    def _refuse(self, token: str) -> None:
        """Do not use a token again."""
        with self._refreshing:
            if token == self._credentials.token:  # else another thread has replaced it already
                self._refused = token

    def _replace(self) -> None:
        """Replace the token by that of another process, or refresh it.

        While another process is refreshing, a token that is still valid is kept, and otherwise the new one is awaited.
        """
        try:
            while not self._follow():
                if self._shared.acquire():
                    try:
                        if not self._follow():  # another process may just have been quicker
                            self._refresh()
                    finally:
                        self._shared.release()
                    return
                if self._is_valid:
                    return
                time.sleep(_NAP)
        except TransientError:
            if not self._is_valid:
                raise

    def _follow(self) -> bool:
        """Adopt the token, or the failure, of other processes; return whether there is a token to be used."""
        state = self._shared.read()
        self._adopt(state)
        if self._is_valid and not self._is_due:
            return True
        left = state.not_before - self._clock()
        if state.failure and left > 0.0:
            raise ConfigurationError(state.failure) if state.is_final else _unreachable(state.failure, left)
        return False

    def _adopt(self, state: TokenState) -> None:
        """Use the token of another process, if it is newer than that of this one."""
        if state.generation <= self._state.generation or not state.token or self._clock() >= state.expires_at:
            return
        self._credentials.token = self._adopted = state.token
        self._credentials.expiry = None if state.expiry is None else datetime.fromisoformat(state.expiry)
        self._state, self._had_token, self._refused = state, True, None

    def _refresh(self) -> None:
        from eechips.client.http_sessions import open_token_session

        generation = self._shared.read().generation
        session = open_token_session()  # tokens last for an hour: no connection would
        request = _request(session)
        try:
            self._credentials.refresh(request)
        except UnreachableError as error:
            raise _unreachable(str(error), self._postpone(error, generation)) from None
        except EechipsError as error:
            self._postpone(error, generation)
            raise
        except Exception as error:  # noqa: BLE001 - TypeError, KeyError and more for an answer that is no token
            classified = self._classify(error, request.status)
            self._postpone(classified, generation)
            raise classified from None  # the original may quote a secret
        finally:
            session.close()
        self._state = self._publish(self._measured())
        self._had_token, self._refused = True, None

    def _publish(self, measured: TokenState) -> TokenState:
        """Give a new token to the other processes."""

        def publish(shared_state: TokenState) -> TokenState:
            generation = max(shared_state.generation, self._state.generation) + 1
            return replace(measured, generation=generation, lease_until=shared_state.lease_until)

        return self._shared.update(publish)

    def _postpone(self, error: EechipsError, generation: int) -> float:
        """Postpone the next refresh in all processes; return the seconds until the next try."""
        now = self._clock()

        def put_off(shared_state: TokenState) -> TokenState:
            if shared_state.generation != generation:  # another process has taken the refresh over, and has got a token
                return shared_state
            is_final = not isinstance(error, TransientError)
            return replace(
                shared_state,
                failure=str(error)[:_LONGEST],
                is_final=is_final,
                not_before=now + (_LONGEST_DELAY if is_final else shared_state.delay),  # a run ends of it meanwhile
                delay=min(shared_state.delay * 2, _LONGEST_DELAY),
            )

        return max(0.0, self._shared.update(put_off).not_before - now)

    def _measured(self) -> TokenState:
        """Return the state of the credentials' token: when it expires, and when it is refreshed."""
        token, expiry, now = self._credentials.token, self._credentials.expiry, self._clock()
        text = token.decode() if isinstance(token, bytes) else str(token)
        if expiry is None:
            return TokenState(token=text, stale_from=float("inf"), expires_at=float("inf"))
        left = float((expiry - datetime.now(timezone.utc).replace(tzinfo=None)).total_seconds())
        return TokenState(
            token=text,
            expiry=expiry.isoformat(),
            stale_from=now + left - min(_MARGIN, left * _MARGIN_PART),
            expires_at=now + left - min(_LAST, left * _MARGIN_PART),
        )

    def _classify(self, error: Exception, status: int | None) -> EechipsError:
        """Classify a failed refresh."""
        text = _text(error)
        if status is not None and 200 <= status < 400:
            return TransientError(
                "could not refresh the credentials: no token came back; a proxy or a login page may be in between"
            )
        if status is None and self._had_token and not self._is_incapable:
            return TransientError(f"could not refresh the credentials: {text}")  # a file may be about to be replaced
        known = classify_exception(error)
        if known is not None and not isinstance(known, ConfigurationError):
            return known
        cure = "set the clock of this machine" if _WRONG_CLOCK.search(text) else find_cure(self._credentials)
        return ConfigurationError(f"the credentials do not work ({text}). To resume: {cure}.")

    @property
    def _is_incapable(self) -> bool:
        """Return whether the credentials are only a token, which cannot be refreshed."""
        credentials = self._credentials
        return hasattr(credentials, "refresh_token") and credentials.refresh_token is None


def _unreachable(text: str, seconds: float) -> UnreachableError:
    return UnreachableError(text[:_LONGEST], retry_after=seconds)


def _text(error: BaseException) -> str:
    first = error.args[0] if error.args else error
    text = " ".join(redact(str(first)).split())[:_LONGEST]
    return _OF_GCLOUD.sub("", text).rstrip(". ")


def _request(session: requests.Session) -> Any:
    """Return the callable that google.auth sends its requests with; ``status`` is that of the last response.

    It raises UnreachableError for what may pass, so that nothing below repeats and waits, deaf to a run that stops.
    """
    import google.auth.exceptions
    import google.auth.transport.requests

    base: Any = google.auth.transport.requests.Request

    class Request(base):  # type: ignore[misc]
        status: int | None = None

        def __call__(self, *args: Any, **options: Any) -> Any:
            options["timeout"] = min(options.get("timeout") or _TIMEOUT, _TIMEOUT)
            self.status = None
            try:
                response = super().__call__(*args, **options)
            except google.auth.exceptions.TransportError as error:
                classified = classify_exception(error.__cause__ or error)
                if isinstance(classified, ConfigurationError):  # a certificate that is not trusted
                    raise classified from None
                raise UnreachableError(f"could not refresh the credentials: {classified or _text(error)}") from None
            self.status = response.status
            body = bytes(response.data[:_LONGEST]).decode("utf-8", "replace")
            if is_transient_status(response.status) or (response.status >= 400 and _PASSING.search(body)):
                text = " ".join(redact(body).split())[:200]
                raise UnreachableError(f"could not refresh the credentials: HTTP {response.status} {text}")
            # Token endpoints have their errors as JSON (RFC 6749, 5.2); a machine's metadata server, asked by GET, not.
            if response.status >= 400 and options.get("method") == "POST" and not body.lstrip().startswith("{"):
                raise UnreachableError(
                    f"could not refresh the credentials: HTTP {response.status} that is not of the token endpoint;"
                    " a proxy or a login page may be in between"
                )
            return response

    return Request(session=session)
