"""btcd with a chain of its own (simnet): it mines when it is told to, and pays whom we say.

Coinbases go to a script of ours, and are spent by a signature of ours: so nobody's wallet is needed, and any output can
be made, that of a channel between keys of a test too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import trio

from interop.programs import HERE, Program, free_ports, missing, start_program
from triolight.bech32 import bech32_decode, bech32_encode
from triolight.keys import SecretKey
from triolight.wire import ShortChannelId

SATOSHIS: Final = 100_000_000
USER: Final = "triolight"
_FEE: Final = 10_000
_SEGWIT: Final = 432
"""Blocks until simnet knows witnesses, and funding outputs can be spent."""


class BtcdRefuses(Exception):
    """btcd's RPC has answered with an error: its words."""


@dataclass(frozen=True)
class Output:
    txid: str
    """As people see it."""
    index: int
    script: bytes
    sats: int
    unspent: bool


class Btcd:
    """A running btcd, by its RPC."""

    def __init__(self, rpc: int, certificate: Path, password: str, key: SecretKey) -> None:
        self.rpc, self.certificate, self.password = rpc, certificate, password
        self._context = ssl.create_default_context(cafile=str(certificate))
        self._key, self._script = key, _wants(key)
        self._next_coinbase = 1

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.rpc}"

    @property
    def authorization(self) -> str:
        """user:password"""
        return f"{USER}:{self.password}"

    @property
    def lnd_options(self) -> tuple[str, ...]:
        """What an LND is told, to have its chain from here."""
        return (
            "--bitcoin.simnet",
            "--bitcoin.node=btcd",
            f"--btcd.rpchost=127.0.0.1:{self.rpc}",
            f"--btcd.rpcuser={USER}",
            f"--btcd.rpcpass={self.password}",
            f"--btcd.rpccert={self.certificate}",
        )

    def _call(self, method: str, parameters: tuple[Any, ...]) -> Any:
        body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": parameters}).encode()
        authorization = "Basic " + base64.b64encode(self.authorization.encode()).decode()
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        request = urllib.request.Request(self.url, body, headers)
        with urllib.request.urlopen(request, context=self._context) as answer:
            # Amounts are decimal fractions: as floats they would be near what they are.
            found = json.load(answer, parse_float=Decimal)
        if found["error"] is not None:
            raise BtcdRefuses(f"{method}: {found['error']['message']}")
        return found["result"]

    async def call(self, method: str, *parameters: Any) -> Any:
        return await trio.to_thread.run_sync(self._call, method, parameters, abandon_on_cancel=True)

    async def height(self) -> int:
        return int(await self.call("getblockcount"))

    async def mine(self, blocks: int) -> None:
        """LNDs follow in their own time: `Network.mine` waits for them."""
        await self.call("generate", blocks)

    async def pay(self, *outputs: tuple[bytes, int]) -> str:
        """One transaction with these scripts and amounts, in this order, and the rest of a coinbase behind them. It
        waits for a block. Its txid, as people see it."""
        block = await self.call("getblock", await self.call("getblockhash", self._next_coinbase))
        self._next_coinbase += 1
        coinbase: str = block["tx"][0]
        amount = (await self._transaction(coinbase))["vout"][0]["value"] * SATOSHIS
        rest = int(amount) - sum(sats for _, sats in outputs) - _FEE
        if rest < 0:
            raise ValueError(f"a coinbase has {amount} sat, and no more")
        spent = bytes.fromhex(coinbase)[::-1] + bytes(4)
        paid = [*outputs, (_script_hash(self._script), rest)]
        written = b"".join(sats.to_bytes(8, "little") + _sized(script) for script, sats in paid)
        version, sequence, locktime = (2).to_bytes(4, "little"), b"\xff" * 4, bytes(4)
        # BIP 143.
        digest = _twice(
            version
            + _twice(spent)
            + _twice(sequence)
            + spent
            + _sized(self._script)
            + int(amount).to_bytes(8, "little")
            + sequence
            + _twice(written)
            + locktime
            + (1).to_bytes(4, "little")
        )
        witness = b"\x02" + _sized(_der(self._key.sign(digest)) + b"\x01") + _sized(self._script)
        inputs = b"\x01" + spent + b"\0" + sequence
        transaction = version + b"\0\x01" + inputs + bytes((len(paid),)) + written + witness + locktime
        return str(await self.call("sendrawtransaction", transaction.hex()))

    async def output(self, short_channel_id: int) -> Output:
        """The one that a short_channel_id names."""
        named = ShortChannelId(short_channel_id)
        block = await self.call("getblock", await self.call("getblockhash", named.block))
        txid: str = block["tx"][named.transaction]
        found = (await self._transaction(txid))["vout"][named.output]
        unspent = await self.call("gettxout", txid, named.output, True) is not None
        script = bytes.fromhex(found["scriptPubKey"]["hex"])
        return Output(txid, named.output, script, int(found["value"] * SATOSHIS), unspent)

    async def _transaction(self, txid: str) -> Any:
        return await self.call("getrawtransaction", txid, 1)


def script_of(address: str) -> bytes:
    """What an output has to say, to pay to a SegWit address of version 0."""
    _, (version, *fives) = bech32_decode(address)
    if version != 0:
        raise ValueError(f"not of version 0: {address}")
    bits = "".join(f"{five:05b}" for five in fives)
    return b"\0" + _sized(bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8)))


def funding_script(key_1: bytes, key_2: bytes) -> bytes:
    """Of a channel's output: BOLT 3's two of two."""
    first, second = sorted((key_1, key_2))
    return _script_hash(b"\x52" + _sized(first) + _sized(second) + b"\x52\xae")


def _mining_address(key: SecretKey) -> str:
    bits = "".join(f"{byte:08b}" for byte in hashlib.sha256(_wants(key)).digest()) + "0000"
    return bech32_encode("sb", [0, *(int(bits[at : at + 5], 2) for at in range(0, len(bits), 5))])


def _wants(key: SecretKey) -> bytes:
    """A script: a signature of this key."""
    return _sized(key.public_key) + b"\xac"


def _script_hash(script: bytes) -> bytes:
    return b"\0" + _sized(hashlib.sha256(script).digest())


def _sized(data: bytes) -> bytes:
    """With its length before it, as a script has it and a transaction: they are the same up to 75 bytes."""
    return bytes((len(data),)) + data


def _twice(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def _der(signature: bytes) -> bytes:
    def integer(part: bytes) -> bytes:
        number = int.from_bytes(part, "big")
        return b"\x02" + _sized(number.to_bytes(number.bit_length() // 8 + 1, "big"))

    return b"\x30" + _sized(integer(signature[:32]) + integer(signature[32:]))


@dataclass(frozen=True)
class StartedBtcd:
    """One that may not answer yet."""

    program: Program
    rpc: int
    password: str
    key: SecretKey

    async def ready(self) -> Btcd:
        """It, as soon as it answers, with a chain on which channels can be."""
        btcd: Btcd | None = None
        while True:
            self.program.check()
            await trio.sleep(0.1)  # as with LND's start
            with suppress(OSError, ssl.SSLError):
                btcd = btcd or Btcd(self.rpc, self.program.folder / "rpc.cert", self.password, self.key)
                await btcd.height()
                break
        await btcd.mine(_SEGWIT + 1)
        return btcd


@contextmanager
def start_btcd() -> Iterator[StartedBtcd]:
    """Leaving the block kills it."""
    program = HERE / "lnd" / ".build" / "btcd"
    if not program.is_file():
        where = "" if shutil.which("go") else "Go 1.25.10 or later, and "
        missing(f"{where}btcd: run `go build -o .build/btcd github.com/btcsuite/btcd` in interop/lnd")
    listen, rpc = free_ports(2)
    password, key = os.urandom(16).hex(), SecretKey(os.urandom(32))

    def command(folder: Path) -> list[str]:
        (folder / "btcd.conf").touch()  # it would look for a sample of one
        return [
            str(program),
            "--simnet",
            "--txindex",
            "--nodnsseed",
            f"--configfile={folder / 'btcd.conf'}",
            f"--datadir={folder / 'data'}",
            f"--logdir={folder / 'logs'}",
            f"--listen=127.0.0.1:{listen}",
            f"--rpclisten=127.0.0.1:{rpc}",
            f"--rpccert={folder / 'rpc.cert'}",
            f"--rpckey={folder / 'rpc.key'}",
            "--rpcmaxclients=100",  # ten are few for four LNDs and a test
            f"--rpcuser={USER}",
            f"--rpcpass={password}",
            f"--miningaddr={_mining_address(key)}",
        ]

    with start_program(command) as started:
        yield StartedBtcd(started, rpc, password, key)
