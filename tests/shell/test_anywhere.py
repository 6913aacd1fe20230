"""AnyPeer: what stands in the protocol is what both kinds of peers have, under the same names."""

from __future__ import annotations

import inspect

import pytest

from triolight import Peer
from triolight.cluster import RemotePeer
from triolight.shell.anywhere import AnyPeer

MEMBERS = [name for name in vars(AnyPeer) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [Peer, RemotePeer])
@pytest.mark.parametrize("name", MEMBERS)
def test_each_member_is_there_and_is_called_alike(name: str, kind: type) -> None:
    asked, given = vars(AnyPeer)[name], inspect.getattr_static(kind, name)
    assert isinstance(given, property) is isinstance(asked, property)
    if not isinstance(asked, property):
        wanted = inspect.signature(asked).parameters.values()
        had = inspect.signature(given).parameters
        assert [(one.name, one.kind) for one in wanted if one.name not in had] == []
        assert all(had[one.name].kind in (one.kind, one.POSITIONAL_OR_KEYWORD) for one in wanted)
        assert inspect.iscoroutinefunction(given) is inspect.iscoroutinefunction(asked)


def test_all_that_a_program_asks_most_is_in_it() -> None:
    assert {"node_id", "send", "ping", "subscribe", "request", "disconnect", "wait_closed", "reason"} <= {*MEMBERS}
