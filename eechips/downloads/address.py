"""Addresses of assets: what of them may be kept and shown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import url2pathname

_OPENING = (
    r"x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|x-oss-signature|signature|sig"
    r"|awsaccesskeyid|googleaccessid|token|(access|auth|id|session|sas|security)[-_]?token|(x[-_])?api[-_]?key"
    r"|subscription-key|ocp-apim-subscription-key|jwt|password|client_secret|md5|hmac|hdn(ts|ea|tl)|__gda__"
    r"|auth[-_]?key|ticket|access[-_]?key"
)
"""Names of parameters that open what an address leads to."""
_ENDING = r"exp|expir(e|es|y|ation)([-_]?(at|on|time|date))?|valid[-_]?(until|to)|until|[a-z0-9-]+-expires"
"""Names of parameters that say until when an address opens: then something beside them opens it."""
_SIGNED = re.compile(rf"(?i)[?&]({_OPENING}|{_ENDING})=")
_SECRETS = re.compile(
    rf"(?i)^(x-amz-(?!request-payer).*|x-goog-.*|x-oss-.*|{_OPENING}|{_ENDING}|key-pair-id|policy|hash|sign|st"
    r"|sv|se|sr|sp|spr|skoid|sktid|skt|ske|sks|skv|ss|srt|sip)$"
)
_SUFFIX = re.compile(r"[A-Za-z0-9]{1,8}")

ALL = "*"
"""Among names of parameters: all of them."""


def strip_signature(address: str, kept: Collection[str] = ()) -> str:
    """An address as it is stored: without user, password, fragment and query, which may be a signature of any name.

    Args:
        address: absolute.
        kept: names of parameters that stay; ``*`` for all.
    """
    parts = urlsplit(address)
    query = parts.query
    if query and ALL not in kept:
        query = _joined([(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if k in kept])
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def identity_url(address: str, kept: Collection[str] = ()) -> str:
    """Return an address for storage whose query identifies it, with digests instead of unknown values.

    Parameters whose names are those of signatures are left out: with others, it is the same address.

    Args:
        address: absolute.
        kept: names of parameters that stay as they are; ``*`` for all.
    """
    if ALL in kept:
        return strip_signature(address, kept)
    is_secret = is_signed(address)
    left = [
        (name, value if name in kept else f"sha256-{hashlib.sha256(value.encode()).hexdigest()[:16]}")
        for name, value in parse_qsl(urlsplit(address).query, keep_blank_values=True)
        if name in kept or not (is_secret and _SECRETS.match(name))
    ]
    return strip_signature(address) + (f"?{_joined(left)}" if left else "")


def without_signature(address: str) -> str:
    """An address without the parameters that sign it, by their names, and without user and password."""
    parts = urlsplit(address)
    left = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _SECRETS.match(k)]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, _joined(left), parts.fragment))


def is_signed(address: str) -> bool:
    """Whether an address has a signature in it by its parameters' names, and so opens for whoever has it."""
    return _SIGNED.search(address) is not None


def display_url(address: str) -> str:
    """An address for messages: without its whole query, which may be a secret."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def host_of(address: str) -> str:
    """Host and port of an address, in lower case: whom it asks."""
    return urlsplit(address).netloc.rpartition("@")[2].lower()


def local_path(address: str) -> Path | None:
    """The file of this machine that an address is, if it is one."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(address) if not parts.scheme else None


def file_suffix(address: str) -> str:
    """The suffix of an address's file, without the dot, in lower case; empty if it has none that looks like one."""
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    suffix = name.rpartition(".")[2] if "." in name else ""
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else ""


def _joined(parameters: list[tuple[str, str]]) -> str:
    return urlencode(parameters, quote_via=quote)
