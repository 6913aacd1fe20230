"""The processes that benchmarks talk to: triolight's own and others', by JSON lines. Nothing is measured here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
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
        ready = self.event("ready")
        self.node_id: str = ready["node_id"]
        self.port: int = ready["port"]

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
        if self.process.stdin is None:
            raise RuntimeError("its input is not ours to write")
        self._count += 1
        self.process.stdin.write(json.dumps({"id": self._count, "cmd": cmd, **arguments}).encode() + b"\n")
        self.process.stdin.flush()
        while (found := self._line()).get("id") != self._count:
            self._events.append(found)
        return found

    def event(self, kind: str) -> dict[str, Any]:
        while True:
            found = self._events.popleft() if self._events else self._line()
            if found["event"] == kind:
                return found


def triolight(*options: str) -> Node:
    return Node(sys.executable, "-m", "benchmarks.node", *options)


def ldk(*options: str) -> Node:
    """Native LDK; FileNotFoundError if it was not built (interop/ldk_native)."""
    return Node(str(LDK), *options)


MAKERS: Final = {"triolight": triolight, "LDK": ldk}


@contextmanager
def joined(sender: str, receiver: str, *options: str) -> Iterator[tuple[Node, Node]]:
    """Two nodes by name; the first has dialled the second."""
    with MAKERS[sender](*options) as one, MAKERS[receiver](*options) as other:
        one.command("connect", node_id=other.node_id, port=other.port)
        while not (one.command("peers")["peers"] and other.command("peers")["peers"]):
            pass
        yield one, other
