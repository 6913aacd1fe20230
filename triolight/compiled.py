"""Which files of the package are compiled, and what a class of one of them must say. Imports nothing of the library.

A wheel may hold some modules compiled by mypyc from the same source (docs/compiled.md); Python then takes those instead
of the source beside them. Nothing else tells the two builds apart.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    # The compiler knows it by this name; at run time nobody needs it.
    from mypy_extensions import mypyc_attr as mypyc_attr
else:
    T = TypeVar("T")

    def mypyc_attr(**_attributes: bool) -> Callable[[type[T]], type[T]]:
        """For the compiler: with `allow_interpreted_subclasses=True` it calls what a subclass has overridden."""
        return lambda cls: cls


def compiled() -> tuple[str, ...]:
    """The names of the modules that are compiled, sorted; none in a plain build."""
    root = Path(__file__).parent
    found = (path for path in root.rglob("*") if path.name.endswith(tuple(EXTENSION_SUFFIXES)))
    return tuple(
        sorted(".".join((root.name, *path.relative_to(root).parts[:-1], path.name.partition(".")[0])) for path in found)
    )
