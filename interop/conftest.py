"""Real nodes for the tests in this folder. Without its toolchain a test skips and says what is missing; with
TRIOLIGHT_INTEROP_REQUIRED=1, as in CI, it fails instead."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio

from interop import page
from interop.network import Network, open_network
from interop.programs import HERE, JsonNode, missing, open_program

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
    config.pluginmanager.register(Listener(config.stash[COLLECTED]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        # With the report it goes to whoever makes the page, also from another process.
        report.user_properties += page.shown_by(item)
    return report


class Listener:
    """Hears every report of a run, from whatever process."""

    def __init__(self, collected: page.Collected) -> None:
        self.collected = collected

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.collected.skipped += 1
        elif report.when == "call" and report.passed:
            self.collected.passed(report.user_properties)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption("--write-docs") and not hasattr(session.config, "workerinput"):
        print("\n" + page.finish(session.config.stash[COLLECTED], exitstatus))


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


def native_program(name: str) -> str:
    """One of interop/ldk_native."""
    program = HERE / "ldk_native" / ".build" / "release" / name
    if not program.is_file():
        where = "" if shutil.which("cargo") else "Rust 1.75 or later, and "
        missing(f"{where}LDK: run `cargo build --release --locked --target-dir .build` in interop/ldk_native")
    return str(program)


@asynccontextmanager
async def open_ldk_native(*options: str) -> AsyncIterator[JsonNode]:
    async with open_program(native_program("ldk-node"), *options) as (node, ready):
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


@pytest.fixture(params=LDKS)
def open_ldk(request: pytest.FixtureRequest) -> OpenLdk:
    return LDKS[request.param]


@pytest.fixture(scope="session")
def running_network() -> Iterator[Network]:
    with open_network() as network:
        yield network


@pytest.fixture
async def network(running_network: Network) -> AsyncIterator[Network]:
    """One for all tests of a run, so a test leaves it with the channels that it has found. A test that waits for what
    never comes ends too."""
    with trio.fail_after(240):
        yield running_network
