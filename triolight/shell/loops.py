"""What the tasks of one stream run: the reader's loop, and the writer's work. They tell the pump, and touch no manager.

Nothing is read before the pump has given the manager what was read last, so no chunk overtakes another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Final

import trio

from triolight import reasons
from triolight.errors import DisconnectReason
from triolight.shell.events import EventsIn, Received, SpaceToWrite
from triolight.shell.link import Link
from triolight.shell.watch import Arrival

MAX_CHUNK: Final = 64 * 1024
"""Bytes read from a socket at once: largest messages cost a fifth of what they cost in chunks of 4 KiB."""
MIN_CHUNK: Final = 4 * 1024
"""Read at once when there are very many peers."""
TOTAL_CHUNK_BYTES: Final = 64 * 1024 * 1024
"""What all unconsumed chunks together may hold: with many connections, chunks are smaller."""


async def read_stream(link: Link, events_in: EventsIn, crowd: Sized, unix_ns: Callable[[], int]) -> DisconnectReason:
    """Reads until the stream ends; why it has. `crowd`: as many share the memory for chunks."""
    descriptor = link.descriptor
    while True:
        share = TOTAL_CHUNK_BYTES // max(1, len(crowd))
        try:
            data = await descriptor.receive(max(MIN_CHUNK, min(MAX_CHUNK, share)))
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError) as error:
            # A stream that was given to us may raise the system's errors as they are.
            return reasons.connection_broke(error)
        if not data:
            return reasons.closed_by_peer()
        event = Received(link, data, Arrival(trio.current_time(), unix_ns()))
        try:
            events_in.send_nowait(event)
        except trio.WouldBlock:
            await events_in.send(event)
        # A peer that says nothing more costs nothing more than itself: what it said last is not kept here.
        del data, event


@trio.lowlevel.enable_ki_protection
async def write_stream(link: Link, events_in: EventsIn) -> None:
    """The writer's task: writes what the manager has given, until all is written, or its deadline is over."""

    async def report(count: int) -> None:
        event = SpaceToWrite(link, count)
        try:
            events_in.send_nowait(event)
        except trio.WouldBlock:
            await events_in.send(event)

    await link.descriptor.write_out(report)
