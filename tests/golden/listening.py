"""The one place that listens to a replay: what the manager asks and tells while a tape is played, in order, as text.

A tape holds calls, answers that are not the usual one, and what is written and decided. It does not hold how often the
manager asks, in which order, and what else it tells its driver. All of that is a line of text for each call here, so
that whoever asks once more, once less or in another order is found out, and the line says where.

How it is read:

* ``read_event 1: ...``: a call and the connection that it is about, then what followed from it. The count of the same
  question before it in its call is what a tape calls `nth`.
* ``chan.handle_stfu``, ``1.in``: a question, by its key on the tape, where that is ``chan_handler.handle_stfu``;
  ``.events`` is short for ``.get_and_clear_pending_msg_events``. ``route+chan.peer_connected``: one after the other.
* ``{send_message: ...}``: a call from inside the answer to the question before it.
* ``1!ended``: what the driver is told, and with ``1!wait`` and ``1!read`` whether it may read, if that has changed.
* ``=True``, ``!raises=PeerHandleError``: what the caller gets. ``!wakes``: `on_work` was called.
* ``unfinished 1``: connections that are to be read on.

Everything here that knows the inside of the replay is in `listen`: that is what moves when the replay does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from tests.support.inside import NOBODY_WAITS, PLAYER, PlayedCall, Player
from triolight import DisconnectReason, Happening, Replay, SocketDescriptor, TapeMismatch
from triolight.connection import OutstandingPing
from triolight.messages import Init, Registry
from triolight.peer_manager import PeerDetails
from triolight.tape.values import EVENTS

RETURNS: Final = ("forget_ping", "read_event", "send_encoded", "send_ping")
"""Calls whose answer tells a driver something that is not on the tape."""
Lines: TypeAlias = list[list[str]]
"""The words of each call."""
_ASKED: Final = re.compile(r"([a-z+]+)\.([a-z_0-9]+)")
"""One handler, or several in a row."""
_NOISE: Final = re.compile(r"\d+\.(act|in|buffered)")
"""What the noise is asked. Of a tape with secrets it is no part of the replay: its answers follow from the bytes."""


def to_text(lines: Lines) -> str:
    return "".join(" ".join(_joined(line)) + "\n" for line in lines)


def from_text(text: str) -> Lines:
    return [[one for word in line.split() for one in _apart(word)] for line in text.splitlines()]


def without_noise(lines: Lines) -> Lines:
    return [[word for word in line if not _NOISE.fullmatch(word)] for line in lines]


def _joined(words: Iterable[str]) -> list[str]:
    """Handlers that are asked the same in a row, as one word."""
    found: list[str] = []
    for word in words:
        this, last = _ASKED.fullmatch(word), _ASKED.fullmatch(found[-1]) if found else None
        if this and last and this[2] == last[2] and this[1] not in last[1].split("+"):
            found[-1] = f"{last[1]}+{word}"
        else:
            found.append(word)
    return found


def _apart(word: str) -> list[str]:
    asked = _ASKED.fullmatch(word)
    return [word] if asked is None else [f"{place}.{asked[2]}" for place in asked[1].split("+")]


class Notes:
    """What is heard, a line for each call."""

    def __init__(self) -> None:
        self.lines: Lines = []
        self._words: list[str] = []
        self._depth = 0
        self._reading: dict[int, bool] = {}
        self._woken = False

    def add(self, word: str) -> None:
        self._words.append(word)

    def may_read(self, connection: int, may: bool) -> None:
        if self._reading.get(connection, True) != may:
            self._reading[connection] = may
            self.add(f"{connection}!{'read' if may else 'wait'}")

    def wakes(self) -> None:
        # How often is nobody's concern: once is enough to wake whoever sleeps.
        self._woken = True

    def call(self, title: str, perform: Callable[[], None]) -> None:
        """A call, and all that is heard while it lasts. From inside another one it is a part of that one's line."""
        if self._depth:
            for word in ("{" + title + ":").split():
                self.add(word)
        else:
            self._words, self._woken = [*f"{title}:".split()], False
        self._depth += 1
        try:
            perform()
        except Exception as error:
            self.add(f"!raises={type(error).__name__.strip('_')}")
            raise
        finally:
            self._depth -= 1
            if self._depth:
                self.add("}")
            else:
                if self._woken:
                    self.add("!wakes")
                self.lines.append(self._words)

    def after(self, *words: str) -> None:
        """What belongs to the call that has just ended."""
        self.lines[-1] += words


def _short(key: str) -> str:
    return key.replace("_handler.", ".").replace(EVENTS, "events")


def listen(path: Path, messages: Registry) -> tuple[list[Happening], Lines]:
    """Plays a tape, compares all that the replay compares, and returns what happened and what was heard.

    TapeMismatch says, besides where, what was heard last.
    """
    notes = Notes()
    managers: list[Any] = []

    class Listening(Player):
        """The replay's own stand-in for whoever the manager asks and tells."""

        def __init__(self, header: dict[str, Any], messages: Registry) -> None:
            super().__init__(header, messages)
            managers.append(self.manager)
            for name in RETURNS:
                vars(self.manager)[name] = _returning(getattr(self.manager, name))

        # -- calls

        def play(self, call: PlayedCall) -> None:
            super().play(call)
            unfinished = [self._number(one) for one in self.manager.unfinished()]
            if unfinished:
                notes.after("unfinished", *map(str, unfinished))

        def _perform(self, name: str, told: dict[str, Any]) -> None:
            of = told.get("of")
            notes.call(name if of is None else f"{name} {of}", lambda: super(Listening, self)._perform(name, told))

        def opened(self, told: dict[str, Any], node_id: bytes | None) -> SocketDescriptor:
            descriptor = super().opened(told, node_id)
            vars(descriptor)["disconnect_socket"] = lambda: notes.add(f"{told['of']}!closed")
            return descriptor

        # -- questions

        def _ask(self, key: str, usual: Any = None) -> Any:
            notes.add(_short(key))
            return super()._ask(key, usual)

        def send_data(self, descriptor: SocketDescriptor) -> Callable[[bytes, bool], int]:
            number, send = self._number(descriptor), super().send_data(descriptor)

            def asked(data: bytes, resume_read: bool) -> int:
                notes.may_read(number, resume_read)
                return send(data, resume_read)

            return asked

        # -- what it tells

        def _tells(self, descriptor: SocketDescriptor, what: str) -> None:
            notes.add(f"{self._number(descriptor)}!{what}")

        def handshake_done(self, descriptor: SocketDescriptor, node_id: bytes) -> None:
            self._tells(descriptor, "handshake_done")

        def peer_connected(self, descriptor: SocketDescriptor, details: PeerDetails) -> None:
            way = "inbound" if details.inbound else "outbound"
            self._tells(descriptor, f"connected({way},{details.features.to_bytes().hex()})")
            super().peer_connected(descriptor, details)

        def peer_parked(self, descriptor: SocketDescriptor) -> None:
            self._tells(descriptor, "parked")

        def peer_demoted(self, descriptor: SocketDescriptor, reason: DisconnectReason) -> None:
            self._tells(descriptor, f"demoted({reason.code})")

        def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
            self._tells(descriptor, f"ended({reason.code}{'' if init is None else ',init'})")
            super().peer_ended(descriptor, reason, init)

        def peer_throttled(self, descriptor: SocketDescriptor, seconds: float) -> None:
            self._tells(descriptor, f"throttled({seconds:g})")

        def pong_received(self, descriptor: SocketDescriptor, ping: OutstandingPing | None, now: float) -> None:
            answers = "none" if ping is None else f"{ping.length},{now - ping.sent_at:g}"
            self._tells(descriptor, f"pong({answers})")

    def _returning(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            answer = method(*arguments, **named)
            notes.add(f"={answer}")
            return answer

        return call

    played = Replay(path, messages=messages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PLAYER, Listening)
        patch.setattr(NOBODY_WAITS, notes.wakes)
        try:
            happenings = list(played)
        except TapeMismatch as error:
            error.add_note(f"heard last:\n{to_text(notes.lines[-3:])}")
            raise
    (manager,) = managers
    work, dropped = manager.work_done, manager.events_dropped
    last = f"{played.calls} calls, work {work}, events dropped {dropped}, the end: {played.ended}"
    return happenings, [*notes.lines, last.split()]
