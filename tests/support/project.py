"""Where the project's files are, and what the page of the design lists. No test here."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "triolight"
DESIGN = (ROOT / "docs" / "design.md").read_text()


def floors_of(page: str) -> list[str]:
    """The files of the first list on the page of the design, in its order, from the ground up: ``noise``,
    ``messages/declare``. What is indented stands in the package above it, whose own ``__init__`` comes after it all if
    it is not listed itself; a package without such lines is one floor, also inside another one."""
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
            found.append(f"{package}/{name}" + ("/__init__" if slash == "/" else ""))
    leave()
    return found


FLOORS = floors_of(DESIGN)
"""A file imports only from floors above it in this list, which stands in the design and nowhere else."""
WITHOUT_TRIO = FLOORS[: FLOORS.index("latch")]
FILES = sorted(PACKAGE.rglob("*.py"))
