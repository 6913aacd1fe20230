"""Dials: one for each node at a time, joined by all who ask alike; the last one who leaves ends it.

It decides who is dialled and what came of it. The tasks in which dials run are started by who is given as `start`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, NamedTuple

import trio

from triolight import reasons
from triolight.address import Address, NodeAddress, descriptor_of
from triolight.errors import DisconnectCode, DisconnectReason, forget_frames
from triolight.messages import Init
from triolight.proxy import ProxyError
from triolight.shell.admission import Admission
from triolight.shell.link import Link
from triolight.shell.peer import ConnectError, Peer, Present
from triolight.shell.watch import Deadlines
from triolight.ways import Racing, Refused, Way


class Asked(NamedTuple):
    """What is dialled, and how: who asks for the same joins."""

    address: NodeAddress
    learned: bool
    """Somebody has announced it; the application has not chosen it."""
    way: Way


class Dialling:
    """A dial that callers wait for together."""

    __slots__ = ("asked", "done", "init", "link", "peer", "reason", "scope", "taken", "target", "waiting")

    def __init__(self, asked: Asked, target: Address) -> None:
        self.asked: Final = asked
        self.target: Final = target
        """The address that is asked for, as a descriptor."""
        self.waiting = 0
        self.taken = False
        """Somebody has got the peer that it came to."""
        self.scope: Final = trio.CancelScope()
        self.done: Final = trio.Event()
        self.link: Link | None = None
        self.peer: Peer | None = None
        self.reason: DisconnectReason | None = None
        """Why there is no peer."""
        self.init: Init | None = None


class DialHooks(NamedTuple):
    """What dials need of who runs their tasks."""

    start: Callable[[Dialling], None]
    """Starts a task that runs `Dials.run`."""
    attach: Callable[[trio.abc.Stream, bytes, Address, Deadlines, float], Link]
    """A link for a stream that was opened to a node, its task started; the last one is when the handshake has to be
    done."""
    abandon: Callable[[Link], Awaitable[None]]
    """Nobody waits for that link any more."""
    left: Callable[[], bool]
    """Whether the block is being left."""
    racing: Racing
    """Runs the addresses of one name in tasks of their own, none of which outlives it."""


class Dials:
    """The dials that are on their way, by node id."""

    __slots__ = ("_admission", "_deadlines", "_dialling", "_hooks", "_our_node_id", "_present")

    def __init__(
        self, our_node_id: bytes, deadlines: Deadlines, present: Present, admission: Admission, hooks: DialHooks
    ) -> None:
        self._our_node_id: Final = our_node_id
        self._deadlines: Final = deadlines
        self._present: Final = present
        self._admission: Final = admission
        self._hooks: Final = hooks
        self._dialling: dict[bytes, Dialling] = {}

    def __len__(self) -> int:
        return len(self._dialling)

    async def connect(self, asked: Asked) -> Peer:
        """The connected peer, or that of a dial. ConnectError as `PeerNursery.connect`."""
        node_id, where = asked.address.node_id, str(asked.address)
        while True:
            if self._hooks.left():
                raise ConnectError(reasons.shutdown(), where=where)
            if node_id == self._our_node_id:
                raise ConnectError(reasons.own_node_id(), where=where)
            dialling = self._dialling.get(node_id)
            known = self._present.known(node_id)
            if known is not None:
                if dialling is not None:
                    dialling.taken = True
                return known
            if dialling is None or dialling.done.is_set():
                target = self._check(asked)
                dialling = self._dialling[node_id] = Dialling(asked, target)
                self._hooks.start(dialling)
            await self._wait_for(dialling)
            if dialling.peer is not None:
                return dialling.peer
            if dialling.asked == asked:
                raise ConnectError(dialling.reason or reasons.shutdown(), dialling.init, where)
            # Somebody else's, with another address or by another way: that it failed says nothing about ours.

    def _check(self, asked: Asked) -> Address:
        """Where it goes to. ConnectError for what the policy refuses, or the way."""
        address = asked.address
        target = descriptor_of(address.host, address.port)
        reason = self._admission.dial(address.node_id, target, asked.learned)
        if reason is None:
            reason = asked.way.refusal(address.host)
        if reason is not None:
            self._admission.failed(reason)
            raise ConnectError(reason, where=str(address))
        return target

    async def _wait_for(self, dialling: Dialling) -> None:
        """Until it is done. If the last one who waits leaves, it ends."""
        dialling.waiting += 1
        try:
            await dialling.done.wait()
            dialling.taken = True
        except BaseException:
            if dialling.waiting == 1:
                await self._leave(dialling)
            raise
        finally:
            dialling.waiting -= 1
            if not dialling.waiting:
                self._forget(dialling)

    async def _leave(self, dialling: Dialling) -> None:
        """Nobody waits for it any more: it ends, unless its peer is somebody's."""
        link = dialling.link
        made = link is not None and link.session is not None
        if made and dialling.taken:
            return
        if not dialling.done.is_set():
            # Whoever comes now wants a dial of their own, not one that is about to end: it is forgotten.
            dialling.scope.cancel(reason="nobody waits for this dial any more")
            if link is not None:
                link.abandoned = True
        elif link is not None and made:
            # It has succeeded in the same step, and nobody has got what it came to.
            await self._hooks.abandon(link)

    def _forget(self, dialling: Dialling) -> None:
        node_id = dialling.asked.address.node_id
        if self._dialling.get(node_id) is dialling:
            del self._dialling[node_id]

    async def run(self, dialling: Dialling) -> None:
        """Dials, in a task of its own, until it is known what came of it; `finish` has to follow, whatever comes of
        that. Raises what is a bug of the application's."""
        address, way = dialling.asked.address, dialling.asked.way
        deadlines = self._deadlines.times(way.patience)
        until = trio.current_time() + deadlines.handshake
        with dialling.scope as scope:
            scope.deadline = until
            stream = await self._open(dialling)
            scope.deadline = math.inf
            if stream is not None:
                await self._follow(dialling, stream, deadlines, until)
        if scope.cancelled_caught and dialling.waiting:
            # Not by whoever waited for it, and has left: it has taken too long.
            reason = reasons.dial_timeout(address.host, deadlines.handshake, way.proxied, way.through)
            self._fail(dialling, reason)

    def finish(self, dialling: Dialling) -> None:
        """Its task is over: whoever waits sees what came of it, and until then it is seen who else gets its peer."""
        if not dialling.waiting:
            self._forget(dialling)
        dialling.done.set()

    def _fail(self, dialling: Dialling, reason: DisconnectReason) -> None:
        dialling.reason = reason
        self._admission.failed(reason)

    async def _open(self, dialling: Dialling) -> trio.abc.Stream | None:
        """None: it has failed."""
        address, way = dialling.asked.address, dialling.asked.way
        if dialling.asked.learned:
            way = way.learned(self._admit_learned, self._hooks.racing)
        try:
            return await way.open(address.node_id, address.host, address.port)
        except Refused as error:
            self._fail(dialling, error.reason)
        except (OSError, UnicodeError, trio.BrokenResourceError, trio.TooSlowError) as error:
            # UnicodeError: a name that no resolver is asked for, with a label that is empty or too long.
            self._fail(dialling, reasons.dial_failed(error, isinstance(error, ProxyError)))
            forget_frames(error)
        return None

    async def _follow(self, dialling: Dialling, stream: trio.abc.Stream, deadlines: Deadlines, until: float) -> None:
        """From its stream to what came of it."""
        node_id = dialling.asked.address.node_id
        link = dialling.link = self._hooks.attach(stream, node_id, dialling.target, deadlines, until)
        try:
            await link.outcome.wait()
        except BaseException:
            await self._hooks.abandon(link)
            raise
        if link.abandoned:
            # The one who waited has left in the step in which it succeeded.
            await self._hooks.abandon(link)
        try:
            dialling.peer = self._present.outcome_of(link)
        except ConnectError as error:
            dialling.reason, dialling.init = error.reason, error.init
            if error.reason.code is DisconnectCode.CLOSED_IN_HANDSHAKE:
                words = f"{error.reason.message}: {reasons.ANOTHER_NODE}"
                dialling.reason = replace(error.reason, message=words)

    def _admit_learned(self, node_id: bytes, address: Address) -> DisconnectReason | None:
        return self._admission.dial(node_id, address, True)
