"""What GDAL warnings, as the errors of eechips: what may pass, what will not, and what concerns every unit.

GDAL has no classes for HTTP statuses: they stand in its messages, as ``response_code=503`` or as
``HTTP response code: 503`` (https://github.com/OSGeo/gdal/blob/master/port/cpl_vsil_curl.cpp); errors of curl follow
``CURL error:``.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator, Sequence

from eechips.client.classification import is_transient_status
from eechips.client.redaction import redact
from eechips.errors import ConfigurationError, EechipsError, PermanentError, TransientError, ValidationError
from eechips.urls import display_url

_STATUS = re.compile(
    r"response[_ ]code(?: on \S+)?\s*[=:]\s*([345]\d\d)|HTTP(?: error code| status)?\s*[=:]?\s*([345]\d\d)\b", re.I
)
_CHANGED = re.compile(r"pre-?conditions?[ _]?(?:failed|you specified)", re.IGNORECASE)  # as S3 says it instead of 412
_NETWORK = re.compile(
    r"curl error|timed? ?out|connection (?:reset|refused|aborted|timed)|could not (?:resolve|connect)|failed to connect"
    r"|recv failure|send failure|empty reply|transfer closed|slow ?down|server returned nothing",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"access ?denied|forbidden|invalid ?(?:access ?key|credentials|token)|signature ?does ?not ?match|expired ?token"
    r"|token (?:has|is) expired|token .{0,40} is invalid|time ?too ?skewed|authentication ?failed"
    r"|no (?:valid )?(?:aws|gcs|azure) credentials|not authorized|configuration options? not defined",
    re.IGNORECASE,
)
_ABSENT = re.compile(
    r"no such (?:file|key|bucket)|does not exist|not found|NoSuchKey|NoSuchBucket|unsupported", re.IGNORECASE
)
_UNKNOWN = re.compile(r"not recognized as|not a supported file", re.IGNORECASE)
_DECODING = re.compile(
    r"decod|TIFFFill|TIFFRead|read error|Zip|LZW|ZSTD|IReadBlock|Read failed|short read|truncated", re.IGNORECASE
)
_UNREAD = re.compile(
    r"can ?not read|fail(?:ed|ure) (?:to|in|while) read|read(?:ing)? (?:error|failed)|TIFFFetch|TIFFReadDirectory"
    r"|short read|curl",
    re.IGNORECASE,
)
_AGAIN = re.compile(r"Request for .* failed with response_code")  # which GDAL makes again, in parts, or fails
_NO_RANGES = re.compile(r"Range downloading not supported", re.IGNORECASE)
_LONGEST = 400  # characters of a message


def classify_gdal(
    error: BaseException, href: str, warnings: Sequence[str] = (), *, is_known: bool = False
) -> EechipsError:
    """The error that something GDAL has reported stands for.

    Args:
        error: what rasterio raised, with what GDAL reported as its causes.
        href: what was read.
        warnings: what GDAL reported before, the last of which may have the status that the error does not say.
        is_known: whether it is a raster for certain: what GDAL does not recognise then is an answer that is not its
            own, of which it says no more where it reads from a server of the web.

    Returns:
        TransientError if it may pass: what the network, a crowded or a broken server does. ValidationError, which is
        one as well, if what came cannot be decoded. ConfigurationError if the store refuses these credentials.
        PermanentError for everything else, such as a raster that is not there.
    """
    text = "; ".join(dict.fromkeys(_said(error)))
    location = redact(text if href in text else f"{href}: {text}")[:_LONGEST]
    status = _status(text)
    if status is None and not _REFUSED.search(text):
        status = next(filter(None, map(_status, reversed(warnings))), None)
    if status in (401, 403) or (status in (None, 400) and _REFUSED.search(text)):
        return ConfigurationError(
            f"{location}. The store denies access: check the credentials that GDAL finds (for S3, AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_NO_SIGN_REQUEST=YES for public data)"
        )
    if status is not None:
        return (TransientError if is_transient_status(status) else PermanentError)(location, status=status)
    if _NO_RANGES.search(text):
        return PermanentError(
            f"{display_url(href)}: its server sends no parts of files (Range), which windows are: fetch it first"
        )
    if _UNKNOWN.search(text):
        return (ValidationError if is_known else PermanentError)(location)
    if _NETWORK.search(text):
        return TransientError(location)
    if _ABSENT.search(text):
        return PermanentError(location)
    if _DECODING.search(text):
        return ValidationError(location)
    return PermanentError(location)


def describe_missing(warnings: Sequence[str]) -> str:
    """What GDAL could not read of a raster, and did without; empty if nothing is missing.

    Args:
        warnings: of GDAL, when nothing failed.
    """
    lasting = [text for text in warnings if not _AGAIN.search(text)]
    found = [text for text in lasting if _UNREAD.search(text) or is_transient_status(_status(text) or 200)]
    return redact("; ".join(dict.fromkeys(found)))[:_LONGEST]


def _status(text: str) -> int | None:
    found = _STATUS.search(text)
    if found is None and _CHANGED.search(text):
        return 412
    return None if found is None else int(found[1] or found[2])


def _said(error: BaseException | None) -> Iterator[str]:
    """What an exception and its causes say, the last cause first."""
    if error is not None:
        yield from _said(error.__cause__ or error.__context__)
        if text := str(error).strip():
            yield text


_LOGGERS = ("rasterio._env", "rasterio._err")
_SIGNALLED = re.compile(r"GDAL signalled an error: err_no=\d+, msg=['\"](.*)['\"]$", re.DOTALL)
_HTTP = re.compile(r"HTTP response code on|Request for .* failed with response_code")
_here = threading.local()


class _WarningFilter(logging.Filter):
    """Takes what is reported to a thread that listens; lets through what would be shown without it."""

    def filter(self, record: logging.LogRecord) -> bool:
        heard: list[str] | None = getattr(_here, "heard", None)
        text = record.getMessage()
        if heard is not None:
            signalled = _SIGNALLED.search(text)
            if signalled or _HTTP.search(text):
                heard.append(signalled[1] if signalled else text)
                return False
        return record.levelno >= logging.getLogger("rasterio").getEffectiveLevel()


_FILTER = _WarningFilter()


@contextlib.contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """Listens, in this thread.

    Yields:
        What GDAL has reported so far inside the block: errors that were no failure, and answers of HTTP other than 2xx.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.addFilter(_FILTER)  # once, however often it is added
        if logger.level in (logging.NOTSET, logging.WARNING):
            logger.setLevel(logging.INFO)
    before = getattr(_here, "heard", None)
    heard: list[str] = []
    _here.heard = heard
    try:
        yield heard
    finally:
        _here.heard = before
