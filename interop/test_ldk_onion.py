"""Against native LDK, by onion messages: its offers and ours, messages of a user's own, what is passed on, what is
refused."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import trio

from interop.conftest import open_ldk_native
from interop.onions import OTHER, OWN, OnionNode, final_messages, open_onion_node, ours_takes, passed_on
from interop.ours import COMMAND, listening, triolight
from interop.programs import JsonNode, open_program
from tests.support.gossip import IDS, PEER, SCID, channel, update
from triolight import DisconnectCode
from triolight.chains import REGTEST
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, ChannelAnnouncement, ChannelUpdate, EncryptedDataTlv
from triolight.onion import (
    BlindedPayinfo,
    GraphRoutes,
    Invoice,
    InvoiceError,
    InvoiceRequest,
    InvoiceTerms,
    InvoiceTlvs,
    Offer,
    OfferBook,
    blind_route,
    seal,
)
from triolight.onion.records import read_records
from triolight.services import InvoiceInvalid, InvoiceRefused, OfferServer, RequestRefused, fetch_invoice
from triolight.wire import ShortChannelId, TlvRecord, write_tlv_records

pytestmark = pytest.mark.node("LDK native")


@asynccontextmanager
async def open_ldk() -> AsyncIterator[JsonNode]:
    """LDK with onion messages. A test that waits for what never comes ends."""
    with trio.fail_after(60):
        async with open_ldk_native("--onion", f"{OWN},{OTHER}") as ldk:
            yield ldk


async def joined(one: JsonNode, other: JsonNode) -> None:
    """The first dials the second. Returns when both know it."""
    await one.command("connect", node_id=other.node_id.hex(), port=other.port)
    for ldk in (one, other):
        await ldk.event("peer_connected")


async def offer_of(ldk: JsonNode, **wanted: Any) -> Offer:
    return Offer.decode((await ldk.command("offer", **wanted))["offer"])


# ---------------------------------------------------------------------------------------------------------------------
# We ask its offers.


@dataclass(frozen=True)
class Asked:
    """How an offer of its is made, and how it is reached."""

    begins: str | None
    """Where the path of the offer begins; None: it has none."""
    dummy_hops: int = 0
    relay: bool = False
    """Whether a second LDK is our only peer."""


WAYS = {
    "itself": Asked(None),
    "itself, over a relay": Asked(None, relay=True),
    "a path that begins at it": Asked("it"),
    "a path that begins at it, over a relay": Asked("it", relay=True),
    "a path that begins at it, with ten hops that are none": Asked("it", dummy_hops=10),
    "a path that begins at our peer": Asked("relay", relay=True),
    "a path that begins at our peer, with three hops that are none": Asked("relay", dummy_hops=3, relay=True),
    "a path that begins at us": Asked("us"),
    "a path that begins at us, with two hops that are none": Asked("us", dummy_hops=2),
}


@pytest.mark.shows("offers", "onion")
@pytest.mark.parametrize("asked", WAYS.values(), ids=WAYS)
async def test_it_gives_an_invoice_by(asked: Asked) -> None:
    async with open_ldk() as ldk, open_ldk() as relay, open_onion_node() as ours:
        await joined(ldk, relay)
        peer = relay if asked.relay else ldk
        await ours.dial(peer)
        places = {"relay": relay.node_id, "us": ours.node_id}
        if asked.begins in places:
            await ldk.command("ways", introduction=places[asked.begins].hex(), dummy_hops=asked.dummy_hops)
        else:
            await ldk.command("ways", dummy_hops=asked.dummy_hops)
        offer = await offer_of(ldk, direct=asked.begins is None, amount_msat=1000)
        assert len(offer.paths) == (asked.begins is not None)
        via = peer.node_id if asked.relay and asked.begins != "relay" else None
        invoice = await fetch_invoice(ours.messenger, offer, payer_note="for you", via=via)
        told = await ldk.event("offers")
    assert told["hex"] == invoice.request.data.hex()
    assert told["answer"] == {"kind": "invoice", "hex": invoice.data.hex()}
    assert invoice.amount_msat == 1000
    assert invoice.request.tlvs.invreq_payer_note == b"for you"
    assert (invoice.node_id == ldk.node_id) is (asked.begins is None)


@pytest.mark.shows("offers")
async def test_what_its_offers_say() -> None:
    later = int(time.time()) + 3600
    async with open_ldk() as ldk, open_onion_node() as ours:
        await ours.dial(ldk)
        said = await ldk.command("offer", direct=True, amount_msat=10, quantity=5, expiry=later, issuer="LDK")
        offer = Offer.decode(said["offer"])
        tlvs = offer.tlvs
        invoice = await fetch_invoice(ours.messenger, offer, quantity=3, amount_msat=40)
        free = await fetch_invoice(ours.messenger, await offer_of(ldk), amount_msat=123)
        old = await offer_of(ldk, direct=True, expiry=1)
    assert offer.encode() == said["offer"]
    assert (tlvs.offer_amount, tlvs.offer_quantity_max, tlvs.offer_absolute_expiry) == (10, 5, later)
    assert (tlvs.offer_description, tlvs.offer_issuer, tlvs.offer_issuer_id) == (b"a thing", b"LDK", ldk.node_id)
    assert (invoice.amount_msat, invoice.request.tlvs.invreq_quantity) == (40, 3)
    assert free.amount_msat == 123
    assert old.tlvs.offer_absolute_expiry == 1


class OneChannel:
    """What a node may know of the network: one channel of its own."""

    def __init__(self, *ends: bytes) -> None:
        self.ends = ends

    def resolve(self, short_channel_id: ShortChannelId, direction: int) -> bytes | None:
        return self.ends[direction] if short_channel_id == 7 else None

    def route(self, node_id: bytes, peers: Iterable[bytes]) -> Sequence[bytes] | None:
        return None


@pytest.mark.shows("offers", "onion")
async def test_a_path_of_channels() -> None:
    """The node that it begins at is named by a channel of the graph, and finds LDK by another one."""
    secret = next(
        bytes([number]) * 32 for number in range(1, 9) if SecretKey(bytes([number]) * 32).public_key == IDS[1]
    )
    network = P2PGossipSync(NetworkGraph(REGTEST), policy=GossipPolicy(relay_unchecked=True))
    now, raws = int(time.time()), [channel(SCID, 0, 1)]
    raws += [update(SCID, direction, now, signer=direction) for direction in (0, 1)]
    network.handle_channel_announcement(PEER, ChannelAnnouncement.decode(raws[0]))
    with trio.fail_after(60):
        async with open_ldk_native("--onion", f"{OWN},{OTHER}", "--graph", REGTEST.chain_hash.hex()) as ldk:
            introduced = open_onion_node(secret, OneChannel(ldk.node_id, IDS[1]))
            async with introduced as first, open_onion_node(graph=GraphRoutes(network.graph)) as ours:
                peer = await first.dial(ldk)
                await peer.send(ChannelAnnouncement.decode(raws[0]), *map(ChannelUpdate.decode, raws[1:]))
                await peer.ping()
                await ours.dial(await listening(first.peers))
                await ldk.command("ways", introduction=first.node_id.hex(), compact=True, channel=7)
                offer = await offer_of(ldk, amount_msat=1000)
                assert offer.paths[0].first_node_id == b"\1" + SCID.to_bytes(8, "big")
                invoice = await fetch_invoice(ours.messenger, offer)
                assert (await ldk.event("offers"))["answer"]["hex"] == invoice.data.hex()
                assert first.messenger.onions.statistics().forwarded == 2


def paths_and_prices() -> tuple[tuple[BlindedPath, ...], tuple[BlindedPayinfo, ...]]:
    """For invoices that nobody pays."""
    info = BlindedPayinfo(
        fee_base_msat=1,
        fee_proportional_millionths=2,
        cltv_expiry_delta=3,
        htlc_minimum_msat=4,
        htlc_maximum_msat=500_000,
        features=b"",
    )
    return (blind_route(os.urandom(32), (SecretKey(os.urandom(32)).public_key,)),), (info,)


def made(request: InvoiceRequest, key: SecretKey, *, created_at: int | None = None, amount: int = 1000) -> Invoice:
    paths, prices = paths_and_prices()
    tlvs = InvoiceTlvs(
        invoice_paths=paths,
        invoice_blindedpay=prices,
        invoice_created_at=int(time.time()) if created_at is None else created_at,
        invoice_payment_hash=os.urandom(32),
        invoice_amount=amount,
    )
    return Invoice.make(request, tlvs, key, os.urandom(32))


def another(request: InvoiceRequest) -> InvoiceRequest:
    """It, with another note."""
    return InvoiceRequest.make(
        Offer(b"".join(one.raw for one in request.records if 1 <= one.type < 80)),
        SecretKey(os.urandom(32)),
        request.tlvs.invreq_metadata or b"",
        os.urandom(32),
        payer_note="another",
    )


def tampered(data: bytes) -> bytes:
    """A TLV stream with another signature."""
    return write_tlv_records(
        [TlvRecord(type_, value[::-1] if type_ == 240 else value) for type_, value, _ in read_records(data)]
    )


Wrong: TypeAlias = Callable[[InvoiceRequest, SecretKey, bytes], bytes]
"""Of a request, the key that signs for the offer, and the invoice that LDK has made."""
WRONG: dict[str, tuple[str, Wrong]] = {
    "another signature": ("B9", lambda request, key, theirs: tampered(theirs)),
    "cut off": ("B5", lambda request, key, theirs: theirs[:-1]),
    "another request": ("B16", lambda request, key, theirs: made(another(request), key).data),
    "more than the price": ("B17", lambda request, key, theirs: made(request, key, amount=1001).data),
    "another signer": ("B16", lambda request, key, theirs: made(request, SecretKey(os.urandom(32))).data),
    "expired": ("B16", lambda request, key, theirs: made(request, key, created_at=1_700_000_000).data),
}


@pytest.mark.shows("offers")
@pytest.mark.parametrize(("rule", "wrong"), WRONG.values(), ids=WRONG)
async def test_a_wrong_invoice_is_refused_by_us(rule: str, wrong: Wrong) -> None:
    async with open_ldk() as ldk, open_onion_node() as ours, trio.open_nursery() as nursery:
        await ours.dial(ldk)
        key = SecretKey(bytes.fromhex((await ldk.command("secret"))["secret"]))
        await ldk.command("ways", hold=True)
        offer = await offer_of(ldk, direct=True, amount_msat=1000)

        async def ask() -> None:
            with pytest.raises(InvoiceInvalid) as caught:
                await fetch_invoice(ours.messenger, offer)
            assert caught.value.rule == rule

        nursery.start_soon(ask)
        told = await ldk.event("offers")
        request = InvoiceRequest(bytes.fromhex(told["hex"]))
        bad = wrong(request, key, bytes.fromhex(told["answer"]["hex"]))
        await ldk.command("answer", type=66, payload=bad.hex())


@pytest.mark.shows("offers")
async def test_what_is_made_in_its_name_is_taken_by_us() -> None:
    """What is refused above is so for what is wrong with it alone."""
    async with open_ldk() as ldk, open_onion_node() as ours, trio.open_nursery() as nursery:
        await ours.dial(ldk)
        key = SecretKey(bytes.fromhex((await ldk.command("secret"))["secret"]))
        await ldk.command("ways", hold=True)
        offer = await offer_of(ldk, direct=True, amount_msat=1000)
        fetched: list[Invoice] = []

        async def ask() -> None:
            fetched.append(await fetch_invoice(ours.messenger, offer))

        nursery.start_soon(ask)
        request = InvoiceRequest(bytes.fromhex((await ldk.event("offers"))["hex"]))
        right = made(request, key)
        await ldk.command("answer", type=66, payload=right.data.hex())
    assert fetched == [right]


# ---------------------------------------------------------------------------------------------------------------------
# It asks ours.


@asynccontextmanager
async def serving(ours: OnionNode, refuses: str = "") -> AsyncIterator[tuple[OfferServer, list[InvoiceRequest]]]:
    """What it has been asked comes with it."""
    requests: list[InvoiceRequest] = []

    async def give(request: InvoiceRequest) -> InvoiceTerms:
        requests.append(request)
        if refuses:
            raise RequestRefused(refuses)
        return InvoiceTerms(payment_hash=os.urandom(32), paths=list(zip(*paths_and_prices(), strict=True)))

    server = OfferServer(ours.secret, give)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, ours.messenger)
        yield server, requests
        nursery.cancel_scope.cancel()


@dataclass(frozen=True)
class Asks:
    """How an offer of ours is made, and where the path begins by which LDK hears the answer."""

    begins: str | None
    back: str = "it"
    dummy_hops: int = 0
    relay: bool = False


ASKS = {
    "our node id": Asks(None),
    "our node id, over a relay": Asks(None, back="relay", relay=True),
    "a path that begins at us": Asks("us"),
    "a path that begins at it": Asks("it"),
    "a path that begins at a relay": Asks("relay", back="relay", relay=True),
    "a way back that begins at us": Asks(None, back="us"),
    "a way back that begins at a relay": Asks("us", back="relay", relay=True),
    "a way back with four hops that are none": Asks("us", dummy_hops=4),
}


@pytest.mark.shows("offers", "onion")
@pytest.mark.parametrize("asks", ASKS.values(), ids=ASKS)
async def test_it_takes_an_invoice_by(asks: Asks) -> None:
    async with open_ldk() as ldk, open_ldk() as relay, open_onion_node() as ours, serving(ours) as (server, requests):
        await joined(ldk, relay)
        await ours.dial(relay if asks.relay else ldk)
        places = {"relay": relay.node_id, "us": ours.node_id, "it": ldk.node_id}
        begins = () if asks.begins is None else (places[asks.begins],)
        offer = server.book.issue("ours", amount_msat=1000, quantity_max=5, introductions=begins)
        ways = {} if asks.back == "it" else {"introduction": places[asks.back].hex()}
        if asks.relay:
            ways["via"] = relay.node_id.hex()
        await ldk.command("ways", dummy_hops=asks.dummy_hops, **ways)
        assert "error" not in await ldk.command("pay", offer=offer.encode(), quantity=2, note="please")
        invoice = Invoice(bytes.fromhex((await ldk.event("invoice"))["hex"]))
    [request] = requests
    invoice.verify(request, now=time.time())
    assert invoice.amount_msat == 2000
    assert (request.tlvs.invreq_payer_note, request.tlvs.invreq_quantity) == (b"please", 2)
    assert server.statistics().invoices == 1


LENGTH_FIRST = pytest.mark.differs(
    "writes an invoice_error with its length before it, and ignores one without",
    "write none, as BOLT 12, and take both",
)


@pytest.mark.shows("offers")
@LENGTH_FIRST
async def test_it_gives_no_invoice() -> None:
    async with open_ldk() as ldk, open_onion_node() as ours:
        await ours.dial(ldk)
        await ldk.command("ways", unpaid=True)
        with pytest.raises(InvoiceRefused, match="MissingPaths"):
            await fetch_invoice(ours.messenger, await offer_of(ldk, amount_msat=1000))
        told = (await ldk.event("offers"))["answer"]
    raw = bytes.fromhex(told["hex"])
    assert (told["kind"], raw[0]) == ("invoice_error", len(raw) - 1)


@pytest.mark.shows("offers")
@LENGTH_FIRST
async def test_we_give_no_invoice() -> None:
    """It hears nothing of it, and waits on; of what it would read it knows what to make."""
    async with open_ldk() as ldk, open_onion_node() as ours, ours.messenger.subscribe() as inbox:
        peer = await ours.dial(ldk)
        offer = OfferBook(ours.secret, os.urandom).issue("ours", amount_msat=1000)
        await ldk.command("pay", offer=offer.encode())
        received = await anext(inbox)
        assert received.reply_path is not None
        no = InvoiceError.make("sold out").data
        for data in (no, bytes([len(no)]) + no):
            await ours.messenger.send(received.reply_path, invoice_error=data)
            await peer.ping()
        assert (await ldk.event("offers"))["hex"] == (bytes([len(no)]) + no).hex()
        assert (await ldk.next_event())["why"] == "Some(InvoiceRequestRejected)"


@pytest.mark.shows("offers")
@pytest.mark.parametrize("name", [name for name in WRONG if name not in ("more than the price", "expired")])
async def test_a_wrong_invoice_is_ignored_by_it(name: str) -> None:
    """It says nothing at all, and takes the right one after it."""
    _, wrong = WRONG[name]
    async with open_ldk() as ldk, open_onion_node() as ours, ours.messenger.subscribe() as inbox:
        peer = await ours.dial(ldk)
        offer = OfferBook(ours.secret, os.urandom).issue("ours", amount_msat=1000)
        await ldk.command("pay", offer=offer.encode())
        received = await anext(inbox)
        assert received.reply_path is not None
        request = InvoiceRequest(received.payload.invoice_request or b"")
        right = made(request, SecretKey(ours.secret)).data
        bad = wrong(request, SecretKey(ours.secret), right)
        for data in (bad, right):
            await ours.messenger.send(received.reply_path, invoice=data)
            await peer.ping()
        while (event := await ldk.next_event())["event"] != "invoice":
            assert event["event"] != "failed"
        assert event["hex"] == right.hex()


# ---------------------------------------------------------------------------------------------------------------------
# Messages of a user's own, and what is passed on.


def own(event: dict[str, Any]) -> tuple[int, bytes]:
    return event["type"], bytes.fromhex(event["payload"])


@pytest.mark.shows("onion")
@pytest.mark.parametrize("relayed", [False, True], ids=["to a peer", "over a relay"])
@pytest.mark.parametrize("size", [1, 1000, 30_000])
async def test_messages_and_answers_both_ways(relayed: bool, size: int) -> None:
    async with open_ldk() as ldk, open_ldk() as relay, open_onion_node() as ours, trio.open_nursery() as nursery:
        await joined(ldk, relay)
        await ours.dial(relay if relayed else ldk)
        data = os.urandom(size)

        async def ask() -> None:
            via = relay.node_id if relayed else None
            answer = await ours.messenger.request(ldk.node_id, extra={OWN: data}, via=via)
            assert answer.content == (OTHER, data[::-1])

        nursery.start_soon(ask)
        event = await ldk.event("onion")
        assert (own(event), event["context"], event["reply"]) == ((OWN, data), None, True)
        await ldk.command("answer", type=OTHER, payload=data[::-1].hex())
    async with open_ldk() as ldk, open_ldk() as relay, open_onion_node() as ours, ours.messenger.subscribe() as inbox:
        await joined(ldk, relay)
        await ours.dial(relay if relayed else ldk)
        if relayed:
            await ldk.command("ways", via=relay.node_id.hex(), introduction=relay.node_id.hex())
        to = ours.node_id.hex()
        assert "error" not in await ldk.command("onion", node_id=to, type=OWN, payload=data.hex(), reply=True)
        received = await anext(inbox)
        assert received.content == (OWN, data)
        await received.reply(extra={OTHER: data[::-1]})
        event = await ldk.event("onion")
        assert (own(event), bytes.fromhex(event["context"]), event["reply"]) == ((OTHER, data[::-1]), b"asked", False)


@pytest.mark.shows("onion")
async def test_we_pass_on_between_two_of_it() -> None:
    async with open_ldk() as first, open_ldk() as second, open_onion_node() as ours:
        await ours.dial(first)
        await ours.dial(second)
        await first.command("ways", via=ours.node_id.hex(), introduction=ours.node_id.hex(), dummy_hops=1)
        await first.command("onion", node_id=second.node_id.hex(), type=OWN, payload="aa", reply=True)
        assert own(await second.event("onion")) == (OWN, b"\xaa")
        await second.command("answer", type=OTHER, payload="bb")
        event = await first.event("onion")
        assert (own(event), bytes.fromhex(event["context"])) == ((OTHER, b"\xbb"), b"asked")
        assert ours.messenger.onions.statistics().forwarded == 2


@pytest.mark.shows("onion")
async def test_it_sends_along_a_path_of_ours() -> None:
    async with open_ldk() as ldk, open_onion_node() as ours, ours.messenger.subscribe() as inbox:
        await ours.dial(ldk)
        told = EncryptedDataTlv(path_id=b"ours")
        for nodes in ((ours.node_id,), (ldk.node_id, ours.node_id)):
            path = blind_route(os.urandom(32), nodes, told).encode().hex()
            assert "error" not in await ldk.command("onion", path=path, type=OWN, payload="cc")
            received = await anext(inbox)
            assert (received.content, received.received.path_id) == ((OWN, b"\xcc"), b"ours")


# ---------------------------------------------------------------------------------------------------------------------
# What is dropped: each by both, or a row of docs/interop.md.


@pytest.mark.shows("onion")
@pytest.mark.differs("does not look at the version of an onion packet", "drop what is not version 0")
@pytest.mark.differs(
    "drops an onion message by a way that it has not made, if the last hop is told a path_id or which features are "
    "allowed",
    "take it; that it has come by none of our ways the path_id says",
)
@pytest.mark.differs("drops an onion message whose last hop has no encrypted_recipient_data", "take it")
async def test_what_is_not_for_it_is_dropped() -> None:
    async with open_ldk() as ldk, open_onion_node() as ours:
        peer = await ours.dial(ldk)
        key = SecretKey(bytes.fromhex((await ldk.command("secret"))["secret"]))
        messages = final_messages(ldk.node_id)
        for message in messages.values():
            await ours.push(peer, message)
        await ours.messenger.send(ldk.node_id, extra={OTHER: b""})
        it_takes: set[str] = set()
        while (event := await ldk.event("onion"))["type"] != OTHER:
            it_takes.add(list(messages)[int(event["payload"], 16)])
    we_take = {name for name, message in messages.items() if ours_takes(key, message)}
    assert it_takes - we_take == {"version 1"}
    assert we_take - it_takes == {"a path_id that it has not made", "no features", "no encrypted data"}
    assert "plain" in it_takes
    assert "features" not in it_takes | we_take


@pytest.mark.shows("onion")
@pytest.mark.differs("closes for an onion packet whose key is no point", "drop it")
async def test_a_packet_whose_key_is_no_point_ends_it() -> None:
    async with open_ldk() as ldk, open_onion_node() as ours:
        peer = await ours.dial(ldk)
        message = seal(os.urandom(32), blind_route(os.urandom(32), (ldk.node_id,)), [(OWN, b"")])
        await peer.send(message.replace(onion_message_packet=bytes(34) + message.onion_message_packet[34:]))
        assert (await peer.wait_closed()).code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)


@pytest.mark.shows("onion")
@pytest.mark.differs("passes an onion message on to whom it comes from", "drop it")
@pytest.mark.differs(
    "passes an onion message on whose hop has an odd record beside its encrypted_recipient_data", "drop it"
)
@pytest.mark.differs(
    "drops an onion message whose hop is told both a node and a channel to pass it on to, or features that are none",
    "pass it on, to the node",
)
async def test_what_it_does_not_pass_on() -> None:
    async with open_ldk() as ldk:
        it_does = await passed_on(ldk)
    with trio.fail_after(60):
        async with open_onion_node() as relay:
            we_do = await passed_on(await listening(relay.peers))
    assert it_does - we_do == {"back to whom it comes from", "with an odd record"}
    assert we_do - it_does == {"to a node and a channel", "with no features"}
    assert it_does & we_do == {"plain", "padding"}


# ---------------------------------------------------------------------------------------------------------------------
# The commands.


def at(ldk: JsonNode) -> str:
    return f"{ldk.node_id.hex()}@127.0.0.1:{ldk.port}"


@pytest.mark.shows("offers", "onion")
async def test_the_commands_for_offers() -> None:
    async with open_ldk() as ldk, open_ldk() as relay:
        await joined(ldk, relay)
        await ldk.command("ways", introduction=relay.node_id.hex(), dummy_hops=1)
        text = (await ldk.command("offer", amount_msat=7000, issuer="LDK"))["offer"]
        offer = await triolight("offer", "decode", text, "--json")
        assert (offer["amount_msat"], offer["issuer"], offer["description"]) == (7000, "LDK", "a thing")
        # The relay, LDK, and a hop that is none.
        assert offer["paths"] == [{"first_node_id": relay.node_id.hex(), "hops": 3}]
        invoice = await triolight("offer", "fetch-invoice", text, "--json", "--note", "hello", "--via", at(relay))
        told = await ldk.event("offers")
    assert (invoice["invoice_request"], invoice["invoice"]) == (told["hex"], told["answer"]["hex"])
    assert (invoice["amount_msat"], invoice["payer_note"]) == (7000, "hello")


@pytest.mark.shows("onion")
async def test_the_commands_for_messages() -> None:
    async with open_ldk() as ldk, open_ldk() as relay:
        await joined(ldk, relay)
        await triolight("onion", "send", at(ldk), "77", "c0ffee", "--json")
        assert own(await ldk.event("onion")) == (77, b"\xc0\xff\xee")
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                asked = ("onion", "send", ldk.node_id.hex(), "77", "aa", "--reply", "--json", "--via", at(relay))
                answer = await triolight(*asked)
                assert (answer["type"], answer["payload"]) == (1001, "bb")

            nursery.start_soon(ask)
            assert own(await ldk.event("onion")) == (77, b"\xaa")
            await ldk.command("answer", type=1001, payload="bb")
        listen = (*COMMAND, "onion", "listen", "--host", "127.0.0.1", "--port", "0", "--json")
        async with open_program(*listen, begins="listening") as (node, said):
            await ldk.command("connect", node_id=said["node_id"], port=said["port"])
            await ldk.event("peer_connected")
            await ldk.command("onion", node_id=said["node_id"], type=77, payload="dd", reply=True)
            shown = await node.event("message")
            assert (shown["type"], shown["payload"], shown["reply_path"]) == (77, "dd", True)
