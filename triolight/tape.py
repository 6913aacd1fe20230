"""The tape: everything that a driven PeerManager is told and answered, written to a file as it happens.

A manager's life follows from the calls it gets and from the answers to what it asks: the tape stands at both places
(`Seams`) and changes nothing. ``triolight.replay`` plays it back. No Trio here, and no thread: a line is written to a
buffered file at once; a file that cannot be written ends the tape, never the connection.

One JSON object a line. Answers are written only if they are not the usual one: for a handler None, for a socket that it
took everything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

from triolight.address import Address, descriptor_of, write_address
from triolight.connection import OutstandingPing
from triolight.errors import DisconnectReason
from triolight.features import Features
from triolight.handlers import (
    BaseMessageHandler,
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    HandleError,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    MessageHandler,
    OnionMessageHandler,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    UpdateHtlcs,
    overrides,
)
from triolight.logger import Level, Record
from triolight.manager.seams import Driven, PeerDetails, PeerObserver, Seams, Setup, SocketDescriptor
from triolight.messages import Error, Init, Message, UnknownMessage, Warning
from triolight.noise import Handshake, HandshakeFailed, Opener, PacketFailed, Sealer
from triolight.text import printable

FORMAT: Final = 1
UNWRITTEN_BYTES: Final = 64 * 1024
"""What gathers within a turn before it is written."""
LIMIT_BYTES: Final = 1024 * 1024 * 1024
"""Where a tape ends by itself: what runs for a year shall not fill the disk. A message's byte takes two of them."""
PRIVATE: Final = {
    "messages": "Private: what peers and this node said to each other, in the clear, and their addresses. No secret.",
    "with_secrets": "SECRET: holds the node secret and all session keys. Whoever has this file can be this node.",
}
"""The first thing that a tape says about itself."""

Kind: TypeAlias = Literal["messages", "with_secrets"]
"""``messages``: above the noise, no secret, plays back to the same messages. ``with_secrets``: the bytes of the wire
and the keys for them, plays back to the same bytes."""

_Question: TypeAlias = tuple[str, int]
T = TypeVar("T")
Json: TypeAlias = Any

CALLS: Final = frozenset(
    {
        "abandon_handlers",
        "broadcast_encoded",
        "continue_reading",
        "disconnect",
        "disconnect_all_peers",
        "disconnect_by_node_id",
        "end_throttle",
        "forget_ping",
        "hold_reading",
        "new_inbound_connection",
        "new_outbound_connection",
        "observe_messages",
        "process_events",
        "read_event",
        "send_encoded",
        "send_message",
        "send_ping",
        "socket_disconnected",
        "timer_tick_occurred",
        "write_buffer_space_avail",
    }
)
"""What changes a manager. Everything else that it has asks, or does what it does by one of these."""

PLACES: Final[Mapping[str, type[BaseMessageHandler]]] = {
    "route_handler": RoutingMessageHandler,
    "chan_handler": ChannelMessageHandler,
    "onion_handler": OnionMessageHandler,
    "custom_handler": CustomMessageHandler,
}
EVENTS: Final = "get_and_clear_pending_msg_events"
_ACTIONS: Final = (
    DisconnectPeer,
    DisconnectPeerWithWarning,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    SendErrorMessage,
    SendWarningMessage,
)
_EVENTS: Final = (HandleError, SendMessages, UpdateHtlcs)
ACTIONS: Final[Mapping[str, type[Any]]] = {cls.__name__: cls for cls in _ACTIONS}


class Tape(Seams):
    """A file that one open block is recorded to: ``open_peer_nursery(manager, tape=Tape("incident.tape"))``.

    The file must not exist yet, and can be read by its owner alone. It begins with the block and ends with it, or at
    `limit_bytes`, or when it cannot be written any more (`fault` says why then, and the log at WARN).

    Whatever its kind, its contents are private: messages in the clear, addresses, and who talked to whom.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, kind: Kind = "messages", limit_bytes: int = LIMIT_BYTES
    ) -> None:
        """Opens nothing yet. FileExistsError and other OSErrors come when the block is entered."""
        if kind not in PRIVATE:
            raise ValueError(f"a tape is of kind 'messages' or 'with_secrets', not {kind!r}")
        self.path: Final = Path(path)
        self.kind: Final[Kind] = kind
        self.fault: str | None = None
        """Why it ended before its block did; None if it did not."""
        self._limit: Final = limit_bytes
        self._file: FileIO | None = None
        self._unwritten = bytearray()
        self._size = 0
        self._now = 0.0
        self._clock: Callable[[], float] = float
        self._frames: list[dict[str, int] | _Question] = []
        """What is under way: a call, with the count of what was asked in it by name; or who is being asked."""
        self._described_handlers: dict[str, Json] = {}
        self._numbers: WeakKeyDictionary[SocketDescriptor, int] = WeakKeyDictionary()
        self._connections = 0
        self._log: Callable[[str], None] = lambda words: None

    def __repr__(self) -> str:
        return f"<Tape {self.path}, {self.kind}>"

    # -- its life ------------------------------------------------------------------------------------------------------

    def begin(self, manager: Driven, setup: Setup) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(handle, 0o600)  # the umask takes away what we have asked for: the owner's own right to read
        self._file = FileIO(handle, "wb")
        self._unwritten.clear()
        self.fault = None
        self._size = self._connections = 0
        self._frames.clear()
        self._log = lambda words: manager.logger.log(Record(Level.WARN, words, "tape", None, {}))
        self._described_handlers = _describe_handlers(setup.handler)
        self._write(self._header(setup))
        self._flush()
        for name in CALLS:
            # Beside the method, where whoever calls it finds it first: the shell, a handler, the application.
            vars(manager)[name] = self._recorder(manager, name)

    def end(self, manager: Driven) -> None:
        for name in CALLS:
            vars(manager).pop(name, None)
        self._stop("the block was left")

    def _header(self, setup: Setup) -> Json:
        allowance = setup.allowance
        header: dict[str, Json] = {
            "triolight_tape": FORMAT,
            "private": PRIVATE[self.kind],
            "kind": self.kind,
            "our_node_id": setup.our_node_id.hex(),
            "networks": [one.hex() for one in setup.networks],
            "messages": sorted(cls.type for cls in setup.messages),
            "refuse_features": setup.refuse_features,
            "duplicates": setup.duplicates,
            "turn_work": setup.turn_work,
            "allowance": allowance and {"per_second": allowance.per_second, "burst": allowance.burst},
            "handlers": self._described_handlers,
        }
        if self.kind == "with_secrets":
            secret, random_data, used = setup.secrets()
            header |= {"secret": secret.hex(), "ephemeral_random_data": random_data.hex(), "ephemeral_keys": used}
        return header

    def _stop(self, why: str) -> None:
        self._write({"end": why})
        self._flush()
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, record: Json) -> None:
        if self._file is None:
            return
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self._size += len(line)
        self._unwritten += line
        if len(self._unwritten) >= UNWRITTEN_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._file is None:
            return
        try:
            while self._unwritten:
                del self._unwritten[: self._file.write(self._unwritten)]
        except OSError as error:
            self.fault = f"{self.path}: {error.strerror or error}"
            self._log(f"the tape ends: {printable(self.fault)}")
            self._close()

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _recorder(self, manager: Driven, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(manager, name)
        describe: Callable[..., dict[str, Json]] = getattr(self, f"_{name}", _no_fields)

        def call(*args: Any, **named: Any) -> Any:
            try:
                what = describe(*args, **named)
            except (AttributeError, TypeError, ValueError):
                # Not what the method takes: the manager says so itself, and has done nothing.
                return method(*args, **named)
            return self._call(name, what, lambda: method(*args, **named))

        def send_encoded(descriptor: SocketDescriptor, encoded: Iterable[bytes]) -> bool:
            queued: bool = call(descriptor, list(encoded))
            return queued

        return send_encoded if name == "send_encoded" else call

    def _call(self, name: str, what: dict[str, Json], perform: Callable[[], T]) -> T:
        """Records one call and performs it."""
        asked = self._frames[-1] if self._frames else None
        if asked is None:
            self._now = self._clock()
            if self._size >= self._limit and self._file is not None:
                self.fault = f"{self.path}: it has reached its limit of {self._limit} bytes"
                self._log(f"the tape ends: {printable(self.fault)}")
                self._stop("its limit was reached")
        if self._file is None or isinstance(asked, dict):
            return perform()
        record: dict[str, Json] = {"call": name}
        if asked is None:
            record["at"] = self._now
        else:
            record["during"], record["nth"] = asked
        self._write({**record, **what})
        self._frames.append({})
        try:
            result = perform()
            if isinstance(result, bytes) and self.kind == "with_secrets":
                self._write({"out": what["of"], "data": result.hex()})  # act one, for the caller to write
        finally:
            self._frames.pop()
            if asked is not None:
                # Also of one that has raised: what is asked next is not asked in it.
                self._write({"return": name})
        if asked is None and name == "process_events":
            # No more than a turn is lost with us.
            self._write({"return": name})
            self._flush()
        return result

    def number(self, descriptor: SocketDescriptor) -> int | None:
        """Connections are counted from 1. None: it was never one."""
        return self._numbers.get(descriptor)

    def _new(self, descriptor: SocketDescriptor, address: Address | tuple[str, int] | None) -> dict[str, Json]:
        if isinstance(address, tuple):
            address = descriptor_of(*address)
        written = address and write_address(address).hex()
        self._connections += 1
        self._numbers[descriptor] = self._connections
        return {"of": self._connections, "address": written}

    def _new_outbound_connection(
        self,
        their_node_id: bytes,
        descriptor: SocketDescriptor,
        remote_address: Address | tuple[str, int] | None = None,
    ) -> dict[str, Json]:
        return {"node_id": their_node_id.hex(), **self._new(descriptor, remote_address)}

    def _new_inbound_connection(
        self, descriptor: SocketDescriptor, remote_address: Address | tuple[str, int] | None = None
    ) -> dict[str, Json]:
        return self._new(descriptor, remote_address)

    def _read_event(self, descriptor: SocketDescriptor, data: bytes) -> dict[str, Json]:
        of = self.number(descriptor)
        return {"of": of, "data": data.hex()} if self.kind == "with_secrets" else {"of": of, "size": len(data)}

    def _write_buffer_space_avail(self, descriptor: SocketDescriptor) -> dict[str, Json]:
        return {"of": self.number(descriptor)}

    def _continue_reading(self, descriptor: SocketDescriptor) -> dict[str, Json]:
        return {"of": self.number(descriptor)}

    def _end_throttle(self, descriptor: SocketDescriptor) -> dict[str, Json]:
        return {"of": self.number(descriptor)}

    def _hold_reading(self, descriptor: SocketDescriptor, held: bool) -> dict[str, Json]:
        return {"of": self.number(descriptor), "held": bool(held)}

    def _observe_messages(self, wanted: bool) -> dict[str, Json]:
        return {"wanted": bool(wanted)}

    def _socket_disconnected(
        self, descriptor: SocketDescriptor, reason: DisconnectReason | None = None
    ) -> dict[str, Json]:
        return {"of": self.number(descriptor), "reason": reason_to_json(reason)}

    def _disconnect(
        self, descriptor: SocketDescriptor, reason: DisconnectReason | str | None = None
    ) -> dict[str, Json]:
        return {"of": self.number(descriptor), "reason": reason_to_json(reason)}

    def _disconnect_by_node_id(self, node_id: bytes, reason: DisconnectReason | str | None = None) -> dict[str, Json]:
        return {"node_id": _node_id_to_json(node_id), "reason": reason_to_json(reason)}

    def _disconnect_all_peers(self, reason: DisconnectReason | str | None = None) -> dict[str, Json]:
        return {"reason": reason_to_json(reason)}

    def _send_message(self, node_id: bytes, *messages: Message | UnknownMessage) -> dict[str, Json]:
        return {"node_id": _node_id_to_json(node_id), "messages": [one.encode().hex() for one in messages]}

    def _send_encoded(self, descriptor: SocketDescriptor, encoded: list[bytes]) -> dict[str, Json]:
        return {"of": self.number(descriptor), "messages": [one.hex() for one in encoded]}

    def _broadcast_encoded(self, encoded: bytes) -> dict[str, Json]:
        # What a node_announcement of ours was made of is not told: our key signs it, at a time of day.
        return {"message": encoded.hex()}

    def _send_ping(
        self, descriptor: SocketDescriptor, num_pong_bytes: int = 0, ignored: bytes = b"", token: Any = None
    ) -> dict[str, Json]:
        return {
            "of": self.number(descriptor),
            "num_pong_bytes": num_pong_bytes,
            "ignored": ignored.hex(),
            "keepalive": token is None,
        }

    def _forget_ping(self, descriptor: SocketDescriptor, token: Any) -> dict[str, Json]:
        return {"of": self.number(descriptor), "keepalive": token is None}

    # -- answers -------------------------------------------------------------------------------------------------------

    def ask(self, key: str, perform: Callable[[], T], to_json: Callable[[T], Json], usual: object = None) -> T:
        """Performs what the manager asks, and records the answer unless its JSON is the usual one.

        `to_json` has a word for whatever there is: an answer must not fail here which does no harm in the manager.
        """
        frame = self._frames[-1] if self._frames else None
        if not isinstance(frame, dict):
            return perform()  # not the manager asks, but somebody who was asked
        nth = frame[key] = frame.get(key, -1) + 1
        self._frames.append((key, nth))
        try:
            answer = perform()
        except BaseException as error:
            self._answer(key, nth, {"raises": error_to_json(error)})
            raise
        finally:
            self._frames.pop()
        told = to_json(answer)
        if told != usual:
            self._answer(key, nth, {"is": told})
        return answer

    def _answer(self, key: str, nth: int, answer: dict[str, Json]) -> None:
        self._write({"answer": key, "nth": nth, **answer})

    def clock(self, clock: Callable[[], float]) -> Callable[[], float]:
        # One time for a whole call: how often the manager looks is then nobody's concern.
        self._clock = clock
        return lambda: self._now if self._frames else clock()

    def handlers(self, handler: MessageHandler) -> MessageHandler:
        def ask(place: str, real: BaseMessageHandler) -> Callable[..., Any]:
            def call(method: str, *args: Any) -> Any:
                to_json, usual = answer_to_json(method)

                def perform() -> Any:
                    answer = getattr(real, method)(*args)
                    # Who may be an iterator is gone through once, for the tape and for the manager.
                    return list(answer) if method == EVENTS else answer

                return self.ask(f"{place}.{method}", perform, to_json, usual)

            return call

        described = self._described_handlers
        return stand_ins(described, lambda place: ask(place, getattr(handler, place)))

    def observer(self, observer: PeerObserver) -> PeerObserver:
        return _TapedObserver(self, observer)

    def handshake(self, descriptor: SocketDescriptor, handshake: Handshake) -> Handshake:
        of = self.number(descriptor)
        if self.kind == "with_secrets" or self._file is None:
            return handshake

        def receive(data: bytes) -> tuple[bytes, bytes]:
            def told(answer: tuple[bytes, bytes]) -> Json:
                node_id = handshake.their_node_id if handshake.complete else None
                return {
                    "took": len(data) - len(answer[1]),
                    "wrote": len(answer[0]),
                    "act": handshake.act,
                    "node_id": node_id and node_id.hex(),
                }

            return self.ask(f"{of}.act", lambda: handshake.receive(data), told)

        def came(perform: Callable[[], bytes | None]) -> bytes | None:
            return self.ask(f"{of}.in", perform, lambda data: None if data is None else data.hex())

        def buffered(perform: Callable[[], int]) -> int:
            return self.ask(f"{of}.buffered", perform, int)

        def goes(message: bytes) -> None:
            self._write({"out": of, "message": message.hex()})

        return WatchedHandshake(handshake, receive, came, buffered, goes)

    def send_data(self, descriptor: SocketDescriptor) -> Callable[[bytes, bool], int]:
        of = self.number(descriptor)

        def send(data: bytes, resume_read: bool) -> int:
            usual = len(data)
            taken = self.ask(f"{of}.send_data", lambda: descriptor.send_data(data, resume_read), int, usual)
            if taken and self.kind == "with_secrets":
                self._write({"out": of, "data": data[:taken].hex()})
            return taken

        return send

    def happened(self, descriptor: SocketDescriptor, what: str, **fields: Json) -> None:
        """What the manager tells its driver: it follows from the rest, and the replay is held to it."""
        if self._frames:
            self._write({what: self.number(descriptor), **fields})


class _TapedObserver(PeerObserver):
    """Passes everything on. Only from `message_received` may the manager be called, and only `may_connect` answers."""

    def __init__(self, tape: Tape, observer: PeerObserver) -> None:
        self._tape: Final = tape
        self._to: Final = observer

    def handshake_done(self, descriptor: SocketDescriptor, node_id: bytes) -> None:
        self._to.handshake_done(descriptor, node_id)

    def peer_parked(self, descriptor: SocketDescriptor) -> None:
        self._to.peer_parked(descriptor)

    def peer_demoted(self, descriptor: SocketDescriptor, reason: DisconnectReason) -> None:
        self._to.peer_demoted(descriptor, reason)

    def peer_throttled(self, descriptor: SocketDescriptor, seconds: float) -> None:
        self._to.peer_throttled(descriptor, seconds)

    def pong_received(self, descriptor: SocketDescriptor, ping: OutstandingPing | None, now: float) -> None:
        self._to.pong_received(descriptor, ping, now)

    def peer_connected(self, descriptor: SocketDescriptor, details: PeerDetails) -> None:
        self._tape.happened(descriptor, "connected", node_id=details.node_id.hex())
        self._to.peer_connected(descriptor, details)

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        self._tape.happened(descriptor, "ended", reason=reason_to_json(reason))
        self._to.peer_ended(descriptor, reason, init)

    def message_received(self, descriptor: SocketDescriptor, message: Message | UnknownMessage, size: int) -> None:
        key = f"{self._tape.number(descriptor)}.message_received"
        self._tape.ask(key, lambda: self._to.message_received(descriptor, message, size), _nothing)

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> DisconnectReason | None:
        key = f"{self._tape.number(descriptor)}.may_connect"
        return self._tape.ask(key, lambda: self._to.may_connect(descriptor, node_id, inbound), reason_to_json)


# ---------------------------------------------------------------------------------------------------------------------
# Between the manager and the noise


class WatchedHandshake(Handshake):
    """A handshake whose acts, and the messages after it, pass by somebody who watches."""

    __slots__ = ("_buffered", "_came", "_goes", "_inner", "_receive")

    def __init__(
        self,
        inner: Handshake,
        receive: Callable[[bytes], tuple[bytes, bytes]],
        came: Callable[[Callable[[], bytes | None]], bytes | None],
        buffered: Callable[[Callable[[], int]], int],
        goes: Callable[[bytes], None],
    ) -> None:
        """`receive` takes the place of `inner.receive`; `came` and `buffered` get the opener's own question."""
        self._inner = inner
        self._receive = receive
        self._came = came
        self._buffered = buffered
        self._goes = goes
        self.their_node_id = inner.their_node_id
        self.sealer = None
        self.opener = None

    @property
    def act(self) -> int:
        return self._inner.act

    def __repr__(self) -> str:
        return f"<watched {self._inner!r}>"

    def act_one(self) -> bytes:
        return self._inner.act_one()

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        answer = self._receive(data)
        inner = self._inner
        self.their_node_id = inner.their_node_id
        if inner.opener is not None and inner.sealer is not None:
            self.opener = _WatchedOpener(inner.opener, self._came, self._buffered)
            self.sealer = _WatchedSealer(inner.sealer, self._goes)
        return answer


class _WatchedOpener(Opener):
    __slots__ = ("_ask_buffered", "_ask_message", "_inner")

    def __init__(
        self,
        inner: Opener,
        came: Callable[[Callable[[], bytes | None]], bytes | None],
        buffered: Callable[[Callable[[], int]], int],
    ) -> None:
        self._inner = inner
        self._ask_message = came
        self._ask_buffered = buffered

    @property
    def buffered(self) -> int:
        return self._ask_buffered(lambda: self._inner.buffered)

    def feed(self, data: bytes) -> None:
        self._inner.feed(data)

    def next_message(self) -> bytes | None:
        return self._ask_message(self._inner.next_message)


class _WatchedSealer(Sealer):
    __slots__ = ("_goes", "_inner")

    def __init__(self, inner: Sealer, goes: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._goes = goes

    def seal(self, message: bytes) -> bytes:
        sealed = self._inner.seal(message)
        self._goes(message)
        return sealed


# ---------------------------------------------------------------------------------------------------------------------
# Handlers, and what stands in for them


def _describe_handlers(handler: MessageHandler) -> dict[str, Json]:
    """For each place: the first place of the same object, its bases among ours, and what it does in its own way."""
    described: dict[str, Json] = {}
    first: dict[int, str] = {}
    for place in PLACES:
        one: BaseMessageHandler = getattr(handler, place)
        same = first.setdefault(id(one), place)
        if same != place:
            described[place] = {"same_as": same}
            continue
        known = {cls: name for name, cls in PLACES.items()}
        bases = [known[cls] for cls in type(one).__mro__ if cls in known]
        plain = cast("type[BaseMessageHandler]", type("Plain", tuple(PLACES[name] for name in bases), {}))
        names = {name for name in dir(plain) if not name.startswith("_")} - {"attach", "push"}
        own = {name for name in names if overrides(one, plain, name)}
        described[place] = {"bases": bases, "overrides": sorted(own | {EVENTS})}
    return described


def stand_ins(described: Mapping[str, Json], ask: Callable[[str], Callable[..., Any]]) -> MessageHandler:
    """Handlers that pass on what the described ones do in their own way: ``ask(place)(method, *arguments)``."""
    made: dict[str, Any] = {}
    for place in PLACES:
        what = described[place]
        if "same_as" in what:
            made[place] = made[what["same_as"]]
            continue
        call = ask(place)

        def method(name: str, call: Callable[..., Any] = call) -> Callable[..., Any]:
            def asked(self: BaseMessageHandler, *arguments: Any) -> Any:
                return call(name, *arguments)

            return asked

        bases = tuple(PLACES[name] for name in what["bases"])
        made[place] = type("StandIn", bases, {name: method(name) for name in what["overrides"]})()
    return MessageHandler(**made)


# ---------------------------------------------------------------------------------------------------------------------
# Values


def _nothing(answer: object) -> Json:
    return None


def _no_fields() -> dict[str, Json]:
    return {}


def _untold(value: object) -> Json:
    """What is not what it should be, as far as it can matter to the manager: whether it is true."""
    try:
        true = bool(value)
    except (TypeError, ValueError):
        true = True
    return {"untold": type(value).__name__, "true": true}


def _node_id_to_json(node_id: bytes) -> str:
    """Empty for what is none: no peer has it."""
    return node_id.hex() if isinstance(node_id, bytes) else ""  # pyright: ignore[reportUnnecessaryIsInstance]


def _words_to_json(words: object) -> Json:
    if isinstance(words, bytes):
        return words.decode("latin-1")  # as `printable` takes them
    return words if words is None or isinstance(words, str) else _untold(words)


def reason_to_json(reason: DisconnectReason | str | None) -> Json:
    if isinstance(reason, DisconnectReason):
        return {"code": reason.code.value, "by": reason.by.value, "message": reason.message}
    return _words_to_json(reason)


def error_to_json(error: BaseException) -> Json:
    match error:
        case HandshakeFailed(act=act, fault=fault, detail=detail):
            return {"act": act, "fault": fault.value, "detail": detail}
        case PacketFailed():
            return {"packet": str(error)}
        case _:
            return {"name": type(error).__name__, "words": printable(str(error))}


def _message_to_json(message: object) -> Json:
    if not isinstance(message, Message | UnknownMessage):
        return _untold(message)
    try:
        return message.encode().hex()
    except ValueError as error:
        return {"cannot_be_encoded": str(error)}


def _action_to_json(action: Any) -> Json:
    """An ErrorAction, a bool, None, or whatever else a handler may have returned."""
    if action is None or isinstance(action, bool):
        return action
    cls = next((one for one in _ACTIONS if isinstance(action, one)), None)
    if cls is None:
        return _untold(action)
    told: dict[str, Json] = {"action": cls.__name__}
    for one in fields(cls):
        value = getattr(action, one.name)
        match one.name:
            case "message":
                plain = value is None or isinstance(value, Error | Warning)
                told[one.name] = value and _message_to_json(value) if plain else _untold(value)
            case "reason":
                told[one.name] = _words_to_json(value)
            case _:
                told[one.name] = value if isinstance(value, int) else _untold(value)
    return told


def _event_to_json(event: object) -> Json:
    if not isinstance(event, _EVENTS) or not isinstance(event.node_id, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        return _untold(event)
    node_id = event.node_id.hex()
    if isinstance(event, HandleError):
        return {"node_id": node_id, "action": _action_to_json(event.action)}
    messages = [_message_to_json(one) for one in event.messages]
    return {"node_id": node_id, "caused": event.caused, "messages": messages}


def answer_to_json(method: str) -> tuple[Callable[[Any], Json], Json]:
    """How a handler's answer is written, and what its usual answer looks like."""
    if method == EVENTS:
        return lambda events: [_event_to_json(one) for one in events], []
    if method.startswith("provided_"):
        return lambda found: found.to_bytes().hex() if isinstance(found, Features) else _untold(found), ""
    return _action_to_json, None
