"""Choose the signer of downloads by the kind of authorisation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from eechips.archive.downloads.access_secrets import AUTHS, AuthName, Secrets
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.signers import HeaderSigner, NetrcSigner, S3Signer, Signer, basic_header, is_encrypted
from eechips.archive.downloads.token_signers import OAuthSigner, SasSigner
from eechips.errors import ConfigurationError, UsageError
from eechips.web.urls import display_url


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
        if self.token_url and not is_encrypted(self.token_url):
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
        inner = HeaderSigner(auth.hosts, f"Bearer {token}")
    elif auth.kind == "basic":
        use = "auth='basic'"
        inner = HeaderSigner(auth.hosts, basic_header(secrets.need("username", use), secrets.need("password", use)))
    elif auth.kind == "netrc":
        inner = NetrcSigner()
    elif auth.kind == "oauth":
        inner = OAuthSigner(auth.token_url or "", auth.hosts, secrets, hosts, clock)
    elif auth.kind == "sas":
        inner = SasSigner(auth.token_url or "", auth.hosts, hosts, clock)
    else:
        inner = HeaderSigner((), "")
    return S3Signer(inner, auth.requester_pays)
