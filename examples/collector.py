"""Collects all gossip of a few nodes, each message with the time of its arrival, reconnecting, until Ctrl-C.

python examples/collector.py NODE_ID@HOST:PORT [NODE_ID@HOST:PORT ...] > gossip.txt
"""

import secrets
import sys
import time

import trio

import triolight
from triolight.messages import ChannelAnnouncement, ChannelUpdate, GossipTimestampFilter, Init, NodeAnnouncement

BITCOIN = bytes.fromhex("6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000")
LIVES = (triolight.PeerConnected, triolight.PeerDisconnected)


class Asking(triolight.RoutingMessageHandler):
    """A node gives its gossip to who offers gossip_queries and says from when on: from the beginning."""

    def provided_init_features(self, node_id: bytes) -> triolight.Features:
        return triolight.Features.named("gossip_queries")

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        everything = GossipTimestampFilter(chain_hash=BITCOIN, first_timestamp=0, timestamp_range=0xFFFFFFFF)
        self.push(triolight.SendMessages(node_id, everything))


async def collect(addresses: list[str]) -> None:
    handler = triolight.MessageHandler(triolight.ChannelMessageHandler(), Asking())
    manager = triolight.PeerManager(handler, secrets.token_bytes(32), secrets.token_bytes(32), triolight.StdlibLogger())
    wanted = (ChannelAnnouncement, ChannelUpdate, NodeAnnouncement, *LIVES)
    async with triolight.open_peer_nursery(manager) as peers, peers.subscribe(*wanted) as inbox:
        for address in addresses:
            peers.keep(address)  # dials again whenever the connection ends, ever more rarely while that fails
        async for peer, message in inbox:  # what a node says comes between its beginning and its end
            if isinstance(message, triolight.PeerConnected):
                print(f"{peer.node_id.hex()}: connected", file=sys.stderr)
            elif isinstance(message, triolight.PeerDisconnected):
                print(f"{peer.node_id.hex()}: {message.reason}", file=sys.stderr)
            else:
                print(f"{time.time():.6f} {peer.node_id.hex()} {message.encode().hex()}")


if __name__ == "__main__":
    try:
        trio.run(collect, sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)  # every node was told goodbye
