"""Where the tests are: a file for each file of the library, and who imports what, and who looks inside."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.project import FILES, PACKAGE, ROOT

TESTS = ROOT / "tests"
MODULES = sorted(TESTS.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})

WITHOUT_A_TEST = {
    **{
        f"cli/jobs/{name}.py": f"what the command does: cli/test_{name}.py tests it with what it is asked"
        for name in (
            "check",
            "crawl",
            "demo",
            "fetch_invoice",
            "fleet",
            "front",
            "graph",
            "graph_files",
            "graph_serve",
            "listen",
            "lsps",
            "onion",
            "ping",
            "record",
            "record_start",
            "storage",
            "top",
        )
    },
    "cli/jobs/found.py": "the first step of two commands: cli/test_crawl.py tests it, and cli/test_record_start.py",
    "cli/jobs/metrics.py": "a page beside three commands: cli/test_listen.py and cli/test_graph_serve.py ask it",
    "cli/jobs/plots.py": "the last step of two commands: cli/test_record.py and cli/test_graph.py test it with them",
    "cli/__main__.py": "one call; the tests of the command run it as a process",
    "shell/parts.py": "names for the parts; the snapshot that it makes of them is shell/test_statistics.py's",
}
"""The files of the library that have no file of tests, and why."""
OF_NO_FILE = {
    "cluster/test_faults.py": "a whole fleet on a real server, and what may happen to it",
    "cluster/test_parked.py": "who waits at a front, which has a file of tests as long as it may be",
    "manager/test_state_machine.py": "all of the manager, whatever happens to it",
    "messages/test_bolts.py": "all messages of all BOLTs, against the BOLTs' own tables",
}
"""The files of tests beside the library's that are no file's."""
FREE_FOLDERS = ("golden", "project", "rules", "support")
"""Of no package: their files are called after what they hold."""
INSIDE = "support/inside.py"
OTHERS_INSIDES = {"testing/test_determinism.py": "Trio's own, which `run_seeded` has to put back"}


def shown(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def is_test(path: Path) -> bool:
    return path.name.startswith("test_")


def test_every_file_of_the_library_has_a_file_of_tests() -> None:
    files = {path.relative_to(PACKAGE) for path in FILES if path.name != "__init__.py"}
    lacking = {path.as_posix() for path in files if not (TESTS / path.parent / f"test_{path.name}").exists()}
    assert lacking == {*WITHOUT_A_TEST}
    for path in files:
        if path.as_posix() not in WITHOUT_A_TEST:
            names = [getattr(node, "name", "") for node in ast.parse(of(path).read_text()).body]
            assert any(name.startswith("test_") for name in names), f"{path}: its file of tests has none"


def of(path: Path) -> Path:
    return TESTS / path.parent / f"test_{path.name}"


def test_every_file_of_tests_is_of_a_file_of_the_library() -> None:
    """Or stands where the rules and the project have theirs: no room for what was left over."""
    strange = {
        shown(path)
        for path in MODULES
        if is_test(path)
        and path.relative_to(TESTS).parts[0] not in FREE_FOLDERS
        and not (PACKAGE / path.relative_to(TESTS).parent / path.name.removeprefix("test_")).exists()
    }
    assert strange == {*OF_NO_FILE}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_folder_says_what_it_holds(folder: Path) -> None:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert docstring
    assert docstring.split("\n")[0].endswith(".")


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=shown)
def test_no_test_imports_from_another_one_and_none_looks_inside(path: Path) -> None:
    """Helpers neither: what several tests share is in support, or in a file that is no test."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for module in imported(node):
            parts = module.split(".")
            if parts[0] == "tests":
                assert not any(part.startswith("test_") for part in parts), f"imports {module}"
            if parts[0] == "triolight" and shown(path) != INSIDE:
                assert not any(part.startswith("_") for part in parts), f"imports {module}"
        if isinstance(node, ast.Attribute) and shown(path) not in (INSIDE, *OTHERS_INSIDES):
            private = node.attr.startswith("_") and not node.attr.startswith("__") and node.attr != "_replace"
            assert not private or is_own(node.value), f"line {node.lineno} looks inside, at {node.attr}: {INSIDE}"


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports hide where it comes from"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def is_own(value: ast.expr) -> bool:
    """Whether it is what a class may see of itself, and of what it is made from."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def test_what_is_shared_holds_no_test() -> None:
    for path in (TESTS / "support").rglob("*.py"):
        assert not is_test(path)
        tree = ast.parse(path.read_text())
        assert "o test here" in (ast.get_docstring(tree) or ""), f"{shown(path)} does not say so"
        named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert not any(node.name.startswith("test_") for node in ast.walk(tree) if isinstance(node, named))
