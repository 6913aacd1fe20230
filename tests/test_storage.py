"""Peer storage without I/O: what is sealed is opened, what is kept is bounded, what comes back is compared."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.support import Note, identity, secret
from tests.support.managers import Node, connect, node
from triolight import IgnoreAndLog, IgnoreError, Level, RoutingMessageHandler, SendMessages, SendWarningMessage
from triolight.features import Features
from triolight.messages import Init, PeerStorage, PeerStorageRetrieval
from triolight.storage import (
    KeptBlobs,
    PeerStorageHandler,
    Returned,
    SealedData,
    StorageLimits,
    StorageState,
    StorageStatistics,
    seal,
    unseal,
)

OURS = secret(1)
RANDOM = bytes(range(32))
OFFERS = Init(features=Features.named("option_provide_storage").to_bytes())
PEER, OTHER = identity(2), identity(3)


def sealed(counter: int, data: bytes = b"data", size: int = 1024) -> SealedData:
    return unseal(OURS, seal(OURS, counter, data, RANDOM, size))


def heard(handler: PeerStorageHandler) -> list[Returned]:
    found: list[Returned] = []
    handler.on_returned = found.append
    return found


def sent(handler: PeerStorageHandler) -> list[tuple[bytes, Any]]:
    events: list[Any] = [*handler.get_and_clear_pending_msg_events()]
    return [(event.node_id, message) for event in events for message in event.messages]


# What a blob is.


def test_p6_a_blob_is_what_the_format_says() -> None:
    blob = seal(OURS, 0x0102, b"data", RANDOM, 100)
    own = hmac.digest(b"peer_storage", OURS, hashlib.sha256)
    key = hmac.digest(own, RANDOM, hashlib.sha256)
    plain = bytes.fromhex("000000000000010200000004") + b"data" + bytes(35)
    assert blob == b"\x01" + RANDOM + ChaCha20Poly1305(key).encrypt(bytes(12), plain, None)
    assert unseal(OURS, blob) == (0x0102, b"data", blob)


@pytest.mark.parametrize("size", [61, 62, 1024, 65_531])
def test_p1_a_blob_has_the_size_that_is_asked_for_whatever_is_in_it(size: int) -> None:
    for data in (b"", bytes(size - 61)):
        blob = seal(OURS, 7, data, RANDOM, size)
        assert len(blob) == size
        assert unseal(OURS, blob).data == data
    assert len(PeerStorage(blob=blob).encode()) == size + 4
    with pytest.raises(ValueError, match=f"a blob of {size} bytes holds {size - 61} bytes, not {size - 60}"):
        seal(OURS, 7, bytes(size - 60), RANDOM, size)


def test_p1_no_blob_is_larger_than_a_message_and_none_is_sealed_with_less() -> None:
    with pytest.raises(ValueError, match="at most 65531 bytes, not 65532"):
        seal(OURS, 0, b"", RANDOM, 65_532)
    with pytest.raises(ValueError, match="32 random bytes, not 31"):
        seal(OURS, 0, b"", RANDOM[1:])
    with pytest.raises(ValueError, match="holds 0 bytes"):
        seal(OURS, 0, b"", RANDOM, 60)
    for counter in (-1, 1 << 64):
        with pytest.raises(ValueError, match="64 bits"):
            seal(OURS, counter, b"", RANDOM)


def test_p1_who_changes_a_byte_or_has_another_secret_opens_nothing() -> None:
    blob = seal(OURS, 7, b"data", RANDOM, 80)
    for at in range(len(blob)):
        with pytest.raises(ValueError, match=r"no blob of ours|has been changed"):
            unseal(OURS, blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
    with pytest.raises(ValueError, match="has been changed"):
        unseal(secret(2), blob)
    for cut in (b"", blob[:60], blob[:-1], blob + b"\0"):
        with pytest.raises(ValueError, match=r"no blob of ours|has been changed"):
            unseal(OURS, cut)


def test_a_blob_of_ours_that_holds_less_than_it_says_is_refused() -> None:
    own = hmac.digest(b"peer_storage", OURS, hashlib.sha256)
    key = hmac.digest(own, RANDOM, hashlib.sha256)
    plain = (7).to_bytes(8, "big") + (1).to_bytes(4, "big")
    with pytest.raises(ValueError, match="does not hold what it says"):
        unseal(OURS, b"\x01" + RANDOM + ChaCha20Poly1305(key).encrypt(bytes(12), plain, None))


# What is kept for others.


def test_p8_t9_a_hundred_blobs_in_a_second_are_one_write_and_the_last_waits_for_its_minute() -> None:
    kept, woken = KeptBlobs(), list[int]()
    kept.on_change = lambda: woken.append(1)
    assert kept.next_due() is None
    writes: list[dict[bytes, bytes | None]] = []
    for number in range(100):
        assert kept.take(PEER, b"%d" % number)
        if due := kept.take_due(5 + number / 100):
            writes.append(due)
    assert writes == [{PEER: b"0"}]
    assert len(woken) == 100
    assert kept.get(PEER) == b"99"
    assert kept.next_due() == 65
    assert kept.take_due(64.9) == {}
    # Another node has a minute of its own.
    assert kept.take(OTHER, b"x")
    assert kept.take_due(64.95) == {OTHER: b"x"}
    assert kept.take_due(65) == {PEER: b"99"}
    assert kept.next_due() is None
    assert kept.take(PEER, b"99")  # as it is already
    assert kept.next_due() is None
    assert kept.take(PEER, b"100")
    assert kept.take_due(66, all=True) == {PEER: b"100"}
    assert (len(kept), kept.size) == (2, 4)
    assert repr(kept) == "<KeptBlobs, 2 of 4 bytes>"


def test_p8_all_blobs_together_have_a_bound() -> None:
    kept = KeptBlobs(StorageLimits(all_bytes=10))
    assert kept.take(PEER, bytes(6))
    assert kept.take(OTHER, bytes(4))
    assert not kept.take(OTHER, bytes(5))
    assert kept.get(OTHER) == bytes(4)
    assert kept.take(PEER, bytes(5))
    assert kept.take(OTHER, bytes(5))
    kept.forget(PEER)
    kept.forget(PEER)
    assert (kept.size, kept.get(PEER)) == (5, None)
    assert kept.take_due(0) == {PEER: None, OTHER: bytes(5)}
    assert kept.take(OTHER, bytes(10))
    assert StorageLimits().all_bytes == 1 << 26
    for wrong in ({"all_bytes": 0}, {"write_seconds": 0}):
        with pytest.raises(ValueError, match="above 0"):
            StorageLimits(**wrong)


def test_p8_nobody_is_served_who_was_not_named() -> None:
    handler = PeerStorageHandler(OURS)
    assert not handler.provided_init_features(PEER).offers("option_provide_storage")
    assert not handler.provided_node_features().offers("option_provide_storage")
    handler.peer_connected(PEER, OFFERS, True)
    assert isinstance(handler.handle_peer_storage(PEER, PeerStorage(blob=b"x")), IgnoreError)
    assert (len(handler.kept), handler.statistics().not_served, sent(handler)) == (0, 1, [])
    handler.serve(PEER)
    assert handler.serves == {PEER}
    assert handler.provided_init_features(PEER).offers("option_provide_storage")
    assert not handler.provided_init_features(OTHER).offers("option_provide_storage")
    assert handler.provided_node_features().offers("option_provide_storage")
    assert handler.handle_peer_storage(PEER, PeerStorage(blob=b"x")) is None
    handler.stop_serving(PEER)
    assert not handler.provided_node_features().offers("option_provide_storage")
    assert isinstance(handler.handle_peer_storage(PEER, PeerStorage(blob=b"y")), IgnoreError)
    assert handler.kept.get(PEER) == b"x"
    handler.forget(PEER)
    assert handler.kept.get(PEER) is None
    assert handler.statistics() == StorageStatistics(1, 2, 0, 0, 0, 0)


def test_p8_who_is_refused_for_want_of_room_hears_a_warning() -> None:
    handler = PeerStorageHandler(OURS, kept=KeptBlobs(StorageLimits(all_bytes=3)), serves=[PEER])
    assert handler.handle_peer_storage(PEER, PeerStorage(blob=b"abc")) is None
    answer = handler.handle_peer_storage(PEER, PeerStorage(blob=b"abcd"))
    assert isinstance(answer, SendWarningMessage)
    assert b"no room" in answer.message.data
    assert handler.kept.get(PEER) == b"abc"
    assert handler.statistics() == StorageStatistics(1, 0, 1, 0, 0, 0)


# What comes back.


def test_p2_the_last_blob_is_given_back_as_a_peer_comes() -> None:
    handler = PeerStorageHandler(OURS, serves=[PEER, OTHER])
    for blob in (b"first", b"last"):
        assert handler.handle_peer_storage(PEER, PeerStorage(blob=blob)) is None
    handler.peer_connected(PEER, Init(), True)
    handler.peer_connected(OTHER, Init(), True)  # nothing stored: nothing sent
    assert sent(handler) == [(PEER, PeerStorageRetrieval(blob=b"last"))]
    assert handler.statistics().given_back == 1


def test_p3_p4_what_comes_back_is_compared_with_the_newest() -> None:
    handler = PeerStorageHandler(OURS, newest=sealed(5))
    told = heard(handler)
    for node_id in (PEER, OTHER):
        handler.peer_connected(node_id, OFFERS, False)
    assert handler.storing == (PEER, OTHER)
    assert handler.handle_peer_storage_retrieval(PEER, PeerStorageRetrieval(blob=sealed(5).blob)) is None
    answer = handler.handle_peer_storage_retrieval(OTHER, PeerStorageRetrieval(blob=sealed(4).blob))
    assert answer == IgnoreAndLog(Level.WARN, "the peer keeps an older blob, 4, and gets 5 again")
    assert told == [Returned(PEER, StorageState.NEWEST, 5, 5), Returned(OTHER, StorageState.OLDER, 4, 5)]
    assert sent(handler) == [(OTHER, PeerStorage(blob=sealed(5).blob))]
    # A newer one is the newest from there on.
    for node_id in (PEER, OTHER):
        handler.peer_disconnected(node_id)
    handler.peer_connected(PEER, Init(), False)
    assert not handler.storing
    assert handler.handle_peer_storage_retrieval(PEER, PeerStorageRetrieval(blob=sealed(9, b"new").blob)) is None
    assert told[-1] == Returned(PEER, StorageState.NEWER, 9, 5)
    assert handler.newest == sealed(9, b"new")
    # Who offers no storage is not given any again.
    handler.peer_connected(OTHER, Init(), False)
    handler.handle_peer_storage_retrieval(OTHER, PeerStorageRetrieval(blob=sealed(4).blob))
    assert sent(handler) == []
    assert handler.statistics() == StorageStatistics(0, 0, 0, 0, 4, 0)


def test_p3_a_retrieval_of_what_was_never_given_is_logged_once_a_connection_and_ignored() -> None:
    handler = PeerStorageHandler(OURS)
    told = heard(handler)
    units: list[int] = []
    handler.attach(lambda: None, lambda node_id, work, ours: units.append(work))
    foreign = PeerStorageRetrieval(blob=seal(secret(9), 1, b"", RANDOM))
    for _ in range(2):
        handler.peer_connected(PEER, OFFERS, False)
        answer = handler.handle_peer_storage_retrieval(PEER, foreign)
        assert isinstance(answer, IgnoreAndLog)
        assert "not sealed with our secret" in answer.reason
        # No matter what else it says: it is looked at once.
        for blob in (foreign.blob, b"", sealed(5).blob):
            assert handler.handle_peer_storage_retrieval(PEER, PeerStorageRetrieval(blob=blob)) is None
        handler.peer_disconnected(PEER)
    assert told == [Returned(PEER, StorageState.FOREIGN, None, None)] * 2
    assert len(units) == 2
    assert handler.newest is None
    assert handler.statistics().foreign == 8


def test_p5_our_blob_goes_to_those_alone_that_offer_to_store_it() -> None:
    handler = PeerStorageHandler(OURS)
    handler.peer_connected(PEER, OFFERS, False)
    handler.peer_connected(OTHER, Init(), False)
    assert handler.store_newest() == ()
    handler.newest = sealed(5)
    assert handler.store_newest() == (PEER,)
    assert sent(handler) == [(PEER, PeerStorage(blob=sealed(5).blob))]


# Through a manager.


def machines(serving: PeerStorageHandler, ours: PeerStorageHandler, **options: Any) -> tuple[Node, Node]:
    return node(1, chan=ours), node(2, chan=serving, **options)


class Greets(RoutingMessageHandler):
    """Has something to say as a peer comes, and is asked first."""

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        self.push(SendMessages(node_id, Note(payload=b"hello")))


class Reestablishes(PeerStorageHandler):
    """As one with channels does it."""

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        super().peer_connected(node_id, init, inbound)
        self.push(SendMessages(node_id, Note(payload=b"channel_reestablish")))


def test_p2_t9_the_largest_blob_comes_back_before_anything_else() -> None:
    ours, serving = PeerStorageHandler(OURS), Reestablishes(secret(2), serves=[identity(1)])
    a, b = machines(serving, ours, route=Greets())
    link = connect(a, b)
    ours.newest = sealed(5, b"all", 65_531)
    assert ours.store_newest() == (identity(2),)
    link.run()
    assert serving.kept.get(identity(1)) == ours.newest.blob
    b.manager.disconnect_all_peers()
    link.run()
    a.seen.messages.clear()
    connect(a, b)
    assert a.seen.messages == [
        PeerStorageRetrieval(blob=ours.newest.blob),
        Note(payload=b"channel_reestablish"),
        Note(payload=b"hello"),
    ]
    assert ours.statistics().returned == 1


def test_p5_nobody_is_ended_for_either_message() -> None:
    ours, serving = PeerStorageHandler(OURS), PeerStorageHandler(secret(2))
    a, b = machines(serving, ours)
    link = connect(a, b)
    for message in (PeerStorage(blob=bytes(65_531)), PeerStorageRetrieval(blob=b""), PeerStorageRetrieval(blob=b"x")):
        a.manager.send_message(identity(2), message)
        b.manager.send_message(identity(1), message)
    link.run()
    assert (a.seen.ended, b.seen.ended) == ([], [])
    assert (ours.statistics().not_served, serving.statistics().foreign) == (1, 2)
