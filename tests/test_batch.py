"""Batches of commitment_signed, in and out: gathered, whole, broken, and never more than a bound."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Note, identity, make_manager, open_pair, until
from tests.support.inside import roster_of
from tests.support.managers import Takes, connect, linked, node
from tests.support.messages import OTHER, OURS, add, commitment, fulfill, start
from triolight import (
    ChannelMessageHandler,
    DisconnectCode,
    ErroringMessageHandler,
    SendWarningMessage,
    UpdateHtlcs,
)
from triolight.batch import MAX_STRANGE_BATCH_BYTES
from triolight.messages import (
    Error,
    GossipTimestampFilter,
    Message,
    Ping,
    Shutdown,
    UnknownMessage,
    Warning,
)


@pytest.mark.parametrize("size", [2, 3, 20])
def test_a_batch_arrives_as_one_call(size: int) -> None:
    takes = Takes()
    a, b, link = linked(takes)
    parts = tuple(commitment(number, htlcs=number) for number in range(size))
    a.manager.send_message(identity(2), commitment(99), start(size), *parts)
    link.run()
    assert takes.heard == [commitment(99), (OURS, parts)]
    a.manager.send_message(identity(2), commitment(98))
    link.run()
    assert takes.heard[2:] == [commitment(98)]
    # Subscribers see each message by itself.
    assert b.seen.messages == [commitment(99), start(size), *parts, commitment(98)]
    assert not b.seen.ended


def test_what_may_stand_inside_a_batch() -> None:
    takes = Takes()
    a, b, link = linked(takes)
    inside = (
        Ping(num_pong_bytes=3, ignored=b""),
        Warning(data=b"hm"),
        Error(channel_id=OTHER, data=b"another channel's"),
        UnknownMessage(40001, b"odd"),
    )
    a.manager.send_message(identity(2), start(2), commitment(1), *inside, commitment(2))
    link.run()
    assert takes.heard == [(OURS, (commitment(1), commitment(2)))]
    assert not b.seen.ended


@pytest.mark.parametrize(
    ("intruder", "words"),
    [
        (start(2), "start_batch inside a batch"),
        (commitment(2, OTHER), "another channel"),
        (Shutdown(channel_id=OURS, scriptpubkey=b""), "shutdown inside a batch"),
        (Note(payload=b""), "Note inside a batch"),
        (UnknownMessage(258, b"too short"), "inside a batch: channel_update.signature at byte 2"),
        (GossipTimestampFilter(chain_hash=bytes(32), first_timestamp=0, timestamp_range=0), "gossip_timestamp_filter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_breaks_a_batch(intruder: Message | UnknownMessage, words: str) -> None:
    takes = Takes()
    a, b, link = linked(takes)
    a.manager.send_message(identity(2), start(3), commitment(1), intruder, commitment(3))
    link.run()
    assert takes.heard == []
    assert b.seen.ended[0].code is DisconnectCode.BATCH_BROKEN
    assert words.lower() in b.seen.ended[0].message.lower()
    heard = [message for message in a.seen.messages if isinstance(message, Warning)]
    assert [message.data.decode() for message in heard] == [b.seen.ended[0].message]
    assert link.at_b.ended


@pytest.mark.parametrize(("size", "warned"), [(0, True), (1, True), (2, False)])
def test_a_start_batch_that_is_ignored(size: int, warned: bool) -> None:
    """Too small, or of messages that nobody batches: what follows is what it would be without."""
    takes = Takes()
    a, b, link = linked(takes)
    for type_ in (132,) if warned else (None, 133, 0):
        a.manager.send_message(identity(2), start(size, type_))
    a.manager.send_message(identity(2), commitment(1), Shutdown(channel_id=OTHER, scriptpubkey=b""))
    link.run()
    assert takes.heard == [commitment(1), Shutdown(channel_id=OTHER, scriptpubkey=b"")]
    assert not b.seen.ended
    warnings = [message.data for message in a.seen.messages if isinstance(message, Warning)]
    assert warnings == ([b"a batch of %d messages is none" % size] if warned else [])


def test_a_batch_of_21_is_refused_at_once() -> None:
    a, b, link = linked(Takes())
    a.manager.send_message(identity(2), start(21, 500))
    link.run()
    assert b.seen.ended[0].code is DisconnectCode.BATCH_BROKEN
    assert "21" in b.seen.ended[0].message
    assert isinstance(a.seen.messages[-1], Warning)


def test_one_error_answers_a_batch() -> None:
    a, _, link = linked(ErroringMessageHandler())
    a.manager.send_message(identity(2), start(3), *(commitment(number) for number in range(3)))
    link.run()
    assert [message.channel_id for message in a.seen.messages if isinstance(message, Error)] == [OURS]


def test_a_handlers_answer_to_a_batch_is_done() -> None:
    class Warns(ChannelMessageHandler):
        def handle_commitment_signed_batch(self, node_id: bytes, channel_id: bytes, messages: Any) -> Any:
            return SendWarningMessage(Warning(channel_id=channel_id, data=b"%d" % len(messages)))

    a, _, link = linked(Warns())
    a.manager.send_message(identity(2), start(2), commitment(1), commitment(2))
    link.run()
    assert a.seen.messages == [Warning(channel_id=OURS, data=b"2")]


def test_nothing_is_held_for_a_handler_that_takes_no_batches() -> None:
    a, b, link = linked(ChannelMessageHandler())
    a.manager.send_message(identity(2), start(20), *(commitment(number, htlcs=966) for number in range(19)))
    link.run()
    peer = roster_of(b.manager).connected[identity(1)]
    assert peer.batch is not None
    assert len(peer.batch.encoded) == 1
    b.manager.abandon_handlers()
    a.manager.send_message(identity(2), commitment(20))
    link.run()
    assert peer.batch is None


def largest() -> UpdateHtlcs:
    """The largest that is legal: 483 HTLCs offered and 483 fulfilled, with a signature of each for 20 transactions."""
    return UpdateHtlcs(
        node_id=identity(2),
        channel_id=OURS,
        fulfills=tuple(map(fulfill, range(483))),
        adds=tuple(map(add, range(483))),
        commitment_signed=tuple(commitment(number, htlcs=483) for number in range(20)),
    )


def test_the_largest_batch_enters_whole_and_nothing_gets_between() -> None:
    handler, takes = ChannelMessageHandler(), Takes()
    a, b = node(1, chan=handler), node(2, chan=takes)
    link = connect(a, b)
    event = largest()
    assert 1_700_000 < sum(len(message.encode()) for message in event.messages) < 1_900_000
    link.at_a.room = 0  # the socket takes nothing for now
    handler.push(event)
    a.manager.process_events()
    b.manager.send_message(identity(1), Ping(num_pong_bytes=100, ignored=b""))
    b.manager.process_events()
    link.feed("a", link.at_b.take())
    a.manager.send_ping(link.at_a, 1, b"", None)
    a.manager.process_events()
    link.at_a.room = 10**9
    a.manager.write_buffer_space_avail(link.at_a)
    link.run()
    wanted = event.messages
    got = b.seen.messages
    assert len(wanted) == 483 + 483 + 1 + 20
    at = got.index(wanted[0])
    assert tuple(got[at : at + len(wanted)]) == wanted
    assert takes.heard[-1] == (OURS, event.commitment_signed)
    assert not a.seen.ended
    assert not b.seen.ended


async def test_two_sides_that_send_their_largest_batches_at_once_both_get_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each must go on reading while its own batch waits: over a stream that holds nothing, they would wait for ever."""

    class Swaps(ChannelMessageHandler):
        got: int = 0

        def handle_commitment_signed_batch(self, node_id: bytes, channel_id: bytes, messages: Any) -> None:
            self.got += len(messages)

    ours, theirs = Swaps(), Swaps()
    async with open_pair(make_manager(1, chan=ours), make_manager(2, chan=theirs)):
        event = largest()
        ours.push(event)
        theirs.push(
            UpdateHtlcs(
                node_id=identity(1),
                channel_id=OURS,
                fulfills=event.fulfills,
                adds=event.adds,
                commitment_signed=event.commitment_signed,
            )
        )
        await until(lambda: ours.got == theirs.got == 20)


@pytest.mark.parametrize("protected", [False, True])
def test_a_batch_of_a_stranger_is_held_only_up_to_a_bound(protected: bool) -> None:
    class Protects(Takes):
        def protects(self, node_id: bytes) -> bool:
            return protected

    takes = Protects()
    a, b, link = linked(takes)
    parts = tuple(commitment(number, htlcs=966) for number in range(20))
    assert sum(len(part.encode()) for part in parts) > MAX_STRANGE_BATCH_BYTES
    a.manager.send_message(identity(2), start(20), *parts)
    link.run()
    if protected:
        assert [part for _, part in takes.heard] == [parts]
    else:
        assert b.seen.ended[0].code is DisconnectCode.BATCH_BROKEN
