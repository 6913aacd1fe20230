"""Peer storage, BOLT 1: a blob of ours that peers keep for us, and blobs of theirs that we keep for them.

A machine without I/O: time and random bytes are inputs, and what goes to a disk waits here until somebody takes it.
What a peer gives back counts only if our own secret opens it. Both messages are odd: nobody is ended for one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from triolight.actions import HandlerResult, IgnoreAndLog, IgnoreError, SendMessages, SendWarningMessage
from triolight.ciphers import ChaCha20Poly1305, InvalidTag
from triolight.features import Features
from triolight.handlers import ChannelMessageHandler
from triolight.logger import Level
from triolight.messages import Init, PeerStorage, PeerStorageRetrieval, Warning

__all__ = [
    "KeptBlobs",
    "PeerStorageHandler",
    "Returned",
    "SealedData",
    "StorageLimits",
    "StorageState",
    "StorageStatistics",
    "seal",
    "unseal",
]

LARGEST_BLOB: Final = 65_531
"""Bytes that fit into one message, besides its type and the blob's length."""
USUAL_SIZE: Final = 1024
"""Bytes of a blob: LDK stores no longer ones."""
VERSION: Final = 1
"""Of what we seal; the first byte of it."""
OVERHEAD: Final = 61
"""Bytes of a blob besides what is in it: version, random bytes, tag, counter, length."""
MOST_WAITING: Final = 256 * 1024
"""Bytes that may wait for a peer already when it is to store our blob; it is not ended for reading slowly."""
UNITS_OF_BLOB: Final = 16
"""What opening one costs, in messages of the pump's turn: 0.1 ms."""
_FEATURE: Final = "option_provide_storage"
_OFFERED: Final = Features.named(_FEATURE)
_NONCE: Final = bytes(12)
"""Each key is used once."""
_RANDOM: Final = 32
_HEAD: Final = 12
"""Bytes before the data: its counter, its length."""


class SealedData(NamedTuple):
    """What one blob of ours holds."""

    counter: int
    """It grows: the higher, the newer."""
    data: bytes
    blob: bytes
    """As peers keep it."""


def seal(node_secret: bytes, counter: int, data: bytes, random_data: bytes, size: int = USUAL_SIZE) -> bytes:
    """A blob of `size` bytes that only the owner of the node secret can open, and that nobody can change.

    `random_data`: 32 fresh random bytes for each blob. Zeros fill it up, so that its length does not tell how much is
    in it. ValueError if the data does not fit, or the size is above 65,531.
    """
    if len(random_data) != _RANDOM:
        raise ValueError(f"a blob is sealed with {_RANDOM} random bytes, not {len(random_data)}")
    if not 0 <= counter < 1 << 64:
        raise ValueError(f"a counter has 64 bits: {counter}")
    if size > LARGEST_BLOB:
        raise ValueError(f"a blob has at most {LARGEST_BLOB} bytes, not {size}")
    if len(data) > size - OVERHEAD:
        raise ValueError(f"a blob of {size} bytes holds {max(0, size - OVERHEAD)} bytes, not {len(data)}")
    plain = counter.to_bytes(8, "big") + len(data).to_bytes(4, "big") + data.ljust(size - OVERHEAD, b"\0")
    sealed = ChaCha20Poly1305(_key(node_secret, random_data)).encrypt(_NONCE, plain, None)
    return bytes([VERSION]) + random_data + sealed


def unseal(node_secret: bytes, blob: bytes) -> SealedData:
    """What is in a blob of ours. ValueError if it was sealed by another one, or has been changed."""
    if len(blob) < OVERHEAD or blob[0] != VERSION:
        raise ValueError("it is no blob of ours")
    random_data, sealed = blob[1 : 1 + _RANDOM], blob[1 + _RANDOM :]
    try:
        plain = ChaCha20Poly1305(_key(node_secret, random_data)).decrypt(_NONCE, sealed, None)
    except InvalidTag:
        raise ValueError("it was not sealed with our secret, or has been changed") from None
    length = int.from_bytes(plain[8:_HEAD], "big")
    if length > len(plain) - _HEAD:
        raise ValueError("it does not hold what it says")
    return SealedData(int.from_bytes(plain[:8], "big"), plain[_HEAD : _HEAD + length], blob)


def _key(node_secret: bytes, random_data: bytes) -> bytes:
    own = hmac.digest(b"peer_storage", node_secret, hashlib.sha256)
    return hmac.digest(own, random_data, hashlib.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLimits:
    """How much is kept for others. ValueError for a number that is not positive."""

    all_bytes: int = 64 * 1024 * 1024
    """Of all blobs together: a thousand of the largest. They are in memory, since they are given back at once."""
    write_seconds: float = 60
    """From one write for a peer to the next; what comes meanwhile takes the place of what waits."""

    def __post_init__(self) -> None:
        if self.all_bytes <= 0 or self.write_seconds <= 0:
            raise ValueError("the limits of storage are above 0")


class KeptBlobs:
    """The last blob of each peer that has given one, and which of them are to be written to a disk.

    One a node, of no more than a message holds: nodes are few, since the application names them.
    """

    __slots__ = ("_blobs", "_changed", "_size", "_written", "limits", "on_change")

    def __init__(self, limits: StorageLimits | None = None) -> None:
        self.limits: Final = limits or StorageLimits()
        self.on_change: Callable[[], None] | None = None
        """Called when something is to be written that was not."""
        self._blobs: Final[dict[bytes, bytes]] = {}
        self._size = 0
        self._changed: Final[dict[bytes, None]] = {}
        self._written: Final[dict[bytes, float]] = {}
        """When, as long as it matters."""

    def __len__(self) -> int:
        return len(self._blobs)

    def __repr__(self) -> str:
        return f"<KeptBlobs, {len(self._blobs)} of {self._size} bytes>"

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self._size

    def get(self, node_id: bytes) -> bytes | None:
        """The last one of this node."""
        return self._blobs.get(node_id)

    def load(self, node_id: bytes, blob: bytes) -> None:
        """One that is on the disk."""
        self._set(node_id, blob)

    def take(self, node_id: bytes, blob: bytes) -> bool:
        """A new one takes the place of the one before. False if there is no room for it; that one stays then."""
        old = self._blobs.get(node_id)
        if old == blob:
            return True
        if self._size - len(old or b"") + len(blob) > self.limits.all_bytes:
            return False
        self._set(node_id, blob)
        self._change(node_id)
        return True

    def forget(self, node_id: bytes) -> None:
        """Nothing is kept for this node any more."""
        blob = self._blobs.pop(node_id, None)
        if blob is not None:
            self._size -= len(blob)
            self._change(node_id)

    def take_due(self, now: float, *, all: bool = False) -> dict[bytes, bytes | None]:
        """What may be written now; None: it is to be deleted. It counts as written. `all`: there is no later."""
        late = now - self.limits.write_seconds
        for node_id in [one for one, at in self._written.items() if at <= late]:
            del self._written[node_id]
        due = {one: self._blobs.get(one) for one in self._changed if all or one not in self._written}
        for node_id in due:
            del self._changed[node_id]
            self._written[node_id] = now
        return due

    def next_due(self) -> float | None:
        """When the next one may be written, perhaps long ago; None if none is to be."""
        times = [self._written[one] + self.limits.write_seconds if one in self._written else 0 for one in self._changed]
        return min(times, default=None)

    def _set(self, node_id: bytes, blob: bytes) -> None:
        self._size += len(blob) - len(self._blobs.get(node_id, b""))
        self._blobs[node_id] = blob

    def _change(self, node_id: bytes) -> None:
        self._changed[node_id] = None
        if self.on_change is not None:
            self.on_change()


class StorageState(Enum):
    """What a peer has given back, beside the newest that we know."""

    NEWEST = "newest"
    OLDER = "older"
    """It has missed some, or lost them. It gets the newest one again."""
    NEWER = "newer"
    """We did not have it: ours was lost, or another one writes with our secret. It is the newest from now on."""
    FOREIGN = "foreign"
    """Our secret does not open it: it is ignored."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a peer has given back, which it does once a connection, as that begins."""

    node_id: bytes
    state: StorageState
    counter: int | None
    """Of what it has given; None if that is not ours."""
    newest: int | None
    """The highest that was known before; None if none was."""


@dataclass(frozen=True, slots=True)
class StorageStatistics:
    """What has become of blobs so far."""

    stored: int
    """Of peers that we serve."""
    not_served: int
    """Of others, ignored."""
    no_room: int
    """Of peers that we serve, refused."""
    given_back: int
    """To peers as they came."""
    returned: int
    """By peers, and ours."""
    foreign: int
    """By peers, and not ours; or not the first of a connection. Ignored."""


class PeerStorageHandler(ChannelMessageHandler):
    """A channel handler that keeps blobs for the nodes that are named, and hears what peers keep for us.

    Who has channels makes a subclass of it. Its `peer_connected` calls this one's first: a blob is given back before
    any channel_reestablish.

    Args:
      node_secret: the node's, of 32 bytes: it opens our own blobs.
      newest: the last one that we know of.
      kept: those of others.
      serves: the nodes that blobs are kept for. To them alone the feature is offered.
    """

    def __init__(
        self,
        node_secret: bytes,
        *,
        newest: SealedData | None = None,
        kept: KeptBlobs | None = None,
        serves: Iterable[bytes] = (),
    ) -> None:
        super().__init__()
        self._node_secret: Final = node_secret
        self.newest = newest
        """Our blob with the highest counter."""
        self.kept: Final = KeptBlobs() if kept is None else kept
        self.on_returned: Callable[[Returned], None] | None = None
        """Hears what each peer gives back."""
        self._serves: Final = set(serves)
        self._storing: Final[dict[bytes, None]] = {}
        """Connected peers that store for us."""
        self._heard: Final[set[bytes]] = set()
        """Connected peers that have given something back."""
        self._counts: Final = dict.fromkeys(StorageStatistics.__slots__, 0)

    @property
    def storing(self) -> tuple[bytes, ...]:
        """The connected peers that offer to store."""
        return tuple(self._storing)

    @property
    def serves(self) -> frozenset[bytes]:
        """The nodes that blobs are kept for."""
        return frozenset(self._serves)

    def statistics(self) -> StorageStatistics:
        """What has become of all blobs so far."""
        return StorageStatistics(**self._counts)

    def serve(self, node_id: bytes) -> None:
        """Blobs of this node are kept from its next connection on: its Init says so."""
        self._serves.add(node_id)

    def stop_serving(self, node_id: bytes) -> None:
        """No new one is taken from it. What it has given is given back until `forget`: BOLT 1 wants that for 2016
        blocks after its last channel."""
        self._serves.discard(node_id)

    def forget(self, node_id: bytes) -> None:
        """What it has given is given back no more."""
        self.kept.forget(node_id)

    def renew(self, data: bytes, random_data: bytes, unix_time: float, size: int = USUAL_SIZE) -> SealedData:
        """A new blob of ours takes the place of `newest`; see `seal`. Its counter is the time in milliseconds, or above
        the one that we know: who has lost that gives none that is lower."""
        counter = max(int(unix_time * 1000), 0 if self.newest is None else self.newest.counter + 1)
        blob = seal(self._node_secret, counter, data, random_data, size)
        self.newest = SealedData(counter, data, blob)
        return self.newest

    def store_newest(self) -> tuple[bytes, ...]:
        """Has all connected peers that offer it store `newest`. Which those are; none of them says that it has."""
        if self.newest is None:
            return ()
        for node_id in self._storing:
            self._send(node_id, self.newest)
        return self.storing

    # What the manager asks.

    def provided_init_features(self, node_id: bytes) -> Features:
        features = super().provided_init_features(node_id)
        return features | _OFFERED if node_id in self._serves else features

    def provided_node_features(self) -> Features:
        features = super().provided_node_features()
        return features | _OFFERED if self._serves else features

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        features = Features.from_bytes(init.features) | Features.from_bytes(init.globalfeatures)
        if features.offers(_FEATURE):
            self._storing[node_id] = None
        blob = self.kept.get(node_id)
        if blob is not None:
            self._counts["given_back"] += 1
            self.push(SendMessages(node_id, PeerStorageRetrieval(blob=blob)))

    def peer_disconnected(self, node_id: bytes) -> None:
        self._storing.pop(node_id, None)
        self._heard.discard(node_id)

    def handle_peer_storage(self, node_id: bytes, message: PeerStorage) -> HandlerResult:
        if node_id not in self._serves:
            self._counts["not_served"] += 1
            return IgnoreError("a peer_storage of a node that we do not store for")
        if not self.kept.take(node_id, message.blob):
            self._counts["no_room"] += 1
            words = b"there is no room for your peer_storage: what you sent before is kept"
            return SendWarningMessage(Warning(data=words))
        self._counts["stored"] += 1
        return None

    def handle_peer_storage_retrieval(self, node_id: bytes, message: PeerStorageRetrieval) -> HandlerResult:
        if node_id in self._heard:
            # It is due once a connection; each that is looked at costs us more than its sender.
            self._counts["foreign"] += 1
            return None
        self._heard.add(node_id)
        self.charge(node_id, UNITS_OF_BLOB)
        known = self.newest.counter if self.newest is not None else None
        try:
            sealed = unseal(self._node_secret, message.blob)
        except ValueError as error:
            self._counts["foreign"] += 1
            self._tell(Returned(node_id, StorageState.FOREIGN, None, known))
            return IgnoreAndLog(Level.WARN, f"a peer_storage_retrieval is ignored: {error}")
        self._counts["returned"] += 1
        state = self._compare(node_id, sealed)
        self._tell(Returned(node_id, state, sealed.counter, known))
        if state is StorageState.OLDER:
            return IgnoreAndLog(Level.WARN, f"the peer keeps an older blob, {sealed.counter}, and gets {known} again")
        return None

    def _compare(self, node_id: bytes, sealed: SealedData) -> StorageState:
        newest = self.newest
        if newest is None or newest.counter < sealed.counter:
            self.newest = sealed
            return StorageState.NEWER
        if sealed.counter == newest.counter:
            return StorageState.NEWEST
        if node_id in self._storing:
            self._send(node_id, newest)
        return StorageState.OLDER

    def _send(self, node_id: bytes, sealed: SealedData) -> None:
        self.push(SendMessages(node_id, PeerStorage(blob=sealed.blob), most_waiting=MOST_WAITING))

    def _tell(self, returned: Returned) -> None:
        if self.on_returned is not None:
            self.on_returned(returned)
