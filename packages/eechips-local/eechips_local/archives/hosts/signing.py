"""Authorize requests for an archive's files: SAS tokens, Earthdata and CDSE logins, buckets whose readers pay; each
credential goes to its own hosts only.

It fetches and renews the Planetary Computer's SAS tokens (shared access signatures) by collection. Credentials are
``PC_SDK_SUBSCRIPTION_KEY`` (optional) for the Planetary Computer; ``EARTHDATA_TOKEN``, or a name and a password in
``EARTHDATA_USERNAME`` and ``EARTHDATA_PASSWORD`` or ``~/.netrc``, for NASA; ``CDSE_ACCESS_KEY_ID`` and
``CDSE_SECRET_ACCESS_KEY``, or the profile ``cdse`` of ``~/.aws/credentials``, for CDSE; AWS's own variables or profile,
with ``AWS_REQUEST_PAYER=requester`` as consent, for buckets whose readers pay.
"""

from __future__ import annotations

import base64
import json
import math
import netrc
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, urlsplit

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.archive_errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveStatusError,
    UntrustedHostError,
)
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.files.file_ranges import SignedAddress
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.archive_session import ArchiveRequest, ArchiveSession
from eechips_local.archives.hosts.host_throttle import HostCounts, HostThrottles
from eechips_local.archives.hosts.s3_signature import S3Keys, read_keys, sign_s3
from eechips_local.archives.hosts.signed_addresses import is_signed
from eechips_local.archives.hosts.transient_failures import is_transient
from eechips_local.archives.items.item_properties import milliseconds
from eechips_local.assets.asset_names import shown_url

_EARLIEST, _SHARE = 300.0, 0.1  # seconds before its expiry, or the share of its life, at which a token is renewed
_LONGEST = 64 << 10  # bytes of a token's response
_EARTHDATA = "https://urs.earthdata.nasa.gov"
_DOMAINS = {
    "planetary-computer": "planetarycomputer.microsoft.com",
    "earthdata": "nasa.gov",
    "cdse": "dataspace.copernicus.eu",
}
"""Whose hosts may have the credentials of a kind of signing, whatever a description of an archive says."""
_UNSIGNED_ACCOUNTS = ("ai4edatasetspublicassets",)  # of the Planetary Computer's own list
_PAID = frozenset(
    {"usgs-landsat", "naip-analytic", "naip-source", "sentinel-s1-l1c", "sentinel-s2-l1c", "sentinel-s2-l2a"}
)
_S3_HOST = re.compile(r"\.?s3(?:(?:\.dualstack\.|[.-])([a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com")
"""With the region, if any: https://docs.aws.amazon.com/AmazonS3/latest/dev/dual-stack-endpoints.html."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    made: float
    expires: float

    def is_good(self, now: float) -> bool:
        return now < self.expires - min(_EARLIEST, _SHARE * (self.expires - self.made))

    def is_of(self, request: SignedAddress) -> bool:
        """Return whether this token authorized a request."""
        is_in_query = request.url.endswith((f"?{self.text}", f"&{self.text}"))
        return is_in_query or request.headers.get("Authorization") == f"Bearer {self.text}"


class Signer:
    """Authorizes requests for an archive's files. Threads share it; it pickles, without tokens.

    Args:
        environment: where credentials are; that of the process by default.
        patience: seconds for which a service of tokens that does not answer is asked.
    """

    def __init__(
        self,
        description: ArchiveDescription,
        environment: Mapping[str, str] | None = None,
        patience: float = 20.0,
        clock: Clock = CLOCK,
    ) -> None:
        self._arguments = description, environment, patience, clock
        self._description, self._now = description, clock.time
        self._environment = os.environ if environment is None else environment
        self._hosts = AllowedHosts.of_files(description)
        self._tokens: dict[str, _Token] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._token_api = description.token_api.rstrip("/")
        if not self._token_api and description.signing == "earthdata":
            self._token_api = _EARTHDATA
        hosts = AllowedHosts.of_url(self._token_api) if self._token_api else AllowedHosts(())
        self._session = ArchiveSession(hosts, HostThrottles(1, 2.0, clock), patience)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens it in another process."""
        return Signer, self._arguments

    def sign(self, href: str, collection: str, refused: SignedAddress | None = None) -> SignedAddress:
        """Return the request for a file.

        Args:
            href: address of the file, as its item has it.
            collection: collection of the item.
            refused: an earlier request for it that the host has refused: its token is renewed, unless another thread
                has a newer one already.

        Raises:
            ArchiveRefusedError: if the archive's description does not allow the address, or credentials are missing.
            ArchiveError: if the service that gives tokens does not answer.
        """
        if self._description.file and href.startswith(("/", "file:")):
            return SignedAddress(href)
        if href.startswith("s3://"):
            return self._sign_s3(href)
        parts = self._hosts.check(href)
        host = parts.hostname or ""
        if is_signed(parts.query):
            return SignedAddress(href)
        if self._description.signing == "planetary-computer" and self._is_blob(host):
            _check_encrypted(href, parts.scheme, host)
            token = self._token(collection, refused, self._fetch_sas)
            return SignedAddress(f"{href}{'&' if parts.query else '?'}{token}")
        if self._description.signing == "earthdata" and self._may_have_credentials(host):
            _check_encrypted(href, parts.scheme, host)
            token = self._token("earthdata", refused, self._fetch_bearer)
            return SignedAddress(href, {"Authorization": f"Bearer {token}"})
        return SignedAddress(href)

    def counts(self) -> dict[str, HostCounts]:
        """Return what this process has sent to each service of tokens."""
        return self._session.throttles.counts()

    def _is_blob(self, host: str) -> bool:
        """Return whether a host needs a token: one on this machine only if the service of tokens is on it, too."""
        if host in _LOOPBACK:
            return urlsplit(self._token_api).hostname in _LOOPBACK
        return _is_of(host, "blob.core.windows.net") and host.partition(".")[0] not in _UNSIGNED_ACCOUNTS

    def _may_have_credentials(self, host: str) -> bool:
        """Return whether a host may have the user's credentials: one of their service, or a stand-in for it.

        Descriptions of archives come from others, too. A host of this machine, where other users have ports, is a
        stand-in only if the user's ``.netrc`` names it.
        """
        if host in _LOOPBACK:
            return self._read_netrc(host) is not None
        return _is_of(host, _DOMAINS[self._description.signing])

    def _read_netrc(self, host: str) -> tuple[str, str] | None:
        """Return the user and the password of the entry of a host; the entry ``default`` names none."""
        try:
            login = netrc.netrc(self._environment.get("NETRC") or None).hosts.get(host)
        except FileNotFoundError:
            return None
        except (OSError, netrc.NetrcParseError):
            raise ArchiveRefusedError("Your .netrc cannot be read.") from None
        return None if login is None or not login[2] else (login[0], login[2])

    def _token(self, name: str, refused: SignedAddress | None, fetch: Callable[[str], _Token]) -> str:
        """Return a token that holds for a while; threads that need the same one wait for one request."""
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            known, now = self._tokens.get(name), self._now()
            is_refused = known is not None and refused is not None and known.is_of(refused)
            if known is None or not known.is_good(now) or is_refused:
                try:
                    known = self._tokens[name] = fetch(name)
                except (ArchiveError, UntrustedHostError):
                    if known is None or is_refused or now >= known.expires:
                        raise  # else the old one holds for some minutes
            return known.text

    def _fetch_sas(self, collection: str) -> _Token:
        headers = {}
        key = self._environment.get("PC_SDK_SUBSCRIPTION_KEY")
        parts = urlsplit(self._token_api)
        if key and self._may_have_credentials(parts.hostname or ""):
            _check_encrypted(self._token_api, parts.scheme, parts.hostname or "")
            headers["Ocp-Apim-Subscription-Key"] = key
        answer = self._ask(
            ArchiveRequest("GET", f"{self._token_api}/{quote(collection, safe='')}", headers, None, _LONGEST)
        )
        text, expiry = answer.get("token"), milliseconds(answer.get("msft:expiry"))
        if not isinstance(text, str) or not text.isascii() or expiry is None or re.search(r"[\s#?]", text):
            raise ArchiveError(f"{shown_url(self._token_api)} gives no token for {collection}.")
        return _Token(text, self._now(), expiry / 1000.0)

    def _fetch_bearer(self, _: str) -> _Token:
        """Return NASA's token: the user's, or one for the user's name and password."""
        text = self._environment.get("EARTHDATA_TOKEN", "").strip()
        if text:
            return _Token(text, self._now(), math.inf)
        parts = urlsplit(self._token_api)
        host = parts.hostname or ""
        _check_encrypted(self._token_api, parts.scheme, host)
        user, password = self._find_login(host)
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        address = f"{self._token_api}/api/users/find_or_create_token"
        answer = self._ask(ArchiveRequest("POST", address, {"Authorization": f"Basic {basic}"}, None, _LONGEST))
        if not isinstance(answer.get("access_token"), str):
            raise ArchiveError(f"{shown_url(address)} gives no token.")
        return _Token(answer["access_token"], self._now(), self._now() + 86_400.0)

    def _find_login(self, host: str) -> tuple[str, str]:
        user, password = self._environment.get("EARTHDATA_USERNAME"), self._environment.get("EARTHDATA_PASSWORD")
        if user and password and self._may_have_credentials(host):
            return user, password
        login = self._read_netrc(host)
        if login is None:
            raise ArchiveRefusedError(
                f"Files of {self._description.title} need an Earthdata login: set EARTHDATA_TOKEN (a token is made at "
                f"https://urs.earthdata.nasa.gov), or write your name and password for {host} into ~/.netrc, "
                "as an entry `machine`: its entry `default` is sent to no host."
            )
        return login

    def _ask(self, request: ArchiveRequest) -> Mapping[str, Any]:
        try:
            answer = self._session.fetch(request, json.loads)
        except ArchiveStatusError as error:
            if not is_transient(error):
                raise ArchiveRefusedError(f"There is no access: {error}") from None
            raise
        except RecursionError:
            answer = None
        if not isinstance(answer, dict):
            raise ArchiveError(f"{shown_url(request.url)} gives no token.")
        return answer

    def _sign_s3(self, href: str) -> SignedAddress:
        bucket, _, key = href.removeprefix("s3://").partition("/")
        if (
            not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,62}", bucket)
            or not key
            or re.search(r"[?#\\\x00-\x1f]|(^|/)\.\.?(/|$)", key)
        ):
            raise ArchiveRefusedError(f"{shown_url(href)} is no address of a file in S3.")
        url = self._find_bucket(bucket, key)
        parts = self._hosts.check(url)
        now = datetime.fromtimestamp(self._now(), timezone.utc)
        if self._description.signing == "cdse":
            keys = read_keys(self._environment, "CDSE", "cdse")
            if keys is None:
                raise ArchiveRefusedError(
                    "Files of CDSE need keys: make them at https://eodata-s3keysmanager.dataspace.copernicus.eu and "
                    "set CDSE_ACCESS_KEY_ID and CDSE_SECRET_ACCESS_KEY, or the profile cdse of ~/.aws/credentials."
                )
            if not self._may_have_credentials(parts.hostname or ""):
                return SignedAddress(url)
            return SignedAddress(url, sign_s3(url, keys, "default", now))
        if self._description.signing != "requester-pays":
            return SignedAddress(url)
        aws = self._find_payer()
        if aws is None and bucket in _PAID:
            raise ArchiveRefusedError(
                f"Readers of the bucket {bucket} pay for what they read: set AWS_REQUEST_PAYER=requester to accept "
                "that, and your AWS credentials."
            )
        host = _S3_HOST.fullmatch((parts.hostname or "").removeprefix(bucket))
        if aws is None or bucket not in _PAID or host is None:
            return SignedAddress(url)
        return SignedAddress(url, sign_s3(url, aws, host[1] or "us-east-1", now, {"x-amz-request-payer": "requester"}))

    def _find_payer(self) -> S3Keys | None:
        """Return the keys of a user who has said that readings may be paid."""
        if self._environment.get("AWS_REQUEST_PAYER", "").lower() != "requester":
            return None
        return read_keys(self._environment, "AWS", self._environment.get("AWS_PROFILE") or "default")

    def _find_bucket(self, bucket: str, key: str) -> str:
        """Return the address of a file in a bucket: its own host's, or a path of the archive's only one."""
        hosts = self._description.hosts
        own = [host for host in hosts if host.startswith(f"{bucket}.s3")]
        if own:
            return f"https://{max(own, key=len)}/{quote(key)}"
        shared = next((host for host in hosts if ".s3." not in host and not host.startswith("*")), None)
        if shared is None:
            raise ArchiveRefusedError(
                f"The archive refers to s3://{bucket}, which is none of its hosts: nothing was sent."
            )
        is_plain = urlsplit(f"//{shared}").hostname in _LOOPBACK
        return f"{'http' if is_plain else 'https'}://{shared}/{bucket}/{quote(key)}"


def _is_of(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _check_encrypted(href: str, scheme: str, host: str) -> None:
    """Refuse to send a token over a network in clear text.

    Raises:
        ArchiveRefusedError: if it would be.
    """
    if scheme != "https" and host not in _LOOPBACK:
        raise ArchiveRefusedError(
            f"The archive refers to {shown_url(href)}, which is not encrypted: no token is sent there, and nothing was."
        )
