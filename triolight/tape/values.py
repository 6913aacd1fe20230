"""Values as a tape has them: each form of JSON beside what is made of it again. Knows no manager and no file.

An answer must not fail on its way to the tape which does no harm in the manager: what is not what it should be is told
as `untold`, with whether it is true, and comes back as something that is as true and of no other use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, cast

from triolight.address import Address, descriptor_of, read_addresses, write_address
from triolight.as_json import Json
from triolight.errors import DisconnectCode, DisconnectReason, Side
from triolight.features import Features
from triolight.handlers import (
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


# What is not what it should be.


def untold_to_json(value: object) -> Json:
    """As far as it can matter to the manager: whether it is true."""
    try:
        true = bool(value)
    except (TypeError, ValueError):
        true = True
    return {"untold": type(value).__name__, "true": true}


def untold_from_json(told: Mapping[str, Json]) -> Any:
    return _Untold(told["untold"], told["true"])


class _Untold:
    """In place of what a handler should not have answered: true or not as that was, and of no other use."""

    def __init__(self, kind: str, true: bool) -> None:
        self._kind: Final = kind
        self._true: Final = bool(true)

    def __bool__(self) -> bool:
        return self._true

    def __getattr__(self, name: str) -> Any:
        raise HandlerRaised(f"a {self._kind} has no {name}")

    def __getitem__(self, key: object) -> Any:
        raise HandlerRaised(f"a {self._kind} is no text")


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
    return words if words is None or isinstance(words, str) else untold_to_json(words)


def reason_from_json(told: Json) -> DisconnectReason | str | None:
    if isinstance(told, dict):
        parts = cast("dict[str, str]", told)
        if "untold" in parts:
            return cast("str", untold_from_json(parts))
        return DisconnectReason(DisconnectCode(parts["code"]), Side(parts["by"]), parts["message"])
    return cast("str | None", told)


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


def message_from_json(told: Json, read: Callable[[bytes], Any]) -> Any:
    """`read` makes a message of its bytes."""
    if isinstance(told, str):
        return read(bytes.fromhex(told))
    return untold_from_json(told) if "untold" in told else _Unencodable(told["cannot_be_encoded"])


def as_unknown(data: bytes) -> UnknownMessage:
    """A message that encodes to these bytes, whatever it is."""
    return UnknownMessage(int.from_bytes(data[:2], "big"), data[2:])


def _as_words(data: bytes) -> Error | Warning:
    return Error.decode(data) if data[:2] == Error.type.to_bytes(2, "big") else Warning.decode(data)


class _Unencodable:
    """In place of a message that could not be encoded."""

    data = b""

    def __init__(self, words: str) -> None:
        self._words: Final = words

    def encode(self) -> bytes:
        raise ValueError(self._words)


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
                plain = value is None or isinstance(value, Error | Warning)
                told[one.name] = value and message_to_json(value) if plain else untold_to_json(value)
            case "reason":
                told[one.name] = _words_to_json(value)
            case _:
                told[one.name] = value if isinstance(value, int) else untold_to_json(value)
    return told


class _NoAction(IgnoreError):
    """In place of an answer that was let pass, by `protects` or by a manager that let anything pass: nothing follows
    from it but what it is true for."""

    def __init__(self, true: bool) -> None:
        super().__init__("let pass" if true else "")

    def __bool__(self) -> bool:
        return bool(self.reason)


def action_from_json(told: Json) -> Any:
    if not isinstance(told, dict):
        return told
    parts = cast("dict[str, Json]", told)
    if "untold" in parts:
        return _NoAction(parts["true"])
    named = {name: value for name, value in parts.items() if name != "action"}
    if named.get("message") is not None:
        named["message"] = message_from_json(named["message"], _as_words)
    if "reason" in named:
        named["reason"] = reason_from_json(named["reason"])
    if isinstance(named.get("level"), dict):
        named["level"] = untold_from_json(named["level"])
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
        return untold_from_json(cast("dict[str, Json]", told))
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
    return {"node_id": node_id, "caused": event.caused, "messages": messages}


def _events_from_json(told: Json) -> list[MessageSendEvent]:
    return [_event_from_json(one) for one in told]


def _event_from_json(told: dict[str, Json]) -> MessageSendEvent:
    if "untold" in told:
        return cast("MessageSendEvent", untold_from_json(told))
    if "gossip_for" in told:
        return GossipWaits(tuple(node_id_from_json(one) for one in told["gossip_for"]))
    node_id = bytes.fromhex(told["node_id"])
    if "action" in told:
        action = action_from_json(told["action"])
        return HandleError(node_id, _NoAction(False) if action is None or isinstance(action, bool) else action)
    messages = tuple(message_from_json(one, as_unknown) for one in told["messages"])
    return cast("MessageSendEvent", _Pushed(node_id, messages, told["caused"]))


@dataclass(frozen=True, slots=True)
class _Pushed:
    """In place of the SendMessages or UpdateHtlcs that a handler pushed."""

    node_id: bytes
    messages: tuple[Any, ...]
    caused: bool


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
    return [bytes.fromhex(one) if isinstance(one, str) else untold_from_json(one) for one in told]


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
_ACTION_FORM: Final = Form(
    action_to_json, action_from_json, None, lambda told: [words for words in (_action_words(told),) if words]
)


def form_of(method: str) -> Form:
    """Of the answers of a handler's method, by its name."""
    if method == EVENTS:
        return _EVENTS_FORM
    if method == GOSSIP:
        return _GOSSIP_FORM
    return _FEATURES_FORM if method.startswith("provided_") else _ACTION_FORM
