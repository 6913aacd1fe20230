"""open_onion_messenger and fetch_invoice, over connections, on the mock clock: answers, refusals, ends, readers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import identity, join, make_manager, port_of, secret, until
from tests.support.onions import random
from tests.support.sellers import Answer, offer_of, seller
from triolight import NodeAddress, PeerClosed, PeerNursery, open_peer_nursery
from triolight.chains import TESTNET
from triolight.onion import (
    Drop,
    InvoiceError,
    NoRoute,
    Offer,
    OfferError,
    OnionLimits,
    OnionMessenger,
    blind_route,
)
from triolight.services import (
    InvoiceInvalid,
    InvoiceRefused,
    Messenger,
    OnionReceived,
    fetch_invoice,
    open_onion_messenger,
)

NOW = 1_800_000_000.0


class Node:
    """A node with a messenger that is open."""

    def __init__(self, number: int, peers: PeerNursery, messenger: Messenger) -> None:
        self.id = identity(number)
        self.peers = peers
        self.messenger = messenger
        self.onions = messenger.onions


@asynccontextmanager
async def nodes(count: int, limits: OnionLimits | None = None, **options: Any) -> AsyncGenerator[list[Node]]:
    """Nodes in a row, each connected with the next one."""
    async with AsyncExitStack() as stack:
        found: list[Node] = []
        for number in range(1, count + 1):
            onions = OnionMessenger(secret(number), random(number + 100), limits=limits, clock=trio.current_time)
            peers = await stack.enter_async_context(open_peer_nursery(make_manager(number, onion=onions)))
            messenger = await stack.enter_async_context(open_onion_messenger(peers, onions, **options))
            found.append(Node(number, peers, messenger))
            if number > 1:
                await join(found[-2].peers, found[-1].peers)
        yield found


@asynccontextmanager
async def answering(node: Node, answer: Answer) -> AsyncGenerator[list[OnionReceived]]:
    """The node does this with each message; what came so far."""
    heard: list[OnionReceived] = []
    async with trio.open_nursery() as nursery, node.messenger.subscribe() as inbox:

        async def listen() -> None:
            async for received in inbox:
                heard.append(received)
                await answer(received)

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        yield heard
        nursery.cancel_scope.cancel()


async def in_silence(received: OnionReceived) -> None:
    pass


async def test_a_question_and_its_answer_through_somebody() -> None:
    async def echo(received: OnionReceived) -> None:
        assert received.content is not None
        await received.reply(extra={79: received.content.value[::-1]})

    async with nodes(3) as (one, two, three), answering(three, echo) as heard:
        answer = await one.messenger.request(three.id, extra={77: b"abc"}, via=two.id)
        assert answer.content == (79, b"cba")
        assert answer.reply_path is None
        (received,) = heard
        assert received.reply_path is not None
        assert repr(received).startswith("<OnionReceived OnionmsgTlv(")
        with pytest.raises(NoRoute, match="has been answered"):
            await received.reply(invoice=b"again")
        with pytest.raises(NoRoute, match="no reply path"):
            await answer.reply(invoice_error=b"x")
        assert two.onions.statistics().forwarded == 2
        assert repr(one.messenger) == f"<Messenger {one.onions!r}, 0 readers>"


async def test_each_gets_its_own_answer() -> None:
    kept: list[OnionReceived] = []

    async def keep(received: OnionReceived) -> None:
        kept.append(received)

    async with nodes(2) as (one, two), answering(two, keep):
        answers: dict[bytes, Any] = {}

        async def ask(data: bytes) -> None:
            answers[data] = (await one.messenger.request(two.id, extra={77: data})).content

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, b"a")
            nursery.start_soon(ask, b"b")
            await until(lambda: len(kept) == 2)
            for received in reversed(kept):
                assert received.content is not None
                await received.reply(extra={79: received.content.value})
        assert answers == {b"a": (79, b"a"), b"b": (79, b"b")}


async def test_who_does_not_wait_any_more_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    async with nodes(2) as (one, two), answering(two, in_silence) as heard:
        with trio.move_on_after(60) as scope:
            await one.messenger.request(two.id, extra={77: b"x"})
        assert scope.cancelled_caught
        assert "0 requests" in repr(one.onions)
        await heard[0].reply(extra={79: b"late"})
        await until(lambda: one.onions.statistics().received == 1)
        assert one.onions.statistics().dropped == {Drop.NOT_ASKED: 1}


async def test_the_end_of_the_peer_wakes_who_waits() -> None:
    async with nodes(2) as (one, two), answering(two, in_silence) as heard:
        with pytest.raises(PeerClosed):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: ending(two, heard))
                try:
                    await one.messenger.request(two.id, extra={77: b"x"})
                except PeerClosed as error:
                    closed = error
                    nursery.cancel_scope.cancel()
            raise closed
        assert "0 requests" in repr(one.onions)
        with pytest.raises(NoRoute):
            await one.messenger.request(two.id, extra={77: b"x"})


async def ending(node: Node, heard: list[OnionReceived]) -> None:
    await until(lambda: len(heard) == 1)
    (peer,) = node.peers.peers.values()
    await peer.disconnect(reason="enough")


async def test_a_node_is_dialled_whose_address_is_given_or_known() -> None:
    places: dict[bytes, NodeAddress] = {}

    def addresses(node_id: bytes) -> list[NodeAddress]:
        wrong = NodeAddress(node_id, "127.0.0.1", 1)
        return [wrong, places[node_id]] if node_id in places else []

    async with nodes(1, addresses=addresses) as (one,):
        for number, known in ((5, False), (6, True)):
            onions = OnionMessenger(secret(number), random(number + 100))
            async with (
                open_peer_nursery(make_manager(number, onion=onions)) as peers,
                open_onion_messenger(peers, onions) as messenger,
                messenger.subscribe() as inbox,
            ):
                address = NodeAddress(identity(number), "127.0.0.1", await port_of(peers))
                with pytest.raises(NoRoute):
                    await one.messenger.send(identity(number), extra={77: b"x"})
                if known:
                    places[identity(number)] = address
                    await one.messenger.send(identity(number), extra={77: b"x"})
                else:
                    await one.messenger.send(address, extra={77: b"x"})
                assert (await anext(inbox)).content == (77, b"x")
                await one.messenger.send(identity(number), extra={77: b"y"}, via=address)
                assert (await anext(inbox)).content == (77, b"y")


async def test_a_reader_that_is_busy_loses_what_is_too_much() -> None:
    async with nodes(2) as (one, two):
        async with two.messenger.subscribe() as inbox, two.messenger.subscribe() as other:
            for number in range(20):
                await one.messenger.send(two.id, extra={77: bytes([number])})
            await until(lambda: two.onions.statistics().received == 20)
            for reader in (inbox, other):
                assert [(await anext(reader)).content for _ in range(20)] == [(77, bytes([at])) for at in range(20)]
        await one.messenger.send(two.id, extra={77: b"nobody"})
        await until(lambda: two.onions.statistics().received == 21)
        assert sum(two.onions.statistics().dropped.values()) == 1


async def test_a_reader_holds_so_many() -> None:
    limits = OnionLimits(burst=1000, all_burst=1000)
    async with nodes(2, limits=limits) as (one, two), two.messenger.subscribe() as inbox:
        for number in range(70):
            await one.messenger.send(two.id, extra={77: bytes([number])})
        await until(lambda: two.onions.statistics().received == 70)
        assert two.onions.statistics().dropped == {Drop.UNREAD: 6}
        for number in range(64):
            assert (await anext(inbox)).content == (77, bytes([number]))


async def test_readers_end_with_the_block_and_there_is_one_block() -> None:
    onions = OnionMessenger(secret(1), random(1))
    async with open_peer_nursery(make_manager(1, onion=onions)) as peers:
        async with open_onion_messenger(peers, onions) as messenger:
            inbox = messenger.subscribe()
            await inbox.__aenter__()
            with pytest.raises(RuntimeError, match="readers already"):
                async with open_onion_messenger(peers, onions):
                    pass
        assert [one async for one in inbox] == []
        await inbox.__aexit__(None, None, None)


# Invoices.


def fetch(node: Node, offer: Offer, **options: Any) -> Any:
    return fetch_invoice(node.messenger, offer, unix_time=lambda: NOW, **options)


async def test_an_invoice_is_fetched_and_verified() -> None:
    async with nodes(3) as (one, two, three), answering(three, seller(3, NOW)) as heard:
        offer = offer_of(3)
        invoice = await fetch(one, offer, via=two.id, payer_note="milk")
        assert (invoice.amount_msat, invoice.node_id) == (1000, three.id)
        assert invoice.request.answers(offer)
        assert invoice.request.tlvs.invreq_payer_note == b"milk"
        assert len(invoice.payer_secret) == 32
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


async def test_what_came_is_no_invoice_for_us() -> None:
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


async def test_the_other_side_says_no() -> None:
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
