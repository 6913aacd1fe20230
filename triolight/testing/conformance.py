"""Shipped checks: of a node that runs somewhere, and of a SocketDescriptor that somebody has written.

`check_peer` asks a node, over TCP, what it does; each question is one short connection with a key of its own that is
forgotten. It is polite: it changes nothing, floods nothing, and every loop of it is bounded. `check_descriptor` holds a
class to what `SocketDescriptor` promises the PeerManager. Neither needs pytest.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import trio

from triolight import gossip
from triolight.address import NodeAddress, TorV3Address, descriptor_of
from triolight.errors import ConnectError, DecodeError, DisconnectCode, DisconnectReason, Side, printable
from triolight.features import Features
from triolight.messages import (
    ChannelAnnouncement,
    Error,
    Init,
    InitTlvs,
    Ping,
    Pong,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    UnknownMessage,
    Warning,
)
from triolight.peer_manager import SocketDescriptor
from triolight.testing.scripted import ScriptedPeer, ScriptFailed, scripted_peer
from triolight.wire import ShortChannelId, TlvRecord

PATIENCE_SECONDS: Final = 10.0
"""For an answer, and for a connection to be closed."""
REKEY_PINGS: Final = 600
"""More than 500 messages each way: both keys change (BOLT 8)."""
_BITCOIN: Final = bytes.fromhex("6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000")
_ODD, _EVEN = 0xFFFB, 0xFFFA
"""Message types that nobody uses."""
_ALIVE: Final = 77
"""Bytes of a pong that nothing else asks for."""
_PATIENT_MESSAGES: Final = 1000
"""How much else a node may say before that pong."""


class Verdict(StrEnum):
    """What a node makes of a rule."""

    KEEPS = "keeps"
    BREAKS = "breaks"
    MAY = "may"
    """The BOLT leaves it open: what it does is worth knowing, and neither right nor wrong."""
    UNKNOWN = "?"
    """It could not be asked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule and what the node did."""

    rule: str
    where: str
    """The BOLT that has the rule."""
    verdict: Verdict
    seen: str

    def __str__(self) -> str:
        return f"{self.verdict:<7} {self.where:<7} {self.rule}: {self.seen}"


_Check = Callable[["_Node"], Awaitable[tuple[Verdict, str]]]


@dataclass
class _Node:
    """Where to dial, and what its Init said."""

    address: NodeAddress
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]]
    patience: float
    init: Init | None = None

    @asynccontextmanager
    async def script(self, *, handshake: bool = True) -> AsyncGenerator[ScriptedPeer, None]:
        stream = await self.dial(self.address.host, self.address.port)
        async with scripted_peer(
            stream,
            self.address.node_id,
            secret=secrets.token_bytes(32),
            ephemeral=secrets.token_bytes(32),
            handshake=handshake,
            patience=self.patience,
        ) as peer:
            yield peer

    @asynccontextmanager
    async def met(self, features: Features | None = None) -> AsyncGenerator[ScriptedPeer, None]:
        """After both Inits."""
        async with self.script() as peer:
            theirs = await peer.expect(Init)
            self.init = self.init or theirs
            # What a node wants of us it says itself; with less some close before they are asked anything.
            await peer.send(Init(features=_acceptable(theirs, features).to_bytes()))
            yield peer


def _acceptable(theirs: Init, more: Features | None) -> Features:
    wanted = Features.named("option_data_loss_protect", "var_onion_optin", "option_static_remotekey", "payment_secret")
    offered = Features.from_bytes(theirs.globalfeatures) | Features.from_bytes(theirs.features)
    for bit in offered:
        if bit % 2 == 0:
            wanted |= Features((bit + 1,))
    return wanted | (more or Features())


def _failed(code: DisconnectCode, by: Side, words: str) -> ConnectError:
    return ConnectError(DisconnectReason(code, by, words))


async def _meet(node: _Node) -> None:
    """One good handshake. ConnectError if it does not finish: what no node of this id answers, accuses nobody."""
    with trio.move_on_after(node.patience):
        async with node.script(handshake=False) as peer:
            peer.patience = math.inf  # one deadline for all of it
            try:
                await peer.send_bytes(peer.act_one())
                act = await peer.receive_bytes(50)
            except ScriptFailed:
                words = "the other side hung up in the handshake: it may not be the node id that was dialled"
                raise _failed(DisconnectCode.CLOSED_IN_HANDSHAKE, Side.PEER, words) from None
            try:
                await peer.send_bytes(peer.answer_act(act))
            except ScriptFailed as error:
                raise _failed(DisconnectCode.ACT_TWO_FAILED, Side.US, _first_line(error)) from None
            return
    words = f"no TCP connection and handshake within {node.patience:g} seconds"
    raise _failed(DisconnectCode.HANDSHAKE_TIMEOUT, Side.US, words)


async def _is_alive(peer: ScriptedPeer) -> str | None:
    """None if a ping is answered; else what happened instead. Whatever else it says is passed over."""
    try:
        await peer.send(Ping(num_pong_bytes=_ALIVE))
        for _ in range(_PATIENT_MESSAGES):
            message = await peer.receive()
            if message is None:
                return "closed"
            if message == Pong(ignored=bytes(_ALIVE)):
                return None
        return f"no pong among {_PATIENT_MESSAGES} messages"
    except ScriptFailed as error:
        return _first_line(error)


async def _closes(peer: ScriptedPeer) -> str | None:
    """What it said last, if it closes; None if it does not."""
    try:
        with trio.fail_after(peer.patience):
            said = await peer.expect_closed()
    except (ScriptFailed, trio.TooSlowError):
        return None
    words = [one for one in said if isinstance(one, Warning | Error)]
    if not words:
        return "closed without a word"
    return f"closed after {words[-1].name} {printable(words[-1].data, 80)!r}"


def _first_line(error: BaseException) -> str:
    return printable(str(error).partition("\n")[0], 120)


async def _must_live(peer: ScriptedPeer) -> tuple[Verdict, str]:
    wrong = await _is_alive(peer)
    return (Verdict.KEEPS, "goes on") if wrong is None else (Verdict.BREAKS, wrong)


async def _must_close(peer: ScriptedPeer) -> tuple[Verdict, str]:
    how = await _closes(peer)
    return (Verdict.KEEPS, how) if how is not None else (Verdict.BREAKS, "stays connected")


async def _may(peer: ScriptedPeer) -> tuple[Verdict, str]:
    """Either way is allowed."""
    said: list[str] = []
    try:
        await peer.send(Ping(num_pong_bytes=_ALIVE))
        for _ in range(_PATIENT_MESSAGES):
            message = await peer.receive()
            if message is None:
                return Verdict.MAY, ", ".join([*said, "closed"])
            if message == Pong(ignored=bytes(_ALIVE)):
                return Verdict.MAY, ", ".join([*said, "goes on"])
            if isinstance(message, Warning | Error) and len(said) < 3:
                said.append(f"{message.name} {printable(message.data, 60)!r}")
        return Verdict.MAY, ", ".join([*said, f"no pong among {_PATIENT_MESSAGES} messages"])
    except ScriptFailed as error:
        return Verdict.MAY, ", ".join([*said, _first_line(error)])


# ---------------------------------------------------------------------------------------------------------------------
# The questions


async def _init_of_itself(node: _Node) -> tuple[Verdict, str]:
    async with node.script() as peer:
        first = await peer.receive()
        if not isinstance(first, Init):
            return Verdict.BREAKS, f"first says {first!r}"
        node.init = first
        offered = Features.from_bytes(first.features) | Features.from_bytes(first.globalfeatures)
        return Verdict.KEEPS, f"{len(list(offered))} features"


async def _pongs(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        peer.ignoring = _CHATTER
        for size in (0, 5, 65_531):
            await peer.send(Ping(num_pong_bytes=size))
            pong = await peer.expect(Pong)
            if len(pong.ignored) != size:
                return Verdict.BREAKS, f"{len(pong.ignored)} bytes where {size} were asked for"
        return Verdict.KEEPS, "0, 5 and 65,531 bytes"


async def _too_much_pong(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        peer.ignoring = _CHATTER
        await peer.send(Ping(num_pong_bytes=65_532), Ping(num_pong_bytes=65_535))
        return await _must_live(peer)


async def _unknown_odd(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(UnknownMessage(_ODD, b"odd"))
        return await _must_live(peer)


async def _longest(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(UnknownMessage(_ODD, bytes(65_533)))
        return await _must_live(peer)


async def _unknown_even(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(UnknownMessage(_EVEN, b""))
        return await _must_close(peer)


async def _not_init_first(node: _Node) -> tuple[Verdict, str]:
    async with node.script() as peer:
        await peer.send(Ping(num_pong_bytes=1))
        return await _must_close(peer)


def _init_with(init: Init | bytes, must_live: bool) -> _Check:
    async def check(node: _Node) -> tuple[Verdict, str]:
        async with node.script() as peer:
            theirs = await peer.expect(Init)
            base = Init(features=_acceptable(theirs, None).to_bytes())
            if isinstance(init, bytes):
                await peer.send_raw(base.encode() + init)
            else:
                both = Features.from_bytes(base.features) | Features.from_bytes(init.features)
                await peer.send(init.replace(features=both.to_bytes()))
            return await (_must_live if must_live else _must_close)(peer)

    return check


def _bit(number: int) -> bytes:
    return Features((number,)).to_bytes()


async def _error_elsewhere(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(Error(channel_id=secrets.token_bytes(32), data=b"a channel that is not there"))
        return await _must_live(peer)


async def _warning(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(Warning(channel_id=bytes(32), data=b"not text: \xff\xfe"))
        return await _must_live(peer)


async def _unsolicited_pong(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(Pong(ignored=bytes(5)))
        return await _may(peer)


async def _bad_gossip(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send_raw(ChannelAnnouncement.type.to_bytes(2, "big") + bytes(100))
        return await _may(peer)


async def _zlib(node: _Node) -> tuple[Verdict, str]:
    async with node.met(Features.named("gossip_queries")) as peer:
        await peer.send(QueryShortChannelIds(chain_hash=_chain(node), encoded_short_ids=b"\x01\x78\x9c\x03\x00"))
        return await _may(peer)


async def _second_init(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(Init())
        return await _may(peer)


async def _flipped_bit(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send_bytes(peer.packet(Ping(num_pong_bytes=1), corrupt="body tag"))
        return await _must_close(peer)


async def _wrong_version(node: _Node) -> tuple[Verdict, str]:
    async with node.script(handshake=False) as peer:
        await peer.send_bytes(b"\x01" + peer.act_one()[1:])
        # ScriptFailed, with its words, if it does neither.
        await peer.expect_closed(reason="")
        return Verdict.KEEPS, "closed without a byte"


async def _bytewise(node: _Node) -> tuple[Verdict, str]:
    async with node.script(handshake=False) as peer:
        for byte in peer.act_one():
            await peer.send_bytes(bytes((byte,)))
        for byte in peer.answer_act(await peer.receive_bytes(50)):
            await peer.send_bytes(bytes((byte,)))
        theirs = await peer.expect(Init)
        await peer.send(Init(features=_acceptable(theirs, None).to_bytes()))
        return await _must_live(peer)


async def _rekeying(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        peer.ignoring = _CHATTER
        for _ in range(REKEY_PINGS):
            await peer.send(Ping(num_pong_bytes=1))
            await peer.expect(Pong)
        return Verdict.KEEPS, f"{REKEY_PINGS} pings and their pongs"


def _chain(node: _Node) -> bytes:
    networks = node.init.tlvs.networks if node.init is not None else None
    return networks[0] if networks else _BITCOIN


async def _channel_range(node: _Node) -> tuple[Verdict, str]:
    if node.init is None or not Features.from_bytes(node.init.features).offers("gossip_queries"):
        return Verdict.UNKNOWN, "does not offer gossip_queries"
    async with node.met(Features.named("gossip_queries")) as peer:
        peer.ignoring = _CHATTER
        # One block: the shortest answer there is.
        await peer.send(QueryChannelRange(chain_hash=_chain(node), first_blocknum=1, number_of_blocks=1))
        reply = await peer.expect(ReplyChannelRange)
        ids = gossip.decode_short_ids(reply.encoded_short_ids)
        return Verdict.KEEPS, f"{len(ids)} channels, sync_complete {reply.sync_complete}"


async def _short_channel_ids(node: _Node) -> tuple[Verdict, str]:
    if node.init is None or not Features.from_bytes(node.init.features).offers("gossip_queries"):
        return Verdict.UNKNOWN, "does not offer gossip_queries"
    async with node.met(Features.named("gossip_queries")) as peer:
        peer.ignoring = _CHATTER
        ids = gossip.encode_short_ids([ShortChannelId.of(1, 1, 1)])
        await peer.send(QueryShortChannelIds(chain_hash=_chain(node), encoded_short_ids=ids))
        end = await peer.expect(ReplyShortChannelIdsEnd)
        return Verdict.KEEPS, f"full_information {end.full_information}"


_CHATTER: Final = (Ping, UnknownMessage, Warning, QueryChannelRange, QueryShortChannelIds)
"""What a node may say at any time."""
_RECORD: Final = InitTlvs(unknown=(TlvRecord(1001, b"\x01"),))
CHECKS: Final[tuple[tuple[str, str, _Check], ...]] = (
    ("sends Init first, and of itself", "BOLT 1", _init_of_itself),
    ("closes when something else comes first", "BOLT 1", _not_init_first),
    ("takes an unknown odd feature", "BOLT 1", _init_with(Init(features=_bit(1001)), True)),
    ("refuses an unknown even feature", "BOLT 1", _init_with(Init(features=_bit(1000)), False)),
    ("refuses it in globalfeatures too", "BOLT 1", _init_with(Init(globalfeatures=_bit(100)), False)),
    ("takes an unknown odd record in Init", "BOLT 1", _init_with(Init(tlvs=_RECORD), True)),
    ("refuses an unknown even record in Init", "BOLT 1", _init_with(bytes.fromhex("fd03e80101"), False)),
    ("refuses records out of order in Init", "BOLT 1", _init_with(bytes.fromhex("fd03eb0101fd03e90101"), False)),
    ("a second Init", "BOLT 1", _second_init),
    ("ignores an unknown odd message", "BOLT 1", _unknown_odd),
    ("takes one of 65,535 bytes", "BOLT 8", _longest),
    ("closes for an unknown even message", "BOLT 1", _unknown_even),
    ("answers a ping with as many bytes as it asks for", "BOLT 1", _pongs),
    ("ignores a ping that asks for 65,532 bytes or more", "BOLT 1", _too_much_pong),
    ("a pong that nobody asked for", "BOLT 1", _unsolicited_pong),
    ("ignores an error for a channel it does not have", "BOLT 1", _error_elsewhere),
    ("does nothing for a warning, whatever its bytes", "BOLT 1", _warning),
    ("gossip that cannot be read", "BOLT 7", _bad_gossip),
    ("a query in zlib", "BOLT 7", _zlib),
    ("answers query_channel_range", "BOLT 7", _channel_range),
    ("ends the answer to query_short_channel_ids", "BOLT 7", _short_channel_ids),
    ("takes a handshake byte by byte", "BOLT 8", _bytewise),
    ("closes for another version of the handshake", "BOLT 8", _wrong_version),
    ("closes for a packet with a wrong tag", "BOLT 8", _flipped_bit),
    ("changes keys after 500 messages", "BOLT 8", _rekeying),
)
"""Rule, where it stands, and how it is asked."""


async def check_peer(
    address: NodeAddress,
    *,
    patience: float = PATIENCE_SECONDS,
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream,
) -> AsyncGenerator[Finding, None]:
    """Asks a node each question in turn: an asynchronous iterator of findings.

    About thirty connections one after the other, each with a new key; at most `patience` seconds for an answer. OSError
    if the node cannot be reached at all. ConnectError, before the first finding, if the first handshake does not finish
    within `patience`: then it is not this node, or none, and breaks no rules; and for an onion name without a `dial`
    that goes through a proxy. ValueError for a host that nobody can dial. Cancellation closes the connection that is
    open.
    """
    if isinstance(descriptor_of(address.host, address.port), TorV3Address) and dial is trio.open_tcp_stream:
        # Before any resolver hears of it: the name itself is a secret that DNS would spread.
        raise _failed(DisconnectCode.ADDRESS_REFUSED, Side.US, "an onion name is only reached through a proxy")
    node = _Node(address, dial, patience)
    try:
        await _meet(node)
    except UnicodeError as error:
        # A name with a label that is empty or too long, which no resolver is asked for.
        raise _failed(DisconnectCode.RESOLVE_FAILED, Side.US, _first_line(error)) from None
    for rule, where, check in CHECKS:
        try:
            verdict, seen = await check(node)
        except ScriptFailed as error:
            verdict, seen = Verdict.BREAKS, _first_line(error)
        except DecodeError as error:
            verdict, seen = Verdict.BREAKS, _first_line(error)
        yield Finding(rule, where, verdict, seen)


# ---------------------------------------------------------------------------------------------------------------------
# Descriptors


def check_descriptor(make_descriptor: Callable[[], SocketDescriptor]) -> None:
    """Holds a SocketDescriptor to what the PeerManager relies on. AssertionError names what does not hold.

    `make_descriptor` gives a new connection's descriptor each time, whose other end reads nothing meanwhile.
    """
    one, other = make_descriptor(), make_descriptor()
    _must(one == one and hash(one) == hash(one), "a descriptor equals itself, and keeps its hash")
    _must(one != other, "descriptors of two connections differ")
    _must(one != object(), "a descriptor is no other object")
    _must(one.send_data(b"", True) == 0, "empty data is never taken")
    _must(one.send_data(b"", False) == 0, "empty data is never taken, whatever it says about reading")
    for size in (1, 18, 70_000):
        taken = one.send_data(bytes(size), True)
        _must(0 <= taken <= size, f"send_data takes from 0 to {size} bytes, not {taken}")
        if taken < size:
            break
    one.disconnect_socket()
    _must(hash(one) == hash(one), "a descriptor keeps its hash after its end")
    other.disconnect_socket()


def _must(holds: bool, words: str) -> None:
    if not holds:
        raise AssertionError(words)
