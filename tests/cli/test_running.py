"""A program of Trio under signals, and without a port, a name or a way."""

from __future__ import annotations

import signal

import click
import pytest
import trio
import trio.testing

from tests.support import identity
from tests.support.processes import COMMAND, SIGNALS, listening, run
from triolight.cli import running


@pytest.mark.parametrize(("first", "exits"), SIGNALS)
def test_a_second_signal_does_not_end_the_goodbyes(first: signal.Signals, exits: int) -> None:
    async def program() -> None:
        try:
            signal.raise_signal(first)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGHUP)
                signal.raise_signal(signal.SIGINT)
                await trio.testing.wait_all_tasks_blocked()
            said.append("goodbye")

    said: list[str] = []
    with pytest.raises(click.exceptions.Exit) as ended:
        running.run(program)
    assert (ended.value.exit_code, said) == (exits, ["goodbye"])


def test_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening() as (listener, address):
            listener.interrupt(signal.SIGHUP)
            assert run("ping", address, "--count", "1")[0] == 0
            listener.interrupt(signal.SIGTERM)
            assert listener.finish()[0] == 143
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("command", [["listen", "--port", "0"], ["top", "--listen", "0"]])
@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b"])
def test_exit_code_3_for_a_name_that_is_none(command: list[str], host: str) -> None:
    code, lines, errors = run(*command, "--host", host)
    assert (code, lines) == (3, [])
    assert errors.startswith(f"Error: cannot listen on {host} port 0: ")
    assert len(errors.splitlines()) == 1


def test_exit_code_3_for_an_onion_without_a_proxy() -> None:
    onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"
    for command in ("ping", "check"):
        code, lines, errors = run(command, f"{identity(1).hex()}@{onion}")
        assert (code, lines) == (3, [])
        assert errors.endswith("failed: ADDRESS_REFUSED (by us): an onion name is only reached through a proxy\n")


async def test_a_port_that_is_taken() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = str(listener.socket.getsockname()[1])
        for arguments in (
            ["listen", "--port", "0", "--metrics", port],
            ["top", "--listen", port],
            ["top", "--listen", port, "--once"],
        ):
            done = await trio.run_process([*COMMAND, *arguments], capture_stderr=True, check=False)
            assert b"cannot listen on 127.0.0.1 port" in done.stderr
            assert done.returncode == 3
            assert len(done.stderr.splitlines()) == 1
