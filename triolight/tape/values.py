"""Values as a tape has them: each form of JSON beside what is made of it again. Knows no manager and no file.

An answer must not fail on its way to the tape which does no harm in the manager, and what it does there it does again:
what is not what it should be is told as `untold`. A list, a tuple, a number, a text and bytes of any kind come back as
they were where the manager uses them; of anything else, whether it is true, and what it has of a message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, cast

from triolight.actions import (
    DisconnectPeer,
    DisconnectPeerWithWarning,
    GossipWaits,
    HandleError,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    MessageSendEvent,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    UpdateHtlcs,
)
from triolight.address import Address, descriptor_of, read_addresses, write_address
from triolight.as_json import Json
from triolight.errors import DisconnectCode, DisconnectReason, Side
from triolight.features import Features
from triolight.manager.seams import WAIT, MayConnect, Wait
from triolight.messages import Error, Message, UnknownMessage, Warning
from triolight.noise import Fault, HandshakeFailed, PacketFailed
from triolight.text import printable

EVENTS: Final = "get_and_clear_pending_msg_events"
"""The method of a handler whose answer is its events."""
GOSSIP: Final = "next_gossip"
"""The method of a handler whose answer is what a peer hears next."""
_ACTIONS: Final[Mapping[str, type[Any]]] = {
    cls.__name__: cls
    for cls in (
        DisconnectPeer,
        DisconnectPeerWithWarning,
        IgnoreAndLog,
        IgnoreDuplicateGossip,
        IgnoreError,
        SendErrorMessage,
        SendWarningMessage,
    )
}


class HandlerRaised(Exception):
    """In place of whatever a handler raised."""


ODD: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What objects raise that are not what they should be."""
MAX_DEPTH: Final = 4
"""Lists in lists that are told."""
MAX_INT_BITS: Final = 4096
"""Of a number that is told: Python reads no more than some thousand digits."""


# What is not what it should be.


_MANY: Final[tuple[type[Any], ...]] = (list, tuple, set, frozenset)
_BYTES: Final[tuple[type[Any], ...]] = (bytes, bytearray, memoryview)
_PLAIN: Final[tuple[type[Any], ...]] = (int, float, str, *_BYTES, *_MANY)
"""What comes back as it was; of a class that is made from one of these, that one."""
_BY_NAME: Final[Mapping[str, type[Any]]] = {cls.__name__: cls for cls in _PLAIN}


def untold_to_json(value: object) -> dict[str, Json]:
    """Where nothing follows from it but from whether it is true."""
    return {"untold": type(value).__name__, "true": _truth(value)}


def _truth(value: object) -> bool | None:
    """None: it is neither."""
    try:
        return bool(value)
    except ODD:
        return None


def odd_to_json(value: object, depth: int = MAX_DEPTH) -> Json:
    """As it is, where the manager does something with it."""
    if value is None or isinstance(value, bool):
        return value
    told = untold_to_json(value)
    cls = next((cls for cls in _PLAIN if isinstance(value, cls)), None)
    if cls is not None:
        with suppress(*ODD):  # of a class that is only made from it
            plain = _plain_to_json(value, depth)
            if _truth(_plain_from_json(cls, plain)) == told["true"]:
                told |= {"as": cls.__name__, "is": plain}
    return told


def _plain_to_json(value: Any, depth: int) -> Json:
    if isinstance(value, int):
        if value.bit_length() > MAX_INT_BITS:
            raise ValueError("a large number")
        return int(value)
    if isinstance(value, float | str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return value.hex()
    if not depth:
        raise ValueError("lists in lists")
    return [odd_to_json(one, depth - 1) for one in value]


def _plain_from_json(cls: type[Any], plain: Json) -> Any:
    if cls in _MANY:
        plain = [odd_from_json(one) for one in plain]
    elif cls in _BYTES:
        plain = bytes.fromhex(plain)
    return cast("Callable[[Any], Any]", cls)(plain)


def odd_from_json(told: Json) -> Any:
    if not isinstance(told, dict):
        return told
    parts = cast("dict[str, Json]", told)
    if "as" not in parts:
        return _Untold(parts)
    return _plain_from_json(_BY_NAME[parts["as"]], parts["is"])


def _like_a_message_to_json(value: object) -> Json:
    """Of what stands where a message should: what the manager asks of one."""
    told = odd_to_json(value)
    if isinstance(told, dict) and "as" not in told:
        asked: tuple[tuple[str, Callable[[Any], Any]], ...] = (
            ("data", lambda one: one.data),
            ("encodes", lambda one: one.encode()),
        )
        for name, ask in asked:
            with suppress(*ODD):  # it will raise again, whatever it is
                told[name] = odd_to_json(ask(value))
    return cast("Json", told)


class _Untold:
    """In place of what a handler should not have answered: true or not as that was, with what that had of a message,
    and of no other use."""

    def __init__(self, told: Mapping[str, Json]) -> None:
        self._told: Final = told
        self._kind: Final = str(told["untold"])

    def __bool__(self) -> bool:
        return _as_true(self._told["true"])

    def __getattr__(self, name: str) -> Any:
        if name == "data" and "data" in self._told:
            return odd_from_json(self._told["data"])
        if name == "encode" and "encodes" in self._told:
            return lambda: odd_from_json(self._told["encodes"])
        raise HandlerRaised(f"a {self._kind} has no {name}")

    def __getitem__(self, key: object) -> Any:
        raise HandlerRaised(f"a {self._kind} is no text")


def _as_true(told: Json) -> bool:
    if told is None:
        raise HandlerRaised("neither true nor false")
    return bool(told)


# Node ids, addresses, words, reasons, errors.


def node_id_to_json(node_id: bytes) -> str:
    """Empty for what is none: no peer has it."""
    return node_id.hex() if isinstance(node_id, bytes) else ""  # pyright: ignore[reportUnnecessaryIsInstance]


def node_id_from_json(told: str) -> bytes:
    return bytes.fromhex(told)


def address_to_json(address: Address | tuple[str, int] | None) -> Json:
    if isinstance(address, tuple):
        address = descriptor_of(*address)
    return address and write_address(address).hex()


def address_from_json(told: Json) -> Address | None:
    return read_addresses(bytes.fromhex(told))[0] if told else None


def reason_to_json(reason: DisconnectReason | str | None) -> Json:
    """A whole reason, or an application's words for one."""
    if isinstance(reason, DisconnectReason):
        return {"code": reason.code.value, "by": reason.by.value, "message": reason.message}
    return _words_to_json(reason)


def _words_to_json(words: object) -> Json:
    if isinstance(words, bytes):
        return words.decode("latin-1")  # as `printable` takes them
    return words if words is None or isinstance(words, str) else odd_to_json(words)


def reason_from_json(told: Json) -> DisconnectReason | str | None:
    if isinstance(told, dict):
        parts = cast("dict[str, str]", told)
        if "untold" in parts:
            return cast("str", odd_from_json(parts))
        return DisconnectReason(DisconnectCode(parts["code"]), Side(parts["by"]), parts["message"])
    return cast("str | None", told)


def may_connect_to_json(answer: MayConnect) -> Json:
    """Also that there is none yet."""
    return answer.value if isinstance(answer, Wait) else reason_to_json(answer)


def may_connect_from_json(told: Json) -> MayConnect:
    return WAIT if told == WAIT.value else cast("DisconnectReason | None", reason_from_json(told))


def error_to_json(error: BaseException) -> Json:
    match error:
        case HandshakeFailed(act=act, fault=fault, detail=detail):
            return {"act": act, "fault": fault.value, "detail": detail}
        case PacketFailed():
            return {"packet": str(error)}
        case _:
            return {"name": type(error).__name__, "words": printable(str(error))}


def error_from_json(told: Mapping[str, Json]) -> Exception:
    if "act" in told:
        return HandshakeFailed(told["act"], Fault(told["fault"]), told["detail"])
    if "packet" in told:
        return PacketFailed(told["packet"])
    return HandlerRaised(f"{told['name']}: {told['words']}")


# Messages.


def message_to_json(message: object) -> Json:
    if not isinstance(message, Message | UnknownMessage):
        return untold_to_json(message)
    try:
        return message.encode().hex()
    except ValueError as error:
        return {"cannot_be_encoded": str(error)}
    except ODD as error:
        return {"cannot_be_encoded": str(error), "raises": type(error).__name__}


def message_from_json(told: Json, read: Callable[[bytes], Any]) -> Any:
    """`read` makes a message of its bytes."""
    if isinstance(told, str):
        return read(bytes.fromhex(told))
    return odd_from_json(told) if "untold" in told else _Unencodable(told["cannot_be_encoded"], told.get("raises"))


def _last_words_to_json(message: object) -> Json:
    """An action's message: an Error or a Warning, None, or whatever stands in its place."""
    if message is None:
        return None
    if not isinstance(message, Error | Warning):
        return _like_a_message_to_json(message)
    if isinstance(message.data, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        return message_to_json(message)
    # Its text is looked at as it is, whatever becomes of the message.
    parts = {"channel_id": odd_to_json(message.channel_id), "data": odd_to_json(message.data)}
    return {"words_of": message.name, **parts}


def _last_words_from_json(told: Json) -> Any:
    if isinstance(told, dict) and "words_of" in told:
        parts = cast("dict[str, Json]", told)
        cls = Error if parts["words_of"] == Error.name else Warning
        return cls(channel_id=odd_from_json(parts["channel_id"]), data=odd_from_json(parts["data"]))
    return told if told is None or isinstance(told, bool) else message_from_json(told, _as_words)


def as_unknown(data: bytes) -> UnknownMessage:
    """A message that encodes to these bytes, whatever it is."""
    return UnknownMessage(int.from_bytes(data[:2], "big"), data[2:])


def _as_words(data: bytes) -> Error | Warning:
    return Error.decode(data) if data[:2] == Error.type.to_bytes(2, "big") else Warning.decode(data)


class _Unencodable:
    """In place of a message that could not be encoded."""

    data = b""

    def __init__(self, words: str, raises: str | None) -> None:
        self._words: Final = words
        self._raises: Final = raises
        """None: a ValueError, of which the manager tells the peer. Anything else was a bug."""

    def encode(self) -> bytes:
        raise ValueError(self._words) if self._raises is None else HandlerRaised(f"{self._raises}: {self._words}")


# What handlers answer.


def action_to_json(action: Any) -> Json:
    """An ErrorAction, a bool, None, or whatever else a handler may have returned."""
    if action is None or isinstance(action, bool):
        return action
    name = next((name for name, cls in _ACTIONS.items() if isinstance(action, cls)), None)
    if name is None:
        return untold_to_json(action)
    told: dict[str, Json] = {"action": name}
    for one in fields(_ACTIONS[name]):
        value = getattr(action, one.name)
        match one.name:
            case "message":
                told[one.name] = _last_words_to_json(value)
            case "reason":
                told[one.name] = _words_to_json(value)
            case _:
                told[one.name] = value if isinstance(value, int) else odd_to_json(value)
    return told


class _NoAction(IgnoreError):
    """In place of an answer that was let pass, by `protects` or by a manager that let anything pass: nothing follows
    from it but what it is true for."""

    def __init__(self, true: bool | None) -> None:
        super().__init__("let pass" if true else "")
        object.__setattr__(self, "_true", true)

    def __bool__(self) -> bool:
        return _as_true(vars(self)["_true"])


def action_from_json(told: Json) -> Any:
    if not isinstance(told, dict):
        return told
    parts = cast("dict[str, Json]", told)
    if "untold" in parts:
        return _NoAction(parts["true"])
    named = {name: value for name, value in parts.items() if name != "action"}
    if "message" in named:
        named["message"] = _last_words_from_json(named["message"])
    for name in ("reason", "level"):
        if name in named:
            named[name] = odd_from_json(named[name])
    return _ACTIONS[parts["action"]](**named)


def _action_words(told: Json) -> str | None:
    """For people: what a handler wanted. None: nothing."""
    if not isinstance(told, dict):
        return None
    parts = cast("dict[str, Json]", told)
    return f"a {parts['untold']}, which is no answer" if "untold" in parts else str(parts["action"])


def features_to_json(found: object) -> Json:
    return found.to_bytes().hex() if isinstance(found, Features) else untold_to_json(found)


def features_from_json(told: Json) -> Any:
    if isinstance(told, dict):
        return odd_from_json(cast("dict[str, Json]", told))
    return Features.from_bytes(bytes.fromhex(told))


def _events_to_json(events: Any) -> Json:
    return [_event_to_json(one) for one in events]


def _event_to_json(event: object) -> Json:
    if isinstance(event, GossipWaits):
        return {"gossip_for": [node_id_to_json(one) for one in event.node_ids]}
    if not isinstance(event, HandleError | SendMessages | UpdateHtlcs):
        return untold_to_json(event)
    if not isinstance(event.node_id, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        return untold_to_json(event)
    node_id = event.node_id.hex()
    if isinstance(event, HandleError):
        return {"node_id": node_id, "action": action_to_json(event.action)}
    messages = [message_to_json(one) for one in event.messages]
    told: dict[str, Json] = {"node_id": node_id, "caused": event.caused, "messages": messages}
    return told if event.most_waiting == math.inf else {**told, "most_waiting": event.most_waiting}


def _events_from_json(told: Json) -> list[MessageSendEvent]:
    return [_event_from_json(one) for one in told]


def _event_from_json(told: dict[str, Json]) -> MessageSendEvent:
    if "untold" in told:
        return cast("MessageSendEvent", odd_from_json(told))
    if "gossip_for" in told:
        return GossipWaits(tuple(node_id_from_json(one) for one in told["gossip_for"]))
    node_id = bytes.fromhex(told["node_id"])
    if "action" in told:
        action = action_from_json(told["action"])
        return HandleError(node_id, _NoAction(False) if action is None or isinstance(action, bool) else action)
    messages = tuple(message_from_json(one, as_unknown) for one in told["messages"])
    pushed = _Pushed(node_id, messages, told["caused"], told.get("most_waiting", math.inf))
    return cast("MessageSendEvent", pushed)


@dataclass(frozen=True, slots=True)
class _Pushed:
    """In place of the SendMessages or UpdateHtlcs that a handler pushed."""

    on_dropped: ClassVar[None] = None
    """The handler that counted them is not here."""

    node_id: bytes
    messages: tuple[Any, ...]
    caused: bool
    most_waiting: float


def _event_words(told: Json) -> list[str]:
    return [_words_of_event(one) for one in told]


def _words_of_event(told: dict[str, Json]) -> str:
    if "untold" in told:
        return "what is no event"
    if "gossip_for" in told:
        return f"gossip for {len(told['gossip_for'])}"
    return f"an event for {told['node_id'][:16]}"


def _gossip_to_json(given: Any) -> Json:
    return [one.hex() if isinstance(one, bytes) else untold_to_json(one) for one in given]


def _gossip_from_json(told: Json) -> list[Any]:
    return [bytes.fromhex(one) if isinstance(one, str) else odd_from_json(one) for one in told]


@dataclass(frozen=True, slots=True)
class Form:
    """How the answers of a handler's method are told."""

    to_json: Callable[[Any], Json]
    from_json: Callable[[Json], Any]
    usual: Json
    """The answer that is not written down, as JSON."""
    words: Callable[[Json], list[str]]
    """What is worth showing of one, for people."""
    many: bool = False
    """Whether it may be an iterator, which is gone through once, for the tape and for the manager."""


_EVENTS_FORM: Final = Form(_events_to_json, _events_from_json, [], _event_words, many=True)
_GOSSIP_FORM: Final = Form(_gossip_to_json, _gossip_from_json, [], lambda told: [], many=True)
_FEATURES_FORM: Final = Form(features_to_json, features_from_json, "", lambda told: [])
_TRUTH_FORM: Final = Form(bool, bool, False, lambda told: [])
_ACTION_FORM: Final = Form(
    action_to_json, action_from_json, None, lambda told: [words for words in (_action_words(told),) if words]
)


def form_of(method: str) -> Form:
    """Of the answers of a handler's method, by its name."""
    if method == EVENTS:
        return _EVENTS_FORM
    if method == GOSSIP:
        return _GOSSIP_FORM
    if method == "processing_queue_high":
        return _TRUTH_FORM
    return _FEATURES_FORM if method.startswith("provided_") else _ACTION_FORM
