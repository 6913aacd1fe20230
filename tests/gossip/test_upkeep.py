"""What time alone does: pruning, unless the clock has jumped."""

from __future__ import annotations

from tests.support.gossip import NOW, PEERS, channel, scid, update
from tests.support.gossip_peers import Clock, decode, fresh, pair_of
from triolight.chains import REGTEST
from triolight.gossip import GossipRules, NetworkGraph, P2PGossipSync
from triolight.gossip.upkeep import Upkeep

HOUR = 3600
DAY = 24 * HOUR
FORTNIGHT = 14 * DAY
A, B = scid(1), scid(2)


def known(*ids: int) -> GossipRules:
    """Channels that were loaded, whose ends have said something today."""
    rules = GossipRules(NetworkGraph(REGTEST))
    for one in ids:
        rules.graph.load(channel(one), [update(one), update(one, 1)], received=NOW)
    return rules


def test_the_graph_is_looked_through_each_hour() -> None:
    rules = known(A)
    upkeep = Upkeep(rules, 0, NOW)
    for seconds in range(0, FORTNIGHT + HOUR, HOUR):
        assert (upkeep.tick(seconds, NOW + seconds), A in rules.graph.channels) == (seconds > 0, True)
    assert upkeep.tick(FORTNIGHT + HOUR + 1, NOW + FORTNIGHT + HOUR + 1)
    assert A not in rules.graph.channels


def test_d21_an_hour_is_no_jump_and_a_second_more_is_one() -> None:
    for back in (1, -1):
        upkeep = Upkeep(known(), 0, NOW)
        upkeep.tick(1, NOW + 1 + back * HOUR)
        assert (upkeep.frozen, upkeep.steps) == (False, 0)
        upkeep.tick(2, NOW + 2 + 2 * back * HOUR + back)
        assert (upkeep.frozen, upkeep.steps) == (True, 1)


def test_d21_a_clock_that_jumps_takes_nothing_out_until_two_peers_agree_with_it() -> None:
    rules, jump = known(A), FORTNIGHT + DAY
    upkeep = Upkeep(rules, 0, NOW)
    for seconds in range(1, 3 * HOUR, HOUR):
        upkeep.tick(seconds, NOW + jump + seconds)
    unix = NOW + jump + 3 * HOUR
    for source, timestamp in ((PEERS[0], unix), (PEERS[0], unix + 1), (PEERS[1], unix - HOUR - 1)):
        upkeep.heard(source, timestamp, unix)
    upkeep.tick(3 * HOUR, unix)
    assert upkeep.frozen
    assert A in rules.graph.channels, "one peer alone, however often, and one whose clock is another's"
    upkeep.heard(PEERS[2], unix - HOUR, unix)
    upkeep.tick(3 * HOUR + 1, unix + 1)
    assert not upkeep.frozen
    assert A not in rules.graph.channels


def test_d21_who_agreed_with_one_clock_has_not_agreed_with_the_next() -> None:
    upkeep = Upkeep(known(), 0, NOW)
    upkeep.tick(1, NOW + DAY)
    upkeep.heard(PEERS[0], NOW + DAY, NOW + DAY)
    upkeep.tick(2, NOW + 2 * DAY)
    upkeep.heard(PEERS[1], NOW + 2 * DAY, NOW + 2 * DAY)
    assert (upkeep.frozen, upkeep.steps) == (True, 2)


def test_d21_a_sync_hears_from_what_its_peers_tell_whether_its_clock_is_right() -> None:
    clock, jump = Clock(), [0]
    sync = P2PGossipSync(NetworkGraph(REGTEST), clock=clock, unix_time=lambda: clock.unix + jump[0], chance=lambda: 0.5)
    for one in (*pair_of(A), *pair_of(B)):
        sync.handle_channel_update(PEERS[0], decode(one)) if one[1] == 2 else sync.handle_channel_announcement(
            PEERS[0], decode(one)
        )
    jump[0] = 2 * HOUR
    clock.seconds += 1
    sync.tick()
    assert sync.pruning_stopped
    sync.handle_channel_update(PEERS[0], decode(fresh(A, 0, 2 * HOUR)))
    sync.handle_channel_update(PEERS[1], decode(fresh(A, 0, 2 * HOUR)))
    assert sync.pruning_stopped, "what is known already says nothing of who repeats it"
    sync.handle_channel_update(PEERS[1], decode(fresh(A, 1, 2 * HOUR)))
    assert not sync.pruning_stopped
