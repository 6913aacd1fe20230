"""open_utxo: whoever has a chain answers for a graph's channels: bitcoind, btcd, Esplora. Nobody waits for it.

Each lookup is a task of the block's: so many calls at a time, so many lookups pending, ten seconds each. Whatever goes
wrong with the server (dead, busy, pruned, of another chain, nonsense) is `Failed`, which is no word about the channel.
The newest block is looked at meanwhile, and who takes the answers hears of it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from os import PathLike
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import trio

from triolight.chains import chain_name
from triolight.gossip.utxo import Failed, Missing, NotYet, UtxoResult
from triolight.services.backends import (
    MINIMUM_DEPTH,
    Backend,
    Bitcoind,
    BitcoindRest,
    Calls,
    Esplora,
    Shared,
    Tip,
    Unanswered,
)
from triolight.text import place
from triolight.wire import ShortChannelId

__all__ = ["AnswerTaker", "UtxoSource", "open_bitcoind_utxo", "open_esplora_utxo", "open_utxo"]

PENDING: Final = 1000
"""Lookups that wait; one more fails at once."""
LOOKUP_SECONDS: Final = 10.0
"""For one lookup, from the question to the answer."""
TIP_SECONDS: Final = 30.0
"""From one look at the newest block to the next."""
TIP_AGE: Final = 1.0
"""How old the last look may be where a channel is not deep enough by it."""
HASHES: Final = 64
"""Blocks whose hash is kept for the next channel of theirs."""
TIPS: Final = 144
"""Blocks by which a reorganisation is recognised: one that goes deeper than all of them is a new chain to us."""


class AnswerTaker(Protocol):
    """Who asks, and hears of blocks: `P2PGossipSync`."""

    def resolve(self, token: int, result: UtxoResult) -> None: ...
    def block_connected(self, height: int) -> None: ...
    def block_disconnected(self, height: int) -> None: ...


class UtxoSource:
    """A `UtxoLookup`, as long as its block is open. What it was asked is answered to whom `answers_to` names."""

    def __init__(self, backend: Backend, name: str, nursery: trio.Nursery) -> None:
        self.name: Final = name
        """What it is and where, without a password."""
        self.lookups = 0
        """That were begun."""
        self.failures = 0
        """Those of them that nobody could answer."""
        self.trouble = ""
        """Why the last one failed, or the last look at the newest block. Empty once there was an answer."""
        self._backend: Final = backend
        self._nursery: Final = nursery
        self._pending = 0
        self._taker: AnswerTaker | None = None
        self._closed = False
        self._genesis: bytes | None = None
        self._hashes: Final = Shared[int, str](HASHES)
        self._tips: dict[int, str] = {}
        """The newest blocks that we have seen, by height, rising."""
        self._looked_at = -TIP_SECONDS
        self._looking: Final = trio.Lock()

    def __repr__(self) -> str:
        trouble = f", {self.trouble}" if self.trouble else ""
        return f"<UtxoSource {self.name}, {self._pending} pending{trouble}>"

    @property
    def pending(self) -> int:
        """Lookups that wait for their answer."""
        return self._pending

    @property
    def height(self) -> int | None:
        """Of the newest block that was seen."""
        return next(reversed(self._tips), None)

    def answers_to(self, taker: AnswerTaker) -> None:
        """Who has this as its `utxo_lookup`: it gets the answers, and hears of new blocks and of lost ones."""
        self._taker = taker
        if self.height is not None:
            taker.block_connected(self.height)

    def get_utxo(self, chain_hash: bytes, short_channel_id: ShortChannelId, token: int) -> UtxoResult | None:
        """Begins a lookup. RuntimeError if nobody was named to take its answer."""
        if self._taker is None:
            raise RuntimeError("nobody takes the answers of this UtxoSource: call answers_to first")
        if self._closed:
            return Failed("the block of this UtxoSource was left")
        if self._pending >= PENDING:
            return Failed(f"{PENDING:,} lookups wait already")
        self._pending += 1
        self._nursery.start_soon(self._answer, self._taker, chain_hash, short_channel_id, token, name="utxo: lookup")
        return None

    @trio.lowlevel.enable_ki_protection
    async def lookup(self, chain_hash: bytes, short_channel_id: ShortChannelId) -> UtxoResult:
        """What the chain has at this place."""
        self.lookups += 1
        result: UtxoResult = Failed(f"no answer in {LOOKUP_SECONDS:g} seconds")
        with trio.move_on_after(LOOKUP_SECONDS):
            try:
                result = await self._look_up(chain_hash, short_channel_id)
            except Unanswered as error:
                result = Failed(str(error))
        if isinstance(result, Failed):
            self.failures += 1
        self.trouble = result.why if isinstance(result, Failed) else ""
        return result

    @trio.lowlevel.enable_ki_protection
    async def check(self, chain_hash: bytes) -> str:
        """Whether it answers and is of this chain: empty, or what is wrong, in words."""
        words = f"no answer in {LOOKUP_SECONDS:g} seconds"
        with trio.move_on_after(LOOKUP_SECONDS):
            try:
                await self._check_chain(chain_hash)
                await self._look_at_tip()
            except Unanswered as error:
                return str(error)
            return ""
        return words

    @trio.lowlevel.enable_ki_protection
    async def _answer(
        self, taker: AnswerTaker, chain_hash: bytes, short_channel_id: ShortChannelId, token: int
    ) -> None:
        try:
            result = await self.lookup(chain_hash, short_channel_id)
        finally:
            self._pending -= 1
        taker.resolve(token, result)

    async def _look_up(self, chain_hash: bytes, short_channel_id: ShortChannelId) -> UtxoResult:
        await self._check_chain(chain_hash)
        height = short_channel_id.block
        if not self._is_deep(height):
            if trio.current_time() >= self._looked_at + TIP_AGE:
                await self._look_at_tip()
            if not self._is_deep(height):
                return NotYet()
        block_hash = await self._hashes.get(height, self._backend.block_hash)
        transaction_id = await self._backend.transaction_at(block_hash, short_channel_id.transaction)
        if transaction_id is None:
            return Missing()
        return await self._backend.output(transaction_id, short_channel_id.output, height)

    def _is_deep(self, height: int) -> bool:
        return self.height is not None and height + MINIMUM_DEPTH - 1 <= self.height

    async def _check_chain(self, chain_hash: bytes) -> None:
        """One of another chain knows none of ours: that would be a false word about each of them."""
        if self._genesis is None:
            self._genesis = bytes.fromhex(await self._hashes.get(0, self._backend.block_hash))[::-1]
        if self._genesis != chain_hash:
            raise Unanswered(f"it has the chain {chain_name(self._genesis)}, not {chain_name(chain_hash)}")

    # The newest block.

    async def _look_at_tip(self) -> None:
        before = self._looked_at
        async with self._looking:
            if self._looked_at != before:
                return  # somebody else has, while we waited
            tip = await self._backend.tip()
            lost = await self._lost(tip)
            self._looked_at = trio.current_time()
            self._moved(tip, lost)

    async def _lost(self, tip: Tip) -> list[int]:
        """Heights of ours that have another block now, from the highest down."""
        lost: list[int] = []
        for height in reversed(self._tips):
            if height <= tip.height:
                now = tip.block_hash if height == tip.height else await self._backend.block_hash(height)
                if now == self._tips[height]:
                    break
            lost.append(height)
        return lost

    def _moved(self, tip: Tip, lost: list[int]) -> None:
        taker = self._taker
        for height in lost:
            del self._tips[height]
        if lost:
            self._hashes.forget()
            # Those between two that we saw are gone as well, as far as we know.
            last = min(lost) if self.height is None else self.height + 1
            for height in range(max(lost), last - 1, -1):
                if taker is not None:
                    taker.block_disconnected(height)
        if self.height is not None and tip.height <= self.height:
            return
        self._tips[tip.height] = tip.block_hash
        if len(self._tips) > TIPS:
            del self._tips[next(iter(self._tips))]
        if taker is not None:
            taker.block_connected(tip.height)


class _OpenUtxoSource(UtxoSource):
    """The same as its block has it."""

    @trio.lowlevel.enable_ki_protection
    async def follow(self) -> None:
        """Looks at the newest block now and then, until it is cancelled."""
        trouble = ""
        while True:
            with trio.move_on_after(LOOKUP_SECONDS):
                try:
                    await self._look_at_tip()
                    if self.trouble == trouble:  # and no lookup's
                        self.trouble = ""
                except Unanswered as error:
                    self.trouble = trouble = str(error)
            await trio.sleep(TIP_SECONDS)

    def close(self) -> None:
        """No more lookups."""
        self._closed = True


# Where it is.

_BITCOIND: Final = ("http", "https", "bitcoind+http", "bitcoind+https")
_REST: Final = "bitcoind+rest"
_ESPLORA: Final = ("esplora+http", "esplora+https")


class _Place(NamedTuple):
    """What a URL says. Never shown: it has the password."""

    url: str
    credentials: bytes | None
    cafile: str | None
    name: str


def _place_of(url: str, kind: str, schemes: Mapping[str, str]) -> _Place:
    """ValueError for what is none; it repeats nothing, for any part of what is not well formed may be the password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("the URL of a UTXO source is not well formed") from None
    scheme = schemes.get(parts.scheme)
    if scheme is None:
        raise ValueError(f"the URL of a UTXO source begins with {', '.join(f'{one}://' for one in schemes)}")
    if not host or parts.fragment:
        raise ValueError("the URL of a UTXO source has a host, and no fragment; a password in it is percent-encoded")
    if kind != Esplora.__name__ and port is None:
        raise ValueError("the URL of a bitcoind or btcd has a port: 8332 is bitcoind's, 8334 is btcd's")
    if {*query} - {"cafile"} or len(query.get("cafile", ())) > 1:
        raise ValueError("the URL of a UTXO source has nothing behind its ? but cafile=FILE")
    credentials = None
    if parts.username is not None:
        credentials = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    where = (f"[{host}]" if ":" in host else host) if port is None else place(host, port)
    bare = f"{scheme}://{where}{parts.path.rstrip('/')}"
    return _Place(bare, credentials, query.get("cafile", [None])[0], f"{kind.lower()} {bare}")


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def _open(
    make: Callable[[Calls], Backend],
    found: _Place,
    cafile: str | PathLike[str] | None,
    auth: str | PathLike[str] | None,
) -> AsyncGenerator[UtxoSource]:
    # Imported here: who has other lookups needs no httpx.
    from triolight.services.calls import Credentials, open_calls

    cafile = cafile or found.cafile
    if cafile and not found.url.startswith("https:"):
        raise ValueError("a CA file is for https")
    if auth is not None and found.credentials is not None:
        raise ValueError("user and password are in the URL or in a file, not in both")
    credentials = Credentials(found.credentials, None if auth is None else Path(auth))
    await credentials.read()
    context: ssl.SSLContext | bool = True
    if cafile:
        try:
            context = ssl.create_default_context(cafile=cafile)
        except ssl.SSLError:
            raise ValueError(f"{cafile}: no certificate in PEM") from None
    failed: BaseException | None = None
    async with open_calls(found.url, credentials, context) as calls, trio.open_nursery() as nursery:
        source = _OpenUtxoSource(make(calls), found.name, nursery)
        nursery.start_soon(source.follow, name="utxo: newest block")
        try:
            yield source
        except BaseException as error:  # leaves bare, and not in the nursery's group
            failed = error
        source.close()
        nursery.cancel_scope.cancel(reason="the block of open_utxo is left")
    if failed is not None:
        raise failed


def open_bitcoind_utxo(
    url: str, *, cafile: str | PathLike[str] | None = None, auth_file: str | PathLike[str] | None = None
) -> AbstractAsyncContextManager[UtxoSource]:
    """``async with open_bitcoind_utxo("http://127.0.0.1:8332", auth_file=cookie) as source``: bitcoind, or btcd.

    `url` is ``http(s)://[user:password@]host:port`` for JSON-RPC, with ``bitcoind+`` before it or not, or
    ``bitcoind+rest://host:port`` for bitcoind's REST. `auth_file` has one line ``user:password``: bitcoind's own
    ``.cookie`` is one. `cafile`, or ``?cafile=FILE`` in the URL, is the certificate that the server has made for
    itself, in PEM (btcd's ``rpc.cert``).

    ValueError for what is no such URL or file, OSError for a file that cannot be read. A server that is not there is no
    error: lookups fail until it is.
    """
    schemes = {one: one.rpartition("+")[2] for one in _BITCOIND} | {_REST: "http"}
    found = _place_of(url, Bitcoind.__name__, schemes)
    return _open(BitcoindRest if url.lower().startswith(_REST) else Bitcoind, found, cafile, auth_file)


def open_esplora_utxo(
    url: str, *, cafile: str | PathLike[str] | None = None, auth_file: str | PathLike[str] | None = None
) -> AbstractAsyncContextManager[UtxoSource]:
    """``async with open_esplora_utxo("https://explorer.example/api") as source``: an explorer with Esplora's API.

    Its word is all that there is, and it sees which channels are asked about. `url` may begin with ``esplora+``; the
    rest as for `open_bitcoind_utxo`.
    """
    schemes = {one: one.rpartition("+")[2] for one in (*_ESPLORA, "http", "https")}
    return _open(Esplora, _place_of(url, Esplora.__name__, schemes), cafile, auth_file)


def open_utxo(
    url: str, *, cafile: str | PathLike[str] | None = None, auth_file: str | PathLike[str] | None = None
) -> AbstractAsyncContextManager[UtxoSource]:
    """Opens what the URL names: ``esplora+https://…`` an explorer, all else a bitcoind or btcd."""
    if url.partition("://")[0].lower() not in (schemes := (*_BITCOIND, _REST, *_ESPLORA)):
        raise ValueError(f"the URL of a UTXO source begins with {', '.join(f'{one}://' for one in schemes)}")
    opened = open_esplora_utxo if url.lower().startswith("esplora+") else open_bitcoind_utxo
    return opened(url, cafile=cafile, auth_file=auth_file)
