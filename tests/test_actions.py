"""What handlers answer and push: what cannot be is refused as it is made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Note, identity
from tests.support.messages import OTHER, OURS, add, commitment
from triolight import DisconnectPeer, HandleError, SendMessages, UpdateHtlcs


def test_events_are_values() -> None:
    note = Note(payload=b"x")
    assert SendMessages(identity(2), note) == SendMessages(identity(2), note)
    assert SendMessages(identity(2), note) != SendMessages(identity(2), note, most_waiting=1)
    assert SendMessages(identity(2), note).messages == (note,)


@pytest.mark.parametrize("node_id", ["text", None, 7])
def test_a_node_id_that_is_none_is_refused_by_each_event(node_id: Any) -> None:
    for make in (
        lambda: SendMessages(node_id),
        lambda: UpdateHtlcs(node_id=node_id, channel_id=OURS),
        lambda: HandleError(node_id, DisconnectPeer()),
    ):
        with pytest.raises(TypeError, match="a node id is 33 bytes"):
            make()


def test_changes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="update_add_htlc of another channel: 0b0b"):
        UpdateHtlcs(node_id=identity(2), channel_id=OURS, adds=(add(1, OTHER),))
    with pytest.raises(ValueError, match="commitment_signed is expected, not UpdateAddHtlc"):
        UpdateHtlcs(node_id=identity(2), channel_id=OURS, commitment_signed=(add(1),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="21 commitment_signed; 20"):
        UpdateHtlcs(node_id=identity(2), channel_id=OURS, commitment_signed=(commitment(1),) * 21)
