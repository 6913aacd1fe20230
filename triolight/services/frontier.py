"""Whom a crawl may dial, and when: nobody twice, nobody too soon, nobody that it was not led to. Pure; knows no Trio.

* Dialled are nodes that were named, and addresses that a node has announced, signed with its key.
* One dial a node at a time; one a public host in so many seconds; and each address once.
* What is private is dialled only if it was named, or if the policy says so; so are names, which may lead there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from triolight.address import NodeAddress, descriptor_of, is_ip, is_onion, is_reachable

__all__ = ["CrawlPolicy"]

HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlPolicy:
    """How polite a crawl is. ValueError for a number that is not positive."""

    rate: float = 10.0
    """Dials a second: all of mainnet's reachable nodes in half an hour, and no burst that a network would notice."""
    at_once: int = 32
    """Dials and visits at a time: as one ends another one begins, so whoever is slow holds up nobody but himself. It
    also bounds the reports that nobody has taken: while so many wait, nobody is dialled."""
    host_seconds: float = 10.0
    """From one dial of a public host to the next one: many nodes may live behind one address."""
    visit_seconds: float = 30.0
    """For a dial, Inits, a ping and all questions together: whoever is slower is left. A place at a node is somebody
    else's place."""
    again_seconds: float = 24 * HOUR
    """Until a node that was reached is dialled again, by a crawl that resumes. Hardly anything is new before."""
    retry_seconds: float = HOUR
    """The same of one that was not: twice as long after each further failure. One that is full, or restarts, is soon
    there again; one that is gone is asked less and less."""
    longest_retry: float = 7 * 24 * HOUR
    """But each week once: nodes do come back."""
    max_nodes: int = 50_000
    """Nodes that are dialled; heard of are ten times as many at the most."""
    max_channels: int = 300_000
    """That are asked about."""
    channels_at_once: int = 500
    """Asked of one node, so that no node tells the whole graph: what it sends is then at most half a megabyte."""
    ask_graph: bool = True
    """Whether nodes are asked for channels, and for what others have announced; else only those that are named are
    visited."""
    allow_private: bool = False
    """Whether announced addresses may be private, loopback's, or names."""
    onions: bool = False
    """Whether announced onions may be dialled: through a proxy alone."""
    exclude: frozenset[bytes] = frozenset()
    """Node ids that are not dialled, whoever names them: of operators who have asked for that."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
                raise ValueError(f"{name} is above 0, not {value}")


@dataclass(slots=True)
class _Node:
    addresses: deque[NodeAddress] = field(default_factory=deque[NodeAddress])
    """Not tried yet."""
    known: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    named: bool = False
    visiting: bool = False
    done: bool = False
    """Reached, or not to be dialled in this crawl."""


def may_be_dialled(address: NodeAddress, *, private: bool, onions: bool) -> bool:
    """Whether an address that a node has announced is one to dial: who announces a private one, or a name that leads
    to one, would else make us knock in our own house; and an onion is nothing that DNS should hear of."""
    if is_onion(address.host):
        return onions
    return private or (is_ip(address.host) and is_reachable(descriptor_of(address.host, address.port)))


class Frontier:
    """Nodes that are known, and what is left to be done with each."""

    def __init__(self, policy: CrawlPolicy) -> None:
        self._policy: Final = policy
        self._nodes: dict[bytes, _Node] = {}
        self._waiting: deque[bytes] = deque()
        """Nodes that have an address which was not tried, in the order in which they are dialled."""
        self._hosts: dict[str, float] = {}
        """When a host was dialled last."""
        self._heard: set[bytes] = set()
        self.dialled = 0
        """Nodes, each once."""
        self._channels: dict[int, None] = {}
        """That nobody was asked about."""
        self._asked: set[int] = set()

    @property
    def found(self) -> int:
        """Nodes that were heard of, named ones too."""
        return len(self._heard)

    def hear(self, node_id: bytes) -> None:
        """There is such a node."""
        if len(self._heard) < 10 * self._policy.max_nodes:
            self._heard.add(node_id)

    def skip(self, node_id: bytes) -> None:
        """It was dialled not long ago: it is not again, unless it was named."""
        self.hear(node_id)
        node = self._nodes.setdefault(node_id, _Node())
        node.done = not node.named

    def add(self, addresses: Iterable[NodeAddress], *, named: bool = False) -> None:
        """Addresses of nodes. What may not be dialled is left out; named ones may, whenever they were dialled last."""
        for address in addresses:
            self.hear(address.node_id)
            if address.node_id in self._policy.exclude:
                continue
            if not named and not may_be_dialled(
                address, private=self._policy.allow_private, onions=self._policy.onions
            ):
                continue
            node = self._nodes.get(address.node_id)
            if node is None:
                if len(self._nodes) >= 10 * self._policy.max_nodes:
                    continue
                node = self._nodes[address.node_id] = _Node()
            node.named = node.named or named
            place = (address.host, address.port)
            if place in node.known or node.done:
                continue
            node.known.add(place)
            node.addresses.append(address)
            if len(node.addresses) == 1 and not node.visiting:
                self._waiting.append(address.node_id)

    def next(self, now: float) -> NodeAddress | float | None:
        """Whom to dial now; or when somebody may be dialled; None: nobody is left."""
        soonest: float | None = None
        for _ in range(len(self._waiting)):
            node_id = self._waiting.popleft()
            node = self._nodes[node_id]
            if node.done or not node.addresses:
                continue
            if not node.known - {(one.host, one.port) for one in node.addresses}:
                # Its first dial.
                if self.dialled >= self._policy.max_nodes:
                    continue
                first = True
            else:
                first = False
            host, port = node.addresses[0].host, node.addresses[0].port
            # A host of one's own minds less who knocks at all of its doors.
            if not is_ip(host) or is_reachable(descriptor_of(host, port)):
                due = self._hosts.get(host, -self._policy.host_seconds) + self._policy.host_seconds
                if due > now:
                    self._waiting.append(node_id)
                    soonest = due if soonest is None else min(due, soonest)
                    continue
                self._hosts[host] = now
            self.dialled += first
            node.visiting = True
            return node.addresses.popleft()
        return soonest

    def visited(self, node_id: bytes, *, reached: bool) -> bool:
        """What came of a dial. True: nothing more is to be done with this node."""
        node = self._nodes[node_id]
        node.visiting = False
        node.done = node.done or reached
        if not node.done and node.addresses:
            self._waiting.append(node_id)
            return False
        node.done = True
        return True

    # What to ask nodes for.

    def list_channels(self, channels: Iterable[int]) -> None:
        """A node knows these."""
        for channel in channels:
            if len(self._channels) + len(self._asked) >= self._policy.max_channels:
                return
            if channel not in self._asked:
                self._channels[channel] = None

    def take_channels(self, known: Iterable[int]) -> list[int]:
        """Some of those that a node knows, and that nobody was asked about."""
        taken: list[int] = []
        for channel in known:
            if channel in self._channels:
                del self._channels[channel]
                self._asked.add(channel)
                taken.append(channel)
                if len(taken) == self._policy.channels_at_once:
                    break
        return taken

    def give_back(self, channels: Iterable[int]) -> None:
        """Their node has not answered: another one may."""
        for channel in channels:
            self._asked.discard(channel)
            self._channels[channel] = None
