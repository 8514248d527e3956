"""Classify errors of GDAL (denied access, network, missing, damaged or changed file), and capture the warnings that it
only logs.

GDAL has no error classes for HTTP statuses: its messages contain ``response_code=503`` or ``HTTP response code: 503``
(https://github.com/OSGeo/gdal/blob/master/port/cpl_vsil_curl.cpp); errors of curl follow ``CURL error:``.

GDAL ignores a mask or another file beside a raster if its request fails, and returns the pixels without it. rasterio
only logs such warnings, at the level INFO (https://rasterio.readthedocs.io/en/stable/topics/errors.html).
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator, Sequence

from eechips.client.error_classification import is_transient_status
from eechips.errors import ConfigurationError, EechipsError, PermanentError, TransientError, ValidationError
from eechips.web.redaction import redact
from eechips.web.urls import display_url

_STATUS = re.compile(
    r"response[_ ]code(?: on \S+)?\s*[=:]\s*([345]\d\d)|HTTP(?: error code| status)?\s*[=:]?\s*([345]\d\d)\b", re.I
)
_CHANGED = re.compile(r"pre-?conditions?[ _]?(?:failed|you specified)", re.IGNORECASE)  # S3's message for 412
_NETWORK = re.compile(
    r"curl error|timed? ?out|connection (?:reset|refused|aborted|timed)|could not (?:resolve|connect)|failed to connect"
    r"|recv failure|send failure|empty reply|transfer closed|slow ?down|server returned nothing",
    re.IGNORECASE,
)
# Texts of OpenSSL and GnuTLS, of curl: https://github.com/curl/curl/blob/master/lib/vtls.
_UNTRUSTED = re.compile(
    r"certificate (?:problem|verif\w+)|peer certificate|no alternative certificate subject name", re.IGNORECASE
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
_AGAIN = re.compile(r"Request for .* failed with response_code")  # GDAL retries these in parts, or raises an error
_NO_RANGES = re.compile(r"Range downloading not supported", re.IGNORECASE)
_LONGEST = 400  # characters of a message


def classify_gdal(
    error: BaseException, href: str, warnings: Sequence[str] = (), *, is_known: bool = False
) -> EechipsError:
    """Return the error of eechips for an error of GDAL.

    Args:
        error: raised by rasterio, with errors of GDAL as its causes.
        warnings: earlier messages of GDAL; the last may have the status that the error lacks.
        is_known: whether the file is known to be a raster: then an unrecognised format means an unexpected response of
            the server, which GDAL does not report otherwise.

    Returns:
        TransientError for failures of the network or an overloaded server. ValidationError, which is transient too, for
        data that cannot be decoded. ConfigurationError for rejected credentials and untrusted certificates.
        PermanentError for all others, such as a missing raster.
    """
    text = "; ".join(dict.fromkeys(_messages(error)))
    location = redact(text if href in text else f"{href}: {text}")[:_LONGEST]
    status = _status(text)
    if status is None and not _REFUSED.search(text):
        status = next(filter(None, map(_status, reversed(warnings))), None)
    if status in (401, 403) or (status in (None, 400) and _REFUSED.search(text)):
        return ConfigurationError(
            f"{location}. The store denies access: check the credentials that GDAL finds (for S3, AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_NO_SIGN_REQUEST=YES for public data)"
        )
    if _UNTRUSTED.search(text):
        return ConfigurationError(
            f"{location}. The server's certificate is not trusted: check the clock, and CURL_CA_BUNDLE behind a proxy"
        )
    if status is not None:
        return (TransientError if is_transient_status(status) else PermanentError)(location, status=status)
    if _NO_RANGES.search(text):
        return PermanentError(
            f"{display_url(href)}: the server does not support range requests, which windows need: download it first"
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
    """Describe the parts of a raster that GDAL failed to read and ignored; empty if there are none."""
    lasting = [text for text in warnings if not _AGAIN.search(text)]
    unread = [text for text in lasting if _UNREAD.search(text) or is_transient_status(_status(text) or 200)]
    return redact("; ".join(dict.fromkeys(unread)))[:_LONGEST]


def _status(text: str) -> int | None:
    match = _STATUS.search(text)
    if match is None and _CHANGED.search(text):
        return 412
    return None if match is None else int(match[1] or match[2])


def _messages(error: BaseException | None) -> Iterator[str]:
    """Yield the messages of an exception and its causes, the last cause first."""
    if error is not None:
        yield from _messages(error.__cause__ or error.__context__)
        if text := str(error).strip():
            yield text


_LOGGERS = ("rasterio._env", "rasterio._err")
_SIGNALLED = re.compile(r"GDAL signalled an error: err_no=\d+, msg=['\"](.*)['\"]$", re.DOTALL)
_HTTP = re.compile(r"HTTP response code on|Request for .* failed with response_code")
_here = threading.local()


class _WarningFilter(logging.Filter):
    """Collect the warnings of a capturing thread; pass on what would be logged without the filter."""

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
    """Capture the warnings of GDAL in this thread.

    Yields:
        The messages so far inside the block: errors that GDAL ignored, and HTTP statuses other than 2xx.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.addFilter(_FILTER)  # a second call has no effect
        if logger.level in (logging.NOTSET, logging.WARNING):
            logger.setLevel(logging.INFO)
    before = getattr(_here, "heard", None)
    heard: list[str] = []
    _here.heard = heard
    try:
        yield heard
    finally:
        _here.heard = before
