"""Core Lightning's gossip_store: read from version 9 to 16, written as version 16. Needs no Core Lightning.

A byte of version, then records: flags, length, checksum, timestamp, message. A record whose checksum is wrong is named
and given all the same, for its signature decides; where the lengths lead nowhere, the next record that its checksum
proves is looked for. A record that is still being written ends the reading. So does the word that the file was
replaced, unless whoever reads can open the file that took its place.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, Final

from triolight.gossip.formats.checksums import crc32c_of_all
from triolight.gossip.formats.items import About, Capacity, Closed, Damaged, Item, Signed, Spent
from triolight.gossip.formats.places import (
    CHANNEL_UPDATE,
    SIGNED,
    ends_of,
    is_obsolete,
    problem,
    timestamp_of,
    type_of,
)
from triolight.wire import MAX_MESSAGE_LENGTH, ShortChannelId

OLDEST: Final = 9
NEWEST: Final = 16
_COMPLETE_SINCE: Final = 15
_HEADER: Final = 12
_DELETED: Final = 0x8000
_COMPLETE: Final = 0x2000
_ZOMBIE: Final = 0x1000
_FLAGS: Final = 0xF800
"""All that have a meaning, or had one: push (0x4000) and dying (0x0800) too."""
_AMOUNT: Final = 4101
_PRIVATE_UPDATE: Final = 4102
_DELETE: Final = 4103
_PRIVATE_CHANNEL: Final = 4104
_ENDED: Final = 4105
_DYING: Final = 4106
_UUID: Final = 4107
_INTERNAL: Final = {_AMOUNT: 10, _DELETE: 10, _ENDED: 10, _DYING: 14, _UUID: 34}
"""Messages that are the store's own, and how long each is at least."""
RECORDS_AT_ONCE: Final = 4096
BYTES_AT_ONCE: Final = 2 * 1024 * 1024
"""Whose checksums are computed together: enough to be fast, and no more is held."""
SEARCHED_AT_ONCE: Final = 256 * 1024
FOLLOWED: Final = 8
"""Files of one name that are read one after the other: a store is written anew once a day at the most."""


@dataclass(frozen=True, slots=True)
class _Record:
    offset: int
    flags: int
    crc: int
    timestamp: int
    message: bytes


class _Source:
    """Bytes of a stream, and how many were read; what was read too far can be given back."""

    def __init__(self, stream: BinaryIO, at: int = 0) -> None:
        self._stream = stream
        self._back = b""
        self.at = at

    def read(self, size: int) -> bytes:
        found, self._back = self._back[:size], self._back[size:]
        while len(found) < size:
            more = self._stream.read(size - len(found))
            if not more:
                break
            found += more
        self.at += len(found)
        return found

    def give_back(self, data: bytes) -> None:
        self._back = data + self._back
        self.at -= len(data)


def read_gossip_store(stream: BinaryIO, reopen: Callable[[], BinaryIO] | None = None) -> Iterator[Item]:
    """What is in a store that was not deleted, in its order. ValueError if it is none that can be read.

    Core Lightning writes a store anew now and then: the old file ends with the place where the new one goes on. With
    `reopen`, which opens the file of the same name again, reading goes on there, and offsets are those of the new file.
    """
    source, version = _begin(stream)
    yield About(version=version)
    with ExitStack() as opened:
        for followed in range(FOLLOWED + 1):
            ended = yield from _items(source, version)
            if ended is None:
                return
            why = f"the store was replaced here: a new file goes on, from its byte {ended.goes_on}"
            if followed == FOLLOWED:
                why = f"the store was replaced {FOLLOWED} times: it points at itself"
            if reopen is None or followed == FOLLOWED:
                yield Damaged(ended.offset, why)
                return
            fresh = opened.enter_context(reopen())
            try:
                source, version = _begin(fresh)
            except ValueError as error:
                yield Damaged(ended.offset, f"{why}; there: {error}")
                return
            if ended.uuid and ended.uuid != _uuid_of(source):
                yield Damaged(ended.offset, f"{why}; there is another one by now")
                return
            fresh.seek(ended.goes_on)
            source = _Source(fresh, ended.goes_on)


@dataclass(frozen=True, slots=True)
class _Ended:
    """The last word of a store: where another one goes on, and which, if it says so."""

    offset: int
    goes_on: int
    uuid: bytes


def _begin(stream: BinaryIO) -> tuple[_Source, int]:
    source = _Source(stream)
    first = source.read(1)
    if not first:
        raise ValueError("an empty file is no gossip_store")
    major, version = first[0] >> 5, first[0] & 31
    if major:
        raise ValueError(f"gossip_store of major version {major}: only 0 can be read")
    if not version >= OLDEST:
        raise ValueError(f"gossip_store of version {version}: {OLDEST} is the oldest that can be read")
    return source, version


def _uuid_of(source: _Source) -> bytes:
    """Of a store of which only the version was read; empty if it has none."""
    head = source.read(_HEADER + 34)[_HEADER:]
    return head[2:] if type_of(head) == _UUID and len(head) == 34 else b""


def _items(source: _Source, version: int) -> Generator[Item, None, _Ended | None]:
    channel: ShortChannelId | None = None
    for record in _records(source, version):
        if isinstance(record, Damaged):
            yield record
            continue
        if record.flags & (_DELETED | _ZOMBIE):
            # Its amount, behind it, is deleted with it.
            channel = channel if type_of(record.message) != 256 else None
            continue
        message, offset = record.message, record.offset
        type_ = type_of(message)
        if type_ in SIGNED:
            if is_obsolete(message):
                continue
            why = problem(message)
            if why:
                yield Damaged(offset, why)
                continue
            channel = ends_of(message).short_channel_id if type_ == 256 else channel
            yield Signed(offset, message)
            continue
        if len(message) < _INTERNAL.get(type_, 0):
            yield Damaged(offset, f"a record of type {type_} of {len(message)} bytes, cut short")
            continue
        number = int.from_bytes(message[2:10], "big")
        match type_:
            case 4101:
                if channel is not None:
                    yield Capacity(offset, channel, number)
            case 4103:
                yield Closed(offset, ShortChannelId(number))
            case 4105:
                return _Ended(offset, number, message[10:42])
            case 4106:
                yield Spent(offset, ShortChannelId(number), int.from_bytes(message[10:14], "big"))
            case _:
                pass  # private ones of old versions, and what later versions may bring
    return None


def _records(source: _Source, version: int) -> Iterator[_Record | Damaged]:
    """All records, each behind its Damaged if its checksum is wrong."""
    while True:
        batch, end = _batch(source, version)
        crcs = crc32c_of_all([one.message for one in batch], [one.timestamp for one in batch])
        lost = False
        for number, (record, crc) in enumerate(zip(batch, crcs, strict=True)):
            # The checksum of nothing is 0: a stretch of zeros would be records without a message.
            if crc == record.crc and len(record.message) >= 2:
                yield record
                continue
            behind_it = batch[number + 1] if number + 1 < len(batch) else None
            follows = end is None or not end.rest if behind_it is None else _is_sane(behind_it)
            if follows and _is_sane(record):
                yield Damaged(record.offset, f"the checksum is {record.crc:08x}, and of the message it is {crc:08x}")
                yield record
                continue
            # Neither the checksum nor the type is one, or none behind it: nor is the length, then.
            behind = b"".join(map(_bytes_of, batch[number:])) + (end.rest if end else b"")
            source.give_back(behind)
            lost = True
            break
        if not lost and end is None:
            continue
        why = "no record, up to the end of the file"
        if not lost and end is not None:
            if not end.rest:
                if end.why:
                    yield Damaged(end.offset, end.why)
                return
            # The last one was cut, or its length is none.
            why = end.why
            source.give_back(end.rest)
        offset = source.at
        if not _find_record(source):
            yield Damaged(offset, why)
            return
        yield Damaged(offset, f"no record; the next one is at byte {source.at}")


@dataclass(frozen=True, slots=True)
class _End:
    offset: int
    why: str
    rest: bytes


def _batch(source: _Source, version: int) -> tuple[list[_Record], _End | None]:
    found: list[_Record] = []
    size = 0
    while len(found) < RECORDS_AT_ONCE and size < BYTES_AT_ONCE:
        offset = source.at
        header = source.read(_HEADER)
        if not header:
            return found, _End(offset, "", b"")
        length = int.from_bytes(header[2:4], "big")
        message = source.read(length) if len(header) == _HEADER else b""
        if len(header) < _HEADER or len(message) < length:
            return found, _End(offset, "the file ends inside a record", header + message)
        flags = int.from_bytes(header[:2], "big")
        crc, timestamp = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")
        record = _Record(offset, flags, crc, timestamp, message)
        if version >= _COMPLETE_SINCE and not flags & _COMPLETE and _is_sane(record):
            return found, _End(offset, "a record that is still being written: read the file again later", b"")
        found.append(record)
        size += length
    return found, None


def _is_sane(record: _Record) -> bool:
    """Whether flags and type are some that there are."""
    type_ = type_of(record.message)
    known = type_ in SIGNED or type_ in _INTERNAL or type_ in (_PRIVATE_UPDATE, _PRIVATE_CHANNEL)
    return known and not record.flags & ~_FLAGS


def _bytes_of(record: _Record) -> bytes:
    return b"".join(
        (
            record.flags.to_bytes(2, "big"),
            len(record.message).to_bytes(2, "big"),
            record.crc.to_bytes(4, "big"),
            record.timestamp.to_bytes(4, "big"),
            record.message,
        )
    )


def _find_record(source: _Source) -> bool:
    """Reads on to the next record that its checksum proves; False if none comes."""
    source.read(1)
    while True:
        window = source.read(SEARCHED_AT_ONCE + _HEADER + MAX_MESSAGE_LENGTH)
        if len(window) < _HEADER + 2:
            return False
        last = len(window) <= SEARCHED_AT_ONCE + _HEADER
        for at in range(len(window) - _HEADER - 1 if last else SEARCHED_AT_ONCE):
            # Types are 1 and 16 in their first byte: most places are passed at the first look.
            if window[at + _HEADER] not in (0x01, 0x10) or window[at] & ~(_FLAGS >> 8) or window[at + 1]:
                continue
            length = int.from_bytes(window[at + 2 : at + 4], "big")
            message = window[at + _HEADER : at + _HEADER + length]
            timestamp = int.from_bytes(window[at + 8 : at + 12], "big")
            crc = int.from_bytes(window[at + 4 : at + 8], "big")
            record = _Record(0, int.from_bytes(window[at : at + 2], "big"), crc, timestamp, message)
            if len(message) == length and _is_sane(record) and crc32c_of_all([message], [timestamp]) == [crc]:
                source.give_back(window[at:])
                return True
        if last:
            return False
        source.give_back(window[SEARCHED_AT_ONCE:])


def write_gossip_store(messages: Iterable[bytes | tuple[bytes, int]], uuid: bytes) -> Iterator[bytes]:
    """A store of version 16, in pieces. A channel_announcement may come with its capacity in satoshis.

    Its updates follow a channel_announcement before the next one does: CLN dates it as the first of them. `uuid`: 32
    bytes that no other store has. ValueError for another number of them.
    """
    if len(uuid) != 32:
        raise ValueError(f"the uuid of a gossip_store has 32 bytes, not {len(uuid)}")
    yield bytes((NEWEST,))
    batch: list[tuple[bytes, int]] = [(_UUID.to_bytes(2, "big") + uuid, 0)]
    size = 0
    undated: int | None = None
    for one in messages:
        raw, capacity = one if isinstance(one, tuple) else (one, None)
        timestamp = timestamp_of(raw)
        if type_of(raw) == 256:
            if size > BYTES_AT_ONCE or len(batch) > RECORDS_AT_ONCE:
                yield _written(batch)
                batch, size = [], 0
            undated = len(batch)
        elif undated is not None and type_of(raw) == CHANNEL_UPDATE:
            batch[undated] = (batch[undated][0], timestamp)
            undated = None
        batch.append((raw, timestamp))
        size += len(raw)
        if capacity is not None:
            batch.append((_AMOUNT.to_bytes(2, "big") + capacity.to_bytes(8, "big"), 0))
        if type_of(raw) == 257 and len(batch) > RECORDS_AT_ONCE:
            yield _written(batch)
            batch, size, undated = [], 0, None
    yield _written(batch)


def _written(batch: list[tuple[bytes, int]]) -> bytes:
    crcs = crc32c_of_all([raw for raw, _ in batch], [timestamp for _, timestamp in batch])
    return b"".join(
        _bytes_of(_Record(0, _COMPLETE, crc, timestamp, raw)) for (raw, timestamp), crc in zip(batch, crcs, strict=True)
    )
