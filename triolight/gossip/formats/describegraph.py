"""LND's describegraph as JSON: read and written piece by piece; a large graph takes no more memory than a small one.

Nothing in it is signed. A policy belongs to the node that its key names, and its direction follows from the order of
the two ids, whichever order they stand in: files that went through other programs have them the other way round.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, cast

from triolight.address import (
    Address,
    DnsAddress,
    IPv4Address,
    IPv6Address,
    TorV2Address,
    TorV3Address,
    UnknownAddress,
    descriptor_of,
)
from triolight.features import FEATURES, Features
from triolight.gossip.formats.items import ChannelFacts, Damaged, Item, NodeFacts, PolicyFacts
from triolight.text import place
from triolight.wire import ShortChannelId

READ_AT_ONCE: Final = 64 * 1024
MAX_VALUE: Final = 4 * 1024 * 1024
"""Characters of one node, one edge, or of whatever else stands at the top."""
_LARGEST_FEATURE: Final = 65_535 * 8
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_BEGINNING: Final = re.compile(r'\{[ \t\r\n]{0,32}"(?:pub_key|last_update|channel_id|alias)"')
LONGEST_BEGINNING: Final = 64
_LISTS: Final = ("nodes", "edges")
_DECODER: Final = json.JSONDecoder()
_NAMES: Final = {bit: one.name for one in FEATURES.values() for bit in (one.even, one.odd)}


class _Text:
    """A stream of UTF-8 as characters, and at which byte they are. Holds what was not taken yet."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self.held = ""
        self.offset = 0
        self.ended = False

    def more(self) -> bool:
        """Whether there is more than before."""
        data = self._stream.read(READ_AT_ONCE)
        self.ended = not data
        self.held += self._decode(data, self.ended)
        return not self.ended

    def take(self, count: int) -> str:
        taken, self.held = self.held[:count], self.held[count:]
        self.offset += len(taken.encode("utf-8", "surrogateescape"))
        return taken

    def peek(self) -> str:
        """The next character that is not blank, not taken; empty at the end."""
        while True:
            blank = _BLANK.match(self.held)
            self.take(blank.end() if blank else 0)
            if self.held or not self.more():
                return self.held[:1]

    def value(self) -> Any:
        """The next value, whole. ValueError if it is none; then nothing is taken."""
        self.peek()
        while True:
            try:
                found, end = _DECODER.raw_decode(self.held)
            except (ValueError, RecursionError) as error:
                if len(self.held) < MAX_VALUE and not self.ended and self.more():
                    continue
                raise ValueError(f"no JSON: {error}") from None
            # A number at the end of what is held may go on.
            if end == len(self.held) and not self.ended and self.more():
                continue
            self.take(end)
            return found

    def skip(self) -> None:
        """What is no value, up to the next thing that begins as a node or an edge does."""
        self.take(1)
        while True:
            found = _BEGINNING.search(self.held)
            if found:
                self.take(found.start())
                return
            # One may begin in what is kept.
            self.take(max(0, len(self.held) - LONGEST_BEGINNING))
            if not self.more():
                self.take(len(self.held))
                return


def read_describegraph(stream: BinaryIO) -> Iterator[Item]:
    """Its nodes and edges. What is no node and no edge is named and left out. ValueError if it is no such JSON."""
    text = _Text(stream)
    if text.peek() != "{":
        raise ValueError("no describegraph: it does not begin with {")
    text.take(1)
    seen: set[str] = set()
    while True:
        if text.peek() == ",":
            text.take(1)
            continue
        if text.peek() == "}":
            break
        at = text.offset
        try:
            key = text.value()
            if not isinstance(key, str) or text.peek() != ":":
                raise ValueError("no key of an object")
            text.take(1)
            if text.peek() == "[" and key in _LISTS:
                seen.add(key)
                text.take(1)
                yield from _listed(text, key)
            else:
                text.value()
        except ValueError as error:
            ended = text.ended and not text.held.strip()
            yield Damaged(at, "the file ends inside the object" if ended else str(error))
            return
    if not seen:
        raise ValueError("no describegraph: it has neither nodes nor edges")


def _listed(text: _Text, key: str) -> Iterator[Item]:
    while True:
        match text.peek():
            case "]":
                text.take(1)
                return
            case ",":
                text.take(1)
                continue
            case "":
                raise ValueError("the file ends inside a list")
            case _:
                pass
        at = text.offset
        try:
            value = text.value()
        except ValueError as error:
            yield Damaged(at, f"{key}: {error}")
            text.skip()
            continue
        try:
            yield from [*_item(value)]
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            yield Damaged(at, f"{key}: {what}")


def _item(value: Any) -> Iterator[Item]:
    """By what it says, not by where it stands: behind what is damaged the lists may be mixed up."""
    if isinstance(value, dict) and "pub_key" in value:
        return _node(cast("dict[str, Any]", value))
    if isinstance(value, dict) and "channel_id" in value:
        return _edge(cast("dict[str, Any]", value))
    raise ValueError("neither a node nor an edge")


def _node(value: dict[str, Any]) -> Iterator[Item]:
    yield NodeFacts(
        _id(value["pub_key"]),
        _number(value.get("last_update") or 0, 32),
        str(value.get("alias") or "").encode("utf-8", "replace")[:32],
        _color(value.get("color") or "#000000"),
        _features(value.get("features") or {}),
        tuple(_address(one["addr"]) for one in value.get("addresses") or ()),
    )


def _edge(value: dict[str, Any]) -> Iterator[Item]:
    scid = ShortChannelId(_number(value["channel_id"], 64))
    first, second = _id(value["node1_pub"]), _id(value["node2_pub"])
    swapped = first > second
    capacity = value.get("capacity")
    yield ChannelFacts(
        scid,
        min(first, second),
        max(first, second),
        _features(value.get("features") or {}),
        None if capacity in (None, "", 0, "0") else _number(capacity, 63),
        str(value.get("chan_point") or ""),
    )
    for key, direction in (("node1_policy", 0), ("node2_policy", 1)):
        policy = value.get(key)
        if policy:
            yield _policy(policy, scid, direction ^ swapped)


def _policy(value: dict[str, Any], scid: ShortChannelId, direction: int) -> PolicyFacts:
    return PolicyFacts(
        scid,
        direction,
        _number(value.get("last_update") or 0, 32),
        bool(value.get("disabled")),
        _number(value.get("time_lock_delta") or 0, 16),
        _number(value.get("min_htlc") or 0, 64),
        _number(value.get("max_htlc_msat") or 0, 64),
        _number(value.get("fee_base_msat") or 0, 32),
        _number(value.get("fee_rate_milli_msat") or 0, 32),
        _signed(value.get("inbound_fee_base_msat") or 0),
        _signed(value.get("inbound_fee_rate_milli_msat") or 0),
    )


def _signed(value: Any) -> int:
    return _number(int(value) + (1 << 31), 32) - (1 << 31)


def _number(value: Any, bits: int) -> int:
    """64-bit ones are text in this JSON, 32-bit ones numbers; either is taken."""
    number = int(value)
    if isinstance(value, float | bool) or not 0 <= number < 1 << bits:
        raise ValueError(f"no number of {bits} bits: {value!r:.40}")
    return number


def _id(value: str) -> bytes:
    found = bytes.fromhex(value)
    if len(found) != 33 or found[0] not in (2, 3):
        raise ValueError(f"no node id: {value!r:.80}")
    return found


def _color(value: str) -> bytes:
    found = bytes.fromhex(value.removeprefix("#"))
    if len(found) != 3:
        raise ValueError(f"no color: {value!r:.40}")
    return found


def _features(value: dict[str, Any]) -> bytes:
    bits = [int(one) for one in value]
    if bits and not 0 <= min(bits) <= max(bits) < _LARGEST_FEATURE:
        raise ValueError("no number of a feature")
    found = bytearray(max(bits) // 8 + 1 if bits else 0)
    for one in bits:
        found[-1 - one // 8] |= 1 << one % 8
    return bytes(found)


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        number = int(port) if colon else -1
        if not 0 <= number <= 0xFFFF:
            raise ValueError("no port")
        if host.endswith(".onion") and len(host) == 22:
            return TorV2Address(base64.b32decode(host[:16].upper()), number)
        return descriptor_of(host, number)
    except (ValueError, binascii.Error):
        # Kept, so that it is counted: nobody can dial it.
        return UnknownAddress(0, text.encode("utf-8", "replace"))


def write_describegraph(
    nodes: Iterable[NodeFacts],
    channels: Iterable[tuple[ChannelFacts, PolicyFacts | None, PolicyFacts | None]],
) -> Iterator[bytes]:
    """LND's names and forms, in pieces: a node or an edge a line."""
    yield b'{"nodes": ['
    separator = "\n"
    for node in nodes:
        yield f"{separator}{json.dumps(_of_node(node))}".encode()
        separator = ",\n"
    yield b'\n], "edges": ['
    separator = "\n"
    for channel in channels:
        yield f"{separator}{json.dumps(_of_edge(*channel))}".encode()
        separator = ",\n"
    yield b"\n]}\n"


def _of_node(node: NodeFacts) -> dict[str, Any]:
    return {
        "last_update": node.timestamp,
        "pub_key": node.node_id.hex(),
        # As it is: what JSON escapes harms no terminal.
        "alias": node.alias.rstrip(b"\0").decode("utf-8", "replace"),
        "addresses": [{"network": "tcp", "addr": _written(one)} for one in node.addresses],
        "color": f"#{node.rgb_color.hex()}",
        "features": features_as_json(node.features),
        "custom_records": {},
    }


def _of_edge(channel: ChannelFacts, first: PolicyFacts | None, second: PolicyFacts | None) -> dict[str, Any]:
    policies = [one for one in (first, second) if one is not None]
    return {
        "channel_id": str(int(channel.short_channel_id)),
        "chan_point": channel.chan_point,
        "last_update": max((one.timestamp for one in policies), default=0),
        "node1_pub": channel.node_id_1.hex(),
        "node2_pub": channel.node_id_2.hex(),
        "capacity": str(channel.capacity_sat or 0),
        "node1_policy": first and _of_policy(first),
        "node2_policy": second and _of_policy(second),
        "custom_records": {},
    }


def _of_policy(policy: PolicyFacts) -> dict[str, Any]:
    return {
        "time_lock_delta": policy.cltv_expiry_delta,
        "min_htlc": str(policy.htlc_minimum_msat),
        "fee_base_msat": str(policy.fee_base_msat),
        "fee_rate_milli_msat": str(policy.fee_proportional_millionths),
        "disabled": policy.disabled,
        "max_htlc_msat": str(policy.htlc_maximum_msat),
        "last_update": policy.timestamp,
        "custom_records": {},
        "inbound_fee_base_msat": policy.inbound_fee_base_msat,
        "inbound_fee_rate_milli_msat": policy.inbound_fee_proportional_millionths,
    }


def features_as_json(data: bytes) -> dict[str, Any]:
    """By bit, as LND writes them."""
    return {
        str(bit): {
            "name": _NAMES.get(bit, "unknown"),
            "is_required": bit % 2 == 0,
            "is_known": bit in _NAMES,
        }
        for bit in Features.from_bytes(data)
    }


def _written(address: Address) -> str:
    match address:
        case IPv4Address() | IPv6Address() | DnsAddress() | TorV3Address():
            return place(address.host, address.port)
        case TorV2Address():
            return f"{base64.b32encode(address.key).decode().lower()}.onion:{address.port}"
        case UnknownAddress():
            return address.data.decode("utf-8", "replace") if not address.type else address.data.hex()
