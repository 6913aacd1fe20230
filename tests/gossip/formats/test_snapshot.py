"""What a file holds: the newest of everything, in any order, of one chain."""

from __future__ import annotations

import pytest

from tests.support.gossip import IDS, NOW, SCID, channel, node, update
from tests.support.gossip_files import a_few, snapshot_of
from triolight.address import IPv4Address, write_address
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip.formats import snapshot as module
from triolight.gossip.formats.items import (
    Capacity,
    ChannelFacts,
    Checked,
    Closed,
    Damaged,
    NodeFacts,
    PolicyChange,
    PolicyFacts,
    Signed,
    Spent,
)
from triolight.wire import ShortChannelId

POLICY = PolicyFacts(SCID, 1, 50, False, 40, 1, 2, 3, 4)


def of(*messages: bytes) -> module.Snapshot:
    return snapshot_of([Signed(0, one) for one in messages])


def test_the_newest_of_everything_in_any_order() -> None:
    old, new = update(timestamp=5), update(timestamp=6, fee_base_msat=7)
    for order in ((old, new, channel()), (channel(), new, old), (new, channel(), old)):
        found = of(*order, node(0, 3), node(0, 9), node(0, 5))
        assert found.channels[SCID].updates == [new, None]
        assert found.announced == {IDS[0]: node(0, 9)}
        policy = found.channels[SCID].policy(0)
        assert policy is not None
        assert (policy.timestamp, policy.fee_base_msat) == (6, 7)
        assert found.chain_hash == REGTEST.chain_hash
        assert not found.left_out


def test_what_a_channel_and_a_node_are() -> None:
    address = IPv4Address("1.2.3.4", 9735)
    found = of(channel(features=b"\x01"), node(0, alias=b"x".ljust(32, b"\0"), addresses=write_address(address)))
    assert found.channels[SCID].facts == ChannelFacts(SCID, IDS[0], IDS[1], b"\x01")
    assert found.channels[SCID].node_ids == (IDS[0], IDS[1])
    assert found.nodes == {*IDS[:2]}
    assert found.node(IDS[0]) == NodeFacts(IDS[0], NOW, b"x".ljust(32, b"\0"), addresses=(address,))
    assert found.node(IDS[1]) == NodeFacts(IDS[1])
    assert found.signed
    # A descriptor that is cut costs the addresses, not the node.
    assert of(channel(), node(0, addresses=b"\x01\x02")).node(IDS[0]).addresses == ()


def test_messages_come_by_channel_with_nodes_behind() -> None:
    messages = a_few()
    found = of(*reversed(messages), node(5))
    assert [raw for raw, _ in found.messages()] == messages
    found.take(Capacity(0, ShortChannelId.of(101, 1, 0), 9))
    assert [capacity for _, capacity in found.messages()] == [None] * 3 + [9] + [None] * 7


def test_what_a_file_says_of_a_channel() -> None:
    found = of(channel())
    for item in (Capacity(0, SCID, 5), Spent(0, SCID, 6), Checked(SCID, "output")):
        found.take(item)
    known = found.channels[SCID]
    assert (known.capacity_sat, known.spent_height, known.checked) == (5, 6, "output")
    unknown = ShortChannelId(1)
    for other in (Capacity(0, unknown, 5), Spent(0, unknown, 6), Closed(0, unknown), Checked(unknown, "output")):
        found.take(other)
    found.take(Closed(0, SCID))
    assert not found.channels


@pytest.mark.parametrize(
    ("extension", "fees"),
    [
        ("", (0, 0)),
        ("fdd90308fffffff9ffffffce", (-7, -50)),
        ("fdd903087fffffff80000000", (2**31 - 1, -(2**31))),
        ("020101fdd9030800000001fffffffefdd90401ff", (1, -2)),  # others around it, an even one too
        ("fdd90307fffffff9ffffff", (0, 0)),
        ("fdd90309fffffff9ffffffce00", (0, 0)),
        ("fdd90308fffffff9", (0, 0)),
        ("ff", (0, 0)),
    ],
)
def test_what_an_update_asks_for_what_comes_in(extension: str, fees: tuple[int, int]) -> None:
    policy = of(channel(), update(extension=bytes.fromhex(extension))).channels[SCID].policy(0)
    assert policy is not None
    assert (policy.inbound_fee_base_msat, policy.inbound_fee_proportional_millionths) == fees


def test_facts_without_signatures() -> None:
    facts = ChannelFacts(SCID, IDS[0], IDS[1], b"", 5)
    found = snapshot_of([facts, facts, POLICY, PolicyChange(SCID, 1, {"fee_base_msat": 9, "timestamp": 60})])
    assert not found.signed
    assert not [*found.messages()]
    assert found.channels[SCID].facts == facts
    assert found.channels[SCID].policies == (None, PolicyFacts(SCID, 1, 60, False, 40, 1, 2, 9, 4))
    found.take(POLICY)  # older
    policy = found.channels[SCID].policy(1)
    assert policy is not None
    assert policy.timestamp == 60
    found.take(PolicyFacts(ShortChannelId(1), 0, 50, False, 40, 1, 2, 3, 4))
    assert found.left_out == {"updates of channels that the file does not have": 1}


def test_another_chain_is_left_out() -> None:
    elsewhere = channel(7 << 40, chain_hash=BITCOIN.chain_hash)
    found = of(channel(), elsewhere, update(chain_hash=BITCOIN.chain_hash))
    assert [*found.channels] == [SCID]
    assert found.left_out == {"of another chain": 2}
    chosen = module.Snapshot(BITCOIN.chain_hash)
    chosen.take_all([Signed(0, channel()), Signed(0, elsewhere)])
    assert [*chosen.channels] == [7 << 40]


def test_updates_that_wait_for_their_channel_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    found = of(*(update(number << 40) for number in range(1, 6)))
    assert found.left_out == {
        "updates that came before their channels, too many of them": 3,
        "updates of channels that the file does not have": 2,
    }


def test_damages_are_counted_and_the_first_are_kept() -> None:
    found = snapshot_of([Signed(7, channel()[:100])] + [Damaged(number, "x") for number in range(200)])
    assert found.left_out == {"damaged": 201}
    assert len(found.damaged) == module.DAMAGES_KEPT
    assert found.damaged[0] == Damaged(7, "channel_announcement of 100 bytes, cut short")
