"""Real nodes for the tests in this folder. Without its toolchain a test skips and says what is missing; with
TRIOLIGHT_INTEROP_REQUIRED=1, as in CI, it fails instead."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from interop import page

HERE = Path(__file__).parent
COLLECTED = pytest.StashKey[page.Collected]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-docs", action="store_true", help="write docs/interop.md from this run")


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "node(name): the real node of a test, where no parameter says it",
        "shows(*capabilities): rows of docs/interop.md that a test is counted in",
        "differs(theirs, ours): what a test asserts of the node, and what we do instead",
    ):
        config.addinivalue_line("markers", marker)
    config.stash[COLLECTED] = page.Collected()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped:
        item.config.stash[COLLECTED].skipped += 1
    elif report.when == "call" and report.passed:
        item.config.stash[COLLECTED].passed(item, report.user_properties)
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption("--write-docs"):
        print("\n" + page.finish(session.config.stash[COLLECTED], session, exitstatus))


def missing(what: str) -> None:
    """Skips, or fails where nothing may be missing."""
    if os.environ.get("TRIOLIGHT_INTEROP_REQUIRED") == "1":
        pytest.fail(f"needed here, and missing: {what}")
    pytest.skip(f"missing: {what}")


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

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind; others are dropped."""
        while True:
            event = self._events.popleft() if self._events else await self._line()
            if event["event"] == kind:
                return event


@asynccontextmanager
async def open_program(*command: str) -> AsyncIterator[tuple[JsonNode, dict[str, Any]]]:
    """Runs a program that speaks JSON lines; what it says of itself when it is ready comes with it. Leaving the block
    kills it, without a word to anybody."""
    process = await trio.lowlevel.open_process(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        node = JsonNode(process)
        with trio.fail_after(60):
            ready = await node.event("ready")
        yield node, ready
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()


def open_node(folder: str, package: str, *options: str) -> AbstractAsyncContextManager[tuple[JsonNode, dict[str, Any]]]:
    """Runs `node.mjs` of a folder."""
    if shutil.which("node") is None:
        missing("node (Node.js 20 or later)")
    if not (HERE / folder / "node_modules" / package).is_dir():
        missing(f"the npm package {package}: run `npm ci` in interop/{folder}")
    return open_program("node", str(HERE / folder / "node.mjs"), *options)


@asynccontextmanager
async def open_ldk_wasm(*options: str) -> AsyncIterator[JsonNode]:
    async with open_node("ldk", "lightningdevkit", *options) as (node, ready):
        node.node_id, node.port = bytes.fromhex(ready["node_id"]), ready["port"]
        yield node


@asynccontextmanager
async def open_ldk_native(*options: str) -> AsyncIterator[JsonNode]:
    program = HERE / "ldk_native" / ".build" / "release" / "ldk-node"
    if not program.is_file():
        where = "" if shutil.which("cargo") else "Rust 1.75 or later, and "
        missing(f"{where}LDK: run `cargo build --release --locked --target-dir .build` in interop/ldk_native")
    async with open_program(str(program), *options) as (node, ready):
        node.node_id, node.port = bytes.fromhex(ready["node_id"]), ready["port"]
        yield node


OpenLdk = Callable[..., AbstractAsyncContextManager[JsonNode]]
LDKS: dict[str, OpenLdk] = {"wasm": open_ldk_wasm, "native": open_ldk_native}


@asynccontextmanager
async def open_lnmessage() -> AsyncIterator[JsonNode]:
    """lnmessage and ws, which wait for commands."""
    async with open_node("lnmessage", "lnmessage") as (node, _):
        yield node


@asynccontextmanager
async def open_lnsocket() -> AsyncIterator[JsonNode]:
    """lnsocket, which only dials, and waits for commands."""
    async with open_node("lnsocket", "lnsocket") as (node, _):
        yield node


@asynccontextmanager
async def open_pyln(*options: str) -> AsyncIterator[JsonNode]:
    """pyln-proto, which listens, and dials when it is told to."""
    venv = HERE / "pyln" / ".venv"
    if not any(venv.glob("lib/python*/site-packages/pyln/proto")):
        how = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
        missing(f"pyln-proto: run `{how}` in interop/pyln")
    async with open_program(str(venv / "bin" / "python"), str(HERE / "pyln" / "node.py"), *options) as (node, ready):
        node.node_id, node.port = bytes.fromhex(ready["node_id"]), ready["port"]
        yield node


@asynccontextmanager
async def open_kmp(*options: str) -> AsyncIterator[JsonNode]:
    """lightning-kmp's noise and codecs, which listen, and dial when they are told to."""
    built = HERE / "lightning_kmp" / ".build"
    if not (built / "Node.class").is_file():
        where = "" if shutil.which("javac") and shutil.which("mvn") else "a JDK (17 or later) with Maven, and "
        missing(f"{where}lightning-kmp: run `sh build.sh` in interop/lightning_kmp")
    if shutil.which("java") is None:
        missing("java (17 or later)")
    with tempfile.TemporaryDirectory() as folder:  # it unpacks libsecp256k1 there, and is killed before it tidies up
        java = ["java", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={folder}", "-cp", f"{built}:{built / 'jars'}/*"]
        async with open_program(*java, "Node", *options) as (node, ready):
            node.node_id, node.port = bytes.fromhex(ready["node_id"]), ready["port"]
            yield node


class LndRefuses(Exception):
    """LND's REST has answered with an error: its words."""


class LndNode:
    """A whole LND, without a chain, by its REST calls."""

    def __init__(self, rest: str, certificate: Path) -> None:
        self._rest = rest
        self._context = ssl.create_default_context(cafile=str(certificate))
        self.node_id = b""
        self.port = 0
        self.pid = 0

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._rest}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, context=self._context) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise LndRefuses(json.load(error)["message"]) from None

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return await trio.to_thread.run_sync(self._call, method, path, body, abandon_on_cancel=True)

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


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody had a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@asynccontextmanager
async def open_lnd(*options: str) -> AsyncIterator[LndNode]:
    program = HERE / "lnd" / ".build" / "lnd"
    if not program.is_file():
        where = "" if shutil.which("go") else "Go 1.24 or later, and "
        missing(f"{where}LND: run `go build -o .build/lnd github.com/lightningnetwork/lnd/cmd/lnd` in interop/lnd")
    listen, rpc, rest = free_ports(3)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await trio.lowlevel.open_process(
            [
                str(program),
                f"--lnddir={folder}",
                "--bitcoin.regtest",
                "--bitcoin.node=nochainbackend",
                "--noseedbackup",
                "--no-macaroons",
                "--nobootstrap",
                f"--listen=127.0.0.1:{listen}",
                f"--rpclisten=127.0.0.1:{rpc}",
                f"--restlisten=127.0.0.1:{rest}",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            certificate = Path(folder) / "tls.cert"
            with trio.fail_after(60):
                node: LndNode | None = None
                while node is None or not node.node_id:
                    if process.poll() is not None:
                        raise RuntimeError(f"LND has ended with {process.returncode}")
                    # Its own start is the one thing here that has to be asked for again and again.
                    await trio.sleep(0.1)
                    with suppress(OSError, LndRefuses, ssl.SSLError):
                        node = node or LndNode(f"https://127.0.0.1:{rest}", certificate)
                        # Its RPCs answer before the server behind them is up; then dials are refused.
                        if (await node.call("GET", "/v1/state"))["state"] != "SERVER_ACTIVE":
                            continue
                        node.node_id = bytes.fromhex((await node.info())["identity_pubkey"])
                node.port, node.pid = listen, process.pid
                # Its peer port opens last.
                while True:
                    with suppress(OSError):
                        await (await trio.open_tcp_stream("127.0.0.1", listen)).aclose()
                        break
                    await trio.sleep(0.1)
            yield node
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()


@pytest.fixture(params=LDKS)
def open_ldk(request: pytest.FixtureRequest) -> OpenLdk:
    return LDKS[request.param]
