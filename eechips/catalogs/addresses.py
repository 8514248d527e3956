"""Addresses of lists and items: what of them may be shown, and which a list from elsewhere may name."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SECRET = "***"
"""What stands where a password, a signature or a token was."""

_SECRETS = (
    # Of signed addresses (S3, Google, Azure, Alibaba, CloudFront), and what people call their keys.
    re.compile(
        r"(?i)([?&;#][^?&;#=\s]*(?:token|secret|passw|pwd|signature|credential|api_?-?key|access_?-?key|subscription-key"
        r"|jwt|session|auth(?!or)|policy)[^?&;#=\s]*=)[^&;#\s\"']+"
    ),
    re.compile(r"(?i)([?&;#](?:sig|key|sas|code|hmac|googleaccessid|key-pair-id)=)[^&;#\s\"']+"),
    re.compile(r"(://[^\s/@?#:]*:)[^\s/@?#]+(?=@)"),  # the password of a user
    re.compile(r"(?i)(https?://)[^\s/@?#:]+(?=@)"),  # a token in the place of a user
)
_WEB = frozenset({"http", "https"})
_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"})


def told(text: str) -> str:
    """An address, or a text with addresses in it, without what opens them: passwords, signatures, tokens."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{SECRET}", text)
    return text


def is_told(address: str) -> bool:
    """Whether an address has lost its secrets by :func:`told`, so that nothing can be fetched with it."""
    return SECRET in address and told(address) == address


def scheme_of(address: str) -> str:
    """What stands before ``://``, in lower case; empty if nothing does, as in paths."""
    scheme, colon, _ = address.partition("://")
    return scheme.lower() if colon else ""


def is_web(address: str) -> bool:
    """Whether an address is of HTTP."""
    return scheme_of(address) in _WEB


def is_elsewhere(address: str) -> bool:
    """Whether an address is of the web or of an object store: of no file of this machine, in whatever disguise."""
    scheme = scheme_of(address)
    return scheme in _WEB or (scheme in _STORES and "::" not in address)


def host_of(address: str) -> str:
    """Whom an address asks: host and port, bucket, or ``local``; without user and password.

    Raises:
        ValueError: if it is no address.
    """
    return urlsplit(address).netloc.rpartition("@")[2].lower() or "local" if scheme_of(address) else "local"
