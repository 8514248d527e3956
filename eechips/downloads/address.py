"""Addresses of assets: what of them may be kept and shown."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import url2pathname

_OPENING = (
    r"x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|x-oss-signature|signature|sig"
    r"|awsaccesskeyid|googleaccessid|token|(access|auth|id|session|sas|security)[-_]?token|(x[-_])?api[-_]?key"
    r"|subscription-key|ocp-apim-subscription-key|jwt|password|client_secret"
)
"""Names of parameters that open what an address leads to."""
_SIGNED = re.compile(rf"(?i)[?&]({_OPENING})=")
_SECRETS = re.compile(
    rf"(?i)^(x-amz-(?!request-payer).*|x-goog-.*|x-oss-.*|{_OPENING}|expires|key-pair-id|policy"
    r"|sv|se|st|sr|sp|spr|skoid|sktid|skt|ske|sks|skv|ss|srt|sip)$"
)
_SUFFIX = re.compile(r"[A-Za-z0-9]{1,8}")


def bare(address: str) -> str:
    """An address without what signs it: without user and password, signatures, tokens and fragment."""
    parts = urlsplit(address)
    netloc = parts.netloc.rpartition("@")[2]
    query = parts.query
    if query and _SIGNED.search(f"?{query}"):
        left = [(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if not _SECRETS.match(k)]
        query = urlencode(left, quote_via=quote)
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def is_signed(address: str) -> bool:
    """Whether an address has a signature in it, and so opens for whoever has it."""
    return _SIGNED.search(address) is not None


def shown(address: str) -> str:
    """An address for messages: without its whole query, which may be a secret."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def host_of(address: str) -> str:
    """Host and port of an address, in lower case: whom it asks."""
    return urlsplit(address).netloc.rpartition("@")[2].lower()


def file_of(address: str) -> Path | None:
    """The file of this machine that an address is, if it is one."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(address) if not parts.scheme else None


def suffix_of(address: str) -> str:
    """The suffix of an address's file, without the dot, in lower case; empty if it has none that looks like one."""
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    suffix = name.rpartition(".")[2] if "." in name else ""
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else ""
