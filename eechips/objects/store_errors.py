"""What a store's package raises: whether it may go better the next time, or will not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from json import JSONDecodeError

from eechips.errors import StorageError, TransientError

_SAID_NO = (PermissionError, FileNotFoundError, ValueError, TypeError, LookupError)
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"})
_PASSING = frozenset({408, 409, 429})
"""Statuses of 4xx that pass: time-out, another operation on the same object, too many requests."""
_DAMAGED = ("BadDigest", "XAmzContentSHA256Mismatch", "Md5Mismatch", "RequestTimeout", "RequestTimeTooSkewed")
"""Codes that come with status 400 although the request was good: something happened to it on its way."""


def translate_error(error: Exception, what: str) -> StorageError | TransientError:
    """What the error of a store's package means.

    Args:
        error: that it raised.
        what: could not be done, as the message says it.

    Returns:
        StorageError if it will not be done, TransientError if it may be the next time.
    """
    if isinstance(error, (StorageError, TransientError)):
        return error
    said = (isinstance(error, OSError) and error.strerror) or str(error)  # without the number of an OSError
    text = next((line for line in said.splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, FileNotFoundError):
        text = "there is no such bucket"
    return (StorageError if is_permanent(error) else TransientError)(f"could not {what}: {text.strip()}")


def is_permanent(error: Exception) -> bool:
    """Whether the same request would be refused again."""
    if isinstance(error, JSONDecodeError):  # something else than the store has answered
        return False
    if isinstance(error, _SAID_NO) or type(error).__name__ in _NO_CREDENTIALS:
        return True
    status = find_http_status(error)
    if status is None:  # gcsfs has no other way to tell of a 403
        return type(error) is OSError and str(error).startswith("Forbidden")
    is_damaged = any(code in text for text in map(str, _chain(error)) for code in _DAMAGED)
    return 400 <= status < 500 and status not in _PASSING and not is_damaged


def find_http_status(error: BaseException) -> int | None:
    """The HTTP status that an error stands for, as the packages have it: botocore, azure, gcsfs, aiohttp."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            found = next((v for v in (getattr(each, n, None) for n in ("status_code", "status", "code")) if v), None)
        if isinstance(found, int) or (isinstance(found, str) and found.isdigit()):
            return int(found)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
