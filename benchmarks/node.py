"""A triolight node in a process of its own, by the same JSON lines as interop/ldk_native: what the one is told to do
the other can be told, too.

    python -m benchmarks.node [--count-type N]... [--ack-type N]

Commands: connect, keep, counts, flood, peers, quit. It counts channel_updates and messages of the types to count, and
acknowledges every ACK_EVERY-th with an empty message of the ack type. A flood of its own needs no acknowledgements:
`Peer.send` waits for room.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Final

import trio

from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    MessageHandler,
    NodeAddress,
    NullLogger,
    PeerManager,
    PeerNursery,
    RoutingMessageHandler,
    SendMessages,
    open_peer_nursery,
    wire,
)
from triolight.messages import BOLT, ChannelUpdate, Message, UnknownMessage, message

ACK_EVERY: Final = 256
BATCH_BYTES: Final = 256 * 1024


class Counts(RoutingMessageHandler, CustomMessageHandler):
    """Counts what comes, and acknowledges it."""

    def __init__(self, ack_type: int | None) -> None:
        super().__init__()
        self.messages = 0
        self._ack = None if ack_type is None else UnknownMessage(ack_type, b"")

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.messages += 1
        if self._ack is not None and self.messages % ACK_EVERY == 0:
            self.push(SendMessages(node_id, self._ack))

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        self.messages += 1
        if self._ack is not None and self.messages % ACK_EVERY == 0:
            self.push(SendMessages(node_id, self._ack))


@message(43001)
class Counted(Message):
    """The one type that can be counted besides channel_update."""

    payload: wire.remainder


def emit(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def usage() -> tuple[float, int]:
    """Seconds of CPU of this process, and its resident bytes."""
    return time.process_time(), int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def flood(peers: PeerNursery, node_id: bytes, type_: int, payload: bytes, count: int) -> None:
    peer = peers.peers[node_id]
    if type_ in (43001, 258):
        one: Message | UnknownMessage = BOLT.decode(b"\1\2" + payload) if type_ == 258 else Counted(payload=payload)
    else:
        one = UnknownMessage(type_, payload)
    each = max(1, BATCH_BYTES // (len(payload) + 2))
    began, cpu = time.perf_counter(), time.process_time()
    for at in range(0, count, each):
        await peer.send(*[one] * min(each, count - at))
    await peer.ping()
    emit(
        {
            "event": "flooded",
            "count": count,
            "seconds": time.perf_counter() - began,
            "cpu": time.process_time() - cpu,
        }
    )


async def main(ack_type: int | None) -> None:
    counts = Counts(ack_type)
    manager = PeerManager(
        MessageHandler(ChannelMessageHandler(), counts, custom_handler=counts),
        secrets.token_bytes(32),
        secrets.token_bytes(32),
        NullLogger(),
        messages=BOLT | {Counted},
    )
    stdin = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno()))
    async with open_peer_nursery(manager) as peers, trio.open_nursery() as nursery, stdin:
        (listener,) = await peers.listen(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        emit({"event": "ready", "node_id": manager.our_node_id.hex(), "port": port})
        unread = b""
        while data := await stdin.receive_some(65_536):
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                command = json.loads(line)
                reply: dict[str, Any] = {"event": "reply", "id": command["id"]}
                match command["cmd"]:
                    case "connect":
                        await peers.connect(
                            NodeAddress(bytes.fromhex(command["node_id"]), "127.0.0.1", command["port"])
                        )
                    case "keep":
                        peers.keep(NodeAddress(bytes.fromhex(command["node_id"]), "127.0.0.1", command["port"]))
                    case "counts":
                        reply["messages"] = counts.messages
                        reply["cpu"], reply["resident"] = usage()
                    case "flood":
                        nursery.start_soon(
                            flood,
                            peers,
                            bytes.fromhex(command["node_id"]),
                            command["type"],
                            bytes.fromhex(command["payload"]),
                            command["count"],
                        )
                    case "peers":
                        reply["peers"] = [{"node_id": one.hex()} for one in peers.peers]
                    case _:
                        return
                emit(reply)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count-type", type=int, action="append", choices=[43001])
    parser.add_argument("--ack-type", type=int)
    trio.run(main, parser.parse_args().ack_type)
