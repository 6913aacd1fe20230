"""Where peers say that they see us: two that agree are believed."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import identity, join, make_manager
from tests.support.inside import says_first
from triolight import (
    PeerManager,
    open_peer_nursery,
)
from triolight.address import IPv4Address, IPv6Address, TorV3Address, write_address
from triolight.messages.bolt1 import InitTlvs

ONION = TorV3Address(bytes(32), bytes(2), 3, 9735)


def teller(number: int, told: bytes | None) -> PeerManager:
    """Tells everyone the same address, whatever it sees."""
    manager = make_manager(number)
    says_first(manager, lambda init: init.replace(tlvs=InitTlvs(remote_addr=told)))
    return manager


OURS = write_address(IPv4Address("8.8.4.4", 50_000))


async def test_two_that_agree_are_believed(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        open_peer_nursery(teller(2, OURS)) as two,
        open_peer_nursery(teller(3, write_address(IPv6Address("::ffff:8.8.4.4", 60_000)))) as three,
        open_peer_nursery(teller(4, write_address(IPv4Address("1.2.3.4", 1)))) as four,
    ):
        await join(peers, two)
        await join(peers, four)
        assert peers.reported_addresses == ()  # one word against another
        await join(peers, three)
        assert peers.reported_addresses == ()  # nobody could reach us: we do not listen
        (listener,) = await peers.listen(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        assert list(peers.reported_addresses) == [IPv4Address("8.8.4.4", port)]
        # Kept per peer: what it says is in its Init, and goes with it.
        await peers.peers[identity(3)].disconnect()
        assert not peers.reported_addresses


@pytest.mark.parametrize(
    "told",
    [
        write_address(IPv4Address("10.0.0.1", 1)),
        write_address(IPv4Address("203.0.113.5", 1)),
        write_address(IPv4Address("224.0.0.1", 1)),
        write_address(IPv4Address("255.255.255.255", 1)),
        write_address(IPv6Address("2001:db8::1", 1)),
        write_address(IPv6Address("::ffff:10.0.0.1", 1)),
        write_address(ONION),
        OURS + OURS,
        OURS[:3],
        b"\xff",
        None,
    ],
)
async def test_reports_that_say_nothing(told: bytes | None, autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        open_peer_nursery(teller(2, told)) as two,
        open_peer_nursery(teller(3, told)) as three,
    ):
        await peers.listen(0, host="127.0.0.1")
        await join(peers, two)
        await join(peers, three)
        assert peers.reported_addresses == ()


async def test_who_dialled_us_is_not_asked(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        open_peer_nursery(teller(2, OURS)) as two,
        open_peer_nursery(teller(3, OURS)) as three,
    ):
        await peers.listen(0, host="127.0.0.1")
        await join(two, peers)
        await join(three, peers)
        assert peers.reported_addresses == ()
