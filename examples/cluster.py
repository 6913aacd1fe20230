"""The back of a fleet: greets whoever connects at any of its fronts, and answers each note, until Ctrl-C.

It is the program that would run on `open_peer_nursery`, with one line changed. Beside it run an engine, and the fronts,
which have the sockets and the node's secret, here two of them:

    triolight keygen node.key                               # prints the node's id
    valkey-server --appendonly yes --appendfsync always
    triolight front --engine redis://127.0.0.1 --secret-file node.key --port 9735 --id one
    triolight front --engine redis://127.0.0.1 --secret-file node.key --port 9736 --id two
    python examples/cluster.py redis://127.0.0.1 NODE_ID
"""

import sys

import trio

import triolight
from triolight import wire
from triolight.cluster import FleetError, open_back
from triolight.messages import BOLT, Message, message


@message(40001)
class Note(Message):
    payload: wire.remainder


async def answer(engine: str, node_id: bytes) -> None:
    async with (
        open_back(engine, node_id, messages=BOLT | {Note}) as peers,
        peers.subscribe(Note, triolight.PeerConnected, triolight.PeerDisconnected) as inbox,
    ):
        print("waiting for fronts", flush=True)
        async for peer, what in inbox:  # of all fronts, each peer's in their order
            who = f"{peer.node_id.hex()[:16]} at {peer.front}"
            if isinstance(what, Note):
                print(f"{who} says {what.payload!r}", flush=True)
                await peer.send(Note(payload=b"you said " + what.payload))
            else:
                print(f"{who}: {'here' if isinstance(what, triolight.PeerConnected) else what.reason}", flush=True)


if __name__ == "__main__":
    try:
        trio.run(answer, sys.argv[1], bytes.fromhex(sys.argv[2]))
    except* FleetError as lost:
        sys.exit(str(lost.exceptions[0]))  # another back has taken the place
    except* KeyboardInterrupt:  # in a group, if it came while the engine's client ran
        sys.exit(130)
