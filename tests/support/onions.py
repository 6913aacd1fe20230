"""The vectors of onions and offers, and nodes to send onion messages through. No test here."""

from __future__ import annotations

import json
import lzma
from typing import Any

from tests.support.vectors import FOLDER, ONION
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, BlindedPathHop

MESSAGE: dict[str, Any] = ONION["blinded-onion-message-onion-test.json"]
ROUTE: dict[str, Any] = ONION["route-blinding-test.json"]


def load(name: str) -> Any:
    """A file of vectors, by its place below their folder."""
    data = (FOLDER / name).read_bytes()
    return json.loads(lzma.decompress(data) if name.endswith(".xz") else data)


def key(number: int) -> SecretKey:
    """The key of a node of a test."""
    return SecretKey(bytes([number]) * 32)


def random(number: int) -> bytes:
    """Bytes as a test gives them in place of random ones."""
    return bytes([number]) * 31 + b"\x07"


def path_of(vector: dict[str, Any]) -> BlindedPath:
    """A path as the vectors write it."""
    return BlindedPath(
        first_node_id=bytes.fromhex(vector["first_node_id"]),
        first_path_key=bytes.fromhex(vector["first_path_key"]),
        path=tuple(
            BlindedPathHop(
                blinded_node_id=bytes.fromhex(hop["blinded_node_id"]),
                encrypted_recipient_data=bytes.fromhex(
                    hop.get("encrypted_recipient_data") or hop.get("encrypted_data") or ""
                ),
            )
            for hop in vector["hops"]
        ),
    )
