"""The sockets to listen on, and the address that a connection counts for."""

import socket

import pytest

from exporter.server.sockets import bound_sockets, peer_of


@pytest.mark.parametrize(
    ("host", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_client_counts_for_its_network(host: str, peer: str) -> None:
    """It may use any address of its /64, so that all of them share what one address may have."""
    assert peer_of(host) == peer


async def test_all_addresses_of_a_host_get_the_same_free_port() -> None:
    """Port 0 is chosen by the system for the first address, and then used for the others."""
    bound = await bound_sockets("", 0)
    assert len({each.getsockname()[1] for each in bound}) == 1
    assert socket.AF_INET in {each.family for each in bound}
    for each in bound:
        each.close()


async def test_an_address_in_use_is_an_error_and_leaves_no_socket_open() -> None:
    """A socket that is left open fails the test."""
    (taken,) = await bound_sockets("127.0.0.1", 0)
    with taken, pytest.raises(OSError, match="in use"):
        await bound_sockets("127.0.0.1", taken.getsockname()[1])
