"""Messages of a few channels, true and broken, in any order and at any time: the graph beside an obvious model of it.

    python -m fuzz.graph -max_total_time=600 -max_len=512 fuzz/corpus/graph

The input is a byte of settings and then steps. A finding is any exception, another verdict than the model's, another
graph, an update or a node that is kept and not signed, a change that does not fit the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.support.gossip import FUNDING, IDS, NOW, PEERS, SCRIPT, Chain, channel, node, scid, update
from tests.support.gossip_model import DAY, FORTNIGHT, HOUR, TEN_MINUTES, WEEK, GossipModel, Shown
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import (
    ChannelAdded,
    ChannelRemoved,
    Failed,
    Found,
    GossipRules,
    Missing,
    NetworkGraph,
    Spent,
    UtxoResult,
)
from triolight.gossip.utxo import funding_script

STEPS: Final = 60
"""Steps of one input; fewer than what one peer may leave behind of what nobody has announced."""
PLACES: Final = tuple(scid(number) for number in range(3))
ENDS: Final = ((0, 1), (1, 2), (0, 2), (3, 4))
LATER: Final = (1, 2, TEN_MINUTES, TEN_MINUTES + 1, HOUR, HOUR + 1, DAY, DAY + 1, WEEK, WEEK + 1, FORTNIGHT + 1)
STAMPS: Final = (0, 0, 0, 1, 2, 3, -1, -DAY, DAY, DAY + 1, -FORTNIGHT, -FORTNIGHT - 1, -NOW)
OTHERS_SCRIPT: Final = funding_script(FUNDING[2].public_key, FUNDING[3].public_key)
ANSWERS: Final[tuple[UtxoResult, ...]] = (
    Found(SCRIPT, 10**6, 100),
    Found(OTHERS_SCRIPT, 10**6, 100),
    Missing(),
    Spent(),
    Failed(),
)


class Finding(Exception):
    """What must not be."""


class Run:
    """One input, from its first byte to its last."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        settings = self.byte()
        chain = Chain() if settings & 1 else None
        self.outputs = None if chain is None else chain.outputs
        if self.outputs is not None:
            self.outputs.update(dict.fromkeys(PLACES, ANSWERS[0]))
        self.rules = GossipRules(NetworkGraph(REGTEST), chain)
        self.model = GossipModel(self.outputs)
        self.now, self.said = float(NOW), [channel(PLACES[0])]
        self.told: set[int] = set()
        self.judged = Counter[str]()
        if settings & 2:
            self.give(self.said[0])

    def byte(self, stop: int = 256) -> int:
        self.at += 1
        return self.data[self.at - 1] % stop if self.at <= len(self.data) else 0

    def run(self) -> None:
        for _ in range(STEPS):
            if self.at >= len(self.data):
                break
            kinds: tuple[Callable[[], bytes | None], ...] = (
                self.channel,
                self.update,
                self.update,
                self.node,
                self.again,
                self.later,
                self.prune,
                self.answer,
            )
            data = kinds[self.byte(len(kinds))]()
            if data is not None:
                self.give(self.broken(data))
            self.compare()

    # What is said.

    def channel(self) -> bytes:
        first, second = ENDS[self.byte(len(ENDS))]
        if self.byte(16) == 1:
            first, second = second, first
        changes: dict[str, object] = {}
        match self.byte(16):
            case 1:
                changes["extension"] = bytes(2000)
            case 2:
                changes["chain_hash"] = BITCOIN.chain_hash
            case 3:
                changes["features"] = b"\1"
            case _:
                pass
        place = 1 << 63 if self.byte(32) == 1 else PLACES[self.byte(3)]
        funding = ((0, 1), (0, 1), (0, 1), (2, 3), (2, 3), (0, 0))[self.byte(6)]
        return channel(place, first, second, funding, **changes)

    def update(self) -> bytes:
        number, side = self.byte(3), self.byte(2)
        signer = self.byte(12)
        changes: dict[str, object] = {"message_flags": (1, 1, 1, 3)[self.byte(4)], "fee_base_msat": self.byte(2)}
        if self.byte(32) == 1:
            changes["extension"] = bytes(2000)
        signed_by = ENDS[number][side] if signer > 4 else signer
        return update(PLACES[number], side, self.stamp(), signer=signed_by, **changes)

    def node(self) -> bytes:
        number = self.byte(5)
        changes: dict[str, object] = {"alias": bytes((self.byte(2),)) * 32}
        match self.byte(16):
            case 1:
                changes["addresses"] = bytes.fromhex("0101")
            case 2:
                changes["addresses"] = bytes.fromhex("017f000001270f")
            case 3:
                changes["extension"] = bytes(2000)
            case _:
                pass
        return node(number, self.stamp(), **changes)

    def stamp(self) -> int:
        return max(0, int(self.now) + STAMPS[self.byte(len(STAMPS))])

    def again(self) -> bytes:
        return self.said[self.byte(len(self.said))]

    def broken(self, data: bytes) -> bytes:
        match self.byte(16):
            case 1:
                at = 2 + (self.byte() << 8 | self.byte()) % max(1, len(data) - 2)
                if at >= len(data):
                    return data
                return data[:at] + bytes((data[at] ^ 1 << self.byte(8),)) + data[at + 1 :]
            case 2:
                return data[: 2 + (self.byte() << 8 | self.byte()) % (len(data) - 1)]
            case 3:
                return data + bytes(self.byte())
            case _:
                return data

    # What happens.

    def give(self, data: bytes) -> None:
        # Channels' own ends speak for themselves as well: what they sign is theirs to tell.
        who = (*PEERS[:4], IDS[0], IDS[1])[self.byte(6)]
        found, wanted = self.rules.take(data, who, self.now), self.model.take(data, who, self.now)
        if found != wanted:
            raise Finding(f"{found} where the model says {wanted}")
        self.judged[wanted] += 1
        self.judged.update(self.model.later)
        self.model.later.clear()
        if len(self.said) < 256:
            self.said.append(data)

    def later(self) -> None:
        self.now += LATER[self.byte(len(LATER))]
        self.rules.tick(self.now)

    def prune(self) -> None:
        if not self.rules.prune(self.now):
            raise Finding("three channels are too many for one look")
        self.model.prune(self.now)

    def answer(self) -> None:
        place, answer = PLACES[self.byte(3)], ANSWERS[self.byte(len(ANSWERS))]
        if self.outputs is not None:
            self.outputs[place] = answer

    def compare(self) -> None:
        graph = self.rules.graph
        if shown(graph) != self.model.shown():
            raise Finding("another graph than the model's")
        if {verdict.value: times for verdict, times in self.rules.verdicts.items() if times} != self.judged:
            raise Finding("verdicts are counted otherwise")
        if [int(one.short_channel_id) for one in graph.ascending()] != sorted(graph.channels):
            raise Finding("channels out of order")
        for change in self.rules.drain():
            if isinstance(change, ChannelAdded):
                if change.channel.short_channel_id in self.told:
                    raise Finding("a channel is added twice")
                self.told.add(change.channel.short_channel_id)
            elif isinstance(change, ChannelRemoved):
                self.told.remove(change.channel.short_channel_id)
        if self.told != {*graph.channels}:
            raise Finding("what was told makes another graph")
        if graph.unproven != sum(not one.proven for one in graph.channels.values()):
            raise Finding("unproven channels are counted otherwise")


def shown(graph: NetworkGraph) -> Shown:
    """What a graph holds, as the model shows it."""
    channels: dict[int, tuple[bytes, bytes | None, bytes | None]] = {}
    for one, found in graph.channels.items():
        channels[one] = found.announcement_bytes, *graph.channel_updates(one)
    return channels, {one: found.announcement_bytes for one, found in graph.nodes.items()}


def one_input(data: bytes) -> None:
    """Runs one input. Raises for a finding."""
    Run(data).run()


if __name__ == "__main__":
    from fuzz.engine import fuzz

    fuzz(one_input)
