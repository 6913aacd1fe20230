"""Floors and laws: what a file imports, what it opens with, what it must not do."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import FILES, FLOORS, PACKAGE, WITHOUT_TRIO

MESSAGES_ARE_MADE_BY = ("structures", "weight", "compile", "declare", "registry")
INSIDE_MESSAGES = (*MESSAGES_ARE_MADE_BY, "bolt1", "bolt2", "bolt4", "bolt7", "lsps", "outside")
"""Those of the BOLTs import bases and decorators, and not each other; `__init__` imports them all."""
MAY_START_TASKS = ("nursery", "services", "cluster", "testing", "cli")
"""A service runs in a block of its own, inside its user's; so do a front and a back. The commands of `cli`
are programs, and use what programs use; so do tests, and what they are written with."""
BINDINGS = {"keys_coincurve": "coincurve", "keys_btclib": "btclib_secp256k1"}
"""Of libsecp256k1: who imports which, and `keys` alone imports them. Not both are installed on every Python."""
STARTS_TASKS = {"start_soon", "open_nursery", "spawn_system_task", "serve_tcp", "serve_listeners"}


def floor_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE).with_suffix("")
    if str(inside) in FLOORS:
        return str(inside)
    return next(f"{one}/__init__" for one in inside.parents if f"{one}/__init__" in FLOORS)


def floor_of_import(name: str) -> str:
    """Of ``triolight.messages.declare.Message``: the floor that it stands on; empty if that is none."""
    parts = name.split(".")[1:]
    places = ("/".join(parts[:count]) for count in (3, 2, 1))
    return next((one for place in places for one in (place, f"{place}/__init__") if one in FLOORS), "")


def imports(nodes: list[ast.AST]) -> set[str]:
    """What a file imports at run time, as `package.module.name`."""
    found: set[str] = set()
    for_checkers = {
        id(inner)
        for outer in nodes
        if isinstance(outer, ast.If) and isinstance(outer.test, ast.Name) and outer.test.id == "TYPE_CHECKING"
        for inner in ast.walk(outer)
    }
    for statement in nodes:
        if id(statement) in for_checkers:
            continue
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            assert not statement.level, "relative imports hide the floor"
            found |= {f"{statement.module}.{alias.name}" for alias in statement.names}
    return found


@pytest.mark.parametrize("floor", ["shell/peer", "shell/inboxes", "shell/news", "shell/keep", "nursery"])
def test_ctrl_c_does_not_land_in_what_programs_await(floor: str) -> None:
    """Raised in the middle of a wait, it breaks the whole run: Trio raises it at the main task's next checkpoint."""
    public = {"Peer", "Inbox", "Events", "Kept", "PeerNursery"}
    for owner in ast.parse((PACKAGE / f"{floor}.py").read_text()).body:
        if not isinstance(owner, ast.ClassDef) or owner.name not in public:
            continue
        for method in owner.body:
            if isinstance(method, ast.AsyncFunctionDef):
                decorators = map(ast.unparse, method.decorator_list)
                assert "trio.lowlevel.enable_ki_protection" in decorators, f"{floor}: {owner.name}.{method.name}"


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
    nodes = [*ast.walk(tree)]
    used = imports(nodes)
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
    for only, binding in BINDINGS.items():
        assert (binding in tops) == (floor == only)
        assert f"triolight.{only}" not in used or floor == "keys"
    assert ("cryptography" in tops) == (floor == "ciphers")
    assert ("coredis" in tops) == (floor == "cluster/redis")
    for node in nodes:
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            assert "Exception" not in {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and top != "cli":
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert "timeout" not in names
        if isinstance(node, ast.Attribute) and node.attr in STARTS_TASKS:
            assert top in MAY_START_TASKS, f"tasks of peers are started in nursery.py alone: line {node.lineno}"
    if top not in MAY_START_TASKS:
        assert not {name.split(".")[-1] for name in used} & STARTS_TASKS


def test_every_file_has_a_floor() -> None:
    """And every floor a file."""
    files = {str(path.relative_to(PACKAGE).with_suffix("")) for path in FILES} - {"__init__"}
    folders = {str(Path(one).parent) for one in files if one.count("/") == 2}
    listed = {one for one in FLOORS if one in files | folders}
    assert listed == {*FLOORS}
    assert len(FLOORS) == len(listed)
    # A package that is not spelled out is one floor: whatever else is in it stands there too.
    assert {floor_of(PACKAGE / f"{one}.py") for one in files} == listed
    assert {path.stem for path in (PACKAGE / "messages").glob("*.py")} == {*INSIDE_MESSAGES, "__init__"}


def test_what_stands_above_the_line_loads_no_trio() -> None:
    """From the top down, in one process: what is there already has loaded none."""
    floors = [one for one in WITHOUT_TRIO if one not in BINDINGS or importlib.util.find_spec(BINDINGS[one])]
    modules = [f"triolight.{one.replace('/', '.').removesuffix('.__init__')}" for one in floors]
    program = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
    if "trio" in sys.modules:
        sys.exit(name)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
