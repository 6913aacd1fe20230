"""A handler's mistakes are heard, in its name: answers that are none, and methods that nobody would call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, Note, identity, make_manager
from tests.support.messages import OURS, commitment, start
from triolight import (
    BaseMessageHandler,
    ChannelMessageHandler,
    CustomMessageHandler,
    ErroringMessageHandler,
    Features,
    HandleError,
    IgnoreError,
    IgnoringMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    PeerManager,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    Tape,
    UpdateHtlcs,
    open_peer_nursery,
)
from triolight.actions import GossipWaits
from triolight.manager.mistakes import check_methods, checked
from triolight.messages import (
    BOLT,
    Error,
    Init,
    Message,
    OnionMessage,
    Ping,
    QueryChannelRange,
    Stfu,
)
from triolight.testing import MemoryNode, Wire, scripted_peer

ACTIONS = "None or an action (DisconnectPeer, DisconnectPeerWithWarning, IgnoreError, "
BASES: dict[str, type[BaseMessageHandler]] = {
    "chan": ChannelMessageHandler,
    "route": RoutingMessageHandler,
    "onion": OnionMessageHandler,
    "custom": CustomMessageHandler,
}


def handler(place: str, **methods: Callable[..., Any]) -> Any:
    """One of a class that is called Wrong, for this place."""
    return type("Wrong", (BASES[place],), methods)()


def gives(answer: Any) -> Callable[..., Any]:
    return lambda self, *arguments: answer


async def coroutine(self: Any, *arguments: Any) -> None:
    raise AssertionError("nobody awaits it")


STFU = Stfu(channel_id=OURS, initiator=1)
QUERY = QueryChannelRange(chain_hash=bytes(32), first_blocknum=0, number_of_blocks=1)
ONION = OnionMessage(path_key=identity(3), onion_message_packet=bytes(10))
WORDS = Error(channel_id=OURS, data=b"of a channel")


@pytest.mark.parametrize(
    ("place", "method", "answer", "said", "words"),
    [
        ("chan", "handle_stfu", STFU, [STFU], f"gave a Stfu; it gives {ACTIONS}"),
        ("chan", "handle_stfu", STFU, [STFU], "by an action or an event: push(SendMessages(node_id, message))."),
        ("chan", "handle_stfu", SendMessages(identity(1), STFU), [STFU], "An event is given to `push`."),
        ("chan", "handle_stfu", False, [STFU], f"gave a bool; it gives {ACTIONS}"),
        ("chan", "handle_stfu", 0, [STFU], f"gave an int; it gives {ACTIONS}"),
        ("chan", "handle_stfu", [IgnoreError()], [STFU], f"gave a list; it gives {ACTIONS}"),
        ("chan", "handle_stfu", IgnoreError, [STFU], f"gave a type; it gives {ACTIONS}"),
        ("chan", "unhandled", "words", [STFU], f"gave a str; it gives {ACTIONS}"),
        ("chan", "handle_commitment_signed_batch", STFU, [start(2), commitment(1), commitment(2)], "gave a Stfu"),
        ("chan", "handle_error", IgnoreError(), [WORDS], "gave an IgnoreError; it gives nothing"),
        ("chan", "message_received", True, [Ping()], "gave a bool; it gives nothing"),
        (
            "chan",
            "peer_connected",
            Error(data=b"not you"),
            [],
            "gave an Error; it gives True, False, None or an action",
        ),
        ("custom", "peer_connected", 0, [], "gave an int; it gives True, False, None or an action"),
        ("chan", "peer_disconnected", IgnoreError(), [Error(data=b"bye")], "gave an IgnoreError; it gives nothing"),
        ("route", "handle_query_channel_range", QUERY, [QUERY], "gave a QueryChannelRange"),
        ("route", "provided_init_features", None, [], "gave None; it gives Features"),
        ("route", "provided_init_features", {9}, [], "gave a set; it gives Features"),
        ("route", "get_and_clear_pending_msg_events", None, [], "gave None, which is not iterable; it gives events"),
        ("route", "get_and_clear_pending_msg_events", [STFU], [], "gave a Stfu, which is no event; it gives events"),
        ("route", "get_and_clear_pending_msg_events", SendMessages(identity(1)), [], "which is not iterable"),
        ("onion", "handle_onion_message", ONION, [ONION], "gave an OnionMessage"),
        ("custom", "handle_custom_message", Note(payload=b""), [Note(payload=b"")], "gave a Note"),
    ],
)
def test_an_answer_that_is_none_is_raised_in_the_name_of_who_gave_it(
    place: str, method: str, answer: Any, said: list[Message], words: str
) -> None:
    near = MemoryNode(make_manager(1))
    wrong = handler(place, **{method: gives(answer)})

    def live() -> None:
        wire = Wire(near, MemoryNode(make_manager(2, **{place: wrong}))).connect()
        near.manager.send_message(identity(2), *said)
        wire.run()

    with pytest.raises(TypeError) as raised:
        live()
    assert str(raised.value).startswith(f"Wrong.{method if method != 'unhandled' else 'handle_stfu'} gave ")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("place", "method", "said"),
    [
        ("chan", "handle_stfu", [STFU]),
        ("chan", "handle_commitment_signed_batch", [start(2), commitment(1), commitment(2)]),
        ("chan", "handle_error", [WORDS]),
        ("chan", "message_received", [Ping()]),
        ("chan", "protects", []),
        ("chan", "peer_connected", []),
        ("chan", "peer_disconnected", [Error(data=b"bye")]),
        ("chan", "provided_init_features", []),
        ("route", "get_and_clear_pending_msg_events", []),
        ("route", "next_gossip", []),
        ("onion", "handle_onion_message", [ONION]),
        ("custom", "handle_custom_message", [Note(payload=b"")]),
    ],
)
@pytest.mark.parametrize("taped", [False, True])
async def test_a_coroutine_function_is_no_handlers_method(
    taped: bool, place: str, method: str, said: list[Message], tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """As an exception of it: everybody hears goodbye, and it leaves the block. No warning of Python's beside it."""

    def wakes(self: Any, node_id: bytes, init: Init, inbound: bool) -> None:
        self.wake([node_id])

    wrong = handler(place, **{method: coroutine}, **({"peer_connected": wakes} if method == "next_gossip" else {}))
    tape = Tape(tmp_path / "tape") if taped else None
    with pytest.raises(ExceptionGroup) as raised:
        async with (
            open_peer_nursery(make_manager(2, **{place: wrong}), tape=tape) as peers,
            scripted_peer(peers, messages=MESSAGES) as peer,
        ):
            await peer.exchange_inits()
            for one in said:
                await peer.send(one)
            await trio.sleep_forever()
    (error,) = raised.value.exceptions
    assert isinstance(error, TypeError)
    assert str(error).startswith(f"Wrong.{method} gave a coroutine")
    assert str(error).endswith("A handler never waits: its methods are `def`, not `async def`.")


async def test_after_a_mistake_no_handler_is_asked_again_and_goodbyes_go_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked: list[Message] = []

    def wrong(self: Any, node_id: bytes, message: Message) -> Any:
        asked.append(message)
        return SendMessages(node_id, message)

    with pytest.raises(ExceptionGroup) as raised:
        async with (
            open_peer_nursery(make_manager(2, custom=handler("custom", handle_custom_message=wrong))) as peers,
            scripted_peer(peers, messages=MESSAGES) as peer,
        ):
            await peer.exchange_inits()
            await peer.send(Note(payload=b"1"), Note(payload=b"2"))
            await peer.expect_closed("internal error")
    assert raised.group_contains(TypeError, match=r"Wrong\.handle_custom_message gave a SendMessages")
    assert asked == [Note(payload=b"1")]


def test_answers_that_are_right() -> None:
    one = ChannelMessageHandler()
    action = SendErrorMessage(Error(data=b""))

    class Own(IgnoreError):
        """Of an application's own kind."""

    right: dict[str, tuple[Any, ...]] = {
        "handle_stfu": (None, True, action, Own()),
        "handle_custom_message": (None, action),
        "peer_connected": (None, True, False, action),
        "provided_node_features": (Features(),),
        "protects": (True, False, None, 1),
        "get_and_clear_pending_msg_events": ((), [], iter(())),
    }
    for method, answers in right.items():
        for answer in answers:
            assert checked(answer, one, method) is answer
    b = MemoryNode(make_manager(2, custom=handler("custom", handle_custom_message=gives(True))))
    a = MemoryNode(make_manager(1))
    wire = Wire(a, b).connect()
    a.manager.send_message(identity(2), Note(payload=b""))
    wire.run()
    assert not b.ended


def test_features_of_our_announcement_are_asked_for_alike() -> None:
    manager = make_manager(1, route=handler("route", provided_node_features=gives(None)))
    with pytest.raises(TypeError, match=r"^Wrong\.provided_node_features gave None; it gives Features"):
        manager.broadcast_node_announcement(b"\1\2\3", b"alias")


def test_what_is_no_event_is_not_pushed() -> None:
    custom = CustomMessageHandler()
    wrong: Any
    for wrong in (Note(payload=b""), IgnoreError(), None, SendMessages):
        with pytest.raises(TypeError, match=r"^CustomMessageHandler\.push takes events, not "):
            custom.push(wrong)
    with pytest.raises(TypeError, match="a node id is 33 bytes, not int"):
        RoutingMessageHandler().wake(identity(1))  # type: ignore[arg-type]
    for make in (
        lambda node_id: SendMessages(node_id, Note(payload=b"")),
        lambda node_id: HandleError(node_id, IgnoreError()),
        lambda node_id: UpdateHtlcs(node_id=node_id, channel_id=OURS),
        lambda node_id: GossipWaits((node_id,)),
    ):
        with pytest.raises(TypeError, match="a node id is 33 bytes, not str"):
            make(identity(1).hex())
    wrong = "text has an encode too"
    with pytest.raises(TypeError, match="messages are sent, not str"):
        SendMessages(identity(1), wrong)
    with pytest.raises(TypeError, match="HandleError is given an action, not NoneType"):
        HandleError(identity(1), None)  # type: ignore[arg-type]
    assert custom.get_and_clear_pending_msg_events() == ()


# Methods that nobody calls.


def manager_with(**places: Any) -> PeerManager:
    return make_manager(1, **places)


@pytest.mark.parametrize(
    ("place", "method", "words"),
    [
        ("chan", "handle_chanel_ready", r"there is no such message; did you mean handle_channel_ready\?"),
        ("chan", "handle_tx_abrot", r"did you mean handle_tx_abort\?"),
        ("chan", "handle_commitment_signed_batches", r"did you mean handle_commitment_signed_batch\?"),
        ("route", "handle_node_anouncement", r"did you mean handle_node_announcement\?"),
        ("onion", "handle_onion", r"did you mean handle_onion_message\?"),
        ("custom", "handle_custom_mesage", r"did you mean handle_custom_message\?"),
        ("custom", "handle_wxyz", "there is no such message; give a method of your own another name"),
        ("chan", "handle_query_channel_range", "it is a method of route_handler, and this handler is chan_handler"),
        ("route", "handle_channel_ready", "it is a method of chan_handler, and this handler is route_handler"),
        ("route", "handle_custom_message", "it is a method of custom_handler, and this handler is route_handler"),
        ("onion", "handle_channel_update", "of chan_handler and route_handler, and this handler is onion_handler"),
        ("chan", "handle_ping", "the manager answers to ping itself"),
    ],
)
def test_a_method_that_nobody_would_call_is_no_managers(place: str, method: str, words: str) -> None:
    with pytest.raises(TypeError, match=rf"^Wrong\.{method} is never called: .*{words}$"):
        manager_with(**{place: handler(place, **{method: gives(None)})})


def test_a_method_of_an_object_alone_is_looked_at_too() -> None:
    chan: Any = ChannelMessageHandler()
    chan.handle_channel_reddy = lambda node_id, message: None
    with pytest.raises(TypeError, match=r"^ChannelMessageHandler\.handle_channel_reddy .*handle_channel_ready"):
        manager_with(chan=chan)


def test_methods_that_are_somebodys() -> None:
    class Both(ChannelMessageHandler, RoutingMessageHandler):
        """For two places; it may stand in one of them."""

        handle_seconds = 5.0
        """No method."""

        def handle_query_channel_range(self, node_id: bytes, message: Any) -> None:
            pass

    class ByName(CustomMessageHandler):
        """Passes what it gets on by its name."""

        def handle_custom_message(self, node_id: bytes, message: Message) -> Any:
            return getattr(self, f"handle_{message.name}")(node_id, message)

        def handle_note(self, node_id: bytes, message: Message) -> None:
            pass

    both = Both()
    manager_with(chan=both)
    manager_with(chan=both, route=both)
    manager_with(chan=ErroringMessageHandler(), route=IgnoringMessageHandler(), custom=ByName())
    with pytest.raises(TypeError, match=r"^ByName\.handle_note is never called"):
        # Of a registry without that message it is a misspelling.
        check_methods(MessageHandler(both, both, custom_handler=ByName()), BOLT)
