"""Who sends a request: the address that counts for limits, also behind a proxy."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

IPV6_PREFIX = 64  # bits; usually one customer's whole network, any of whose addresses he may use


@lru_cache(4096)
def group_address(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits. Anything else as it is."""
    ip = _parse(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, IPV6_PREFIX), strict=False))
    return address if ip is None else str(ip)


class TrustedProxies:
    """Proxies whose X-Forwarded-For header is believed, by address or network. Anybody else could claim any address."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        ip = _parse(address)
        return ip is not None and any(ip in network for network in self._networks)

    def find_client(self, peer: str, forwarded: Sequence[bytes]) -> str:
        """The last address in the X-Forwarded-For headers that no trusted proxy has; `peer` if there is none.

        Each proxy appends the address that it was called from, so entries are believed from the right, as far as
        trusted proxies wrote them.
        """
        client = peer
        for entry in reversed(b",".join(forwarded).split(b",")):
            ip = _parse(_without_port(entry.decode("latin-1").strip()))
            if client not in self or ip is None:
                break
            client = str(ip)
        return client


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def _without_port(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
