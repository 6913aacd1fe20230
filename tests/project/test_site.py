"""The site: its reference has the public names, each with words to read, and its guide's programs run."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import trio
import trio.testing

from tests.support import gossip, identity, make_manager, port_of, secret
from tests.support.chains import Chain, Output, serving
from tests.support.processes import PATIENCE, lines_of, python, run
from tests.support.project import ROOT
from tests.support.providers import examples
from triolight import DisconnectCode, NodeAddress, NullLogger, PeerConnected, open_peer_nursery, open_peers
from triolight.chains import REGTEST
from triolight.cli.exits import Exit
from triolight.cli.group import cli
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync
from triolight.services import LspsServer
from triolight.storage import PeerStorageHandler
from triolight.wire import ShortChannelId

REFERENCE = ROOT / "docs" / "reference"
GUIDE = ROOT / "docs" / "guide"


def listed() -> dict[str, list[str]]:
    """The names that the pages of the reference list, by module."""
    found: dict[str, list[str]] = {}
    for page in sorted(REFERENCE.glob("*.md")):
        module = ""
        for directive, argument in re.findall(r"^\.\. ([\w:]+):: (\S+)$", page.read_text(), re.MULTILINE):
            if directive in ("py:module", "py:currentmodule"):
                module = argument
                found.setdefault(module, [])
            elif directive == "automodule":
                module = ""
            else:
                assert directive.startswith("auto"), f"{page.name}: {directive}"
                found[module].append(argument)
    return found


def homes() -> dict[str, list[str]]:
    """The names of `triolight` itself, by the module that they come from."""
    found: dict[str, list[str]] = {}
    source = (ROOT / "triolight" / "__init__.py").read_text()
    for module, name in re.findall(r"^    from ([\w.]+) import (\w+) as \2$", source, re.MULTILINE):
        found.setdefault(module, []).append(name)
    return found


LISTED, HOMES = listed(), homes()
MODULES = {name: importlib.import_module(name) for name in {**LISTED, **HOMES}}


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_what_the_reference_lists(name: str) -> None:
    """Of each module: under its own name, or under `triolight`, which gives it to users."""
    names, module = LISTED.get(name, []) + HOMES.get(name, []), MODULES[name]
    assert len({*names}) == len(names), "listed twice"
    assert not [one for one in names if one.startswith("_") or not hasattr(module, one)]
    assert sorted(names) == sorted(module.__all__)


def test_all_that_triolight_gives_is_listed() -> None:
    assert {*LISTED["triolight"]} == {name for names in HOMES.values() for name in names}


@pytest.mark.parametrize("name", ["triolight.messages", "triolight.testing"])
def test_what_a_package_gathers_is_listed(name: str) -> None:
    source = inspect.getsource(MODULES[name])
    gathered = re.findall(r"^from [\w.]+ import (\w+) as \1$", source, re.MULTILINE)
    assert len(gathered) > 10
    assert not {*gathered} - {*LISTED[name]}


def public_classes() -> Iterator[tuple[str, type[Any]]]:
    for module, names in LISTED.items():
        for name in names:
            thing = getattr(MODULES[module], name)
            if inspect.isclass(thing):
                yield f"{module}.{name}", thing


@pytest.mark.parametrize(("name", "cls"), [pytest.param(*one, id=one[0]) for one in public_classes()])
def test_every_public_class_and_method_says_what_it_is(name: str, cls: type[Any]) -> None:
    """A method may say it where it is declared first."""
    silent: list[str] = []
    for of in inspect.getmro(cls):
        if not of.__module__.startswith("triolight"):
            continue
        for attribute, value in vars(of).items():
            method = inspect.isfunction(value) or isinstance(value, property | staticmethod | classmethod)
            if method and not attribute.startswith("_") and not inspect.getdoc(getattr(cls, attribute)):
                silent.append(attribute)
    assert not silent


def programs(page: str) -> list[str]:
    """The Python on a page of the guide."""
    return re.findall(r"^```python\n(.*?)^```", (GUIDE / page).read_text(), re.MULTILINE | re.DOTALL)


def defined(program: str) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "a_program"}
    exec(compile(program, "a program of the guide", "exec"), scope)
    return scope


async def free_port() -> int:
    async with open_peer_nursery(make_manager(9)) as free:
        return await port_of(free)


async def test_the_guides_node_takes_peers(tmp_path: Path) -> None:
    (program,) = programs("node.md")
    port = await free_port()
    (tmp_path / "node.py").write_text(program.replace("9735", str(port)))
    (tmp_path / "node.secret").write_text(secret(5).hex() + "\n")
    async with python("node.py", folder=tmp_path) as process, open_peer_nursery(make_manager(2)) as peers:
        said = lines_of(process.stdout)
        assert await anext(said) == identity(5).hex()
        peer = await peers.connect(NodeAddress(identity(5), "127.0.0.1", port))
        assert (await anext(said)).startswith(f"{identity(2).hex()} ")
        process.send_signal(signal.SIGINT)
        assert "shutting down" in str(await peer.wait_closed())
        assert all([line.startswith(identity(2).hex()) async for line in said])


async def test_the_guides_recorder_records(tmp_path: Path) -> None:
    program = programs("data_set.md")[-1]
    async with open_peer_nursery(make_manager(2)) as peers, peers.events() as events:
        address = str(NodeAddress(identity(2), "127.0.0.1", await port_of(peers)))
        assert "sleep(3600)" in program
        (tmp_path / "recorder.py").write_text(re.sub(r'"02ab.*?"', repr(address), program.replace("3600", "0.5")))
        async with python("recorder.py", folder=tmp_path) as process:
            assert isinstance(await anext(events), PeerConnected)
            assert [line async for line in lines_of(process.stdout)] == ["0 sightings of 0 messages"]
    assert (tmp_path / "seen.db").exists()


async def test_the_guides_storage_stores_and_finds_it_again(tmp_path: Path) -> None:
    program, _ = programs("peer_storage.md")
    (tmp_path / "storage.py").write_text(program.replace("move_on_after(2)", "move_on_after(0.5)"))
    (tmp_path / "node.secret").write_text(secret(5).hex() + "\n")
    server = PeerStorageHandler(secret(2), serves=[identity(5)])
    said: list[list[str]] = []
    async with open_peer_nursery(make_manager(2, chan=server)) as peers:
        address = str(NodeAddress(identity(2), "127.0.0.1", await port_of(peers)))
        for data in ("first", "second"):
            async with python("storage.py", data, address, folder=tmp_path) as process:
                said.append([line async for line in lines_of(process.stdout)])
            (tmp_path / "storage.db").unlink()
    assert said == [
        ["latest: None", "given to 1 peers"],
        [f"{identity(2).hex()} keeps newer", "latest: b'first'", "given to 1 peers"],
    ]


async def test_the_guides_client_of_a_provider(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = programs("lsp.md")
    (menu,) = examples(2, "opening_fee_params_menu")

    def get_info(node_id: bytes, params: dict[str, Any]) -> dict[str, Any]:
        return menu

    server = LspsServer({"lsps2.get_info": get_info})
    async with open_peer_nursery(make_manager(2, custom=server)) as peers:
        await defined(program)["main"](f"{identity(2).hex()}@127.0.0.1:{await port_of(peers)}")
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["(2,)", str(menu)]
    assert said[2] == "546000 1200 2023-02-23 08:47:30.511000+00:00"


def test_the_guides_exit_code_for_ctrl_c() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    first, _ = programs("ctrl_c.md")
    with pytest.raises(SystemExit) as left:
        defined(first)["run"](interrupted)
    assert left.value.code == Exit.INTERRUPTED


async def test_the_guides_service_says_goodbye_for_sigterm() -> None:
    _, second = programs("ctrl_c.md")
    port = await free_port()
    service = defined(second.replace("9735", str(port)))
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # so that a page that is wrong ends this test alone
    try:
        with trio.fail_after(PATIENCE):
            async with (
                open_peer_nursery(make_manager(2)) as peers,
                peers.events() as events,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(service["main"], make_manager(5))
                peers.keep(NodeAddress(identity(5), "127.0.0.1", port))
                connected = await anext(events)
                assert isinstance(connected, PeerConnected)
                signal.raise_signal(signal.SIGTERM)
                reason = await connected.peer.wait_closed()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reason.code is DisconnectCode.PEER_CLOSED
    assert "shutting down" in reason.message


async def test_the_guides_logger_writes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    usual, own = programs("logging.md")
    assert defined(usual)["logger"].level >= 20
    near = make_manager(2, logger=defined(own)["JsonLines"]())
    async with open_peer_nursery(near) as peers, open_peer_nursery(make_manager(3)) as far:
        await peers.connect(NodeAddress(identity(3), "127.0.0.1", await port_of(far)))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"level": "INFO", "peer": identity(3).hex(), "message": "connected"}.items() <= lines[0].items()


async def test_the_guides_page_for_prometheus_is_served() -> None:
    (program,) = programs("deployment.md")
    port = await free_port()
    serve = defined(program.replace("9100", str(port)))["serve_page"]
    with trio.fail_after(PATIENCE):
        async with open_peer_nursery(make_manager(2)) as peers, trio.open_nursery() as nursery:
            nursery.start_soon(serve, peers)
            await trio.testing.wait_all_tasks_blocked()
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            nursery.cancel_scope.cancel()


async def test_the_guides_graph_counts_what_a_chain_has_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = programs("graph.md")
    chain, stamp = Chain(height=300), int(time.time()) - 5000
    graph, places = NetworkGraph(REGTEST), [ShortChannelId.of(200 + number, 1, 0) for number in range(3)]
    for place in places:
        graph.load(gossip.channel(place), [gossip.update(place, side, stamp) for side in (0, 1)])
        chain.outputs[place.block, 1] = [Output(gossip.SCRIPT, "0.5", spent=place == places[2])]
    told = P2PGossipSync(graph, policy=GossipPolicy(relay_unchecked=True))
    async with (
        open_peers(secret(2), route_handler=told, networks="regtest", logger=NullLogger()) as peers,
        serving(chain.rpc) as server,
    ):
        (listener,) = await peers.listen(0, host="127.0.0.1")
        address = f"{identity(2).hex()}@127.0.0.1:{listener.socket.getsockname()[1]}"
        scope = defined(program.replace('"bitcoin"', '"regtest"'))
        with trio.fail_after(PATIENCE):
            await scope["main"](address, str(tmp_path / "graph.db"), f"http://127.0.0.1:{server.port}")
    told_of = capsys.readouterr().out.splitlines()
    assert told_of[0] == "2 channels of 1.0 BTC, each with its output"
    assert len(told_of) == 3
    assert all(re.fullmatch(r"[0-9a-f]{66}  1.0 BTC in 2 channels", line) for line in told_of[1:])


def test_the_guides_service_is_a_command_that_there_is() -> None:
    unit = re.search(r"^```ini\n(.*?)^```", (GUIDE / "deployment.md").read_text(), re.MULTILINE | re.DOTALL)
    assert unit is not None
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.group(1), re.MULTILINE))
    assert int(settings["SuccessExitStatus"]) == Exit.TERMINATED
    _, command, *options = settings["ExecStart"].split()
    code, lines, _ = run(command, "--help")
    assert code == 0
    for option in options:
        assert not option.startswith("-") or f"  {option} " in "\n".join(lines)


def test_the_guides_fleet_is_made_of_commands_that_there_are() -> None:
    page = (GUIDE / "fleet.md").read_text() + (GUIDE.parent.parent / "examples" / "cluster.py").read_text()
    lines = re.findall(r"^(?: {4}|ExecStart=/opt/triolight/bin/)?triolight (.*)$", page, re.MULTILINE)
    assert len(lines) >= 7
    for line in lines:
        arguments = shlex.split(line, comments=True)
        place: click.Command = cli
        ctx = click.Context(cli)
        while isinstance(place, click.Group):
            name = arguments.pop(0)
            found = place.get_command(ctx, name)
            assert found is not None, line
            place = found
        place.make_parser(click.Context(place)).parse_args(arguments)  # raises for an option that it does not have
    unit = re.search(r"^```ini\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert unit is not None
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.group(1), re.MULTILINE))
    assert int(settings["SuccessExitStatus"]) == Exit.TERMINATED


def test_the_guides_exit_codes_are_all() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", (GUIDE / "command.md").read_text(), re.MULTILINE)
    assert [int(code) for row in rows for code in row.split(",")] == sorted(
        Exit, key=lambda code: (code is Exit.BROKEN_PIPE, code)
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_guides_completion_is_what_the_command_has(shell: str) -> None:
    variable = f"_TRIOLIGHT_COMPLETE={shell}_source"
    assert f"{variable} triolight" in (GUIDE / "command.md").read_text()
    made = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'triolight'; from triolight.cli import main; main()"],
        env={**os.environ, **dict([variable.split("=")])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_TRIOLIGHT_COMPLETE" in made.stdout
