"""A small chain, and a server that tells of it as bitcoind, btcd and Esplora do. No test here."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h11
import trio

from triolight.chains import REGTEST


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """An HTTP request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def call(self) -> tuple[str, list[Any]]:
        """What was called by JSON-RPC."""
        found = json.loads(self.body)
        return found["method"], found["params"]


@dataclass
class Output:
    """Of a transaction: `amount` as bitcoind writes it."""

    script: bytes
    amount: str
    spent: bool = False
    spent_in_mempool: bool = False

    @property
    def satoshis(self) -> int:
        whole, _, rest = self.amount.partition(".")
        return int(whole + rest.ljust(8, "0"))


@dataclass
class Chain:
    """Blocks of a few transactions, which have what outputs they are given; the others are not asked about."""

    height: int = 120
    transactions: int = 3
    forks: dict[int, int] = field(default_factory=dict[int, int])
    """Blocks that are other ones than they were: which ones."""
    outputs: dict[tuple[int, int], list[Output]] = field(default_factory=dict[tuple[int, int], list[Output]])
    """By block and transaction."""
    inputs: dict[tuple[int, int], list[tuple[str, int]]] = field(
        default_factory=dict[tuple[int, int], list[tuple[str, int]]]
    )
    """What they spend, by block and transaction; all others spend what is made for them alone."""
    has_index: bool = True
    """Whether it finds a transaction by its id alone."""
    pruned_below: int = 0
    reading: bool = False
    """Whether it does not have all blocks yet."""
    genesis: str = REGTEST.chain_hash[::-1].hex()

    def block_hash(self, height: int) -> str:
        return self.genesis if not height else _hash(f"block {height} {self.forks.get(height, 0)}")

    def transaction_id(self, height: int, index: int) -> str:
        return _hash(f"transaction {height} {index}")

    def height_of(self, block_hash: str) -> int | None:
        return next((one for one in range(self.height + 1) if self.block_hash(one) == block_hash), None)

    def place_of(self, transaction_id: str) -> tuple[int, int] | None:
        places = [(height, index) for height in range(self.height + 1) for index in range(self.transactions)]
        return next((one for one in places if self.transaction_id(*one) == transaction_id), None)

    def output_of(self, transaction_id: str, index: int) -> tuple[int, Output] | None:
        place = self.place_of(transaction_id)
        found = [] if place is None else self.outputs.get(place, [])
        return None if place is None or index >= len(found) else (place[0], found[index])

    # bitcoind's RPC, and btcd's.

    def rpc(self, asked: Asked, *, btcd: bool = False) -> Reply:
        call = json.loads(asked.body)
        try:
            if btcd and call["method"] == "getrawtransaction":
                call["params"] = call["params"][:2]
            result, error = getattr(self, f"rpc_{call['method']}")(*call["params"]), None
        except LookupError as problem:
            result, error = None, {"code": -1, "message": problem.args[0]}
        # Both write amounts as numbers, which json knows only as floats.
        text = json.dumps({"result": result, "error": error, "id": call["id"]}).replace('"#', "").replace('#"', "")
        headers = {"Connection": "close"} if btcd else {}
        return Reply(500 if error and not btcd else 200, text.encode(), headers)

    def rpc_getblockchaininfo(self) -> dict[str, Any]:
        return {
            "chain": "regtest",
            "blocks": self.height,
            "headers": self.height + 1000 * self.reading,
            "bestblockhash": self.block_hash(self.height),
            "difficulty": 4.656542373906925e-10,
            "initialblockdownload": self.reading,
            "pruned": bool(self.pruned_below),
        }

    def rpc_getblockhash(self, height: int) -> str:
        if height > self.height:
            raise LookupError("Block height out of range")
        return self.block_hash(height)

    def rpc_getblock(self, block_hash: str, verbosity: int) -> dict[str, Any]:
        height = self.height_of(block_hash)
        if height is None:
            raise LookupError("Block not found")
        if height < self.pruned_below:
            raise LookupError("Block not available (pruned data)")
        ids = [self.transaction_id(height, index) for index in range(self.transactions)]
        return {"hash": block_hash, "confirmations": self.height - height + 1, "height": height, "tx": ids}

    def rpc_getrawtransaction(self, transaction_id: str, verbosity: int, block_hash: str = "") -> dict[str, Any]:
        place = self.place_of(transaction_id)
        if place is None or (self.block_hash(place[0]) != block_hash and (block_hash or not self.has_index)):
            raise LookupError("No such mempool or blockchain transaction")
        inputs: list[dict[str, Any]] = [{"coinbase": "00", "sequence": 1}] if not place[1] else []
        inputs += [{"txid": one, "vout": index} for one, index in self.inputs.get(place, ())]
        return {"txid": transaction_id, "vin": inputs, "vout": []}

    def rpc_gettxout(self, transaction_id: str, index: int, include_mempool: bool) -> dict[str, Any] | None:
        if include_mempool:
            raise LookupError("not what is asked for")
        found = self.output_of(transaction_id, index)
        if found is None or found[1].spent:
            return None
        height, output = found
        return {
            "bestblock": self.block_hash(self.height),
            "confirmations": self.height - height + 1,
            "value": f"#{output.amount}#",
            "scriptPubKey": {"asm": "", "hex": output.script.hex(), "type": "witness_v0_scripthash"},
            "coinbase": False,
        }

    # bitcoind's REST.

    def rest(self, asked: Asked) -> Reply:
        try:
            found = self._rest(asked.target.removeprefix("/rest/").removesuffix(".json").split("/"))
        except LookupError as problem:
            return Reply(404, f"{problem.args[0]}\r\n".encode())
        return Reply(200, json.dumps(found).replace('"#', "").replace('#"', "").encode())

    def _rest(self, parts: list[str]) -> Any:
        match parts:
            case ["chaininfo"]:
                return self.rpc_getblockchaininfo()
            case ["blockhashbyheight", height]:
                return {"blockhash": self.rpc_getblockhash(int(height))}
            case ["block", "notxdetails", block_hash]:
                return self.rpc_getblock(block_hash, 1)
            case ["tx", transaction_id]:
                return self.rpc_getrawtransaction(transaction_id, 1)
            case ["getutxos", outpoint]:
                transaction_id, _, index = outpoint.partition("-")
                found = self.rpc_gettxout(transaction_id, int(index), False)
                utxos = [] if found is None else [{**found, "height": self.height + 1 - found["confirmations"]}]
                bitmap = str(len(utxos))
                return {
                    "chainHeight": self.height,
                    "chaintipHash": self.block_hash(self.height),
                    "bitmap": bitmap,
                    "utxos": utxos,
                }
            case _:
                raise LookupError("no such page")

    # Esplora.

    def esplora(self, asked: Asked) -> Reply:
        try:
            found = self._esplora(asked.target.removeprefix("/api/").split("/"))
        except LookupError as problem:
            return Reply(404, problem.args[0].encode())
        return Reply(200, found.encode() if isinstance(found, str) else json.dumps(found).encode())

    def _esplora(self, parts: list[str]) -> Any:
        match parts:
            case ["blocks", "tip", "height"]:
                return str(self.height)
            case ["block-height", height]:
                return self.rpc_getblockhash(int(height))
            case ["block", block_hash, "txid", index]:
                found_at = self.height_of(block_hash)
                if found_at is None or int(index) >= self.transactions:
                    raise LookupError("tx index out of range")
                return self.transaction_id(found_at, int(index))
            case ["tx", transaction_id]:
                place = self.place_of(transaction_id)
                if place is None:
                    raise LookupError("Transaction not found")
                outputs = [
                    {"scriptpubkey": one.script.hex(), "scriptpubkey_type": "v0_p2wsh", "value": one.satoshis}
                    for one in self.outputs.get(place, [])
                ]
                status = {"confirmed": True, "block_height": place[0], "block_hash": self.block_hash(place[0])}
                inputs = [{"txid": one, "vout": at, "is_coinbase": False} for one, at in self.inputs.get(place, ())]
                return {"txid": transaction_id, "vin": inputs, "vout": outputs, "status": status}
            case ["tx", transaction_id, "outspend", index]:
                found = self.output_of(transaction_id, int(index))
                if found is None:
                    raise LookupError("Output not found")
                if found[1].spent or found[1].spent_in_mempool:
                    return {"spent": True, "txid": "00" * 32, "vin": 0, "status": {"confirmed": found[1].spent}}
                return {"spent": False}
            case _:
                raise LookupError("endpoint does not exist")


def _hash(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()


class ChainServer:
    """HTTP on loopback. `answer` says what is answered, and may be another one at any time."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.held: trio.Event | None = None
        """Until this, nobody gets an answer."""
        self.open = self.most_open = 0
        """Requests without an answer, now and at the most."""
        self.port = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while True:
                asked = await _read(connection, stream)
                if asked is None:
                    return
                self.asked.append(asked)
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                try:
                    if self.held is not None:
                        await self.held.wait()
                    reply = self.answer(asked)
                    headers = {"Content-Length": str(len(reply.body)), **reply.headers}
                    pieces = (
                        h11.Response(status_code=reply.status, headers=[*headers.items()]),
                        h11.Data(reply.body),
                        h11.EndOfMessage(),
                    )
                    await stream.send_all(b"".join(connection.send(one) or b"" for one in pieces))
                finally:
                    self.open -= 1
                if connection.our_state is not h11.DONE:
                    return
                connection.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # whoever asked has gone
        finally:
            await trio.aclose_forcefully(stream)


async def _read(connection: h11.Connection, stream: trio.abc.Stream) -> Asked | None:
    request, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode(): value.decode() for name, value in request.headers}
            return Asked(request.method.decode(), request.target.decode(), headers, body)
        else:
            return None


@asynccontextmanager
async def serving(
    answer: Callable[[Asked], Reply], context: ssl.SSLContext | None = None
) -> AsyncGenerator[ChainServer]:
    """A server, until the block is left."""
    server = ChainServer(answer)
    async with trio.open_nursery() as nursery:
        listeners: list[Any] = [*await trio.open_tcp_listeners(0, host="127.0.0.1")]
        server.port = listeners[0].socket.getsockname()[1]
        if context is not None:
            listeners = [trio.SSLListener(one, context, https_compatible=True) for one in listeners]
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        yield server
        nursery.cancel_scope.cancel()
