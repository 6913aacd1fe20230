"""open_onion_messenger: onion messages for tasks that wait. What is opened, sent and dropped the messenger decides.

An answer is waited for as long as its caller waits, and a peer is there to which the request went. Messages that
nobody asked for wait for their readers, no more than so many, and never hold up a peer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

import trio

from triolight.address import NodeAddress
from triolight.errors import DisconnectReason, PeerClosed, TriolightError
from triolight.messages import BlindedPath, OnionmsgTlv
from triolight.onion.messenger import NoRoute, OnionMessenger, OnionRequest, ReceivedOnion
from triolight.shell.peer import Peer
from triolight.shell.peers import PeerNursery
from triolight.wire import TlvRecord

__all__ = [
    "Messenger",
    "OnionInbox",
    "OnionReceived",
    "open_onion_messenger",
]

WAITING: Final = 64
"""Messages for us that nobody asked for, which wait for one reader; more are dropped and counted."""
SECOND_WAY_SECONDS: Final = 15.0
"""At the most without an answer, until a message that may go two ways goes the second one."""
INVOICE_REQUEST: Final = 64
INVOICE: Final = 66
INVOICE_ERROR: Final = 68

_T = TypeVar("_T")
Destination: TypeAlias = bytes | NodeAddress | BlindedPath | Sequence[BlindedPath]
"""Whom a message is for: a node id, a node that is dialled if need be, or whoever is at the end of a path, of the first
of several that can be reached."""


class _Desk:
    """What a messenger's fronts share: the machine, the peers, and who reads."""

    def __init__(
        self,
        peers: PeerNursery,
        onions: OnionMessenger,
        addresses: Callable[[bytes], Iterable[NodeAddress]] | None,
    ) -> None:
        self.peers: Final = peers
        self.onions: Final = onions
        self.addresses: Final = addresses
        self.readers: Final[set[trio.MemorySendChannel[ReceivedOnion]]] = set()

    async def reached(self, act: Callable[[], _T], connect: bool) -> _T:
        """Does it; if there is no way, dials a node that would be one and whose address is known, and tries again.

        NoRoute says what was tried, dials too.
        """
        try:
            return act()
        except NoRoute as error:
            failed = error
        tried = [str(failed)]
        for node_id in failed.unreached:
            for address in () if self.addresses is None or not connect else self.addresses(node_id):
                try:
                    await self.peers.connect(address)
                    return act()
                except TriolightError as error:
                    tried.append(f"dialled {address}: {error}")
        raise NoRoute("; ".join(tried), failed.unreached)

    async def dialled(
        self, to: Destination, via: NodeAddress | bytes | None, connect: bool
    ) -> tuple[bytes | BlindedPath | Sequence[BlindedPath], tuple[bytes, ...]]:
        """Nodes that are given as addresses are peers from here on, if they may be dialled."""
        if isinstance(via, NodeAddress):
            if connect:
                await self.peers.connect(via)
            via = via.node_id
        if isinstance(to, NodeAddress):
            if via is None and connect:
                await self.peers.connect(to)
            to = to.node_id
        return to, () if via is None else (via,)

    def read(self, reader: trio.MemorySendChannel[ReceivedOnion], reads: bool) -> None:
        """Somebody reads, or does no longer. Without anybody, messages are dropped."""
        (self.readers.add if reads else self.readers.discard)(reader)
        self.onions.on_message = self._take if self.readers else None

    def leave(self) -> None:
        """The block ends."""
        for reader in [*self.readers]:
            self.read(reader, False)
            reader.close()

    def _take(self, received: ReceivedOnion) -> bool:
        taken = False
        for reader in self.readers:
            with suppress(trio.WouldBlock):
                reader.send_nowait(received)
                taken = True
        return taken


class OnionReceived:
    """A message for us, as a task has it."""

    __slots__ = ("_desk", "received", "sent_to")

    def __init__(self, desk: _Desk, received: ReceivedOnion, sent_to: bytes | None = None) -> None:
        self._desk: Final = desk
        self.received: Final = received
        """As the machine has it: whom it came from, and the path_id."""
        self.sent_to: Final = sent_to
        """Of an answer: the last blinded id of the path that the question took."""

    @property
    def payload(self) -> OnionmsgTlv:
        """What it says."""
        return self.received.payload

    @property
    def content(self) -> TlvRecord | None:
        """What it is about, as its record."""
        return self.received.content

    @property
    def reply_path(self) -> BlindedPath | None:
        """The way to whoever wrote it."""
        return self.received.reply_path

    @trio.lowlevel.enable_ki_protection
    async def reply(
        self,
        *,
        invoice: bytes | None = None,
        invoice_error: bytes | None = None,
        extra: Mapping[int, bytes] | None = None,
    ) -> None:
        """Answers it by its reply path, once. NoRoute if it has none, or that leads nowhere, or it was answered."""
        await trio.lowlevel.checkpoint()
        content = _content(None, invoice, invoice_error, extra)
        await self._desk.reached(lambda: self._desk.onions.reply(self.received, content), connect=True)

    def __repr__(self) -> str:
        return f"<OnionReceived {self.received.payload!r}>"


class OnionInbox:
    """``async with messenger.subscribe() as inbox: async for received in inbox``: messages that nobody asked for.

    A busy reader has 64 of them waiting, and loses what comes then. Ends with the block of `open_onion_messenger`.
    """

    def __init__(self, desk: _Desk) -> None:
        self._desk: Final = desk
        self._send, self._receive = trio.open_memory_channel[ReceivedOnion](WAITING)

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> OnionReceived:
        """The next one. Cancellation loses nothing."""
        try:
            return OnionReceived(self._desk, await self._receive.receive())
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._desk.read(self._send, True)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._desk.read(self._send, False)
        self._send.close()
        self._receive.close()


class _Question:
    """A message of ours, on one way or on two, until an answer has come by one of them or the peers have ended."""

    def __init__(
        self,
        desk: _Desk,
        to: bytes | BlindedPath | Sequence[BlindedPath],
        content: list[tuple[int, bytes]],
        via: tuple[bytes, ...],
        connect: bool,
    ) -> None:
        self._desk: Final = desk
        self._to: Final = to
        self._content: Final = content
        self._via: Final = via
        self._connect: Final = connect
        self._asked: Final[list[OnionRequest]] = []
        self._open = 0
        self._news = trio.Event()
        self.ended: DisconnectReason | None = None
        """Of the peer that ended last."""
        self.answer: OnionReceived | None = None

    async def ask(self) -> Peer:
        """Sends it, the second time another way, and gives the peer that it went to. NoRoute if there is none."""
        onions = self._desk.onions
        before = self._asked[-1] if self._asked else None
        request = await self._desk.reached(
            lambda: onions.request(self._to, self._content, self._take, via=self._via, other_than=before), self._connect
        )
        self._asked.append(request)
        peer = self._desk.peers.peers.get(request.peer)
        if peer is None:
            raise NoRoute("the peer that it went to has gone")
        return peer

    def watch(self, nursery: trio.Nursery, peer: Peer | None) -> None:
        """From here on this peer may bring an answer; None: whoever it can be sent to again."""
        self._open += 1
        nursery.start_soon(self._watch, peer)

    async def settled(self) -> None:
        """Returns once there is an answer, or nobody left who could bring one."""
        while self.answer is None and self._open:
            await self._news.wait()
            self._news = trio.Event()

    def forget(self) -> None:
        """No answer is waited for any more."""
        for request in self._asked:
            self._desk.onions.forget(request)

    async def _watch(self, peer: Peer | None) -> None:
        # Another way that there is not, or into which it does not fit, is none.
        with suppress(NoRoute, ValueError):
            self.ended = await (peer or await self.ask()).wait_closed()
        self._open -= 1
        self._news.set()

    def _take(self, received: ReceivedOnion) -> None:
        # An answer may come by the other way in the same moment: the first one counts.
        if self.answer is None:
            (sent_to,) = [one.sent_to for one in self._asked if one.path_id == received.path_id]
            self.answer = OnionReceived(self._desk, received, sent_to)
            self._news.set()


class Messenger:
    """What `open_onion_messenger` gives."""

    def __init__(self, desk: _Desk) -> None:
        self._desk: Final = desk

    def __repr__(self) -> str:
        return f"<Messenger {self.onions!r}, {len(self._desk.readers)} readers>"

    @property
    def onions(self) -> OnionMessenger:
        """The onion handler, with its numbers."""
        return self._desk.onions

    @trio.lowlevel.enable_ki_protection
    async def send(
        self,
        to: Destination,
        *,
        invoice_request: bytes | None = None,
        invoice: bytes | None = None,
        invoice_error: bytes | None = None,
        extra: Mapping[int, bytes] | None = None,
        reply_path: BlindedPath | None = None,
        via: NodeAddress | bytes | None = None,
        connect: bool = True,
    ) -> None:
        """Sends a message about one thing. Nobody says whether it arrives.

        `extra` has records of other types. `via`: a node that it goes over, by its id if it is a peer, dialled if it is
        an address. `connect`: whether nodes may be dialled that are no peers. NoRoute if there is no way, ConnectError
        if a node that was given as an address cannot be dialled, ValueError for what does not fit.
        """
        await trio.lowlevel.checkpoint()
        content = _content(invoice_request, invoice, invoice_error, extra)
        place, over = await self._desk.dialled(to, via, connect)
        await self._desk.reached(lambda: self.onions.send(place, content, via=over, reply_path=reply_path), connect)

    @trio.lowlevel.enable_ki_protection
    async def request(
        self,
        to: Destination,
        *,
        invoice_request: bytes | None = None,
        extra: Mapping[int, bytes] | None = None,
        via: NodeAddress | bytes | None = None,
        connect: bool = True,
        twice: bool = False,
    ) -> OnionReceived:
        """Sends a message and gives its answer: what comes by the way back that this message has, and by no other one.

        There is no answer as long as there is none: the deadline is the caller's cancel scope. Cancelled: the answer is
        not waited for any more. Raises as `send` does, and PeerClosed if the peer ends that the message went to, for
        the answer would come from there.

        `twice`: the message goes another way as well, if there is one, when nothing has come in half of the time that
        the caller's scope leaves, or in 15 seconds if that is less, and at once when the peer ends. What comes first by
        either way is the answer.
        """
        await trio.lowlevel.checkpoint()
        content = _content(invoice_request, None, None, extra)
        place, over = await self._desk.dialled(to, via, connect)
        question = _Question(self._desk, place, content, over, connect)
        try:
            peer = await question.ask()
            async with trio.open_nursery() as nursery:
                question.watch(nursery, peer)
                if twice:
                    left = trio.current_effective_deadline() - trio.current_time()
                    with trio.move_on_after(max(0, min(left / 2, SECOND_WAY_SECONDS))):
                        await question.settled()
                    if question.answer is None:
                        question.watch(nursery, None)
                await question.settled()
                nursery.cancel_scope.cancel()
        finally:
            question.forget()
        if question.answer is None:
            raise PeerClosed(question.ended or await peer.wait_closed())
        return question.answer

    def subscribe(self) -> OnionInbox:
        """Messages for us that are no answer, from entering the block on. With nobody who has, they are dropped."""
        return OnionInbox(self._desk)


@asynccontextmanager
async def open_onion_messenger(
    peers: PeerNursery,
    onions: OnionMessenger,
    addresses: Callable[[bytes], Iterable[NodeAddress]] | None = None,
) -> AsyncGenerator[Messenger]:
    """``async with open_onion_messenger(peers, onions) as messenger``: asks, sends, and hears what others send.

    `onions` is the onion handler of these peers' manager. `addresses`: where a node can be dialled, for a message that
    has no other way; None: none is dialled that is not given as an address.

    RuntimeError if the messenger has a block already.
    """
    if onions.on_message is not None:
        raise RuntimeError("this OnionMessenger has readers already")
    desk = _Desk(peers, onions, addresses)
    try:
        yield Messenger(desk)
    finally:
        desk.leave()


def _content(
    invoice_request: bytes | None,
    invoice: bytes | None,
    invoice_error: bytes | None,
    extra: Mapping[int, bytes] | None,
) -> list[tuple[int, bytes]]:
    known = ((INVOICE_REQUEST, invoice_request), (INVOICE, invoice), (INVOICE_ERROR, invoice_error))
    return [(type_, value) for type_, value in known if value is not None] + list((extra or {}).items())
