"""Decide which hosts may be asked on behalf of an archive; refuse addresses of private networks, unless the user names
the host with its port.

Catalogues come from others: an item may refer to this machine, to a neighbour in its network, or to the service that
gives a virtual machine its credentials. So an address is used only if its host is one of the archive's, and a
connection is opened only to an address of the public internet. The user may name a private host, with its port.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from eechips_local.archives.archive_errors import ArchiveAwayError, ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.assets.asset_names import shown_url
from eechips_local.assets.ingestion.host_addresses import IPAddress, is_never_a_host, is_public, parse_literal

_NEVER_IN_ADDRESSES = re.compile(r"[\x00-\x20\\]")  # RFC 3986, section 2: clients read them in different ways
_PORTS = {"http": 80, "https": 443}
_TRUSTED_FILES = (
    "If you trust that host, list it in a TOML file that describes the archive, and give that file as the archive. It "
    'has hosts = ["name:port"], and api, or file = "items.parquet" for a static catalogue.'
)
_TRUSTED_ADDRESS = "Only the host of the address that was given is asked: if you trust the other, give its address."


@dataclass(frozen=True, slots=True)
class HostName:
    """A host that may be asked.

    Attributes:
        name: in lower case; all its subdomains, if it begins with a dot.
        port: port that was named, or None for that of the scheme.
    """

    name: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> HostName:
        """Return the host of "name", "name:port", "[address]:port" or "*.name".

        Raises:
            ArchiveRefusedError: if it is none of these.
        """
        parts = urlsplit(f"//{text.strip().removeprefix('*')}")
        try:
            name, port = parts.hostname or "", parts.port
        except ValueError:
            name, port = "", None
        is_pattern = not text.strip().startswith("*") or name.startswith(".")
        if not name.strip(".") or parts.path or parts.query or parts.username or "*" in name or not is_pattern:
            raise ArchiveRefusedError(f"{text!r} is no host of an archive: write name, name:port or *.name.")
        return cls(name.rstrip("."), port)

    def is_host(self, name: str, port: int, default: int) -> bool:
        """Return whether this is a host: its name, port and the port of its scheme."""
        if port != (default if self.port is None else self.port):
            return False
        return name.endswith(self.name) if self.name.startswith(".") else name == self.name


def split_address(url: str) -> SplitResult:
    """Return the parts of an address.

    Raises:
        ArchiveRefusedError: if it has none, such as ``http://[::1``.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ArchiveRefusedError(f"The archive refers to '{shown_url(url)[:200]}', which is no address.") from None
    return parts


class AllowedHosts:
    """Hosts that may be asked. Threads may share it; it pickles.

    A private address, one of this machine's or of the network it is in, is allowed only for a host that is named with
    its port; one of a metadata service, as link-local ones are, never.

    Args:
        hosts: as an archive's description has them.
        advice: what a user can do who trusts another host.
    """

    def __init__(self, hosts: Iterable[str], advice: str = _TRUSTED_FILES) -> None:
        self._hosts, self._advice = tuple(dict.fromkeys(HostName.parse(host) for host in hosts)), advice

    @classmethod
    def of_files(cls, description: ArchiveDescription) -> AllowedHosts:
        """Return the hosts of an archive's files."""
        return cls(description.hosts)

    @classmethod
    def of_url(cls, url: str) -> AllowedHosts:
        """Return the one host of an address, such as that of an API."""
        return cls((urlsplit(url).netloc.rpartition("@")[2],), _TRUSTED_ADDRESS)

    def check(self, url: str) -> SplitResult:
        """Return the parts of an address whose host may be asked, without a look at where it is.

        Raises:
            ArchiveRefusedError: if it may not.
        """
        parts = split_address(url)
        port = parts.port
        default = _PORTS.get(parts.scheme)
        name = (parts.hostname or "").rstrip(".")
        if default is None or not name:
            raise ArchiveRefusedError(f"The archive refers to {shown_url(url)}, but only http(s) addresses are opened.")
        if "@" in parts.netloc:
            raise ArchiveRefusedError(
                f"The archive refers to {shown_url(url)}, but addresses with the name of a user are not opened."
            )
        if _NEVER_IN_ADDRESSES.search(url):
            raise ArchiveRefusedError(
                f"The archive refers to '{shown_url(url)}', which has blanks, backslashes or control characters: "
                "nothing was sent. They are to be percent-encoded in the item."
            )
        host = self._find(name, default if port is None else port, default)
        if host is None:
            raise ArchiveRefusedError(
                f"The archive refers to {shown_url(url)}, and {parts.netloc} is none of its hosts: nothing was sent. "
                f"{self._advice}"
            )
        literal = parse_literal(name)
        if literal is not None:
            _check_address(literal, name, is_named=_is_named(host))
        return parts

    def resolve(self, name: str, port: int, scheme: str) -> tuple[str, ...]:
        """Return the addresses of a host to which a connection may be opened.

        Connect to these, and not to the name: its next resolution may be another.

        Raises:
            ArchiveAwayError: if the name is not found.
            ArchiveRefusedError: if one of its addresses is not allowed.
        """
        bare = name.strip("[]").rstrip(".").lower()
        host = self._find(bare, port, _PORTS[scheme])
        if host is None:
            raise ArchiveRefusedError(f"{name}:{port} is none of the archive's hosts: nothing was sent.")
        try:
            answers = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)
        except UnicodeError:  # such as a name with a part of more than 63 characters
            raise ArchiveRefusedError(f"The archive refers to the host {name[:200]}, which is no name.") from None
        except OSError as error:
            raise ArchiveAwayError(f"The name {name} has no address: is there a network?") from error
        addresses = tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
        for address in addresses:
            _check_address(ipaddress.ip_address(address.partition("%")[0]), name, is_named=_is_named(host))
        return addresses

    def _find(self, name: str, port: int, default: int) -> HostName | None:
        matches = [host for host in self._hosts if host.is_host(name, port, default)]
        return max(matches, key=_is_named, default=None)


def _is_named(host: HostName) -> bool:
    """Return whether a user has named exactly this host, with its port."""
    return host.port is not None and not host.name.startswith(".")


def _check_address(address: IPAddress, name: str, *, is_named: bool) -> None:
    if is_never_a_host(address):
        raise ArchiveRefusedError(f"{name} is at {address}, where no archive is: nothing was sent.")
    if not (is_public(address) or is_named):
        raise ArchiveRefusedError(
            f"{name} is at {address}, in a private network: nothing was sent. If the archive is yours, name this host "
            "with its port in its address or among its hosts."
        )
