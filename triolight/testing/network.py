"""SimulatedNetwork: hosts, links and what goes wrong with them, in memory and on the mock clock.

Which way gets through when, who is dialled, and what was sent. Every random choice comes from the seed. No byte leaves
the process.
"""

from __future__ import annotations

import errno
import hashlib
import math
import random
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import trio

from triolight.testing.alarms import Clock
from triolight.testing.flows import Conditions, Direction, End, SocketAddress, Transmission, join, os_error
from triolight.testing.streams import SimulatedListener, SimulatedStream

CONNECT_SECONDS: Final = 127.0
"""How long a dial to a host that does not answer takes to fail: Linux's six retransmissions of SYN."""
FIRST_EPHEMERAL_PORT: Final = 49152
USUAL: Final = Conditions()
"""Of a link that nobody has set."""


@dataclass(slots=True)
class _Machine:
    """What the network and the host itself know of a host."""

    address: str
    ports: dict[int, trio.MemorySendChannel[End]] = field(default_factory=dict[int, trio.MemorySendChannel[End]])
    """Where somebody listens, and what is dialled goes."""
    last_port: int = FIRST_EPHEMERAL_PORT - 1
    down: bool = False

    def free_port(self) -> int:
        self.last_port += 1
        if self.last_port > 65535:
            self.last_port = FIRST_EPHEMERAL_PORT
        return self.last_port


class SimulatedHost:
    """A machine with one address. Made by `SimulatedNetwork.host`."""

    def __init__(self, machine: _Machine, dial: Callable[[_Machine, str, int], Awaitable[SimulatedStream]]) -> None:
        self.address: Final = machine.address
        self._machine: Final = machine
        self._dial: Final = dial

    def __repr__(self) -> str:
        return f"<SimulatedHost {self.address}>"

    @trio.lowlevel.enable_ki_protection
    async def listen(self, port: int = 9735) -> SimulatedListener:
        """A listener on this port, 0 for any: give it to `PeerNursery.listen_on`. A checkpoint. OSError: taken."""
        await trio.lowlevel.checkpoint()
        port = port or self._machine.free_port()
        if port in self._machine.ports:
            raise os_error(errno.EADDRINUSE)
        return SimulatedListener((self.address, port), self._machine.ports)

    @trio.lowlevel.enable_ki_protection
    async def dial(self, address: str, port: int) -> SimulatedStream:
        """Connects to a host of this network: give it to `open_peer_nursery` as its `dial`.

        Takes a round trip. Raises OSError as a socket would: refused where nobody listens, timed out after
        CONNECT_SECONDS where nobody answers, socket.gaierror for a host that the network does not know. Cancelled: the
        other side sees a reset, if it has seen anything.
        """
        return await self._dial(self._machine, address, port)


class SimulatedNetwork:
    """A network in memory. One seed, one course of events, as long as tasks run in the same order: `run_seeded`.

    Hosts are given as SimulatedHost or by address. What changes a link acts at once, also on connections that are
    there. While nothing gets through, TCP keeps what it has sent: it arrives when the way is free again. (What is not
    modelled: that TCP gives up after a quarter of an hour, and that it slows down.)
    """

    def __init__(
        self,
        seed: int,
        conditions: Conditions = USUAL,
        *,
        cut: bool = True,
        on_sent: Callable[[Transmission], None] | None = None,
    ) -> None:
        """`conditions` are those of every link that `link` does not set. `cut`: reads end at random places, so that
        every boundary of bytes gets its turn; False: a read gives all there is. `on_sent` hears of all that is sent."""
        self.seed: Final = seed
        self._rng: Final = random.Random(seed)
        self._conditions: Final = conditions
        self._cutting: Final = cut
        self._on_sent: Final = on_sent
        self._hosts: dict[str, SimulatedHost] = {}
        self._machines: dict[str, _Machine] = {}
        self._directions: dict[tuple[str, str], Direction] = {}
        self._stalled: dict[tuple[str, str], None] = {}
        self._partitions: list[frozenset[str]] = []
        self._changed = trio.Event()
        self._digest = hashlib.sha256()
        self._clock: Final = Clock()

    def __repr__(self) -> str:
        return f"<SimulatedNetwork, seed {self.seed}, {len(self._hosts)} hosts>"

    def host(self, address: str | None = None) -> SimulatedHost:
        """The host with this address (an IP address or a name), made if need be. None: a new one in 10.0.0.0/8."""
        if address is None:
            number = len(self._hosts) + 1
            address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        host = self._hosts.get(address)
        if host is None:
            machine = self._machines[address] = _Machine(address)
            host = self._hosts[address] = SimulatedHost(machine, self._dial)
        return host

    def _known(self, host: SimulatedHost | str) -> _Machine:
        address = host if isinstance(host, str) else host.address
        if address not in self._machines:
            raise ValueError(f"no host has the address {address}")
        return self._machines[address]

    def link(
        self, one: SimulatedHost | str, other: SimulatedHost | str, conditions: Conditions, *, back: bool = True
    ) -> None:
        """Sets the conditions from `one` to `other`, and back if `back`. Bytes on their way keep theirs."""
        one, other = self._known(one).address, self._known(other).address
        self._direction(one, other).conditions = conditions
        if back:
            self._direction(other, one).conditions = conditions

    def stall(self, source: SimulatedHost | str, destination: SimulatedHost | str) -> None:
        """Nothing gets from `source` to `destination` any more; the other direction is untouched."""
        self._stalled[self._known(source).address, self._known(destination).address] = None
        self._update()

    def resume(self, source: SimulatedHost | str, destination: SimulatedHost | str) -> None:
        """Ends a stall."""
        self._stalled.pop((self._known(source).address, self._known(destination).address), None)
        self._update()

    def partition(self, hosts: Iterable[SimulatedHost | str]) -> None:
        """Cuts these hosts off from all others, in both directions. Several partitions may hold at a time."""
        self._partitions.append(frozenset(self._known(host).address for host in hosts))
        self._update()

    def heal(self) -> None:
        """Ends all partitions."""
        self._partitions.clear()
        self._update()

    def reset(self, one: SimulatedHost | str, other: SimulatedHost | str) -> None:
        """Breaks every connection between two hosts: both ends see a reset, at once."""
        one, other = self._known(one).address, self._known(other).address
        for flow in list(self._direction(one, other).flows):
            for end in (flow.sender, flow.receiver):
                end.break_by(errno.ECONNRESET)

    def vanish(self, host: SimulatedHost | str) -> None:
        """The host is off the network without a word, no FIN, no RST. Its own streams break; the others' never hear.

        Its listeners stay, for when it is restored.
        """
        machine = self._known(host)
        machine.down = True
        for (source, _), direction in list(self._directions.items()):
            if source == machine.address:
                for flow in list(direction.flows):
                    flow.sender.vanish(trio.current_time())
        self._update()

    def restore(self, host: SimulatedHost | str) -> None:
        """A host that has vanished is back, and knows nothing of its connections: their bytes are answered by RST."""
        self._known(host).down = False
        self._update()

    def _blocked(self, source: str, destination: str) -> bool:
        return (
            self._machines[source].down
            or self._machines[destination].down
            or (source, destination) in self._stalled
            or any((source in part) != (destination in part) for part in self._partitions)
        )

    def _update(self) -> None:
        """After every change of what gets through: flows stop or go on, and dials look again."""
        now = trio.current_time()
        for (source, destination), direction in self._directions.items():
            direction.set_blocked(self._blocked(source, destination), now)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _direction(self, source: str, destination: str) -> Direction:
        direction = self._directions.get((source, destination))
        if direction is None:
            conditions = Conditions(latency=0) if source == destination else self._conditions
            direction = self._directions[source, destination] = Direction(conditions, self._rng)
            direction.blocked = self._blocked(source, destination)
        return direction

    async def _dial(self, machine: _Machine, address: str, port: int) -> SimulatedStream:
        await trio.lowlevel.checkpoint()
        target = self._machines.get(address)
        if target is None:
            raise socket.gaierror(socket.EAI_NONAME, f"no host {address} on the simulated network")
        there, back = self._direction(machine.address, address), self._direction(address, machine.address)
        with trio.move_on_after(CONNECT_SECONDS):
            while True:
                while there.blocked or back.blocked:
                    await self._changed.wait()
                await trio.sleep(there.delay())
                if there.blocked or back.blocked:
                    continue
                accepting = target.ports.get(port)
                if accepting is None:
                    await trio.sleep(back.delay())
                    raise os_error(errno.ECONNREFUSED)
                ours, theirs = self._connect(there, back, (machine.address, machine.free_port()), (address, port))
                try:
                    await accepting.send(theirs)
                except BaseException:
                    ours.abort()
                    theirs.abort()
                    raise
                try:
                    on_its_way = True
                    while on_its_way:
                        while there.blocked or back.blocked:
                            await self._changed.wait()
                        await trio.sleep(back.delay())
                        on_its_way = there.blocked or back.blocked
                except BaseException:
                    ours.abort()
                    raise
                if ours.broken is not None:
                    raise ours.broken
                return SimulatedStream(ours)
        raise os_error(errno.ETIMEDOUT)

    def _connect(
        self, there: Direction, back: Direction, local: SocketAddress, remote: SocketAddress
    ) -> tuple[End, End]:
        ours = End(self._clock, self._record, self._cut, local, remote)
        theirs = End(self._clock, self._record, self._cut, remote, local)
        join(ours, theirs, there, back)
        lifetime = min(there.conditions.mean_lifetime, back.conditions.mean_lifetime)
        if lifetime < math.inf:
            lost_at = trio.current_time() + self._rng.expovariate(1 / lifetime)
            for end in (ours, theirs):
                end.lose_at(lost_at)
        return ours, theirs

    def stream_pair(
        self, one: SimulatedHost | str, other: SimulatedHost | str
    ) -> tuple[SimulatedStream, SimulatedStream]:
        """A connection that is there at once, for `PeerNursery.attach` and for tests."""
        here, far = self._known(one), self._known(other)
        there, back = self._direction(here.address, far.address), self._direction(far.address, here.address)
        ours, theirs = self._connect(there, back, (here.address, here.free_port()), (far.address, far.free_port()))
        return SimulatedStream(ours), SimulatedStream(theirs)

    def _cut(self, count: int) -> int:
        """How many of `count` bytes a read gives."""
        if not self._cutting or count == 1 or self._rng.random() < 0.5:
            return count
        return self._rng.randint(1, count - 1)

    def _record(self, sent: Transmission) -> None:
        self._digest.update(
            f"{sent.at!r} {sent.source[0]}:{sent.source[1]} {sent.destination[0]}:{sent.destination[1]} "
            f"{len(sent.data)} ".encode()
        )
        self._digest.update(sent.data)
        if self._on_sent is not None:
            self._on_sent(sent)

    def transcript(self) -> str:
        """A hash (SHA256, in hex) of all that was sent so far: who, to whom, what, and when."""
        return self._digest.hexdigest()
