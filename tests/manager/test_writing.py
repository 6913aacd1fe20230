"""What waits goes to the descriptor: when it has room, whole, and never more than a bound."""

from __future__ import annotations

from tests.support import Note, identity
from tests.support.inside import connection_of, queue_of
from tests.support.managers import connect, node
from triolight import (
    CustomMessageHandler,
    SendMessages,
)
from triolight.connection import ENTRY_BYTES, OUTPUT_PAUSE_BYTES
from triolight.messages import (
    Message,
    Ping,
    Pong,
)
from triolight.peer_manager import SEND_LIMIT_BYTES


def test_what_is_heard_while_writing_wakes_the_driver() -> None:
    """`write_buffer_space_avail` goes on reading; what a handler then says to others must not wait for a tick."""

    class Tells(CustomMessageHandler):
        def handle_custom_message(self, node_id: bytes, message: Message) -> None:
            self.push(SendMessages(identity(3), Note(payload=b"news")))

    a, b, c = node(1), node(2, custom=Tells()), node(3)
    link, other = connect(a, b), connect(c, b)
    link.at_b.room = 100
    # More pongs than may be owed, and behind them a note that is not read for that.
    a.manager.send_message(identity(2), *[Ping(num_pong_bytes=65_000)] * 3, Note(payload=b"behind"))
    link.run()
    assert b.seen.messages[-1:] != [Note(payload=b"behind")]
    b.work.clear()
    link.at_b.room = 10**9
    b.manager.write_buffer_space_avail(link.at_b)
    assert b.work, "somebody has to call process_events"
    b.manager.process_events()
    other.run()
    assert c.seen.messages == [Note(payload=b"news")]


def test_room_is_answered_with_a_word_at_the_least() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    calls = link.at_b.calls
    b.manager.write_buffer_space_avail(link.at_b)
    assert link.at_b.calls == calls + 1


def test_empty_pongs_that_are_not_read_are_bounded() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    link.at_b.room = 0
    for _ in range(3000):
        a.manager.send_ping(link.at_a)
        a.manager.forget_ping(link.at_a, None)
    link.run()
    owed = connection_of(b.manager, link.at_b)
    assert owed.over_budget
    assert len(queue_of(owed)) <= OUTPUT_PAUSE_BYTES // ENTRY_BYTES + 1
    link.at_b.room = 10**9
    b.manager.write_buffer_space_avail(link.at_b)
    link.run()
    assert a.manager.traffic(link.at_a)[0][Pong.type][0] == 3000  # type: ignore[index]


def test_announcements_do_not_pile_up_for_who_does_not_read() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    link.at_a.room = 0
    for _ in range(5000):
        a.manager.broadcast_node_announcement(bytes(3), b"a")
    assert a.manager.queued_bytes(link.at_a) < SEND_LIMIT_BYTES + 1000
