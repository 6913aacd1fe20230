"""The table of `triolight top` fits, and shows addresses as they are."""

from __future__ import annotations

import io
import re

import pytest
import trio
import trio.testing
from rich.console import Console

from tests.support import identity, join, make_manager
from tests.support.inside import ping_for_table, table_of
from tests.support.personas import FIRST_BLOCK, WORLD, Lnd
from tests.support.playing import PlainSync, playing, unix_time
from triolight import NullLogger, open_peer_nursery, open_peers
from triolight.cli import table
from triolight.gossip import Verdict
from triolight.services import SyncPolicy, open_gossip


async def test_top_counts_what_it_has_no_row_for() -> None:
    async with open_peer_nursery(make_manager(1)) as peers:
        async with open_peer_nursery(make_manager(2)) as second, open_peer_nursery(make_manager(3)) as third:
            gone, _ = await join(peers, second)
            await join(peers, third)
            console = Console(width=160, record=True, file=io.StringIO())
            console.print(table.Screen(rows=1).view(peers, [], console.width))
            shown = console.export_text()
            assert "2 peers (0 in)" in shown
            assert "and 1 more" in shown
            assert (identity(2).hex()[:20] in shown) != (identity(3).hex()[:20] in shown)
        await gone.wait_closed()
        await ping_for_table(gone)  # the table will show it


@pytest.mark.parametrize("host", ["fe80::1", "fd00:a:b::7", "2001:db8:a:b::1"])
async def test_top_shows_addresses_as_they_are(host: str) -> None:
    async with open_peer_nursery(make_manager(1)) as peers, open_peer_nursery(make_manager(2)) as other:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.attach, ours, None, (host, 9735))
            await other.attach(theirs, identity(1))
        console = Console(width=160, record=True, file=io.StringIO())
        console.print(table.Screen(rows=2).view(peers, [], 160))
        assert f" [{host}]:9735 " in console.export_text()


async def test_top_of_a_graph_shows_how_gossip_goes(autojump_clock: trio.testing.MockClock) -> None:
    sync = PlainSync()
    async with (
        open_peers(b"\x01" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as peers,
        playing(peers, Lnd()),
        open_gossip(peers, sync, policy=SyncPolicy(first_block=FIRST_BLOCK), unix_time=unix_time) as gossip,
    ):
        screen = table.Screen(2, gossip)

        def shown() -> str:
            console = Console(width=160, record=True, file=io.StringIO())
            console.print(screen.view(peers, [], 160))
            return console.export_text()

        assert "graph: 0 channels, 0 nodes; gossip: 0 messages, 0 new\n" in shown()
        halfway: list[str] = []
        await gossip.fetch(on_progress=lambda _: halfway.append(shown()))
        assert any(
            re.search(r"; fetched [1-9]\d* of [1-9]\d* channels", one) and re.search(r" asked +\d", one)
            for one in halfway
        )
        text = shown()
        await trio.sleep(100)
        count = sum(1 for _ in WORLD.messages())
        assert re.search(rf"gossip: \d+/s, \d+ messages, {count:,} new\n", shown())
        assert f"graph: {len(WORLD.channels):,} channels, 8 nodes; " in text
        assert re.search(r" sync +msgs in", text)
        sync.rules.verdicts.count(Verdict.DUPLICATE, 50)
        await trio.sleep(10)
        assert "gossip: 5/s, " in shown()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160])
@pytest.mark.parametrize("address", ["127.0.0.1:9735", "[2001:db8:1111:2222:3333:4444:5555:6666]:49735", "x" * 62])
def test_top_fits(width: int, address: str) -> None:
    row = ("02" * 6, address, "out", "1:02:03", "123.4", "12,345", "1,234,567", "1,234.5", "5.0", "0", "0")
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table_of([row, row], width))
    header, *rows = console.export_text().splitlines()
    assert len(rows) == 2
    assert max(map(len, (header, *rows))) <= width
    shown = re.split(" {2,}", rows[0].strip())
    assert len(shown) == len(re.split(" {2,}", header.strip()))
    # Nothing but the address is cut, and that only where it is long.
    assert shown[1].rstrip("…") in address
    assert all("…" not in cell for cell in shown[2:])
    if width >= 60:
        assert shown[2:5] == ["out", "1:02:03", "123.4"]
    if width == 160:
        assert shown[1:] == [address, *row[2:]]
