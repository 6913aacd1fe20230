"""What bitcoind, btcd and Esplora answer, and what is no answer: without HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
import trio
import trio.testing

from tests.support.chains import Asked, Chain, Output, Reply
from triolight.gossip import Found, Missing, Spent
from triolight.services.backends import Answer, Backend, Bitcoind, BitcoindRest, Esplora, Shared, Tip, Unanswered

SCRIPT: Final = b"\x00\x20" + bytes(range(32))


class Told:
    """Calls that a function answers."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []

    async def get(self, path: str) -> Answer:
        return await self._call(Asked("GET", path, {}, b""))

    async def post(self, body: bytes) -> Answer:
        return await self._call(Asked("POST", "/", {}, body))

    async def _call(self, asked: Asked) -> Answer:
        await trio.lowlevel.checkpoint()
        self.asked.append(asked)
        reply = self.answer(asked)
        return Answer(reply.status, reply.body)


def chain() -> Chain:
    found = Chain()
    found.outputs[100, 1] = [Output(b"\x51", "0.00000001"), Output(SCRIPT, "0.12345678")]
    return found


KINDS: Final[dict[str, Callable[[Chain], tuple[Backend, Told]]]] = {}


def kind(name: str) -> Callable[[Callable[[Chain], tuple[Backend, Told]]], None]:
    def put(make: Callable[[Chain], tuple[Backend, Told]]) -> None:
        KINDS[name] = make

    return put


@kind("bitcoind")
def _(of: Chain) -> tuple[Backend, Told]:
    told = Told(of.rpc)
    return Bitcoind(told), told


@kind("btcd")
def _(of: Chain) -> tuple[Backend, Told]:
    told = Told(lambda asked: of.rpc(asked, btcd=True))
    return Bitcoind(told), told


@kind("rest")
def _(of: Chain) -> tuple[Backend, Told]:
    told = Told(of.rest)
    return BitcoindRest(told), told


@kind("esplora")
def _(of: Chain) -> tuple[Backend, Told]:
    told = Told(lambda asked: of.esplora(asked._replace(target=f"/api{asked.target}")))
    return Esplora(told), told


ALL = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@ALL
async def test_an_output_from_its_place(make: Callable[[Chain], tuple[Backend, Told]]) -> None:
    truth = chain()
    backend, _ = make(truth)
    assert await backend.tip() == Tip(120, truth.block_hash(120))
    block_hash = await backend.block_hash(100)
    assert block_hash == truth.block_hash(100)
    transaction_id = await backend.transaction_at(block_hash, 1)
    assert transaction_id == truth.transaction_id(100, 1)
    assert transaction_id is not None
    assert await backend.output(transaction_id, 1, 100) == Found(SCRIPT, 12_345_678, 100)
    assert await backend.output(transaction_id, 0, 100) == Found(b"\x51", 1, 100)
    truth.outputs[100, 1][1].spent_in_mempool = True
    assert isinstance(await backend.output(transaction_id, 1, 100), Found)
    truth.outputs[100, 1][1].spent = True
    assert await backend.output(transaction_id, 1, 100) == Spent()


@ALL
async def test_a_place_that_there_is_not(make: Callable[[Chain], tuple[Backend, Told]]) -> None:
    truth = chain()
    backend, _ = make(truth)
    assert await backend.transaction_at(truth.block_hash(100), 2) is not None
    assert await backend.transaction_at(truth.block_hash(100), 3) is None
    # bitcoind knows only that there is no such output among the unspent ones.
    expected = Missing() if isinstance(backend, Esplora) else Spent()
    assert await backend.output(truth.transaction_id(100, 1), 2, 100) == expected
    with pytest.raises(Unanswered, match="out of range"):
        await backend.block_hash(121)


@ALL
async def test_what_a_transaction_spends(make: Callable[[Chain], tuple[Backend, Told]]) -> None:
    truth = chain()
    backend, told = make(truth)
    spent = [(truth.transaction_id(90, 1), 2), (truth.transaction_id(91, 0), 0)]
    truth.inputs[100, 1] = spent
    block_hash = truth.block_hash(100)
    assert await backend.inputs(truth.transaction_id(100, 1), block_hash) == {*spent}
    # What a block begins with spends nothing.
    assert await backend.inputs(truth.transaction_id(100, 0), block_hash) == set()
    with pytest.raises(Unanswered):
        await backend.inputs("00" * 32, block_hash)
    whole = told.answer
    nonsense: tuple[Any, ...] = (None, {}, [{"txid": "ab"}], [{"txid": "00" * 32}], [{"txid": "00" * 32, "vout": -1}])
    for vin in nonsense:

        def answer(asked: Asked, vin: Any = vin) -> Reply:
            reply = whole(asked)
            found = json.loads(reply.body)
            found.get("result", found)["vin"] = vin
            return reply._replace(body=json.dumps(found).encode())

        told.answer = answer
        with pytest.raises(Unanswered, match="its answer"):
            await backend.inputs(truth.transaction_id(100, 1), block_hash)


@ALL
async def test_a_transaction_that_has_moved_is_no_answer(make: Callable[[Chain], tuple[Backend, Told]]) -> None:
    truth = chain()
    backend, _ = make(truth)
    truth.height = 104  # not deep enough any more: for bitcoind's RPC, the only sign of it
    with pytest.raises(Unanswered, match="another block"):
        await backend.output(truth.transaction_id(100, 1), 1, 99)


@pytest.mark.parametrize("name", ["bitcoind", "btcd", "rest"])
async def test_one_list_serves_all_channels_of_a_block_and_eight_are_kept(name: str) -> None:
    truth = chain()
    backend, told = KINDS[name](truth)

    async def ask(height: int, index: int) -> None:
        assert await backend.transaction_at(truth.block_hash(height), index) == truth.transaction_id(height, index)

    async with trio.open_nursery() as nursery:
        for index in (0, 1, 2, 0, 1, 2):
            nursery.start_soon(ask, 100, index)
    assert len(told.asked) == 1
    for height in range(101, 108):
        await ask(height, 0)
    await ask(100, 1)
    assert len(told.asked) == 8
    await ask(108, 0)
    await ask(100, 2)
    assert len(told.asked) == 9
    await ask(101, 0)
    assert len(told.asked) == 10


@pytest.mark.parametrize("name", ["bitcoind", "btcd"])
async def test_a_pruned_block_is_no_verdict(name: str) -> None:
    truth = chain()
    truth.pruned_below = 101
    backend, _ = KINDS[name](truth)
    with pytest.raises(Unanswered, match="getblock: Block not available"):
        await backend.transaction_at(truth.block_hash(100), 1)


@pytest.mark.parametrize("name", ["bitcoind", "btcd", "rest"])
async def test_one_that_still_reads_the_chain_has_no_tip(name: str) -> None:
    truth = chain()
    truth.reading = True
    backend, _ = KINDS[name](truth)
    with pytest.raises(Unanswered, match="still reads the chain: 120 blocks of 1,120"):
        await backend.tip()


AMOUNTS: Final = {
    "0.00000001": 1,
    "1e-8": 1,
    "1E-08": 1,
    "0.1": 10_000_000,
    "0.29": 29_000_000,
    "16.77721601": 1_677_721_601,
    "20999999.99999999": 2_099_999_999_999_999,
    "21000000": 2_100_000_000_000_000,
    "0": 0,
    "1": 100_000_000,
    "0.10000000000000000000000000000000": 10_000_000,
}
NO_AMOUNTS: Final = (
    "-0.1", "21000000.00000001", "0.000000001", "0.100000000000000000000000000000001", "1e400", "1e999999999",
    "1e-999999999", "NaN", "Infinity", '"0.1"', "true", "null", "[]", "1e99999999999999999999999",
)  # fmt: skip


def gettxout(value: str) -> Callable[[Asked], Reply]:
    script = '{"hex":"' + SCRIPT.hex() + '"}'
    found = f'{{"confirmations":6,"value":{value},"scriptPubKey":{script}}}'
    return lambda asked: Reply(200, f'{{"result":{found},"error":null,"id":"gettxout"}}'.encode())


@pytest.mark.parametrize(("text", "satoshis"), AMOUNTS.items())
async def test_amounts_are_exact(text: str, satoshis: int) -> None:
    assert await Bitcoind(Told(gettxout(text))).output("00" * 32, 0, 1) == Found(SCRIPT, satoshis, 1)


@pytest.mark.parametrize("text", NO_AMOUNTS)
async def test_what_is_no_amount_is_no_answer(text: str) -> None:
    with pytest.raises(Unanswered):
        await Bitcoind(Told(gettxout(text))).output("00" * 32, 0, 1)


NONSENSE: Final = (
    b"", b"{", b"null", b"0", b"[]", b'"text"', b"{}", b"true", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"<html>",
    b'{"result":{},"error":null}', b'{"result":[],"id":"getblock","error":null}', b'{"result":7,"error":{"code":"x"}}',
    b'{"blocks":true,"headers":true,"bestblockhash":"x"}', b'{"utxos":[7]}', b'{"tx":[]}', b'{"tx":["x"]}',
    b'{"utxos":[{"height":1,"value":1,"scriptPubKey":"00"}]}', b'{"blockhash":"../../../x"}', b'{"tx":[null]}',
    b'{"utxos":[{"height":1,"value":1,"scriptPubKey":{"hex":"0g"}}]}', b'{"vout":7,"status":{}}', b"-1", b"1e3",
    b'{"vout":[{}],"status":{"confirmed":true,"block_height":1}}', b'{"vout":[],"status":{"confirmed":false}}',
    b'{"vout":[{"scriptpubkey":"00","value":1.5}],"status":{"confirmed":true,"block_height":1}}',
    b'{"vout":[{"scriptpubkey":"00","value":-1}],"status":{"confirmed":true,"block_height":1}}',
    b'{"vout":[{"scriptpubkey":"00","value":2100000000000001}],"status":{"confirmed":true,"block_height":1}}',
    b'{"vout":[{"scriptpubkey":"00","value":1}],"status":{"confirmed":true,"block_height":1}}',
)  # fmt: skip


@ALL
@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
@pytest.mark.parametrize("status", [200, 500])
async def test_nonsense_is_no_answer(make: Callable[[Chain], tuple[Backend, Told]], body: bytes, status: int) -> None:
    backend, told = make(chain())
    told.answer = lambda asked: Reply(status, body)
    questions: list[Callable[[], Any]] = [
        backend.tip,
        lambda: backend.block_hash(1),
        lambda: backend.transaction_at("00" * 32, 0),
        lambda: backend.output("00" * 32, 0, 1),
    ]
    for question in questions:
        with pytest.raises(Unanswered):
            await question()


@pytest.mark.parametrize("method", ["getblockchaininfo", "getblockhash", "getblock", "gettxout"])
async def test_an_answer_to_something_else_is_none(method: str) -> None:
    truth = chain()

    def other(asked: Asked) -> Reply:
        status, body, _ = truth.rpc(asked)
        return Reply(status, json.dumps({**json.loads(body), "id": "another"}).encode())

    backend = Bitcoind(Told(other))
    asks: dict[str, Callable[[], Any]] = {
        "getblockchaininfo": backend.tip,
        "getblockhash": lambda: backend.block_hash(1),
        "getblock": lambda: backend.transaction_at(truth.block_hash(1), 0),
        "gettxout": lambda: backend.output(truth.transaction_id(100, 1), 1, 100),
    }
    with pytest.raises(Unanswered, match="what was not asked"):
        await asks[method]()


async def test_a_servers_words_are_shown_as_a_strangers() -> None:
    error = {"code": -5, "message": "\x1b[2J" + "x" * 1000}
    with pytest.raises(Unanswered) as caught:
        await Bitcoind(Told(lambda asked: Reply(500, json.dumps({"error": error}).encode()))).tip()
    assert str(caught.value).startswith("getblockchaininfo: \\x1b[2Jxxx")
    assert len(str(caught.value)) < 150
    with pytest.raises(Unanswered, match=r"^HTTP 418: \\x1b\[2J$"):
        await Esplora(Told(lambda asked: Reply(418, b"\x1b[2J\r\n"))).block_hash(1)


class TestShared:
    async def test_who_asks_alike_waits_for_one_answer(self) -> None:
        shared, asked, go = Shared[int, str](2), list[int](), trio.Event()

        async def ask(key: int) -> str:
            asked.append(key)
            await go.wait()
            return str(key)

        async def want(key: int) -> None:
            assert await shared.get(key, ask) == str(key)

        async with trio.open_nursery() as nursery:
            for key in (1, 1, 2, 1):
                nursery.start_soon(want, key)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(asked) == [1, 2]
            go.set()
        await want(1)
        await want(3)  # in place of 2
        await want(1)
        assert sorted(asked) == [1, 2, 3]
        await want(2)
        assert sorted(asked) == [1, 2, 2, 3]

    async def test_who_is_cancelled_or_fails_leaves_it_to_the_next(self) -> None:
        shared, asks = Shared[int, str](2), list[int]()

        async def ask(key: int) -> str:
            asks.append(key)
            if len(asks) == 1:
                await trio.sleep_forever()
            if len(asks) == 2:
                raise Unanswered("not this time")
            return "found"

        cancelled, results = trio.CancelScope(), list[str]()

        async def want() -> None:
            try:
                results.append(await shared.get(1, ask))
            except Unanswered as error:
                results.append(str(error))

        async def want_until_cancelled() -> None:
            with cancelled:
                await want()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(want_until_cancelled)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(want)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(want)
            await trio.testing.wait_all_tasks_blocked()
            cancelled.cancel()
        assert sorted(results) == ["found", "not this time"]
        assert len(asks) == 3

    async def test_what_is_on_its_way_when_all_is_forgotten_is_not_kept(self) -> None:
        shared, go, asks = Shared[int, int](2), trio.Event(), list[int]()

        async def ask(key: int) -> int:
            asks.append(key)
            await go.wait()
            return len(asks)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(shared.get, 1, ask)
            await trio.testing.wait_all_tasks_blocked()
            shared.forget()
            go.set()
        assert await shared.get(1, ask) == 2
        assert await shared.get(1, ask) == 2
        shared.forget()
        assert await shared.get(1, ask) == 3
