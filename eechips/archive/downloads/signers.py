"""Read the secrets of downloads, and sign requests with those at hand (headers, ``.netrc``, AWS credentials for S3);
send no secret without https or to another host.
"""

from __future__ import annotations

import base64
import netrc
import os
import threading
from collections.abc import Mapping, Sequence
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit

from eechips.errors import ConfigurationError, EechipsError, PermanentError, TransientError
from eechips.storage.store_errors import is_permanent
from eechips.storage.untrusted_files import parse_json
from eechips.web.redaction import redact
from eechips.web.urls import display_url, host_of, is_http, is_loopback

AuthName = Literal["none", "bearer", "basic", "netrc", "oauth", "sas"]
AUTHS: tuple[AuthName, ...] = get_args(AuthName)

PREFIX = "EECHIPS_SCENES_"
"""Prefix of the environment variables: ``EECHIPS_SCENES_TOKEN``."""
NAMES = ("token", "username", "password", "client_id", "client_secret")
"""Names of secrets."""
_YES = frozenset({"YES", "TRUE", "ON", "1"})


def says_yes(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a variable of GDAL, such as ``AWS_NO_SIGN_REQUEST``, is set and true."""
    return environment.get(name, "").upper() in _YES


class Secrets:
    """Secrets by name. Their representation omits the values. A dictionary would show them in JSON and in copies."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def get(self, name: str) -> str | None:
        """Return a secret; None if it is missing."""
        return self._values.get(name)

    def need(self, name: str, use: str) -> str:
        """Return a secret that is required for a use, which the message names.

        Raises:
            ConfigurationError: if the secret is missing.
        """
        secret = self._values.get(name)
        if not secret:
            raise ConfigurationError(f"{use} needs {PREFIX}{name.upper()}, or a line {name}=… in the secrets file")
        return secret


def read_secrets(file: Path | None, environment: Mapping[str, str] | None = None) -> Secrets:
    """Read secrets from a file and the environment; the environment takes precedence.

    Args:
        file: lines ``name=value``, or a JSON object; None for none.
        environment: that of the process by default.

    Raises:
        ConfigurationError: if the file cannot be read or is malformed, or a value has control characters.
    """
    there = os.environ if environment is None else environment
    values = {} if file is None else _of_file(file)
    variables = {name: PREFIX + name.upper() for name in NAMES if there.get(PREFIX + name.upper())}
    values |= {name: there[variable] for name, variable in variables.items()}
    for name, value in values.items():
        if not value.isprintable():  # nor may headers have them, whose errors quote the value
            raise ConfigurationError(f"{variables.get(name) or file} has a line break or control character in {name!r}")
    return Secrets(values)


def _of_file(file: Path) -> dict[str, str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        if text.lstrip().startswith("{"):
            secrets = parse_json(text)
        else:
            lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
            secrets = dict(map(_pair, lines))
    except ValueError:  # its message quotes the file
        raise ConfigurationError(f"{file} must have lines name=value, or a JSON object") from None
    unknown = sorted(name for name in secrets if name not in NAMES)
    if unknown:
        raise ConfigurationError(f"{file} has the unknown name {unknown[0]!r}: known are {', '.join(NAMES)}")
    return {name: str(value) for name, value in secrets.items()}


def _pair(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise ValueError
    return name.strip().lower(), value.strip()


_GOOGLE = "https://storage.googleapis.com"
"""HTTP endpoint for objects of gs:// (https://cloud.google.com/storage/docs/request-endpoints)."""
_PAYER = "x-amz-request-payer"
_S3_SECONDS = 3600  # validity of a signed URL of S3


class Signer:
    """Sign URLs. Threads share it. This one sends no secret, and leaves URLs unchanged."""

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the headers of a request to a URL, if its host may receive them.

        Raises:
            PermanentError: if the host may, but the URL is not https.
        """
        return {}

    def sign(self, href: str, collection: str) -> str:
        """Return the signed URL of an asset, which may be a secret.

        Raises:
            TransientError, PermanentError: if the signing endpoint fails.
        """
        return href

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        """Discard a rejected signature; return whether signing again can help.

        Args:
            href: address of the asset.
            collection: collection of its item.
            region: region of its S3 bucket, if the host stated it.
        """
        return False


class LastToken(threading.local):
    """The last token of a thread, to tell whether another thread has renewed it meanwhile."""

    value: str | None = None


def matches_host(url: str, hosts: Sequence[str]) -> bool:
    """Return whether a URL's host matches one of ``host``, ``host:port`` and ``*.domain``."""
    whole, name = host_of(url), (urlsplit(url).hostname or "").lower()
    for pattern in (host.lower() for host in hosts):
        if pattern.startswith("*.") and name.endswith(pattern[1:]):
            return True
        if pattern in (whole, name):
            return True
    return False


def is_encrypted(url: str) -> bool:
    """Return whether a secret may be sent to a URL: over https, or to this machine."""
    return urlsplit(url).scheme == "https" or is_loopback(url)


def refuse_unencrypted(url: str) -> None:
    """Refuse to send a secret to a URL.

    Raises:
        PermanentError: if the connection would not be encrypted.
    """
    if not is_encrypted(url):
        raise PermanentError(f"{display_url(url)} is not https: no secrets are sent to it")


def basic_header(user: str, password: str) -> str:
    """Return the value of the header ``Authorization`` for a user and a password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class HeaderSigner(Signer):
    """Send the same header to all hosts that may receive it."""

    def __init__(self, hosts: Sequence[str], secret: str) -> None:
        self._hosts, self._secret = hosts, secret

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the header for hosts that may receive it; see :class:`Signer`."""
        if not matches_host(url, self._hosts):
            return {}
        refuse_unencrypted(url)
        return {"Authorization": self._secret}


class NetrcSigner(Signer):
    """Send each host its entry of ``.netrc``."""

    def __init__(self) -> None:
        path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
        try:
            known = netrc.netrc(str(path)).hosts
        except FileNotFoundError:
            raise ConfigurationError(f"auth='netrc' needs the file {path} (machine …, login …, password …)") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{path} cannot be read: it is not in UTF-8") from None
        except (netrc.NetrcParseError, OSError) as error:
            reason = getattr(error, "strerror", None) or "the file is malformed"
            raise ConfigurationError(f"{path} cannot be read: {reason}") from None
        # The entry `default` would match every host.
        self._known = {host.lower(): entry for host, entry in known.items() if host != "default"}

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the entry of the URL's host; none over an unencrypted connection."""
        entry = self._known.get(urlsplit(url).hostname or "")
        if entry is None or not is_encrypted(url):
            return {}
        return {"Authorization": basic_header(entry[0], entry[2] or "")}


class S3Signer(Signer):
    """Presign URLs of S3 with the credentials of the AWS client; leave all others to another signer."""

    def __init__(self, inner: Signer, requester_pays: bool) -> None:
        self._inner, self._requester_pays = inner, requester_pays
        self._clients: dict[str | None, Any] = {}
        self._regions: dict[str, str] = {}
        self._making = threading.Lock()
        self._last = LastToken()

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the header of requester pays if the URL was signed with it, or those of the other signer."""
        signed = parse_qs(urlsplit(url).query).get("X-Amz-SignedHeaders", [""])[0].split(";")
        if self._requester_pays and _PAYER in signed:
            return {_PAYER: "requester"}  # part of the signature, so S3 requires it
        return self._inner.headers(url)

    def sign(self, href: str, collection: str) -> str:
        """Presign a URL of S3; translate URLs of gs://.

        Raises:
            TransientError, PermanentError: see :meth:`Signer.sign`; or if the URL has no bucket or no key.
        """
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
        from botocore.exceptions import ParamValidationError

        try:
            return str(client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=_S3_SECONDS))
        except ParamValidationError:
            raise PermanentError(f"{display_url(href)} names no object of S3, as s3://bucket/key does") from None
        except Exception as error:  # the session renews its keys, by programs, files and services
            raise _translated(error) from error

    def renew(self, href: str, collection: str, region: str | None = None) -> bool:
        """Return whether the bucket is in another region than the one that was signed for."""
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
    """Return a client for a region that a host has stated, or for the configured one."""
    try:
        import botocore.session
        from botocore.exceptions import ConfigParseError
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"s3:// needs botocore: pip install 'eechips[s3]' ({error})") from None
    # A public bucket refuses keys that have expired, although it wants none.
    is_public = says_yes("AWS_NO_SIGN_REQUEST")
    if is_public and requester_pays:
        raise ConfigurationError(
            "requester_pays needs AWS credentials, whose account S3 bills: unset AWS_NO_SIGN_REQUEST, which hides them"
        )
    try:
        try:
            return _client_of(botocore.session.get_session(), is_public, requester_pays, region)
        except ConfigParseError:
            if not is_public:
                raise
            return _client_of(_session_without_keys(), is_public, requester_pays, region)
    except EechipsError:
        raise
    except Exception as error:  # of programs, files and services that give keys, too
        failure = _translated(error)
        if region is not None and isinstance(failure, ConfigurationError):
            raise PermanentError(f"the host states the region {region}, which cannot be used: {failure}") from error
        raise failure from error


def _client_of(session: Any, is_public: bool, requester_pays: bool, region: str | None) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config

    if is_public:
        session.set_credentials("", "")  # so that botocore asks no program, file or service for keys
    is_anonymous = is_public or session.get_credentials() is None
    if is_anonymous and requester_pays:
        raise ConfigurationError("requester_pays needs AWS credentials: S3 bills their account")
    version: Any = UNSIGNED if is_anonymous else "s3v4"
    client = session.create_client("s3", region_name=region, config=Config(signature_version=version))
    if not client.meta.endpoint_url.endswith(".amazonaws.com"):
        return client  # a store other than AWS
    # Without a regional endpoint S3 redirects to another host, for which the signature is not valid.
    regional = Config(signature_version=version, s3={"addressing_style": "virtual"})
    return session.create_client("s3", region_name=region, config=regional)


def _session_without_keys() -> Any:
    """Return a session without the file of keys, which may be damaged; the profile may have the store's endpoint."""
    import botocore.session

    return botocore.session.Session({"credentials_file": (None, None, os.devnull, None)})


def _translated(error: Exception) -> ConfigurationError | TransientError:
    """Return the error of eechips for one of botocore: a service of keys that fails fails units, not the run."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    reason = _reason(error)
    if isinstance(error, (BotoCoreError, ClientError, ResponseParserError, OSError)) and not is_permanent(error):
        return TransientError(f"AWS gives no keys for s3:// now: {reason}")
    is_public = says_yes("AWS_NO_SIGN_REQUEST")
    return ConfigurationError(
        f"s3:// cannot be read with this configuration of AWS: {reason}. Correct AWS_PROFILE, AWS_ACCESS_KEY_ID,"
        " AWS_DEFAULT_REGION, AWS_ENDPOINT_URL or ~/.aws"
        + (
            "; unset AWS_PROFILE if the store is AWS"
            if is_public
            else "; public buckets need no keys with AWS_NO_SIGN_REQUEST=YES"
        )
    )


_ENDPOINTS = tuple(f"AWS_ENDPOINT_URL{service}" for service in ("_S3", "_STS", "_SSO", ""))
_NO_ENDPOINT = ("Invalid endpoint", "Custom endpoint", "Port ", "Invalid IPv6 URL", "netloc ")
"""Beginnings of the errors of botocore and urllib about endpoints that are no URLs."""


def _reason(error: Exception) -> str:
    """Return what an exception of botocore says, with the variable that it is about, and without passwords."""
    text = " ".join(str(error).split()).rstrip(".:") or type(error).__name__
    if text.startswith(_NO_ENDPOINT):  # the text quotes the endpoint or a part of it
        values = {} if _ignores_endpoints() else {name: os.environ.get(name, "") for name in _ENDPOINTS}
        wrong = next((name for name, value in values.items() if value and (value in text or not _is_url(value))), None)
        return f"{wrong or 'endpoint_url of the profile'} is no URL"
    if isinstance(error, ValueError):
        names = [name for name, value in os.environ.items() if name.startswith("AWS_") and repr(value) in text]
        text = ", ".join(names) + (": " if names else "") + text
    if isinstance(error, JSONDecodeError):
        text = f"credential_process prints no JSON ({text})"
    return redact(text)


def _ignores_endpoints() -> bool:
    return os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"  # as botocore reads it


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return is_http(text) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
