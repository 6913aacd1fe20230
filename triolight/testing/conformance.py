"""Shipped checks: of a node that runs somewhere, and of a SocketDescriptor that somebody has written.

`check_peer` asks a node, over TCP, what it does; each question is one short connection with a key of its own that is
forgotten. It is polite: it changes nothing, floods nothing, and each question has one deadline that nothing renews.
What could not be asked is told as that, and accuses nobody. `check_descriptor` holds a class to what
`SocketDescriptor` promises the PeerManager. Neither needs pytest.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar, cast

import trio

from triolight import gossip
from triolight.address import NodeAddress, descriptor_of
from triolight.errors import DecodeError, DisconnectCode, DisconnectReason, Side
from triolight.features import Features
from triolight.keys import SecretKey
from triolight.messages import (
    AcceptChannel,
    ChannelAnnouncement,
    Error,
    Init,
    InitTlvs,
    Message,
    NodeAnnouncement,
    OpenChannel,
    OpenChannelTlvs,
    Ping,
    Pong,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    Shutdown,
    UnknownMessage,
    Warning,
)
from triolight.peer_manager import SocketDescriptor
from triolight.reasons import ConnectError
from triolight.testing.scripted import ScriptedPeer, ScriptFailed, scripted_peer
from triolight.text import printable
from triolight.ways import way_of
from triolight.wire import ShortChannelId, TlvRecord

T = TypeVar("T")

PATIENCE_SECONDS: Final = 10.0
"""For a dial, for an answer, and for a connection to be closed."""
QUESTION_PATIENCES: Final = 3
"""So many patiences for all of one question: a dial, a handshake and an answer may each be slow, not everything."""
REKEY_MESSAGES: Final = 1100
"""More than 1,000 messages from us: our key changes twice (BOLT 8), and theirs for reading with it."""
REKEY_PINGS: Final = 510
"""More than 500 pongs: their key for writing changes."""
PINGS_PER_SECOND: Final = 8.0
"""LND lets ten a second pass, and ends who goes on with more."""
QUIET_SECONDS: Final = 2.0
"""For gossip to come that nobody has asked for."""
HALF_OPEN_SECONDS: Final = 60.0
"""For a node to give up a handshake that does not go on."""
SILENCE_SECONDS: Final = 120.0
"""For a node to give up a peer that answers none of its pings."""
_BITCOIN: Final = bytes.fromhex("6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000")
_ODD, _EVEN = 0xFFFB, 0xFFFA
"""Message types that nobody uses."""
_ALIVE: Final = 77
"""Bytes of a pong that nothing else asks for."""
_PATIENT_MESSAGES: Final = 1000
"""How much else a node may say before that pong."""
_BATCH: Final = 100
"""Messages in one write of many."""
_RATE: Final = re.compile("rate|limit|too many|too fast|flood|spam", re.IGNORECASE)
"""How a node words that we ask too much: then it has not broken the rule that we ask about."""


class Verdict(StrEnum):
    """What a node makes of a rule."""

    KEEPS = "keeps"
    BREAKS = "breaks"
    MAY = "may"
    """The BOLT leaves it open: what it does is worth knowing, and neither right nor wrong."""
    UNKNOWN = "?"
    """It could not be asked, or the answer says nothing about the rule."""


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


class _Unclear(Exception):
    """What has happened says nothing about the rule."""


@dataclass
class _Node:
    """Where to dial, and what its Init said."""

    address: NodeAddress
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]]
    patience: float
    init: Init | None = None
    wrong: str | None = "it was not asked"
    """What ends a conversation in which we do nothing wrong; None: nothing does."""

    @asynccontextmanager
    async def dialled(self, secret: bytes | None = None) -> AsyncGenerator[ScriptedPeer, None]:
        """Before the handshake. OSError if there is no connection, _Unclear if there is none in time."""
        try:
            with trio.fail_after(self.patience):
                stream = await self.dial(self.address.host, self.address.port)
        except trio.TooSlowError:
            raise _Unclear(f"no connection within {self.patience:g} seconds") from None
        async with scripted_peer(
            stream,
            self.address.node_id,
            secret=secret or secrets.token_bytes(32),
            ephemeral=secrets.token_bytes(32),
            handshake=False,
            patience=self.patience,
        ) as peer:
            yield peer

    @asynccontextmanager
    async def script(self, secret: bytes | None = None) -> AsyncGenerator[ScriptedPeer, None]:
        """After the handshake, which has been good before: _Unclear if it is not now."""
        async with self.dialled(secret) as peer:
            try:
                await peer.shake_hands()
            except ScriptFailed as error:
                raise _Unclear(f"no handshake: {_first_line(error)}") from None
            yield peer

    async def init_of(self, peer: ScriptedPeer) -> Init:
        try:
            theirs = await peer.expect(Init)
        except ScriptFailed as error:
            raise _Unclear(f"no Init: {_first_line(error)}") from None
        self.init = self.init or theirs
        return theirs

    @asynccontextmanager
    async def met(
        self, features: Features | None = None, *, secret: bytes | None = None
    ) -> AsyncGenerator[ScriptedPeer, None]:
        """After both Inits."""
        async with self.script(secret) as peer:
            theirs = await self.init_of(peer)
            # What a node wants of us it says itself; with less some close before they are asked anything.
            await peer.send(Init(features=_acceptable(theirs, features).to_bytes()))
            yield peer

    @asynccontextmanager
    async def talking(self) -> AsyncGenerator[ScriptedPeer, None]:
        """After both Inits and a pong: if it closes now, then for what comes next."""
        async with self.met() as peer:
            wrong = await _is_alive(peer)
            if wrong is not None:
                raise _Unclear(f"it does not even answer a ping: {wrong}")
            yield peer

    def offers(self, name: str) -> bool:
        return self.init is not None and _offered(self.init).offers(name)


_Ask = Callable[[_Node], Awaitable[tuple[Verdict, str]]]


@dataclass(frozen=True, slots=True)
class Question:
    """A rule, where it stands, and how it is asked."""

    rule: str
    where: str
    ask: _Ask
    closes: bool = False
    """The node keeps it by closing: which says nothing about one that closes anyway."""
    seconds: float = 0.0
    """It takes so long besides the patiences."""


def _offered(init: Init) -> Features:
    return Features.from_bytes(init.globalfeatures) | Features.from_bytes(init.features)


def _acceptable(theirs: Init, more: Features | None = None) -> Features:
    wanted = Features.named("option_data_loss_protect", "var_onion_optin", "option_static_remotekey", "payment_secret")
    for bit in _offered(theirs):
        if bit % 2 == 0:
            wanted |= Features((bit + 1,))
    return wanted | (more or Features())


def _failed(code: DisconnectCode, by: Side, words: str) -> ConnectError:
    return ConnectError(DisconnectReason(code, by, words))


async def _meet(node: _Node) -> None:
    """One good handshake. ConnectError if it does not finish: what no node of this id answers, accuses nobody."""
    with suppress(_Unclear), trio.move_on_after(node.patience):
        async with node.dialled() as peer:
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


async def _until_pong(peer: ScriptedPeer, *telling: type[Message]) -> tuple[str | None, list[str]]:
    """Listens until our ping is answered: None, or what happened instead; and the first of its words before that, with
    the names of the messages of `telling`. One patience for all of it; whatever else it says is passed over."""
    said: list[str] = []
    with trio.move_on_after(peer.patience):
        try:
            for _ in range(_PATIENT_MESSAGES):
                message = await peer.receive()
                if message is None:
                    return "closed", said
                if message == Pong(ignored=bytes(_ALIVE)):
                    return None, said
                if isinstance(message, Warning | Error) and len(said) < 3:
                    said.append(f"{message.name} {printable(message.data, 60)!r}")
                elif isinstance(message, telling) and len(said) < 3:
                    said.append(message.name)
        except ScriptFailed as error:
            return _first_line(error), said
        return f"no pong among {_PATIENT_MESSAGES} messages", said
    return f"no pong within {peer.patience:g} seconds", said


async def _is_alive(peer: ScriptedPeer) -> str | None:
    """None if a ping is answered; else what happened instead."""
    try:
        await peer.send(Ping(num_pong_bytes=_ALIVE))
    except ScriptFailed as error:
        return _first_line(error)
    return (await _until_pong(peer))[0]


async def _closes(peer: ScriptedPeer) -> str | None:
    """What it said last, if it closes; None if it does not."""
    try:
        said = await peer.expect_closed()
    except ScriptFailed:
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


async def _may(peer: ScriptedPeer, *telling: type[Message]) -> tuple[Verdict, str]:
    """Either way is allowed."""
    try:
        await peer.send(Ping(num_pong_bytes=_ALIVE))
    except ScriptFailed as error:
        return Verdict.MAY, _first_line(error)
    how, said = await _until_pong(peer, *telling)
    return Verdict.MAY, ", ".join([*said, "goes on" if how is None else how])


# ---------------------------------------------------------------------------------------------------------------------
# The questions


async def _init_of_itself(node: _Node) -> tuple[Verdict, str]:
    async with node.script() as peer:
        first = await peer.receive()
        if not isinstance(first, Init):
            return Verdict.BREAKS, f"first says {first!r}"
        node.init = first
        return Verdict.KEEPS, f"{len(_offered(first))} features"


async def _plain(node: _Node) -> tuple[Verdict, str]:
    """The control of all questions that are answered by a close."""
    async with node.met() as peer:
        node.wrong = await _is_alive(peer)
        return (Verdict.KEEPS, "goes on") if node.wrong is None else (Verdict.BREAKS, node.wrong)


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
    async with node.talking() as peer:
        await peer.send(UnknownMessage(_EVEN, b""))
        return await _must_close(peer)


async def _not_init_first(node: _Node) -> tuple[Verdict, str]:
    async with node.script() as peer:
        await peer.send(Ping(num_pong_bytes=1))
        return await _must_close(peer)


_Judge = Callable[[ScriptedPeer], Awaitable[tuple[Verdict, str]]]


def _init_with(init: Init | bytes, judge: _Judge) -> _Ask:
    """An Init with this added, or with these bytes behind it."""

    async def ask(node: _Node) -> tuple[Verdict, str]:
        async with node.script() as peer:
            base = Init(features=_acceptable(await node.init_of(peer)).to_bytes())
            if isinstance(init, bytes):
                await peer.send_raw(base.encode() + init)
            else:
                both = Features.from_bytes(base.features) | Features.from_bytes(init.features)
                await peer.send(init.replace(features=both.to_bytes()))
            return await judge(peer)

    return ask


def _init_of(bits: tuple[int, ...], judge: _Judge, *without: int, knows: str | None = None) -> _Ask:
    """An Init with these bits in the place of their partners, and without some. `knows`: the rule is only for a node
    that offers this feature; another may do as it likes."""

    async def ask(node: _Node) -> tuple[Verdict, str]:
        async with node.script() as peer:
            theirs = await node.init_of(peer)
            left_out = {*without, *(bit ^ 1 for bit in bits)}
            features = Features(bit for bit in _acceptable(theirs) if bit not in left_out) | Features(bits)
            await peer.send(Init(features=features.to_bytes()))
            return await (judge if knows is None or _offered(theirs).offers(knows) else _may)(peer)

    return ask


def _bit(number: int) -> bytes:
    return Features((number,)).to_bytes()


def _says(message: Message | bytes, judge: _Judge) -> _Ask:
    """After both Inits: a message, or the bytes of one."""

    async def ask(node: _Node) -> tuple[Verdict, str]:
        async with node.talking() as peer:
            await peer.send_raw(message if isinstance(message, bytes) else message.encode())
            return await judge(peer)

    return ask


async def _second_init(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(Init())
        return await _may(peer)


async def _ping_with_record(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send_raw(Ping(num_pong_bytes=5).encode() + bytes.fromhex("0200"))
        return await _may(peer, Pong)


async def _bad_signature(node: _Node) -> tuple[Verdict, str]:
    keys = [SecretKey(secrets.token_bytes(32)) for _ in range(4)]
    points = sorted(key.public_key for key in keys)
    async with node.met() as peer:
        announcement = ChannelAnnouncement(
            node_signature_1=b"\x01" * 64,
            node_signature_2=b"\x01" * 64,
            bitcoin_signature_1=b"\x01" * 64,
            bitcoin_signature_2=b"\x01" * 64,
            features=b"",
            chain_hash=_chain(node),
            short_channel_id=ShortChannelId.of(1, 1, 1),
            node_id_1=points[0],
            node_id_2=points[1],
            bitcoin_key_1=points[2],
            bitcoin_key_2=points[3],
        )
        await peer.send(announcement)
        return await _may(peer)


async def _duplicate(node: _Node) -> tuple[Verdict, str]:
    secret = secrets.token_bytes(32)
    async with node.met(secret=secret) as old:
        before = await _is_alive(old)
        if before is not None:
            raise _Unclear(f"it does not even answer a ping: {before}")
        try:
            async with node.met(secret=secret) as new:
                newer = await _is_alive(new)
                older = await _is_alive(old)
        except (_Unclear, ScriptFailed):
            newer, older = "closed", await _is_alive(old)
    match older, newer:
        case None, None:
            return Verdict.MAY, "keeps both"
        case None, _:
            return Verdict.MAY, "keeps the older"
        case _, None:
            return Verdict.MAY, "keeps the newer"
        case _:
            return Verdict.MAY, "keeps neither"


async def _zlib(node: _Node) -> tuple[Verdict, str]:
    async with node.met(Features.named("gossip_queries")) as peer:
        await peer.send(QueryShortChannelIds(chain_hash=_chain(node), encoded_short_ids=b"\x01\x78\x9c\x03\x00"))
        return await _may(peer)


async def _flipped_bit(node: _Node) -> tuple[Verdict, str]:
    async with node.talking() as peer:
        await peer.send_bytes(peer.packet(Ping(num_pong_bytes=1), corrupt="body tag"))
        return await _must_close(peer)


async def _wrong_version(node: _Node) -> tuple[Verdict, str]:
    async with node.dialled() as peer:
        await peer.send_bytes(b"\x01" + peer.act_one()[1:])
        # ScriptFailed, with its words, if it does neither.
        await peer.expect_closed(reason="")
        return Verdict.KEEPS, "closed without a byte"


async def _act_two(peer: ScriptedPeer) -> bytes:
    try:
        await peer.send_bytes(peer.act_one())
        return await peer.receive_bytes(50)
    except ScriptFailed as error:
        raise _Unclear(f"no act two: {_first_line(error)}") from None


async def _bad_act_three(node: _Node) -> tuple[Verdict, str]:
    async with node.dialled() as peer:
        three = bytearray(peer.answer_act(await _act_two(peer)))
        three[-1] ^= 1
        await peer.send_bytes(bytes(three))
        return await _must_close(peer)


async def _bytewise(node: _Node) -> tuple[Verdict, str]:
    async with node.dialled() as peer:
        for byte in peer.act_one():
            await peer.send_bytes(bytes((byte,)))
        for byte in peer.answer_act(await peer.receive_bytes(50)):
            await peer.send_bytes(bytes((byte,)))
        theirs = await peer.expect(Init)
        await peer.send(Init(features=_acceptable(theirs).to_bytes()))
        return await _must_live(peer)


async def _at_once(node: _Node) -> tuple[Verdict, str]:
    if node.init is None:
        raise _Unclear("its Init is not known")
    async with node.dialled() as peer:
        three = peer.answer_act(await _act_two(peer))
        init = peer.packet(Init(features=_acceptable(node.init).to_bytes()))
        await peer.send_bytes(three + init + peer.packet(Ping(num_pong_bytes=_ALIVE)))
        wrong, _ = await _until_pong(peer)
        return (Verdict.KEEPS, "goes on") if wrong is None else (Verdict.BREAKS, wrong)


async def _their_reading_key(node: _Node) -> tuple[Verdict, str]:
    """Messages that it ignores: pings would be a flood, which it may end."""
    async with node.talking() as peer:
        try:
            for _ in range(REKEY_MESSAGES // _BATCH):
                await peer.send(*[UnknownMessage(_ODD, b"")] * _BATCH)
            await peer.send(Ping(num_pong_bytes=_ALIVE))
            wrong, said = await _until_pong(peer)
        except ScriptFailed as error:
            wrong, said = await _last_words(peer, error)
        return _changed_keys(wrong, said, f"{REKEY_MESSAGES:,} messages and a ping")


async def _their_writing_key(node: _Node) -> tuple[Verdict, str]:
    async with node.talking() as peer:
        peer.ignoring = _CHATTER
        for count in range(REKEY_PINGS):
            try:
                await peer.send(Ping(num_pong_bytes=_ALIVE))
                wrong, said = await _until_pong(peer)
            except ScriptFailed as error:
                wrong, said = await _last_words(peer, error)
            if wrong is not None:
                return _changed_keys(f"{wrong} after {count} pongs", said, "")
            await trio.sleep(1 / PINGS_PER_SECOND)
        return _changed_keys(None, [], f"{REKEY_PINGS} pings and their pongs")


async def _last_words(peer: ScriptedPeer, error: ScriptFailed) -> tuple[str, list[str]]:
    """Of a node that takes nothing more: why, it may have said before."""
    _, said = await _until_pong(peer)
    return _first_line(error), said


def _changed_keys(wrong: str | None, said: list[str], asked: str) -> tuple[Verdict, str]:
    if wrong is None:
        return Verdict.KEEPS, asked
    limited = any(_RATE.search(words) for words in said)
    return Verdict.UNKNOWN if limited else Verdict.BREAKS, ", ".join([*said, wrong])


async def _half_open(node: _Node) -> tuple[Verdict, str]:
    async with node.dialled() as peer:
        await _act_two(peer)
        began, peer.patience = trio.current_time(), HALF_OPEN_SECONDS
        if await _closes(peer) is None:
            return Verdict.MAY, f"waits for act three for more than {HALF_OPEN_SECONDS:g} seconds"
        return Verdict.MAY, f"waits for act three for {trio.current_time() - began:.0f} seconds"


async def _silence(node: _Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        began, pinged = trio.current_time(), "no ping"
        peer.patience = math.inf
        with trio.move_on_after(SILENCE_SECONDS):
            while (message := await peer.receive()) is not None:
                if isinstance(message, Ping) and pinged == "no ping":
                    pinged = f"a ping after {trio.current_time() - began:.0f} seconds"
            return Verdict.MAY, f"{pinged}, closed after {trio.current_time() - began:.0f}"
        return Verdict.MAY, f"{pinged}, still there after {SILENCE_SECONDS:g}"


async def _open_channel(node: _Node) -> tuple[Verdict, str]:
    """The smallest that most take. We never fund it, and say so."""
    points = [SecretKey(secrets.token_bytes(32)).public_key for _ in range(6)]
    async with node.met() as peer:
        asked = OpenChannel(
            chain_hash=_chain(node),
            temporary_channel_id=secrets.token_bytes(32),
            funding_satoshis=100_000,
            push_msat=0,
            dust_limit_satoshis=354,
            max_htlc_value_in_flight_msat=100_000_000,
            channel_reserve_satoshis=1000,
            htlc_minimum_msat=1,
            feerate_per_kw=2500,
            to_self_delay=144,
            max_accepted_htlcs=30,
            funding_pubkey=points[0],
            revocation_basepoint=points[1],
            payment_basepoint=points[2],
            delayed_payment_basepoint=points[3],
            htlc_basepoint=points[4],
            first_per_commitment_point=points[5],
            channel_flags=0,
            tlvs=OpenChannelTlvs(channel_type=_bit(12)),
        )
        await peer.send(asked)
        found = await _may(peer, AcceptChannel)
        with suppress(ScriptFailed):
            await peer.send(Error(channel_id=asked.temporary_channel_id, data=b"only a question"))
        return found


def _chain(node: _Node) -> bytes:
    networks = node.init.tlvs.networks if node.init is not None else None
    return networks[0] if networks else _BITCOIN


async def _channel_range(node: _Node) -> tuple[Verdict, str]:
    if not node.offers("gossip_queries"):
        raise _Unclear("does not offer gossip_queries")
    async with node.met(Features.named("gossip_queries")) as peer:
        peer.ignoring = _CHATTER
        # One block: the shortest answer there is.
        await peer.send(QueryChannelRange(chain_hash=_chain(node), first_blocknum=1, number_of_blocks=1))
        reply = await peer.expect(ReplyChannelRange)
        ids = gossip.decode_short_ids(reply.encoded_short_ids)
        return Verdict.KEEPS, f"{len(ids)} channels, sync_complete {reply.sync_complete}"


async def _range_elsewhere(node: _Node) -> tuple[Verdict, str]:
    if not node.offers("gossip_queries"):
        raise _Unclear("does not offer gossip_queries")
    async with node.met(Features.named("gossip_queries")) as peer:
        peer.ignoring = _CHATTER
        chain = secrets.token_bytes(32)
        await peer.send(QueryChannelRange(chain_hash=chain, first_blocknum=1, number_of_blocks=1))
        reply = await peer.expect(ReplyChannelRange)
        ids = gossip.decode_short_ids(reply.encoded_short_ids)
        kept = reply.chain_hash == chain and not ids
        seen = f"{len(ids)} channels, sync_complete {reply.sync_complete}"
        return Verdict.KEEPS if kept else Verdict.BREAKS, seen


async def _unasked_gossip(node: _Node) -> tuple[Verdict, str]:
    """Its own it may send. Of a channel_update one cannot tell whose it is."""
    async with node.met(Features.named("gossip_queries")) as peer:
        peer.patience = math.inf
        with trio.move_on_after(QUIET_SECONDS):
            while (message := await peer.receive()) is not None:
                match message:
                    case ChannelAnnouncement(node_id_1=one, node_id_2=other):
                        owners = {one, other}
                    case NodeAnnouncement(node_id=one):
                        owners = {one}
                    case _:
                        continue
                if node.address.node_id not in owners:
                    return Verdict.BREAKS, f"sends a {message.name} of others"
            raise _Unclear("closed")
        return Verdict.KEEPS, f"none in {QUIET_SECONDS:g} seconds"


async def _short_channel_ids(node: _Node) -> tuple[Verdict, str]:
    if not node.offers("gossip_queries"):
        raise _Unclear("does not offer gossip_queries")
    async with node.met(Features.named("gossip_queries")) as peer:
        peer.ignoring = _CHATTER
        ids = gossip.encode_short_ids([ShortChannelId.of(1, 1, 1)])
        await peer.send(QueryShortChannelIds(chain_hash=_chain(node), encoded_short_ids=ids))
        end = await peer.expect(ReplyShortChannelIdsEnd)
        return Verdict.KEEPS, f"full_information {end.full_information}"


_CHATTER: Final = (Ping, UnknownMessage, Warning, QueryChannelRange, QueryShortChannelIds)
"""What a node may say at any time."""
_NO_CHANNEL: Final = b"\x2a" * 32
_SHUTDOWN: Final = Shutdown(channel_id=_NO_CHANNEL, scriptpubkey=b"\x00\x14" + bytes(20)).encode()
_RECORD: Final = InitTlvs(unknown=(TlvRecord(1001, b"\x01"),))
_OTHER_CHAIN: Final = InitTlvs(networks=(b"\x2a" * 32,))
CHECKS: Final = (
    Question("sends Init first, and of itself", "BOLT 1", _init_of_itself),
    Question("talks to us after both Inits", "BOLT 1", _plain),
    Question("closes when something else comes first", "BOLT 1", _not_init_first, closes=True),
    Question("takes an unknown odd feature", "BOLT 1", _init_with(Init(features=_bit(1001)), _must_live)),
    Question("refuses an unknown even feature", "BOLT 1", _init_with(Init(features=_bit(1000)), _must_close), True),
    Question(
        "refuses it in globalfeatures too", "BOLT 1", _init_with(Init(globalfeatures=_bit(100)), _must_close), True
    ),
    Question("takes var_onion_optin as required", "BOLT 9", _init_of((8,), _must_live)),
    Question(
        "takes gossip_queries as required, if it offers it",
        "BOLT 9",
        _init_of((6,), _must_live, knows="gossip_queries"),
    ),
    Question(
        "refuses option_zeroconf without option_scid_alias, if it offers it",
        "BOLT 1",
        _init_of((51,), _must_close, 46, 47, knows="option_zeroconf"),
        closes=True,
    ),
    Question("takes an unknown odd record in Init", "BOLT 1", _init_with(Init(tlvs=_RECORD), _must_live)),
    Question(
        "refuses an unknown even record in Init",
        "BOLT 1",
        _init_with(bytes.fromhex("fd03e80101"), _must_close),
        closes=True,
    ),
    Question(
        "refuses records out of order in Init",
        "BOLT 1",
        _init_with(bytes.fromhex("fd03eb0101fd03e90101"), _must_close),
        closes=True,
    ),
    Question("networks of another chain alone", "BOLT 1", _init_with(Init(tlvs=_OTHER_CHAIN), _may)),
    Question("refuses networks of 33 bytes", "BOLT 1", _init_with(b"\x01\x21" + bytes(33), _must_close), True),
    Question("a remote_addr of an unknown type", "BOLT 1", _init_with(bytes.fromhex("0303090102"), _may)),
    Question("a second Init", "BOLT 1", _second_init),
    Question("a second connection with the same key", "BOLT 1", _duplicate),
    Question("ignores an unknown odd message", "BOLT 1", _unknown_odd),
    Question("takes one of 65,535 bytes", "BOLT 8", _longest),
    Question("closes for an unknown even message", "BOLT 1", _unknown_even, closes=True),
    Question("closes for a shutdown that is cut off", "BOLT 1", _says(_SHUTDOWN[:20], _must_close), closes=True),
    Question("a shutdown with an unknown even record", "BOLT 1", _says(_SHUTDOWN + bytes.fromhex("fd03e80101"), _may)),
    Question("a packet of no bytes", "BOLT 1", _says(b"", _may)),
    Question("a packet of one byte", "BOLT 1", _says(b"\0", _may)),
    Question("answers a ping with as many bytes as it asks for", "BOLT 1", _pongs),
    Question("ignores a ping that asks for 65,532 bytes or more", "BOLT 1", _too_much_pong),
    Question("a ping with an unknown even record", "BOLT 1", _ping_with_record),
    Question("a pong that nobody asked for", "BOLT 1", _says(Pong(ignored=bytes(5)), _may)),
    Question(
        "ignores an error for a channel it does not have",
        "BOLT 1",
        _says(Error(channel_id=_NO_CHANNEL, data=b"a channel that is not there"), _must_live),
    ),
    Question(
        "ignores an error for another channel, whatever its bytes",
        "BOLT 1",
        _says(Error(channel_id=_NO_CHANNEL, data=b"\xff\xfe"), _must_live),
    ),
    Question("an error for all channels", "BOLT 1", _says(Error(data=b"only a question"), _may)),
    Question("does nothing for a warning", "BOLT 1", _says(Warning(data="gr\u00fc\u00dfe".encode()), _must_live)),
    Question(
        "does nothing for a warning, whatever its bytes",
        "BOLT 1",
        _says(Warning(data=b"not text: \xff\xfe"), _must_live),
    ),
    Question(
        "gossip that cannot be read", "BOLT 7", _says(ChannelAnnouncement.type.to_bytes(2, "big") + bytes(100), _may)
    ),
    Question("gossip with bad signatures", "BOLT 7", _bad_signature),
    Question("a query in zlib", "BOLT 7", _zlib),
    Question("answers query_channel_range", "BOLT 7", _channel_range),
    Question("answers query_channel_range of another chain", "BOLT 7", _range_elsewhere),
    Question("ends the answer to query_short_channel_ids", "BOLT 7", _short_channel_ids),
    Question("sends no gossip of others before a filter", "BOLT 7", _unasked_gossip, seconds=QUIET_SECONDS),
    Question("takes a handshake byte by byte", "BOLT 8", _bytewise),
    Question("takes act three, Init and a ping at once", "BOLT 8", _at_once),
    Question("closes for another version of the handshake", "BOLT 8", _wrong_version, closes=True),
    Question("closes for an act three with a wrong tag", "BOLT 8", _bad_act_three, closes=True),
    Question("closes for a packet with a wrong tag", "BOLT 8", _flipped_bit, closes=True),
    Question("changes its key for reading after 500 messages", "BOLT 8", _their_reading_key),
)
"""What is always asked."""
THOROUGH: Final = (
    Question(
        "changes its key for writing after 500 messages",
        "BOLT 8",
        _their_writing_key,
        seconds=REKEY_PINGS / PINGS_PER_SECOND,
    ),
    Question("a handshake that does not go on", "BOLT 8", _half_open, seconds=HALF_OPEN_SECONDS),
    Question("a peer that answers no ping", "BOLT 1", _silence, seconds=SILENCE_SECONDS),
    Question("an open_channel", "BOLT 2", _open_channel),
)
"""What takes long, or may disturb."""


async def check_peer(
    address: NodeAddress,
    *,
    patience: float = PATIENCE_SECONDS,
    thorough: bool = False,
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream,
) -> AsyncGenerator[Finding, None]:
    """Asks a node each question in turn: an asynchronous iterator of findings.

    About fifty connections, each with a new key, never more than two at a time, and a few messages on each; on one
    1,100 that are to be ignored. `thorough` asks also what takes minutes (510 pings, 8 a second; a handshake and a
    conversation that stop) and what may disturb (an open_channel, which is then taken back).

    At most `patience` seconds for a dial, for an answer and for a close, and, whatever the node does, three times that
    for one question (one has 2 seconds more, the thorough ones their minutes): a node that reads nothing, or dribbles,
    holds it up no longer.

    OSError if the node cannot be reached at all. ConnectError, before the first finding, if the first handshake does
    not finish within `patience`: then it is not this node, or none, and breaks no rules; and for an onion name without
    a `dial` that goes through a proxy. Later, a dial or a handshake that fails and a question that takes too long are
    findings, "?", and the next question is asked. ValueError for a host that nobody can dial. Cancellation closes the
    connections that are open.
    """
    descriptor_of(address.host, address.port)
    refusal = way_of(dial).refusal(address.host)
    if refusal is not None:
        raise ConnectError(refusal)
    node = _Node(address, dial, patience)
    try:
        await _meet(node)
    except UnicodeError as error:
        # A name with a label that is empty or too long, which no resolver is asked for.
        raise _failed(DisconnectCode.RESOLVE_FAILED, Side.US, _first_line(error)) from None
    for question in (*CHECKS, *THOROUGH) if thorough else CHECKS:
        verdict, seen = await _asked(node, question)
        yield Finding(question.rule, question.where, verdict, seen)


async def _asked(node: _Node, question: Question) -> tuple[Verdict, str]:
    if question.closes and node.wrong is not None:
        return Verdict.UNKNOWN, f"it does not talk to us anyway: {node.wrong}"
    seconds = QUESTION_PATIENCES * node.patience + question.seconds
    with trio.move_on_after(seconds):
        try:
            return await question.ask(node)
        except (ScriptFailed, DecodeError) as error:
            return Verdict.BREAKS, _first_line(error)
        except (_Unclear, OSError) as error:
            return Verdict.UNKNOWN, _first_line(error)
    return Verdict.UNKNOWN, f"not done within {seconds:g} seconds"


# ---------------------------------------------------------------------------------------------------------------------
# Descriptors


def check_descriptor(make_descriptor: Callable[[], SocketDescriptor]) -> None:
    """Holds a SocketDescriptor to what the PeerManager relies on. AssertionError names what does not hold, also where
    a method raises; what `make_descriptor` itself raises leaves as it is.

    `make_descriptor` gives a new connection's descriptor each time, whose other end reads nothing meanwhile.
    """
    one, other = _Held(make_descriptor()), _Held(make_descriptor())
    one.differs_from(other)
    one.sends(0, resume_read=True)
    one.sends(0, resume_read=False)
    for size in (1, 18, 70_000):
        if one.sends(size, resume_read=True) < size:
            break
    one.ends()
    # Whoever ends it twice, or is late, must not find out by an exception.
    one.sends(1, resume_read=True, after=" after the end")
    one.sends(0, resume_read=True, after=" after the end")
    one.ends(" a second time")
    one.differs_from(other)
    other.sends(0, resume_read=True, after=" after another one's end")
    other.ends()


class _Held:
    """A descriptor, and the hash that it had at first: each step is followed by a look at what must not change."""

    def __init__(self, descriptor: object) -> None:
        _must(isinstance(descriptor, SocketDescriptor), f"it is no SocketDescriptor but a {type(descriptor).__name__}")
        self._descriptor = cast("SocketDescriptor", descriptor)
        self._hash = self._of("hash(descriptor)", lambda: hash(descriptor))
        self._stays("from the beginning")

    def _of(self, what: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except BaseException as error:
            if not isinstance(error, Exception):
                raise  # somebody wants this run to end
            # The class is a stranger's: whatever it raises would leave through the manager, which expects nothing.
            raise AssertionError(f"{what} raises {type(error).__name__}: {printable(str(error), 120)}") from error

    def _stays(self, when: str) -> None:
        one = self._descriptor
        _must(self._of("hash(descriptor)", lambda: hash(one)) == self._hash, f"its hash changes {when}")
        _must(self._of("descriptor == itself", lambda: one == one) is True, f"it does not equal itself {when}")
        _must(self._of("descriptor == object()", lambda: one == object()) is False, f"it equals another object {when}")

    def differs_from(self, other: _Held) -> None:
        equal = self._of("descriptor == another", lambda: self._descriptor == other._descriptor)
        _must(not equal, "descriptors of two connections differ")

    def sends(self, size: int, *, resume_read: bool, after: str = "") -> int:
        what = f"send_data of {size} bytes{after}"
        taken = self._of(what, lambda: self._descriptor.send_data(bytes(size), resume_read))
        _must(type(taken) is int, f"{what} returns an int, not {printable(repr(taken), 60)}")
        _must(size > 0 or taken == 0, f"{what}: empty data is never taken, not {taken}")
        _must(0 <= taken <= size, f"{what} takes from 0 to {size} bytes, not {taken}")
        self._stays(f"after {what}")
        return taken

    def ends(self, again: str = "") -> None:
        self._of(f"disconnect_socket{again}", self._descriptor.disconnect_socket)
        self._stays(f"after disconnect_socket{again}")


def _must(holds: bool, words: str) -> None:
    if not holds:
        raise AssertionError(words)
