"""Eight small networks, and what each of their connections carried, as text.

A world is four to six nodes in a tree (no two dial each other, and what is told on comes to each node on one way), some
acts that follow from its seed, and one thing that goes wrong. Its text holds, for each connection, the messages of each
direction in their order, and its end at each side.

It holds no time, and nothing of the order in which different connections, or the two directions of one, went on: one
checkpoint more somewhere in the shell changes nothing in it. So acts are made such that in each direction one task
speaks at a time, and acts are far apart. Keepalives are left out: when they come is the clock's matter; that they come
shows in the ends of those who hear no pong.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import trio

from tests.golden.driven import cue
from tests.support import MESSAGES, Note, Order
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    MessageHandler,
    NodeAddress,
    NullLogger,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerManager,
    PeerNursery,
    Policy,
    RoutingMessageHandler,
    Tape,
    open_peer_nursery,
)
from triolight.errors import DecodeError
from triolight.messages import Error, Message, Ping, Pong, Stfu, UnknownMessage, Warning
from triolight.shell.anywhere import AnyPeer
from triolight.testing import Conditions, SimulatedHost, SimulatedNetwork, derive, run_seeded
from triolight.text import printable

SEEDS: Final = range(8)
PORT: Final = 9735
PERIOD: Final = 30.0
"""The seconds between keepalives, and between acts. Dials come at a period's begin, and keepalives soon after; talk is
over in the middle of it, and what goes wrong goes wrong at its end."""
TALK, FAULT, LEAVE = 8.0, 22.0, 25.0
OUTAGE_PERIODS: Final = 4
"""Longer than a silent connection lives."""
THINKING_SECONDS: Final = 4.0
LONGEST_PERIODS: Final = 40
Act: TypeAlias = Callable[[], Awaitable[None]]

# ---------------------------------------------------------------------------------------------------------------------
# Nodes


class Crashing(ChannelMessageHandler):
    def handle_stfu(self, node_id: bytes, message: Stfu) -> None:
        raise RuntimeError("a handler with a bug")


class Node:
    """It tells rumours on, answers questions, and reads slowly if it is told to."""

    def __init__(self, world: World, number: int) -> None:
        self.world: Final = world
        self.number: Final = number
        self.host: Final[SimulatedHost] = world.network.host(f"192.0.2.{number + 1}")
        self.manager: Final = PeerManager(
            MessageHandler(Crashing(), RoutingMessageHandler()),
            derive(world.seed, "secret", number),
            derive(world.seed, "ephemeral", number),
            NullLogger(),
            messages=MESSAGES,
        )
        self.address: Final = NodeAddress(self.manager.our_node_id, self.host.address, PORT)
        self.peers: PeerNursery | None = None
        self.leaving: Final = trio.Event()
        self.gone: Final = trio.Event()
        self.crashed = False
        self.delivered: Final[dict[AnyPeer, list[bytes]]] = {}
        """What a subscriber got of each peer, in the order in which the peers appeared."""
        self.ends: Final[dict[AnyPeer, str]] = {}
        """What the readers of events heard of each peer's end."""
        self.kept: Final[list[int]] = []
        self.policy: Final = Policy()

    async def live(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with (
                open_peer_nursery(
                    self.manager,
                    ping_interval=PERIOD,
                    policy=self.policy,
                    dial=self.host.dial,
                    jitter=random.Random(f"{self.world.seed} {self.number}"),
                    tape=Tape(self.world.tape_of(self.number)),
                ) as self.peers,
                self.peers.events() as events,
                self.peers.subscribe(buffer_bytes=1500) as inbox,
                trio.open_nursery() as nursery,
            ):
                await self.peers.listen_on(await self.host.listen(PORT))

                @nursery.start_soon
                async def _() -> None:
                    async for event in events:
                        if isinstance(event, PeerConnected):
                            self.delivered.setdefault(event.peer, [])
                        elif isinstance(event, PeerDisconnected):
                            self.ends[event.peer] = str(event.reason)

                @nursery.start_soon
                async def _() -> None:
                    async for peer, message in inbox:
                        if not is_keepalive(message.encode()):
                            self.delivered.setdefault(peer, []).append(message.encode())
                        if isinstance(message, Note):
                            await trio.sleep(self.world.reading_seconds)
                            await self.react(peer, message)

                task_status.started()
                await self.leaving.wait()
                nursery.cancel_scope.cancel()
        except* RuntimeError:  # the handler's bug
            self.crashed = True
        self.gone.set()

    async def react(self, peer: Peer, note: Note) -> None:
        match note.payload[:1]:
            case b"!":  # a rumour
                for other in self.opened.peers.values():
                    if other is not peer:
                        await other.send(note)
            case b"?":  # a question
                await peer.send(Note(payload=b"=" + note.payload[1:]), Order(payload=note.payload[:4]))
            case b"z":  # something to think about
                await trio.sleep(THINKING_SECONDS)
            case _:
                pass

    @property
    def opened(self) -> PeerNursery:
        if self.peers is None:
            raise RuntimeError("this node has not begun to live")
        return self.peers

    def peer(self, other: Node) -> Peer:
        return self.opened.peers[other.address.node_id]


# ---------------------------------------------------------------------------------------------------------------------
# The world


class World:
    def __init__(self, seed: int, directory: Path) -> None:
        self.seed: Final = seed
        self.directory: Final = directory
        self.rng: Final = random.Random(f"golden {seed}")
        slow = seed in (2, 5)
        conditions = Conditions(
            latency=0.05, jitter=0.05 * (seed % 3), bandwidth=40_000 if seed in (1, 5) else math.inf
        )
        self.network: Final = SimulatedNetwork(seed, conditions)
        self.reading_seconds: Final = 0.3 if slow else 0.0
        self.nodes: Final = [Node(self, number) for number in range(4 + seed % 3)]
        self.edges: Final = list(self._tree())

    def _tree(self) -> Iterator[tuple[int, int]]:
        """Who dials whom."""
        for number in range(1, len(self.nodes)):
            other = self.rng.randrange(number)
            yield (number, other) if self.rng.random() < 0.5 else (other, number)

    def tape_of(self, number: int) -> Path:
        return self.directory / str(number)

    # -- time

    async def until(self, seconds: float) -> None:
        """Until so many seconds after the begin of a period: of this one, if it is not over yet."""
        now = trio.current_time()
        periods = math.floor(now / PERIOD)
        if now >= periods * PERIOD + seconds:
            periods += 1
        await trio.sleep_until(periods * PERIOD + seconds)

    # -- acts

    async def connect(self) -> None:
        """Whoever is to dial and is not connected dials."""
        await self.until(0)
        for dialler, other in self.edges:
            near, far = self.nodes[dialler], self.nodes[other]
            if not near.gone.is_set() and not far.gone.is_set() and other not in near.kept:
                with suppress(ConnectError):
                    await near.opened.connect(far.address)

    def there(self) -> list[tuple[Node, Node]]:
        """The edges that have both their nodes, either way round."""
        both = [(self.nodes[one], self.nodes[other]) for one, other in self.edges]
        left = [(one, other) for one, other in both if not one.gone.is_set() and not other.gone.is_set()]
        return [pair if self.rng.random() < 0.5 else pair[::-1] for pair in left]

    def text(self, mark: bytes, longest: int = 300) -> bytes:
        return mark + self.rng.randbytes(2).hex().encode() + bytes(self.rng.randrange(longest))

    async def tell(self) -> None:
        """One node tells a rumour to all its peers, and they tell it on."""
        await self.until(TALK)
        node = self.rng.choice([one for one in self.nodes if not one.gone.is_set()])
        rumour = Note(payload=self.text(b"!", 2_000))
        for peer in node.opened.peers.values():
            await peer.send(rumour)

    async def talk(self) -> None:
        """On every connection at once: one side asks and the other answers, or both talk without being asked."""
        await self.until(TALK)
        async with trio.open_nursery() as nursery:
            for one, other in self.there():
                match self.rng.randrange(5):
                    case 0:
                        notes = [Note(payload=self.text(b"?")) for _ in range(self.rng.randrange(1, 7))]
                        nursery.start_soon(one.peer(other).send, *notes)
                    case 1:
                        for near, far in ((one, other), (other, one)):
                            some = [self.one_message() for _ in range(self.rng.randrange(1, 6))]
                            nursery.start_soon(self.say, near.peer(far), some)
                    case 4:
                        for near, far in ((one, other), (other, one)):
                            much = [Note(payload=self.text(b"m", 3_000)) for _ in range(5)]
                            nursery.start_soon(partial(near.peer(far).send, *much))
                    case 2:
                        asked = [
                            (Note(payload=self.text(b"p")), self.rng.choice((1, 20, 3_000)))
                            for _ in range(self.rng.randrange(1, 4))
                        ]
                        nursery.start_soon(self.ping, one.peer(other), asked)
                    case _:
                        for near, far in ((one, other), (other, one)):
                            encoded = [self.one_message() for _ in range(2)]
                            near.manager.send_message(far.address.node_id, *encoded)

    def one_message(self) -> Message | UnknownMessage:
        if self.rng.random() < 0.3:
            return UnknownMessage(50001 + 2 * self.rng.randrange(5), self.text(b"u"))
        return (Note if self.rng.random() < 0.6 else Order)(payload=self.text(b"n"))

    async def say(self, peer: Peer, messages: list[Message | UnknownMessage]) -> None:
        for message in messages:
            await peer.send(message)

    async def ping(self, peer: Peer, asked: list[tuple[Note, int]]) -> None:
        for note, length in asked:
            await peer.send(note)
            await peer.ping(length, b"golden")

    # -- what goes wrong

    async def part(self) -> None:
        """A connection's end with words, behind messages that go out first."""
        await self.until(FAULT)
        near, far = self.rng.choice(self.there())
        peer = near.peer(far)
        await peer.send(*[Note(payload=self.text(b"b")) for _ in range(3)])
        await peer.disconnect(f"words {self.rng.randrange(1000)} of {near.number}")

    async def interrupt(self) -> None:
        """A connection is ended by a side that has not read all that came: its words are heard all the same."""
        await self.until(TALK)
        near, far = self.rng.choice(self.there())
        first, *others = [Note(payload=self.text(b"z") + bytes(500)) for _ in range(12)]
        await far.peer(near).send(first)
        await trio.sleep(1)  # it is being thought about: the others find a busy reader
        await far.peer(near).send(*others)
        await trio.sleep(1)
        await near.peer(far).disconnect("that is too much")

    async def offend(self) -> None:
        """One side breaks a rule, or fails all channels."""
        await self.until(FAULT)
        near, far = self.rng.choice(self.there())
        last: Message | UnknownMessage = self.rng.choice(
            (
                UnknownMessage(40000, b"even"),
                UnknownMessage(18, b"\0"),
                Error(data=b"all of them"),
                UnknownMessage(16, b""),
            )
        )
        await near.peer(far).send(Note(payload=self.text(b"o")), UnknownMessage(256, b"no gossip"))
        await trio.sleep(2)  # the warning is out: an end in the same chunk would drop it
        await near.peer(far).send(last)

    async def partition(self) -> None:
        await self.until(FAULT)
        some = self.rng.sample(self.nodes, len(self.nodes) // 2)
        self.network.partition([node.host for node in some])
        await self.outage()
        self.network.heal()

    async def go_down(self) -> None:
        """A host is off the network without a word, and comes back."""
        await self.until(FAULT)
        host = self.rng.choice(self.nodes).host
        self.network.vanish(host)
        await self.outage()
        self.network.restore(host)

    async def outage(self) -> None:
        await trio.sleep(OUTAGE_PERIODS * PERIOD)

    async def reset(self) -> None:
        await self.until(FAULT)
        near, far = self.rng.choice(self.there())
        self.network.reset(near.host, far.host)

    async def strangers(self) -> None:
        """Connections that never come to anything, one after the other."""
        host = self.network.host("192.0.2.200")
        for data in (b"\1 not Lightning", bytes(50), bytes(10), b""):
            await self.until(TALK)
            node = self.rng.choice(self.nodes)
            stream = await host.dial(node.host.address, PORT)
            if data:
                await stream.send_all(data)
            if len(data) == 10:
                await trio.sleep(1)
                await stream.aclose()
            else:
                with suppress(trio.BrokenResourceError):
                    await stream.receive_some(1)
                await trio.aclose_forcefully(stream)
            await self.until(FAULT)

    async def ban(self) -> None:
        """A node is banned by another one, ended, and dials again; then it is forgiven."""
        await self.until(FAULT)
        dialler, other = self.rng.choice(self.edges)
        near, far = self.nodes[dialler], self.nodes[other]
        far.policy.ban(near.address.node_id)
        await far.peer(near).disconnect("banned")
        await self.connect()
        await self.until(FAULT)
        far.policy.unban(near.address.node_id)

    async def crash(self) -> None:
        """A handler raises: its node leaves, and its peers hear that."""
        await self.until(FAULT)
        near, far = self.rng.choice(self.there())
        await near.peer(far).send(Note(payload=self.text(b"c")), cue(0))
        await far.gone.wait()

    async def keep(self) -> None:
        """Diallers keep their connections from now on; each is ended once by the other side, with words."""
        for dialler, other in self.edges:
            self.nodes[dialler].opened.keep(self.nodes[other].address)
            self.nodes[dialler].kept.append(other)
        for dialler, other in self.edges:
            await self.until(FAULT)
            await self.nodes[other].peer(self.nodes[dialler]).disconnect("for a change")
            await self.until(0)

    # -- all of it

    def plan(self) -> list[Act]:
        wrong: dict[int, tuple[Act, ...]] = {
            0: (self.partition,),
            1: (self.go_down, self.part),
            2: (self.reset, self.offend, self.interrupt),
            3: (self.keep, self.interrupt),
            4: (self.strangers, self.part),
            5: (self.offend, self.interrupt),
            6: (self.ban, self.partition),
            7: (self.part, self.crash),
        }
        plan: list[Act] = [self.connect, self.talk]
        for one in wrong[self.seed]:
            plan += [self.tell, self.talk, one, self.connect]
        return [*plan, self.tell, self.talk]

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                await nursery.start(node.live)
            for act in self.plan():
                await act()
            for node in self.rng.sample(self.nodes, len(self.nodes)):
                await self.until(LEAVE)
                node.leaving.set()
                await node.gone.wait()


# ---------------------------------------------------------------------------------------------------------------------
# As text


KEEPALIVES: Final = frozenset((Ping(ignored=bytes(64)).encode(), Pong().encode()))


def is_keepalive(message: bytes) -> bool:
    return message in KEEPALIVES


@dataclass
class Side:
    """What one end of a connection has on its node's tape."""

    node: int
    other: bytes = b""
    """The node id of the other end; empty if nobody has proven to be there."""
    said: list[bytes] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    connected: bool = False
    end: str = "has no end"


def sides_of(tape: Path, node: int) -> list[Side]:
    """The connections of a node, in their order. Format 1 of a tape is read here, and nothing else."""
    sides: dict[int, Side] = {}
    for record in map(json.loads, tape.read_text().splitlines()):
        match record:
            case {"call": "new_outbound_connection", "of": of, "node_id": node_id}:
                sides[of] = Side(node, bytes.fromhex(node_id))
            case {"call": "new_inbound_connection", "of": of}:
                sides[of] = Side(node)
            case {"answer": str(key), "is": found}:
                of, _, what = key.partition(".")
                if what == "act" and found["node_id"]:
                    sides[int(of)].other = bytes.fromhex(found["node_id"])
                elif what == "in" and found:
                    sides[int(of)].heard.append(bytes.fromhex(found))
            case {"out": of, "message": message}:
                sides[of].said.append(bytes.fromhex(message))
            case {"connected": of}:
                sides[of].connected = True
            case {"ended": of, "reason": reason}:
                sides[of].end = f"{reason['code']} (by {reason['by']}): {reason['message']}"
            case _:
                pass
    return list(sides.values())


def shown(encoded: bytes) -> str:
    """A message in a line: its name, its length, and words or a hash of what is in it."""
    type_ = int.from_bytes(encoded[:2], "big")
    cls = MESSAGES.get(type_)
    name = f"type {type_}" if cls is None else cls.name
    if type_ in (Error.type, Warning.type):
        return f"{name} {printable(encoded[36:])!r}"
    short = encoded[2:].hex() if len(encoded) <= 18 else f"#{hashlib.sha256(encoded).hexdigest()[:8]}"
    return f"{name}, {len(encoded)} bytes {short}"


def lines_of(messages: list[bytes]) -> list[str]:
    return [shown(one) for one in messages if not is_keepalive(one)]


def text_of(world: World) -> str:
    lines: list[str] = []
    number_of = {node.address.node_id: node.number for node in world.nodes}
    of_pairs: dict[tuple[int, int], list[Side]] = {}
    for node in world.nodes:
        sides = sides_of(world.tape_of(node.number), node.number)
        for side in sides:
            of_pairs.setdefault((node.number, number_of.get(side.other, -1)), []).append(side)
        _check_the_shell(node, sides, number_of)
    for dialler, other in sorted(world.edges):
        ours, theirs = of_pairs.pop((dialler, other), []), of_pairs.pop((other, dialler), [])
        if len(ours) != len(theirs):
            raise ValueError(f"{dialler} and {other} do not agree how often they were connected")
        for count, (near, far) in enumerate(zip(ours, theirs, strict=True), 1):
            lines.append(f"{dialler} dials {other}, {count}")
            for sender, receiver in ((near, far), (far, near)):
                said, heard = lines_of(sender.said), lines_of(receiver.heard)
                if heard != said[: len(heard)]:
                    raise ValueError(f"{receiver.node} has heard what {sender.node} has not said")
                missed = len(said) - len(heard)
                lines.append(f"  {sender.node} to {receiver.node}{f', without the last {missed}' if missed else ''}:")
                lines += [f"    {one}" for one in said]
            lines += [f"  {side.node} has ended: {side.end}" for side in (near, far)]
    for (number, _), sides in sorted(of_pairs.items()):
        for side in sides:
            lines.append(f"a stranger at {number}")
            lines += [f"    {one}" for one in lines_of(side.said)]
            lines.append(f"  {number} has ended: {side.end}")
    return "\n".join(lines) + "\n"


def _is_passed_on(encoded: bytes) -> bool:
    """Whether subscribers get it: what cannot be read, and what is even and not known, they do not."""
    try:
        message = MESSAGES.decode(encoded)
    except DecodeError:
        return False
    return isinstance(message, Message) or message.type % 2 == 1


def _check_the_shell(node: Node, sides: list[Side], number_of: dict[bytes, int]) -> None:
    """What subscribers and readers of events were given is what the manager has read and decided."""
    of_peers: dict[bytes, list[tuple[AnyPeer, list[bytes]]]] = {}
    for peer, messages in node.delivered.items():
        of_peers.setdefault(peer.node_id, []).append((peer, messages))
    for node_id, number in number_of.items():
        connected = [side for side in sides if side.other == node_id and side.connected]
        given = of_peers.get(node_id, [])
        where = f"{node.number} and {number}"
        for (peer, messages), side in zip(given, connected, strict=True):
            got, heard = lines_of(messages), lines_of([one for one in side.heard[1:] if _is_passed_on(one)])
            if got != heard and (not node.crashed or got != heard[: len(got)]):
                raise ValueError(f"{where}: a subscriber was not given what was read\n{got}\n{heard}")
            # Whoever leaves the block reads no more events.
            left = side.end.startswith(("SHUTDOWN", "HANDLER_CRASHED"))
            if str(peer.reason) != side.end or node.ends.get(peer, side.end if left else "nothing") != side.end:
                raise ValueError(f"{where}: a reader of events was not told what was decided")


def carried(seed: int, tasks: int | None = None) -> str:
    """The text of a world. `tasks` seeds the order of its tasks, which makes no difference to it."""

    async def main(directory: Path) -> str:
        world = World(seed, directory)
        with trio.fail_after(LONGEST_PERIODS * PERIOD):
            await world.run()
        return text_of(world)

    with tempfile.TemporaryDirectory() as directory:
        return run_seeded(seed if tasks is None else tasks, main, Path(directory))
