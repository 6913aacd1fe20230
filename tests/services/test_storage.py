"""open_storage_store and PeerStorage, over connections, on the mock clock: on disk first, then with peers, and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import ListLogger, identity, join, make_manager, secret, until
from tests.support.project import ROOT
from triolight import Peer, PeerNursery, open_peer_nursery
from triolight.messages import PeerStorage as PeerStorageMessage
from triolight.messages import PeerStorageRetrieval
from triolight.services import PeerStorage, PutReport, StorageStore, StoreError, open_storage_store
from triolight.services.blobs import BlobsFile
from triolight.storage import (
    PeerStorageHandler,
    Returned,
    StorageLimits,
    StorageState,
    seal,
    unseal,
)

NOW = 1_800_000_000.0
RANDOM = bytes(range(32))
KILLS = int(os.environ.get("TRIOLIGHT_KILLS", "1"))
"""Of a process that writes. CI wants 50."""


class Node:
    """A node with a storage that is open."""

    def __init__(self, number: int, storage: PeerStorage, peers: PeerNursery, logger: ListLogger) -> None:
        self.id = identity(number)
        self.storage = storage
        self.peers = peers
        self.logger = logger


@asynccontextmanager
async def open_node(number: int, path: Path, **options: Any) -> AsyncGenerator[Node]:
    logger = ListLogger()
    async with open_storage_store(path) as store:
        storage = PeerStorage(secret(number), store, unix_time=lambda: NOW, **options)
        manager = make_manager(number, chan=storage.handler, logger=logger)
        async with open_peer_nursery(manager) as peers:
            yield Node(number, storage, peers, logger)


@asynccontextmanager
async def nodes(folder: Path) -> AsyncGenerator[list[Node]]:
    """A client, and two that serve it."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_node(1, folder / "client.db"))
        servers = [
            await stack.enter_async_context(open_node(number, folder / f"{number}.db", serves=[client.id]))
            for number in (2, 3)
        ]
        yield [client, *servers]


async def again(near: Node, far: Node, peer: Peer | None = None) -> Peer:
    """A new connection, in place of one that is there."""
    if peer is not None:
        await peer.disconnect()
        await until(lambda: near.id not in far.peers.peers)
    return (await join(near.peers, far.peers))[0]


def kept(node: Node) -> bytes | None:
    return node.storage.store.kept.get(identity(1))


async def test_p2_p4_p6_what_is_put_is_with_all_peers_and_comes_back_to_a_secret_alone(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (client, two, three):
        await again(client, two)
        await again(client, three)
        assert client.storage.latest() is None
        assert repr(client.storage) == f"<PeerStorage {tmp_path / 'client.db'}, 2 peers store for us>"
        report = await client.storage.put(b"what a node must not lose")
        assert report == PutReport(int(NOW) * 1000, 1024, (two.id, three.id), fits_ldk=True)
        assert client.storage.latest() == b"what a node must not lose"
        await until(lambda: kept(two) is not None and kept(three) is not None)
        assert kept(two) == kept(three) == client.storage.store.own
        assert len(kept(two) or b"") == 1024
        # A second one in the same millisecond is newer all the same.
        assert (await client.storage.put(b"more")).counter == report.counter + 1
        await until(lambda: kept(two) == kept(three) == client.storage.store.own)
        # Everything is lost but the secret.
        async with open_node(1, tmp_path / "fresh.db") as restored, restored.storage.subscribe() as returned:
            for server in (two, three):
                await client.peers.peers[server.id].disconnect()
                await until(lambda server=server: client.id not in server.peers.peers)  # type: ignore[misc]
                await again(restored, server)
            first, second = await anext(returned), await anext(returned)
            assert first == Returned(two.id, StorageState.NEWER, report.counter + 1, None)
            assert second == Returned(three.id, StorageState.NEWEST, report.counter + 1, report.counter + 1)
            assert restored.storage.latest() == b"more"
    # And it is on the disk from there on.
    async with open_storage_store(tmp_path / "fresh.db") as store:
        assert PeerStorage(secret(1), store).latest() == b"more"


async def test_p4_a_peer_that_has_an_older_one_is_told_of_and_gets_the_newest_again(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (client, two, three), client.storage.subscribe() as returned:
        peer = await again(client, two)
        await again(client, three)
        old = await client.storage.put(b"old")
        await until(lambda: kept(two) is not None)
        await peer.disconnect()
        await until(lambda: client.id not in two.peers.peers)
        new = await client.storage.put(b"new")
        assert new.peers == (three.id,)
        await again(client, two)
        assert await anext(returned) == Returned(two.id, StorageState.OLDER, old.counter, new.counter)
        assert "keeps an older blob" in client.logger
        await until(lambda: kept(two) == client.storage.store.own)


async def test_p5_with_nobody_who_offers_it_data_is_on_our_disk_alone(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (client, two, _), open_peer_nursery(make_manager(9)) as other:
        await join(client.peers, other)
        assert (await client.storage.put(b"x")).peers == ()
        assert two.storage.handler.statistics().stored == 0
    with closing(BlobsFile(tmp_path / "client.db", 0)) as file:
        assert unseal(secret(1), file.own() or b"").data == b"x"


async def test_p7_what_ldk_does_not_store_is_in_the_report(tmp_path: Path) -> None:
    async with nodes(tmp_path) as (client, two, _):
        await again(client, two)
        assert (await client.storage.put(bytes(963))).fits_ldk
        with pytest.raises(ValueError, match="1024 bytes holds 963 bytes, not 964"):
            await client.storage.put(bytes(964))
        assert client.storage.latest() == bytes(963)
        report = await client.storage.put(bytes(964), size=1025)
        assert (report.size, report.peers, report.fits_ldk) == (1025, (two.id,), False)
        assert not (await client.storage.put(bytes(65_470), size=65_531)).fits_ldk
        await until(lambda: len(kept(two) or b"") == 65_531)


async def test_p8_t9_a_hundred_updates_in_a_second_are_one_write(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[tuple[float, bytes | None]] = []
    write = BlobsFile.write

    def noted(self: BlobsFile, own: bytes | None, blobs: dict[bytes, bytes | None]) -> None:
        if own is None:
            writes.append((trio.current_time(), blobs[identity(1)]))
        write(self, own, blobs)

    monkeypatch.setattr(BlobsFile, "write", noted)
    async with nodes(tmp_path) as (client, two, _):
        peer = await again(client, two)
        begun = trio.current_time()
        for number in range(100):
            await peer.send(PeerStorageMessage(blob=b"%d" % number))
        await until(lambda: kept(two) == b"99")
        await trio.sleep(1)
        assert len(writes) == 1
        await trio.sleep(120)
        assert [data for _, data in writes] == [writes[0][1], b"99"]
        assert writes[1][0] - writes[0][0] == 60
        assert writes[0][0] == begun
        assert trio.current_time() - begun == 121


@pytest.mark.parametrize("how", ["an exception", "cancelled"])
async def test_whichever_way_the_block_is_left_all_is_on_the_disk(how: str, tmp_path: Path) -> None:
    path = tmp_path / "storage.db"
    if how == "cancelled":
        with trio.CancelScope() as scope:
            async with open_storage_store(path) as store:
                store.kept.take(identity(2), b"theirs")
                store.keep_own(b"ours")
                scope.cancel()
                await trio.sleep_forever()
    else:
        with pytest.raises(KeyError, match="the body's"):  # as itself, in no group
            async with open_storage_store(path) as store:
                await trio.testing.wait_all_tasks_blocked()
                store.kept.take(identity(2), b"theirs")
                store.keep_own(b"ours")
                raise KeyError("the body's")
    async with open_storage_store(path) as store:
        assert (store.own, store.kept.get(identity(2))) == (b"ours", b"theirs")
        assert repr(store) == f"<StorageStore {path}, <KeptBlobs, 1 of 6 bytes>>"


async def test_a_disk_that_is_full_ends_the_block_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("storage.db: the disk is full")

    path = tmp_path / "storage.db"
    outside: list[StorageStore] = []
    with monkeypatch.context() as patch:
        patch.setattr(BlobsFile, "write", full)
        with pytest.raises(StoreError, match="the disk is full"):
            async with open_storage_store(path) as store:
                outside.append(store)
                await PeerStorage(secret(1), store).put(b"x")
    with pytest.raises(StoreError, match="closed before all was written"):
        await outside[0].written()
    async with open_storage_store(path) as store:
        assert store.own is None


async def test_a_file_of_another_node_is_not_written_over(tmp_path: Path) -> None:
    async with open_storage_store(tmp_path / "storage.db") as store:
        await PeerStorage(secret(1), store).put(b"x")
        with pytest.raises(ValueError, match=r"storage\.db: what it holds of ours: it was not sealed with our secret"):
            PeerStorage(secret(2), store)
        with pytest.raises(StoreError, match="another process writes it"):
            async with open_storage_store(tmp_path / "storage.db"):
                pass


async def test_a_node_with_channels_brings_its_own_handler(tmp_path: Path) -> None:
    class Mine(PeerStorageHandler):
        pass

    async with open_storage_store(tmp_path / "storage.db", StorageLimits(all_bytes=5)) as store:
        storage = PeerStorage(secret(1), store, handler=Mine, serves=[identity(2)])
        assert isinstance(storage.handler, Mine)
        assert storage.handler.serves == {identity(2)}
        assert storage.handler.kept.limits.all_bytes == 5


async def test_a_busy_reader_loses_what_comes_then(tmp_path: Path) -> None:
    async with open_storage_store(tmp_path / "storage.db") as store:
        storage = PeerStorage(secret(1), store)
        foreign = PeerStorageRetrieval(blob=seal(secret(2), 1, b"", RANDOM))
        async with storage.subscribe() as returned:
            for number in range(2, 72):
                storage.handler.handle_peer_storage_retrieval(identity(number), foreign)
            found = [(await anext(aiter(returned))).node_id for _ in range(64)]
            assert found == [identity(number) for number in range(2, 66)]
            with trio.move_on_after(0) as scope:
                await anext(returned)
            assert scope.cancelled_caught


WRITER = """
import sys, trio
from triolight.services import PeerStorage, open_storage_store

async def main():
    async with open_storage_store(sys.argv[1]) as store:
        storage = PeerStorage(bytes([1]) * 32, store)
        before = storage.latest()
        number = 0 if before is None else int(before)
        while True:
            number += 1
            await storage.put(b"%d" % number)
            print(number, flush=True)

trio.run(main)
"""


def test_a_process_that_is_killed_has_what_it_put_and_no_counter_twice(tmp_path: Path) -> None:
    path = tmp_path / "storage.db"
    counter = 0
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        with process:
            said = process.stdout
            assert said is not None
            numbers = [int(said.readline()) for _ in range(3 + kill)]
            process.send_signal(signal.SIGKILL)
            numbers += [int(line) for line in said if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL
        with closing(BlobsFile(path, 0)) as file:
            found = unseal(bytes([1]) * 32, file.own() or b"")
        # What was put is there; one more may be, of which nobody has heard.
        assert int(found.data) - numbers[-1] in (0, 1)
        assert found.counter > counter
        counter = found.counter
