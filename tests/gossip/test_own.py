"""What a node announces of itself: both halves, and times that only grow."""

from __future__ import annotations

import pytest

from tests.support.gossip import FUNDING, IDS, NODES, NOW, PEER, SCID, channel, node, scid, update
from triolight.chains import REGTEST
from triolight.gossip import (
    GossipRules,
    Half,
    NetworkGraph,
    Verdict,
    build_announcement,
    next_timestamp,
    refresh_at,
    signature_hash,
    unsigned_announcement,
)
from triolight.messages import AnnouncementSignatures, ChannelAnnouncement, NodeAnnouncement

UNSIGNED = unsigned_announcement(
    REGTEST, SCID, Half(IDS[1], FUNDING[1].public_key), Half(IDS[0], FUNDING[0].public_key)
)


def half(number: int) -> AnnouncementSignatures:
    digest = signature_hash(UNSIGNED)
    return AnnouncementSignatures(
        channel_id=bytes(32),
        short_channel_id=SCID,
        node_signature=NODES[number].sign(digest),
        bitcoin_signature=FUNDING[number].sign(digest),
    )


@pytest.mark.parametrize("we", [0, 1])
def test_g12_both_halves_make_the_announcement_whichever_node_we_are(we: int) -> None:
    built = build_announcement(UNSIGNED, half(we), half(1 - we), IDS[we])
    assert built.encode() == channel()
    rules = GossipRules(NetworkGraph(REGTEST))
    assert rules.take(built.encode(), PEER, NOW) is Verdict.UNVERIFIED


@pytest.mark.parametrize("field", ["node_signature", "bitcoin_signature"])
@pytest.mark.parametrize("whose", ["our", "their"])
def test_g12_a_wrong_signature_is_named_and_nothing_is_announced(field: str, whose: str) -> None:
    halves = {"our": half(0), "their": half(1)}
    halves[whose] = halves[whose].replace(**{field: bytes(64)})
    with pytest.raises(ValueError, match=f"{whose} {field} does not hold"):
        build_announcement(UNSIGNED, halves["our"], halves["their"], IDS[0])


def test_g12_halves_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="a channel of others"):
        build_announcement(UNSIGNED, half(0), half(1), IDS[2])
    with pytest.raises(ValueError, match="their announcement_signatures is of 0x5x0"):
        build_announcement(UNSIGNED, half(0), half(1).replace(short_channel_id=scid(5, 0)), IDS[0])


def test_g32_times_of_our_own_only_grow() -> None:
    last, said = 0, list[int]()
    for now in (NOW, NOW + 1, NOW - 3600, NOW - 3599.5, NOW + 0.9, NOW + 60):
        last = next_timestamp(last, now)
        said.append(last)
    assert said == [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4, NOW + 60]
    assert next_timestamp(0, 0.0) == 1


def test_g32_ours_is_said_again_within_the_hour_before_its_thirteenth_day_is_over() -> None:
    assert refresh_at(NOW, 0.0) == NOW + 13 * 86_400
    assert refresh_at(NOW, 1.0) == NOW + 13 * 86_400 - 3600


def test_g13_our_own_need_no_chain_and_count_as_proven() -> None:
    class Nobody:
        def get_utxo(self, chain_hash: bytes, short_channel_id: int, token: int) -> None:
            raise AssertionError("our own are not asked about")

    rules = GossipRules(NetworkGraph(REGTEST), Nobody())
    assert rules.take(channel(), None, NOW) is Verdict.ACCEPTED
    assert [rules.take(one, None, NOW) for one in (update(), node())] == [Verdict.ACCEPTED] * 2
    found = rules.graph.channels[SCID]
    assert (found.own, found.relayable(), found.checked) == (True, True, "signatures")
    # The same from others is nothing new; other bytes are told of, once, and change nothing.
    assert rules.take(channel(), PEER, NOW) is Verdict.DUPLICATE
    rules.drain()
    other = channel(extension=b"\x01\x00")
    assert [rules.take(other, PEER, NOW) for _ in range(2)] == [Verdict.CONFLICT] * 2
    assert [getattr(one, "announcement", None) for one in rules.drain()] == [other]
    assert rules.graph.channel_announcement(SCID) == channel()


def test_g13_our_own_replaces_what_others_say_of_its_place() -> None:
    rules = GossipRules(NetworkGraph(REGTEST))
    rules.take(channel(first=2, second=3), PEER, NOW)
    assert rules.take(channel(), None, NOW) is Verdict.ACCEPTED
    assert rules.graph.channels[SCID].node_ids == (IDS[0], IDS[1])
    assert {*rules.graph.nodes} == {IDS[0], IDS[1]}


def test_what_is_built_is_a_message_like_any_other() -> None:
    built = build_announcement(UNSIGNED, half(0), half(1), IDS[0])
    assert ChannelAnnouncement.decode(built.encode()) == built
    assert NodeAnnouncement.decode(node()).node_id == IDS[0]
