"""A client asks a liquidity provider which LSPS protocols it has: JSON-RPC in LSPS0 messages (bLIP 50).

It shows a request with its answer: `Peer.request` sends, and waits for the one with the right id.

    python examples/lsps0.py                    a provider of our own, in the same program
    python examples/lsps0.py NODE_ID@HOST:PORT  somebody else's
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

import trio

from triolight import (
    ConnectError,
    CustomMessageHandler,
    NodeAddress,
    NullLogger,
    Peer,
    PeerClosed,
    SendMessages,
    open_peers,
)
from triolight.messages import BOLT, LSPS0, Message

MESSAGES = BOLT | {LSPS0}
PATIENCE = 10  # seconds: an answer is owed within the caller's patience, so it is the caller's to name it


class Provider(CustomMessageHandler):
    """Answers lsps0.list_protocols."""

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        if not isinstance(message, LSPS0):
            return
        try:
            request = json.loads(message.payload)
            number, method = str(request["id"]), request["method"]
        except (ValueError, TypeError, KeyError):
            return  # what is no request gets no answer
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
        if method == "lsps0.list_protocols":
            answer["result"] = {"protocols": [1, 2]}
        else:
            answer["error"] = {"code": -32601, "message": "method not found"}
        self.push(SendMessages(node_id, LSPS0(payload=json.dumps(answer).encode())))


async def call(peer: Peer, method: str, **params: Any) -> Any:
    """One request and its answer's result."""
    number = secrets.token_hex(8)
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    message = LSPS0(payload=json.dumps(request).encode())
    answer = await peer.request(message, LSPS0, lambda one: json.loads(one.payload).get("id") == number)
    found = json.loads(answer.payload)
    return found.get("result", found.get("error"))


async def ask(address: str | NodeAddress) -> None:
    async with open_peers(messages=MESSAGES, logger=NullLogger()) as client:
        peer = await client.connect(address)
        with trio.fail_after(PATIENCE):
            print("list_protocols:", await call(peer, "lsps0.list_protocols"))
            print("no_such_thing:", await call(peer, "lsps0.no_such_thing"))


async def ask_ourselves() -> None:
    async with open_peers(custom_handler=Provider(), messages=MESSAGES, logger=NullLogger()) as provider:
        listeners = await provider.listen(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await ask(NodeAddress(provider.manager.our_node_id, "127.0.0.1", port))


async def main() -> None:
    try:
        if len(sys.argv) > 1:
            await ask(sys.argv[1])
        else:
            await ask_ourselves()
    except ConnectError as error:
        sys.exit(f"no connection: {error.reason}")
    except PeerClosed as error:
        sys.exit(f"the connection has ended: {error.reason}")
    except trio.TooSlowError:
        sys.exit(f"no answer within {PATIENCE} seconds: this node may be no liquidity provider")


if __name__ == "__main__":
    trio.run(main)
