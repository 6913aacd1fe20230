"""GSP files: read, written, and read on where they are damaged."""

from __future__ import annotations

import hashlib
import io

import pytest

from tests.support.gossip import channel, update
from tests.support.gossip_files import BOTH_PARTS, a_few, damages, items_of
from triolight.gossip.formats.gsp import MAGIC, read_gsp, write_gsp
from triolight.gossip.formats.items import About, Damaged, Item, Signed
from triolight.gossip.formats.places import type_of
from triolight.wire import write_bigsize


def read(data: bytes) -> list[Item]:
    return list(read_gsp(io.BytesIO(data)))


def raws(items: list[Item]) -> list[bytes]:
    return [one.raw for one in items if isinstance(one, Signed)]


def test_the_messages_of_a_real_store_as_a_gsp_file() -> None:
    messages = raws(items_of(BOTH_PARTS))
    data = b"".join(write_gsp(messages))
    # As it was made of the same store by others.
    assert len(data) == 38_840
    assert hashlib.sha256(data).hexdigest() == "840c58ace27dfc41a71219e0b773cfaf94305bbc0083fee6d6e01b0b920fcde7"
    assert raws(read(data)) == messages
    assert [type_of(one) for one in messages].count(256) == 88
    assert read(data)[0] == About(version=1)


def test_a_file_cut_at_any_byte_gives_what_was_whole() -> None:
    messages = a_few(1)
    whole = b"".join(write_gsp(messages))
    ends = [4]
    for one in messages:
        ends.append(ends[-1] + len(write_bigsize(len(one))) + len(one))
    for length in range(4, len(whole) + 1):
        found = read(whole[:length])
        assert raws(found) == messages[: sum(end <= length for end in ends) - 1]
        assert bool(damages(found)) == (length not in ends)


def test_where_a_length_leads_nowhere_the_next_message_is_found() -> None:
    messages = a_few()
    parts = [write_bigsize(len(one)) + one for one in messages]
    whole = MAGIC + b"".join(parts)
    at = 4 + len(parts[0])
    for broken in (b"\x00\x00\x00", b"\xff\xff\xff", b"\xfd\xff\xff"):
        found = read(whole[:at] + broken + whole[at + 3 :])
        assert raws(found) == messages[:1] + messages[2:]
        assert damages(found) == [Damaged(at, f"no message; the next one is at byte {at + len(parts[1])}")]
    # Of one with a length of three bytes only those, up to beyond the end.
    found = read(MAGIC + b"\xfd\xff\xff" + whole[7:])
    assert raws(found) == messages[1:]
    assert damages(found) == [Damaged(4, f"no message; the next one is at byte {at}")]
    found = read(MAGIC + parts[0] + b"\xff" * 700_000)
    assert damages(found) == [Damaged(at, "no message, up to the end of the file")]
    found = read(MAGIC + parts[0] + b"\xff" * 700_000 + b"".join(parts[1:]))
    assert raws(found) == messages


def test_what_is_inside_is_looked_at() -> None:
    short = channel()[:200]
    old = update()[:130]
    ping = bytes.fromhex("001200000000")
    found = read(b"".join(write_gsp([short, old, ping, channel()])))
    assert [type(one) for one in found] == [About, Damaged, Damaged, Signed]
    assert found[1] == Damaged(4, "channel_announcement of 200 bytes, cut short")


def test_lengths_in_the_wrong_order_are_named() -> None:
    turned = b"\xfd" + len(channel()).to_bytes(2, "little") + channel()
    with pytest.raises(ValueError, match="byte 4: the length is little-endian"):
        read(MAGIC + turned * 3)
    with pytest.raises(ValueError, match="does not begin with GSP and 1"):
        read(b"GSP\x02")
