"""Recognise addresses to which no download may connect: metadata services of clouds, and private networks.

Private networks are only rejected if a host of the public internet names an address there: servers of a private network
trust this machine, but the public host is not trusted.
"""

from __future__ import annotations

import ipaddress
import socket

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "168.63.129.16",  # Azure's host: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
            "fd20:ce::254",  # Google: https://cloud.google.com/compute/docs/metadata/querying-metadata
            "fd00:ec2::254",  # Amazon's machines
            "fd00:ec2::23",  # and its pods
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
        ),
    )
)
_EMBEDDING = (
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64: RFC 6052
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 of a local network: RFC 8215
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible: RFC 4291, 2.5.5.1
)
"""IPv6 networks whose addresses end with an IPv4 address."""
_PRIVATE_NAMES = frozenset({"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "arpa"})
"""Top-level names that the public internet does not have, and ``home.arpa`` (RFC 6761, RFC 6762, RFC 8375, ICANN)."""


def is_metadata_address(address: str) -> bool:
    """Return whether an IP address, in any notation, is link-local or belongs to a cloud's metadata service.

    Raises:
        ValueError: if it is not an IP address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    forms: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [parsed]
    if isinstance(parsed, ipaddress.IPv6Address):
        forms += _embedded(parsed)
    return any(form.is_link_local or form in _METADATA for form in forms)


def is_metadata_host(host: str) -> bool:
    """Return whether the host of a URL is the address of a metadata service; names are not resolved."""
    address = _written_address(host.strip("[]"))
    return address is not None and is_metadata_address(address)


def is_private_address(address: str) -> bool:
    """Return whether an IP address, in any notation, is not public: loopback and private networks.

    Raises:
        ValueError: if it is not an IP address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    inner = _embedded(parsed) if isinstance(parsed, ipaddress.IPv6Address) else []
    return any(not form.is_global for form in inner) if inner else not parsed.is_global


def is_private_host(host: str) -> bool:
    """Return whether the host of a URL is a private address, or a name that only private networks use.

    Names are not resolved.
    """
    host = host.strip("[]").rstrip(".").lower()
    address = _written_address(host)
    if address is not None:
        return is_private_address(address)
    return host.rpartition(".")[2] in _PRIVATE_NAMES or "." not in host


def is_public_host(host: str) -> bool:
    """Return whether the host of a URL is on the public internet, with all of its addresses.

    A name that cannot be resolved, as behind a proxy, counts as public unless only private networks use it.
    """
    if is_private_host(host):
        return False
    try:
        targets = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True
    return not any(is_private_address(str(target[0])) for *_, target in targets)


def _written_address(host: str) -> str | None:
    """Return the IP address that a host is, also as a number (2852039166 is 169.254.169.254); None for a name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return host


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses to which packets to an IPv6 address may be translated."""
    teredo = address.teredo or ()
    known = (address.ipv4_mapped, address.sixtofour, *teredo)
    embedded_addresses = [candidate for candidate in known if candidate is not None]
    if any(address in network for network in _EMBEDDING):
        embedded_addresses.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return embedded_addresses
