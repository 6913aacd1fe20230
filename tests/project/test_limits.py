"""How large a file, a class and an object may be, so that a reader can hold one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import FILES, PACKAGE

LINES_OF_A_FILE = 700
LINES_OF_A_CLASS = 600
FIELDS = 20
AS_THE_BOLTS_HAVE_THEM = ("message", "structure", "tlv_stream")
"""Decorators of classes whose fields are not ours to choose."""


def classes(path: Path) -> Iterator[ast.ClassDef]:
    return (one for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.ClassDef))


def fields_of(cls: ast.ClassDef) -> int:
    """Its slots, the fields of a dataclass or of a NamedTuple, or what its own methods give it."""
    decorators = " ".join(map(ast.unparse, cls.decorator_list))
    declared = "dataclass" in decorators or any(ast.unparse(base) == "NamedTuple" for base in cls.bases)
    annotated = [
        one for one in cls.body if isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.unparse(one.annotation)
    ]
    slots = [
        len(one.value.elts)
        for one in cls.body
        if isinstance(one, ast.Assign)
        and any(ast.unparse(target) == "__slots__" for target in one.targets)
        and isinstance(one.value, ast.Tuple)
    ]
    given = {
        one.attr
        for method in cls.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
        for one in ast.walk(method)
        if isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and isinstance(one.value, ast.Name)
        and one.value.id == "self"
    }
    return max([*slots, len(annotated) if declared else 0, len(given)])


def test_what_is_counted() -> None:
    (one,) = ast.parse("@dataclass(slots=True)\nclass A:\n    a: int\n    b: ClassVar[int] = 1\n    c: int = 2").body
    (two,) = ast.parse("class A:\n    __slots__ = ('a', 'b', 'c')\n    x: int").body
    (three,) = ast.parse("class A(NamedTuple):\n    a: int").body
    (four,) = ast.parse("class A:\n    def f(self):\n        self.a = self.b = self.c\n        self.a += 1").body
    assert [fields_of(cls) for cls in (one, two, three, four) if isinstance(cls, ast.ClassDef)] == [2, 3, 1, 2]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_is_too_large(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_OF_A_FILE
    for cls in classes(path):
        assert (cls.end_lineno or 0) - cls.lineno < LINES_OF_A_CLASS, cls.name
        if not any(ast.unparse(one).partition("(")[0] in AS_THE_BOLTS_HAVE_THEM for one in cls.decorator_list):
            assert fields_of(cls) <= FIELDS, f"{cls.name} has {fields_of(cls)} fields"
