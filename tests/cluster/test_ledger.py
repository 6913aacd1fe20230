"""What may be forgotten of a stream: a prefix, all of which was handled."""

from __future__ import annotations

from triolight.cluster.ledger import Commit, Ledger, Page, Receipt
from triolight.cluster.records import Connected, Ended, Record, Said
from triolight.cluster.streams import Used
from triolight.shell.inboxes import Position


def connected(conn: int) -> Record:
    return Record(conn, Connected(node_id=b"\x02" * 33, inbound=1, address=b"", init=b""))


def ended(conn: int) -> Record:
    return Record(conn, Ended(side=0, code=b"", words=b""))


def read(ledger: Ledger, number: int, *records: Record) -> tuple[Page, list[Receipt]]:
    """An entry of ten bytes; a receipt for each message of it."""
    page = ledger.open(str(number), Used(10, len(records)), number * 10)
    page.note(records)
    return page, [Receipt(Position("s", one), page) for one in range(sum(isinstance(r.what, Said) for r in records))]


SAID = Record(1, Said(data=b"xx"))


def test_an_entry_waits_for_its_messages_and_for_those_before_it() -> None:
    told: list[int] = []
    ledger = Ledger(lambda: told.append(1))
    (first, (one, two)), (second, (three,)) = read(ledger, 1, SAID, SAID), read(ledger, 2, SAID)
    for page in (first, second):
        page.release()
    three.release()
    one.release()
    assert (ledger.take(), told, ledger.empty) == (None, [], False)
    two.hold()
    two.release()
    assert ledger.take() is None
    two.release()
    assert told == [1]
    assert ledger.take() == Commit("2", Used(20, 3), 20, (), ())
    assert (ledger.take(), ledger.empty) == (None, True)


def test_a_commit_says_which_connections_are_there() -> None:
    ledger = Ledger(lambda: None)
    pages = [
        read(ledger, 1, connected(1), connected(2))[0],
        read(ledger, 2, ended(1), ended(7), connected(3))[0],
    ]
    for page in pages:
        page.release()
    commit = ledger.take()
    assert commit is not None
    assert [conn for conn, _ in commit.began] == [2, 3]
    assert commit.ended == (7,)
    assert Connected.decode(commit.began[0][1]) == connected(2).what


def test_what_is_left_by_an_error_is_forgiven_after_a_while() -> None:
    ledger = Ledger(lambda: None)
    page, (one,) = read(ledger, 1, SAID)
    page.release()
    one.hold()
    one.abandon()
    one.release()
    ledger.forgive()
    assert ledger.take() is None
    ledger.forgive()
    assert ledger.take() is not None


def test_a_receipt_without_an_entry_is_nobody_s() -> None:
    receipt = Receipt(Position("s", 1), None)
    receipt.abandon()
    assert receipt.position == ("s", 1)
