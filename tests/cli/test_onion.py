"""``triolight onion send`` and ``onion listen`` as their users have them: processes, and exit codes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import identity, make_manager, port_of, secret
from tests.support.onions import random
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, Running, lines_of, unread
from triolight import open_peer_nursery
from triolight.onion import OnionMessenger
from triolight.services import OnionReceived, open_onion_messenger

ID = identity(1).hex()


@asynccontextmanager
async def a_node(answer: Callable[[OnionReceived], Awaitable[None]], number: int = 1) -> AsyncIterator[str]:
    """A node that does this with each message."""
    onions = OnionMessenger(secret(number), random(number))
    async with (
        trio.open_nursery() as nursery,
        open_peer_nursery(make_manager(number, onion=onions)) as peers,
        open_onion_messenger(peers, onions) as messenger,
        messenger.subscribe() as inbox,
    ):

        async def listen() -> None:
            async for received in inbox:
                await answer(received)

        nursery.start_soon(listen)
        yield f"{identity(number).hex()}@127.0.0.1:{await port_of(peers)}"
        nursery.cancel_scope.cancel()


async def send(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "onion", "send", *arguments]
    with trio.fail_after(PATIENCE):
        return await trio.run_process(command, capture_stderr=True, check=False, **{"capture_stdout": True} | options)


async def silent(received: OnionReceived) -> None:
    pass


async def test_a_message_and_its_answer() -> None:
    heard: list[Any] = []

    async def echo(received: OnionReceived) -> None:
        heard.append(received.content)
        if received.reply_path is not None:
            await received.reply(extra={79: b"back"})

    async with a_node(echo) as node:
        done = await send(node, "77", "abcd", "--json")
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout) == {"event": "sent", "type": 77, "payload": "abcd"}
        done = await send(ID, "77", "", "--via", node, "--reply", "--json")
        answer = {"event": "answer", "type": 79, "payload": b"back".hex(), "reply_path": False}
        assert (done.returncode, json.loads(done.stdout)) == (0, answer)
        words = await send(ID, "64", "00", "--via", node, "--reply")
        assert words.stdout == b"answer: type 79, 6261636b\n"
        words = await send(node, "77", "00")
        assert words.stdout == b"sent: type 77, 1 bytes\n"
    assert heard == [(77, b"\xab\xcd"), (77, b""), (64, b"\0"), (77, b"\0")]


async def test_exit_code_2_for_what_is_no_message() -> None:
    for arguments in (
        ["nobody", "77", "00"],
        ["02" * 33 + "@", "77", "00"],
        ["05" * 33, "77", "00"],
        [ID, "63", "00"],
        [ID, "77", "zz"],
        [ID, "77", "00", "--via", "nobody"],
    ):
        done = await send(*arguments)
        assert (done.returncode, done.stdout) == (2, b"")
    async with a_node(silent) as node:
        done = await send(node, "77", "00" * 40_000)
        assert done.returncode == 2
        assert b"holds 32768" in done.stderr


async def test_exit_code_3_where_there_is_no_way() -> None:
    done = await send(ID, "77", "00")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"--via" in done.stderr
    assert (await send(f"{ID}@127.0.0.1:1", "77", "00")).returncode == 3


async def test_exit_code_5_where_the_peer_hangs_up() -> None:
    onions = OnionMessenger(secret(1), random(1))
    async with (
        open_peer_nursery(make_manager(1, onion=onions)) as peers,
        open_onion_messenger(peers, onions) as messenger,
        messenger.subscribe() as inbox,
    ):

        async def hang_up() -> None:
            await anext(inbox)
            (peer,) = peers.peers.values()
            await peer.disconnect(reason="enough")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up)
            done = await send(f"{ID}@127.0.0.1:{await port_of(peers)}", "77", "00", "--reply")
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"enough" in done.stderr


async def test_exit_code_6_where_nothing_comes() -> None:
    async with a_node(silent) as node:
        done = await send(node, "77", "00", "--reply", "--seconds", "0.2")
    assert (done.returncode, done.stdout, done.stderr) == (6, b"", b"no answer within 0.2 s\n")


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_a_signal_ends_the_waiting(number: signal.Signals, code: int) -> None:
    heard = trio.Event()

    async def hear(received: OnionReceived) -> None:
        heard.set()

    async with a_node(hear) as node:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                command = [*COMMAND, "onion", "send", node, "77", "00", "--reply"]
                process = await nursery.start(partial(trio.run_process, command, check=False))
                await heard.wait()
                process.send_signal(number)
    assert process.returncode == code


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_what_is_sent_is_shown(number: signal.Signals, code: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(secret(3).hex())
    (tmp_path / "secret").chmod(0o600)
    command = [*COMMAND, "onion", "listen", "--port", "0", "--secret-file", str(tmp_path / "secret"), "--json"]
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(partial(trio.run_process, command, check=False, stdout=subprocess.PIPE))
            said = lines_of(process.stdout)
            listening = json.loads(await anext(said))
            assert (listening["event"], listening["node_id"]) == ("listening", identity(3).hex())
            there = f"{listening['node_id']}@127.0.0.1:{listening['port']}"
            assert (await send(there, "77", "beef")).returncode == 0
            message = {"event": "message", "type": 77, "payload": "beef", "reply_path": False}
            assert json.loads(await anext(said)) == message
            assert (await send(there, "77", "", "--reply", "--seconds", "0.2")).returncode == 6
            assert json.loads(await anext(said)) == message | {"payload": "", "reply_path": True}
            process.send_signal(number)
            assert [line async for line in said] == []
    assert process.returncode == code


def test_exit_code_2_for_a_secret_that_is_none(tmp_path: Path) -> None:
    with Running("onion", "listen", "--port", "0", "--secret-file", tmp_path / "none") as running:
        assert running.finish() == (2, [])


def test_exit_code_3_for_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with Running("onion", "listen", "--port", str(taken.getsockname()[1])) as running:
            assert running.finish() == (3, [])


async def test_exit_code_141_for_a_reader_that_has_left() -> None:
    async with a_node(silent) as node:
        with unread() as pipe:
            done = await send(node, "77", "00", capture_stdout=False, stdout=pipe)
    assert done.returncode == 141
    with unread() as pipe:
        command = [*COMMAND, "onion", "listen", "--port", "0"]
        done = await trio.run_process(command, stdout=pipe, capture_stderr=True, check=False)
    assert done.returncode == 141
