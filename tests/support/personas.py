"""Made-up peers for gossip: each answers as one implementation does, or as one that means harm. No test here.

Sans-IO: a persona hears messages at times and has some of its own at times. `WORLD` is what the honest ones know.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from tests.support import gossip
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import (
    GossipPolicy,
    GossipRules,
    NetworkGraph,
    Verdict,
    decode_query_flags,
    decode_short_ids,
    encode_short_ids,
    encode_timestamps,
)
from triolight.gossip import fetching as machine
from triolight.gossip.fetching import Fetching, Progress
from triolight.gossip.policy import SyncPolicy, WaitingPolicy
from triolight.gossip.sources import Source
from triolight.keys import verify
from triolight.messages import (
    BOLT,
    ChannelUpdateChecksums,
    GossipTimestampFilter,
    Message,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyChannelRangeTlvs,
    ReplyShortChannelIdsEnd,
    Timestamps,
    Warning,
)
from triolight.wire import ShortChannelId

NOW: Final = gossip.NOW
FIRST_BLOCK: Final = 100
"""Of the world; Electrum's persona refuses to be asked for blocks before it."""
LAST: Final = 0xFFFFFFFF
CHAIN: Final = REGTEST.chain_hash


@dataclass(frozen=True)
class World:
    """A signed network: of each channel its announcement and updates, of each node what it said."""

    channels: dict[int, tuple[bytes, bytes | None, bytes | None]]
    nodes: dict[bytes, bytes]
    ends: dict[int, tuple[bytes, bytes]]

    def graph(self, policy: Any = None) -> NetworkGraph:
        """All of it, as the rules let it in."""
        graph = NetworkGraph(CHAIN)
        rules = GossipRules(graph)
        for data in self.messages():
            rules.take(data, gossip.PEER, NOW)
        return graph

    def messages(self) -> Iterable[bytes]:
        for parts in self.channels.values():
            yield from (one for one in parts if one is not None)
        yield from self.nodes.values()


@lru_cache(maxsize=8)
def make_world(
    channels: int = 120, *, without_updates: int = 0, first_tx: int = 0, newest: int = NOW - 2 * 3600
) -> World:
    """Eight nodes, of which the last two never announce themselves."""
    found: dict[int, tuple[bytes, bytes | None, bytes | None]] = {}
    ends: dict[int, tuple[bytes, bytes]] = {}
    pairs = itertools.cycle(itertools.combinations(range(8), 2))
    for number in range(channels + without_updates):
        scid = ShortChannelId.of(FIRST_BLOCK + number // 5, first_tx + number % 5, 0)
        first, second = next(pairs)
        silent = number >= channels
        updates = (
            None if silent else gossip.update(scid, 0, newest - number, signer=first),
            None if silent or number % 7 == 3 else gossip.update(scid, 1, newest - number - 50, signer=second),
        )
        found[scid] = (gossip.channel(scid, first, second), *updates)
        ends[scid] = (gossip.IDS[first], gossip.IDS[second])
    nodes = {gossip.IDS[one]: gossip.node(one, NOW - 1000 - one) for one in range(6)}
    return World(found, nodes, ends)


WORLD: Final = make_world()


def same_graph(one: NetworkGraph, other: NetworkGraph) -> bool:
    return seen(one) == seen(other)


def seen(graph: NetworkGraph) -> dict[Any, Any]:
    """What a graph holds, for comparing."""
    return {
        **{
            int(scid): (one.announcement_bytes, one.update_bytes(0), one.update_bytes(1))
            for scid, one in graph.channels.items()
        },
        **{node_id: node.announcement_bytes for node_id, node in graph.nodes.items()},
    }


CLOSE: Final = b""
"""Among what a persona says: it closes the connection."""


class Persona:
    """An honest peer of no make. Subclasses are makes; what they say of us is in `complaints`."""

    features: Sequence[str] = ("gossip_queries", "gossip_queries_ex")
    networks: tuple[bytes, ...] | None = None
    chunk = 25
    rate = 1_000_000.0
    latency = 0.05
    tlvs = 3
    heeds_flags = True
    answers_short_channel_ids = True
    lowest_block = 0
    per_second = math.inf
    second_query = "warn"
    foreign = "warn"
    mixes_nodes = False
    shuffles = False
    lists_all = False
    """Also channels without updates."""
    history = True
    reads = True

    def __init__(self, world: World = WORLD, seed: int = 0) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.complaints: list[str] = []
        self.closed = False
        self.queries = 0
        self.filters: list[GossipTimestampFilter] = []
        self._queue: list[tuple[float, int, bytes]] = []
        self._count = itertools.count()
        self._busy_until = -math.inf
        self._times: list[float] = []

    # What a driver calls.

    @property
    def next_at(self) -> float:
        return self._queue[0][0] if self._queue else math.inf

    def due(self, now: float) -> list[bytes]:
        """What it says now; `CLOSE` at its end."""
        given: list[bytes] = []
        while self._queue and self._queue[0][0] <= now:
            given.append(heapq.heappop(self._queue)[2])
        return given

    def connected(self, now: float) -> None:
        """The connection is there."""

    def reconnect(self) -> None:
        """A new connection of it."""
        self.closed = False
        self._queue.clear()
        self._busy_until = -math.inf

    def receive(self, message: Message, now: float) -> None:
        match message:
            case QueryChannelRange() | QueryShortChannelIds():
                self.queries += 1
                self._times = [one for one in self._times if one > now - 1]
                self._times.append(now)
                if len(self._times) > self.per_second:
                    return
                if now < self._busy_until:
                    self._complain("second query", now, self.second_query)
                    if self.second_query != "queue":
                        return
                if message.chain_hash != CHAIN:
                    self._complain("foreign chain", now, self.foreign)
                    return
                if isinstance(message, QueryChannelRange):
                    self._range(message, now)
                else:
                    self._short_channel_ids(message, now)
            case GossipTimestampFilter():
                self.filters.append(message)
                if message.chain_hash != CHAIN:
                    self._complain("foreign filter", now, self.foreign)
                self.filtered(message, now)
            case _:
                pass

    # What it does.

    def _complain(self, words: str, now: float, how: str = "warn") -> None:
        self.complaints.append(words)
        if how == "warn":
            self.say([Warning(data=words.encode()).encode()], now)
        elif how == "close":
            self.say([CLOSE], now)

    def say(self, messages: Iterable[bytes], now: float) -> float:
        """Puts messages on their way, at its rate. Returns when the last of them is there."""
        at = max(now + self.latency, self._busy_until if self._busy_until > now else 0)
        for data in messages:
            at += len(data) / self.rate
            self.later(data, at)
        return at

    def later(self, data: bytes, at: float) -> None:
        heapq.heappush(self._queue, (at, next(self._count), data))

    def listed(self) -> list[int]:
        return sorted(one for one, (_, *two) in self.world.channels.items() if self.lists_all or any(two))

    def stamps(self, scid: int) -> tuple[int, int]:
        parts = self.world.channels.get(scid, (b"", None, None))
        first, second = (0 if one is None else int.from_bytes(one[106:110], "big") for one in parts[1:])
        return first, second

    def checksums(self, scid: int) -> tuple[int, int]:
        from triolight.gossip.graph import update_checksum

        parts = self.world.channels.get(scid, (b"", None, None))
        first, second = (0 if one is None else update_checksum(one) for one in parts[1:])
        return first, second

    def _range(self, query: QueryChannelRange, now: float) -> None:
        end = query.first_blocknum + query.number_of_blocks
        if query.number_of_blocks < 1 or end > LAST:
            self._complain("range overflow", now)
            return
        if query.first_blocknum < self.lowest_block:
            self._complain("range too low", now)
            return
        self._busy_until = self.say(self.range_replies(query), now)

    def range_replies(self, query: QueryChannelRange) -> list[bytes]:
        first, end = query.first_blocknum, query.first_blocknum + query.number_of_blocks
        listed = [one for one in self.listed() if first <= one >> 40 < end]
        chunks = [listed[at : at + self.chunk] for at in range(0, len(listed), self.chunk)] or [[]]
        option = (query.tlvs.query_option or 0) & self.tlvs
        replies: list[ReplyChannelRange] = []
        begin = first
        for number, chunk in enumerate(chunks):
            last = number == len(chunks) - 1
            stop = end if last else max(chunks[number + 1][0] >> 40, begin + 1)
            replies.append(self.reply(begin, stop - begin, chunk, option, complete=last))
            begin = stop
        return [one.encode() for one in self.distort(replies, query)]

    def reply(self, first: int, number: int, ids: list[int], option: int, *, complete: bool) -> ReplyChannelRange:
        sums = [self.checksums(one) for one in ids] if option & 2 else None
        return ReplyChannelRange(
            chain_hash=CHAIN,
            first_blocknum=first,
            number_of_blocks=number,
            sync_complete=int(complete),
            encoded_short_ids=encode_short_ids(ids),
            tlvs=ReplyChannelRangeTlvs(
                timestamps_tlv=encode_timestamps(self.stamps(one) for one in ids) if option & 1 else None,
                checksums_tlv=None
                if sums is None
                else tuple(ChannelUpdateChecksums(checksum_node_id_1=one, checksum_node_id_2=two) for one, two in sums),
            ),
        )

    def distort(self, replies: list[ReplyChannelRange], query: QueryChannelRange) -> list[ReplyChannelRange]:
        return replies

    def _short_channel_ids(self, query: QueryShortChannelIds, now: float) -> None:
        if not self.answers_short_channel_ids:
            return
        ids = decode_short_ids(query.encoded_short_ids)
        if not ids:
            self._complain("empty list", now, "silence")
            return
        if list(ids) != sorted(set(ids)) or not query.encoded_short_ids:
            self._complain("unsorted list", now, "close")
            return
        flags = [31] * len(ids)
        if query.tlvs.query_flags is not None and self.heeds_flags:
            flags = list(decode_query_flags(query.tlvs.query_flags, len(ids)))
        answer = self.answer(dict(zip(map(int, ids), flags, strict=True)))
        end = ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=1).encode()
        self._busy_until = self.give_answer(answer, end, now)

    def give_answer(self, answer: list[bytes], end: bytes, now: float) -> float:
        return self.say([*answer, end], now)

    def answer(self, wanted: dict[int, int]) -> list[bytes]:
        told: list[bytes] = []
        nodes: dict[bytes, bytes] = {}
        for scid, flags in wanted.items():
            parts = self.world.channels.get(scid)
            if parts is None or not (self.lists_all or any(parts[1:])):
                continue
            told += [one for bit, one in zip((1, 2, 4), parts, strict=True) if flags & bit and one is not None]
            mixed: list[bytes] = []
            for bit, node_id in zip((8, 16), self.world.ends[scid], strict=True):
                data = self.world.nodes.get(node_id)
                if flags & bit and data is not None and node_id not in nodes:
                    nodes[node_id] = data
                    mixed.append(data)
            if self.mixes_nodes:
                told += mixed
        if not self.mixes_nodes:
            told += nodes.values()
        if self.shuffles:
            self.rng.shuffle(told)
        return told

    def filtered(self, message: GossipTimestampFilter, now: float) -> None:
        """A filter came: history, if it gives any."""
        if self.history and message.timestamp_range:
            self.dump(message, now)

    def dump(self, message: GossipTimestampFilter, now: float) -> None:
        first, end = message.first_timestamp, message.first_timestamp + message.timestamp_range
        told: list[bytes] = []
        for scid, parts in self.world.channels.items():
            inside = [first <= stamp < end for stamp in self.stamps(scid)]
            if any(inside):
                told.append(parts[0])
                told += [one for one, fits in zip(parts[1:], inside, strict=True) if fits and one is not None]
        told += [one for one in self.world.nodes.values() if first <= gossip_node_stamp(one) < end]
        self.say(told, now)


def gossip_node_stamp(data: bytes) -> int:
    return int.from_bytes(data[68:72], "big")


class Lnd(Persona):
    """P1."""

    features = ("gossip_queries",)
    tlvs = 1
    heeds_flags = False
    mixes_nodes = True
    rate = 50 * 1024
    second_query = "queue"
    foreign = "silence"


class OldLnd(Lnd):
    """P2: each reply is for the whole range, the last one is complete."""

    tlvs = 0

    def distort(self, replies: list[ReplyChannelRange], query: QueryChannelRange) -> list[ReplyChannelRange]:
        whole = {"first_blocknum": query.first_blocknum, "number_of_blocks": query.number_of_blocks}
        return [one.replace(**whole) for one in replies]


class CoreLightning(Persona):
    """P3."""


class OldCoreLightning(Persona):
    """P4: each reply says that it is complete."""

    def distort(self, replies: list[ReplyChannelRange], query: QueryChannelRange) -> list[ReplyChannelRange]:
        return [one.replace(sync_complete=1) for one in replies]


class Eclair(Persona):
    """P5: silent about all that it does not like."""

    per_second = 5
    second_query = "silence"
    foreign = "silence"
    history = False


class Ldk(Persona):
    """P6: lists, tells nothing of what it lists, and heeds one filter."""

    features = ("gossip_queries",)
    tlvs = 0
    lists_all = True
    answers_short_channel_ids = False
    second_query = "queue"

    def filtered(self, message: GossipTimestampFilter, now: float) -> None:
        if len(self.filters) == 1 and message.first_timestamp < NOW - 6 * 3600:
            self.dump(message, now)


class Electrum(Persona):
    """P7: one slot, no flags, any order, nothing below a block."""

    features = ("gossip_queries",)
    tlvs = 0
    heeds_flags = False
    shuffles = True
    lowest_block = FIRST_BLOCK


HONEST: Final[tuple[type[Persona], ...]] = (Lnd, OldLnd, CoreLightning, OldCoreLightning, Eclair, Ldk, Electrum)
SERVING: Final[tuple[type[Persona], ...]] = (Lnd, CoreLightning, Eclair)
"""One of these is enough."""


# Those that mean harm. As Core Lightning, if nothing else is said.


class NeverEnds(Persona):
    """R1."""

    def give_answer(self, answer: list[bytes], end: bytes, now: float) -> float:
        return self.say(answer, now)


class EndsFirst(Persona):
    """R2."""

    def give_answer(self, answer: list[bytes], end: bytes, now: float) -> float:
        return self.say([end, *answer], now)


class HalfMissing(Persona):
    """R3."""

    def answer(self, wanted: dict[int, int]) -> list[bytes]:
        return super().answer({one: flags for one, flags in wanted.items() if one >> 16 & 1})


class EndlessReplies(Persona):
    """R4."""

    def distort(self, replies: list[ReplyChannelRange], query: QueryChannelRange) -> list[ReplyChannelRange]:
        ids = range(1 << 40, (1 << 40) + 20)
        return [self.reply(1, 1, list(ids), 0, complete=False)] * 600


class Zlib(Persona):
    """R5."""

    def distort(self, replies: list[ReplyChannelRange], query: QueryChannelRange) -> list[ReplyChannelRange]:
        return [one.replace(encoded_short_ids=b"\x01" + bytes(40)) for one in replies]


class Gaps(Persona):
    """R6: a gap, an overlap, backwards, outside."""

    def distort(self, replies: list[ReplyChannelRange], query: QueryChannelRange) -> list[ReplyChannelRange]:
        outside = self.reply(0, FIRST_BLOCK - 1, [ShortChannelId.of(1, 1, 1)], 0, complete=False)
        return [outside, *replies[:0:-1], replies[-1].replace(number_of_blocks=1, sync_complete=0)]


class WrongCounts(Persona):
    """R7."""

    def distort(self, replies: list[ReplyChannelRange], query: QueryChannelRange) -> list[ReplyChannelRange]:
        stamps = Timestamps(encoding_type=0, encoded_timestamps=bytes(12))
        return [
            one.replace(tlvs=ReplyChannelRangeTlvs(timestamps_tlv=stamps, checksums_tlv=one.tlvs.checksums_tlv))
            for one in replies
        ]


class Inventor(Persona):
    """R8: lists many channels that are nowhere."""

    chunk = 2000
    invented = 3000

    def listed(self) -> list[int]:
        return sorted([*super().listed(), *(ShortChannelId.of(5000 + one, 1, 0) for one in range(self.invented))])

    def stamps(self, scid: int) -> tuple[int, int]:
        return super().stamps(scid) if scid in self.world.channels else (NOW, NOW)


class Dribbler(Persona):
    """R9: a message each 29 seconds."""

    def give_answer(self, answer: list[bytes], end: bytes, now: float) -> float:
        at = now
        for data in (*answer, end):
            at += 29
            self.later(data, at)
        return at


class Shuffler(Persona):
    """R10."""

    shuffles = True

    def distort(self, replies: list[ReplyChannelRange], query: QueryChannelRange) -> list[ReplyChannelRange]:
        self.rng.shuffle(replies)
        return replies


class Forger(Persona):
    """R11: from its hundredth message on no signature is good."""

    def __init__(self, world: World = WORLD, seed: int = 0, told: int = 0) -> None:
        super().__init__(world, seed)
        self.told = told

    def answer(self, wanted: dict[int, int]) -> list[bytes]:
        given: list[bytes] = []
        for data in super().answer(wanted):
            self.told += 1
            given.append(data if self.told < 100 else data[:20] + bytes((data[20] ^ 1,)) + data[21:])
        return given


class FromTheFuture(Persona):
    """R12: whatever it lists is newer than anybody's."""

    def stamps(self, scid: int) -> tuple[int, int]:
        self.rising = getattr(self, "rising", NOW + 23 * 3600) + 1
        return self.rising, self.rising


class Repeater(Persona):
    """R13: the same update each second."""

    def connected(self, now: float) -> None:
        data = next(iter(self.world.channels.values()))[1]
        for second in range(120):
            self.later(data or b"", now + second)


class Flipper(Persona):
    """R14: a thousand filters a second."""

    def connected(self, now: float) -> None:
        for one in range(2000):
            stop = LAST * (one % 2)
            message = GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=stop)
            self.later(message.encode(), now + one / 1000)


class ReadsNothing(Persona):
    """R15."""

    reads = False

    def receive(self, message: Message, now: float) -> None:
        return


class Leaver(Persona):
    """R16: goes in each state, and comes back."""

    stage = 0

    def receive(self, message: Message, now: float) -> None:
        self.stage += 1
        if self.stage % 2:
            self.say([CLOSE], now)
            return
        super().receive(message, now)

    def give_answer(self, answer: list[bytes], end: bytes, now: float) -> float:
        return self.say([*answer[: len(answer) // 2], CLOSE], now)


class OtherChain(Persona):
    """R17."""

    networks = (BITCOIN.chain_hash,)

    def receive(self, message: Message, now: float) -> None:
        if isinstance(message, QueryChannelRange):
            reply = self.reply(message.first_blocknum, message.number_of_blocks, [], 0, complete=False)
            self.say([reply.replace(chain_hash=BITCOIN.chain_hash).encode()], now)


class Spent(Persona):
    """R18: channels that are well signed and whose outputs are spent. The rules of a bench refuse them."""

    def __init__(self, world: World = WORLD, seed: int = 0) -> None:
        super().__init__(make_world(60, first_tx=1000), seed)


class Equivocator(Persona):
    """R19: the same seconds as the others', and other words."""

    def __init__(self, world: World = WORLD, seed: int = 0) -> None:
        changed = dict(world.channels)
        for scid in list(changed)[::5]:
            announcement, first, second = changed[scid]
            signer = gossip.IDS.index(world.ends[scid][0])
            stamp = int.from_bytes((first or b"")[106:110], "big")
            other = gossip.update(scid, 0, stamp, signer=signer, fee_base_msat=7)
            changed[scid] = announcement, other, second
        super().__init__(World(changed, world.nodes, world.ends), seed)


ROGUES: Final[tuple[type[Persona], ...]] = (
    NeverEnds,
    EndsFirst,
    HalfMissing,
    EndlessReplies,
    Zlib,
    Gaps,
    WrongCounts,
    Inventor,
    Dribbler,
    Shuffler,
    Forger,
    FromTheFuture,
    Repeater,
    Flipper,
    ReadsNothing,
    Leaver,
    OtherChain,
    Spent,
    Equivocator,
)


class WithoutSpent(GossipRules):
    """The rules, as if a chain had said that these channels are spent."""

    def take(self, data: bytes, source: bytes | None, now: float, *, asked: bool = False) -> Verdict:
        if data[:2] == b"\x01\x00":
            scid = BOLT.decode(data).short_channel_id  # type: ignore[union-attr]
            if scid >> 16 & 0xFFFFFF >= 1000:
                return self.verdicts.count(Verdict.SPENT)
        return super().take(data, source, now, asked=asked)

    def _verify(self, signature: bytes, digest: bytes, key: bytes) -> bool:
        self.verifications += 1
        return _verified(signature, digest, key)


@lru_cache(maxsize=65536)
def _verified(signature: bytes, digest: bytes, key: bytes) -> bool:
    """Many benches take the same messages."""
    return verify(signature, digest, key)


class Bench:
    """A fetch from personas in virtual time, without Trio: what comes goes to the rules, and then to the fetch.

    Holds the fetch to what must hold after each step, on the way.
    """

    def __init__(self, *personas: Persona, policy: SyncPolicy | None = None, graph: NetworkGraph | None = None) -> None:
        self.personas = personas
        self.now = 1000.0
        self.graph = NetworkGraph(CHAIN) if graph is None else graph
        # Hardly anything waits there for its channel: it is the fetch's to keep it.
        self.rules: GossipRules = WithoutSpent(
            self.graph, policy=GossipPolicy(waiting=WaitingPolicy(orphans=1, orphans_of_peer=1))
        )
        self.policy = SyncPolicy(first_block=FIRST_BLOCK) if policy is None else policy
        self.fetching = Fetching(self.graph, self.policy, now=self.now, unix=NOW, offer=self.offer)
        self.ids = dict(zip(personas, gossip.PEERS, strict=False))
        self.sources: dict[Persona, Source | None] = {}
        self.comes_back: list[tuple[float, Persona]] = []
        self.steps = 0
        self.sent = 0
        self.offered = 0
        """Messages that came before their channel, and were looked at again in this step."""
        self.progress: Progress = self.fetching.progress
        self._asked: dict[Source, set[int]] = {}
        for one in personas:
            self.join(one)

    def join(self, persona: Persona) -> None:
        self.sources[persona] = self.fetching.join(self.ids[persona], self.now)
        persona.connected(self.now)

    def offer(self, node_id: bytes, data: bytes) -> None:
        self.offered += 1
        self.rules.take(data, node_id, self.unix(), asked=True)

    def unix(self) -> int:
        return int(NOW + self.now - 1000)

    def run(self) -> Fetching:
        fetching = self.fetching
        self.tick()
        while not fetching.done:
            self.steps += 1
            assert self.steps < 1_000_000
            soonest = min((one.next_at for one in self.personas), default=math.inf)
            soonest = min(soonest, fetching.look_again, *(at for at, _ in self.comes_back), math.inf)
            assert soonest < math.inf, "nothing would ever end it"
            self.now = max(self.now, soonest)
            for at, persona in list(self.comes_back):
                if at <= self.now:
                    self.comes_back.remove((at, persona))
                    self.join(persona)
            for persona in self.personas:
                for data in persona.due(self.now):
                    self.hear(persona, data)
            self.tick()
        return fetching

    def hear(self, persona: Persona, data: bytes) -> None:
        source = self.sources[persona]
        if persona.closed or source is None:
            return
        if data == CLOSE:
            persona.closed = True
            self.fetching.leave(source, self.now)
            self.sources[persona] = None
            persona.reconnect()
            self.comes_back.append((self.now + 1, persona))
            return
        if data[:2] in (b"\x01\x00", b"\x01\x01", b"\x01\x02"):
            self.rules.take(data, source.node_id, self.unix(), asked=True)
        message: Any = BOLT.decode(data)
        if isinstance(message, Warning | GossipTimestampFilter):
            return
        self.fetching.take(source, message, self.now)

    def tick(self) -> None:
        self.offered = 0
        queries = self.fetching.tick(self.now)
        assert self.offered <= machine.OFFERED_AT_ONCE * len(self.fetching.sources)
        for source, query in queries:
            self.sent += 1
            assert len(query.encode()) <= 65535
            persona = next(one for one, other in self.sources.items() if other is source)
            if isinstance(query, QueryShortChannelIds):
                ids = {int(one) for one in decode_short_ids(query.encoded_short_ids)}
                assert ids
                if not self.fetching.telling_nodes:
                    assert not ids & self._asked.setdefault(source, set()), "asked twice"
                    self._asked[source] |= ids
            persona.receive(query, self.now)
        self.check()

    def check(self) -> None:
        fetching, before = self.fetching, self.progress
        after = self.progress = fetching.progress
        for name in ("known", "asked", "got", "absent", "listed", "peers"):
            assert getattr(after, name) >= getattr(before, name), name
        if fetching.done:
            assert after.got + after.absent == after.known
        for source in fetching.sources:
            assert source.parked.size <= self.policy.parked_bytes
            assert len(source.claims) <= self.policy.asking.short_channel_ids
