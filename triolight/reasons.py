"""Every reason for an end: its code and what there is to know of it, whose doing it was, its words.

Whoever decides that a connection ends, or never begins, takes the reason from here, so that one cause has one code and
one text: the peer's last word, the log, `PeerDisconnected`, `wait_closed` and `ConnectError` all show it. Nothing is
decided here. Text that is not ours is made printable here. Times are seconds.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final, Literal, NamedTuple

from triolight.text import printable, system_words

__all__ = [
    "ABOUT",
    "About",
    "DisconnectCode",
    "DisconnectReason",
    "Kind",
    "Side",
]


class Side(StrEnum):
    """Who ended a connection."""

    US = "us"
    PEER = "peer"
    NETWORK = "network"


class DisconnectCode(StrEnum):
    """Why a connection ended, or never began. One code for each cause; the value is the name."""

    # Before the handshake: in ConnectError, or a stranger that is let go unheard.
    RESOLVE_FAILED = "RESOLVE_FAILED"
    """The host name has no address."""
    PROXY_FAILED = "PROXY_FAILED"
    """The proxy refused or could not be reached."""
    TCP_FAILED = "TCP_FAILED"
    """No TCP connection: refused, unreachable, reset, or no answer in time."""

    BANNED = "BANNED"
    """The policy bans the node or the address."""
    ADDRESS_REFUSED = "ADDRESS_REFUSED"
    """This address is not dialled: a private one that somebody announced, an onion without a proxy, or our own node."""
    TOO_MANY_STRANGERS = "TOO_MANY_STRANGERS"
    """So many inbound connections are being made, altogether or from one source, or they come so fast from it, that
    the policy takes no more."""

    # The handshake (BOLT 8). Nothing is said to the peer.
    ACT_ONE_FAILED = "ACT_ONE_FAILED"
    ACT_TWO_FAILED = "ACT_TWO_FAILED"
    ACT_THREE_FAILED = "ACT_THREE_FAILED"
    HANDSHAKE_TIMEOUT = "HANDSHAKE_TIMEOUT"
    """The three acts were not done within `handshake_deadline`."""
    CLOSED_IN_HANDSHAKE = "CLOSED_IN_HANDSHAKE"
    """The peer hung up before the acts were done: it may not be the node id that was dialled."""

    # Between the handshake and both Inits.
    CLOSED_BEFORE_INIT = "CLOSED_BEFORE_INIT"
    """The peer hung up after the acts, before its Init: it is full, or has another connection with us."""
    INIT_TIMEOUT = "INIT_TIMEOUT"
    NOT_INIT_FIRST = "NOT_INIT_FIRST"
    """The peer's first message was not Init (BOLT 1)."""
    INIT_MALFORMED = "INIT_MALFORMED"
    INIT_REFUSED = "INIT_REFUSED"
    """Features or networks of the peer's Init do not fit ours."""
    HANDLER_REFUSED = "HANDLER_REFUSED"
    """One of our handlers refused the peer in `peer_connected`."""
    TOO_MANY_PEERS = "TOO_MANY_PEERS"
    """The policy takes no more peers, no more inbound ones or no more from one source; or one has made room for another
    from a less crowded source."""
    DUPLICATE = "DUPLICATE"
    """Another connection with the same node was kept instead of this one."""

    # The peer broke the protocol after Init. It hears a warning first.
    SECOND_INIT = "SECOND_INIT"
    BAD_PACKET = "BAD_PACKET"
    """An encrypted packet failed its authentication, or is too short to hold a message type."""
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    UNKNOWN_EVEN_MESSAGE = "UNKNOWN_EVEN_MESSAGE"
    BATCH_BROKEN = "BATCH_BROKEN"
    """start_batch was not followed by what it announced (BOLT 2)."""

    # The peer said so, or vanished.
    PEER_ERROR = "PEER_ERROR"
    """The peer sent an error for all channels."""
    PEER_CLOSED = "PEER_CLOSED"
    """The peer closed the connection."""
    CONNECTION_LOST = "CONNECTION_LOST"
    """The connection broke: reset, unreachable, or a stream that failed."""

    # We judged it.
    PING_TIMEOUT = "PING_TIMEOUT"
    """No pong, or no sign of life, within the deadlines."""
    WRITE_STALLED = "WRITE_STALLED"
    """The peer took no byte for `pong_deadline` while we had bytes for it."""
    SUBSCRIBER_STALLED = "SUBSCRIBER_STALLED"
    """Our own subscriber read nothing for `stall_deadline` while its buffer was full."""
    QUEUE_FULL = "QUEUE_FULL"
    """A handler's messages for this peer outgrew the limit of its queue."""
    MESSAGE_TOO_LONG = "MESSAGE_TOO_LONG"
    """A handler of ours made a message above 65535 bytes; dropping it alone would leave the channel out of step."""
    HANDLER_DISCONNECT = "HANDLER_DISCONNECT"
    """A handler asked for the end, with its own words."""
    REQUESTED = "REQUESTED"
    """The application asked for the end."""
    SHUTDOWN = "SHUTDOWN"
    """We are leaving: `open_peer_nursery` ends."""
    HANDLER_CRASHED = "HANDLER_CRASHED"
    """A handler of ours raised an exception; every connection ends."""

    # Of nodes on several machines: fronts that have the sockets, and a back that has the handlers.
    FRONT_LOST = "FRONT_LOST"
    """The front that the peer was connected at has died, or nobody hears of it any more."""
    BACK_LOST = "BACK_LOST"
    """The back was away for longer than `back_grace`."""
    BACK_RESTARTED = "BACK_RESTARTED"
    """There is another back, which knows nothing of the connection."""
    ENGINE_LOST = "ENGINE_LOST"
    """The engine between them was away for longer than `engine_grace`, or has lost something."""
    FENCED = "FENCED"
    """The front was silent for so long that the back has given it up."""

    NOT_CONNECTED = "NOT_CONNECTED"
    """Not a connection's end: no connection with that node."""
    UNKNOWN_DESCRIPTOR = "UNKNOWN_DESCRIPTOR"
    """Not a connection's end: the PeerManager does not know the descriptor (any more)."""


@dataclass(frozen=True, slots=True)
class DisconnectReason:
    """Who ended a connection and why: `code` for programs, `message` for people.

    `message` is printable ASCII; whatever a peer contributed to it went through `printable`.
    """

    code: DisconnectCode
    by: Side
    message: str

    def __str__(self) -> str:
        return f"{self.code} (by {self.by}): {self.message}"


class Kind(Enum):
    """What an end is to whoever wanted the connection. The command's exit code follows from it."""

    UNREACHED = auto()
    """Nobody was reached, or the way to them broke."""
    UNPROVEN = auto()
    """Somebody was reached, who is not the node that was dialled."""
    SILENT = auto()
    """Nothing came for too long, or was taken."""
    ENDED = auto()
    """One side did not want it, or broke a rule."""


class About(NamedTuple):
    """What there is to know of a code. The page of reasons is made from this."""

    phase: Literal["dial", "handshake", "Init", "peer", "no end"]
    """How far the connection had come at the most: ``peer`` is after both Inits."""
    kind: Kind
    when: str
    hears: str
    """What the other side gets before the end."""
    do: str
    """What to do about it."""


ABOUT: Final[Mapping[DisconnectCode, About]] = {
    DisconnectCode.RESOLVE_FAILED: About(
        "dial", Kind.UNREACHED, "the host name has no address", "nothing", "check the name"
    ),
    DisconnectCode.PROXY_FAILED: About(
        "dial", Kind.UNREACHED, "the proxy refused, or is not there", "nothing", "check the proxy"
    ),
    DisconnectCode.TCP_FAILED: About(
        "dial", Kind.UNREACHED, "refused, unreachable, or no answer in time", "nothing", "try again later"
    ),
    DisconnectCode.BANNED: About(
        "dial",
        Kind.ENDED,
        "the policy bans the node, or the address",
        "nothing before Init, a warning after it",
        "`policy.unban`",
    ),
    DisconnectCode.ADDRESS_REFUSED: About(
        "dial",
        Kind.UNREACHED,
        "a private address that somebody announced, or a name that leads to one, or an onion name without a proxy",
        "nothing",
        "`Policy(dial_private=True)`, a proxy",
    ),
    DisconnectCode.TOO_MANY_STRANGERS: About(
        "dial",
        Kind.ENDED,
        "the policy's limits on connections that are being made, in total, from one source, or a second from one",
        "nothing",
        "raise the limit, if it is not an attack",
    ),
    DisconnectCode.ACT_ONE_FAILED: About(
        "handshake",
        Kind.UNPROVEN,
        "the initiator's first act is wrong: most often it wanted another node id",
        "nothing (BOLT 8)",
        "nothing",
    ),
    DisconnectCode.ACT_TWO_FAILED: About(
        "handshake",
        Kind.UNPROVEN,
        "the responder's act is wrong: it is not the node that was dialled",
        "nothing",
        "check the node id",
    ),
    DisconnectCode.ACT_THREE_FAILED: About(
        "handshake", Kind.UNPROVEN, "the initiator could not prove its node id", "nothing", "nothing"
    ),
    DisconnectCode.HANDSHAKE_TIMEOUT: About(
        "handshake", Kind.SILENT, "the acts were not done within `handshake_deadline`", "nothing", "try again later"
    ),
    DisconnectCode.CLOSED_IN_HANDSHAKE: About(
        "handshake",
        Kind.UNPROVEN,
        "it hung up before the acts were done: most often another node id lives at this address; or no Lightning node",
        "nothing",
        "check the node id",
    ),
    DisconnectCode.CLOSED_BEFORE_INIT: About(
        "Init",
        Kind.ENDED,
        "it hung up after the acts, before its Init: it is full, bans us, or has another connection with us",
        "nothing",
        "wait, try again",
    ),
    DisconnectCode.INIT_TIMEOUT: About(
        "Init", Kind.SILENT, "no Init within `init_deadline`", "nothing (BOLT 1)", "try again later"
    ),
    DisconnectCode.NOT_INIT_FIRST: About(
        "Init", Kind.ENDED, "its first message was not Init", "nothing (BOLT 1)", "nothing"
    ),
    DisconnectCode.INIT_MALFORMED: About(
        "Init", Kind.ENDED, "its Init cannot be decoded", "a warning", "tell its authors"
    ),
    DisconnectCode.INIT_REFUSED: About(
        "Init",
        Kind.ENDED,
        "features or networks do not fit",
        "a warning that names the bit or the network",
        "offer what it requires, or leave it",
    ),
    DisconnectCode.HANDLER_REFUSED: About(
        "Init",
        Kind.ENDED,
        "one of our handlers refused it in `peer_connected`",
        "the handler's words",
        "as the handler says",
    ),
    DisconnectCode.TOO_MANY_PEERS: About(
        "Init",
        Kind.ENDED,
        (
            "the policy takes no more peers, in total, inbound, or from one source; also after that, for the youngest "
            "of the most crowded source when somebody else comes to a full table"
        ),
        "a warning",
        "raise the limit, if it is not an attack",
    ),
    DisconnectCode.DUPLICATE: About(
        "Init",
        Kind.ENDED,
        "another connection with the same node was kept",
        "a warning; nothing under the rule `oldest`, which ends the newcomer before its Init, as LDK does",
        "use that one",
    ),
    DisconnectCode.SECOND_INIT: About("peer", Kind.ENDED, "a second Init", "a warning", "tell its authors"),
    DisconnectCode.BAD_PACKET: About(
        "peer",
        Kind.ENDED,
        "a packet's tag does not fit, or it holds no message type",
        "a warning",
        "if it happens again: something on the way changes bytes",
    ),
    DisconnectCode.MALFORMED_MESSAGE: About(
        "peer",
        Kind.ENDED,
        "a message cannot be decoded (gossip is softer: a warning, and the connection lives)",
        "a warning that names message, field and byte",
        "tell its authors",
    ),
    DisconnectCode.UNKNOWN_EVEN_MESSAGE: About(
        "peer",
        Kind.ENDED,
        "an even message type that the registry does not know",
        "a warning with the type",
        "add it to `messages=` if you know it",
    ),
    DisconnectCode.BATCH_BROKEN: About(
        "peer",
        Kind.ENDED,
        (
            "`start_batch` announced more than 20 messages, or was not followed by the `commitment_signed` that "
            "it announced"
        ),
        "a warning",
        "tell its authors",
    ),
    DisconnectCode.PEER_ERROR: About(
        "peer",
        Kind.ENDED,
        "it sent an error for all channels; the words are its own",
        "nothing: it has the last word",
        "read the words",
    ),
    DisconnectCode.PEER_CLOSED: About(
        "peer",
        Kind.ENDED,
        "it closed the connection; if it said why first, that is in `message`",
        "nothing",
        "reconnect, not at once",
    ),
    DisconnectCode.CONNECTION_LOST: About(
        "peer", Kind.UNREACHED, "reset, unreachable, or a stream that broke", "nothing", "reconnect"
    ),
    DisconnectCode.PING_TIMEOUT: About(
        "peer",
        Kind.SILENT,
        "nothing at all for `ping_interval` after a ping, or no pong for `pong_deadline`",
        "a warning",
        "reconnect",
    ),
    DisconnectCode.WRITE_STALLED: About(
        "peer",
        Kind.SILENT,
        "it took no byte for `pong_deadline` while we had bytes for it",
        "a warning, if it takes it",
        "reconnect",
    ),
    DisconnectCode.SUBSCRIBER_STALLED: About(
        "peer",
        Kind.ENDED,
        "our own subscriber read nothing for `stall_deadline` from a full buffer",
        "a warning",
        "read faster; never await `ping` in the loop that reads",
    ),
    DisconnectCode.QUEUE_FULL: About(
        "peer",
        Kind.ENDED,
        "a handler's messages for it outgrew `HANDLER_LIMIT_BYTES`",
        "a warning",
        "reconnect; look at why it does not read",
    ),
    DisconnectCode.MESSAGE_TOO_LONG: About(
        "peer", Kind.ENDED, "a handler of ours made a message above 65535 bytes", "a warning", "mend the handler"
    ),
    DisconnectCode.HANDLER_DISCONNECT: About(
        "peer", Kind.ENDED, "a handler asked for the end", "the handler's words", "as the handler says"
    ),
    DisconnectCode.REQUESTED: About(
        "peer",
        Kind.ENDED,
        "`Peer.disconnect`, `disconnect_by_node_id`, or a dial that was cancelled",
        "a warning with the words given",
        "nothing",
    ),
    DisconnectCode.SHUTDOWN: About("peer", Kind.ENDED, "we leave `open_peer_nursery`", "a warning", "nothing"),
    DisconnectCode.HANDLER_CRASHED: About(
        "peer",
        Kind.ENDED,
        "a handler raised an exception; every connection ends, and the exception leaves the block",
        "a warning without details",
        "mend the handler",
    ),
    DisconnectCode.FRONT_LOST: About(
        "peer",
        Kind.UNREACHED,
        "the front that had the connection died, left, or was not heard of for a lease",
        "nothing, or a warning (`FENCED`) if the front lives",
        "reconnect: another front takes it",
    ),
    DisconnectCode.BACK_LOST: About(
        "peer", Kind.ENDED, "a front's back was away for `back_grace`", "a warning", "start a back"
    ),
    DisconnectCode.BACK_RESTARTED: About(
        "peer", Kind.ENDED, "a front has another back, which does not know the connection", "a warning", "reconnect"
    ),
    DisconnectCode.ENGINE_LOST: About(
        "peer",
        Kind.ENDED,
        "the engine between fronts and back was away for `engine_grace`, or came back without what it had",
        "a warning",
        "see to the engine: `appendfsync always` loses nothing",
    ),
    DisconnectCode.FENCED: About(
        "peer", Kind.ENDED, "a front was silent for a lease, and the back has given it up", "a warning", "reconnect"
    ),
    DisconnectCode.NOT_CONNECTED: About(
        "no end", Kind.ENDED, "not an end: `send_message` for a node that is not connected", "", "connect first"
    ),
    DisconnectCode.UNKNOWN_DESCRIPTOR: About(
        "no end",
        Kind.ENDED,
        "not an end: the PeerManager does not know the descriptor (any more)",
        "",
        "close the socket",
    ),
}
"""Every code, each once."""


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
    return DisconnectReason(code, Side.NETWORK, printable(words, escaped=True))


def dial_timeout(host: str, seconds: float, proxied: bool, through: str = "") -> DisconnectReason:
    """`through` names who was asked for the connection, and is who has not answered."""
    code = DisconnectCode.PROXY_FAILED if proxied else DisconnectCode.TCP_FAILED
    words = f"{through} has not answered" if through else f"no TCP connection with {host}"
    return DisconnectReason(code, Side.NETWORK, f"{words} within {seconds:g} seconds")


ANOTHER_NODE: Final = "most often another node id lives at this address"
"""Behind the words of a dial that ended in the handshake: whoever dialled can do something about it. What the
PeerManager says of that end stands on tapes, and stays as it is."""


def banned(what: str) -> DisconnectReason:
    """`what` is an address or a node."""
    return DisconnectReason(DisconnectCode.BANNED, Side.US, f"this {what} is banned here")


def too_many_strangers(count: float, of_source: bool = False, a_second: bool = False) -> DisconnectReason:
    """`a_second`: they come too fast, and `count` of them a second are the most."""
    often = "more than " if a_second else "", " a second" if a_second else ""
    words = f"{often[0]}{count:g} connections{often[1]} {'from this address ' if of_source else ''}are being made"
    return DisconnectReason(DisconnectCode.TOO_MANY_STRANGERS, Side.US, words)


def too_many_peers(
    count: int, inbound: bool = False, of_source: bool = False, for_another: bool = False
) -> DisconnectReason:
    """`for_another`: said to one that is connected, and makes room."""
    where = " from your address" if of_source else ""
    why = ", and you were the last of them when somebody from a less crowded one came" if for_another else ""
    words = f"no room: {count} {'inbound ' if inbound else ''}peers are connected{where}{why}"
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
    return DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, printable(words, escaped=True))


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


def undecided(seconds: float) -> DisconnectReason:
    words = f"nobody has said within {seconds:g} seconds whether you may connect"
    return DisconnectReason(DisconnectCode.INIT_TIMEOUT, Side.US, words)


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


# Of nodes on several machines.


def front_lost(front: str) -> DisconnectReason:
    words = f"the front {printable(front)} is lost"
    return DisconnectReason(DisconnectCode.FRONT_LOST, Side.US, words)


def back_lost(seconds: float) -> DisconnectReason:
    return DisconnectReason(DisconnectCode.BACK_LOST, Side.US, f"what decides here is away for {seconds:g} seconds")


def back_restarted() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.BACK_RESTARTED, Side.US, "what decides here has started anew; reconnect")


def engine_lost(words: str) -> DisconnectReason:
    return DisconnectReason(DisconnectCode.ENGINE_LOST, Side.US, printable(words))


def fenced() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.FENCED, Side.US, "this front was given up; reconnect")


# No connection's end, but why a call cannot be answered.


def not_connected() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.NOT_CONNECTED, Side.US, "not connected to that node")


def unknown_descriptor() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.UNKNOWN_DESCRIPTOR, Side.US, "the PeerManager does not know this descriptor")
