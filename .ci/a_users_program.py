"""What somebody writes on triolight, with tests: mypy --strict and pyright's strict accept it with `triolight[testing]`
alone beside it, and know what comes out of a subscription; and it runs.

With trio-typing's stubs in the way they know less: what `async with` gives is not what they say.
"""

# pyright: strict

from __future__ import annotations

from typing import assert_type

import trio
from hypothesis import given

from triolight import (
    ChannelMessageHandler,
    DisconnectReason,
    MessageHandler,
    NodeAddress,
    NullLogger,
    Peer,
    PeerManager,
    RoutingMessageHandler,
    open_peer_nursery,
)
from triolight.messages import BOLT, Init, Message, Ping, Pong, Warning
from triolight.testing import Conditions, MemoryNode, SimulatedNetwork, Wire, derive, run_seeded, scripted_peer
from triolight.testing.strategies import messages


def new_manager(seed: int, name: str) -> PeerManager:
    return PeerManager(
        MessageHandler(ChannelMessageHandler(), RoutingMessageHandler()),
        our_node_secret=derive(seed, "secret", name),
        ephemeral_random_data=derive(seed, "ephemeral", name),
        logger=NullLogger(),
    )


async def over_a_network(seed: int) -> str:
    network = SimulatedNetwork(seed, Conditions(latency=0.05))
    home, away = network.host("192.0.2.1"), network.host("192.0.2.2")
    alice, bob = new_manager(seed, "alice"), new_manager(seed, "bob")
    async with open_peer_nursery(bob) as at_bob, open_peer_nursery(alice, dial=away.dial) as at_alice:
        await at_bob.listen_on(await home.listen())
        async with trio.open_nursery() as nursery, at_bob.subscribe(Ping, Warning) as inbox:
            peer = await at_alice.connect(NodeAddress(bob.our_node_id, home.address, 9735))
            assert_type(peer, Peer)
            nursery.start_soon(peer.ping, 3)
            with trio.fail_after(10):
                async for sender, message in inbox:
                    assert_type(sender, Peer)
                    assert_type(message, Ping | Warning)
                    break
        async with peer.subscribe(Warning) as warnings:
            await peer.disconnect("that was all")
            async for warning in warnings:
                assert_type(warning, Warning)
        reason = await peer.wait_closed()
        assert_type(reason, DisconnectReason)
        return reason.message


async def by_a_script(seed: int) -> None:
    async with open_peer_nursery(new_manager(seed, "alice")) as peers, scripted_peer(peers) as peer:
        await peer.expect(Init)
        await peer.send(Init())
        await peer.send(Ping(num_pong_bytes=3))
        await peer.expect(Pong(ignored=bytes(3)))


def without_trio(seed: int) -> None:
    near, far = MemoryNode(new_manager(seed, "near")), MemoryNode(new_manager(seed, "far"))
    wire = Wire(near, far).connect()
    near.manager.send_message(far.node_id, Ping(num_pong_bytes=3))
    wire.run()
    if far.messages != [Ping(num_pong_bytes=3)]:
        raise RuntimeError(f"not the ping: {far.messages}")


@given(messages(BOLT))
def every_message_comes_back(message: Message) -> None:
    if BOLT.decode(message.encode()) != message:
        raise RuntimeError(f"another one: {message}")


if __name__ == "__main__":
    print(run_seeded(1, over_a_network, 1))
    run_seeded(1, by_a_script, 1)
    without_trio(1)
    every_message_comes_back()
