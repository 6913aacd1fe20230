"""A fleet on a real server, and what may happen to it: what is lost, and what comes twice, by numbered messages."""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import coredis
import pytest
import trio

from tests.support import MESSAGES, Note, identity, make_manager, port_of, secret
from tests.support.engines import Server, open_server, say
from tests.support.faults import WINDOW, Back, Front, Ledger, Talker, Way, comes, start_fronts, talking
from tests.support.processes import Running
from triolight import ConnectError, DisconnectCode, NodeAddress, NullLogger, PeerClosed, open_peer_nursery
from triolight.cluster import open_back, run_front
from triolight.cluster.back import RemotePeers

TALKERS = (2, 3, 4)


@pytest.fixture
def engine() -> Iterator[Server]:
    with open_server(starts=False) as server:
        yield server


class Scene:
    """A back that counts, fronts, and nodes that talk."""

    def __init__(self, back: RemotePeers) -> None:
        self.back = back
        self.ledger = Ledger()
        self.fronts: list[Front] = []
        self.talkers: list[Talker] = []

    async def heard(self, more: int) -> None:
        """Until so many more messages were heard."""
        wanted = self.ledger.all + more
        await comes(lambda: self.ledger.all >= wanted, f"{wanted} messages")

    async def finish(self) -> None:
        """All that was said in the sessions that live was heard and answered, and in all of them nothing twice, and
        nothing after something that is missing."""
        for talker in self.talkers:
            await talker.heard_by(self.ledger)
        for ledger in (self.ledger, *(talker.answers for talker in self.talkers)):
            assert (ledger.lost, ledger.doubled) == (0, 0)

    def forget(self) -> None:
        """Other talkers follow, who begin with their first session."""
        self.talkers.clear()
        self.ledger.heard.clear()
        self.ledger.ends.clear()

    @property
    def ends(self) -> set[DisconnectCode]:
        return {end.code for talker in self.talkers for end in talker.ends}


@asynccontextmanager
async def open_scene(
    url: str, *fronts: str, lease: float = 2, back_grace: float = 30, engine_grace: float = 20
) -> AsyncIterator[Scene]:
    """`url` is the back's way to the engine, and each front has its own."""
    async with (
        open_back(
            url,
            identity(1),
            messages=MESSAGES,
            logger=NullLogger(),
            lease=lease,
            back_grace=back_grace,
            engine_grace=engine_grace,
        ) as back,
        trio.open_nursery() as nursery,
    ):
        scene = Scene(back)
        await nursery.start(scene.ledger.listen, back)
        scene.fronts = await start_fronts(nursery, *fronts)
        await comes(lambda: len(back.fronts) == len(fronts), "fronts")
        yield scene
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def talkers(
    fronts: Sequence[Front], *numbers: int, first: NodeAddress | None = None
) -> AsyncIterator[list[Talker]]:
    """Nodes that talk, each at another front first, or all at the one that is given."""
    addresses, found = [front.address for front in fronts], list[Talker]()
    async with trio.open_nursery() as nursery:

        async def talk(number: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            at = number % max(1, len(addresses))
            before = () if first is None else (first,)
            async with talking(number, *before, *addresses[at:], *addresses[:at]) as talker:
                found.append(talker)
                task_status.started()
                await trio.sleep_forever()

        for number in numbers:
            await nursery.start(talk, number)
        yield found
        nursery.cancel_scope.cancel()


@pytest.mark.scale
@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_an_engine_that_is_killed_again_and_again(engine: Server, fsync: str) -> None:
    """With `always` nobody notices. With `everysec` it may lose a tail: then sessions are over, and none has a hole."""
    chance = random.Random(fsync)
    engine.start("--appendfsync", fsync)
    await engine.answers()
    async with (
        open_scene(engine.url, engine.url, engine.url) as scene,
        talkers(scene.fronts, *TALKERS) as scene.talkers,
    ):
        for _ in range(6):
            await scene.heard(chance.randrange(100, 400))
            engine.kill()
            engine.start("--appendfsync", fsync)
            await engine.answers()
        await scene.heard(100)
        await scene.finish()
        assert scene.ends <= (set() if fsync == "always" else {DisconnectCode.PEER_CLOSED})
        # A front that is the first to see the hole gives itself up.
        lost = {DisconnectCode.ENGINE_LOST, DisconnectCode.FRONT_LOST}
        assert {*scene.ledger.ends} <= (set() if fsync == "always" else lost)


async def test_an_engine_that_comes_back_empty(engine: Server) -> None:
    engine.start()
    await engine.answers()
    async with open_scene(engine.url, engine.url) as scene, talkers(scene.fronts, 2) as scene.talkers:
        await scene.heard(50)
        engine.kill()
        shutil.rmtree(engine.directory / "appendonlydir")
        engine.start()
        (talker,) = scene.talkers
        await comes(lambda: len(talker.said) > 1, "another session")
        assert talker.ends[0].by.name == "PEER"
        await scene.heard(50)
        await scene.finish()
        assert scene.ledger.ends == [DisconnectCode.ENGINE_LOST]


@pytest.mark.scale
@pytest.mark.parametrize("behind", [False, True], ids=["that has all", "that lacks the tail"])
async def test_an_engine_that_fails_over_to_a_replica(engine: Server, behind: bool) -> None:
    """With all of it nobody notices. Without the tail that is seen, and sessions are over; none has a hole."""
    engine.start()
    await engine.answers()
    way, link = Way(engine), Way(engine)
    with open_server(starts=False) as replica:
        async with trio.open_nursery() as nursery:
            await nursery.start(way.run)
            await nursery.start(link.run)
            replica.start("--replicaof", "127.0.0.1", link.url.rpartition(":")[2])
            async with open_scene(way.url, way.url) as scene, talkers(scene.fronts, *TALKERS) as scene.talkers:
                await scene.heard(100)
                while await say(engine, ("WAIT", "1", "1000")) != [b":1"]:  # noqa: ASYNC110
                    await trio.sleep(0.02)
                if behind:
                    link.cut()
                await scene.heard(200)
                way.cut()
                if not behind:
                    assert await say(engine, ("WAIT", "1", "60000")) == [b":1"]
                engine.kill()
                assert await say(replica, ("REPLICAOF", "NO", "ONE")) == [b"+OK"]
                way.server = replica
                way.mend()
                await scene.heard(300)
                await scene.finish()
                lost = {DisconnectCode.ENGINE_LOST, DisconnectCode.FRONT_LOST}
                assert bool(scene.ledger.ends) is behind
                assert {*scene.ledger.ends} <= lost
            nursery.cancel_scope.cancel()


@pytest.mark.scale
async def test_an_engine_that_is_frozen(engine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the lease nobody is ended, for it was the engine; past the grace everybody is."""
    monkeypatch.setattr("triolight.cluster.redis.CALL_SECONDS", 0.5)
    engine.start()
    await engine.answers()
    async with (
        open_scene(engine.url, engine.url, engine.url, lease=1, engine_grace=4) as scene,
        talkers(scene.fronts, *TALKERS) as scene.talkers,
    ):
        await scene.heard(100)
        engine.signal(signal.SIGSTOP)
        await trio.sleep(1.5)
        engine.signal(signal.SIGCONT)
        await scene.heard(300)
        assert (scene.ends, scene.ledger.ends) == (set(), [])
        engine.signal(signal.SIGSTOP)
        await comes(lambda: len(scene.ledger.ends) == len(TALKERS), "the back gives up")
        await comes(lambda: all("ENGINE_LOST" in front.told for front in scene.fronts), "the fronts give up")
        engine.signal(signal.SIGCONT)
        await comes(lambda: all(len(talker.said) > 1 for talker in scene.talkers), "other sessions")
        await scene.heard(100)
        await scene.finish()
        assert {*scene.ledger.ends} == {DisconnectCode.ENGINE_LOST}


@pytest.mark.scale
@pytest.mark.parametrize("what", ["cut", "there", "back"])
async def test_a_front_without_its_engine(engine: Server, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Cut off, or not heard, or not answered: nobody notices what is short; past the lease that front alone is over."""
    monkeypatch.setattr("triolight.cluster.redis.CALL_SECONDS", 0.5)
    chance = random.Random(what)
    engine.start()
    await engine.answers()
    way = Way(engine)
    async with trio.open_nursery() as nursery:
        await nursery.start(way.run)

        def fail() -> None:
            if what == "cut":
                way.cut()
            else:
                way.close(what)

        async with (
            open_scene(engine.url, way.url, engine.url, lease=4, engine_grace=5) as scene,
            talkers(scene.fronts, *TALKERS) as scene.talkers,
        ):
            for _ in range(3):
                await scene.heard(chance.randrange(50, 200))
                fail()
                await trio.sleep(0.7)
                way.mend()
            await scene.heard(100)
            assert (scene.ends, scene.ledger.ends) == (set(), [])
            fail()
            await comes(lambda: {*scene.back.fronts} == {"front-1"}, "the front is given up")
            await comes(lambda: len(scene.fronts[0].told) > 1, "the front gives up")
            way.mend()
            await comes(lambda: {*scene.back.fronts} == {"front-0", "front-1"}, "the front is back")
            ended = [talker for talker in scene.talkers if talker.ends]
            await scene.heard(100)
            await scene.finish()
            # The other front's never noticed.
            assert 0 < len(ended) < len(TALKERS)
            # A front that hears no answer is not silent: by the time it gives up, its peers are at the other front.
            assert {*scene.ledger.ends} <= {
                DisconnectCode.FRONT_LOST,
                *([DisconnectCode.DUPLICATE] if what == "back" else []),
            }
        nursery.cancel_scope.cancel()


@pytest.mark.scale
@pytest.mark.parametrize("what", ["cut", "there", "back"])
async def test_a_back_without_its_engine(engine: Server, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """As above; past the engine's grace its peers are over, and past the back's grace its fronts say so to theirs."""
    monkeypatch.setattr("triolight.cluster.redis.CALL_SECONDS", 0.5)
    engine.start()
    await engine.answers()
    way = Way(engine)
    async with trio.open_nursery() as nursery:
        await nursery.start(way.run)
        async with (
            open_scene(way.url, engine.url, engine_grace=3, back_grace=3) as scene,
            talkers(scene.fronts, *TALKERS) as scene.talkers,
        ):
            for _ in range(3):
                await scene.heard(100)
                if what == "cut":
                    way.cut()
                else:
                    way.close(what)
                await trio.sleep(0.7)
                way.mend()
            await scene.heard(100)
            assert (scene.ends, scene.ledger.ends) == (set(), [])
            way.cut()
            await comes(lambda: len(scene.ledger.ends) == len(TALKERS), "the back gives up")
            await comes(lambda: all(talker.ends for talker in scene.talkers), "the front gives up")
            await comes(lambda: all(len(talker.ends) > 2 for talker in scene.talkers), "nobody is let in")
            assert all("decides here is away" in talker.ends[2].message for talker in scene.talkers)
            way.mend()
            await scene.heard(100)
            await scene.finish()
            assert {*scene.ledger.ends} == {DisconnectCode.ENGINE_LOST}
            assert "BACK_LOST" in scene.fronts[0].told
        nursery.cancel_scope.cancel()


@pytest.mark.scale
async def test_an_engine_that_is_far_away(engine: Server) -> None:
    """Each call takes its time: batches are larger, and nothing else."""
    engine.start()
    await engine.answers()
    way = Way(engine)
    way.delay = 0.02
    async with trio.open_nursery() as nursery:
        await nursery.start(way.run)
        async with open_scene(way.url, way.url) as scene, talkers(scene.fronts, 2) as scene.talkers:
            await scene.heard(100)
            await scene.finish()
            assert (scene.ends, scene.ledger.ends) == (set(), [])
        nursery.cancel_scope.cancel()


@pytest.mark.scale
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_fronts_that_die_or_are_frozen_at_any_moment(
    engine: Server, tmp_path: Path, number: signal.Signals
) -> None:
    """What was appended is heard; the rest went with it; its peers go on at the other front. Frozen, it says nothing
    when it wakes that is heard."""
    chance = random.Random(number)
    engine.start()
    await engine.answers()
    key = tmp_path / "key"
    key.write_text(secret(1).hex())
    key.chmod(0o600)
    asked = ("front", "--engine", engine.url, "--secret-file", key, "--port", "0", "--json", "--id")
    async with open_scene(engine.url, engine.url, lease=1) as scene:
        for turn in range(3):
            with Running(*asked, f"mortal-{turn}") as front:
                first = json.loads(await trio.to_thread.run_sync(front.line, "listening"))
                there = NodeAddress(identity(1), first["host"], first["port"])
                async with talkers(scene.fronts, *TALKERS, first=there) as scene.talkers:
                    await scene.heard(chance.randrange(50, 300))
                    front.interrupt(number)
                    await comes(lambda: len(scene.ledger.ends) == len(TALKERS), "the front is given up")
                    # Whose connection is broken has come to the other front by then.
                    moved = [DisconnectCode.DUPLICATE] if number is signal.SIGKILL else []
                    assert {*scene.ledger.ends} <= {DisconnectCode.FRONT_LOST, *moved}
                    if number is signal.SIGSTOP:
                        front.interrupt(signal.SIGCONT)
                    await comes(lambda: all(len(talker.said) > 1 for talker in scene.talkers), "other sessions")
                    await scene.heard(100)
                    await scene.finish()
                await comes(lambda: not scene.back.peers and not scene.ledger.present, "their ends")
                scene.forget()


@pytest.mark.scale
async def test_backs_that_are_killed_at_any_moment(engine: Server) -> None:
    """The next one begins with nobody; everybody hears why, and comes again."""
    chance = random.Random(1)
    engine.start()
    await engine.answers()
    async with trio.open_nursery() as nursery:
        backs: list[Back] = []

        async def begin() -> None:
            backs.append(Back(engine.url, 1))
            await nursery.start(backs[-1].run)
            await comes(lambda: backs[-1].entered == 1, "a back")

        await begin()
        fronts = await start_fronts(nursery, engine.url, engine.url)
        async with talkers(fronts, *TALKERS) as those:
            for _ in range(3):
                wanted = chance.randrange(50, 250)
                await comes(lambda wanted=wanted: backs[-1].ledger.all > wanted, "messages")  # type: ignore[misc]
                sessions = [len(talker.said) for talker in those]
                backs[-1].signal(signal.SIGKILL)
                await begin()
                before = zip(those, sessions, strict=True)
                await comes(lambda before=[*before]: all(len(one.said) > old for one, old in before), "others")  # type: ignore[misc]
            for talker in those:
                await talker.heard_by(backs[-1].ledger)
                assert "has started anew" in talker.ends[0].message
                assert (talker.answers.lost, talker.answers.doubled) == (0, 0)
            assert [(one.ledger.lost, one.ledger.doubled) for one in backs] == [(0, 0)] * 4
            # No session goes on with another back.
            heard = [session for one in backs for session in one.ledger.heard]
            assert len(heard) == len({*heard})
        nursery.cancel_scope.cancel()


@pytest.mark.scale
async def test_backs_that_resume_and_are_killed_at_any_moment(engine: Server) -> None:
    """Nobody is ended and nothing is missing; what was heard and not committed is heard again."""
    chance = random.Random(2)
    engine.start()
    await engine.answers()
    ledger = Ledger()
    async with trio.open_nursery() as nursery:

        async def begin() -> Back:
            back = Back(engine.url, 1, ledger, sessions="resume")
            await nursery.start(back.run)
            await comes(lambda: back.entered == 1, "a back")
            return back

        back = await begin()
        fronts = await start_fronts(nursery, engine.url, engine.url)
        async with talkers(fronts, *TALKERS) as those:
            for _ in range(3):
                wanted = ledger.all + chance.randrange(400, 700)
                await comes(lambda wanted=wanted: ledger.all > wanted, "messages")  # type: ignore[misc]
                back.signal(signal.SIGKILL)
                back = await begin()
            wanted = ledger.all + 300
            await comes(lambda: ledger.all > wanted, "more")
            for talker in those:
                await talker.heard_by(ledger)
                assert (len(talker.said), talker.ends) == (1, [])
            assert ledger.lost == 0
            # No more than was on its way, each time.
            assert ledger.doubled <= 3 * len(TALKERS) * WINDOW
        nursery.cancel_scope.cancel()


@pytest.mark.scale
async def test_a_back_that_resumes_and_is_frozen_has_no_say_any_more(engine: Server) -> None:
    """Nobody is ended: another one goes on where it stood. When it wakes it commits nothing, and answers nobody."""
    engine.start()
    await engine.answers()
    first, second = (Back(engine.url, 1, sessions="resume") for _ in range(2))
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await comes(lambda: first.entered == 1, "the first")
        fronts = await start_fronts(nursery, engine.url, engine.url)
        async with talkers(fronts, *TALKERS) as those:
            await comes(lambda: first.ledger.all > 300, "messages")
            await nursery.start(second.run)
            first.signal(signal.SIGSTOP)
            await comes(lambda: second.ledger.all > 100, "the second")
            heard = first.ledger.all
            first.signal(signal.SIGCONT)
            await comes(lambda: first.over == "BACK_RESTARTED", "the first is over")
            wanted = second.ledger.all + 100
            await comes(lambda: second.ledger.all > wanted, "more")
            for talker in those:
                await talker.heard_by(second.ledger)
                assert (len(talker.said), talker.ends) == (1, [])
                # What the first one has heard and not answered is answered by nobody: its reader was done with it.
                assert talker.answers.doubled + talker.answers.lost <= WINDOW
            # It took up each session where the first one had committed it, and that one heard little more.
            assert first.ledger.lost == second.ledger.doubled == 0
            assert first.ledger.all <= heard + len(TALKERS) * WINDOW
        nursery.cancel_scope.cancel()


@pytest.mark.scale
async def test_two_backs_of_which_one_waits_and_a_frozen_one_has_no_say(engine: Server) -> None:
    engine.start()
    await engine.answers()
    async with trio.open_nursery() as nursery:
        first, second = Back(engine.url, 1), Back(engine.url, 1)
        await nursery.start(first.run)
        await comes(lambda: first.entered == 1, "the first")
        fronts = await start_fronts(nursery, engine.url)
        async with talkers(fronts, *TALKERS) as those:
            await nursery.start(second.run)
            heard = 0
            for _ in range(3):  # leases go by
                await trio.sleep(1)
                assert first.ledger.all > heard
                heard = first.ledger.all
            assert second.entered == 0
            first.signal(signal.SIGSTOP)
            await comes(lambda: second.ledger.all > 100, "the second")
            first.signal(signal.SIGCONT)
            await comes(lambda: first.over == "BACK_RESTARTED", "the first is over")
            for talker in those:
                await talker.heard_by(second.ledger)
            for ledger in (first.ledger, second.ledger, *(talker.answers for talker in those)):
                assert (ledger.lost, ledger.doubled) == (0, 0)
            assert not first.ledger.heard.keys() & second.ledger.heard.keys()
        nursery.cancel_scope.cancel()


@pytest.mark.scale
async def test_an_engine_that_is_full(engine: Server) -> None:
    """Nothing is taken while it has no room, however long that is, and nothing is lost."""
    engine.start()
    await engine.answers()
    client: coredis.Redis[bytes] = coredis.Redis.from_url(engine.url)
    async with (
        client,
        open_scene(engine.url, engine.url, lease=1, engine_grace=2) as scene,
        talkers(scene.fronts, 2) as scene.talkers,
    ):
        await scene.heard(50)
        await client.config_set({"maxmemory": "1mb"})
        (talker,) = scene.talkers
        talker.size = 1000
        await trio.sleep(4)
        heard = scene.ledger.all
        await trio.sleep(0.2)
        assert scene.ledger.all == heard
        await client.config_set({"maxmemory": "0"})
        await scene.heard(50)
        await scene.finish()
        assert (scene.ends, scene.ledger.ends) == (set(), [])


async def test_an_engine_that_begins_to_throw_away(engine: Server, tmp_path: Path) -> None:
    """No front comes to it any more."""
    engine.start()
    await engine.answers()
    client: coredis.Redis[bytes] = coredis.Redis.from_url(engine.url)
    async with client, open_scene(engine.url):
        await client.config_set({"maxmemory": "100mb", "maxmemory-policy": "volatile-ttl"})
        with pytest.raises(ValueError, match="is volatile-ttl"):
            async with open_peer_nursery(make_manager(1)) as peers:
                await run_front(peers, engine.url, id="one")


@pytest.mark.scale
@pytest.mark.parametrize("number", [2, 6], ids=["the smaller node id", "the larger one"])
async def test_dials_that_cross_at_two_fronts(engine: Server, number: int) -> None:
    """One of both connections is left, and works: whoever loses it waits for the other one, on either side."""
    assert (identity(number) < identity(1)) is (number == 2)
    engine.start()
    await engine.answers()
    async with (
        open_scene(engine.url, engine.url, engine.url) as scene,
        open_peer_nursery(make_manager(number)) as far,
        far.subscribe(Note) as inbox,
    ):
        here = NodeAddress(identity(number), "127.0.0.1", await port_of(far))

        async def from_us() -> None:
            with suppress(ConnectError):
                await scene.back.connect(here)

        async def from_them(front: Front) -> None:
            with suppress(ConnectError):
                await far.connect(front.address)

        def settled() -> bool:
            return len(far.peers) == len(scene.back.peers) == sum(len(one.peers.peers) for one in scene.fronts) == 1

        async def works(words: bytes) -> None:
            """Says them until they are heard: who waited behind the one that is left may yet take its place."""
            while True:
                for peer in scene.back.peers.values():
                    with suppress(PeerClosed):
                        await peer.send(Note(payload=words))
                with trio.move_on_after(1):
                    async for _, note in inbox:
                        if note.payload == words:
                            return

        for turn in range(4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(from_us)
                nursery.start_soon(from_them, scene.fronts[1 - turn % 2])
                nursery.start_soon(from_them, scene.fronts[turn % 2])
            await comes(settled, "one connection")
            with trio.fail_after(50):
                await works(b"%d 0" % turn)
            await comes(settled, "one connection that stays")
            with trio.fail_after(50):
                while far.peers or scene.back.peers:
                    # Who waited behind it comes in when it goes.
                    for peer in scene.back.peers.values():
                        await peer.disconnect()
                    await trio.sleep(0.05)


@pytest.mark.scale
async def test_a_back_that_is_slow(engine: Server, tmp_path: Path) -> None:
    """Its peers are not read: nobody's memory grows, and nothing is lost."""
    engine.start()
    await engine.answers()
    key = tmp_path / "key"
    key.write_text(secret(1).hex())
    key.chmod(0o600)
    asked = ("front", "--engine", engine.url, "--secret-file", key, "--port", "0", "--json")
    back = Back(engine.url, 2, pause=0.02)
    async with trio.open_nursery() as nursery:
        await nursery.start(back.run)
        with Running(*asked) as front:
            first = json.loads(await trio.to_thread.run_sync(front.line, "listening"))
            there = NodeAddress(identity(1), first["host"], first["port"])
            async with talkers((), *TALKERS, first=there) as those:
                for talker in those:
                    talker.size, talker.window, talker.pause = 20_000, 1 << 30, 0
                await comes(lambda: back.ledger.all > 20, "messages")
                pids = (back.pid, front.process.pid)
                before = [memory_of(pid) for pid in pids]
                wanted = back.ledger.all + 400
                said = sum(sum(talker.said) for talker in those)
                await comes(lambda: back.ledger.all >= wanted, "more")
                assert [memory_of(pid) - old < 24 * 1024 * 1024 for pid, old in zip(pids, before, strict=True)] == [
                    True,
                    True,
                ]
                # What they can say is what is taken, and what the kernels' buffers hold.
                assert sum(sum(talker.said) for talker in those) - said < 400 + 3 * 1000
                assert all(len(talker.said) == 1 for talker in those)
                assert (back.ledger.lost, back.ledger.doubled) == (0, 0)
        nursery.cancel_scope.cancel()


def memory_of(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
