"""Two PeerManagers joined in memory: no sockets, no tasks, no clock but the test's own, and no Trio.

For tests of handlers, and of whatever drives a manager. A `MemoryNode` is a manager with a driver that writes down what
it hears. A `Wire` is a connection between two of them; bytes travel when the test says so, as many as it says. It keeps
the contract of `SocketDescriptor` as a driver over sockets does: it does not read for a manager that wants to hear
nothing, says when there is room again after a short write, and reports an end behind the bytes that went before it.
"""

from __future__ import annotations

from typing import Final

from triolight.errors import DisconnectReason, PeerHandleError
from triolight.messages import Init, Message, UnknownMessage
from triolight.peer_manager import PeerDetails, PeerManager, PeerObserver, SocketDescriptor

STEPS: Final = 100_000
"""After so many rounds `run` takes two handlers to answer each other for ever."""


class MemoryDescriptor(SocketDescriptor):
    """One end of a wire, as its manager sees a socket. What the manager writes waits here until somebody takes it."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        """So many bytes may wait: more are not taken, which is a short write. None: any number; 0: it takes nothing.
        May be changed at any time."""
        self.waiting = bytearray()
        """What was taken, and nobody has carried on."""
        self.reading = True
        """Whether the manager wants to be given bytes."""
        self.short = False
        """The last write was short, and the manager has not heard of room since."""
        self.ended = False
        """The manager has called `disconnect_socket`."""
        self.lost = False
        """It is closed, and not by the manager: the other side has ended it, it was cut, or `fault` says why."""
        self.fault: PeerHandleError | None = None
        """What `read_event` has raised: the manager does not know this connection any more."""

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    @property
    def closed(self) -> bool:
        """The manager writes no more here, and is given nothing."""
        return self.ended or self.lost

    @property
    def has_room(self) -> bool:
        """Whether it takes a byte more."""
        return self.capacity is None or len(self.waiting) < self.capacity

    def send_data(self, data: bytes, resume_read: bool) -> int:
        if self.closed:
            return len(data)
        self.reading = resume_read
        room = len(data) if self.capacity is None else max(0, self.capacity - len(self.waiting))
        taken = data[:room]
        self.waiting += taken
        self.short = len(taken) < len(data)
        return len(taken)

    def disconnect_socket(self) -> None:
        self.ended = True

    def take(self, most: int | None = None) -> bytes:
        """The first `most` bytes that wait, or all of them."""
        data = bytes(self.waiting[:most])
        del self.waiting[: len(data)]
        return data


class MemoryNode:
    """A manager that is driven by a test. From here on it is nobody else's to drive, until its `release`."""

    def __init__(self, manager: PeerManager) -> None:
        self.manager: Final = manager
        self.now = 0.0
        """The manager's time in seconds, unless it was made with a clock. It stands until the test changes it."""
        self.connected: Final[dict[SocketDescriptor, PeerDetails]] = {}
        """The peers, by connection."""
        self.parked: Final[list[SocketDescriptor]] = []
        """Connections that wait in case another one with the same node dies."""
        self.ended: Final[dict[SocketDescriptor, DisconnectReason]] = {}
        """Why each connection was ended, in the order in which it was decided."""
        self.messages: Final[list[Message | UnknownMessage]] = []
        """What came after Init, as it came, from all peers."""
        self.woken = 0
        """How often the manager has asked for `process_events`."""
        manager.drive(_Writes(self), self._wake, lambda: self.now)

    def __repr__(self) -> str:
        return f"<MemoryNode {self.node_id.hex()[:16]}, {len(self.connected)} peers>"

    @property
    def node_id(self) -> bytes:
        """33 bytes."""
        return self.manager.our_node_id

    def _wake(self) -> None:
        self.woken += 1


class _Writes(PeerObserver):
    """Writes down what a manager tells its driver."""

    def __init__(self, node: MemoryNode) -> None:
        self._node: Final = node

    def _left(self, descriptor: SocketDescriptor) -> None:
        self._node.connected.pop(descriptor, None)
        if descriptor in self._node.parked:
            self._node.parked.remove(descriptor)

    def peer_connected(self, descriptor: SocketDescriptor, details: PeerDetails) -> None:
        self._left(descriptor)
        self._node.connected[descriptor] = details

    def peer_parked(self, descriptor: SocketDescriptor) -> None:
        self._left(descriptor)
        self._node.parked.append(descriptor)

    def peer_demoted(self, descriptor: SocketDescriptor, reason: DisconnectReason) -> None:
        self._left(descriptor)

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        self._left(descriptor)
        self._node.ended[descriptor] = reason

    def message_received(self, descriptor: SocketDescriptor, message: Message | UnknownMessage, data: bytes) -> None:
        self._node.messages.append(message)


class Wire:
    """A connection, which `near` has dialled to `far`. Nothing has travelled when it is made.

    A node may have many, and two of them several with each other.
    """

    def __init__(
        self,
        near: MemoryNode,
        far: MemoryNode,
        *,
        capacity: int | None = None,
        near_address: tuple[str, int] | None = None,
        far_address: tuple[str, int] | None = None,
    ) -> None:
        """`capacity` is that of both ends. The addresses are what either side is told of the other: `far` of
        `near_address`, `near` of `far_address`. ValueError if both have the same node id."""
        self.near: Final = near
        self.far: Final = far
        self.at_near: Final = MemoryDescriptor(capacity)
        self.at_far: Final = MemoryDescriptor(capacity)
        act_one = near.manager.new_outbound_connection(far.node_id, self.at_near, far_address)
        self.at_near.waiting += act_one
        far.manager.new_inbound_connection(self.at_far, near_address)

    def __repr__(self) -> str:
        waiting = f"{len(self.at_near.waiting)} and {len(self.at_far.waiting)} bytes wait"
        return f"<Wire from {self.near.node_id.hex()[:16]} to {self.far.node_id.hex()[:16]}, {waiting}>"

    def connect(self) -> Wire:
        """Runs until nothing more happens, and returns the wire: ``Wire(near, far).connect()``.

        AssertionError, with what either side says, unless both have accepted the other's Init by then.
        """
        self.run()
        if self.at_near not in self.near.connected or self.at_far not in self.far.connected:
            why = [
                f"{name}: {found}"
                for name, node, end in (("near", self.near, self.at_near), ("far", self.far, self.at_far))
                if (found := end.fault or node.ended.get(end)) is not None
            ]
            raise AssertionError("\n    ".join(("the nodes have not connected", *why)))
        return self

    def run(self, most: int | None = None) -> None:
        """Steps until nothing more happens: nobody has anything to say, or nobody reads it, or it is over.

        `most` bytes in one read, so that 1 tries every boundary. AssertionError after STEPS steps: then two handlers
        answer each other for ever.
        """
        for _ in range(STEPS):
            if not self.step(most):
                return
        raise AssertionError(f"the nodes still talk after {STEPS} steps")

    def step(self, most: int | None = None) -> bool:
        """One round: both managers process their events, then each is given what had been written for it until then,
        `most` bytes at the most, and processes what follows. Returns whether anything has happened."""
        for node in (self.near, self.far):
            node.manager.process_events()
        counts = len(self.at_near.waiting), len(self.at_far.waiting)
        happened = False
        for source, count in zip((self.at_near, self.at_far), counts, strict=True):
            happened |= self.carry(source, count if most is None else min(count, most)) > 0
            happened |= self._end_behind(source)
            happened |= self._tell_of_room(source)
        return happened

    def carry(self, source: MemoryDescriptor, most: int | None = None) -> int:
        """Gives what waits at one end of this wire, `most` bytes at the most, to the other end's manager in one read,
        and lets it process what follows. Returns how many bytes: none while that manager does not want to read."""
        node, end = (self.far, self.at_far) if source is self.at_near else (self.near, self.at_near)
        if not (end.reading or end.closed):
            return 0
        data = source.take(most)
        if data and not end.closed:  # what comes for a closed socket is nobody's
            try:
                if node.manager.read_event(end, data):
                    end.reading = False
            except PeerHandleError as error:
                end.fault, end.lost = error, True
            node.manager.process_events()
        return len(data)

    def cut(self) -> None:
        """The connection is lost, with all that waits. Both managers are told, by `socket_disconnected`."""
        for node, end in ((self.near, self.at_near), (self.far, self.at_far)):
            end.waiting.clear()
            self._lose(node, end)

    def _end_behind(self, source: MemoryDescriptor) -> bool:
        """Of a closed end the other side hears when it has read all that was written before."""
        node, end = (self.far, self.at_far) if source is self.at_near else (self.near, self.at_near)
        if not source.closed or source.waiting or end.closed or not end.reading:
            return False
        self._lose(node, end)
        return True

    def _lose(self, node: MemoryNode, end: MemoryDescriptor) -> None:
        if not end.closed:
            end.lost = True
            node.manager.socket_disconnected(end)
            node.manager.process_events()

    def _tell_of_room(self, source: MemoryDescriptor) -> bool:
        if not source.short or not source.has_room or source.closed:
            return False
        source.short = False
        node = self.near if source is self.at_near else self.far
        node.manager.write_buffer_space_avail(source)
        return True
