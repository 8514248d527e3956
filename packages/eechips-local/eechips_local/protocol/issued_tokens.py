"""Exchange assertions that a service account has signed for access tokens, and check those of requests.

As Google does it: https://developers.google.com/identity/protocols/oauth2/service-account#httprest. Errors have the
form of RFC 6749, section 5.2.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from google.auth import jwt
from google.auth.exceptions import GoogleAuthError

from eechips_local.protocol.request_errors import EarthEngineError
from eechips_local.protocol.service_account import ServiceAccount

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""https://datatracker.ietf.org/doc/html/rfc7523#section-2.1"""
LIFETIME = 3600
"""Seconds of a token, and the greatest of an assertion: Google's."""

_SCOPE = "https://www.googleapis.com/auth/"
SCOPES = frozenset({f"{_SCOPE}earthengine", f"{_SCOPE}earthengine.readonly", f"{_SCOPE}cloud-platform"})
"""Scopes of which an assertion has one: https://developers.google.com/earth-engine/reference/rest/v1."""

_MOST = 10_000  # tokens; the oldest are forgotten
_SKEW = 10  # seconds by which clocks may differ


class GrantError(Exception):
    """A grant is refused.

    Attributes:
        code: ``invalid_grant``, ``invalid_scope`` or ``unsupported_grant_type``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class UnauthenticatedError(EarthEngineError):
    """The token of a request is unknown or has expired (HTTP 401)."""

    code = 401
    status = "UNAUTHENTICATED"


class TokenIssuer:
    """Issues the access tokens of a service account, and knows those that are valid.

    Args:
        account: whose key signs assertions.
        clock: seconds since 1970.
    """

    def __init__(self, account: ServiceAccount, clock: Callable[[], float] = time.time) -> None:
        self._account, self._clock = account, clock
        self._ends: dict[str, float] = {}

    def issue(self, grant: Mapping[str, str]) -> dict[str, Any]:
        """Return a new token for a grant, as OAuth's response has it.

        Raises:
            GrantError: if the grant has no valid assertion.
        """
        if grant.get("grant_type") != GRANT:
            raise GrantError("unsupported_grant_type", f"The grant_type must be {GRANT}.")
        self._check(grant.get("assertion", ""))
        now = self._clock()
        self._ends = {token: end for token, end in self._ends.items() if end > now}
        while len(self._ends) >= _MOST:
            del self._ends[next(iter(self._ends))]
        token = secrets.token_urlsafe(32)
        self._ends[token] = now + LIFETIME
        return {"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer"}

    def check(self, authorization: str | None) -> None:
        """Check the token of a request. Requests without one are anonymous, and are answered as well.

        Args:
            authorization: the header.

        Raises:
            UnauthenticatedError: if the server has not issued the token, or it has expired.
        """
        if authorization is None:
            return
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or self._ends.get(token.strip(), 0.0) <= self._clock():
            raise UnauthenticatedError(
                "Request had invalid authentication credentials. The access token is none of this server's, or it has"
                " expired: get one with the key that the server has written (serve --key)."
            )

    def _check(self, assertion: str) -> None:
        """Check the signature, the claims and the scopes of an assertion.

        Raises:
            GrantError: if one is wrong.
        """
        account = self._account
        try:
            if jwt.decode_header(assertion).get("alg") != "RS256":  # type: ignore[no-untyped-call]
                raise GrantError("invalid_grant", "Invalid JWT: the algorithm must be RS256.")
            claims = jwt.decode(  # type: ignore[no-untyped-call]
                assertion, account.public_key, audience=list(account.audiences), clock_skew_in_seconds=_SKEW
            )
            lifetime = claims["exp"] - claims["iat"]
        except (GoogleAuthError, ValueError, TypeError, RecursionError) as error:
            raise GrantError("invalid_grant", f"Invalid JWT: {str(error)[:200]}") from error
        if lifetime > LIFETIME:
            raise GrantError("invalid_grant", f"Invalid JWT: it must be valid for {LIFETIME} seconds at most.")
        if claims.get("iss") != account.email:
            raise GrantError("invalid_grant", "Invalid grant: account not found.")
        scope = claims.get("scope")
        if not (isinstance(scope, str) and SCOPES.intersection(scope.split())):
            raise GrantError("invalid_scope", f"Invalid scope: one of {', '.join(sorted(SCOPES))} is needed.")
