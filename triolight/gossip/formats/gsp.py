"""The lnresearch datasets' format: ``GSP`` and 1, then each message behind its length as a BigSize. Read and written.

There is no time of receipt in it and no peer. Where a length leads to no message, the next place is looked for from
which two messages follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from triolight.errors import DecodeError
from triolight.gossip.formats.items import About, Damaged, Item, Signed
from triolight.gossip.formats.places import SIGNED, is_obsolete, problem, type_of
from triolight.wire import MAX_MESSAGE_LENGTH, read_bigsize, write_bigsize

MAGIC: Final = b"GSP\x01"
READ_AT_ONCE: Final = 256 * 1024
_ROOM: Final = 2 * (MAX_MESSAGE_LENGTH + 9)
"""Two records of the largest size: what is looked at to know that a place is the beginning of one."""


def read_gsp(stream: BinaryIO) -> Iterator[Item]:
    """Its messages. ValueError if it does not begin as it must, or has its lengths in the wrong byte order."""
    head = stream.read(len(MAGIC))
    if head != MAGIC:
        raise ValueError("no GSP file: it does not begin with GSP and 1")
    yield About(version=1)
    data, at, base, ended = b"", 0, len(MAGIC), False
    while True:
        if not ended and len(data) - at < _ROOM:
            more = stream.read(READ_AT_ONCE)
            ended = not more
            base, data, at = base + at, data[at:] + more, 0
            continue
        if at == len(data):
            return
        offset = base + at
        message, behind = _record(data, at)
        if message is not None and (type_of(message) in SIGNED or _begins(data, behind, ended)):
            why = problem(message)
            if not is_obsolete(message):
                yield Damaged(offset, why) if why else Signed(offset, message)
            at = behind
            continue
        if offset <= len(MAGIC) + MAX_MESSAGE_LENGTH and _is_little_endian(data, at):
            raise ValueError(f"byte {offset}: the length is little-endian; in a GSP file it is big-endian")
        cut = message is None and behind > len(data) and _type_at(data, at) in SIGNED
        # Not a record: the next place that is one, within what is here, and then further on.
        while True:
            found = next((one for one in range(at + 1, len(data)) if _begins(data, one, ended)), None)
            if found is not None:
                yield Damaged(offset, f"no message; the next one is at byte {base + found}")
                at = found
                break
            if ended:
                yield Damaged(
                    offset, "the file ends inside a message" if cut else "no message, up to the end of the file"
                )
                return
            at = max(at, len(data) - _ROOM)
            more = stream.read(READ_AT_ONCE)
            ended = not more
            base, data, at = base + at, data[at:] + more, 0


def _record(data: bytes, at: int) -> tuple[bytes | None, int]:
    """The message at a place and what is behind it; None if it is not whole."""
    try:
        length, at = read_bigsize(data, at, len(data))
    except DecodeError:
        return None, at
    if length > MAX_MESSAGE_LENGTH:
        return None, at
    return (data[at : at + length] if at + length <= len(data) else None), at + length


def _type_at(data: bytes, at: int) -> int:
    """The type of the message whose length stands here."""
    at += 1 if data[at] < 0xFD else 3
    return type_of(data[at : at + 2])


def _begins(data: bytes, at: int, ended: bool) -> bool:
    """Whether a message begins here that is followed by another one, or by the end."""
    for _ in range(2):
        if ended and at == len(data):
            return True
        if at >= len(data) or _type_at(data, at) not in SIGNED:
            return False
        message, at = _record(data, at)
        if message is None or (problem(message) and not is_obsolete(message)):
            return False
    return True


def _is_little_endian(data: bytes, at: int) -> bool:
    """Whether the message is there if its length is read the other way round."""
    if data[at] != 0xFD:
        return False
    length = int.from_bytes(data[at + 1 : at + 3], "little")
    message = data[at + 3 : at + 3 + length]
    return len(message) == length and not problem(message)


def write_gsp(messages: Iterable[bytes]) -> Iterator[bytes]:
    """A file of these messages, in pieces."""
    yield MAGIC
    for raw in messages:
        yield write_bigsize(len(raw)) + raw
