"""The agenda, who is woken and when; and the log, called for records that it wants."""

from __future__ import annotations

from tests.support import Note, Order, identity
from tests.support.managers import connect, node
from triolight import (
    CustomMessageHandler,
    Level,
    Record,
    SendMessages,
)
from triolight.messages import (
    Message,
)


def test_logging_of_single_messages_is_made_for_those_who_ask() -> None:
    class Talkative:
        level = Level.GOSSIP

        def __init__(self) -> None:
            self.records: list[Record] = []

        def log(self, record: Record) -> None:
            self.records.append(record)

    logger = Talkative()
    a, b = node(1), node(2, logger=logger)
    link = connect(a, b)
    a.manager.send_message(identity(2), Note(payload=b"x"), Order(payload=b"y"))
    link.run()
    assert [str(record).split()[0] for record in logger.records if "received note" in str(record)] == ["TRACE"]


def test_a_handler_that_processes_events_waits_for_the_driver() -> None:
    class Eager(CustomMessageHandler):
        def handle_custom_message(self, node_id: bytes, message: Message) -> None:
            self.push(SendMessages(node_id, Note(payload=b"answer")))
            b.manager.process_events()

    a, b = node(1), node(2, custom=Eager())
    link = connect(a, b)
    a.manager.send_message(identity(2), Note(payload=b"?"))
    a.manager.process_events()
    calls = link.at_b.calls
    link.feed("b", link.at_a.take())
    assert link.at_b.calls == calls, "read_event never calls send_data"
    b.manager.process_events()
    link.run()
    assert a.seen.messages == [Note(payload=b"answer")]
