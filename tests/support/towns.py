"""A network whose nodes listen in memory, or on sockets, and have announced where: to be crawled. No test here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.support.gossip import NOW, update
from triolight import ChannelMessageHandler, MessageHandler, NullLogger, PeerManager
from triolight.address import descriptor_of, write_address
from triolight.chains import REGTEST
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync, ServePolicy, sign_announcement
from triolight.keys import SecretKey
from triolight.messages import ChannelAnnouncement, NodeAnnouncement
from triolight.testing import derive
from triolight.wire import ShortChannelId


@dataclass
class Town:
    """Nodes by number, each with a channel to the next one; all know the same graph."""

    count: int
    graph: NetworkGraph = field(default_factory=lambda: NetworkGraph(REGTEST))

    def __post_init__(self) -> None:
        self.keys = [SecretKey(derive(7, "secret", number)) for number in range(self.count)]
        self.ids = [one.public_key for one in self.keys]
        for number in range(self.count):
            ends = sorted((self.ids[number], self.ids[(number + 1) % self.count]))
            scid = ShortChannelId.of(100 + number, 1, 0)
            # Nobody verifies what is loaded: of channels their places matter here.
            self.graph.load(self._channel(scid, ends), (update(scid, 0), update(scid, 1)), received=NOW)

    def _channel(self, scid: ShortChannelId, ends: list[bytes]) -> bytes:
        blank = bytes(64)
        return ChannelAnnouncement(
            node_signature_1=blank,
            node_signature_2=blank,
            bitcoin_signature_1=blank,
            bitcoin_signature_2=blank,
            features=b"",
            chain_hash=REGTEST.chain_hash,
            short_channel_id=scid,
            node_id_1=ends[0],
            node_id_2=ends[1],
            bitcoin_key_1=ends[0],
            bitcoin_key_2=ends[1],
        ).encode()

    def announce(self, number: int, hosts: Iterable[tuple[str, int]], *, signed: bool = True) -> None:
        """Where a node is to be found."""
        said = NodeAnnouncement(
            signature=bytes(64),
            features=b"",
            timestamp=NOW,
            node_id=self.ids[number],
            rgb_color=bytes(3),
            alias=f"node {number}".encode().ljust(32, b"\0"),
            addresses=b"".join(write_address(descriptor_of(host, port)) for host, port in hosts),
        )
        self.graph.load_node((sign_announcement(said, self.keys[number]) if signed else said).encode())

    def manager(self, number: int) -> PeerManager:
        """That answers from the graph."""
        policy = GossipPolicy(relay_unchecked=True, serve=ServePolicy(answer_rate=10**9))
        sync = P2PGossipSync(self.graph, policy=policy, unix_time=lambda: NOW, chance=lambda: 0.5)
        keys = derive(7, "secret", number), derive(7, "ephemeral", number)
        return PeerManager(MessageHandler(ChannelMessageHandler(), sync), *keys, NullLogger(), networks=REGTEST)
