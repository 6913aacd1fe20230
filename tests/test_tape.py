"""Tapes: whatever happened to a manager happens again, to the message or to the byte; and who changes it hears of it."""

from __future__ import annotations

import hashlib
import inspect
import json
import random
import resource
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MESSAGES, ListLogger, Note, Order, identity, join, make_manager, secret
from triolight import (
    Allowance,
    ChannelMessageHandler,
    ConnectError,
    CustomMessageHandler,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    ErroringMessageHandler,
    Features,
    HandleError,
    Happening,
    IgnoreAndLog,
    Level,
    Peer,
    PeerManager,
    Policy,
    Replay,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    Tape,
    TapeError,
    TapeMismatch,
    UpdateHtlcs,
    open_peer_nursery,
)
from triolight.cli import cli
from triolight.messages import (
    ChannelAnnouncement,
    CommitmentSigned,
    Error,
    Init,
    Message,
    OpenChannel,
    Ping,
    QueryChannelRange,
    UnknownMessage,
    UpdateAddHtlc,
    Warning,
)
from triolight.tape import CALLS, Kind
from triolight.testing import Conditions, SimulatedNetwork, derive, run_seeded, scripted_peer, strategies

KINDS: tuple[Kind, ...] = ("messages", "with_secrets")
kinds = pytest.mark.parametrize("kind", KINDS)


def played(path: Path, **options: Any) -> list[Happening]:
    return list(Replay(path, messages=MESSAGES, **options))


def said(happenings: list[Happening], what: str) -> list[bytes]:
    return [one.message for one in happenings if one.what == what]


def test_every_call_that_changes_a_manager_is_on_the_tape() -> None:
    asks = {
        "connection_counts",
        "drive",
        "get_peer_node_ids",
        "list_peers",
        "logger",
        "messages",
        "our_node_id",
        "peer_by_node_id",
        "protects",
        "queued_bytes",
        "release",
        "traffic",
        "unfinished",
        "work_done",
    }
    public = {name for name, _ in inspect.getmembers(PeerManager) if not name.startswith("_")}
    assert public == asks | CALLS


class Talkative(ChannelMessageHandler):
    """Answers in every way there is, and calls the manager from inside."""

    def __init__(self) -> None:
        super().__init__()
        self.manager: PeerManager | None = None
        self.seen = 0

    def provided_init_features(self, node_id: bytes) -> Features:
        return super().provided_init_features(node_id) | Features.named("option_quiesce")

    def message_received(self, node_id: bytes) -> None:
        self.seen += 1

    def handle_open_channel(self, node_id: bytes, message: OpenChannel) -> SendErrorMessage:
        return SendErrorMessage(Error(channel_id=message.temporary_channel_id, data=b"not today"))

    def handle_commitment_signed(self, node_id: bytes, message: CommitmentSigned) -> Any:
        channel_id = message.channel_id
        match message.signature[0]:
            case 0:
                return SendWarningMessage(Warning(data=b"hm"), Level.INFO)
            case 1:
                return IgnoreAndLog(Level.INFO, "nothing of interest")
            case 2:
                self.push(SendMessages(node_id, UnknownMessage(54321, b"pushed"), Note(payload=b"as well")))
            case 3:
                add = UpdateAddHtlc(
                    channel_id=channel_id,
                    id=1,
                    amount_msat=5,
                    payment_hash=bytes(32),
                    cltv_expiry=9,
                    onion_routing_packet=bytes(1366),
                )
                self.push(UpdateHtlcs(node_id=node_id, channel_id=channel_id, adds=(add,), commitment_signed=(message,)))
            case 4:
                if self.manager is not None:
                    self.manager.send_message(node_id, Note(payload=b"from inside"))
                    self.manager.disconnect_by_node_id(identity(9), "nobody")
            case 5:
                self.push(HandleError(node_id, DisconnectPeerWithWarning(Warning(data=b"enough"))))
            case 6:
                return DisconnectPeer()
            case _:
                raise RuntimeError("a handler with a bug")
        return None


def commitment(kind: int) -> CommitmentSigned:
    return CommitmentSigned(channel_id=bytes(32), signature=bytes([kind]) + bytes(63), htlc_signature=())


OPEN = "open_channel"


@kinds
@pytest.mark.parametrize("last", [5, 6, 7])
async def test_what_handlers_answer_is_part_of_it(kind: Kind, last: int, tmp_path: Path, autojump_clock: Any) -> None:
    path = tmp_path / "tape"
    chan = Talkative()
    manager = chan.manager = make_manager(1, chan=chan)
    heard: list[bytes] = []
    with trio.CancelScope():
        try:
            async with open_peer_nursery(manager, tape=Tape(path, kind=kind)) as peers:
                async with scripted_peer(peers, messages=MESSAGES) as peer:
                    await peer.expect(Init)
                    await peer.send(Init())
                    for one in range(last + 1):
                        await peer.send(commitment(one))
                    while True:
                        try:
                            heard.append((await peer.receive()).encode())
                        except trio.EndOfChannel:
                            break
        except* RuntimeError:
            assert last == 7
    happenings = played(path)
    assert [one for one in said(happenings, "sent")][1:] == heard
    assert any(b"pushed" in one for one in heard)
    assert any(b"from inside" in one for one in heard)
    answers = [one.words for one in happenings if one.what == "answer"]
    assert any("SendWarningMessage" in one for one in answers)
    assert any("raised RuntimeError: a handler with a bug" in one for one in answers) == (last == 7)
