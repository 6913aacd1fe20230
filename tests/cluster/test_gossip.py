"""Gossip at a front: its graph answers, what every peer says travels once, and what is asked does not travel."""

from __future__ import annotations

import trio
import trio.testing

from tests.support import Note, identity, join, make_manager
from tests.support.fleets import CONFIG, becomes, open_fleet
from tests.support.gossip import NOW, channel, node, scid, update
from triolight import ChannelMessageHandler, MessageHandler, RoutingMessageHandler, open_peer_nursery
from triolight.chains import REGTEST
from triolight.cluster.gossip import FrontGossip, Heard, Travels
from triolight.cluster.wanted import FleetConfig
from triolight.gossip import ChannelAdded, ChannelChanged, GossipPolicy, NetworkGraph
from triolight.messages import (
    BOLT,
    ChannelAnnouncement,
    ChannelUpdate,
    Error,
    GossipTimestampFilter,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    UnknownMessage,
)

FIRST, SECOND = scid(1), scid(2)
RANGE = QueryChannelRange(chain_hash=REGTEST.chain_hash, first_blocknum=0, number_of_blocks=10_000)
ALL = GossipTimestampFilter(chain_hash=REGTEST.chain_hash, first_timestamp=0, timestamp_range=0xFFFFFFFF)


def a_graph(checked: str = "output") -> NetworkGraph:
    graph = NetworkGraph(REGTEST)
    proven = checked == "output"
    graph.load(
        channel(FIRST), (update(FIRST, 0), update(FIRST, 1)), checked="output" if proven else "signatures", received=NOW
    )
    graph.load_node(node(0))
    return graph


def a_gossip(graph: NetworkGraph, relay_unchecked: bool = False) -> FrontGossip:
    return FrontGossip(
        graph, GossipPolicy(relay_unchecked=relay_unchecked), clock=trio.current_time, unix_time=lambda: float(NOW)
    )


def test_what_was_heard_is_remembered_within_bounds() -> None:
    heard = Heard(2)
    assert [heard.is_new(one) for one in (b"a", b"b", b"a")] == [True, True, False]
    assert [heard.is_new(one) for one in (b"c", b"b", b"a", b"d", b"e")] == [True, False, False, True, True]
    assert len(heard) <= 4
    assert heard.is_new(b"c")  # forgotten, and so it travels again


class Counts:
    repeats = 0


def test_what_travels_and_what_of_it_once() -> None:
    config, counts = CONFIG.replace(types=(258, Note.type)), Counts()
    known, said, other = Note(payload=b"x"), BOLT.decode(update(FIRST, 0)), UnknownMessage(40_001, b"x")
    travels = Travels(config, True, counts)
    found = [travels.as_bytes(one) is not None for one in (known, known, said, said, other, Error(data=b""))]
    assert (found, counts.repeats) == ([True, True, True, False, False, True], 1)
    # With a handler of all that is unknown; and a life of its own remembers nothing of another one's.
    odd = Travels(config.replace(unknown_odd=1), False, counts)
    assert [odd.as_bytes(one) for one in (other, said, said)] == [other.encode(), said.encode(), said.encode()]


def test_with_a_graph_gossip_is_the_front_s() -> None:
    wanted = FleetConfig(CONFIG.replace(types=(256, 257, 258, 261, 263, 264, 265), features=b"\x08"))
    assert wanted.messages.get(258) is not ChannelUpdate  # travels as its bytes
    assert wanted.messages.get(263) is QueryChannelRange
    handlers = wanted.handlers(a_graph())
    offered = handlers.route_handler.provided_init_features(identity(2))
    assert offered.offers("gossip_queries")
    assert not wanted.handlers().route_handler.provided_init_features(identity(2)).offers("gossip_queries")


async def test_a_front_answers_and_passes_on_once(autojump_clock: trio.testing.MockClock) -> None:
    graph = a_graph()
    gossip = a_gossip(graph)
    async with (
        open_fleet("one", messages=BOLT, gossip=gossip) as fleet,
        open_peer_nursery(make_manager(2, messages=BOLT)) as far,
        open_peer_nursery(make_manager(3, messages=BOLT)) as other,
        far.subscribe(ChannelAnnouncement, ChannelUpdate, NodeAnnouncement) as told,
        fleet.back.subscribe() as inbox,
    ):
        ours, _ = await join(far, fleet.fronts["one"])
        theirs, _ = await join(other, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 2)
        reply = await ours.request(RANGE, ReplyChannelRange)
        assert reply.encoded_short_ids[1:] == FIRST.to_bytes(8, "big")
        ids = QueryShortChannelIds(chain_hash=REGTEST.chain_hash, encoded_short_ids=b"\0" + FIRST.to_bytes(8, "big"))
        await ours.request(ids, ReplyShortChannelIdsEnd)
        answer = [told.receive_nowait()[1].encode() for _ in range(4)]
        assert answer == [channel(FIRST), update(FIRST, 0), update(FIRST, 1), node(0)]
        await ours.send(ALL)
        history = [(await anext(told))[1].encode() for _ in range(4)]
        assert history == answer
        # What is new in the graph goes to who has asked for it, within a minute.
        one = graph.load(channel(SECOND), (update(SECOND, 0),), checked="output", received=NOW)
        gossip.changed(ChannelAdded(one))
        gossip.changed(ChannelChanged(one, 0))
        assert [(await anext(told))[1].encode() for _ in range(2)] == [channel(SECOND), update(SECOND, 0)]
        # The same words of both peers travel once, other words of one of them too; queries have not travelled.
        for peer in (ours, theirs):
            for said in (channel(SECOND), update(SECOND, 1)):
                await peer.send(BOLT.decode(said))
        await theirs.send(BOLT.decode(update(SECOND, 1, NOW + 1)))
        await trio.sleep(1)
        travelled = [(await anext(inbox))[1].encode() for _ in range(3)]
        assert sorted(travelled) == sorted([channel(SECOND), update(SECOND, 1), update(SECOND, 1, NOW + 1)])
        await becomes(lambda: fleet.watches["one"].repeats == 2)
        assert [*graph.channels] == [FIRST, SECOND]
        assert graph.channels[SECOND].update_bytes(1) is None  # what peers say changes nothing here


async def test_without_a_graph_all_of_it_travels(autojump_clock: trio.testing.MockClock) -> None:
    class Answers(RoutingMessageHandler):
        asked = 0

        def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> None:
            assert message == RANGE
            self.asked += 1

    answers = Answers()
    async with (
        open_fleet("one", messages=BOLT, handlers=MessageHandler(ChannelMessageHandler(), answers)) as fleet,
        open_peer_nursery(make_manager(2, messages=BOLT)) as far,
        fleet.back.subscribe(ChannelUpdate, GossipTimestampFilter) as inbox,
    ):
        ours, _ = await join(far, fleet.fronts["one"])
        await ours.send(RANGE, ALL, BOLT.decode(update(FIRST, 0)), BOLT.decode(update(FIRST, 0)))
        assert [(await anext(inbox))[1].encode() for _ in range(3)] == [
            ALL.encode(),
            update(FIRST, 0),
            update(FIRST, 0),
        ]
        assert answers.asked == 1


async def test_what_no_chain_has_confirmed_is_told_if_the_policy_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for relay_unchecked, wanted in ((False, b""), (True, FIRST.to_bytes(8, "big"))):
        gossip = a_gossip(a_graph("signatures"), relay_unchecked=relay_unchecked)
        async with (
            open_fleet("one", messages=BOLT, gossip=gossip) as fleet,
            open_peer_nursery(make_manager(2, messages=BOLT)) as far,
        ):
            ours, _ = await join(far, fleet.fronts["one"])
            reply = await ours.request(RANGE, ReplyChannelRange)
            assert reply.encoded_short_ids[1:] == wanted
