"""Beside a replay: what given handlers answer where a tape's were asked. They hear all, and change nothing.

A handler of the tape is compared with the given one that stands in its place. What the tape's were never asked, because
they did nothing of their own there, the given ones are asked all the same: they may be the first to do something. An
exception, and what a method may not return, is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, cast

from triolight.as_json import Json
from triolight.features import Features
from triolight.handlers import BaseMessageHandler, MessageHandler, overrides
from triolight.manager.mistakes import ask
from triolight.messages import BOLT, Message
from triolight.tape.values import ODD, HandlerRaised, error_to_json, form_of
from triolight.tape.watched import PLACES, plain_class
from triolight.text import printable

MAX_SHOWN: Final = 300
"""Characters of an answer, in words."""
_CUSTOM: Final = "handle_custom_message"
_LIFE: Final = "message_received"
_INSIDE: Final = frozenset({"unhandled"})
"""Methods that are asked by others of the same handler: what comes of those is compared."""

Differs = Callable[[str, tuple[Any, ...], object, object], None]
"""Hears of a difference: ``place.method``, its arguments, the tape's answer, the given handler's."""


class Beside:
    """The given handlers, in the places of those that a tape describes."""

    def __init__(self, given: MessageHandler, described: Mapping[str, Json], differs: Differs) -> None:
        self._given: Final[Mapping[str, BaseMessageHandler]] = {place: getattr(given, place) for place in PLACES}
        self._first: Final = {place: cast("str", what.get("same_as", place)) for place, what in described.items()}
        """Of each place, the first one where the tape's handler stood."""
        self._overrides: Final = {place: frozenset(described[self._first[place]]["overrides"]) for place in PLACES}
        self._plain: Final = {place: plain_class(described[self._first[place]]["bases"]) for place in PLACES}
        self._differs: Final = differs
        self._unasked: Final[dict[type[Message], list[tuple[str, str, BaseMessageHandler]]]] = {}
        for one in given.all:
            one.attach(_nobody_waits)

    def watch(self, place: str, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method in which the tape's handler did nothing of its own, as its stand-in has it from its class."""

        def watched(*arguments: Any) -> Any:
            try:
                answer = method(*arguments)
            except HandlerRaised as error:
                self.asked(place, name, arguments, error)
                raise
            self.asked(place, name, arguments, answer)
            return answer

        return watched

    def asked(self, place: str, method: str, arguments: tuple[Any, ...], answer: object, told: Json = None) -> None:
        """The tape's handler was asked this, and has answered, or raised: `told` is that as the tape has it, if it has.
        Now the given ones are."""
        if method not in _INSIDE:
            self._compare(place, method, arguments, answer, told, self._of(place, method))

    def heard(self, node_id: bytes, message: Message) -> None:
        """A message has come. Those are asked whose place nobody was asked in."""
        chan = self._given["chan_handler"]
        if not self._is_asked("chan_handler", _LIFE) and _has_own(chan, "chan_handler", _LIFE):
            self._compare("chan_handler", _LIFE, (node_id,), None, None, [chan])
        cls = type(message)
        unasked = self._unasked.get(cls)
        if unasked is None:
            unasked = self._unasked[cls] = self._find_unasked(cls)
        for place, method, one in unasked:
            self._compare(place, method, (node_id, message), None, None, [one])

    def _find_unasked(self, cls: type[Message]) -> list[tuple[str, str, BaseMessageHandler]]:
        method = f"handle_{cls.name}" if cls in BOLT else _CUSTOM
        places = [place for place, base in PLACES.items() if hasattr(base, method)]
        found: list[tuple[str, str, BaseMessageHandler]] = []
        for place in places:
            one = self._given[place]
            if not self._is_asked(place, method) and self._home(one, method) == place and _has_own(one, place, method):
                found.append((place, method, one))
        return found

    def _is_asked(self, place: str, method: str) -> bool:
        """Whether the manager asks the tape's handler of this place, be it as that of another one."""
        first = self._first[place]
        places = [other for other in PLACES if self._first[other] == first and hasattr(PLACES[other], method)]
        return any(self._is_asked_as(other, method) for other in places)

    def _is_asked_as(self, place: str, method: str) -> bool:
        if method in self._overrides[place] or hasattr(BaseMessageHandler, method):
            return True
        if getattr(self._plain[place], method) is not getattr(PLACES[place], method):
            return True  # it stands in several, and has it from another one
        return place == "chan_handler" and method not in (_LIFE, "handle_channel_update")

    def _home(self, one: BaseMessageHandler, method: str) -> str:
        """The place in which a handler is asked that stands in several: one where the tape's was, if there is one."""
        places = [place for place, other in self._given.items() if other is one and hasattr(PLACES[place], method)]
        return next((place for place in places if self._is_asked(place, method)), places[0])

    def _of(self, place: str, method: str) -> list[BaseMessageHandler]:
        """The given handlers that stand where the tape's handler of this place stood, each once."""
        found: list[BaseMessageHandler] = []
        for other, first in self._first.items():
            one = self._given[other]
            stands = first == place and hasattr(PLACES[other], method) and not any(one is each for each in found)
            if stands and self._first[self._home(one, method)] == place:
                found.append(one)
        return found

    def _compare(
        self,
        place: str,
        method: str,
        arguments: tuple[Any, ...],
        answer: object,
        told: Json,
        handlers: list[BaseMessageHandler],
    ) -> None:
        form = form_of(method)
        given = _together(method, [_answer_of(one, method, arguments) for one in handlers])
        before = _as_told(answer, form.to_json) if told is None else told
        if before != _as_told(given, form.to_json):
            self._differs(f"{place}.{method}", arguments, answer, given)


def _has_own(one: BaseMessageHandler, place: str, method: str) -> bool:
    return overrides(one, PLACES[place], method)


def _nobody_waits() -> None:
    pass


def _answer_of(one: BaseMessageHandler, method: str, arguments: tuple[Any, ...]) -> Any:
    """An exception is an answer."""
    try:
        answer = ask(one, method, *arguments)
        return list(answer) if form_of(method).many else answer
    except BaseException as error:
        if not isinstance(error, Exception):
            raise
        return error


def _together(method: str, answers: list[Any]) -> Any:
    """The answer of several that stand where one stood."""
    if len(answers) == 1:
        return answers[0]
    raised = next((one for one in answers if isinstance(one, Exception)), None)
    if raised is not None:
        return raised
    if form_of(method).many:
        return [one for some in answers for one in some]
    if method.startswith("provided_"):
        features = Features()
        for one in answers:
            features |= one
        return features
    return next((one for one in answers if one is not None), None)


def _as_told(answer: Any, to_json: Callable[[Any], Json]) -> Json:
    if isinstance(answer, HandlerRaised):
        return {"raises": str(answer)}
    if isinstance(answer, Exception):
        told = error_to_json(answer)
        return {"raises": f"{told['name']}: {told['words']}" if "name" in told else str(answer)}
    return to_json(answer)


def shown(answer: object) -> str:
    """For people."""
    if isinstance(answer, Exception):
        told = _as_told(answer, lambda one: None)
        return printable(f"raised {told['raises']}", MAX_SHOWN)
    with suppress(*ODD):
        return printable(repr(answer), MAX_SHOWN)
    return type(answer).__name__
