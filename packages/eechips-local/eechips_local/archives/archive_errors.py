"""Define the errors of open archives."""

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
