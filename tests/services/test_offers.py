"""fetch_invoice and OfferServer, over connections, on the mock clock: invoices, refusals, other ways, asking again."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import identity, join, make_manager, port_of, secret, until
from tests.support.messengers import Node, answering, nodes
from tests.support.onions import key, random
from tests.support.sellers import PAYINFO, offer_of, seller
from triolight import ConnectError, NodeAddress, PeerClosed, open_peer_nursery
from triolight.chains import TESTNET
from triolight.keys import SecretKey
from triolight.messages import EncryptedDataTlv
from triolight.onion import (
    Drop,
    InvoiceError,
    InvoiceRequest,
    InvoiceTerms,
    NoRoute,
    Offer,
    OfferError,
    OnionLimits,
    blind,
    blind_route,
)
from triolight.services import (
    InvoiceInvalid,
    InvoiceRefused,
    Messenger,
    OfferServer,
    OfferStatistics,
    OnionReceived,
    RequestRefused,
    fetch_invoice,
)

NOW = 1_800_000_000.0


def fetch(node: Node, offer: Offer, **options: Any) -> Any:
    return fetch_invoice(node.messenger, offer, unix_time=lambda: NOW, **options)


async def test_b20_an_invoice_is_fetched_and_verified() -> None:
    async with nodes(3) as (one, two, three), answering(three, seller(3, NOW)) as heard:
        offer = offer_of(3)
        invoice = await fetch(one, offer, via=two.id, payer_note="milk")
        assert (invoice.amount_msat, invoice.node_id) == (1000, three.id)
        assert invoice.request.answers(offer)
        assert invoice.request.tlvs.invreq_payer_note == b"milk"
        assert invoice.proof == (invoice.proof.payer_secret, invoice.request.data)
        assert SecretKey(invoice.proof.payer_secret).public_key == invoice.request.tlvs.invreq_payer_id
        # By the paths of an offer that names nobody else.
        path = blind_route(random(6), [two.id, three.id])
        with pytest.raises(InvoiceInvalid) as caught:
            await fetch(one, offer_of(3, offer_issuer_id=None, offer_paths=(path,)))
        assert caught.value.rule == "B16"
        found = await fetch(one, offer_of(3, offer_paths=(path,)), amount_msat=1500)
        assert found.amount_msat == 1500
        assert len(heard) == 3
        # A new key each time.
        assert len({bytes(received.payload.invoice_request or b"") for received in heard}) == 3


async def test_b16_b17_what_came_is_no_invoice_for_us() -> None:
    for fields, rule in (
        ({"invoice_amount": 1001}, "B17"),
        ({"invoice_created_at": int(NOW) - 7201}, "B16"),
        ({"invoice_features": b"\3\0\0", "invoice_amount": 1001}, "B17"),
    ):
        async with nodes(2) as (one, two), answering(two, seller(2, NOW, **fields)):
            with pytest.raises(InvoiceInvalid) as caught:
                await fetch(one, offer_of(2))
            assert caught.value.rule == rule

    async def nonsense(received: OnionReceived) -> None:
        asked = len(received.payload.invoice_request or b"") % 2
        await received.reply(**({"extra": {77: b"x"}} if asked else {"invoice": b"x"}))

    async with nodes(2) as (one, two), answering(two, nonsense):
        rules = set()
        for note in ("a", "ab"):
            with pytest.raises(InvoiceInvalid) as caught:
                await fetch(one, offer_of(2), payer_note=note)
            rules.add(caught.value.rule)
        assert rules == {"B5", "B16"}


async def test_b19_the_other_side_says_no() -> None:
    async def refuse(received: OnionReceived) -> None:
        await received.reply(invoice_error=InvoiceError.make("sold \x1bout", 86).data)

    async with nodes(2) as (one, two), answering(two, refuse):
        with pytest.raises(InvoiceRefused, match=r"sold \\x1bout \(field 86\)") as caught:
            await fetch(one, offer_of(2))
        assert caught.value.error.tlvs.erroneous_field == 86


async def test_what_cannot_be_asked() -> None:
    async with nodes(2) as (one, _):
        with pytest.raises(OfferError, match="other chains"):
            await fetch(one, offer_of(2, offer_chains=(TESTNET.chain_hash,)))
        with pytest.raises(OfferError, match="expired"):
            await fetch(one, offer_of(2, offer_absolute_expiry=5))
        with pytest.raises(OfferError, match="invreq_quantity"):
            await fetch(one, offer_of(2, offer_quantity_max=3))
        with pytest.raises(NoRoute):
            await fetch(one, offer_of(9))


@asynccontextmanager
async def two_ways(offered: int) -> AsyncGenerator[tuple[Node, Node, Offer, Wallet]]:
    """Who asks, over whom nothing comes through, an offer with that way first and another behind it, and its wallet."""
    async with nodes(4) as (one, two, three, four), selling(four, 4) as wallet:
        await join(one.peers, three.peers)
        yield one, two, wallet.server.book.issue(introductions=[two.id, three.id][:offered]), wallet


async def test_b20_without_an_answer_the_request_goes_another_way(autojump_clock: trio.testing.MockClock) -> None:
    for seconds, takes in ((10.0, 5.0), (1000.0, 15.0), (math.inf, 15.0)):
        async with two_ways(2) as (one, two, offer, wallet):
            begun = trio.current_time()
            with trio.fail_after(seconds):
                invoice = await fetch(one, offer, amount_msat=5)
            assert trio.current_time() - begun == pytest.approx(takes)
            assert two.onions.statistics().dropped == {Drop.NOT_CONNECTED: 1}
            assert [request.data for request in wallet.asked] == [invoice.request.data]
            assert one.onions.statistics().sent == 2
            assert "0 requests" in repr(one.onions)


async def test_b20_the_end_of_the_peer_is_no_answer_either() -> None:
    async with two_ways(2) as (one, two, offer, _), trio.open_nursery() as nursery:
        nursery.start_soon(ending, one, two)
        assert (await fetch(one, offer, amount_msat=5)).amount_msat == 5
    async with two_ways(1) as (one, two, offer, _), trio.open_nursery() as nursery:
        nursery.start_soon(ending, one, two)
        with pytest.raises(PeerClosed):
            await fetch(one, offer, amount_msat=5)


async def ending(one: Node, two: Node) -> None:
    await until(lambda: bool(two.onions.statistics().dropped))
    await one.peers.peers[two.id].disconnect("enough")


async def test_b20_an_answer_by_the_first_way_counts_still(autojump_clock: trio.testing.MockClock) -> None:
    async with nodes(3) as (one, two, three), selling(two, 2) as wallet:
        await join(one.peers, three.peers)
        wallet.ready = trio.Event()
        offer = wallet.server.book.issue(introductions=[two.id, identity(9), three.id])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(later, 18, wallet.ready)
            with trio.fail_after(60):
                assert (await fetch(one, offer, amount_msat=5)).node_id == two.id
        # The same request came twice, and was asked about once.
        assert wallet.server.statistics() == OfferStatistics(invoices=1, again=0, errors=0, ignored=1, unsent=0)


async def later(seconds: float, event: trio.Event) -> None:
    await trio.sleep(seconds)
    event.set()


async def test_nobody_is_dialled_where_that_is_not_wanted() -> None:
    async with open_peer_nursery(make_manager(5)) as far:
        address = NodeAddress(identity(5), "127.0.0.1", await port_of(far))
        dead = NodeAddress(identity(5), "127.0.0.1", 1)

        async with nodes(1, addresses=lambda node_id: [dead, address]) as (one,):
            for options in ({}, {"via": address}):
                with pytest.raises(NoRoute) as caught:
                    await fetch(one, offer_of(5), connect=False, **options)
                assert "dialled" not in str(caught.value)
                assert not one.peers.peers
            with pytest.raises(NoRoute) as caught:
                await fetch(one, offer_of(5))
            # That one can be reached, and takes no onion messages.
            words = f"{address.node_id.hex()} is no peer that takes onion messages, and there is no graph"
            assert str(caught.value).startswith(f"{words}; dialled {dead}: ")
            assert str(caught.value).endswith(f"; dialled {address}: {words}")
            with pytest.raises(ConnectError):
                await fetch(one, offer_of(5), via=NodeAddress(identity(6), "127.0.0.1", 1))


# OfferServer.


class Wallet:
    """The layer that pays, as a test has it: a hash after the other, and what it refuses."""

    def __init__(self, number: int) -> None:
        self.asked: list[InvoiceRequest] = []
        self.refuses: RequestRefused | None = None
        self.ready = trio.Event()
        self.ready.set()
        self.path = blind_route(random(4), [identity(number)])
        self.server = OfferServer(secret(number), self.give, unix_time=lambda: NOW)

    async def give(self, request: InvoiceRequest) -> InvoiceTerms:
        self.asked.append(request)
        await self.ready.wait()
        if self.refuses is not None:
            raise self.refuses
        return InvoiceTerms(payment_hash=bytes([len(self.asked)]) * 32, paths=[(self.path, PAYINFO)])


@asynccontextmanager
async def selling(node: Node, number: int) -> AsyncGenerator[Wallet]:
    """The node answers who asks its offers."""
    wallet = Wallet(number)
    async with trio.open_nursery() as nursery:
        await nursery.start(wallet.server.serve, node.messenger)
        yield wallet
        nursery.cancel_scope.cancel()


async def test_b20_an_offer_of_ours_is_asked_and_answered() -> None:
    async with nodes(3) as (one, two, three), selling(three, 3) as wallet:
        for offer in (
            wallet.server.book.issue("tea", amount_msat=1000, quantity_max=5),
            wallet.server.book.issue("tea", amount_msat=1000, quantity_max=5, introductions=[two.id]),
        ):
            invoice = await fetch(one, offer, via=two.id, quantity=2, payer_note="milk")
            assert (invoice.amount_msat, invoice.node_id) == (2000, three.id)
            assert invoice.payment_hash == bytes([len(wallet.asked)]) * 32
            assert wallet.asked[-1].data == invoice.request.data
        assert wallet.server.statistics() == OfferStatistics(invoices=2, again=0, errors=0, ignored=0, unsent=0)
        assert repr(wallet.server).startswith("<OfferServer <OfferBook ")


async def test_b19_who_gets_no_invoice_hears_why() -> None:
    async with nodes(2) as (one, two), selling(two, 2) as wallet:
        offer = wallet.server.book.issue()
        wallet.refuses = RequestRefused("too little", 82, b"\5")
        with pytest.raises(InvoiceRefused, match=r"too little \(field 82\)") as caught:
            await fetch(one, offer, amount_msat=4)
        assert caught.value.error.tlvs.suggested_value == b"\5"
        with pytest.raises(InvoiceRefused, match="no such offer"):
            await fetch(one, offer_of(2))
        assert wallet.server.statistics().errors == 2
        # Words without which an error may not be, and a value of no field.
        with pytest.raises(OfferError, match="B19"):
            RequestRefused("x", None, b"\5")


async def test_b15_who_asks_again_gets_the_same_invoice() -> None:
    async with nodes(2) as (one, two), selling(two, 2) as wallet:
        request = InvoiceRequest.make(wallet.server.book.issue(), key(9), bytes(16), bytes(32), amount_msat=5)
        wallet.ready = trio.Event()
        answers: list[bytes | None] = []

        async def ask() -> None:
            answer = await one.messenger.request(two.id, invoice_request=request.data)
            answers.append(answer.payload.invoice)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: len(wallet.asked) == 1)
            await one.messenger.send(two.id, invoice_request=request.data)  # no way back
            with trio.CancelScope() as scope:
                nursery.start_soon(ask)
                await until(lambda: wallet.server.statistics().ignored == 2)
                scope.cancel()
            wallet.ready.set()
            await until(lambda: len(answers) == 1)
            await ask()
            nursery.cancel_scope.cancel()
        assert answers[0] is not None
        assert answers == [answers[0]] * 2
        assert len(wallet.asked) == 1
        assert wallet.server.statistics().again == 1


async def test_so_many_requests_are_with_the_application_at_a_time() -> None:
    limits = OnionLimits(burst=1000, all_burst=1000)
    async with nodes(2, limits=limits) as (one, two), selling(two, 2) as wallet:
        offer = wallet.server.book.issue()
        wallet.ready = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(partial(fetch, one, offer, amount_msat=1 + number))
            await until(lambda: two.onions.statistics().delivered == 20)
            await trio.testing.wait_all_tasks_blocked()
            assert len(wallet.asked) == 16
            wallet.ready.set()
        assert len(wallet.asked) == 20
        assert wallet.server.statistics().invoices == 20


async def test_o30_what_does_not_fit_into_an_answer_is_not_sent() -> None:
    async with nodes(2) as (one, two), selling(two, 2) as wallet:
        # A way back that fills the question is too long for the answer, which says more.
        data = EncryptedDataTlv(next_node_id=one.id, padding=bytes(39)).encode()
        far = blind(random(4), [(one.id, data)] * 255)
        wallet.path = blind_route(random(4), [one.id] * 5)
        request = InvoiceRequest.make(wallet.server.book.issue(), key(9), bytes(16), bytes(32), amount_msat=5)
        await one.messenger.send(two.id, invoice_request=request.data, reply_path=far)
        await until(lambda: wallet.server.statistics().unsent == 1)
        away = blind_route(random(4), [identity(9)])
        await one.messenger.send(two.id, invoice_request=request.data, reply_path=away)
        await until(lambda: wallet.server.statistics().unsent == 2)


async def test_the_server_ends_with_the_messengers_block_and_what_it_asked_is_released() -> None:
    wallet = Wallet(2)
    wallet.ready = trio.Event()
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def serve(messenger: Messenger, task_status: trio.TaskStatus[None]) -> None:
            await wallet.server.serve(messenger, task_status=task_status)
            ended.set()

        async with nodes(2) as (one, two):
            await nursery.start(serve, two.messenger)
            request = InvoiceRequest.make(wallet.server.book.issue(), key(9), bytes(16), bytes(32), amount_msat=5)
            back = blind_route(random(4), [one.id])
            await one.messenger.send(two.id, invoice_request=request.data, reply_path=back)
            await until(lambda: len(wallet.asked) == 1)
            assert len(wallet.server.book) == 1
        await ended.wait()
        assert len(wallet.server.book) == 0


async def test_what_the_application_raises_ends_the_server_and_nothing_is_left() -> None:
    async with nodes(2) as (one, two):
        wallet = Wallet(2)
        wallet.refuses = RequestRefused("never raised")

        async def give(request: InvoiceRequest) -> InvoiceTerms:
            raise LookupError("a mistake")

        server = OfferServer(secret(2), give, unix_time=lambda: NOW)
        offer = server.book.issue()
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                await nursery.start(server.serve, two.messenger)
                nursery.start_soon(lambda: fetch(one, offer, amount_msat=5))
        assert caught.group_contains(LookupError, match="a mistake")
        assert len(server.book) == 0
        with pytest.raises(ValueError, match="another node's"):
            await server.serve(one.messenger)
