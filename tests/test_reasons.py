"""Every reason that we give: its code, whose doing it was, and words in printable ASCII, whatever they are made of."""

from __future__ import annotations

import errno
import inspect
import socket
from collections.abc import Callable

import pytest

from triolight import reasons
from triolight.errors import DisconnectCode, DisconnectReason, Side

HOSTILE = "\x1b[2J\nnot \u2028 ascii é" + "\0" * 10_000
CODE = DisconnectCode
US, PEER, NETWORK = Side.US, Side.PEER, Side.NETWORK
RESET = ConnectionResetError(errno.ECONNRESET, HOSTILE)
NO_NAME = socket.gaierror(socket.EAI_NONAME, HOSTILE)
CLOSED = reasons.closed_by_peer()
LOST = reasons.connection_lost()
TOLD = DisconnectReason(CODE.BAD_PACKET, PEER, "as it is")


def behind(cause: BaseException) -> OSError:
    """As Trio raises it: the system's own error stands behind it."""
    error = OSError("all attempts failed")
    error.__cause__ = cause
    return error


GIVEN: list[tuple[Callable[..., DisconnectReason], tuple[object, ...], DisconnectCode, Side, str]] = [
    (reasons.requested, (None,), CODE.REQUESTED, US, "disconnected on request"),
    (reasons.requested, ("",), CODE.REQUESTED, US, "disconnected on request"),
    (reasons.requested, (HOSTILE,), CODE.REQUESTED, US, "\\x1b[2J\\nnot"),
    (reasons.requested, (TOLD,), TOLD.code, TOLD.by, TOLD.message),
    (reasons.dial_cancelled, (), CODE.REQUESTED, US, "cancelled"),
    (reasons.shutdown, (), CODE.SHUTDOWN, US, "shutting down"),
    (reasons.crashed, (), CODE.HANDLER_CRASHED, US, "internal error"),
    (reasons.own_node_id, (), CODE.ADDRESS_REFUSED, US, "our own node id"),
    (reasons.onion_without_proxy, (), CODE.ADDRESS_REFUSED, US, "through a proxy"),
    (reasons.private_address, (), CODE.ADDRESS_REFUSED, US, "private"),
    (reasons.no_address, (), CODE.RESOLVE_FAILED, NETWORK, "no address"),
    (reasons.dial_failed, (RESET, False), CODE.TCP_FAILED, NETWORK, "reset"),
    (reasons.dial_failed, (NO_NAME, False), CODE.RESOLVE_FAILED, NETWORK, "\\x1b[2J"),
    (reasons.dial_failed, (UnicodeError(HOSTILE), False), CODE.RESOLVE_FAILED, NETWORK, "\\x1b[2J"),
    (reasons.dial_failed, (NO_NAME, True), CODE.PROXY_FAILED, NETWORK, "\\x1b[2J"),
    (reasons.dial_failed, (OSError(HOSTILE), True), CODE.PROXY_FAILED, NETWORK, "\\x1b[2J"),
    (reasons.dial_timeout, ("host", 15.0, False), CODE.TCP_FAILED, NETWORK, "host within 15 seconds"),
    (reasons.dial_timeout, ("host", 45.5, True), CODE.PROXY_FAILED, NETWORK, "host within 45.5 seconds"),
    (
        reasons.dial_timeout,
        ("host", 45.5, True, "proxy p:1"),
        CODE.PROXY_FAILED,
        NETWORK,
        "proxy p:1 has not answered within",
    ),
    (reasons.dial_failed, (OSError("\\x1b\x1b"), True), CODE.PROXY_FAILED, NETWORK, "\\x1b\\x1b"),
    (reasons.front_lost, (HOSTILE,), CODE.FRONT_LOST, US, "the front \\x1b[2J"),
    (reasons.back_lost, (30.0,), CODE.BACK_LOST, US, "away for 30 seconds"),
    (reasons.back_restarted, (), CODE.BACK_RESTARTED, US, "started anew"),
    (reasons.engine_lost, (HOSTILE,), CODE.ENGINE_LOST, US, "\\x1b[2J"),
    (reasons.fenced, (), CODE.FENCED, US, "given up"),
    (reasons.undecided, (15.0,), CODE.INIT_TIMEOUT, US, "nobody has said within 15 seconds"),
    (reasons.banned, ("node",), CODE.BANNED, US, "this node is banned"),
    (reasons.too_many_strangers, (7,), CODE.TOO_MANY_STRANGERS, US, "7 connections are"),
    (reasons.too_many_strangers, (7, True), CODE.TOO_MANY_STRANGERS, US, "7 connections from this address"),
    (
        reasons.too_many_strangers,
        (0.5, True, True),
        CODE.TOO_MANY_STRANGERS,
        US,
        "more than 0.5 connections a second from",
    ),
    (reasons.too_many_peers, (7,), CODE.TOO_MANY_PEERS, US, "7 peers"),
    (reasons.too_many_peers, (7, True), CODE.TOO_MANY_PEERS, US, "7 inbound peers are connected"),
    (
        reasons.too_many_peers,
        (7, True, True),
        CODE.TOO_MANY_PEERS,
        US,
        "7 inbound peers are connected from your address",
    ),
    (reasons.too_many_peers, (7, True, True, True), CODE.TOO_MANY_PEERS, US, "address, and you were the last of them"),
    (reasons.duplicate, (), CODE.DUPLICATE, US, "another connection"),
    (reasons.fault, (CODE.BAD_PACKET, HOSTILE), CODE.BAD_PACKET, US, "\\x1b[2J"),
    (reasons.peer_error, ("enough",), CODE.PEER_ERROR, PEER, "enough"),
    (reasons.peer_error, ("",), CODE.PEER_ERROR, PEER, "(no words)"),
    (reasons.closed_by_peer, (), CODE.PEER_CLOSED, PEER, "closed"),
    (reasons.connection_lost, (), CODE.CONNECTION_LOST, NETWORK, "lost"),
    (reasons.connection_lost, (OSError(HOSTILE),), CODE.CONNECTION_LOST, NETWORK, "\\x1b[2J"),
    (reasons.connection_broke, (RESET,), CODE.CONNECTION_LOST, NETWORK, "reset"),
    (reasons.connection_broke, (behind(RESET),), CODE.CONNECTION_LOST, NETWORK, "all attempts failed"),
    (reasons.connection_broke, (ValueError(HOSTILE),), CODE.CONNECTION_LOST, NETWORK, "the connection broke"),
    (reasons.gone_while_throttled, (), CODE.CONNECTION_LOST, NETWORK, "it has gone"),
    (reasons.in_phase, (TOLD, 2, False, ""), TOLD.code, TOLD.by, TOLD.message),
    (reasons.in_phase, (CLOSED, 2, False, ""), CODE.CLOSED_IN_HANDSHAKE, PEER, "while act 2 was awaited"),
    (reasons.in_phase, (LOST, 0, False, ""), CODE.CLOSED_BEFORE_INIT, NETWORK, "before its Init"),
    (reasons.in_phase, (CLOSED, 0, True, "bye"), CODE.PEER_CLOSED, PEER, "after saying: bye"),
    (reasons.in_phase, (LOST, 0, True, ""), LOST.code, LOST.by, LOST.message),
    (reasons.handshake_timeout, (15.0,), CODE.HANDSHAKE_TIMEOUT, US, "within 15 seconds"),
    (reasons.init_timeout, (16.0,), CODE.INIT_TIMEOUT, US, "within 16 seconds"),
    (reasons.two_ticks, (False,), CODE.HANDSHAKE_TIMEOUT, US, "two ticks"),
    (reasons.two_ticks, (True,), CODE.INIT_TIMEOUT, US, "two ticks"),
    (reasons.no_pong_by_tick, (True,), CODE.PING_TIMEOUT, US, "no pong"),
    (reasons.no_pong_by_tick, (False,), CODE.PING_TIMEOUT, US, "no sign of life"),
    (reasons.ping_timeout, (False, 60.0), CODE.PING_TIMEOUT, US, "no pong for 60 seconds"),
    (reasons.ping_timeout, (True, 60.0), CODE.PING_TIMEOUT, US, "no sign of life for 60 seconds"),
    (reasons.write_stalled, (61.0,), CODE.WRITE_STALLED, US, "61 seconds"),
    (reasons.subscriber_stalled, (61.0,), CODE.SUBSCRIBER_STALLED, US, "61 seconds"),
    (reasons.queue_full, (999,), CODE.QUEUE_FULL, US, "999 bytes"),
    (reasons.message_too_long, (ValueError(HOSTILE),), CODE.MESSAGE_TOO_LONG, US, "\\x1b[2J"),
    (reasons.by_handler, (HOSTILE, True), CODE.HANDLER_REFUSED, US, "\\x1b[2J"),
    (reasons.by_handler, (b"\xff no", False), CODE.HANDLER_DISCONNECT, US, "\\xff no"),
    (reasons.not_connected, (), CODE.NOT_CONNECTED, US, "not connected"),
    (reasons.unknown_descriptor, (), CODE.UNKNOWN_DESCRIPTOR, US, "descriptor"),
]


@pytest.mark.parametrize(
    ("reason", "arguments", "code", "by", "words"), GIVEN, ids=[f"{row[0].__name__}-{row[2]}" for row in GIVEN]
)
def test_a_reason(
    reason: Callable[..., DisconnectReason],
    arguments: tuple[object, ...],
    code: DisconnectCode,
    by: Side,
    words: str,
) -> None:
    found = reason(*arguments)
    assert (found.code, found.by) == (code, by)
    assert words.lower() in found.message.lower()
    assert all(" " <= character <= "~" for character in found.message)
    assert 0 < len(found.message) <= 600


def test_every_reason_is_in_the_table() -> None:
    made = {
        name for name, one in vars(reasons).items() if inspect.isfunction(one) and one.__module__ == reasons.__name__
    }
    assert made == {row[0].__name__ for row in GIVEN}
