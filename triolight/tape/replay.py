"""The replay: plays a tape back into a fresh PeerManager. No Trio, no socket, no clock but the tape's.

The manager is told what it was told, at the same times, and gets the same answers. What it then writes and decides has
to be what it wrote and decided when the tape was made: `TapeMismatch` says where it is not.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias, cast

from triolight.as_json import Json
from triolight.errors import DecodeError, DisconnectReason, PeerHandleError, QueueFull, TriolightError
from triolight.handlers import MessageHandler
from triolight.keys import SecretKey
from triolight.logger import NullLogger
from triolight.manager.mistakes import check_methods
from triolight.manager.routing import Routes
from triolight.manager.seams import MayConnect
from triolight.messages import BOLT, Init, Message, Registry
from triolight.noise import EphemeralKeys, Handshake
from triolight.peer_manager import PeerDetails, PeerManager, PeerObserver, Seams, SocketDescriptor
from triolight.policy import Allowance
from triolight.tape.beside import Beside, shown
from triolight.tape.calls import CALLS, MAX_LINE_BYTES, Fields, words_of
from triolight.tape.tape import FORMAT, PRIVATE
from triolight.tape.values import (
    EVENTS,
    HandlerRaised,
    address_from_json,
    error_from_json,
    form_of,
    may_connect_from_json,
    reason_to_json,
)
from triolight.tape.watched import TapedHandshake, WatchedHandshake, stand_ins
from triolight.text import printable

__all__ = [
    "Happening",
    "Replay",
    "TapeError",
    "TapeMismatch",
]

What: TypeAlias = Literal[
    "accepted", "answer", "call", "connected", "dialled", "differs", "ended", "handshake", "received", "sent", "tape"
]


class TapeError(TriolightError):
    """The file is no tape, or a damaged one. `line` counts from 1."""

    def __init__(self, path: Path, line: int, why: str) -> None:
        super().__init__(f"{path}:{line}: {why}")
        self.line: Final = line


class TapeMismatch(TapeError):
    """The manager does not do what it did when the tape was made."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that a tape tells.

    ``accepted``, ``dialled``: a connection began. ``handshake``: its acts are done. ``received``, ``sent``: a message,
    type bytes included. ``connected``, ``ended``. ``call``: what the application wanted. ``answer``: what a handler
    wanted. ``differs``: a given handler answers something else. ``tape``: why the tape ends.
    """

    at: float
    """Seconds of the clock that the tape was made by."""
    what: What
    connection: int | None = None
    """Connections are counted from 1."""
    node_id: bytes | None = None
    message: bytes = b""
    words: str = ""
    on_tape: object = None
    """What the tape's handler answered, where it `differs`. An exception, if it raised."""
    given: object = None
    """What the given handler answers there. The exception, if it raises."""


@dataclass(slots=True)
class _Call:
    line: int
    name: str
    fields: dict[str, Json]
    answers: dict[tuple[str, int], Json] = field(default_factory=lambda: {})
    nested: dict[tuple[str, int], list[_Call]] = field(default_factory=lambda: {})
    outcome: list[tuple[int, Json]] = field(default_factory=lambda: [])
    """What was written and decided, each with its line."""


MAX_SHOWN: Final = 300
"""Characters of either side of a mismatch."""
_NO_SECRET: Final = bytes(31) + b"\1"
_NO_RANDOM_DATA: Final = b"\1" + bytes(31)
"""In place of what a tape without secrets does not have. Nothing is encrypted then."""


_DAMAGE: Final = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
    DecodeError,
)
"""What comes of records that are not what a tape writes."""


class Replay:
    """A tape, played back as it is iterated over: ``for happening in Replay("incident.tape")``.

    Raises OSError, TapeError, and TapeMismatch unless `compare` is False: for a manager that shall behave differently
    now, because the incident is understood. `messages` is the registry that the manager had.

    `handlers` are asked beside the tape's, in the same places and with the same arguments, and what they push is taken
    when the tape's events were: a happening that `differs` has both answers. The replay goes on with the tape's, so
    what differs first is what to look at; an exception of theirs is an answer. Nothing that they do reaches the
    manager. What no message or event of the tape led to, they are not asked: an application's own tasks are not part of
    a replay, and events that these pushed are not theirs. They are objects with a state of their own: give new ones to
    each replay. TypeError for what is no MessageHandler, and for handlers that no PeerManager would take.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        messages: Registry = BOLT,
        compare: bool = True,
        handlers: MessageHandler | None = None,
    ) -> None:
        self.path: Final = Path(path)
        self.calls = 0
        """How often the manager was told something, so far."""
        self.ended: str | None = None
        """Why the tape ends; None while it is played, and for good if its process was stopped."""
        self._stopped = ""
        self._messages: Final = messages
        self._compare: Final = compare
        self._handlers: Final = handlers
        if handlers is not None:
            if not isinstance(handlers, MessageHandler):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"handlers are a MessageHandler, not {type(handlers).__name__}")
            check_methods(handlers, messages)

    @property
    def header(self) -> dict[str, Json]:
        """What the tape says about itself: its first line."""
        with self.path.open("rb") as file:
            header = self._record(1, file.readline(MAX_LINE_BYTES))
        if header is not None and header.get("triolight_tape") == FORMAT:
            kind = header.get("kind")
            if isinstance(kind, str) and kind in PRIVATE:
                return header
        raise TapeError(self.path, 1, f"this is no tape of format {FORMAT}")

    def __iter__(self) -> Iterator[Happening]:
        self.ended = None
        self.calls = 0
        header = self.header
        with self.path.open("rb") as file:
            file.readline(MAX_LINE_BYTES)
            try:
                unknown = set(header["messages"]) - {cls.type for cls in self._messages}
                if unknown:
                    raise ValueError(f"its manager knew messages that this registry does not: {sorted(unknown)[:4]}")
                given = () if self._handlers is None else (self._handlers,)
                player = _Player(header, self._messages, *given)
            except _DAMAGE as error:
                raise TapeError(self.path, 1, _told(error)) from None
            for call in self._read(file):
                self._play(player, call)
                self.calls += 1
                while player.happened:
                    yield player.happened.popleft()
        yield Happening(player.now, "tape", words=self.ended or self._stopped)

    def _record(self, line: int, data: bytes) -> dict[str, Json] | None:
        """None: a line that is not whole, the last one of a process that was stopped."""
        if not data.endswith(b"\n"):
            if len(data) == MAX_LINE_BYTES:
                raise TapeError(self.path, line, "the line is too long")
            return None
        try:
            record = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise TapeError(self.path, line, f"not JSON: {_told(error)}") from None
        if not isinstance(record, dict):
            raise TapeError(self.path, line, "not a JSON object")
        return cast("dict[str, Json]", record)

    def _read(self, file: BinaryIO) -> Iterator[_Call]:
        """The calls, each with all that belongs to it. Without the one in whose middle the process was stopped."""
        stack: list[_Call] = []
        whole = True
        line = 1
        while data := file.readline(MAX_LINE_BYTES):
            line += 1
            record = self._record(line, data)
            if record is None:
                break
            try:
                match record:
                    case {"end": why}:
                        self.ended = str(why)
                        whole = True
                        break
                    case {"call": name, "during": during, "nth": nth}:
                        call = _Call(line, name, record)
                        stack[-1].nested.setdefault((during, nth), []).append(call)
                        stack.append(call)
                    case {"call": name}:
                        if stack:
                            yield stack[0]
                        stack = [_Call(line, name, record)]
                        whole = False
                    case {"return": _}:
                        whole = len(stack) == 1
                        del stack[max(1, len(stack) - 1) :]
                    case {"answer": key, "nth": nth}:
                        stack[-1].answers[key, nth] = record
                    case {"out": _} | {"ended": _} | {"connected": _}:
                        stack[0].outcome.append((line, record))
                    case _:
                        raise ValueError("no such record")
            except _DAMAGE as error:
                raise TapeError(self.path, line, _told(error)) from None
        if stack and whole:
            yield stack[0]
        if self.ended is None:
            where = "" if whole else f" in {stack[0].name}"
            self._stopped = f"no end: its process was stopped{where}"

    def _play(self, player: _Player, call: _Call) -> None:
        player.outcome.clear()
        try:
            player.play(call)
            if self._compare:
                self._check(player, call)
        except _DamagedError as error:
            raise TapeError(self.path, call.line, f"{call.name}: {error}") from error
        except _DAMAGE as error:
            raise TapeError(self.path, call.line, f"{call.name}: {_told(error)}") from error

    def _check(self, player: _Player, call: _Call) -> None:
        for then, after in zip_longest(call.outcome, player.outcome):
            line, before = then or (call.line, None)
            if before != after:
                words = f"{call.name}: on the tape {_shown(before)}, now {_shown(after)}"
                raise TapeMismatch(self.path, line, words)


class _DamagedError(Exception):
    """A handler's answer that no tape has: not to be taken for a bug of the handler's."""


class _Descriptor(SocketDescriptor):
    """What it would answer is on the tape."""

    def __init__(self, number: int, node_id: bytes | None) -> None:
        self.number: Final = number
        self.node_id = node_id

    def send_data(self, data: bytes, resume_read: bool) -> int:
        return len(data)

    def disconnect_socket(self) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)


class _Manager(PeerManager):
    """Has a node id without having its secret."""

    def __init__(self, our_node_id: bytes, *arguments: Any, **named: Any) -> None:
        self._our_node_id: Final = our_node_id  # first: the parts of the manager ask for it
        super().__init__(*arguments, **named)

    @property
    def our_node_id(self) -> bytes:
        return self._our_node_id

    def let_hear(self, hear: Callable[[bytes, Message], None]) -> None:
        """Each message, before its handler does. Until handlers are abandoned."""

        def after(handle: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
            def both(source: Any, message: Any) -> None:
                hear(source.node_id, message)
                handle(source, message)

            return both

        self._routing.routes = Routes(
            {
                type_: (decode, after(handle), gossip, query)
                for type_, (decode, handle, gossip, query) in self._routing.routes.by_type.items()
            },
            self._routing.routes.sealed,
        )


class _Player(Seams, PeerObserver):
    """The fresh manager, and all that it asks."""

    def __init__(self, header: dict[str, Json], messages: Registry, given: MessageHandler | None = None) -> None:
        self.now = 0.0
        self._beside: Final = None if given is None else Beside(given, header["handlers"], self._differs)
        self.happened: deque[Happening] = deque()
        self.outcome: list[Json] = []
        self._frames: list[tuple[_Call, dict[str, int]]] = []
        """The calls under way, each with the count of what was asked in it by name."""
        self._descriptors: dict[int, _Descriptor] = {}
        self._theirs = False
        """Whether the application has a part in the call under way: an answer of a handler, or an argument that is
        none. What the manager could not make anything of, then as now, is no damage of the tape."""
        self._key: SecretKey | None = None
        secret, random_data = _NO_SECRET, _NO_RANDOM_DATA
        if header["kind"] == "with_secrets":
            secret, random_data = bytes.fromhex(header["secret"]), bytes.fromhex(header["ephemeral_random_data"])
            self._key = SecretKey(secret)
            self._keys = EphemeralKeys(random_data, header["ephemeral_keys"])
        allowance = header["allowance"]
        known = set(header["messages"])
        self.manager: Final = _Manager(
            bytes.fromhex(header["our_node_id"]),
            stand_ins(header["handlers"], self._handler, None if self._beside is None else self._beside.watch),
            secret,
            random_data,
            NullLogger(),
            messages=Registry(cls for cls in messages if cls.type in known),
            networks=[bytes.fromhex(one) for one in header["networks"]],
            refuse_features=header["refuse_features"],
        )
        self.manager.drive(
            self,
            _nobody_waits,
            lambda: self.now,
            header["turn_work"],
            Allowance(**allowance) if allowance else None,
            header["duplicates"],
            self,
        )
        if self._beside is not None:
            self.manager.let_hear(self._beside.heard)

    def play(self, call: _Call) -> None:
        at = call.fields["at"]
        if not math.isfinite(at):
            raise ValueError(f"no time: {at}")
        self.now = float(at)
        counts: dict[str, int] = {}
        self._theirs = False
        self._frames.append((call, counts))
        try:
            self._perform(call.name, call.fields)
        except (PeerHandleError, QueueFull, HandlerRaised):
            pass  # the caller heard of it, then as now
        except _DAMAGE:
            if not self._theirs:
                raise
        finally:
            self._frames.pop()
        for key, nth in call.answers:
            if nth > counts.get(key, -1):
                self.outcome.append({"not_asked": key, "nth": nth})

    def _perform(self, name: str, told: Fields) -> None:
        call = CALLS.get(name)
        if call is None:
            raise ValueError("a PeerManager has no such call")
        self._theirs |= isinstance(told.get("reason"), dict) and "untold" in told["reason"]
        call.play(self, told)
        if call.wanted:
            self._happened("call", self._descriptors.get(told.get("of", 0)), words=words_of(name, told))

    @property
    def with_secrets(self) -> bool:
        return self._key is not None

    def opened(self, told: Fields, node_id: bytes | None) -> SocketDescriptor:
        descriptor = self._descriptors[told["of"]] = _Descriptor(told["of"], node_id)
        what: What = "accepted" if node_id is None else "dialled"
        self._happened(what, descriptor, words=str(address_from_json(told["address"]) or ""))
        return descriptor

    def descriptor(self, told: Fields) -> SocketDescriptor:
        number = told["of"] or 0
        return self._descriptors.get(number) or _Descriptor(number, None)

    def closed(self, told: Fields) -> None:
        self._descriptors.pop(told["of"] or 0, None)

    def wrote(self, of: int, data: bytes) -> None:
        if self._key is not None:
            self.outcome.append({"out": of, "data": data.hex()})

    def _happened(
        self, what: What, descriptor: SocketDescriptor | None = None, message: bytes = b"", words: str = ""
    ) -> None:
        one = cast("_Descriptor | None", descriptor)
        number, node_id = (one.number, one.node_id) if one is not None else (None, None)
        self.happened.append(Happening(self.now, what, number, node_id, message, words))

    def _ask(self, key: str, usual: Json = None) -> Json:
        call, counts = self._frames[-1]
        nth = counts[key] = counts.get(key, -1) + 1
        for nested in call.nested.get((key, nth), ()):
            self._frames.append((nested, {}))
            try:
                self._perform(nested.name, nested.fields)
            except (PeerHandleError, QueueFull, HandlerRaised):
                pass  # whoever was asked heard of it
            except _DAMAGE:
                if not self._theirs:
                    raise
            finally:
                self._frames.pop()
        answer = call.answers.get((key, nth))
        if answer is None:
            return usual
        if "raises" in answer:
            raise error_from_json(answer["raises"])
        return answer["is"]

    def _handler(self, place: str) -> Callable[..., Any]:
        def call(method: str, *arguments: Any) -> Any:
            key, form = f"{place}.{method}", form_of(method)
            try:
                answer = self._ask(key, form.usual)
            except HandlerRaised as error:
                self._happened("answer", words=f"{key}: raised {error}")
                if self._beside is not None:
                    self._beside.asked(place, method, arguments, error)
                raise
            try:
                for words in form.words(answer):
                    self._happened("answer", words=f"{place if method == EVENTS else key}: {words}")
                given = form.from_json(answer)
            except _DAMAGE as error:
                raise _DamagedError(_told(error)) from error
            self._theirs |= answer != form.usual
            if self._beside is not None:
                self._beside.asked(place, method, arguments, given, answer)
            return given

        return call

    def _differs(self, asked: str, arguments: tuple[Any, ...], on_tape: object, given: object) -> None:
        node_id = next((one for one in arguments if isinstance(one, bytes)), None)
        message = next((one for one in arguments if isinstance(one, Message)), None)
        data = b""
        if message is not None:
            with suppress(ValueError):  # it has come, and so it can go; but for what an application's own class does
                data = message.encode()
        words = f"{asked}: on the tape {shown(on_tape)}, given {shown(given)}"
        self.happened.append(Happening(self.now, "differs", None, node_id, data, words, on_tape, given))

    def handshake(self, descriptor: SocketDescriptor, handshake: Handshake) -> Handshake:
        one = cast("_Descriptor", descriptor)
        if self._key is None:
            inner: Handshake = TapedHandshake(one.number, handshake.their_node_id, self._ask)
        else:
            inner = Handshake(self._key, self._keys.next(), handshake.their_node_id)

        def receive(data: bytes) -> tuple[bytes, bytes]:
            answer = inner.receive(data)
            if inner.complete:
                one.node_id = inner.their_node_id
                self._happened("handshake", one)
            return answer

        def came(perform: Callable[[], bytes | None]) -> bytes | None:
            message = perform()
            if message is not None:
                self._happened("received", one, message)
            return message

        def goes(message: bytes) -> None:
            if self._key is None:
                self.outcome.append({"out": one.number, "message": message.hex()})
            self._happened("sent", one, message)

        return WatchedHandshake(inner, receive, came, lambda perform: perform(), goes)

    def send_data(self, descriptor: SocketDescriptor) -> Callable[[bytes, bool], int]:
        number = cast("_Descriptor", descriptor).number

        def send(data: bytes, resume_read: bool) -> int:
            taken: int = self._ask(f"{number}.send_data", len(data))
            if taken and self._key is not None:
                self.outcome.append({"out": number, "data": data[:taken].hex()})
            return taken

        return send

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> MayConnect:
        return may_connect_from_json(self._ask(f"{self._number(descriptor)}.may_connect"))

    def message_received(self, descriptor: SocketDescriptor, message: object, data: bytes) -> None:
        self._ask(f"{self._number(descriptor)}.message_received")

    @staticmethod
    def _number(descriptor: SocketDescriptor) -> int:
        return cast("_Descriptor", descriptor).number

    def peer_connected(self, descriptor: SocketDescriptor, details: PeerDetails) -> None:
        self.outcome.append({"connected": self._number(descriptor), "node_id": details.node_id.hex()})
        self._happened("connected", descriptor)

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        self.outcome.append({"ended": self._number(descriptor), "reason": reason_to_json(reason)})
        self._happened("ended", descriptor, words=str(reason))


def _nobody_waits() -> None:
    pass


def _told(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}")


def _shown(outcome: Json) -> str:
    if outcome is None:
        return "nothing"
    text = json.dumps(outcome)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
