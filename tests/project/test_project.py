"""What the project promises about itself: floors, laws, public names, documents; and that trio-typing fits in."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

import triolight
from tests.support import identity, make_manager, open_pair, port_of
from triolight import (
    DisconnectCode,
    NodeAddress,
    PeerConnected,
    PeerDisconnected,
    PeerNursery,
    Side,
    open_peer_nursery,
)
from triolight.messages import BOLT, Ping

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "triolight"

DESIGN = (ROOT / "docs" / "design.md").read_text()


def floors_of(page: str) -> list[str]:
    """The files of the first list on the page of the design, in its order, from the ground up: ``noise``,
    ``messages/declare``. What is indented stands in the package above it, whose own ``__init__`` comes after it all if
    it is not listed itself; a package without such lines is one floor."""
    listed = page.partition("\n## Floors\n")[2].split("```")[1]
    found: list[str] = []
    package = ""

    def leave() -> None:
        if package and f"{package}/__init__" not in found:
            found.append(f"{package}/__init__")

    for indent, name, slash in re.findall(r"^( *)(\w+)(/|\.py) +\S", listed, re.MULTILINE):
        if not indent:
            leave()
            package = name if slash == "/" else ""
            found += [name] * (not package)
        else:
            found.append(f"{package}/{name}")
    leave()
    return found


FLOORS = floors_of(DESIGN)
"""A file imports only from floors above it in this list, which stands in the design and nowhere else."""
WITHOUT_TRIO = FLOORS[: FLOORS.index("descriptor")]
MESSAGES_ARE_MADE_BY = ("structures", "compile", "declare", "registry")
INSIDE_MESSAGES = (*MESSAGES_ARE_MADE_BY, "bolt1", "bolt2", "bolt4", "bolt7", "lsps", "outside")
"""Those of the BOLTs import bases and decorators, and not each other; `__init__` imports them all."""
MAY_START_TASKS = ("nursery", "testing", "cli")
"""The commands of `cli` are programs, and use what programs use; so do tests, and what they are written with."""
STARTS_TASKS = {"start_soon", "open_nursery", "spawn_system_task", "serve_tcp", "serve_listeners"}
FILES = sorted(PACKAGE.rglob("*.py"))


def floor_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE).with_suffix("")
    return str(inside) if str(inside) in FLOORS else f"{inside.parts[0]}/__init__"


def floor_of_import(name: str) -> str:
    """Of ``triolight.messages.declare.Message``: the floor that it stands on; empty if that is none."""
    first, *rest = name.split(".")[1:]
    inside = "/".join((first, *rest[:1]))
    return next((one for one in (inside, f"{first}/__init__", first) if one in FLOORS), "")


def imports(tree: ast.Module) -> set[str]:
    """What a file imports at run time, as `package.module.name`."""
    found: set[str] = set()
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
        elif isinstance(statement, ast.ImportFrom):
            assert not statement.level, "relative imports hide the floor"
            found |= {f"{statement.module}.{alias.name}" for alias in statement.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_file_keeps_its_floor_and_opens_with_its_law(path: Path) -> None:
    tree = ast.parse(path.read_text())
    docstring = ast.get_docstring(tree)
    assert docstring
    assert docstring.split("\n")[0].endswith((".", ":"))
    if path == PACKAGE / "__init__.py":
        return
    floor = floor_of(path)
    top = floor.partition("/")[0]
    used = imports(tree)
    for name in used:
        if name.partition(".")[0] != "triolight":
            continue
        other = floor_of_import(name)
        if other:
            assert FLOORS.index(other) <= FLOORS.index(floor), f"{floor} imports {name}"
        else:
            assert top == "cli", f"{floor} imports {name} from the front of the house, which stands on all floors"
    if top == "messages" and path.stem in INSIDE_MESSAGES:
        neighbours = {name.split(".")[2] for name in used if name.startswith("triolight.messages.")}
        before = MESSAGES_ARE_MADE_BY[: INSIDE_MESSAGES.index(path.stem)]
        assert neighbours <= ({*before} if path.stem in MESSAGES_ARE_MADE_BY else {"structures", "declare"})
    tops = {name.split(".")[0] for name in used}
    if floor in WITHOUT_TRIO:
        assert "trio" not in tops
    assert ("coincurve" in tops) == (floor == "keys")
    assert ("cryptography" in tops) == (floor == "ciphers")
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            assert "Exception" not in {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and top != "cli":
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert "timeout" not in names
        if isinstance(node, ast.Attribute) and node.attr in STARTS_TASKS:
            assert top in MAY_START_TASKS, f"tasks are started in nursery.py alone: line {node.lineno}"
    if top not in MAY_START_TASKS:
        assert not {name.split(".")[-1] for name in used} & STARTS_TASKS


def test_every_file_has_a_floor() -> None:
    """And every floor a file."""
    files = {str(path.relative_to(PACKAGE).with_suffix("")) for path in FILES} - {"__init__"}
    listed = {one for one in FLOORS if one in files}
    assert listed == {*FLOORS}
    assert len(FLOORS) == len(listed)
    # A package that is not spelled out is one floor: whatever else is in it stands there too.
    assert {floor_of(PACKAGE / f"{one}.py") for one in files} == listed
    assert {path.stem for path in (PACKAGE / "messages").glob("*.py")} == {*INSIDE_MESSAGES, "__init__"}


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


@pytest.mark.parametrize("floor", WITHOUT_TRIO)
def test_what_stands_above_the_line_loads_no_trio(floor: str) -> None:
    name = f"triolight.{floor.replace('/', '.').removesuffix('.__init__')}"
    program = f"import sys, {name}; print('trio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_reasons_are_documented() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "reasons.md").read_text(), re.MULTILINE)
    assert documented == [code.value for code in DisconnectCode]


BOUNDS = DESIGN + (ROOT / "docs" / "policy.md").read_text()
UNITS = {"KiB": 1024, "MiB": 1024 * 1024}


def test_the_design_has_every_bound_with_its_value() -> None:
    rows = re.findall(r"^\| `([\w.]+)\.([A-Z_]+)` \| ([\d,.]+) ?(\w*) \| \S", BOUNDS, re.MULTILINE)
    documented = {
        (module, name): float(number.replace(",", "")) * UNITS.get(unit, 1) for module, name, number, unit in rows
    }
    assert len(documented) == len(rows)
    for (module, name), value in documented.items():
        assert getattr(importlib.import_module(f"triolight.{module}"), name) == value, f"{module}.{name}"
    # Where the bounds are, every number that has a name is one.
    defined: set[tuple[str, str]] = set()
    bounded = ("connection", "policy", "peer_manager", "descriptor", "ways", "websocket", "nursery")
    for floor in FLOORS:
        if floor not in bounded and not floor.startswith(("manager/", "shell/")):
            continue
        module = floor.replace("/", ".")
        for node in ast.parse((PACKAGE / f"{floor}.py").read_text()).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.isupper():
                name = node.target.id
                value = getattr(importlib.import_module(f"triolight.{module}"), name)
                if not name.startswith("_") and isinstance(value, int | float):
                    defined.add((module, name))
    assert defined <= documented.keys(), "its table of bounds lacks something"


def test_the_design_has_every_deadline_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", DESIGN, re.MULTILINE)
    parameters = inspect.signature(open_peer_nursery).parameters.values()
    assert [(name, int(seconds)) for name, seconds in rows] == [
        (one.name, one.default) for one in parameters if one.name.endswith(("_deadline", "_interval"))
    ]


def test_versions_agree_and_dependencies_stay_three() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.metadata.version("triolight") == project["version"]
    assert [re.split(r"[<>=]", one)[0] for one in project["dependencies"]] == ["trio", "coincurve", "cryptography"]


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("websocket", "wsproto", "ws"),
        ("metrics", "prometheus_client", "metrics"),
        ("seeds", "dns", "dns"),
        ("testing.strategies", "hypothesis", "test"),
    ],
)
def test_what_needs_an_extra_says_so(module: str, missing: str, extra: str) -> None:
    words = f"the extra '{extra}': pip install 'triolight[{extra}]'"
    program = f"""
import sys
sys.modules[{missing!r}] = None
try:
    import triolight.{module}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert words in done.stdout
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]


def example(document: str) -> str:
    """The first Python in a document."""
    found = re.search(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


async def test_the_readmes_tutorial_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    source = example("README.md")
    async with (
        open_peer_nursery(make_manager(2)) as far,
        far.events() as events,
        far.subscribe(Ping) as pings,
    ):
        address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
        source, dialled = re.subn(r'"02ab\S*"', repr(str(address)), source)
        source, started = re.subn(r"^trio\.run\(main\)$", "", source, flags=re.MULTILINE)
        assert (dialled, started) == (1, 1)
        scope: dict[str, Any] = {}
        exec(compile(source, "README.md", "exec"), scope)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scope["main"])
                connected = await anext(events)
                assert isinstance(connected, PeerConnected)
                await anext(pings)
                await connected.peer.disconnect("that was the tutorial")
            ended = await anext(events)
        assert isinstance(ended, PeerDisconnected)
        assert ended.reason.by is Side.US
    printed = capsys.readouterr().out
    assert "option_data_loss_protect" in printed
    assert "PEER_CLOSED (by peer)" in printed
    assert "that was the tutorial" in printed.splitlines()[-1]


def test_the_example_of_messages_declares_and_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("an_application")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(example("docs/messages.md"), "docs/messages.md", "exec"), vars(module))
    (kind,) = set(module.messages) - set(BOLT)
    price = module.Price(amount_msat=5, currency=b"sat")
    sent = kind(
        id=bytes(32), items=(price, price), tlvs=module.QuoteTlvs(price=price, nodes=(identity(1),), final=True)
    )
    assert module.messages.decode(sent.encode()) == sent


def test_the_page_of_messages_is_made_from_the_declarations() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_every_message.py"))["page"]()
    assert made == (ROOT / "docs" / "every_message.md").read_text(), "run docs/make_every_message.py"
    for cls in BOLT:
        assert f"\n### {cls.name} ({cls.type})\n" in made


def links() -> list[tuple[str, str]]:
    """Document and target of each link that leads to a file of ours, or names one."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    found: dict[tuple[str, str], None] = {}
    for document in documents:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            if not re.match(r"[a-z]+:|#", target):
                found[str(document.relative_to(ROOT)), target.partition("#")[0]] = None
    return list(found)


@pytest.mark.parametrize(("document", "target"), links())
def test_every_link_leads_to_a_file(document: str, target: str) -> None:
    assert (ROOT / document).parent.joinpath(target).exists()


def test_the_readmes_commands_are_what_ci_runs() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert len(re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)) == 2
    assert 'grep -m1 "pytest -q" README.md' in ci


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
