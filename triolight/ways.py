"""Ways: how a node's address becomes a stream. Plain TCP, a proxy, an application's own dial are one kind of thing.

A way says whom it cannot or must not reach, how patient one has to be with it, and opens streams. It knows no peer, and
starts no task: the addresses of one name are raced in tasks of whoever gives a `Racing`. That an onion name is reached
through a proxy alone, and that no resolver ever hears of one, stands here and nowhere else: the name itself is a secret
that DNS would spread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import trio

from triolight import reasons
from triolight.address import Address, DnsAddress, descriptor_of, is_ip, is_onion
from triolight.errors import DisconnectReason
from triolight.proxy import Proxy, check_extra, open_through
from triolight.text import place

__all__ = [
    "Dial",
    "DialWay",
    "ProxyWay",
    "Race",
    "Racing",
    "Refused",
    "Tcp",
    "Way",
]

MAX_RESOLVED: Final = 8
"""Addresses tried of those that an announced name resolves to: whoever announced it could make us knock at hundreds."""
HEAD_START: Final = 0.25
"""Seconds that an address of a name has before the next one is tried beside it: Trio's, and RFC 8305's."""
PROXY_PATIENCE: Final = 3
"""Through a proxy the protocol's deadlines are so many times as long: Tor takes three hops each way."""

Dial: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Host and port to a connected stream; `trio.open_tcp_stream` is one.

OSError, UnicodeError, trio.BrokenResourceError and TooSlowError say that there is none, and are the ConnectError's
reason. Whatever else it raises is a bug of the application, and ends the block as a handler's does. To resolve names is
its own matter: not to ask DNS for an onion, and not to go where an announced name leads inside one's own network.
"""


Admit: TypeAlias = Callable[[bytes, Address], DisconnectReason | None]
"""Whether a node may be dialled at an address that others have told us: a reason refuses it."""


class Refused(OSError):
    """This address is not dialled: `reason`."""

    def __init__(self, reason: DisconnectReason) -> None:
        super().__init__(reason.message)
        self.reason: Final = reason


class Race:
    """Attempts to reach one node, of which one is enough: each begins HEAD_START seconds after the one before, or when
    that one has failed, and the first stream ends the others."""

    __slots__ = ("_attempts", "_errors", "_streams")

    def __init__(self, attempts: Iterable[Callable[[], Awaitable[trio.abc.Stream]]]) -> None:
        self._attempts: Final = tuple(attempts)
        self._errors: list[OSError] = []
        self._streams: list[trio.abc.Stream] = []
        """One, or more if they came in the same step."""

    @trio.lowlevel.enable_ki_protection
    async def run(self, start: Callable[..., object], end: Callable[[], object]) -> None:
        """Begins them: `start` starts a task, and `end` ends all of these and this one."""
        for attempt in self._attempts:
            failed = trio.Event()
            start(self._try, attempt, failed, end)
            with trio.move_on_after(HEAD_START):
                await failed.wait()

    @trio.lowlevel.enable_ki_protection
    async def in_turn(self) -> None:
        """Each when the one before has failed, without a task."""
        for attempt in self._attempts:
            await self._try(attempt, trio.Event(), lambda: None)
            if self._streams:
                return

    @trio.lowlevel.enable_ki_protection
    async def _try(
        self, attempt: Callable[[], Awaitable[trio.abc.Stream]], failed: trio.Event, end: Callable[[], object]
    ) -> None:
        try:
            self._streams.append(await attempt())
        except OSError as error:
            self._errors.append(error)
            failed.set()
        else:
            end()

    async def won(self) -> trio.abc.Stream:
        """The first stream; the others are closed. OSError, caused by all that was wrong, if there is none."""
        if not self._streams:
            raise OSError("no connection with any address") from ExceptionGroup("", self._errors)
        first = self._streams.pop(0)
        await self.close()
        return first

    async def close(self) -> None:
        """Nobody wants a stream any more."""
        for stream in self._streams:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


Racing: TypeAlias = Callable[[Race], Awaitable[None]]
"""Runs a race to its end, in tasks or without: `Race.run`, or `Race.in_turn`."""


class Way(ABC):
    """One way to reach nodes. Two that are equal are the same way: whoever dials one node by it shares the dial.

    Subclass it for another transport: a `trio.abc.Stream` that carries bytes in order is all that a peer needs.
    """

    @property
    def patience(self) -> float:
        """The protocol's deadlines, but the goodbye's, are so many times as long on this way."""
        return 1

    @property
    def proxied(self) -> bool:
        """Whether a dial that fails is the fault of somebody between: PROXY_FAILED and not TCP_FAILED."""
        return False

    @property
    def through(self) -> str:
        """Who is between, in words, for the reason of a dial that nobody answers. As it stands: nobody is known."""
        return ""

    def refusal(self, host: str) -> DisconnectReason | None:
        """Why this host is not dialled on this way; None if it may be. Asked before anything is opened, and before any
        resolver hears of a name. As it stands: an onion is refused."""
        return reasons.onion_without_proxy() if is_onion(host) else None

    def learned(self, admit: Admit, racing: Racing = Race.in_turn) -> Way:
        """This way for addresses that somebody has announced. As it stands: itself. One that resolves names here asks
        `admit` about each address that a name resolves to, for whoever announced the name chooses that, and gives
        those that are left to `racing`."""
        return self

    @abstractmethod
    async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
        """A connected stream. Raises what `Dial` may. The deadline is the caller's; cancelled, it closes what it has
        opened."""


@dataclass(frozen=True, slots=True)
class Tcp(Way):
    """Plain TCP; names are asked of the system's resolver, onions are refused."""

    def learned(self, admit: Admit, racing: Racing = Race.in_turn) -> Way:
        return LearnedTcp(admit, racing)

    @trio.lowlevel.enable_ki_protection
    async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
        refused = self.refusal(host)
        if refused is not None:
            raise Refused(refused)
        return await (open_address if is_ip(host) else trio.open_tcp_stream)(host, port)


async def open_address(host: str, port: int) -> trio.SocketStream:
    """As `trio.open_tcp_stream`, to an IP address: there is nothing to resolve and nobody to race, for which that one
    starts a task. OSError if it fails; cancelled, the socket is closed."""
    socket = trio.socket.socket(trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET)
    try:
        await socket.connect((host, port))
    except BaseException:
        socket.close()
        raise
    return trio.SocketStream(socket)


@dataclass(frozen=True, slots=True)
class LearnedTcp(Tcp):
    """Plain TCP to what somebody has announced. Whoever announced a name chooses what it resolves to: `admit` is asked
    about each address, by host, and what is asked about is what is dialled, for the next answer of his DNS may be
    another one."""

    admit: Admit
    racing: Racing

    @trio.lowlevel.enable_ki_protection
    async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
        """The first that answers of at most `MAX_RESOLVED` addresses, raced in the resolver's order; the second one is
        of the other family, if there is one (RFC 6555 5.4)."""
        if not isinstance(descriptor_of(host, port), DnsAddress):
            return await Tcp.open(self, node_id, host, port)
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        refusal = reasons.no_address()
        hosts: list[str] = []
        for one in dict.fromkeys(str(at[0]).partition("%")[0] for *_, at in found):
            refused = self.admit(node_id, descriptor_of(one, port))
            if refused is None:
                hosts.append(one)
            else:
                refusal = refused
        if not hosts:
            raise Refused(refusal)
        other = next((one for one in hosts if (":" in one) != (":" in hosts[0])), None)
        if other is not None:
            hosts.remove(other)
            hosts.insert(1, other)
        race = Race(partial(trio.open_tcp_stream, one, port) for one in hosts[:MAX_RESOLVED])
        try:
            await self.racing(race)
        except BaseException:
            await race.close()
            raise
        return await race.won()


@dataclass(frozen=True, slots=True)
class ProxyWay(Way):
    """Through a SOCKS5 proxy: names and onions go there as names, nodes do not share a circuit. ImportError without the
    extra `tor`."""

    proxy: Proxy

    def __post_init__(self) -> None:
        check_extra()

    @property
    def patience(self) -> float:
        return PROXY_PATIENCE

    @property
    def proxied(self) -> bool:
        return True

    @property
    def through(self) -> str:
        return f"proxy {place(self.proxy.host, self.proxy.port)}"

    def refusal(self, host: str) -> DisconnectReason | None:
        return None

    async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
        return await open_through(self.proxy, host, port, isolation=node_id.hex())


@dataclass(frozen=True, slots=True)
class DialWay(Way):
    """An application's own `dial`, which has its own mind about names and onions."""

    dial: Dial

    def refusal(self, host: str) -> DisconnectReason | None:
        return None

    async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
        return await self.dial(host, port)


def way_of(dial: Dial | None) -> Way:
    """The way that an application means by its `dial`: plain TCP by None, and by Trio's own function."""
    return Tcp() if dial is None or dial is trio.open_tcp_stream else DialWay(dial)


def way_by(proxy: Proxy | None, way: Way | None) -> Way | None:
    """Both arguments as one. ImportError for a proxy without the extra `tor`."""
    if proxy is None:
        return way
    if way is not None:
        raise ValueError("a dial goes by a proxy or by a way, not by both")
    return ProxyWay(proxy)
