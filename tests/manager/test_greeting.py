"""Both Inits, our node_announcement, and the answers that are sent for a routing handler that gives none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import identity
from tests.support.managers import Descriptor, Wire, connect, node, wire
from triolight import (
    ChannelMessageHandler,
    DisconnectCode,
    Features,
    RoutingMessageHandler,
)
from triolight.address import DnsAddress, IPv4Address
from triolight.keys import verify
from triolight.manager.greeting import KEPT_FEATURE_BYTES, KEPT_OTHER_BYTES, kept_init
from triolight.messages import (
    ChannelUpdate,
    Init,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    Warning,
)
from triolight.messages.bolt1 import InitTlvs
from triolight.messages.weight import ITEM_OVERHEAD
from triolight.wire import TlvRecord


def test_remote_addr_is_told_to_inbound_peers_with_public_addresses() -> None:
    for address, told in ((("8.8.4.4", 4242), True), (("127.0.0.1", 4242), False), (("192.168.1.9", 1), False)):
        a, b = node(1), node(2)
        at_a, at_b = Descriptor(), Descriptor()
        b.manager.new_inbound_connection(at_b, address)
        at_a.out += a.manager.new_outbound_connection(identity(2), at_a, address)
        Wire(a, b, at_a, at_b).run()
        inbound, outbound = b.manager.list_peers()[0], a.manager.list_peers()[0]
        assert inbound.address == IPv4Address(*address)
        assert outbound.init.tlvs.remote_addr == (bytes.fromhex("01080804041092") if told else None)
        # BOLT 1 asks for it on incoming connections alone.
        assert inbound.init.tlvs.remote_addr is None


@pytest.mark.parametrize("refuse", ["unknown", "not_offered"])
def test_feature_policies(refuse: str) -> None:
    class Demands(ChannelMessageHandler):
        def provided_init_features(self, node_id: bytes) -> Features:
            return Features.named(required=["gossip_queries", "option_data_loss_protect"])

    a, b = node(1, chan=Demands()), node(2, refuse_features=refuse)
    link = wire(a, b)
    link.run()
    reasons = [reason.code for reason in (*a.seen.ended, *b.seen.ended)]
    # `a` wants what `b` does not offer, so it ends anyway; `b` minds only under LDK's rule.
    assert DisconnectCode.INIT_REFUSED in reasons
    told = [one.message for one in b.seen.ended if one.code is DisconnectCode.INIT_REFUSED]
    assert told == (["you require gossip_queries (6), which is not supported here"] if refuse == "not_offered" else [])


def test_node_announcement_is_signed_and_grows() -> None:
    times = [1000.0, 1000.0, 500.0]
    a, b = node(1, unix_time=lambda: times.pop(0)), node(2)
    link = connect(a, b)
    addresses = [("example.org", 9735), ("8.8.8.8", 9735)]
    stamps = []
    for _ in range(3):
        made = a.manager.broadcast_node_announcement(b"\x01\x02\x03", b"alias", addresses)
        stamps.append(made.timestamp)
    link.run()
    assert stamps == [1000, 1001, 1002]
    got = [message for message in b.seen.messages if isinstance(message, NodeAnnouncement)]
    assert len(got) == 3
    import hashlib

    digest = hashlib.sha256(hashlib.sha256(got[0].encode()[66:]).digest()).digest()
    assert verify(got[0].signature, digest, identity(1))
    assert got[0].addresses.hex().startswith("0108080808")
    assert got[0].alias == b"alias" + bytes(27)
    with pytest.raises(ValueError, match="alias"):
        a.manager.broadcast_node_announcement(bytes(3), bytes(33))


# Queries that a routing handler does not answer
CHAIN = b"\x06" * 32
RANGE = QueryChannelRange(chain_hash=CHAIN, first_blocknum=100, number_of_blocks=2000)
IDS = QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=bytes(9))


class Offers(RoutingMessageHandler):
    def __init__(self, feature: str = "gossip_queries") -> None:
        super().__init__()
        self.feature = feature

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named(self.feature)


class Answers(Offers):
    def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> None:
        return None

    def handle_query_short_channel_ids(self, node_id: bytes, message: QueryShortChannelIds) -> None:
        return None


@pytest.mark.parametrize(
    ("make", "answered"),
    [
        (Offers, True),
        (Answers, False),
        (RoutingMessageHandler, False),
        (lambda: Offers("option_data_loss_protect"), False),
    ],
)
def test_queries_are_answered_for_a_handler_that_offers_and_does_not_answer(
    make: Callable[[], RoutingMessageHandler], answered: bool
) -> None:
    a, b = node(1), node(2, route=make())
    link = connect(a, b)
    a.manager.send_message(identity(2), RANGE, IDS)
    link.run()
    expected = [
        ReplyChannelRange(
            chain_hash=CHAIN, first_blocknum=100, number_of_blocks=2000, sync_complete=1, encoded_short_ids=b"\0"
        ),
        ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=0),
    ]
    assert a.seen.messages == (expected if answered else [])
    assert b.seen.messages == [RANGE, IDS]
    # zlib is refused before anybody is asked.
    a.seen.messages.clear()
    a.manager.send_message(identity(2), IDS.replace(encoded_short_ids=b"\1x"), IDS.replace(encoded_short_ids=b""))
    link.run()
    warnings = [message.data for message in a.seen.messages if isinstance(message, Warning)]
    assert len(warnings) == 1
    assert b"zlib" in warnings[0]
    assert not b.seen.ended
    assert ChannelUpdate not in map(type, a.seen.messages)


def test_announcements_that_bolt_7_forbids_are_not_made() -> None:
    a = node(1)
    name = DnsAddress("node.example", 9735)
    for alias, addresses, words in (
        (b"\xff", [], "UTF-8"),
        (b"a", [name, name], "one host name"),
        (b"a", [IPv4Address("8.8.8.8", 0)], "port 0"),
        (b"a", [IPv4Address("8.8.8.8", port) for port in range(1, 102)], "101 addresses; 100"),
    ):
        with pytest.raises(ValueError, match=words):
            a.manager.broadcast_node_announcement(bytes(3), alias, addresses)


def test_an_init_of_a_usual_size_stays_as_it_is() -> None:
    usual = Init(
        globalfeatures=b"\x22\x00",
        features=bytes(KEPT_FEATURE_BYTES),
        tlvs=InitTlvs(networks=(bytes(32),) * 2, remote_addr=b"\1abcdef", unknown=(TlvRecord(7, bytes(7000)),)),
    )
    assert kept_init(usual) is usual
    assert kept_init(Init()) == Init()


def test_what_stays_of_a_large_init_is_bounded() -> None:
    features = bytes(range(256)) * 250
    kept = kept_init(Init(globalfeatures=bytes(100), features=features))
    assert kept == Init(globalfeatures=bytes(100), features=features[-KEPT_FEATURE_BYTES:])
    # First globalfeatures, then networks, then the address, then unknown records, as far as there is room.
    large = Init(
        globalfeatures=b"\xaa" * 100,
        tlvs=InitTlvs(
            networks=tuple(bytes([number]) * 32 for number in range(100)),
            remote_addr=b"\x09" + bytes(3000),
            unknown=tuple(TlvRecord(type_, b"ab") for type_ in range(5, 205, 2)),
        ),
    )
    assert kept_init(large) is not large
    networks = (KEPT_OTHER_BYTES - 100) // (32 + ITEM_OVERHEAD)
    assert kept_init(large).tlvs.networks == large.tlvs.networks[:networks]  # type: ignore[index]
    assert kept_init(large).tlvs.remote_addr is None
    rest = KEPT_OTHER_BYTES - 100 - networks * (32 + ITEM_OVERHEAD)
    assert kept_init(large).tlvs.unknown == large.tlvs.unknown[: rest // 4]
    assert kept_init(Init(globalfeatures=bytes(60_000))).globalfeatures == bytes(KEPT_OTHER_BYTES)
    assert kept_init(Init(tlvs=InitTlvs(remote_addr=bytes(60_000)))).tlvs == InitTlvs()


def test_handlers_hear_an_init_whole_and_every_bit_of_it_is_checked() -> None:
    class Hears(ChannelMessageHandler):
        def __init__(self) -> None:
            super().__init__()
            self.inits: list[Init] = []

        def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
            self.inits.append(init)

    class Offers(ChannelMessageHandler):
        def __init__(self, bit: int) -> None:
            super().__init__()
            self.bit = bit

        def provided_init_features(self, node_id: bytes) -> Features:
            return Features([self.bit, 7])

    hears = Hears()
    a, b = node(1, chan=Offers(400_001)), node(2, chan=hears)
    wire(a, b).run()
    (heard,) = hears.inits
    assert 400_001 in Features.from_bytes(heard.features)
    (details,) = b.manager.list_peers()
    assert len(details.init.features) == KEPT_FEATURE_BYTES
    assert 7 in details.features
    assert 400_001 not in details.features

    a, b = node(1, chan=Offers(400_000)), node(2)
    wire(a, b).run()
    assert b.manager.list_peers() == []
    assert b.seen.ended[0].message == "you require bit 400000, which is not supported here"
