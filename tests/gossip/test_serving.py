"""What peers hear, through managers in memory: own gossip, answers, news, history; in this order, at their rates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gossip import IDS, NODES, NOW, PEERS, Chain, channel, node, scid, update
from tests.support.gossip_peers import (
    ALL,
    GOSSIP,
    NONE,
    UNCHECKED,
    Listener,
    Server,
    decode,
    fresh,
    graph_bytes,
    pair_of,
    query_ids,
    query_range,
    town,
)
from tests.support.planted import plant, planted_update
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import GossipPolicy, ServePolicy, Verdict, decode_short_ids, sign_announcement
from triolight.gossip import serving as module
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    Message,
    NodeAnnouncement,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from triolight.wire import ShortChannelId

A, B, C = (scid(number) for number in (1, 2, 3))


def since(first: int, number: int = 0xFFFFFFFF) -> GossipTimestampFilter:
    return ALL.replace(first_timestamp=first, timestamp_range=number)


def serving(**numbers: int) -> GossipPolicy:
    return GossipPolicy(relay_unchecked=True, serve=ServePolicy(**numbers))


def test_g34_nothing_of_others_before_a_filter() -> None:
    server = Server(*town(A))
    peer = Listener(server)
    for second in range(1, 600):
        server.learn(fresh(A, 0, second))
        server.pass_time(1, peer)
    assert peer.gossip() == []
    peer.say(ALL)
    assert len(peer.gossip()) == 5


def test_g36_the_first_filter_brings_history() -> None:
    known = town(A, B, C)
    peer = Listener(Server(*known))
    told = peer.say(ALL).gossip()
    assert sorted(told) == sorted(known)
    assert told[:9] == known[:9]
    assert peer.say(since(NOW)).gossip() == [], "one history in ten minutes"


def test_g35_history_by_a_filter() -> None:
    server = Server(*pair_of(A), *pair_of(B, timestamp=NOW - 1000), update(B, 1, NOW - 50), node(0, NOW - 5))
    peer = Listener(server)
    assert peer.say(since(NOW - 60, 60)).gossip() == [channel(B), update(B, 1, NOW - 50), node(0, NOW - 5)]


@pytest.mark.parametrize("seconds", [(0xFFFFFFFF, 0), (0xFFFFFFFF, 0xFFFFFFFF), (2288912640, 0)])
def test_q13_who_wants_nothing_gets_nothing(seconds: tuple[int, int]) -> None:
    server = Server(*town(A))
    peer = Listener(server).say(since(*seconds))
    server.learn(fresh(A, 0, 1))
    server.pass_time(200, peer)
    assert peer.gossip() == []


def test_g38_news_come_together_and_each_in_its_newest_form() -> None:
    server = Server(*pair_of(A))
    peer = Listener(server).say(ALL)
    peer.gossip()
    server.pass_time(5, peer)
    server.learn(node(0))
    for second in (1, 2, 3):
        server.learn(fresh(A, 0, second))
    server.learn(*pair_of(B))
    server.pass_time(24, peer)
    assert peer.gossip() == [], "half a minute after it came"
    server.pass_time(2, peer)
    assert peer.gossip() == [channel(B), fresh(A, 0, 3), update(B), update(B, 1), node(0)]


def test_g44_what_may_not_go_out_pushes_nothing_out() -> None:
    chain = Chain()
    chain.has(A, B, C)
    server = Server(
        *pair_of(A), *pair_of(B), utxo_lookup=chain, policy=GossipPolicy(serve=ServePolicy(ring_bytes=200_000))
    )
    peer = Listener(server).say(ALL)
    peer.gossip()
    server.learn(*pair_of(C))
    for side in (0, 1):
        for second in (1, 2, 3):
            server.learn(with_tail(fresh(B, side, second), 60_000, side))
    assert server.sync.rules.verdicts[Verdict.ACCEPTED] == 15
    server.pass_time(60, peer)
    assert peer.gossip() == pair_of(C)
    assert server.sync.missed == 0


def with_tail(message: bytes, size: int, signer: int) -> bytes:
    """The update with bytes that nobody knows, signed again."""
    longer = ChannelUpdate.decode(message + bytes(size))
    return sign_announcement(longer, NODES[signer]).encode()


def test_g38_two_peers_hear_it_at_different_times() -> None:
    server = Server(*pair_of(A))
    chances = iter((0.25, 0.75))
    peers: list[Listener] = []
    for number in (2, 3):
        server.chance = next(chances)
        peers.append(Listener(server, number).say(ALL))
    for peer in peers:
        peer.gossip()
    server.learn(fresh(A, 0, 1))
    when: dict[int, float] = {}
    for second in range(1, 61):
        server.pass_time(1, *peers)
        for number, peer in enumerate(peers):
            if peer.gossip():
                when[number] = second
    assert when == {0: 15, 1: 45}


def test_g39_who_sent_it_does_not_get_it_back() -> None:
    server = Server(*pair_of(A))
    peers = [Listener(server, number).say(ALL) for number in (2, 3, 4)]
    for peer in peers:
        peer.gossip()
    news = fresh(A, 0, 1)
    peers[0].say(decode(news))
    peers[1].say(decode(news))
    server.pass_time(60, *peers)
    assert [peer.gossip() for peer in peers] == [[], [], [news]]


def test_g10_a_hundred_copies_of_ten_peers_go_once_to_each_other_one() -> None:
    server = Server()
    peer = Listener(server).say(ALL)
    for source in PEERS[:10]:
        for _ in range(10):
            server.learn(*pair_of(A), source=source)
    server.pass_time(60, peer)
    assert peer.gossip() == pair_of(A)
    assert server.sync.rules.verifications == 6


def test_g40_own_gossip_comes_past_every_filter_on_connect_and_on_change() -> None:
    server = Server()
    early = Listener(server, 2).say(NONE)
    own = [channel(A), update(A), node(0)]
    assert [str(one) for one in server.sync.announce_own(*map(decode, own))] == ["accepted"] * 3
    early.run()
    assert early.gossip() == own
    late = Listener(server, 3)
    assert late.gossip() == own, "without any filter"
    server.sync.announce_own(decode(update(A, 0, NOW + 5, fee_base_msat=7)))
    for peer in (early, late):
        peer.run()
        assert peer.gossip() == [update(A, 0, NOW + 5, fee_base_msat=7)]
    assert late.say(ALL).gossip().count(channel(A)) == 1


def test_g40_own_gossip_waits_for_a_peer_that_does_not_read_and_is_never_lost() -> None:
    server = Server(policy=serving(ring_bytes=1))
    peer = Listener(server, capacity=0).say(NONE)
    server.sync.announce_own(*map(decode, [channel(A), update(A)]))
    server.pass_time(100, peer)
    server.sync.announce_own(decode(fresh(A, 0, 5)))
    server.pass_time(100, peer)
    peer.wire.at_far.capacity = None
    peer.run()
    told = peer.gossip()
    assert told[0] == channel(A)
    assert told[-1] == fresh(A, 0, 5)


def test_g13_g16_our_node_announcement_lands_in_the_graph_and_goes_out() -> None:
    server = Server(number=1)
    peer = Listener(server).say(NONE)
    manager = server.node.manager
    first = manager.broadcast_node_announcement(b"\1\2\3", b"ours")
    peer.run()
    assert peer.gossip() == [first.encode()], "a node without a channel is none: the manager tells who is there"
    assert manager.our_node_id not in server.sync.graph.nodes


def test_g40_our_node_announcement_goes_to_all_and_to_who_comes_later() -> None:
    server = Server(number=1)
    manager = server.node.manager
    index = IDS.index(manager.our_node_id)
    other = (index + 1) % len(IDS)
    first = channel(A, min(index, other), max(index, other))
    server.sync.announce_own(decode(first))
    early = Listener(server, 12).say(NONE)
    assert early.gossip() == [first]
    said = manager.broadcast_node_announcement(b"\1\2\3", b"ours")
    early.run()
    assert early.gossip() == [said.encode()], "once"
    assert server.sync.graph.nodes[manager.our_node_id].announcement == said
    assert Listener(server, 13).gossip() == [first, said.encode()]


def test_g32_times_of_ours_grow_over_restarts() -> None:
    server = Server(*pair_of(A), node(0, NOW + 500))
    assert server.sync.last_announced(IDS[0]) == NOW + 500
    assert server.sync.last_announced(IDS[1]) == 0
    server.sync.announce_own(decode(node(7, NOW + 9)))
    assert server.sync.last_announced(IDS[7]) == NOW + 9, "also one that waits for a channel"


def test_g41_a_peer_of_other_chains_is_told_nothing_and_answered() -> None:
    server = Server(*town(A))
    server.sync.announce_own(*map(decode, pair_of(B)[:2]))
    peer = Listener(server, networks=BITCOIN).say(ALL)
    server.pass_time(100, peer)
    assert peer.gossip() == []
    (reply,) = peer.say(query_range()).heard(ReplyChannelRange)
    assert decode_short_ids(reply.encoded_short_ids) == (A, B)
    both = Listener(server, 3, networks=(BITCOIN, REGTEST)).say(ALL)
    assert both.gossip()


def test_g42_without_a_chain_nothing_goes_out_unless_the_user_says_so() -> None:
    server = Server(*town(A), policy=GossipPolicy())
    peer = Listener(server).say(ALL, query_range(), query_ids([A]))
    server.learn(fresh(A, 0, 1))
    server.pass_time(100, peer)
    reply, end = peer.heard()
    assert decode_short_ids(reply.encoded_short_ids) == ()
    assert isinstance(end, ReplyShortChannelIdsEnd)


@pytest.mark.parametrize(("tail", "passed"), [(1024, True), (1025, False)])
def test_g42_g43_a_tail_goes_with_its_message_up_to_a_length(tail: int, passed: bool) -> None:
    signed = channel(A)
    server = Server()
    server.sync.graph.load(signed + bytes(tail), [update(A), update(A, 1)])
    told = Listener(server).say(ALL).gossip()
    assert told == ([signed + bytes(tail), update(A), update(A, 1)] if passed else [])


def test_g37_a_new_filter_ends_a_history_within_a_message() -> None:
    ids = [ShortChannelId.of(1000 + number // 100, number % 100, 0) for number in range(3000)]
    server = Server(graph=plant(ids, nodes=50))
    peer = Listener(server, capacity=70_000)
    peer.tell(ALL)
    for _ in range(4):
        peer.wire.step()
    peer.tell(NONE)
    peer.wire.step()
    some = peer.gossip()
    peer.run()
    rest = peer.gossip()
    assert some
    # What it was given until then is on its way; and a filter that comes after it is heard before the next.
    assert sum(map(len, rest)) <= 2 * 65_535
    server.pass_time(100, peer)
    assert peer.gossip() == []


def test_g37_a_filter_of_another_chain_changes_nothing_and_is_worth_a_warning() -> None:
    server = Server(*pair_of(A))
    peer = Listener(server).say(ALL)
    peer.heard()
    peer.say(NONE.replace(chain_hash=BITCOIN.chain_hash))
    assert "not a chain of ours" in str(peer.heard()[0].data)
    server.learn(fresh(A, 0, 1))
    server.pass_time(60, peer)
    assert peer.gossip() == [fresh(A, 0, 1)]


def test_d5_a_history_in_ten_minutes_and_filters_in_between_wait() -> None:
    server = Server(*town(A))
    peer = Listener(server).say(ALL)
    assert len(peer.gossip()) == 5
    for _ in range(50):
        peer.say(NONE, ALL)
    assert peer.gossip() == []
    server.pass_time(599, peer)
    assert peer.gossip() == []
    server.pass_time(2, peer)
    assert len(peer.gossip()) == 5
    peer.wire.cut()
    again = Listener(server).say(ALL)
    assert again.gossip() == [], "who comes back is the same node"
    server.pass_time(601, again)
    assert len(again.gossip()) == 5


def test_d5_five_histories_at_a_time_the_sixth_waits_for_one_to_end() -> None:
    ids = [ShortChannelId.of(1000, number, 0) for number in range(500)]
    server = Server(graph=plant(ids))
    peers = [Listener(server, number, capacity=0) for number in range(2, 8)]
    for peer in peers:
        peer.tell(ALL)
        peer.run()
    peers[5].wire.at_far.capacity = None
    peers[5].run()
    assert peers[5].gossip() == []
    peers[0].wire.at_far.capacity = None
    peers[0].run()
    peers[5].run()
    assert len(peers[5].gossip()) == len(peers[0].gossip()) == 1502
    peers[1].wire.cut()


def test_d5_who_reads_nothing_of_its_history_holds_up_the_others_for_ten_minutes() -> None:
    ids = [ShortChannelId.of(1000, number, 0) for number in range(500)]
    server = Server(graph=plant(ids), policy=serving(dumps=2))
    slow = [Listener(server, number, capacity=0) for number in range(2, 5)]
    for peer in slow:
        peer.tell(ALL)
        peer.run()
    last = Listener(server, 5).say(ALL)
    server.pass_time(599, last)
    assert last.gossip() == []
    # The third of the slow ones has waited longer, and has a place of two now.
    server.pass_time(2, last)
    assert len(last.gossip()) == 1502
    for peer in slow:
        peer.wire.at_far.capacity = None
        peer.run()
        assert len(peer.gossip()) == 1502


def test_d3_answers_and_histories_keep_to_a_rate_together() -> None:
    ids = [ShortChannelId.of(1000 + number // 100, number % 100, 0) for number in range(2000)]
    server = Server(graph=plant(ids), policy=serving(answer_rate=100_000))
    peers = [Listener(server, number).say(ALL) for number in (2, 3)]
    got = [sum(map(len, peer.gossip())) for peer in peers]
    assert sum(got) <= 100_000 + 65_535
    for _ in range(10):
        server.pass_time(1, *peers, step=0.25)
        second = [sum(map(len, peer.gossip())) for peer in peers]
        assert sum(second) <= 100_000 + 65_535
        got = [one + more for one, more in zip(got, second, strict=True)]
    assert sum(got) >= 1_000_000, "and it is used"
    assert min(got) > 300_000, "by both"
    server.pass_time(20, *peers, step=0.25)


def test_d3_g73_a_range_is_answered_while_histories_wait_for_the_rate() -> None:
    ids = [ShortChannelId.of(1000 + number // 100, number % 100, 0) for number in range(2000)]
    server = Server(graph=plant(ids), policy=serving(answer_rate=50_000))
    peers = [Listener(server, number).say(ALL) for number in (2, 3)]
    other = Listener(server, 4)
    (reply,) = other.say(query_range()).heard(ReplyChannelRange)
    assert len(decode_short_ids(reply.encoded_short_ids)) == 2000
    peers[0].heard()
    (reply,) = peers[0].say(query_range()).heard(ReplyChannelRange)
    assert reply.sync_complete == 1


def test_d3_a_peer_asks_for_five_ranges_in_a_row_then_for_one_a_second() -> None:
    server = Server(*town(A))
    peer = Listener(server)
    for _ in range(7):
        peer.say(query_range())
    assert len(peer.heard(ReplyChannelRange)) == 5
    server.pass_time(1, peer)
    assert len(peer.heard(ReplyChannelRange)) == 1


def test_d3_of_six_megabytes_that_a_query_asks_for_no_more_than_a_message_is_there_at_once() -> None:
    ids = [ShortChannelId.of(1000 + number // 100, number % 100, 0) for number in range(8000)]
    server = Server(graph=plant(ids))
    peer = Listener(server, capacity=0)
    peer.tell(query_ids(ids))
    peer.run()
    most = server.node.manager.queued_bytes(peer.wire.at_far)
    high_water = 64 * 1024 + 65_535 // 138 * 34  # of messages; and what makes packets of them, of the smallest most
    assert 60_000 < most <= high_water
    for _ in range(20):  # who does not read causes nothing more, however often it is its turn
        server.sync.wake([peer.node_id])
        server.pass_time(1, peer)
    assert server.node.manager.queued_bytes(peer.wire.at_far) == most
    peer.wire.at_far.capacity = 20_000
    for _ in range(50):  # who reads a little is a little further
        peer.wire.step()
        most = max(most, server.node.manager.queued_bytes(peer.wire.at_far))
    assert most <= high_water
    peer.wire.at_far.capacity = None
    server.pass_time(10, peer, step=0.25)
    said = peer.heard()
    assert sum(len(one.encode()) for one in said) > 5_600_000
    assert isinstance(said[-1], ReplyShortChannelIdsEnd)


def test_d14_answers_and_histories_stand_still_with_who_does_not_read_and_what_it_misses_is_counted() -> None:
    ids = [ShortChannelId.of(2000 + number // 100, number % 100, 0) for number in range(400)]
    server = Server(*pair_of(A), *pair_of(B), *pair_of(C), policy=serving(ring_bytes=3000))
    plant(ids, graph=server.sync.graph)
    peer = Listener(server, capacity=0)
    peer.tell(query_ids(ids[:200]), ALL)
    peer.run()
    newer = {one: planted_update(one, 0, NOW + 60) for one in ids}
    for one, message in newer.items():
        server.sync.graph.channels[one].put_update(0, message)
    for second, one in enumerate((A, B, C), 1):
        server.learn(fresh(one, 0, second), fresh(one, 1, second))
    server.pass_time(60, peer)
    # What it has not read is not made yet: it hears what is true by then.
    peer.wire.at_far.capacity = None
    peer.run()
    said = peer.gossip()
    assert [said.count(newer[ids[at]]) for at in (0, 199, 399)] == [1, 2, 1]
    assert [said.count(planted_update(ids[at])) for at in (0, 199, 399)] == [1, 0, 0]
    assert server.sync.missed == 1


def test_d16_who_comes_back_has_asked_for_what_it_had_asked_for() -> None:
    server = Server(*town(A))
    for _ in range(2):
        peer = Listener(server)
        for _ in range(3):
            peer.say(query_range())
        found = len(peer.heard(ReplyChannelRange))
        peer.wire.near.manager.disconnect_all_peers()
        peer.run()
    assert found == 2
    # And all of it is back when it has paid for it.
    server.pass_time(10)
    peer = Listener(server)
    for _ in range(6):
        peer.say(query_range())
    assert len(peer.heard(ReplyChannelRange)) == 5


def test_d16_so_many_nodes_that_have_gone_are_remembered_the_latest_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUOTAS_KEPT", 3)
    server = Server(*town(A))

    def visit(number: int) -> tuple[int, int]:
        """How many of its ranges are answered at once, and how much history it hears."""
        peer = Listener(server, number)
        for _ in range(5):
            peer.say(query_range())
        peer.say(ALL)
        told = peer.heard()
        peer.wire.near.manager.disconnect_all_peers()
        peer.run()
        return sum(isinstance(one, ReplyChannelRange) for one in told), sum(isinstance(one, GOSSIP) for one in told)

    assert [visit(number) for number in (2, 3, 4)] == [(5, 5)] * 3
    assert [visit(number) for number in (2, 3, 4)] == [(0, 0)] * 3
    # Of who came again it is known when it was told its history: that was the first time.
    assert visit(5) == (5, 5)
    assert [visit(number) for number in (4, 3)] == [(0, 0)] * 2
    assert visit(2) == (5, 5)


def test_g56_a_second_query_while_one_runs_is_dropped_with_a_warning() -> None:
    ids = [ShortChannelId.of(1000 + number // 100, number % 100, 0) for number in range(300)]
    server = Server(graph=plant(ids))
    peer = Listener(server, capacity=0)
    peer.tell(query_ids(ids), query_ids(ids), query_range(), query_range())
    peer.run()
    peer.wire.at_far.capacity = None
    peer.run()
    said = peer.heard()
    assert sum(isinstance(one, ReplyShortChannelIdsEnd) for one in said) == 1
    assert sum(isinstance(one, ReplyChannelRange) for one in said) == 1
    assert sum("while another one is answered" in str(getattr(one, "data", "")) for one in said) == 1
    assert peer.say(query_ids(ids[:1])).heard(ReplyShortChannelIdsEnd), "and the next one is taken"


def test_g44_who_does_not_read_costs_a_place_and_one_answer() -> None:
    server = Server(*pair_of(A), policy=serving(burst=10_000))
    peer = Listener(server, capacity=0).say(ALL)
    for second in range(1, 1000):
        server.learn(fresh(A, 0, second))
        server.pass_time(1, peer)
    (end,) = server.node.connected
    assert server.node.manager.queued_bytes(end) <= 65_535
    peer.wire.at_far.capacity = None
    peer.run()
    server.pass_time(61, peer)
    assert peer.gossip()[-1] == fresh(A, 0, 999)


def test_g44_relay_stands_behind_answers() -> None:
    server = Server(*pair_of(A))
    peer = Listener(server, capacity=0).say(ALL)
    server.learn(fresh(A, 0, 1))
    server.pass_time(60, peer)
    peer.tell(query_range())
    peer.run()
    peer.wire.at_far.capacity = None
    peer.run()
    kinds: list[type[Message]] = [
        type(one) for one in peer.heard(ReplyChannelRange, ChannelUpdate, ChannelAnnouncement)
    ]
    assert kinds.index(ReplyChannelRange) <= 3
    assert ChannelUpdate in kinds


def test_g45_what_changes_during_a_history_is_told_once_and_after_its_channel() -> None:
    ids = [ShortChannelId.of(1000 + number // 100, number % 100, 0) for number in range(1000)]
    server = Server(graph=plant(ids), policy=UNCHECKED)
    peer = Listener(server, capacity=0).say(ALL)
    server.learn(*pair_of(A), *pair_of(ShortChannelId.of(5000, 0, 0)))
    server.pass_time(60, peer)
    peer.wire.at_far.capacity = None
    peer.run()
    server.pass_time(60, peer)
    told = peer.gossip()
    known: set[int] = set()
    for one in map(decode, told):
        if isinstance(one, ChannelAnnouncement):
            known.add(one.short_channel_id)
        elif isinstance(one, ChannelUpdate):
            assert one.short_channel_id in known
        else:
            assert isinstance(one, NodeAnnouncement)
    assert known == {*ids, A, ShortChannelId.of(5000, 0, 0)}
    assert len(told) == len({*told})


@settings(max_examples=25)
@given(st.data())
def test_g36_g45_whoever_has_a_filter_knows_all_in_the_end_and_each_channel_first(data: st.DataObject) -> None:
    """News, histories, filters and pauses in any order: a reader that ignores what it cannot place has the graph."""
    server = Server(policy=serving(burst=10_000, dumps=1))
    peers = [Listener(server, number) for number in (2, 3)]
    ids = [scid(number, 100 + number) for number in range(1, 6)]
    models = [Model(), Model()]
    asked = set[int]()
    seconds = 0
    for _ in range(data.draw(st.integers(1, 30))):
        number = data.draw(st.integers(0, 1))
        peer = peers[number]
        step = data.draw(st.sampled_from(["news", "news", "news", "time", "filter", "pause", "read"]))
        if step == "news":
            one, seconds = data.draw(st.sampled_from(ids)), seconds + 1
            side = data.draw(st.integers(0, 1))
            server.learn(channel(one), fresh(one, side, seconds), node(side, NOW + seconds))
        elif step == "time":
            server.pass_time(data.draw(st.sampled_from([1, 30, 70, 650])), *peers, step=10)
        elif step == "filter":
            wanted = data.draw(st.sampled_from([ALL, ALL, NONE, since(NOW + seconds)]))
            asked.discard(number)
            if wanted == ALL:
                asked.add(number)
            peer.say(wanted)
        else:
            peer.wire.at_far.capacity = 0 if step == "pause" else None
            peer.run()
    for peer in peers:
        peer.wire.at_far.capacity = None
        peer.run()
    server.pass_time(1400, *peers, step=10)
    for number, (peer, model) in enumerate(zip(peers, models, strict=True)):
        for one in map(decode, peer.gossip()):
            model.read(one)
        if number in asked:
            assert model.updates == {
                (one, side): update
                for one, (_, *both) in graph_bytes(server.sync.graph)[0].items()
                for side, update in enumerate(both)
                if update is not None
            }
            assert model.nodes == {one: said for one, said in graph_bytes(server.sync.graph)[1].items() if said}


class Model:
    """Reads as a node without memory for what came too soon."""

    def __init__(self) -> None:
        self.channels: dict[int, ChannelAnnouncement] = {}
        self.updates: dict[tuple[int, int], bytes] = {}
        self.nodes: dict[bytes, bytes] = {}

    def read(self, message: Message) -> None:
        if isinstance(message, ChannelAnnouncement):
            self.channels[message.short_channel_id] = message
        elif isinstance(message, ChannelUpdate):
            assert message.short_channel_id in self.channels, "an update of a channel that it has not heard of"
            key = message.short_channel_id, message.channel_flags & 1
            known = self.updates.get(key)
            if known is None or ChannelUpdate.decode(known).timestamp < message.timestamp:
                self.updates[key] = message.encode()
        elif isinstance(message, NodeAnnouncement):
            assert any(message.node_id in (one.node_id_1, one.node_id_2) for one in self.channels.values())
            known = self.nodes.get(message.node_id)
            if known is None or NodeAnnouncement.decode(known).timestamp < message.timestamp:
                self.nodes[message.node_id] = message.encode()
