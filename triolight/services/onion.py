"""open_onion_messenger: onion messages for tasks that wait. What is opened, sent and dropped the messenger decides.

An answer is waited for as long as its caller waits, and the peer is there to which the request went. Messages that
nobody asked for wait for their readers, no more than so many, and never hold up a peer.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

import trio

from triolight.address import NodeAddress
from triolight.chains import BITCOIN, AnyChain
from triolight.errors import PeerClosed, TriolightError
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, OnionmsgTlv
from triolight.onion.invoices import Invoice, InvoiceError
from triolight.onion.messenger import NoRoute, OnionMessenger, ReceivedOnion
from triolight.onion.offers import Offer
from triolight.onion.records import OfferError
from triolight.onion.requests import InvoiceRequest
from triolight.shell.peer import Peer
from triolight.shell.peers import PeerNursery
from triolight.wire import TlvRecord

__all__ = [
    "FetchedInvoice",
    "InvoiceInvalid",
    "InvoiceRefused",
    "Messenger",
    "OnionInbox",
    "OnionReceived",
    "fetch_invoice",
    "open_onion_messenger",
]

WAITING: Final = 64
"""Messages for us that nobody asked for, which wait for one reader; more are dropped and counted."""
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

    async def reached(self, act: Callable[[], _T]) -> _T:
        """Does it; if there is no way, dials a node that would be one and whose address is known, and tries again."""
        try:
            return act()
        except NoRoute as error:
            failed = error
        for node_id in failed.unreached:
            for address in () if self.addresses is None else self.addresses(node_id):
                try:
                    await self.peers.connect(address)
                except TriolightError:
                    continue
                return act()
        raise failed

    async def dialled(
        self, to: Destination, via: NodeAddress | bytes | None
    ) -> tuple[bytes | BlindedPath | Sequence[BlindedPath], tuple[bytes, ...]]:
        """Nodes that are given as addresses are peers from here on."""
        if isinstance(via, NodeAddress):
            via = (await self.peers.connect(via)).node_id
        if isinstance(to, NodeAddress):
            if via is None:
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
        await self._desk.reached(lambda: self._desk.onions.reply(self.received, content))

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
    ) -> None:
        """Sends a message about one thing. Nobody says whether it arrives.

        `extra` has records of other types. `via`: a node that it goes over, by its id if it is a peer, dialled if it is
        an address. NoRoute if there is no way, ConnectError if a node that was given as an address cannot be dialled,
        ValueError for what does not fit.
        """
        await trio.lowlevel.checkpoint()
        content = _content(invoice_request, invoice, invoice_error, extra)
        place, over = await self._desk.dialled(to, via)
        await self._desk.reached(lambda: self.onions.send(place, content, via=over, reply_path=reply_path))

    @trio.lowlevel.enable_ki_protection
    async def request(
        self,
        to: Destination,
        *,
        invoice_request: bytes | None = None,
        extra: Mapping[int, bytes] | None = None,
        via: NodeAddress | bytes | None = None,
    ) -> OnionReceived:
        """Sends a message and gives its answer: what comes by the way back that this message has, and by no other one.

        There is no answer as long as there is none: the deadline is the caller's cancel scope. Cancelled: the answer is
        not waited for any more. Raises as `send` does, and PeerClosed if the peer ends that the message went to, for
        the way back begins there.
        """
        await trio.lowlevel.checkpoint()
        content = _content(invoice_request, None, None, extra)
        place, over = await self._desk.dialled(to, via)
        answers: list[ReceivedOnion] = []
        woken = trio.Event()

        def take(received: ReceivedOnion) -> None:
            answers.append(received)
            woken.set()

        request = await self._desk.reached(lambda: self.onions.request(place, content, take, via=over))
        try:
            peer = self._desk.peers.peers.get(request.peer)
            if peer is None:
                raise NoRoute("the peer that it went to has gone")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wake_at_its_end, peer, woken)
                await woken.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.onions.forget(request)
        if answers:
            return OnionReceived(self._desk, answers[0], request.sent_to)
        raise PeerClosed(await peer.wait_closed())

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


async def _wake_at_its_end(peer: Peer, woken: trio.Event) -> None:
    await peer.wait_closed()
    woken.set()


def _content(
    invoice_request: bytes | None,
    invoice: bytes | None,
    invoice_error: bytes | None,
    extra: Mapping[int, bytes] | None,
) -> list[tuple[int, bytes]]:
    known = ((INVOICE_REQUEST, invoice_request), (INVOICE, invoice), (INVOICE_ERROR, invoice_error))
    return [(type_, value) for type_, value in known if value is not None] + list((extra or {}).items())


class InvoiceRefused(TriolightError):
    """Whoever was asked for an invoice says no. `error` has the words."""

    def __init__(self, error: InvoiceError) -> None:
        super().__init__(f"no invoice is given: {error}")
        self.error: Final = error


class InvoiceInvalid(TriolightError):
    """What came is no invoice, or none that answers the request. `rule` is the rule of BOLT 12 that it breaks."""

    def __init__(self, words: str, rule: str) -> None:
        super().__init__(words)
        self.rule: Final = rule


class FetchedInvoice(Invoice):
    """An invoice that answers a request of ours: verified, and not paid."""

    __slots__ = ("payer_secret", "request")

    def __init__(self, data: bytes, request: InvoiceRequest, payer_secret: bytes) -> None:
        super().__init__(data)
        self.request: Final = request
        self.payer_secret: Final = payer_secret
        """With the request the proof that who paid is who asked: for the caller to keep."""


async def fetch_invoice(
    messenger: Messenger,
    offer: Offer,
    *,
    amount_msat: int | None = None,
    quantity: int | None = None,
    payer_note: str | None = None,
    chain: AnyChain = BITCOIN,
    via: NodeAddress | bytes | None = None,
    most_msat: int | None = None,
    unix_time: Callable[[], float] = time.time,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> FetchedInvoice:
    """Asks whoever made an offer for an invoice, and gives it once it is verified. It is not paid: any wallet can.

    The deadline is the caller's cancel scope. Raises OfferError if the offer cannot be used or what is wanted does not
    fit it, NoRoute and PeerClosed as `Messenger.request` does, InvoiceRefused if the other side says no, and
    InvoiceInvalid, with the rule, for an invoice that does not answer the request.

    Args:
      amount_msat: at least the offer's price; needed if it names none.
      quantity: needed if the offer is for more than one.
      via: a node that the message goes over.
      most_msat: what the invoice may ask for at the most.
    """
    offer.check(now=unix_time(), chains=chain)
    payer_secret = random_bytes(32)
    request = InvoiceRequest.make(
        offer,
        SecretKey(payer_secret),
        random_bytes(16),
        random_bytes(32),
        amount_msat=amount_msat,
        quantity=quantity,
        payer_note=payer_note,
        chain=chain,
    )
    to: Destination = offer.paths or offer.tlvs.offer_issuer_id or b""
    answer = await messenger.request(to, invoice_request=request.data, via=via)
    payload = answer.payload
    try:
        if payload.invoice_error is not None:
            raise InvoiceRefused(InvoiceError(payload.invoice_error))
        if payload.invoice is None:
            raise InvoiceInvalid("the answer is neither an invoice nor an error", "B16")
        invoice = FetchedInvoice(payload.invoice, request, payer_secret)
        invoice.verify(request, now=unix_time(), sent_to=answer.sent_to, most_msat=most_msat)
    except OfferError as error:
        raise InvoiceInvalid(f"the answer is no invoice for this request: {error}", error.rule) from None
    return invoice
