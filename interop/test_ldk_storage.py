"""Peer storage against LDK's own ChannelManager: what it stores and for whom, and what it gives back.

The program has a funded channel with a node whose secret it tells, so that we are that node. Nothing of the channel is
answered: LDK waits.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from interop.conftest import native_program
from interop.programs import open_program
from triolight import NodeAddress, NullLogger, Peer, PeerNursery, open_peers
from triolight.messages import Warning
from triolight.services import PeerStorage, ReturnedInbox, open_storage_store
from triolight.storage import Returned, StorageState

pytestmark = pytest.mark.node("LDK native")


@asynccontextmanager
async def open_ldk() -> AsyncGenerator[tuple[NodeAddress, bytes]]:
    """Where it is, and the secret of the node that it has a channel with."""
    async with open_program(native_program("ldk-storage")) as (_, said):
        address = NodeAddress(bytes.fromhex(said["node_id"]), "127.0.0.1", said["port"])
        yield address, bytes.fromhex(said["secret"])


@asynccontextmanager
async def open_ours(secret: bytes, path: Path) -> AsyncGenerator[tuple[PeerStorage, PeerNursery]]:
    async with open_storage_store(path) as store:
        storage = PeerStorage(secret, store)
        async with open_peers(secret, chan_handler=storage.handler, logger=NullLogger()) as peers:
            yield storage, peers


async def warned(peer: Peer, storage: PeerStorage, data: bytes, size: int) -> str:
    """What LDK says to a blob that it does not store. Its next pong may come before that."""
    async with peer.subscribe(Warning) as warnings:
        report = await storage.put(data, size)
        assert report.peers == (peer.node_id,)
        return (await anext(warnings)).data.decode()


async def next_state(returned: ReturnedInbox) -> StorageState:
    one: Returned = await anext(returned)
    return one.state


async def test_p7_t9_it_stores_1024_bytes_and_gives_them_back_and_no_byte_more(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_ldk() as (address, secret):
            async with open_ours(secret, tmp_path / "ours.db") as (storage, peers):
                peer = await peers.connect(address)
                assert peer.features.offers("option_provide_storage")
                # A warning to the first would come before the one to the second.
                assert (await storage.put(b"kept", 1024)).peers == (peer.node_id,)
                said = await warned(peer, storage, b"not kept", 1025)
                assert said == "Supports only data up to 1024 bytes in peer storage."
                assert storage.latest() == b"not kept"
                # It has kept the one before: that is told, and the newest is refused again.
                await peer.disconnect()
                async with storage.subscribe() as returned:
                    await peers.connect(address)
                    assert await next_state(returned) is StorageState.OLDER
            # All that is left is the secret.
            async with open_ours(secret, tmp_path / "new.db") as (storage, peers), storage.subscribe() as returned:
                await peers.connect(address)
                assert await next_state(returned) is StorageState.NEWER
                assert storage.latest() == b"kept"


async def test_p7_for_a_peer_without_a_channel_it_stores_nothing_and_warns(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_ldk() as (address, _), open_ours(os.urandom(32), tmp_path / "ours.db") as (storage, peers):
            peer = await peers.connect(address)
            said = await warned(peer, storage, b"data", 1024)
            assert "only for peers with an active funded channel" in said
            await peer.disconnect()
            peer = await peers.connect(address)
            await peer.ping()
            assert storage.handler.statistics().returned == 0
