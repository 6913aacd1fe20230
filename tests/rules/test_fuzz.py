"""The fuzz targets run, and find what they are to find. The fuzzing itself is outside the test run: fuzz/README.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import connection, corpus, decode, graph, ranges
from tests.support import identity
from triolight import gossip
from triolight.gossip import Channel, GossipRules, answers
from triolight.messages import NodeAnnouncement
from triolight.peer_manager import PeerManager
from triolight.testing import strategies

a_hundred = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@a_hundred
@given(strategies.encoded_messages() | st.binary(max_size=300))
def test_decode(data: bytes) -> None:
    decode.one_input(data)


@a_hundred
@given(st.integers(0, 31), st.lists(corpus.steps(), max_size=20).map(b"".join))
def test_connection(settings: int, steps: bytes) -> None:
    connection.one_input(bytes((settings,)) + steps)


@a_hundred
@given(corpus.lives())
def test_graph(data: bytes) -> None:
    graph.one_input(data)


@a_hundred
@given(corpus.listings())
def test_ranges(data: bytes) -> None:
    ranges.one_input(data)


def test_the_peer_of_the_target_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would fuzz the handshake alone."""
    seen: list[int] = []
    whole = connection.Pairs.connected

    def connected(self: Any, handler: Any, node_id: bytes) -> None:
        seen.append(1)
        whole(self, handler, node_id)

    monkeypatch.setattr(connection.Pairs, "connected", connected)
    ping = bytes((connection.SHORT, 6)) + bytes.fromhex("001200040000")
    for settings_ in range(16, 32):
        seen.clear()
        connection.one_input(bytes((settings_,)) + ping)
        assert len(seen) == 4, settings_


NODE = NodeAnnouncement(
    signature=bytes(64),
    features=b"",
    timestamp=1,
    node_id=identity(1),
    rgb_color=bytes(3),
    alias=b"a" * 32,
    addresses=b"",
).encode()
A_STEP = bytes((16, connection.TICK))
AN_UPDATE = bytes((2, 0, 1, 0, 0, 5, 0, 0, 0, 0, 0, 0))
"""Of the channel that is there, by its first end."""
TWO_IN_A_BLOCK = bytes((4, 9, 4, 1)) + bytes((0, 1, 1, 1)) + bytes((8, 1, 1, 1))
"""Asked for with all that belongs to them, one in a reply."""


@pytest.mark.parametrize(
    ("where", "name", "instead", "target", "data"),
    [
        (NodeAnnouncement, "encode", lambda _: b"something else", decode, NODE),
        (gossip, "display_alias", lambda _: "\x1b[31m", decode, NODE),
        (PeerManager, "queued_bytes", lambda *_: 1 << 20, connection, A_STEP),
        (PeerManager, "list_peers", lambda _: ["a ghost"], connection, A_STEP),
        (Channel, "put_update", lambda *_: None, graph, AN_UPDATE),
        (GossipRules, "_verify", lambda *_: False, graph, AN_UPDATE),
        (answers, "_stamps", lambda *_: (1, 1), ranges, TWO_IN_A_BLOCK),
        (Channel, "checksum", lambda *_: 0, ranges, TWO_IN_A_BLOCK),
    ],
)
def test_a_fault_is_found(
    where: Any, name: str, instead: Any, target: Any, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.one_input(data)
    monkeypatch.setattr(where, name, instead)
    with pytest.raises(target.Finding):
        target.one_input(data)
