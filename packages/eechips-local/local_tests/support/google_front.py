"""Google's hosts on loopback: a proxy for https whose far end is a server here, under a certificate for Google's names.

What a process sends to ``https://oauth2.googleapis.com`` or ``https://earthengine-highvolume.googleapis.com`` passes
the proxy, so that the real names, ports and certificate checks are used, and nothing leaves this machine::

    with google_front({"oauth2.googleapis.com": tokens.url, HIGH_VOLUME: service.url}, folder) as front:
        subprocess.run(command, env={**os.environ, **front.environment})
        front.requests  # host, method, path, headers of each

A host that is not listed is refused.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from local_tests.support.loopback import QuietServer, serving

HIGH_VOLUME = "earthengine-highvolume.googleapis.com"
TOKENS = "oauth2.googleapis.com"
SECURITY_TOKENS = "sts.googleapis.com"
_NOT_PASSED = frozenset({"connection", "host", "keep-alive", "proxy-connection", "transfer-encoding", "content-length"})


@dataclass(frozen=True, slots=True)
class FrontRequest:
    """A request to one of Google's hosts; names of headers in lower case."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GoogleFront:
    """A proxy that is running.

    Attributes:
        environment: variables by which processes use it, and trust its certificate.
        requests: requests that were received, in their order.
        refused: hosts that were asked for and are not listed.
    """

    environment: Mapping[str, str]
    requests: list[FrontRequest] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def sent_to(self, host: str) -> list[FrontRequest]:
        """Return the requests to a host."""
        return [each for each in self.requests if each.host == host]


@contextmanager
def google_front(servers: Mapping[str, str], folder: Path) -> Iterator[GoogleFront]:
    """Serve Google's hosts until the block ends.

    Args:
        servers: base URL of the plain server on loopback behind each host; its path comes before that of a request.
        folder: for the certificate.
    """
    encryption, authority = make_certificate(tuple(servers), folder)

    class Handler(_Handler):
        tls = encryption
        backends = servers

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        names = ("HTTPS_PROXY", "https_proxy")
        environment = {**dict.fromkeys(names, address), "REQUESTS_CA_BUNDLE": str(authority), "NO_PROXY": "127.0.0.1"}
        Handler.front = GoogleFront(environment)
        with serving(server):
            yield Handler.front


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tls: ssl.SSLContext
    backends: Mapping[str, str]
    front: GoogleFront
    host = ""

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        if self.host not in self.backends:
            self.front.refused.append(self.host)
            self.send_error(403)
            self.close_connection = True
            return
        self.send_response(200)
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the server closes only the connection that it was given

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.front.requests.append(FrontRequest(self.host, self.command, self.path, headers))
        backend = urlsplit(self.backends[self.host])
        connection = http.client.HTTPConnection(backend.hostname or "", backend.port, timeout=120)
        try:
            sent = {name: value for name, value in headers.items() if name not in _NOT_PASSED}
            connection.request(self.command, backend.path + self.path, body or None, sent)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _NOT_PASSED:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names of http.server

    def log_message(self, *_: object) -> None:
        pass


def make_certificate(hosts: tuple[str, ...], folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Write the certificate of an authority, and return it with the context of a server that has one of its own."""
    now = datetime.now(timezone.utc)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())

    def started(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(root_name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=2))

    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    root = (
        started(root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    leaf = (
        started(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])]), key.public_key())
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    authority, own = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(root.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    own.write_bytes(private + leaf.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return context, authority
