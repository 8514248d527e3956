"""Say why a host denies access to a file (HTTP 401 or 403), and what to do: never with a signature."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from eechips_local.archives.hosts.signed_addresses import is_signed

_LONGEST = 4096  # bytes of a body that are searched
_MOST_SHOWN = 160  # characters
_PATIENCE = 2.0  # seconds for a body
# S3 and Azure answer in XML (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html,
# https://learn.microsoft.com/en-us/rest/api/storageservices/status-and-error-codes2), NASA's hosts in JSON.
_SAID = (
    re.compile(rb"<Code>\s*([^<]+)"),
    re.compile(rb"<Message>\s*([^<\r\n]+)"),
    re.compile(rb'"error_description"\s*:\s*"([^"\\]+)'),
)
# Addresses, parts of signatures, long words that may be tokens, and controls.
_UNSHOWN = re.compile(r"\S*(?:://|[?&=])\S*|(?=\S{25})(?![A-Za-z]+[.,:;]?(?:\s|$))\S+|[^\x20-\x7e]+")
_LICENCE = re.compile(r"(?i)\beula\b|licen[cs]e")
_EXPIRED = re.compile(r"(?i)expired|not valid in the specified time")
# Codes of S3: there is an object, or nobody has looked for it.
_KEYS = re.compile(r"ExpiredToken|InvalidToken|InvalidAccessKeyId|SignatureDoesNotMatch|RequestTimeTooSkewed")


def read_denial(response: Any) -> str:
    """Return what the body of a response says of access that its host denies; "" for nothing.

    Args:
        response: response of urllib3, of which nothing is read.
    """
    body, end = b"", time.monotonic() + _PATIENCE
    try:
        while len(body) < _LONGEST and time.monotonic() < end and (part := response.read1(_LONGEST - len(body))):
            body += part
    except (HTTPError, OSError):  # the status says enough
        return ""
    parts = [match[1].decode("utf-8", "replace") for pattern in _SAID if (match := pattern.search(body))]
    cleaned = [" ".join(_UNSHOWN.sub(" ", part).split())[:_MOST_SHOWN].rstrip(".") for part in parts]
    return ": ".join(filter(None, cleaned))


def is_of_keys(said: str) -> bool:
    """Return whether a host names keys or a token that it does not take; see :func:`read_denial`."""
    return _KEYS.match(said) is not None


def advise(said: str, href: str, *, is_renewed: bool) -> str:
    """Return the end of a message on access that a host denies: what it says, and what to do.

    Args:
        said: see :func:`read_denial`.
        href: address of the file, as its item has it.
        is_renewed: whether a signature was renewed in vain.
    """
    end = f": {said}" if said else ""
    if _LICENCE.search(said):
        return f"{end}. Accept the licence of its data: at https://urs.earthdata.nasa.gov, for files of NASA."
    if is_signed(urlsplit(href).query):
        expired = "has expired" if _EXPIRED.search(said) else "may have expired"
        return f"{end}. Its item has an address with a signature, which {expired}: search for the item again."
    if is_of_keys(said):
        return f"{end}. Renew the keys of AWS, or correct them and this machine's clock."
    if is_renewed:
        end = f", after a renewal of its signature, too{end}"
    return f"{end}. Buckets of S3 also answer so where there is no such file."
