"""Authorise downloads: read secrets, send tokens and passwords to their hosts, and sign URLs."""

from __future__ import annotations

import base64
import errno
import netrc
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from eechips.client import retry
from eechips.client.retry import RetryPolicy
from eechips.downloads.host_sessions import HostSessions
from eechips.errors import ConfigurationError, PermanentError, UsageError
from eechips.received_files import parse_json
from eechips.timestamps import parse_timestamp
from eechips.urls import display_url, host_of, is_loopback

PREFIX = "EECHIPS_SCENES_"
"""Prefix of the environment variables: ``EECHIPS_SCENES_TOKEN``."""
NAMES = ("token", "username", "password", "client_id", "client_secret")
"""Names of secrets."""


class Secrets:
    """Secrets by name. Their representation omits the values.

    Args:
        values: by name.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def get(self, name: str) -> str | None:
        """Return a secret; None if it is missing."""
        return self._values.get(name)

    def need(self, name: str, use: str) -> str:
        """Return a secret that is required.

        Args:
            name: of the secret.
            use: what requires it, for the message.

        Raises:
            ConfigurationError: if the secret is missing.
        """
        found = self._values.get(name)
        if not found:
            raise ConfigurationError(f"{use} needs {PREFIX}{name.upper()}, or a line {name}=… in the secrets file")
        return found


def read_secrets(file: Path | None, environment: Mapping[str, str] | None = None) -> Secrets:
    """Read secrets from a file and the environment; the environment takes precedence.

    Args:
        file: lines ``name=value``, or a JSON object; None for none.
        environment: that of the process by default.

    Raises:
        ConfigurationError: if the file cannot be read or is malformed.
    """
    there = os.environ if environment is None else environment
    values = {} if file is None else _of_file(file)
    values |= {name: there[PREFIX + name.upper()] for name in NAMES if there.get(PREFIX + name.upper())}
    return Secrets(values)


def _of_file(file: Path) -> dict[str, str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        found = parse_json(text) if text.lstrip().startswith("{") else dict(_pair(line) for line in _lines(text))
    except ValueError:  # its message quotes the file
        raise ConfigurationError(f"{file} must have lines name=value, or a JSON object") from None
    unknown = sorted(name for name in found if name not in NAMES)
    if unknown:
        raise ConfigurationError(f"{file} has the unknown name {unknown[0]!r}: known are {', '.join(NAMES)}")
    return {name: str(value) for name, value in found.items()}


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


def _pair(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise ValueError
    return name.strip().lower(), value.strip()


AuthName = Literal["none", "bearer", "basic", "netrc", "oauth", "sas"]
AUTHS: tuple[AuthName, ...] = ("none", "bearer", "basic", "netrc", "oauth", "sas")

_BLOBS = ("*.blob.core.windows.net",)
_GOOGLE = "https://storage.googleapis.com"
"""HTTP endpoint for objects of gs:// (https://cloud.google.com/storage/docs/request-endpoints)."""
_PAYER = "x-amz-request-payer"
_PIPE = 4096  # bytes that every pipe can hold
_S3_SECONDS = 3600  # validity of a signed URL of S3
_UNKNOWN_SECONDS = 300.0  # assumed validity of a signature without an expiry
_MARGIN, _SHARE = 30.0, 0.1
"""A signature is renewed so many seconds before it expires, or at this share of its validity, whichever is later."""
_POLICY = RetryPolicy(retries=5, delay=0.5, max_delay=8.0, total=60.0)


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A URL that is valid at present.

    Attributes:
        url: absolute; may be a secret.
    """

    url: str = field(repr=False)


class Signer(Protocol):
    """Sign URLs. Threads share it."""

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the headers of a request to a URL, if its host may receive them.

        Raises:
            PermanentError: if the host may, but the URL is not https.
        """

    def sign(self, href: str, collection: str) -> SignedUrl:
        """Return the signed URL of an asset.

        Raises:
            TransientError, PermanentError: if the signing endpoint fails.
        """

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        """Discard a rejected signature; return whether signing again can help.

        Args:
            href: of the asset.
            collection: of its item.
            region: of its S3 bucket, if the host stated it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Authorisation of downloads.

    Attributes:
        kind: ``none``; ``bearer`` sends a token; ``basic`` sends a user name and password; ``netrc`` sends each host
            its entry of ``.netrc``; ``oauth`` sends a token that is requested with client credentials, or with a user
            name and password; ``sas`` requests signed URLs, or a token for the URLs of a collection, from an endpoint.
        hosts: hosts that receive the secrets: ``data.example.com``, ``*.example.com``; no others.
        token_url: of ``oauth`` and ``sas``; for ``sas`` it contains ``{collection}``, or receives ``?href=``.
        requester_pays: whether your AWS account pays for transfers from S3.

    Raises:
        UsageError: if parameters are missing or contradict each other.
        ConfigurationError: if the token URL is not https.
    """

    kind: AuthName = "none"
    hosts: tuple[str, ...] = ()
    token_url: str | None = None
    requester_pays: bool = False

    def __post_init__(self) -> None:
        if self.kind not in AUTHS:
            raise UsageError(f"auth must be one of {', '.join(AUTHS)}, not {self.kind!r}")
        needs_url = self.kind in ("oauth", "sas")
        if needs_url and not self.token_url:
            raise UsageError(f"auth={self.kind!r} needs token_url, the URL that issues tokens")
        if self.token_url and not needs_url:
            raise UsageError("token_url is only for auth='oauth' or auth='sas'")
        if self.kind in ("bearer", "basic", "oauth") and not self.hosts:
            raise UsageError(f"auth={self.kind!r} needs auth_host, the host that receives the secret")
        if self.token_url and not _is_encrypted(self.token_url):
            raise ConfigurationError(f"{display_url(self.token_url)} is not https: no secrets are sent to it")


def make_signer(auth: Auth, secrets: Secrets, hosts: HostSessions, clock: Callable[[], float] = time.time) -> Signer:
    """Return the signer for a kind of authorisation.

    Args:
        auth: kind and parameters.
        secrets: by name.
        hosts: sessions for requests of tokens.
        clock: seconds since 1970.

    Raises:
        ConfigurationError: if a secret is missing.
    """
    inner: Signer
    if auth.kind == "bearer":
        token = secrets.need("token", "auth='bearer'")
        inner = _FixedHeader(auth.hosts, f"Bearer {token}")
    elif auth.kind == "basic":
        use = "auth='basic'"
        inner = _FixedHeader(auth.hosts, _basic(secrets.need("username", use), secrets.need("password", use)))
    elif auth.kind == "netrc":
        inner = _Netrc()
    elif auth.kind == "oauth":
        inner = _OAuthToken(auth, secrets, hosts, clock)
    elif auth.kind == "sas":
        inner = _SasSigner(auth, hosts, clock)
    else:
        inner = _FixedHeader((), "")
    return _S3Signer(inner, auth.requester_pays)


def matches_host(url: str, hosts: Sequence[str]) -> bool:
    """Return whether a URL's host matches one of ``host``, ``host:port`` and ``*.domain``."""
    whole, name = host_of(url), (urlsplit(url).hostname or "").lower()
    for pattern in (each.lower() for each in hosts):
        if pattern.startswith("*.") and name.endswith(pattern[1:]):
            return True
        if pattern in (whole, name):
            return True
    return False


class _FixedHeader:
    """Send the same header to all hosts that may receive it."""

    def __init__(self, hosts: Sequence[str], secret: str) -> None:
        self._hosts, self._secret = hosts, secret

    def headers(self, url: str) -> Mapping[str, str]:
        if not matches_host(url, self._hosts):
            return {}
        _refuse_unencrypted(url)
        return {"Authorization": self._secret}

    def sign(self, href: str, collection: str) -> SignedUrl:
        return SignedUrl(href)

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        return False


class _Netrc:
    """Send each host its entry of ``.netrc``."""

    def __init__(self) -> None:
        path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
        try:
            known = _read_netrc(path).hosts
        except FileNotFoundError:
            raise ConfigurationError(f"auth='netrc' needs the file {path} (machine …, login …, password …)") from None
        except (netrc.NetrcParseError, OSError) as error:
            reason = getattr(error, "strerror", None) or "the file is malformed"
            raise ConfigurationError(f"{path} cannot be read: {reason}") from None
        # The entry `default` would match every host.
        self._known = {host.lower(): entry for host, entry in known.items() if host != "default"}

    def headers(self, url: str) -> Mapping[str, str]:
        found = self._known.get(urlsplit(url).hostname or "")
        if found is None or not _is_encrypted(url):
            return {}
        return {"Authorization": _basic(found[0], found[2] or "")}

    def sign(self, href: str, collection: str) -> SignedUrl:
        return SignedUrl(href)

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        return False


@dataclass(slots=True)
class _Token:
    """A token and its validity.

    Attributes:
        value: the token.
        until: seconds since 1970, with a margin before the expiry.
        refresh: refresh token; None if there is none.
    """

    value: str
    until: float
    refresh: str | None = None


class _Last(threading.local):
    """The last token of a thread, to tell whether another thread has renewed it meanwhile."""

    value: str | None = None


class _OAuthToken:
    """Send an OAuth 2.0 token, and renew it when it expires.

    The grants are client credentials (RFC 6749, 4.4), a resource owner's password (4.3), and refreshing (6).
    """

    def __init__(self, auth: Auth, secrets: Secrets, hosts: HostSessions, clock: Callable[[], float]) -> None:
        self._url, self._names, self._hosts, self._clock = auth.token_url or "", auth.hosts, hosts, clock
        self._form = {"client_id": secrets.need("client_id", "auth='oauth'")}
        if secrets.get("client_secret"):
            self._form["client_secret"] = secrets.need("client_secret", "auth='oauth'")
        if secrets.get("username"):
            password = secrets.need("password", "auth='oauth' with a username")
            self._grant = {"grant_type": "password", "username": secrets.need("username", ""), "password": password}
        else:
            secrets.need("client_secret", "auth='oauth' without a username")
            self._grant = {"grant_type": "client_credentials"}
        self._token: _Token | None = None
        self._asking = threading.Lock()
        self._last = _Last()

    def headers(self, url: str) -> Mapping[str, str]:
        if not matches_host(url, self._names):
            return {}
        _refuse_unencrypted(url)
        with self._asking:
            if self._token is None or self._token.until <= self._clock():
                self._token = self._fetch(self._token)
            self._last.value = self._token.value
            return {"Authorization": f"Bearer {self._token.value}"}

    def sign(self, href: str, collection: str) -> SignedUrl:
        return SignedUrl(href)

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        with self._asking:
            if self._token is not None and self._token.value == self._last.value:  # else another thread renewed it
                self._token.until = 0.0
        return True

    def _fetch(self, before: _Token | None) -> _Token:
        if before is not None and before.refresh:
            try:
                return self._ask({"grant_type": "refresh_token", "refresh_token": before.refresh})
            except PermanentError:
                pass  # the refresh token has expired, too
        try:
            return self._ask(self._grant)
        except PermanentError as error:
            raise ConfigurationError(f"no token was issued: {error}") from None

    def _ask(self, grant: Mapping[str, str]) -> _Token:
        found = retry.call(lambda: self._hosts.request_json("POST", self._url, {}, {**self._form, **grant}), _POLICY)
        if not isinstance(found, dict) or not isinstance(found.get("access_token"), str):
            raise PermanentError(f"{display_url(self._url)} did not return an access_token")
        until = self._clock() + _use(_seconds(found.get("expires_in")))
        return _Token(found["access_token"], until, found.get("refresh_token"))


class _SasSigner:
    """Request signed URLs from an endpoint, or tokens for all URLs of a collection.

    The Planetary Computer has both (https://planetarycomputer.microsoft.com/docs/concepts/sas/):
    ``GET /sign?href=…`` returns ``{"href", "msft:expiry"}``, ``GET /token/{collection}`` ``{"token", "msft:expiry"}``.
    """

    def __init__(self, auth: Auth, hosts: HostSessions, clock: Callable[[], float]) -> None:
        self._url, self._hosts, self._clock = auth.token_url or "", hosts, clock
        self._is_token = "{collection}" in self._url
        self._names = auth.hosts or (_BLOBS if self._is_token else ())
        self._known: dict[str, _Token] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._making = threading.Lock()
        self._last = _Last()

    def headers(self, url: str) -> Mapping[str, str]:
        return {}

    def sign(self, href: str, collection: str) -> SignedUrl:
        if self._names and not matches_host(href, self._names):
            return SignedUrl(href)
        key = collection if self._is_token else href
        with self._lock(key):
            known = self._known.get(key)
            if known is None or known.until <= self._clock():
                known = self._known[key] = self._fetch(href, collection)
        self._last.value = known.value
        if not self._is_token:
            return SignedUrl(known.value)
        return SignedUrl(f"{href}{'&' if '?' in href else '?'}{known.value.lstrip('?')}")

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        key = collection if self._is_token else href
        with self._lock(key):
            known = self._known.get(key)
            if known is not None and known.value == self._last.value:  # else another thread renewed it
                del self._known[key]
        return not self._names or matches_host(href, self._names)

    def _fetch(self, href: str, collection: str) -> _Token:
        if self._is_token:
            url, name = self._url.replace("{collection}", quote(collection, safe="")), "token"
        else:
            url, name = f"{self._url}{'&' if '?' in self._url else '?'}href={quote(href, safe='')}", "href"
        found = retry.call(lambda: self._hosts.request_json("GET", url, {}), _POLICY)
        if not isinstance(found, dict) or not isinstance(found.get(name), str):
            raise PermanentError(f"{display_url(url)} did not return a {name}")
        return _Token(found[name], _expiry(found, self._clock()))

    def _lock(self, key: str) -> threading.Lock:
        with self._making:
            return self._locks.setdefault(key, threading.Lock())


class _S3Signer:
    """Presign URLs of S3 with the credentials of the AWS client; leave all others to another signer."""

    def __init__(self, inner: Signer, requester_pays: bool) -> None:
        self._inner, self._requester_pays = inner, requester_pays
        self._clients: dict[str | None, Any] = {}
        self._regions: dict[str, str] = {}
        self._making = threading.Lock()
        self._last = _Last()

    def headers(self, url: str) -> Mapping[str, str]:
        if self._requester_pays and _PAYER in parse_qs(urlsplit(url).query).get("X-Amz-SignedHeaders", [""])[0].split(
            ";"
        ):
            return {_PAYER: "requester"}  # part of the signature, so S3 requires it
        return self._inner.headers(url)

    def sign(self, href: str, collection: str) -> SignedUrl:
        parts = urlsplit(href)
        if parts.scheme == "gs":
            return self._inner.sign(f"{_GOOGLE}/{parts.netloc}{parts.path}", collection)
        if parts.scheme != "s3":
            return self._inner.sign(href, collection)
        wanted = {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}
        if self._requester_pays:
            wanted["RequestPayer"] = "requester"
        client = self._s3(parts.netloc)
        self._last.value = client.meta.region_name
        return SignedUrl(client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=_S3_SECONDS))

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        parts = urlsplit(href)
        if parts.scheme != "s3":
            return self._inner.renew(href, collection, region)
        if region is None or region == self._last.value:
            return False
        with self._making:
            self._regions[parts.netloc] = region
        return True

    def _s3(self, bucket: str) -> Any:
        with self._making:
            region = self._regions.get(bucket)
            if region not in self._clients:
                self._clients[region] = _s3_client(self._requester_pays, region)
            return self._clients[region]


def _s3_client(requester_pays: bool, region: str | None) -> Any:
    try:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"s3:// needs botocore: pip install 'eechips[s3]' ({error})") from None
    session = botocore.session.get_session()
    is_anonymous = session.get_credentials() is None
    if is_anonymous and requester_pays:
        raise ConfigurationError("requester_pays needs AWS credentials: S3 bills their account")
    version: Any = UNSIGNED if is_anonymous else "s3v4"
    client = session.create_client("s3", region_name=region, config=Config(signature_version=version))
    if not client.meta.endpoint_url.endswith(".amazonaws.com"):
        return client  # a store other than AWS
    # Without a regional endpoint S3 redirects to another host, for which the signature is not valid.
    regional = Config(signature_version=version, s3={"addressing_style": "virtual"})
    return session.create_client("s3", region_name=region, config=regional)


def _expiry(found: Mapping[str, Any], now: float) -> float:
    """Return when to renew a signature, in seconds since 1970, from the endpoint's response."""
    for name in ("msft:expiry", "expiry", "expires", "expires_at", "expiration"):
        value = found.get(name)
        if isinstance(value, str) and (moment := parse_timestamp(value)) is not None:
            return now + _use(moment.timestamp() - now)
        if isinstance(value, (int, float)):
            return now + _use(float(value) - now)
    return now + _use(_seconds(found.get("expires_in")))


def _seconds(value: Any) -> float:
    """Return a validity in seconds; five minutes if it is unknown."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return _UNKNOWN_SECONDS


def _use(seconds: float) -> float:
    """Return how long to use a signature of so many seconds."""
    return max(0.0, seconds - min(_MARGIN, _SHARE * seconds))


def _read_netrc(path: Path) -> netrc.netrc:
    """Read a ``.netrc``, also in Windows-1252 or in UTF-8 with a byte order mark.

    Raises:
        OSError: if the file cannot be read.
        netrc.NetrcParseError: if the file is malformed.
    """
    written = path.read_bytes()
    try:
        text = written.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = written.decode("cp1252", "replace")
    content = text.encode()
    if content == written:
        return netrc.netrc(str(path))
    if len(content) > _PIPE:
        raise OSError(errno.EFBIG, f"it has more than {_PIPE:,} bytes, and is not in UTF-8")
    # The parser accepts file names only; a temporary file would write the secrets to the disk again.
    source, sink = os.pipe()
    try:
        with os.fdopen(sink, "wb") as file:
            file.write(content)
        return netrc.netrc(f"/dev/fd/{source}")
    finally:
        os.close(source)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _is_encrypted(url: str) -> bool:
    return urlsplit(url).scheme == "https" or is_loopback(url)


def _refuse_unencrypted(url: str) -> None:
    if not _is_encrypted(url):
        raise PermanentError(f"{display_url(url)} is not https: no secrets are sent to it")
