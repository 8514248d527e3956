"""Send the requests that a recorder forwards with the user's Google credentials.

They are found as the Earth Engine client finds them: those that `earthengine authenticate` has stored, else the
application-default ones (https://developers.google.com/earth-engine/guides/auth). They go to Google's hosts only,
unless the user allows another one.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eechips_local.protocol.request_errors import UnavailableError
from eechips_local.recording.upstream import LOOPBACK, CredentialsError, Upstream, check_address

_SCOPES = ("https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform")
_TOKEN_ADDRESSES = ("token_uri", "token_url", "service_account_impersonation_url")
"""Fields of a file of credentials with addresses to which secrets are sent in exchange for a token."""
_USERS_TOKENS = "https://accounts.google.com/o/oauth2/token"
"""Of files that older tools of Google have written for users."""
_SECRETS = ("refresh_token", "client_secret", "token", "service_account_email", "signer_email", "account")
_UNAUTHENTICATED = 401
_CURE = "sign in again with `earthengine authenticate --force`, or name another file of credentials"
_LONGEST = 300  # characters of a message of Google's


@dataclass(frozen=True, slots=True)
class Account:
    """Whose credentials a recorder sends.

    Attributes:
        description: their kind and their owner, without secrets; empty where none are sent.
        project: project of theirs; empty for none.
        secrets: texts of theirs that must not be published, such as tokens and names.
    """

    description: str = ""
    project: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)


class GoogleCredentials:
    """The user's credentials for the service that is recorded. Threads may share them.

    Args:
        credentials: credentials of google.auth.
    """

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._turn = threading.Lock()

    def authorize(self, headers: MutableMapping[str, str]) -> str:
        """Add the authorization to the headers of a request, and return the token.

        Raises:
            CredentialsError: if the credentials do not work; says what to do.
            UnavailableError: if there is no token at present.
        """
        with self._turn:
            if not self._credentials.valid:
                self._refresh()
            token = str(self._credentials.token)
        headers["authorization"] = f"Bearer {token}"
        return token

    def should_resend(self, token: str, status: int, resent: int) -> bool:
        """Return whether a request is to be sent again because its token was refused; the next one has another token.

        Raises:
            CredentialsError: if the credentials do not work.
            UnavailableError: if there is no token at present.
        """
        if status != _UNAUTHENTICATED or resent:
            return False
        with self._turn:
            if token == self._credentials.token:  # else another thread has replaced it already
                self._refresh()
        return True

    def describe(self) -> Account:
        """Return whose credentials these are."""
        account = getattr(self._credentials, "service_account_email", None)
        quota_project = getattr(self._credentials, "quota_project_id", None)
        kind = f"service account {account}" if account else "a user's" if self._is_users else "application-default"
        return Account(
            kind + (f", of project {quota_project}" if quota_project else ""),
            str(quota_project or getattr(self._credentials, "project_id", None) or ""),
            tuple(str(secret) for name in _SECRETS if (secret := getattr(self._credentials, name, None))),
        )

    @property
    def _is_users(self) -> bool:
        return bool(getattr(self._credentials, "refresh_token", None))

    def _refresh(self) -> None:
        import google.auth.exceptions
        from google.auth.transport.requests import Request

        try:
            self._credentials.refresh(Request())
        except google.auth.exceptions.TransportError:
            raise UnavailableError("The recorder sent no request: the token endpoint cannot be reached.") from None
        except google.auth.exceptions.GoogleAuthError as error:  # its second argument may quote a secret
            text = " ".join(str(error.args[0] if error.args else error).split())[:_LONGEST]
            if getattr(error, "retryable", False):
                raise UnavailableError(f"The recorder sent no request: no token at present ({text}).") from None
            message = f"The recorder sent no request: the credentials do not work ({text}). To resume: {_CURE}."
            raise CredentialsError(message) from None


def open_upstream(
    address: str, key_file: Path | None = None, *, send_anywhere: bool = False
) -> tuple[Upstream, Account]:
    """Open the service to be recorded, and get a token for it if it is to have credentials.

    Args:
        address: base URL of the service.
        key_file: key file of credentials; None for those that the Earth Engine client finds.
        send_anywhere: the user's consent to send credentials to a host that is not Google's.

    Returns:
        The service, and whose credentials it gets.

    Raises:
        ValueError: if the address is not that of a service that can be recorded.
        CredentialsError: if there are no credentials, or those there are do not work; says what to do.
        UnavailableError: if there is no token at present.
    """
    address = check_address(address)
    is_local = urlsplit(address).hostname in LOOPBACK
    if not is_google(address) and not send_anywhere:
        if key_file is not None and not is_local:
            raise CredentialsError(
                f"refused to send credentials to {address}: it is not https at *.googleapis.com; --send-credentials"
                " allows it"
            )
        reason = "" if is_local else f"none are sent to {address}: it is not one of Google's hosts"
        return Upstream(address), Account(reason)
    credentials = GoogleCredentials(_load_file(key_file) if key_file is not None else _load_default())
    credentials.authorize({})
    return Upstream(address, credentials), credentials.describe()


def is_google(address: str) -> bool:
    """Return whether an address is https at a host of Google's APIs."""
    # The whole of it: libraries differ in which host an address with a backslash or a user name has.
    return re.fullmatch(r"https://[a-z0-9.-]+\.googleapis\.com(?::443)?(?:/[\w./:@-]*)?", address) is not None


def _load_file(path: Path) -> Any:
    """Read the credentials of a file. Addresses in it have to be Google's: a file of others could name theirs."""
    import google.auth
    import google.auth.exceptions

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CredentialsError(f"cannot read the credentials {path}: {type(error).__name__}") from None
    for address in _token_addresses(content):
        if not is_google(address) and address != _USERS_TOKENS:
            raise CredentialsError(
                f"{path} exchanges its tokens at {urlsplit(address).hostname}, which is not Google's: if you trust the"
                " file, set GOOGLE_APPLICATION_CREDENTIALS to its path instead of --credentials"
            )
    try:
        load: Any = google.auth.load_credentials_from_file
        return load(str(path), scopes=_SCOPES)[0]
    except google.auth.exceptions.GoogleAuthError as error:
        raise CredentialsError(f"{path} has no credentials: {type(error).__name__}") from None


def _token_addresses(content: Any) -> Iterator[str]:
    """Yield the addresses of a file, at any depth, to which its secrets would be sent."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name in _TOKEN_ADDRESSES and isinstance(value, str):
                yield value
            yield from _token_addresses(value)


def _load_default() -> Any:
    """Return the credentials that the Earth Engine client has stored, else the application-default ones."""
    import ee.oauth
    import google.auth
    import google.auth.exceptions
    from google.oauth2.credentials import Credentials

    try:
        stored = ee.oauth.get_credentials_arguments()
    except (OSError, ValueError):  # no file, or no JSON
        stored = {}
    if stored.get("refresh_token"):
        make: Any = Credentials
        return make(None, **stored)
    try:
        find: Any = google.auth.default
        return find(scopes=_SCOPES)[0]
    except google.auth.exceptions.GoogleAuthError:
        raise CredentialsError(
            "no Earth Engine credentials found: run `earthengine authenticate` (in a notebook: ee.Authenticate()), or"
            " name a file of credentials (--credentials)"
        ) from None
