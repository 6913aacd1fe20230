"""Dials a Lightning node and pings it five times; without an address, a node that it starts itself.

It shows a dial with a deadline, and what a program does with a peer's faults: each one is a value that says why.

    python examples/ping.py [NODE_ID@HOST:PORT]
"""

from __future__ import annotations

import secrets
import sys

import trio

from triolight import (
    ChannelMessageHandler,
    ConnectError,
    MessageHandler,
    NodeAddress,
    NullLogger,
    PeerClosed,
    PeerManager,
    RoutingMessageHandler,
    open_peer_nursery,
)


def new_manager() -> PeerManager:
    return PeerManager(
        MessageHandler(ChannelMessageHandler(), RoutingMessageHandler()),
        secrets.token_bytes(32),  # never a running node's secret: its peers would take this program for it
        secrets.token_bytes(32),
        NullLogger(),
    )


async def ping(address: NodeAddress) -> None:
    async with open_peer_nursery(new_manager()) as peers:
        # Deadlines are yours: any of Trio's cancel scopes, around anything.
        with trio.fail_after(30):
            peer = await peers.connect(address)
        print(f"connected with {address}")
        for _ in range(5):
            rtt = await peer.ping(num_pong_bytes=100)
            print(f"pong after {rtt * 1000:.3f} ms")


async def ping_ourselves() -> None:
    manager = new_manager()
    async with open_peer_nursery(manager) as listener:
        listeners = await listener.listen(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await ping(NodeAddress(manager.our_node_id, "127.0.0.1", port))


async def main() -> None:
    try:
        if len(sys.argv) > 1:
            await ping(NodeAddress.parse(sys.argv[1]))
        else:
            await ping_ourselves()
    except ConnectError as error:
        sys.exit(f"no connection: {error.reason}")
    except PeerClosed as error:
        sys.exit(f"the connection has ended: {error.reason}")
    except trio.TooSlowError:
        sys.exit("no connection within 30 seconds")


if __name__ == "__main__":
    trio.run(main)
