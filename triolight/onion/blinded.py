"""Blinded paths, BOLT 4: ways to a node that do not say who it is. Made, read, and joined; knows nothing of sending.

What a maker tells a hop is an `EncryptedDataTlv`, sealed for that hop alone. Random bytes are given to each function
that needs them: fresh ones for each path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from triolight.ciphers import ChaCha20Poly1305, InvalidTag
from triolight.errors import DecodeError
from triolight.keys import SecretKey, multiply
from triolight.messages import BlindedPath, BlindedPathHop, EncryptedDataTlv
from triolight.onion.drops import Drop, OnionDropped
from triolight.onion.sphinx import derive
from triolight.wire import write_bigsize

__all__ = ["blind", "blind_route", "join", "next_path_key", "padded", "unseal"]

_NONCE: Final = bytes(12)
"""Each key is used once."""


def blind(path_secret: bytes, hops: Sequence[tuple[bytes, bytes]]) -> BlindedPath:
    """A path over these nodes, each its id and its encoded `encrypted_data_tlv`; the last one is who is not named.

    `path_secret`: 32 fresh random bytes, which nobody needs afterwards. ValueError for no hops, and for no point.
    """
    if not hops:
        raise ValueError("a path needs a hop")
    ephemeral = SecretKey(path_secret)
    first_path_key = ephemeral.public_key
    path: list[BlindedPathHop] = []
    for at, (node_id, data) in enumerate(hops):
        secret = ephemeral.ecdh(node_id)
        sealed = ChaCha20Poly1305(derive(b"rho", secret)).encrypt(_NONCE, data, None)
        # The factor is no key: it hides who a hop is from those who do not share the secret.
        blinded = multiply(node_id, derive(b"blinded_node_id", secret))
        path.append(BlindedPathHop(blinded_node_id=blinded, encrypted_recipient_data=sealed))
        if at + 1 < len(hops):
            ephemeral = ephemeral.multiply(_step(ephemeral.public_key, secret))
    return BlindedPath(first_node_id=hops[0][0], first_path_key=first_path_key, path=tuple(path))


def padded(hops: Sequence[EncryptedDataTlv]) -> tuple[bytes, ...]:
    """What the hops of one path are told, encoded and of one length, so that none learns from it where it stands.

    Where the difference is one byte, which no record of padding can fill, all grow by as much as it takes.
    """
    bare = [hop.replace(padding=None) for hop in hops]
    lengths = [len(hop.encode()) for hop in bare]
    target = max(lengths, default=0)
    # A record has a type and a length at least, and a longer length from 253 bytes on: some sizes cannot be made.
    while not all(_can_fill(target - length) for length in lengths):
        target += 1
    return tuple(
        hop.replace(padding=_padding(target - length)).encode() for hop, length in zip(bare, lengths, strict=True)
    )


def _can_fill(missing: int) -> bool:
    padding = _padding(missing)
    return (0 if padding is None else 1 + len(write_bigsize(len(padding))) + len(padding)) == missing


def _padding(missing: int) -> bytes | None:
    if missing < 2:
        return None
    return bytes(missing - 2 if missing - 2 < 0xFD else max(0xFD, missing - 4))


def blind_route(path_secret: bytes, node_ids: Sequence[bytes], last: EncryptedDataTlv | None = None) -> BlindedPath:
    """A path over these nodes to the last of them, which is told `last`: a `path_id` by which it knows its own path."""
    told = [EncryptedDataTlv(next_node_id=node_id) for node_id in node_ids[1:]]
    told.append(EncryptedDataTlv() if last is None else last)
    # Not strict: of no nodes `blind` says that there are none.
    return blind(path_secret, tuple(zip(node_ids, padded(told), strict=False)))


def join(path_secret: bytes, node_ids: Sequence[bytes], path: BlindedPath, first_node_id: bytes) -> BlindedPath:
    """A path over these nodes, and then along a path that somebody else has made.

    `first_node_id` is the point that the path's begins at, which it may itself give as a channel and a direction.
    ValueError for no nodes: then the path is as good as it is.
    """
    if not node_ids:
        raise ValueError("nothing to join to the path")
    told = [EncryptedDataTlv(next_node_id=node_id) for node_id in node_ids[1:]]
    told.append(EncryptedDataTlv(next_node_id=first_node_id, next_path_key_override=path.first_path_key))
    ours = blind(path_secret, tuple(zip(node_ids, padded(told), strict=True)))
    return ours.replace(path=ours.path + path.path)


def unseal(path_secret: bytes, sealed: bytes) -> EncryptedDataTlv:
    """What the maker of a path tells one of its hops, who shares `path_secret` with it. OnionDropped if it is not for
    us, or not a valid TLV stream."""
    try:
        data = ChaCha20Poly1305(derive(b"rho", path_secret)).decrypt(_NONCE, sealed, None)
    except InvalidTag:
        raise OnionDropped(Drop.SEALED_DATA) from None
    try:
        return EncryptedDataTlv.decode(data)
    except DecodeError:
        raise OnionDropped(Drop.DATA) from None


def next_path_key(path_key: bytes, path_secret: bytes, data: EncryptedDataTlv) -> bytes:
    """The path key that the next hop gets: another path's, where `data` says so."""
    if data.next_path_key_override is not None:
        return data.next_path_key_override
    return multiply(path_key, _step(path_key, path_secret))


def _step(path_key: bytes, secret: bytes) -> bytes:
    return hashlib.sha256(path_key + secret).digest()
