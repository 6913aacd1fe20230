"""The PeerManager without Trio: two nodes on non-blocking sockets and `selectors`, in one thread.

It shows all that the driver of a PeerManager has to do. A `Connection` is what the manager writes to, and what it tells
when not to read; `run` is the loop. Bob sends Alice two megabytes and gets six: her writes fall short, and her manager
does not read more from him until he has read his answers. Then a tick pings, and Bob says goodbye.

    python examples/sans_io.py
"""

from __future__ import annotations

import secrets
import selectors
import socket
import time
from collections.abc import Callable

from triolight.actions import SendMessages
from triolight.errors import PeerHandleError
from triolight.handlers import ChannelMessageHandler, CustomMessageHandler, MessageHandler, RoutingMessageHandler
from triolight.logger import Level, Record
from triolight.messages import BOLT, Message, message
from triolight.peer_manager import PeerManager, SocketDescriptor
from triolight.wire import remainder

TICK_SECONDS = 10.0
SEND_BUFFER_BYTES = 16 * 1024  # small, to see short writes; a real program leaves it to the kernel


@message(40003)
class Parcel(Message):
    content: remainder


# ---------------------------------------------------------------------------------------------------------------------
# The driver


class Node:
    """A PeerManager with its connections. `loop` calls what is registered with each socket."""

    def __init__(self, name: str, loop: selectors.BaseSelector, custom_handler: CustomMessageHandler) -> None:
        self.name = name
        self.loop = loop
        self.connections: set[Connection] = set()
        self.short_writes = self.pauses = 0
        self.manager = PeerManager(
            MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), custom_handler=custom_handler),
            secrets.token_bytes(32),  # the node's secret key
            secrets.token_bytes(32),  # fresh randomness for the session keys
            Printer(name),
            messages=BOLT | {Parcel},
        )

    def dial(self, their_node_id: bytes, address: tuple[str, int]) -> None:
        connection = Connection(self, socket.create_connection(address))
        act_one = self.manager.new_outbound_connection(their_node_id, connection, address)
        connection.socket.sendall(act_one)  # 50 bytes fit into any new socket

    def accept(self, listener: socket.socket) -> None:
        accepted, address = listener.accept()
        self.manager.new_inbound_connection(Connection(self, accepted), address)

    def messages_received(self) -> int:
        counts = [self.manager.connection_counts(one) for one in self.connections]
        return sum(one[0] for one in counts if one is not None)

    def tick(self) -> None:
        self.manager.timer_tick_occurred()
        for connection in [one for one in self.connections if one.ending]:
            connection.patience -= 1
            if not connection.patience:
                connection.close()  # the other side had a whole tick to end its half


class Connection(SocketDescriptor):
    """One socket. Two methods are the manager's, which they must not call back; the others are called by the loop."""

    def __init__(self, node: Node, connected: socket.socket) -> None:
        self.node = node
        self.socket = connected
        self.reading, self.writing, self.ending = True, False, False
        self.patience = 2
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        node.connections.add(self)
        self.watch()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def send_data(self, data: bytes, resume_read: bool) -> int:
        taken = 0
        if data:
            try:
                taken = self.socket.send(data)
            except BlockingIOError:
                pass  # no room for a single byte: a short write like others
            except OSError:
                taken = len(data)  # the connection is dead. `readable` will find out; until then, write to nowhere
            self.writing = taken < len(data)
            self.node.short_writes += self.writing
        self.node.pauses += self.reading and not resume_read
        self.reading = resume_read
        self.watch()
        return taken

    def disconnect_socket(self) -> None:
        # The last words are the kernel's now. If we closed at once, with input unread, it would send RST in their
        # place; so we end our half, and close when the other side has ended its own.
        self.ending, self.writing = True, False
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side is gone already
        self.watch()

    def ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.writing = False
            self.node.manager.write_buffer_space_avail(self)
            self.watch()
        if events & selectors.EVENT_READ:
            self.readable()

    def readable(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a reset is an end as well
        if not data:
            self.node.manager.socket_disconnected(self)
            self.close()
        elif not self.ending:
            try:
                paused = self.node.manager.read_event(self, data)
            except PeerHandleError:
                self.close()  # its handshake is wrong: there is nothing to say, and the manager has forgotten it
                return
            if paused:
                self.node.pauses += 1
                self.reading = False  # until the manager calls send_data(..., resume_read=True)
                self.watch()

    def watch(self) -> None:
        """Tells the loop what to wait for."""
        events = selectors.EVENT_READ if self.reading or self.ending else 0
        events |= selectors.EVENT_WRITE if self.writing else 0
        if self.socket in self.node.loop.get_map():
            self.node.loop.unregister(self.socket)
        if events:
            self.node.loop.register(self.socket, events, self.ready)

    def close(self) -> None:
        self.reading = self.writing = self.ending = False
        self.watch()
        self.socket.close()
        self.node.connections.discard(self)


def run(loop: selectors.BaseSelector, nodes: list[Node], until: Callable[[], bool]) -> None:
    """The loop: write what there is to write, wait, hand out what has come. Now and then, a tick."""
    next_tick = time.monotonic() + TICK_SECONDS
    while not until():
        for node in nodes:
            node.manager.process_events()
        for key, events in loop.select(max(0, next_tick - time.monotonic())):
            key.data(events)
        if time.monotonic() >= next_tick:
            next_tick += TICK_SECONDS
            for node in nodes:
                node.tick()


# ---------------------------------------------------------------------------------------------------------------------
# The application


class Printer:
    """A logger: anything with `log`, and, if it wants, with a level."""

    level = Level.INFO

    def __init__(self, name: str) -> None:
        self.name = name

    def log(self, record: Record) -> None:
        print(f"{self.name}: {record}")


class SendsThreeBack(CustomMessageHandler):
    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        self.push(SendMessages(node_id, message, message, message))


class Counts(CustomMessageHandler):
    received = 0

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        self.received += 1


def main() -> None:
    counts = Counts()
    with selectors.DefaultSelector() as loop, socket.create_server(("127.0.0.1", 0)) as listener:
        alice, bob = nodes = [Node("alice", loop, SendsThreeBack()), Node("bob", loop, counts)]

        def ready(events: int) -> None:
            alice.accept(listener)

        loop.register(listener, selectors.EVENT_READ, ready)
        bob.dial(alice.manager.our_node_id, listener.getsockname())
        run(loop, nodes, until=lambda: bool(alice.manager.list_peers() and bob.manager.list_peers()))

        parcels = [Parcel(content=secrets.token_bytes(50_000)) for _ in range(40)]
        bob.manager.send_message(alice.manager.our_node_id, *parcels)
        run(loop, nodes, until=lambda: counts.received == 3 * len(parcels))
        for node in nodes:
            print(f"{node.name}: {node.short_writes} short writes, {node.pauses} pauses of reading")

        before = bob.messages_received()
        bob.tick()  # `run` does it every TICK_SECONDS
        run(loop, nodes, until=lambda: bob.messages_received() > before)
        print("bob: the tick's ping has its pong")

        bob.manager.disconnect_all_peers("that was all")
        run(loop, nodes, until=lambda: not (alice.connections or bob.connections))


if __name__ == "__main__":
    main()
