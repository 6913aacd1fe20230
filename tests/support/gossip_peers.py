"""Nodes that know a graph, and peers that hear what they say, in memory. No test here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from tests.support.gossip import NOW, PEER, channel, node, update
from tests.support.nodes import make_manager
from triolight.chains import REGTEST
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync
from triolight.messages import (
    BOLT,
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    Message,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    UnknownMessage,
)
from triolight.testing import MemoryNode, Wire

ALL: Final = GossipTimestampFilter(chain_hash=REGTEST.chain_hash, first_timestamp=0, timestamp_range=0xFFFFFFFF)
NONE: Final = GossipTimestampFilter(chain_hash=REGTEST.chain_hash, first_timestamp=0xFFFFFFFF, timestamp_range=0)
UNCHECKED: Final = GossipPolicy(relay_unchecked=True)
GOSSIP: Final = (ChannelAnnouncement, ChannelUpdate, NodeAnnouncement)


class Clock:
    """Both clocks of a sync, which go when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    @property
    def unix(self) -> float:
        return NOW + self.seconds - 1000.0


def make_sync(
    clock: Clock | None = None,
    *,
    graph: NetworkGraph | None = None,
    policy: GossipPolicy = UNCHECKED,
    chance: Callable[[], float] = lambda: 0.5,
    **options: Any,
) -> P2PGossipSync:
    """A sync whose clocks stand still, and whose peers get what is new half a minute after they have come."""
    clock = clock or Clock()
    return P2PGossipSync(
        graph or NetworkGraph(REGTEST),
        policy=policy,
        clock=clock,
        unix_time=lambda: clock.unix,
        chance=chance,
        **options,
    )


class Server:
    """A node with a sync, and what it has learnt."""

    def __init__(self, *known: bytes, number: int = 1, **options: Any) -> None:
        self.clock = Clock()
        self.chance = 0.5
        """When in a minute who comes next gets what is new."""
        self.sync = make_sync(self.clock, chance=lambda: self.chance, **options)
        self.node = MemoryNode(make_manager(number, route=self.sync))
        self.learn(*known)

    def learn(self, *messages: bytes, source: bytes = PEER) -> None:
        """As if a peer had said it that is not here any more."""
        for one in messages:
            message = decode(one)
            getattr(self.sync, f"handle_{message.name}")(source, message)

    def pass_time(self, seconds: float, *peers: Listener, step: float = 1.0) -> None:
        """Time goes on; what becomes due is done, and read."""
        stop = self.clock.seconds + seconds
        while self.clock.seconds < stop:
            self.clock.seconds = min(stop, self.clock.seconds + step)
            if self.clock.seconds >= self.sync.due:
                self.sync.tick()
            self.node.manager.process_events()
            for peer in peers:
                peer.run()


class Listener:
    """A peer that says what a test wants said, and keeps what it hears."""

    def __init__(self, server: Server, number: int = 2, *, capacity: int | None = None, **options: Any) -> None:
        self.server: Final = server
        self.node = MemoryNode(make_manager(number, **options))
        self.wire = Wire(self.node, server.node)
        self.wire.connect()
        if capacity is not None:
            self.wire.at_far.capacity = capacity

    @property
    def node_id(self) -> bytes:
        return self.node.node_id

    def say(self, *messages: Message | UnknownMessage) -> Listener:
        """And reads until nothing more comes."""
        self.tell(*messages)
        return self.run()

    def run(self) -> Listener:
        """Until nothing more comes, also of what the other side goes on with in turns of its own."""
        turns = -1
        while turns != self.server.node.woken:
            turns = self.server.node.woken
            self.wire.run()
        return self

    def tell(self, *messages: Message | UnknownMessage) -> None:
        """Without reading."""
        self.node.manager.send_message(self.wire.far.node_id, *messages)

    def heard(self, *types: type[Message]) -> list[Any]:
        """What has come of these types, of all if none is named; and it is forgotten here."""
        found = [one for one in self.node.messages if not types or isinstance(one, types)]
        self.node.messages.clear()
        return found

    def gossip(self) -> list[bytes]:
        """The gossip that has come, as bytes; and all is forgotten here."""
        return [one.encode() for one in self.heard(*GOSSIP)]


def decode(message: bytes) -> Any:
    """One message of the three."""
    return BOLT.decode(message)


def fresh(short_channel_id: int, direction: int, seconds: int) -> bytes:
    """An update so many seconds later that says something new."""
    return update(short_channel_id, direction, NOW + seconds, fee_base_msat=seconds)


def pair_of(short_channel_id: int, first: int = 0, second: int = 1, timestamp: int = NOW) -> list[bytes]:
    """A channel and both its updates."""
    return [
        channel(short_channel_id, first, second),
        update(short_channel_id, 0, timestamp, signer=first),
        update(short_channel_id, 1, timestamp, signer=second),
    ]


def town(*ids: int, timestamp: int = NOW) -> list[bytes]:
    """Channels in a ring of four nodes, with all that is said of them."""
    said: list[bytes] = []
    for number, one in enumerate(ids):
        first, second = sorted((number % 4, (number + 1) % 4))
        said += pair_of(one, first, second, timestamp)
    return said + [node(number, timestamp) for number in range(min(4, len(ids) + 1))]


def graph_bytes(graph: NetworkGraph) -> tuple[Any, ...]:
    """All that a graph holds, for comparing."""
    channels = {
        scid: (one.announcement_bytes, one.update_bytes(0), one.update_bytes(1)) for scid, one in graph.channels.items()
    }
    return channels, {node_id: one.announcement_bytes for node_id, one in graph.nodes.items()}


def query_range(
    first: int = 0, number: int = 0xFFFFFFFF, option: int | None = None, **changes: Any
) -> QueryChannelRange:
    message = QueryChannelRange(chain_hash=REGTEST.chain_hash, first_blocknum=first, number_of_blocks=number)
    if option is not None:
        message = message.replace(tlvs=message.tlvs.replace(query_option=option))
    return message.replace(**changes)


def query_ids(ids: Iterable[int], **changes: Any) -> QueryShortChannelIds:
    listed = b"\0" + b"".join(one.to_bytes(8, "big") for one in ids)
    return QueryShortChannelIds(chain_hash=REGTEST.chain_hash, encoded_short_ids=listed).replace(**changes)
