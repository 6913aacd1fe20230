"""Which format a file is of, by its first bytes, and what reads it, packed or not. Opens no file itself."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final, cast

from triolight.gossip.formats import describegraph, gossip_store, gsp, jsonl, rgs
from triolight.gossip.formats.items import Damaged, Item

GRAPH: Final = "graph"
"""A graph of ours, in SQLite: not read here."""
SIGNED_FORMATS: Final = ("gossip_store", "gsp", "jsonl")
"""Those whose messages can be verified."""
HEAD: Final = 4096
"""Bytes by which a format is found."""
READ_AT_ONCE: Final = 64 * 1024
"""For lines."""
READERS: Final[Mapping[str, Callable[[BinaryIO], Iterator[Item]]]] = {
    "gossip_store": gossip_store.read_gossip_store,
    "gsp": gsp.read_gsp,
    "jsonl": jsonl.read_jsonl,
    "describegraph": describegraph.read_describegraph,
    "rgs": rgs.read_rgs,
}
"""What reads each format."""
_OF_LINES: Final = re.compile(rb'\s*\{\s*"(raw|message|type)"')
_OPENERS: Final[Mapping[bytes, Callable[[BinaryIO], object]]] = {
    b"BZh": bz2.BZ2File,
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


class _Peeked:
    """A stream whose first bytes were looked at. Compressed data that is broken ends it, with words."""

    def __init__(self, stream: BinaryIO, packed: bool) -> None:
        self._stream = stream
        self._packed = packed
        self._head = b""
        self.problem = ""

    def peek(self, size: int) -> bytes:
        while len(self._head) < size:
            more = self._read(size - len(self._head))
            if not more:
                break
            self._head += more
        return self._head

    def read(self, size: int) -> bytes:
        if self._head:
            found, self._head = self._head[:size], self._head[size:]
            return found
        return self._read(size)

    def readline(self, limit: int) -> bytes:
        while True:
            end = self._head.find(b"\n", 0, limit) + 1
            if end or len(self._head) >= limit:
                return self.read(end or limit)
            more = self._read(READ_AT_ONCE)
            if not more:
                found, self._head = self._head, b""
                return found
            self._head += more

    def _read(self, size: int) -> bytes:
        if not self._packed:
            return self._stream.read(size)
        try:
            # What one step of unpacking gives: with more of them, what came before a break would be lost.
            return cast("io.BufferedIOBase", self._stream).read1(size)
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            self.problem = f"the compressed data is broken: {error}"
            return b""


def recognize(head: bytes) -> str:
    """The format of a file, by its first bytes, after any compression. ValueError if it is none of ours."""
    if not head:
        raise ValueError("an empty file")
    if head.startswith(b"SQLite format 3\0"):
        return GRAPH
    if head.startswith(b"GSP"):
        return "gsp"
    if head.startswith(rgs.MAGIC):
        return "rgs"
    if head.startswith(b"GOSSMAP_COMPRESS"):
        raise ValueError(
            "a GOSSMAP_COMPRESS file: it has neither signatures nor short_channel_ids, and is not read here"
        )
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _OF_LINES.match(text):
        return "jsonl"
    if text.lstrip()[:1] == b"{":
        return "describegraph"
    if head[0] & 31 and head[0] < 32:
        return "gossip_store"
    raise ValueError(f"no file of a known format: {', '.join(READERS)}, or a graph of ours")


def open_items(stream: BinaryIO, reopen: Callable[[], BinaryIO] | None = None) -> tuple[str, Iterator[Item]]:
    """The format of a file, and what is in it, read as it is asked for. ValueError if it is of none, now or then.

    What is packed with bzip2, gzip or xz is unpacked on the way; offsets are those of the unpacked bytes. `reopen`
    opens the file of this name again: a gossip_store may be replaced while it is read, and then the new one goes on.
    """
    packed = _Peeked(stream, packed=False)
    opener = next((made for magic, made in _OPENERS.items() if packed.peek(6).startswith(magic)), None)
    source = packed if opener is None else _Peeked(cast("BinaryIO", opener(cast("BinaryIO", packed))), packed=True)
    head = source.peek(HEAD)
    if source.problem and not head:
        raise ValueError(source.problem)
    name = recognize(head)
    return name, iter(()) if name == GRAPH else _items(name, source, reopen if opener is None else None)


def _items(name: str, source: _Peeked, reopen: Callable[[], BinaryIO] | None) -> Iterator[Item]:
    last = 0
    stream = cast("BinaryIO", source)
    follows = name == "gossip_store" and reopen is not None
    for item in gossip_store.read_gossip_store(stream, reopen) if follows else READERS[name](stream):
        last = getattr(item, "offset", last)
        yield item
    if source.problem:
        yield Damaged(last, source.problem)
