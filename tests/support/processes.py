"""The `triolight` command as its users have it: a process, its pipes, its exit code. No test here.

Nothing sleeps. What a process does is waited for in its output; one that hangs is killed by a watchdog, and then its
output ends and the test fails.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio

from tests.support.project import ROOT

COMMAND = [sys.executable, "-W", "error", "-m", "triolight.cli"]
PATIENCE = 60.0
"""Seconds after which a process is taken to hang. No test waits for it unless something is broken."""
GOODBYE = "the peer closed the connection, after saying: shutting down"
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


class Running:
    """A `triolight` process. Its stdout is read line by line, its stderr goes to a file."""

    def __init__(self, *arguments: str | Path, **options: Any) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._errors = Path(self._directory.name) / "stderr"
        options = {"stdout": subprocess.PIPE, **options}
        with self._errors.open("wb") as errors:
            self.process: subprocess.Popen[str] = subprocess.Popen(
                [*COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL, stderr=errors, text=True, **options
            )
        self._watchdog = threading.Timer(PATIENCE, self.process.kill)
        self._watchdog.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.cancel()
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._directory.cleanup()

    @property
    def errors(self) -> str:
        """Its stderr so far."""
        return self._errors.read_text()

    def line(self, *words: str) -> str:
        """The next line of its stdout that has all these words in it."""
        stdout = self.process.stdout
        assert stdout is not None
        for line in stdout:
            if all(word in line for word in words):
                return line.rstrip("\n")
        raise AssertionError(f"the output ended without {words}; stderr: {self.errors}")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def finish(self) -> tuple[int, list[str]]:
        """Its exit code, and the rest of its stdout."""
        stdout = self.process.stdout
        rest = [] if stdout is None else stdout.read().splitlines()
        return self.process.wait(), rest


def run(*arguments: str | Path, **options: Any) -> tuple[int, list[str], str]:
    """A command from start to end: exit code, stdout, stderr."""
    with Running(*arguments, **options) as command:
        code, lines = command.finish()
        return code, lines, command.errors


@contextmanager
def unread() -> Iterator[int]:
    """A pipe that nobody reads any more: what a command writes to."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def unseen() -> Iterator[int]:
    """A terminal that is gone."""
    ours, theirs = pty.openpty()
    os.close(ours)
    yield theirs
    os.close(theirs)


@contextmanager
def listening(*options: str | Path) -> Iterator[tuple[Running, str]]:
    """A `triolight listen`, and the address to dial it at."""
    with Running("listen", "--port", "0", "--json", *options) as listener:
        first = json.loads(listener.line())
        assert first["event"] == "listening"
        yield listener, f"{first['node_id']}@{first['host']}:{first['port']}"


@asynccontextmanager
async def python(*arguments: str, folder: Path | None = None) -> AsyncIterator[trio.Process]:
    """A Python program beside a test that is a task of Trio: its `stdout` and `stderr` are streams."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-u", "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with trio.fail_after(PATIENCE):
            yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def lines_of(stream: trio.abc.ReceiveStream | None) -> AsyncIterator[str]:
    """What a program says, line by line, until its end."""
    assert stream is not None
    pending = b""
    async for chunk in stream:
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield line.decode()


def open_files() -> set[str]:
    """The sockets of this process."""
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:"):
                found.add(target)
    return found


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """In a folder that nobody may write; and who runs the tests as root is nobody meanwhile."""
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
