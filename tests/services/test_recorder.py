"""open_recorder: every sighting is in the file, with its time; what is not is written down; whatever happens."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Pair, identity, join, make_manager, open_pair, until
from tests.support.gossip import NOW, channel, node, update
from tests.support.processes import PATIENCE
from tests.support.project import ROOT
from triolight import Features, open_peer_nursery
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import NetworkGraph, P2PGossipSync
from triolight.messages import (
    BOLT,
    ChannelUpdate,
    GossipTimestampFilter,
    QueryShortChannelIds,
    ReplyShortChannelIdsEnd,
    UnknownMessage,
)
from triolight.services import (
    FollowPolicy,
    Recorder,
    RecordingHandler,
    StoreError,
    SyncPolicy,
    disk,
    open_gossip,
    open_recorder,
    unread_gossip,
)
from triolight.services import recorder as module
from triolight.services.record import RecordBatch, RecordWriter, Written

KILLS = int(os.environ.get("TRIOLIGHT_KILLS", "1"))
"""Of a process that writes. CI wants more."""
START = NOW * 10**9


class Wall:
    """A wall's clock that goes with the run's."""

    def __init__(self) -> None:
        self.ahead = 0
        self.began = trio.current_time()

    def __call__(self) -> int:
        return START + round((trio.current_time() - self.began) * 1e9) + self.ahead


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return file.execute(statement).fetchall()


@asynccontextmanager
async def recording(path: Path, **options: Any) -> AsyncGenerator[tuple[Pair, Recorder]]:
    """A node that records what one peer says: `far` of the pair."""
    messages = options.pop("messages", BOLT)
    chosen: dict[str, Any] = {"backlog": None, **options}
    near, far = make_manager(1, messages=messages), make_manager(2, messages=unread_gossip())
    async with (
        open_peer_nursery(near, unix_ns=Wall()) as one,
        open_peer_nursery(far) as other,
        open_recorder(one, path, **chosen) as recorder,
    ):
        to_far, to_near = await join(one, other)
        yield Pair(one, other, to_far, to_near), recorder


async def say(pair: Pair, recorder: Recorder, *said: bytes) -> None:
    """`far` says it, and it is heard."""
    before = recorder.sightings
    await pair.to_near.send(*map(unread_gossip().decode, said))
    await until(lambda: recorder.sightings == before + len(said))


async def test_each_message_once_and_each_sighting_of_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "seen.db"
    async with recording(path) as (pair, recorder):
        await say(pair, recorder, channel(), update())
        await trio.sleep(5)
        await say(pair, recorder, node(), update())
        await recorder.written()
        assert (recorder.messages, recorder.sightings, recorder.peers, recorder.pending) == (3, 4, 1, 0)
        assert recorder.size >= path.stat().st_size > 0
        assert repr(recorder) == f"<Recorder {path}, 4 sightings>"
        init = pair.to_far.init.encode()
    assert rows(path, "SELECT type, raw FROM message") == [(256, channel()), (258, update()), (257, node())]
    seen = rows(path, "SELECT seen_ns, session, message, asked FROM sighting")
    assert seen == [
        (START + 0, 1, 1, 0),
        (START + 1, 1, 2, 0),
        (START + 5 * 10**9, 1, 3, 0),
        (START + 5 * 10**9 + 1, 1, 2, 0),
    ]
    assert rows(path, "SELECT first_ns FROM message") == [(START,), (START + 1,), (START + 5 * 10**9,)]
    assert rows(path, "SELECT * FROM delay")[-1] == (2, 258, 1, 5 * 10**9)
    assert rows(path, "SELECT node_id FROM peer") == [(identity(2),)]
    assert rows(path, "SELECT peer, address, outbound, connected_ns, init, closed_ns, why FROM session") == [
        (1, "", 1, START, init, START + 5 * 10**9, "the recording ended")
    ]
    assert rows(path, "SELECT * FROM gap") == []
    assert rows(path, "SELECT * FROM clock") == [(START, START, None)]


async def test_a_peers_end_is_written_down_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    async with recording(path) as (pair, recorder):
        await say(pair, recorder, update())
        await pair.to_near.disconnect("enough")
        await pair.to_far.wait_closed()
        again = (await join(pair.near, pair.far))[1]
        await again.send(unread_gossip().decode(update()))
        await until(lambda: recorder.sightings == 2)
    why, other = rows(path, "SELECT why FROM session ORDER BY id")
    assert why[0].startswith("PEER_CLOSED (by peer): ")
    assert "enough" in why[0]
    assert other == ("the recording ended",)
    assert rows(path, "SELECT count(*) FROM peer") == [(1,)]
    assert rows(path, "SELECT session FROM sighting") == [(1,), (2,)]


async def test_who_is_there_before_is_recorded_too(tmp_path: Path) -> None:
    async with open_pair(make_manager(1), make_manager(2, messages=unread_gossip())) as pair:
        await pair.to_near.send(unread_gossip().decode(update()))
        await trio.testing.wait_all_tasks_blocked()
        async with open_recorder(pair.near, tmp_path / "seen.db", backlog=None) as recorder:
            await say(pair, recorder, node())
        # What it said before is nobody's loss.
        assert rows(tmp_path / "seen.db", "SELECT type FROM message") == [(257,)]
        assert rows(tmp_path / "seen.db", "SELECT * FROM gap") == []


async def test_what_cannot_be_decoded_is_recorded_by_who_reads_nothing_and_counted_by_who_does(
    tmp_path: Path,
) -> None:
    short = update()[:90]
    async with recording(tmp_path / "raw.db", messages=unread_gossip()) as (pair, recorder):
        await say(pair, recorder, short, update())
        assert pair.to_far.reason is None
    assert rows(tmp_path / "raw.db", "SELECT raw, content_hash IS NULL FROM message") == [(short, 1), (update(), 0)]
    async with recording(tmp_path / "read.db") as (pair, recorder):
        await pair.to_near.send(UnknownMessage(258, short[2:]))
        await say(pair, recorder, update())
    assert rows(tmp_path / "read.db", "SELECT raw FROM message") == [(update(),)]
    assert rows(tmp_path / "read.db", "SELECT session, lost, why FROM gap") == [(1, 1, "not recorded")]


async def test_what_is_lost_before_the_recorder_has_heard_of_the_peer_is_counted_too(tmp_path: Path) -> None:
    near, far = make_manager(1), make_manager(2)
    async with (
        open_peer_nursery(near) as one,
        open_peer_nursery(far) as other,
        open_recorder(one, tmp_path / "seen.db", backlog=None) as recorder,
    ):
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.attach, ours, identity(2))
            to_near = await other.attach(theirs)
            await to_near.send(UnknownMessage(258, b"short"), UnknownMessage(258, update()[2:]))
        await until(lambda: recorder.sightings == 1)
    assert rows(tmp_path / "seen.db", "SELECT lost, why FROM gap") == [(1, "not recorded")]


async def test_who_has_a_filter_gets_no_other_one(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    mine = GossipTimestampFilter(chain_hash=REGTEST.chain_hash, first_timestamp=5, timestamp_range=6)
    async with open_pair() as pair, pair.far.subscribe(GossipTimestampFilter) as inbox:
        await pair.to_far.send(mine)
        async with open_recorder(pair.near, tmp_path / "seen.db"):
            await trio.sleep(1)
        assert (await anext(inbox))[1] == mine
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()
        # One that goes while it is told is gone.
        async with open_recorder(pair.near, tmp_path / "seen.db"):
            again = await join(pair.near, pair.far)
            await again[1].disconnect("at once")
    assert len(rows(tmp_path / "seen.db", "SELECT * FROM session WHERE closed_ns IS NULL")) == 0


async def test_a_filter_of_somebody_else_brings_its_history_and_then_ours_holds(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    silence = GossipTimestampFilter(chain_hash=REGTEST.chain_hash, first_timestamp=2**32 - 1, timestamp_range=1)
    path = tmp_path / "seen.db"
    async with (
        recording(path, backlog=0.0, chain="regtest") as (pair, recorder),
        pair.to_near.subscribe(GossipTimestampFilter) as heard,
    ):
        assert (await anext(heard)).first_timestamp == NOW
        await trio.sleep(100)
        await pair.to_far.send(silence)
        await say(pair, recorder, update(timestamp=NOW - 500))  # history, for all that we know
        await recorder.written()
        await trio.sleep(50)
        await say(pair, recorder, update(timestamp=NOW - 400))
        await trio.sleep(59)
        assert (await anext(heard)) == silence
        with pytest.raises(trio.WouldBlock):
            heard.receive_nowait()
        await trio.sleep(12)
        again = heard.receive_nowait()
        assert (again.chain_hash, again.timestamp_range) == (REGTEST.chain_hash, 0xFFFFFFFF)
        assert NOW + 100 <= again.first_timestamp <= NOW + 101
        await say(pair, recorder, update(timestamp=NOW + 120))  # missed until now
        await trio.sleep(1000)
        with pytest.raises(trio.WouldBlock):
            heard.receive_nowait()
    assert rows(path, "SELECT asked FROM sighting") == [(2,), (2,), (2,)]


@pytest.mark.parametrize("backlog", [float("inf"), None])
async def test_beside_a_graph_the_recorder_has_the_last_word_unless_it_says_nothing(
    backlog: float | None, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """open_gossip lets one peer stream, and silences the other one."""
    streams = SyncPolicy(following=FollowPolicy(streams=1, streams_empty=1))
    sync = P2PGossipSync(NetworkGraph(REGTEST), unix_time=lambda: NOW)
    near = make_manager(1, route=sync, networks=REGTEST)
    fars = [make_manager(number, route=Ex(), networks=REGTEST) for number in (2, 3)]
    last: dict[int, GossipTimestampFilter] = {}
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_peer_nursery(near, unix_ns=Wall()))
        others = [await stack.enter_async_context(open_peer_nursery(far)) for far in fars]
        heard = [await stack.enter_async_context(other.subscribe(GossipTimestampFilter)) for other in others]
        await stack.enter_async_context(open_gossip(one, sync, policy=streams, unix_time=lambda: NOW))
        await stack.enter_async_context(open_recorder(one, tmp_path / "seen.db", backlog=backlog))
        for other in others:
            await join(one, other)
        await trio.sleep(300)
        for number, inbox in enumerate(heard):
            with suppress(trio.WouldBlock):
                while True:
                    last[number] = inbox.receive_nowait()[1]
    hears_news = [one.first_timestamp <= NOW + 300 for one in last.values()]
    assert hears_news == ([True, True] if backlog else [True, False])


class Ex(RecordingHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries", "gossip_queries_ex")


@pytest.mark.parametrize(
    ("backlog", "chain", "first"), [(float("inf"), None, 0), (0.0, "regtest", NOW), (3600.0, "regtest", NOW - 3600)]
)
async def test_each_peer_is_asked_for_what_the_backlog_says(
    backlog: float, chain: str | None, first: int, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    near, far = make_manager(1), make_manager(2)
    async with (
        open_peer_nursery(near, unix_ns=Wall()) as one,
        open_peer_nursery(far) as other,
        other.subscribe(GossipTimestampFilter) as inbox,
        open_recorder(one, tmp_path / "seen.db", backlog=backlog, chain=chain),
    ):
        await join(one, other)
        _, asked = await anext(inbox)
        hashed = BITCOIN.chain_hash if chain is None else REGTEST.chain_hash
        assert asked == GossipTimestampFilter(chain_hash=hashed, first_timestamp=first, timestamp_range=0xFFFFFFFF)


async def test_history_is_told_from_news(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "seen.db"
    old, new = update(timestamp=NOW - 900), update(timestamp=NOW + 5)
    async with recording(path, backlog=float("inf")) as (pair, recorder):
        await trio.sleep(50)
        await say(pair, recorder, channel(), old, new)
        await trio.sleep(50)  # 60 seconds after the filter, but not after what was older than it
        await say(pair, recorder, old)
        await trio.sleep(61)
        await say(pair, recorder, channel(), old)
    assert rows(path, "SELECT asked FROM sighting") == [(2,), (2,), (0,), (2,), (0,), (0,)]


async def test_without_backlog_nothing_is_history(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with recording(tmp_path / "seen.db", backlog=0.0) as (pair, recorder):
        await say(pair, recorder, channel(), update(timestamp=NOW - 900))
    assert rows(tmp_path / "seen.db", "SELECT asked FROM sighting") == [(0,), (0,)]


async def test_what_somebody_else_of_us_asks_for_is_an_answer_until_its_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "seen.db"
    chain = REGTEST.chain_hash
    query = QueryShortChannelIds(chain_hash=chain, encoded_short_ids=b"\x00" + bytes(8))
    async with recording(path) as (pair, recorder):
        await say(pair, recorder, node())
        await recorder.written()
        await pair.to_far.send(query)
        await say(pair, recorder, channel(), update())
        await recorder.written()
        await say(pair, recorder, update(direction=1))
        await pair.to_near.send(ReplyShortChannelIdsEnd(chain_hash=chain, full_information=1))
        await say(pair, recorder, node(1))
        # A peer that gives no end: for two minutes.
        await recorder.written()
        await pair.to_far.send(query)
        await trio.sleep(119)
        await say(pair, recorder, node(2))
        await trio.sleep(module.RTT_SECONDS + 2)  # as late as it may have been found
        await say(pair, recorder, node(3))
        # A filter of somebody else's.
        await recorder.written()
        await pair.to_far.send(GossipTimestampFilter(chain_hash=chain, first_timestamp=0, timestamp_range=9))
        await say(pair, recorder, node(4, NOW - 50))
    assert rows(path, "SELECT asked FROM sighting") == [(0,), (1,), (1,), (1,), (0,), (1,), (0,), (2,)]


async def test_round_trips_and_the_walls_clock_are_looked_at(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "seen.db"
    async with recording(path) as (pair, _):
        await trio.sleep(31)  # a ping of the peers' own
        await trio.sleep(40)
        assert pair.to_far.statistics().rtt_last is not None
    assert [one for (one,) in rows(path, "SELECT session FROM rtt")] == [1] * len(rows(path, "SELECT * FROM rtt"))
    assert rows(path, "SELECT * FROM rtt") != []
    assert rows(path, "SELECT * FROM clock") == [
        (START, START, None),
        (START + 60 * 10**9, START + 60 * 10**9, None),
    ]


async def test_a_disk_that_is_behind_slows_the_peer_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seen.db"
    monkeypatch.setattr(disk, "BATCH_ROWS", 5)
    monkeypatch.setattr(module, "WAITING_ROWS", 10)
    monkeypatch.setattr(module, "TAKEN_AT_ONCE", 2)
    write, free = RecordWriter.write, threading.Event()

    def slow(self: RecordWriter, batch: RecordBatch) -> Written:
        free.wait()
        return write(self, batch)

    monkeypatch.setattr(RecordWriter, "write", slow)
    said = [update(number << 40) for number in range(1, 2001)]
    async with recording(path) as (pair, recorder), trio.open_nursery() as nursery:
        nursery.start_soon(pair.to_near.send, *map(unread_gossip().decode, said))
        try:
            await until(lambda: recorder.pending >= 10)
            await trio.testing.wait_all_tasks_blocked()
            # Neither taken nor read ahead: it waits with the peer.
            assert recorder.pending <= 20
            assert pair.to_far.statistics().reading_paused == 1
        finally:
            free.set()
        with trio.fail_after(PATIENCE):
            while recorder.sightings < len(said):
                await recorder.written()
        assert recorder.held_seconds > 0
    assert rows(path, "SELECT raw FROM message") == [(one,) for one in said]
    held = rows(path, "SELECT session, lost, why, to_ns > from_ns FROM gap")
    assert {*held} == {(None, 0, "held", 1)}


async def test_who_would_rather_drop_holds_up_nobody_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seen.db"
    monkeypatch.setattr(disk, "BATCH_ROWS", 5)
    monkeypatch.setattr(module, "WAITING_ROWS", 10)
    write, free = RecordWriter.write, threading.Event()

    def slow(self: RecordWriter, batch: RecordBatch) -> Written:
        free.wait()
        return write(self, batch)

    monkeypatch.setattr(RecordWriter, "write", slow)
    said = [update(number << 40) for number in range(1, 501)]
    async with recording(path, drop=True) as (pair, recorder):
        try:
            await pair.to_near.send(*map(unread_gossip().decode, said))
            await until(lambda: recorder.sightings + recorder.dropped == len(said))
            assert recorder.pending <= 20
            assert pair.to_far.statistics().reading_paused == 0
            # Lives of peers are kept all the same, as far as there is room for them.
            for _ in range(30):
                await pair.to_near.disconnect()
                await pair.to_far.wait_closed()
                pair.to_far, pair.to_near = await join(pair.near, pair.far)
            await trio.testing.wait_all_tasks_blocked()
            assert recorder.pending <= 40
        finally:
            free.set()
        with trio.fail_after(PATIENCE):
            while recorder.sessions < 31:
                await recorder.written()
        await say(pair, recorder, node())
        taken, dropped = recorder.sightings, recorder.dropped
    assert taken + dropped == len(said) + 1
    assert 0 < taken < 100
    assert rows(path, "SELECT count(*) FROM sighting") == [(taken,)]
    gaps = "SELECT session, sum(lost), min(from_ns < to_ns) FROM gap WHERE why = 'dropped'"
    assert rows(path, gaps) == [(None, dropped, 1)]
    assert rows(path, "SELECT * FROM gap WHERE why = 'not recorded'") == []


async def test_only_what_is_wanted_is_taken_and_only_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    async with recording(path, types=[ChannelUpdate, 257], raw=False, messages=unread_gossip()) as (pair, recorder):
        await pair.to_near.send(unread_gossip().decode(channel()))
        await say(pair, recorder, update(), node())
    assert rows(path, "SELECT type, raw FROM message") == [(258, None), (257, None)]
    # What nobody wants is not lost.
    assert rows(path, "SELECT * FROM gap") == []
    assert rows(path, "SELECT value FROM meta WHERE key = 'types'") == [("257 258",)]
    async with open_pair() as pair:
        for wrong in ([], [18], [GossipTimestampFilter]):
            with pytest.raises(ValueError, match="types are some of"):
                await open_recorder(pair.near, path, types=wrong).__aenter__()


@pytest.mark.parametrize("how", ["an exception", "cancelled", "the peers' block"])
async def test_whichever_way_the_block_is_left_all_is_on_the_disk(how: str, tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    if how == "cancelled":
        with trio.CancelScope() as scope:
            async with recording(path) as (pair, recorder):
                await say(pair, recorder, update())
                scope.cancel()
                await trio.sleep_forever()
    elif how == "an exception":
        with pytest.raises(KeyError, match="the body's"):
            async with recording(path) as (pair, recorder):
                await say(pair, recorder, update())
                raise KeyError("the body's")
    else:
        record_is_there, may_end = trio.Event(), trio.Event()

        async def have_peers(task_status: trio.TaskStatus[Pair]) -> None:
            async with open_pair(make_manager(1), make_manager(2, messages=unread_gossip())) as pair:
                task_status.started(pair)
                await may_end.wait()

        async def record(pair: Pair) -> None:
            async with open_recorder(pair.near, path, backlog=None) as recorder:
                await say(pair, recorder, update())
                record_is_there.set()
                await pair.to_far.wait_closed()

        async with trio.open_nursery() as nursery:
            pair = await nursery.start(have_peers)
            nursery.start_soon(record, pair)
            await record_is_there.wait()
            may_end.set()
    assert rows(path, "SELECT raw FROM message") == [(update(),)]
    assert rows(path, "SELECT value FROM meta WHERE key = 'open'") == []
    assert len(rows(path, "SELECT * FROM session WHERE closed_ns IS NOT NULL")) == 1


async def test_what_has_come_and_was_not_taken_yet_is_recorded_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    said = [update(number << 40) for number in range(1, 200)]
    async with recording(path) as (pair, recorder):
        await pair.to_near.send(*map(unread_gossip().decode, said))
        await until(lambda: recorder.sightings > 0)
        read = pair.to_far.statistics().received["channel_update"].messages
    (lost,) = rows(path, "SELECT coalesce(sum(lost), 0) FROM gap")[0]
    assert len(rows(path, "SELECT * FROM sighting")) + lost >= read


async def test_a_disk_that_is_full_ends_the_block_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: RecordWriter, _batch: RecordBatch) -> Written:
        raise StoreError("seen.db: the disk is full")

    path = tmp_path / "seen.db"
    async with open_pair(make_manager(1), make_manager(2, messages=unread_gossip())) as pair:
        async with open_recorder(pair.near, path, backlog=None) as recorder:
            await say(pair, recorder, node())
            await recorder.written()
        monkeypatch.setattr(RecordWriter, "write", full)
        with pytest.raises(StoreError, match="the disk is full"):
            async with open_recorder(pair.near, path, backlog=None) as recorder:
                await trio.sleep_forever()
        with pytest.raises(StoreError, match="the disk is full"):
            async with open_recorder(pair.near, path, backlog=None) as recorder:
                await recorder.written()
        with pytest.raises(BaseExceptionGroup) as caught:
            async with open_recorder(pair.near, path, backlog=None) as recorder:
                raise KeyError("the body's")
        assert [type(one) for one in caught.value.exceptions] == [KeyError, StoreError]
    # What was there is there.
    assert rows(path, "SELECT raw FROM message") == [(node(),)]


async def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    async with open_peer_nursery(make_manager(1)) as peers:
        async with open_recorder(peers, path):
            with pytest.raises(StoreError, match="another process writes it"):
                async with open_recorder(peers, path):
                    pass
        path.write_text("a letter " * 100)
        with pytest.raises(StoreError, match="no SQLite file, and so no record"):
            async with open_recorder(peers, path):
                pass
    assert path.read_text() == "a letter " * 100


async def test_a_record_that_is_full_takes_no_more(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "seen.db"
    async with recording(path, max_bytes=200_000) as (pair, recorder):
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:

                async def talk() -> None:
                    for number in range(1, 100_000):
                        await pair.to_near.send(unread_gossip().decode(update(number << 40)))

                nursery.start_soon(talk)
                await recorder.wait_full()
                nursery.cancel_scope.cancel()
        taken = recorder.sightings
        await trio.sleep(5)
        assert recorder.sightings == taken
    assert 200_000 <= path.stat().st_size < 1_000_000
    # Nor does the next one.
    async with recording(path, max_bytes=200_000) as (pair, recorder):
        await recorder.wait_full()
        await pair.to_near.send(unread_gossip().decode(node()))
        await trio.sleep(5)
        assert (recorder.sightings, recorder.full) == (0, True)


async def test_a_record_goes_on_where_it_was(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "seen.db"
    async with recording(path) as (pair, recorder):
        await trio.sleep(9)
        await say(pair, recorder, update(), node())
    # The wall's clock begins again where it was: time in the record goes on all the same.
    async with recording(path) as (pair, recorder):
        await say(pair, recorder, update(), channel())
        await recorder.written()
        assert recorder.messages == 2
    ended = START + 9 * 10**9
    assert rows(path, "SELECT * FROM gap") == [(ended + 1, ended + 2, None, None, "not running", None)]
    assert rows(path, "SELECT message, seen_ns FROM sighting") == [
        (1, ended),
        (2, ended + 1),
        (1, ended + 2),
        (3, ended + 3),
    ]


WRITER = """
import sys, time, trio
from tests.support import join, make_manager
from tests.support.gossip import update
from triolight import open_peer_nursery
from triolight.services import open_recorder, unread_gossip

async def main():
    raw, number = update(), 0
    near, far = make_manager(1, messages=unread_gossip()), make_manager(2, messages=unread_gossip())
    decode = unread_gossip().decode
    async with (
        open_peer_nursery(near) as one,
        open_peer_nursery(far) as other,
        open_recorder(one, sys.argv[1], backlog=None) as recorder,
    ):
        _, peer = await join(one, other)
        base = int(sys.argv[2])
        while True:
            for _ in range(20):
                number += 1
                await peer.send(decode(raw[:98] + (base + number).to_bytes(8, "big") + raw[106:]))
            while recorder.sightings < number:
                await trio.sleep(0.001)
            # Told when it was heard; what is a second old must be there.
            print(number, time.monotonic(), flush=True)
            await trio.sleep(0.005)

trio.run(main)
"""


def test_a_recorder_that_is_killed_loses_its_last_second_at_the_most_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    total = 0
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(kill << 32)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        said: list[tuple[int, float]] = []
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                number, moment = line.split()
                said.append((int(number), float(moment)))
                if said[-1][1] - said[0][1] > (1.3 if kill < 2 else 0.05 + 0.07 * (kill % 11)):
                    process.send_signal(signal.SIGKILL)
                    break
            rest = process.stdout.read().splitlines()
        said += [(int(one.split()[0]), float(one.split()[1])) for one in rest if one.count(" ") == 1]
        last = said[-1][1]
        safe = max((number for number, moment in said if moment <= last - 1), default=0)
        ((count,),) = rows(path, "SELECT count(*) FROM sighting")
        assert count - total >= safe
        total = count
        # Nothing is missing below the last one, and each has its message.
        joined = (
            "SELECT count(*) FROM sighting s JOIN message m ON m.id = s.message JOIN session ON session.id = s.session"
        )
        assert rows(path, joined) == [(count,)]

    async def next_one() -> None:
        async with open_peer_nursery(make_manager(1)) as peers, open_recorder(peers, path):
            pass

    trio.run(next_one)
    gaps = rows(path, "SELECT from_ns < to_ns, session, lost, why FROM gap")
    assert gaps == [(1, None, None, "killed")] * KILLS
    assert {why for (why,) in rows(path, "SELECT why FROM session")} == {"killed"}
