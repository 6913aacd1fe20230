"""Tapes: what happened to a manager happens again, to the message or to the byte; and who changes it hears of it."""

from __future__ import annotations

import json
import os
import random
import resource
import stat
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MESSAGES, ListLogger, Note, identity, join, make_manager, secret
from tests.support.tapes import KINDS, Talkative, commitment, kinds, played, said
from triolight import (
    Allowance,
    ErroringMessageHandler,
    Happening,
    KeptPeer,
    PeerClosed,
    Policy,
    QueueFull,
    Replay,
    Tape,
    open_peer_nursery,
)
from triolight.messages import (
    Init,
    NodeAnnouncement,
    Ping,
    Pong,
    UnknownMessage,
)
from triolight.tape.calls import CALLS
from triolight.tape.tape import Kind
from triolight.testing import Conditions, Deed, SimulatedNetwork, run_seeded, scripted_peer, seeds, strategies


@kinds
@pytest.mark.parametrize("last", [5, 6, 7])
async def test_what_handlers_answer_is_part_of_it(kind: Kind, last: int, tmp_path: Path, autojump_clock: Any) -> None:
    path = tmp_path / "tape"
    chan = Talkative()
    manager = chan.manager = make_manager(1, chan=chan)
    heard: list[bytes] = []

    async def main() -> None:
        async with (
            open_peer_nursery(manager, tape=Tape(path, kind=kind)) as peers,
            scripted_peer(peers, messages=MESSAGES) as peer,
        ):
            heard.append((await peer.exchange_inits()).encode())
            await peer.send(*[commitment(one) for one in range(5)], Ping(num_pong_bytes=3))
            while heard[-1] != Pong(ignored=bytes(3)).encode():
                one = await peer.receive()
                assert one is not None
                heard.append(one.encode())
            await peer.send(commitment(last))
            heard.extend([one.encode() for one in await peer.expect_closed()])

    if last == 7:
        with pytest.RaisesGroup(RuntimeError, flatten_subgroups=True):
            await main()
    else:
        await main()
    happenings = played(path)
    # A bug in a handler ends the block, and the script in it, before it has heard the end.
    sent = said(happenings, "sent")
    assert sent[: len(heard) if last == 7 else None] == heard
    assert any(b"pushed" in one for one in sent)
    assert any(b"from inside" in one for one in sent)
    answers = [one.words for one in happenings if one.what == "answer"]
    assert any("SendWarningMessage" in one for one in answers)
    assert any("raised RuntimeError: a handler with a bug" in one for one in answers) == (last == 7)
    features = [Init.decode(one).features for one in heard[:1]]
    assert features == [chan.provided_init_features(b"").to_bytes()]


@kinds
async def test_an_announcement_passes_by_a_peer_without_room(kind: Kind, tmp_path: Path, autojump_clock: Any) -> None:
    path = tmp_path / "tape"
    manager = make_manager(1)
    async with (
        open_peer_nursery(manager, tape=Tape(path, kind=kind)) as peers,
        scripted_peer(peers, secret=secret(2)) as full,
        scripted_peer(peers, secret=secret(3)) as other,
    ):
        await full.exchange_inits()
        await other.exchange_inits()
        while True:
            try:
                manager.send_message(full.node_id, UnknownMessage(50001, bytes(60_000)))
            except QueueFull:
                break
            await trio.sleep(0.01)
        announced = manager.broadcast_node_announcement(bytes(3), b"x")
        assert await other.expect(NodeAnnouncement) == announced
        await full.send(Ping(num_pong_bytes=3))
        got = [await full.receive()]
        while got[-1] != Pong(ignored=bytes(3)):
            got.append(await full.receive())
        assert announced not in got
    sent = [one.node_id for one in played(path) if one.what == "sent" and one.message == announced.encode()]
    assert sent == [other.node_id]


async def conversation(seed: int, tapes: dict[int, Tape]) -> str:
    """Two minutes of three nodes on a bad network that is parted for a while, with slow subscribers, peers that
    cost too much, and strangers with garbage. Returns the network's transcript."""
    network = SimulatedNetwork(seed, Conditions(latency=0.02, jitter=0.05, mean_lifetime=60, bandwidth=100_000))
    numbers = (1, 2, 3)
    hosts = {number: network.host(f"192.0.2.{number}") for number in numbers}

    async def live(number: int) -> None:
        manager = make_manager(number)
        async with (
            open_peer_nursery(
                manager,
                dial=hosts[number].dial,
                policy=Policy(
                    allowance=Allowance(per_second=5_000, burst=20_000),
                    duplicates="oldest" if number == 3 else "newest",
                ),
                jitter=random.Random(number),
                tape=tapes.get(number),
            ) as peers,
            peers.subscribe(Note, buffer_bytes=2_000) as notes,
            trio.open_nursery() as nursery,
        ):
            await peers.listen_on(await hosts[number].listen())
            for other in numbers:
                if other != number:
                    kept = peers.keep(f"{identity(other).hex()}@192.0.2.{other}:9735")
                    nursery.start_soon(talk, kept, random.Random(f"{seed} {number} {other}"))
            async for peer, note in notes:
                await trio.sleep(0.2)
                if len(note.payload) % 5 == 0 and peer.node_id in manager.get_peer_node_ids():
                    with suppress(QueueFull):
                        manager.send_message(peer.node_id, Note(payload=note.payload + b"!"))

    async def talk(kept: KeptPeer, rng: random.Random) -> None:
        while (peer := await kept.wait_connected()) is not None:
            try:
                for _ in range(rng.randrange(1, 30)):
                    match rng.randrange(4):
                        case 0:
                            await peer.ping(rng.choice((0, 5, 40_000)))
                        case 1 if rng.random() < 0.2:
                            await peer.send(*[UnknownMessage(50003, bytes(60_000))] * 4)
                        case 1:
                            await peer.send(UnknownMessage(50001, bytes(rng.randrange(300))))
                        case _:
                            await peer.send(*[Note(payload=bytes(rng.randrange(400)))] * rng.randrange(1, 5))
                    await trio.sleep(rng.random())
                await peer.disconnect("for a change")
            except PeerClosed:
                pass

    async def throw_garbage(rng: random.Random) -> None:
        host = network.host("192.0.2.66")
        while True:
            await trio.sleep(rng.uniform(1, 10))
            try:
                async with await host.dial(f"192.0.2.{rng.choice(numbers)}", 9735) as stream:
                    await stream.send_all(rng.choice((b"", bytes(3), b"\1")) + rng.randbytes(rng.choice((0, 50, 200))))
                    await stream.receive_some(100)
            except (OSError, trio.BrokenResourceError):
                pass

    with trio.move_on_after(120):
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(live, number)
            nursery.start_soon(throw_garbage, random.Random(seed))
            await trio.sleep(40)
            network.partition([hosts[1]])
            await trio.sleep(30)
            network.heal()
    return network.transcript()


@pytest.mark.parametrize("seed", seeds(3))
def test_what_happened_happens_again(seed: int, tmp_path: Path) -> None:
    untaped = run_seeded(seed, conversation, seed, {})
    told: dict[Kind, list[list[Happening]]] = {}
    for kind in KINDS:
        paths = {number: tmp_path / f"{kind} {number}" for number in (1, 2, 3)}
        tapes = {number: Tape(path, kind=kind) for number, path in paths.items()}
        assert run_seeded(seed, conversation, seed, tapes) == untaped, "the tape has changed what it records"
        assert [one.fault for one in tapes.values()] == [None] * 3
        told[kind] = [played(path) for path in paths.values()]
    assert told["messages"] == told["with_secrets"]
    for happenings in told["messages"]:
        what = {one.what for one in happenings}
        assert what == {"accepted", "call", "connected", "dialled", "ended", "handshake", "received", "sent", "tape"}
        assert len(said(happenings, "received")) > 100
    lines = [line for number in (1, 2, 3) for line in (tmp_path / f"messages {number}").read_text().splitlines()]
    calls = {one["call"] for one in map(json.loads, lines) if "call" in one}
    assert calls >= {"continue_reading", "end_throttle", "hold_reading", "write_buffer_space_avail"}, calls


@given(
    misdeeds=st.lists(strategies.misbehaviour(MESSAGES, max_size=6), min_size=1, max_size=3), seed=st.integers(0, 99)
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_peers_that_misbehave_are_on_tape_and_harm_nobody(
    misdeeds: list[list[Deed]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("tapes")

    async def main(kind: Kind) -> None:
        manager = make_manager(1, chan=ErroringMessageHandler())
        async with (
            open_peer_nursery(manager, tape=Tape(directory / kind, kind=kind)) as peers,
            open_peer_nursery(make_manager(2)) as honest,
        ):
            to_us, to_honest = await join(honest, peers)
            before = peers.statistics()

            async def misbehave(at: int, deeds: list[Deed]) -> None:
                async with scripted_peer(
                    peers, messages=MESSAGES, secret=secret(10 + at), ephemeral=secret(20 + at), seed=seed + at
                ) as peer:
                    await peer.do(*deeds)

            async with trio.open_nursery() as nursery:
                for at, deeds in enumerate(misdeeds):
                    nursery.start_soon(misbehave, at, deeds)
            assert await to_us.ping() >= 0
            assert peers.peers[identity(2)] is to_honest
            await to_us.disconnect()
            await trio.sleep(700)
            assert not peers.peers
            after = peers.statistics()
            ended = sum(after.disconnects.values()) + sum(after.handshake_failures.values())
            assert ended == len(misdeeds) + 1, "every connection has an end, and every end a reason"
            assert after.queued_bytes == 0 == before.strangers - after.strangers

    for kind in KINDS:
        run_seeded(seed, main, kind)
    assert played(directory / "messages") == played(directory / "with_secrets")


# The file
async def test_a_tape_overwrites_nothing_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "tape"
    path.write_text("precious")
    manager = make_manager(1)
    with pytest.raises(FileExistsError):
        async with open_peer_nursery(manager, tape=Tape(path)):
            pass
    assert path.read_text() == "precious"
    path.unlink()
    async with open_peer_nursery(manager, tape=Tape(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "Private: " in path.read_text()
    assert vars(manager).keys().isdisjoint(CALLS)
    header = json.loads(path.read_text().splitlines()[0])
    assert header["private"].startswith("Private: ")
    with pytest.raises(ValueError, match="'messages' or 'with_secrets'"):
        Tape(path, kind="everything")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("umask", [0, 0o77, 0o277, 0o777])
async def test_a_tapes_mode_is_nobodys_umask(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "tape"
    before = os.umask(umask)
    try:
        async with open_peer_nursery(make_manager(1), tape=Tape(path)):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_tape_ends_at_its_limit_and_the_peer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "tape"
    log = ListLogger()
    tape = Tape(path, limit_bytes=20_000)
    async with (
        open_peer_nursery(make_manager(1, logger=log), tape=tape) as near,
        open_peer_nursery(make_manager(2)) as far,
    ):
        to_far, to_near = await join(near, far)
        async with to_near.subscribe(Note) as notes:
            for at in range(30):
                await to_far.send(Note(payload=bytes(500)))
                assert len((await anext(notes)).payload) == 500, at
        assert await to_far.ping() > 0
    assert "its limit of 20000 bytes" in log
    assert tape.fault is not None
    assert 20_000 < path.stat().st_size < 25_000
    happenings = played(path)
    assert happenings[-1].words == "its limit was reached"
    assert 5 < len(said(happenings, "sent")) < 30


async def test_a_disk_that_is_full_ends_the_tape_and_not_the_peer(tmp_path: Path) -> None:
    path = tmp_path / "tape"
    log = ListLogger()
    tape = Tape(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with (
        open_peer_nursery(make_manager(1, logger=log), tape=tape) as near,
        open_peer_nursery(make_manager(2)) as far,
    ):
        to_far, _ = await join(near, far)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            for _ in range(20):
                await to_far.send(Note(payload=bytes(1_000)))
                assert await to_far.ping() > 0
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert tape.fault == f"{path}: File too large"
    assert "the tape ends" in log
    assert said(played(path), "sent"), "what was written before can be read"


def test_a_process_that_is_killed_leaves_a_tape(tmp_path: Path) -> None:
    path = tmp_path / "tape"
    program = f"""
        import os, signal, trio
        from tests.support import Note, join, make_manager
        from triolight import Tape, open_peer_nursery

        async def main():
            tape = Tape({str(path)!r}, kind="with_secrets")
            async with open_peer_nursery(make_manager(1), tape=tape) as near, open_peer_nursery(make_manager(2)) as far:
                to_far, to_near = await join(near, far)
                async with to_far.subscribe(Note) as notes:
                    await to_near.send(Note(payload=b"the last word"))
                    await anext(notes)
                os.kill(os.getpid(), signal.SIGKILL)

        trio.run(main)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=Path(__file__).parent.parent.parent, check=False
    )
    assert ended.returncode == -9
    replay = Replay(path, messages=MESSAGES)
    happenings = list(replay)
    assert replay.ended is None
    assert happenings[-1].words.startswith("no end: its process was stopped")
    assert any(one.what == "connected" for one in happenings)
