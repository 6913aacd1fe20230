"""What only the engine of a real server can do: its table of claims, its restarts, and URLs."""

from __future__ import annotations

import ssl
import tempfile

import coredis
import pytest
import trio

from tests.support import MESSAGES, ListLogger, Note, identity, join, make_manager
from tests.support.engines import Server, open_server, say
from tests.support.fleets import BACK, CONFIG, FRONT, OTHER, entry
from triolight import ConnectError, Peer, PeerConnected, PeerNursery, open_peer_nursery
from triolight.cluster.back import back_on
from triolight.cluster.bus import START, Change, EngineAway, EngineFull, Fenced
from triolight.cluster.front import serve_front
from triolight.cluster.records import ENGINE, NO_CONNECTION, Displaced, encode_entry, encode_record
from triolight.cluster.redis import open_bus
from triolight.cluster.rules import CROSSING_SECONDS, Answer, Claim, Terms, judge_claim
from triolight.cluster.streams import Used
from triolight.cluster.wanted import FleetConfig

SMALLER, LARGER = sorted((identity(1), identity(2)))


@pytest.mark.parametrize(
    ("url", "fleet", "words"),
    [
        ("http://127.0.0.1", "main", "not http://"),
        ("redis://engine.example", "main", "wants rediss://"),
        ("rediss://engine.example", "main", "wants a user"),
        ("redis://127.0.0.1", "a{b", "braces"),
        ("redis://127.0.0.1", "", "printable"),
    ],
)
async def test_what_is_no_engine(url: str, fleet: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        async with open_bus(url, fleet):
            pass


async def test_another_host_s_certificate_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[ssl.SSLContext] = []

    def from_url(url: str, *, ssl_context: ssl.SSLContext, **options: object) -> None:
        contexts.append(ssl_context)
        raise ConnectionRefusedError

    monkeypatch.setattr(coredis.Redis, "from_url", from_url)
    with pytest.raises(ConnectionRefusedError):
        async with open_bus("rediss://user@engine.example"):
            pass
    assert [(one.verify_mode, one.check_hostname) for one in contexts] == [(ssl.CERT_REQUIRED, True)]


async def test_what_a_loser_of_a_claim_is_told(server: Server) -> None:
    """Nothing but that; and whoever has no place takes nothing of it away."""
    await server.answers()
    async with open_bus(server.url, "told") as bus:
        assert await bus.enter_back(BACK, CONFIG)
        assert await bus.enter_front("one", FRONT, BACK, "")
        displaced = Displaced(node_id=identity(2), number=1, waits=0)
        said = [
            entry(0, b"a message"),
            encode_entry(BACK, 0, [encode_record(NO_CONNECTION, displaced)]),
            encode_entry(ENGINE, 0, [encode_record(NO_CONNECTION, displaced)]),
        ]
        for data in said:
            await say(server, ("XADD", "{told}:told:one", "*", "b", data))
        ((position, data),) = await bus.read_down("one", START, 0)
        assert data == said[2]
        with pytest.raises(Fenced):
            await bus.consume_down("one", OTHER, position, Used(0, 0))
        assert len(await bus.read_down("one", START, 0)) == 1
        await bus.consume_down("one", FRONT, position, Used(0, 0))
        assert list(await bus.read_down("one", START, 0)) == []


async def test_what_the_block_raises_leaves_as_it_is() -> None:
    with tempfile.TemporaryDirectory(prefix="engine") as directory, pytest.raises(EngineAway):
        async with open_bus(f"unix://{directory}/s") as bus:
            await bus.back()


async def test_where_nobody_listens() -> None:
    with tempfile.TemporaryDirectory(prefix="engine") as directory:
        async with open_bus(f"unix://{directory}/s") as bus:
            with pytest.raises(EngineAway):
                await bus.back()
            with pytest.raises(EngineAway):
                await bus.read_up("one", START, 1)


async def test_its_script_judges_claims_as_the_table_says(server: Server) -> None:
    await server.answers()
    client: coredis.Redis[bytes] = coredis.Redis.from_url(server.url)
    async with open_bus(server.url, "table") as bus, client:
        assert await bus.enter_back(BACK, CONFIG)
        assert await bus.enter_front("one", FRONT, BACK, "")
        assert await bus.enter_front("two", OTHER, BACK, "")
        for ours in (SMALLER, LARGER):
            theirs = LARGER if ours == SMALLER else SMALLER
            for held_inbound in (False, True):
                for inbound in (False, True):
                    # Half a second: a busy machine takes its time between two calls.
                    for age in (0.0, CROSSING_SECONDS / 2, CROSSING_SECONDS + 0.5, 1000.0):
                        await bus.release("two", OTHER, theirs, 1)
                        assert await bus.claim("one", FRONT, ours, theirs, 7, held_inbound) is Answer.TAKE
                        key = b"{table}:peer:" + theirs
                        since = float((await client.hget(key, "since")) or b"0")
                        await client.hset(key, {"since": str(since - age)})
                        held = Claim("one", FRONT, 7, held_inbound, 0.0)
                        newcomer = Claim("two", OTHER, 1, inbound, 0.0)
                        wanted = judge_claim(ours, theirs, newcomer, held, True, age)
                        assert await bus.claim("two", OTHER, ours, theirs, 1, inbound, waited=True) is Answer.WAIT
                        assert await bus.claim("two", OTHER, ours, theirs, 1, inbound) is wanted
                        await bus.release("one", FRONT, theirs, 7)
        assert await bus.claims() <= 2


async def test_it_is_killed_and_comes_back_with_all_that_it_has_answered() -> None:
    with open_server(starts=False) as server:
        server.start()
        await server.answers()
        async with open_bus(server.url) as bus:
            assert await bus.enter_back(BACK, CONFIG)
            assert await bus.enter_front("one", FRONT, BACK, "")
            await bus.append_up("one", FRONT, 0, 1, entry(0, b"first"))
            await bus.fence("one", OTHER, BACK)
            server.kill()
            with pytest.raises(EngineAway):
                await bus.append_up("one", FRONT, 1, 1, entry(1, b"second"))
            server.start()
            await server.answers()
            # It has none of our scripts any more.
            size = len(entry(0, b"first"))
            assert await bus.append_up("one", FRONT, 0, 1, entry(0, b"first")) == Used(size, 1)
            await bus.append_up("one", FRONT, 1, 1, entry(1, b"second"))
            found = await bus.read_up("one", START, 0)
            assert [one.data for one in found] == [entry(0, b"first"), entry(1, b"second")]
            with pytest.raises(Fenced):
                await bus.append_up("one", OTHER, 0, 1, entry(0, b"first"))


async def test_it_throws_nothing_away_and_may_be_full() -> None:
    """Without room it refuses what needs some, and takes what makes some; a policy of eviction is refused itself."""
    with open_server(starts=False) as server:
        server.start("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
        await server.answers()
        async with open_bus(server.url) as bus:
            with pytest.raises(ValueError, match="is allkeys-lru"):
                await bus.enter_back(BACK, CONFIG)
            with pytest.raises(ValueError, match="is allkeys-lru"):
                await bus.enter_front("one", FRONT, BACK, "")
        server.kill()
        server.start("--maxmemory", "3mb")
        await server.answers()
        async with open_bus(server.url) as bus:
            assert await bus.enter_back(BACK, CONFIG)
            assert await bus.enter_front("one", FRONT, BACK, "")
            appended = 0
            with pytest.raises(EngineFull, match="maxmemory"):
                while appended < 100:
                    await bus.append_up("one", FRONT, appended, 1, entry(appended, bytes(100_000)))
                    appended += 1
            assert appended
            found = await bus.read_up("one", START, 0)
            assert [one.data for one in found] == [entry(count, bytes(100_000)) for count in range(appended)]
            # Leases go on, and what was read is trimmed: then there is room again.
            await bus.renew_front("one", FRONT, 1)
            await bus.renew_back(BACK)
            size = sum(len(one.data) for one in found)
            await bus.consume_up("one", BACK, found[-1].position, Used(size, appended), Change(FRONT, 9, [], []))
            one = entry(appended, b"goes on")
            assert await bus.append_up("one", FRONT, appended, 1, one) == Used(len(one), 1)


async def test_real_peers_through_a_real_engine_that_is_killed() -> None:
    """Nobody is ended, and nothing comes twice or is missing."""
    with open_server(starts=False) as own:
        own.start()
        await own.answers()
        await flow(own)


async def flow(server: Server) -> None:
    count = 600
    async with (
        open_bus(server.url) as bus,
        open_bus(server.url) as other,
        back_on(
            bus, identity(1), messages=MESSAGES, terms=Terms(lease=2, engine_grace=20), logger=ListLogger()
        ) as back,
        back.subscribe(Note, PeerConnected) as inbox,
    ):
        config = await other.read_config()
        assert config is not None
        manager = make_manager(1, messages=FleetConfig(config).messages)
        async with (
            # Streams that hold nothing: two goodbyes at once wait for each other.
            open_peer_nursery(manager, goodbye_deadline=0) as front,
            open_peer_nursery(make_manager(2), goodbye_deadline=0) as far,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(lambda: serve_front(front, other, id="one"))
            ours = await dial(far, front)
            peer, event = await anext(inbox)
            assert isinstance(event, PeerConnected)

            async def say() -> None:
                for number in range(count):
                    await ours.send(Note(payload=b"%06d" % number))

            nursery.start_soon(say)
            for number in range(count):
                if number == count // 2:
                    server.kill()
                    server.start()
                assert (await anext(inbox))[1] == Note(payload=b"%06d" % number)
            await peer.send(Note(payload=b"done"))
            assert (peer.reason, ours.reason) == (None, None)
            await peer.disconnect()
            nursery.cancel_scope.cancel()


async def dial(far: PeerNursery, front: PeerNursery) -> Peer:
    """Until the front is one."""
    with trio.fail_after(30):
        while True:
            try:
                return (await join(far, front))[0]
            except* ConnectError:
                pass
            await trio.sleep(0.05)


async def test_another_back_takes_up_the_sessions_of_one_that_was_killed(server: Server) -> None:
    """Numbered messages: none is missing, and what comes twice is what was not committed."""
    await server.answers()
    count, terms = 300, Terms(lease=1)
    heard: list[int] = []
    async with open_bus(server.url, "resume") as bus, open_bus(server.url, "resume") as other:
        peers: list[PeerNursery] = []

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            config = await other.read_config()
            assert config is not None
            manager = make_manager(1, messages=FleetConfig(config).messages)
            async with open_peer_nursery(manager, goodbye_deadline=0) as front, trio.open_nursery() as inner:
                inner.start_soon(lambda: serve_front(front, other, id="one"))
                peers.append(front)
                task_status.started()
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery, open_peer_nursery(make_manager(2), goodbye_deadline=0) as far:

            async def say() -> None:
                ours = await dial(far, peers[0])
                for number in range(count):
                    await ours.send(Note(payload=number.to_bytes(2, "big")))

            resumed: list[bool] = []
            for life in range(2):
                # Left by being cancelled: nobody hears goodbye.
                with trio.CancelScope() as killed:
                    async with (
                        back_on(bus, identity(1), messages=MESSAGES, terms=terms, sessions="resume") as back,
                        back.subscribe(Note, PeerConnected) as inbox,
                    ):
                        if not life:
                            await nursery.start(serve)
                            nursery.start_soon(say)
                        async for _, what in inbox:
                            if isinstance(what, PeerConnected):
                                resumed.append(what.resumed)
                                continue
                            heard.append(int.from_bytes(what.payload, "big"))
                            if len({*heard}) == 150 * (life + 1):
                                killed.cancel()
            assert resumed == [False, True]
            assert [*dict.fromkeys(heard)] == [*range(count)]
            assert len(heard) < 2 * count
            nursery.cancel_scope.cancel()
