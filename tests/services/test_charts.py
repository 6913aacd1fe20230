"""What is drawn: the numbers of each chart are those of a slow and obvious count."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.support.gossip import IDS, NOW, channel, node, update
from tests.support.gossip_files import snapshot_of, unpacked
from triolight.address import DnsAddress, IPv4Address, IPv6Address, TorV3Address, write_address
from triolight.features import Features
from triolight.gossip.formats import Snapshot
from triolight.gossip.formats.items import ChannelFacts, Signed
from triolight.services.charts import (
    BINS,
    POINTS,
    SHOWN_CHANNELS,
    SHOWN_OUTCOMES,
    SHOWN_PEERS,
    Chart,
    chart_csv,
    graph_charts,
    record_charts,
)
from triolight.services.series import AGAIN, MINUTE_NS, RecordSeries, Spread
from triolight.wire import ShortChannelId

LND = snapshot_of(unpacked("describegraph_LN_100.json"))
"""A part of the main network, as LND has written it."""


def of(snapshot: Snapshot, now: float = NOW) -> dict[str, Chart]:
    return {one.name: one for one in graph_charts(snapshot, now)}


def only(**numbers: Any) -> Chart:
    """The chart of a record in which there is nothing else."""
    (chart,) = record_charts(RecordSeries(**numbers))
    return chart


def curve(chart: Chart, name: str) -> dict[float, float]:
    return {float(at): float(share) for called, at, share in chart.rows if called == name}


def test_a_graph_as_it_is_counted_by_hand() -> None:
    charts = of(LND, 1_800_000_000)
    assert [*charts] == ["degrees", "capacities", "addresses", "features", "ages"]
    channels = [*LND.channels.values()]
    degrees = [sum(one in channel.node_ids for channel in channels) for one in LND.nodes]
    assert curve(charts["degrees"], "nodes") == {
        at: pytest.approx(sum(one >= at for one in degrees) / len(degrees)) for at in set(degrees)
    }
    assert charts["degrees"].count == "n = 99 nodes; median 8, most 49"

    sizes = [one.capacity_sat or 0 for one in channels]
    for name, weights in (("channels", [1] * len(sizes)), ("capacity", sizes)):
        drawn = curve(charts["capacities"], name)
        for at, share in drawn.items():
            true = sum(weight for size, weight in zip(sizes, weights, strict=True) if size <= at) / sum(weights)
            assert share == pytest.approx(true)
        assert max(drawn) == max(sizes)
    assert charts["capacities"].count == "n = 533 channels, 106.38 BTC"

    announced = [LND.node(one) for one in LND.announced]
    kinds: dict[str, Any] = {"ipv4": IPv4Address, "ipv6": IPv6Address, "tor_v3": TorV3Address}
    by_kind = [
        (name, sum(any(type(one) is kind for one in node.addresses) for node in announced))
        for name, kind in kinds.items()
    ]
    by_kind.append(("none", sum(not node.addresses for node in announced)))
    assert charts["addresses"].rows == [(name, count / 99, count) for name, count in by_kind]

    features = {str(name): (optional, required) for name, optional, required in charts["features"].rows}
    both = [Features.from_bytes(node.features) for node in announced]
    assert features["payment_secret (14/15)"] == (0, sum(14 in one for one in both) / 99)
    assert features["var_onion_optin (8/9)"] == (
        sum(9 in one and 8 not in one for one in both) / 99,
        sum(8 in one for one in both) / 99,
    )
    assert features["bits 162/163"] == (sum(163 in one for one in both) / 99, 0)

    stamps = [one.timestamp for channel in channels for one in channel.policies if one is not None]
    newest = max(*stamps, *(one.timestamp for one in announced))
    for age, share in curve(charts["ages"], "channel_update").items():
        assert share == pytest.approx(sum(newest - one <= age for one in stamps) / len(stamps))
    assert charts["ages"].count.startswith("n = 1,165; the newest is of 2024-03-19 14:04 UTC")


def test_a_curve_is_thinned_and_stays_the_curve() -> None:
    snapshot = Snapshot()
    for number in range(3000):
        capacity = 1_000_000 if number < 1500 else number
        snapshot.take(ChannelFacts(ShortChannelId(number + 1), IDS[0], IDS[1], b"", capacity))
    drawn = curve(of(snapshot)["capacities"], "channels")
    assert len(drawn) <= POINTS + 2
    sizes = [one.capacity_sat or 0 for one in snapshot.channels.values()]
    assert all(share == sum(one <= at for one in sizes) / 3000 for at, share in drawn.items())
    assert drawn[1_000_000] == 1.0
    # Where many are alike the step is as high as it is.
    steps = sorted(other - one for one, other in pairwise([0.0, *drawn.values()]))
    assert steps[-2] < 2 / POINTS
    assert steps[-1] >= 0.5


def test_what_a_graph_does_not_have_is_not_drawn() -> None:
    assert of(Snapshot()) == {}
    snapshot = Snapshot()
    snapshot.take(Signed(0, channel()))
    assert [*of(snapshot)] == ["degrees"]
    snapshot.take(Signed(0, update(timestamp=NOW + 10)))
    assert [*of(snapshot)] == ["degrees"]  # nothing is known of the past
    snapshot.take(Signed(0, update(direction=1, timestamp=NOW - 60)))
    snapshot.take(Signed(0, node(timestamp=NOW - 100, addresses=write_address(DnsAddress("node.example", 9735)))))
    charts = of(snapshot)
    assert [*charts] == ["degrees", "addresses", "ages"]
    assert charts["ages"].count.endswith("; 1 are dated later than now")
    assert curve(charts["ages"], "node_announcement") == {40: 1}
    assert charts["addresses"].rows == [("dns", 1, 1)]


def test_of_many_features_the_rare_ones_are_left_out() -> None:
    snapshot = Snapshot()
    snapshot.take(Signed(0, channel()))
    snapshot.take(Signed(0, node(features=Features(range(1, 101, 2)).to_bytes())))
    snapshot.take(Signed(0, node(1, features=Features([199]).to_bytes())))
    snapshot.take(Signed(0, node(2, features=Features([199, 120]).to_bytes())))
    chart = of(snapshot)["features"]
    assert chart.rows[0] == ("bits 198/199", pytest.approx(2 / 3), 0)
    assert chart.rows[1] == ("option_data_loss_protect (0/1)", pytest.approx(1 / 3), 0)
    assert chart.count == "n = 3 nodes that announce themselves; 22 rarer ones are left out"


def test_delays_and_round_trips() -> None:
    spread = Spread()
    for one in range(1, 101):
        spread.add(one)
    chart = only(delays={"channel_update": spread, "node_announcement": Spread()})
    assert (chart.name, chart.count) == ("delay", "n = 100 later sightings")
    assert chart.shown == {"channel_update": "channel_update: half within 50 s, 95 % within 1.7 min (n = 100)"}
    for at, share in curve(chart, "channel_update").items():
        # Bins end at powers of ten, which no number here is on both sides of.
        assert share == sum(one < at * 1.0000001 for one in range(1, 101)) / 100 or at in (1, 10, 100)
    rtts = Spread()
    rtts.add(0.05, 9)
    rtts.add(9000)
    assert only(rtts=rtts).shown == {"pings": "pings: half within 50 ms, 95 % within 2.8 h"}


def test_minutes_add_up_also_where_several_are_one() -> None:
    minutes = {
        "channel_update": Counter({at: at % 7 + 1 for at in range(10_003, 10_003 + 3 * BINS)}),
        "channel_update" + AGAIN: Counter({10_005: 4}),
    }
    pauses = [(0, MINUTE_NS // 2), (10_010 * MINUTE_NS, 10_030 * MINUTE_NS)]
    chart = only(minutes=minutes, pauses=pauses)
    assert chart.columns == ("unix_seconds", "channel_update", "channel_update, nothing new")
    assert chart.up == "messages a minute, mean of 5"
    assert len(chart.rows) <= BINS + 1
    assert chart.rows[0] == (10_000 * 60, sum(at % 7 + 1 for at in (10_003, 10_004)) / 5, 0)
    assert chart.rows[1][2] == 4 / 5
    assert sum(float(row[1]) for row in chart.rows) * 5 == pytest.approx(minutes["channel_update"].total())
    assert chart.spans == [(10_010 * 60, 10_030 * 60)]  # of the other one nobody would see anything
    one = only(minutes={"channel_update": Counter({5: 3, 7: 1})})
    assert one.rows == [(300, 3), (360, 0), (420, 1)]


def test_who_is_first_and_who_updates_most() -> None:
    first = Counter({f"{number:066x}": 100 - number for number in range(30)})
    chart = only(first=first, sightings=Counter(dict.fromkeys(first, 500)))
    total = first.total()
    assert chart.rows[0] == (f"{0:066x}", 100 / total, 100, 500)
    assert len(chart.rows) == SHOWN_PEERS + 1
    assert chart.rows[-1] == ("10 more", sum(range(71, 81)) / total, sum(range(71, 81)), 5000)
    assert sum(float(row[1]) for row in chart.rows) == pytest.approx(1)
    assert chart.shown[f"{0:066x}"] == "000000000000… (500 sightings)"

    updates = {ShortChannelId.of(100 + number, 1, 0): [number, 1] for number in range(50)}
    chart = only(updates=updates)
    assert chart.rows[:2] == [("149x1x0", 49, 1), ("148x1x0", 48, 1)]
    assert len(chart.rows) == SHOWN_CHANNELS
    all_of_them = sum(range(50)) + 50
    assert chart.count == (
        f"n = {all_of_them:,} updates of 50 channels; these 20: {(sum(range(30, 50)) + 20) / all_of_them:.0%}"
    )


def test_who_is_reached() -> None:
    outcomes = {str(number): "reached" if number % 3 else f"WHY_{number:02}" for number in range(60)}
    chart = only(outcomes=outcomes)
    assert chart.rows[:2] == [("reached", 40), ("WHY_00", 1)]
    assert chart.rows[SHOWN_OUTCOMES:] == [("6 more", 6)]
    assert chart.count == "n = 60 nodes; 67% reached"


def test_a_record_without_anything_and_one_that_tells_of_a_graph() -> None:
    assert record_charts(RecordSeries()) == []
    graph = Snapshot()
    graph.take_all(Signed(0, one) for one in (channel(), update(), node()))
    series = RecordSeries(graph=graph, last_ns=NOW * 10**9)
    assert [one.name for one in record_charts(series)] == ["degrees", "addresses", "ages"]
    assert datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%d %H:%M") in record_charts(series)[-1].count
    assert IDS[0] in graph.announced


def test_a_table_is_what_is_drawn() -> None:
    for chart in graph_charts(LND, 1_800_000_000):
        columns, *rows = csv.reader(io.StringIO(chart_csv(chart)))
        assert columns == [*chart.columns]
        assert rows == [[str(cell) for cell in row] for row in chart.rows]
