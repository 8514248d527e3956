"""List the failures of the service itself, and what is known by its HTTP status alone."""

from __future__ import annotations

from eechips.client.service_errors.error_row import DEBUGGING, ErrorAction, ServiceError, passing

_STATUS_CODES = "https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"

SERVICE_FAILURES: tuple[ServiceError, ...] = (
    passing("capacity", source=DEBUGGING, message=r"earth engine (?:memory )?capacity exceeded"),
    passing(
        "internal, by its message",
        source="https://github.com/gee-community/geetools/issues/72",
        message=r"^(?:an )?internal (?:server )?error\b",
    ),
    # The message is that of eechips-local (ArchiveUnreachedError).
    ServiceError(
        "open archive",
        "check the network, a proxy (HTTPS_PROXY) and the archive's address",
        _STATUS_CODES,
        ErrorAction.UNAVAILABLE,
        cause="the open archive is not reached",
        message=r"no answer of the open archive has come since",
    ),
)

BY_STATUS: tuple[ServiceError, ...] = (
    ServiceError("not found", "", _STATUS_CODES, ErrorAction.PERMANENT, codes=(404,)),
    passing("internal", source=DEBUGGING, codes=tuple(range(500, 600))),
    passing(
        "try again",
        source="https://www.rfc-editor.org/rfc/rfc9110#name-408-request-timeout",
        codes=(408, 425, 429, 499),  # 499: https://github.com/google-gemini/gemini-cli/issues/20309
    ),
    ServiceError(
        "redirection",
        "log in to the network, or check the proxy",
        "https://www.rfc-editor.org/rfc/rfc9110#name-redirection-3xx",
        ErrorAction.TRANSIENT,
        codes=tuple(range(300, 400)),
    ),
)
"""The last rows of the table: those before them say more."""
