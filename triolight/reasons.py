"""Every reason that we give for an end: its code, whose doing it was, its words; and the error that a dial ends with.

Whoever decides that a connection ends, or never begins, takes the reason from here, so that one cause has one code and
one text: the peer's last word, the log, `PeerDisconnected`, `wait_closed` and `ConnectError` all show it. Nothing is
decided here. Text that is not ours is made printable here. Times are seconds.
"""

from __future__ import annotations

import socket
from typing import Final

from triolight.errors import DisconnectCode, DisconnectReason, Side, TriolightError
from triolight.messages import Init
from triolight.text import printable, system_words


class ConnectError(TriolightError):
    """A dial that did not end with both Inits. `reason` tells in which phase; `init` is the peer's Init if one came."""

    def __init__(self, reason: DisconnectReason, init: Init | None = None) -> None:
        super().__init__(reason, init)
        self.reason: Final = reason
        self.init: Final = init

    def __str__(self) -> str:
        return str(self.reason)


# Asked for.


def requested(reason: DisconnectReason | str | None) -> DisconnectReason:
    """What an application gave as a reason: a whole one as it is, or words, or none."""
    if isinstance(reason, DisconnectReason):
        return reason
    words = printable(reason) if reason else "disconnected on request"
    return DisconnectReason(DisconnectCode.REQUESTED, Side.US, words)


def dial_cancelled() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.REQUESTED, Side.US, "the dial was cancelled")


def shutdown() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.SHUTDOWN, Side.US, "shutting down")


def crashed() -> DisconnectReason:
    """A handler of ours has raised, or worse."""
    return DisconnectReason(DisconnectCode.HANDLER_CRASHED, Side.US, "an internal error, shutting down")


# Never connected: dials, and who is not let in.


def own_node_id() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.ADDRESS_REFUSED, Side.US, "that is our own node id")


def onion_without_proxy() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.ADDRESS_REFUSED, Side.US, "an onion name is only reached through a proxy")


def private_address() -> DisconnectReason:
    words = "a private address that somebody announced is not dialled"
    return DisconnectReason(DisconnectCode.ADDRESS_REFUSED, Side.US, words)


def no_address() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.RESOLVE_FAILED, Side.NETWORK, "the name has no address")


def dial_failed(error: BaseException, proxied: bool) -> DisconnectReason:
    """No connection with a node: what `Dial` may raise. `proxied`: it is the proxy that says so."""
    code = DisconnectCode.TCP_FAILED
    if proxied:
        code = DisconnectCode.PROXY_FAILED
    elif isinstance(error, socket.gaierror | UnicodeError):
        code = DisconnectCode.RESOLVE_FAILED
    words = system_words(error) or system_words(error.__cause__)
    return DisconnectReason(code, Side.NETWORK, printable(words))


def dial_timeout(host: str, seconds: float, proxied: bool) -> DisconnectReason:
    code = DisconnectCode.PROXY_FAILED if proxied else DisconnectCode.TCP_FAILED
    return DisconnectReason(code, Side.NETWORK, f"no TCP connection with {host} within {seconds:g} seconds")


def banned(what: str) -> DisconnectReason:
    """`what` is an address or a node."""
    return DisconnectReason(DisconnectCode.BANNED, Side.US, f"this {what} is banned here")


def too_many_strangers(count: int, of_source: bool = False) -> DisconnectReason:
    words = f"{count} connections {'from this address ' if of_source else ''}are being made"
    return DisconnectReason(DisconnectCode.TOO_MANY_STRANGERS, Side.US, words)


def too_many_peers(count: int, inbound: bool = False) -> DisconnectReason:
    words = f"no room: {count} {'inbound ' if inbound else ''}peers are connected"
    return DisconnectReason(DisconnectCode.TOO_MANY_PEERS, Side.US, words)


def duplicate() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.DUPLICATE, Side.US, "another connection with you was kept")


# The peer's faults, and what it said itself.


def fault(code: DisconnectCode, words: str) -> DisconnectReason:
    """The peer broke a rule, in the words of whoever checks that rule."""
    return DisconnectReason(code, Side.US, printable(words))


def peer_error(words: str) -> DisconnectReason:
    """`words` are printable already."""
    return DisconnectReason(DisconnectCode.PEER_ERROR, Side.PEER, words or "(no words)")


# The socket's end.


def closed_by_peer() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.PEER_CLOSED, Side.PEER, "the peer closed the connection")


def connection_lost(error: BaseException | None = None) -> DisconnectReason:
    words = "the connection was lost" if error is None else system_words(error)
    return DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, printable(words))


def connection_broke(error: BaseException) -> DisconnectReason:
    """A read that failed. A stream may say no more than that; what the system said stands behind it, if it did."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return (
        connection_lost(cause)
        if isinstance(cause, OSError)
        else DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, system_words(None))
    )


def gone_while_throttled() -> DisconnectReason:
    words = "it has gone, and what it left costs more than it may"
    return DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, words)


def in_phase(reason: DisconnectReason, awaited_act: int, init_came: bool, last_words: str) -> DisconnectReason:
    """A socket's end, named after the phase it ended: a dial that fails shall say how far it came.

    `awaited_act` is 0 once the acts are done; `last_words` the text of the peer's last warning or error.
    """
    if reason.code not in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST):
        return reason
    if awaited_act:
        words = f"{reason.message} while act {awaited_act} was awaited"
        return DisconnectReason(DisconnectCode.CLOSED_IN_HANDSHAKE, reason.by, words)
    if not init_came:
        words = f"{reason.message} after the handshake, before its Init: it is full, or has another connection with us"
        return DisconnectReason(DisconnectCode.CLOSED_BEFORE_INIT, reason.by, words)
    if last_words:
        return DisconnectReason(reason.code, reason.by, f"{reason.message}, after saying: {last_words}")
    return reason


# We judged it.


def handshake_timeout(seconds: float) -> DisconnectReason:
    words = f"the handshake was not done within {seconds:g} seconds"
    return DisconnectReason(DisconnectCode.HANDSHAKE_TIMEOUT, Side.US, words)


def init_timeout(seconds: float) -> DisconnectReason:
    return DisconnectReason(DisconnectCode.INIT_TIMEOUT, Side.US, f"no Init within {seconds:g} seconds")


def two_ticks(acts_done: bool) -> DisconnectReason:
    """LDK's way of counting: for drivers without clocks of their own."""
    code = DisconnectCode.INIT_TIMEOUT if acts_done else DisconnectCode.HANDSHAKE_TIMEOUT
    return DisconnectReason(code, Side.US, "two ticks without an end of the handshake")


def no_pong_by_tick(received: bool) -> DisconnectReason:
    words = f"{'no pong' if received else 'no sign of life'} since the last ping"
    return DisconnectReason(DisconnectCode.PING_TIMEOUT, Side.US, words)


def ping_timeout(silent: bool, seconds: float) -> DisconnectReason:
    words = f"no {'sign of life' if silent else 'pong'} for {seconds:g} seconds after a ping"
    return DisconnectReason(DisconnectCode.PING_TIMEOUT, Side.US, words)


def write_stalled(seconds: float) -> DisconnectReason:
    return DisconnectReason(DisconnectCode.WRITE_STALLED, Side.US, f"it has taken no byte for {seconds:g} seconds")


def subscriber_stalled(seconds: float) -> DisconnectReason:
    words = f"our own subscriber has read nothing for {seconds:g} seconds"
    return DisconnectReason(DisconnectCode.SUBSCRIBER_STALLED, Side.US, words)


def queue_full(waiting: int) -> DisconnectReason:
    """`waiting` is bytes."""
    return DisconnectReason(DisconnectCode.QUEUE_FULL, Side.US, f"{waiting} bytes wait to be written to you")


def message_too_long(error: ValueError) -> DisconnectReason:
    """A handler's message that no wire takes."""
    return DisconnectReason(DisconnectCode.MESSAGE_TOO_LONG, Side.US, printable(str(error)))


def by_handler(words: bytes | str, refused: bool) -> DisconnectReason:
    """A handler asked for the end; `refused`: in its answer to `peer_connected`."""
    code = DisconnectCode.HANDLER_REFUSED if refused else DisconnectCode.HANDLER_DISCONNECT
    return DisconnectReason(code, Side.US, printable(words))


# No connection's end, but why a call cannot be answered.


def not_connected() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.NOT_CONNECTED, Side.US, "not connected to that node")


def unknown_descriptor() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.UNKNOWN_DESCRIPTOR, Side.US, "the PeerManager does not know this descriptor")
