"""Tapes that several tests make and play. No test here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import MESSAGES, Note, Order, identity, make_manager
from triolight import (
    ChannelMessageHandler,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    Features,
    HandleError,
    Happening,
    IgnoreAndLog,
    Level,
    PeerManager,
    Replay,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    Tape,
    UpdateHtlcs,
    open_peer_nursery,
)
from triolight.messages import (
    CommitmentSigned,
    Error,
    OpenChannel,
    Ping,
    Pong,
    UnknownMessage,
    UpdateAddHtlc,
    Warning,
)
from triolight.tape.tape import Kind
from triolight.testing import run_seeded, scripted_peer

KINDS: tuple[Kind, ...] = ("messages", "with_secrets")
kinds = pytest.mark.parametrize("kind", KINDS)


def played(path: Path, **options: Any) -> list[Happening]:
    return list(Replay(path, messages=MESSAGES, **options))


def said(happenings: list[Happening], what: str) -> list[bytes]:
    return [one.message for one in happenings if one.what == what]


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
                self.push(
                    UpdateHtlcs(node_id=node_id, channel_id=channel_id, adds=(add,), commitment_signed=(message,))
                )
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


# What is wrong with a tape
def record(path: Path) -> None:
    """A tape of a peer that misbehaves: what it sends decodes, or does not, or is of a type that nobody knows."""

    async def main() -> None:
        chan = Talkative()
        manager = chan.manager = make_manager(1, chan=chan)
        async with (
            open_peer_nursery(manager, tape=Tape(path)) as peers,
            scripted_peer(peers, messages=MESSAGES) as peer,
        ):
            await peer.exchange_inits()
            await peer.send(commitment(0), commitment(2), commitment(4))
            await peer.send_raw(b"\1\0")  # no channel_announcement
            await peer.send(Ping(num_pong_bytes=3))
            while await peer.receive() != Pong(ignored=bytes(3)):
                pass
            await peer.send(Order(payload=b"x"), UnknownMessage(40000, b""))
            await peer.expect_closed("40000")

    run_seeded(0, main)
