"""Rapid Gossip Sync: LDK's own files, what is cut or damaged, and our snapshots."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from tests.support.gossip import IDS
from tests.support.gossip_files import RGS, damages, snapshot_of
from triolight.chains import BITCOIN
from triolight.gossip.formats.items import About, ChannelFacts, Damaged, Item, NodeFacts, PolicyChange, PolicyFacts
from triolight.gossip.formats.rgs import MAX_NODES, read_rgs, write_rgs
from triolight.wire import ShortChannelId, write_bigsize

SCIDS = [619737530008010752, 783241506229452801]


def read(data: bytes) -> list[Item]:
    return list(read_rgs(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("names", "version", "timestamp", "nodes", "addresses", "channels", "updates", "incremental"),
    [
        ("00 09 11", 1, 1642291930, 4, 0, 2, 4, 0),
        ("02", 2, 1717686000, 2, 5, 1, 2, 0),
        ("03", 2, 1718204400, 1, 5, 0, 0, 0),
        ("04", 2, 1718226000, 3, 5, 1, 1, 0),
        ("05 08 10 12", 1, 1642444711, 0, 0, 0, 0, 2),
        ("06", 1, 1642444711, 4, 0, 2, 0, 2),
        ("07", 1, 1642291930, 4, 0, 2, 2, 0),
    ],
)
def test_files_of_ldk(
    names: str,
    version: int,
    timestamp: int,
    nodes: int,
    addresses: int,
    channels: int,
    updates: int,
    incremental: int,
) -> None:
    for name in names.split():
        items = read(RGS[name])
        about = items[0]
        assert isinstance(about, About)
        assert (about.version, about.timestamp) == (version, timestamp)
        count = Counter(map(type, items))
        assert (count[NodeFacts], count[ChannelFacts]) == (nodes, channels)
        assert (count[PolicyFacts], count[PolicyChange]) == (updates, incremental)
        assert sum(len(one.addresses) for one in items if isinstance(one, NodeFacts)) == addresses


def test_what_ldks_files_say() -> None:
    first = snapshot_of(RGS["00"])
    assert sorted(first.channels) == SCIDS
    assert {bool(node) for one in first.channels.values() for node in one.policies} == {True}
    second = snapshot_of(RGS["02"])
    assert [*second.channels] == [1]
    assert sum(bool(second.node(one).features) for one in second.nodes) == 2
    more = read(RGS["04"])
    assert [one.capacity_sat for one in more if isinstance(one, ChannelFacts)] == [42]
    # LDK counts additional data as an update, and so leaves the last one unread; so does its own reader.
    assert damages(more) == [Damaged(1239, "23 bytes behind the last update")]


def test_an_increment_goes_on_from_what_is_there() -> None:
    items = read(RGS["09"]) + read(RGS["10"])[1:]
    before, after = snapshot_of(RGS["09"]), snapshot_of(items)
    changed = [
        (scid, direction)
        for scid in SCIDS
        for direction in (0, 1)
        if before.channels[ShortChannelId(scid)].policy(direction)
        != after.channels[ShortChannelId(scid)].policy(direction)
    ]
    assert len(changed) == 2
    for scid, direction in changed:
        policy = after.channels[ShortChannelId(scid)].policy(direction)
        assert policy is not None
        assert policy.timestamp == 1642444711
    # By itself it says nothing.
    alone = snapshot_of(RGS["06"])
    assert alone.left_out == {"incremental updates of what the file does not have": 2}
    assert not any(any(one.policies) for one in alone.channels.values())


def test_a_file_cut_at_any_byte_is_named() -> None:
    for name in ("00", "02", "04"):
        for length in range(40, len(RGS[name])):
            found = read(RGS[name][:length])
            cut = damages(found)
            # Of the last one all but what LDK leaves unread is whole.
            assert len(cut) == 1 or (name, length) == ("04", 1239)
    assert [one.why for one in damages(read(RGS["01"]))] == ["the file ends inside a record"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (RGS["13"], "Rapid Gossip Sync of version 3"),
        (b"LDK\x01" + bytes(20), "cut off in its first bytes"),
        (b"LDX", "does not begin with LDK"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(data)


def test_what_leads_nowhere_is_named() -> None:
    head = b"LDK\x01" + BITCOIN.chain_hash + bytes(4)
    two = (2).to_bytes(4, "big") + IDS[0] + IDS[1] + (1).to_bytes(4, "big") + bytes(2)
    end = bytes(4)
    assert damages(read(head + two + b"\x05\x00\x07" + end))[0].why == "a channel of node 7, and there are 2"
    assert "byte 0: " in damages(read(head + two + b"\xfd\x00\x01\x00\x01" + end))[0].why
    many = damages(read(head + (MAX_NODES + 1).to_bytes(4, "big")))
    assert many[0].why == f"{MAX_NODES + 1} nodes, and {MAX_NODES} can be read"
    huge = head + two[:-6] + (2).to_bytes(4, "big") + (bytes(2) + write_bigsize((1 << 64) - 1) + b"\x00\x01") * 2
    assert damages(read(huge + end))[0].why == "a short_channel_id of more than 64 bits"


def test_nodes_that_stand_the_other_way_round() -> None:
    """A policy is of the node that stood first, whichever id is smaller."""
    head = b"LDK\x01" + BITCOIN.chain_hash + bytes(4)
    body = (2).to_bytes(4, "big") + IDS[1] + IDS[0] + (1).to_bytes(4, "big") + bytes(2) + b"\x09\x00\x01"
    update = (1).to_bytes(4, "big") + bytes(26) + b"\x09\x00"
    found = read(head + body + update)
    assert found[3] == ChannelFacts(ShortChannelId(9), IDS[0], IDS[1])
    assert isinstance(found[4], PolicyFacts)
    assert found[4].direction == 1


def test_our_snapshots_are_read_again() -> None:
    channels = [
        ChannelFacts(ShortChannelId(7 << 40), IDS[1], IDS[2]),
        ChannelFacts(ShortChannelId(5 << 40), IDS[0], IDS[2], b"\x01"),
    ]
    policies = [
        PolicyFacts(ShortChannelId(7 << 40), 1, 50, True, 40, 1, 2, 3, 4),
        PolicyFacts(ShortChannelId(7 << 40), 0, 50, False, 40, 1, 2, 3, 4),
        PolicyFacts(ShortChannelId(5 << 40), 1, 50, False, 41, 10, 20, 30, 40),
    ]
    data = b"".join(write_rgs(BITCOIN.chain_hash, 50, channels, policies))
    found = read(data)
    assert found[0] == About(BITCOIN.chain_hash, 50, 1)
    assert found[1:4] == [*map(NodeFacts, IDS[:3])]
    assert found[4:6] == channels[::-1]
    assert found[6:] == [policies[2], policies[1], policies[0]]
    # What most updates say is said once: the first two are a step and their flags.
    assert data.endswith(b"\x00\x03")
    assert read(b"".join(write_rgs(BITCOIN.chain_hash, 50, channels, [])))[4:] == channels[::-1]
    # As it came from LDK, it goes again.
    theirs = snapshot_of(RGS["00"])
    ours = write_rgs(
        theirs.chain_hash or b"",
        1642291930,
        [one.facts for one in theirs.channels.values()],
        [policy for one in theirs.channels.values() for policy in one.policies if policy is not None],
    )
    again = snapshot_of(b"".join(ours))
    assert {one: found.policies for one, found in again.channels.items()} == {
        one: found.policies for one, found in theirs.channels.items()
    }
