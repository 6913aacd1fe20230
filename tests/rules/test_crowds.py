"""A table that is too small for all who come is shared among the addresses that they come from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support import Note, identity, join, make_manager, until
from tests.support.inside import admission_of, links_of
from tests.support.tapes import kinds, played
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    NodeAddress,
    Peer,
    PeerDisconnected,
    PeerNursery,
    Policy,
    RoutingMessageHandler,
    Tape,
    open_peer_nursery,
)
from triolight.keys import SecretKey
from triolight.messages import AnyMessage, Init, UnknownMessage, Warning
from triolight.tape.tape import Kind
from triolight.testing import ScriptFailed, scripted_peer

FLOODER = "192.0.43.8"


def key(number: int) -> bytes:
    return b"\x77" * 30 + number.to_bytes(2, "big")


@cache
def guest(number: int) -> bytes:
    """The node id of one."""
    return SecretKey(key(number)).public_key


def elsewhere(number: int) -> str:
    return f"192.0.44.{number}"


class Guests:
    """Nodes that come from an address, each with a key of its own, say nothing but Init, and stay while they may."""

    def __init__(self, peers: PeerNursery, nursery: trio.Nursery) -> None:
        self.peers = peers
        self.heard: dict[int, list[AnyMessage]] = {}
        """What was said to those that have gone, by number."""
        self._nursery = nursery
        self._streams = 0

    async def come(self, number: int, host: str | None) -> Peer | DisconnectReason:
        """Node `number`'s, or why it is none."""
        ours, theirs = trio.testing.memory_stream_pair()
        self._streams += 1
        self._nursery.start_soon(self._stay, number, ours, self._streams)
        try:
            return await self.peers.attach(theirs, None, None if host is None else (host, 1000 + number))
        except ConnectError as error:
            return error.reason

    async def _stay(self, number: int, stream: trio.abc.Stream, count: int) -> None:
        try:
            async with scripted_peer(
                stream, identity(1), secret=key(number), ephemeral=count.to_bytes(32, "big"), patience=1e6
            ) as peer:
                await peer.exchange_inits()
                self.heard[number] = await peer.expect_closed()
        except ScriptFailed:
            pass  # refused before its first byte

    def last_words(self, number: int) -> str:
        word = self.heard[number][-1]
        assert isinstance(word, Warning)
        return word.data.decode()

    @property
    def there(self) -> set[int]:
        """The numbers of those that are peers."""
        return {number for number in range(2, 400) if guest(number) in self.peers.peers}


def code_of(came: Peer | DisconnectReason) -> DisconnectCode | None:
    return came.code if isinstance(came, DisconnectReason) else None


async def test_one_address_does_not_take_every_place(autojump_clock: trio.testing.MockClock) -> None:
    """The default rules, in a table of 200: one address tries 200 times in ten seconds, and twenty others come."""
    policy = Policy(max_inbound_peers=200)
    async with open_peer_nursery(make_manager(1), policy=policy) as peers, trio.open_nursery() as nursery:
        guests = Guests(peers, nursery)
        flood = []
        for number in range(100, 300):
            flood.append(code_of(await guests.come(number, FLOODER)))
            await trio.sleep(0.05)
        assert flood.count(None) == policy.max_peers_per_source == 16
        assert set(flood) == {None, DisconnectCode.TOO_MANY_PEERS, DisconnectCode.TOO_MANY_STRANGERS}
        begun = policy.decisions["stranger: admitted"]
        assert 60 <= begun <= 72, "a burst of 20, and five a second for ten seconds"
        for number in range(2, 22):
            assert isinstance(await guests.come(number, elsewhere(number)), Peer)
        assert len(guests.there) == 36
        nursery.cancel_scope.cancel()


async def test_a_full_table_makes_room_for_others(autojump_clock: trio.testing.MockClock) -> None:
    """Eight addresses fill it, as many from each as may be; twenty others come, one after the other."""
    policy = Policy(max_inbound_peers=32, max_peers_per_source=4)
    async with (
        open_peer_nursery(make_manager(1), policy=policy) as peers,
        peers.events() as events,
        trio.open_nursery() as nursery,
    ):
        guests = Guests(peers, nursery)
        for number in range(100, 132):
            assert isinstance(await guests.come(number, f"192.0.43.{number % 8}"), Peer)
        for number in range(2, 22):
            assert isinstance(await guests.come(number, elsewhere(number)), Peer)
            await until(lambda: peers.statistics().inbound_peers == 32)
            assert number in guests.there
        # Of each of the eight the oldest, and of some the next one.
        assert guests.there >= {*range(2, 22), *range(100, 108)}
        assert len(guests.there) == 32
        sizes = admission_of(peers).peers_by_source
        assert sorted(sizes.values()) == [1] * 24 + [2] * 4
        assert policy.decisions == {
            "stranger: admitted": 52,
            "peer: admitted": 52,
            "room: TOO_MANY_PEERS": 20,
        }
        assert peers.statistics().disconnects == {"TOO_MANY_PEERS": 20}
        await until(lambda: len(guests.heard) == 20)
        for number in guests.heard:
            assert "peers are connected from your address, and you were the last" in guests.last_words(number)
        gone: list[DisconnectCode] = []
        while len(gone) < 20:
            event = await anext(events)
            if isinstance(event, PeerDisconnected):
                gone.append(event.reason.code)
        assert gone == [DisconnectCode.TOO_MANY_PEERS] * 20
        # Those that went come back: their addresses have as many as others, or more, and nobody goes for them.
        for number in (131, 130):
            back = await guests.come(number, f"192.0.43.{number % 8}")
            assert code_of(back) is DisconnectCode.TOO_MANY_PEERS
        # Those that are the only ones of theirs come until there is no crowd.
        for number in range(22, 30):
            came = await guests.come(number, elsewhere(number))
            assert code_of(came) is (None if number < 26 else DisconnectCode.TOO_MANY_PEERS)
        nursery.cancel_scope.cancel()
    assert links_of(peers) == {}


async def test_many_who_come_at_once_end_one_each(autojump_clock: trio.testing.MockClock) -> None:
    policy = Policy(max_inbound_peers=20, max_peers_per_source=20)
    async with open_peer_nursery(make_manager(1), policy=policy) as peers, trio.open_nursery() as nursery:
        guests = Guests(peers, nursery)
        for number in range(100, 120):
            assert isinstance(await guests.come(number, FLOODER), Peer)
        came: dict[int, DisconnectCode | None] = {}

        async def come(number: int) -> None:
            came[number] = code_of(await guests.come(number, elsewhere(number)))

        async with trio.open_nursery() as crowd:
            for number in range(2, 32):
                crowd.start_soon(come, number)
        await until(lambda: peers.statistics().inbound_peers == 20)
        assert list(came.values()).count(None) == 19
        assert list(came.values()).count(DisconnectCode.TOO_MANY_PEERS) == 11
        assert guests.there == {100, *[number for number, code in came.items() if code is None]}
        nursery.cancel_scope.cancel()


class Protects(ChannelMessageHandler):
    def protects(self, node_id: bytes) -> bool:
        return node_id in map(guest, (10, 11))


async def test_who_is_never_ended_for_a_newcomer(autojump_clock: trio.testing.MockClock) -> None:
    """Protected nodes, kept ones, those that we dialled, those of no limited source: eight of them, and two others."""
    policy = Policy(max_peers=10, max_inbound_peers=10)

    async def nowhere(host: str, port: int) -> trio.abc.Stream:
        raise OSError("nobody there")

    async with (
        open_peer_nursery(make_manager(1, chan=Protects()), policy=policy, dial=nowhere) as peers,
        open_peer_nursery(make_manager(16)) as far,
        open_peer_nursery(make_manager(17)) as farther,
        trio.open_nursery() as nursery,
    ):
        guests = Guests(peers, nursery)
        for number in (12, 13):
            peers.keep(NodeAddress(guest(number), FLOODER, 9735))
        for number in range(10, 14):  # protected and kept
            assert isinstance(await guests.come(number, FLOODER), Peer)
        for number in (14, 15):  # of no limited source
            assert isinstance(await guests.come(number, None if number == 14 else "127.0.0.1"), Peer)
        for other in (far, farther):  # dialled
            await join(peers, other)
        spared = {*range(10, 16)}
        for number in (30, 31):
            assert isinstance(await guests.come(number, FLOODER), Peer)
        assert guests.there == {*spared, 30, 31}
        # The youngest of six from one address, of whom four are spared, and then the other one.
        for number, gone in ((40, 31), (41, 30)):
            assert isinstance(await guests.come(number, elsewhere(number)), Peer)
            await until(lambda gone=gone: gone not in guests.there)  # type: ignore[misc]
        assert guests.there == {*spared, 40, 41}
        assert {identity(16), identity(17)} < {*peers.peers}
        refused = await guests.come(42, elsewhere(42))
        assert code_of(refused) is DisconnectCode.TOO_MANY_PEERS
        assert guests.there == {*spared, 40, 41}
        # One that is not kept any more makes room.
        peers.keep(NodeAddress(guest(13), FLOODER, 9735)).stop()
        assert isinstance(await guests.come(43, elsewhere(43)), Peer)
        await until(lambda: 13 not in guests.there)
        nursery.cancel_scope.cancel()


async def test_nobody_goes_for_a_newcomer_that_a_handler_refuses(autojump_clock: trio.testing.MockClock) -> None:
    class Choosy(RoutingMessageHandler):
        def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> bool:
            return node_id != guest(2)

    policy = Policy(max_inbound_peers=3)
    async with (
        open_peer_nursery(make_manager(1, route=Choosy()), policy=policy) as peers,
        trio.open_nursery() as nursery,
    ):
        guests = Guests(peers, nursery)
        for number in range(100, 103):
            await guests.come(number, FLOODER)
        assert code_of(await guests.come(2, elsewhere(2))) is DisconnectCode.HANDLER_REFUSED
        await trio.testing.wait_all_tasks_blocked()
        assert guests.there == {100, 101, 102}
        assert isinstance(await guests.come(3, elsewhere(3)), Peer)
        await until(lambda: guests.there == {3, 100, 101})
        assert policy.decisions["room: TOO_MANY_PEERS"] == 1
        nursery.cancel_scope.cancel()


async def test_a_node_that_comes_again_takes_no_further_place(autojump_clock: trio.testing.MockClock) -> None:
    policy = Policy(max_inbound_peers=3, max_peers_per_source=3)
    async with open_peer_nursery(make_manager(1), policy=policy) as peers, trio.open_nursery() as nursery:
        guests = Guests(peers, nursery)
        for number in (100, 101, 102, 101):
            assert isinstance(await guests.come(number, FLOODER), Peer)
        assert admission_of(peers).peers_by_source == {FLOODER: 3}
        # From elsewhere, too: it counts for where it is.
        assert isinstance(await guests.come(101, elsewhere(1)), Peer)
        assert admission_of(peers).peers_by_source == {FLOODER: 2, elsewhere(1): 1}
        assert guests.there == {100, 101, 102}
        assert "room: TOO_MANY_PEERS" not in policy.decisions
        nursery.cancel_scope.cancel()
    assert admission_of(peers).peers_by_source == {}


@kinds
async def test_who_makes_room_hears_what_was_queued_and_why_and_a_tape_has_it(
    kind: Kind, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "tape"
    async with (
        open_peer_nursery(
            make_manager(1, chan=Protects()), policy=Policy(max_inbound_peers=3), tape=Tape(path, kind=kind)
        ) as peers,
        trio.open_nursery() as nursery,
    ):
        guests = Guests(peers, nursery)
        await guests.come(100, FLOODER)
        last = await guests.come(101, FLOODER)
        await guests.come(10, FLOODER)  # protected
        assert isinstance(last, Peer)
        await last.send(Note(payload=b"to it"))
        await guests.come(2, elsewhere(2))
        reason = await last.wait_closed()
        assert reason.code is DisconnectCode.TOO_MANY_PEERS
        assert "no room: 3 inbound peers are connected from your address, and you were the last" in reason.message
        await until(lambda: 101 in guests.heard)
        assert [type(one) for one in guests.heard[101]] == [UnknownMessage, Warning]
        assert guests.last_words(101) == reason.message
        nursery.cancel_scope.cancel()
    ended = [one.node_id for one in played(path) if one.what == "ended" and "TOO_MANY_PEERS" in one.words]
    assert ended == [guest(101)]


@pytest.mark.parametrize("limited", [True, False])
async def test_handshakes_over_loopback_have_a_rate_if_the_policy_says_so(
    limited: bool, autojump_clock: trio.testing.MockClock
) -> None:
    policy = Policy(limit_local_sources=limited, handshakes_per_second=1, max_strangers_per_source=100)
    async with open_peer_nursery(make_manager(1), policy=policy) as peers, trio.open_nursery() as nursery:
        guests = Guests(peers, nursery)
        codes = [code_of(await guests.come(number, "127.0.0.1")) for number in range(2, 12)]
        assert codes == [None] * (4 if limited else 10) + [DisconnectCode.TOO_MANY_STRANGERS] * (6 if limited else 0)
        assert peers.statistics().handshake_failures == ({"TOO_MANY_STRANGERS": 6} if limited else {})
        await trio.sleep(2)
        assert [code_of(await guests.come(number, "127.0.0.1")) is None for number in range(12, 15)] == [
            True,
            True,
            not limited,
        ]
        nursery.cancel_scope.cancel()
