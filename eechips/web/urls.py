"""Parse URLs, and strip signatures and passwords from them; recognise those of Google, of this machine, and signed
ones.

A URL may grant access by itself: by a signature in its query, or by a user name and password. Functions here return the
forms that may be stored, compared and shown; :mod:`eechips.web.redaction` redacts URLs in texts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import url2pathname

SIGNATURE_NAMES = (
    r"x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|x-oss-signature|signature|sig"
    r"|awsaccesskeyid|googleaccessid|token|(access|auth|id|session|sas|security)[-_]?token|(x[-_])?api[-_]?key"
    r"|subscription-key|ocp-apim-subscription-key|jwt|password|client_secret|md5|hmac|hdn(ts|ea|tl)|__gda__"
    r"|auth[-_]?key|ticket|access[-_]?key"
)
"""Names of query parameters that grant access."""
EXPIRY_ENDS = r"exp|expir(e|es|y|ation)([-_]?(at|on|time|date))?|valid[-_]?(until|to)|until"
"""Ends of the names of query parameters that state an expiry."""
EXPIRY_NAMES = rf"{EXPIRY_ENDS}|[a-z0-9-]+-expires"
"""Names of query parameters that state an expiry: some other parameter of such a URL is its signature."""
PASSWORD = re.compile(r"://[^/@\s]+:[^/@\s]+@")
"""User and password in a URL."""
_NOT_IN_HOSTS = re.compile(r"[\\\s]")
_SIGNED = re.compile(rf"(?i)[?&]({SIGNATURE_NAMES}|{EXPIRY_NAMES})=")
_SIGNATURE_PARAMETER = re.compile(
    rf"(?i)^(x-amz-(?!request-payer).*|x-goog-.*|x-oss-.*|{SIGNATURE_NAMES}|{EXPIRY_NAMES}|key-pair-id|policy|hash|sign|st"
    r"|sv|se|sr|sp|spr|skoid|sktid|skt|ske|sks|skv|ss|srt|sip)$"
)
_FILE_SUFFIX = re.compile(r"[A-Za-z0-9]{1,8}")

ALL_PARAMETERS = "*"
"""Stands for every query parameter in a collection of names to keep."""
_PORTS = {"http": 80, "https": 443}
_WEB_SCHEMES = _PORTS.keys()
_STORE_SCHEMES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"})


def strip_signature(address: str, kept: Collection[str] = ()) -> str:
    """Return a URL in the form that is stored: without user, password, fragment and query.

    The whole query is removed, since a signature may have any name.

    Args:
        kept: names of query parameters to keep; ``*`` for all.
    """
    parts = urlsplit(address)
    query = parts.query
    if query and ALL_PARAMETERS not in kept:
        query = _encode_query([(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if k in kept])
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def identity_url(address: str, kept: Collection[str] = ()) -> str:
    """Return a storable URL that still differs where the queries differ.

    Values of unknown parameters are replaced by digests. Parameters with the names of signatures are dropped: a URL
    that is signed again keeps its identity.

    Args:
        kept: names of query parameters to keep unchanged; ``*`` for all.
    """
    if ALL_PARAMETERS in kept:
        return strip_signature(address, kept)
    is_secret = is_signed(address)
    left = [
        (name, value if name in kept else f"sha256-{hashlib.sha256(value.encode()).hexdigest()[:16]}")
        for name, value in parse_qsl(urlsplit(address).query, keep_blank_values=True)
        if name in kept or not (is_secret and _SIGNATURE_PARAMETER.match(name))
    ]
    return strip_signature(address) + (f"?{_encode_query(left)}" if left else "")


def strip_signature_parameters(address: str) -> str:
    """Return a URL without user, password and the query parameters that have the names of signatures."""
    parts = urlsplit(address)
    left = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _SIGNATURE_PARAMETER.match(k)]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, _encode_query(left), parts.fragment))


def display_url(address: str) -> str:
    """Return a URL for messages: without user, password and query."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_signed(address: str) -> bool:
    """Return whether a URL contains a signature, by the names of its query parameters."""
    return _SIGNED.search(address) is not None


def scheme_of(address: str) -> str:
    """Return the part before ``://`` in lower case; empty for paths."""
    scheme, colon, _ = address.partition("://")
    return scheme.lower() if colon else ""


def is_http(address: str) -> bool:
    """Return whether the scheme is http or https."""
    return scheme_of(address) in _WEB_SCHEMES


def is_remote(address: str) -> bool:
    """Return whether a URL is of the web or of an object store, and cannot lead to a local file.

    Chained URLs of fsspec (``simplecache::s3://…``) can.
    """
    scheme = scheme_of(address)
    return scheme in _WEB_SCHEMES or (scheme in _STORE_SCHEMES and "::" not in address)


def split_checked(address: str) -> SplitResult:
    """Split a URL whose host is the same for all programs.

    ``http://a\\@b`` is at the host b for ``urllib.parse``, and at a for urllib3 and browsers
    (https://url.spec.whatwg.org/#authority-state): a secret for b would be sent to a.

    Raises:
        ValueError: if the URL is malformed, or has such a host.
    """
    parts = urlsplit(address)
    if _NOT_IN_HOSTS.search(parts.netloc) or (parts.scheme in _PORTS and parts.port == 0):
        raise ValueError("a URL with a host or port that is none")
    return parts


def host_of(address: str) -> str:
    """Return host and port, or the bucket, in lower case and without user and password; empty for paths.

    Raises:
        ValueError: if the URL is malformed; see `split_checked`.
    """
    return split_checked(address).netloc.rpartition("@")[2].lower() if scheme_of(address) else ""


def is_loopback(address: str) -> bool:
    """Return whether a URL names this machine, by an address that cannot leave it."""
    return urlsplit(address).hostname in ("127.0.0.1", "::1", "localhost")


def is_google(url: str) -> bool:
    """Return whether a URL is https at one of the hosts of Google's APIs."""
    try:
        parts = split_checked(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    return parts.scheme == "https" and host.endswith(".googleapis.com") and parts.port in (None, 443)


def origin(address: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of a URL, the port of its scheme if it names none (RFC 6454, section 4)."""
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def local_path(address: str) -> Path | None:
    """Return the path of a local file; None for URLs other than ``file://``."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(address) if not parts.scheme else None


def file_suffix(address: str) -> str:
    """Return the suffix of a URL's file in lower case, without the dot; empty if there is none."""
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    suffix = name.rpartition(".")[2] if "." in name else ""
    return suffix.lower() if _FILE_SUFFIX.fullmatch(suffix) else ""


def _encode_query(parameters: list[tuple[str, str]]) -> str:
    return urlencode(parameters, quote_via=quote)
