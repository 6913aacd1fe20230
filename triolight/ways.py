"""Ways: how a node's address becomes a stream. Plain TCP, a proxy, an application's own dial are one kind of thing.

A way says whom it cannot or must not reach, how patient one has to be with it, and opens streams. It starts no task and
knows no peer. That an onion name is reached through a proxy alone, and that no resolver ever hears of one, stands here
and nowhere else: the name itself is a secret that DNS would spread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import trio

from triolight import reasons
from triolight.address import Address, DnsAddress, descriptor_of, is_onion
from triolight.errors import DisconnectReason
from triolight.proxy import Proxy, check_extra, open_through
from triolight.text import place

MAX_RESOLVED: Final = 8
"""Addresses tried of those that an announced name resolves to: each has its share of the deadline, and whoever
announced the name could make us knock at hundreds."""
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


class NoAnswer(OSError):
    """Nobody has answered in time."""


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

    def learned(self, admit: Admit) -> Way:
        """This way for addresses that somebody has announced. As it stands: itself. One that resolves names here asks
        `admit` about each address that a name resolves to, for whoever announced the name chooses that."""
        return self

    @abstractmethod
    async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
        """A connected stream. Raises what `Dial` may. The deadline is the caller's; cancelled, it closes what it has
        opened."""


@dataclass(frozen=True, slots=True)
class Tcp(Way):
    """Plain TCP; names are asked of the system's resolver, onions are refused."""

    def learned(self, admit: Admit) -> Way:
        return LearnedTcp(admit)

    @trio.lowlevel.enable_ki_protection
    async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
        refused = self.refusal(host)
        if refused is not None:
            raise Refused(refused)
        return await trio.open_tcp_stream(host, port)


@dataclass(frozen=True, slots=True)
class LearnedTcp(Tcp):
    """Plain TCP to what somebody has announced. Whoever announced a name chooses what it resolves to: `admit` is asked
    about each address, by host, and what is asked about is what is dialled, for the next answer of his DNS may be
    another one."""

    admit: Admit

    @trio.lowlevel.enable_ki_protection
    async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
        """The first of at most `MAX_RESOLVED` addresses that answers, in the resolver's order, each in its share of the
        time that is left."""
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
        hosts = hosts[:MAX_RESOLVED]
        errors: list[OSError] = []
        by = trio.current_effective_deadline()
        for number, one in enumerate(hosts):
            now = trio.current_time()
            with trio.CancelScope(deadline=now + (by - now) / (len(hosts) - number)):
                try:
                    return await trio.open_tcp_stream(one, port)
                except OSError as error:
                    errors.append(error)
        if errors:
            raise OSError(f"no connection with any address of {host}") from ExceptionGroup("", errors)
        raise NoAnswer(f"no address of {host} has answered in time")


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
