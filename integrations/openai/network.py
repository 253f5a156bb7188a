"""Whether an address is of the own network: what is sent to a model elsewhere leaves it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

_PRIVATE_SUFFIXES = (".local", ".localhost", ".internal", ".lan", ".svc", ".home.arpa", ".intranet", ".test")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_private(host: str) -> bool:
    """Whether a host may be on this machine or in a private network, by its name alone: where that is a name, it is
    looked up before anything is sent.

    >>> is_private("127.0.0.1"), is_private("vllm.models.svc"), is_private("api.openai.com")
    (True, True, False)
    >>> is_private("134744072"), is_private("0x7f.1"), is_private("::ffff:8.8.8.8"), is_private("169.254.169.254")
    (False, True, False, False)
    """
    if (address := literal(host)) is not None:
        return is_own(address)
    name = host.lower().rstrip(".")
    return "." not in name or name.endswith((*_PRIVATE_SUFFIXES, ".cluster.local"))


def literal(host: str) -> Address | None:
    """The address that a host is written as, in any form that resolvers take; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        # 2130706433, 0x7f.1, 0177.0.0.1
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def is_own(address: Address) -> bool:
    """Whether it is of this machine or a private network: link-local addresses are those of cloud metadata, and
    100.64.0.0/10 is the provider's."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return (address.is_private or address.is_loopback) and not (address.is_link_local or address.is_unspecified)


async def strangers(host: str) -> list[str]:
    """The addresses of a host that are outside of the own network. Raises OSError where it cannot be looked up."""
    if (address := literal(host)) is not None:
        return [] if is_own(address) else [str(address)]
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = {ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found}
    return sorted(str(one) for one in addresses if not is_own(one))
