"""import_gossip: what is signed comes in if its signatures hold, in any order, however old; nothing else does."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support.gossip import IDS, NOW, SCID, channel, node, update
from tests.support.gossip_files import BOTH_PARTS, MESH, a_few
from triolight.chains import BITCOIN, REGTEST, Chain
from triolight.gossip import NetworkGraph
from triolight.gossip.formats import Item, Signed, open_items
from triolight.gossip.formats.items import Capacity, Closed, Damaged, Spent
from triolight.services import GraphStore, ImportReport, import_gossip, open_graph_store
from triolight.services import importing as module
from triolight.wire import ShortChannelId


@asynccontextmanager
async def opened(path: Path, chain: Chain = REGTEST) -> AsyncIterator[GraphStore]:
    async with open_graph_store(path / "graph.db", NetworkGraph(chain)) as store:
        yield store


async def brought(store: GraphStore, items: Iterable[Item | bytes]) -> ImportReport:
    listed = [Signed(0, one) if isinstance(one, bytes) else one for one in items]
    return await import_gossip(store, lambda: iter(listed), unix_time=lambda: float(NOW))


def spoiled(message: bytes, at: int = 40) -> bytes:
    return message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]


async def test_a_real_store_comes_in_and_comes_in_once(tmp_path: Path) -> None:
    async with opened(tmp_path, BITCOIN) as store:
        report = await import_gossip(store, lambda: open_items(io.BytesIO(BOTH_PARTS))[1])
        assert (report.channels, report.updates, report.nodes) == (87, 4, 0)
        assert report.rejected == {"damaged": 1}
        assert [one.offset for one in report.damaged] == [42653]
        assert sum(one.capacity_sat or 0 for one in store.graph.channels.values()) == 177_057_626
        assert {one.checked for one in store.graph.channels.values()} == {"signatures"}
    async with opened(tmp_path, BITCOIN) as store:
        assert (len(store.graph.channels), len(store.graph.nodes)) == (87, 125)
        again = await import_gossip(store, lambda: open_items(io.BytesIO(BOTH_PARTS))[1])
        assert (again.channels, again.updates, again.nodes) == (0, 0, 0)
        assert again.rejected == {"damaged": 1, "duplicate": 91}


async def test_nodes_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        report = await import_gossip(store, lambda: open_items(io.BytesIO(MESH))[1])
        assert (report.channels, report.updates, report.nodes) == (12, 24, 9)
        assert report.rejected == {}


async def test_any_order_is_the_same_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ITEMS_AT_ONCE", 2)
    for name, messages in (("a", a_few()), ("b", a_few()[::-1]), ("c", [*a_few(), *a_few()])):
        (tmp_path / name).mkdir()
        async with opened(tmp_path / name) as store:
            report = await brought(store, messages)
            assert (report.channels, report.updates, report.nodes) == (3, 6, 2)
            assert store.graph.channels[ShortChannelId.of(100, 1, 0)].received == NOW


@pytest.mark.parametrize("at", [2, 66, 130, 194, 300, 400])
async def test_each_signature_of_a_channel_is_verified(at: int, tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        report = await brought(store, [spoiled(channel(features=bytes(60)), at)])
        assert not store.graph.channels
        assert sum(report.rejected.values()) == 1


async def test_what_is_not_taken_has_a_reason(tmp_path: Path) -> None:
    bad = {
        "malformed": [channel()[:100]],
        "wrong_chain": [channel(9, chain_hash=BITCOIN.chain_hash), update(chain_hash=BITCOIN.chain_hash)],
        "bad_order": [channel(9, 1, 0)],
        "duplicate": [channel()],
        "conflict": [channel(SCID, 2, 3)],
        "bad_signature": [spoiled(channel(9)), spoiled(update(timestamp=NOW + 1)), spoiled(node(0, NOW + 1)),
                          update(direction=0, timestamp=NOW + 2, signer=1)],
        "orphan": [update(77), node(5)],
        "stale": [update(timestamp=NOW - 1), node(0, NOW - 1)],
        "equivocation": [update(fee_base_msat=77), node(0, rgb_color=b"abc")],
        "dont_forward": [update(direction=1, message_flags=3)],
    }  # fmt: skip
    async with opened(tmp_path) as store:
        await brought(store, [channel(), update(), node(0)])
        for why, messages in bad.items():
            report = await brought(store, messages)
            assert report.rejected == {why: len(messages)}, why
            assert (report.channels, report.updates, report.nodes) == (0, 0, 0)
        assert store.graph.channel_updates(SCID) == (update(), None)
        assert store.graph.node_announcement(IDS[0]) == node(0)


async def test_nothing_is_too_old_or_too_new(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        report = await brought(store, [channel(), update(timestamp=1), update(direction=1, timestamp=0xFFFFFFFF)])
        assert (report.updates, report.rejected) == (2, {})


async def test_a_forged_message_does_not_keep_a_true_one_out(tmp_path: Path) -> None:
    """Newer by its timestamp, in the same chunk and before it."""
    async with opened(tmp_path) as store:
        report = await brought(store, [spoiled(channel()), channel(), spoiled(update(timestamp=NOW + 9)), update()])
        assert (report.channels, report.updates) == (1, 1)
        assert report.rejected == {"bad_signature": 2}


async def test_what_nobody_signed_counts_only_for_what_came_with_it(tmp_path: Path) -> None:
    other = ShortChannelId(7 << 40)
    async with opened(tmp_path) as store:
        await brought(store, [channel()])
        said: list[Item | bytes] = [Closed(0, SCID), Capacity(0, SCID, 5), Spent(0, SCID, 6)]
        await brought(store, [*said, channel(other), Capacity(0, other, 8), Spent(0, other, 9), Damaged(3, "x")])
        known = store.graph.channels[SCID]
        assert (known.capacity_sat, known.spent_height) == (None, None)
        brought_in = store.graph.channels[other]
        assert (brought_in.capacity_sat, brought_in.spent_height) == (8, 9)
        third = ShortChannelId(8 << 40)
        report = await brought(store, [channel(third), Closed(0, third)])
        assert (report.channels, third in store.graph.channels) == (0, False)
    async with opened(tmp_path) as store:
        assert sorted(store.graph.channels) == [other, SCID]
        assert store.graph.channels[other].capacity_sat == 8


async def test_who_is_cancelled_keeps_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ITEMS_AT_ONCE", 4)
    report = ImportReport()
    with trio.CancelScope() as scope:
        async with opened(tmp_path) as store:

            def read() -> list[Item]:
                return [Signed(0, channel(number << 40)) for number in range(1, 400)]

            def items() -> Iterable[Item]:
                for one in read():
                    if report.channels > 20:
                        trio.from_thread.run_sync(scope.cancel)
                    yield one

            await import_gossip(store, lambda: iter(items()), report=report)
    assert scope.cancelled_caught
    async with opened(tmp_path) as store:
        assert 20 < len(store.graph.channels) == report.channels < 399
