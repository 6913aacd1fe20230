"""Collects all gossip of a few nodes, each message with the time of its arrival, reconnecting, until Ctrl-C.

python examples/collector.py NODE_ID@HOST:PORT [NODE_ID@HOST:PORT ...] > gossip.txt
"""

import sys

import trio

import triolight
from triolight.chains import BITCOIN
from triolight.messages import ChannelAnnouncement, ChannelUpdate, GossipTimestampFilter, Init, NodeAnnouncement

LIVES = (triolight.PeerConnected, triolight.PeerDisconnected)


class Asking(triolight.RoutingMessageHandler):
    """A node gives its gossip to who offers gossip_queries and says from when on: from the beginning."""

    def provided_init_features(self, node_id: bytes) -> triolight.Features:
        return triolight.Features.named("gossip_queries")

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        chain = BITCOIN.chain_hash
        everything = GossipTimestampFilter(chain_hash=chain, first_timestamp=0, timestamp_range=0xFFFFFFFF)
        self.push(triolight.SendMessages(node_id, everything))


async def collect(addresses: list[str]) -> None:
    wanted = (ChannelAnnouncement, ChannelUpdate, NodeAnnouncement, *LIVES)
    async with triolight.open_peers(route_handler=Asking()) as peers, peers.subscribe(*wanted) as inbox:
        for address in addresses:
            peers.keep(address)  # dials again whenever the connection ends, ever more rarely while that fails
        async for peer, message in inbox:  # what a node says comes between its beginning and its end
            if isinstance(message, triolight.PeerConnected):
                print(f"{peer.node_id.hex()}: connected", file=sys.stderr)
            elif isinstance(message, triolight.PeerDisconnected):
                print(f"{peer.node_id.hex()}: {message.reason}", file=sys.stderr)
            elif inbox.received_at is not None:  # when its bytes were read, however late it is taken
                print(f"{inbox.received_at.unix_ns} {peer.node_id.hex()} {message.encode().hex()}")


if __name__ == "__main__":
    try:
        trio.run(collect, sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)  # every node was told goodbye
