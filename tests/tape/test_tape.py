"""Tapes: what happened to a manager happens again, to the message or to the byte; and who changes it hears of it."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import random
import resource
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MESSAGES, ListLogger, Note, Order, identity, join, make_manager, secret
from triolight import (
    Allowance,
    ChannelMessageHandler,
    ConnectError,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    ErroringMessageHandler,
    Features,
    HandleError,
    Happening,
    IgnoreAndLog,
    KeptPeer,
    Level,
    PeerClosed,
    PeerHandleError,
    PeerManager,
    Policy,
    QueueFull,
    Replay,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    Tape,
    TapeError,
    TapeMismatch,
    UpdateHtlcs,
    open_peer_nursery,
)
from triolight.messages import (
    ChannelReady,
    CommitmentSigned,
    Error,
    Init,
    NodeAnnouncement,
    OpenChannel,
    Ping,
    Pong,
    UnknownMessage,
    UpdateAddHtlc,
    Warning,
)
from triolight.tape.calls import CALLS
from triolight.tape.tape import Kind
from triolight.testing import Conditions, Deed, SimulatedNetwork, run_seeded, scripted_peer, seeds, strategies

KINDS: tuple[Kind, ...] = ("messages", "with_secrets")
kinds = pytest.mark.parametrize("kind", KINDS)


def played(path: Path, **options: Any) -> list[Happening]:
    return list(Replay(path, messages=MESSAGES, **options))


def said(happenings: list[Happening], what: str) -> list[bytes]:
    return [one.message for one in happenings if one.what == what]


def test_every_call_that_changes_a_manager_is_on_the_tape() -> None:
    asks = {
        "broadcast_node_announcement",  # by broadcast_encoded
        "connection_counts",
        "drive",
        "events_dropped",
        "get_peer_node_ids",
        "list_peers",
        "logger",
        "messages",
        "our_node_id",
        "over_budget",
        "peer_by_node_id",
        "protects",
        "queued_bytes",
        "release",
        "traffic",
        "unfinished",
        "work_done",
    }
    public = {name for name, _ in inspect.getmembers(PeerManager) if not name.startswith("_")}
    assert public == asks | {*CALLS}


class Talkative(ChannelMessageHandler):
    """Answers in every way there is, and calls the manager from inside."""

    def __init__(self) -> None:
        super().__init__()
        self.manager: PeerManager | None = None
        self.seen = 0

    def provided_init_features(self, node_id: bytes) -> Features:
        return super().provided_init_features(node_id) | Features.named("option_quiesce")

    def message_received(self, node_id: bytes) -> None:
        self.seen += 1

    def handle_open_channel(self, node_id: bytes, message: OpenChannel) -> SendErrorMessage:
        return SendErrorMessage(Error(channel_id=message.temporary_channel_id, data=b"not today"))

    def handle_commitment_signed(self, node_id: bytes, message: CommitmentSigned) -> Any:
        channel_id = message.channel_id
        match message.signature[0]:
            case 0:
                return SendWarningMessage(Warning(data=b"hm"), Level.INFO)
            case 1:
                return IgnoreAndLog(Level.INFO, "nothing of interest")
            case 2:
                self.push(SendMessages(node_id, UnknownMessage(54321, b"pushed"), Note(payload=b"as well")))
            case 3:
                add = UpdateAddHtlc(
                    channel_id=channel_id,
                    id=1,
                    amount_msat=5,
                    payment_hash=bytes(32),
                    cltv_expiry=9,
                    onion_routing_packet=bytes(1366),
                )
                self.push(
                    UpdateHtlcs(node_id=node_id, channel_id=channel_id, adds=(add,), commitment_signed=(message,))
                )
            case 4:
                if self.manager is not None:
                    self.manager.send_message(node_id, Note(payload=b"from inside"))
                    self.manager.disconnect_by_node_id(identity(9), "nobody")
            case 5:
                self.push(HandleError(node_id, DisconnectPeerWithWarning(Warning(data=b"enough"))))
            case 6:
                return DisconnectPeer()
            case _:
                raise RuntimeError("a handler with a bug")
        return None


def commitment(kind: int) -> CommitmentSigned:
    return CommitmentSigned(channel_id=bytes(32), signature=bytes([kind]) + bytes(63), htlc_signature=())


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


class Insists(ChannelMessageHandler):
    """Calls the manager from inside, in vain, and goes on as if nothing were."""

    manager: PeerManager

    def handle_channel_ready(self, node_id: bytes, message: ChannelReady) -> SendWarningMessage:
        with suppress(PeerHandleError):
            self.manager.send_message(identity(9), Note(payload=b"to nobody"))
        self.manager.send_message(node_id, Note(payload=b"to you"))
        return SendWarningMessage(Warning(data=b"hm"))


@kinds
async def test_a_call_from_inside_that_fails_is_over_when_it_has(
    kind: Kind, tmp_path: Path, autojump_clock: Any
) -> None:
    """What is asked and called after it belongs to who made it, not to it."""
    chan = Insists()
    manager = chan.manager = make_manager(1, chan=chan)
    tape = Tape(tmp_path / "tape", kind=kind)
    async with open_peer_nursery(manager, tape=tape) as peers, scripted_peer(peers, messages=MESSAGES) as peer:
        await peer.exchange_inits()
        await peer.send(ChannelReady(channel_id=bytes(32), second_per_commitment_point=identity(1)), Ping())
        heard = [await peer.expect(Note), await peer.expect(Warning)]
    sent = said(played(tape.path), "sent")
    assert [one for one in sent if one[:2] in (b"\0\1", Note.type.to_bytes(2, "big"))][:2] == [
        one.encode() for one in heard
    ]


class Odd(ChannelMessageHandler, RoutingMessageHandler):
    """Its answer to a channel_ready, and the events that it then has, in whatever form."""

    def __init__(self, answer: Any, events: Callable[[bytes], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.events = events
        self.due: Any = ()

    def handle_channel_ready(self, node_id: bytes, message: ChannelReady) -> Any:
        self.due = self.events(node_id)
        return self.answer

    def get_and_clear_pending_msg_events(self) -> Any:
        due, self.due = self.due, ()
        return due


async def odd_life(odd: Odd, tape: Tape | None) -> tuple[list[bytes], str]:
    """What a peer hears of a node with this handler, and what leaves the node's block."""
    heard: list[bytes] = []
    raised = ""
    try:
        async with (
            open_peer_nursery(make_manager(1, chan=odd, route=odd), tape=tape) as peers,
            scripted_peer(peers, messages=MESSAGES) as peer,
        ):
            heard.append((await peer.exchange_inits()).encode())
            ready = ChannelReady(channel_id=bytes(32), second_per_commitment_point=identity(1))
            await peer.send(ready, Ping(num_pong_bytes=3))
            while (one := await peer.receive()) is not None:
                heard.append(one.encode())
                if one == Pong(ignored=bytes(3)):
                    break
    except* (AttributeError, TypeError, RuntimeError) as group:
        raised = repr(group.exceptions)
    return heard, raised


def note(node_id: Any, payload: Any = b"an event") -> SendMessages:
    return SendMessages(node_id, Note(payload=payload))


def until_it_breaks(node_id: bytes) -> Iterator[SendMessages]:
    yield note(node_id)
    raise RuntimeError("an iterator with a bug")


def unchecked(cls: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return cls(*arguments, **named)


class NeitherTrueNorFalse:
    def __bool__(self) -> bool:
        raise TypeError("it depends")


class Refusal(DisconnectPeer):
    """Of an application's own kind."""


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        *((answer, lambda node_id: ()) for answer in (0, 1, "yes", b"", [], object(), Error(data=b"no action"))),
        (NeitherTrueNorFalse(), lambda node_id: ()),
        (Refusal(reason="one of its own"), lambda node_id: ()),
        (unchecked(DisconnectPeer, reason=b"\xff bytes"), lambda node_id: ()),
        (unchecked(DisconnectPeer, reason=5), lambda node_id: ()),
        (unchecked(DisconnectPeer, Ping()), lambda node_id: ()),
        (unchecked(SendErrorMessage, b"no message"), lambda node_id: ()),
        (unchecked(SendWarningMessage, Warning(data=b"hm"), 7), lambda node_id: ()),
        (None, lambda node_id: iter([note(node_id), note(node_id, b"another")])),
        (None, lambda node_id: (note(node_id, payload) for payload in (b"one", b"two"))),
        (None, until_it_breaks),
        (None, lambda node_id: None),
        (None, lambda node_id: [note(node_id), 5]),
        (None, lambda node_id: [note("somebody"), note(node_id)]),
        (None, lambda node_id: [note(bytearray(node_id))]),
        (None, lambda node_id: [note(node_id, 5)]),
        (None, lambda node_id: [unchecked(SendMessages, node_id, 5)]),
        (None, lambda node_id: [unchecked(HandleError, node_id, 5), note(node_id)]),
    ],
)
@kinds
def test_a_tape_changes_nothing_for_an_odd_handler(kind: Kind, answer: Any, events: Any, tmp_path: Path) -> None:
    path = tmp_path / "tape"
    without = run_seeded(0, odd_life, Odd(answer, events), None)
    heard, raised = run_seeded(0, odd_life, Odd(answer, events), Tape(path, kind=kind))
    assert (heard, raised) == without
    sent = said(played(path), "sent")
    assert sent[: len(heard)] == heard


@kinds
async def test_a_call_that_no_tape_can_hold_gets_the_managers_own_answer(
    kind: Kind, tmp_path: Path, autojump_clock: Any
) -> None:
    path = tmp_path / "tape"
    manager: Any = make_manager(1)
    async with open_peer_nursery(manager, tape=Tape(path, kind=kind)) as peers, scripted_peer(peers) as peer:
        await peer.exchange_inits()
        await peer.send(Ping(num_pong_bytes=1))
        await peer.expect(Pong)
        node_id = peer.node_id
        with pytest.raises(PeerHandleError):
            manager.send_message("somebody", Note(payload=b""))
        with pytest.raises(ValueError, match="70002"):
            manager.send_message(node_id, Note(payload=bytes(70_000)))
        with pytest.raises(AttributeError, match="encode"):
            manager.send_message(node_id, 5)
        with pytest.raises(TypeError, match="disconnect_by_node_id"):
            manager.disconnect_by_node_id()
        with pytest.raises(TypeError, match="subscriptable"):
            manager.disconnect_by_node_id(node_id, 5)
        manager.disconnect_by_node_id("somebody", object())
        manager.disconnect_by_node_id(node_id, b"\xff bytes")
        await peer.expect_closed("xff bytes")
    (ended,) = [one.words for one in played(path) if one.what == "ended"]
    assert "xff bytes" in ended


class Both(ChannelMessageHandler, RoutingMessageHandler):
    """One object in two places. It broadcasts from inside, or pushes a message that fits and one that no wire takes."""

    def __init__(self) -> None:
        super().__init__()
        self.manager: PeerManager | None = None

    def handle_commitment_signed(self, node_id: bytes, message: CommitmentSigned) -> None:
        if self.manager is not None and message.signature[0] == 1:
            self.manager.broadcast_node_announcement(b"\1\2\3", b"from inside")
        else:
            self.push(SendMessages(node_id, Note(payload=b"fits"), Note(payload=bytes(70_000))))


@kinds
async def test_what_an_application_does_is_part_of_it(kind: Kind, tmp_path: Path, autojump_clock: Any) -> None:
    path = tmp_path / "tape"
    both = Both()
    manager = both.manager = make_manager(1, chan=both, route=both)
    tape = Tape(path, kind=kind)
    assert repr(tape) == f"<Tape {path}, {kind}>"
    async with open_peer_nursery(manager, tape=tape) as peers, scripted_peer(peers, messages=MESSAGES) as peer:
        peer.ignoring = (Ping,)
        await peer.exchange_inits()
        await peer.send(Ping(num_pong_bytes=1))
        await peer.expect(Pong)
        announced = manager.broadcast_node_announcement(b"\0\0\0", b"alias", [("192.0.2.1", 9735)])
        await peer.expect(announced)
        manager.send_message(peer.node_id, Note(payload=b"queued"))
        await peer.expect(Note(payload=b"queued"))
        await peer.send(commitment(1))
        inside = await peer.expect(NodeAnnouncement)
        await peer.send(commitment(0))
        assert (await peer.expect_closed("70002"))[:-1] == []
    happenings = played(path)
    sent = said(happenings, "sent")
    assert [one for one in sent if one[:2] == announced.encode()[:2]] == [announced.encode(), inside.encode()]
    assert Note(payload=b"queued").encode() in sent
    assert not any(b"fits" in one for one in sent)
    calls = [one.words for one in happenings if one.what == "call"]
    assert calls[:3] == ["broadcast_encoded", "send_message: 1", "broadcast_encoded"]


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


def outs(path: Path) -> bytes:
    records = (json.loads(line) for line in path.read_text().splitlines())
    return b"".join(bytes.fromhex(one["data"]) for one in records if "out" in one)


@kinds
@pytest.mark.parametrize("dials", [True, False])
async def test_only_the_full_kind_has_the_wire_and_the_secrets(
    kind: Kind, dials: bool, tmp_path: Path, autojump_clock: Any
) -> None:
    path = tmp_path / "tape"
    written: list[bytes] = []
    network = SimulatedNetwork(1, on_sent=lambda sent: written.append(sent.data) if sent.source[0] == "us" else None)
    ours, theirs = network.stream_pair(network.host("us"), network.host("them"))
    manager = make_manager(1)
    # What was dialled before the tape began has used up a key.
    async with open_peer_nursery(manager, dial=network.host("us").dial) as peers:
        with pytest.raises(ConnectError):
            await peers.connect(f"{identity(3).hex()}@them:9")
        await trio.sleep(1)
    async with (
        open_peer_nursery(manager, tape=Tape(path, kind=kind)) as near,
        open_peer_nursery(make_manager(2)) as far,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(near.attach, ours, identity(2) if dials else None)
        peer = await far.attach(theirs, None if dials else identity(1))
        await peer.send(Note(payload=b"something private"))
        assert await peer.ping(40_000) > 0
        await peer.disconnect()
    happenings = played(path)
    assert Note(payload=b"something private").encode() in said(happenings, "received")
    content = path.read_text()
    wire = b"".join(written)
    random_data = hashlib.sha256(b"ephemeral\1").digest()
    ephemeral = [hashlib.sha256(random_data + bytes([count]) + bytes(7)).digest() for count in range(3)]
    held = [one.hex() in content for one in (secret(1), random_data)]
    assert held == [kind == "with_secrets"] * 2
    assert not any(one.hex() in content for one in ephemeral)
    if kind == "with_secrets":
        assert outs(path) == wire
        assert len(wire) > 40_000
    else:
        assert not any(wire[at : at + 16].hex() in content for at in range(0, len(wire) - 16, 50))


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


# ---------------------------------------------------------------------------------------------------------------------
# What is wrong with a tape


def record(path: Path) -> None:
    """A tape of a peer that misbehaves: what it sends decodes, or does not, or is of a type that nobody knows."""

    async def main() -> None:
        chan = Talkative()
        manager = chan.manager = make_manager(1, chan=chan)
        async with (
            open_peer_nursery(manager, tape=Tape(path)) as peers,
            scripted_peer(peers, messages=MESSAGES) as peer,
        ):
            await peer.exchange_inits()
            await peer.send(commitment(0), commitment(2), commitment(4))
            await peer.send_raw(b"\1\0")  # no channel_announcement
            await peer.send(Ping(num_pong_bytes=3))
            while await peer.receive() != Pong(ignored=bytes(3)):
                pass
            await peer.send(Order(payload=b"x"), UnknownMessage(40000, b""))
            await peer.expect_closed("40000")

    run_seeded(0, main)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tape") / "tape"
    record(path)
    return path


def test_a_tape_may_end_anywhere(tape: Path, tmp_path: Path) -> None:
    """Its process was stopped: what it had written is played back."""
    content = tape.read_bytes()
    whole = played(tape)
    cut = tmp_path / "cut"
    header = content.index(b"\n") + 1
    lengths = set[int]()
    for size in [*range(header, len(content), 7), *(at + 1 for at in range(header, len(content)) if content[at] == 10)]:
        cut.write_bytes(content[:size])
        happenings = played(cut)
        lengths.add(len(happenings))
        assert happenings[:-1] == whole[: len(happenings) - 1]
        assert happenings[-1].what == "tape"
    assert len(lengths) >= 10
    for size in range(0, header, 50):
        cut.write_bytes(content[:size])
        with pytest.raises(TapeError, match=":1: "):
            played(cut)


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_tape_is_named_with_its_line(tape: Path, tmp_path: Path, data: st.DataObject) -> None:
    lines = tape.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[at])
    match data.draw(st.sampled_from(("byte", "drop", "twice", "value"))):
        case "byte":
            line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
        case "drop":
            line.clear()
        case "twice":
            line *= 2
        case _:
            record = json.loads(line)
            key = data.draw(st.sampled_from(sorted(record)))
            others: list[Any] = [None, -1, "", "zz", [], {}, 1 << 70, "00"]
            record[key] = data.draw(st.sampled_from(others))
            line = bytearray(json.dumps(record).encode() + b"\n")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"".join([*lines[:at], line, *lines[at + 1 :]]))
    for compare in (True, False):
        with suppress(TapeError):
            played(damaged, compare=compare)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("depth", [300, 900, 2_000, 100_000])
@pytest.mark.parametrize("key", ["call", "at", "is", "nth", "during", "message", "end"])
def test_a_deeply_nested_line_is_named(tape: Path, tmp_path: Path, depth: int, key: str) -> None:
    lines = tape.read_bytes().splitlines(keepends=True)
    at = max(number for number, line in enumerate(lines) if key in json.loads(line))
    record = json.loads(lines[at])
    record[key] = "deep"
    deep = b"[" * depth + b"]" * depth
    lines[at] = json.dumps(record).encode().replace(b'"deep"', deep) + b"\n"
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"".join(lines))
    for compare in (True, False):
        if depth == 100_000:
            with pytest.raises(TapeError, match=f":{at + 1}: not JSON"):
                played(damaged, compare=compare)
        else:
            with suppress(TapeError):  # it is JSON or not, as the Python has it
                played(damaged, compare=compare)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b"no\n",
        DEEP + b"\n",
        b'{"triolight_tape": 2, "kind": "messages"}\n',
        b'{"triolight_tape": 1, "kind": {}}\n',
        b'{"triolight_tape": 1, "kind": "messages", "messages": ' + DEEP + b"}\n",
        b'{"triolight_tape": 1, "kind": "messages", "messages": [{}]}\n',
    ],
)
def test_what_is_no_tape_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no tape"
    path.write_bytes(content)
    with pytest.raises(TapeError, match=":1: "):
        played(path)


def test_a_registry_that_lacks_messages_is_refused(tape: Path) -> None:
    with pytest.raises(TapeError, match=r"37913, 37914"):
        list(Replay(tape))


def test_a_manager_that_does_something_else_is_found_out(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triolight.manager.ending.MAX_WARNING_TEXT", 10)
    with pytest.raises(TapeMismatch, match=r"on the tape .* now ") as caught:
        played(tape)
    line = json.loads(tape.read_text().splitlines()[caught.value.line - 1])
    assert "message" in line
    changed = played(tape, compare=False)
    warnings = [one for one in said(changed, "sent") if one[:2] == b"\0\1" and b"unreadable" in one]
    assert [len(one) for one in warnings] == [2 + 32 + 2 + 10]


# ---------------------------------------------------------------------------------------------------------------------
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
