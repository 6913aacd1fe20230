"""What the project promises about itself: floors, laws, public names, documents; and that trio-typing fits in."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

import triolight
from tests.support import identity, make_manager, open_pair
from triolight import DisconnectCode, PeerNursery, open_peer_nursery

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "triolight"

FLOORS = [
    "errors",
    "keys",
    "wire",
    "features",
    "address",
    "messages",
    "noise",
    "connection",
    "logger",
    "handlers",
    "peer_manager",
    "descriptor",
    "nursery",
    "cli",
]
"""A file imports only from floors above it in this list."""
WITHOUT_TRIO = FLOORS[: FLOORS.index("peer_manager") + 1]
FILES = sorted(PACKAGE.rglob("*.py"))


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Modules that a file imports at run time."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for_checkers = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.If) and isinstance(outer.test, ast.Name) and outer.test.id == "TYPE_CHECKING"
        for inner in ast.walk(outer)
    }
    for statement in ast.walk(tree):
        if id(statement) in for_checkers:
            continue
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found |= {f"{statement.module}.{alias.name}" for alias in statement.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_file_keeps_its_floor_and_opens_with_its_law(path: Path) -> None:
    tree = ast.parse(path.read_text())
    docstring = ast.get_docstring(tree)
    assert docstring
    assert docstring.split("\n")[0].endswith((".", ":"))
    floor = floor_of(path)
    if floor == "__init__":
        return
    used = imports(path)
    for name in used:
        if name.startswith("triolight."):
            other = name.split(".")[1]
            if other in FLOORS:
                assert FLOORS.index(other) <= FLOORS.index(floor), f"{floor} imports {name}"
    tops = {name.split(".")[0] for name in used}
    if floor in WITHOUT_TRIO:
        assert "trio" not in tops
    assert ("coincurve" in tops) == (floor == "keys")
    assert ("cryptography" in tops) == (floor == "noise")
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            assert "Exception" not in {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and floor != "cli":
            names = [one.arg for one in (*node.args.args, *node.args.kwonlyargs)]
            assert "timeout" not in names
        if isinstance(node, ast.Attribute) and node.attr in ("start_soon", "open_nursery"):
            assert floor in ("nursery", "cli"), "tasks are started in nursery.py alone; a command is a program"


def test_every_file_has_a_floor() -> None:
    assert {floor_of(path) for path in FILES} == {*FLOORS, "__init__"}


PUBLIC = {
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
    "IgnoreAndLog",
    "IgnoreDuplicateGossip",
    "IgnoreError",
    "IgnoringMessageHandler",
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
    "PeerHandleError",
    "PeerManager",
    "PeerNursery",
    "PeerObserver",
    "PeerStatistics",
    "QueueFull",
    "Record",
    "RoutingMessageHandler",
    "SendErrorMessage",
    "SendMessages",
    "SendWarningMessage",
    "Side",
    "SocketDescriptor",
    "StdlibLogger",
    "StreamDescriptor",
    "TriolightError",
    "node_id",
    "open_peer_nursery",
}


def test_the_public_names_are_exactly_these() -> None:
    modules = {*FLOORS, "annotations"}
    assert {name for name in vars(triolight) if not name.startswith("_")} - modules == PUBLIC


def test_the_reasons_are_documented() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "reasons.md").read_text(), re.MULTILINE)
    assert documented == [code.value for code in DisconnectCode]


def test_the_design_names_every_file() -> None:
    text = (ROOT / "docs" / "design.md").read_text()
    listed = [name for name in re.findall(r"^(\w+)(?:\.py|/) ", text, re.MULTILINE) if name in FLOORS]
    assert listed == FLOORS


def test_versions_agree_and_dependencies_stay_three() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.metadata.version("triolight") == project["version"]
    assert [re.split(r"[<>=]", one)[0] for one in project["dependencies"]] == ["trio", "coincurve", "cryptography"]


def test_the_readmes_commands_are_what_ci_runs() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert len(re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)) == 2
    assert 'grep -m1 "pytest -q" README.md' in ci


async def test_our_api_accepts_trio_typings_types() -> None:
    """Programs that still annotate with trio-typing run as they are: with its names, around our objects."""
    trio_typing: Any = pytest.importorskip("trio_typing")

    async def serve(*, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        async with open_peer_nursery(make_manager(9)) as peers:
            task_status.started(peers.manager.our_node_id)
            await trio.sleep_forever()

    serve.__annotations__["task_status"] = trio_typing.TaskStatus[bytes]
    async with trio.open_nursery() as nursery:
        assert isinstance(nursery, trio_typing.Nursery)
        assert await nursery.start(serve) == identity(9)
        nursery.cancel_scope.cancel()

    async def calls(function: Any, *args: Any) -> Any:
        return await function(*args)

    call: Any = trio_typing.takes_callable_and_args(calls)

    # What trio-typing has functions take, a callable and its arguments, our methods are; its iterators, our inboxes.
    async with open_pair() as pair, pair.to_near.subscribe() as inbox:
        assert isinstance(inbox, AsyncIterator)
        assert await call(pair.to_far.ping, 3) > 0
        assert (await call(inbox.__anext__)).num_pong_bytes == 3


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert PeerNursery.connect.__annotations__["return"] == "Peer"
