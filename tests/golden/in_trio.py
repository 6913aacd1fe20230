"""Lives of a manager that `open_peer_nursery` drives, on the mock clock: what the shell makes of peers, as it is now.

Each function is one life, and makes the tapes that it names. Seeds and keys are fixed, so that a life is the same
whenever it is lived.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio
import trio.testing

from tests.golden.driven import Tapes, cue
from tests.support import MESSAGES, Note, Order, identity, make_manager, secret
from triolight import (
    Allowance,
    ChannelMessageHandler,
    KeptPeer,
    Peer,
    PeerClosed,
    PeerNursery,
    Policy,
    QueueFull,
    SendMessages,
    open_peer_nursery,
)
from triolight.messages import Error, Init, Ping, Pong, Stfu, UnknownMessage, Warning
from triolight.testing import Conditions, ScriptedPeer, SimulatedNetwork, run_seeded, scripted_peer

SEED: Final = 20
SMALLER, LARGER = sorted((1, 2), key=identity)
PORT: Final = 9735
LONGEST_SECONDS: Final = 600.0


def in_trio(life: Callable[[Tapes], Awaitable[None]]) -> Callable[[Tapes], None]:
    async def within_a_life(tape: Tapes) -> None:
        # Keepalives would go on for ever, and the clock with them, if somebody waits for what does not come.
        with trio.fail_after(LONGEST_SECONDS):
            await life(tape)

    return lambda tape: run_seeded(SEED, within_a_life, tape)


async def connected(network: SimulatedNetwork, near: PeerNursery, far: PeerNursery) -> tuple[Peer, Peer]:
    """`near` has dialled `far`."""
    ours, theirs = network.stream_pair(network.host("near"), network.host("far"))
    found: list[Peer] = []

    async def accept() -> None:
        found.append(await far.attach(theirs))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        to_far = await near.attach(ours, far.manager.our_node_id, ("192.0.2.7", PORT))
    return to_far, found[0]


# ---------------------------------------------------------------------------------------------------------------------
# Plain lives


async def plain(tape: Tapes) -> None:
    """Pings, pongs and messages both ways, from the application's tasks and from outside of them; keepalives."""
    network = SimulatedNetwork(SEED, Conditions(latency=0.05, jitter=0.02))
    async with (
        open_peer_nursery(make_manager(1), ping_interval=20, tape=tape("plain_dialler")) as near,
        open_peer_nursery(make_manager(2), tape=tape("plain_listener")) as far,
        far.subscribe(Note) as notes,
    ):
        to_far, to_near = await connected(network, near, far)
        await to_far.send(Note(payload=b"one"), Order(payload=b"two"), UnknownMessage(50001, b"three"))
        await anext(notes)
        async with to_far.subscribe() as heard:
            await to_near.send(Note(payload=b"four"))
            await anext(heard)
            await to_far.ping(3)
        async with trio.open_nursery() as nursery:
            for length in (0, 700, 0):
                nursery.start_soon(to_near.ping, length, b"ab")
        near.manager.send_message(to_far.node_id, Note(payload=b"five"))
        far.manager.broadcast_encoded(Note(payload=b"six").encode())
        await trio.sleep(45)
        await to_near.disconnect("that was all")


async def busy(tape: Tapes) -> None:
    """Two peers with more to read than one turn takes, and one that says little beside them."""
    async with (
        open_peer_nursery(make_manager(1), tape=tape("busy")) as peers,
        scripted_peer(peers, secret=secret(2), messages=MESSAGES, seed=2) as second,
        scripted_peer(peers, secret=secret(3), messages=MESSAGES, seed=3) as third,
    ):
        for script in (second, third):
            script.ignoring = (Ping,)
            await script.exchange_inits()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(second.send, *[Note(payload=b"n")] * 70, Ping(num_pong_bytes=1)))
            nursery.start_soon(partial(third.send, Ping(num_pong_bytes=2)))
        await third.expect(Pong)
        await second.expect(Pong)


async def goodbye(tape: Tapes) -> None:
    """Ends: by us with words, by the peer with words and without, by leaving while some are not done yet."""
    network = SimulatedNetwork(SEED)
    home, away = network.host("192.0.2.1"), network.host("192.0.2.2")

    async def script(number: int, do: Callable[[ScriptedPeer], Awaitable[None]], **options: Any) -> None:
        stream = await away.dial(home.address, PORT)
        async with scripted_peer(stream, identity(1), secret=secret(number), messages=MESSAGES, **options) as peer:
            await do(peer)

    async def is_ended(peer: ScriptedPeer) -> None:
        await peer.exchange_inits()
        await peer.send(Note(payload=b"hello"), Ping(num_pong_bytes=1))
        await peer.expect(Pong)
        await peers.peers[peer.node_id].send(Note(payload=b"goes out first"))
        await peers.peers[peer.node_id].disconnect("we have talked enough")
        await peer.expect_closed("talked enough")

    async def warns_and_goes(peer: ScriptedPeer) -> None:
        await peer.exchange_inits()
        await peer.send(Warning(data=b"I am about to leave"))

    async def fails_all_channels(peer: ScriptedPeer) -> None:
        await peer.exchange_inits()
        await peer.send(Error(data=b"and do not come back"))
        await peer.expect_closed("")

    async def goes_before_its_init(peer: ScriptedPeer) -> None:
        await peer.expect(Init)

    async def stays(peer: ScriptedPeer) -> None:
        await peer.exchange_inits()
        await peer.expect_closed("shutting down")

    async def has_no_init(peer: ScriptedPeer) -> None:
        await peer.expect(Init)
        await peer.expect_closed("")

    async def says_nothing(peer: ScriptedPeer) -> None:
        await peer.expect_closed("")

    async with trio.open_nursery() as left, open_peer_nursery(make_manager(1), tape=tape("goodbye")) as peers:
        await peers.listen_on(await home.listen())
        for number, do in enumerate((is_ended, warns_and_goes, fails_all_channels, goes_before_its_init), 2):
            await script(number, do)
            await trio.sleep(1)
        left.start_soon(script, 6, stays)
        left.start_soon(script, 7, has_no_init)
        left.start_soon(partial(script, 8, says_nothing, handshake=False))
        await trio.sleep(1)
        await peers.peers[identity(6)].send(Note(payload=b"just before"))


async def keepalive(tape: Tapes) -> None:
    """One peer falls silent, one talks and sends no pong, one is not finished with its handshake or with its Init."""
    async with open_peer_nursery(make_manager(1), tape=tape("keepalive")) as peers, trio.open_nursery() as nursery:

        async def falls_silent() -> None:
            async with scripted_peer(peers, secret=secret(2), patience=300) as script:
                await script.exchange_inits()
                await script.expect(Ping)
                await script.send(Pong())
                script.ignoring = (Ping,)
                await script.expect_closed("no sign of life")

        async def sends_no_pong() -> None:
            async with scripted_peer(peers, secret=secret(3), messages=MESSAGES, patience=300) as script:
                await script.exchange_inits()
                with trio.move_on_after(85):
                    while True:
                        await script.send(Note(payload=b"but no pong"))
                        await trio.sleep(20)
                script.ignoring = (Ping,)
                await script.expect_closed("no pong")

        async def stops(number: int, after_the_acts: bool) -> None:
            async with scripted_peer(peers, secret=secret(number), handshake=False, patience=300) as script:
                if after_the_acts:
                    await script.shake_hands()
                    await script.expect(Init)
                await script.expect_closed("")

        async def is_dialled_and_left() -> None:
            with trio.move_on_after(5):
                async with scripted_peer(peers, secret=secret(6), handshake=False, dialled=True) as script:
                    await script.receive_bytes(50)
                    await trio.sleep_forever()

        nursery.start_soon(falls_silent)
        nursery.start_soon(sends_no_pong)
        nursery.start_soon(stops, 4, False)
        nursery.start_soon(stops, 5, True)
        nursery.start_soon(is_dialled_and_left)


async def takes_nothing(tape: Tapes) -> None:
    """A stream that holds nothing, and a peer that does not read from it: not what we say, and not our last words."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with open_peer_nursery(make_manager(1), tape=tape("takes_nothing")) as peers, trio.open_nursery() as nursery:
        nursery.start_soon(peers.attach, theirs)
        async with scripted_peer(ours, identity(1), messages=MESSAGES) as script:
            await script.exchange_inits()
            await script.send(Ping(num_pong_bytes=1))
            await script.expect(Pong)
            peer = peers.peers[script.node_id]
            await peer.send(Note(payload=b"nobody reads this"))
            await peer.wait_closed()


async def slow_subscriber(tape: Tapes) -> None:
    """A peer is held until its reader has caught up; then the reader stalls."""
    async with (
        open_peer_nursery(make_manager(1), stall_deadline=30, tape=tape("slow_subscriber")) as peers,
        scripted_peer(peers, messages=MESSAGES) as script,
        peers.subscribe(Note, buffer_bytes=600) as notes,
    ):
        script.ignoring = (Ping,)
        await script.exchange_inits()
        await script.send(*[Note(payload=bytes([at])) for at in range(5)], Ping(num_pong_bytes=3))
        for _ in range(5):
            await trio.sleep(1)
            await anext(notes)
        await script.expect(Pong)
        await script.send(*[Note(payload=bytes([at])) for at in range(5)], Ping(num_pong_bytes=4))
        await script.expect_closed("our own subscriber has read nothing")


async def costs_too_much(tape: Tapes) -> None:
    """A peer that overdraws its allowance is read more slowly; one is ended meanwhile."""
    policy = Policy(allowance=Allowance(per_second=100, burst=1000))
    async with (
        open_peer_nursery(make_manager(1), policy=policy, tape=tape("costs_too_much")) as peers,
        scripted_peer(peers, secret=secret(2)) as script,
        scripted_peer(peers, secret=secret(3)) as other,
    ):
        for one in (script, other):
            one.ignoring = (Ping,)
            await one.exchange_inits()
        await script.send(*[Ping(num_pong_bytes=300)] * 9, Ping(num_pong_bytes=1))
        for _ in range(10):
            await script.expect(Pong)
        await other.send(*[UnknownMessage(50001, b"odd")] * 8, Ping(num_pong_bytes=2))
        await other.send_raw(b"\1\0 no gossip")
        await trio.sleep(40)
        await peers.peers[other.node_id].disconnect("you cost too much")
        await other.expect_closed("you cost too much")


# ---------------------------------------------------------------------------------------------------------------------
# One connection a node


async def crossing(tape: Tapes) -> None:
    """Both dial at the same time: both keep the same connection, park the other and end it in the end."""
    network = SimulatedNetwork(SEED, Conditions(latency=0.05))
    hosts = {number: network.host(f"192.0.2.{number}") for number in (SMALLER, LARGER)}
    async with (
        open_peer_nursery(make_manager(SMALLER), dial=hosts[SMALLER].dial, tape=tape("crossing_smaller")) as smaller,
        open_peer_nursery(make_manager(LARGER), dial=hosts[LARGER].dial, tape=tape("crossing_larger")) as larger,
    ):
        both = {SMALLER: smaller, LARGER: larger}
        for number, peers in both.items():
            await peers.listen_on(await hosts[number].listen())
        async with trio.open_nursery() as nursery:
            for number, other in ((SMALLER, LARGER), (LARGER, SMALLER)):
                address = f"{identity(other).hex()}@{hosts[other].address}:{PORT}"
                nursery.start_soon(both[number].connect, address)
        for number, other in ((SMALLER, LARGER), (LARGER, SMALLER)):
            await both[number].peers[identity(other)].send(Note(payload=b"on the one that is kept"))
        await trio.sleep(5)
        for number, other in ((SMALLER, LARGER), (LARGER, SMALLER)):
            await both[number].peers[identity(other)].ping(1)


async def revival(tape: Tapes) -> None:
    """The connection that was kept dies: the one that was parked takes its place, with what it said meanwhile."""
    async with (
        open_peer_nursery(make_manager(LARGER), tape=tape("revival")) as peers,
        scripted_peer(peers, secret=secret(SMALLER), messages=MESSAGES, seed=1) as won,
        peers.subscribe(Note) as notes,
    ):
        await won.exchange_inits()
        async with scripted_peer(
            peers, secret=secret(SMALLER), ephemeral=secret(50), messages=MESSAGES, dialled=True, seed=2
        ) as lost:
            await lost.exchange_inits()
            await lost.send(Note(payload=b"said while parked"))
            await trio.sleep(1)
            await trio.aclose_forcefully(won.stream)
            await anext(notes)
            await peers.peers[identity(SMALLER)].send(Note(payload=b"on the one that was parked"))
            await lost.expect(Note)
            await lost.send(Ping(num_pong_bytes=5))
            await lost.expect(Pong)


async def revival_of_the_first(tape: Tapes) -> None:
    """The same where the one that is parked was connected before, and held by a subscriber."""
    async with (
        open_peer_nursery(make_manager(SMALLER), tape=tape("revival_of_the_first")) as peers,
        scripted_peer(peers, secret=secret(LARGER), messages=MESSAGES, seed=1) as first,
        peers.subscribe(Note, buffer_bytes=600) as notes,
    ):
        first.ignoring = (Ping,)
        await first.exchange_inits()
        await first.send(*[Note(payload=bytes([at])) for at in range(4)])
        await trio.sleep(1)
        async with scripted_peer(
            peers, secret=secret(LARGER), ephemeral=secret(50), messages=MESSAGES, dialled=True, seed=2
        ) as second:
            await second.exchange_inits()
            await second.send(Ping(num_pong_bytes=5))
            await second.expect(Pong)
            await trio.aclose_forcefully(second.stream)
        for _ in range(4):
            await trio.sleep(1)
            await anext(notes)
        await first.send(Ping(num_pong_bytes=6))
        await first.expect(Pong(ignored=bytes(6)))


async def duplicates(tape: Tapes) -> None:
    """A second connection in the same direction: the newest stays, or with LDK's rule the oldest."""
    for rule in ("newest", "oldest"):
        policy = Policy(duplicates="oldest" if rule == "oldest" else "newest")
        async with (
            open_peer_nursery(make_manager(1), policy=policy, tape=tape(f"duplicates_{rule}")) as peers,
            scripted_peer(peers, secret=secret(2), seed=1) as first,
        ):
            first.ignoring = (Ping,)
            await first.exchange_inits()
            async with scripted_peer(peers, secret=secret(2), ephemeral=secret(50), seed=2) as second:
                if rule == "oldest":
                    await second.expect_closed("")
                else:
                    await second.exchange_inits()
                    await first.expect_closed("another connection with you was kept")
                    await second.send(Ping(num_pong_bytes=1))
                    await second.expect(Pong)


class Protecting(ChannelMessageHandler):
    def protects(self, node_id: bytes) -> bool:
        return node_id == identity(5)


async def policy(tape: Tapes) -> None:
    """Who is refused by the policy after its Init, who is not because a channel protects it."""
    rules = Policy(max_inbound_peers=1, banned=[identity(3)])
    async with (
        open_peer_nursery(make_manager(1, chan=Protecting()), policy=rules, tape=tape("policy")) as peers,
        scripted_peer(peers, secret=secret(2)) as second,
    ):
        await second.exchange_inits()
        for number, words in ((3, "banned"), (4, "no room")):
            async with scripted_peer(peers, secret=secret(number)) as script:
                await script.exchange_inits()
                await script.expect_closed(words)
        for number in (5, 6):
            async with scripted_peer(peers, secret=secret(number), dialled=number == 6) as script:
                await script.exchange_inits()
                await script.send(Ping(num_pong_bytes=1))
                await script.expect(Pong)


# ---------------------------------------------------------------------------------------------------------------------
# Handlers


class Pushing(ChannelMessageHandler):
    """Answers the first cue later, from a task of its own, and raises at the second."""

    def __init__(self) -> None:
        super().__init__()
        self.cued = trio.Event()
        self.by = b""

    def handle_stfu(self, node_id: bytes, message: Stfu) -> None:
        if message.initiator:
            raise RuntimeError("a handler with a bug")
        self.by = node_id
        self.cued.set()


async def handler_crash(tape: Tapes) -> None:
    """A handler pushes from outside of any call; then it raises: everybody hears goodbye, and the block ends."""
    network = SimulatedNetwork(SEED)
    home, away = network.host("192.0.2.1"), network.host("192.0.2.2")
    chan = Pushing()

    async def script(number: int, do: Callable[[ScriptedPeer], Awaitable[None]]) -> None:
        stream = await away.dial(home.address, PORT)
        async with scripted_peer(stream, identity(1), secret=secret(number), messages=MESSAGES) as peer:
            await do(peer)

    async def cues(peer: ScriptedPeer) -> None:
        await peer.exchange_inits()
        await peer.send(cue(0))
        await peer.expect(Note(payload=b"some time later"))
        await peer.send(Ping(num_pong_bytes=1), cue(1), Ping(num_pong_bytes=2))
        await peer.expect_closed("an internal error, shutting down")

    async def stays(peer: ScriptedPeer) -> None:
        await peer.exchange_inits()
        await peer.expect_closed("an internal error, shutting down")

    async def has_no_init(peer: ScriptedPeer) -> None:
        await peer.expect(Init)
        await peer.expect_closed("")

    async with trio.open_nursery() as left:
        with suppress(BaseExceptionGroup):
            async with open_peer_nursery(make_manager(1, chan=chan), tape=tape("handler_crash")) as peers:
                await peers.listen_on(await home.listen())
                for number, do in enumerate((stays, has_no_init, cues), 2):
                    left.start_soon(script, number, do)
                await chan.cued.wait()
                await trio.sleep(1)
                chan.push(SendMessages(chan.by, Note(payload=b"some time later")))
                await trio.sleep_forever()


# ---------------------------------------------------------------------------------------------------------------------
# Chance


async def bad_network(tape: Tapes) -> None:
    """Some seconds of three nodes that talk on a bad network with slow subscribers, and strangers with garbage."""
    conditions = Conditions(latency=0.02, jitter=0.05, mean_lifetime=25, bandwidth=20_000)
    network = SimulatedNetwork(SEED, conditions)
    numbers = (1, 2, 3)
    hosts = {number: network.host(f"192.0.2.{number}") for number in numbers}

    async def live(number: int) -> None:
        manager = make_manager(number)
        rules = Policy(allowance=Allowance(per_second=500, burst=2_000))
        async with (
            open_peer_nursery(
                manager,
                dial=hosts[number].dial,
                policy=rules,
                ping_interval=10,
                jitter=random.Random(number),
                tape=tape("bad_network") if number == 1 else None,
            ) as peers,
            peers.subscribe(Note, buffer_bytes=1_200) as notes,
            trio.open_nursery() as nursery,
        ):
            await peers.listen_on(await hosts[number].listen())
            for other in numbers:
                if other != number:
                    kept = peers.keep(f"{identity(other).hex()}@192.0.2.{other}:{PORT}")
                    nursery.start_soon(talk, kept, random.Random(f"{number} {other}"))
            async for peer, note in notes:
                await trio.sleep(0.3)
                if len(note.payload) % 4 == 0 and peer.node_id in manager.get_peer_node_ids():
                    with suppress(QueueFull):
                        manager.send_message(peer.node_id, Note(payload=note.payload + b"!"))

    async def talk(kept: KeptPeer, rng: random.Random) -> None:
        while (peer := await kept.wait_connected()) is not None:
            try:
                for _ in range(rng.randrange(1, 7)):
                    await trio.sleep(rng.uniform(0.5, 3))
                    match rng.randrange(3):
                        case 0:
                            with trio.move_on_after(rng.choice((0.05, 10))):
                                await peer.ping(rng.choice((0, 5, 900)))
                        case 1:
                            await peer.send(UnknownMessage(50001, bytes(rng.randrange(60))))
                        case _:
                            await peer.send(*[Note(payload=bytes(rng.randrange(40)))] * rng.randrange(1, 4))
                await peer.disconnect("for a change")
            except PeerClosed:
                pass

    async def throw_garbage(rng: random.Random) -> None:
        host = network.host("192.0.2.66")
        while True:
            await trio.sleep(rng.uniform(4, 10))
            try:
                async with await host.dial(f"192.0.2.{rng.choice(numbers)}", PORT) as stream:
                    await stream.send_all(rng.choice((b"", bytes(3), b"\1")) + rng.randbytes(rng.choice((0, 50, 200))))
                    await stream.receive_some(100)
            except (OSError, trio.BrokenResourceError):
                pass

    with trio.move_on_after(16):
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(live, number)
            nursery.start_soon(throw_garbage, random.Random(SEED))


LIVES: Final[tuple[Callable[[Tapes], Any], ...]] = tuple(
    in_trio(life)
    for life in (
        bad_network,
        busy,
        costs_too_much,
        crossing,
        duplicates,
        goodbye,
        handler_crash,
        keepalive,
        plain,
        policy,
        revival,
        revival_of_the_first,
        slow_subscriber,
        takes_nothing,
    )
)
