"""Define the errors of open archives, with their HTTP status: not reached, refused, untrusted certificates."""

from __future__ import annotations

from eechips_local.protocol.request_errors import EarthEngineError


class ArchiveError(EarthEngineError):
    """An archive does not answer, or not with what was asked for (HTTP 503: the client repeats the request)."""

    code = 503
    status = "UNAVAILABLE"


class ArchiveRefusedError(EarthEngineError):
    """An archive cannot serve what was asked for, however often: the message says why (HTTP 400)."""

    code = 400
    status = "FAILED_PRECONDITION"


class DoubtfulResponseError(ArchiveRefusedError):
    """A response refuses what was asked for, but a proxy or cache in between may have sent it."""


class UntrustedHostError(ArchiveRefusedError):
    """The certificate of a host is not trusted: nothing was sent, and what is kept of it may be used."""


class ArchiveStatusError(ArchiveError):
    """An archive answers a request with an error.

    Attributes:
        http_status: HTTP status of the response.
    """

    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


class ArchiveAwayError(ArchiveError):
    """An archive is not reached: there is no network, or it is down."""


class ArchiveUnreachedError(ArchiveAwayError):
    """An archive is not reached, and was not since the server has started: a run that uses it ends.

    Clients do not repeat the request (HTTP 400): the archive was asked for as long as they would wait.
    """

    code = 400
    status = "FAILED_PRECONDITION"


def away(host: str) -> ArchiveAwayError:
    """Return the error of a host that is not reached."""
    return ArchiveAwayError(f"{host} is not reached: is there a network?")


def unreached(error: ArchiveAwayError) -> ArchiveUnreachedError:
    """Return the error of an archive that has not answered yet, by why it is not reached now."""
    if isinstance(error, ArchiveUnreachedError):
        return error
    return ArchiveUnreachedError(f"No answer of the open archive has come since this server was started: {error}")
