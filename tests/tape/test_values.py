"""What handlers answer, as a tape has it: whatever it is, the tape changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import MESSAGES, Note, identity, make_manager
from tests.support.tapes import kinds, played, said
from triolight import (
    ChannelMessageHandler,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    HandleError,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    PeerHandleError,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    Tape,
    open_peer_nursery,
)
from triolight.actions import GossipWaits
from triolight.messages import (
    ChannelReady,
    Error,
    Init,
    Message,
    OnionMessage,
    Ping,
    Pong,
    UnknownMessage,
    Warning,
    message,
)
from triolight.tape.tape import Kind
from triolight.tape.values import action_from_json, form_of
from triolight.testing import ScriptedPeer, ScriptFailed, run_seeded, scripted_peer


class Odd(ChannelMessageHandler, RoutingMessageHandler):
    """Its answer to a channel_ready, and the events that it then has, in whatever form."""

    def __init__(self, answer: Any, events: Callable[[bytes], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.events = events
        self.due: Any = ()

    def handle_channel_ready(self, node_id: bytes, message: ChannelReady) -> Any:
        self.due = self.events(node_id)
        return self.answer

    def get_and_clear_pending_msg_events(self) -> Any:
        due, self.due = self.due, ()
        return due


async def received(peer: ScriptedPeer) -> Any:
    """None also for what is no message."""
    with suppress(ScriptFailed):
        return await peer.receive()
    return None


async def odd_life(odd: Odd, tape: Tape | None) -> tuple[list[bytes], str]:
    """What a peer hears of a node with this handler, and what leaves the node's block."""
    heard: list[bytes] = []
    raised = ""
    try:
        async with (
            open_peer_nursery(make_manager(1, chan=odd, route=odd), tape=tape) as peers,
            scripted_peer(peers, messages=MESSAGES) as peer,
        ):
            heard.append((await peer.exchange_inits()).encode())
            ready = ChannelReady(channel_id=bytes(32), second_per_commitment_point=identity(1))
            await peer.send(ready, Ping(num_pong_bytes=3))
            while (one := await received(peer)) is not None:
                heard.append(one.encode())
                if one == Pong(ignored=bytes(3)):
                    break
    except* (AttributeError, TypeError, RuntimeError, LookupError) as group:
        raised = repr(group.exceptions)
    return heard, raised


def note(node_id: Any, payload: Any = b"an event") -> SendMessages:
    return SendMessages(node_id, Note(payload=payload))


def until_it_breaks(node_id: bytes) -> Iterator[SendMessages]:
    yield note(node_id)
    raise RuntimeError("an iterator with a bug")


def unchecked(cls: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return cls(*arguments, **named)


class NeitherTrueNorFalse:
    def __bool__(self) -> bool:
        raise TypeError("it depends")


class Refusal(DisconnectPeer):
    """Of an application's own kind."""


class Duck:
    """What the manager asks of a message, and no message."""

    data = b"quack"

    def encode(self) -> bytes:
        return Error(data=b"quack, quack").encode()


class Empty(Duck):
    def __bool__(self) -> bool:
        return False


class Many(list[Any]):
    """Of an application's own kind."""


class FullWhenEmpty(list[Any]):
    def __bool__(self) -> bool:
        return True


class Unsure(Error):
    def encode(self) -> bytes:
        raise LookupError("which one?")


@message(40001)
class Fussy(Message):
    """Of an application's own, with a bug."""

    def encode(self) -> bytes:
        raise LookupError("which one?")


ODD_FIELDS = [
    *(
        unchecked(DisconnectPeer, one)
        for one in (
            [Error(data=b"in a list")],
            [],
            (),
            (Error(data=b"in a tuple"),),
            Many([1]),
            Many(),
            FullWhenEmpty(),
            [[[[[[1]]]]]],
            {1},
            frozenset({b"x"}),
            {},
            {"data": b"x"},
            "",
            "an error",
            b"",
            b"an error",
            bytearray(b"an error"),
            memoryview(b"an error"),
            0,
            5,
            1 << 20_000,
            0.5,
            float("nan"),
            True,
            False,
            Duck(),
            Empty(),
            NeitherTrueNorFalse(),
            Pong(ignored=b"x"),
            UnknownMessage(17, bytes(34)),
            iter([1, 2]),
            Unsure(data=b"hm"),
            Warning(data=b"a warning in an error's place"),
        )
    ),
    *(
        unchecked(action, unchecked(cls, data=data))
        for action, cls in ((DisconnectPeer, Error), (DisconnectPeerWithWarning, Warning), (SendErrorMessage, Error))
        for data in (bytearray(b"abc"), memoryview(b"abc"), "abc", ["a", "b"], [1], (), None, bytes(70_000))
    ),
    unchecked(DisconnectPeer, unchecked(Error, data=b"x", channel_id=[1])),
    unchecked(DisconnectPeer, unchecked(Error, data="x", channel_id=bytearray(32))),
    *(
        unchecked(DisconnectPeer, reason=one)
        for one in (
            ["a", "b"],
            ("a", "b"),
            ["ab", "c"],
            [1],
            [],
            None,
            b"\xff",
            bytearray(b"abc"),
            memoryview(b"abc"),
            {"a"},
        )
    ),
    unchecked(DisconnectPeerWithWarning, [Warning(data=b"in a list")]),
    unchecked(DisconnectPeerWithWarning, None),
    unchecked(DisconnectPeerWithWarning, Duck()),
    unchecked(SendErrorMessage, [Error(data=b"in a list")]),
    unchecked(SendErrorMessage, Duck()),
    unchecked(SendErrorMessage, None),
    *(unchecked(SendWarningMessage, Warning(data=b"hm"), one) for one in (30.5, "WARN", float("nan"), None, [30])),
    *(unchecked(IgnoreAndLog, one, "hm") for one in (30.5, "WARN", True, [30])),
    *(unchecked(IgnoreError, one) for one in (["a"], bytearray(b"a"), 5, None)),
]
"""Actions whose fields are not what their types say."""


def name_of(answer: object) -> str:
    return type(answer).__name__


@pytest.mark.parametrize("answer", ODD_FIELDS, ids=name_of)
@pytest.mark.parametrize("by", ["answer", "event", "refusal"])
def test_an_action_with_odd_fields_is_played_back_as_it_was(by: str, answer: Any, tmp_path: Path) -> None:
    """Whatever came of it, an end, words or an exception, comes of it again."""

    def odd() -> Odd:
        match by:
            case "answer":
                return Odd(answer, lambda node_id: ())
            case "event":
                return Odd(None, lambda node_id: [HandleError(node_id, answer), note(node_id)])
            case _:
                return Refusing(answer)

    path = tmp_path / "tape"
    without = run_seeded(0, odd_life, odd(), None)
    heard, raised = run_seeded(0, odd_life, odd(), Tape(path))
    assert (heard, raised) == without
    sent = said(played(path), "sent")
    assert sent[: len(heard)] == heard
    # What it did then, the manager has to do now without being told of it.
    crashed = "HANDLER_CRASHED" in path.read_text()
    assert crashed is bool(raised)


class Refusing(Odd):
    def __init__(self, answer: Any) -> None:
        super().__init__(None, lambda node_id: ())
        self.refusal = answer

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> Any:
        return self.refusal


@pytest.mark.parametrize("given", [list, tuple, iter, set])
def test_nodes_that_gossip_waits_for_in_any_iterable(given: Any, tmp_path: Path) -> None:
    class Gossip(Odd):
        asked = 0

        def next_gossip(self, node_id: bytes, room: int) -> Any:
            self.asked += 1
            return [Note(payload=b"gossip").encode()] if self.asked == 1 else []

    path = tmp_path / "tape"
    events: Any = lambda node_id: [GossipWaits(given([node_id])), note(node_id)]  # noqa: E731
    without = run_seeded(0, odd_life, Gossip(None, events), None)
    heard, raised = run_seeded(0, odd_life, Gossip(None, events), Tape(path))
    assert (heard, raised) == without
    assert said(played(path), "sent")[: len(heard)] == heard


def test_what_was_dropped_for_what_waited_is_dropped_again(tmp_path: Path) -> None:
    sealed = OnionMessage(path_key=identity(1), onion_message_packet=b"packet")
    events: Any = lambda node_id: [note(node_id), *[SendMessages(node_id, sealed, most_waiting=0)] * 3, note(node_id)]  # noqa: E731
    path = tmp_path / "tape"
    heard, raised = run_seeded(0, odd_life, Odd(None, events), Tape(path))
    assert not raised
    assert heard.count(sealed.encode()) < 3
    assert said(played(path), "sent")[: len(heard)] == heard


def test_a_message_with_a_bug_is_one_again(tmp_path: Path) -> None:
    path = tmp_path / "tape"
    odd = Odd(None, lambda node_id: [SendMessages(node_id, Fussy())])
    _, raised = run_seeded(0, odd_life, odd, Tape(path))
    assert "which one?" in raised
    played(path)


def test_who_is_neither_protected_nor_not(tmp_path: Path) -> None:
    class Torn(Odd):
        def protects(self, node_id: bytes) -> Any:
            return NeitherTrueNorFalse()

    path = tmp_path / "tape"
    _, raised = run_seeded(0, odd_life, Torn(None, lambda node_id: ()), Tape(path))
    assert "it depends" in raised
    played(path)


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        (
            {"action": "DisconnectPeer", "message": None, "reason": "\u00ff bytes"},
            DisconnectPeer(reason="\u00ff bytes"),
        ),
        (
            {"action": "SendErrorMessage", "message": Error(data=b"x").encode().hex()},
            SendErrorMessage(Error(data=b"x")),
        ),
    ],
)
def test_what_the_first_tapes_say(told: Any, answer: Any) -> None:
    assert action_from_json(told) == answer


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        *((answer, lambda node_id: ()) for answer in (0, 1, "yes", b"", [], object(), Error(data=b"no action"))),
        (NeitherTrueNorFalse(), lambda node_id: ()),
        (Refusal(reason="one of its own"), lambda node_id: ()),
        (unchecked(DisconnectPeer, reason=b"\xff bytes"), lambda node_id: ()),
        (unchecked(DisconnectPeer, reason=5), lambda node_id: ()),
        (unchecked(DisconnectPeer, Ping()), lambda node_id: ()),
        (unchecked(SendErrorMessage, b"no message"), lambda node_id: ()),
        (unchecked(SendWarningMessage, Warning(data=b"hm"), 7), lambda node_id: ()),
        (None, lambda node_id: iter([note(node_id), note(node_id, b"another")])),
        (None, lambda node_id: (note(node_id, payload) for payload in (b"one", b"two"))),
        (None, until_it_breaks),
        (None, lambda node_id: None),
        (None, lambda node_id: [note(node_id), 5]),
        (None, lambda node_id: [note("somebody"), note(node_id)]),
        (None, lambda node_id: [note(bytearray(node_id))]),
        (None, lambda node_id: [note(node_id, 5)]),
        (None, lambda node_id: [unchecked(SendMessages, node_id, 5)]),
        (None, lambda node_id: [unchecked(HandleError, node_id, 5), note(node_id)]),
    ],
)
@kinds
def test_a_tape_changes_nothing_for_an_odd_handler(kind: Kind, answer: Any, events: Any, tmp_path: Path) -> None:
    path = tmp_path / "tape"
    without = run_seeded(0, odd_life, Odd(answer, events), None)
    heard, raised = run_seeded(0, odd_life, Odd(answer, events), Tape(path, kind=kind))
    assert (heard, raised) == without
    sent = said(played(path), "sent")
    assert sent[: len(heard)] == heard


@kinds
async def test_a_call_that_no_tape_can_hold_gets_the_managers_own_answer(
    kind: Kind, tmp_path: Path, autojump_clock: Any
) -> None:
    path = tmp_path / "tape"
    manager: Any = make_manager(1)
    async with open_peer_nursery(manager, tape=Tape(path, kind=kind)) as peers, scripted_peer(peers) as peer:
        await peer.exchange_inits()
        await peer.send(Ping(num_pong_bytes=1))
        await peer.expect(Pong)
        node_id = peer.node_id
        with pytest.raises(PeerHandleError):
            manager.send_message("somebody", Note(payload=b""))
        with pytest.raises(ValueError, match="70002"):
            manager.send_message(node_id, Note(payload=bytes(70_000)))
        with pytest.raises(AttributeError, match="encode"):
            manager.send_message(node_id, 5)
        with pytest.raises(TypeError, match="disconnect_by_node_id"):
            manager.disconnect_by_node_id()
        with pytest.raises(TypeError, match="subscriptable"):
            manager.disconnect_by_node_id(node_id, 5)
        manager.disconnect_by_node_id("somebody", object())
        manager.disconnect_by_node_id(node_id, b"\xff bytes")
        await peer.expect_closed("xff bytes")
    (ended,) = [one.words for one in played(path) if one.what == "ended"]
    assert "xff bytes" in ended


@kinds
def test_a_tape_on_which_a_manager_let_any_answer_pass_is_played_back_as_it_was(kind: Kind, tmp_path: Path) -> None:
    """As managers once did. One that is recorded now has what was raised instead."""
    path = tmp_path / "tape"
    unusual = Odd(IgnoreDuplicateGossip(), lambda node_id: [HandleError(node_id, IgnoreDuplicateGossip())])
    run_seeded(0, odd_life, unusual, Tape(path, kind=kind))
    was = played(path)
    text = path.read_text()
    assert text.count('{"action":"IgnoreDuplicateGossip"}') == 2
    for told in ('{"untold":"int","true":false}', '{"untold":"str","true":true}', "true"):
        path.write_text(text.replace('{"action":"IgnoreDuplicateGossip"}', told))
        assert [one for one in played(path) if one.what != "answer"] == [one for one in was if one.what != "answer"]


@pytest.mark.parametrize("answer", [0, 1, "", "yes", [], object(), None, True, False])
def test_what_protects_has_said_is_as_true_as_it_was(answer: Any) -> None:
    form = form_of("protects")
    assert bool(form.from_json(form.to_json(answer))) == bool(answer)
