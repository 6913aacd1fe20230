"""The format of a file is found by its first bytes, behind any compression."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable

import pytest

from tests.support.gossip import channel, node
from tests.support.gossip_files import RGS, SIMPLE, a_few, items_of, unpacked
from triolight.gossip.formats import GRAPH, Signed, open_items, recognize
from triolight.gossip.formats.checksums import crc32c_of_all
from triolight.gossip.formats.gsp import write_gsp
from triolight.gossip.formats.items import Damaged, Item
from triolight.gossip.formats.jsonl import write_jsonl
from triolight.gossip.formats.opening import READERS

FILES = {
    "gossip_store": SIMPLE,
    "gsp": b"".join(write_gsp(a_few())),
    "jsonl": b"".join(write_jsonl(a_few())),
    "describegraph": unpacked("describegraph_LN_10.json"),
    "rgs": RGS["00"],
}
PACKERS: list[Callable[[bytes], bytes]] = [bytes, bz2.compress, gzip.compress, lzma.compress]


def test_there_is_a_file_of_each_format() -> None:
    assert FILES.keys() == READERS.keys()


@pytest.mark.parametrize("pack", PACKERS, ids=["plain", "bzip2", "gzip", "xz"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_told_by_its_beginning(name: str, pack: Callable[[bytes], bytes]) -> None:
    found, items = open_items(io.BytesIO(pack(FILES[name])))
    assert found == name
    plain = list(READERS[name](io.BytesIO(FILES[name])))
    assert list(items) == plain
    assert len(plain) > 3


@pytest.mark.parametrize("pack", PACKERS[1:], ids=["bzip2", "gzip", "xz"])
def test_broken_compression_gives_what_came_before_it(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"".join(write_gsp(channel(number << 40, 0, number % 7 + 1) for number in range(1, 300))))
    if pack is bz2.compress:
        # One block, of which nothing comes out before all of it is there.
        with pytest.raises(ValueError, match="the compressed data is broken"):
            items_of(packed[:-200])
        return
    found: list[Item] = items_of(packed[: len(packed) // 2])
    assert isinstance(found[-1], Damaged)
    assert found[-1].why.startswith("the compressed data is broken: ")
    assert len([one for one in found if isinstance(one, Signed)]) > 100


def test_json_may_be_indented_or_marked() -> None:
    text = json.dumps({"nodes": [], "edges": []}, indent=4)
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), b"\n\t " + text.encode()):
        assert recognize(data) == "describegraph"
        assert items_of(data) == []
    assert recognize(b'{ "raw" : "00"}') == recognize(b'{"message": "pong"}') == "jsonl"


def test_a_graph_of_ours_is_told_and_not_read_here() -> None:
    name, items = open_items(io.BytesIO(b"SQLite format 3\0" + bytes(4000)))
    assert name == GRAPH
    assert list(items) == []


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "an empty file"),
        (b"hello", "no file of a known format: gossip_store, gsp"),
        (bytes(100), "no file of a known format"),
        (b"GOSSMAP_COMPRESSv1\0", "neither signatures nor short_channel_ids"),
        (gzip.compress(b"", mtime=0), "an empty file"),
        (b"BZh9" + bytes(100), "the compressed data is broken"),
    ],
    ids=["empty", "words", "zeros", "gossmap", "packed nothing", "broken"],
)
def test_what_is_of_no_format_is_refused(head: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        open_items(io.BytesIO(head))


def test_a_version_that_cannot_be_read_is_named() -> None:
    for head, why in ((b"\x05" + bytes(50), "gossip_store of version 5"), (b"GSP\x02" + bytes(9), "GSP and 1")):
        _, items = open_items(io.BytesIO(head))
        with pytest.raises(ValueError, match=why):
            list(items)


def test_a_store_is_followed_into_the_file_that_replaces_it_and_nothing_else_is() -> None:
    front = b"\x10" + crc_of(b"\x10\x0b" + bytes(32))
    old = b"\x10" + crc_of(b"\x10\x09" + len(front).to_bytes(8, "big") + bytes(32))
    fresh = io.BytesIO(front + crc_of(node()))
    name, items = open_items(io.BytesIO(old), lambda: fresh)
    assert (name, [one.raw for one in items if isinstance(one, Signed)]) == ("gossip_store", [node()])
    # What is packed is a copy, which nobody goes on with.
    _, items = open_items(io.BytesIO(gzip.compress(old)), lambda: fresh)
    assert not any(isinstance(one, Signed) for one in items)


def crc_of(message: bytes) -> bytes:
    head = b"\x20\0" + len(message).to_bytes(2, "big") + crc32c_of_all([message], [0])[0].to_bytes(4, "big")
    return head + bytes(4) + message
