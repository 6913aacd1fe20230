"""Batches of channel messages, in and out, and the answers that are sent for a routing handler that gives none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Note, identity, make_manager, open_pair, until
from tests.test_peer_manager import Node, Wire, connect, node
from triolight import (
    ChannelMessageHandler,
    DisconnectCode,
    ErroringMessageHandler,
    Features,
    RoutingMessageHandler,
    SendWarningMessage,
    UpdateHtlcs,
)
from triolight.messages import (
    AttributionData,
    ChannelUpdate,
    CommitmentSigned,
    Error,
    GossipTimestampFilter,
    Message,
    Ping,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    Shutdown,
    StartBatch,
    StartBatchTlvs,
    UnknownMessage,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
    UpdateFulfillHtlcTlvs,
    Warning,
)

OURS = b"\x0a" * 32
OTHER = b"\x0b" * 32


def commitment(number: int, channel_id: bytes = OURS, htlcs: int = 0) -> CommitmentSigned:
    one = bytes([number]) * 64
    return CommitmentSigned(channel_id=channel_id, signature=one, htlc_signature=(one,) * htlcs)


def start(size: int, message_type: int | None = 132, channel_id: bytes = OURS) -> StartBatch:
    return StartBatch(channel_id=channel_id, batch_size=size, tlvs=StartBatchTlvs(message_type=message_type))


class Takes(ChannelMessageHandler):
    """Notes every channel message and every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def unhandled(self, node_id: bytes, message: Message) -> None:
        self.heard.append(message)

    def handle_commitment_signed_batch(
        self, node_id: bytes, channel_id: bytes, messages: tuple[CommitmentSigned, ...]
    ) -> None:
        assert node_id == identity(1)
        self.heard.append((channel_id, messages))


def linked(handler: ChannelMessageHandler) -> tuple[Node, Node, Wire]:
    a, b = node(1), node(2, chan=handler)
    return a, b, connect(a, b)


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
    peer = b.manager._roster.connected[identity(1)]
    assert peer.batch is not None
    assert len(peer.batch.encoded) == 1
    b.manager.abandon_handlers()
    a.manager.send_message(identity(2), commitment(20))
    link.run()
    assert peer.batch is None


# ---------------------------------------------------------------------------------------------------------------------
# Changes of a channel on their way out


def add(number: int, channel_id: bytes = OURS) -> UpdateAddHtlc:
    return UpdateAddHtlc(
        channel_id=channel_id,
        id=number,
        amount_msat=1,
        payment_hash=bytes(32),
        cltv_expiry=1,
        onion_routing_packet=bytes(1366),
    )


def fulfill(number: int) -> UpdateFulfillHtlc:
    attribution = AttributionData(htlc_hold_times=(0,) * 20, truncated_hmacs=bytes(840))
    tlvs = UpdateFulfillHtlcTlvs(attribution_data=attribution)
    return UpdateFulfillHtlc(channel_id=OURS, id=number, payment_preimage=bytes(32), tlvs=tlvs)


def largest() -> UpdateHtlcs:
    """The largest that is legal: 483 HTLCs offered and 483 fulfilled, with a signature of each for 20 transactions."""
    return UpdateHtlcs(
        node_id=identity(2),
        channel_id=OURS,
        fulfills=tuple(map(fulfill, range(483))),
        adds=tuple(map(add, range(483))),
        commitment_signed=tuple(commitment(number, htlcs=483) for number in range(20)),
    )


def test_changes_are_written_in_order_with_nothing_between() -> None:
    handler = ChannelMessageHandler()
    a, b = node(1, chan=handler), node(2)
    link = connect(a, b)
    event = UpdateHtlcs(
        node_id=identity(2),
        channel_id=OURS,
        commitment_signed=(commitment(1), commitment(2)),
        fee=UpdateFee(channel_id=OURS, feerate_per_kw=253),
        adds=(add(1), add(2)),
        malformed_fails=(
            UpdateFailMalformedHtlc(channel_id=OURS, id=5, sha256_of_onion=bytes(32), failure_code=0x8000),
        ),
        fails=(UpdateFailHtlc(channel_id=OURS, id=6, reason=b"why"),),
        fulfills=(fulfill(7),),
    )
    handler.push(event)
    a.manager.process_events()
    link.run()
    names = [type(message).name for message in b.seen.messages]
    assert names == [
        "update_fulfill_htlc",
        "update_fail_htlc",
        "update_fail_malformed_htlc",
        "update_add_htlc",
        "update_add_htlc",
        "update_fee",
        "start_batch",
        "commitment_signed",
        "commitment_signed",
    ]
    assert b.seen.messages[6] == start(2)
    assert tuple(b.seen.messages) == event.messages
    # One commitment_signed is no batch.
    handler.push(UpdateHtlcs(node_id=identity(2), channel_id=OURS, commitment_signed=(commitment(3),)))
    a.manager.process_events()
    link.run()
    assert b.seen.messages[9:] == [commitment(3)]


def test_changes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="update_add_htlc of another channel: 0b0b"):
        UpdateHtlcs(node_id=identity(2), channel_id=OURS, adds=(add(1, OTHER),))
    with pytest.raises(ValueError, match="commitment_signed is expected, not UpdateAddHtlc"):
        UpdateHtlcs(node_id=identity(2), channel_id=OURS, commitment_signed=(add(1),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="21 commitment_signed; 20"):
        UpdateHtlcs(node_id=identity(2), channel_id=OURS, commitment_signed=(commitment(1),) * 21)


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


# ---------------------------------------------------------------------------------------------------------------------
# Queries that a routing handler does not answer

CHAIN = b"\x06" * 32
RANGE = QueryChannelRange(chain_hash=CHAIN, first_blocknum=100, number_of_blocks=2000)
IDS = QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=bytes(9))


class Offers(RoutingMessageHandler):
    def __init__(self, feature: str = "gossip_queries") -> None:
        super().__init__()
        self.feature = feature

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named(self.feature)


class Answers(Offers):
    def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> None:
        return None

    def handle_query_short_channel_ids(self, node_id: bytes, message: QueryShortChannelIds) -> None:
        return None


@pytest.mark.parametrize(
    ("make", "answered"),
    [
        (Offers, True),
        (Answers, False),
        (RoutingMessageHandler, False),
        (lambda: Offers("option_data_loss_protect"), False),
    ],
)
def test_queries_are_answered_for_a_handler_that_offers_and_does_not_answer(
    make: Callable[[], RoutingMessageHandler], answered: bool
) -> None:
    a, b = node(1), node(2, route=make())
    link = connect(a, b)
    a.manager.send_message(identity(2), RANGE, IDS)
    link.run()
    expected = [
        ReplyChannelRange(
            chain_hash=CHAIN, first_blocknum=100, number_of_blocks=2000, sync_complete=1, encoded_short_ids=b"\0"
        ),
        ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=0),
    ]
    assert a.seen.messages == (expected if answered else [])
    assert b.seen.messages == [RANGE, IDS]
    # zlib is refused before anybody is asked.
    a.seen.messages.clear()
    a.manager.send_message(identity(2), IDS.replace(encoded_short_ids=b"\1x"), IDS.replace(encoded_short_ids=b""))
    link.run()
    warnings = [message.data for message in a.seen.messages if isinstance(message, Warning)]
    assert len(warnings) == 1
    assert b"zlib" in warnings[0]
    assert not b.seen.ended
    assert ChannelUpdate not in map(type, a.seen.messages)
