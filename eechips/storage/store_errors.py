"""Translate exceptions of the stores' packages into transient and permanent errors."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from json import JSONDecodeError

from eechips.errors import StorageError, TransientError
from eechips.text.formatting import parse_count

_SAID_NO = (PermissionError, FileNotFoundError, ValueError, TypeError, LookupError)
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"})
_MISCONFIGURED = frozenset(
    {
        "ConfigNotFound",
        "ConfigParseError",
        "EndpointProviderError",
        "EndpointVariantError",
        "InvalidChecksumConfigError",
        "InvalidConfigError",
        "InvalidDefaultsMode",
        "InvalidIMDSEndpointError",
        "InvalidIMDSEndpointModeError",
        "InvalidProxiesConfigError",
        "InvalidRegionError",
        "InvalidRetryConfigurationError",
        "InvalidS3AddressingStyleError",
        "InvalidS3UsEast1RegionalEndpointConfigError",
        "InvalidSTSRegionalEndpointsConfigError",
        "LoginInsufficientPermissions",
        "LoginRefreshRequired",
        "LoginTokenLoadError",
        "MissingDependencyException",
        "NoAuthTokenError",
        "NoRegionError",
        "ProfileNotFound",
        "RefreshWithMFAUnsupportedError",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
        "UnknownCredentialError",
        "UnknownTokenProviderError",
    }
)
"""Exceptions of botocore for AWS profiles, regions and logins: only the user can mend these."""
_PASSING = frozenset({408, 409, 429})
"""Statuses 4xx that are transient: timeout, concurrent operation on the object, too many requests."""
_DAMAGED = (
    *("BadDigest", "XAmzContentSHA256Mismatch", "Md5Mismatch", "RequestTimeout", "RequestTimeTooSkewed"),
    *("Throttling", "IDPCommunicationError"),  # AWS STS, as botocore's _retry.json has them
)
"""Error codes with status 400 for correct requests that were damaged or delayed on the way, or are too many."""
_OBSTORE_STATUS = re.compile(r"status code: (\d{3})")
_OBSTORE_CAUSE = re.compile(r" in [\d.]+\S?s(?: after \d+ retries[^-]*)? - (.*)")
_OBSTORE_NEVER = ("InvalidPathError", "NotSupportedError", "UnknownConfigurationKeyError")
"""Exceptions of obstore that no status causes."""
_REDIRECT = "incorrectly configured region"
"""Part of obstore's message about a redirect."""
_S3_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)


def translate_error(error: Exception, what: str) -> StorageError | TransientError:
    """Return the error of eechips for an exception of a store's package.

    Args:
        what: the failed operation, for the message.

    Returns:
        StorageError if it is permanent, TransientError if a retry may succeed.
    """
    if isinstance(error, (StorageError, TransientError)):
        return error
    said = (isinstance(error, OSError) and error.strerror) or _message(error)  # without the number of an OSError
    text = next((line for line in said.splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, FileNotFoundError):
        # A program or file that gives keys; the names of objects begin with their bucket.
        is_local = isinstance(error.filename, str) and f"//{error.filename.partition('/')[0]}/" not in f"{what}/"
        text = f"{text}: {error.filename}" if is_local else "the bucket does not exist"
    return (StorageError if is_permanent(error) else TransientError)(f"could not {what}: {text.strip()}")


def is_permanent(error: Exception) -> bool:
    """Return whether the same request would fail again."""
    if isinstance(error, JSONDecodeError):  # the response was not the store's
        return False
    names = {kind.__name__ for kind in type(error).__mro__}  # of packages that may not be installed
    values = getattr(error, "kwargs", None)  # values in the message of an exception of botocore
    if isinstance(values, dict) and values.get("provider") == "custom-process":
        return True  # credential_process has failed: most often a login has expired
    if isinstance(error, _SAID_NO) or names & {*_NO_CREDENTIALS, *_MISCONFIGURED, *_OBSTORE_NEVER}:
        return True
    if _is_of_obstore(error) and _REDIRECT in str(error):
        return True
    status = find_http_status(error)
    if status is None:  # gcsfs reports 403 only in the message
        return type(error) is OSError and str(error).startswith("Forbidden")
    is_damaged = any(code in text for text in map(str, _chain(error)) for code in _DAMAGED)
    return 400 <= status < 500 and status not in _PASSING and not is_damaged


def find_http_status(error: BaseException) -> int | None:
    """Return the HTTP status of an exception of obstore, azure, gcsfs, botocore or aiohttp; None if it has none."""
    for cause in _chain(error):
        if _is_of_obstore(cause):  # it has the status in its message only
            stated = _OBSTORE_STATUS.search(str(cause))
            return None if stated is None else int(stated[1])
        response = getattr(cause, "response", None)
        if isinstance(response, Mapping):
            raw_status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            raw_status = next(
                (v for v in (getattr(cause, n, None) for n in ("status_code", "status", "code")) if v), None
            )
        status = parse_count(raw_status) if isinstance(raw_status, str) else raw_status
        if isinstance(status, int):
            return status
    return None


def _is_of_obstore(error: BaseException) -> bool:
    return type(error).__module__.startswith("obstore")


def _message(error: Exception) -> str:
    """Return what an exception says; of one of obstore, what the store says, or else the cause."""
    said = str(error)
    if not _is_of_obstore(error):
        return said
    sent = _S3_MESSAGE.search(said)
    if sent is not None:
        return html.unescape(sent[1])
    line = said.partition("\n")[0]
    cause = _OBSTORE_CAUSE.search(line)
    return cause[1] if cause is not None else line


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
