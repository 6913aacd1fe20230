"""JSON lines: what is written is read again, and a line that is none is named."""

from __future__ import annotations

import io
import json

from tests.support.gossip import channel, update
from tests.support.gossip_files import a_few
from triolight.gossip.formats.items import Damaged, Item, Signed
from triolight.gossip.formats.jsonl import MAX_LINE, read_jsonl, write_jsonl


def read(data: bytes) -> list[Item]:
    return list(read_jsonl(io.BytesIO(data)))


def test_a_line_is_a_message_with_its_bytes_beside() -> None:
    lines = list(write_jsonl(a_few()))
    assert [one.raw for one in read(b"".join(lines)) if isinstance(one, Signed)] == a_few()
    first = json.loads(lines[0])
    assert (first["message"], first["short_channel_id"]) == ("channel_announcement", "100x1x0")
    assert bytes.fromhex(first["raw"]) == channel(100 << 40 | 1 << 16)
    # What does not decode is written all the same: its signature may be fine by who made it.
    whole = channel()
    strange = whole[:300] + b"\x05" * 33 + whole[333:]
    assert json.loads(next(write_jsonl([strange]))) == {"raw": strange.hex()}


def test_raw_alone_is_read() -> None:
    line = json.dumps({"message": "nothing", "raw": channel().hex().upper()})
    assert read(b"\xef\xbb\xbf\n" + line.encode() + b"\r\n") == [Signed(4, channel())]
    assert read(json.dumps({"raw": update()[:130].hex()}).encode()) == []


def test_what_is_no_message_is_named_by_its_byte() -> None:
    long = b" " * (2 * MAX_LINE) + b"{}"
    lines = [b"{", b"[]", b'{"raw": 5}', b'{"raw": "0g"}', b'{"raw": "0100"}', b"[" * 100_000, b"\xff", long]
    good = json.dumps({"raw": channel().hex()}).encode()
    found = read(b"\n".join((*lines, good)))
    at, places = 0, list[int]()
    for line in lines:
        places.append(at)
        at += len(line) + 1
    assert [one.offset for one in found if isinstance(one, Damaged)] == places
    whys = [one.why for one in found if isinstance(one, Damaged)]
    assert whys[0].startswith("no JSON: ")
    assert whys[1:5] == [
        "no object with a text `raw`",
        "no object with a text `raw`",
        "`raw` is no hex",
        "channel_announcement of 2 bytes, cut short",
    ]
    assert whys[7] == f"a line of more than {MAX_LINE} bytes"
    assert found[-1] == Signed(at, channel())
