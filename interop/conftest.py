"""Real nodes for the tests in this folder. Without its toolchain a test skips and says what is missing; with
TRIOLIGHT_INTEROP_REQUIRED=1, as in CI, it fails instead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

HERE = Path(__file__).parent


def missing(what: str) -> None:
    """Skips, or fails where nothing may be missing."""
    if os.environ.get("TRIOLIGHT_INTEROP_REQUIRED") == "1":
        pytest.fail(f"needed here, and missing: {what}")
    pytest.skip(f"missing: {what}")


class LdkNode:
    """An LDK PeerManager in a process of its own, by its JSON lines."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = b""
        self._count = 0
        self._events: deque[dict[str, Any]] = deque()
        self.node_id = b""
        self.port = 0

    async def _line(self) -> dict[str, Any]:
        stdout = self._process.stdout
        if stdout is None:
            raise RuntimeError("its output is not ours to read")
        while True:
            while b"\n" not in self._buffer:
                more = await stdout.receive_some(65536)
                if not more:
                    raise RuntimeError(f"the LDK node has ended: {self._buffer!r}")
                self._buffer += more
            line, _, self._buffer = self._buffer.partition(b"\n")
            if line.startswith(b"{"):  # LDK greets with a line of its own
                found: dict[str, Any] = json.loads(line)
                if found["event"] == "fatal":
                    raise RuntimeError(found["error"])
                return found

    async def command(self, cmd: str, **arguments: Any) -> dict[str, Any]:
        """Its reply; events that come before it are kept."""
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("its input is not ours to write")
        self._count += 1
        await stdin.send_all(json.dumps({"id": self._count, "cmd": cmd, **arguments}).encode() + b"\n")
        while True:
            event = await self._line()
            if event["event"] == "reply" and event["id"] == self._count:
                return event
            self._events.append(event)

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind; others are dropped."""
        while True:
            event = self._events.popleft() if self._events else await self._line()
            if event["event"] == kind:
                return event


@asynccontextmanager
async def open_ldk(*options: str) -> AsyncIterator[LdkNode]:
    if shutil.which("node") is None:
        missing("node (Node.js 20 or later)")
    if not (HERE / "ldk" / "node_modules" / "lightningdevkit").is_dir():
        missing("the npm package lightningdevkit: run `npm ci` in interop/ldk")
    process = await trio.lowlevel.open_process(
        ["node", str(HERE / "ldk" / "node.mjs"), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        node = LdkNode(process)
        with trio.fail_after(60):
            ready = await node.event("ready")
        node.node_id, node.port = bytes.fromhex(ready["node_id"]), ready["port"]
        yield node
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()


@pytest.fixture
def ldk() -> Callable[..., Any]:
    return open_ldk
