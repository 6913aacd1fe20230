"""Funding outputs: each answer of a chain, at once and later, and the channels that wait for one."""

from __future__ import annotations

import pytest

from tests.support.gossip import (
    FUNDING,
    IDS,
    NOW,
    PEERS,
    SCID,
    SCRIPT,
    Chain,
    channel,
    node,
    scid,
    update,
)
from triolight.chains import REGTEST
from triolight.gossip import (
    ChannelAdded,
    ChannelProven,
    ChannelRemoved,
    Conflict,
    Failed,
    Found,
    GossipPolicy,
    GossipRules,
    Judged,
    Missing,
    NetworkGraph,
    NotYet,
    Spent,
    UtxoResult,
    Verdict,
)
from triolight.gossip.policy import MemoryPolicy, WaitingPolicy
from triolight.gossip.utxo import LONG_BLOCK_SECONDS, funding_script

PEER, OTHER = PEERS[:2]
WRONG = Found(b"\x00\x20" + bytes(32), 1, 100)
HOUR = 3600


def asking(chain: Chain, policy: GossipPolicy | None = None) -> GossipRules:
    return GossipRules(NetworkGraph(REGTEST), chain, policy or GossipPolicy())


def answer(rules: GossipRules, chain: Chain, result: UtxoResult, *, at: int = -1, now: float = NOW) -> None:
    rules.resolve(chain.asked[at][1], result, now)


def judged(rules: GossipRules) -> list[tuple[bytes | None, Verdict]]:
    return [(one.source, one.verdict) for one in rules.drain() if isinstance(one, Judged)]


def test_u2_the_script_is_of_both_keys_the_lesser_first() -> None:
    keys = [key.public_key for key in FUNDING[:2]]
    assert funding_script(*keys) == funding_script(*keys[::-1]) == SCRIPT
    assert (len(SCRIPT), SCRIPT[:2]) == (34, b"\x00\x20")
    chain = Chain()
    chain.has(SCID, scid(2))
    rules = asking(chain)
    said = [rules.take(one, PEER, NOW) for one in (channel(funding=(0, 1)), channel(scid(2), funding=(1, 0)))]
    assert said == [Verdict.ACCEPTED] * 2


ANSWERS: list[tuple[UtxoResult, Verdict, bool]] = [
    (Found(SCRIPT, 7, 100), Verdict.ACCEPTED, False),
    (WRONG, Verdict.WRONG_SCRIPT, True),
    (Missing(), Verdict.MISSING, True),
    (Spent(), Verdict.SPENT, True),
    (Failed("down"), Verdict.LOOKUP_FAILED, False),
    (NotYet(), Verdict.EARLY, False),
]


@pytest.mark.parametrize(("result", "verdict", "remembered"), ANSWERS, ids=[str(one[1]) for one in ANSWERS])
def test_g6_each_answer_at_once(result: UtxoResult, verdict: Verdict, remembered: bool) -> None:
    chain = Chain()
    chain.outputs[SCID] = result
    rules = asking(chain)
    assert rules.take(channel(), PEER, NOW) is verdict
    assert (rules.verdicts[verdict], sum(rules.verdicts.values()), judged(rules)) == (1, 1, [])
    assert (SCID in rules.graph.channels) is (verdict is Verdict.ACCEPTED)
    # Again: what is remembered costs neither a signature nor a question for an hour.
    costs = rules.verifications, len(chain.asked)
    again = rules.take(channel(), OTHER, NOW + HOUR)
    assert again is (Verdict.DUPLICATE if verdict is Verdict.ACCEPTED else verdict)
    if remembered:
        assert (rules.verifications, len(chain.asked)) == costs
        rules.take(channel(), OTHER, NOW + HOUR + 1)
        assert len(chain.asked) == costs[1] + 1
    # The signatures hold as they held before, in any case.
    assert rules.verifications == costs[0]


@pytest.mark.parametrize(("result", "verdict", "remembered"), ANSWERS, ids=[str(one[1]) for one in ANSWERS])
def test_u1_each_answer_later(result: UtxoResult, verdict: Verdict, remembered: bool) -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    assert rules.take(channel(), PEER, NOW) is Verdict.PENDING
    assert (len(rules.lookups), rules.lookups.asked, dict(rules.graph.channels)) == (1, 1, {})
    answer(rules, chain, result)
    assert (len(rules.lookups), rules.lookups.asked) == (0, 0)
    if verdict is Verdict.EARLY:
        assert (rules.lookups.early, judged(rules)) == (1, [])
        return
    assert judged(rules) == [(PEER, verdict)]
    assert (rules.verdicts[Verdict.PENDING], rules.verdicts[verdict]) == (1, 1)
    assert rules.memory.negative.get(SCID, NOW) == (
        verdict if remembered and verdict is not Verdict.WRONG_SCRIPT else None
    )


def test_g6_a_strangers_false_keys_do_not_keep_the_true_ones_out() -> None:
    chain = Chain()
    chain.has(SCID)
    rules = asking(chain)
    false = channel(first=2, second=3, funding=(2, 3))
    assert rules.take(false, PEER, NOW) is Verdict.WRONG_SCRIPT
    assert rules.take(channel(), OTHER, NOW) is Verdict.ACCEPTED
    assert rules.graph.channels[SCID].node_ids == IDS[:2]
    assert rules.take(false, PEER, NOW) is Verdict.WRONG_SCRIPT
    assert len(chain.asked) == 2


def test_g6_an_early_channel_is_public_at_its_sixth_block_without_being_sent_again() -> None:
    chain = Chain()
    chain.has(SCID)
    rules = asking(chain)
    rules.block_connected(99, NOW)
    said = [rules.take(one, PEER, NOW) for one in (channel(), update(), node(0), channel())]
    assert said == [Verdict.EARLY, Verdict.EARLY, Verdict.PENDING, Verdict.EARLY]
    for height in range(100, 105):
        rules.block_connected(height, NOW)
    assert (rules.lookups.early, chain.asked) == (1, [])
    rules.block_connected(105, NOW)
    found = rules.graph.channels[SCID]
    assert (found.checked, found.update_bytes(0), rules.graph.node_announcement(IDS[0])) == (
        "output",
        update(),
        node(0),
    )
    assert judged(rules) == [(PEER, Verdict.ACCEPTED)] * 3
    assert (rules.verifications, rules.lookups.early) == (6, 0)


def test_g6_twelve_blocks_ahead_is_the_most() -> None:
    rules = asking(Chain())
    rules.block_connected(88, NOW)
    assert rules.take(channel(), PEER, NOW) is Verdict.EARLY
    rules.block_disconnected(88, NOW)
    assert rules.take(channel(scid(2)), PEER, NOW) is Verdict.TOO_EARLY
    assert rules.verifications == 4
    # Nor is there a chain of eight million blocks, whatever we know of ours.
    assert asking(Chain()).take(channel(scid(1, 1 << 23)), PEER, NOW) is Verdict.TOO_EARLY
    assert asking(Chain()).take(channel(scid(1, (1 << 23) - 1)), PEER, NOW) is Verdict.MISSING


def test_g6_what_is_not_yet_there_is_asked_for_again_with_each_block_and_not_for_ever() -> None:
    chain = Chain()
    chain.outputs[SCID] = NotYet()
    rules = asking(chain)
    assert rules.take(channel(), PEER, NOW) is Verdict.EARLY
    for height in range(200, 203):
        rules.block_connected(height, NOW)
    assert len(chain.asked) == 4
    over = NOW + 12 * LONG_BLOCK_SECONDS
    rules.tick(over)
    assert rules.lookups.early == 1
    rules.tick(over + 1)
    assert (rules.lookups.early, judged(rules)) == (0, [(PEER, Verdict.LOOKUP_FAILED)])


def test_g6_without_a_chain_to_ask_blocks_alone_make_a_channel_public() -> None:
    rules = GossipRules(NetworkGraph(REGTEST))
    rules.block_connected(99, NOW)
    assert rules.take(channel(), PEER, NOW) is Verdict.EARLY
    rules.block_connected(105, NOW)
    assert judged(rules) == [(PEER, Verdict.UNVERIFIED)]
    assert rules.graph.channels[SCID].checked == "signatures"


def test_u3_what_comes_meanwhile_is_judged_when_the_answer_comes() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    rules.take(channel(), PEER, NOW)
    meanwhile = [update(), update(direction=1), node(0, NOW), node(0, NOW + 1)]
    assert [rules.take(one, OTHER, NOW) for one in meanwhile] == [Verdict.PENDING] * 4
    assert rules.take(node(0, NOW), OTHER, NOW) is Verdict.STALE
    assert rules.take(node(0, NOW + 1), OTHER, NOW) is Verdict.DUPLICATE
    assert rules.take(update(), PEER, NOW) is Verdict.DUPLICATE
    assert rules.take(channel(), OTHER, NOW) is Verdict.PENDING
    assert (rules.verifications, len(chain.asked)) == (8, 1)
    answer(rules, chain, Found(SCRIPT, 7, 100))
    found = rules.graph.channels[SCID]
    assert (found.capacity_sat, found.update_bytes(0), found.update_bytes(1)) == (7, update(), update(direction=1))
    assert rules.graph.node_announcement(IDS[0]) == node(0, NOW + 1)
    assert rules.verifications == 8, "nothing is checked twice"
    assert judged(rules) == [*[(OTHER, Verdict.ACCEPTED)] * 3, (PEER, Verdict.ACCEPTED)]


def test_u3_nothing_false_outdates_what_is_true_while_a_channel_waits() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    rules.take(channel(), PEER, NOW)
    for later in (100, 200, 300):
        false = update(timestamp=NOW + later, signer=3)
        assert rules.take(false, PEERS[later // 100], NOW) is Verdict.ORPHAN
        broken = node(0, NOW + later)[:60] + bytes(6) + node(0, NOW + later)[66:]
        assert rules.take(broken, PEERS[later // 100], NOW) is Verdict.BAD_SIGNATURE
    assert [rules.take(one, OTHER, NOW) for one in (update(), node(0))] == [Verdict.PENDING] * 2
    answer(rules, chain, Found(SCRIPT, 7, 100))
    assert rules.graph.channels[SCID].update_bytes(0) == update()
    assert rules.graph.node_announcement(IDS[0]) == node(0)


def test_u3_what_is_said_of_the_true_channel_waits_while_a_false_one_is_asked_about() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    said = [channel(first=2, second=3, funding=(2, 3)), channel(), update()]
    assert [rules.take(one, OTHER, NOW) for one in said] == [Verdict.PENDING, Verdict.PENDING, Verdict.ORPHAN]
    answer(rules, chain, WRONG)
    answer(rules, chain, Found(SCRIPT, 7, 100))
    assert rules.graph.channels[SCID].update_bytes(0) == update()


def test_u3_what_a_node_signed_last_stays_while_its_channel_waits_again() -> None:
    """Of two channels of a node one is early, the other one is asked about, and then waits for its block as well."""
    chain = Chain(at_once=False)
    rules = asking(chain)
    rules.take(channel(), PEER, NOW)
    rules.take(node(0, NOW), PEER, NOW)
    answer(rules, chain, NotYet())
    rules.take(node(0, NOW + 1), PEER, NOW)
    rules.block_connected(105, NOW)
    answer(rules, chain, Found(SCRIPT, 7, 100))
    assert rules.graph.node_announcement(IDS[0]) == node(0, NOW + 1)


@pytest.mark.parametrize("result", [Spent(), Missing()])
def test_u3_of_what_is_not_there_everything_is_dropped(result: UtxoResult) -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    for one in (channel(), update(), node(0)):
        rules.take(one, PEER, NOW)
    before = rules.verifications
    answer(rules, chain, result)
    assert (dict(rules.graph.channels), dict(rules.graph.nodes), rules.verifications) == ({}, {}, before)
    assert rules.take(node(0), PEER, NOW) is Verdict.ORPHAN


def test_u3_four_other_announcements_of_the_place_wait_for_their_turn() -> None:
    """Of four peers: nobody alone keeps out what others say."""
    chain = Chain(at_once=False)
    rules = asking(chain)
    rules.take(channel(), PEER, NOW)
    others = [channel(first=first, second=first + 1, funding=(2, 3)) for first in range(1, 7)]
    assert [rules.take(one, OTHER, NOW) for one in others[:2]] == [Verdict.PENDING, Verdict.LIMITED]
    said = [rules.take(one, source, NOW) for one, source in zip(others[2:6], PEERS[2:], strict=False)]
    assert said == [Verdict.PENDING] * 3 + [Verdict.LIMITED]
    assert (rules.verifications, rules.verdicts[Verdict.LIMITED]) == (4, 2)
    for times in range(4):
        assert len(chain.asked) == times + 1
        answer(rules, chain, WRONG)
    theirs = funding_script(FUNDING[2].public_key, FUNDING[3].public_key)
    answer(rules, chain, Found(theirs, 5, 100))
    assert rules.graph.channels[SCID].announcement_bytes == others[4]


def test_u3_another_announcement_of_the_place_waits_for_its_turn() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    others = [channel(first=first, second=first + 1, funding=(2, 3)) for first in (2, 3)]
    said = [rules.take(one, PEER, NOW) for one in (channel(), others[0], others[0], others[1])]
    assert said == [Verdict.PENDING] * 3 + [Verdict.LIMITED]
    assert rules.verifications == 4
    answer(rules, chain, WRONG)
    # The second one's signatures are checked now, and it has a question of its own.
    assert (rules.verifications, len(chain.asked)) == (8, 2)
    theirs = funding_script(FUNDING[2].public_key, FUNDING[3].public_key)
    answer(rules, chain, Found(theirs, 5, 100))
    assert rules.graph.channels[SCID].node_ids == IDS[2:4]
    assert judged(rules) == [(PEER, Verdict.WRONG_SCRIPT), (PEER, Verdict.ACCEPTED)]


def test_u3_an_answer_counts_once_and_only_to_its_question() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    rules.take(channel(), PEER, NOW)
    rules.resolve(999, Found(SCRIPT, 1, 100), NOW)
    answer(rules, chain, Found(SCRIPT, 7, 100))
    answer(rules, chain, Spent())
    assert rules.graph.channels[SCID].capacity_sat == 7
    # Of a channel that a block has spent while it waited.
    rules.take(channel(scid(2)), PEER, NOW)
    rules.block_connected(200, NOW, spent=[scid(2)])
    answer(rules, chain, Found(SCRIPT, 7, 100))
    assert scid(2) not in rules.graph.channels
    assert judged(rules) == [(PEER, Verdict.ACCEPTED), (PEER, Verdict.SPENT)]


def test_u3_an_answer_may_come_from_inside_of_the_question() -> None:
    class Inside(Chain):
        def get_utxo(self, chain_hash: bytes, short_channel_id: int, token: int) -> UtxoResult | None:
            self.asked.append((short_channel_id, token))
            rules.resolve(token, Found(SCRIPT, 7, 100), NOW)
            return Spent()

    chain = Inside()
    rules = asking(chain)
    assert rules.take(channel(), PEER, NOW) is Verdict.ACCEPTED
    assert (rules.graph.channels[SCID].capacity_sat, len(chain.asked), judged(rules)) == (7, 1, [])


def test_u4_eight_questions_at_a_time_and_peers_take_turns() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    for number in range(12):
        rules.take(channel(scid(number)), PEER, NOW)
    for number in range(20, 22):
        rules.take(channel(scid(number)), OTHER, NOW)
    assert rules.lookups_made == 8
    assert ([one for one, _ in chain.asked], len(rules.lookups)) == ([scid(number) for number in range(8)], 14)
    for at in range(4):
        answer(rules, chain, Found(SCRIPT, 7, 100), at=at)
    assert [one for one, _ in chain.asked[8:]] == [scid(8), scid(20), scid(9), scid(21)]


def test_d26_who_has_lied_sixty_times_has_one_question_for_each_of_the_others() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    for number in range(64):
        rules.take(channel(scid(number)), PEER, NOW)
    for number in range(100, 103):
        rules.take(channel(scid(number)), OTHER, NOW)
    for at in range(20):
        answer(rules, chain, Found(SCRIPT, 7, 100) if chain.asked[at][0] >= scid(100) else Missing(), at=at)
    # The eight that were open, then one of each in turn: three lies are all that it waits for.
    assert [at for at, (one, _) in enumerate(chain.asked) if one >= scid(100)] == [9, 11, 13]
    assert [*rules.graph.channels] == [scid(100), scid(101), scid(102)]
    assert (rules.verdicts[Verdict.MISSING], rules.verdicts[Verdict.ACCEPTED]) == (17, 3)
    assert rules.lookups.count_of(PEER) == 64 - 17
    # What was found out is not asked again, whoever says it.
    made = rules.lookups_made
    assert rules.take(channel(scid(0)), OTHER, NOW) is Verdict.MISSING
    assert rules.lookups_made == made


def test_u4_ten_seconds_without_an_answer_are_a_failure() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain)
    rules.take(channel(), PEER, NOW)
    rules.tick(NOW + 10)
    assert len(rules.lookups) == 1
    rules.tick(NOW + 10.5)
    assert (len(rules.lookups), judged(rules)) == (0, [(PEER, Verdict.LOOKUP_FAILED)])
    answer(rules, chain, Found(SCRIPT, 7, 100))
    assert not rules.graph.channels
    # That was nobody's fault: it may come again, and its signatures hold.
    assert rules.take(channel(), PEER, NOW + 11) is Verdict.PENDING
    assert rules.verifications == 4


def test_d13_u4_a_peer_with_sixty_four_waiting_is_not_read_from() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain, GossipPolicy(waiting=WaitingPolicy(pending_of_peer=3)))
    for number in range(3):
        assert not rules.processing_queue_high(PEER)
        rules.take(channel(scid(number)), PEER, NOW)
    assert rules.processing_queue_high(PEER)
    assert not rules.processing_queue_high(OTHER)
    answer(rules, chain, Missing(), at=0)
    assert not rules.processing_queue_high(PEER)


def test_d13_u4_no_more_than_a_thousand_wait() -> None:
    chain = Chain(at_once=False)
    rules = asking(chain, GossipPolicy(waiting=WaitingPolicy(pending=3, early=2)))
    said = [rules.take(channel(scid(number)), PEER, NOW) for number in range(4)]
    assert said == [Verdict.PENDING] * 3 + [Verdict.LIMITED]
    assert rules.verifications == 12
    rules.block_connected(100, NOW)
    said = [rules.take(channel(scid(number, 101)), PEER, NOW) for number in range(3)]
    assert said == [Verdict.EARLY] * 2 + [Verdict.LIMITED]
    answer(rules, chain, NotYet(), at=0)
    assert (judged(rules), rules.lookups.early, len(rules.lookups)) == ([(PEER, Verdict.LIMITED)], 2, 2)


def test_u4_a_peer_has_a_hundred_early_ones() -> None:
    rules = asking(Chain(), GossipPolicy(waiting=WaitingPolicy(early_of_peer=2)))
    rules.block_connected(99, NOW)
    said = [rules.take(channel(scid(number)), PEER, NOW) for number in range(3)]
    assert said == [Verdict.EARLY] * 2 + [Verdict.LIMITED]
    assert rules.take(channel(scid(3)), OTHER, NOW) is Verdict.EARLY


def test_u4_what_a_chain_denied_is_remembered_for_so_many() -> None:
    chain = Chain()
    rules = asking(chain, GossipPolicy(memory=MemoryPolicy(negative=2)))
    for number in range(3):
        rules.take(channel(scid(number)), PEER, NOW)
    assert (len(rules.memory.negative), rules.memory.negative.dropped) == (2, 1)
    rules.take(channel(scid(2)), PEER, NOW)
    assert len(chain.asked) == 3
    rules.take(channel(scid(0)), PEER, NOW)
    assert len(chain.asked) == 4


def test_u4_a_reorganisation_forgets_what_was_denied() -> None:
    chain = Chain()
    rules = asking(chain)
    rules.block_connected(500, NOW)
    assert rules.take(channel(), PEER, NOW) is Verdict.MISSING
    assert rules.take(update(), PEER, NOW) is Verdict.MISSING
    chain.has(SCID)
    rules.block_disconnected(500, NOW)
    assert rules.take(channel(), PEER, NOW) is Verdict.ACCEPTED


def test_u9_channels_above_a_fork_wait_for_their_block_again() -> None:
    chain = Chain()
    chain.has(SCID, scid(1, 50), sats=7)
    rules = asking(chain)
    for one in (channel(), channel(scid(1, 50)), update(), node(0)):
        rules.take(one, PEER, NOW)
    rules.block_connected(105, NOW)
    rules.drain()
    for height in range(105, 98, -1):
        rules.block_disconnected(height, NOW)
    assert ({*rules.graph.channels}, rules.lookups.early) == ({scid(1, 50)}, 1)
    assert [one.why for one in rules.drain() if isinstance(one, ChannelRemoved)] == ["reorganised"]
    chain.has(SCID, sats=9)
    rules.take(update(direction=1), PEER, NOW)
    for height in range(99, 106):
        rules.block_connected(height, NOW)
    found = rules.graph.channels[SCID]
    assert (found.capacity_sat, found.checked) == (9, "output")
    assert (found.update_bytes(0), found.update_bytes(1)) == (update(), update(direction=1))


# Channels that are in the graph without a chain's word, or with an old one.


def loaded(chain: Chain, *ids: int, policy: GossipPolicy | None = None) -> GossipRules:

    graph = NetworkGraph(REGTEST)
    for one in ids:
        graph.load(channel(one), received=NOW)
    return GossipRules(graph, chain, policy or GossipPolicy())


def test_what_was_believed_without_a_chain_is_asked_about_later() -> None:
    chain = Chain()
    ids = [scid(number) for number in range(5)]
    chain.has(*ids[:2])
    chain.outputs[ids[2]] = WRONG
    chain.outputs[ids[3]] = Failed()
    rules = loaded(chain, *ids)
    assert [rules.recheck(NOW, most=2), len(chain.asked)] == [False, 2]
    assert [rules.recheck(NOW), len(chain.asked)] == [True, 5]
    assert [rules.recheck(NOW), len(chain.asked)] == [True, 6]
    assert [(one, found.checked) for one, found in rules.graph.channels.items()] == [
        (ids[0], "output"),
        (ids[1], "output"),
        (ids[3], "signatures"),
    ]
    assert (rules.graph.unproven, rules.graph.channels[ids[0]].relayable()) == (1, True)
    first, second, *gone = rules.drain()
    assert [first, second] == [ChannelProven(rules.graph.channels[one]) for one in ids[:2]]
    assert [getattr(one, "why", None) for one in gone] == ["disproven"] * 2
    assert rules.take(channel(ids[4]), PEER, NOW) is Verdict.MISSING


@pytest.mark.parametrize("tip", [None, 200])
def test_u9_without_blocks_a_spend_is_heard_of_by_asking_again(tip: int | None) -> None:
    chain = Chain()
    chain.has(SCID)
    rules = loaded(chain, SCID)
    assert rules.recheck(NOW)
    if tip is not None:
        rules.block_connected(tip, NOW)
    chain.outputs[SCID] = Spent()
    assert rules.recheck(NOW)
    assert SCID in rules.graph.channels
    assert rules.recheck(NOW, proven=True)
    found = rules.graph.channels.get(SCID)
    assert (None if found is None else found.spent_height) == tip


def test_rechecks_leave_room_and_go_on_where_they_stopped() -> None:
    chain = Chain(at_once=False)
    ids = [scid(number) for number in range(5)]
    rules = loaded(chain, *ids, policy=GossipPolicy(waiting=WaitingPolicy(pending=3)))
    assert [rules.recheck(NOW), len(chain.asked)] == [False, 3]
    for at in range(3):
        answer(rules, chain, Found(SCRIPT, 7, 100), at=at)
    assert [rules.recheck(NOW), len(chain.asked)] == [True, 5]
    assert (rules.graph.unproven, [one for one, _ in chain.asked]) == (2, ids)
    answer(rules, chain, NotYet())
    assert (rules.lookups.early, rules.graph.unproven) == (0, 2)


# Two announcements of one place.


def test_g8_with_the_chains_word_the_new_one_replaces_the_old_one() -> None:
    chain = Chain()
    chain.has(SCID)
    rules = asking(chain)
    rules.take(channel(), PEER, NOW)
    old = rules.graph.channels[SCID]
    rules.drain()
    chain.outputs[SCID] = Found(funding_script(FUNDING[2].public_key, FUNDING[3].public_key), 5, 100)
    new = channel(first=2, second=3, funding=(2, 3))
    assert rules.take(new, OTHER, NOW) is Verdict.ACCEPTED
    found = rules.graph.channels[SCID]
    assert (found.node_ids, {*rules.graph.nodes}) == (IDS[2:4], {*IDS[2:4]})
    assert rules.drain() == [
        Conflict(old, new, OTHER),
        ChannelRemoved(old, "replaced"),
        ChannelAdded(found, OTHER),
    ]


def test_g8_without_the_chains_word_the_first_stays() -> None:
    rules = GossipRules(NetworkGraph(REGTEST))
    rules.take(channel(), PEER, NOW)
    rules.drain()
    other = channel(first=2, second=3)
    assert [rules.take(other, PEER, NOW) for _ in range(2)] == [Verdict.CONFLICT] * 2
    found = rules.graph.channels[SCID]
    assert (found.node_ids, rules.drain()) == (IDS[:2], [Conflict(found, other, PEER)])
    assert rules.verifications == 8


def test_g7_nobody_is_blacklisted_for_what_others_claim() -> None:
    chain = Chain()
    chain.has(SCID)
    rules = asking(chain, GossipPolicy(blacklist=True))
    rules.take(channel(), PEER, NOW)
    broken = bytearray(channel(first=2, second=3))
    broken[200] ^= 1
    assert rules.take(bytes(broken), OTHER, NOW) is Verdict.BAD_SIGNATURE
    # All four hold, and the output is not theirs.
    assert rules.take(channel(first=2, second=3, funding=(2, 3)), OTHER, NOW) is Verdict.WRONG_SCRIPT
    assert (rules.graph.channels[SCID].node_ids, len(rules.memory.blacklist)) == (IDS[:2], 0)


def test_g7_two_proven_channels_of_one_output_cost_all_four_nodes_if_the_user_wants_that() -> None:
    chain = Chain()
    chain.has(SCID, scid(2), scid(3))
    rules = asking(chain, GossipPolicy(blacklist=True))
    for one in (channel(), channel(scid(2), 1, 4), channel(scid(3), 4, 5), node(1)):
        rules.take(one, PEER, NOW)
    rules.drain()
    assert rules.take(channel(first=2, second=3), OTHER, NOW) is Verdict.CONFLICT
    assert {*rules.graph.channels} == {scid(3)}
    assert [one.why for one in rules.drain() if isinstance(one, ChannelRemoved)] == ["blacklisted"] * 2
    before = rules.verifications
    assert rules.take(channel(scid(5), 0, 4), OTHER, NOW) is Verdict.BLACKLISTED
    assert rules.take(node(1), OTHER, NOW) is Verdict.BLACKLISTED
    assert rules.verifications == before
    assert rules.take(channel(scid(5), 0, 4), OTHER, NOW + 2 * 86_400 + 1) is not Verdict.BLACKLISTED


def test_g7_one_proof_is_not_two() -> None:
    chain = Chain()
    chain.has(SCID)
    believed = loaded(chain, SCID, policy=GossipPolicy(blacklist=True))
    assert believed.take(channel(first=2, second=3), PEER, NOW) is Verdict.ACCEPTED
    # A reorganisation gives the place to another output: each of the two was true in its time.
    forked = asking(chain, GossipPolicy(blacklist=True))
    forked.take(channel(), PEER, NOW)
    chain.outputs[SCID] = Found(funding_script(FUNDING[2].public_key, FUNDING[3].public_key), 5, 100)
    assert forked.take(channel(first=2, second=3, funding=(2, 3)), PEER, NOW) is Verdict.ACCEPTED
    assert len(believed.memory.blacklist) == len(forked.memory.blacklist) == 0


def test_d12_the_blacklist_is_bounded() -> None:
    chain = Chain()
    chain.has(SCID)
    rules = asking(chain, GossipPolicy(blacklist=True, memory=MemoryPolicy(blacklisted=3)))
    rules.take(channel(), PEER, NOW)
    rules.take(channel(first=2, second=3), OTHER, NOW)
    assert (len(rules.memory.blacklist), rules.memory.blacklist.dropped) == (3, 1)
    # The first one has gone for the bound, and the others go after two days.
    chain.has(scid(7))
    later = channel(scid(7), 1, 2)
    assert rules.take(later, PEER, NOW + 2 * 86_400) is Verdict.BLACKLISTED
    assert rules.take(later, PEER, NOW + 2 * 86_400 + 1) is Verdict.ACCEPTED


def test_g47b_a_splice_takes_the_place_of_the_channel_that_it_spends() -> None:
    chain = Chain()
    chain.has(SCID)
    rules = asking(chain)
    for one in (channel(), update(), update(direction=1), node(0)):
        rules.take(one, PEER, NOW)
    old = rules.graph.channels[SCID]
    rules.block_connected(200, NOW, spent=[SCID])
    assert old.usable
    rules.drain()
    spliced = scid(1, 200)
    chain.has(spliced, sats=1_000_000, spends=(SCID, scid(77)))
    rules.block_connected(205, NOW)
    assert rules.take(channel(spliced), PEER, NOW) is Verdict.ACCEPTED
    assert {*rules.graph.channels} == {spliced}
    found = rules.graph.channels[spliced]
    assert rules.drain() == [ChannelAdded(found, PEER), ChannelRemoved(old, "spliced")]
    assert rules.graph.node_announcement(IDS[0]) == node(0)
    # The old updates are good for payments, and are nobody's answer.
    assert (found.usable, found.directions[1] is not None) == (True, True)
    assert (found.updates, found.timestamp(0), found.checksum(0)) == ((None, None), 0, 0)
    assert found.relayable_update(0) is None
    assert rules.take(update(spliced, timestamp=NOW - 5), PEER, NOW) is Verdict.ACCEPTED
    assert (found.update_bytes(0), found.update_bytes(1)) == (update(spliced, timestamp=NOW - 5), None)
    assert rules.take(channel(), PEER, NOW) is Verdict.SPENT


def test_g47b_what_a_channel_may_be_spliced_from() -> None:
    """Channels of the same two nodes, in earlier blocks, the newest first; while it is asked about."""
    chain = Chain()
    old = [scid(1, 90), scid(1, 95)]
    chain.has(*old, scid(2, 90), scid(1, 100))
    rules = asking(chain)
    for one in (*old, scid(1, 100)):
        rules.take(channel(one), PEER, NOW)
    rules.take(channel(scid(2, 90), 1, 2), PEER, NOW)
    chain.at_once = False
    rules.take(channel(scid(2, 100)), PEER, NOW)
    token = chain.asked[-1][1]
    assert rules.may_replace(token) == old[::-1]
    rules.take(channel(scid(3, 100), 4, 5), PEER, NOW)
    assert rules.may_replace(chain.asked[-1][1]) == []
    chain.has(scid(2, 100), spends=(old[0],))
    rules.resolve(token, chain.outputs[scid(2, 100)], NOW)
    assert rules.may_replace(token) == []
    assert old[0] not in rules.graph.channels
