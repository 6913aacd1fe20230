"""CSV and GraphML: what other programs read of them is what the graph says."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

from tests.support.gossip import IDS, NOW, SCID, channel, node, update
from tests.support.gossip_files import SIMPLE, snapshot_of
from triolight.gossip.formats import Snapshot
from triolight.gossip.formats.items import Capacity, Signed
from triolight.gossip.formats.tables import write_channels_csv, write_graphml, write_nodes_csv

ALIAS = '<a>&"\n\x1b,'
GRAPHML = "{http://graphml.graphdrawing.org/xmlns}"


def made() -> Snapshot:
    return snapshot_of(
        [
            Signed(0, channel()),
            Capacity(0, SCID, 5000),
            Signed(0, channel(7 << 40, 0, 2)),
            Signed(0, update(direction=1, signer=1)),
            Signed(0, update(timestamp=8, channel_flags=2)),
            Signed(0, node(0, alias=ALIAS.encode().ljust(32, b"\0"))),
        ]
    )


def rows(pieces: list[bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(pieces).decode(), newline="")))


def test_nodes() -> None:
    found = rows([*write_nodes_csv(made())])
    assert [one["id"] for one in found] == [one.hex() for one in IDS[:3]]
    assert found[0] == {
        "id": IDS[0].hex(),
        "alias": '<a>&"\ufffd\ufffd,',
        "color": "#000000",
        "timestamp": str(NOW),
        "features": "",
        "addresses": "",
        "channels": "2",
        "capacity_sat": "5000",
    }
    assert found[2]["timestamp"] == "0"


def test_channels() -> None:
    bare, full = sorted(rows([*write_channels_csv(made())]), key=lambda one: one["capacity_sat"])
    assert (full["scid"], full["node1"], full["node2"]) == ("100x1x0", IDS[0].hex(), IDS[1].hex())
    assert (full["capacity_sat"], full["timestamp_0"], full["disabled_0"]) == ("5000", "8", "1")
    assert (full["timestamp_1"], full["disabled_1"], full["cltv_1"]) == (str(NOW), "0", "80")
    assert (full["htlc_min_1"], full["htlc_max_1"], full["base_1"], full["ppm_1"]) == ("1", "500000000", "1000", "10")
    assert {bare[name] for name in bare if name[-2:] in ("_0", "_1")} == {""}


def test_graphml() -> None:
    tree = ElementTree.fromstring(b"".join(write_graphml(made())))
    names = {one.get("id"): one.get("attr.name") for one in tree.iter(f"{GRAPHML}key")}
    nodes = {one.get("id"): one for one in tree.iter(f"{GRAPHML}node")}
    assert [*nodes] == [one.hex() for one in IDS[:3]]
    said = {names[one.get("key")]: one.text for one in nodes[IDS[0].hex()]}
    assert (said["alias"], said["channels"]) == ('<a>&"\ufffd\ufffd,', "2")
    edges = {one.get("id"): one for one in tree.iter(f"{GRAPHML}edge")}
    assert [*edges] == ["100x1x0/0", "100x1x0/1"]
    assert (edges["100x1x0/1"].get("source"), edges["100x1x0/1"].get("target")) == (IDS[1].hex(), IDS[0].hex())
    assert {names[one.get("key")]: one.text for one in edges["100x1x0/0"]}["disabled"] == "true"


def test_a_real_one() -> None:
    snapshot = snapshot_of(SIMPLE)
    assert len(rows([*write_nodes_csv(snapshot)])) == 2
    assert [one["ppm_0"] for one in rows([*write_channels_csv(snapshot)])] == ["10"]
