"""Two peers in one program greet each other with a message of their own.

It shows how a message is declared, how a peer listens, dials and subscribes, and that leaving the blocks ends it all.

    python examples/hello.py
"""

from __future__ import annotations

import secrets

import trio

from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NodeAddress,
    NullLogger,
    PeerManager,
    RoutingMessageHandler,
    open_peer_nursery,
    wire,
)
from triolight.messages import BOLT, Message, message


@message(40001)  # odd: a peer that does not know it ignores it
class Hello(Message):
    text: wire.remainder


def new_manager() -> PeerManager:
    return PeerManager(
        MessageHandler(ChannelMessageHandler(), RoutingMessageHandler()),
        secrets.token_bytes(32),  # the node's secret key: this one is forgotten at the end
        secrets.token_bytes(32),  # fresh randomness for the session keys, at every start
        NullLogger(),  # StdlibLogger() writes to the standard library's logging
        messages=BOLT | {Hello},
    )


async def main() -> None:
    async with open_peer_nursery(new_manager()) as alice, open_peer_nursery(new_manager()) as bob:
        listeners = await alice.listen(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]

        # Alice subscribes before Bob dials: she misses nothing that he says.
        async with alice.subscribe(Hello) as from_anyone:
            to_alice = await bob.connect(NodeAddress(alice.manager.our_node_id, "127.0.0.1", port))
            async with to_alice.subscribe(Hello) as from_alice:
                await to_alice.send(Hello(text=b"Hello, Alice!"))
                to_bob, hello = await anext(from_anyone)
                print(f"Alice hears {hello.text.decode()!r} from {to_bob.node_id.hex()}")

                await to_bob.send(Hello(text=b"Hello, Bob!"))
                hello = await anext(from_alice)
                print(f"Bob hears {hello.text.decode()!r} from {to_alice.node_id.hex()}")

    reason = await to_bob.wait_closed()
    print(f"Bob has left. Why, as Alice knows it: {reason}")


if __name__ == "__main__":
    trio.run(main)
