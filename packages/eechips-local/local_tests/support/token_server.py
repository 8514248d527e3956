"""A token endpoint and a guarded service on loopback, for tests of authentication over time.

One :class:`TokenServer` plays every party that Google's credentials talk to:

* ``/token``: the OAuth 2.0 token endpoint, for users' refresh tokens (RFC 6749, 6) and service accounts (RFC 7523);
* ``/sts``: the Security Token Service of external accounts (RFC 8693);
* ``/impersonate``: ``generateAccessToken`` of the IAM Credentials API, for impersonated service accounts;
* ``/computeMetadata/v1/…``: the metadata server of a virtual machine (point ``GCE_METADATA_HOST`` at :attr:`host`);
* everything else: the service. A request needs a valid ``Authorization: Bearer …``, or is answered 401 as Google's
  front end does. One that has it is forwarded to :attr:`upstream` if there is one, such as a local Earth Engine, and
  is answered ``{"result": 42}`` if not.

Tokens expire by a clock of their own, which only :meth:`advance` moves: nothing has to be waited for. Give it to the
client as well: ``Transport(..., clock=server.clock)``. Replace :attr:`clock` by ``time.monotonic`` for real time.
Faults are planned per party, for the next requests (:meth:`plan`) or until further notice (:attr:`outages`)::

    with token_server(lifetime=600) as server:
        server.plan("token", "503", "reset")
        server.outages["metadata"] = "404"
        transport = Transport(server.url, seat, policy, timeouts, credentials=server.user(), clock=server.clock)

A fault is a status (``"503"``), a status and an OAuth error (``"400 invalid_grant"``) or a body
(``'403 {"error": …}'``), or one of ``"reset"`` (the connection is closed), ``"hold"`` (the same, once :attr:`released`
is set), ``"html"`` (a captive portal's page under status 200), ``"truncated"`` (half of the answer), ``"empty"`` (JSON
without a token).
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local_tests.support.loopback import QuietServer, serving

PARTIES = {"token": "/token", "sts": "/sts", "impersonate": "/impersonate", "metadata": "/computeMetadata/"}
_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "host", "content-length"})


class TokenServer:
    """Issued tokens, planned faults and received requests.

    Attributes:
        url: URL of the service, and of the parties below it.
        lifetime: seconds for which a token is valid.
        clock: seconds; replace it, or :meth:`advance` it.
        upstream: base URL to which authorized requests are forwarded.
        requests: requests by party (``token``, ``sts``, ``impersonate``, ``metadata``, ``service``). Of the metadata
            server, those for a token only.
        refused: requests to the service that were answered 401 for their token.
        headers: headers of the requests to the service, with lower-case names, in their order; ``:path`` is the path.
        grants: parameters of the requests to ``/token`` and ``/sts``.
        outages: the fault of every request to a party, by party, as long as it stands there.
        held: requests that such faults have held.
        released: ends the faults that hold a request.
        answer: makes the response to an authorized request, of its headers, where there is no :attr:`upstream`.
        public: beginnings of paths of the service that need no token, and have no faults.
        skew: seconds by which the service's clock is ahead: so much earlier than was promised it refuses a token.
    """

    def __init__(self, lifetime: float, upstream: str | None) -> None:
        self.url = ""
        self.lifetime = lifetime
        self.upstream = upstream
        self.requests: Counter[str] = Counter()
        self.refused = 0
        self.headers: list[dict[str, str]] = []
        self.grants: list[dict[str, str]] = []
        self.outages: dict[str, str] = {}
        self.held = 0
        self.released = threading.Event()
        self.answer: Callable[[Mapping[str, str]], Any] = lambda _: {"result": 42}
        self.public: tuple[str, ...] = ()
        self.skew = 0.0
        self._planned: dict[str, deque[str]] = defaultdict(deque)
        self._expiries: dict[str, float] = {}
        self._seconds = 0.0
        self.clock: Callable[[], float] = lambda: self._seconds
        self.lock = threading.Lock()

    @property
    def host(self) -> str:
        """Host and port, for ``GCE_METADATA_HOST`` and ``GCE_METADATA_IP``."""
        return urlsplit(self.url).netloc

    def plan(self, party: str, *faults: str) -> None:
        """Plans faults for the next requests to a party."""
        with self.lock:
            self._planned[party].extend(faults)

    def advance(self, seconds: float) -> None:
        """Moves the clock of the server, and of those that were given it."""
        with self.lock:
            self._seconds += seconds

    def revoke(self) -> None:
        """Makes every token that was issued invalid."""
        with self.lock:
            self._expiries.clear()

    def await_requests(self, party: str, count: int) -> None:
        """Waits until a party has been asked so often."""
        deadline = time.monotonic() + 60
        while self.requests[party] < count:
            assert time.monotonic() < deadline, self.requests
            time.sleep(0.01)

    def is_valid(self, token: str) -> bool:
        """Return whether the service accepts a token now."""
        with self.lock:
            return self._expiries.get(token, float("-inf")) > self.clock() + self.skew

    def user(self, **options: Any) -> Any:
        """A user's credentials (``google.oauth2.credentials.Credentials``), without a token yet."""
        from google.oauth2.credentials import Credentials

        make: Any = Credentials
        found = {"refresh_token": "r", "client_id": "c", "client_secret": "s", "token_uri": f"{self.url}/token"}
        return make(None, **{**found, **options})

    def key(self, path: Path, **fields: str) -> Path:
        """Writes a service account's key whose tokens come from here."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": "robot@my-project.iam.gserviceaccount.com",
            "token_uri": f"{self.url}/token",
            **fields,
        }
        path.write_text(json.dumps(content))
        return path

    def external_account(self, subject: Path, *, impersonates: bool = False) -> dict[str, Any]:
        """The configuration of an external account whose subject token is in a file (workload identity federation)."""
        found: dict[str, Any] = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/p",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/sts",
            "credential_source": {"file": str(subject)},
        }
        if impersonates:
            found["service_account_impersonation_url"] = f"{self.url}/impersonate/robot:generateAccessToken"
        return found

    def _fault(self, party: str) -> str | None:
        with self.lock:
            self.requests[party] += 1
            planned = self._planned[party]
            return planned.popleft() if planned else self.outages.get(party)

    def _issue(self) -> tuple[str, float]:
        with self.lock:
            token = f"ya29.{len(self._expiries)}-{self.requests.total()}"
            self._expiries[token] = self.clock() + self.lifetime
            return token, self.lifetime

    def _grant(self, party: str) -> dict[str, Any]:
        """The answer of a party, with a new token."""
        token, lifetime = self._issue()
        if party == "impersonate":
            expiry = datetime.now(timezone.utc) + timedelta(seconds=lifetime)  # this one names a moment
            return {"accessToken": token, "expireTime": f"{expiry:%Y-%m-%dT%H:%M:%S}Z"}
        found = {"access_token": token, "expires_in": int(lifetime), "token_type": "Bearer"}
        if party == "sts":
            found["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
        return found


@contextmanager
def token_server(*, lifetime: float = 3600.0, upstream: str | None = None) -> Iterator[TokenServer]:
    """Serves until the block ends.

    Args:
        lifetime: seconds for which a token is valid.
        upstream: base URL to which authorized requests are forwarded.
    """
    found = TokenServer(lifetime, upstream)

    class Handler(_Handler):
        server_of_tokens = found

    with QuietServer(("127.0.0.1", 0), Handler) as server, serving(server) as found.url:
        try:
            yield found
        finally:
            found.released.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer
    server_of_tokens: TokenServer

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        party = next((name for name, prefix in PARTIES.items() if self.path.startswith(prefix)), "service")
        if party == "metadata":
            self._metadata()
        elif party == "service":
            self._service(body)
        else:
            with self.server_of_tokens.lock:
                text = body.decode()
                pairs = {} if text.startswith("{") else {k: v[0] for k, v in parse_qs(text).items()}
                self.server_of_tokens.grants.append(pairs)
            self._party(party)

    do_POST = do_GET  # noqa: N815 - a name of http.server

    def log_message(self, *_: object) -> None:
        pass

    def _metadata(self) -> None:
        path = urlsplit(self.path).path.rstrip("/")
        if path.endswith("/token"):
            self._party("metadata")
        elif path.endswith("/project-id"):
            self._answer(200, b"machine-project", "application/text")
        elif path.endswith("/universe-domain"):
            self._answer(404, b"")
        else:
            self._answer(200, json.dumps({"email": "robot@machine.example", "scopes": ["s"]}).encode())

    def _party(self, party: str) -> None:
        server = self.server_of_tokens
        fault = server._fault(party)
        if fault is None:
            self._answer(200, json.dumps(server._grant(party)).encode())
        else:
            self._fail(fault)

    def _service(self, body: bytes) -> None:
        server = self.server_of_tokens
        if self.path == "/":  # the metadata server's ping
            self._answer(200, b"")
            return
        if server.public and self.path.startswith(server.public):
            self._answer(200, json.dumps(server.answer(dict(self.headers))).encode())
            return
        fault = server._fault("service")
        with server.lock:
            server.headers.append({name.lower(): value for name, value in self.headers.items()} | {":path": self.path})
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if fault is not None:
            self._fail(fault)
        elif scheme != "Bearer" or not server.is_valid(token):
            with server.lock:
                server.refused += 1
            self._answer(401, _UNAUTHENTICATED)
        elif server.upstream is None:
            self._answer(200, json.dumps(server.answer(dict(self.headers))).encode())
        else:
            self._forward(body)

    def _forward(self, body: bytes) -> None:
        upstream = urlsplit(self.server_of_tokens.upstream or "")
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port)
        try:
            sent = {n: v for n, v in self.headers.items() if n.lower() not in {*_HOP_BY_HOP, "authorization"}}
            connection.request(self.command, self.path, body or None, sent)
            response = connection.getresponse()
            content = response.read()
            fields = {n: v for n, v in response.getheaders() if n.lower() not in {*_HOP_BY_HOP, "date", "server"}}
            self._answer(response.status, content, fields=fields)
        finally:
            connection.close()

    def _fail(self, fault: str) -> None:
        status, _, error = fault.partition(" ")
        if fault == "hold":
            with self.server_of_tokens.lock:
                self.server_of_tokens.held += 1
            self.server_of_tokens.released.wait()
        if fault in ("reset", "hold"):
            self.close_connection = True
        elif "html" in (status, error):
            code = 200 if status == "html" else int(status)
            self._answer(code, b"<html>Please log in to the network</html>", "text/html")
        elif fault == "truncated":
            self.send_response(200)
            self.send_header("Content-Length", "500")
            self.end_headers()
            self.wfile.write(b'{"access_token": "ya29')
            self.close_connection = True
        elif fault == "empty":
            self._answer(200, b"{}")
        elif error.startswith("{"):
            self._answer(int(status), error.encode())
        elif status == "401":
            self._answer(401, _UNAUTHENTICATED)
        else:
            code = {"error": error, "error_description": f"{error} of a test"} if error else {"code": int(status)}
            self._answer(int(status), json.dumps(code).encode())

    def _answer(
        self, status: int, body: bytes, media_type: str = "application/json", fields: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        found = {"Content-Type": media_type, "Metadata-Flavor": "Google"} if fields is None else fields
        for name, value in {**found, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


_UNAUTHENTICATED = json.dumps(
    {
        "error": {
            "code": 401,
            "message": "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
            "other valid authentication credential. "
            "See https://developers.google.com/identity/sign-in/web/devconsole-project.",
            "status": "UNAUTHENTICATED",
        }
    }
).encode()
"""The response of Google's front end to an unknown or expired token."""
