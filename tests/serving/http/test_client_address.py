"""Whose a connection is, and whom a proxy may speak for."""

import pytest

from forecasting.errors import SettingError
from forecasting.serving.http.client_address import TrustedProxies, group_address
from forecasting.settings.schema import ServingConfig


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_64_bits_of_ipv6_are_one_address(address: str, group: str) -> None:
    assert group_address(address) == group


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.5", [b"192.0.2.7"], "192.0.2.7"),
        ("10.0.0.5", [b"9.9.9.9, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.5", [b"9.9.9.9", b"192.0.2.7, 10.0.0.6"], "192.0.2.7"),
        ("10.0.0.5", [b"10.0.0.7, 10.0.0.6"], "10.0.0.7"),
        ("10.0.0.5", [b"192.0.2.7:443"], "192.0.2.7"),
        ("10.0.0.5", [b"[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.5", [b"192.0.2.7, unknown"], "10.0.0.5"),
        ("10.0.0.5", [b""], "10.0.0.5"),
        ("::ffff:10.0.0.5", [b"192.0.2.7"], "192.0.2.7"),
        ("192.0.2.1", [b"127.0.0.1"], "192.0.2.1"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: list[bytes], client: str) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).find_client(peer, forwarded) == client
    assert TrustedProxies([]).find_client(peer, forwarded) == peer


def test_trusted_proxies_are_addresses_or_networks() -> None:
    with pytest.raises(SettingError) as error:
        ServingConfig(trusted_proxies=["10.0.0.5", "proxy.example"])
    assert str(error.value) == (
        "serving.trusted_proxies has 'proxy.example'. Write each as an address or a network, such as 10.0.0.5 or "
        "10.0.0.0/8."
    )
