"""Given handlers, asked beside a tape's: what differs is told with both answers, and the replay stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import Note, Order, identity, make_manager
from tests.support.tapes import Talkative, commitment, played
from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectPeer,
    ErroringMessageHandler,
    Features,
    HandleError,
    Happening,
    IgnoringMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    Replay,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    Tape,
    open_peer_nursery,
)
from triolight.messages import (
    ChannelReady,
    ChannelUpdate,
    Error,
    GossipTimestampFilter,
    Init,
    Message,
    OnionMessage,
    Ping,
    Pong,
    QueryChannelRange,
    Shutdown,
    Stfu,
)
from triolight.testing import run_seeded, scripted_peer
from triolight.wire import ShortChannelId

CHAIN = bytes.fromhex("6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000")
READY = ChannelReady(channel_id=bytes(32), second_per_commitment_point=identity(1))
SHUTDOWN = Shutdown(channel_id=bytes(32), scriptpubkey=b"x")
STFU = Stfu(channel_id=bytes(32), initiator=1)
UPDATE = ChannelUpdate(
    signature=bytes(64),
    chain_hash=CHAIN,
    short_channel_id=ShortChannelId(1),
    timestamp=1,
    message_flags=1,
    channel_flags=0,
    cltv_expiry_delta=1,
    htlc_minimum_msat=1,
    fee_base_msat=1,
    fee_proportional_millionths=1,
    htlc_maximum_msat=1,
)
SAID = (
    READY,
    STFU,
    GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=1),
    QueryChannelRange(chain_hash=CHAIN, first_blocknum=0, number_of_blocks=1),
    UPDATE,
    OnionMessage(path_key=identity(1), onion_message_packet=bytes(1366)),
    Note(payload=b"x"),
    Order(payload=b"x"),
)
"""For every place of a MessageHandler."""
NAMES = [one.name for one in SAID]
PONG = Pong(ignored=bytes(3))
REFUSED = SendErrorMessage(Error(data=b"no"))


def recorded(path: Path, handlers: MessageHandler, *messages: Message) -> Path:
    """A tape of a node with these handlers, to which a peer says this, and then that all channels have failed."""

    async def main() -> None:
        manager = make_manager(
            1,
            chan=handlers.chan_handler,
            route=handlers.route_handler,
            onion=handlers.onion_handler,
            custom=handlers.custom_handler,
        )
        async with open_peer_nursery(manager, tape=Tape(path)) as peers, scripted_peer(peers) as peer:
            await peer.exchange_inits()
            await peer.send(*messages, Ping(num_pong_bytes=3))
            one = await peer.receive()
            while one is not None and one != PONG:
                one = await peer.receive()
            if one == PONG:
                await peer.send(Error(data=b"all of them"))
                while await peer.receive() is not None:
                    pass

    run_seeded(0, main)
    return path


def differences(path: Path, handlers: MessageHandler) -> list[Happening]:
    """All else is as it is without them."""
    found = played(path, handlers=handlers)
    assert [one for one in found if one.what != "differs"] == played(path)
    return [one for one in found if one.what == "differs"]


def told(path: Path, handlers: MessageHandler) -> list[tuple[str, Any, Any]]:
    return [(one.words.partition(":")[0], one.on_tape, one.given) for one in differences(path, handlers)]


class Chan(ChannelMessageHandler):
    """Answers to some messages, and pushes."""

    def __init__(self, ready: Any = None, shutdown: Any = None, pushes: tuple[bytes, ...] = ()) -> None:
        super().__init__()
        self.ready = ready
        self.closing = shutdown
        self.pushes = pushes
        self.log: list[str] = []

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        self.log.append("connected")

    def peer_disconnected(self, node_id: bytes) -> None:
        self.log.append("disconnected")

    def handle_channel_ready(self, node_id: bytes, message: ChannelReady) -> Any:
        self.log.append("ready")
        for payload in self.pushes:
            self.push(SendMessages(node_id, Note(payload=payload)))
        if isinstance(self.ready, BaseException):
            raise self.ready
        return self.ready

    def handle_shutdown(self, node_id: bytes, message: Shutdown) -> Any:
        self.log.append("shutdown")
        return self.closing


def only(chan: ChannelMessageHandler) -> MessageHandler:
    return MessageHandler(chan, RoutingMessageHandler())


def everywhere(one: Any) -> MessageHandler:
    return MessageHandler(one, one, one, one)


def test_the_same_handlers_answer_the_same(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", only(Chan(ready=REFUSED, pushes=(b"one", b"two"))), READY, SHUTDOWN)
    chan = Chan(ready=REFUSED, pushes=(b"one", b"two"))
    assert differences(path, only(chan)) == []
    assert chan.log == ["connected", "ready", "shutdown", "disconnected"]


def test_what_differs_is_told_with_both_answers_where_it_happens(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", only(Chan(ready=REFUSED)), READY, SHUTDOWN)
    leaves = DisconnectPeer(reason="enough")
    ready, shutdown = differences(path, only(Chan(shutdown=leaves)))
    assert (ready.on_tape, ready.given) == (REFUSED, None)
    assert (shutdown.on_tape, shutdown.given) == (None, leaves)
    assert (ready.message, shutdown.message) == (READY.encode(), SHUTDOWN.encode())
    assert ready.node_id == next(one.node_id for one in played(path) if one.what == "connected")
    assert ready.words.startswith("chan_handler.handle_channel_ready: on the tape SendErrorMessage(")
    assert ready.words.endswith(", given None")
    # In its turn; and the life of the tape goes on: who would have left is still there.
    shown = (READY.encode(), SHUTDOWN.encode(), PONG.encode())
    order = [one.what for one in played(path, handlers=only(Chan(shutdown=leaves))) if one.message in shown]
    assert order == ["received", "differs", "received", "differs", "sent"]


class Bug(Exception):
    pass


ODD: Any = DisconnectPeer


@pytest.mark.parametrize(
    ("on_tape", "given", "words"),
    [
        (None, Bug("of ours"), "on the tape None, given raised Bug: of ours"),
        (None, SystemError("quite"), "given raised SystemError: quite"),
        (None, 5, "given raised TypeError: Chan.handle_channel_ready gave an int"),
        (REFUSED, Bug("of ours"), "given raised Bug: of ours"),
        (Bug("of then"), None, "on the tape raised Bug: of then, given None"),
        (Bug("of then"), Bug("of ours"), "on the tape raised Bug: of then, given raised Bug: of ours"),
        (Bug("the same"), Bug("the same"), None),
        (True, None, "on the tape True, given None"),
        (ODD([1]), ODD([1]), None),
        (ODD([1]), ODD((1,)), "given DisconnectPeer(message=(1,)"),
        (None, ODD(reason=1 << 20_000), "given DisconnectPeer"),
    ],
)
def test_an_exception_is_an_answer(on_tape: Any, given: Any, words: str | None, tmp_path: Path) -> None:
    path = tmp_path / "tape"
    try:
        recorded(path, only(Chan(ready=on_tape)), READY, SHUTDOWN)
    except BaseExceptionGroup:
        assert isinstance(on_tape, Bug | DisconnectPeer)
    found = differences(path, only(Chan(ready=given)))
    assert len(found) == (words is not None)
    for one in found:
        assert words is not None
        assert words in one.words
        assert one.given is given or given == 5


def test_what_ends_programs_ends_a_replay(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", only(Chan()), READY)
    with pytest.raises(KeyboardInterrupt):
        played(path, handlers=only(Chan(ready=KeyboardInterrupt())))


def test_what_is_pushed_is_compared_where_events_are_taken(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", only(Chan(pushes=(b"one", b"two"))), READY)
    ((asked, on_tape, given),) = told(path, only(Chan(pushes=(b"one", b"three"))))
    assert asked == "chan_handler.get_and_clear_pending_msg_events"
    assert [one.node_id for one in on_tape] == [one.node_id for one in given]
    assert [one.messages for one in given] == [(Note(payload=b"one"),), (Note(payload=b"three"),)]
    ((asked, on_tape, given),) = told(path, only(Chan()))
    assert (len(on_tape), given) == (2, [])


def test_an_event_with_an_action(tmp_path: Path) -> None:
    class Ends(Chan):
        def handle_channel_ready(self, node_id: bytes, message: ChannelReady) -> Any:
            self.push(HandleError(node_id, DisconnectPeer(reason="enough")))

    path = recorded(tmp_path / "tape", only(Ends()), READY)
    assert told(path, only(Ends())) == []
    ((_, on_tape, given),) = told(path, only(Chan()))
    assert ([one.action for one in on_tape], given) == ([DisconnectPeer(reason="enough")], [])


def test_every_way_in_which_a_handler_answers(tmp_path: Path) -> None:
    messages = [commitment(number) for number in (0, 1, 2, 3, 5)]
    path = recorded(tmp_path / "tape", only(Talkative()), *messages)
    assert told(path, only(Talkative())) == []
    names = [name.partition(".")[2] for name, _, _ in told(path, only(ChannelMessageHandler()))]
    assert names[0] == "provided_init_features"
    assert names.count("handle_commitment_signed") == 2
    assert "get_and_clear_pending_msg_events" in names


class Everything(ChannelMessageHandler, RoutingMessageHandler, OnionMessageHandler, CustomMessageHandler):
    """Of one's own in every place."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def _hear(self, name: str) -> Any:
        self.heard.append(name)
        return REFUSED

    def message_received(self, node_id: bytes) -> None:
        self.heard.append("life")

    def handle_channel_ready(self, node_id: bytes, message: ChannelReady) -> Any:
        return self._hear(message.name)

    def handle_stfu(self, node_id: bytes, message: Stfu) -> Any:
        return self._hear(message.name)

    def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> Any:
        return self._hear(message.name)

    def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> Any:
        return self._hear(message.name)

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> Any:
        return self._hear(message.name)

    def handle_onion_message(self, node_id: bytes, message: OnionMessage) -> Any:
        return self._hear(message.name)

    def handle_custom_message(self, node_id: bytes, message: Message) -> Any:
        return self._hear(message.name)


class Placeholder(ChannelMessageHandler, RoutingMessageHandler, OnionMessageHandler, CustomMessageHandler):
    pass


def heard_by(handlers: MessageHandler) -> list[str]:
    return [name for one in handlers.all if isinstance(one, Everything) for name in one.heard if name in NAMES]


PLAIN: dict[str, Callable[[], MessageHandler]] = {
    "placeholders": lambda: only(ChannelMessageHandler()),
    "one in all places": lambda: everywhere(Placeholder()),
    "ignoring": lambda: MessageHandler(ChannelMessageHandler(), IgnoringMessageHandler()),
}
MANY: dict[str, Callable[[], MessageHandler]] = {
    "one": lambda: everywhere(Everything()),
    "one each": lambda: MessageHandler(Everything(), Everything(), Everything(), Everything()),
}


@pytest.mark.parametrize("before", PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize("make", MANY.values(), ids=MANY.keys())
def test_given_handlers_may_be_the_first_to_answer(
    before: Callable[[], MessageHandler], make: Callable[[], MessageHandler], tmp_path: Path
) -> None:
    """What the tape's did nothing about they are asked too, and once."""
    path = recorded(tmp_path / "tape", before(), *SAID)
    assert told(path, before()) == []
    handlers = make()
    found = [(name, given) for name, on_tape, given in told(path, handlers) if on_tape is None]
    # A channel_update is for two places.
    twice = [UPDATE.name] if len(handlers.all) > 1 else []
    assert sorted(heard_by(handlers)) == sorted([*NAMES, *twice])
    custom = (Note.name, Order.name)
    asked = {f"handle_{'custom_message' if name in custom else name}" for name in NAMES}
    assert {name.partition(".")[2] for name, _ in found} == asked
    assert [given for _, given in found] == [REFUSED] * len(found)
    chan = handlers.chan_handler
    assert isinstance(chan, Everything)
    # Of each message, the ping and the error too.
    assert chan.heard.count("life") == len(SAID) + 2


@pytest.mark.parametrize("before", MANY.values(), ids=MANY.keys())
@pytest.mark.parametrize("make", MANY.values(), ids=MANY.keys())
def test_handlers_that_stand_in_other_places(
    before: Callable[[], MessageHandler], make: Callable[[], MessageHandler], tmp_path: Path
) -> None:
    path = recorded(tmp_path / "tape", before(), *SAID)
    handlers = make()
    found = [name for name, _, _ in told(path, handlers)]
    assert sorted({*heard_by(handlers)}) == sorted(NAMES)
    # Two have answered an update where there is one now, or the other way round.
    assert {name.partition(".")[2] for name in found} <= {"handle_channel_update", "provided_init_features"}


def test_errors_for_every_message_are_compared_once(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", only(ErroringMessageHandler()), READY, STFU)
    assert told(path, only(ErroringMessageHandler())) == []
    found = told(path, only(ChannelMessageHandler()))
    assert [(name, given) for name, _, given in found] == [
        ("chan_handler.handle_channel_ready", None),
        ("chan_handler.handle_stfu", None),
    ]
    assert all(isinstance(on_tape, SendErrorMessage) for _, on_tape, _ in found)


def test_what_a_common_method_raised_is_what_each_has_raised(tmp_path: Path) -> None:
    class Unhandled(ChannelMessageHandler):
        def unhandled(self, node_id: bytes, message: Message) -> Any:
            raise Bug("of then")

    path = tmp_path / "tape"
    with pytest.raises(BaseExceptionGroup):
        recorded(path, only(Unhandled()), READY, STFU)
    assert told(path, only(Unhandled())) == []
    ((asked, on_tape, given),) = told(path, only(Chan()))
    assert (asked, str(on_tape), given) == ("chan_handler.handle_channel_ready", "Bug: of then", None)


@pytest.mark.parametrize("raises", [False, True])
def test_several_where_one_stood_answer_together(raises: bool, tmp_path: Path) -> None:
    class Offers(RoutingMessageHandler):
        def provided_init_features(self, node_id: bytes) -> Features:
            if raises:
                raise Bug("of ours")
            return Features.named("gossip_queries")

    path = recorded(tmp_path / "tape", everywhere(Placeholder()), READY)
    found = {name: given for name, _, given in told(path, MessageHandler(Chan(pushes=(b"x",)), Offers()))}
    features = found.pop("route_handler.provided_init_features")
    if raises:
        assert isinstance(features, Bug)
    else:
        assert features == ChannelMessageHandler().provided_init_features(b"") | Features.named("gossip_queries")
    events = found.pop("route_handler.get_and_clear_pending_msg_events")
    assert [one.messages for one in events] == [(Note(payload=b"x"),)]
    assert found == {}


def test_features_refusals_and_protection(tmp_path: Path) -> None:
    class Others(Chan):
        def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> Any:
            return False

        def provided_init_features(self, node_id: bytes) -> Features:
            return Features.named("option_quiesce")

    path = recorded(tmp_path / "tape", only(Chan()), READY)
    found = {name: (on_tape, given) for name, on_tape, given in told(path, only(Others()))}
    assert found["chan_handler.peer_connected"] == (None, False)
    before = ChannelMessageHandler().provided_init_features(b"")
    assert found["chan_handler.provided_init_features"] == (before, Features.named("option_quiesce"))
    assert len(found) == 2


def test_a_handler_of_another_manager_wakes_nobody(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", only(Chan()), READY)
    chan = Chan(pushes=(b"x",))
    woken: list[int] = []
    chan.attach(lambda: woken.append(1))
    assert len([one for one in played(path, handlers=only(chan)) if one.what == "differs"]) == 1
    assert woken == []


def test_what_no_manager_would_take_is_refused(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", only(Chan()))
    wrong: Any = Chan()
    with pytest.raises(TypeError, match="handlers are a MessageHandler, not Chan"):
        Replay(path, handlers=wrong)

    class Misspelt(Chan):
        def handle_chanel_ready(self, node_id: bytes, message: ChannelReady) -> None:
            pass

    with pytest.raises(TypeError, match="did you mean handle_channel_ready"):
        Replay(path, handlers=only(Misspelt()))
