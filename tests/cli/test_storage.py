"""``triolight storage put`` and ``storage get`` as their users have them: processes, nodes that store, exit codes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import identity, make_manager, port_of, secret
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, listening, unread
from triolight import PeerNursery, SendWarningMessage, open_peer_nursery
from triolight.actions import HandlerResult
from triolight.messages import Init, PeerStorage, Warning
from triolight.storage import PeerStorageHandler, seal, unseal

OURS = secret(5)
NOBODY = f"{identity(1).hex()}@127.0.0.1:1"


class LikeLdk(PeerStorageHandler):
    """Stores no more than 1,024 bytes, and warns of more."""

    def handle_peer_storage(self, node_id: bytes, message: PeerStorage) -> HandlerResult:
        if len(message.blob) > 1024:
            return SendWarningMessage(Warning(data=b"Supports only data up to 1024 bytes in peer storage."))
        return super().handle_peer_storage(node_id, message)


@asynccontextmanager
async def a_node(handler: PeerStorageHandler, number: int = 1) -> AsyncGenerator[str]:
    async with open_peer_nursery(make_manager(number, chan=handler)) as peers:
        yield await address(peers, number)


async def address(peers: PeerNursery, number: int) -> str:
    return f"{identity(number).hex()}@127.0.0.1:{await port_of(peers)}"


def serving(number: int = 1, kind: type[PeerStorageHandler] = PeerStorageHandler) -> PeerStorageHandler:
    return kind(secret(number), serves=[identity(5)])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(OURS.hex())
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "data").write_bytes(b"what a node must not lose")
    return tmp_path


async def storage(files: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "storage", *arguments, "--secret-file", str(files / "secret")]
    with trio.fail_after(PATIENCE):
        given: dict[str, Any] = {"capture_stdout": True, "capture_stderr": True, "cwd": files} | options
        return await trio.run_process(command, check=False, **given)


async def test_what_is_put_is_got_by_who_has_the_secret(files: Path) -> None:
    first, second = serving(1), serving(2)
    async with a_node(first) as one, a_node(second, 2) as two:
        done = await storage(files, "put", "data", one, two, NOBODY.replace(":1", ":2"), "--json")
        assert done.returncode == 0
        said = json.loads(done.stdout)
        counter = said.pop("counter")
        assert {*said.pop("node_ids")} == {identity(1).hex(), identity(2).hex()}
        assert said == {"event": "stored", "peers": 2, "bytes": 25, "blob_bytes": 1024}
        for handler in (first, second):
            blob = handler.kept.get(identity(5)) or b""
            assert (len(blob), unseal(OURS, blob).counter) == (1024, counter)
        # One of them has lost it, and got something else.
        second.kept.take(identity(5), seal(OURS, counter - 1, b"old", bytes(32)))
        done = await storage(files, "get", "got", one, two, "--json")
        assert done.returncode == 0
        fetched = {"event": "fetched", "peers": 2, "bytes": 25, "counter": counter, "node_ids": [identity(1).hex()]}
        assert json.loads(done.stdout) == fetched
        assert (files / "got").read_bytes() == b"what a node must not lose"
        assert stat.S_IMODE((files / "got").stat().st_mode) == 0o600
        # The counter goes on from what is given back, whatever the clock says.
        first.kept.take(identity(5), seal(OURS, 1 << 60, b"of a clock that was wrong", bytes(32)))
        done = await storage(files, "put", "data", one)
        assert done.stdout == b"given to 1 nodes, 25 bytes, counter %d\n" % ((1 << 60) + 1)
        (files / "got").write_bytes(b"before")
        done = await storage(files, "get", "got", one)
        assert done.stdout == b"got: 25 bytes, counter %d, from 1 of 1 nodes\n" % ((1 << 60) + 1)
        assert (files / "got").read_bytes() == b"what a node must not lose"
        assert not [name for name in os.listdir(files) if name.startswith(".")]


async def test_p7_more_than_ldk_stores_fills_a_message(files: Path) -> None:
    (files / "data").write_bytes(bytes(964))
    kind, like_ldk = serving(1), serving(2, LikeLdk)
    async with a_node(kind) as one, a_node(like_ldk, 2) as two:
        done = await storage(files, "put", "data", one, two, "--json")
        assert done.returncode == 0
        assert b"up to 1024 bytes" in done.stderr
        assert b"more than LDK stores" in done.stderr
        found = json.loads(done.stdout)
        assert (found["peers"], found["node_ids"], found["blob_bytes"]) == (1, [identity(1).hex()], 65_531)
        assert len(kind.kept.get(identity(5)) or b"") == 65_531
        done = await storage(files, "put", "data", two)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"a warning instead of storing it" in done.stderr
        (files / "data").write_bytes(bytes(963))
        assert (await storage(files, "put", "data", two)).returncode == 0


async def test_p8_listen_stores_for_who_is_named_and_has_it_after_its_end(files: Path) -> None:
    options = ["--storage", str(files / "storage.db"), "--store-for", identity(5).hex()]
    with listening(*options) as (listener, where):
        done = await storage(files, "put", "data", where)
        assert done.returncode == 0
        listener.interrupt(signal.SIGKILL)
        listener.finish()
    with listening(*options) as (listener, where):
        assert (await storage(files, "get", "got", where)).returncode == 0
    assert (files / "got").read_bytes() == b"what a node must not lose"


async def test_exit_code_1_where_nobody_stores(files: Path) -> None:
    async with a_node(PeerStorageHandler(secret(1))) as node:
        done = await storage(files, "put", "data", node)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"offers to store" in done.stderr


async def test_exit_code_2_for_the_command_line(files: Path) -> None:
    (files / "large").write_bytes(bytes(65_471))
    for arguments in (
        ["put", "data"],
        ["get", "got"],
        ["put", "large", NOBODY],
    ):
        done = await storage(files, *arguments)
        assert (done.returncode, done.stdout) == (2, b"")
    done = await trio.run_process(
        [*COMMAND, "storage", "put", "data", NOBODY], check=False, capture_stderr=True, cwd=files
    )
    assert done.returncode == 2
    assert b"--secret-file" in done.stderr
    handler = serving()
    handler.kept.take(identity(5), seal(OURS, 1, b"x", bytes(32)))
    async with a_node(handler) as node:
        done = await storage(files, "get", "none/got", node)
    assert (done.returncode, done.stdout) == (2, b"")


async def test_listen_wants_a_file_and_a_node_and_its_own_kind_of_file(files: Path) -> None:
    ours = identity(5).hex()
    (files / "data.db").write_bytes(b"no SQLite file at all" * 100)
    for arguments in (
        ["--storage", "x.db"],
        ["--storage", "x.db", "--store-for", "02" + "ff" * 32],
        ["--storage", "data.db", "--store-for", ours],
    ):
        command = [*COMMAND, "listen", "--port", "0", *arguments]
        done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True, cwd=files)
        assert (done.returncode, done.stdout) == (2, b"")
    assert b"no SQLite file, and so no storage" in done.stderr
    assert not (files / "x.db").exists()


async def test_exit_code_3_where_nobody_is_reached(files: Path) -> None:
    done = await storage(files, "get", "got", NOBODY)
    assert (done.returncode, done.stdout) == (3, b"")


async def test_exit_code_4_for_another_node(files: Path) -> None:
    async with a_node(serving()) as node:
        assert (await storage(files, "put", "data", identity(2).hex() + node[66:])).returncode == 4


async def test_exit_code_5_where_it_is_refused(files: Path) -> None:
    class Refuses(PeerStorageHandler):
        def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> Any:
            return False

    async with a_node(Refuses(secret(1))) as node:
        for arguments in (["put", "data", node], ["get", "got", node]):
            assert (await storage(files, *arguments)).returncode == 5


async def test_exit_code_6_where_nothing_comes(files: Path) -> None:
    handler = serving()
    async with a_node(handler) as node:
        done = await storage(files, "get", "got", node, "--seconds", "0.3")
        assert (done.returncode, done.stdout, done.stderr) == (6, b"", b"nothing came that is ours within 0.3 s\n")
        handler.kept.take(identity(5), seal(secret(6), 1, b"not ours", bytes(32)))
        done = await storage(files, "get", "got", node)
        assert (done.returncode, done.stdout) == (6, b"")
        assert b"gives back what the secret does not open" in done.stderr
    assert not (files / "got").exists()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    silent = f"{identity(1).hex()}@127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    done = await storage(files, "put", "data", silent, "--seconds", "0.3")
    assert (done.returncode, done.stdout, done.stderr) == (6, b"", b"no end within 0.3 s\n")
    for listener in listeners:
        await listener.aclose()


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_a_signal_ends_the_waiting(number: signal.Signals, code: int, files: Path) -> None:
    async with open_peer_nursery(make_manager(1, chan=serving())) as peers, peers.events() as events:
        node = await address(peers, 1)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                command = [*COMMAND, "storage", "get", "got", node, "--secret-file", str(files / "secret")]
                process = await nursery.start(partial(trio.run_process, command, check=False))
                await anext(aiter(events))
                process.send_signal(number)
    assert process.returncode == code


async def test_exit_code_141_for_a_reader_that_has_left(files: Path) -> None:
    async with a_node(serving()) as node:
        for arguments in (["put", "data", node], ["get", "got", node]):
            with unread() as pipe:
                done = await storage(files, *arguments, capture_stdout=False, stdout=pipe)
            assert done.returncode == 141
