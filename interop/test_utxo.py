"""Lookups of outputs at a real btcd, over its TLS with a certificate of its own: what it answers about a channel's
funding output while it is early, unspent, spent, or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from interop.btcd import USER, Btcd, funding_script, start_btcd
from triolight.chains import BITCOIN, SIMNET
from triolight.gossip import Failed, Found, Missing, NetworkGraph, NotYet, P2PGossipSync, Spent, sign_announcement
from triolight.keys import SecretKey
from triolight.messages import ChannelAnnouncement
from triolight.services import open_utxo
from triolight.wire import ShortChannelId

CHAIN = SIMNET.chain_hash
KEYS = sorted((SecretKey(os.urandom(32)) for _ in range(2)), key=lambda key: key.public_key)
SCRIPT = funding_script(*(key.public_key for key in KEYS))
AMOUNTS = (12_345_678, 1000, 4_999_000_000 // 2)
"""btcd writes the second one as 1e-05."""


@pytest.fixture
async def btcd() -> AsyncIterator[Btcd]:
    with trio.fail_after(120), start_btcd() as started:
        yield await started.ready()


def sized(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def twice(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def der(signature: bytes) -> bytes:
    def integer(part: bytes) -> bytes:
        number = int.from_bytes(part, "big")
        return b"\x02" + sized(number.to_bytes(number.bit_length() // 8 + 1, "big"))

    return b"\x30" + sized(integer(signature[:32]) + integer(signature[32:]))


def closing(transaction_id: str, index: int, amount: int) -> bytes:
    """A transaction that spends a funding output, signed by both of its keys (BIP 143)."""
    script = b"\x52" + b"".join(sized(key.public_key) for key in KEYS) + b"\x52\xae"
    version, sequence, locktime = (2).to_bytes(4, "little"), b"\xff" * 4, bytes(4)
    spent = bytes.fromhex(transaction_id)[::-1] + index.to_bytes(4, "little")
    output = (amount - 500).to_bytes(8, "little") + sized(SCRIPT)
    digest = twice(
        version + twice(spent) + twice(sequence) + spent + sized(script) + amount.to_bytes(8, "little") + sequence
        + twice(output) + locktime + (1).to_bytes(4, "little")
    )  # fmt: skip
    signatures = b"".join(sized(der(key.sign(digest)) + b"\x01") for key in KEYS)
    witness = b"\x04\x00" + signatures + sized(script)
    return version + b"\x00\x01\x01" + spent + b"\x00" + sequence + b"\x01" + output + witness + locktime


async def place_of(btcd: Btcd, transaction_id: str, index: int) -> ShortChannelId:
    """Of an output in the newest block."""
    height = await btcd.height()
    block = await btcd.call("getblock", await btcd.call("getblockhash", height))
    return ShortChannelId.of(height, block["tx"].index(transaction_id), index)


@pytest.mark.node("btcd")
async def test_the_life_of_a_funding_output(btcd: Btcd, tmp_path: Path) -> None:
    funding = await btcd.pay(*((SCRIPT, amount) for amount in AMOUNTS))
    await btcd.mine(1)
    places = [await place_of(btcd, funding, index) for index in range(len(AMOUNTS))]
    block, transaction = places[0].block, places[0].transaction
    auth = tmp_path / "auth"
    auth.write_text(btcd.authorization)
    async with open_utxo(f"{btcd.url}?cafile={btcd.certificate}", auth_file=auth) as source:
        assert await source.check(CHAIN) == ""
        assert [await source.lookup(CHAIN, one) for one in places] == [NotYet()] * 3
        await btcd.mine(4)
        assert await source.check(CHAIN) == ""
        assert await source.lookup(CHAIN, places[0]) == NotYet()
        await btcd.mine(1)
        assert await source.check(CHAIN) == ""
        found = [Found(SCRIPT, amount, block) for amount in AMOUNTS]
        assert [await source.lookup(CHAIN, one) for one in places] == found
        # Nobody mines this yet: the output is there for all that a chain says.
        await btcd.call("sendrawtransaction", closing(funding, 1, AMOUNTS[1]).hex())
        assert await source.lookup(CHAIN, places[1]) == found[1]
        await btcd.mine(1)
        assert [await source.lookup(CHAIN, one) for one in places] == [found[0], Spent(), found[2]]
        assert await source.lookup(CHAIN, ShortChannelId.of(block, transaction + 1, 0)) == Missing()
        assert await source.lookup(CHAIN, ShortChannelId.of(block, transaction, 9)) == Spent()
        assert await source.lookup(CHAIN, ShortChannelId.of(block + 1000, 0, 0)) == NotYet()
        assert source.failures == 0
        # Eight at a time, of many blocks.
        coinbases = [ShortChannelId.of(height, 0, 0) for height in range(2, 102)]
        seen: dict[ShortChannelId, object] = {}

        async def look_up(one: ShortChannelId) -> None:
            seen[one] = await source.lookup(CHAIN, one)

        async with trio.open_nursery() as nursery:
            for one in coinbases:
                nursery.start_soon(look_up, one)
        for one in coinbases:
            result = seen[one]
            assert isinstance(result, Found)
            assert (result.capacity_sat, result.height) == (5_000_000_000, one.block)
        assert isinstance(await source.lookup(BITCOIN.chain_hash, places[0]), Failed)


@pytest.mark.node("btcd")
async def test_a_strange_certificate_a_wrong_password_and_no_server_are_no_verdict(btcd: Btcd) -> None:
    place = ShortChannelId.of(1, 0, 0)
    with_password = btcd.url.replace("://", f"://{btcd.authorization}@")
    async with open_utxo(with_password) as source:
        result = await source.lookup(CHAIN, place)
        assert isinstance(result, Failed)
        assert "certificate" in result.why
    async with open_utxo(btcd.url.replace("://", f"://{USER}:wrong@"), cafile=btcd.certificate) as source:
        assert await source.lookup(CHAIN, place) == Failed("it refuses our user and password (HTTP 401)")
    async with open_utxo(with_password, cafile=btcd.certificate) as source:
        # btcd has its own coinbase spent by nobody yet.
        assert isinstance(await source.lookup(CHAIN, place), Found)


@pytest.mark.node("btcd")
async def test_a_graph_that_a_chain_confirms(btcd: Btcd) -> None:
    """A channel_announcement over an output of the real chain goes into the graph with its capacity."""
    funding = await btcd.pay((SCRIPT, AMOUNTS[0]))
    await btcd.mine(1)
    place = await place_of(btcd, funding, 0)
    nodes = sorted((SecretKey(os.urandom(32)) for _ in range(2)), key=lambda key: key.public_key)
    blank = bytes(64)
    message = sign_announcement(
        ChannelAnnouncement(
            node_signature_1=blank,
            node_signature_2=blank,
            bitcoin_signature_1=blank,
            bitcoin_signature_2=blank,
            features=b"",
            chain_hash=CHAIN,
            short_channel_id=place,
            node_id_1=nodes[0].public_key,
            node_id_2=nodes[1].public_key,
            bitcoin_key_1=KEYS[0].public_key,
            bitcoin_key_2=KEYS[1].public_key,
        ),
        *nodes,
        *KEYS,
    )
    graph = NetworkGraph(CHAIN)
    url = btcd.url.replace("://", f"://{btcd.authorization}@")
    async with open_utxo(url, cafile=btcd.certificate) as source:
        sync = P2PGossipSync(graph, source)
        source.answers_to(sync)
        assert await source.check(CHAIN) == ""
        sync.handle_channel_announcement(nodes[0].public_key, message)
        assert place not in graph.channels
        # Public five blocks later, without being told again.
        await btcd.mine(5)
        assert await source.check(CHAIN) == ""
        while source.pending:  # noqa: ASYNC110
            await trio.sleep(0.05)
        channel = graph.channels[place]
        assert (channel.capacity_sat, channel.checked) == (AMOUNTS[0], "output")
