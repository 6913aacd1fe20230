"""GossipTown: a network of nodes that know a graph and pass on what is new, on hosts in memory, and who records it.

A ring of channels, one from each node to the next; all that differs from node to node follows from the seed. What the
nodes know in the beginning is signed by nobody but its makers' keys, and verified by nobody; what they say later is.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from os import PathLike
from typing import Any, Final

import trio

from triolight.address import NodeAddress, descriptor_of, write_address
from triolight.chains import REGTEST, AnyChain, chain_hash
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync, ServePolicy, sign_announcement
from triolight.handlers import ChannelMessageHandler, MessageHandler
from triolight.keys import SecretKey
from triolight.logger import NullLogger
from triolight.messages import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement
from triolight.nursery import open_peer_nursery
from triolight.peer_manager import PeerManager
from triolight.services.gossip import open_gossip
from triolight.services.recorder import Recorder, RecordingHandler, open_recorder, unread_gossip
from triolight.testing.determinism import derive
from triolight.testing.network import SimulatedHost, SimulatedNetwork
from triolight.wire import ShortChannelId

UNIX_TIME: Final = 1_750_000_000
"""When a run begins, by the wall's clock of all nodes."""
FIRST_BLOCK: Final = 100
PORT: Final = 9735
TRUSTING: Final = GossipPolicy(relay_unchecked=True, serve=ServePolicy(answer_rate=10**9))
"""Nobody has a chain to ask, and nobody has to wait for answers."""


class GossipTown:
    """Nodes by number, each with a channel to the next one.

    Args:
      seed: of their keys, of their chances, and of who knows whom.
      count: how many, two at least.
      chain: of their channels.
      policy: of each; by default what nobody's chain has confirmed is passed on, and answers have no limit.
    """

    def __init__(self, seed: int, count: int, *, chain: AnyChain = REGTEST, policy: GossipPolicy = TRUSTING) -> None:
        if count < 2:
            raise ValueError(f"a channel has two ends, so that a town has two nodes at least, not {count}")
        self.seed: Final = seed
        self.count: Final = count
        self.keys: Final = [SecretKey(derive(seed, "secret", number)) for number in range(count)]
        self.ids: Final = [one.public_key for one in self.keys]
        self.hosts: list[SimulatedHost] = []
        """Where they are, while the town is open."""
        self.syncs: list[P2PGossipSync] = []
        """What each knows by now, while it is open."""
        self._chain: Final = chain_hash(chain)
        self._policy: Final = policy
        self._channels: Final = [self._channel(number) for number in range(count)]
        self._announced: dict[int, bytes] = {}
        self._said = 0
        self.graph: Final = self._graph()
        """What is known in the beginning."""

    def _ends(self, number: int) -> tuple[bytes, bytes]:
        first, second = sorted((self.ids[number], self.ids[(number + 1) % self.count]))
        return first, second

    def short_channel_id(self, number: int) -> ShortChannelId:
        """Of the channel from this node to the next one."""
        return ShortChannelId.of(FIRST_BLOCK + number, 1, 0)

    def _channel(self, number: int) -> tuple[bytes, bytes, bytes]:
        first, second = self._ends(number)
        blank = bytes(64)
        announcement = ChannelAnnouncement(
            node_signature_1=blank,
            node_signature_2=blank,
            bitcoin_signature_1=blank,
            bitcoin_signature_2=blank,
            features=b"",
            chain_hash=self._chain,
            short_channel_id=self.short_channel_id(number),
            node_id_1=first,
            node_id_2=second,
            bitcoin_key_1=first,
            bitcoin_key_2=second,
        )
        here, there = (self.update(one, number, UNIX_TIME - 100).encode() for one in (number, number + 1))
        return announcement.encode(), *((here, there) if first == self.ids[number] else (there, here))

    def update(self, by: int, channel: int, timestamp: int, **fields: Any) -> ChannelUpdate:
        """What node `by` says of the channel from node `channel` to the next one, signed; with other `fields`."""
        by %= self.count
        unsigned = ChannelUpdate(
            signature=bytes(64),
            chain_hash=self._chain,
            short_channel_id=self.short_channel_id(channel),
            timestamp=timestamp,
            message_flags=1,
            channel_flags=self._ends(channel).index(self.ids[by]),
            cltv_expiry_delta=40,
            htlc_minimum_msat=1,
            fee_base_msat=1000,
            fee_proportional_millionths=10,
            htlc_maximum_msat=10**9,
        )
        return sign_announcement(unsigned.replace(**fields), self.keys[by])

    def announce(self, number: int, places: Iterable[tuple[str, int]], *, signed: bool = True) -> None:
        """A node has said where it is to be found, as host and port: before the town is open."""
        said = NodeAnnouncement(
            signature=bytes(64),
            features=b"",
            timestamp=UNIX_TIME,
            node_id=self.ids[number],
            rgb_color=bytes(3),
            alias=f"node {number}".encode().ljust(32, b"\0"),
            addresses=b"".join(write_address(descriptor_of(host, port)) for host, port in places),
        )
        raw = (sign_announcement(said, self.keys[number]) if signed else said).encode()
        self._announced[number] = raw
        self.graph.load_node(raw)

    def _graph(self) -> NetworkGraph:
        graph = NetworkGraph(self._chain)
        for announcement, *updates in self._channels:
            graph.load(announcement, updates, received=UNIX_TIME)
        for raw in self._announced.values():
            graph.load_node(raw)
        return graph

    def manager(self, number: int, sync: P2PGossipSync | None = None) -> PeerManager:
        """One node's. `sync` None: it answers from the graph that all know, and keeps no time."""
        if sync is None:
            policy = self._policy
            sync = P2PGossipSync(self.graph, policy=policy, unix_time=lambda: UNIX_TIME, chance=lambda: 0.5)
        keys = derive(self.seed, "secret", number), derive(self.seed, "ephemeral", number)
        networks = (self._chain,)
        return PeerManager(MessageHandler(ChannelMessageHandler(), sync), *keys, NullLogger(), networks=networks)

    @staticmethod
    def unix_time() -> float:
        """The wall's clock of all nodes of a run."""
        return UNIX_TIME + trio.current_time()

    @classmethod
    def unix_ns(cls) -> int:
        """The same in nanoseconds."""
        return round(cls.unix_time() * 1e9)

    def address(self, number: int) -> NodeAddress:
        """Where a node is dialled, while the town is open."""
        return NodeAddress(self.ids[number], self.hosts[number].address, PORT)

    @asynccontextmanager
    async def open(self, network: SimulatedNetwork, *, friends: int = 4) -> AsyncGenerator[None]:
        """``async with town.open(network)``: all nodes live on hosts of this network, each with a graph of its own, and
        stay connected to the one before and to others, so that each has chosen so many `friends`."""
        choice = random.Random(f"{self.seed}/friends")
        self.hosts[:] = [network.host() for _ in range(self.count)]
        chances = [random.Random(f"{self.seed}/{number}") for number in range(self.count)]
        self.syncs[:] = [self._sync(chance) for chance in chances]
        async with trio.open_nursery() as nursery:
            for number, chance in enumerate(chances):
                others = [one for one in range(self.count) if one not in (number, (number - 1) % self.count)]
                chosen = [(number - 1) % self.count, *choice.sample(others, min(friends - 1, len(others)))]
                nursery.start_soon(self._live, number, chance, chosen)
            yield
            nursery.cancel_scope.cancel(reason="the town is left")

    def _sync(self, chance: random.Random) -> P2PGossipSync:
        return P2PGossipSync(
            self._graph(),
            policy=self._policy,
            clock=trio.current_time,
            unix_time=self.unix_time,
            chance=chance.random,
        )

    async def _live(self, number: int, chance: random.Random, friends: Iterable[int]) -> None:
        manager, host = self.manager(number, self.syncs[number]), self.hosts[number]
        async with (
            open_peer_nursery(manager, dial=host.dial, jitter=chance) as peers,
            open_gossip(peers, self.syncs[number], unix_time=self.unix_time),
        ):
            await peers.listen_on(await host.listen(PORT))
            for one in friends:
                peers.keep(self.address(one))
            await trio.sleep_forever()

    def say(self, number: int, **fields: Any) -> ChannelUpdate:
        """A node says something new of its channel to the next one, and passes it on as its own. Another fee, unless
        `fields` say something else: what says nothing new is passed on once a day."""
        self._said += 1
        changes = fields or {"fee_base_msat": 1000 + self._said}
        said = self.update(number, number, int(self.unix_time()), **changes)
        self.syncs[number].announce_own(said)
        return said

    @asynccontextmanager
    async def record(
        self, network: SimulatedNetwork, path: str | PathLike[str], **options: Any
    ) -> AsyncGenerator[Recorder]:
        """``async with town.record(network, "seen.db") as recorder``: one more node, which is connected to all of them
        and writes down what each says: news alone, unless `options` of `open_recorder` say otherwise."""
        host, chance = network.host(), random.Random(f"{self.seed}/recorder")
        keys = derive(self.seed, "secret", "recorder"), derive(self.seed, "ephemeral", "recorder")
        handlers = MessageHandler(ChannelMessageHandler(), RecordingHandler())
        manager = PeerManager(handlers, *keys, NullLogger(), messages=unread_gossip(), networks=(self._chain,))
        chosen: dict[str, Any] = {"backlog": 0, "chain": self._chain, **options}
        async with (
            open_peer_nursery(manager, dial=host.dial, jitter=chance, unix_ns=self.unix_ns) as peers,
            open_recorder(peers, path, **chosen) as recorder,
        ):
            for number in range(self.count):
                peers.keep(self.address(number))
            yield recorder
