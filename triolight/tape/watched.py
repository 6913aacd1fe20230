"""What stands between a manager and its noise and handlers while a tape is made or played: it watches, or it answers.

Whoever watches changes nothing. Without secrets there is no noise to play back: what stands in for it has its lengths,
and the messages from the tape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, cast

from triolight.as_json import Json
from triolight.handlers import (
    BaseMessageHandler,
    ChannelMessageHandler,
    CustomMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    RoutingMessageHandler,
    overrides,
)
from triolight.noise import ACT_ONE_LENGTH, MAX_LENGTH, OVERHEAD, Handshake, Opener, Sealer
from triolight.tape.calls import zeros
from triolight.tape.values import EVENTS

PLACES: Final[Mapping[str, type[BaseMessageHandler]]] = {
    "route_handler": RoutingMessageHandler,
    "chan_handler": ChannelMessageHandler,
    "onion_handler": OnionMessageHandler,
    "custom_handler": CustomMessageHandler,
}
"""The places of a MessageHandler, in the order in which they are described."""


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

    def next_messages(self, most: int) -> list[bytes]:
        return _one_at_a_time(self)


def _one_at_a_time(opener: Opener) -> list[bytes]:
    """On a tape a message stands right before what became of it."""
    message = opener.next_message()
    return [] if message is None else [message]


class _WatchedSealer(Sealer):
    __slots__ = ("_goes", "_inner")

    def __init__(self, inner: Sealer, goes: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._goes = goes

    def seal(self, message: bytes) -> bytes:
        sealed = self._inner.seal(message)
        self._goes(message)
        return sealed

    def seal_all(self, messages: list[bytes]) -> bytes:
        return b"".join([self.seal(message) for message in messages])


class TapedHandshake(Handshake):
    """Acts of zeros; what became of them is on the tape."""

    __slots__ = ("_ask", "_number")

    def __init__(self, number: int, their_node_id: bytes | None, ask: Callable[..., Json]) -> None:
        self._number = number
        self._ask = ask
        self._expects = 1 if their_node_id is None else 2
        self.their_node_id = their_node_id
        self.opener = None
        self.sealer = None

    def act_one(self) -> bytes:
        return bytes(ACT_ONE_LENGTH)

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        unknown: Json = {"took": len(data), "wrote": 0, "act": self.act, "node_id": None}
        told = self._ask(f"{self._number}.act", unknown)
        self._expects = told["act"]
        if told["node_id"] is not None:
            self.their_node_id = bytes.fromhex(told["node_id"])
            self.opener = _TapedOpener(self._number, self._ask)
            self.sealer = _TapedSealer()
        return zeros(told["wrote"]), data[told["took"] :]


class _TapedOpener(Opener):
    __slots__ = ("_ask", "_number", "_size")

    def __init__(self, number: int, ask: Callable[..., Json]) -> None:
        self._number = number
        self._ask = ask
        self._size = 0

    @property
    def buffered(self) -> int:
        size: int = self._ask(f"{self._number}.buffered", self._size)
        return size

    def feed(self, data: bytes) -> None:
        self._size += len(data)

    def next_message(self) -> bytes | None:
        told = self._ask(f"{self._number}.in")
        if told is None:
            return None
        message = bytes.fromhex(told)
        self._size -= len(message) + OVERHEAD
        return message

    def next_messages(self, most: int) -> list[bytes]:
        return _one_at_a_time(self)


class _TapedSealer(Sealer):
    __slots__ = ()

    def __init__(self) -> None:
        pass

    def seal(self, message: bytes) -> bytes:
        if len(message) > MAX_LENGTH:
            raise ValueError(f"a message has at most {MAX_LENGTH} bytes, not {len(message)}")
        return bytes(len(message) + OVERHEAD)

    def seal_all(self, messages: list[bytes]) -> bytes:
        return b"".join([self.seal(message) for message in messages])


def plain_class(bases: Iterable[str]) -> type[BaseMessageHandler]:
    """A handler of these places that does nothing of its own."""
    return cast("type[BaseMessageHandler]", type("Plain", tuple(PLACES[name] for name in bases), {}))


def describe_handlers(handler: MessageHandler) -> dict[str, Json]:
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
        plain = plain_class(bases)
        names = _methods_of((plain,))
        own = {name for name in names if overrides(one, plain, name)}
        described[place] = {"bases": bases, "overrides": sorted(own | {EVENTS})}
    return described


Watch: TypeAlias = Callable[[str, str, Callable[..., Any]], Callable[..., Any]]
"""Place, method and what it does, to what is called instead."""


_OUTSIDE: Final = frozenset({"announce", "attach", "charge", "last_announced", "push", "wake"})
"""What is the handler's own to call, or is asked where no tape stands: our announcement comes onto it as messages."""


def _methods_of(classes: Iterable[type[BaseMessageHandler]]) -> set[str]:
    """What the manager may ask of such a handler."""
    names = {name for cls in classes for name in dir(cls) if not name.startswith("_")}
    return names - _OUTSIDE


def _looked_up(place: str, names: set[str], watch: Watch) -> Callable[..., Any]:
    """The look-up of a stand-in's attributes, by which it is not seen that anything is done in these methods."""
    found: dict[str, Any] = {}

    def look_up(self: BaseMessageHandler, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name not in names:
            return value
        if name not in found:
            found[name] = watch(place, name, value)
        return found[name]

    return look_up


def stand_ins(
    described: Mapping[str, Json], ask: Callable[[str], Callable[..., Any]], watch: Watch | None = None
) -> MessageHandler:
    """Handlers that pass on what the described ones do in their own way: ``ask(place)(method, *arguments)``. What they
    do not passes by `watch`, if there is one; they count as handlers that do nothing of their own there."""
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
        body = {name: method(name) for name in what["overrides"]}
        if watch is not None:
            body["__getattribute__"] = _looked_up(place, _methods_of(bases) - {*body}, watch)
        made[place] = type("StandIn", bases, body)()
    return MessageHandler(**made)
