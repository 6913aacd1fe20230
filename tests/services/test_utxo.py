"""Lookups of outputs: every kind of server, every kind of trouble with it, blocks that come and go."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing

from tests.support import gossip
from tests.support.chains import Asked, Chain, ChainServer, Output, Reply, serving
from tests.support.inside import source_of
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import Failed, Found, GossipPolicy, Missing, NetworkGraph, NotYet, P2PGossipSync, Spent
from triolight.gossip.utxo import UtxoResult
from triolight.messages import BOLT, ChannelAnnouncement
from triolight.services import UtxoSource, open_bitcoind_utxo, open_esplora_utxo, open_utxo
from triolight.services.backends import Tip, Unanswered
from triolight.services.utxo import LOOKUP_SECONDS, PENDING, TIP_AGE, TIP_SECONDS, TIPS
from triolight.wire import ShortChannelId

HASH: Final = REGTEST.chain_hash
SCID: Final = ShortChannelId.of(100, 1, 0)


def chain(**options: Any) -> Chain:
    found = Chain(**options)
    found.outputs[100, 1] = [Output(gossip.SCRIPT, "0.01000000")]
    return found


class Taker:
    """Whoever asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, UtxoResult]] = []
        self.blocks: list[tuple[str, int]] = []

    def resolve(self, token: int, result: UtxoResult) -> None:
        self.answers.append((token, result))

    def block_connected(self, height: int) -> None:
        self.blocks.append(("+", height))

    def block_disconnected(self, height: int) -> None:
        self.blocks.append(("-", height))


KINDS: Final[dict[str, tuple[str, Callable[[Chain], Callable[[Asked], Reply]]]]] = {
    "bitcoind": ("http://me:secret@127.0.0.1:{}", lambda of: of.rpc),
    "btcd": ("bitcoind+http://me:secret@127.0.0.1:{}/", lambda of: lambda asked: of.rpc(asked, btcd=True)),
    "rest": ("bitcoind+rest://127.0.0.1:{}", lambda of: of.rest),
    "esplora": ("esplora+http://127.0.0.1:{}/api", lambda of: of.esplora),
}
ALL = pytest.mark.parametrize("kind", KINDS)


@ALL
async def test_each_answer_of_each_kind_of_server(kind: str, mock_clock: trio.testing.MockClock) -> None:
    truth = chain()
    truth.outputs[100, 2] = [Output(b"", "1"), Output(gossip.SCRIPT, "0.5", spent=True)]
    truth.outputs[115, 0] = truth.outputs[116, 0] = [Output(gossip.SCRIPT, "0.00000001")]
    url, answer = KINDS[kind]
    async with serving(answer(truth)) as server, open_utxo(url.format(server.port)) as source:
        assert await source.check(HASH) == ""
        expected = {
            SCID: Found(gossip.SCRIPT, 1_000_000, 100),
            ShortChannelId.of(100, 2, 1): Spent(),
            ShortChannelId.of(100, 3, 0): Missing(),
            ShortChannelId.of(100, 2, 9): Missing() if kind == "esplora" else Spent(),
            ShortChannelId.of(115, 0, 0): Found(gossip.SCRIPT, 1, 115),
            ShortChannelId.of(116, 0, 0): NotYet(),
            ShortChannelId.of(1 << 23, 0, 0): NotYet(),
        }
        for place, result in expected.items():
            assert await source.lookup(HASH, place) == result
        assert (source.lookups, source.failures, source.trouble) == (len(expected), 0, "")
        # Deep enough a block later.
        truth.height += 1
        mock_clock.jump(TIP_AGE)
        assert await source.lookup(HASH, ShortChannelId.of(116, 0, 0)) == Found(gossip.SCRIPT, 1, 116)
        sent = {"authorization" in one.headers for one in server.asked}
        assert sent == {kind in ("bitcoind", "btcd")}


@ALL
async def test_a_server_of_another_chain_knows_nothing_of_ours(kind: str) -> None:
    url, answer = KINDS[kind]
    truth = chain(genesis=BITCOIN.chain_hash[::-1].hex())
    async with serving(answer(truth)) as server, open_utxo(url.format(server.port)) as source:
        words = "it has the chain bitcoin, not regtest"
        assert await source.check(HASH) == words
        assert await source.lookup(HASH, SCID) == Failed(words)
        assert await source.lookup(HASH, ShortChannelId.of(100, 3, 0)) == Failed(words)
        assert source.trouble == words
        assert source.failures == 2
        assert await source.lookup(BITCOIN.chain_hash, SCID) == Found(gossip.SCRIPT, 1_000_000, 100)
        assert source.trouble == ""


class Held:
    """A server that answers when it is told to."""

    def __init__(self, server: ChainServer) -> None:
        self.server = server
        server.held = trio.Event()

    async def until_asked(self) -> None:
        while not self.server.open:
            await trio.testing.wait_all_tasks_blocked(0.01)


@ALL
async def test_a_slow_server_has_ten_seconds_and_is_no_verdict(kind: str, mock_clock: trio.testing.MockClock) -> None:
    url, answer = KINDS[kind]
    taker = Taker()
    async with serving(answer(chain())) as server:
        held = Held(server)
        async with open_utxo(url.format(server.port)) as source:
            source.answers_to(taker)
            assert source.get_utxo(HASH, SCID, 5) is None
            assert source.pending == 1
            await held.until_asked()
            mock_clock.jump(LOOKUP_SECONDS - 0.01)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not taker.answers
            mock_clock.jump(0.01)
            while not taker.answers:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert taker.answers == [(5, Failed("no answer in 10 seconds"))]
            assert (source.pending, source.failures) == (0, 1)
            assert repr(source).endswith("0 pending, no answer in 10 seconds>")
            # It was slow, and is not any more.
            assert server.held is not None
            server.held.set()
            assert source.get_utxo(HASH, SCID, 6) is None
            while len(taker.answers) == 1:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert taker.answers[1] == (6, Found(gossip.SCRIPT, 1_000_000, 100))


@ALL
@pytest.mark.parametrize("reply", [Reply(500, b"{}"), Reply(200, b"<html>"), Reply(404, b"Not Found"), Reply(200, b"")])
async def test_a_server_out_of_its_mind_is_no_verdict(
    kind: str, reply: Reply, mock_clock: trio.testing.MockClock
) -> None:
    """Whatever it was asked before: the first thing, or after all was well."""
    url, answer = KINDS[kind]
    truth = chain()
    told = answer(truth)
    for well in range(4):
        async with serving(told) as server, open_utxo(url.format(server.port)) as source:
            assert await source.check(HASH) == ""
            left = [well]

            def one_more(asked: Asked, left: list[int] = left) -> Reply:
                left[0] -= 1
                return told(asked) if left[0] >= 0 else reply

            server.answer = one_more
            result = await source.lookup(HASH, SCID)
            if kind == "esplora" and reply.status == 404 and well == 1:
                assert result == Missing()  # that is how it says so
            elif left[0] >= 0:
                assert result == Found(gossip.SCRIPT, 1_000_000, 100)
            else:
                assert isinstance(result, Failed)


async def test_a_dead_server_is_no_verdict_and_what_it_says_later_counts(mock_clock: trio.testing.MockClock) -> None:
    async with serving(chain().rpc) as server:
        port = server.port
    async with open_utxo(f"http://127.0.0.1:{port}") as source:
        assert await jumping(mock_clock, source) == Failed("Connection refused")
        assert source.trouble == "Connection refused"
        assert "Connection refused" in repr(source)


async def jumping(clock: trio.testing.MockClock, source: UtxoSource) -> UtxoResult:
    """A lookup, while the time goes by whenever nothing else happens."""
    results: list[UtxoResult] = []

    async def look_up() -> None:
        results.append(await source.lookup(HASH, SCID))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_up)
        while not results:
            await trio.testing.wait_all_tasks_blocked(0.02)
            clock.jump(0.25)
    return results[0]


class Backend:
    """A chain without HTTP, for what is not of one server."""

    def __init__(self, truth: Chain) -> None:
        self.truth = truth
        self.asked: list[str] = []
        self.dead = False

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        await trio.lowlevel.checkpoint()
        if self.dead:
            raise Unanswered("dead")

    async def tip(self) -> Tip:
        await self._ask("tip")
        return Tip(self.truth.height, self.truth.block_hash(self.truth.height))

    async def block_hash(self, height: int) -> str:
        await self._ask(f"hash {height}")
        return self.truth.block_hash(height)

    async def transaction_at(self, block_hash: str, index: int) -> str | None:
        await self._ask("transaction")
        height = self.truth.height_of(block_hash)
        return None if height is None or index >= self.truth.transactions else self.truth.transaction_id(height, index)

    async def output(self, transaction_id: str, index: int, height: int) -> Found | Spent | Missing:
        await self._ask("output")
        found = self.truth.output_of(transaction_id, index)
        if found is None:
            return Missing()
        return Spent() if found[1].spent else Found(found[1].script, found[1].satoshis, height)


async def next_look() -> None:
    """After the next look at the newest block."""
    await trio.sleep(TIP_SECONDS)
    await trio.testing.wait_all_tasks_blocked()


async def test_blocks_are_told_and_lost_ones_too(autojump_clock: trio.testing.MockClock) -> None:
    truth, taker = chain(), Taker()
    async with trio.open_nursery() as nursery:
        backend = Backend(truth)
        source = source_of(backend, nursery)
        assert source.height is None
        nursery.start_soon(source.follow)
        await trio.testing.wait_all_tasks_blocked()
        assert source.height == 120
        source.answers_to(taker)
        assert taker.blocks == [("+", 120)]
        await next_look()
        assert taker.blocks == [("+", 120)]
        for height in (121, 122, 125):
            truth.height = height
            await next_look()
        assert taker.blocks[1:] == [("+", 121), ("+", 122), ("+", 125)]
        taker.blocks.clear()
        # One block, for another one of the same height.
        truth.forks = {125: 1}
        await next_look()
        assert taker.blocks == [("-", 125), ("-", 124), ("-", 123), ("+", 125)]
        taker.blocks.clear()
        # Four, for five: between 122 and 125 nobody has looked.
        truth.forks = dict.fromkeys(range(122, 130), 2)
        truth.height = 126
        await next_look()
        assert taker.blocks == [("-", 125), ("-", 124), ("-", 123), ("-", 122), ("+", 126)]
        taker.blocks.clear()
        # A server that has fewer blocks now.
        truth.height = 121
        await next_look()
        assert taker.blocks == [("-", one) for one in range(126, 121, -1)]
        assert source.height == 121
        taker.blocks.clear()
        # A reorganisation deeper than all that was seen, as of another regtest.
        truth.forks = dict.fromkeys(range(1, 130), 3)
        truth.height = 122
        await next_look()
        assert taker.blocks == [("-", 121), ("-", 120), ("+", 122)]
        nursery.cancel_scope.cancel()


async def test_only_so_many_blocks_are_remembered(autojump_clock: trio.testing.MockClock) -> None:
    truth, taker = chain(), Taker()
    async with trio.open_nursery() as nursery:
        backend = Backend(truth)
        source = source_of(backend, nursery)
        source.answers_to(taker)
        nursery.start_soon(source.follow)
        for _ in range(TIPS + 20):
            await trio.testing.wait_all_tasks_blocked()
            await next_look()
            truth.height += 1
        top = max(height for _, height in taker.blocks)
        taker.blocks.clear()
        truth.forks = dict.fromkeys(range(1, truth.height + 1), 1)
        await next_look()
        lost = [height for sign, height in taker.blocks if sign == "-"]
        assert lost == [*range(top, top - TIPS, -1)]
        nursery.cancel_scope.cancel()


async def test_a_lost_blocks_transactions_are_asked_for_again(autojump_clock: trio.testing.MockClock) -> None:
    truth = chain()
    async with trio.open_nursery() as nursery:
        backend = Backend(truth)
        source = source_of(backend, nursery)
        nursery.start_soon(source.follow)
        for _ in range(2):
            assert await source.lookup(HASH, SCID) == Found(gossip.SCRIPT, 1_000_000, 100)
        assert backend.asked.count("hash 100") == 1
        truth.forks = {100: 1, 120: 1}
        await next_look()
        await source.lookup(HASH, SCID)
        assert backend.asked.count("hash 100") == 2
        nursery.cancel_scope.cancel()


async def test_a_dead_chain_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    truth, taker = chain(), Taker()
    async with trio.open_nursery() as nursery:
        backend = Backend(truth)
        backend.dead = True
        source = source_of(backend, nursery)
        source.answers_to(taker)
        nursery.start_soon(source.follow)
        assert await source.lookup(HASH, SCID) == Failed("dead")
        assert await source.check(HASH) == "dead"
        assert taker.blocks == []
        backend.dead = False
        await next_look()
        assert taker.blocks == [("+", 120)]
        assert await source.lookup(HASH, SCID) == Found(gossip.SCRIPT, 1_000_000, 100)
        # Also where nobody looks anything up.
        for backend.dead, trouble in ((True, "dead"), (False, "")):
            await next_look()
            assert source.trouble == trouble
        nursery.cancel_scope.cancel()


async def test_a_block_that_is_seen_says_nothing_of_a_lookup_that_failed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        backend = Backend(chain())
        source = source_of(backend, nursery)
        nursery.start_soon(source.follow)
        await next_look()
        backend.dead = True
        await source.lookup(HASH, SCID)
        backend.dead = False
        await next_look()
        assert source.trouble == "dead"
        nursery.cancel_scope.cancel()


async def test_early_channels_do_not_make_a_look_each(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        backend = Backend(chain())
        source = source_of(backend, nursery)
        for number in range(50):
            nursery.start_soon(source.lookup, HASH, ShortChannelId.of(116, number, 0))
        await trio.testing.wait_all_tasks_blocked()
        assert backend.asked.count("tip") == 1
        await trio.sleep(1)
        assert await source.lookup(HASH, ShortChannelId.of(117, 0, 0)) == NotYet()
        assert backend.asked.count("tip") == 2


async def test_pending_lookups_have_a_bound(autojump_clock: trio.testing.MockClock) -> None:
    class Stuck(Backend):
        async def block_hash(self, height: int) -> str:
            await trio.sleep_forever()
            raise AssertionError

    taker = Taker()
    async with trio.open_nursery() as nursery:
        source = source_of(Stuck(chain()), nursery)
        with pytest.raises(RuntimeError, match="answers_to"):
            source.get_utxo(HASH, SCID, 0)
        source.answers_to(taker)
        results = [source.get_utxo(HASH, SCID, token) for token in range(PENDING + 2)]
        assert results == [None] * PENDING + [Failed("1,000 lookups wait already")] * 2
        assert source.pending == PENDING
        await trio.sleep(LOOKUP_SECONDS + 0.1)
        assert source.pending == 0
        assert sorted(token for token, _ in taker.answers) == [*range(PENDING)]
        assert {result for _, result in taker.answers} == {Failed("no answer in 10 seconds")}
        assert source.get_utxo(HASH, SCID, 1) is None
        source.close()
        assert source.get_utxo(HASH, SCID, 2) == Failed("the block of this UtxoSource was left")


def announce(sync: P2PGossipSync, peer: int, number: int, block: int = 100) -> None:
    message = BOLT.decode(gossip.channel(gossip.scid(number, block)))
    assert isinstance(message, ChannelAnnouncement)
    sync.handle_channel_announcement(gossip.PEERS[peer], message)


async def test_a_graph_is_filled_by_what_the_chain_says(autojump_clock: trio.testing.MockClock) -> None:
    truth = chain(transactions=200)
    for index in range(10):
        truth.outputs[100, index] = [Output(gossip.SCRIPT, f"0.0000000{index}", spent=index == 3)]
    truth.outputs[100, 4] = [Output(b"\x00", "1")]
    truth.outputs[117, 1] = [Output(gossip.SCRIPT, "2")]
    graph = NetworkGraph(REGTEST.chain_hash)
    async with trio.open_nursery() as nursery:
        backend = Backend(truth)
        source = source_of(backend, nursery)
        sync = P2PGossipSync(graph, source, clock=trio.current_time, unix_time=lambda: gossip.NOW)
        source.answers_to(sync)
        nursery.start_soon(source.follow)
        await trio.testing.wait_all_tasks_blocked()
        for index in range(12):
            announce(sync, 0, index)
        announce(sync, 0, 1, block=117)
        await trio.testing.wait_all_tasks_blocked()
        assert {one.short_channel_id.transaction for one in graph.channels.values()} == {0, 1, 2, 5, 6, 7, 8, 9}
        assert {(one.capacity_sat, one.checked) for one in graph.channels.values()} == {
            (index, "output") for index in (0, 1, 2, 5, 6, 7, 8, 9)
        }
        # Its block is deep enough in two more.
        truth.height = 122
        await next_look()
        assert graph.channels[gossip.scid(1, 117)].capacity_sat == 200_000_000
        nursery.cancel_scope.cancel()


async def test_a_peer_whose_lookups_wait_is_not_read_and_holds_up_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Slow(Backend):
        async def transaction_at(self, block_hash: str, index: int) -> str | None:
            await trio.sleep(1)
            return await super().transaction_at(block_hash, index)

    truth = chain(transactions=300)
    for index in range(300):
        truth.outputs[100, index] = [Output(gossip.SCRIPT, "1")]
    graph = NetworkGraph(REGTEST.chain_hash)
    async with trio.open_nursery() as nursery:
        source = source_of(Slow(truth), nursery)
        policy = GossipPolicy()
        sync = P2PGossipSync(graph, source, policy, clock=trio.current_time, unix_time=lambda: gossip.NOW)
        woken: list[bytes] = []
        sync.wake = woken.extend  # type: ignore[method-assign, assignment]
        source.answers_to(sync)
        await source.check(HASH)
        flooding, honest = gossip.PEERS[0], gossip.PEERS[1]
        for index in range(policy.waiting.pending_of_peer):
            assert not sync.processing_queue_high(flooding)
            announce(sync, 0, index)
        assert sync.processing_queue_high(flooding)
        assert not sync.processing_queue_high(honest)
        announce(sync, 1, 200)
        # Eight at a time: the honest one's turn is the next.
        await trio.sleep(2.5)
        assert gossip.scid(200) in graph.channels
        assert len(graph.channels) < 20
        await trio.sleep(10)
        assert len(graph.channels) == policy.waiting.pending_of_peer + 1
        assert flooding in woken
        assert not sync.processing_queue_high(flooding)


URLS: Final = {
    "": "begins with",
    "127.0.0.1:8332": "begins with",
    "ftp://127.0.0.1:8332": "begins with",
    "electrum+http://127.0.0.1:8332": "begins with",
    "http://": "has a host",
    "http://:8332": "has a host",
    "http://me:sec#ret@127.0.0.1:8332": "not well formed",
    "http://me:sec/ret@127.0.0.1:8332": "not well formed",
    "http://me@127.0.0.1:8332#secret": "percent-encoded",
    "http://me:sec[ret@127.0.0.1:8332": "not well formed",
    "http://me:secret@127.0.0.1": "has a port",
    "http://me:secret@127.0.0.1:sec": "not well formed",
    "http://me:secret@127.0.0.1:99999": "not well formed",
    "http://me:secret@127.0.0.1:8332?x=secret": "but cafile",
    "http://me:secret@127.0.0.1:8332?secret": "not well formed",
    "https://me:secret@127.0.0.1:8332?cafile=a&cafile=b": "but cafile",
    "http://me:secret@127.0.0.1:8332?cafile=rpc.cert": "a CA file is for https",
    "bitcoind+rest://127.0.0.1:8332?cafile=rpc.cert": "a CA file is for https",
    "esplora+ftp://127.0.0.1": "begins with",
}


@pytest.mark.parametrize(("url", "words"), URLS.items())
async def test_urls_that_are_none_are_not_repeated(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        async with open_utxo(url):
            pass
    assert "sec" not in str(caught.value).replace("second", "")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_what_is_opened_and_how_it_is_called(tmp_path: Path) -> None:
    auth = tmp_path / "auth"
    auth.write_text("me:secret\n")
    names = {
        "http://me:secret@127.0.0.1:1": "bitcoind http://127.0.0.1:1",
        "HTTPS://[::1]:1/": "bitcoind https://[::1]:1",
        "bitcoind+https://me@example.org:1/x/": "bitcoind https://example.org:1/x",
        "bitcoind+rest://127.0.0.1:1": "bitcoind http://127.0.0.1:1",
        "esplora+https://example.org/api": "esplora https://example.org/api",
        "esplora+https://[::1]/api/": "esplora https://[::1]/api",
    }
    for url, name in names.items():
        async with open_utxo(url) as source:
            assert source.name == name
            assert repr(source) == f"<UtxoSource {name}, 0 pending>"
    async with open_esplora_utxo("http://127.0.0.1:1/api", auth_file=auth) as source:
        assert source.name == "esplora http://127.0.0.1:1/api"
    with pytest.raises(ValueError, match="not in both"):
        async with open_utxo("http://me:secret@127.0.0.1:1", auth_file=auth):
            pass
    with pytest.raises(FileNotFoundError):
        async with open_utxo("http://127.0.0.1:1", auth_file=tmp_path / "none"):
            pass
    with pytest.raises(ValueError, match="no certificate in PEM"):
        async with open_utxo("https://127.0.0.1:1", cafile=auth):
            pass
    with pytest.raises(FileNotFoundError):
        async with open_utxo(f"https://127.0.0.1:1?cafile={tmp_path}/none"):
            pass


async def test_the_password_is_percent_decoded_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(chain().rpc) as server:
        url = f"http://m%40e:s%2Fe%3Acr%C3%A9t@127.0.0.1:{server.port}"
        async with open_bitcoind_utxo(url) as source:
            assert await source.check(HASH) == ""
            server.answer = lambda asked: Reply(401, b"")
            result = await source.lookup(HASH, SCID)
            assert isinstance(result, Failed)
            seen = f"{caplog.text}{source!r}{result}{vars(source)}"
        # base64 of m@e:s/e:crét
        assert server.asked[0].headers["authorization"] == "Basic bUBlOnMvZTpjcsOpdA=="
    for part in ("s%2Fe", "s/e:cr", "bUBlOnM"):
        assert part not in seen


async def test_an_error_of_the_body_leaves_bare() -> None:
    with pytest.raises(KeyError):
        async with open_utxo("http://127.0.0.1:1"):
            raise KeyError
