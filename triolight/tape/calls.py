"""Every call that changes a manager: what a tape writes of it, and how it is made again. One row a call.

Everything else that a manager has asks, or does what it does by one of these. A call's name and its fields are the
tape's format: new ones may come, and the old ones play for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from triolight.address import Address
from triolight.as_json import Json
from triolight.errors import DisconnectReason
from triolight.messages import Message, UnknownMessage
from triolight.peer_manager import PeerManager, SocketDescriptor
from triolight.tape.values import (
    address_from_json,
    address_to_json,
    as_unknown,
    node_id_from_json,
    node_id_to_json,
    reason_from_json,
    reason_to_json,
)

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""A line of a tape. The longest are largest batches of messages."""

Fields: TypeAlias = dict[str, Json]


class Scribe(Protocol):
    """Who writes a tape, as far as a row knows it."""

    kind: Any
    """``with_secrets``: bytes of the wire, and not only how many."""

    def number(self, descriptor: SocketDescriptor) -> int | None:
        """Connections are counted from 1. None: it was never one."""

    def count(self, descriptor: SocketDescriptor) -> int:
        """The number of a new one."""
        ...


class Player(Protocol):
    """Who plays a tape."""

    @property
    def manager(self) -> PeerManager: ...

    @property
    def with_secrets(self) -> bool: ...

    def descriptor(self, told: Fields) -> SocketDescriptor:
        """The connection that a call is about. One that the manager has forgotten is as good as one that it never
        knew."""
        ...

    def opened(self, told: Fields, node_id: bytes | None) -> SocketDescriptor:
        """A new connection: dialled to a node, or accepted."""
        ...

    def closed(self, told: Fields) -> None:
        """Its number means nothing from here on."""

    def wrote(self, of: int, data: bytes) -> None:
        """Bytes that went out without `send_data`."""


@dataclass(frozen=True, slots=True)
class Call:
    """How one call is told, and made again."""

    tell: Callable[..., Fields]
    """Gets the scribe, then what the manager's method gets. TypeError, AttributeError, ValueError: not what that takes,
    as the manager itself will say."""
    play: Callable[[Player, Fields], object]
    wanted: bool = False
    """Whether it is an application's wish, and shown as one."""


def _of(scribe: Scribe, descriptor: SocketDescriptor) -> Fields:
    return {"of": scribe.number(descriptor)}


def _no_fields(scribe: Scribe) -> Fields:
    return {}


def zeros(size: int) -> bytes:
    """Something of this length. A damaged tape shall not ask for all our memory."""
    if not 0 <= size <= MAX_LINE_BYTES:
        raise ValueError(f"{size} bytes at once")
    return bytes(size)


# Connections.


def _tell_new_outbound(
    scribe: Scribe,
    their_node_id: bytes,
    descriptor: SocketDescriptor,
    remote_address: Address | tuple[str, int] | None = None,
) -> Fields:
    return {"node_id": their_node_id.hex(), **_tell_new_inbound(scribe, descriptor, remote_address)}


def _play_new_outbound(player: Player, told: Fields) -> None:
    node_id = node_id_from_json(told["node_id"])
    descriptor = player.opened(told, node_id)
    act_one = player.manager.new_outbound_connection(node_id, descriptor, address_from_json(told["address"]))
    player.wrote(told["of"], act_one)


def _tell_new_inbound(
    scribe: Scribe, descriptor: SocketDescriptor, remote_address: Address | tuple[str, int] | None = None
) -> Fields:
    address = address_to_json(remote_address)
    return {"of": scribe.count(descriptor), "address": address}


def _play_new_inbound(player: Player, told: Fields) -> None:
    player.manager.new_inbound_connection(player.opened(told, None), address_from_json(told["address"]))


def _tell_read(scribe: Scribe, descriptor: SocketDescriptor, data: bytes) -> Fields:
    of = scribe.number(descriptor)
    return {"of": of, "data": data.hex()} if scribe.kind == "with_secrets" else {"of": of, "size": len(data)}


def _play_read(player: Player, told: Fields) -> None:
    data = bytes.fromhex(told["data"]) if player.with_secrets else zeros(told["size"])
    player.manager.read_event(player.descriptor(told), data)


def _tell_end(scribe: Scribe, descriptor: SocketDescriptor, reason: DisconnectReason | str | None = None) -> Fields:
    return {"of": scribe.number(descriptor), "reason": reason_to_json(reason)}


def _play_socket_disconnected(player: Player, told: Fields) -> None:
    reason = reason_from_json(told["reason"])
    descriptor = player.descriptor(told)
    player.manager.socket_disconnected(descriptor, reason if isinstance(reason, DisconnectReason) else None)
    player.closed(told)


def _play_decide(player: Player, told: Fields) -> None:
    reason = reason_from_json(told["reason"])
    player.manager.decide(player.descriptor(told), reason if isinstance(reason, DisconnectReason) else None)


def _tell_hold(scribe: Scribe, descriptor: SocketDescriptor, held: bool) -> Fields:
    return {"of": scribe.number(descriptor), "held": bool(held)}


def _tell_observe(scribe: Scribe, wanted: bool) -> Fields:
    return {"wanted": bool(wanted)}


# What an application wants.


def _tell_send_message(scribe: Scribe, node_id: bytes, *messages: Message | UnknownMessage) -> Fields:
    return {"node_id": node_id_to_json(node_id), "messages": [one.encode().hex() for one in messages]}


def _play_send_message(player: Player, told: Fields) -> None:
    messages = [as_unknown(bytes.fromhex(one)) for one in told["messages"]]
    player.manager.send_message(node_id_from_json(told["node_id"]), *messages)


def _tell_send_encoded(scribe: Scribe, descriptor: SocketDescriptor, encoded: list[bytes]) -> Fields:
    return {"of": scribe.number(descriptor), "messages": [one.hex() for one in encoded]}


def _play_send_encoded(player: Player, told: Fields) -> None:
    player.manager.send_encoded(player.descriptor(told), [bytes.fromhex(one) for one in told["messages"]])


def _tell_broadcast(scribe: Scribe, encoded: bytes) -> Fields:
    # What a node_announcement of ours was made of is not told: our key signs it, at a time of day.
    return {"message": encoded.hex()}


def _tell_charge(scribe: Scribe, node_id: bytes, units: int, ours: bool = False) -> Fields:
    return {"node_id": node_id_to_json(node_id), "units": units, "ours": ours}


def _play_charge(player: Player, told: Fields) -> None:
    player.manager.charge(node_id_from_json(told["node_id"]), told["units"], told["ours"])


def _tell_send_ping(
    scribe: Scribe, descriptor: SocketDescriptor, num_pong_bytes: int = 0, ignored: bytes = b"", token: Any = None
) -> Fields:
    return {
        "of": scribe.number(descriptor),
        "num_pong_bytes": num_pong_bytes,
        "ignored": ignored.hex(),
        "keepalive": token is None,
    }


def _play_send_ping(player: Player, told: Fields) -> None:
    ignored = bytes.fromhex(told["ignored"])
    player.manager.send_ping(player.descriptor(told), told["num_pong_bytes"], ignored, _token(told))


def _tell_forget_ping(scribe: Scribe, descriptor: SocketDescriptor, token: Any) -> Fields:
    return {"of": scribe.number(descriptor), "keepalive": token is None}


def _token(told: Fields) -> object:
    """A keepalive's is None; whose the others are is not on the tape."""
    return None if told["keepalive"] else "somebody's"


def _tell_disconnect_node(scribe: Scribe, node_id: bytes, reason: DisconnectReason | str | None = None) -> Fields:
    return {"node_id": node_id_to_json(node_id), "reason": reason_to_json(reason)}


def _play_disconnect_node(player: Player, told: Fields) -> None:
    player.manager.disconnect_by_node_id(node_id_from_json(told["node_id"]), reason_from_json(told["reason"]))


def _tell_disconnect_all(scribe: Scribe, reason: DisconnectReason | str | None = None) -> Fields:
    return {"reason": reason_to_json(reason)}


CALLS: Final[Mapping[str, Call]] = {
    "new_outbound_connection": Call(_tell_new_outbound, _play_new_outbound),
    "new_inbound_connection": Call(_tell_new_inbound, _play_new_inbound),
    "read_event": Call(_tell_read, _play_read),
    "continue_reading": Call(_of, lambda player, told: player.manager.continue_reading(player.descriptor(told))),
    "hold_reading": Call(
        _tell_hold, lambda player, told: player.manager.hold_reading(player.descriptor(told), told["held"])
    ),
    "hold_peer": Call(_tell_hold, lambda player, told: player.manager.hold_peer(player.descriptor(told), told["held"])),
    "decide": Call(_tell_end, _play_decide),
    "end_throttle": Call(_of, lambda player, told: player.manager.end_throttle(player.descriptor(told))),
    "observe_messages": Call(_tell_observe, lambda player, told: player.manager.observe_messages(told["wanted"])),
    "write_buffer_space_avail": Call(
        _of, lambda player, told: player.manager.write_buffer_space_avail(player.descriptor(told))
    ),
    "process_events": Call(_no_fields, lambda player, told: player.manager.process_events()),
    "timer_tick_occurred": Call(_no_fields, lambda player, told: player.manager.timer_tick_occurred()),
    "socket_disconnected": Call(_tell_end, _play_socket_disconnected),
    "send_message": Call(_tell_send_message, _play_send_message, wanted=True),
    "send_encoded": Call(_tell_send_encoded, _play_send_encoded, wanted=True),
    "broadcast_encoded": Call(
        _tell_broadcast,
        lambda player, told: player.manager.broadcast_encoded(bytes.fromhex(told["message"])),
        wanted=True,
    ),
    "charge": Call(_tell_charge, _play_charge),
    "send_ping": Call(_tell_send_ping, _play_send_ping, wanted=True),
    "forget_ping": Call(
        _tell_forget_ping,
        lambda player, told: player.manager.forget_ping(player.descriptor(told), _token(told)),
        wanted=True,
    ),
    "disconnect": Call(
        _tell_end,
        lambda player, told: player.manager.disconnect(player.descriptor(told), reason_from_json(told["reason"])),
        wanted=True,
    ),
    "disconnect_by_node_id": Call(_tell_disconnect_node, _play_disconnect_node, wanted=True),
    "disconnect_all_peers": Call(
        _tell_disconnect_all,
        lambda player, told: player.manager.disconnect_all_peers(reason_from_json(told["reason"])),
        wanted=True,
    ),
    "abandon_handlers": Call(_no_fields, lambda player, told: player.manager.abandon_handlers(), wanted=True),
}


def words_of(name: str, told: Fields) -> str:
    """For people: what an application wanted."""
    return f"{name}: {len(told['messages'])}" if "messages" in told else name
