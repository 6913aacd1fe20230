"""What a node of the chain or an explorer is asked about an output, and how its answers are read. No I/O of its own.

Whatever has another form than it should is no answer: `Unanswered`, and never a word about the output.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, NoReturn, Protocol, TypeVar, cast

import trio

from triolight.errors import TriolightError
from triolight.gossip.utxo import Found, Missing, Spent
from triolight.text import printable

__all__ = [
    "Answer",
    "Backend",
    "Bitcoind",
    "BitcoindRest",
    "Busy",
    "Calls",
    "Esplora",
    "Shared",
    "Tip",
    "Unanswered",
]

MINIMUM_DEPTH: Final = 6
"""BOLT 7: blocks on a funding transaction, its own included."""
BLOCKS: Final = 8
"""Lists of transactions that are kept: channels come in the order of their blocks, and many are of one."""
MAX_WORDS: Final = 100
"""Characters of a server's own words."""
MOST_BITCOINS: Final = 21_000_000
_HASH: Final = re.compile("[0-9a-f]{64}")
_SATOSHI: Final = Decimal("1e-8")

K = TypeVar("K")
V = TypeVar("V")


class Unanswered(TriolightError):
    """Nobody could tell, and why."""


class Busy(Unanswered):
    """Not now. `after`: for how many seconds, if that was said."""

    def __init__(self, words: str, after: float | None = None) -> None:
        super().__init__(words)
        self.after: Final = after


class Answer(NamedTuple):
    """What came over HTTP."""

    status: int
    body: bytes


class Calls(Protocol):
    """Whoever speaks HTTP with one server. Raises Unanswered if no answer comes, or too much of it."""

    async def get(self, path: str) -> Answer: ...
    async def post(self, body: bytes) -> Answer: ...


class Tip(NamedTuple):
    """The newest block."""

    height: int
    block_hash: str


class Backend(Protocol):
    """One server, by the few questions that a channel's output takes. All of them raise Unanswered."""

    async def tip(self) -> Tip: ...
    async def block_hash(self, height: int) -> str: ...
    async def transaction_at(self, block_hash: str, index: int) -> str | None:
        """The id of a block's transaction; None if it has fewer."""
        ...

    async def output(self, transaction_id: str, index: int, height: int) -> Found | Spent | Missing:
        """What has become of an output of a transaction that is in the block at this height."""
        ...

    async def inputs(self, transaction_id: str, block_hash: str) -> frozenset[tuple[str, int]]:
        """Which outputs a transaction of this block spends. btcd, and REST, tell only with an index of all of them."""
        ...


class Shared(Generic[K, V]):
    """The last answers, by what was asked; who asks alike meanwhile waits for the same one."""

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._known: OrderedDict[K, V] = OrderedDict()
        self._asking: dict[K, trio.Event] = {}

    async def get(self, key: K, ask: Callable[[K], Awaitable[V]]) -> V:
        """The answer to this. If who asks fails, or is cancelled, the next one who waits asks again."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while key not in self._known:
            answered = self._asking.get(key)
            if answered is None:
                return await self._ask(key, ask)
            await answered.wait()
        self._known.move_to_end(key)
        return self._known[key]

    async def _ask(self, key: K, ask: Callable[[K], Awaitable[V]]) -> V:
        answered = self._asking[key] = trio.Event()
        try:
            value = await ask(key)
            if self._asking.get(key) is answered:
                self._known[key] = value
                if len(self._known) > self._most:
                    self._known.popitem(last=False)
            return value
        finally:
            if self._asking.get(key) is answered:
                del self._asking[key]
            answered.set()

    def forget(self) -> None:
        """What is known, and what is on its way, is nothing to who asks from now on."""
        self._known.clear()
        self._asking.clear()


class _Lists:
    """A backend that gives a block's transactions all at once: one list serves all of its channels."""

    def __init__(self, calls: Calls) -> None:
        self._calls: Final = calls
        self._lists: Final = Shared[str, tuple[str, ...]](BLOCKS)

    async def transaction_at(self, block_hash: str, index: int) -> str | None:
        found = await self._lists.get(block_hash, self._transactions)
        return found[index] if index < len(found) else None

    async def _transactions(self, block_hash: str) -> tuple[str, ...]:
        raise NotImplementedError


class Bitcoind(_Lists):
    """bitcoind's JSON-RPC, and btcd's, which has the same calls."""

    async def tip(self) -> Tip:
        return _tip_of(await self._call("getblockchaininfo"))

    async def block_hash(self, height: int) -> str:
        return _hash(await self._call("getblockhash", height))

    async def _transactions(self, block_hash: str) -> tuple[str, ...]:
        # Of a block that was pruned: an error, and so no verdict.
        return _ids(await self._call("getblock", block_hash, 1))

    async def output(self, transaction_id: str, index: int, height: int) -> Found | Spent | Missing:
        found = await self._call("gettxout", transaction_id, index, False)
        if found is None:
            return Spent()  # or the transaction has fewer outputs: only an index of all transactions could tell
        if _whole(found, "confirmations") < MINIMUM_DEPTH:
            raise Unanswered("its transaction has come into another block")
        return Found(_script(_field(found, "scriptPubKey", dict), "hex"), _satoshis(_of(found, "value")), height)

    async def inputs(self, transaction_id: str, block_hash: str) -> frozenset[tuple[str, int]]:
        return _inputs(await self._call("getrawtransaction", transaction_id, 1, block_hash))

    async def _call(self, method: str, *arguments: Any) -> Any:
        # Of version 1.0: all of them speak that, and btcd nothing else.
        call = {"jsonrpc": "1.0", "id": method, "method": method, "params": arguments}
        answer = await self._calls.post(json.dumps(call).encode())
        if answer.status not in (200, 404, 500):  # errors of calls come with these, and with 200 from btcd
            raise _unexpected(answer)
        try:
            reply = _json(answer.body)
        except Unanswered:
            if answer.status == 200:
                raise
            raise _unexpected(answer) from None
        error = _of(reply, "error")
        if error is not None:
            words = _of(error, "message")
            words = f"{method}: {printable(words, MAX_WORDS) if isinstance(words, str) else 'an error without words'}"
            raise Unanswered(words)
        if _of(reply, "id") != method:
            raise Unanswered("it answers what was not asked")
        return _of(reply, "result")


class BitcoindRest(_Lists):
    """bitcoind's REST interface (its option -rest), which wants no password."""

    async def tip(self) -> Tip:
        return _tip_of(await self._get("chaininfo"))

    async def block_hash(self, height: int) -> str:
        return _hash(_of(await self._get(f"blockhashbyheight/{height}"), "blockhash"))

    async def _transactions(self, block_hash: str) -> tuple[str, ...]:
        return _ids(await self._get(f"block/notxdetails/{block_hash}"))

    async def output(self, transaction_id: str, index: int, height: int) -> Found | Spent | Missing:
        found = _field(await self._get(f"getutxos/{transaction_id}-{index}"), "utxos", list)
        if not found:
            return Spent()
        if _whole(found[0], "height") != height:
            raise Unanswered("its transaction has come into another block")
        return Found(_script(_field(found[0], "scriptPubKey", dict), "hex"), _satoshis(_of(found[0], "value")), height)

    async def inputs(self, transaction_id: str, block_hash: str) -> frozenset[tuple[str, int]]:
        return _inputs(await self._get(f"tx/{transaction_id}"))

    async def _get(self, what: str) -> Any:
        answer = await self._calls.get(f"/rest/{what}.json")
        if answer.status != 200:
            raise _unexpected(answer)
        return _json(answer.body)


class Esplora:
    """An explorer with Esplora's HTTP API: its word is all that there is."""

    def __init__(self, calls: Calls) -> None:
        self._calls: Final = calls

    async def tip(self) -> Tip:
        height = _plain(await self._get("blocks/tip/height"))
        if not height.isdigit() or len(height) > 9:
            raise Unanswered("its newest block has no height")
        return Tip(int(height), await self.block_hash(int(height)))

    async def block_hash(self, height: int) -> str:
        return _hash(_plain(await self._get(f"block-height/{height}")))

    async def transaction_at(self, block_hash: str, index: int) -> str | None:
        answer = await self._get(f"block/{block_hash}/txid/{index}", or_404=True)
        return None if answer.status == 404 else _hash(_plain(answer))

    async def output(self, transaction_id: str, index: int, height: int) -> Found | Spent | Missing:
        found = _json((await self._get(f"tx/{transaction_id}")).body)
        status = _field(found, "status", dict)
        if _of(status, "confirmed") is not True or _whole(status, "block_height") != height:
            raise Unanswered("its transaction has come into another block")
        outputs = _field(found, "vout", list)
        if index >= len(outputs):
            return Missing()
        script, value = _script(outputs[index], "scriptpubkey"), _whole(outputs[index], "value")
        if value > MOST_BITCOINS * 10**8:
            raise Unanswered("it gives an amount that there is not")
        spend = _json((await self._get(f"tx/{transaction_id}/outspend/{index}")).body)
        if _field(spend, "spent", bool) and _of(_field(spend, "status", dict), "confirmed") is not False:
            return Spent()
        return Found(script, value, height)

    async def inputs(self, transaction_id: str, block_hash: str) -> frozenset[tuple[str, int]]:
        return _inputs(_json((await self._get(f"tx/{transaction_id}")).body))

    async def _get(self, what: str, *, or_404: bool = False) -> Answer:
        answer = await self._calls.get(f"/{what}")
        if answer.status != 200 and not (or_404 and answer.status == 404):
            raise _unexpected(answer)
        return answer


# Answers, and what they must be.


def _unexpected(answer: Answer) -> Unanswered:
    words = printable(answer.body.strip(), MAX_WORDS)
    return Unanswered(f"HTTP {answer.status}" + (f": {words}" if words else ""))


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _json(body: bytes) -> Any:
    try:
        # Amounts are decimals: as floats they would be other ones.
        return json.loads(body.decode(), parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError):
        raise Unanswered("its answer is no JSON") from None


def _of(found: Any, name: str) -> Any:
    return cast("dict[str, Any]", found).get(name) if isinstance(found, dict) else None


def _field(found: Any, name: str, kind: type[Any]) -> Any:
    value = _of(found, name)
    if not isinstance(value, kind):
        raise Unanswered(f"its answer has no {name}")
    return value


def _whole(found: Any, name: str) -> int:
    value: int = _field(found, name, int)
    if isinstance(value, bool) or value < 0:
        raise Unanswered(f"its answer has no {name}")
    return value


def _plain(answer: Answer) -> str:
    return answer.body.decode("ascii", "replace").strip()


def _hash(found: Any) -> str:
    # It becomes part of the next question, so that it must be nothing else.
    if not isinstance(found, str) or not _HASH.fullmatch(found):
        raise Unanswered("its answer is no hash")
    return found


def _ids(found: Any) -> tuple[str, ...]:
    ids = _field(found, "tx", list)
    if not ids:
        raise Unanswered("its answer is a block without transactions")
    return tuple(_hash(one) for one in ids)


def _inputs(found: Any) -> frozenset[tuple[str, int]]:
    # The one of a block's first transaction spends nothing, and has no id at bitcoind.
    inputs = [one for one in _field(found, "vin", list) if _of(one, "txid") is not None]
    return frozenset((_hash(_of(one, "txid")), _whole(one, "vout")) for one in inputs)


def _script(found: Any, name: str) -> bytes:
    try:
        return bytes.fromhex(_field(found, name, str))
    except ValueError:
        raise Unanswered(f"its answer has no {name}") from None


def _satoshis(bitcoins: Any) -> int:
    if isinstance(bitcoins, bool) or not isinstance(bitcoins, int | Decimal) or not 0 <= bitcoins <= MOST_BITCOINS:
        raise Unanswered("it gives an amount that there is not")
    amount = Decimal(bitcoins)
    exact = amount.quantize(_SATOSHI)
    if exact != amount:
        raise Unanswered("it gives an amount that there is not")
    return int(exact.scaleb(8))


def _tip_of(found: Any) -> Tip:
    height, headers = _whole(found, "blocks"), _whole(found, "headers")
    if _of(found, "initialblockdownload") is True or headers - height > MINIMUM_DEPTH:
        raise Unanswered(f"it still reads the chain: {height:,} blocks of {headers:,}")
    return Tip(height, _hash(_of(found, "bestblockhash")))
