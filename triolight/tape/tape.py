"""The tape: everything that a driven PeerManager is told and answered, written to a file as it happens.

A manager's life follows from the calls it gets and from the answers to what it asks: the recorder stands at both places
(`Seams`) and changes nothing. A line is written to a buffered file at once; a file that cannot be written ends the
tape, never the connection.

One JSON object a line. Answers are written only if they are not the usual one: for a handler None, for a socket that it
took everything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from triolight.as_json import Json
from triolight.connection import OutstandingPing
from triolight.errors import DisconnectReason
from triolight.handlers import BaseMessageHandler, MessageHandler
from triolight.logger import Level, Record
from triolight.manager.mistakes import ask as ask_handler
from triolight.manager.seams import Driven, MayConnect, PeerDetails, PeerObserver, Seams, Setup, SocketDescriptor
from triolight.messages import Init, Message, UnknownMessage
from triolight.noise import Handshake
from triolight.tape.calls import CALLS, Call, Fields
from triolight.tape.values import error_to_json, form_of, may_connect_to_json, reason_to_json
from triolight.tape.watched import WatchedHandshake, describe_handlers, stand_ins
from triolight.text import printable

__all__ = [
    "Tape",
]

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


class Tape:
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
        self._reel: Final = Reel(self.path, limit_bytes)
        self._recorder: Final = Recorder(self._reel, kind)

    def __repr__(self) -> str:
        return f"<Tape {self.path}, {self.kind}>"

    @property
    def fault(self) -> str | None:
        """Why it ended before its block did; None if it did not."""
        return self._reel.fault

    @property
    def seams(self) -> Seams:
        """For drivers without `open_peer_nursery`: what `PeerManager.drive` takes as `seams`."""
        return self._recorder


class Reel:
    """The file: whole lines, in order, up to a limit. A fault ends it, and is told once."""

    __slots__ = ("_file", "_limit", "_path", "_told", "_unwritten", "fault", "size")

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path: Final = path
        self._limit: Final = limit_bytes
        self._file: FileIO | None = None
        self._unwritten = bytearray()
        self._told: Callable[[str], None] = lambda words: None
        self.size = 0
        """Bytes, those included that are not written yet."""
        self.fault: str | None = None

    @property
    def running(self) -> bool:
        return self._file is not None

    def open(self, told: Callable[[str], None]) -> None:
        """Makes the file; `told` hears of a fault. OSError: it cannot be made, or is there already."""
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(handle, 0o600)  # the umask takes away what we have asked for: the owner's own right to read
        self._file = FileIO(handle, "wb")
        self._unwritten.clear()
        self._told = told
        self.size = 0
        self.fault = None

    def write(self, record: Json) -> None:
        if self._file is None:
            return
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self.size += len(line)
        self._unwritten += line
        if len(self._unwritten) >= UNWRITTEN_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._file is None:
            return
        try:
            while self._unwritten:
                del self._unwritten[: self._file.write(self._unwritten)]
        except OSError as error:
            self._fail(str(error.strerror or error))
            self._close()

    def end(self, why: str) -> None:
        self.write({"end": why})
        self.flush()
        self._close()

    def end_at_limit(self) -> None:
        """Ends it if it has reached its limit."""
        if self._file is not None and self.size >= self._limit:
            self._fail(f"it has reached its limit of {self._limit} bytes")
            self.end("its limit was reached")

    def _fail(self, words: str) -> None:
        self.fault = f"{self._path}: {words}"
        self._told(f"the tape ends: {printable(self.fault)}")

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class Recorder(Seams):
    """Writes down what passes between a manager and the world: each call, and the answers within it."""

    def __init__(self, reel: Reel, kind: Kind) -> None:
        self._reel: Final = reel
        self.kind: Final[Kind] = kind
        self._now = 0.0
        self._clock: Callable[[], float] = float
        self._frames: list[dict[str, int] | _Question] = []
        """What is under way: a call, with the count of what was asked in it by name; or who is being asked."""
        self._described_handlers: dict[str, Json] = {}
        self._numbers: WeakKeyDictionary[SocketDescriptor, int] = WeakKeyDictionary()
        self._connections = 0

    # Its life.

    def begin(self, manager: Driven, setup: Setup) -> None:
        self._reel.open(lambda words: manager.logger.log(Record(Level.WARN, words, "tape", None, {})))
        self._connections = 0
        self._frames.clear()
        self._described_handlers = describe_handlers(setup.handler)
        self._reel.write(self._header(setup))
        self._reel.flush()
        for name, call in CALLS.items():
            # Beside the method, where whoever calls it finds it first: the shell, a handler, the application.
            vars(manager)[name] = self._recorded(getattr(manager, name), name, call)

    def end(self, manager: Driven) -> None:
        for name in CALLS:
            vars(manager).pop(name, None)
        self._reel.end("the block was left")

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

    # Calls.

    def _recorded(self, method: Callable[..., Any], name: str, row: Call) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            try:
                told = row.tell(self, *args, **named)
            except (AttributeError, TypeError, ValueError):
                # Not what the method takes: the manager says so itself, and has done nothing.
                return method(*args, **named)
            return self._call(name, told, lambda: method(*args, **named))

        def send_encoded(descriptor: SocketDescriptor, encoded: Iterable[bytes]) -> bool:
            queued: bool = call(descriptor, list(encoded))
            return queued

        return send_encoded if name == "send_encoded" else call

    def _call(self, name: str, told: Fields, perform: Callable[[], T]) -> T:
        """Records one call and performs it."""
        asked = self._frames[-1] if self._frames else None
        if asked is None:
            self._now = self._clock()
            self._reel.end_at_limit()
        if not self._reel.running or isinstance(asked, dict):
            return perform()
        record: Fields = {"call": name}
        if asked is None:
            record["at"] = self._now
        else:
            record["during"], record["nth"] = asked
        self._reel.write({**record, **told})
        self._frames.append({})
        try:
            result = perform()
            if isinstance(result, bytes) and self.kind == "with_secrets":
                self._reel.write({"out": told["of"], "data": result.hex()})  # act one, for the caller to write
        finally:
            self._frames.pop()
            if asked is not None:
                # Also of one that has raised: what is asked next is not asked in it.
                self._reel.write({"return": name})
        if asked is None and name == "process_events":
            # No more than a turn is lost with us.
            self._reel.write({"return": name})
            self._reel.flush()
        return result

    def number(self, descriptor: SocketDescriptor) -> int | None:
        """Connections are counted from 1. None: it was never one."""
        return self._numbers.get(descriptor)

    def count(self, descriptor: SocketDescriptor) -> int:
        """The number of a new one."""
        self._connections += 1
        self._numbers[descriptor] = self._connections
        return self._connections

    # Answers.

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
            self._reel.write({"answer": key, "nth": nth, "raises": error_to_json(error)})
            raise
        finally:
            self._frames.pop()
        told = to_json(answer)
        if told != usual:
            self._reel.write({"answer": key, "nth": nth, "is": told})
        return answer

    def clock(self, clock: Callable[[], float]) -> Callable[[], float]:
        # One time for a whole call: how often the manager looks is then nobody's concern.
        self._clock = clock
        return lambda: self._now if self._frames else clock()

    def handlers(self, handler: MessageHandler) -> MessageHandler:
        def ask(place: str) -> Callable[..., Any]:
            real: BaseMessageHandler = getattr(handler, place)

            def call(method: str, *args: Any) -> Any:
                form = form_of(method)

                def perform() -> Any:
                    answer = ask_handler(real, method, *args)
                    return list(answer) if form.many else answer

                return self.ask(f"{place}.{method}", perform, form.to_json, form.usual)

            return call

        made = stand_ins(self._described_handlers, ask)
        for one, real in zip(made.all, handler.all, strict=True):
            type(one).__name__ = type(real).__name__  # a mistake is told in the handler's name
        return made

    def observer(self, observer: PeerObserver) -> PeerObserver:
        return _TapedObserver(self, observer)

    def handshake(self, descriptor: SocketDescriptor, handshake: Handshake) -> Handshake:
        of = self.number(descriptor)
        if self.kind == "with_secrets" or not self._reel.running:
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
            self._reel.write({"out": of, "message": message.hex()})

        return WatchedHandshake(handshake, receive, came, buffered, goes)

    def send_data(self, descriptor: SocketDescriptor) -> Callable[[bytes, bool], int]:
        of = self.number(descriptor)

        def send(data: bytes, resume_read: bool) -> int:
            usual = len(data)
            taken = self.ask(f"{of}.send_data", lambda: descriptor.send_data(data, resume_read), int, usual)
            if taken and self.kind == "with_secrets":
                self._reel.write({"out": of, "data": data[:taken].hex()})
            return taken

        return send

    def happened(self, descriptor: SocketDescriptor, what: str, **fields: Json) -> None:
        """What the manager tells its driver: it follows from the rest, and the replay is held to it."""
        if self._frames:
            self._reel.write({what: self.number(descriptor), **fields})


class _TapedObserver(PeerObserver):
    """Passes everything on. Only from `message_received` may the manager be called, and only `may_connect` answers."""

    def __init__(self, recorder: Recorder, observer: PeerObserver) -> None:
        self._recorder: Final = recorder
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
        self._recorder.happened(descriptor, "connected", node_id=details.node_id.hex())
        self._to.peer_connected(descriptor, details)

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        self._recorder.happened(descriptor, "ended", reason=reason_to_json(reason))
        self._to.peer_ended(descriptor, reason, init)

    def message_received(self, descriptor: SocketDescriptor, message: Message | UnknownMessage, data: bytes) -> None:
        key = f"{self._recorder.number(descriptor)}.message_received"
        self._recorder.ask(key, lambda: self._to.message_received(descriptor, message, data), _nothing)

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> MayConnect:
        key = f"{self._recorder.number(descriptor)}.may_connect"
        return self._recorder.ask(key, lambda: self._to.may_connect(descriptor, node_id, inbound), may_connect_to_json)


def _nothing(answer: object) -> Json:
    return None
