"""Rows of a record as records of a stream: there and back, what comes again, and what cannot be."""

from __future__ import annotations

import pytest

from tests.support import identity
from tests.support.gossip import channel, update
from triolight.cluster import rows
from triolight.cluster.records import (
    ENGINE,
    NO_CONNECTION,
    ROWS,
    Beside,
    Entry,
    Heard,
    Left,
    Missed,
    Record,
    Sighted,
    Tick,
    decode_entry,
    encode_entry,
    encode_record,
)
from triolight.cluster.rows import MOMENTS, SPLIT_BYTES, UNKNOWN, Incoming, Outgoing
from triolight.errors import DecodeError
from triolight.services.record import RecordBatch, SessionFacts
from triolight.services.shares import WorkerFacts, WorkerKey

TOKEN = bytes(range(16))
KEY = WorkerKey("one", TOKEN)
FACTS = SessionFacts(3, identity(1), "127.0.0.1:9735", True, 100, b"\x00\x10init")
OTHER = SessionFacts(4, identity(2), "", False, 101, b"")


def entry(first_seq: int, *said: tuple[int, object]) -> Entry:
    return Entry(TOKEN, first_seq, tuple(Record(conn, what) for conn, what in said))  # type: ignore[arg-type]


def heard(number: int = 3, **changes: object) -> Heard:
    """What a worker tells of a session that says nothing."""
    ((conn, what),) = Outgoing().records_of(RecordBatch(opened=[FACTS._replace(number=number)]))
    assert conn == number
    assert isinstance(what, Heard)
    return what.replace(**changes)


def test_a_batch_comes_back_with_numbers_of_the_reader_s() -> None:
    sent = RecordBatch(
        opened=[FACTS, OTHER],
        sightings=[(110, 3, 0, channel()), (111, 4, 2, update()), (112, 3, 1, update())],
        closed=[(4, 130, "PEER_CLOSED (by peer): bye")],
        gaps=[(105, 106, None, 0, "held"), (107, 108, 3, None, "not recorded")],
        rtts=[(120, 3, 2500)],
        clocks=[(100, 99)],
    )
    records = [encode_record(conn, what) for conn, what in Outgoing().records_of(sent)]
    incoming = Incoming()
    read = incoming.read("one", decode_entry(encode_entry(TOKEN, 0, records), ROWS), None)
    assert read is not None
    assert read.opened == [FACTS._replace(number=1, worker=KEY), OTHER._replace(number=2, worker=KEY)]
    assert sorted(read.sightings) == [(110, 1, 0, channel()), (111, 2, 2, update()), (112, 1, 1, update())]
    assert (read.closed, read.rtts, read.clocks) == ([(2, 130, sent.closed[0][2])], [(120, 1, 2500)], [(100, 99)])
    assert read.gaps == [(105, 106, None, 0, "held"), (107, 108, 1, None, "not recorded")]
    assert read.worker == WorkerFacts(KEY, len(records), 130)
    assert incoming.nodes_of(KEY) == [FACTS.node_id]


def test_much_of_one_session_is_several_records() -> None:
    size = len(channel())
    many = 2 * SPLIT_BYTES // size
    batch = RecordBatch(opened=[FACTS], sightings=[(110 + at, 3, 0, channel()) for at in range(many)])
    batch.closed.append((3, 10_000, "bye"))
    *parts, last = (what for _, what in Outgoing().records_of(batch))
    assert len(parts) >= 1
    assert all(isinstance(one, Heard) and not one.closed_ns for one in parts)
    assert isinstance(last, Heard)
    assert last.closed_ns == 10_000
    assert [one.seen_ns for part in (*parts, last) if isinstance(part, Heard) for one in part.sighted] == [
        110 + at for at in range(many)
    ]
    # The largest message that there is fits.
    whole = RecordBatch(opened=[FACTS], sightings=[(110, 3, 0, bytes(65_535))])
    assert all(encode_record(conn, what) for conn, what in Outgoing().records_of(whole))


def test_what_comes_again_is_dropped_and_what_another_has_is_said() -> None:
    said = [(3, heard(sighted=(Sighted(seen_ns=110 + at, asked=0, data=channel()),))) for at in range(4)]
    incoming = Incoming()
    known = WorkerFacts(KEY, 2, 111)
    read = incoming.read("one", entry(0, *said), known)
    assert read is not None
    assert [one[0] for one in read.sightings] == [112, 113]
    assert read.worker == WorkerFacts(KEY, 4, 113)
    assert incoming.read("one", entry(0, *said), read.worker) is None
    assert incoming.read("one", entry(2, *said[2:]), read.worker) is None
    # Another writer, with a record of its own, has had three of them.
    later = incoming.read("one", entry(7, (3, heard(closed_ns=150))), read.worker)
    assert later is not None
    assert later.gaps == [(113, 113, None, None, "in another record")]
    assert later.worker == WorkerFacts(KEY, 8, 150)
    # Whoever reads a stream for the first time takes it as it is.
    first = Incoming().read("one", entry(7, (3, heard())), None)
    assert first is not None
    assert first.gaps == []


def test_a_life_ends_with_a_word_or_without() -> None:
    incoming = Incoming()
    read = incoming.read("one", entry(0, (3, heard()), (NO_CONNECTION, Left(at_ns=160))), None)
    assert read is not None
    assert read.worker == WorkerFacts(KEY, 2, 160, (160, "the recording ended"))
    assert incoming.nodes_of(KEY) == []
    over = incoming.over(WorkerFacts(KEY, 2, 160), 150)
    assert over.gaps == [(160, 160, None, None, "killed")]
    assert over.worker == WorkerFacts(KEY, 2, 160, (160, "killed"))


@pytest.mark.parametrize(
    "what",
    [
        heard(sighted=(Sighted(seen_ns=110, asked=3, data=channel()),)),
        heard(sighted=(Sighted(seen_ns=110, asked=0, data=b"x"),)),
        heard(sighted=(Sighted(seen_ns=MOMENTS, asked=0, data=channel()),)),
        heard(connected_ns=MOMENTS),
        heard(closed_ns=UNKNOWN),
        Beside(missed=(), ticks=(Tick(seen_ns=1, wall_ns=MOMENTS),)),
        Beside(missed=(Missed(from_ns=MOMENTS, to_ns=1, lost=0, why=b""),), ticks=()),
        Left(at_ns=MOMENTS),
    ],
)
def test_what_cannot_be_a_row(what: object) -> None:
    incoming = Incoming()
    with pytest.raises(DecodeError):
        incoming.read("one", entry(0, (3, what)), None)
    # A session that it had begun with begins anew.
    read = incoming.read("one", entry(0, (3, heard())), None)
    assert read is not None
    assert len(read.opened) == 1


def test_a_worker_has_no_more_connections_than_a_process_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_OPEN", 2)
    incoming = Incoming()
    assert incoming.read("one", entry(0, (1, heard(1)), (2, heard(2)), (1, heard(1))), None)
    with pytest.raises(DecodeError, match="more than 2 connections"):
        incoming.read("one", entry(3, (3, heard(3))), WorkerFacts(KEY, 3, 100))


def test_text_of_a_worker_is_printable() -> None:
    read = Incoming().read("one", entry(0, (3, heard(address=b"\x1b[2J", closed_ns=120, why=b"\xff" * 60_000))), None)
    assert read is not None
    assert read.opened[0].address == "\\x1b[2J"
    assert len(read.closed[0][2]) <= 512
    with pytest.raises(DecodeError):
        Incoming().read("one", Entry(ENGINE, 2**63, (Record(3, heard()),)), None)
