"""The processes that benchmarks talk to: triolight's own and others', by JSON lines. Nothing is measured here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
LDK: Final = ROOT / "interop" / "ldk_native" / ".build" / "release" / "ldk-node"
BRONTIDE: Final = ROOT / "interop" / "lnd" / ".build" / "brontide"
LND: Final = ROOT / "interop" / "lnd" / ".build" / "lnd"
PYLN: Final = ROOT / "interop" / "pyln" / ".venv" / "bin" / "python"


class Node:
    """A process; its answers are waited for by blocking."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        self._count = 0
        self._events: deque[dict[str, Any]] = deque()
        self.ready: Final = self.event("ready")
        self.node_id: str = self.ready["node_id"]
        self.port: int = self.ready["port"]

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()

    def _line(self) -> dict[str, Any]:
        if self.process.stdout is None:
            raise RuntimeError("its output is not ours to read")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def command(self, cmd: str, **arguments: Any) -> dict[str, Any]:
        return self.commands((cmd, arguments))

    def commands(self, *those: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        """All of them in one go; the answer to the last one."""
        if self.process.stdin is None:
            raise RuntimeError("its input is not ours to write")
        told = b""
        for cmd, arguments in those:
            self._count += 1
            told += json.dumps({"id": self._count, "cmd": cmd, **arguments}).encode() + b"\n"
        self.process.stdin.write(told)
        self.process.stdin.flush()
        while (found := self._line()).get("id") != self._count:
            if found["event"] != "reply":
                self._events.append(found)
        return found

    def event(self, kind: str) -> dict[str, Any]:
        while True:
            found = self._events.popleft() if self._events else self._line()
            if found["event"] == kind:
                return found


def module_of(python: str, name: str) -> list[str]:
    """A module of ours, run by that Python: what its environment has of triolight goes before the source beside us."""
    program = f"import runpy, sys; sys.path.append({str(ROOT)!r}); runpy.run_module({name!r}, alter_sys=True"
    return [python, "-P", "-c", program + ", run_name='__main__')"]


def compiled(python: str, *options: str) -> Node:
    """Ours, by a Python whose environment has a compiled wheel (docs/compiled.md)."""
    return Node(*module_of(python, "benchmarks.node"), *options)


def triolight(*options: str) -> Node:
    return Node(sys.executable, "-m", "benchmarks.node", *options)


def ldk(*options: str) -> Node:
    """Native LDK; FileNotFoundError if it was not built (interop/ldk_native)."""
    return Node(str(LDK), *options)


MAKERS: Final = {"triolight": triolight, "LDK": ldk}


@contextmanager
def joined(sender: str, receiver: str, *options: str, python: str = "") -> Iterator[tuple[Node, Node]]:
    """Two nodes by name; the first has dialled the second. One called "compiled" is run by `python`."""
    makers: dict[str, Callable[..., Node]] = {**MAKERS, "compiled": partial(compiled, python)}
    with makers[sender](*options) as one, makers[receiver](*options) as other:
        one.command("connect", node_id=other.node_id, port=other.port)
        while not (one.command("peers")["peers"] and other.command("peers")["peers"]):
            pass
        yield one, other
