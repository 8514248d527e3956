"""Tell addresses of hosts that may have files from those of this machine, its network and its metadata service.

A metadata service gives a virtual machine its credentials: no file lies there, and nothing is requested from it.
"""

from __future__ import annotations

import ipaddress
import socket

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
"""Address of a host."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215; Pythons differ in whether it is public
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, 2.5.5.1
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "168.63.129.16",  # Azure's host: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "fd20:ce::254",  # Google: https://cloud.google.com/compute/docs/metadata/querying-metadata
            "fd00:ec2::254",  # Amazon's machines
            "fd00:ec2::23",  # and its pods
        ),
    )
)
"""Addresses of metadata services that are not link-local."""
_METADATA_NAMES = frozenset(
    ("metadata.google.internal", "metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal")
)
"""Names of metadata services in the networks of Google and Amazon."""


def parse_literal(name: str) -> IPAddress | None:
    """Return the address that a name is, also in the old notations that resolvers understand (``127.1``)."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except OSError:
        return None


def is_metadata_host(name: str) -> bool:
    """Return whether a host's name, or the address that it is, is one that no file can be at.

    The name is not resolved.
    """
    bare = name.strip("[]").rstrip(".").lower()
    address = parse_literal(bare.partition("%")[0])
    return bare in _METADATA_NAMES if address is None else is_never_a_host(address)


def is_never_a_host(address: IPAddress) -> bool:
    """Return whether an address is link-local, a metadata service's, multicast or unspecified."""
    inner = _embedded(address)
    return inner.is_link_local or inner in _METADATA or inner.is_multicast or inner.is_unspecified


def is_public(address: IPAddress) -> bool:
    """Return whether an address belongs to the public internet."""
    inner = _embedded(address)
    is_local = getattr(inner, "is_site_local", False) or (inner.version == 6 and inner in _LOCAL_NAT64)
    return inner.is_global and not is_local


def _embedded(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 address leads to (RFC 4291, RFC 3056, RFC 6052), or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
