"""Updates that came before their channel: few, and not for long."""

from __future__ import annotations

import tracemalloc

from tests.support.gossip import NOW, PEERS, SCID, channel, scid, update
from triolight.chains import REGTEST
from triolight.gossip import ChannelAdded, ChannelChanged, GossipPolicy, GossipRules, Judged, NetworkGraph, Verdict
from triolight.gossip.parked import LONGEST_PARKED, Orphans, Parked
from triolight.gossip.policy import GossipPolicy as Policy
from triolight.gossip.policy import WaitingPolicy

PEER, OTHER = PEERS[:2]


def fresh(**numbers: int) -> GossipRules:
    return GossipRules(NetworkGraph(REGTEST), None, GossipPolicy(waiting=WaitingPolicy(**numbers)))


def test_each_of_eight_peers_has_one_place_a_direction() -> None:
    orphans = Orphans(Policy())
    for number in range(8):
        assert orphans.put(SCID, Parked(update(timestamp=NOW + number), PEERS[number]), NOW) is Verdict.ORPHAN
    assert orphans.put(SCID, Parked(update(timestamp=NOW + 9), PEERS[8]), NOW) is Verdict.LIMITED
    assert orphans.put(SCID, Parked(update(direction=1), PEERS[8]), NOW) is Verdict.ORPHAN
    newer = Parked(update(timestamp=NOW + 5), PEERS[2])
    assert orphans.put(SCID, newer, NOW) is Verdict.ORPHAN
    assert orphans.put(SCID, Parked(update(timestamp=NOW + 4, fee_base_msat=1), PEERS[2]), NOW) is Verdict.STALE
    assert len(orphans) == 9
    held = orphans.take(SCID, NOW)
    assert [one.data for one in held if one.source == PEERS[2]] == [newer.data]
    stamps = [int.from_bytes(one.data[106:110], "big") for one in held]
    assert stamps == sorted(stamps, reverse=True)
    assert (len(orphans), orphans.take(SCID, NOW)) == (0, [])


def test_g24_seven_who_lie_do_not_push_out_who_tells_the_truth() -> None:
    rules = fresh()
    for number, liar in enumerate(PEERS[2:9], 1):
        for later in (1, 2):
            rules.take(update(timestamp=NOW + 10 * number + later, signer=3), liar, NOW)
    assert rules.take(update(), PEER, NOW) is Verdict.ORPHAN
    checked = rules.verifications
    rules.take(channel(), OTHER, NOW)
    assert rules.graph.channels[SCID].update_bytes(0) == update()
    assert rules.verifications - checked == 4 + 8


def test_g24_who_repeats_true_words_under_a_false_signature_keeps_them_from_nobody() -> None:
    rules = fresh()
    copied = bytearray(update())
    copied[10] ^= 1
    assert rules.take(bytes(copied), OTHER, NOW) is Verdict.ORPHAN
    assert rules.take(update(), PEER, NOW) is Verdict.ORPHAN
    rules.take(channel(), OTHER, NOW)
    assert rules.graph.channels[SCID].update_bytes(0) == update()


def test_g24_an_update_waits_for_its_channel_and_a_false_newer_one_does_not_push_it_out() -> None:
    rules = fresh()
    true, false = update(timestamp=NOW), update(timestamp=NOW + 5, signer=3)
    assert [rules.take(true, PEER, NOW), rules.take(false, OTHER, NOW)] == [Verdict.ORPHAN] * 2
    assert rules.take(true, OTHER, NOW) is Verdict.DUPLICATE
    rules.take(channel(), OTHER, NOW)
    found = rules.graph.channels[SCID]
    assert found.update_bytes(0) == true
    added, changed, *judged = rules.drain()
    assert isinstance(added, ChannelAdded)
    assert [one for one in (changed, *judged) if isinstance(one, Judged)] == [
        Judged(OTHER, SCID, Verdict.BAD_SIGNATURE),
        Judged(PEER, SCID, Verdict.UNVERIFIED),
    ]
    assert ChannelChanged(found, 0, PEER) in (changed, *judged)
    assert len(rules.orphans) == 0


def test_g50_an_update_waits_ten_minutes() -> None:
    rules = fresh()
    rules.take(update(), PEER, NOW)
    rules.take(update(scid(2)), PEER, NOW + 600)
    rules.tick(NOW + 600)
    assert len(rules.orphans) == 2
    rules.tick(NOW + 600.5)
    assert len(rules.orphans) == 1
    rules.take(update(), PEER, NOW + 601)
    # Also where nobody has told the time meanwhile.
    assert rules.take(channel(), PEER, NOW + 1202) is Verdict.UNVERIFIED
    assert rules.graph.channels[SCID].update_bytes(0) is None


def test_d1_a_peer_has_a_hundred_and_all_together_a_thousand() -> None:
    rules = fresh(orphans=5, orphans_of_peer=3)
    said = [rules.take(update(scid(number)), PEER, NOW) for number in range(4)]
    assert said == [Verdict.ORPHAN] * 3 + [Verdict.LIMITED]
    said = [rules.take(update(scid(number)), OTHER, NOW) for number in range(10, 13)]
    assert said == [Verdict.ORPHAN] * 2 + [Verdict.LIMITED]
    assert (len(rules.orphans), rules.verdicts[Verdict.LIMITED]) == (5, 2)
    rules.take(channel(scid(1)), PEER, NOW)
    assert rules.take(update(scid(20)), PEER, NOW + 601) is Verdict.ORPHAN
    one = fresh(orphans_of_peer=1)
    assert [one.take(update(scid(number)), PEER, NOW) for number in (1, 2)] == [Verdict.ORPHAN, Verdict.LIMITED]


def test_g50_a_flood_of_junk_costs_no_memory_and_no_signatures() -> None:
    rules = fresh(orphans=50, orphans_of_peer=50)
    junk = bytearray(update())

    def flood(first: int, last: int) -> None:
        for number in range(first, last):
            junk[98:106] = (number << 40).to_bytes(8, "big")
            rules.take(bytes(junk), PEER, NOW)

    flood(0, 100)
    checked = rules.verifications
    tracemalloc.start()
    flood(100, 200)
    before = tracemalloc.get_traced_memory()[0]
    flood(200, 5000)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 4096
    assert (rules.verifications, checked, rules.verdicts[Verdict.LIMITED]) == (50, 50, 4950)


def test_what_nobody_vouches_for_is_not_kept_if_it_is_long() -> None:
    orphans = Orphans(Policy())
    assert orphans.has_room(PEER, LONGEST_PARKED, NOW)
    assert not orphans.has_room(PEER, LONGEST_PARKED + 1, NOW)
    rules = fresh()
    assert rules.take(update(extension=bytes(LONGEST_PARKED)), PEER, NOW) is Verdict.LIMITED
