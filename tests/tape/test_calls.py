"""Every call that changes a manager: on the tape, and made again."""

from __future__ import annotations

import inspect
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support import MESSAGES, Note, identity, make_manager
from tests.support.tapes import commitment, kinds, played, said
from triolight import (
    ChannelMessageHandler,
    PeerHandleError,
    PeerManager,
    RoutingMessageHandler,
    SendMessages,
    SendWarningMessage,
    Tape,
    open_peer_nursery,
)
from triolight.messages import (
    ChannelReady,
    CommitmentSigned,
    NodeAnnouncement,
    Ping,
    Pong,
    Warning,
)
from triolight.tape.calls import CALLS
from triolight.tape.tape import Kind
from triolight.testing import scripted_peer


def test_every_call_that_changes_a_manager_is_on_the_tape() -> None:
    asks = {
        "broadcast_node_announcement",  # by broadcast_encoded
        "connection_counts",
        "drive",
        "events_dropped",
        "get_peer_node_ids",
        "handlers",
        "held_by_handler",
        "list_peers",
        "logger",
        "messages",
        "our_node_id",
        "over_budget",
        "peer_by_node_id",
        "protects",
        "queued_bytes",
        "release",
        "traffic",
        "unfinished",
        "work_done",
    }
    public = {name for name, _ in inspect.getmembers(PeerManager) if not name.startswith("_")}
    assert public == asks | {*CALLS}


class Insists(ChannelMessageHandler):
    """Calls the manager from inside, in vain, and goes on as if nothing were."""

    manager: PeerManager

    def handle_channel_ready(self, node_id: bytes, message: ChannelReady) -> SendWarningMessage:
        with suppress(PeerHandleError):
            self.manager.send_message(identity(9), Note(payload=b"to nobody"))
        self.manager.send_message(node_id, Note(payload=b"to you"))
        return SendWarningMessage(Warning(data=b"hm"))


@kinds
async def test_a_call_from_inside_that_fails_is_over_when_it_has(
    kind: Kind, tmp_path: Path, autojump_clock: Any
) -> None:
    """What is asked and called after it belongs to who made it, not to it."""
    chan = Insists()
    manager = chan.manager = make_manager(1, chan=chan)
    tape = Tape(tmp_path / "tape", kind=kind)
    async with open_peer_nursery(manager, tape=tape) as peers, scripted_peer(peers, messages=MESSAGES) as peer:
        await peer.exchange_inits()
        await peer.send(ChannelReady(channel_id=bytes(32), second_per_commitment_point=identity(1)), Ping())
        heard = [await peer.expect(Note), await peer.expect(Warning)]
    sent = said(played(tape.path), "sent")
    assert [one for one in sent if one[:2] in (b"\0\1", Note.type.to_bytes(2, "big"))][:2] == [
        one.encode() for one in heard
    ]


class Both(ChannelMessageHandler, RoutingMessageHandler):
    """One object in two places. It broadcasts from inside, or pushes a message that fits and one that no wire takes."""

    def __init__(self) -> None:
        super().__init__()
        self.manager: PeerManager | None = None

    def handle_commitment_signed(self, node_id: bytes, message: CommitmentSigned) -> None:
        if self.manager is not None and message.signature[0] == 1:
            self.manager.broadcast_node_announcement(b"\1\2\3", b"from inside")
        else:
            self.push(SendMessages(node_id, Note(payload=b"fits"), Note(payload=bytes(70_000))))


@kinds
async def test_what_an_application_does_is_part_of_it(kind: Kind, tmp_path: Path, autojump_clock: Any) -> None:
    path = tmp_path / "tape"
    both = Both()
    manager = both.manager = make_manager(1, chan=both, route=both)
    tape = Tape(path, kind=kind)
    assert repr(tape) == f"<Tape {path}, {kind}>"
    async with open_peer_nursery(manager, tape=tape) as peers, scripted_peer(peers, messages=MESSAGES) as peer:
        peer.ignoring = (Ping,)
        await peer.exchange_inits()
        await peer.send(Ping(num_pong_bytes=1))
        await peer.expect(Pong)
        announced = manager.broadcast_node_announcement(b"\0\0\0", b"alias", [("192.0.2.1", 9735)])
        await peer.expect(announced)
        manager.send_message(peer.node_id, Note(payload=b"queued"))
        await peer.expect(Note(payload=b"queued"))
        await peer.send(commitment(1))
        inside = await peer.expect(NodeAnnouncement)
        await peer.send(commitment(0))
        assert (await peer.expect_closed("70002"))[:-1] == []
    happenings = played(path)
    sent = said(happenings, "sent")
    assert [one for one in sent if one[:2] == announced.encode()[:2]] == [announced.encode(), inside.encode()]
    assert Note(payload=b"queued").encode() in sent
    assert not any(b"fits" in one for one in sent)
    calls = [one.words for one in happenings if one.what == "call"]
    assert calls[:3] == ["broadcast_encoded", "send_message: 1", "broadcast_encoded"]
