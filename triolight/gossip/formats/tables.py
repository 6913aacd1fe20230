"""A graph for other programs: tables of CSV, and GraphML. Written piece by piece; nothing here reads."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from triolight.address import readable
from triolight.gossip.fields import display_alias
from triolight.gossip.formats.items import ChannelFacts, NodeFacts, PolicyFacts
from triolight.gossip.formats.snapshot import Snapshot

_POLICY = ("timestamp", "disabled", "cltv", "htlc_min", "htlc_max", "base", "ppm")
NODE_COLUMNS = ("id", "alias", "color", "timestamp", "features", "addresses", "channels", "capacity_sat")
CHANNEL_COLUMNS = (
    "scid",
    "node1",
    "node2",
    "capacity_sat",
    "features",
    *(f"{name}_{direction}" for direction in (0, 1) for name in _POLICY),
)


def write_nodes_csv(snapshot: Snapshot) -> Iterator[bytes]:
    """A line a node, the names of the columns first."""
    yield from _csv(NODE_COLUMNS, map(_node_row, *_nodes(snapshot)))


def write_channels_csv(snapshot: Snapshot) -> Iterator[bytes]:
    """A line a channel, with both directions; what is not known is empty."""
    yield from _csv(CHANNEL_COLUMNS, _channel_rows(snapshot))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(row)
        if line.tell() > 65536:
            yield line.getvalue().encode()
            line.seek(0)
            line.truncate()
    yield line.getvalue().encode()


def _nodes(snapshot: Snapshot) -> tuple[Iterable[NodeFacts], Iterable[int], Iterable[int]]:
    """Each node, how many channels it has, and what they hold."""
    degree: Counter[bytes] = Counter()
    capacity: Counter[bytes] = Counter()
    for channel in snapshot.channels.values():
        for node_id in channel.node_ids:
            degree[node_id] += 1
            capacity[node_id] += channel.capacity_sat or 0
    ids = sorted(degree)
    return map(snapshot.node, ids), (degree[one] for one in ids), (capacity[one] for one in ids)


def _node_row(node: NodeFacts, channels: int, capacity: int) -> Sequence[object]:
    return (
        node.node_id.hex(),
        display_alias(node.alias),
        f"#{node.rgb_color.hex()}",
        node.timestamp,
        node.features.hex(),
        " ".join(map(readable, node.addresses)),
        channels,
        capacity,
    )


def _channel_rows(snapshot: Snapshot) -> Iterator[Sequence[object]]:
    for _, channel in sorted(snapshot.channels.items()):
        facts = channel.facts
        row: list[object] = [*_channel(facts)]
        for policy in channel.policies:
            row += [""] * len(_POLICY) if policy is None else _policy(policy)
        yield row


def _channel(facts: ChannelFacts) -> Sequence[object]:
    capacity = "" if facts.capacity_sat is None else facts.capacity_sat
    ends = (facts.node_id_1.hex(), facts.node_id_2.hex())
    return (str(facts.short_channel_id), *ends, capacity, facts.features.hex())


def _policy(policy: PolicyFacts) -> Sequence[object]:
    return (
        policy.timestamp,
        int(policy.disabled),
        policy.cltv_expiry_delta,
        policy.htlc_minimum_msat,
        policy.htlc_maximum_msat,
        policy.fee_base_msat,
        policy.fee_proportional_millionths,
    )


_NODE_TYPES = {"timestamp": "long", "channels": "int", "capacity_sat": "long"}
_EDGE_COLUMNS = ("scid", "capacity_sat", "features", *_POLICY)
_EDGE_TYPES = {"capacity_sat": "long", "disabled": "boolean"} | dict.fromkeys(_POLICY[2:], "long")
_EDGE_TYPES["timestamp"] = "long"


def write_graphml(snapshot: Snapshot) -> Iterator[bytes]:
    """Directed: an edge is a direction of a channel that has an update, from the node that forwards over it."""
    yield (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
        + _keys("node", NODE_COLUMNS[1:], _NODE_TYPES)
        + _keys("edge", _EDGE_COLUMNS, _EDGE_TYPES)
        + b'<graph edgedefault="directed">\n'
    )
    for row in map(_node_row, *_nodes(snapshot)):
        yield f'<node id="{row[0]}">{_data("node", NODE_COLUMNS[1:], row[1:])}</node>\n'.encode()
    for _, channel in sorted(snapshot.channels.items()):
        scid, one, other, capacity, features = _channel(channel.facts)
        for policy in channel.policies:
            if policy is None:
                continue
            source, target = (one, other) if policy.direction == 0 else (other, one)
            row = [*_policy(policy)]
            row[1] = "true" if policy.disabled else "false"
            edge = quoteattr(f"{scid}/{policy.direction}")
            yield (
                f'<edge id={edge} source="{source}" target="{target}">'
                f"{_data('edge', _EDGE_COLUMNS, (scid, capacity, features, *row))}</edge>\n"
            ).encode()
    yield b"</graph>\n</graphml>\n"


def _keys(kind: str, columns: Sequence[str], types: dict[str, str]) -> bytes:
    return "".join(
        f'<key id="{kind}_{name}" for="{kind}" attr.name="{name}" attr.type="{types.get(name, "string")}"/>\n'
        for name in columns
    ).encode()


def _data(kind: str, columns: Sequence[str], values: Sequence[object]) -> str:
    return "".join(
        f'<data key="{kind}_{name}">{escape(str(value))}</data>'
        for name, value in zip(columns, values, strict=True)
        if value != ""
    )
