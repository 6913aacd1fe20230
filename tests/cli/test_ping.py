"""One dial, pings, and a summary: in words and in JSON, with every way that it can end."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest
import trio

from tests.support import identity, secret
from tests.support.inside import PingReport, connected, samples_of
from tests.support.processes import COMMAND, GOODBYE, PATIENCE, SIGNALS, Running, listening, run
from triolight.cli.exits import Exit
from triolight.cli.jobs import ping
from triolight.keys import SecretKey
from triolight.messages import BOLT, Init, Ping, Pong
from triolight.noise import Handshake, Opener, Sealer


def test_ping_in_words() -> None:
    with listening() as (listener, address):
        code, lines, errors = run("ping", address, "--count", "3", "--interval", "0", "--size", "1000")
        assert code == 0
        assert [re.sub(r"[\d.]+ ms", "T ms", line) for line in lines[:3]] == [
            f"pong {number}: 1000 bytes in T ms" for number in (1, 2, 3)
        ]
        assert re.fullmatch(r"pings 3, pongs 3, lost 0\.0%; min / median / max [\d.]+ / [\d.]+ / [\d.]+ ms", lines[3])
        assert len(lines) == 4  # no histogram where nobody looks at it
        assert errors.startswith(f"dialling {address} as 0")
        assert "it offers features 08a0002a0aa222" in errors
        assert json.loads(listener.line("connected"))["features"] == "08a0002a0aa222"


def test_through_a_proxy() -> None:
    with listening() as (_, address):
        code, lines, errors = run("ping", address, "--count", "1", "--proxy", "socks5://127.0.0.1:1")
    assert (code, lines) == (3, [])
    assert "127.0.0.1:1" in errors
    assert "proxy" in errors


def test_json_lines() -> None:
    with listening() as (listener, address):
        code, lines, _ = run("ping", address, "--json", "--count", "2", "--interval", "0.001")
        assert code == 0
        connected, *pongs, summary = [json.loads(line) for line in lines]
        assert connected.keys() == {"event", "node_id", "seconds", "features"}
        assert (connected["event"], connected["node_id"]) == ("connected", address[:66])
        assert [(pong["event"], pong["number"], pong["bytes"]) for pong in pongs] == [("pong", 1, 0), ("pong", 2, 0)]
        rtts = sorted(pong["rtt"] for pong in pongs)
        assert summary == {
            "event": "summary",
            "sent": 2,
            "received": 2,
            "loss": 0.0,
            "min": rtts[0],
            "median": pytest.approx(sum(rtts) / 2),
            "max": rtts[1],
        }
        came, left = json.loads(listener.line()), json.loads(listener.line())
        assert came["event"] == "connected"
        assert left["event"] == "disconnected"
        assert came["node_id"] == left["node_id"]
        assert came["address"].startswith("127.0.0.1:")
        assert (left["code"], left["by"], left["message"]) == ("PEER_CLOSED", "peer", GOODBYE)
        assert left["seconds"] > 0


def test_a_terminal_gets_a_histogram() -> None:
    with listening() as (_, address):
        ours, theirs = pty.openpty()
        with Running("ping", address, "--count", "40", "--interval", "0", stdout=theirs) as told:
            os.close(theirs)
            shown = b""
            try:
                while data := os.read(ours, 65536):
                    shown += data
            except OSError:
                pass  # how Linux says that the last process has left the terminal
            finally:
                os.close(ours)
            assert told.finish() == (0, [])
    rows = re.findall(r"^ +[\d.]+ - +[\d.]+ ms  (#*) (\d+)\r$", shown.decode(), re.MULTILINE)
    assert len(rows) == ping.HISTOGRAM_ROWS
    assert sum(int(count) for _, count in rows) == 40
    assert max(len(bar) for bar, _ in rows) == ping.HISTOGRAM_WIDTH


def test_many_pongs_are_sampled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ping, "SAMPLES", 50)
    report = PingReport(as_json=True)
    for number in range(5000):
        report.pong(0, 1.0 + number)
    capsys.readouterr()
    connected(report)
    report.summary()
    summary = json.loads(capsys.readouterr().out)
    assert samples_of(report) == 50
    assert (summary["received"], summary["min"], summary["max"]) == (5000, 1.0, 5000.0)
    # 50 out of 5,000: further off than this comes once in more than a billion times.
    assert 500 < summary["median"] < 4500


def test_histogram() -> None:
    assert ping.histogram([]) == []
    assert ping.histogram([0.5]) == []
    assert ping.histogram([0.5, 0.5]) == []
    rows = ping.histogram([0.001] * 3 + [0.256])
    assert rows[0] == f"    1.000 -   2.000 ms  {'#' * 48} 3"
    assert rows[1] == "    2.000 -   4.000 ms   0"
    assert rows[-1] == f"  128.000 - 256.000 ms  {'#' * 16} 1"


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
def test_interrupting_ping_says_goodbye(number: signal.Signals, exits: int) -> None:
    with listening() as (listener, address), Running("ping", address) as ping:
        ping.line("pong 1:")
        ping.interrupt(number)
        code, rest = ping.finish()
        assert code == exits
        assert rest[-1].startswith("pings 1, pongs 1, lost 0.0%; min / median / max ")
        assert "Traceback" not in ping.errors
        left = json.loads(listener.line("disconnected"))
        assert (left["code"], left["by"], left["message"]) == ("PEER_CLOSED", "peer", GOODBYE)


def test_interrupting_a_dial() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Running("ping", f"{identity(1).hex()}@127.0.0.1:{silent.getsockname()[1]}") as ping,
    ):
        connection, _ = silent.accept()
        with connection:
            assert len(connection.recv(50, socket.MSG_WAITALL)) == 50
            ping.interrupt()
            assert ping.finish() == (130, [])
            assert connection.recv(1) == b""
        assert "Traceback" not in ping.errors


def test_a_terminal_that_is_gone() -> None:
    ours, theirs = pty.openpty()
    with listening() as (listener, address), Running("ping", address, "--interval", "0", stdout=theirs) as ping:
        os.close(theirs)
        assert os.read(ours, 100)
        os.close(ours)
        assert ping.process.wait() == 129
        assert len(ping.errors.splitlines()) == 2  # dialling, connected
        assert json.loads(listener.line("disconnected"))["message"] == GOODBYE


def test_a_reader_that_leaves_ends_ping_quietly() -> None:
    with listening() as (listener, address), Running("ping", address, "--interval", "0") as ping:
        ping.line("pong 1:")
        assert ping.process.stdout is not None
        ping.process.stdout.close()
        assert ping.process.wait() == 141
        assert len(ping.errors.splitlines()) == 2  # dialling, connected
        assert json.loads(listener.line("disconnected"))["message"] == GOODBYE


def test_exit_code_3_when_nobody_listens() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"{identity(1).hex()}@127.0.0.1:{unheard.getsockname()[1]}"
        code, lines, errors = run("ping", address, "--json")
    assert code == 3
    failed = json.loads(lines[0])
    assert len(lines) == 1
    assert (failed["event"], failed["code"], failed["by"]) == ("failed", "TCP_FAILED", "network")
    assert "failed: TCP_FAILED (by network): " in errors


def test_exit_code_4_for_another_node() -> None:
    with listening() as (_, address):
        code, lines, errors = run("ping", identity(1).hex() + address[66:])
    assert (code, lines) == (4, [])
    assert "CLOSED_IN_HANDSHAKE" in errors


def test_exit_code_6_for_silence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{identity(1).hex()}@127.0.0.1:{silent.getsockname()[1]}"
        code, lines, errors = run("ping", address, "--timeout", "0.2")
    assert (code, lines) == (6, [])
    assert "HANDSHAKE_TIMEOUT (by us): the handshake was not done within 0.2 seconds" in errors


class Scripted:
    """The responder's side of one connection, message by message."""

    def __init__(self, stream: trio.SocketStream, sealer: Sealer, opener: Opener) -> None:
        self.stream = stream
        self._sealer = sealer
        self._opener = opener

    @classmethod
    async def shake(cls, stream: trio.SocketStream) -> Self:
        handshake = Handshake(SecretKey(secret(1)), SecretKey(secret(9)), None)
        rest = b""
        while handshake.sealer is None or handshake.opener is None:
            answer, rest = handshake.receive(rest + bytes(await stream.receive_some(65536)))
            if answer:
                await stream.send_all(answer)
        handshake.opener.feed(rest)
        return cls(stream, handshake.sealer, handshake.opener)

    async def say(self, message: Any) -> None:
        await self.stream.send_all(self._sealer.seal(message.encode()))

    async def hear(self) -> Any:
        while (data := self._opener.next_message()) is None:
            received = await self.stream.receive_some(65536)
            assert received
            self._opener.feed(bytes(received))
        return BOLT.decode(data)


async def ping_scripted(script: Callable[[Scripted], Awaitable[None]], *options: str) -> tuple[int, list[Any], str]:
    """A `triolight ping --json` of a peer that does what the script does, then hangs up: exit code, stdout, stderr."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = f"{identity(1).hex()}@127.0.0.1:{listener.socket.getsockname()[1]}"

    async def serve() -> None:
        async with listener, await listener.accept() as stream:
            await script(await Scripted.shake(stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(
                [*COMMAND, "ping", address, "--json", "--interval", "0", *options],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        nursery.cancel_scope.cancel()
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


async def test_a_ping_that_was_under_way_is_lost() -> None:
    async def script(peer: Scripted) -> None:
        await peer.say(Init())
        assert isinstance(await peer.hear(), Init)
        for _ in range(2):
            assert await peer.hear() == Ping()
            await peer.say(Pong())
        assert await peer.hear() == Ping()

    code, lines, errors = await ping_scripted(script)
    assert code == Exit.PROTOCOL
    assert [line["event"] for line in lines] == ["connected", "pong", "pong", "disconnected", "summary"]
    assert (lines[-2]["code"], lines[-2]["by"]) == ("PEER_CLOSED", "peer")
    assert (lines[-1]["sent"], lines[-1]["received"], lines[-1]["loss"]) == (3, 2, pytest.approx(1 / 3))
    assert "disconnected: PEER_CLOSED (by peer): the peer closed the connection" in errors


async def test_a_summary_without_pongs() -> None:
    async def script(peer: Scripted) -> None:
        await peer.say(Init())
        await peer.hear()
        await peer.hear()

    code, lines, _ = await ping_scripted(script)
    assert code == Exit.PROTOCOL
    assert lines[-1] == {
        "event": "summary",
        "sent": 1,
        "received": 0,
        "loss": 1.0,
        "min": None,
        "median": None,
        "max": None,
    }


async def test_exit_code_3_for_a_connection_that_breaks() -> None:
    async def script(peer: Scripted) -> None:
        await peer.say(Init())
        await peer.hear()
        # Closing without lingering sends RST.
        peer.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    code, lines, _ = await ping_scripted(script)
    assert code == Exit.CONNECT
    assert [line["code"] for line in lines if line["event"] == "disconnected"] == ["CONNECTION_LOST"]


async def test_exit_code_5_for_an_init_that_is_refused() -> None:
    async def script(peer: Scripted) -> None:
        await peer.say(Init(features=(1 << 200).to_bytes(26, "big")))
        await peer.hear()
        # Why it is refused is said to it, too.
        warning = await peer.hear()
        assert b"200" in warning.data

    code, (failed,), _ = await ping_scripted(script)
    assert code == Exit.PROTOCOL
    assert (failed["event"], failed["code"]) == ("failed", "INIT_REFUSED")


async def test_exit_code_5_for_hanging_up_before_init() -> None:
    async def script(peer: Scripted) -> None:
        await peer.hear()

    code, (failed,), _ = await ping_scripted(script)
    assert code == Exit.PROTOCOL
    assert (failed["event"], failed["code"]) == ("failed", "CLOSED_BEFORE_INIT")


async def test_exit_code_6_for_an_init_that_does_not_come() -> None:
    async def script(peer: Scripted) -> None:
        await peer.hear()
        await trio.sleep_forever()

    code, (failed,), _ = await ping_scripted(script, "--timeout", "0.3")
    assert code == Exit.TIMEOUT
    assert (failed["event"], failed["code"]) == ("failed", "INIT_TIMEOUT")
    assert "within 0.3 seconds of dialling" in failed["message"]
