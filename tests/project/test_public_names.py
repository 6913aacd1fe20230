"""The public names are exactly these, for type checkers and at run time; and that trio-typing fits in."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
import trio

import triolight
from tests.support import identity, make_manager, open_pair
from tests.support.project import PACKAGE
from triolight import (
    PeerNursery,
    open_peer_nursery,
)
from triolight.messages import Ping

PUBLIC = {
    "Allowance",
    "BaseMessageHandler",
    "ChannelMessageHandler",
    "ConnectError",
    "CustomMessageHandler",
    "DecodeError",
    "DisconnectCode",
    "DisconnectPeer",
    "DisconnectPeerWithWarning",
    "DisconnectReason",
    "ErroringMessageHandler",
    "EventsLost",
    "Features",
    "HandleError",
    "Happening",
    "IgnoreAndLog",
    "IgnoreDuplicateGossip",
    "IgnoreError",
    "IgnoringMessageHandler",
    "Inbox",
    "KeepState",
    "KeptPeer",
    "Level",
    "Logger",
    "MessageHandler",
    "NodeAddress",
    "NullLogger",
    "OnionMessageHandler",
    "Peer",
    "PeerClosed",
    "PeerConnected",
    "PeerDetails",
    "PeerDisconnected",
    "PeerEvents",
    "PeerHandleError",
    "PeerManager",
    "PeerNursery",
    "PeerObserver",
    "PeerStatistics",
    "PeersStatistics",
    "Policy",
    "Population",
    "Proxy",
    "QueueFull",
    "Record",
    "Replay",
    "RoutingMessageHandler",
    "SendErrorMessage",
    "SendMessages",
    "SendWarningMessage",
    "Side",
    "SocketDescriptor",
    "StdlibLogger",
    "StreamDescriptor",
    "Tape",
    "TapeError",
    "TapeMismatch",
    "TriolightError",
    "UpdateHtlcs",
    "Way",
    "node_id",
    "open_peer_nursery",
    "open_peers",
}


def test_the_public_names_are_exactly_these() -> None:
    assert {*triolight.__all__} == PUBLIC
    assert len(triolight.__all__) == len(PUBLIC)
    assert {*dir(triolight)} >= PUBLIC
    # What type checkers are told is what there is at run time.
    checked: dict[str, str] = {}
    for statement in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text())):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("triolight."):
            checked |= {alias.name: str(statement.module) for alias in statement.names}
    assert checked.keys() == PUBLIC
    for name, module in checked.items():
        assert getattr(triolight, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        triolight.Nothing  # noqa: B018


async def test_our_api_accepts_trio_typings_types() -> None:
    """Programs that still annotate with trio-typing run as they are: its names fit our objects, and ours its."""
    trio_typing = pytest.importorskip("trio_typing")

    async def serve(given: trio.Nursery, *, task_status: trio.TaskStatus[bytes] = trio.TASK_STATUS_IGNORED) -> None:
        assert isinstance(given, trio_typing.Nursery)
        assert isinstance(task_status, trio_typing.TaskStatus)
        async with open_peer_nursery(make_manager(9)) as opened:
            task_status.started(opened.manager.our_node_id)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        assert await nursery.start(serve, nursery) == identity(9)
        nursery.cancel_scope.cancel()
    # What it has functions take: a callable and its arguments. Our methods are such callables.
    async with open_pair() as pair, pair.to_near.subscribe(Ping) as inbox, trio.open_nursery() as nursery:
        start_soon = trio_typing.takes_callable_and_args(nursery.start_soon)
        start_soon(pair.to_far.ping, 3)
        assert (await anext(inbox)).num_pong_bytes == 3


async def test_what_is_iterated_and_what_is_entered() -> None:
    async with open_pair() as pair:
        for one in (pair.near.subscribe(), pair.near.events(), pair.to_far.subscribe(Ping)):
            assert isinstance(one, AsyncIterator)
            assert isinstance(one, AbstractAsyncContextManager)
    assert isinstance(open_peer_nursery(make_manager(3)), AbstractAsyncContextManager)


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert PeerNursery.connect.__annotations__["return"] == "Peer"


@pytest.mark.parametrize("name", ["messages", "wire", "errors", "policy", "address", "features", "peer_manager"])
def test_importing_the_package_is_enough_for_its_files(name: str) -> None:
    program = f"import triolight; print(triolight.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"triolight.{name}\n"
