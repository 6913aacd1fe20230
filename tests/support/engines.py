"""A server that speaks the Redis protocol, started by the tests that want one and ended by its pid. No test here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from triolight.cluster.bus import EngineAway
from triolight.cluster.redis import open_bus

SERVER = shutil.which("valkey-server") or shutil.which("redis-server")
MOST_WRITTEN = 512 * 1024 * 1024
"""Bytes: more than all servers of a test run write at a time."""
WITHOUT = "no valkey-server and no redis-server here: Debian has both, as packages of these names"


@contextmanager
def a_directory() -> Iterator[Path]:
    """In memory, where there is room: each answer waits for what is written, and a disk that is busy with something
    else may take longer for that than an engine may be away. A socket's path is short; those of pytest are not."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MOST_WRITTEN
    with tempfile.TemporaryDirectory(prefix="engine", dir=memory if has_room else None) as directory:
        yield Path(directory)


class Server:
    """One server, in a directory of its own, on a Unix socket there."""

    def __init__(self, directory: Path) -> None:
        if SERVER is None:
            (pytest.fail if os.environ.get("TRIOLIGHT_ENGINE_REQUIRED") else pytest.skip)(WITHOUT)
        self.directory = directory
        self.url = f"unix://{directory}/s"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """It forgets nothing that it has answered."""
        command = [str(SERVER), "--port", "0", "--unixsocket", f"{self.directory}/s", "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--logfile", "log", *more]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self, with_: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(with_)
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """0: it does not run."""
        return 0 if self._process is None else self._process.pid

    def signal(self, number: int) -> None:
        """Freezes it, or lets it go on."""
        if self._process is not None:
            self._process.send_signal(number)

    async def answers(self) -> None:
        """Waits until it does, and for no more than a minute."""
        with trio.fail_after(60):
            async with open_bus(self.url) as bus:
                while True:
                    try:
                        await bus.back()
                    except EngineAway:
                        await trio.sleep(0.02)  # a process that starts has no event for us
                    else:
                        return


@contextmanager
def open_server(*, starts: bool = True, **files: bytes) -> Iterator[Server]:
    """One in a directory of its own, with these files there, ended with the block."""
    with a_directory() as directory:
        for name, data in files.items():
            (directory / name).write_bytes(data)
        server = Server(directory)
        try:
            if starts:
                server.start()
            yield server
        finally:
            server.kill()


async def say(server: Server, *commands: tuple[str | bytes, ...]) -> list[bytes]:
    """Commands, one after the other, as nobody of ours says them; the first line of each answer."""
    answers: list[bytes] = []
    async with await trio.open_unix_socket(server.url.removeprefix("unix://")) as stream:
        for command in commands:
            parts = [one.encode() if isinstance(one, str) else one for one in command]
            head = b"*%d\r\n" % len(parts)
            await stream.send_all(head + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in parts))
            answer = b""
            while b"\r\n" not in answer:
                answer += await stream.receive_some()
            answers.append(answer.partition(b"\r\n")[0])
    return answers
