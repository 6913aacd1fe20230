"""Hypothesis strategies for every message, made from the declarations.

Needs Hypothesis, and knows no message by name but the three announcements, which it signs.

`messages(BOLT)` draws what a peer may send: unknown odd records, appended extensions, integers at their limits, points
that are on the curve, one field as long as the message allows. `encoded_messages` draws the same as bytes. For gossip
that a node would believe there are `signed_announcements` and `gossip_graphs`: every signature in them is valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast, get_args

from triolight import gossip, wire
from triolight.address import (
    Address,
    DnsAddress,
    IPv4Address,
    IPv6Address,
    TorV2Address,
    TorV3Address,
    write_address,
)
from triolight.keys import SecretKey
from triolight.messages import (
    BOLT,
    ChannelAnnouncement,
    ChannelUpdate,
    Field,
    Init,
    Message,
    NodeAnnouncement,
    Ping,
    Registry,
    Structure,
    TlvStream,
    UnknownMessage,
)
from triolight.testing.scripted import Corruption, Deed
from triolight.wire import MAX_MESSAGE_LENGTH, Codec, ShortChannelId, TlvRecord

__all__ = [
    "GossipGraph",
    "Signed",
    "addresses",
    "deeds",
    "encoded_messages",
    "gossip_graphs",
    "messages",
    "messages_of",
    "misbehaviour",
    "secret_keys",
    "short_channel_ids",
    "signed_announcements",
    "signed_channel_announcements",
    "signed_channel_updates",
    "signed_node_announcements",
    "streams",
    "structures",
    "unknown_messages",
    "unknown_records",
    "values",
]

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ImportError as error:
    raise ImportError("strategies need the extra 'testing': pip install 'triolight[testing]'") from error

_M = TypeVar("_M", bound=Message)

_FEW: Final = 4
"""Items of a sequence, unknown records of a stream: enough for an order and a repetition."""
_SOME_BYTES: Final = 40
"""Bytes of a value without a size of its own; `messages` lengthens one of them to the limit now and then."""
_KEYS: Final = tuple(SecretKey(bytes((number,)) * 32) for number in range(1, 17))
_POINTS: Final = st.sampled_from([key.public_key for key in _KEYS])
"""A pool: to find points at random costs a square root each, and equal ones should come up too."""


def values(codec: Codec) -> SearchStrategy[Any]:
    """Every value that a codec writes, shrinking towards the simplest."""
    match codec:
        case wire.ShortChannelIdCodec():
            return short_channel_ids()
        case wire.Integer():
            return _integers(codec.minimum, codec.maximum)
        case wire.TruncatedInteger():
            return _integers(0, codec.maximum)
        case wire.BigSizeCodec():
            edges = [edge + step for edge in (0xFD, 0x1_0000, 0x1_0000_0000) for step in (-1, 0)]
            return st.sampled_from(edges) | _integers(0, (1 << 64) - 1)
        case wire.Point():
            return _POINTS
        case wire.FixedBytes():
            return _fixed(codec.size)
        case wire.ScidDirOrPubkey():
            return _POINTS | st.builds(_sciddir, st.booleans(), short_channel_ids())
        case wire.PrefixedBytes() | wire.Remainder():
            return st.binary(max_size=_SOME_BYTES)
        case wire.Presence():
            return st.just(True)
        case wire.Sequence():
            least, most = (0, _FEW) if codec.count is None else (codec.count, codec.count)
            return st.lists(values(codec.item), min_size=least, max_size=most).map(tuple)
        case _:
            declared = cast("type[Structure] | None", getattr(codec, "cls", None))
            if declared is None:
                raise TypeError(f"no strategy for {type(codec).__name__}")
            return structures(declared)


def _integers(minimum: int, maximum: int) -> SearchStrategy[int]:
    return st.integers(minimum, maximum) | st.sampled_from((minimum, maximum))


def _fixed(size: int) -> SearchStrategy[bytes]:
    if size <= _SOME_BYTES:
        return st.binary(min_size=size, max_size=size)
    # As random as a test needs, without asking Hypothesis for each of 1,366 bytes.
    return st.binary(min_size=1, max_size=8).map(lambda seed: (seed * size)[:size])


def _sciddir(second_node: bool, short_channel_id: int) -> bytes:
    return bytes((second_node,)) + short_channel_id.to_bytes(8, "big")


def short_channel_ids() -> SearchStrategy[ShortChannelId]:
    """Any of them, their highest bits included."""
    return _integers(0, (1 << 64) - 1).map(ShortChannelId)


def unknown_records(known: Iterable[int] = ()) -> SearchStrategy[tuple[TlvRecord, ...]]:
    """Odd TLV records by increasing type, of types that are not `known`."""
    taken = frozenset(known)
    types = st.integers(0, (1 << 63) - 1).map(lambda half: 2 * half + 1) | st.sampled_from((0xFD, 0x1_0001, 0xFFFF))
    records = st.dictionaries(
        types.filter(lambda type_: type_ not in taken), st.binary(max_size=_SOME_BYTES), max_size=_FEW
    )
    return records.map(lambda found: tuple(TlvRecord(type_, found[type_]) for type_ in sorted(found)))


def structures(cls: type[Structure]) -> SearchStrategy[Any]:
    """Values of a declared structure or TLV stream; records of a stream are there or not."""
    drawn: dict[str, SearchStrategy[Any]] = {}
    for field in _declared_fields(cls):
        drawn[field.name] = values(field.codec)
        if field.tlv_type is not None:
            drawn[field.name] = st.just(field.default) | drawn[field.name]
    if issubclass(cls, TlvStream):
        known = [field.tlv_type for field in cls.__fields__ if field.tlv_type is not None]
        drawn["unknown"] = st.just(()) | unknown_records(known)
    return st.fixed_dictionaries(drawn).map(lambda found: cls(**found))


def _declared_fields(cls: type[Structure]) -> list[Field]:
    return [field for field in cls.__fields__ if field.name not in ("unknown", "extension")]


def messages_of(cls: type[_M]) -> SearchStrategy[_M]:
    """Messages of one class, up to 65,535 bytes; those that declare no TLV stream with and without an extension."""
    fields = _declared_fields(cls)
    drawn = {field.name: values(field.codec) for field in fields}
    if not fields or not fields[-1].codec.open_ended:
        drawn["extension"] = st.just(b"") | unknown_records().map(wire.write_tlv_records)
    plain = st.fixed_dictionaries(drawn).map(lambda found: cls(**found))
    open_ended = [field.name for field in fields if isinstance(field.codec, wire.PrefixedBytes | wire.Remainder)]
    if not open_ended:
        return plain
    less = st.integers(0, MAX_MESSAGE_LENGTH)
    # Not `builds`, whose reports would show each of 65,535 bytes.
    lengthened = st.tuples(plain, st.sampled_from(open_ended), less).map(lambda drawn: _lengthened(*drawn))
    return plain | lengthened


def _lengthened(value: _M, name: str, less: int) -> _M:
    """The message with zeros behind one field, so that it is at most `less` bytes short of the longest."""
    room = max(0, MAX_MESSAGE_LENGTH - len(value.encode()) - less)
    return value.replace(**{name: getattr(value, name) + bytes(room)})


def messages(registry: Registry = BOLT) -> SearchStrategy[Message]:
    """Messages of every class of the registry."""
    return st.one_of([messages_of(cls) for cls in registry])


def unknown_messages(registry: Registry = BOLT) -> SearchStrategy[UnknownMessage]:
    """Messages of types, odd and even, that the registry does not have."""
    types = _integers(0, 0xFFFF).filter(lambda type_: type_ not in registry)
    return st.builds(UnknownMessage, types, st.binary(max_size=_SOME_BYTES))


def encoded_messages(registry: Registry = BOLT) -> SearchStrategy[bytes]:
    """Messages as bytes, those of unknown types among them."""
    every = st.one_of(messages(registry), unknown_messages(registry))
    return every.map(lambda message: message.encode())


def streams(registry: Registry = BOLT, *, max_size: int = 16) -> SearchStrategy[list[Message | UnknownMessage]]:
    """What a peer sends one after the other."""
    return st.lists(st.one_of(messages(registry), unknown_messages(registry)), max_size=max_size)


def deeds(registry: Registry = BOLT) -> SearchStrategy[Deed]:
    """One thing that a peer may do after its Init: valid messages, cut and lengthened ones, of types that nobody knows,
    a second Init, pings of every size, packets with a flipped bit, headers that lie, dribbles, silence of up to ten
    minutes, garbage."""

    def ping(asked: int, ignored: int) -> bytes:
        return Ping(num_pong_bytes=asked, ignored=bytes(ignored)).encode()

    def cut(data: bytes, kept: int) -> bytes:
        return data[: kept % (len(data) + 1)]

    def said(data: bytes) -> Deed:
        return Deed("message", data)

    def corrupted(data: bytes, where: Corruption) -> Deed:
        return Deed("corrupt", data or bytes(2), corruption=where)

    def half(data: bytes) -> Deed:
        return Deed("half", data)

    def lied(data: bytes, length: int) -> Deed:
        return Deed("lie", data, length=length)

    def dribbled(data: bytes, pause: float) -> Deed:
        return Deed("dribble", data[:_SOME_BYTES], pause)

    encoded = encoded_messages(registry)
    pings = st.builds(
        ping, st.sampled_from((0, 1, 65531, 65532, 0xFFFF)), st.sampled_from((0, 1, 64, MAX_MESSAGE_LENGTH - 6))
    )
    garbage = st.binary(min_size=1, max_size=_SOME_BYTES)
    cut_off = st.tuples(encoded, st.integers(0, MAX_MESSAGE_LENGTH)).map(lambda drawn: cut(*drawn))
    anything = st.one_of(encoded, pings, cut_off, garbage)
    places: list[Corruption] = list(get_args(Corruption))
    seconds = st.sampled_from((0.0, 0.001, 1.0, 20.0, 600.0))
    # Chosen by number: `one_of` would count each type of message as a choice, and nothing else would ever come up. And
    # not with `builds`, whose reports show each byte of the longest message.
    kinds: tuple[SearchStrategy[Deed], ...] = (
        anything.map(said),
        anything.map(said),
        st.tuples(encoded, st.sampled_from(places)).map(lambda drawn: corrupted(*drawn)),
        st.tuples(encoded, st.sampled_from((0.0, 0.1))).map(lambda drawn: dribbled(*drawn)),
        encoded.map(half),
        st.tuples(encoded, st.sampled_from((0, 1, 2, MAX_MESSAGE_LENGTH))).map(lambda drawn: lied(*drawn)),
        st.builds(Deed, st.just("bytes"), garbage),
        st.builds(Deed, st.sampled_from(("wait", "read")), seconds=seconds),
        st.just(Deed("hang_up")),
    )
    return st.integers(0, len(kinds) - 1).flatmap(lambda number: kinds[number])


def misbehaviour(registry: Registry = BOLT, *, max_size: int = 8) -> SearchStrategy[list[Deed]]:
    """What a peer does from its handshake on, for `ScriptedPeer.do`: most begin with an Init, and then do anything."""

    def init(message: Init) -> list[Deed]:
        return [Deed("message", message.encode())]

    def both(first: list[Deed], then: list[Deed]) -> list[Deed]:
        return first + then

    nothing = st.just(list[Deed]())
    begin = st.one_of(st.just(init(Init())), messages_of(Init).map(init), nothing)
    return st.tuples(begin, st.lists(deeds(registry), max_size=max_size)).map(lambda drawn: both(*drawn))


def secret_keys() -> SearchStrategy[SecretKey]:
    """From a pool of sixteen, so that the same nodes come up again."""
    return st.sampled_from(_KEYS)


@dataclass(frozen=True, slots=True)
class Signed:
    """An announcement, and the node id that verifies it."""

    message: ChannelAnnouncement | NodeAnnouncement | ChannelUpdate
    node_id: bytes


_PORTS: Final = st.integers(1, 0xFFFF)
_LABELS: Final = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)


def addresses() -> SearchStrategy[Address]:
    """One of each of BOLT 7's five descriptors; of a type that is not defined, none: nothing could follow it."""
    return st.one_of(
        st.builds(IPv4Address, st.ip_addresses(v=4).map(str), _PORTS),
        st.builds(IPv6Address, st.ip_addresses(v=6).map(str), _PORTS),
        st.builds(TorV2Address, _fixed(10), _PORTS),
        st.builds(TorV3Address, _fixed(32), _fixed(2), st.just(3), _PORTS),
        st.builds(DnsAddress, st.lists(_LABELS, min_size=2, max_size=3).map(".".join), _PORTS),
    )


def signed_node_announcements(key: SecretKey) -> SearchStrategy[NodeAnnouncement]:
    """Announcements of the node of `key`, with addresses that can be read."""

    def sign(drawn: NodeAnnouncement, named: list[Address]) -> NodeAnnouncement:
        written = b"".join(map(write_address, named))
        # A drawn message may be as long as a message can be, and the addresses take room.
        features = drawn.features[: max(0, len(drawn.features) - len(written))]
        return gossip.sign_announcement(
            drawn.replace(node_id=key.public_key, features=features, addresses=written), key
        )

    return st.builds(sign, messages_of(NodeAnnouncement), st.lists(addresses(), max_size=_FEW))


def signed_channel_updates(key: SecretKey, **fixed: Any) -> SearchStrategy[ChannelUpdate]:
    """Updates signed by `key`; `fixed` are fields that are given and not drawn."""
    return messages_of(ChannelUpdate).map(lambda drawn: gossip.sign_announcement(drawn.replace(**fixed), key))


def signed_channel_announcements(*keys: SecretKey, **fixed: Any) -> SearchStrategy[ChannelAnnouncement]:
    """Announcements of a channel of four keys (both nodes', both funding keys'), the lesser node id first (BOLT 7)."""
    first, second, funding_1, funding_2 = keys
    if first.public_key > second.public_key:
        first, second, funding_1, funding_2 = second, first, funding_2, funding_1
    points = {
        "node_id_1": first.public_key,
        "node_id_2": second.public_key,
        "bitcoin_key_1": funding_1.public_key,
        "bitcoin_key_2": funding_2.public_key,
    }
    return messages_of(ChannelAnnouncement).map(
        lambda drawn: gossip.sign_announcement(drawn.replace(**points, **fixed), first, second, funding_1, funding_2)
    )


@st.composite
def signed_announcements(draw: st.DrawFn) -> Signed:
    """One of the three announcements, validly signed."""
    key = draw(secret_keys())
    match draw(st.integers(0, 2)):
        case 0:
            return Signed(draw(signed_node_announcements(key)), key.public_key)
        case 1:
            return Signed(draw(signed_channel_updates(key)), key.public_key)
        case _:
            others = draw(st.permutations([one for one in _KEYS if one is not key]))[:3]
            announcement = draw(signed_channel_announcements(key, *others))
            return Signed(announcement, announcement.node_id_1)


@dataclass(frozen=True, slots=True)
class GossipGraph:
    """A network as gossip tells it: every channel between two of the nodes, every update of one of the channels."""

    chain_hash: bytes
    channel_announcements: tuple[ChannelAnnouncement, ...]
    channel_updates: tuple[ChannelUpdate, ...]
    node_announcements: tuple[NodeAnnouncement, ...]

    @property
    def messages(self) -> tuple[ChannelAnnouncement | ChannelUpdate | NodeAnnouncement, ...]:
        """All of it, in an order in which a node takes it: channels, their updates, their nodes."""
        return *self.channel_announcements, *self.channel_updates, *self.node_announcements


@st.composite
def gossip_graphs(draw: st.DrawFn, *, max_channels: int = 4, chain_hash: bytes = bytes(32)) -> GossipGraph:
    """Graphs that hang together: short_channel_ids are all different, updates are signed by the end they speak for,
    only nodes with a channel announce themselves. `chain_hash` is what all of it names."""
    ids = draw(st.lists(short_channel_ids(), min_size=1, max_size=max_channels, unique=True))
    channels: list[ChannelAnnouncement] = []
    updates: list[ChannelUpdate] = []
    by_point = {key.public_key: key for key in _KEYS}
    for short_channel_id in ids:
        keys = draw(st.permutations(_KEYS))[:4]
        fixed = {"chain_hash": chain_hash, "short_channel_id": short_channel_id}
        channel = draw(signed_channel_announcements(*keys, **fixed))
        channels.append(channel)
        for direction, end in enumerate((channel.node_id_1, channel.node_id_2)):
            if draw(st.booleans()):
                flags = draw(st.integers(0, 127)) << 1 | direction
                updates.append(draw(signed_channel_updates(by_point[end], channel_flags=flags, **fixed)))
    ends = sorted({end for channel in channels for end in (channel.node_id_1, channel.node_id_2)})
    nodes = [draw(signed_node_announcements(by_point[end])) for end in ends if draw(st.booleans())]
    return GossipGraph(chain_hash, tuple(channels), tuple(updates), tuple(nodes))
