"""Mistakes: what a handler may not answer, and methods of one that nobody would ever call. Decides nothing else.

What it may answer is a row of a table. Anything else is a bug of the handler, as an exception is: TypeError in its
name, from where the answer was taken. A method called ``handle_…`` that no message leads to is found before anything
begins.

The usual answer to a message, None, is let pass where it is taken: it costs no call.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from triolight.actions import ACTIONS, EVENTS
from triolight.features import Features
from triolight.handlers import (
    BaseMessageHandler,
    ChannelMessageHandler,
    CustomMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    RoutingMessageHandler,
)
from triolight.messages import BOLT, Message, Registry, UnknownMessage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _May:
    """What a method may answer."""

    types: tuple[type[Any], ...]
    words: str


_NAMES: Final = ", ".join(cls.__name__ for cls in ACTIONS)
_ACTION: Final = _May((type(None), *ACTIONS), f"None or an action ({_NAMES})")
_NOTHING: Final = _May((type(None),), "nothing")
_FEATURES: Final = _May((Features,), "Features")
_EVENTS_WORDS: Final = f"events ({', '.join(cls.__name__ for cls in EVENTS)})"
_ROWS: Final = {
    "peer_connected": _May((type(None), bool, *ACTIONS), f"True, False, None or an action ({_NAMES})"),
    "peer_disconnected": _NOTHING,
    "message_received": _NOTHING,
    "handle_error": _NOTHING,
    "provided_init_features": _FEATURES,
    "provided_node_features": _FEATURES,
    "get_and_clear_pending_msg_events": _May((Iterable,), f"{_EVENTS_WORDS}, in a list or another iterable"),
    "next_gossip": _May((Iterable,), "encoded messages, type bytes included, in a list or another sequence"),
    "processing_queue_high": _May((object,), "True or False"),
    "protects": _May((object,), "True or False"),
}
"""The methods that are no message's; those that are may answer with `_ACTION`."""


def checked(answer: T, handler: BaseMessageHandler, method: str) -> T:
    """The answer of this handler's method, as it is. TypeError in their name for one that it may not give."""
    may = _ROWS.get(method, _ACTION)
    if type(answer) in may.types:
        return answer  # what nearly all of them give, without the questions below
    if not isinstance(answer, may.types) or inspect.iscoroutine(answer):
        if may is _ACTION and isinstance(answer, bool) and answer:
            return answer  # as much as None: whoever says so means that all is well
        raise mistake(answer, handler, method, may.words, "which is not iterable" if Iterable in may.types else "")
    return answer


def ask(handler: BaseMessageHandler, method: str, *arguments: Any) -> Any:
    """Calls this method of a handler: what it answers, `checked`."""
    return checked(getattr(handler, method)(*arguments), handler, method)


def checked_events(given: Any, handler: BaseMessageHandler) -> Iterator[Any]:
    """What a handler gave as its events, each looked at when its turn comes."""
    method = "get_and_clear_pending_msg_events"
    # All of them first: what an iterator of a handler does meanwhile is the next turn's.
    for event in list(checked(given, handler, method)):
        # What a tape plays in place of an event has its messages and no class of ours.
        if type(event) not in EVENTS and not isinstance(event, EVENTS) and not hasattr(event, "caused"):
            raise mistake(event, handler, method, _EVENTS_WORDS, "which is no event")
        yield event


def checked_gossip(given: Iterable[bytes], handler: BaseMessageHandler, room: int) -> tuple[bytes, ...]:
    """What a handler gave for a peer that has so many bytes of room. TypeError and ValueError, in its name, for what no
    wire could take."""
    method = "next_gossip"
    messages = tuple(checked(given, handler, method))
    for one in messages:
        if not isinstance(one, bytes) or len(one) < 2:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{type(handler).__name__}.{method} gives {_ROWS[method].words}; not {one!r:.80}")
    size = sum(map(len, messages))
    if size > room:
        raise ValueError(f"{type(handler).__name__}.{method} was asked for at most {room} bytes, and gave {size}")
    return messages


def mistake(answer: object, handler: BaseMessageHandler, method: str, may: str, which: str = "") -> TypeError:
    """What to raise for an answer that is none: who gave it, what it is, what is meant."""
    kind = type(answer).__name__
    what = "None" if answer is None else f"{'an' if kind[:1] in 'AEIOUaeiou' else 'a'} {kind}"
    hint = ""
    if inspect.iscoroutine(answer):
        answer.close()  # nobody awaits it: one complaint is enough
    if inspect.iscoroutine(answer) or inspect.isasyncgen(answer):
        hint = " A handler never waits: its methods are `def`, not `async def`."
    elif isinstance(answer, EVENTS):
        hint = " An event is given to `push`."
    elif isinstance(answer, Message | UnknownMessage):
        hint = " A message is sent by an action or an event: push(SendMessages(node_id, message))."
    gave = f"{what}, {which}" if which else what
    return TypeError(f"{type(handler).__name__}.{method} gave {gave}; it gives {may}.{hint}")


# Methods that nobody calls.

_PLACES: Final[tuple[tuple[str, type[BaseMessageHandler]], ...]] = (
    ("chan_handler", ChannelMessageHandler),
    ("route_handler", RoutingMessageHandler),
    ("onion_handler", OnionMessageHandler),
    ("custom_handler", CustomMessageHandler),
)


def check_methods(handler: MessageHandler, messages: Registry) -> None:
    """TypeError for a handler with a method ``handle_…`` that is never called, wherever that handler stands.

    A class made for several places may stand in one of them. Registered messages that are no BOLT's go to
    `handle_custom_message`, which may pass them on by their names, so these names are an application's own.
    """
    ours = {f"handle_{cls.name}" for cls in messages if cls not in BOLT}
    for one in handler.all:
        cls = type(one)
        stands = {place: base for place, base in _PLACES if getattr(handler, place) is one}
        bases = (*stands.values(), *(base for _, base in _PLACES if issubclass(cls, base)))
        for name in sorted({*dir(cls), *getattr(one, "__dict__", {})}):
            if not name.startswith("handle_") or name in ours or any(hasattr(base, name) for base in bases):
                continue
            if callable(getattr(one, "__dict__", {}).get(name) or inspect.getattr_static(cls, name, None)):
                raise TypeError(f"{cls.__name__}.{name} is never called: {_why(name, stands, bases)}")


def _why(name: str, stands: Iterable[str], bases: Iterable[type[BaseMessageHandler]]) -> str:
    elsewhere = [place for place, base in _PLACES if hasattr(base, name)]
    if elsewhere:
        return f"it is a method of {' and '.join(elsewhere)}, and this handler is {' and '.join(stands)}"
    if any(name == f"handle_{cls.name}" for cls in BOLT):
        return f"the manager answers to {name.removeprefix('handle_')} itself"
    import difflib  # for those alone who have made one

    names = {method for base in bases for method in dir(base) if method.startswith("handle_")}
    near = difflib.get_close_matches(name, sorted(names), 1)
    meant = f"did you mean {near[0]}?" if near else "give a method of your own another name"
    return f"there is no such message; {meant}"
