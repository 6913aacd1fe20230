"""Where tests look inside the library: the only file of them that does. No test here.

What stands here has no public way, and says why a test may look: mostly that nothing is left over, which nobody but a
test asks. It is typed, so that a part that moves or is renamed is one line here. `tests/project/test_layout.py` finds
whoever looks by himself; only a class that is made from one of the library's sees its own insides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import trio

from triolight import Features, KeptPeer, Peer, PeerManager, PeerNursery, keys
from triolight.address import Address
from triolight.cli import table
from triolight.cli.jobs import demo, listen, ping, top
from triolight.connection import Connection
from triolight.manager.entry import Agenda, Entry
from triolight.manager.roster import Roster
from triolight.manager.routing import Routing
from triolight.manager.seams import Driving, SocketDescriptor
from triolight.messages import Init, Message
from triolight.noise import Opener, Sealer
from triolight.services import utxo
from triolight.services.backends import Backend
from triolight.shell import statistics
from triolight.shell.admission import Admission
from triolight.shell.dials import Dials
from triolight.shell.keep import Keeps
from triolight.shell.link import Link, Session
from triolight.shell.watch import Timers
from triolight.tape import replay
from triolight.testing import SimulatedNetwork
from triolight.testing.flows import Flow
from triolight.websocket import WebSocketStream

# Keys.


def points_looked_up() -> int:
    """How often points were looked up among those that are remembered: only time shows that onions leave them alone."""
    found = keys._read_point.cache_info()
    return found.hits + found.misses


# The manager.


def roster_of(manager: PeerManager) -> Roster:
    """Who stands where. A node hears of connected peers alone; that nobody else is left, or waits, shows only here."""
    return manager._roster


def agenda_of(manager: PeerManager) -> Agenda:
    """What is to be done: that whoever waits is on it is an invariant; a driver sees only too late that it was not."""
    return manager._agenda


def routing_of(manager: PeerManager) -> Routing[Entry]:
    """Who hears a message: to count, on a manager that is driven, what reaches it."""
    return manager._routing


def driving_of(manager: PeerManager) -> Driving:
    """All that came with the driver: that nothing of it stays behind cannot be asked of a manager without one."""
    return manager._seat.driving


def connection_of(manager: PeerManager, descriptor: SocketDescriptor) -> Connection:
    """One peer's bytes, acts and pings, of which drivers hear what is due and never how many there are."""
    return manager._roster.by_descriptor[descriptor].connection


def queue_of(connection: Connection) -> Any:
    """What waits to be written: that it is bounded in entries too, and to say something else in our Init's place."""
    return connection._queue


def says_first(manager: PeerManager, words: Callable[[Init], Message]) -> None:
    """Has a manager say something else first, made of its Init: no handler can, and some have to be wrong."""
    usual = manager._greeting.our_init

    def our_init(features: Features, address: Address | None, inbound: bool) -> Any:
        return words(usual(features, address, inbound))

    manager._greeting.our_init = our_init  # type: ignore[method-assign]


# The shell.


def links_of(peers: PeerNursery) -> Mapping[SocketDescriptor, Link]:
    """The open streams, strangers' too: that none is left over. Its keys are for calls of the manager under the shell's
    feet, as `hold_reading`: a peer that stops reading with its socket open."""
    return peers._parts.present.links


def readers_of(peers: PeerNursery) -> list[Any]:
    """Who reads events: that somebody who has left is not published to any more."""
    return list(peers._parts.news._readers)


def timers_of(peers: PeerNursery) -> Timers[Link | Session]:
    """The heap of timers: that it does not grow. Nobody is told of a timer that does not count any more."""
    return peers._parts.timers


def heap_of(timers: Timers[Any]) -> list[list[Any]]:
    """The entries that wait to be due, those that do not count any more included: that they do not gather."""
    return timers._heap


def admission_of(peers: PeerNursery) -> Admission:
    """Who is counted: that a source without connections is forgotten. Statistics have the sum alone."""
    return peers._parts.admission


def dials_of(peers: PeerNursery) -> Dials:
    """The dials under way by node, of which none may be left when nobody waits."""
    return peers._block.dials


def keeps_of(peers: PeerNursery) -> Keeps[Peer, KeptPeer]:
    """The kept nodes, of which none may be left that nobody keeps."""
    return peers._block.keeps


def places_to_dial_of(peers: PeerNursery) -> trio.CapacityLimiter:
    """The places among the dials of kept nodes: who has one, and who waits."""
    return peers._block._keeping


def tasks_of(peers: PeerNursery) -> trio.Nursery:
    """The tasks of streams: that none of them is left over behind a stream that is gone."""
    streams = peers._block._streams
    assert streams is not None
    return streams


def crash_of(peers: PeerNursery) -> BaseException | None:
    """What has ended the pump, while the block is still being left."""
    return peers._block.pump.crash


def sums_of(peers: PeerNursery) -> statistics.Sums:
    """What a snapshot is made of, slice by slice: that who leaves in between is counted, and once."""
    return statistics._sums(peers._block)


def session_of(peer: Peer) -> Session:
    """The peer's life and its stream: which way it came, and by which deadlines it is judged."""
    return peer._session


# The rest of the library.


def keys_of(cipher: Sealer | Opener) -> tuple[bytes, bytes]:
    """The key and the chaining key of one direction, which BOLT 8's vectors name and nobody may be shown."""
    return cipher._key, cipher._chaining_key


def held_by(stream: WebSocketStream) -> int:
    """Bytes of payload that a WebSocket stream has read and nobody has taken: that they are bounded."""
    return len(stream._payload)


def flows_between(network: SimulatedNetwork, source: str, destination: str) -> list[Flow]:
    """What a simulated network knows of a way: that flows of connections that are gone are forgotten."""
    return [*network._direction(source, destination).flows]


def timers_on(network: SimulatedNetwork) -> tuple[int, int]:
    """How much is still to happen on a simulated network, and how long its heap is: that a connection that has ended
    leaves nothing there."""
    return len(network._clock), len(network._clock._due)


Player: TypeAlias = replay._Player
"""Who plays a tape. The golden records hear from it what a tape does not hold: the questions, and in which call."""
PLAYER: Final = "triolight.tape.replay._Player"
PlayedCall: TypeAlias = replay._Call
NOBODY_WAITS: Final = "triolight.tape.replay._nobody_waits"
"""Where a replayed manager wakes its driver, to be patched: what is woken is part of a golden record."""

# The command. What its tasks share is nobody else's, and cannot be reached through a process at a chosen moment.

PingReport: TypeAlias = ping._PingReport
Guests: TypeAlias = listen._Guests
DEMO_ACCEPTS: Final = "triolight.cli.jobs.demo._accepts"
"""To be patched: a node of the demo that refuses."""
DEMO_GREETING: Final = "triolight.cli.jobs.demo._demo_greeting"
next_of_demo = demo._next
"""Waits for one kind of news of the demo's: for a reader that has others."""
measure = top._measure
"""Pings everybody for the table, again and again: on the mock clock, which a process has not."""
ping_for_table = top._ping
"""One of these pings: to a peer that has just gone."""
table_of = table._table
"""The table of chosen rows and of a chosen width."""


def connected(report: ping._PingReport) -> None:
    """Has the report of a ping believe that it was connected."""
    report._connected = True


def samples_of(report: ping._PingReport) -> int:
    """How many round trips the report keeps: that they are bounded."""
    return len(report._samples)


# The services.


def source_of(backend: Backend, nursery: trio.Nursery) -> utxo._OpenUtxoSource:
    """A source of a chain without HTTP, which `open_utxo` has no place for."""
    return utxo._OpenUtxoSource(backend, "a chain", nursery)
