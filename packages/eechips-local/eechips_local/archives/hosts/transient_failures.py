"""Decide which failures of requests are transient: the same request may succeed later. State certificates that are not
trusted, and unusable proxies.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from urllib3.util.ssl_match_hostname import CertificateError

from eechips_local.archives.archive_errors import (
    ArchiveRefusedError,
    ArchiveStatusError,
    DoubtfulResponseError,
    UntrustedHostError,
)

# RFC 9110 and 6585: the client's request is not at fault, or not for long. 407 is a proxy's own answer; 304
# answers a condition, which no request here has: a cache has confused two requests.
_TRANSIENT = frozenset({304, 407, 408, 425, 429})


def is_transient_status(status: int) -> bool:
    """Return whether a host may answer the same request with another status later."""
    return status in _TRANSIENT or status >= 500


def is_transient(error: Exception) -> bool:
    """Return whether a request that failed so may be repeated.

    Args:
        error: an error of archives, or of the network: of urllib3, of requests, or OSError.
    """
    if isinstance(error, ArchiveStatusError):
        return is_transient_status(error.http_status)
    if isinstance(error, ArchiveRefusedError):
        return isinstance(error, DoubtfulResponseError)
    if _find_untrusted(error) is not None:
        return False
    return not isinstance(error, ValueError)  # of urllib3 and requests: an address, a header or a proxy is malformed


def unsendable(host: str, error: Exception) -> ArchiveRefusedError:
    """Return the error of a request that cannot be sent. The text of its cause may have a signature."""
    untrusted = _find_untrusted(error)
    if untrusted is not None:
        reason = getattr(untrusted, "verify_message", "") or "it is of another host"
        return UntrustedHostError(
            f"The certificate of {host} is not trusted ({reason}): nothing was sent. Check this machine's clock; "
            "behind a proxy that reads along, set REQUESTS_CA_BUNDLE to a file with its certificate."
        )
    return ArchiveRefusedError(
        f"No request can be sent to {host} ({type(error).__name__}): is the proxy that HTTPS_PROXY or HTTP_PROXY names "
        "an address?"
    )


def _find_untrusted(error: BaseException) -> ssl.SSLCertVerificationError | CertificateError | None:
    """Return the error of a certificate that is not trusted, among the causes of an error."""
    untrusted = (ssl.SSLCertVerificationError, CertificateError)
    return next((cause for cause in _causes(error) if isinstance(cause, untrusted)), None)


def _causes(error: BaseException, depth: int = 8) -> Iterator[BaseException]:
    """Yield an error and its causes, which errors of urllib3 and requests have among their arguments."""
    yield error
    inner = error.__cause__ or error.__context__
    for cause in (inner, getattr(error, "reason", None), *error.args):
        if isinstance(cause, BaseException) and depth:
            yield from _causes(cause, depth - 1)
