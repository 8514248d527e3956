"""List the failures of the service itself, and what is known by its HTTP status alone."""

from __future__ import annotations

from eechips.client.service_errors.error_row import ErrorAction, Example, ServiceError, resource_exhausted

_STATUS_CODES = "https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"
_DEBUGGING = "https://developers.google.com/earth-engine/guides/debugging"

SERVICE_FAILURES: tuple[ServiceError, ...] = (
    ServiceError(
        "capacity",
        ErrorAction.TRANSIENT,
        "Earth Engine is overloaded",
        "nothing: eechips sends the request again",
        _DEBUGGING,
        Example(503, "UNAVAILABLE", "Earth Engine capacity exceeded."),
        message=r"earth engine (?:memory )?capacity exceeded",
    ),
    ServiceError(
        "internal, by its message",
        ErrorAction.TRANSIENT,
        "Earth Engine failed",
        "nothing: eechips sends the request again",
        "https://github.com/gee-community/geetools/issues/72",
        Example(400, "INTERNAL", "An internal error has occurred (request: 44215952-a82b-4627-9be7-844555231e66)"),
        message=r"^(?:an )?internal (?:server )?error\b",
    ),
    # The message is that of eechips-local (ArchiveUnreachedError).
    ServiceError(
        "open archive",
        ErrorAction.UNAVAILABLE,
        "the open archive is not reached",
        "check the network, a proxy (HTTPS_PROXY) and the archive's address",
        _STATUS_CODES,
        Example(
            400,
            "FAILED_PRECONDITION",
            "No answer of the open archive has come since this server was started: files.example is not reached: is"
            " there a network?",
        ),
        message=r"no answer of the open archive has come since",
    ),
)

BY_STATUS: tuple[ServiceError, ...] = (
    ServiceError(
        "not found",
        ErrorAction.PERMANENT,
        "what was asked for does not exist, or its name has expired",
        "",
        _STATUS_CODES,
        Example(404, "NOT_FOUND", "Not found: the name does not exist or has expired."),
        codes=(404,),
    ),
    ServiceError(
        "internal",
        ErrorAction.TRANSIENT,
        "Earth Engine failed",
        "nothing: eechips sends the request again",
        _DEBUGGING,
        Example(503, "UNAVAILABLE", "The service is currently unavailable."),
        codes=tuple(range(500, 600)),
    ),
    ServiceError(
        "try again",
        ErrorAction.TRANSIENT,
        "the service has broken off the request, or asks for it again",
        "nothing: eechips sends it again",
        "https://www.rfc-editor.org/rfc/rfc9110#name-408-request-timeout",
        resource_exhausted("Resource has been exhausted (e.g. check quota)."),
        codes=(408, 425, 429, 499),  # 499: https://github.com/google-gemini/gemini-cli/issues/20309
    ),
    ServiceError(
        "redirection",
        ErrorAction.TRANSIENT,
        "a redirection came, which Earth Engine does not send: a login page may be in between",
        "log in to the network, or check the proxy",
        "https://www.rfc-editor.org/rfc/rfc9110#name-redirection-3xx",
        Example(302, "", "Moved to a captive portal."),
        codes=tuple(range(300, 400)),
    ),
)
"""The last rows of the table: those before them say more."""
