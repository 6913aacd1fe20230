"""The handler classes: methods, defaults, and the answers they give."""

from __future__ import annotations

from tests.support import Note, identity
from tests.support.managers import connect, node
from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    ErroringMessageHandler,
    IgnoringMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    RoutingMessageHandler,
    SendMessages,
)
from triolight.messages import (
    BOLT,
    ChannelReestablish,
    Error,
    Ping,
    UnknownMessage,
)


def test_every_message_of_the_bolts_has_its_handler_method() -> None:
    missing = [
        cls.name
        for cls in BOLT
        if cls.name not in ("init", "warning", "ping", "pong", "start_batch")
        and not any(
            hasattr(base, f"handle_{cls.name}")
            for base in (ChannelMessageHandler, RoutingMessageHandler, OnionMessageHandler)
        )
    ]
    assert missing == []


def test_a_handler_that_forgot_its_parents_init_works() -> None:
    class Forgetful(CustomMessageHandler):
        def __init__(self) -> None:
            pass

    forgetful = Forgetful()
    a = node(1, custom=forgetful)
    b = node(2)
    link = connect(a, b)
    forgetful.push(SendMessages(identity(2), Note(payload=b"x")))
    link.run()
    assert b.seen.messages == [Note(payload=b"x")]


def test_erroring_and_placeholder_handlers() -> None:
    reestablish = ChannelReestablish(
        channel_id=b"\x09" * 32,
        next_commitment_number=1,
        next_revocation_number=0,
        your_last_per_commitment_secret=bytes(32),
        my_current_per_commitment_point=identity(5),
    )
    for handler, answers in ((ErroringMessageHandler(), 1), (ChannelMessageHandler(), 0)):
        a, b = node(1), node(2, chan=handler)
        link = connect(a, b)
        a.manager.send_message(identity(2), reestablish)
        link.run()
        errors = [message for message in a.seen.messages if isinstance(message, Error)]
        assert [error.channel_id for error in errors] == [b"\x09" * 32] * answers


def test_message_received_is_called_for_every_message() -> None:
    class Hears(ChannelMessageHandler):
        count = 0

        def message_received(self, node_id: bytes) -> None:
            self.count += 1

    chan = Hears()
    a, b = node(1), node(2, chan=chan)
    link = connect(a, b)
    a.manager.send_message(identity(2), Note(payload=b""), UnknownMessage(43003, b""), Ping())
    link.run()
    assert chan.count == 4


def test_ignoring_handler_fits_three_places() -> None:
    ignoring = IgnoringMessageHandler()
    handlers = MessageHandler(ChannelMessageHandler(), ignoring, ignoring, ignoring)
    assert len(handlers.all) == 2
    a = node(1, route=ignoring, onion=ignoring, custom=ignoring)
    b = node(2)
    link = connect(a, b)
    b.manager.send_message(identity(1), Note(payload=b""))
    link.run()
    assert not link.at_a.ended
