"""What is drawn of a record and of a graph: each chart a table of numbers with its words. Draws nothing.

What stands in a chart's rows is all that its picture shows, so whoever has the table can draw it anew. A chart without
numbers is not made.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final, Literal, TypeAlias

from triolight.features import Features
from triolight.gossip.formats.snapshot import Snapshot
from triolight.gossip.formats.summary import ADDRESS_KINDS, FEATURES_COUNTED, address_kind
from triolight.services.series import AGAIN, MINUTE_NS, RecordSeries, Spread
from triolight.wire import ShortChannelId

__all__ = ["Chart", "chart_csv", "graph_charts", "record_charts"]

SHOWN_PEERS: Final = 20
SHOWN_CHANNELS: Final = 20
SHOWN_OUTCOMES: Final = 15
SHOWN_FEATURES: Final = 30
POINTS: Final = 400
"""Of a curve, at the most: the others would lie on the line between them."""
BINS: Final = 720
"""Of a span of time, at the most."""
MINUTES_OF_A_BIN: Final = (1, 2, 5, 10, 15, 30, 60, 120, 360, 1440)
SECONDS: Final[Mapping[float, str]] = {
    0.0001: "0.1 ms",
    0.001: "1 ms",
    0.01: "10 ms",
    0.1: "0.1 s",
    1: "1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3600: "1 h",
    6 * 3600: "6 h",
    86_400: "1 day",
    604_800: "1 week",
    30 * 86_400: "30 days",
    365 * 86_400: "1 year",
    3650 * 86_400: "10 years",
}
"""Where an axis of time is marked, if it reaches so far."""

Cell: TypeAlias = str | int | float


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture, as numbers and words."""

    name: str
    """Of its files."""
    kind: Literal["shares", "tail", "bars", "areas"]
    """``shares``: how much is not more than that, a row a point: curve, number, share. ``tail``: how much is that or
    more, both axes logarithmic, in such rows. ``bars``: a row a bar, its parts side by side. ``areas``: a row a moment,
    in seconds since 1970, its parts on top of each other."""
    title: str
    words: str
    """What it means."""
    count: str
    """What was counted, with its n."""
    across: str
    up: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    shown: Mapping[str, str] = field(default_factory=dict[str, str])
    """How a curve, a bar or a part is called on the picture, where that is not its name in the table."""
    parts: Sequence[str] = ()
    """The columns that are drawn of bars and areas, if not all: the others are for the table alone."""
    in_percent: bool = False
    """Whether bars are shares."""
    ticks: Mapping[float, str] = field(default_factory=dict[float, str])
    spans: Sequence[tuple[float, float]] = ()
    """Moments between which nothing is known."""


def chart_csv(chart: Chart) -> str:
    """Its table."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(chart.columns)
    writer.writerows(chart.rows)
    return made.getvalue()


# ---------------------------------------------------------------------------------------------------------------------
# A record


def record_charts(series: RecordSeries) -> list[Chart]:
    """All for which the record has numbers; behind its own those of the graph that it tells of."""
    made = (_delay(series), _minutes(series), _first(series), _updates(series), _rtt(series), _outcomes(series))
    return [one for one in made if one is not None] + graph_charts(series.graph, series.last_ns / 1e9)


def _delay(series: RecordSeries) -> Chart | None:
    spreads = {name: one for name, one in sorted(series.delays.items()) if one.count}
    if not spreads:
        return None
    return Chart(
        "delay",
        "shares",
        "How long a message takes from the first peer to the others",
        "Each peer that was connected when a message first came, and pushed it later than the first one. Most nodes "
        "pass gossip on once a minute: up to a minute a hop is theirs.",
        f"n = {sum(one.count for one in spreads.values()):,} later sightings",
        "after the first peer",
        "share of later sightings",
        ("type", "seconds", "share"),
        [row for name, spread in spreads.items() for row in _points(name, *spread.shares())],
        {name: f"{name}: {_quantiles(one)} (n = {one.count:,})" for name, one in spreads.items()},
        ticks=SECONDS,
    )


def _rtt(series: RecordSeries) -> Chart | None:
    if not series.rtts.count:
        return None
    return Chart(
        "rtt",
        "shares",
        "Round trips of pings",
        "From a ping's way into the queue to the reading of its pong, of all peers: what is slow is far, busy, or "
        "behind Tor.",
        f"n = {series.rtts.count:,} pings",
        "round trip",
        "share of pings",
        ("curve", "seconds", "share"),
        _points("pings", *series.rtts.shares()),
        {"pings": f"pings: {_quantiles(series.rtts)}"},
        ticks=SECONDS,
    )


def _points(name: str, across: Iterable[float], up: Iterable[float]) -> list[tuple[str, float, float]]:
    return [(name, one, other) for one, other in zip(across, up, strict=True)]


def _quantiles(spread: Spread) -> str:
    at = {share: next(one for one, reached in zip(*spread.shares(), strict=True) if reached >= share) for share in HALF}
    return ", ".join(f"{words} within {_seconds(at[share])}" for share, words in HALF.items())


HALF: Final = {0.5: "half", 0.95: "95 %"}


def _seconds(value: float) -> str:
    """With two digits that count."""
    for unit, size, most in (("ms", 0.001, 1), ("s", 1.0, 99), ("min", 60.0, 5940)):
        if value < most:
            return f"{float(f'{value / size:.2g}'):g} {unit}"
    return f"{float(f'{value / 3600:.2g}'):g} h"


def _minutes(series: RecordSeries) -> Chart | None:
    if not series.minutes:
        return None
    begin = min(min(one) for one in series.minutes.values())
    end = max(max(one) for one in series.minutes.values()) + 1
    step = next((one for one in MINUTES_OF_A_BIN if (end - begin) / one <= BINS), MINUTES_OF_A_BIN[-1])
    begin -= begin % step
    names = sorted(series.minutes)
    counts = {name: _binned(series.minutes[name], step) for name in names}
    rows = [(at * 60, *(counts[name][at] / step for name in names)) for at in range(begin, end, step)]
    total = sum(one.total() for one in series.minutes.values())
    return Chart(
        "minutes",
        "areas",
        "Messages a minute, by type",
        "Each once, when it was first pushed, if it is newer than what was known of its channel, direction or node. "
        f"“{AGAIN[2:]}”: the same as before with a new date, as a node says it to keep its channel from being "
        "forgotten. Grey: nobody recorded.",
        f"n = {total:,} messages",
        "UTC",
        "messages a minute" + ("" if step == 1 else f", mean of {step}"),
        ("unix_seconds", *names),
        rows,
        {name: f"{name} (n = {series.minutes[name].total():,})" for name in names},
        spans=[(one / 1e9, other / 1e9) for one, other in series.pauses if other - one >= MINUTE_NS],
    )


def _binned(minutes: Counter[int], step: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for minute, count in minutes.items():
        found[minute - minute % step] += count
    return found


def _first(series: RecordSeries) -> Chart | None:
    total = series.first.total()
    if not total:
        return None
    ranked = sorted(series.first.items(), key=lambda one: (-one[1], one[0]))
    rows: list[tuple[str, float, int, int]] = [
        (name, count / total, count, series.sightings[name]) for name, count in ranked[:SHOWN_PEERS]
    ]
    shown = {name: f"{name[:12]}… ({sightings:,} sightings)" for name, _, _, sightings in rows}
    rest = ranked[SHOWN_PEERS:]
    if rest:
        count = sum(one for _, one in rest)
        rows.append((f"{len(rest):,} more", count / total, count, sum(series.sightings[name] for name, _ in rest)))
    return Chart(
        "first",
        "bars",
        "Who is the first to push how much",
        "Of the messages that were pushed by any peer, those that this one pushed before all others. Who was connected "
        "for longer has had more chances.",
        f"n = {total:,} messages, of {len(ranked):,} peers",
        "share of messages that it pushed first",
        "",
        ("node_id", "share", "first", "sightings"),
        rows,
        shown,
        parts=("share",),
        in_percent=True,
    )


def _updates(series: RecordSeries) -> Chart | None:
    if not series.updates:
        return None
    ranked = sorted(series.updates.items(), key=lambda one: (-sum(one[1]), one[0]))
    total = sum(sum(one) for _, one in ranked)
    top = ranked[:SHOWN_CHANNELS]
    share = sum(sum(one) for _, one in top) / total
    return Chart(
        "updates",
        "bars",
        "Who updates most: channels by their updates",
        "Both directions of a channel together. One that has hundreds a day changes its fees all the time, and every "
        "node of the network hears each of them.",
        f"n = {total:,} updates of {len(ranked):,} channels; these {len(top)}: {share:.0%}",
        "channel_update messages",
        "",
        ("short_channel_id", "news", AGAIN[2:]),
        [(str(ShortChannelId(one)), news, again) for one, (news, again) in top],
    )


def _outcomes(series: RecordSeries) -> Chart | None:
    if not series.outcomes:
        return None
    counts = Counter(series.outcomes.values())
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    rows = [(name, count) for name, count in ranked[:SHOWN_OUTCOMES]]
    rest = ranked[SHOWN_OUTCOMES:]
    if rest:
        rows.append((f"{len(rest):,} more", sum(count for _, count in rest)))
    total = counts.total()
    return Chart(
        "outcomes",
        "bars",
        "Who can be reached: what came of the last dial of each node",
        "Reached is whose Init came. A node that is full looks like one that is dead: it closes before its Init.",
        f"n = {total:,} nodes; {counts['reached'] / total:.0%} reached",
        "nodes",
        "",
        ("outcome", "nodes"),
        rows,
    )


# ---------------------------------------------------------------------------------------------------------------------
# A graph


def graph_charts(snapshot: Snapshot, now: float) -> list[Chart]:
    """All for which the graph has numbers. `now`: seconds since 1970, by which updates are too new."""
    made = (_degrees(snapshot), _capacities(snapshot), _addresses(snapshot), _features(snapshot), _ages(snapshot, now))
    return [one for one in made if one is not None]


def _degrees(snapshot: Snapshot) -> Chart | None:
    degree = Counter(node_id for channel in snapshot.channels.values() for node_id in channel.node_ids)
    if not degree:
        return None
    counts = sorted(Counter(degree.values()).items())
    nodes = len(degree)
    at_least = [*accumulate(count for _, count in reversed(counts))][::-1]
    ordered = sorted(degree.values())
    return Chart(
        "degrees",
        "tail",
        "Channels of a node",
        "How many nodes have so many channels or more. A straight line would be a power law: a few nodes have most.",
        f"n = {nodes:,} nodes; median {ordered[nodes // 2]:,}, most {ordered[-1]:,}",
        "channels",
        "share of nodes with so many or more",
        ("curve", "channels", "share"),
        [("nodes", one, count / nodes) for (one, _), count in zip(counts, at_least, strict=True)],
    )


def _capacities(snapshot: Snapshot) -> Chart | None:
    known = sorted(one.capacity_sat for one in snapshot.channels.values() if one.capacity_sat)
    if not known:
        return None
    total, unknown = sum(known), len(snapshot.channels) - len(known)
    by_count = [(one, (number + 1) / len(known)) for number, one in enumerate(known)]
    by_size = [(one, size / total) for one, size in zip(known, accumulate(known), strict=True)]
    return Chart(
        "capacities",
        "shares",
        "Capacity of channels",
        "How many channels have so much or less, and how much of all capacity is in them.",
        f"n = {len(known):,} channels, {total / 1e8:,.2f} BTC{f'; of {unknown:,} more unknown' if unknown else ''}",
        "satoshi",
        "share with so much or less",
        ("curve", "capacity_sat", "share"),
        [(name, *one) for name, points in _CAPACITY.items() for one in _thinned(by_size if points else by_count)],
        {"channels": f"channels: half have {known[len(known) // 2]:,} sat or less", "capacity": "all capacity"},
        ticks={10.0**power: f"{10**power:,}" for power in range(12)},
    )


_CAPACITY: Final = {"channels": False, "capacity": True}


def _thinned(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Of points that ascend both ways: of each number the last, and of those whose shares hardly differ one."""
    kept = -1.0
    for number, (one, share) in enumerate(points):
        last = number + 1 == len(points)
        if last or (points[number + 1][0] != one and (share - kept >= 1 / POINTS or kept < 0)):
            kept = share
            yield one, share


def _addresses(snapshot: Snapshot) -> Chart | None:
    counts: Counter[str] = Counter()
    nodes = 0
    for node_id in snapshot.announced:
        nodes += 1
        counts.update({address_kind(one) for one in snapshot.node(node_id).addresses} or {"none"})
    if not nodes:
        return None
    return Chart(
        "addresses",
        "bars",
        "Kinds of addresses that nodes announce",
        "A node with addresses of two kinds counts for both. Who announces none dials others, and cannot be dialled.",
        f"n = {nodes:,} nodes that announce themselves",
        "share of nodes",
        "",
        ("kind", "share", "nodes"),
        [(kind, counts[kind] / nodes, counts[kind]) for kind in (*ADDRESS_KINDS, "none") if counts[kind]],
        parts=("share",),
        in_percent=True,
    )


def _features(snapshot: Snapshot) -> Chart | None:
    optional: Counter[int] = Counter()
    required: Counter[int] = Counter()
    nodes = 0
    for node_id in snapshot.announced:
        nodes += 1
        bits = set(Features.from_bytes(snapshot.node(node_id).features[-FEATURES_COUNTED // 8 :]))
        must = {one for one in bits if not one & 1}
        required.update(must)
        optional.update({one - 1 for one in bits if one & 1} - must)
    ranked = sorted(required | optional, key=lambda one: (-required[one] - optional[one], one))
    if not ranked:
        return None
    top = ranked[:SHOWN_FEATURES]
    more = f"; {len(ranked) - len(top):,} rarer ones are left out" if len(ranked) > len(top) else ""
    return Chart(
        "features",
        "bars",
        "Features that nodes announce",
        "A pair of bits each. Required is the even bit: whoever does not know the feature shall not use the node.",
        f"n = {nodes:,} nodes that announce themselves{more}",
        "share of nodes",
        "",
        ("feature", "optional", "required"),
        [(_feature(one), optional[one] / nodes, required[one] / nodes) for one in top],
        in_percent=True,
    )


def _feature(even: int) -> str:
    """By its name, which the odd bit has also where hardly anybody sets it."""
    odd = even + 1
    for bit in (odd, even):
        words = Features.describe(bit)
        if not words.startswith("bit "):
            return words.replace(f"({bit}", f"({even}/{odd}")
    return f"bits {even}/{odd}"


def _ages(snapshot: Snapshot, now: float) -> Chart | None:
    stamps = {
        "channel_update": sorted(
            policy.timestamp for one in snapshot.channels.values() for policy in one.policies if policy is not None
        ),
        "node_announcement": sorted(
            stamp for stamp in (snapshot.node(one).timestamp for one in snapshot.announced) if stamp
        ),
    }
    past = {name: [one for one in those if one <= now] for name, those in stamps.items()}
    newest = max((those[-1] for those in past.values() if those), default=0)
    ages = {name: [max(1, newest - one) for one in reversed(those)] for name, those in past.items() if those}
    if not ages:
        return None
    future = sum(map(len, stamps.values())) - sum(map(len, past.values()))
    total = sum(map(len, ages.values()))
    date = datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Chart(
        "ages",
        "shares",
        "Age of what is known",
        "How long before the newest of all the latest word of a direction, or of a node, was signed. After two weeks "
        "without a word a channel is forgotten, so most speak at least that often.",
        f"n = {total:,}; the newest is of {date}{f'; {future:,} are dated later than now' if future else ''}",
        "before the newest",
        "share not older than that",
        ("type", "seconds", "share"),
        [
            (name, *one)
            for name, those in ages.items()
            for one in _thinned([(age, (number + 1) / len(those)) for number, age in enumerate(those)])
        ],
        {name: f"{name} (n = {len(those):,})" for name, those in ages.items()},
        ticks=SECONDS,
    )
