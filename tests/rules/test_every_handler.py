"""Every message of the BOLTs reaches the handler method of its name, on a connection; and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import identity, make_manager
from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    ErroringMessageHandler,
    OnionMessageHandler,
    RoutingMessageHandler,
)
from triolight.messages import BOLT, Error, Message
from triolight.testing import MemoryNode, Wire

VECTORS = Path(__file__).parent.parent / "vectors"
CASES: dict[str, bytes] = {
    case["message"]: bytes.fromhex(case["bytes"])
    for case in json.loads((VECTORS / "message_vectors.json").read_text())["valid"]
}
CASES.pop("init", None)


def listening(base: type[Any], heard: list[tuple[str, bytes, Any]]) -> Any:
    """A handler that notes which of its methods was called, and then does what its base does."""

    def overriding(name: str) -> Callable[..., Any]:
        def method(self: Any, node_id: bytes, message: Any) -> Any:
            heard.append((f"{base.__name__}.{name}", node_id, message))
            return getattr(base, name)(self, node_id, message)

        return method

    methods = {name: overriding(name) for name in dir(base) if name.startswith("handle_")}
    return type(f"Listening{base.__name__}", (base,), methods)()


ROUTING = {256, 257, 258, 261, 262, 263, 264, 265}
CONTROL = {"error": ["ChannelMessageHandler.handle_error"], "warning": [], "ping": [], "pong": []}


def expected(cls: type[Message]) -> list[str]:
    if cls.name in CONTROL:
        return CONTROL[cls.name]
    if cls.name == "start_batch":  # no call of its own: tests/test_batch.py
        return []
    found = []
    if cls.type not in ROUTING or cls.type == 258:
        found.append("ChannelMessageHandler")
    if cls.type in ROUTING:
        found.append("RoutingMessageHandler")
    if cls.type == 513:
        found = ["OnionMessageHandler"]
    return [f"{base}.handle_{cls.name}" for base in found]


@pytest.mark.parametrize("name", CASES)
def test_each_message_reaches_the_method_of_its_name(name: str) -> None:
    message = BOLT.decode(CASES[name])
    assert isinstance(message, Message)
    heard: list[tuple[str, bytes, Any]] = []
    near, far = (
        MemoryNode(make_manager(1)),
        MemoryNode(
            make_manager(
                2,
                chan=listening(ChannelMessageHandler, heard),
                route=listening(RoutingMessageHandler, heard),
                onion=listening(OnionMessageHandler, heard),
                custom=listening(CustomMessageHandler, heard),
            )
        ),
    )
    wire = Wire(near, far).connect()
    near.manager.send_message(identity(2), message)
    wire.run()
    assert heard == [(method, identity(1), message) for method in expected(type(message))]
    assert far.messages == [message]
    # The placeholder refuses new channels and says nothing to anything else.
    answers = [one for one in near.messages if isinstance(one, Error)]
    assert len(answers) == (name in ("open_channel", "open_channel2"))


@pytest.mark.parametrize("name", CASES)
def test_erroring_handler_answers_channel_messages(name: str) -> None:
    message = BOLT.decode(CASES[name])
    near, far = MemoryNode(make_manager(1)), MemoryNode(make_manager(2, chan=ErroringMessageHandler()))
    wire = Wire(near, far).connect()
    near.manager.send_message(identity(2), message)
    wire.run()
    channel_id = getattr(message, "channel_id", None) or getattr(message, "temporary_channel_id", None)
    answers = [one.channel_id for one in near.messages if isinstance(one, Error)]
    quiet = name in ("error", "warning", "start_batch") or channel_id is None
    assert answers == ([] if quiet else [channel_id])


def test_there_is_a_case_for_each() -> None:
    assert set(CASES) >= {cls.name for cls in BOLT} - {"init"}
