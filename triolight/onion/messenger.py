"""OnionMessenger: opens onion messages, passes them on, gives what is for us to whoever waits for it, and sends.

An onion handler without I/O: time and random bytes are inputs, so the same calls give the same bytes. What cannot go on
is dropped, and only a counter and the log say why: nobody outside ever hears of it, and nobody is ended for it. Nothing
is kept for a peer that is not connected.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from triolight.actions import HandlerResult, IgnoreError, SendMessages
from triolight.errors import TriolightError
from triolight.features import Features
from triolight.handlers import OnionMessageHandler
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, EncryptedDataTlv, Init, OnionMessage, OnionmsgTlv
from triolight.onion.blinded import blind_route, join, next_path_key, unseal
from triolight.onion.drops import Drop, OnionDropped
from triolight.onion.layers import Delivery, open_message, seal
from triolight.onion.limits import OnionLimits, Rates
from triolight.wire import ShortChannelId, TlvRecord

__all__ = ["NoRoute", "OnionGraph", "OnionMessenger", "OnionRequest", "OnionStatistics", "ReceivedOnion"]

UNITS_OF_LAYER: Final = 36
"""What opening one costs, in messages of the pump's turn: 0.3 ms."""
OVERHEAD: Final = 39
"""Bytes of an onion_message besides its packet: type, path key, length."""
_FEATURE: Final = "option_onion_messages"
_OFFERED: Final = Features.named(_FEATURE)
_BY_CHANNEL: Final = 9
"""Bytes of a first_node_id that is a direction and a channel."""


class NoRoute(TriolightError):
    """There is no way to whom a message is for. Its text says what was tried; `unreached` are the nodes that a
    connection with would have helped."""

    def __init__(self, words: str, unreached: tuple[bytes, ...] = ()) -> None:
        super().__init__(words)
        self.unreached: Final = unreached

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.unreached)


class OnionGraph(Protocol):
    """What is known of the network: a gossip store can say it."""

    def resolve(self, short_channel_id: ShortChannelId, direction: int) -> bytes | None:
        """The node at one end of a channel, 0 or 1; None if the channel is not known."""
        ...

    def route(self, node_id: bytes, peers: Iterable[bytes]) -> Sequence[bytes] | None:
        """Nodes that take onion messages, from one of these peers to this node, both included; None if there is no
        way."""
        ...


class ReceivedOnion:
    """A message for us that is no answer to one of ours."""

    __slots__ = ("answered", "content", "path_id", "payload", "sender")

    def __init__(self, delivery: Delivery, sender: bytes) -> None:
        self.payload: Final[OnionmsgTlv] = delivery.payload
        """What it says."""
        self.content: Final[TlvRecord | None] = delivery.content
        """What it is about, as its record."""
        self.path_id: Final[bytes | None] = delivery.data.path_id
        """What whoever made the path wrote into it for us. Ourselves, if it is what we wrote."""
        self.sender: Final = sender
        """The peer that it came from, who has most likely only passed it on."""
        self.answered = False
        """Whether it has been answered, which it can be once."""

    @property
    def reply_path(self) -> BlindedPath | None:
        """The way to whoever wrote it, who does not say who that is."""
        return self.payload.reply_path

    def __repr__(self) -> str:
        return f"<ReceivedOnion {self.payload!r}>"


class OnionRequest:
    """A message of ours whose answer is waited for, until it has come or is forgotten."""

    __slots__ = ("on_answer", "path_id", "peer", "sent_to")

    def __init__(self, path_id: bytes, peer: bytes, sent_to: bytes, on_answer: Callable[[ReceivedOnion], None]) -> None:
        self.path_id: Final = path_id
        """What its reply path tells us at its end, and nobody else knows."""
        self.sent_to: Final = sent_to
        """The last blinded id of the path that it took."""
        self.peer: Final = peer
        """Whom it went to first, and whom its answer comes from."""
        self.on_answer: Final = on_answer


@dataclass(frozen=True, slots=True)
class OnionStatistics:
    """What has become of onion messages so far."""

    received: int
    """By peers, all of them."""
    forwarded: int
    """To the next node."""
    delivered: int
    """For us, and nobody had asked for it."""
    answers: int
    """For us, as we had asked."""
    sent: int
    """Our own."""
    dropped: Mapping[Drop, int]
    """And why."""


class _Way(NamedTuple):
    """How a message goes."""

    path: BlindedPath
    peer: bytes
    """That the path begins at."""
    back: tuple[bytes, ...]
    """Nodes from which an answer can come to that peer, over the others of them."""


class OnionMessenger(OnionMessageHandler):
    """Opens, passes on, delivers and sends.

    Args:
      node_secret: the node's, of 32 bytes.
      random_data: 32 bytes of fresh system randomness for each messenger and each start; the same bytes again repeat
        keys.
      forward: whether what is for others is passed on.
      graph: what is known of the network. Without one a message goes to a peer, or over peers that are named.
      limits: the numbers.
      clock: seconds, monotonic.
    """

    def __init__(
        self,
        node_secret: bytes,
        random_data: bytes,
        *,
        forward: bool = True,
        graph: OnionGraph | None = None,
        limits: OnionLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        if len(random_data) != 32 or random_data in (bytes(32), node_secret):
            raise ValueError("random_data is 32 bytes of fresh randomness, neither zero nor the node secret")
        self._key: Final = SecretKey(node_secret)
        self._random_data: Final = random_data
        self._used = 0
        self._forward: Final = forward
        self._graph: Final = graph
        self._clock: Final = clock
        self.limits: Final = limits or OnionLimits()
        self._rates: Final = Rates(self.limits, clock())
        self._peers: Final[dict[bytes, bool]] = {}
        """Who is connected, and whether it takes onion messages."""
        self._requests: Final[dict[bytes, OnionRequest]] = {}
        self.on_message: Callable[[ReceivedOnion], bool] | None = None
        """Hears of each message for us that is no answer; False: there is no room for it."""
        self._counts: Final[Counter[str]] = Counter()
        self._dropped: Final[Counter[Drop]] = Counter()

    def __repr__(self) -> str:
        return f"<OnionMessenger {self.node_id.hex()[:16]}, {len(self._requests)} requests>"

    @property
    def node_id(self) -> bytes:
        """Ours."""
        return self._key.public_key

    def statistics(self) -> OnionStatistics:
        """What has become of all messages so far."""
        count = self._counts
        return OnionStatistics(
            count["received"],
            count["forwarded"],
            count["delivered"],
            count["answers"],
            count["sent"],
            MappingProxyType(dict(self._dropped)),
        )

    # What the manager asks.

    def provided_init_features(self, node_id: bytes) -> Features:
        return _OFFERED

    def provided_node_features(self) -> Features:
        return _OFFERED

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        features = Features.from_bytes(init.features) | Features.from_bytes(init.globalfeatures)
        self._peers[node_id] = features.offers(_FEATURE)
        self._rates.came(node_id, self._clock())

    def peer_disconnected(self, node_id: bytes) -> None:
        self._peers.pop(node_id, None)
        self._rates.left(node_id, self._clock())

    def handle_onion_message(self, node_id: bytes, message: OnionMessage) -> HandlerResult:
        self._counts["received"] += 1
        size = OVERHEAD + len(message.onion_message_packet) + len(message.extension)
        drop = self._rates.refuse(node_id, size, self._clock())
        if drop is None:
            try:
                self._take(node_id, message)
                return None
            except OnionDropped as dropped:
                drop = dropped.drop
        self._dropped[drop] += 1
        return IgnoreError(f"an onion message is dropped: {drop.value}")

    # Ours.

    def offers(self, node_id: bytes) -> bool:
        """Whether this node is connected and takes onion messages."""
        return self._peers.get(node_id, False)

    def send(
        self,
        to: bytes | BlindedPath | Iterable[BlindedPath],
        content: Iterable[tuple[int, bytes]],
        *,
        via: Sequence[bytes] = (),
        reply_path: BlindedPath | None = None,
    ) -> None:
        """Sends records to a node, by its id, or along a path; of several paths the first that can be reached.

        `via`: nodes that the message goes over, the first of them a peer. NoRoute if there is no way; ValueError for
        records that do not fit.
        """
        self._send(self._way(to, via), content, reply_path)

    def request(
        self,
        to: bytes | BlindedPath | Iterable[BlindedPath],
        content: Iterable[tuple[int, bytes]],
        on_answer: Callable[[ReceivedOnion], None],
        *,
        via: Sequence[bytes] = (),
        other_than: OnionRequest | None = None,
    ) -> OnionRequest:
        """Sends records as `send` does, with a way back to us: the answer is for `on_answer`, once.

        Only what comes by that very way is the answer. `other_than`: a request whose way is not taken again; another
        path is, or another peer to begin at. NoRoute if there is no way, or so many answers are waited for that no more
        is asked; ValueError for records that do not fit.
        """
        if len(self._requests) >= self.limits.requests:
            raise NoRoute(f"{len(self._requests)} answers are waited for already")
        way = self._way(to, via, other_than)
        made = OnionRequest(self._random(), way.peer, way.path.path[-1].blinded_node_id, on_answer)
        self._requests[made.path_id] = made
        try:
            self._send(way, content, self.path_to_us(way.back[0], made.path_id, way.back[1:]))
        except ValueError:
            self.forget(made)
            raise
        return made

    def forget(self, request: OnionRequest) -> None:
        """Its answer is not waited for any more."""
        self._requests.pop(request.path_id, None)

    def reply(
        self, received: ReceivedOnion, content: Iterable[tuple[int, bytes]], reply_path: BlindedPath | None = None
    ) -> None:
        """Answers a message, by its reply path and no other way, once. NoRoute if it has none or that leads nowhere, or
        it was answered."""
        if received.reply_path is None:
            raise NoRoute("the message has no reply path")
        if received.answered:
            raise NoRoute("the message has been answered")
        self._send(self._way(received.reply_path, ()), content, reply_path)
        received.answered = True

    def path_to_us(self, introduction: bytes, path_id: bytes, over: Sequence[bytes] = ()) -> BlindedPath:
        """A path to us that begins at this node and goes over the others, each of which reaches the next one as a peer
        does, and the last one us. At its end we find `path_id`."""
        return blind_route(self._random(), (introduction, *over, self.node_id), EncryptedDataTlv(path_id=path_id))

    # Coming in.

    def _take(self, sender: bytes, message: OnionMessage) -> None:
        for _ in range(self.limits.own_layers + 1):
            self.charge(sender, UNITS_OF_LAYER)
            found = open_message(self._key, message)
            if isinstance(found, Delivery):
                self._deliver(sender, found)
                return
            next_node = self._next_node(found.next_node_id, found.short_channel_id)
            if next_node != self.node_id:
                self._pass_on(sender, next_node, found.message)
                return
            message = found.message
        raise OnionDropped(Drop.OWN_LAYERS)

    def _next_node(self, node_id: bytes | None, short_channel_id: ShortChannelId | None) -> bytes:
        if node_id is not None:
            return node_id
        ends = self._ends(short_channel_id)
        # The channel is one of ours, or its maker has not made it for us.
        if self.node_id not in ends:
            raise OnionDropped(Drop.UNKNOWN_CHANNEL)
        return ends[1] if ends[0] == self.node_id else ends[0]

    def _ends(self, short_channel_id: ShortChannelId | None) -> tuple[bytes, ...]:
        if self._graph is None or short_channel_id is None:
            return ()
        first, second = (self._graph.resolve(short_channel_id, direction) for direction in (0, 1))
        return () if first is None or second is None else (first, second)

    def _pass_on(self, sender: bytes, next_node: bytes, message: OnionMessage) -> None:
        if not self._forward:
            raise OnionDropped(Drop.FORWARDING_OFF)
        if next_node == sender:
            raise OnionDropped(Drop.BACK)
        if next_node not in self._peers:
            raise OnionDropped(Drop.NOT_CONNECTED)
        if not self._peers[next_node]:
            raise OnionDropped(Drop.NOT_OFFERED)
        self._push(next_node, message, "forwarded")

    def _deliver(self, sender: bytes, delivery: Delivery) -> None:
        received = ReceivedOnion(delivery, sender)
        # Whoever knows the path_id of a request has come by the way back that we made for it: nobody else can.
        request = None if received.path_id is None else self._requests.pop(received.path_id, None)
        if request is not None:
            self._counts["answers"] += 1
            request.on_answer(received)
            return
        if self.on_message is None:
            raise OnionDropped(Drop.NOT_ASKED)
        if not self.on_message(received):
            raise OnionDropped(Drop.UNREAD)
        self._counts["delivered"] += 1

    # Going out.

    def _send(self, way: _Way, content: Iterable[tuple[int, bytes]], reply_path: BlindedPath | None) -> None:
        message = seal(self._random(), way.path, content, reply_path)
        self._push(way.peer, message, "sent")

    def _push(self, node_id: bytes, message: OnionMessage, count: str) -> None:
        def lose() -> None:
            self._counts[count] -= 1
            self._dropped[Drop.WAITING] += 1

        self._counts[count] += 1
        self.push(SendMessages(node_id, message, most_waiting=self.limits.waiting_bytes, on_dropped=lose))

    def _way(
        self,
        to: bytes | BlindedPath | Iterable[BlindedPath],
        via: Sequence[bytes],
        other_than: OnionRequest | None = None,
    ) -> _Way:
        """NoRoute with what was tried."""
        avoid = None if other_than is None else other_than.peer
        if isinstance(to, bytes):
            # To a node itself nothing is written, for LDK drops what it has not written itself.
            return self._from_us(blind_route(self._random(), (to,)), via, avoid)
        paths = (to,) if isinstance(to, BlindedPath) else tuple(to)
        ways: list[tuple[BlindedPath, bytes | None]] = [(path, avoid) for path in paths]
        if other_than is not None:
            # Another path is another way wherever it begins, and comes first.
            fresh = [path for path in paths if path.path[-1:] and path.path[-1].blinded_node_id != other_than.sent_to]
            ways = [(path, None) for path in fresh] + [way for way in ways if way[0] not in fresh]
        tried: list[str] = []
        unreached: list[bytes] = []
        for path, avoided in ways:
            try:
                return self._from_us(path, via, avoided)
            except NoRoute as error:
                tried.append(str(error))
                unreached += error.unreached
        raise NoRoute("; ".join(tried) or "no path is given", tuple(unreached))

    def _from_us(self, path: BlindedPath, via: Sequence[bytes], avoid: bytes | None) -> _Way:
        first = self._first_node(path.first_node_id)
        for _ in range(self.limits.own_layers):
            if first != self.node_id:
                break
            path, first = self._beyond_us(path)
        else:
            raise NoRoute("the path leads through ourselves and on to ourselves")
        if self.offers(first) and not via and first != avoid:
            return _Way(path, first, (first,))
        before = [node_id for node_id in via or self._route(first, avoid) if node_id != first]
        peer = before[0] if before else first
        if peer == avoid:
            raise NoRoute(f"there is no way but over {peer.hex()}, which was taken")
        if not self.offers(peer):
            raise NoRoute(f"{peer.hex()} is not connected, or takes no onion messages", (peer,))
        # What answers is a peer of the last node that we know of, and may know no way to any other.
        back = tuple(reversed(before if len(path.path) == 1 else [*before, first]))
        return _Way(join(self._random(), before, path, first) if before else path, peer, back or (first,))

    def _route(self, node_id: bytes, avoid: bytes | None) -> Sequence[bytes]:
        """Nodes from a peer to this one, which is none, or is avoided."""
        known = node_id == avoid
        words = f"{node_id.hex()} is " + ("asked already" if known else "no peer that takes onion messages")
        unreached = () if known else (node_id,)
        if self._graph is None:
            raise NoRoute(f"{words}, and there is no graph", unreached)
        route = self._graph.route(node_id, [peer for peer, takes in self._peers.items() if takes and peer != avoid])
        if not route:
            raise NoRoute(f"{words}, and the graph has no route to it", unreached)
        return route

    def _first_node(self, node: bytes) -> bytes:
        if len(node) != _BY_CHANNEL:
            return node
        channel = ShortChannelId(int.from_bytes(node[1:], "big"))
        found = None if self._graph is None else self._graph.resolve(channel, node[0])
        if found is None:
            raise NoRoute(f"the path begins at channel {channel}, which is not known")
        return found

    def _beyond_us(self, path: BlindedPath) -> tuple[BlindedPath, bytes]:
        """A path that begins at ourselves, as it goes on behind us: we do what its first hop would."""
        if len(path.path) < 2:
            raise NoRoute("the path ends at ourselves")
        secret = self._key.ecdh(path.first_path_key)
        try:
            data = unseal(secret, path.path[0].encrypted_recipient_data)
            next_node = self._next_node(data.next_node_id, data.short_channel_id)
        except OnionDropped as error:
            raise NoRoute(f"the path begins at ourselves, and does not go on: {error}") from None
        key = next_path_key(path.first_path_key, secret, data)
        return path.replace(first_node_id=next_node, first_path_key=key, path=path.path[1:]), next_node

    def _random(self) -> bytes:
        self._used += 1
        return hashlib.sha256(self._random_data + self._used.to_bytes(8, "big")).digest()
