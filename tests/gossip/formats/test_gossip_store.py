"""Core Lightning's gossip_store: its own files, what is damaged in one, and ours."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from tests.support.gossip import channel, node, update
from tests.support.gossip_files import BOTH_PARTS, MESH, PART_1, SIMPLE, a_few, damages, items_of, snapshot_of
from triolight.gossip import verify_announcement
from triolight.gossip.formats.checksums import crc32c_of_all
from triolight.gossip.formats.gossip_store import read_gossip_store, write_gossip_store
from triolight.gossip.formats.items import About, Capacity, Closed, Damaged, Item, PolicyFacts, Signed, Spent
from triolight.gossip.formats.places import ends_of, type_of
from triolight.messages import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement
from triolight.wire import ShortChannelId

UUID = bytes(range(32))


def record(message: bytes, *, flags: int = 0x2000, timestamp: int = 0, crc: int | None = None) -> bytes:
    crc = crc32c_of_all([message], [timestamp])[0] if crc is None else crc
    head = flags.to_bytes(2, "big") + len(message).to_bytes(2, "big")
    return head + crc.to_bytes(4, "big") + timestamp.to_bytes(4, "big") + message


def internal(type_: int, body: bytes) -> bytes:
    return record(type_.to_bytes(2, "big") + body)


def read(data: bytes) -> list[Item]:
    return list(read_gossip_store(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("data", "by_type", "amounts", "channels", "nodes", "updates", "capacity"),
    [
        pytest.param(SIMPLE, {256: 1, 258: 2, 257: 2}, 1, 1, 2, 2, 1_000_000, id="simple"),
        pytest.param(MESH, {256: 12, 258: 24, 257: 9}, 12, 12, 9, 24, 12_000_000, id="mesh"),
        pytest.param(PART_1, {256: 45, 258: 2}, 45, 45, 66, 2, 90_816_024, id="part 1"),
        pytest.param(BOTH_PARTS, {256: 88, 258: 4}, 87, 87, 125, 4, 177_057_626, id="both parts"),
    ],
)
def test_stores_of_core_lightning(
    data: bytes, by_type: dict[int, int], amounts: int, channels: int, nodes: int, updates: int, capacity: int
) -> None:
    items = items_of(data)
    assert items[0] == About(version=15)
    assert Counter(type_of(one.raw) for one in items if isinstance(one, Signed)) == by_type
    assert sum(isinstance(one, Capacity) for one in items) == amounts
    snapshot = snapshot_of(items)
    assert (len(snapshot.channels), len(snapshot.nodes)) == (channels, nodes)
    assert sum(one.capacity_sat or 0 for one in snapshot.channels.values()) == capacity
    assert sum(policy is not None for one in snapshot.channels.values() for policy in one.policies) == updates
    for raw, _ in snapshot.messages():
        match type_of(raw):
            case 256:
                ends = ends_of(raw)
                assert verify_announcement(ChannelAnnouncement.decode(raw))
            case 257:
                assert verify_announcement(NodeAnnouncement.decode(raw))
            case _:
                message = ChannelUpdate.decode(raw)
                assert verify_announcement(message, (ends.node_id_1, ends.node_id_2)[message.channel_flags & 1])


def test_what_the_stores_say() -> None:
    simple = snapshot_of(SIMPLE)
    scid = ShortChannelId.parse("103x1x0")
    for direction in (0, 1):
        policy = PolicyFacts(scid, direction, 1759208366, False, 6, 0, 990_000_000, 1, 10)
        assert simple.channels[scid].policy(direction) == policy
    both = snapshot_of(BOTH_PARTS)
    assert both.channels[ShortChannelId.parse("686200x1137x0")].capacity_sat == 3_000_000
    assert ShortChannelId.parse("686386x1093x1") not in both.channels


def test_a_wrong_checksum_is_named_and_the_reader_goes_on() -> None:
    assert damages(items_of(BOTH_PARTS)) == [
        Damaged(42653, "the checksum is 911183f6, and of the message it is 6f153b3e")
    ]
    first, second = channel(), channel(200 << 40)
    found = read(b"\x10" + record(first, crc=1) + record(second))
    assert [type(one) for one in found] == [About, Damaged, Signed, Signed]
    assert found[1] == Damaged(1, f"the checksum is 00000001, and of the message it is {crc32c_of_all([first])[0]:08x}")


def test_where_the_lengths_lead_nowhere_the_next_record_is_found() -> None:
    records = [record(one) for one in a_few()]
    whole = b"\x10" + b"".join(records)
    at = 1 + len(records[0]) + 2
    for broken in (b"\x00\x00", b"\xff\xff", b"\x00\x20"):
        found = read(whole[:at] + broken + whole[at + 2 :])
        assert [one.raw for one in found if isinstance(one, Signed)] == a_few()[:1] + a_few()[2:]
        next_one = 1 + len(records[0]) + len(records[1])
        assert Damaged(at - 2, f"no record; the next one is at byte {next_one}") in found
    # Nothing behind it: then that is said.
    found = read(b"\x10" + records[0] + bytes(500))
    assert [*map(type, found)] == [About, Signed, Damaged]
    assert found[-1] == Damaged(1 + len(records[0]), "no record, up to the end of the file")


def test_a_store_cut_at_any_byte_gives_what_was_whole() -> None:
    messages = a_few(2)
    whole = b"".join(write_gossip_store(messages, UUID))
    ends = [1 + 12 + 34]
    for one in messages:
        ends.append(ends[-1] + 12 + len(one))
    for length in range(1, len(whole) + 1):
        found = read(whole[:length])
        complete = sum(end <= length for end in ends) - 1
        assert [one.raw for one in found if isinstance(one, Signed)] == messages[: max(0, complete)]
        cut = length not in (1, *ends)
        assert [one.why for one in damages(found)] == ["the file ends inside a record"] * cut


def test_what_is_deleted_old_or_unknown_is_passed_over() -> None:
    amount = internal(4101, (5).to_bytes(8, "big"))
    data = b"".join(
        (
            record(channel(), flags=0xA000),
            record(b"\x10\x05" + (6).to_bytes(8, "big"), flags=0xA000),
            record(update()[:130]),
            record(b"\x10\x06" + bytes(20)),
            record(b"\x10\x08" + bytes(20)),
            record(channel(7 << 40), flags=0x6800),
            amount,
            record(node(), flags=0x3000),
        )
    )
    assert read(b"\x10" + data) == [
        About(version=16),
        Signed(len(data) + 1 - 12 - len(node()) - len(amount) - 12 - len(channel()), channel(7 << 40)),
        Capacity(len(data) + 1 - 12 - len(node()) - len(amount), ShortChannelId(7 << 40), 5),
    ]
    # A type of a later version is passed over by its length; its checksum is right.
    assert [*map(type, read(b"\x10" + internal(4999, b"new") + record(node())))] == [About, Signed]


def replaced(*files: bytes) -> list[Item]:
    """What is read of a file that is replaced by the next one whenever it says so."""
    streams = [io.BytesIO(one) for one in files]
    given = iter(streams[1:])
    found = list(read_gossip_store(streams[0], lambda: next(given)))
    assert [one.closed for one in streams[1:]] == [True] * (len(streams) - 1)
    return found


def test_a_store_that_is_written_anew_is_followed() -> None:
    """The new file has what is known at its front; what was told later is behind the place that the old one names."""
    front = b"\x10" + internal(4107, UUID) + record(channel())
    ended = internal(4105, len(front).to_bytes(8, "big") + UUID)
    old = b"\x10" + internal(4107, bytes(32)) + record(channel())
    fresh = front + record(node())
    assert replaced(old + ended, fresh) == [
        About(version=16),
        Signed(len(old) - len(channel()) - 12, channel()),
        Signed(len(front), node()),
    ]
    # Once more; and one of version 15, which names no other.
    assert replaced(old + ended, fresh + ended, fresh + record(node(1)))[-2:] == [
        Signed(len(front), node()),
        Signed(len(fresh), node(1)),
    ]
    bare = internal(4105, len(front).to_bytes(8, "big"))
    assert replaced(b"\x0f" + bare, b"\x0f" + fresh[1:]) == [About(version=15), Signed(len(front), node())]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((b"\x10" + internal(4107, bytes(32)) + record(node()),), "there is another one by now"),
        ((b"\x10",), "there is another one by now"),
        ((b"",), "there: an empty file is no gossip_store"),
        ((b"\x30",), "there: gossip_store of major version 1: only 0 can be read"),
        ((b"\x10" + internal(4107, UUID) + internal(4105, (1).to_bytes(8, "big") + UUID),) * 8, "it points at itself"),
    ],
)
def test_a_store_that_is_not_there_is_not_followed(files: tuple[bytes, ...], words: str) -> None:
    old = b"\x10" + internal(4105, (1).to_bytes(8, "big") + UUID)
    about, damaged = replaced(old, *files)
    assert about == About(version=16)
    assert isinstance(damaged, Damaged)
    assert damaged.why.endswith(words)


def test_what_a_store_says_of_itself() -> None:
    scid = (9).to_bytes(8, "big")
    gone = internal(4103, scid)
    assert read(b"\x0f" + gone + internal(4106, scid + (700).to_bytes(4, "big"))) == [
        About(version=15),
        Closed(1, ShortChannelId(9)),
        Spent(1 + len(gone), ShortChannelId(9), 700),
    ]
    ended = read(b"\x10" + internal(4105, (77).to_bytes(8, "big") + UUID) + record(node()))
    assert damages(ended)[0].why == "the store was replaced here: a new file goes on, from its byte 77"
    assert len(ended) == 2
    writing = read(b"\x10" + record(node()) + record(node(1), flags=0) + record(node(2)))
    assert [type(one) for one in writing] == [About, Signed, Damaged]
    # Before version 15 nothing said whether a record was complete.
    assert [*map(type, read(b"\x0e" + record(node(), flags=0)))] == [About, Signed]
    cut = read(b"\x10" + record(channel()[:300]) + internal(4103, b"\x00") + record(node()))
    assert [*map(type, cut)] == [About, Damaged, Damaged, Signed]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "an empty file is no gossip_store"),
        (b"\x30", "gossip_store of major version 1: only 0 can be read"),
        (b"\x08", "gossip_store of version 8: 9 is the oldest that can be read"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_number(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(data)


def test_our_stores_are_dated_as_core_lightning_dates_them() -> None:
    scid = ShortChannelId(7 << 40)
    messages: list[bytes | tuple[bytes, int]] = [
        (channel(scid), 5),
        update(scid, 1, 70),
        update(scid, 0, 60),
        channel(8 << 40),
        node(0, 90),
    ]
    whole = b"".join(write_gossip_store(messages, UUID))
    at, seen = 1, list[tuple[int, int, int]]()
    while at < len(whole):
        length = int.from_bytes(whole[at + 2 : at + 4], "big")
        timestamp = int.from_bytes(whole[at + 8 : at + 12], "big")
        seen.append((type_of(whole[at + 12 : at + 14]), int.from_bytes(whole[at : at + 2], "big"), timestamp))
        at += 12 + length
    assert seen == [
        (4107, 0x2000, 0),
        (256, 0x2000, 70),
        (4101, 0x2000, 0),
        (258, 0x2000, 70),
        (258, 0x2000, 60),
        (256, 0x2000, 0),
        (257, 0x2000, 90),
    ]
    assert [*map(type, read(whole))] == [About, Signed, Capacity, Signed, Signed, Signed, Signed]
    with pytest.raises(ValueError, match="has 32 bytes, not 3"):
        list(write_gossip_store([], b"123"))


def test_a_large_store_comes_in_pieces() -> None:
    def many() -> list[bytes]:
        return [channel((100 + number % 3) << 40) for number in range(6000)]

    pieces = list(write_gossip_store(iter(many()), UUID))
    assert len(pieces) > 2
    assert [one.raw for one in read(b"".join(pieces)) if isinstance(one, Signed)] == many()
