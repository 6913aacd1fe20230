"""crawl, on a simulated network: who is found, what each is, and that nobody else is dialled."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import AsyncGenerator, Set
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from tests.support import make_manager
from tests.support.gossip import NOW
from tests.support.processes import PATIENCE
from tests.support.socks5 import LOOPBACK, Socks5Server, open_server
from triolight import NodeAddress, PeerNursery, open_peer_nursery
from triolight.chains import REGTEST
from triolight.proxy import Proxy
from triolight.services import (
    CrawlPolicy,
    NodeReport,
    RecordingHandler,
    StoreError,
    crawl,
    open_recorder,
    planned_dials,
    record,
)
from triolight.testing import Conditions, GossipTown, SimulatedNetwork

ONION = "p53lf57qovyuvwsc6xnrppyply3vtqm7l6pcobkmyqsiofyeznfu5uqd.onion"
HOSTS_ARE_PRIVATE = CrawlPolicy(allow_private=True, host_seconds=1)


class World:
    """A town on a network, and somebody who crawls it."""

    def __init__(self, town: GossipTown, silent: Set[int] = frozenset()) -> None:
        self.network = SimulatedNetwork(3, Conditions(latency=0.05), cut=False)
        self.town, self.silent = town, silent
        self.hosts = [self.network.host() for _ in range(town.count)]
        self.dials: list[tuple[float, str]] = []
        self.at_once = 0
        self.host = self.network.host()

    def address(self, number: int) -> NodeAddress:
        return NodeAddress(self.town.ids[number], self.hosts[number].address, 9735)

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        self.dials.append((trio.current_time(), host))
        return await self.host.dial(host, port)

    async def live(self, number: int) -> None:
        async with open_peer_nursery(self.town.manager(number)) as peers:
            await peers.listen_on(await self.hosts[number].listen())
            await trio.sleep_forever()

    @asynccontextmanager
    async def crawler(self, now: int = NOW) -> AsyncGenerator[PeerNursery]:
        async with trio.open_nursery() as nursery:
            for number in range(self.town.count):
                if number not in self.silent:
                    nursery.start_soon(self.live, number)
            await trio.testing.wait_all_tasks_blocked()
            manager = make_manager(99, route=RecordingHandler(), networks=REGTEST)
            async with open_peer_nursery(manager, dial=self.dial, unix_ns=lambda: now * 10**9) as peers:
                yield peers
            nursery.cancel_scope.cancel()


def a_town(count: int) -> GossipTown:
    """Each host has announced itself, as `World` numbers them."""
    town = GossipTown(7, count)
    for number in range(count):
        town.announce(number, [(f"10.0.{(number + 1) >> 8}.{(number + 1) & 255}", 9735)])
    return town


async def all_of(peers: PeerNursery, *addresses: Any, **options: Any) -> dict[bytes, NodeReport]:
    found: dict[bytes, NodeReport] = {}
    async with aclosing(crawl(peers, *addresses, chain=REGTEST, **options)) as reports:
        async for one in reports:
            assert one.node_id not in found
            found[one.node_id] = one
    return found


@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=pytest.mark.scale)])
async def test_everybody_is_found_from_one(count: int, autojump_clock: trio.testing.MockClock) -> None:
    world = World(a_town(count), silent={3, 11})
    policy = CrawlPolicy(allow_private=True, channels_at_once=40)
    async with world.crawler() as peers:
        found = await all_of(peers, str(world.address(0)), policy=policy)
        assert not peers.peers
    assert {*found} == {*world.town.ids}
    for number, node_id in enumerate(world.town.ids):
        one = found[node_id]
        assert one.address == world.address(number)
        if number in world.silent:
            assert (one.outcome, one.reached, one.features, one.rtt) == ("TCP_FAILED", False, None, None)
        else:
            assert (one.outcome, one.reached, one.channels) == ("reached", True, count)
            assert one.features is not None
            assert one.features.offers("gossip_queries")
            assert one.rtt == pytest.approx(0.1)
            assert one.took > 0.3
        assert one.alias == f"node {number}" or number == 0
    # The whole graph was told once, and not by one alone.
    assert max(one.told or 0 for one in found.values()) <= 40 * 3
    # Everybody once, ten a second at the most.
    times = [at for at, _ in world.dials]
    assert len({host for _, host in world.dials}) == len(world.dials) == count
    assert all(later - earlier >= 0.0999 for earlier, later in pairwise(times))


async def test_d20_nobody_is_dialled_who_is_private_or_has_not_signed(autojump_clock: trio.testing.MockClock) -> None:
    town = a_town(6)
    town.announce(2, [("10.9.9.9", 1)], signed=False)
    world = World(town)
    async with world.crawler() as peers:
        alone = await all_of(peers, world.address(0))
        assert {*alone} == {town.ids[0]}
        found = await all_of(peers, world.address(0), policy=HOSTS_ARE_PRIVATE)
    assert {*found} == {*town.ids} - {town.ids[2]}


async def test_each_address_is_tried_until_one_answers(autojump_clock: trio.testing.MockClock) -> None:
    town = a_town(4)
    town.announce(1, [("10.7.7.7", 1), ("10.0.0.2", 9735), ("10.7.7.8", 1)])
    town.announce(2, [("10.7.7.9", 1), ("10.7.8.0", 1)])
    world = World(town)
    async with world.crawler() as peers:
        found = await all_of(peers, world.address(0), policy=HOSTS_ARE_PRIVATE)
    assert found[town.ids[1]].reached
    assert found[town.ids[1]].address == world.address(1)
    assert (found[town.ids[2]].outcome, found[town.ids[2]].address.host) == ("RESOLVE_FAILED", "10.7.8.0")
    assert "10.7.7.8" not in {host for _, host in world.dials}


async def test_without_questions_only_who_is_named_is_visited(autojump_clock: trio.testing.MockClock) -> None:
    world = World(a_town(5))
    policy = CrawlPolicy(ask_graph=False, allow_private=True)
    async with world.crawler() as peers:
        found = await all_of(peers, world.address(0), world.address(3), policy=policy)
    assert {*found} == {world.town.ids[0], world.town.ids[3]}
    assert all(one.reached and one.channels is None and one.told is None for one in found.values())


@pytest.mark.parametrize(("hours", "heeded"), [(0, True), (2, False)])
async def test_who_has_something_of_the_last_hour_says_so(
    hours: int, heeded: bool, autojump_clock: trio.testing.MockClock
) -> None:
    world = World(a_town(3))
    async with world.crawler(NOW + hours * 3600) as peers:
        found = await all_of(peers, world.address(0), policy=HOSTS_ARE_PRIVATE)
    assert [found[one].filtered for one in world.town.ids] == [heeded] * 3


async def test_a_bound_of_nodes_and_of_time(autojump_clock: trio.testing.MockClock) -> None:
    world = World(a_town(10))
    async with world.crawler() as peers:
        policy = CrawlPolicy(max_nodes=4, allow_private=True)
        assert len(await all_of(peers, world.address(0), policy=policy)) == 4
        world.network.stall(world.hosts[0], world.host)
        policy = CrawlPolicy(visit_seconds=3, ask_graph=False)
        (one,) = (await all_of(peers, world.address(0), policy=policy)).values()
    assert (one.outcome, one.reached, round(one.took)) == ("too slow", False, 3)


@pytest.mark.parametrize("at_once", [3, 8])
async def test_d20_announced_addresses_are_dialled_a_few_at_once(
    at_once: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Whoever announces many nodes that never answer holds up so many of them at a time."""
    town = a_town(20)
    open_dials: list[int] = [0, 0]

    class Silent(World):
        async def dial(self, host: str, port: int) -> trio.abc.Stream:
            open_dials[0] += 1
            open_dials[1] = max(open_dials)
            try:
                return await super().dial(host, port)
            finally:
                open_dials[0] -= 1

    world = Silent(town)
    for host in world.hosts[1:]:
        world.network.stall(host, world.host)
    async with world.crawler() as peers:
        policy = CrawlPolicy(at_once=at_once, visit_seconds=20, allow_private=True)
        found = await all_of(peers, world.address(0), policy=policy)
    assert len(found) == 20
    assert open_dials == [0, at_once]


async def test_the_slowest_holds_up_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    world = World(a_town(30))
    world.network.stall(world.hosts[1], world.host)
    policy = CrawlPolicy(at_once=4, allow_private=True, channels_at_once=5)
    async with world.crawler() as peers:
        found = await all_of(peers, world.address(0), policy=policy)
    *others, last = found.values()
    assert (last.node_id, last.reached) == (world.town.ids[1], False)
    assert len(others) == 29
    assert all(one.reached for one in others)


async def test_whoever_takes_no_reports_has_nobody_dialled(autojump_clock: trio.testing.MockClock) -> None:
    world = World(a_town(30))
    policy = CrawlPolicy(at_once=4, allow_private=True)
    async with world.crawler() as peers:
        async with aclosing(crawl(peers, world.address(0), policy=policy, chain=REGTEST)) as reports:
            await anext(reports)
            await trio.sleep(500)
            assert len(world.dials) <= 1 + 4
            assert not peers.peers
        await trio.sleep(50)
        assert len(world.dials) <= 1 + 4


async def test_who_is_visited_when_the_crawl_is_left_hears_goodbye(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "crawl.db"
    world = World(a_town(12))
    for host in world.hosts[8:]:
        world.network.stall(host, world.host)
    policy = CrawlPolicy(allow_private=True, visit_seconds=1000)
    async with world.crawler() as peers:
        async with aclosing(crawl(peers, world.address(0), policy=policy, chain=REGTEST, record=path)) as reports:
            while len(world.dials) < 12:
                await anext(reports)
            await trio.sleep(1)
            assert len(world.dials) == 12
        await trio.sleep(2)
        assert not peers.peers
        # Whoever had not answered by then is dialled by the next one, and nobody else.
        for host in world.hosts[8:]:
            world.network.resume(host, world.host)
        found = await all_of(peers, policy=HOSTS_ARE_PRIVATE, record=path)
        assert {*found} == {*world.town.ids[8:]}
    with closing(sqlite3.connect(path)) as file:
        outcomes = dict(file.execute("SELECT outcome, count(*) FROM dial GROUP BY 1"))
    assert outcomes == {"broken off": 4, "reached": 12}


async def test_who_is_excluded_is_not_dialled_and_who_is_known_counts_as_announced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(a_town(5))
    policy = CrawlPolicy(allow_private=True, host_seconds=1, exclude=frozenset(world.town.ids[2:4]))
    async with world.crawler() as peers:
        found = await all_of(peers, world.address(0), world.address(2), policy=policy)
        assert {*found} == {*world.town.ids} - policy.exclude
        alone = CrawlPolicy(ask_graph=False)
        assert await all_of(peers, known=[world.address(1)], policy=alone) == {}
        alone = CrawlPolicy(ask_graph=False, allow_private=True)
        assert {*await all_of(peers, known=[world.address(1)], policy=alone)} == {world.town.ids[1]}


async def test_what_a_crawl_would_do_is_known_without_doing_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "crawl.db"
    world = World(a_town(6), silent={5})
    for missing in (None, path):  # none yet
        assert [*planned_dials(world.address(4), record=missing, now_ns=NOW)] == [world.address(4)]
    assert not path.exists()
    async with world.crawler() as peers:
        await all_of(peers, world.address(0), policy=HOSTS_ARE_PRIVATE, record=path)
        dials = len(world.dials)
        ended = NOW * 10**9
        for hours, planned in ((0, set[int]()), (2, {5}), (25, {0, 1, 2, 3, 4, 5})):
            then = ended + hours * 3600 * 10**9
            found = [*planned_dials(policy=HOSTS_ARE_PRIVATE, record=path, now_ns=then)]
            assert {*found} == {world.address(one) for one in planned}
        assert len(world.dials) == dials


async def test_an_onion_is_dialled_by_its_name_through_the_proxy_and_resolved_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The town's first node is named by an address, and leads to one that is an onion."""

    def refuse(*what: Any, **how: Any) -> NoReturn:
        raise AssertionError(f"asked the resolver for {what} {how}")

    town = GossipTown(7, 2)
    town.announce(0, [("127.0.0.1", 9735)])
    town.announce(1, [(ONION, 9735)])
    ports: dict[int, int] = {}
    async with trio.open_nursery() as nursery:

        async def live(number: int, task_status: trio.TaskStatus[None]) -> None:
            async with open_peer_nursery(town.manager(number)) as peers:
                (listener,) = await peers.listen(0, host="127.0.0.1")
                ports[number] = int(listener.socket.getsockname()[1])
                task_status.started()
                await trio.sleep_forever()

        for number in (0, 1):
            await nursery.start(live, number)
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            monkeypatch.setattr(socket, name, refuse)
        monkeypatch.setattr(trio.socket, "getaddrinfo", refuse)
        table = {("127.0.0.1", ports[0]): ports[0], (ONION, 9735): ports[1]}
        manager = make_manager(99, route=RecordingHandler(), networks=REGTEST)
        async with (
            open_server(Socks5Server(table)) as proxy,
            open_peer_nursery(manager, proxy=Proxy(LOOPBACK, proxy.port)) as peers,
        ):
            first = NodeAddress(town.ids[0], "127.0.0.1", ports[0])
            nobody = await all_of(peers, first)  # onions are not dialled unless the policy says so
            assert {*nobody} == {town.ids[0]}
            with trio.fail_after(PATIENCE):
                found = await all_of(peers, first, policy=CrawlPolicy(onions=True, rate=100))
        assert [found[one].outcome for one in town.ids] == ["reached", "reached"]
        assert found[town.ids[1]].address == NodeAddress(town.ids[1], ONION, 9735)
        asked = [(one.type, one.host, one.port) for one in proxy.asked]
        assert asked == [(1, "127.0.0.1", ports[0]), (1, "127.0.0.1", ports[0]), (3, ONION, 9735)]
        nursery.cancel_scope.cancel()


async def test_a_disk_that_is_full_ends_it_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    small = replace(record.SCHEMA, statements=(*record.SCHEMA.statements, "PRAGMA max_page_count = 14"))
    monkeypatch.setattr(record, "SCHEMA", small)
    path = tmp_path / "crawl.db"
    world = World(a_town(60))
    async with world.crawler() as peers:
        with pytest.raises(StoreError, match=r"crawl\.db: the disk is full"):
            await all_of(peers, world.address(0), policy=HOSTS_ARE_PRIVATE, record=path)
        await trio.sleep(2)
        assert not peers.peers
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_an_open_recorder_has_all_of_it_too(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    world, now = World(a_town(6), silent={4}), NOW + 60
    async with world.crawler(now) as peers, open_recorder(peers, tmp_path / "seen.db", backlog=None) as recorder:
        found = await all_of(peers, world.address(0), policy=HOSTS_ARE_PRIVATE, record=recorder)
        assert {*found} == {*world.town.ids}
        dials = len(world.dials)
        assert await all_of(peers, policy=HOSTS_ARE_PRIVATE, record=recorder) == {}  # it is too soon
        assert len(world.dials) == dials
    with closing(sqlite3.connect(tmp_path / "seen.db")) as file:
        outcomes = dict(file.execute("SELECT outcome, count(*) FROM dial GROUP BY 1"))
        assert outcomes == {"reached": 5, "TCP_FAILED": 1}
        assert file.execute("SELECT min(at_ns) FROM dial").fetchone() == (now * 10**9,)
        assert file.execute("SELECT count(*), sum(closed_ns IS NULL) FROM session").fetchone() == (5, 0)
        assert file.execute("SELECT count(*) FROM message WHERE type = 257").fetchone() == (6,)
        # Answers, and what a filter has brought.
        assert file.execute("SELECT DISTINCT asked FROM sighting ORDER BY 1").fetchall() == [(1,), (2,)]


async def test_a_peer_that_was_there_stays(autojump_clock: trio.testing.MockClock) -> None:
    world = World(a_town(3))
    async with world.crawler() as peers:
        await peers.connect(world.address(1))
        found = await all_of(peers, world.address(0), policy=HOSTS_ARE_PRIVATE)
        assert len(found) == 3
        assert {*peers.peers} == {world.town.ids[1]}


async def test_a_record_has_all_of_it_and_a_crawl_goes_on_from_there(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "crawl.db"
    world = World(a_town(12), silent={5})
    async with world.crawler() as peers:
        async with aclosing(
            crawl(
                peers, world.address(0), policy=CrawlPolicy(allow_private=True, at_once=4), chain=REGTEST, record=path
            )
        ) as reports:
            first = [(await anext(reports)).node_id]  # and that was all: somebody has pressed Ctrl-C
        found = await all_of(peers, policy=HOSTS_ARE_PRIVATE, record=path)
        assert {*found} == {*world.town.ids} - {*first}
        # All are known, and it is too soon.
        assert await all_of(peers, policy=HOSTS_ARE_PRIVATE, record=path) == {}
        named = await all_of(peers, world.address(2), policy=HOSTS_ARE_PRIVATE, record=path)
        assert {*named} == {world.town.ids[2]}
        # An hour later who was not reached may be asked again, a day later everybody.
        soon = CrawlPolicy(allow_private=True, retry_seconds=1e-9)
        assert {*await all_of(peers, policy=soon, record=path)} == {world.town.ids[5]}
    with closing(sqlite3.connect(path)) as file:
        outcomes = file.execute("SELECT outcome, count(*) FROM dial GROUP BY 1 ORDER BY 1").fetchall()
        assert [one for one in outcomes if one[0] != "broken off"] == [("TCP_FAILED", 2), ("reached", 12)]
        assert file.execute("SELECT count(*) FROM session WHERE why = 'crawled'").fetchone() == (12,)
        assert file.execute("SELECT count(*) FROM message WHERE type = 257").fetchone() == (12,)
        assert file.execute("SELECT DISTINCT asked FROM sighting ORDER BY 1").fetchall() == [(1,), (2,)]
        assert file.execute("SELECT count(*) FROM dial WHERE init IS NULL OR rtt_ms < 90").fetchone() == (0,)


async def test_what_is_no_record_and_no_address_is_said(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear reader, " * 100)
    async with open_peer_nursery(make_manager(1)) as peers:
        with pytest.raises(StoreError, match="no SQLite file, and so no record"):
            await all_of(peers, record=tmp_path / "letter")
        with pytest.raises(ValueError, match="no node id"):
            await all_of(peers, "nobody")
