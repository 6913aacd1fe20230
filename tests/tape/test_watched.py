"""What stands between a manager and its noise: only the full kind has the wire and the secrets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import Note, identity, make_manager, secret
from tests.support.tapes import kinds, played, said
from triolight import (
    ConnectError,
    Tape,
    open_peer_nursery,
)
from triolight.tape.tape import Kind
from triolight.testing import SimulatedNetwork


def outs(path: Path) -> bytes:
    records = (json.loads(line) for line in path.read_text().splitlines())
    return b"".join(bytes.fromhex(one["data"]) for one in records if "out" in one)


@kinds
@pytest.mark.parametrize("dials", [True, False])
async def test_only_the_full_kind_has_the_wire_and_the_secrets(
    kind: Kind, dials: bool, tmp_path: Path, autojump_clock: Any
) -> None:
    path = tmp_path / "tape"
    written: list[bytes] = []
    network = SimulatedNetwork(1, on_sent=lambda sent: written.append(sent.data) if sent.source[0] == "us" else None)
    ours, theirs = network.stream_pair(network.host("us"), network.host("them"))
    manager = make_manager(1)
    # What was dialled before the tape began has used up a key.
    async with open_peer_nursery(manager, dial=network.host("us").dial) as peers:
        with pytest.raises(ConnectError):
            await peers.connect(f"{identity(3).hex()}@them:9")
        await trio.sleep(1)
    async with (
        open_peer_nursery(manager, tape=Tape(path, kind=kind)) as near,
        open_peer_nursery(make_manager(2)) as far,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(near.attach, ours, identity(2) if dials else None)
        peer = await far.attach(theirs, None if dials else identity(1))
        await peer.send(Note(payload=b"something private"))
        assert await peer.ping(40_000) > 0
        await peer.disconnect()
    happenings = played(path)
    assert Note(payload=b"something private").encode() in said(happenings, "received")
    content = path.read_text()
    wire = b"".join(written)
    random_data = hashlib.sha256(b"ephemeral\1").digest()
    ephemeral = [hashlib.sha256(random_data + bytes([count]) + bytes(7)).digest() for count in range(3)]
    held = [one.hex() in content for one in (secret(1), random_data)]
    assert held == [kind == "with_secrets"] * 2
    assert not any(one.hex() in content for one in ephemeral)
    if kind == "with_secrets":
        assert outs(path) == wire
        assert len(wire) > 40_000
    else:
        assert not any(wire[at : at + 16].hex() in content for at in range(0, len(wire) - 16, 50))
