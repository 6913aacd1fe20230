"""What tests of a fleet's faults share: a way to an engine that can be cut, nodes that say numbers, and a count of what
was heard; as a program, a back that prints what it hears. No test here."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import trio

from tests.support.engines import Server
from tests.support.nodes import MESSAGES, Note, identity, make_manager
from tests.support.processes import lines_of, python
from triolight import (
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    NodeAddress,
    NullLogger,
    PeerClosed,
    PeerConnected,
    PeerDisconnected,
    PeerNursery,
    open_peer_nursery,
)
from triolight.cluster import FleetError, fleet_config, open_back, run_front
from triolight.cluster.back import RemotePeers

PATIENCE: Final = 50.0
"""Seconds after which something is taken to hang. No test waits for it unless something is broken."""
PAUSE: Final = 0.002
"""Seconds between two messages of a node: there is always something on its way, and the machine has time for faults."""
WINDOW: Final = 64
"""Messages of a node without an answer."""


async def comes(condition: Callable[[], bool], words: object = "") -> None:
    """Until it holds: what other processes do has no event for us."""
    with trio.move_on_after(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)
        return
    raise AssertionError(f"it does not come: {words}")


class Way:
    """A way to an engine over loopback, which can be cut, closed in one direction, or made long."""

    def __init__(self, server: Server) -> None:
        self.server = server
        """Where it leads."""
        self._scopes: Final[set[trio.CancelScope]] = set()
        self._closed: Final[set[str]] = set()
        self._opened = trio.Event()
        self._cut = False
        self.delay = 0.0
        """Seconds, each way."""
        self.url = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"redis://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    def cut(self) -> None:
        """All connections end, and new ones at once."""
        self._cut = True
        for scope in self._scopes:
            scope.cancel()

    def close(self, *directions: str) -> None:
        """Nothing goes ``there``, or nothing comes ``back``; it is late, and not lost."""
        self._closed.update(directions)

    def mend(self) -> None:
        self._cut = False
        self._closed.clear()
        self._opened.set()
        self._opened = trio.Event()

    def _path(self) -> str:
        return self.server.url.removeprefix("unix://")

    async def _serve(self, near: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            try:
                async with near:
                    if self._cut:
                        return
                    self._scopes.add(scope)
                    async with await trio.open_unix_socket(self._path()) as far, trio.open_nursery() as nursery:
                        nursery.start_soon(self._carry, near, far, "there", scope)
                        nursery.start_soon(self._carry, far, near, "back", scope)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # one of the two has gone
            finally:
                self._scopes.discard(scope)

    async def _carry(
        self, source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, direction: str, scope: trio.CancelScope
    ) -> None:
        async for chunk in source:
            await trio.sleep(self.delay)
            while direction in self._closed:
                await self._opened.wait()
            await sink.send_all(chunk)
        scope.cancel()


class Ledger:
    """What was heard of nodes that say numbers: in each of their sessions from 0 on, each once, or it is counted."""

    def __init__(self) -> None:
        self.heard: Final[dict[tuple[bytes, int], int]] = {}
        """By node and session: the number that comes next."""
        self.lost = 0
        self.doubled = 0
        self.ends: Final[list[DisconnectCode]] = []
        self.present = 0
        """Peers of whom it has heard that they are here, and not that they are gone."""
        self.pause = 0.0
        """Seconds for each message."""
        self._unanswered: Final[dict[Any, list[Note]]] = {}

    @property
    def all(self) -> int:
        return sum(self.heard.values())

    def hear(self, node_id: bytes, payload: bytes) -> None:
        session, number = map(int, payload.split()[:2])
        due = self.heard.get((node_id, session), 0)
        self.lost += max(0, number - due)
        self.doubled += number < due
        self.heard[node_id, session] = max(due, number + 1)

    async def listen(
        self,
        peers: RemotePeers | PeerNursery,
        answer: bool = True,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Counts, and says each number back."""
        async with (
            peers.subscribe(Note, PeerConnected, PeerDisconnected) as inbox,
            trio.open_nursery() as nursery,
        ):
            task_status.started()
            async for peer, what in inbox:
                if isinstance(what, PeerDisconnected):
                    self.present -= 1
                    self.ends.append(what.reason.code)
                elif isinstance(what, PeerConnected):
                    self.present += 1
                elif isinstance(what, Note):
                    await trio.sleep(self.pause)
                    self.hear(peer.node_id, what.payload)
                    if answer:
                        unanswered = self._unanswered.setdefault(peer, [])
                        unanswered.append(what)
                        if len(unanswered) == 1:
                            nursery.start_soon(self._answer, peer, unanswered)

    async def _answer(self, peer: Any, notes: list[Note]) -> None:
        """What has come meanwhile goes together: an answer waits for the engine."""
        with suppress(PeerClosed):
            while notes:
                sent = len(notes)
                await peer.send(*notes)
                del notes[:sent]
        notes.clear()


class Talker:
    """A node that says numbers to a fleet, and begins again at 0, at the next front, whenever its connection ends."""

    def __init__(self, peers: PeerNursery, addresses: Sequence[NodeAddress]) -> None:
        self._peers: Final = peers
        self._addresses: Final = itertools.cycle(addresses)
        self.said: Final[list[int]] = []
        """By session."""
        self.ends: Final[list[DisconnectReason]] = []
        self.refused: Final[list[DisconnectReason]] = []
        self.answers: Final = Ledger()
        self.enough = False
        """It says no more."""
        self.window = WINDOW
        self.pause = PAUSE
        self.size = 0
        """Bytes that each message has beside its number."""

    def __repr__(self) -> str:
        return f"said {self.said}, answered {[*self.answers.heard.values()]}, {self._peers.peers}, ends {self.ends}"

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.answers.listen, self._peers, False)
            while not self.enough:
                try:
                    peer = await self._peers.connect(next(self._addresses))
                except ConnectError as error:
                    self.refused.append(error.reason)
                    await trio.sleep(0.1)
                    continue
                self.said.append(0)
                try:
                    while not self.enough:
                        await self._answered()
                        words = b"%d %d " % (len(self.said) - 1, self.said[-1])
                        self.said[-1] += 1
                        await peer.send(Note(payload=words + bytes(self.size)))
                        await trio.sleep(self.pause)
                    await peer.wait_closed()
                except PeerClosed:
                    pass
                self.ends.append(await peer.wait_closed())

    async def _answered(self) -> None:
        """Until less than a window of it has no answer, or the connection ends."""
        session = len(self.said) - 1
        while not self.enough and self._peers.peers:
            if self.said[-1] - max([0, *self._heard(session)]) < self.window:
                return
            await trio.sleep(PAUSE)

    def _heard(self, session: int) -> list[int]:
        return [count for (_, one), count in self.answers.heard.items() if one == session]

    async def heard_by(self, ledger: Ledger) -> None:
        """Says no more once it is heard in its present session, and waits until all of that was heard, and answered."""
        node_id = self._peers.manager.our_node_id

        def heard() -> int:
            return ledger.heard.get((node_id, len(self.said) - 1), 0)

        await comes(lambda: heard() > 0, "a session that lives")
        self.enough = True
        await comes(lambda: heard() == self.said[-1], self)
        await comes(lambda: self._heard(len(self.said) - 1) == [self.said[-1]], self)


@asynccontextmanager
async def talking(number: int, *addresses: NodeAddress) -> AsyncIterator[Talker]:
    """A node with the secret of a number, which talks until the block is left."""
    async with open_peer_nursery(make_manager(number, logger=NullLogger())) as peers, trio.open_nursery() as nursery:
        talker = Talker(peers, addresses)
        nursery.start_soon(talker.run)
        yield talker
        nursery.cancel_scope.cancel()


class Front:
    """A front in this process, which begins again as the command does."""

    def __init__(self, url: str, name: str) -> None:
        self._url: Final = url
        self._name: Final = name
        self._port = 0
        self.told: Final[list[str]] = []
        """``serving``, or why a life of it was over."""
        self.peers: PeerNursery

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(identity(1), "127.0.0.1", self._port)

    def _told(self, what: str, reason: DisconnectReason | None) -> None:
        self.told.append(what if reason is None else reason.code)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        while True:
            config = await fleet_config(self._url)
            manager = make_manager(1, messages=config.messages, logger=NullLogger())
            async with open_peer_nursery(manager) as self.peers, trio.open_nursery() as nursery:
                (listener,) = await self.peers.listen(self._port, host="127.0.0.1")
                self._port = int(listener.socket.getsockname()[1])
                nursery.start_soon(self._tell, task_status)
                try:
                    await run_front(self.peers, self._url, id=self._name, told=self._told)
                except FleetError as error:
                    self.told.append(error.reason.code)
                nursery.cancel_scope.cancel()
            task_status = trio.TASK_STATUS_IGNORED

    async def _tell(self, task_status: trio.TaskStatus[None]) -> None:
        await comes(lambda: "serving" in self.told)
        task_status.started()


async def start_fronts(nursery: trio.Nursery, *urls: str) -> list[Front]:
    """One for each URL. The fleet's back is there."""
    fronts = [Front(url, f"front-{number}") for number, url in enumerate(urls)]
    for front in fronts:
        await nursery.start(front.run)
    return fronts


class Back:
    """A back in a process of its own, which says what it hears at once, so that nothing of it dies with the process."""

    def __init__(self, url: str, lease: float, ledger: Ledger | None = None, **more: float | str) -> None:
        self._arguments: Final = (url, str(lease), *(f"{name}={value}" for name, value in more.items()))
        self.ledger: Final = ledger or Ledger()
        self.entered = 0
        """How often it has got the place."""
        self.over = ""
        """Why it has ended by itself."""
        self._process: trio.Process

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it ends, or is killed."""
        async with python("-m", "tests.support.faults", *self._arguments) as self._process:
            task_status.started()
            async for line in lines_of(self._process.stdout):
                match line.split(" ", 1):
                    case ["entered"]:
                        self.entered += 1
                    case ["over", code]:
                        self.over = code
                    case [node_id, words]:
                        self.ledger.hear(bytes.fromhex(node_id), words.encode())
                    case _:
                        raise AssertionError(line)


class _Telling(Ledger):
    def hear(self, node_id: bytes, payload: bytes) -> None:
        print(node_id.hex(), payload.decode().strip("\0"), flush=True)


async def _back(*arguments: str) -> None:
    url, lease, *more = arguments
    given = {name: value for name, _, value in (one.partition("=") for one in more)}
    options: dict[str, Any] = {name: value if name == "sessions" else float(value) for name, value in given.items()}
    ledger = _Telling()
    ledger.pause = options.pop("pause", 0.0)
    try:
        async with open_back(
            url, identity(1), messages=MESSAGES, lease=float(lease), logger=NullLogger(), **options
        ) as peers:
            print("entered", flush=True)
            await ledger.listen(peers)
    except FleetError as error:
        print("over", error.reason.code, flush=True)


if __name__ == "__main__":
    trio.run(_back, *sys.argv[1:])
