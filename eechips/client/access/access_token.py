"""Authorise requests with access tokens; refresh them before they expire, and after a refusal (401); classify failed
refreshes.

One :class:`Authorizer` serves all threads of a process. Workers inherit the token of the parent, and refresh it by
themselves. It is refreshed once in a process, by the thread that finds it stale; the others use the old one as long as
it is valid, and wait for the new one after that. An outage of the token endpoint that is over before the token expires
delays nothing; one thread at a time asks whether it is over. Failures to refresh are classified by what the token
endpoint did, not by the class that google.auth raises: its ``RefreshError`` stands for a revoked account as well as for
an endpoint that is down for a moment
(https://googleapis.dev/python/google-auth/latest/reference/google.auth.exceptions.html).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, MutableMapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from eechips.client.access.credentials import find_cure
from eechips.client.error_classification import classify_exception, is_transient_status
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
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
"""Seconds between two tries to refresh, while the token endpoint fails: they double."""
_PASSING = re.compile(r"temporarily_unavailable|internal_failure|server_error", re.IGNORECASE)
"""Errors of OAuth that pass, by their names: https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1."""
_WRONG_CLOCK = re.compile(r"reasonable timeframe|iat and exp|token used too (?:early|late)", re.IGNORECASE)
_OF_GCLOUD = re.compile(r" *Please run `gcloud[^`]*` to reauthenticate\.?", re.IGNORECASE)
"""Advice of google.auth for credentials of gcloud, which it gives for those of the Earth Engine client as well."""
_LONGEST = 600  # characters of a message


class Authorizer:
    """Source of valid access tokens for requests. Threads may share it.

    Args:
        credentials: credentials of google.auth.
        clock: seconds, monotonic.
    """

    def __init__(self, credentials: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials, self._clock = credentials, clock
        self._refreshing = threading.Lock()
        self._stale_from = self._expires_at = float("-inf")
        self._refused: str | None = None
        self._accepted: str | None = None
        self._failure: EechipsError | None = None
        self._not_before, self._delay = float("-inf"), _FIRST_DELAY  # of the next refresh, after a failure
        self._had_token = bool(credentials.token)
        if credentials.token:
            self._measure()

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
        if not self._is_valid:
            with self._refreshing:
                if not self._is_valid:
                    self._refresh()
        elif self._is_due and self._refreshing.acquire(blocking=False):  # else another thread is about it
            try:
                if self._is_due:
                    self._refresh()
            except TransientError:
                if not self._is_valid:
                    raise
            finally:
                self._refreshing.release()
        return self._apply(headers)

    @property
    def failure(self) -> str:
        """Why the last refresh failed; empty if it did not."""
        return "" if self._failure is None else str(self._failure)

    @property
    def _is_valid(self) -> bool:
        """Return whether there is a token that the service takes, as far as is known."""
        token = self._credentials.token
        return bool(token) and token != self._refused and self._clock() < self._expires_at

    @property
    def _is_due(self) -> bool:
        """Return whether the token is to be replaced."""
        return self._clock() >= self._stale_from

    def _apply(self, headers: MutableMapping[str, str]) -> str:
        fields: dict[str, str] = {}
        self._credentials.apply(fields)
        headers.update({name: value for name, value in fields.items() if name.lower() != "x-goog-user-project"})
        return next(value for name, value in fields.items() if name.lower() == "authorization").partition(" ")[2]

    def should_resend(self, token: str, status: int, resent: int, *, is_public: bool = False) -> bool:
        """Return whether a request is to be sent again because its token was refused; the next one has another token.

        A token may have expired by the clock of the service, or may have been revoked.

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
        if resent == 0:
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

    def _refresh(self) -> None:
        """Refresh the token, unless a refresh has just failed: then raise its error again."""
        left = self._not_before - self._clock()
        if self._failure is not None and left > 0.0:
            raise self._failure if isinstance(self._failure, ConfigurationError) else _unreachable(self._failure, left)
        from eechips.client.http.http_sessions import open_token_session

        session = open_token_session()  # tokens last for an hour: no connection would
        request = _request(session)
        try:
            self._credentials.refresh(request)
        except UnreachableError as error:
            raise _unreachable(error, self._postpone(error)) from None
        except EechipsError as error:
            self._postpone(error)
            raise
        except Exception as error:  # noqa: BLE001 - TypeError, KeyError and more for an answer that is no token
            classified = self._classify(error, request.status)
            self._postpone(classified)
            raise classified from None  # the original may quote a secret
        finally:
            session.close()
        self._measure()
        self._had_token, self._refused, self._failure, self._delay = True, None, None, _FIRST_DELAY

    def _postpone(self, error: EechipsError) -> float:
        """Postpone the next refresh after a failure; return the seconds until the next try."""
        is_final = not isinstance(error, TransientError)
        seconds = _LONGEST_DELAY if is_final else self._delay  # a run ends of a final one meanwhile
        self._failure, self._not_before = error, self._clock() + seconds
        self._delay = min(self._delay * 2, _LONGEST_DELAY)
        return seconds

    def _measure(self) -> None:
        """Note when the credentials' token expires, and when it is to be refreshed."""
        expiry, now = self._credentials.expiry, self._clock()
        if expiry is None:
            self._stale_from = self._expires_at = float("inf")
            return
        left = float((expiry - datetime.now(timezone.utc).replace(tzinfo=None)).total_seconds())
        self._stale_from = now + left - min(_MARGIN, left * _MARGIN_PART)
        self._expires_at = now + left - min(_LAST, left * _MARGIN_PART)

    def _classify(self, error: Exception, status: int | None) -> EechipsError:
        """Classify a failed refresh."""
        text = _text(error)
        if status is not None and 200 <= status < 400:
            return TransientError(
                "could not refresh the credentials: no token came back; a proxy or a login page may be in between"
            )
        is_token_only = getattr(self._credentials, "refresh_token", "") is None  # which cannot be refreshed
        if status is None and self._had_token and not is_token_only:
            return TransientError(f"could not refresh the credentials: {text}")  # a file may be about to be replaced
        known = classify_exception(error)
        if known is not None and not isinstance(known, ConfigurationError):
            return known
        cure = "set the clock of this machine" if _WRONG_CLOCK.search(text) else find_cure(self._credentials)
        return ConfigurationError(f"the credentials do not work ({text}). To resume: {cure}.")


def _unreachable(error: EechipsError, seconds: float) -> UnreachableError:
    return UnreachableError(str(error)[:_LONGEST], retry_after=seconds)


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
