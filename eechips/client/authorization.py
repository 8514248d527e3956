"""Authorizing requests with access tokens that expire.

One :class:`Authorizer` serves all threads of a process. A token is refreshed once, by the thread that finds it stale;
the others use the old one as long as it is valid, and wait for the new one after that. An outage of the token endpoint
that is over before the token expires delays nothing. Failures to refresh are classified by what the token endpoint did,
not by the class that google.auth raises: its ``RefreshError`` stands for a revoked account as well as for an endpoint
that is down for a moment (https://googleapis.dev/python/google-auth/latest/reference/google.auth.exceptions.html).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, MutableMapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from eechips.client.classify import classify_exception, is_passing
from eechips.client.scrub import scrub
from eechips.errors import ConfigurationError, EechipsError, TransientError, UnreachableError

if TYPE_CHECKING:
    import requests

_MARGIN = 225.0
"""Seconds before its expiry at which a token is replaced: google.auth's own margin, which suits the metadata server,
as that hands out its cached token until 300 seconds before the end."""
_MARGIN_PART = 0.25
"""The margin is at most this part of a token's lifetime: a token of two minutes is not refreshed for each request."""
_LAST = 10.0
"""Seconds before its expiry at which a token is not used any more: it has to arrive, and clocks differ."""
_TIMEOUT = 30.0
"""Seconds to wait for an answer of a token endpoint, at most: google.auth would wait for 120, three times."""
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
"""Seconds between two tries to refresh, while the token endpoint fails."""
_PASSING = re.compile(r"temporarily_unavailable|internal_failure|server_error", re.IGNORECASE)
"""Errors of OAuth that say so themselves: https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1."""
_WRONG_CLOCK = re.compile(r"reasonable timeframe|iat and exp|token used too (?:early|late)", re.IGNORECASE)
_LONGEST = 600  # characters of a message


class Authorizer:
    """Adds a valid access token to requests. Threads may share it.

    Args:
        credentials: of google.auth.
        clock: seconds, monotonic.
    """

    def __init__(self, credentials: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._clock = clock
        self._refreshing = threading.Lock()
        self._stale_from = self._expires_at = float("-inf")
        if credentials.token:
            self._begin_token()
        self._refused: str | None = None
        self._accepted: str | None = None
        self._had_token = bool(credentials.token)
        self._delay = _FIRST_DELAY
        self._not_before = float("-inf")
        self._failure: UnreachableError | None = None

    def authorize(self, headers: MutableMapping[str, str]) -> str:
        """Adds the authorization to the headers of a request; refreshes the token first if it is about to expire.

        The credentials' own quota project is left out, as the Earth Engine client does: the request names its project.

        Returns:
            The token, for :meth:`accept` and :meth:`renew`.

        Raises:
            UnreachableError: if no token can be had at present; ``retry_after`` says when to try again.
            TransientError: if what came was no token.
            ConfigurationError: if the credentials do not work; says what to do.
        """
        if not self._is_valid or not self._is_due:
            with self._refreshing:
                if not self._is_valid:
                    self._refresh()
                return self._apply(headers)
        if self._refreshing.acquire(blocking=False):  # else another thread is about it
            try:
                if self._is_due and self._clock() >= self._not_before:
                    self._refresh()
            except TransientError:
                if not self._is_valid:
                    raise
            finally:
                self._refreshing.release()
        return self._apply(headers)

    @property
    def _is_valid(self) -> bool:
        """Whether there is a token that the service takes, as far as is known."""
        token = self._credentials.token
        return bool(token) and token != self._refused and self._clock() < self._expires_at

    @property
    def _is_due(self) -> bool:
        """Whether the token is to be replaced."""
        return self._clock() >= self._stale_from

    def _apply(self, headers: MutableMapping[str, str]) -> str:
        fields: dict[str, str] = {}
        self._credentials.apply(fields)
        headers.update({name: value for name, value in fields.items() if name.lower() != "x-goog-user-project"})
        return next(value for name, value in fields.items() if name.lower() == "authorization").partition(" ")[2]

    def accept(self, token: str) -> None:
        """Takes note that the service has taken a token."""
        self._accepted = token

    def is_accepted(self, token: str) -> bool:
        """Whether the service has taken this token for another request."""
        return token == self._accepted

    def renew(self, token: str) -> None:
        """Has the next request use another token than this one, which the service refused."""
        with self._refreshing:
            if token == self._credentials.token:  # else another thread has replaced it already
                self._refused = token

    def _refresh(self) -> None:
        if self._failure is not None and self._clock() < self._not_before:
            raise _unreachable(str(self._failure), self._not_before - self._clock())
        from eechips.client.sessions import open_token_session

        session = open_token_session()  # tokens last for an hour: no connection would
        request = _request(session)
        try:
            self._credentials.refresh(request)
        except UnreachableError as error:
            self._failure = error
            raise _unreachable(str(error), self._postpone()) from None
        except EechipsError:
            raise
        except Exception as error:  # noqa: BLE001 - TypeError, KeyError and more for an answer that is no token
            self._postpone()
            raise self._classify(error, request.status) from None  # the original may quote a secret
        finally:
            session.close()
        self._begin_token()
        self._had_token, self._refused, self._failure, self._delay = True, None, None, _FIRST_DELAY

    def _postpone(self) -> float:
        """Puts the next try off; returns for how many seconds."""
        delay = self._delay
        self._not_before, self._delay = self._clock() + delay, min(delay * 2, _LONGEST_DELAY)
        return delay

    def _begin_token(self) -> None:
        """Notes until when the token is valid, and when it is to be replaced; never for one that does not expire."""
        expiry, now = self._credentials.expiry, self._clock()
        if expiry is None:
            self._stale_from = self._expires_at = float("inf")
            return
        left = float((expiry - datetime.now(timezone.utc).replace(tzinfo=None)).total_seconds())
        self._stale_from = now + left - min(_MARGIN, left * _MARGIN_PART)
        self._expires_at = now + left - min(_LAST, left * _MARGIN_PART)

    def _classify(self, error: Exception, status: int | None) -> EechipsError:
        """The error that a failed refresh stands for.

        Args:
            error: what google.auth raised.
            status: of the token endpoint's last answer; None if nothing was asked.
        """
        text = _text(error)
        if status is not None and 200 <= status < 400:
            return TransientError(
                "could not refresh the credentials: what came is no token; a proxy or a login page may be in between"
            )
        if status is None and self._had_token and not self._is_incapable:
            return TransientError(f"could not refresh the credentials: {text}")  # a file may be about to be replaced
        if _WRONG_CLOCK.search(text):
            return ConfigurationError(f"the credentials do not work ({text}): set the clock of this machine")
        return classify_exception(error) or ConfigurationError(f"the credentials do not work ({text})")

    @property
    def _is_incapable(self) -> bool:
        """Whether the credentials are a mere token, which nothing can refresh."""
        credentials = self._credentials
        return hasattr(credentials, "refresh_token") and credentials.refresh_token is None


def _unreachable(text: str, seconds: float) -> UnreachableError:
    return UnreachableError(text[:_LONGEST], retry_after=seconds)


def _text(error: BaseException) -> str:
    first = error.args[0] if error.args else error
    return " ".join(scrub(str(first)).split())[:_LONGEST]


def _request(session: requests.Session) -> Any:
    """What google.auth sends its requests with; ``status`` is that of the last answer.

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
                found = classify_exception(error.__cause__ or error)
                if isinstance(found, ConfigurationError):  # a certificate that is not trusted
                    raise found from None
                raise UnreachableError(f"could not refresh the credentials: {found or _text(error)}") from None
            self.status = response.status
            told = bytes(response.data[:_LONGEST]).decode("utf-8", "replace")
            if is_passing(response.status) or (response.status >= 400 and _PASSING.search(told)):
                text = " ".join(scrub(told).split())[:200]
                raise UnreachableError(f"could not refresh the credentials: HTTP {response.status} {text}")
            return response

    return Request(session=session)
