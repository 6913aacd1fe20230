"""Claims: the nodes that are one life's of a front or a worker. Whoever comes waits, unread, for the engine's word.

A claim is asked for when a newcomer's Init fits, and given up when no connection with its node is left here, nor on its
way. Who has lost its node waits for a moment and asks once more: the other side may have chosen otherwise. What the
engine may have and nobody here wants is given up too. It starts no task: whoever has it runs `decide`, or `admit`, for
each newcomer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from triolight import reasons
from triolight.cluster.bus import Bus, EngineAway
from triolight.cluster.lanes import AGAIN_SECONDS
from triolight.cluster.records import Displaced
from triolight.cluster.rules import PARKED_SECONDS, Answer
from triolight.errors import DisconnectReason
from triolight.shell.newcomers import Newcomer
from triolight.shell.peer import Peer
from triolight.shell.peers import PeerNursery

AT_ONCE: Final = 16
"""Nodes about which the engine is asked, or told, at a time."""


class Claims:
    """Of one life, by its name and token. `doubtful`: whether nobody is to be taken in at the moment."""

    def __init__(
        self,
        peers: PeerNursery,
        bus: Bus,
        name: str,
        token: bytes,
        doubtful: Callable[[], bool],
    ) -> None:
        self._peers: Final = peers
        self._bus: Final = bus
        self._name: Final = name
        self._token: Final = token
        self._doubtful: Final = doubtful
        self._held: Final[dict[bytes, int]] = {}
        """The number of each node's claim."""
        self._asks: Final[dict[int, bytes]] = {}
        """Claims that are asked for: no more than AT_ONCE."""
        self._unsettled: Final[dict[bytes, int]] = {}
        """How many of a node's newcomers have its claim, and are not peers yet."""
        self._undecided: Final[set[Newcomer]] = set()
        """Who waits for the engine's word: not more than may wait at all."""
        self._last = 0
        self._engine: Final = trio.CapacityLimiter(AT_ONCE)

    def has(self, node_id: bytes) -> bool:
        return node_id in self._held

    async def admit(self, newcomer: Newcomer) -> None:
        """Decides about one, and stays until its connection has ended."""
        if not await self.decide(newcomer):
            return
        while (peer := self._peers.peers.get(newcomer.node_id)) is not None:
            if not self.has(newcomer.node_id):  # lost on its way
                await peer.disconnect(reasons.duplicate())
            await peer.wait_closed()
            await trio.lowlevel.checkpoint()
        await self.let_go(newcomer.node_id)

    async def decide(self, newcomer: Newcomer) -> bool:
        """Asks whether its node is ours, and tells it; returns once it is a peer, or has ended. If whoever decides is
        cancelled, `over` tells it."""
        self._undecided.add(newcomer)
        ours = await self.ask(newcomer)
        if not newcomer.gone:
            await newcomer.decide(None if ours else reasons.duplicate())
        self._undecided.discard(newcomer)
        if ours:
            await newcomer.wait_settled()
            await self.settled(newcomer)
        return ours

    async def over(self, reason: DisconnectReason) -> None:
        """This life is over, and nobody decides any more: whoever waits for that hears why."""
        while self._undecided:
            await self._undecided.pop().decide(reason)

    async def ask(self, newcomer: Newcomer) -> bool:
        """Whether its node is ours. If it is, `settled` is to be called once the newcomer is a peer, or has ended."""
        if await self._ask(newcomer, waited=False):
            return True
        if newcomer.gone:
            return False
        await trio.sleep(PARKED_SECONDS)
        return await self._ask(newcomer, waited=True)

    async def take_back(self, peer: Peer) -> bool:
        """Whether the node of one who was displaced, and has waited, is ours again: nobody else has it any more."""
        if not await self._ask(peer, waited=True):
            return False
        await self.settled(peer)
        return self.has(peer.node_id)

    async def _ask(self, newcomer: Newcomer | Peer, waited: bool) -> bool:
        """False: it has gone, or another one has the node, perhaps by now."""
        node_id = newcomer.node_id
        answer, unsure = None, False
        async with self._engine:
            self._last += 1
            number = self._last
            self._asks[number] = node_id
            while answer is None and number in self._asks and not _gone(newcomer):
                try:
                    if not self._doubtful():
                        answer = await self._claim(newcomer, number, waited)
                        continue
                except EngineAway:
                    pass
                unsure = True  # perhaps it was done all the same
                await trio.sleep(AGAIN_SECONDS)
            # Or else the word that another one has it has come before the engine's answer.
            counts = self._asks.pop(number, None) is not None
        if counts and answer not in (None, Answer.WAIT):
            self._held[node_id] = max(number, self._held.get(node_id, 0))
            self._unsettled[node_id] = self._unsettled.get(node_id, 0) + 1
            return True
        if (not counts or (answer is None and unsure)) and node_id not in self._held:
            await self._give_up(node_id)
        return False

    async def _claim(self, newcomer: Newcomer | Peer, number: int, waited: bool) -> Answer:
        ours = self._peers.manager.our_node_id
        inbound = newcomer.inbound
        return await self._bus.claim(self._name, self._token, ours, newcomer.node_id, number, inbound, waited)

    async def settled(self, newcomer: Newcomer | Peer) -> None:
        """It has become a peer, or has ended."""
        left = self._unsettled.pop(newcomer.node_id) - 1
        if left:
            self._unsettled[newcomer.node_id] = left
        await self.let_go(newcomer.node_id)

    async def let_go(self, node_id: bytes) -> None:
        """Gives up the claim of a node, if no connection with it is here or on its way."""
        if node_id in self._held and node_id not in self._unsettled and node_id not in self._peers.peers:
            del self._held[node_id]
            await self._give_up(node_id)

    async def _give_up(self, node_id: bytes) -> None:
        """All claims of a node that have come before those that are asked for now."""
        first = min((number for number, asked in self._asks.items() if asked == node_id), default=self._last + 1)
        async with self._engine:
            while True:
                try:
                    return await self._bus.release(self._name, self._token, node_id, first - 1)
                except EngineAway:
                    await trio.sleep(AGAIN_SECONDS)

    def displaced(self, what: Displaced) -> Peer | None:
        """Another one has the node from now on, unless it has come back here since. Who is to be told."""
        for number, node_id in [*self._asks.items()]:
            if node_id == what.node_id and number <= what.number:
                del self._asks[number]
        held = self._held.get(what.node_id)
        if held is None or held > what.number:
            return None
        del self._held[what.node_id]
        return self._peers.peers.get(what.node_id)


def _gone(newcomer: Newcomer | Peer) -> bool:
    return newcomer.reason is not None if isinstance(newcomer, Peer) else newcomer.gone
