"""The numbered rules of onion messages (O) and offers (B), and what is tried from outside (T): each has a test that is
called by its number, here or beside the file that keeps it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, secret, until
from tests.support.messengers import nodes
from tests.support.onions import key, random
from tests.support.sellers import offer_of
from triolight.keys import verify_schnorr
from triolight.messages import EncryptedDataTlv, Init, OnionMessage
from triolight.onion import (
    Forward,
    InvoiceRequest,
    OfferError,
    OnionLimits,
    OnionMessenger,
    blind,
    blind_route,
    build_packet,
    merkle_root,
    open_message,
    padded,
    seal,
)
from triolight.onion.drops import Drop
from triolight.onion.records import decode_string, signature_hash
from triolight.testing import MemoryNode, Wire
from triolight.wire import ShortChannelId, write_tlv_records

TESTS = Path(__file__).parent.parent
NOT_TESTED = {
    "o4": "how long a call takes, its library promises: keys_coincurve.py and keys_btclib.py say which calls those are",
    "o32": "what others do",
    "o37": "what is not here",
    "t7": "a real node: interop/",
}


def test_every_rule_has_a_test_that_is_called_by_its_number() -> None:
    names = [
        name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def test_((?:[obt]\d+_)+)", path.read_text())
    ]
    named = {number for name in names for number in name.split("_") if number}
    rules = {f"{kind}{number}" for kind, count in (("o", 37), ("b", 20), ("t", 7)) for number in range(1, count + 1)}
    assert rules - named == {*NOT_TESTED}


def test_o10_bytes_behind_the_packet_are_no_part_of_it() -> None:
    message = seal(random(1), blind_route(random(2), [key(1).public_key, key(2).public_key]), [(77, b"x")])
    longer = OnionMessage.decode(message.encode() + b"\x05\x01x")
    assert (longer.onion_message_packet, longer.extension) == (message.onion_message_packet, b"\x05\x01x")
    passed = open_message(key(1), longer)
    assert isinstance(passed, Forward)
    assert passed.message.extension == b""


def test_o13_the_same_message_again_is_passed_on_again() -> None:
    node = OnionMessenger(secret(1), random(9))
    takes = Init(features=node.provided_node_features().to_bytes())
    for number in (2, 3):
        node.peer_connected(identity(number), takes, inbound=True)
    message = seal(random(1), blind_route(random(2), [identity(1), identity(3)]), [(77, b"x")])
    for _ in range(2):
        assert node.handle_onion_message(identity(2), message) is None
    first, again = node.get_and_clear_pending_msg_events()
    assert first == again


def test_o17_the_node_goes_before_the_channel_where_both_are_named() -> None:
    data = EncryptedDataTlv(short_channel_id=ShortChannelId(5), next_node_id=identity(3))
    path = blind(random(2), list(zip([identity(1), identity(3)], padded([data, EncryptedDataTlv()]), strict=True)))
    passed = open_message(key(1), seal(random(1), path))
    assert isinstance(passed, Forward)
    assert (passed.next_node_id, passed.short_channel_id) == (identity(3), None)


def test_b4_the_first_1_ends_the_prefix() -> None:
    with pytest.raises(OfferError, match="not bech32 behind its lno1"):
        decode_string("lno11qq", "lno")


def test_b9_either_first_byte_of_a_key_verifies() -> None:
    payer = key(5)
    request = InvoiceRequest.make(offer_of(1), payer, bytes(16), bytes(32))
    digest = signature_hash("invoice_request", merkle_root(request.records))
    for first in (b"\2", b"\3"):
        assert verify_schnorr(request.tlvs.signature or b"", digest, first + payer.public_key[1:])


@pytest.mark.parametrize("size", [121, 1300, 32768, 65432])
def test_t2_any_size_is_passed_on_as_it_is(size: int) -> None:
    told = [EncryptedDataTlv(next_node_id=identity(3)).encode(), b""]
    path = blind(random(2), list(zip([identity(1), identity(3)], told, strict=True)))
    payloads = [[(4, path.path[0].encrypted_recipient_data)], [(77, b"")]]
    hops = [(hop.blinded_node_id, write_tlv_records(payload)) for hop, payload in zip(path.path, payloads, strict=True)]
    message = OnionMessage(path_key=path.first_path_key, onion_message_packet=build_packet(random(1), hops, size))
    one, two, three = MemoryOnion(2), MemoryOnion(1), MemoryOnion(3)
    wires = [Wire(one.node, two.node).connect(), Wire(two.node, three.node).connect()]
    run(wires)
    one.node.manager.send_message(identity(1), message)
    run(wires)
    passed = open_message(key(1), message)
    assert isinstance(passed, Forward)
    assert len(passed.message.onion_message_packet) == 66 + size
    assert two.onions.statistics().forwarded == len(three.heard) == 1


class MemoryOnion:
    """A messenger in a manager, and what it hears."""

    def __init__(self, number: int, limits: OnionLimits | None = None) -> None:
        self.onions = OnionMessenger(secret(number), random(number + 100), limits=limits)
        self.heard: list[object] = []
        self.onions.on_message = self.hear
        self.node = MemoryNode(make_manager(number, onion=self.onions))

    def hear(self, received: object) -> bool:
        self.heard.append(received)
        return True


def run(wires: list[Wire]) -> None:
    for _ in range(4):
        for wire in wires:
            wire.run()


async def test_t4_a_thousand_messages_in_a_second(autojump_clock: trio.testing.MockClock) -> None:
    """What goes on is the burst and what the rate allows; what does not costs nothing that is kept, and pings go on."""
    async with nodes(3) as (one, two, three):
        path = blind_route(random(2), [two.id, three.id])
        message = seal(random(1), path, [(77, b"x")])
        for _ in range(100):
            for _ in range(10):
                one.peers.manager.send_message(two.id, message)
            await trio.sleep(0.01)
        await until(lambda: two.onions.statistics().received == 1000)
        limits = two.onions.limits
        found = two.onions.statistics()
        assert limits.burst <= found.forwarded <= limits.burst + limits.per_second
        assert found.dropped == {Drop.RATE: 1000 - found.forwarded}
        await until(lambda: three.onions.statistics().received == found.forwarded)
        assert "0 requests" in repr(two.onions)
        assert await one.peers.peers[two.id].ping() >= 0


def test_t4_o33_a_next_peer_that_does_not_read_is_no_burden() -> None:
    """So much waits for it; what comes then is dropped, and counted by the messenger."""
    wide = OnionLimits(
        per_second=1e6, burst=1e6, bytes_per_second=1e9, byte_burst=1e9, all_per_second=1e6, all_burst=1e6
    )
    asking, middle, silent = MemoryOnion(2), MemoryOnion(1, wide), MemoryOnion(3)
    near, far = Wire(asking.node, middle.node).connect(), Wire(middle.node, silent.node).connect()
    run([near, far])
    far.at_near.capacity = 0
    message = seal(random(1), blind_route(random(2), [identity(1), identity(3)]), [(77, bytes(20_000))])
    for _ in range(40):
        asking.node.manager.send_message(identity(1), message)
        near.run()
    found = middle.onions.statistics()
    assert found.received == 40 == found.forwarded + found.dropped[Drop.WAITING]
    most = wide.waiting_bytes + 2 * len(message.encode())
    assert wide.waiting_bytes < middle.node.manager.queued_bytes(far.at_near) < most
    assert {*middle.node.manager.get_peer_node_ids()} == {identity(2), identity(3)}
    far.at_near.capacity = None
    middle.node.manager.write_buffer_space_avail(far.at_near)
    run([near, far])
    assert len(silent.heard) <= found.forwarded
    assert silent.onions.statistics().received == found.forwarded
