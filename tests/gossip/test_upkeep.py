"""What time alone does: pruning, unless the clock has jumped; and a chain that is asked again."""

from __future__ import annotations

from tests.support.gossip import NOW, PEERS, Chain, channel, scid, update
from tests.support.gossip_peers import Clock, decode, fresh, pair_of
from triolight.chains import REGTEST
from triolight.gossip import GossipPolicy, GossipRules, NetworkGraph, P2PGossipSync, Spent, Verdict
from triolight.gossip.upkeep import Upkeep

HOUR = 3600
DAY = 24 * HOUR
WEEK = 7 * DAY
FORTNIGHT = 14 * DAY
A, B = scid(1), scid(2)


def known(*ids: int, chain: Chain | None = None, policy: GossipPolicy | None = None) -> GossipRules:
    """Channels that were loaded, whose ends have said something today."""
    rules = GossipRules(NetworkGraph(REGTEST), chain, policy or GossipPolicy())
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


def test_u9_a_chain_is_asked_at_once_about_what_it_has_not_seen_and_each_week_about_all() -> None:
    chain = Chain()
    chain.has(A, B)
    rules = known(A, B, chain=chain)
    upkeep = Upkeep(rules, 0, NOW)
    upkeep.tick(1, NOW + 1)
    assert [one for one, _ in chain.asked] == [A, B]
    assert rules.graph.unproven == 0
    for seconds in range(2, HOUR):
        upkeep.tick(seconds, NOW + seconds)
    assert len(chain.asked) == 2
    for seconds in range(HOUR, HOUR + 10):
        upkeep.tick(seconds, NOW + seconds)
    assert len(chain.asked) == 4, "the first time of all of them"
    chain.outputs[A] = Spent()
    for seconds in range(2 * HOUR, WEEK, HOUR):
        upkeep.tick(seconds, NOW + seconds)
    assert len(chain.asked) == 4
    for seconds in (WEEK + HOUR + 20, WEEK + 2 * HOUR, WEEK + 2 * HOUR + 1, WEEK + 2 * HOUR + 2):
        upkeep.tick(seconds, NOW + seconds)
    assert len(chain.asked) == 6
    assert [*rules.graph.channels] == [B]


def test_u9_what_a_chain_could_not_tell_is_asked_again_in_an_hour() -> None:
    chain = Chain(at_once=False)
    rules = known(A, chain=chain)
    upkeep = Upkeep(rules, 0, NOW)
    upkeep.tick(1, NOW + 1)
    for seconds in range(2, HOUR, 60):
        upkeep.tick(seconds, NOW + seconds)
    assert len(chain.asked) == 1
    upkeep.tick(HOUR + 1, NOW + HOUR + 1)
    assert len(chain.asked) == 2


def test_u9_questions_of_our_own_leave_room_for_the_others() -> None:
    chain = Chain(at_once=False)
    rules = known(*(scid(number) for number in range(70)), chain=chain)
    upkeep = Upkeep(rules, 0, NOW)
    upkeep.tick(1, NOW + 1)
    upkeep.tick(2, NOW + 2)
    assert (len(rules.lookups), rules.lookups.count_of(None), len(chain.asked)) == (64, 64, 8)
    for _, token in chain.asked[:8]:
        chain.has(scid(0))
        rules.resolve(token, Spent(), NOW)
    upkeep.tick(3, NOW + 3)
    assert rules.lookups.count_of(None) <= 64
    assert rules.take(channel(scid(500)), PEERS[0], NOW) is Verdict.PENDING


def test_a_thousand_channels_are_looked_at_in_one_second() -> None:
    chain = Chain()
    ids = [scid(number) for number in range(5)]
    chain.has(*ids)
    rules = known(*ids, chain=chain, policy=GossipPolicy(prune_slice=2))
    asked: list[int] = []
    while not rules.recheck(NOW):
        asked.append(len(chain.asked))
    assert asked == [2, 4]
    assert len(chain.asked) == 5
