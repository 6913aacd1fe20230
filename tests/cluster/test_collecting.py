"""run_collector: what it refuses. What it does is told in test_shards.py, and of processes in cli/jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager
from tests.support.fleets import becomes
from tests.support.shards import heard, is_whole, open_collector, rows
from triolight import open_peer_nursery
from triolight.cluster import run_collector
from triolight.cluster.collecting import DRAIN_SECONDS
from triolight.cluster.shards import LEAVE_SECONDS
from triolight.services import RecordingHandler, unread_gossip

NODE = f"{identity(2).hex()}@127.0.0.1:9735"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://127.0.0.1"}, "not http"),
        ({"types": [18]}, "types are some of"),
        ({"types": []}, "types are some of"),
        ({"id": ""}, "printable"),
        ({"lease": 0}, "lease is above 0"),
        ({"nodes": ["nobody"]}, "nobody"),
    ],
)
async def test_what_it_refuses(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "url": "redis://127.0.0.1:1",
        "record": tmp_path / "seen.db",
        "nodes": [NODE],
        "id": "one",
        **changes,
    }
    async with open_peer_nursery(make_manager(1, route=RecordingHandler(), messages=unread_gossip())) as peers:
        with pytest.raises(ValueError, match=words):
            await run_collector(peers, **asked)


async def test_who_leaves_writes_all_that_was_heard(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Others of it too, whose writer it was; then another one writes."""
    path = tmp_path / "seen.db"
    async with open_collector(path, 6, 10) as it:
        await it.start("one", writes=True)
        await it.start("two", writes=True)
        await becomes(lambda: it.held() == it.shares("one", "two"))
        before = [one for one in it.told if one[1] == "writing"]
        assert before == [("one", "writing")]
        it.scopes["one"].cancel()
        await becomes(lambda: ("two", "writing") in it.told)
        assert is_whole(heard(path), 6, 10)
        await becomes(lambda: it.held() == it.shares("two"))
        it.scopes["two"].cancel()
        await trio.sleep(10)
    assert rows(path, "SELECT name, ended_ns IS NULL FROM worker ORDER BY name") == [("one", 0), ("two", 0)]
    assert rows(path, "SELECT count(*) FROM gap") == [(0,)]


async def test_who_leaves_without_an_engine_does_not_wait_for_ever(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """And what could not be handed on is missed, in the record of whoever writes next."""
    path = tmp_path / "seen.db"
    async with open_collector(path, 2, 10) as it:
        await it.start("one", writes=True)
        await becomes(lambda: it.held() == it.shares("one"))
        await trio.sleep(5)
        it.engine.away = True
        await it.say_more(10)
        await trio.sleep(1)
        it.scopes["one"].cancel()
        left = trio.current_time()
        await becomes(lambda: it.left == ["one"])
        assert trio.current_time() - left <= LEAVE_SECONDS + DRAIN_SECONDS + 3
        it.engine.away = False
        await it.start("two", writes=True)
        await becomes(lambda: it.held() == it.shares("two"))
        await trio.sleep(15)
    assert is_whole(heard(path), 2, 10)
    gaps = rows(path, "SELECT g.why, w.name FROM gap g JOIN worker w ON w.id = g.worker")
    assert gaps == [("killed", "one")]
