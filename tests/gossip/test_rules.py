"""The rules of BOLT 7 and ours, by their numbers: each through `take`, with the verdict and what it counts."""

from __future__ import annotations

import pytest

from tests.support.gossip import (
    FUNDING,
    IDS,
    NOW,
    PEER,
    PEERS,
    SCID,
    Chain,
    channel,
    node,
    scid,
    update,
)
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import (
    ChannelAdded,
    ChannelChanged,
    Conflict,
    Failed,
    Found,
    GossipPolicy,
    GossipRules,
    NetworkGraph,
    NodeChanged,
    PrivateUpdate,
    Spent,
    Verdict,
    sign_announcement,
)
from triolight.gossip.policy import MemoryPolicy
from triolight.keys import SecretKey
from triolight.messages import BOLT, ChannelAnnouncement, ChannelUpdate, NodeAnnouncement

FOURTEEN_DAYS = 1_209_600
CURVE = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


def fresh(*messages: bytes, chain: Chain | None = None, policy: GossipPolicy | None = None) -> GossipRules:
    rules = GossipRules(NetworkGraph(REGTEST), chain, policy or GossipPolicy())
    for one in messages:
        assert rules.take(one, PEER, NOW) in (Verdict.ACCEPTED, Verdict.UNVERIFIED)
    rules.drain()
    return rules


def public(*messages: bytes) -> GossipRules:
    """The same, with a chain that has the channel."""
    chain = Chain()
    chain.has(SCID)
    return fresh(channel(), *messages, chain=chain)


def refused(rules: GossipRules, data: bytes, verdict: Verdict, now: float = NOW, *, signatures: int = 0) -> None:
    """It gets this verdict, which is counted once; nothing changes, and it costs so many signatures."""
    before = rules.verifications, rules.verdicts[verdict], sum(rules.verdicts.values())
    assert rules.take(data, PEER, now) is verdict
    assert (rules.verifications, rules.verdicts[verdict], sum(rules.verdicts.values())) == (
        before[0] + signatures,
        before[1] + 1,
        before[2] + 1,
    )
    assert rules.drain() == []


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def high_s(data: bytes, at: int) -> bytes:
    """The other signature of the same hash, which the BOLTs' libraries refuse."""
    s = CURVE - int.from_bytes(data[at + 32 : at + 64], "big")
    return data[: at + 32] + s.to_bytes(32, "big") + data[at + 64 :]


def test_plain_gossip_makes_a_graph() -> None:
    rules = GossipRules(NetworkGraph(REGTEST))
    said = [rules.take(one, PEER, NOW) for one in (channel(), update(), update(direction=1), node(0), node(1))]
    assert said == [Verdict.UNVERIFIED] * 5
    found = rules.graph.channels[SCID]
    assert rules.drain() == [
        ChannelAdded(found, PEER),
        ChannelChanged(found, 0, PEER),
        ChannelChanged(found, 1, PEER),
        NodeChanged(rules.graph.nodes[IDS[0]], PEER),
        NodeChanged(rules.graph.nodes[IDS[1]], PEER),
    ]
    assert rules.drain() == []
    assert rules.verifications == 8
    with pytest.raises(ValueError, match="neither a channel_announcement"):
        rules.take(b"\x01\x03", PEER, NOW)


def test_with_a_chain_it_is_proven() -> None:
    rules = public(update(), node(0))
    assert rules.verdicts[Verdict.ACCEPTED] == 3
    found = rules.graph.channels[SCID]
    assert (found.checked, found.capacity_sat, found.relayable()) == ("output", 1_000_000, True)


def test_a_decoded_message_is_taken_alike_and_one_that_is_known_is_not_encoded() -> None:
    rules = fresh()
    for one in (channel(), update(), node(0)):
        message = BOLT.decode(one)
        assert isinstance(message, ChannelAnnouncement | ChannelUpdate | NodeAnnouncement)
        said = [rules.take_message(message, PEER, NOW) for _ in range(2)]
        assert said == [Verdict.UNVERIFIED, Verdict.DUPLICATE]
    assert (rules.verifications, rules.verdicts[Verdict.DUPLICATE]) == (6, 3)
    # By the signature alone: the other words are not looked at.
    known = ChannelUpdate.decode(update()).replace(fee_base_msat=5)
    named = NodeAnnouncement.decode(node(0)).replace(timestamp=5)
    announced = ChannelAnnouncement.decode(channel()).replace(node_id_1=IDS[3], node_id_2=IDS[4])
    assert [rules.take_message(one, PEER, NOW) for one in (known, named, announced)] == [Verdict.DUPLICATE] * 3
    assert rules.take_message(NodeAnnouncement.decode(node(5)), PEER, NOW) is Verdict.ORPHAN
    assert rules.verifications == 6


# channel_announcement


def test_g1_a_tail_that_was_signed_is_kept_and_one_that_was_not_is_a_bad_signature() -> None:
    rules = fresh()
    refused(rules, channel() + b"\0", Verdict.BAD_SIGNATURE, signatures=1)
    assert rules.take(channel(extension=b"\0"), PEER, NOW) is Verdict.UNVERIFIED
    assert rules.graph.channel_announcement(SCID) == channel(extension=b"\0")


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_g2_features_of_any_length(size: int) -> None:
    rules = fresh()
    whole = channel(features=bytes(size))
    for short in (whole[:-1], whole[:432], whole[:259]):
        if len(short) < len(whole):
            refused(rules, short, Verdict.MALFORMED)
    assert rules.take(whole, PEER, NOW) is Verdict.UNVERIFIED
    found = rules.graph.channels[SCID]
    assert (found.node_ids, found.short_channel_id) == (IDS[:2], SCID)
    assert found.bitcoin_keys == (FUNDING[0].public_key, FUNDING[1].public_key)


def test_g3_what_is_cheap_to_refuse_costs_no_signature() -> None:
    rules = public()
    before = rules.verifications
    rules.take(channel(scid(2)), PEER, NOW)  # missing
    costs = rules.verifications
    assert costs == before + 4
    refused(rules, channel(), Verdict.DUPLICATE)
    refused(rules, channel(chain_hash=BITCOIN.chain_hash), Verdict.WRONG_CHAIN)
    refused(rules, channel(scid(2)), Verdict.MISSING)
    refused(rules, channel(first=1, second=0), Verdict.BAD_ORDER)
    refused(rules, channel(scid(3), funding=(0, 0)), Verdict.EQUAL_KEYS)


def test_g4_the_lesser_node_is_first() -> None:
    rules = fresh()
    refused(rules, channel(first=1, second=0), Verdict.BAD_ORDER)
    refused(rules, channel(first=1, second=1), Verdict.BAD_ORDER)
    refused(rules, channel(funding=(1, 1)), Verdict.EQUAL_KEYS)


@pytest.mark.parametrize("number", range(4))
def test_g5_each_of_four_signatures_is_checked(number: int) -> None:
    rules = fresh()
    refused(rules, flipped(channel(), 2 + 64 * number + 40), Verdict.BAD_SIGNATURE, signatures=number + 1)
    assert not rules.graph.channels
    assert rules.take(channel(), PEER, NOW) is Verdict.UNVERIFIED


@pytest.mark.parametrize("number", range(4))
def test_g11_a_high_s_is_no_signature(number: int) -> None:
    refused(fresh(), high_s(channel(), 2 + 64 * number), Verdict.BAD_SIGNATURE, signatures=number + 1)


@pytest.mark.parametrize("at", [300, 333, 366, 399])
def test_g3_a_key_that_is_no_point_is_malformed(at: int) -> None:
    broken = bytearray(channel())
    broken[at + 1 : at + 33] = b"\xff" * 32
    if at == 300:
        broken[333] = 0x03  # so that the order holds
        broken[334:366] = b"\xff" * 32
    # The first signature covers all of them: it does not hold either.
    refused(fresh(), bytes(broken), Verdict.MALFORMED, signatures=1)


@pytest.mark.parametrize("bit", [100, 101])
def test_g9_unknown_features_are_kept_and_an_even_one_is_not_routed_over(bit: int) -> None:
    features = (1 << bit).to_bytes(20, "big")
    rules = public_with(features)
    found = rules.graph.channels[SCID]
    assert rules.graph.channel_announcement(SCID)[260:280] == features
    assert (found.usable, found.relayable()) == (bit == 101, True)


def public_with(features: bytes) -> GossipRules:
    chain = Chain()
    chain.has(SCID)
    return fresh(channel(features=features), update(), chain=chain)


def test_g10_a_hundred_copies_are_one_channel() -> None:
    rules = fresh(channel(), update(), node(0))
    costs = rules.verifications
    for copy in (channel(), update(), node(0)):
        for number in range(100):
            assert rules.take(copy, PEERS[number % 10], NOW) is Verdict.DUPLICATE
    assert (rules.drain(), rules.verifications, rules.verdicts[Verdict.DUPLICATE]) == ([], costs, 300)


# node_announcement


@pytest.mark.parametrize("size", [0, 7, 300])
def test_g14_a_node_announcement_with_features_and_a_tail(size: int) -> None:
    rules = fresh(channel())
    whole = node(0, features=bytes(size), extension=b"tail")
    refused(rules, whole[:-5], Verdict.MALFORMED)
    refused(rules, whole[:-1], Verdict.BAD_SIGNATURE, signatures=1)
    assert rules.take(whole, PEER, NOW) is Verdict.UNVERIFIED
    found = rules.graph.nodes[IDS[0]]
    assert (found.announcement_bytes, found.timestamp, found.alias) == (whole, NOW, "node")


def test_g15_a_node_without_a_channel_is_not_kept() -> None:
    rules = fresh()
    refused(rules, node(0), Verdict.ORPHAN)
    rules.take(channel(), PEER, NOW)
    assert rules.graph.node_announcement(IDS[0]) is None
    rules.drain()
    refused(rules, flipped(node(0), 30), Verdict.BAD_SIGNATURE, signatures=1)
    refused(rules, node(2), Verdict.ORPHAN)
    assert rules.take(node(0), PEER, NOW) is Verdict.UNVERIFIED


def test_g16_only_a_newer_one_counts_and_not_from_the_future() -> None:
    rules = fresh(channel(), node(0, NOW))
    refused(rules, node(0, NOW - 1), Verdict.STALE)
    refused(rules, node(0, NOW), Verdict.DUPLICATE)
    refused(rules, node(0, NOW, alias=b"other".ljust(32)), Verdict.EQUIVOCATION)
    refused(rules, node(0, NOW + 86_401), Verdict.FUTURE)
    refused(rules, node(1, 0), Verdict.TS_ZERO)
    assert rules.graph.node_announcement(IDS[0]) == node(0)
    assert rules.take(node(0, NOW + 86_400), PEER, NOW) is Verdict.UNVERIFIED
    # However old: a node lives as long as its channels.
    assert rules.take(node(1, NOW - 60 * 86_400), PEER, NOW) is Verdict.UNVERIFIED


def test_d6_what_is_more_than_a_day_ahead_costs_no_signature_and_is_counted() -> None:
    rules = fresh(channel())
    cost = rules.verifications
    for number, one in enumerate((update(timestamp=NOW + 86_401), update(scid(9), timestamp=NOW + 86_401)), 1):
        assert rules.take(one, PEER, NOW) is Verdict.FUTURE
        assert (rules.verdicts[Verdict.FUTURE], rules.verifications, len(rules.orphans)) == (number, cost, 0)
    assert rules.take(node(0, NOW + 86_401), PEER, NOW) is Verdict.FUTURE
    assert (rules.verdicts[Verdict.FUTURE], rules.verifications) == (3, cost)
    # A second later it is not, and nothing that was refused is remembered against it.
    assert rules.take(update(timestamp=NOW + 86_401), PEER, NOW + 1) is Verdict.UNVERIFIED
    assert rules.verdicts[Verdict.FUTURE] == 3


IPV4 = bytes((1, 192, 0, 2, 1, 0x26, 0x07))
IPV6 = bytes((2,)) + bytes(15) + b"\x01\x26\x07"
TOR2 = bytes((3,)) + bytes(12)
TOR3 = bytes((4,)) + bytes(35) + b"\x26\x07"
DNS = bytes((5, 11)) + b"example.com" + b"\x26\x07"
UNKNOWN = bytes((9, 1, 2, 3))


@pytest.mark.parametrize(
    ("addresses", "kinds"),
    [
        (IPV4 + TOR3, ["IPv4Address", "TorV3Address"]),
        (TOR3 + IPV4, ["TorV3Address", "IPv4Address"]),
        (IPV4 + IPV4, ["IPv4Address"] * 2),
        (IPV4 + UNKNOWN, ["IPv4Address", "UnknownAddress"]),
        (UNKNOWN + IPV4, ["UnknownAddress"]),
    ],
)
def test_g17_addresses_in_any_order_and_an_unknown_type_ends_the_reading(addresses: bytes, kinds: list[str]) -> None:
    rules = public(node(0, addresses=addresses))
    found = rules.graph.nodes[IDS[0]]
    assert [type(one).__name__ for one in found.addresses] == kinds
    assert found.relayable() == node(0, addresses=addresses)


def test_g17_two_dns_names_are_kept_and_never_passed_on() -> None:
    long = node(0, NOW - 1, addresses=DNS + DNS, features=bytes(300))
    assert public(long).graph.nodes[IDS[0]].relayable() is None
    rules = public(node(0, addresses=DNS + DNS), node(1, addresses=DNS + IPV4))
    found = rules.graph.nodes[IDS[0]]
    assert (found.announcement_bytes, found.relayable()) == (node(0, addresses=DNS + DNS), None)
    assert rules.graph.nodes[IDS[1]].relayable() is not None


@pytest.mark.parametrize("other", [IPV4, IPV6, TOR2, TOR3])
def test_g17_names_are_counted_behind_any_other_address(other: bytes) -> None:
    rules = public(node(0, addresses=other + other + DNS + DNS), node(1, addresses=other + DNS + other))
    assert [rules.graph.nodes[one].relayable() is None for one in IDS[:2]] == [True, False]


@pytest.mark.parametrize("address", [IPV4, IPV6, TOR2, TOR3, DNS])
def test_g18_an_address_that_is_cut_short_is_malformed(address: bytes) -> None:
    refused(fresh(channel()), node(0, addresses=IPV4 + address[:-1]), Verdict.MALFORMED)


def test_g18_addresses_past_the_end_are_malformed() -> None:
    refused(fresh(channel()), node(0)[:-2] + b"\x00\x01", Verdict.MALFORMED)
    refused(fresh(channel()), node(0)[:-1], Verdict.MALFORMED)


def test_g21_the_newest_is_kept_however_often_it_changes() -> None:
    rules = fresh(channel(), update())
    for second in range(1, 101):
        assert rules.take(node(0, NOW + second), PEER, NOW + second / 2) is Verdict.UNVERIFIED
        assert rules.take(update(timestamp=NOW + second), PEER, NOW + second / 2) is Verdict.UNVERIFIED
    assert (rules.graph.nodes[IDS[0]].timestamp, rules.graph.channels[SCID].timestamp(0)) == (NOW + 100, NOW + 100)


# channel_update


@pytest.mark.parametrize(("size", "verdict"), [(130, "malformed"), (137, "malformed"), (138, ""), (139, "")])
def test_g22_an_update_has_138_bytes_at_least(size: int, verdict: str) -> None:
    rules = fresh(channel())
    data = update(extension=bytes(max(0, size - 138)))[:size]
    assert str(rules.take(data, PEER, NOW)) == (verdict or "unverified")


@pytest.mark.parametrize("bit", range(8))
def test_g23_each_bit_of_the_channel_flags_is_signed_and_kept(bit: int) -> None:
    rules = fresh(channel())
    flags = 1 << bit
    refused(rules, flipped_bit(update(channel_flags=flags), 111, bit), Verdict.BAD_SIGNATURE, signatures=1)
    data = update(direction=int(bit == 0), channel_flags=flags)
    assert rules.take(data, PEER, NOW) is Verdict.UNVERIFIED
    found = rules.graph.channels[SCID]
    assert found.update_bytes(int(bit == 0)) == data
    one = found.direction(int(bit == 0))
    assert one is not None
    assert one.disabled == (bit == 1)


def flipped_bit(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]


@pytest.mark.parametrize("flags", [0, 1, 4, 128])
def test_g23_message_flags_are_kept_whatever_they_are(flags: int) -> None:
    assert fresh(channel(), update(message_flags=flags)).graph.channels[SCID].update_bytes(0) == update(
        message_flags=flags
    )


def test_g24_an_update_that_the_peer_has_signed_itself_is_told_of_and_not_kept() -> None:
    rules = fresh()
    theirs = SecretKey(bytes((201,)) * 32)
    message = ChannelUpdate.decode(update(message_flags=3))
    private = sign_announcement(message, theirs)
    assert rules.take(private.encode(), theirs.public_key, NOW) is Verdict.PRIVATE_UPDATE
    assert rules.drain() == [PrivateUpdate(theirs.public_key, private)]
    assert (dict(rules.graph.channels), len(rules.orphans)) == ({}, 0)
    # The same from somebody else is nobody's.
    assert rules.take(private.encode(), PEERS[5], NOW) is Verdict.DONT_FORWARD
    assert rules.take(update(), PEER, NOW) is Verdict.ORPHAN


@pytest.mark.parametrize("at", [*range(2, 66, 8), 66, 110, *range(114, 138, 3)])
def test_g25_a_flipped_bit_is_a_bad_signature(at: int) -> None:
    rules = fresh(channel())
    signed = not 66 <= at < 98
    refused(
        rules,
        flipped(update(), at),
        Verdict.BAD_SIGNATURE if signed else Verdict.WRONG_CHAIN,
        signatures=int(signed),
    )


def test_g26_the_first_of_two_that_contradict_each_other_stays() -> None:
    for first, second in ((0, 1), (1, 0)):
        pair = [update(fee_base_msat=fee) for fee in (1, 2)]
        rules = fresh(channel(), pair[first])
        refused(rules, pair[second], Verdict.EQUIVOCATION)
        refused(rules, update(timestamp=NOW - 1), Verdict.STALE)
        # Another signature of the same words says nothing else.
        refused(rules, high_s(pair[first], 2), Verdict.DUPLICATE)
        refused(rules, flipped(update(timestamp=NOW + 1), 30), Verdict.BAD_SIGNATURE, signatures=1)
        assert rules.graph.channels[SCID].update_bytes(0) == pair[first]
        assert rules.take(update(timestamp=NOW + 1), PEER, NOW) is Verdict.UNVERIFIED


@pytest.mark.parametrize(
    ("timestamp", "verdict"),
    [
        (0, Verdict.TS_ZERO),
        (NOW + 86_400, Verdict.UNVERIFIED),
        (NOW + 86_401, Verdict.FUTURE),
        (NOW - FOURTEEN_DAYS, Verdict.UNVERIFIED),
        (NOW - FOURTEEN_DAYS - 1, Verdict.TOO_OLD),
    ],
)
def test_g27_an_update_is_neither_old_nor_of_the_future(timestamp: int, verdict: Verdict) -> None:
    rules = fresh(channel())
    if verdict is Verdict.UNVERIFIED:
        assert rules.take(update(timestamp=timestamp), PEER, NOW) is verdict
    else:
        refused(rules, update(timestamp=timestamp), verdict)
        refused(rules, update(scid(9), timestamp=timestamp), verdict)


@pytest.mark.parametrize(
    ("changes", "usable"),
    [
        ({"htlc_minimum_msat": 5, "htlc_maximum_msat": 5}, True),
        ({"htlc_minimum_msat": 6, "htlc_maximum_msat": 5}, False),
        ({"htlc_maximum_msat": 1_000_000_000}, True),
        ({"htlc_maximum_msat": 1_000_000_001}, False),
        ({"channel_flags": 2}, False),
    ],
)
def test_g28_limits_that_leave_nothing_are_kept_passed_on_and_not_routed_over(
    changes: dict[str, int], usable: bool
) -> None:
    rules = public(update(**changes))
    found = rules.graph.channels[SCID]
    assert (found.usable, found.relayable_update(0)) == (usable, update(**changes))


def test_g29_what_is_not_to_be_forwarded_is_not_even_kept() -> None:
    rules = public(update())
    refused(rules, update(timestamp=NOW + 1, message_flags=3), Verdict.DONT_FORWARD)
    assert rules.graph.channels[SCID].relayable_update(0) == update()
    # Nor while its channel waits for an answer.
    waiting = fresh(chain=Chain(at_once=False))
    waiting.take(channel(), PEER, NOW)
    refused(waiting, update(message_flags=3), Verdict.DONT_FORWARD)


def test_g33_updates_of_channels_that_are_not_announced_never_reach_the_graph() -> None:
    rules = fresh()
    theirs = SecretKey(bytes((201,)) * 32)
    aliased = sign_announcement(ChannelUpdate.decode(update(scid(1, 16_000_000))), theirs)
    assert rules.take(aliased.encode(), theirs.public_key, NOW) is Verdict.PRIVATE_UPDATE
    assert repr(rules.graph) == "<NetworkGraph regtest, 0 channels, 0 nodes>"


# What is passed on, and what is not


def test_g42_only_what_a_chain_has_confirmed_goes_out_unless_the_user_says_otherwise() -> None:
    rules = fresh(channel(), update(), node(0))
    found, one = rules.graph.channels[SCID], rules.graph.nodes[IDS[0]]
    assert (found.relayable(), found.relayable_update(0), one.relayable()) == (False, None, None)
    assert found.relayable(unchecked=True)
    assert not rules.relayable(found)
    assert fresh(policy=GossipPolicy(relay_unchecked=True)).relayable(found)
    assert (found.relayable_update(0, unchecked=True), one.relayable(unchecked=True)) == (update(), node(0))
    assert found.relayable_update(1, unchecked=True) is None


@pytest.mark.parametrize(("tail", "passed"), [(1024, True), (1025, False)])
def test_g42_an_endless_tail_is_kept_and_not_passed_on(tail: int, passed: bool) -> None:
    chain = Chain()
    chain.has(SCID, scid(2))
    plain, long = channel(scid(2)), channel(extension=bytes(tail))
    rules = fresh(plain, long, update(scid(2), extension=bytes(tail)), node(0, extension=bytes(tail)), chain=chain)
    assert rules.graph.channel_announcement(SCID) == long
    assert rules.graph.channels[SCID].relayable() is passed
    assert (rules.graph.channels[scid(2)].relayable_update(0) is not None) is passed
    assert (rules.graph.nodes[IDS[0]].relayable() is not None) is passed


def test_d11_what_no_chain_has_confirmed_is_not_kept_if_it_is_endless() -> None:
    rules = fresh(channel())
    refused(rules, channel(scid(2), extension=bytes(1700)), Verdict.LIMITED)
    refused(rules, update(extension=bytes(1911)), Verdict.LIMITED)
    refused(rules, node(0, extension=bytes(1907)), Verdict.LIMITED)
    assert rules.take(update(extension=bytes(1910)), PEER, NOW) is Verdict.UNVERIFIED
    assert rules.take(node(0, extension=bytes(1906)), PEER, NOW) is Verdict.UNVERIFIED
    assert public(update(extension=bytes(5000))).graph.channels[SCID].update_bytes(0) is not None


# Bounds


def test_d10_u10_so_many_channels_are_believed_without_a_chain() -> None:
    rules = fresh(policy=GossipPolicy(unverified=5, unverified_of_peer=2))
    first, second = PEERS[:2]
    assert [rules.take(channel(scid(number)), first, NOW) for number in range(3)] == [
        Verdict.UNVERIFIED,
        Verdict.UNVERIFIED,
        Verdict.LIMITED,
    ]
    # What was asked for counts in all, and for nobody.
    assert rules.take(channel(scid(3)), first, NOW, asked=True) is Verdict.UNVERIFIED
    assert [rules.take(channel(scid(number)), second, NOW) for number in (4, 5)] == [Verdict.UNVERIFIED] * 2
    costs = rules.verifications
    assert rules.take(channel(scid(6)), first, NOW, asked=True) is Verdict.LIMITED
    assert rules.take(channel(scid(7)), PEERS[2], NOW) is Verdict.LIMITED
    assert (rules.graph.unproven, rules.verifications, rules.verdicts[Verdict.LIMITED]) == (5, costs, 3)
    # One that goes makes room, in all and for who brought it.
    rules.block_connected(200, NOW, spent=[scid(0)])
    rules.block_connected(272, NOW)
    assert rules.take(channel(scid(8)), first, NOW) is Verdict.UNVERIFIED
    assert rules.take(channel(scid(9)), first, NOW) is Verdict.LIMITED


def test_u10_what_a_store_has_kept_counts_too() -> None:
    rules = fresh(policy=GossipPolicy(unverified=1))
    rules.graph.load(channel(scid(5)))
    assert rules.take(channel(), PEER, NOW) is Verdict.LIMITED
    rules.graph.load(channel(scid(2)), checked="output")
    assert rules.graph.unproven == 1


def test_d15_signatures_that_hold_are_not_checked_again_for_what_is_not_kept() -> None:
    rules = fresh(channel(), policy=GossipPolicy(memory=MemoryPolicy(seen=2)))
    others = [channel(first=first, second=5) for first in (2, 3, 4)]
    for one in others:
        refused_with_conflict(rules, one, 4)
    refused_with_conflict(rules, others[1], 0)
    assert (len(rules.memory.seen), rules.memory.seen.dropped) == (2, 1)
    refused_with_conflict(rules, others[0], 4)
    # What did not hold is not remembered: its sender could fill the memory with nothing.
    broken = flipped(channel(scid(9)), 30)
    for _ in range(2):
        refused(rules, broken, Verdict.BAD_SIGNATURE, signatures=1)


def refused_with_conflict(rules: GossipRules, data: bytes, signatures: int) -> None:
    before = rules.verifications
    assert rules.take(data, PEER, NOW) is Verdict.CONFLICT
    assert rules.verifications == before + signatures
    assert [type(one) for one in rules.drain()] == [Conflict] * bool(signatures)


def test_changes_that_nobody_reads_are_lost_and_counted() -> None:
    rules = fresh(policy=GossipPolicy(changes=3))
    for number in range(5):
        rules.take(channel(scid(number)), PEER, NOW)
    assert (len(rules.drain()), rules.changes.lost) == (3, 2)


# Each verdict


def corpus() -> dict[Verdict, tuple[GossipRules, bytes]]:
    """For each verdict that `take` gives: a graph, and the one message that gets it."""
    theirs = PEER
    blacklisting = public_blacklist()
    early = fresh()
    early.block_connected(99, NOW)
    tombstoned = fresh(channel())
    tombstoned.prune(NOW + FOURTEEN_DAYS + 1)
    answers = {one: Chain() for one in ("wrong", "missing", "spent", "failed", "pending")}
    answers["wrong"].outputs[SCID] = Found(b"", 1, 100)
    answers["spent"].outputs[SCID] = Spent()
    answers["failed"].outputs[SCID] = Failed()
    answers["pending"].at_once = False
    key = SecretKey(bytes((201,)) * 32)
    assert key.public_key == theirs
    private = sign_announcement(ChannelUpdate.decode(update()), key).encode()
    return {
        Verdict.ACCEPTED: (public(), update()),
        Verdict.UNVERIFIED: (fresh(), channel()),
        Verdict.DUPLICATE: (fresh(channel()), channel()),
        Verdict.STALE: (fresh(channel(), update()), update(timestamp=NOW - 1)),
        Verdict.TOO_OLD: (fresh(channel()), update(timestamp=1)),
        Verdict.FUTURE: (fresh(channel()), update(timestamp=NOW + 90_000)),
        Verdict.TS_ZERO: (fresh(channel()), update(timestamp=0)),
        Verdict.EQUIVOCATION: (fresh(channel(), update()), update(fee_base_msat=7)),
        Verdict.WRONG_CHAIN: (fresh(), channel(chain_hash=bytes(32))),
        Verdict.TOMBSTONED: (tombstoned, channel()),
        Verdict.BLACKLISTED: (blacklisting, channel(scid(5), 0, 4)),
        Verdict.EARLY: (early, channel()),
        Verdict.TOO_EARLY: (early, channel(scid(1, 112))),
        Verdict.PENDING: (fresh(chain=answers["pending"]), channel()),
        Verdict.ORPHAN: (fresh(), update()),
        Verdict.LIMITED: (fresh(channel(), policy=GossipPolicy(unverified=1)), channel(scid(2))),
        Verdict.MALFORMED: (fresh(), channel()[:-1]),
        Verdict.BAD_SIGNATURE: (fresh(), flipped(channel(), 9)),
        Verdict.BAD_ORDER: (fresh(), channel(first=1, second=0)),
        Verdict.EQUAL_KEYS: (fresh(), channel(funding=(1, 1))),
        Verdict.WRONG_SCRIPT: (fresh(chain=answers["wrong"]), channel()),
        Verdict.MISSING: (fresh(chain=answers["missing"]), channel()),
        Verdict.SPENT: (fresh(chain=answers["spent"]), channel()),
        Verdict.LOOKUP_FAILED: (fresh(chain=answers["failed"]), channel()),
        Verdict.CONFLICT: (fresh(channel()), channel(first=2, second=3)),
        Verdict.PRIVATE_UPDATE: (fresh(), private),
        Verdict.DONT_FORWARD: (fresh(channel()), update(message_flags=3)),
    }


def public_blacklist() -> GossipRules:
    chain = Chain()
    chain.has(SCID)
    rules = fresh(channel(), chain=chain, policy=GossipPolicy(blacklist=True))
    rules.take(channel(first=2, second=3), PEER, NOW)
    return rules


def test_every_verdict_has_one_message_that_gets_it_and_is_counted_once() -> None:
    found = corpus()
    of_queries = {Verdict.UNASKED_REPLY, Verdict.SECOND_QUERY}
    assert {*found} == {*Verdict} - of_queries
    for verdict, (rules, data) in found.items():
        before = dict(rules.verdicts)
        late = NOW + FOURTEEN_DAYS + 1 if verdict is Verdict.TOMBSTONED else NOW
        assert rules.take(data, PEER, late) is verdict
        assert {one: rules.verdicts[one] - before[one] for one in Verdict if rules.verdicts[one] != before[one]} == {
            verdict: 1
        }
