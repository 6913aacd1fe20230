"""One connection a node, whoever dials whom when, and whatever rule the other side has: never none, never two."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, ListLogger, Note, identity, join, make_manager, secret, until
from tests.test_peer_manager import Chan, Node, Recorder, Wire, connect, node, wire
from triolight import (
    ConnectError,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectReason,
    Features,
    MessageHandler,
    OnionMessageHandler,
    PeerHandleError,
    PeerManager,
    PeerNursery,
    RoutingMessageHandler,
    Side,
    SocketDescriptor,
    open_peer_nursery,
)
from triolight.handlers import ChannelMessageHandler
from triolight.manager.ending import Ending
from triolight.manager.entry import Entry
from triolight.manager.joining import Joining
from triolight.manager.reading import Reading
from triolight.manager.roster import CROSSING_SECONDS
from triolight.manager.writing import Writing
from triolight.messages import ALL_CHANNELS, Error, Init, Warning

SMALLER, LARGER = sorted((1, 2), key=identity)


class Parking(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.parked: list[SocketDescriptor] = []

    def peer_parked(self, descriptor: SocketDescriptor) -> None:
        self.parked.append(descriptor)


def crossed() -> tuple[Node, Node, Wire, Wire, Chan]:
    """The node with the larger id, the smaller, the connection that the smaller dialled and then the larger's own."""
    handler = Chan()
    larger, smaller = node(LARGER, chan=handler), node(SMALLER)
    seen = Parking()
    larger.manager.release()
    larger.manager.drive(seen, lambda: None, lambda: 0.0)
    larger.seen = seen
    kept = connect(smaller, larger)
    later = wire(larger, smaller)
    later.run()
    return larger, smaller, kept, later, handler


def test_the_loser_of_a_crossing_is_parked_unread() -> None:
    larger, smaller, kept, later, handler = crossed()
    # Both ends have chosen the same one, and both have parked the other: nobody has ended anything yet.
    assert isinstance(larger.seen, Parking)
    assert larger.seen.parked == [later.at_a]
    assert not any(one.ended for one in (kept.at_a, kept.at_b, later.at_a, later.at_b))
    assert (handler.connected, handler.disconnected) == (1, 0)
    assert larger.manager.read_event(later.at_a, b"") is True, "it is not to be read from"
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    # Ticks end it, with its words.
    larger.manager.timer_tick_occurred()
    later.run()
    assert later.at_a.ended
    assert larger.seen.ended[0].code is DisconnectCode.DUPLICATE
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert smaller.manager.get_peer_node_ids() == [identity(LARGER)]
    assert (handler.connected, handler.disconnected) == (1, 0)


@pytest.mark.parametrize("by", ["socket", "peer's words"])
def test_a_parked_connection_replaces_a_winner_that_dies(by: str) -> None:
    larger, smaller, kept, later, handler = crossed()
    # The other side has chosen otherwise: it uses the one that we have parked, and ends the one that we keep.
    smaller.manager.socket_disconnected(kept.at_a)
    smaller.manager.process_events()
    smaller.manager.send_message(identity(LARGER), Note(payload=b"said while parked"))
    smaller.manager.process_events()
    larger.manager.process_events()
    assert larger.seen.messages == []
    if by == "socket":
        larger.manager.socket_disconnected(kept.at_b)
    else:
        larger.manager.disconnect(kept.at_b, DisconnectReason(DisconnectCode.PING_TIMEOUT, Side.US, "silent"))
    larger.manager.process_events()
    later.run()
    assert larger.seen.messages == [Note(payload=b"said while parked")]
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert (handler.connected, handler.disconnected) == (2, 1)
    assert not later.at_a.ended


def test_a_winner_that_dies_while_events_are_processed_is_replaced_at_once() -> None:
    """What was held back is read on in `process_events`: nobody calls it again for what that brings."""
    larger, smaller, kept, later, handler = crossed()
    larger.manager.hold_reading(kept.at_b, True)
    smaller.manager.send_message(identity(LARGER), Error(channel_id=ALL_CHANNELS, data=b"enough"))
    kept.run()
    larger.manager.hold_reading(kept.at_b, False)
    larger.manager.process_events()
    assert kept.at_b.ended
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert (handler.connected, handler.disconnected) == (2, 1)
    assert not later.at_a.ended


def test_a_parked_connection_ends_with_a_winner_that_we_end() -> None:
    larger, _, kept, later, handler = crossed()
    larger.manager.disconnect_by_node_id(identity(SMALLER), "we want nothing of it")
    later.run()
    kept.run()
    assert larger.manager.get_peer_node_ids() == []
    assert later.at_a.ended
    assert kept.at_b.ended
    assert {reason.message for reason in larger.seen.ended} == {"we want nothing of it"}
    assert (handler.connected, handler.disconnected) == (1, 1)


def test_a_winner_that_a_handler_ends_takes_the_parked_one_along() -> None:
    larger, _, kept, later, handler = crossed()
    reason = DisconnectReason(DisconnectCode.HANDLER_DISCONNECT, Side.US, "no")
    larger.manager.disconnect(kept.at_b, reason)
    later.run()
    assert larger.manager.get_peer_node_ids() == []
    assert later.at_a.ended
    assert handler.connected == handler.disconnected == 1


def test_a_third_connection_replaces_both() -> None:
    larger, smaller, kept, later, handler = crossed()
    third = wire(smaller, larger)
    third.run()
    later.run()
    kept.run()
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert kept.at_b.ended
    assert later.at_a.ended
    assert not third.at_b.ended
    assert handler.connected - handler.disconnected == 1


def test_who_is_ended_while_it_makes_room_waits_for_nobody() -> None:
    class Ends(Chan):
        def peer_disconnected(self, node_id: bytes) -> None:
            super().peer_disconnected(node_id)
            larger.manager.disconnect_all_peers("all of you")

    handler = Ends()
    larger, smaller = node(LARGER, chan=handler), node(SMALLER)
    seen = Parking()
    larger.manager.release()
    larger.manager.drive(seen, lambda: None, lambda: 0.0)
    first = connect(larger, smaller)
    second = wire(smaller, larger)
    second.run()
    first.run()
    assert seen.parked == []
    assert [reason.message for reason in seen.ended] == ["all of you"] * 2
    assert first.at_a.ended
    assert second.at_b.ended
    assert larger.manager._roster.parked == {}
    assert handler.connected == handler.disconnected


def test_only_one_is_parked() -> None:
    larger, smaller, kept, later, _ = crossed()
    fourth = wire(larger, smaller)
    fourth.run()
    later.run()
    assert later.at_a.ended
    assert not fourth.at_a.ended
    assert not kept.at_b.ended


def test_a_parked_connection_that_dies_is_forgotten() -> None:
    larger, _, kept, later, handler = crossed()
    larger.manager.socket_disconnected(later.at_a)
    larger.manager.socket_disconnected(kept.at_b)
    larger.manager.process_events()
    assert larger.manager.get_peer_node_ids() == []
    assert (handler.connected, handler.disconnected) == (1, 1)


class Fickle(Chan):
    """Refuses every second connection."""

    def peer_connected(self, node_id: bytes, init: Any, inbound: bool) -> Any:
        refused = self.connected > self.disconnected or self.refuses == "now"
        self.refuses = None
        return False if refused else super().peer_connected(node_id, init, inbound)


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_a_newcomer_that_a_handler_refuses_leaves_the_old_one(seconds: float) -> None:
    handler = Fickle()
    a, b = node(1, chan=handler), node(2)
    b.manager = rival(Greedy, 2, Chan())
    b.manager.drive(b.seen, lambda: None, lambda: 0.0)
    first = connect(b, a)
    a.now[0] = seconds
    handler.refuses = "now"
    second = wire(b, a)
    second.run()
    first.run()
    assert a.manager.get_peer_node_ids() == [identity(2)]
    assert second.at_b.ended
    assert not first.at_b.ended
    assert (handler.connected, handler.disconnected) == (2, 1)
    a.manager.send_message(identity(2), Note(payload=b"still here"))
    first.run()
    assert b.seen.messages[-1] == Note(payload=b"still here")


def test_the_loser_of_a_crossing_that_was_connected_comes_back_when_the_winner_dies() -> None:
    """CLN keeps the newest as it sees them, and may have seen them in the other order."""
    handler = Chan()
    larger, smaller = node(LARGER, chan=handler), node(SMALLER)
    first = connect(larger, smaller)
    second = wire(smaller, larger)
    second.run()
    # Ours to keep is what the smaller one dialled; but it keeps the other one.
    assert (handler.connected, handler.disconnected) == (2, 1)
    assert not first.at_a.ended
    larger.manager.socket_disconnected(second.at_b)
    larger.manager.process_events()
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert (handler.connected, handler.disconnected) == (3, 2)
    assert [details.inbound for details in larger.manager.list_peers()] == [False]
    assert larger.manager.send_encoded(first.at_a, [])


def test_oldest_is_a_rule_too() -> None:
    a, b = node(1, duplicates="oldest"), node(2)
    first = connect(b, a)
    a.now[0] = b.now[0] = 100.0
    second = wire(b, a)
    second.run()
    first.run()
    # As in LDK: before its Init, so that the other side, whatever its rule, has nothing to take the old one's place.
    assert second.dead == {"b"}
    assert not first.at_b.ended
    assert a.seen.ended[0].code is DisconnectCode.DUPLICATE
    assert b.manager.get_peer_node_ids() == [identity(1)]


def test_oldest_when_both_are_shaken_before_either_has_its_init() -> None:
    a, b = node(1, duplicates="oldest"), node(2)
    first, second = wire(b, a), wire(b, a)
    for link in (first, second):
        link.feed("b", link.at_a.take())
        a.manager.process_events()
        link.feed("a", link.at_b.take())
        b.manager.process_events()
        act_three_and_init = link.at_a.take()
        link.feed("b", act_three_and_init[:66])
        link.at_a.out += act_three_and_init[66:]
    for link in (first, second):
        a.manager.process_events()
        b.manager.process_events()
        link.run()
    assert a.seen.ended[0].code is DisconnectCode.DUPLICATE
    assert a.manager.get_peer_node_ids() == [identity(2)]
    assert [message.data for message in b.seen.messages if isinstance(message, Warning)] == [
        b"another connection with you was kept"
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Other implementations' rules, and chance


class Joins(Joining):
    """Takes whoever comes, beside whoever is there."""

    __slots__ = ()

    def join(self, entry: Entry, init: Init, features: Features) -> None:
        self.connect(entry, init, features)


class Reads(Reading):
    """Judges, if it does, when the handshake is done."""

    __slots__ = ()

    def advance(self, entry: Entry) -> bool:
        if not super().advance(entry):
            return False
        self.judge(entry, [one for one in self._roster.by_descriptor.values() if one is not entry and same(one, entry)])
        return True

    def judge(self, entry: Entry, others: list[Entry]) -> None:
        pass

    def close(self, entry: Entry) -> PeerHandleError:
        return self._ending.give_up(entry, DisconnectCode.DUPLICATE, "closed without a word, before Init")


def same(one: Entry, entry: Entry) -> bool:
    return one.node_id == entry.node_id and one.reason is None


def drop(ending: Ending, other: Entry) -> None:
    ending.end(other, DisconnectReason(DisconnectCode.DUPLICATE, Side.US, "dropped without a word"), None)
    ending.close(other)


class LndReads(Reads):
    __slots__ = ()

    def judge(self, entry: Entry, others: list[Entry]) -> None:
        for other in others:
            if other.inbound != entry.inbound:
                raise self.close(entry)
            drop(self._ending, other)


class LdkReads(Reads):
    __slots__ = ()

    def judge(self, entry: Entry, others: list[Entry]) -> None:
        if others:
            raise self.close(entry)


class ClnJoins(Joins):
    __slots__ = ()

    def join(self, entry: Entry, init: Init, features: Features) -> None:
        other = self._roster.connected.get(entry.node_id)
        if other is not None:
            drop(self._ending, other)
        super().join(entry, init, features)


class Greedy(PeerManager):
    """A PeerManager with another implementation's rule, judged when the handshake is done or after Init. As it stands:
    keeps them all."""

    reads: type[Reads] = Reads
    joins: type[Joins] = Joins

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        seat, agenda, roster, ending = self._seat, self._agenda, self._roster, self._ending
        joining = self.joins(seat, agenda, self._log, roster, self._routing.handlers, ending, self._acting)
        reading = self.reads(seat, agenda, roster, self._routing, self._greeting, ending, joining)
        self._joining = joining  # type: ignore[misc]
        self._reading = reading  # type: ignore[misc]
        self._writing = Writing(seat, agenda, roster, ending, reading, self._pulling)  # type: ignore[misc]


class Lnd(Greedy):
    """In one direction the newest; across directions its older one; judged after act three."""

    reads = LndReads


class Ldk(Greedy):
    """Its older one, judged before Init."""

    reads = LdkReads


class Cln(Greedy):
    """The newest, judged after Init."""

    joins = ClnJoins


def rival(rule: type[PeerManager], number: int, chan: ChannelMessageHandler) -> PeerManager:
    handlers = MessageHandler(chan, RoutingMessageHandler(), OnionMessageHandler(), CustomMessageHandler())
    return rule(handlers, secret(number), bytes([number, 7]) * 16, ListLogger(), messages=MESSAGES)


async def dials(near: PeerNursery, far: PeerNursery, random_: random.Random, seconds: float, times: int) -> None:
    """Dials at random times, the last of them early enough to come to rest."""
    for _ in range(times):
        await trio.sleep(random_.random() * seconds)
        try:
            await join(near, far)
        except* (ConnectError, IndexError):
            pass  # it was not the one that stays


@pytest.mark.parametrize("seconds", [0.0, 0.5, 2 * CROSSING_SECONDS], ids=["at once", "close", "spread"])
@pytest.mark.parametrize("rule", [PeerManager, Lnd, Ldk, Cln])
async def test_never_none_and_never_two(
    rule: type[PeerManager], seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Both sides dial: 70 pairs for each case: 210 with our own rule at both ends."""
    for seed in range(70):
        random_ = random.Random(seed)
        numbers = random_.sample(range(1, 200), 2)
        handlers = [Chan(), Chan()]
        near_manager = make_manager(numbers[0], chan=handlers[0])
        far_manager = rival(rule, numbers[1], handlers[1])
        async with open_peer_nursery(near_manager) as near, open_peer_nursery(far_manager) as far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dials, near, far, random_, seconds, 1 + seed % 2)
                nursery.start_soon(dials, far, near, random_, seconds, 1 + seed % 3)
            await trio.sleep(20)  # virtual seconds: whatever is parked has ended
            assert list(near.peers) == [identity(numbers[1])], seed
            assert list(far.peers) == [identity(numbers[0])], seed
            rtt = await near.peers[identity(numbers[1])].ping()
            assert rtt >= 0
            assert len(near_manager._roster.by_descriptor) == len(far_manager._roster.by_descriptor) == 1, seed
            assert [one.connected - one.disconnected for one in handlers] == [1, 1], seed
        assert [one.connected - one.disconnected for one in handlers] == [0, 0], seed


async def test_a_dial_that_is_parked_returns_the_survivor_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(LARGER)) as larger,
        open_peer_nursery(make_manager(SMALLER)) as smaller,
    ):
        kept, _ = await join(smaller, larger)
        before = trio.current_time()
        again, _ = await join(larger, smaller)
        assert trio.current_time() == before
        assert again is larger.peers[identity(SMALLER)]
        assert again.inbound
        await trio.sleep(3)
        assert kept.reason is None
        assert again.reason is None
        assert await kept.ping() >= 0
        await until(
            lambda: len(larger.manager._roster.by_descriptor) == len(smaller.manager._roster.by_descriptor) == 1
        )
