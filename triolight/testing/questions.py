"""The questions that `check_peer` asks, a function each, and the table of them with the rules of the BOLTs.

Polite: they change nothing, flood nothing, and none is asked twice. A new rule is a function and a row.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from triolight import gossip
from triolight.connection import init_features
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
from triolight.testing.asking import (
    ALIVE,
    Node,
    Unclear,
    Verdict,
    acceptable,
    closing_words,
    first_line,
    is_alive,
    may,
    must_close,
    must_live,
    until_pong,
)
from triolight.testing.scripted import ScriptedPeer, ScriptFailed
from triolight.wire import ShortChannelId, TlvRecord

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
_BATCH: Final = 100
"""Messages in one write of many."""
_RATE: Final = re.compile("rate|limit|too many|too fast|flood|spam", re.IGNORECASE)
"""How a node words that we ask too much: then it has not broken the rule that we ask about."""

_Ask = Callable[[Node], Awaitable[tuple[Verdict, str]]]


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


async def _init_of_itself(node: Node) -> tuple[Verdict, str]:
    async with node.script() as peer:
        first = await peer.receive()
        if not isinstance(first, Init):
            return Verdict.BREAKS, f"first says {first!r}"
        node.init = first
        return Verdict.KEEPS, f"{len(init_features(first))} features"


async def _plain(node: Node) -> tuple[Verdict, str]:
    """The control of all questions that are answered by a close."""
    async with node.met() as peer:
        node.wrong = await is_alive(peer)
        return (Verdict.KEEPS, "goes on") if node.wrong is None else (Verdict.BREAKS, node.wrong)


async def _pongs(node: Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        peer.ignoring = _CHATTER
        for size in (0, 5, 65_531):
            await peer.send(Ping(num_pong_bytes=size))
            pong = await peer.expect(Pong)
            if len(pong.ignored) != size:
                return Verdict.BREAKS, f"{len(pong.ignored)} bytes where {size} were asked for"
        return Verdict.KEEPS, "0, 5 and 65,531 bytes"


async def _too_much_pong(node: Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        peer.ignoring = _CHATTER
        await peer.send(Ping(num_pong_bytes=65_532), Ping(num_pong_bytes=65_535))
        return await must_live(peer)


async def _unknown_odd(node: Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(UnknownMessage(_ODD, b"odd"))
        return await must_live(peer)


async def _longest(node: Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(UnknownMessage(_ODD, bytes(65_533)))
        return await must_live(peer)


async def _unknown_even(node: Node) -> tuple[Verdict, str]:
    async with node.talking() as peer:
        await peer.send(UnknownMessage(_EVEN, b""))
        return await must_close(peer)


async def _not_init_first(node: Node) -> tuple[Verdict, str]:
    async with node.script() as peer:
        await peer.send(Ping(num_pong_bytes=1))
        return await must_close(peer)


_Judge = Callable[[ScriptedPeer], Awaitable[tuple[Verdict, str]]]


def _init_with(init: Init | bytes, judge: _Judge) -> _Ask:
    """An Init with this added, or with these bytes behind it."""

    async def ask(node: Node) -> tuple[Verdict, str]:
        async with node.script() as peer:
            base = Init(features=acceptable(await node.init_of(peer)).to_bytes())
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

    async def ask(node: Node) -> tuple[Verdict, str]:
        async with node.script() as peer:
            theirs = await node.init_of(peer)
            left_out = {*without, *(bit ^ 1 for bit in bits)}
            features = Features(bit for bit in acceptable(theirs) if bit not in left_out) | Features(bits)
            await peer.send(Init(features=features.to_bytes()))
            return await (judge if knows is None or init_features(theirs).offers(knows) else may)(peer)

    return ask


def _bit(number: int) -> bytes:
    return Features((number,)).to_bytes()


def _says(message: Message | bytes, judge: _Judge) -> _Ask:
    """After both Inits: a message, or the bytes of one."""

    async def ask(node: Node) -> tuple[Verdict, str]:
        async with node.talking() as peer:
            await peer.send_raw(message if isinstance(message, bytes) else message.encode())
            return await judge(peer)

    return ask


async def _second_init(node: Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send(Init())
        return await may(peer)


async def _ping_with_record(node: Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        await peer.send_raw(Ping(num_pong_bytes=5).encode() + bytes.fromhex("0200"))
        return await may(peer, Pong)


async def _bad_signature(node: Node) -> tuple[Verdict, str]:
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
        return await may(peer)


async def _duplicate(node: Node) -> tuple[Verdict, str]:
    secret = secrets.token_bytes(32)
    async with node.met(secret=secret) as old:
        before = await is_alive(old)
        if before is not None:
            raise Unclear(f"it does not even answer a ping: {before}")
        try:
            async with node.met(secret=secret) as new:
                newer = await is_alive(new)
                older = await is_alive(old)
        except (Unclear, ScriptFailed):
            newer, older = "closed", await is_alive(old)
    match older, newer:
        case None, None:
            return Verdict.MAY, "keeps both"
        case None, _:
            return Verdict.MAY, "keeps the older"
        case _, None:
            return Verdict.MAY, "keeps the newer"
        case _:
            return Verdict.MAY, "keeps neither"


async def _zlib(node: Node) -> tuple[Verdict, str]:
    async with node.met(Features.named("gossip_queries")) as peer:
        await peer.send(QueryShortChannelIds(chain_hash=_chain(node), encoded_short_ids=b"\x01\x78\x9c\x03\x00"))
        return await may(peer)


async def _flipped_bit(node: Node) -> tuple[Verdict, str]:
    async with node.talking() as peer:
        await peer.send_bytes(peer.packet(Ping(num_pong_bytes=1), corrupt="body tag"))
        return await must_close(peer)


async def _wrong_version(node: Node) -> tuple[Verdict, str]:
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
        raise Unclear(f"no act two: {first_line(error)}") from None


async def _bad_act_three(node: Node) -> tuple[Verdict, str]:
    async with node.dialled() as peer:
        three = bytearray(peer.answer_act(await _act_two(peer)))
        three[-1] ^= 1
        await peer.send_bytes(bytes(three))
        return await must_close(peer)


async def _bytewise(node: Node) -> tuple[Verdict, str]:
    async with node.dialled() as peer:
        for byte in peer.act_one():
            await peer.send_bytes(bytes((byte,)))
        for byte in peer.answer_act(await peer.receive_bytes(50)):
            await peer.send_bytes(bytes((byte,)))
        theirs = await peer.expect(Init)
        await peer.send(Init(features=acceptable(theirs).to_bytes()))
        return await must_live(peer)


async def _at_once(node: Node) -> tuple[Verdict, str]:
    if node.init is None:
        raise Unclear("its Init is not known")
    async with node.dialled() as peer:
        three = peer.answer_act(await _act_two(peer))
        init = peer.packet(Init(features=acceptable(node.init).to_bytes()))
        await peer.send_bytes(three + init + peer.packet(Ping(num_pong_bytes=ALIVE)))
        wrong, _ = await until_pong(peer)
        return (Verdict.KEEPS, "goes on") if wrong is None else (Verdict.BREAKS, wrong)


async def _their_reading_key(node: Node) -> tuple[Verdict, str]:
    """Messages that it ignores: pings would be a flood, which it may end."""
    async with node.talking() as peer:
        try:
            for _ in range(REKEY_MESSAGES // _BATCH):
                await peer.send(*[UnknownMessage(_ODD, b"")] * _BATCH)
            await peer.send(Ping(num_pong_bytes=ALIVE))
            wrong, said = await until_pong(peer)
        except ScriptFailed as error:
            wrong, said = await _last_words(peer, error)
        return _changed_keys(wrong, said, f"{REKEY_MESSAGES:,} messages and a ping")


async def _their_writing_key(node: Node) -> tuple[Verdict, str]:
    async with node.talking() as peer:
        peer.ignoring = _CHATTER
        for count in range(REKEY_PINGS):
            try:
                await peer.send(Ping(num_pong_bytes=ALIVE))
                wrong, said = await until_pong(peer)
            except ScriptFailed as error:
                wrong, said = await _last_words(peer, error)
            if wrong is not None:
                return _changed_keys(f"{wrong} after {count} pongs", said, "")
            await trio.sleep(1 / PINGS_PER_SECOND)
        return _changed_keys(None, [], f"{REKEY_PINGS} pings and their pongs")


async def _last_words(peer: ScriptedPeer, error: ScriptFailed) -> tuple[str, list[str]]:
    """Of a node that takes nothing more: why, it may have said before."""
    _, said = await until_pong(peer)
    return first_line(error), said


def _changed_keys(wrong: str | None, said: list[str], asked: str) -> tuple[Verdict, str]:
    if wrong is None:
        return Verdict.KEEPS, asked
    limited = any(_RATE.search(words) for words in said)
    return Verdict.UNKNOWN if limited else Verdict.BREAKS, ", ".join([*said, wrong])


async def _half_open(node: Node) -> tuple[Verdict, str]:
    async with node.dialled() as peer:
        await _act_two(peer)
        began, peer.patience = trio.current_time(), HALF_OPEN_SECONDS
        if await closing_words(peer) is None:
            return Verdict.MAY, f"waits for act three for more than {HALF_OPEN_SECONDS:g} seconds"
        return Verdict.MAY, f"waits for act three for {trio.current_time() - began:.0f} seconds"


async def _silence(node: Node) -> tuple[Verdict, str]:
    async with node.met() as peer:
        began, pinged = trio.current_time(), "no ping"
        peer.patience = math.inf
        with trio.move_on_after(SILENCE_SECONDS):
            while (message := await peer.receive()) is not None:
                if isinstance(message, Ping) and pinged == "no ping":
                    pinged = f"a ping after {trio.current_time() - began:.0f} seconds"
            return Verdict.MAY, f"{pinged}, closed after {trio.current_time() - began:.0f}"
        return Verdict.MAY, f"{pinged}, still there after {SILENCE_SECONDS:g}"


async def _open_channel(node: Node) -> tuple[Verdict, str]:
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
        found = await may(peer, AcceptChannel)
        with suppress(ScriptFailed):
            await peer.send(Error(channel_id=asked.temporary_channel_id, data=b"only a question"))
        return found


def _chain(node: Node) -> bytes:
    networks = node.init.tlvs.networks if node.init is not None else None
    return networks[0] if networks else _BITCOIN


async def _channel_range(node: Node) -> tuple[Verdict, str]:
    if not node.offers("gossip_queries"):
        raise Unclear("does not offer gossip_queries")
    async with node.met(Features.named("gossip_queries")) as peer:
        peer.ignoring = _CHATTER
        # One block: the shortest answer there is.
        await peer.send(QueryChannelRange(chain_hash=_chain(node), first_blocknum=1, number_of_blocks=1))
        reply = await peer.expect(ReplyChannelRange)
        ids = gossip.decode_short_ids(reply.encoded_short_ids)
        return Verdict.KEEPS, f"{len(ids)} channels, sync_complete {reply.sync_complete}"


async def _range_elsewhere(node: Node) -> tuple[Verdict, str]:
    if not node.offers("gossip_queries"):
        raise Unclear("does not offer gossip_queries")
    async with node.met(Features.named("gossip_queries")) as peer:
        peer.ignoring = _CHATTER
        chain = secrets.token_bytes(32)
        await peer.send(QueryChannelRange(chain_hash=chain, first_blocknum=1, number_of_blocks=1))
        reply = await peer.expect(ReplyChannelRange)
        ids = gossip.decode_short_ids(reply.encoded_short_ids)
        kept = reply.chain_hash == chain and not ids
        seen = f"{len(ids)} channels, sync_complete {reply.sync_complete}"
        return Verdict.KEEPS if kept else Verdict.BREAKS, seen


async def _unasked_gossip(node: Node) -> tuple[Verdict, str]:
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
            raise Unclear("closed")
        return Verdict.KEEPS, f"none in {QUIET_SECONDS:g} seconds"


async def _short_channel_ids(node: Node) -> tuple[Verdict, str]:
    if not node.offers("gossip_queries"):
        raise Unclear("does not offer gossip_queries")
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
    Question("takes an unknown odd feature", "BOLT 1", _init_with(Init(features=_bit(1001)), must_live)),
    Question("refuses an unknown even feature", "BOLT 1", _init_with(Init(features=_bit(1000)), must_close), True),
    Question(
        "refuses it in globalfeatures too", "BOLT 1", _init_with(Init(globalfeatures=_bit(100)), must_close), True
    ),
    Question("takes var_onion_optin as required", "BOLT 9", _init_of((8,), must_live)),
    Question(
        "takes gossip_queries as required, if it offers it",
        "BOLT 9",
        _init_of((6,), must_live, knows="gossip_queries"),
    ),
    Question(
        "refuses option_zeroconf without option_scid_alias, if it offers it",
        "BOLT 1",
        _init_of((51,), must_close, 46, 47, knows="option_zeroconf"),
        closes=True,
    ),
    Question("takes an unknown odd record in Init", "BOLT 1", _init_with(Init(tlvs=_RECORD), must_live)),
    Question(
        "refuses an unknown even record in Init",
        "BOLT 1",
        _init_with(bytes.fromhex("fd03e80101"), must_close),
        closes=True,
    ),
    Question(
        "refuses records out of order in Init",
        "BOLT 1",
        _init_with(bytes.fromhex("fd03eb0101fd03e90101"), must_close),
        closes=True,
    ),
    Question("networks of another chain alone", "BOLT 1", _init_with(Init(tlvs=_OTHER_CHAIN), may)),
    Question("refuses networks of 33 bytes", "BOLT 1", _init_with(b"\x01\x21" + bytes(33), must_close), True),
    Question("a remote_addr of an unknown type", "BOLT 1", _init_with(bytes.fromhex("0303090102"), may)),
    Question("a second Init", "BOLT 1", _second_init),
    Question("a second connection with the same key", "BOLT 1", _duplicate),
    Question("ignores an unknown odd message", "BOLT 1", _unknown_odd),
    Question("takes one of 65,535 bytes", "BOLT 8", _longest),
    Question("closes for an unknown even message", "BOLT 1", _unknown_even, closes=True),
    Question("closes for a shutdown that is cut off", "BOLT 1", _says(_SHUTDOWN[:20], must_close), closes=True),
    Question("a shutdown with an unknown even record", "BOLT 1", _says(_SHUTDOWN + bytes.fromhex("fd03e80101"), may)),
    Question("a packet of no bytes", "BOLT 1", _says(b"", may)),
    Question("a packet of one byte", "BOLT 1", _says(b"\0", may)),
    Question("answers a ping with as many bytes as it asks for", "BOLT 1", _pongs),
    Question("ignores a ping that asks for 65,532 bytes or more", "BOLT 1", _too_much_pong),
    Question("a ping with an unknown even record", "BOLT 1", _ping_with_record),
    Question("a pong that nobody asked for", "BOLT 1", _says(Pong(ignored=bytes(5)), may)),
    Question(
        "ignores an error for a channel it does not have",
        "BOLT 1",
        _says(Error(channel_id=_NO_CHANNEL, data=b"a channel that is not there"), must_live),
    ),
    Question(
        "ignores an error for another channel, whatever its bytes",
        "BOLT 1",
        _says(Error(channel_id=_NO_CHANNEL, data=b"\xff\xfe"), must_live),
    ),
    Question("an error for all channels", "BOLT 1", _says(Error(data=b"only a question"), may)),
    Question("does nothing for a warning", "BOLT 1", _says(Warning(data="gr\u00fc\u00dfe".encode()), must_live)),
    Question(
        "does nothing for a warning, whatever its bytes",
        "BOLT 1",
        _says(Warning(data=b"not text: \xff\xfe"), must_live),
    ),
    Question(
        "gossip that cannot be read", "BOLT 7", _says(ChannelAnnouncement.type.to_bytes(2, "big") + bytes(100), may)
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
