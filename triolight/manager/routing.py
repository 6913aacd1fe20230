"""Routing: who hears a message. Needs no connection: it is given a node's messages, from wherever they come.

Rule 1: who is asked, and in which order, is said by `Handlers`; what becomes of a type's message, by its route. Both
are made whole from a `MessageHandler`, once, and are abandoned whole.

Rule 2: what a type is (gossip, a query) is said where it is declared, never here by a number.

Rule 3: what routing wants done, it asks of its `Host`: nothing is written, ended or counted against anybody here.

A message of a BOLT goes to the methods ``handle_NAME`` of the channel, routing and onion handlers that have one; any
other one to ``handle_custom_message``. A method that was not overridden is not called; the channel handler's are, but
for gossip, since it has an answer to the rest. Types that the host handles itself are handed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from triolight.actions import ErrorAction, HandlerResult, MessageSendEvent
from triolight.batch import MIN_BATCH, TOLERATED_INSIDE, Batch, fault_of
from triolight.connection import ProtocolFault
from triolight.errors import DecodeError, DisconnectCode
from triolight.features import Features
from triolight.gossip import refuse_zlib
from triolight.handlers import (
    BaseMessageHandler,
    ChannelMessageHandler,
    CustomMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    RoutingMessageHandler,
    overrides,
)
from triolight.logger import Level
from triolight.manager.greeting import EMPTY_ANSWERS
from triolight.manager.mistakes import ask, checked, checked_events, checked_gossip
from triolight.messages import (
    BOLT,
    Error,
    Message,
    QueryShortChannelIds,
    Registry,
    ReplyChannelRange,
    StartBatch,
    UnknownMessage,
    describe_type,
)
from triolight.messages.declare import give_decoder
from triolight.messages.weight import pieces_of
from triolight.policy import COST_OF_PIECE, COST_OF_QUERY, COST_OF_UNKNOWN, COST_OF_WORDS
from triolight.tally import UNKNOWN, Tally, count

PIECES_PER_WORK: Final = 16
"""Items of lists, and unknown records, that cost as much as a message: half a microsecond each."""


class Source(Protocol):
    """Whoever messages come from, as far as routing knows it."""

    node_id: bytes
    batch: Batch | None
    """A batch that is coming in: routing's own."""

    @property
    def descriptor(self) -> Any:
        """What it is called before whoever listens to all messages."""
        ...

    @property
    def received(self) -> Tally:
        """Filled by routing."""
        ...


S = TypeVar("S", bound=Source)
S_contra = TypeVar("S_contra", bound=Source, contravariant=True)

Listener: TypeAlias = Callable[[Any, Message | UnknownMessage, bytes], object]
"""Hears each message before its handler does: a source's descriptor, the message, its bytes as they came."""


class Host(Protocol[S_contra]):
    """Whoever has what routing cannot do: connections, an allowance, a log."""

    def act(self, source: S_contra, action: ErrorAction, /) -> None:
        """A handler wants this because of a message."""

    def send(self, source: S_contra, *messages: Message) -> None:
        """An answer in a handler's place."""

    def charge(self, source: S_contra, cost: int, work: int = 0) -> None:
        """The source has caused a cost, in bytes, that its own bytes do not pay for, and so many units of work."""

    def hold(self, source: S_contra) -> None:
        """The source is not to be read from: the routing handler has too much of it."""

    def warn(self, source: S_contra, words: str) -> None:
        """The source shall hear of what it did."""

    def log(self, level: Level, words: str, source: S_contra, /, **fields: Any) -> None: ...


class Handlers:
    """Who is asked: every handler once, in two orders; or nobody any more."""

    __slots__ = ("all", "chan", "channels_first", "gossip", "life", "queue_high", "silent")

    def __init__(self) -> None:
        self.chan = ChannelMessageHandler()
        self.all: tuple[BaseMessageHandler, ...] = ()
        """In the order in which they hear of a peer."""
        self.channels_first: tuple[BaseMessageHandler, ...] = ()
        """In the order in which their events are taken: LDK takes what channels say first."""
        self.silent: tuple[BaseMessageHandler, ...] = ()
        """Those of them that do not say so when they have events: they have to be asked again and again."""
        self.gossip: Callable[[bytes, int], Sequence[bytes]] | None = None
        """Asked for what a peer is to hear next; None: nobody has any."""
        self.queue_high: Callable[[bytes], bool] | None = None
        """Asked whether a peer is to be held back; None: nobody ever is."""
        self.life: Callable[[bytes], None] | None = None
        """Called for each message of any kind; None: the channel handler does not care."""

    def use(self, handler: MessageHandler) -> None:
        """These are asked from now on."""
        self.chan = handler.chan_handler
        self.all = handler.all
        self.channels_first = tuple({id(one): one for one in (self.chan, *handler.all)}.values())
        self.silent = tuple(one for one in self.channels_first if not _tells_of_events(one))
        cares = overrides(self.chan, ChannelMessageHandler, "message_received")
        self.life = _life_of(self.chan) if cares else None
        route = handler.route_handler
        self.gossip = _gossip_of(route) if overrides(route, RoutingMessageHandler, "next_gossip") else None
        holds = overrides(route, RoutingMessageHandler, "processing_queue_high")
        self.queue_high = _queue_high_of(route) if holds else None

    def abandon(self) -> None:
        """Nobody is asked any more."""
        self.all = self.channels_first = self.silent = ()
        self.life = self.gossip = self.queue_high = None

    def init_features(self, node_id: bytes) -> Features:
        """What all of them together offer this node."""
        features = Features()
        for handler in self.all:
            features |= ask(handler, "provided_init_features", node_id)
        return features

    def node_features(self) -> Features:
        """What all of them together announce."""
        features = Features()
        for handler in self.all:
            features |= ask(handler, "provided_node_features")
        return features

    def protects(self, node_id: bytes) -> bool:
        """Whether the channel handler protects this node."""
        return bool(self.all) and bool(ask(self.chan, "protects", node_id))

    def disconnected(self, node_id: bytes) -> None:
        """Tells everyone that this node is connected no more."""
        for handler in self.all:
            ask(handler, "peer_disconnected", node_id)

    def failed(self, node_id: bytes, message: Error) -> None:
        """Tells the channel handler that this node fails a channel, or all of them."""
        if self.all:
            ask(self.chan, "handle_error", node_id, message)

    def pending_events(self, pushed: bool = True) -> Iterator[MessageSendEvent]:
        """Takes what they have pushed, one handler after the other. `pushed`: whether anybody has said so; if not, only
        those are asked who never do."""
        for handler in self.channels_first if pushed else self.silent:
            given = handler.get_and_clear_pending_msg_events()
            if given != ():
                yield from checked_events(given, handler)


def _tells_of_events(handler: BaseMessageHandler) -> bool:
    """Whether its events are those that were pushed, and whoever asks is told of each."""
    methods = ("attach", "push", "get_and_clear_pending_msg_events")
    return not any(overrides(handler, BaseMessageHandler, one) for one in methods)


def _life_of(handler: ChannelMessageHandler) -> Callable[[bytes], None]:
    hear: Callable[[bytes], object] = handler.message_received

    def life(node_id: bytes) -> None:
        answer = hear(node_id)
        if answer is not None:
            checked(answer, handler, "message_received")

    return life


def _gossip_of(handler: RoutingMessageHandler) -> Callable[[bytes, int], Sequence[bytes]]:
    def gossip(node_id: bytes, room: int) -> Sequence[bytes]:
        return checked_gossip(handler.next_gossip(node_id, room), handler, room)

    return gossip


def _queue_high_of(handler: RoutingMessageHandler) -> Callable[[bytes], bool]:
    def queue_high(node_id: bytes) -> bool:
        return bool(handler.processing_queue_high(node_id))

    return queue_high


Route: TypeAlias = tuple[Callable[[bytes], Message], Callable[[S, Any], None], bool, bool]
"""A type's decoder; what is done with its message; whether it is gossip, which may be unreadable without an end;
whether it is a query, which costs more than itself."""


Control: TypeAlias = Mapping[type[Message], Callable[[S, Any], None]]
"""What the host handles itself."""


class Routes(Generic[S]):
    """The routes of all types that are known. Made whole, and never changed but for decoders that are made late."""

    __slots__ = ("by_type", "sealed")

    def __init__(self, by_type: dict[int, Route[S]], sealed: frozenset[int] = frozenset()) -> None:
        self.by_type: Final = by_type
        self.sealed: Final = sealed
        """Types of which one that cannot be read is dropped without a word."""

    def abandoned(self, control: Control[S]) -> Routes[S]:
        """The same types, of which only those that the host handles itself are still heard."""
        routes: dict[int, Route[S]] = {
            type_: (decode, _nothing, gossip, query) for type_, (decode, _, gossip, query) in self.by_type.items()
        }
        for cls, handle in control.items():
            _set_route(routes, cls, handle)
        return Routes(routes, self.sealed)


def make_routes(
    messages: Registry,
    handler: MessageHandler,
    host: Host[S],
    control: Control[S],
    on_start_batch: Callable[[S, StartBatch], None],
) -> Routes[S]:
    """Type number to what is to be done, looked up once."""
    routes: dict[int, Route[S]] = {}
    control_by_type = {cls.type: handle for cls, handle in control.items()}
    for cls in messages:
        handle: Callable[[S, Any], None]
        if cls.type in control_by_type:
            handle = control_by_type[cls.type]
        elif cls is StartBatch:
            handle = on_start_batch
        elif cls in EMPTY_ANSWERS and not overrides(handler.route_handler, RoutingMessageHandler, f"handle_{cls.name}"):
            handle = _answer_empty(handler.route_handler, EMPTY_ANSWERS[cls], host)
        else:
            handle = _call_all(_wanted(cls, handler), host)
        _set_route(routes, cls, handle)
    return Routes(routes, frozenset(cls.type for cls in messages if cls.__sealed__))


def _set_route(routes: dict[int, Route[S]], cls: type[Message], handle: Callable[[S, Any], None]) -> None:
    zlib = cls in (QueryShortChannelIds, ReplyChannelRange)

    def set_route(decode: Callable[[bytes], Any]) -> None:
        decode = _refusing_zlib(decode) if zlib else decode
        routes[cls.type] = decode, handle, cls.__gossip__, cls.__query__

    give_decoder(cls, set_route)


_Call: TypeAlias = tuple[Callable[[bytes, Any], HandlerResult], BaseMessageHandler, str]
"""A method, whose it is, and its name."""


def _wanted(cls: type[Message], handler: MessageHandler) -> list[_Call]:
    """The methods that a type's message goes to."""
    method = f"handle_{cls.name}"
    calls: list[_Call] = []
    known = False
    places: tuple[tuple[BaseMessageHandler, type[BaseMessageHandler]], ...] = (
        (handler.chan_handler, ChannelMessageHandler),
        (handler.route_handler, RoutingMessageHandler),
        (handler.onion_handler, OnionMessageHandler),
    )
    for one, base in places:
        if cls in BOLT and hasattr(base, method):
            known = True
            call: _Call = getattr(one, method), one, method
            wanted = overrides(one, base, method) or (base is ChannelMessageHandler and not cls.__gossip__)
            # One object in two places is asked once.
            if wanted and call not in calls:
                calls.append(call)
    custom = handler.custom_handler
    if not known and overrides(custom, CustomMessageHandler, "handle_custom_message"):
        calls.append((custom.handle_custom_message, custom, "handle_custom_message"))
    return calls


def _call_all(calls: list[_Call], host: Host[S]) -> Callable[[S, Any], None]:
    if not calls:
        return _nothing
    act = host.act
    if len(calls) == 1:
        only, handler, method = calls[0]

        def handle_once(source: S, message: Any) -> None:
            action = only(source.node_id, message)
            if action is not None:
                act(source, checked(action, handler, method))

        return handle_once

    def handle(source: S, message: Any) -> None:
        for call, handler, method in calls:
            action = call(source.node_id, message)
            if action is not None:
                act(source, checked(action, handler, method))

    return handle


def _answer_empty(
    route: RoutingMessageHandler, answer: Callable[[Any], Message], host: Host[S]
) -> Callable[[S, Any], None]:
    def handle(source: S, query: Any) -> None:
        if ask(route, "provided_init_features", source.node_id).offers("gossip_queries"):
            host.send(source, answer(query))

    return handle


def _refusing_zlib(decode: Callable[[bytes], Message]) -> Callable[[bytes], Message]:
    def check(data: bytes) -> Message:
        message = decode(data)
        if isinstance(message, QueryShortChannelIds | ReplyChannelRange):
            refuse_zlib(message)
        return message

    return check


def _nothing(source: Source, message: Any) -> None:
    pass


class Routing(Generic[S]):
    """One registry's messages on their way to handlers."""

    __slots__ = ("_control", "_host", "_traces", "handlers", "listener", "messages", "routes")

    def __init__(
        self,
        messages: Registry,
        handlers: Handlers,
        host: Host[S],
        *,
        control: Control[S] | None = None,
        traces: bool = False,
    ) -> None:
        """`control` has the types that the host handles itself, handlers or not. `traces`: each message is logged."""
        self.messages: Final = messages
        self.handlers: Final = handlers
        self.listener: Listener | None = None
        """Hears every message, as long as there is one."""
        self.routes: Routes[S] = Routes({})
        self._host: Final = host
        self._control: Final = control or {}
        self._traces: Final = traces

    def use(self, handler: MessageHandler) -> None:
        """These handlers are asked from now on."""
        self.handlers.use(handler)
        self.routes = make_routes(self.messages, handler, self._host, self._control, self._on_start_batch)

    def abandon(self) -> None:
        """No handler is asked again."""
        self.handlers.abandon()
        self.routes = self.routes.abandoned(self._control)

    def receive(self, source: S, data: bytes) -> None:
        """A message with its type bytes. ProtocolFault if its source has to go for it."""
        type_, size = data[0] << 8 | data[1], len(data)
        life = self.handlers.life
        if life is not None:
            life(source.node_id)
        route = self.routes.by_type.get(type_)
        tally = source.received.get(type_)
        if tally is not None:  # what `count` does, without the call
            tally[0] += 1
            tally[1] += size
        else:
            count(source.received, type_ if route is not None else UNKNOWN, size)
        if route is None:
            self._unknown(source, type_, data)
            return
        decode, handle, gossip, query = route
        try:
            message = decode(data)
        except DecodeError as error:
            self._undecodable(source, type_, size, gossip, error)
            return
        if size > message.__plain__:  # of a class that is compiled by now: the first one costs as the next does
            pieces = pieces_of(message)
            self._host.charge(source, pieces * COST_OF_PIECE, pieces // PIECES_PER_WORK)
        if self._traces:
            level = Level.GOSSIP if gossip or query else Level.TRACE
            self._host.log(level, f"received {message.name}", source, size=size)
        if query:
            self._host.charge(source, COST_OF_QUERY)
        if self.listener is not None:
            self.listener(source.descriptor, message, data)
        if source.batch is not None and type_ not in TOLERATED_INSIDE:
            self._gather(source, source.batch, message, data)
            return
        handle(source, message)
        if gossip:
            queue_high = self.handlers.queue_high
            if queue_high is not None and queue_high(source.node_id):
                self._host.hold(source)

    def _unknown(self, source: S, type_: int, data: bytes) -> None:
        if type_ % 2 == 0:
            words = f"message {describe_type(type_)} is even and not known here"
            raise ProtocolFault(DisconnectCode.UNKNOWN_EVEN_MESSAGE, words)
        self._host.charge(source, COST_OF_UNKNOWN)
        if self.listener is not None:
            self.listener(source.descriptor, UnknownMessage(type_, data[2:]), data)

    def _undecodable(self, source: S, type_: int, size: int, gossip: bool, error: DecodeError) -> None:
        if source.batch is not None and type_ not in TOLERATED_INSIDE:
            raise ProtocolFault(DisconnectCode.BATCH_BROKEN, f"inside a batch: {error}") from None
        sealed = type_ in self.routes.sealed
        if not gossip and not sealed:
            raise ProtocolFault(DisconnectCode.MALFORMED_MESSAGE, str(error))
        # How many pieces it had nobody knows now; two bytes make the smallest.
        self._host.charge(source, COST_OF_WORDS + size // 2 * COST_OF_PIECE, size // (2 * PIECES_PER_WORK))
        if sealed:
            self._host.log(Level.DEBUG, "a message that cannot be read is dropped", source, text=str(error))
            return
        self._host.warn(source, f"unreadable gossip message of type {type_}: {error}")

    def _on_start_batch(self, source: S, message: StartBatch) -> None:
        why = fault_of(message)
        if why is None:
            takes = overrides(self.handlers.chan, ChannelMessageHandler, "handle_commitment_signed_batch")
            protected = takes and self.handlers.protects(source.node_id)
            source.batch = Batch(message, message.batch_size if takes else 1, protected)
        elif message.batch_size < MIN_BATCH:
            self._host.warn(source, why)
        else:
            self._host.log(Level.DEBUG, "a start_batch is ignored", source, text=why)

    def _gather(self, source: S, batch: Batch, message: Message, data: bytes) -> None:
        """A message while a batch is coming in: a part of it, or the end of its source."""
        if not batch.add(message, data):
            return
        source.batch = None
        if self.handlers.all:
            action = self.handlers.chan.handle_commitment_signed_batch(
                source.node_id, batch.channel_id, batch.messages()
            )
            if action is not None:
                self._host.act(source, checked(action, self.handlers.chan, "handle_commitment_signed_batch"))
