"""P2PGossipSync: what follows from what peers say, by the rules' numbers; three nodes that learn from each other."""

from __future__ import annotations

import re
import zlib
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, ListLogger, identity, make_manager
from tests.support.gossip import IDS, NODES, NOW, PEER, Chain, channel, node, scid, update
from tests.support.gossip_peers import (
    ALL,
    UNCHECKED,
    Clock,
    Listener,
    Server,
    decode,
    fresh,
    graph_bytes,
    make_sync,
    pair_of,
    query_ids,
    query_range,
    town,
)
from tests.support.project import ROOT
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NodeAddress,
    PeerManager,
    PeerNursery,
    Replay,
    Tape,
    open_peer_nursery,
)
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import (
    ChannelAdded,
    ChannelProven,
    Found,
    GossipPolicy,
    NetworkGraph,
    P2PGossipSync,
    PrivateUpdate,
    Verdict,
    decode_short_ids,
)
from triolight.gossip.policy import WaitingPolicy
from triolight.logger import Level
from triolight.messages import (
    ChannelUpdate,
    Message,
    QueryFlags,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    UnknownMessage,
    Warning,
)
from triolight.messages.bolt7 import QueryShortChannelIdsTlvs
from triolight.policy import COST_OF_PIECE, COST_OF_WORDS, Allowance, Policy
from triolight.testing import Conditions, SimulatedNetwork

A, B, C = (scid(number) for number in (1, 2, 3))


def broken(message: bytes) -> bytes:
    """Of the same, with a signature that does not hold."""
    return message[:10] + bytes((message[10] ^ 1,)) + message[11:]


def warnings(peer: Listener) -> list[str]:
    return [one.data.decode() for one in peer.heard(Warning)]


def counted(server: Server) -> dict[Verdict, int]:
    return counted_of(server.sync)


def counted_of(sync: P2PGossipSync) -> dict[Verdict, int]:
    return {verdict: count for verdict, count in sync.rules.verdicts.items() if count}


def reply_range() -> ReplyChannelRange:
    return ReplyChannelRange(
        chain_hash=REGTEST.chain_hash,
        first_blocknum=0,
        number_of_blocks=1,
        sync_complete=1,
        encoded_short_ids=b"\0",
    )


# What it offers.


def test_it_offers_queries_in_init_and_nowhere_asks_for_more() -> None:
    server = Server()
    peer = Listener(server)
    features = peer.node.connected[peer.wire.at_near].features
    assert features.offers("gossip_queries")
    assert features.offers("gossip_queries_ex")
    assert server.sync.provided_node_features().offers("gossip_queries")
    assert repr(server.sync) == "<P2PGossipSync <NetworkGraph regtest, 0 channels, 0 nodes>, 1 peers>"


# What peers push.


def test_what_a_peer_says_is_verified_applied_and_told() -> None:
    server = Server()
    peer = Listener(server).say(*map(decode, town(A, B)))
    assert sorted(server.sync.graph.channels) == [A, B]
    assert peer.heard() == []
    assert [type(one) for one in server.sync.changes.drain()][:1] == [ChannelAdded]
    heard: list[Any] = []
    server.sync.on_change = heard.append
    peer.say(decode(fresh(A, 0, 5)))
    assert (heard[0].channel.short_channel_id, heard[0].source) == (A, peer.node_id)
    assert len(server.sync.changes) == 0


@pytest.mark.parametrize(
    "message", [broken(channel(A)), broken(update(A, 0, NOW + 1)), broken(node(0, NOW + 1)), channel(B, 1, 0)]
)
def test_d25_g5_an_invalid_message_is_worth_a_warning_and_the_fifth_ends_the_connection(message: bytes) -> None:
    server = Server(*([] if message[:2] == b"\1\0" else pair_of(A)))
    peer = Listener(server)
    for number in range(4):
        peer.say(decode(message))
        assert len(warnings(peer)) == (number == 0), "D25: one in ten seconds"
    assert server.sync.warnings_kept_back == 3
    server.pass_time(10, peer)
    assert peer.wire.at_near in peer.node.connected
    peer.say(decode(message))
    assert peer.wire.at_near not in peer.node.connected
    (words,) = warnings(peer)
    assert "5 invalid messages are enough" in words
    again = Listener(server, 3).say(decode(message))
    assert again.wire.at_near in again.node.connected, "of a connection"


def test_g8_who_tells_the_truth_after_a_lie_that_came_first_is_not_at_fault() -> None:
    """Without a chain whoever knows a real place first can sign for it; the others go on telling what is there."""
    server = Server()
    liar, honest = Listener(server, 3), Listener(server, 4)
    ids = [scid(number) for number in range(6)]
    liar.say(*[decode(channel(one, 2, 3)) for one in ids])
    for one in ids:
        honest.say(*map(decode, pair_of(one)))
    assert honest.heard() == []
    assert honest.wire.at_near in honest.node.connected
    assert counted(server) == {Verdict.UNVERIFIED: 6, Verdict.CONFLICT: 18}
    assert all(one.updates == (None, None) for one in server.sync.graph.channels.values())


def test_g8_nor_is_who_told_it_before_the_lie() -> None:
    server = Server()
    liar, honest = Listener(server, 3), Listener(server, 4)
    ids = [scid(number) for number in range(6)]
    honest.say(*[decode(update(one)) for one in ids])
    liar.say(*[decode(channel(one, 2, 3)) for one in ids])
    assert server.sync.rules.verdicts[Verdict.BAD_SIGNATURE] == 6
    honest.run()
    assert honest.heard() == []
    assert honest.wire.at_near in honest.node.connected


def test_d19_whatever_gossip_a_peer_sends_is_a_line_in_ten_seconds_and_the_rest_is_counted() -> None:
    server = Server(*pair_of(A))
    logger = server.node.manager.logger
    assert isinstance(logger, ListLogger)
    peer = Listener(server)
    del logger.records[:]
    wrong = [broken(channel(B)), broken(update(A, 0, NOW + 1)), broken(node(0, NOW + 1)), channel(B, 1, 0)]
    more = [
        query_ids([], encoded_short_ids=b"\0abc"),
        ALL.replace(chain_hash=BITCOIN.chain_hash),
        *[reply_range()] * 90,
    ]
    peer.say(*map(decode, wrong), *more, *map(decode, [node(0, NOW + 1), update(C)]))
    assert [one.level for one in logger.records] == [Level.DEBUG]
    assert server.sync.warnings_kept_back == 6
    assert server.sync.graph.nodes[IDS[0]].announcement_bytes is not None
    server.pass_time(10, peer)
    peer.say(*more[:2])
    assert len(logger.records) == 2


def test_d16_what_waits_of_a_peer_counts_for_ten_minutes_also_if_it_goes_and_comes_back() -> None:
    server = Server(policy=GossipPolicy(waiting=WaitingPolicy(orphans_of_peer=2)))
    for number, (seconds, kept, limited) in enumerate([(0, 2, 0), (599, 2, 2), (2, 4, 2)]):
        server.pass_time(seconds)
        peer = Listener(server, 90).say(*(decode(update(scid(number), side)) for side in (0, 1)))
        assert counted(server).get(Verdict.ORPHAN) == kept
        assert counted(server).get(Verdict.LIMITED, 0) == limited
        peer.wire.near.manager.disconnect_all_peers()
        peer.run()


def test_d26_whoever_fails_at_four_signatures_each_ends_after_twenty_of_them() -> None:
    """And what others say meanwhile is looked at in its turn."""
    server = Server()
    liar, other = Listener(server), Listener(server, 3)
    lies = [channel(scid(number)) for number in range(10, 110)]
    # The last of the four does not hold: the dearest lie that there is.
    liar.tell(*(decode(one[:194] + bytes((one[194] ^ 1,)) + one[195:]) for one in lies))
    other.tell(*map(decode, pair_of(A)))
    liar.run()
    other.run()
    assert liar.wire.at_near not in liar.node.connected
    assert counted(server) == {Verdict.BAD_SIGNATURE: 5, Verdict.UNVERIFIED: 3}
    assert server.sync.rules.verifications == 5 * 4 + 6


def test_g5_what_no_decoder_takes_is_worth_a_warning() -> None:
    server = Server()
    peer = Listener(server).say(UnknownMessage(258, bytes(20)))
    assert "unreadable gossip" in warnings(peer)[0]


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        (update(A, 0, NOW - 1), Verdict.STALE),
        (update(A, 0, NOW, fee_base_msat=3), Verdict.EQUIVOCATION),
        (update(A), Verdict.DUPLICATE),
        (update(B), Verdict.ORPHAN),
        (update(A, 0, NOW + 86_402), Verdict.FUTURE),
        (channel(B, chain_hash=BITCOIN.chain_hash), Verdict.WRONG_CHAIN),
        (node(5), Verdict.ORPHAN),
    ],
)
def test_1i_what_happens_to_honest_peers_is_not_worth_a_word(message: bytes, verdict: Verdict) -> None:
    server = Server(*pair_of(A))
    before = server.sync.rules.verdicts[verdict]
    peer = Listener(server, 30).say(*[decode(message)] * 20)
    assert server.sync.rules.verdicts[verdict] > before
    assert peer.heard() == []
    assert peer.wire.at_near in peer.node.connected


def test_g24_an_update_of_the_peers_own_is_an_event_and_goes_no_further() -> None:
    server = Server()
    third = Listener(server, 30).say(ALL)
    peer = Listener(server, 2)
    index = [key.public_key for key in NODES].index(peer.node_id)
    own = ChannelUpdate.decode(update(B, 0, NOW, signer=index))
    peer.say(own)
    assert server.sync.changes.drain() == [PrivateUpdate(peer.node_id, own)]
    assert peer.heard() == []
    server.pass_time(100, third)
    assert third.gossip() == []
    assert B not in server.sync.graph.channels


# What it costs.


def test_verify_counts_in_the_turn() -> None:
    server = Server()
    peer = Listener(server)
    work = server.node.manager.work_done
    peer.say(decode(channel(A)))
    assert server.node.manager.work_done - work >= 20
    work = server.node.manager.work_done
    peer.say(decode(channel(A)))
    assert server.node.manager.work_done - work < 5, "what is known costs no signature"


def test_verify_a_turn_ends_after_what_it_may_cost() -> None:
    """A chunk of forty announcements is not handled in one turn."""
    clock = Clock()
    sync = make_sync(clock)
    ids = [scid(number) for number in range(40)]

    async def main() -> None:
        async with (
            open_peer_nursery(make_manager(1, route=sync)) as one,
            open_peer_nursery(make_manager(2)) as other,
        ):
            to_one, _ = await connected(SimulatedNetwork(1), other, one)
            await to_one.send(*(decode(channel(each)) for each in ids))
            await to_one.ping()
            assert len(sync.graph.channels) == 40

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert sync.rules.verifications == 160


@pytest.mark.parametrize(("asked", "slowed"), [(False, 1), (True, 0)])
def test_d2_who_pushes_signatures_that_nobody_asked_for_is_read_more_slowly(asked: bool, slowed: int) -> None:
    """2,000 bytes of its allowance each: 524 a second and 2,097 at once, by the usual one."""

    class Asks:
        def is_asked(self, node_id: bytes) -> bool:
            return asked

        def judged(self, node_id: bytes, verdict: Verdict) -> None:
            pass

    async def main() -> None:
        sync = make_sync()
        sync.asker = cast("Any", Asks())
        allowance = Allowance(per_second=20_000, burst=24_000)
        async with (
            open_peer_nursery(make_manager(1, route=sync), policy=Policy(allowance=allowance)) as one,
            open_peer_nursery(make_manager(2)) as other,
        ):
            to_one, from_other = await connected(SimulatedNetwork(1), other, one)
            for number, throttled in ((0, 0), (1, 0), (2, 0), (3, slowed)):
                await to_one.send(decode(channel(scid(number))))
                await to_one.ping()
                assert (len(sync.graph.channels), from_other.statistics().throttled) == (number + 1, throttled)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_u4_a_peer_with_64_lookups_is_not_read_from_and_others_are() -> None:
    chain = Chain(at_once=False)
    server = Server(policy=GossipPolicy(waiting=WaitingPolicy(pending_of_peer=4)), utxo_lookup=chain)
    peers = [Listener(server, number) for number in (2, 3)]
    for number, peer in enumerate(peers):
        peer.tell(*(decode(channel(scid(10 * number + one))) for one in range(4 + 4 * (number == 0))))
        peer.run()
    assert len(server.sync.rules.lookups) == 8, "four of each"
    peers[1].wire.run()
    done = 0
    while done < len(chain.asked):
        for place, token in chain.asked[done:]:
            done += 1
            chain.has(place)
            server.sync.resolve(token, chain.outputs[place])
        for peer in peers:
            peer.run()
    assert len(server.sync.graph.channels) == 12


def test_u1_what_a_chain_confirms_later_goes_out_with_all_that_came_meanwhile() -> None:
    chain = Chain(at_once=False)
    server = Server(policy=GossipPolicy(), utxo_lookup=chain)
    peer = Listener(server).say(ALL)
    server.learn(*pair_of(A), node(0))
    server.pass_time(9, peer)
    assert peer.gossip() == []
    chain.has(A)
    server.sync.resolve(chain.asked[0][1], chain.outputs[A])
    server.pass_time(60, peer)
    assert peer.gossip() == [*pair_of(A), node(0)]


def test_channels_without_a_chains_word_are_asked_about_as_time_goes_on_and_answers_come() -> None:
    chain = Chain(at_once=False)
    server = Server(policy=GossipPolicy(), utxo_lookup=chain)
    ids = [scid(number) for number in range(80)]
    for one in ids:
        server.sync.graph.load(channel(one), received=NOW)
        chain.has(one)
    heard: list[Any] = []
    server.sync.on_change = heard.append
    server.pass_time(2)
    assert [place for place, _ in chain.asked] == ids[:8]
    answered = 0
    while answered < len(chain.asked):
        place, token = chain.asked[answered]
        server.sync.resolve(token, chain.outputs[place])
        answered += 1
    assert (server.sync.rechecks_left, server.sync.graph.unproven) == (0, 0)
    assert heard == [ChannelProven(server.sync.graph.channels[one]) for one in ids]


def test_g6_a_wrong_script_that_is_found_later_is_told_later() -> None:
    chain = Chain(at_once=False)
    server = Server(policy=GossipPolicy(), utxo_lookup=chain)
    peer = Listener(server).say(decode(channel(A)))
    assert peer.heard() == []
    server.sync.resolve(chain.asked[0][1], Found(b"\0\x20" + bytes(32), 1000, 100))
    peer.run()
    assert warnings(peer) == ["invalid gossip: wrong_script"]


def test_g6_what_was_early_goes_out_when_its_block_is_deep_enough() -> None:
    chain = Chain()
    chain.has(A)
    server = Server(policy=GossipPolicy(), utxo_lookup=chain)
    server.sync.block_connected(100)
    peer = Listener(server).say(ALL, *map(decode, pair_of(A)))
    third = Listener(server, 3).say(ALL)
    for height in range(101, 106):
        assert A not in server.sync.graph.channels
        server.sync.block_connected(height)
    assert A in server.sync.graph.channels
    server.pass_time(60, peer, third)
    assert third.gossip() == pair_of(A)


def test_g46_what_is_old_goes_within_the_hour_and_is_told_no_more() -> None:
    server = Server(*pair_of(A), *pair_of(B, timestamp=NOW - 14 * 86_400 + 7000))
    server.pass_time(3 * 3600, step=100)
    assert sorted(server.sync.graph.channels) == [A]
    (reply,) = Listener(server).say(query_range()).heard(ReplyChannelRange)
    assert decode_short_ids(reply.encoded_short_ids) == (A,)


# Queries.


def test_g52_g57_flags_that_do_not_fit_bring_a_warning_and_the_end() -> None:
    server = Server(*town(A))
    tlv = QueryFlags(encoding_type=0, encoded_query_flags=b"\1\1\1")
    peer = Listener(server).say(query_ids([A, B]).replace(tlvs=QueryShortChannelIdsTlvs(query_flags=tlv)))
    said = peer.heard()
    assert sorted(type(one).__name__ for one in said) == ["ReplyShortChannelIdsEnd", "Warning"]


def test_g52_each_query_has_its_end() -> None:
    server = Server(*town(A))
    peer = Listener(server)
    for query in (query_ids([]), query_ids([B]), query_ids([A]), query_ids([A], chain_hash=BITCOIN.chain_hash)):
        ends = peer.say(query).heard(ReplyShortChannelIdsEnd)
        assert [one.chain_hash for one in ends] == [query.chain_hash]
        assert ends[0].full_information == (query.chain_hash == REGTEST.chain_hash)
    for number in (0, 1, 0xFFFFFFFF):
        assert [one.sync_complete for one in peer.say(query_range(0, number)).heard(ReplyChannelRange)] == [1]


@pytest.mark.parametrize("encoded", [b"\1x", b"\2", b"\0abc"])
def test_g71_a_list_that_nobody_can_read_is_worth_a_warning(encoded: bytes) -> None:
    peer = Listener(Server(*town(A))).say(query_ids([], encoded_short_ids=encoded))
    (said,) = peer.heard()
    assert isinstance(said, Warning)
    assert peer.wire.at_near in peer.node.connected


@pytest.mark.parametrize("kind", [query_ids([]), reply_range()])
async def test_d22_what_is_compressed_is_not_inflated_and_its_sender_pays_for_our_words(
    kind: QueryShortChannelIds | ReplyChannelRange,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A megabyte of zeros in a kilobyte: what comes of it is a warning, and one cost of those for each."""
    bomb = zlib.compress(bytes(1024 * 1024), 9)
    for name in ("decompress", "decompressobj"):
        monkeypatch.delattr(zlib, name)
    message = kind.replace(encoded_short_ids=b"\1" + bomb)
    cost = COST_OF_WORDS + len(message.encode()) // 2 * COST_OF_PIECE
    policy = Policy(allowance=Allowance(per_second=1000, burst=3 * cost))
    sync = make_sync()
    async with (
        open_peer_nursery(make_manager(1, route=sync), policy=policy) as one,
        open_peer_nursery(make_manager(2)) as other,
    ):
        to_one, from_other = await connected(SimulatedNetwork(1), other, one)
        async with to_one.subscribe(Warning) as inbox:
            for number in range(1, 5):
                await to_one.send(message)
                with trio.fail_after(1000):
                    assert b"zlib compression is not supported" in (await anext(inbox)).data
                assert from_other.statistics().throttled == (number == 4)
    assert counted_of(sync) == {}


def test_d22_nothing_but_files_is_inflated() -> None:
    """And those are their owner's: `formats/opening.py` reads what is packed."""
    inflate = re.compile(r"^\s*(?:import|from) (?:zlib|gzip|bz2|lzma|zipfile|compression)\b", re.MULTILINE)
    found = [path for path in (ROOT / "triolight").rglob("*.py") if inflate.search(path.read_text())]
    assert found == [ROOT / "triolight" / "gossip" / "formats" / "opening.py"]


@pytest.mark.parametrize(
    "reply",
    [
        ReplyShortChannelIdsEnd(chain_hash=REGTEST.chain_hash, full_information=1),
        reply_range(),
    ],
)
def test_d18_g72_replies_that_nobody_asked_for_are_told_once_and_end_at_a_hundred(reply: Message) -> None:
    server = Server()
    peer = Listener(server).say(*[reply] * 99)
    assert len(warnings(peer)) == 1
    assert counted(server) == {Verdict.UNASKED_REPLY: 99}
    assert peer.wire.at_near in peer.node.connected
    peer.say(reply)
    assert peer.wire.at_near not in peer.node.connected
    assert "100 times" in warnings(peer)[0]


# Our own.


def test_g13_g32_our_node_announcement_is_in_the_graph_and_grows_over_restarts() -> None:
    """A manager whose node has an announced channel announces itself, twice, and after a restart with a slow clock."""
    graph = NetworkGraph(REGTEST)
    known = P2PGossipSync(graph, policy=UNCHECKED, unix_time=lambda: NOW)
    manager = PeerManager(
        MessageHandler(ChannelMessageHandler(), known), bytes((1,)) * 32, b"\7" * 32, _Silent(), unix_time=lambda: NOW
    )
    index = [key.public_key for key in NODES].index(manager.our_node_id)
    other = (index + 1) % len(NODES)
    first, second = sorted((index, other))
    known.announce_own(decode(channel(A, first, second)))
    stamps: list[int] = []
    for _ in range(2):
        said = manager.broadcast_node_announcement(b"\1\2\3", b"ours")
        assert graph.nodes[manager.our_node_id].announcement == said
        stamps.append(said.timestamp)
    again = P2PGossipSync(graph, policy=UNCHECKED, unix_time=lambda: NOW)
    manager = PeerManager(
        MessageHandler(ChannelMessageHandler(), again),
        bytes((1,)) * 32,
        b"\5" * 32,
        _Silent(),
        unix_time=lambda: NOW - 3600,
    )
    stamps.append(manager.broadcast_node_announcement(b"\1\2\3", b"ours").timestamp)
    assert stamps == [NOW, NOW + 1, NOW + 2]


def test_g16_our_node_waits_for_its_first_channel() -> None:
    server = Server()
    peer = Listener(server)
    assert server.sync.announce_own(decode(node(0))) == (Verdict.ORPHAN,)
    server.sync.announce_own(decode(channel(A)))
    peer.run()
    assert peer.gossip() == [channel(A), node(0)]


class _Silent:
    def log(self, record: object) -> None: ...


# Tapes.


async def connected(network: SimulatedNetwork, near: PeerNursery, far: PeerNursery) -> tuple[Any, Any]:
    """`near` has dialled `far`."""
    ours, theirs = network.stream_pair(network.host(), network.host())
    found: list[Any] = []

    async def accept() -> None:
        found.append(await far.attach(theirs))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        to_far = await near.attach(ours, far.manager.our_node_id)
    return to_far, found[0]


async def test_the_same_tape_makes_the_same_graph(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    tape = Tape(tmp_path / "tape")
    sync = make_sync()
    manager = make_manager(1, route=sync)
    async with open_peer_nursery(manager, tape=tape) as one, open_peer_nursery(make_manager(2)) as other:
        to_one, _ = await connected(SimulatedNetwork(2, Conditions(latency=0.05)), other, one)
        async with to_one.subscribe(ReplyShortChannelIdsEnd) as ends:
            await to_one.send(*map(decode, town(*(scid(number) for number in range(30)))), ALL)
            await to_one.send(query_range(), query_ids([A, B]), decode(broken(channel(scid(77)))))
            await anext(ends)
        await to_one.ping()
    replayed = make_sync()
    handlers = MessageHandler(ChannelMessageHandler(), replayed)
    happenings = list(Replay(tape.path, messages=MESSAGES, handlers=handlers))
    assert [one for one in happenings if one.what == "differs"] == []
    assert graph_bytes(replayed.graph) == graph_bytes(sync.graph)
    assert len(replayed.graph.channels) == 30
    assert '"call":"charge"' in tape.path.read_text()


# Three nodes.


def _set(event: trio.Event, change: object) -> None:
    event.set()


class Asks:
    """Asks one peer for its range, then for each channel in it."""

    def __init__(self) -> None:
        self.sync: P2PGossipSync | None = None
        self.ids: list[int] = []
        self.batches: list[list[int]] = []
        self.verdicts: list[Verdict] = []
        self.ready = trio.Event()
        self.done = trio.Event()

    def is_asked(self, node_id: bytes) -> bool:
        return not self.done.is_set()

    def replied(self, node_id: bytes, message: ReplyChannelRange | ReplyShortChannelIdsEnd) -> bool:
        if isinstance(message, ReplyChannelRange):
            self.ids += decode_short_ids(message.encoded_short_ids)
            if message.sync_complete:
                self.ready.set()
        else:
            self.done.set()
        return True

    def judged(self, node_id: bytes, verdict: Verdict) -> None:
        self.verdicts.append(verdict)


async def test_three_nodes_a_knows_b_learns_by_filter_and_c_by_queries(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Over a network with delays, on one clock; and a fee that changes at A is at both within a minute."""
    network = SimulatedNetwork(7, Conditions(latency=0.05, jitter=0.02))
    home = network.host("home")
    chances = iter((0.1, 0.4, 0.7, 0.9))

    def made() -> P2PGossipSync:
        return P2PGossipSync(
            NetworkGraph(REGTEST),
            policy=UNCHECKED,
            clock=trio.current_time,
            unix_time=lambda: NOW + 1000 + trio.current_time(),
            chance=partial(next, chances),
        )

    async def keep_time(sync: P2PGossipSync) -> None:
        while True:
            await trio.sleep(max(0.0, sync.due - trio.current_time()))
            sync.tick()

    syncs = [made() for _ in range(3)]
    known, by_filter, by_queries = syncs
    managers = [make_manager(number, route=sync) for number, sync in zip((1, 2, 3), syncs, strict=True)]
    for one in town(*(scid(number, 100 + number % 7) for number in range(60))):
        message = decode(one)
        getattr(known, f"handle_{message.name}")(PEER, message)
    asker = Asks()
    by_queries.asker = asker
    news = [trio.Event(), trio.Event()]
    async with (
        trio.open_nursery() as nursery,
        open_peer_nursery(managers[0]) as a,
        open_peer_nursery(managers[1], dial=network.host("b").dial) as b,
        open_peer_nursery(managers[2], dial=network.host("c").dial) as c,
    ):
        for sync in syncs:
            nursery.start_soon(keep_time, sync)
        await a.listen_on(await home.listen(9735))
        address = NodeAddress(identity(1), "home", 9735)
        to_a = await b.connect(address)
        done = trio.Event()

        def look(change: object) -> None:
            if graph_bytes(by_filter.graph) == graph_bytes(known.graph):
                done.set()

        by_filter.on_change = look
        await to_a.send(ALL)
        with trio.fail_after(60):
            await done.wait()
        to_a = await c.connect(address)
        await to_a.send(query_range())
        with trio.fail_after(60):
            await asker.ready.wait()
            await to_a.send(query_ids(asker.ids))
            await asker.done.wait()
        assert graph_bytes(by_queries.graph) == graph_bytes(by_filter.graph) == graph_bytes(known.graph)
        assert len(known.graph.channels) == 60
        assert asker.ids == sorted(known.graph.channels)
        assert {Verdict.UNVERIFIED} <= {*asker.verdicts}
        # From here on it is news, for those who have a filter.
        await to_a.send(ALL.replace(first_timestamp=NOW + 500))
        for sync, event in zip((by_filter, by_queries), news, strict=True):
            sync.on_change = partial(_set, event)
        message = decode(update(scid(1, 101), 0, NOW + 900, signer=1, fee_base_msat=7))
        known.handle_channel_update(PEER, message)
        began = trio.current_time()
        with trio.fail_after(62):
            for event in news:
                await event.wait()
        assert trio.current_time() - began > 1, "not at once: each in its own time"
        assert {graph.channels[scid(1, 101)].timestamp(0) for graph in (known.graph, by_filter.graph)} == {NOW + 900}
        assert graph_bytes(by_queries.graph) == graph_bytes(known.graph)
        nursery.cancel_scope.cancel()
