"""A whole LND as a process of its own, by its REST calls, with a chain or without one."""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from interop.programs import HERE, Program, free_ports, missing, start_program

NO_CHAIN: Final = ("--bitcoin.regtest", "--bitcoin.node=nochainbackend")


class LndRefuses(Exception):
    """LND's REST has answered with an error: its words."""


class LndNode:
    """A running LND."""

    def __init__(self, rest: str, certificate: Path) -> None:
        self._rest = rest
        self._context = ssl.create_default_context(cafile=str(certificate))
        self.node_id = b""
        self.port = 0
        self.pid = 0

    def _call(self, method: str, path: str, body: dict[str, Any] | None, stream: bool) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._rest}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, context=self._context) as answer:
                if not stream:
                    found: dict[str, Any] = json.load(answer)
                    return found
                line: dict[str, Any] = json.loads(answer.readline())
        except urllib.error.HTTPError as error:
            said = json.load(error)
            # A stream's has a wrapping of its own.
            raise LndRefuses(said.get("error", said)["message"]) from None
        if "error" in line:
            raise LndRefuses(line["error"]["message"])
        result: dict[str, Any] = line["result"]
        return result

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, stream: bool = False
    ) -> dict[str, Any]:
        """Of a `stream` the first thing that it says."""
        return await trio.to_thread.run_sync(self._call, method, path, body, stream, abandon_on_cancel=True)

    async def info(self) -> dict[str, Any]:
        return await self.call("GET", "/v1/getinfo")

    async def peers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.call("GET", "/v1/peers"))["peers"]
        return found

    async def dial(self, node_id: bytes, port: int, host: str = "127.0.0.1") -> None:
        address = {"pubkey": node_id.hex(), "host": f"{host}:{port}"}
        await self.call("POST", "/v1/peers", {"addr": address, "perm": False})

    async def hang_up(self, node_id: bytes) -> None:
        await self.call("DELETE", f"/v1/peers/{node_id.hex()}")


@dataclass(frozen=True)
class StartedLnd:
    """One that may not listen yet."""

    program: Program
    listen: int
    rest: int

    async def ready(self) -> LndNode:
        """It, as soon as it takes calls and peers. With a chain it waits for that first."""
        node: LndNode | None = None
        while node is None or not node.node_id:
            self.program.check()
            # Its own start is the one thing here that has to be asked for again and again.
            await trio.sleep(0.1)
            with suppress(OSError, LndRefuses, ssl.SSLError):
                node = node or LndNode(f"https://127.0.0.1:{self.rest}", self.program.folder / "tls.cert")
                # Its RPCs answer before the server behind them is up; then dials are refused.
                if (await node.call("GET", "/v1/state"))["state"] != "SERVER_ACTIVE":
                    continue
                node.node_id = bytes.fromhex((await node.info())["identity_pubkey"])
        node.port, node.pid = self.listen, self.program.pid
        # Its peer port opens last.
        while True:
            with suppress(OSError):
                await (await trio.open_tcp_stream("127.0.0.1", self.listen)).aclose()
                return node
            await trio.sleep(0.1)


@contextmanager
def start_lnd(*options: str, listen: int = 0) -> Iterator[StartedLnd]:
    """`listen`: a port for its peers; 0 is any. Leaving the block kills it."""
    program = HERE / "lnd" / ".build" / "lnd"
    if not program.is_file():
        where = "" if shutil.which("go") else "Go 1.25.10 or later, and "
        missing(f"{where}LND: run `go build -o .build/lnd github.com/lightningnetwork/lnd/cmd/lnd` in interop/lnd")
    free, rpc, rest = free_ports(3)
    peers = listen or free

    def command(folder: Path) -> list[str]:
        return [
            str(program),
            f"--lnddir={folder}",
            "--noseedbackup",
            "--no-macaroons",
            "--nobootstrap",
            f"--listen=127.0.0.1:{peers}",
            f"--rpclisten=127.0.0.1:{rpc}",
            f"--restlisten=127.0.0.1:{rest}",
            *options,
        ]

    with start_program(command) as started:
        yield StartedLnd(started, peers, rest)


@asynccontextmanager
async def open_lnd(*options: str, chain: tuple[str, ...] = NO_CHAIN) -> AsyncIterator[LndNode]:
    with start_lnd(*chain, *options) as started:
        with trio.fail_after(60):
            node = await started.ready()
        yield node
