"""Offers over onion messages: `fetch_invoice` asks one for an invoice, `OfferServer` answers who asks ours. No payment.

What an invoice, a request and an offer must be, the values of `triolight.onion` know; how a message finds its way, the
messenger. Here is who waits for whom, and how long.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import trio

from triolight.address import NodeAddress
from triolight.chains import BITCOIN, AnyChain
from triolight.errors import TriolightError
from triolight.keys import SecretKey
from triolight.onion.book import REMEMBERED, InvoiceTerms, OfferBook
from triolight.onion.invoices import Invoice, InvoiceError
from triolight.onion.messenger import NoRoute
from triolight.onion.offers import Offer
from triolight.onion.records import OfferError
from triolight.onion.requests import InvoiceRequest
from triolight.services.onion import Destination, Messenger, OnionReceived

__all__ = [
    "FetchedInvoice",
    "InvoiceInvalid",
    "InvoiceRefused",
    "OfferServer",
    "OfferStatistics",
    "PayerProof",
    "RequestRefused",
    "fetch_invoice",
]

AT_ONCE: Final = 16
"""Invoice requests that the application is asked about at a time."""


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


class PayerProof(NamedTuple):
    """That who paid an invoice is who asked for it: to be kept as long as that may be asked."""

    payer_secret: bytes
    """Of the key that signed the request, 32 bytes."""
    invoice_request: bytes
    """The request, as its TLV stream."""


class FetchedInvoice(Invoice):
    """An invoice that answers a request of ours: verified, and not paid."""

    __slots__ = ("proof", "request")

    def __init__(self, data: bytes, request: InvoiceRequest, payer_secret: bytes) -> None:
        super().__init__(data)
        self.request: Final = request
        self.proof: Final = PayerProof(payer_secret, request.data)
        """That who paid is who asked: for the caller to keep."""


async def fetch_invoice(
    messenger: Messenger,
    offer: Offer,
    *,
    amount_msat: int | None = None,
    quantity: int | None = None,
    payer_note: str | None = None,
    chain: AnyChain = BITCOIN,
    via: NodeAddress | bytes | None = None,
    connect: bool = True,
    most_msat: int | None = None,
    unix_time: Callable[[], float] = time.time,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> FetchedInvoice:
    """Asks whoever made an offer for an invoice, and gives it once it is verified. It is not paid: any wallet can.

    The deadline is the caller's cancel scope. When half of its time is over without an answer, or 15 seconds, the same
    request goes another way too, if there is one: by another of the offer's paths, or over another peer.

    Raises OfferError if the offer cannot be used or what is wanted does not fit it, NoRoute and PeerClosed as
    `Messenger.request` does, InvoiceRefused if the other side says no, and InvoiceInvalid, with the rule, for what
    is no invoice for the request.

    Args:
      amount_msat: at least the offer's price; needed if it names none.
      quantity: needed if the offer is for more than one.
      via: a node that the message goes over.
      connect: whether nodes may be dialled that are no peers: `via`, and where the messenger knows addresses.
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
    answer = await messenger.request(to, invoice_request=request.data, via=via, connect=connect, twice=True)
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


class RequestRefused(TriolightError):
    """Raised by an application that gives no invoice: whoever asked hears these words, and perhaps which field of the
    request is wrong (its type) and what it should be."""

    def __init__(self, words: str, erroneous_field: int | None = None, suggested_value: bytes | None = None) -> None:
        super().__init__(words)
        self.error: Final = InvoiceError.make(words, erroneous_field, suggested_value)


@dataclass(frozen=True, slots=True)
class OfferStatistics:
    """What has become of the invoice requests so far."""

    invoices: int
    """Given."""
    again: int
    """Given once more, to who asked again."""
    errors: int
    """Refused, with words."""
    ignored: int
    """Not answered: by a way that is not the offer's, asked again with other words, or without a way back."""
    unsent: int
    """Answers that did not fit into a message, or had no way."""


class OfferServer:
    """Offers of a node, and answers to who asks them. It is no wallet: the layer that pays is the application's.

    For each invoice request that is in order, `give` is asked for the payment hash and the blinded paths by which the
    payment comes; the invoice is then made, signed by the node's key, and sent. What is wrong with the others they are
    told, by an invoice_error. Who asks again with the same metadata gets the same invoice again, or nothing.

    Args:
      node_secret: the node's, of 32 bytes.
      give: gives the terms for a request, or raises `RequestRefused`. Whatever else it raises ends `serve`.
      remembered: requests with an invoice that are kept. When all of them are good still, no other gets one.
      unix_time, random_bytes: inputs.
    """

    def __init__(
        self,
        node_secret: bytes,
        give: Callable[[InvoiceRequest], Awaitable[InvoiceTerms]],
        *,
        remembered: int = REMEMBERED,
        unix_time: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.book: Final = OfferBook(node_secret, random_bytes, remembered=remembered)
        """The offers: `issue` makes one; `add` takes one from before a restart; `remove` withdraws it."""
        self._give: Final = give
        self._unix_time: Final = unix_time
        self._counts: Final[Counter[str]] = Counter()

    def __repr__(self) -> str:
        return f"<OfferServer {self.book!r}>"

    def statistics(self) -> OfferStatistics:
        """What has become of the invoice requests so far."""
        return OfferStatistics(**{field.name: self._counts[field.name] for field in fields(OfferStatistics)})

    async def serve(self, messenger: Messenger, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """``await nursery.start(server.serve, messenger)``: answers until it is cancelled, or the messenger's block
        ends.

        Sixteen requests are with the application at a time; others wait, and what the messenger has no room for is
        dropped. ValueError for a messenger of another node, which nobody would ask.
        """
        if messenger.onions.node_id != self.book.node_id:
            raise ValueError("the messenger is another node's")
        places = trio.Semaphore(AT_ONCE)
        async with messenger.subscribe() as inbox, trio.open_nursery() as nursery:
            task_status.started()
            async for received in inbox:
                if received.payload.invoice_request is not None:
                    await places.acquire()
                    nursery.start_soon(self._answer, received, places)
            nursery.cancel_scope.cancel()

    async def _answer(self, received: OnionReceived, places: trio.Semaphore) -> None:
        try:
            counted, answer = await self._answer_to(received)
            if answer is None:
                self._counts[counted] += 1
                return
            try:
                if isinstance(answer, Invoice):
                    await received.reply(invoice=answer.data)
                else:
                    await received.reply(invoice_error=answer.data)
            except (NoRoute, ValueError):
                counted = "unsent"
            self._counts[counted] += 1
        finally:
            places.release()

    async def _answer_to(self, received: OnionReceived) -> tuple[str, Invoice | InvoiceError | None]:
        """What it counts as, and the answer."""
        if received.reply_path is None:
            return "ignored", None
        data = received.payload.invoice_request or b""
        found = self.book.look(data, received.received.path_id, self._unix_time())
        if found is None:
            return "ignored", None
        if isinstance(found, Invoice):
            return "again", found
        if isinstance(found, InvoiceError):
            return "errors", found
        try:
            terms = await self._give(found)
            return "invoices", self.book.give(found, terms, self._unix_time())
        except RequestRefused as refused:
            return "errors", refused.error
        finally:
            self.book.release(found)
