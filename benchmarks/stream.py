"""A channel_update stream over loopback TCP, from the socket to a handler with the decoded message: the receiver's CPU
for each message, against the AEAD calls that it costs, timed in the same process."""

from __future__ import annotations

import secrets
import sys
import time

import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.measure import Row, report
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NullLogger,
    PeerConnected,
    PeerManager,
    RoutingMessageHandler,
    open_peer_nursery,
)
from triolight.messages import ChannelUpdate
from triolight.wire import ShortChannelId

COUNT = 100_000
UPDATE = ChannelUpdate(
    signature=bytes(64),
    chain_hash=bytes(32),
    short_channel_id=ShortChannelId.of(400_000, 42, 0),
    timestamp=1,
    message_flags=1,
    channel_flags=0,
    cltv_expiry_delta=144,
    htlc_minimum_msat=1000,
    fee_base_msat=1,
    fee_proportional_millionths=10,
    htlc_maximum_msat=500_000_000,
)


class Counts(RoutingMessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.count += 1


def make_manager(route: RoutingMessageHandler) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), route)
    return PeerManager(handlers, secrets.token_bytes(32), secrets.token_bytes(32), NullLogger())


async def send(address: str) -> None:
    async with open_peer_nursery(make_manager(RoutingMessageHandler())) as peers:
        peer = await peers.connect(address)
        batch = [UPDATE] * 100
        for _ in range(COUNT // 100):
            await peer.send(*batch)
        await peer.ping()


async def receive() -> tuple[float, float]:
    """Microseconds for each message: CPU, wall."""
    counts = Counts()
    manager = make_manager(counts)
    async with open_peer_nursery(manager) as peers, peers.events() as events:
        port = (await peers.listen(0, host="127.0.0.1"))[0].socket.getsockname()[1]
        address = f"{manager.our_node_id.hex()}@127.0.0.1:{port}"
        sender = await trio.lowlevel.open_process([sys.executable, "-m", "benchmarks.stream", address])
        cpu = wall = 0.0
        async for event in events:
            now = time.process_time(), time.perf_counter()
            if not isinstance(event, PeerConnected):
                cpu, wall = now[0] - cpu, now[1] - wall
                break
            cpu, wall = now
    await sender.wait()
    if counts.count != COUNT:
        raise RuntimeError(f"{counts.count} of {COUNT} messages arrived")
    return cpu / COUNT * 1e6, wall / COUNT * 1e6


def aead_floor() -> float:
    aead, nonce, message = ChaCha20Poly1305(bytes(32)), bytes(12), UPDATE.encode()
    sealed_length, sealed = aead.encrypt(nonce, b"\0\1", None), aead.encrypt(nonce, message, None)
    began = time.process_time()
    for _ in range(COUNT):
        aead.decrypt(nonce, sealed_length, None)
        aead.decrypt(nonce, sealed, None)
    return (time.process_time() - began) / COUNT * 1e6


if __name__ == "__main__":
    if len(sys.argv) > 1 and "@" in sys.argv[1]:
        trio.run(send, sys.argv[1])
    else:
        floors = [aead_floor() for _ in range(3)]
        runs = [trio.run(receive) for _ in range(3)]
        floor, cpu = min([*floors, aead_floor()]), min(run[0] for run in runs)
        report([Row("channel_update to a handler, receiver's CPU", cpu, "two AEAD calls", floor, cpu / floor, 4)])
