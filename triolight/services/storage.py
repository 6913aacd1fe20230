"""open_storage_store and PeerStorage: data of ours that peers keep, and blobs that we keep for peers, on disk.

Nobody waits for the disk but who stores data of ours: that is on the disk before any peer has it, so that no counter is
given twice. A process that is killed loses what came from a peer since the last write for it, and never the file.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trio

from triolight.services.blobs import BlobsFile
from triolight.services.sqlite import StoreError
from triolight.services.worker import WorkerThread
from triolight.storage import (
    USUAL_SIZE,
    KeptBlobs,
    PeerStorageHandler,
    Returned,
    SealedData,
    StorageLimits,
    StorageState,
    unseal,
)

__all__ = ["PeerStorage", "PutReport", "ReturnedInbox", "StorageStore", "open_storage_store"]

WAITING: Final = 64
"""Returns that wait for one reader; more are dropped, and the log has had them."""
MOST_OF_LDK: Final = 1024
"""Bytes of the largest blob that LDK stores; longer ones it answers with a warning."""


class StorageStore:
    """A storage's file, as long as its block is open."""

    _file: BlobsFile

    def __init__(self, path: Path, limits: StorageLimits | None) -> None:
        self.path: Final = path
        self.kept: Final = KeptBlobs(limits)
        """For peers. All of it is in memory, too."""
        self.own: bytes | None = None
        """Our newest blob, sealed."""
        self._changes = 0
        self._done = 0
        """How many changes of our own blob there were, and how many of them are on the disk."""
        self._leaving = False
        self._closed = False
        self._something = trio.Event()
        self._written = trio.Event()
        self._thread: Final = WorkerThread()

    def __repr__(self) -> str:
        return f"<StorageStore {self.path}, {self.kept!r}>"

    def keep_own(self, blob: bytes) -> None:
        """This is our newest blob. Never waits; see `written`."""
        self.own = blob
        self._changes += 1
        self._something.set()

    async def written(self) -> None:
        """Waits until our newest blob, as it is now, is on the disk. StoreError if the store was closed before."""
        await trio.lowlevel.checkpoint()
        until = self._changes
        while self._done < until:
            if self._closed:
                raise StoreError(f"{self.path}: it was closed before all was written")
            await self._written.wait()


class _KeptStorageStore(StorageStore):
    """The same as its block has it: what loads, writes and lets go."""

    async def open(self, unix_time: Callable[[], float]) -> None:
        """Opens or makes the file, and has what it holds."""
        self._file = await self._thread.call(BlobsFile, self.path, int(unix_time()))
        try:
            self.own = await self._thread.call(self._file.own)
            for node_id, blob in (await self._thread.call(self._file.kept)).items():
                self.kept.load(node_id, blob)
        except BaseException:
            await self.close()
            raise
        self.kept.on_change = self._something_is_new

    def leave(self) -> None:
        """Nothing more comes: what waits is written, and the writer ends."""
        self._leaving = True
        self._something.set()

    async def write(self) -> None:
        """The task that writes, until it is told to leave and nothing waits."""
        # Whoever is cancelled, what came is kept: this ends by itself when all of it is written.
        with trio.CancelScope(shield=True):
            while True:
                self._something = trio.Event()
                leaving, changes = self._leaving, self._changes
                due = self.kept.take_due(trio.current_time(), all=leaving)
                if due or changes > self._done:
                    await self._thread.call(self._file.write, self.own if changes > self._done else None, due)
                    self._done = changes
                    self._written.set()
                    self._written = trio.Event()
                elif leaving:
                    return
                else:
                    next_due = self.kept.next_due()
                    with trio.CancelScope(deadline=math.inf if next_due is None else next_due):
                        await self._something.wait()

    async def close(self) -> None:
        """Lets go of the file. Those who wait for something to be written are woken."""
        self._closed = True
        self.kept.on_change = None
        self._written.set()
        with trio.CancelScope(shield=True):
            await self._thread.call(self._file.close)

    def _something_is_new(self) -> None:
        self._something.set()


@asynccontextmanager
async def open_storage_store(
    path: str | PathLike[str],
    limits: StorageLimits | None = None,
    *,
    unix_time: Callable[[], float] = time.time,
) -> AsyncGenerator[StorageStore]:
    """``async with open_storage_store("storage.db") as store``: our own newest blob and those of peers, on disk.

    When the block is left, whichever way, all that was taken is on the disk.

    Args:
      path: an SQLite file, made if it is missing; on no network file system.
      limits: how much is kept for others.
      unix_time: seconds since 1970, for the day on which the file was made.

    Raises:
      StoreError: the file cannot be opened, is none of ours, is of a newer schema, or is written by another process;
        or, out of the block, it cannot be written any more.
    """
    store = _KeptStorageStore(Path(path), limits)
    await store.open(unix_time)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write, name="storage store")
            try:
                yield store
            finally:
                store.leave()
    except BaseExceptionGroup as group:
        # A nursery puts into a group what its block raises. What is alone leaves as itself.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
    finally:
        await store.close()


@dataclass(frozen=True, slots=True)
class PutReport:
    """What was given to whom. Nobody says that it has stored it: each peer gives back what it has at its next
    connection, and then it is compared."""

    counter: int
    size: int
    """Bytes of the blob."""
    peers: tuple[bytes, ...]
    """The node ids of those that were to store it. Two of them are better than one."""
    fits_ldk: bool
    """False: peers that run LDK do not store it. They take 1,024 bytes, answer a longer blob with a warning, and keep
    the one before."""


class _Desk:
    """Who reads what peers give back."""

    def __init__(self) -> None:
        self.readers: Final[set[trio.MemorySendChannel[Returned]]] = set()

    def publish(self, returned: Returned) -> None:
        for reader in self.readers:
            with suppress(trio.WouldBlock):
                reader.send_nowait(returned)


class ReturnedInbox:
    """``async with storage.subscribe() as returned: async for one in returned``: what each peer gives back, compared.

    A busy reader has 64 of them waiting, and loses what comes then.
    """

    def __init__(self, desk: _Desk) -> None:
        self._desk: Final = desk
        self._send, self._receive = trio.open_memory_channel[Returned](WAITING)

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> Returned:
        """The next one. Cancellation loses nothing."""
        return await self._receive.receive()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._desk.readers.add(self._send)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._desk.readers.discard(self._send)
        self._send.close()
        self._receive.close()


class PeerStorage:
    """Data of ours that peers keep, sealed so that they cannot read it, and blobs of peers that we keep.

    Its `handler` is the channel handler of the node: ``open_peers(secret, chan_handler=storage.handler)``. A node that
    has lost everything but its secret connects to its peers, and finds in `latest` what it had stored.

    Args:
      node_secret: the node's, of 32 bytes: by it data is sealed and opened.
      store: an open one. ValueError if what it holds of ours was sealed with another secret.
      serves: the nodes that we keep blobs for; the feature is offered to nobody else.
      handler: a class of one's own made from `PeerStorageHandler`, for a node with channels.
      unix_time: seconds since 1970: counters of blobs begin there, so that a node that has lost its counter gives none
        that is lower.
      random_bytes: so many fresh ones.
    """

    def __init__(
        self,
        node_secret: bytes,
        store: StorageStore,
        *,
        serves: Iterable[bytes] = (),
        handler: type[PeerStorageHandler] = PeerStorageHandler,
        unix_time: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.store: Final = store
        self._unix_time: Final = unix_time
        self._random_bytes: Final = random_bytes
        self._desk: Final = _Desk()
        newest: SealedData | None = None
        if store.own is not None:
            try:
                newest = unseal(node_secret, store.own)
            except ValueError as error:
                raise ValueError(f"{store.path}: what it holds of ours: {error}") from None
        self.handler: Final = handler(node_secret, newest=newest, kept=store.kept, serves=serves)
        """For `MessageHandler` or `open_peers`."""
        self.handler.on_returned = self._returned

    def __repr__(self) -> str:
        return f"<PeerStorage {self.store.path}, {len(self.handler.storing)} peers store for us>"

    def latest(self) -> bytes | None:
        """Our newest data, of what is on our disk and what peers have given back; None if there is none.

        A peer gives back what it has as it connects; who has no disk any more waits for that: see `subscribe`.
        """
        newest = self.handler.newest
        return None if newest is None else newest.data

    @trio.lowlevel.enable_ki_protection
    async def put(self, data: bytes, size: int = USUAL_SIZE) -> PutReport:
        """Stores data: on our disk, and then with all connected peers that offer it. Each keeps the last blob alone.

        A blob has `size` bytes, whatever is in it, and holds 61 bytes less: 963, if it is 1,024. LDK stores no longer
        ones. Others store up to 65,531 bytes, so whoever gives more data names a larger size; the report says that
        peers with LDK are no help then. ValueError for data that does not fit, or a size above 65,531.

        Cancelled: it is our newest, and goes to peers that give back an older one.
        """
        sealed = self.handler.renew(data, self._random_bytes(32), self._unix_time(), size)
        self.store.keep_own(sealed.blob)
        await self.store.written()
        # The newest, if another task has put one meanwhile: a peer keeps what comes last.
        peers = self.handler.store_newest()
        return PutReport(sealed.counter, size, peers, size <= MOST_OF_LDK)

    def subscribe(self) -> ReturnedInbox:
        """What each peer gives back, from entering the block on. Enter it before connecting to miss none."""
        return ReturnedInbox(self._desk)

    def _returned(self, returned: Returned) -> None:
        if returned.state is StorageState.NEWER and self.handler.newest is not None:
            self.store.keep_own(self.handler.newest.blob)
        self._desk.publish(returned)
