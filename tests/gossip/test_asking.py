"""Asking one peer: pace, deadlines, bounds, and every way in which a list of channels may end."""

from __future__ import annotations

import math

import pytest

from tests.support import gossip
from tests.support.personas import CHAIN, FIRST_BLOCK, NOW
from triolight.gossip import NetworkGraph, decode_query_flags, decode_short_ids, encode_short_ids, encode_timestamps
from triolight.gossip.asking import (
    Asker,
    BatchAnswer,
    HistoryAnswer,
    RangeAnswer,
    difference,
    filter_of,
)
from triolight.gossip.claims import NO_CLAIM, Claim, Claims
from triolight.gossip.policy import MOST_FLAGGED, AskPolicy, SyncPolicy
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    ChannelUpdateChecksums,
    NodeAnnouncement,
    ReplyChannelRange,
    ReplyChannelRangeTlvs,
    ReplyShortChannelIdsEnd,
    Timestamps,
)
from triolight.wire import ShortChannelId

DAY = 86_400
POLICY = AskPolicy()
IDS = tuple(int(ShortChannelId.of(FIRST_BLOCK + block, 1, 0)) for block in range(4))
STOP = FIRST_BLOCK + 100


def read(answer: RangeAnswer) -> dict[int, Claim]:
    answer.claims.read(10_000)
    return dict(answer.claims)


def asker(policy: AskPolicy = POLICY) -> Asker:
    return Asker(CHAIN, policy)


def reply(
    first: int = FIRST_BLOCK, stop: int = STOP, ids: tuple[int, ...] = IDS, complete: int = 1, **changes: object
) -> ReplyChannelRange:
    message = ReplyChannelRange(
        chain_hash=CHAIN,
        first_blocknum=first,
        number_of_blocks=stop - first,
        sync_complete=complete,
        encoded_short_ids=encode_short_ids(ids),
        tlvs=ReplyChannelRangeTlvs(timestamps_tlv=encode_timestamps((NOW, NOW) for _ in ids)),
    )
    return message.replace(**changes)


def ranging(policy: AskPolicy = POLICY) -> Asker:
    one = asker(policy)
    one.ask_range(FIRST_BLOCK, STOP - FIRST_BLOCK, 0)
    return one


def end(**changes: object) -> ReplyShortChannelIdsEnd:
    return ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=1).replace(**changes)


def announcement(number: int = 0) -> ChannelAnnouncement:
    return ChannelAnnouncement.decode(gossip.channel(IDS[number]))


# What differs (G68).


@pytest.mark.parametrize(
    ("ours", "theirs", "checksum", "flags"),
    [
        # Both: newer and another content, or ours nearly forgotten.
        (NOW - 100, NOW, "other", 2),
        (NOW - 100, NOW, "same", 0),
        (NOW - 11 * DAY, NOW, "same", 2),
        (NOW - 100, NOW - 100, "other", 0),
        (NOW - 100, NOW - 200, "other", 0),
        (NOW - 20 * DAY, NOW - 15 * DAY, "other", 0),
        (NOW - 100, NOW + DAY + 1, "other", 0),
        # Timestamps alone.
        (NOW - 100, NOW, None, 2),
        (NOW, NOW, None, 0),
        (NOW - 20 * DAY, NOW - 14 * DAY - 1, None, 0),
        # Checksums alone; 0 is none.
        (NOW, None, "other", 2),
        (NOW, None, "same", 0),
        (NOW, None, "none", 0),
        # Nothing is said: perhaps.
        (NOW, None, None, 6),
    ],
)
def test_which_updates_are_asked_for(ours: int, theirs: int | None, checksum: str | None, flags: int) -> None:
    graph = NetworkGraph(CHAIN)
    channel = graph.load(gossip.channel(), [gossip.update(timestamp=ours)])
    sums = {"same": channel.checksum(0), "other": channel.checksum(0) ^ 1, "none": 0}
    claim = (
        None if theirs is None else (theirs, 0),
        None if checksum is None else (sums[checksum], 0),
    )
    assert difference(channel, claim, NOW) == flags


def test_an_unknown_channel_is_asked_for_whole_unless_nobody_would_keep_it() -> None:
    assert difference(None, NO_CLAIM, NOW) == 31
    assert difference(None, ((NOW, 0), None), NOW) == 31
    assert difference(None, ((0, NOW - 15 * DAY), None), NOW) == 0
    assert difference(None, ((NOW + 2 * DAY, 0), None), NOW) == 0


# Lists of channels (G61, G69, G71).


def test_a_question_for_blocks_is_clamped() -> None:
    asked = asker().ask_range(100, 0xFFFFFFFF, 0)
    assert (asked.first_blocknum, asked.number_of_blocks) == (100, 0xFFFFFFFF - 100)
    assert asked.tlvs.query_option == 3
    assert asker().ask_range(100, 0, 0).number_of_blocks == 1


def test_complete_and_covered_is_the_end() -> None:
    one = ranging()
    assert one.take_range(reply(stop=FIRST_BLOCK + 2, ids=IDS[:2], complete=0), 1) is None
    done = one.take_range(reply(first=FIRST_BLOCK + 2, ids=IDS[2:]), 2)
    assert done is not None
    assert (done.complete, done.why) == (True, "complete")
    assert read(done) == dict.fromkeys(IDS, ((NOW, NOW), None))
    assert one.idle
    assert one.lists_timestamps


def test_complete_in_each_reply_is_the_end_when_all_is_covered() -> None:
    one = ranging()
    assert one.take_range(reply(stop=FIRST_BLOCK + 2, ids=IDS[:2]), 1) is None
    done = one.take_range(reply(first=FIRST_BLOCK + 2, ids=IDS[2:]), 2)
    assert done is not None
    assert done.complete


def test_the_whole_range_in_each_reply_ends_with_the_complete_one() -> None:
    one = ranging()
    assert one.take_range(reply(ids=IDS[:2], complete=0), 1) is None
    assert one.look_again == 60
    done = one.take_range(reply(ids=IDS[2:]), 2)
    assert done is not None
    assert len(read(done)) == 4


def test_complete_with_a_gap_ends_when_it_is_quiet() -> None:
    one = ranging()
    assert one.take_range(reply(first=FIRST_BLOCK + 2, ids=IDS[2:]), 1) is None
    assert one.look_again == 6
    assert one.tick(5.9) is None
    done = one.tick(6)
    assert isinstance(done, RangeAnswer)
    assert (done.complete, done.why) == (False, "quiet")


def test_covered_without_a_word_ends_when_it_is_quiet() -> None:
    one = ranging()
    one.take_range(reply(stop=FIRST_BLOCK + 2, ids=IDS[:2], complete=0), 1)
    one.take_range(reply(first=FIRST_BLOCK + 1, ids=IDS[1:], complete=0), 2)
    done = one.tick(7)
    assert isinstance(done, RangeAnswer)
    assert (done.complete, done.why, len(read(done))) == (True, "quiet", 4)


def test_an_empty_whole_reply_ends_it_whatever_it_says() -> None:
    assert ranging().take_range(reply(ids=()), 1) == RangeAnswer(Claims(), True, "complete")
    done = ranging().take_range(reply(ids=(), complete=0), 1)
    assert done == RangeAnswer(Claims(), False, "other chain")


def test_nothing_at_all_ends_at_the_deadline() -> None:
    one = ranging()
    assert one.tick(59.9) is None
    assert one.tick(60) == RangeAnswer(Claims(), False, "silent")


def test_what_is_outside_doubled_or_unsorted_is_taken_for_what_it_is() -> None:
    one = ranging()
    ids = (IDS[1], IDS[0], IDS[1], int(ShortChannelId.of(5, 1, 1)))
    encoded = b"\0" + b"".join(each.to_bytes(8, "big") for each in ids)
    done = one.take_range(reply(encoded_short_ids=encoded, tlvs=ReplyChannelRangeTlvs()), 1)
    assert done is not None
    assert read(done) == {IDS[0]: NO_CLAIM, IDS[1]: NO_CLAIM}
    assert one.no_tlvs


@pytest.mark.parametrize(
    "tlvs",
    [
        ReplyChannelRangeTlvs(timestamps_tlv=encode_timestamps([(1, 1)])),
        ReplyChannelRangeTlvs(timestamps_tlv=Timestamps(encoding_type=1, encoded_timestamps=bytes(32))),
        ReplyChannelRangeTlvs(timestamps_tlv=Timestamps(encoding_type=0, encoded_timestamps=bytes(31))),
        ReplyChannelRangeTlvs(checksums_tlv=(ChannelUpdateChecksums(checksum_node_id_1=1, checksum_node_id_2=2),)),
    ],
)
def test_miscounted_timestamps_and_checksums_are_as_none(tlvs: ReplyChannelRangeTlvs) -> None:
    done = ranging().take_range(reply(tlvs=tlvs), 1)
    assert done is not None
    assert read(done) == dict.fromkeys(IDS, NO_CLAIM)


@pytest.mark.parametrize("encoded", [b"\x01" + bytes(30), b"\x07", b"\0" + bytes(7)])
def test_a_list_that_cannot_be_read_is_none(encoded: bytes) -> None:
    one = ranging()
    assert one.take_range(reply(encoded_short_ids=encoded), 1) is None
    assert one.unread == 1
    done = one.tick(60)
    assert isinstance(done, RangeAnswer)
    assert not done.complete


def test_a_list_that_could_not_be_read_says_nothing_of_the_next_one() -> None:
    one = ranging()
    one.take_range(reply(encoded_short_ids=b"\7"), 1)
    one.tick(60)
    one.ask_range(FIRST_BLOCK, STOP - FIRST_BLOCK, 61)
    done = one.take_range(reply(), 62)
    assert done is not None
    assert (done.complete, done.why, one.unread) == (True, "complete", 1)


def test_d4_the_bounds_of_a_list() -> None:
    one = ranging(AskPolicy(replies=3))
    for now in range(3):
        assert one.take_range(reply(ids=(), stop=FIRST_BLOCK + 1, complete=0), now) is None
    done = one.take_range(reply(ids=(), stop=FIRST_BLOCK + 1, complete=0), 4)
    assert done is not None
    assert done.why == "too much"
    done = ranging(AskPolicy(short_channel_ids=4)).take_range(reply(), 1)
    assert done is not None
    assert done.why == "complete"
    done = ranging(AskPolicy(short_channel_ids=3)).take_range(reply(), 1)
    assert done is not None
    assert done.why == "too much"
    done = ranging(AskPolicy(reply_bytes=64)).take_range(reply(), 1)
    assert done is not None
    assert done.why == "too much"


def test_replies_that_nobody_asked_for_are_counted() -> None:
    one = asker()
    assert one.take_range(reply(), 0) is None
    assert one.take_end(end(), 0) is None
    assert one.unasked == 2
    assert not one.expects(reply(), 0)
    one = ranging()
    assert one.expects(reply(), 1)
    assert not one.expects(end(), 1)
    assert one.take_range(reply(chain_hash=bytes(32)), 1) is None
    assert one.unasked == 1
    one.tick(60)
    # Late is not unasked.
    assert one.expects(reply(), 61)
    assert not one.expects(reply(), 60 + POLICY.answer)


# Channels by their ids (G52, G54, G55, G57, G60).


def test_one_thing_at_a_time_and_not_at_once_after_another() -> None:
    one = asker()
    asked = one.ask_short_channel_ids({IDS[2]: 2, IDS[0]: 31}, 0)
    assert list(decode_short_ids(asked.encoded_short_ids)) == [IDS[0], IDS[2]]
    assert asked.tlvs.query_flags is not None
    assert decode_query_flags(asked.tlvs.query_flags, 2) == (31, 2)
    with pytest.raises(ValueError, match="one thing at a time"):
        one.ask_range(0, 1, 100)
    assert one.take_end(end(), 0.1) == BatchAnswer((IDS[0], IDS[2]), "end")
    assert not one.may_ask(0.2)
    assert one.may_ask(0.25)
    with pytest.raises(ValueError, match="not at once"):
        one.ask_short_channel_ids({IDS[0]: 1}, 0.2)


@pytest.mark.parametrize("number", [0, MOST_FLAGGED + 1])
def test_never_an_empty_list_and_never_one_too_long(number: int) -> None:
    with pytest.raises(ValueError, match="1 to 7277"):
        asker().ask_short_channel_ids(dict.fromkeys(range(number), 31), 0)
    assert len(asker().ask_short_channel_ids(dict.fromkeys(range(MOST_FLAGGED), 31), 0).encode()) <= 65535


def test_batches_double_when_they_are_quick_and_halve_when_they_are_not() -> None:
    one = asker(AskPolicy(batch=100, batch_most=150))
    now = 0.0
    for size in (100, 150, 150):
        assert one.batch_size == size
        one.ask_short_channel_ids(dict.fromkeys(range(one.batch_size), 31), now)
        one.take_end(end(), now + 4.9)
        now += 5
    one.ask_short_channel_ids(dict.fromkeys(range(150), 31), now)
    one.take_end(end(), now + 5)
    assert one.batch_size == 150
    now += 6
    one.ask_short_channel_ids(dict.fromkeys(range(150), 31), now)
    assert isinstance(one.tick(now + 30), BatchAnswer)
    assert one.batch_size == 75


def test_silence_is_over_after_thirty_seconds_and_each_message_of_the_answer_renews_it() -> None:
    one = asker()
    one.ask_short_channel_ids(dict.fromkeys(IDS, 31), 0)
    one.take_gossip(announcement(), 432, 20)
    # A stream's is none of the answer.
    one.take_gossip(ChannelUpdate.decode(gossip.update(ShortChannelId.of(9, 9, 9))), 138, 40)
    assert one.look_again == 50
    assert one.tick(49.9) is None
    assert one.tick(50) == BatchAnswer(IDS, "silent")
    assert not one.owes_end


def test_an_answer_that_dribbles_is_over_and_its_end_is_waited_for() -> None:
    one = asker()
    one.ask_short_channel_ids(dict.fromkeys(IDS, 31), 0)
    for now in range(29, 120, 29):
        one.take_gossip(NodeAnnouncement.decode(gossip.node()), 142, now)
    assert one.tick(120) == BatchAnswer(IDS, "slow")
    assert not one.may_ask(121)
    assert one.owes_until == 240
    assert one.take_end(end(), 130) is None
    assert one.may_ask(131)
    assert one.owes_until == math.inf
    assert one.unasked == 0


def test_who_answers_neither_with_flags_nor_without_answers_never() -> None:
    one = asker()
    one.ask_short_channel_ids(dict.fromkeys(IDS, 31), 0)
    one.tick(30)
    assert (one.no_flags, one.no_short_channel_ids, one.batch_size) == (True, False, 1)
    asked = one.ask_short_channel_ids({IDS[0]: 31}, 31)
    assert asked.tlvs.query_flags is None
    one.tick(61)
    assert one.no_short_channel_ids


def test_a_lister_without_timestamps_is_probed_with_one_channel() -> None:
    one = ranging()
    one.take_range(reply(tlvs=ReplyChannelRangeTlvs()), 1)
    assert one.batch_size == 1
    one.ask_short_channel_ids({IDS[0]: 31}, 2)
    one.tick(32)
    assert one.no_short_channel_ids
    assert one.look_again == math.inf


def test_who_tells_all_whatever_was_asked_for_is_known_by_it() -> None:
    one = asker()
    one.ask_short_channel_ids({IDS[0]: 2}, 0)
    one.take_gossip(announcement(), 432, 1)
    assert one.no_flags


def test_an_end_says_no_only_if_nothing_came() -> None:
    one = asker()
    one.ask_short_channel_ids({IDS[0]: 31}, 0)
    assert one.take_end(end(chain_hash=bytes(32), full_information=0), 1) is None
    assert one.unasked == 1
    assert one.take_end(end(full_information=0), 1) == BatchAnswer((IDS[0],), "refused")
    one.ask_short_channel_ids({IDS[0]: 31}, 2)
    one.take_gossip(announcement(), 432, 3)
    assert one.take_end(end(full_information=0), 4) == BatchAnswer((IDS[0],), "end")
    assert one.bytes_per_second == 216


def test_history_is_over_when_nothing_old_comes() -> None:
    one = asker()
    asked = one.ask_history(NOW, 0)
    assert (asked.first_timestamp, asked.timestamp_range) == (NOW - 15 * DAY, 0xFFFFFFFF)
    assert one.filtered
    one.take_gossip(announcement(), 432, 10)
    one.take_gossip(ChannelUpdate.decode(gossip.update(timestamp=NOW - 5)), 138, 20)
    one.take_gossip(ChannelUpdate.decode(gossip.update(timestamp=NOW + 5)), 138, 40)
    assert one.tick(49.9) is None
    assert one.tick(50) == HistoryAnswer(2)
    one = asker()
    one.ask_history(NOW, 0)
    for now in range(0, 600, 20):
        one.take_gossip(announcement(), 432, now)
    assert isinstance(one.tick(600), HistoryAnswer)


def test_an_answer_that_nobody_waits_for_is_let_come() -> None:
    one = ranging()
    one.abandon(1)
    assert not one.may_ask(59)
    assert one.may_ask(60)
    assert one.expects(reply(), 2)
    one = asker()
    one.ask_short_channel_ids({IDS[0]: 31}, 0)
    one.abandon(1)
    assert not one.may_ask(60)
    assert one.take_end(end(), 60) is None
    assert one.may_ask(60)


def test_filters() -> None:
    assert (filter_of(CHAIN, 5).first_timestamp, filter_of(CHAIN, 5).timestamp_range) == (5, 0xFFFFFFFF)
    assert (filter_of(CHAIN, None).first_timestamp, filter_of(CHAIN, None).timestamp_range) == (0xFFFFFFFF, 0)
    assert filter_of(CHAIN, -5).first_timestamp == 0


def test_a_policy_has_numbers_above_zero_in_order() -> None:
    with pytest.raises(ValueError, match="pace is above 0"):
        AskPolicy(pace=0)
    with pytest.raises(ValueError, match="first_block is above 0"):
        SyncPolicy(first_block=-1)
    with pytest.raises(ValueError, match="batches grow"):
        AskPolicy(batch=20)
    with pytest.raises(ValueError, match="batches grow"):
        AskPolicy(batch_most=7278)
