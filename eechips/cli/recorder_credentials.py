"""Send the requests that a recorder forwards with the user's credentials, found as those of runs are.

The recorder is a part of the local Earth Engine, which imports nothing of the client: it is given the credentials here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from eechips.client.access_token import Authorizer
from eechips.client.credentials import describe_credentials, find_credentials
from eechips.errors import ConfigurationError, TransientError
from eechips.urls import is_loopback
from eechips_local.protocol.request_errors import UnavailableError
from eechips_local.recording.upstream import CredentialsError, Upstream, check_address


class RecorderCredentials:
    """The user's credentials for the service that is recorded. Threads may share them.

    Args:
        authorizer: of the credentials.
    """

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def authorize(self, headers: MutableMapping[str, str]) -> str:
        """Add the authorization to the headers of a request, and return the token.

        Raises:
            CredentialsError: if the credentials do not work; says what to do.
            UnavailableError: if there is no token at present.
        """
        with _raising_service_errors():
            return self._authorizer.authorize(headers)

    def should_resend(self, token: str, status: int, resent: int) -> bool:
        """Return whether a request is to be sent again because its token was refused; see :class:`Authorizer`.

        Raises:
            UnavailableError: if the token was accepted for other requests.
        """
        with _raising_service_errors():
            return self._authorizer.should_resend(token, status, resent)


def open_upstream(address: str, key_file: Path | None = None, *, send_anywhere: bool = False) -> tuple[Upstream, str]:
    """Open the service to be recorded, and get a token for it if it is to have credentials.

    Args:
        address: base URL of the service.
        key_file: of credentials; None for those that runs find.
        send_anywhere: the user's consent to send credentials to a host that is not Google's.

    Returns:
        The service, and the kind of credentials and their owner, without secrets; empty for a server of this machine
        that gets none.

    Raises:
        ValueError: if the address is not that of a service that can be recorded.
        ConfigurationError: if there are no credentials, or those there are do not work; says what to do.
    """
    address = check_address(address)
    credentials = find_credentials(address, key_file, send_anywhere=send_anywhere)
    described = describe_credentials(credentials, address)
    if credentials is None:
        return Upstream(address), "" if is_loopback(address) else described
    authorizer = Authorizer(credentials)
    try:
        authorizer.authorize({})
    except TransientError as error:
        raise ConfigurationError(f"there is no token to record with ({error}): try again") from None
    return Upstream(address, RecorderCredentials(authorizer)), described


@contextlib.contextmanager
def _raising_service_errors() -> Iterator[None]:
    """Raise errors of the client as those that the recorder sends to its clients."""
    try:
        yield
    except ConfigurationError as error:
        raise CredentialsError(f"The recorder sent no request: {error}") from None
    except TransientError as error:
        raise UnavailableError(f"The recorder sent no request: {error}") from None
