"""The real nodes of this folder as programs: what is missing, ports of loopback, how they start and end."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
import trio

HERE = Path(__file__).parent
_PORTS: Final = (16_384, 32_768)


def missing(what: str) -> NoReturn:
    """Skips, or fails where nothing may be missing."""
    if os.environ.get("TRIOLIGHT_INTEROP_REQUIRED") == "1":
        pytest.fail(f"needed here, and missing: {what}")
    pytest.skip(f"missing: {what}")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody had a moment ago. Below those that a system gives to whoever asks for any: some
    programs take theirs half a minute later."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(*_PORTS)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


class JsonNode:
    """A program of this folder's in a process of its own, by its JSON lines."""

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
                    raise RuntimeError(f"the node has ended: {self._buffer!r}")
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

    async def next_event(self) -> dict[str, Any]:
        """Of any kind."""
        return self._events.popleft() if self._events else await self._line()

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind; others are dropped."""
        while True:
            event = await self.next_event()
            if event["event"] == kind:
                return event


class Program:
    """One that writes for people, in a process of its own and a folder that goes with it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], folder: Path, output: Path) -> None:
        self.name, self.folder, self.pid = name, folder, process.pid
        self._process, self._output = process, output

    def check(self) -> None:
        """RuntimeError, with its last words, if it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended with {self._process.returncode}: {self.said()[-2000:]}")

    def said(self) -> str:
        """All that it has written so far."""
        return self._output.read_text(errors="replace")


@contextmanager
def start_program(command: Callable[[Path], Sequence[str]]) -> Iterator[Program]:
    """What to run is asked when the folder is known. Leaving the block kills it, without a word to anybody."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        run, output = command(folder), folder / "stdout"
        with output.open("wb") as stdout:
            process = subprocess.Popen(run, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT)
        try:
            yield Program(run[0], process, folder, output)
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def open_program(*command: str, begins: str = "ready") -> AsyncIterator[tuple[JsonNode, dict[str, Any]]]:
    """Runs a program that speaks JSON lines; what it says of itself when it `begins` to be there comes with it. Leaving
    the block kills it, without a word to anybody."""
    process = await trio.lowlevel.open_process(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        node = JsonNode(process)
        with trio.fail_after(60):
            ready = await node.event(begins)
        yield node, ready
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()
