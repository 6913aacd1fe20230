"""The `triolight` command as its users have it: processes, pipes, signals and exit codes, over loopback.

Nothing sleeps here. What a process does is waited for in its output; one that hangs is killed by a watchdog, and then
its output ends and the test fails.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
import pytest
import trio
import trio.testing
from click.testing import CliRunner

from tests.support import identity, open_pair, secret
from triolight import DisconnectCode, DisconnectReason, PeerConnected, Side, TriolightError, cli
from triolight.keys import SecretKey
from triolight.messages import BOLT, Init, Ping, Pong
from triolight.noise import Handshake, Opener, Sealer

COMMAND = [sys.executable, "-W", "error", "-m", "triolight.cli"]
PATIENCE = 60.0
"""Seconds after which a process is taken to hang. No test waits for it unless something is broken."""
GOODBYE = "the peer closed the connection, after saying: shutting down"


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


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Shells start background jobs with SIGINT ignored, and processes inherit that: the ones started here shall not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(*arguments: str | Path, **options: Any) -> tuple[int, list[str], str]:
    """A command from start to end: exit code, stdout, stderr."""
    with Running(*arguments, **options) as command:
        code, lines = command.finish()
        return code, lines, command.errors


@contextmanager
def listening(*options: str | Path) -> Iterator[tuple[Running, str]]:
    """A `triolight listen`, and the address to dial it at."""
    with Running("listen", "--port", "0", "--json", *options) as listener:
        first = json.loads(listener.line())
        assert first["event"] == "listening"
        yield listener, f"{first['node_id']}@{first['host']}:{first['port']}"


# -- demo -------------------------------------------------------------------------------------------------------------


def test_demo() -> None:
    code, lines, errors = run("demo", "-v")
    assert code == 0, errors
    shown = "\n".join(lines)
    steps = [line for line in lines if re.match(r"\d\. ", line)]
    assert len(steps) == 8
    assert "UNKNOWN_EVEN_MESSAGE (by us): message type 39998 is even" in shown
    assert "Mallory was told: 'ping.ignored at byte 4: its length says 500 bytes, 3 are left'" in shown
    assert "Alice gets 'Hello, Alice!'" in shown
    assert "All of this really happened." in lines[-1]
    # The log is on stderr, with its details.
    assert re.search(r"INFO +triolight\.alice: \[\w+\] ended code=MALFORMED_MESSAGE by=us text=ping", errors)
    assert "triolight." not in shown


def test_demo_says_what_did_not_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def accepts(port: int) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(cli, "_accepts", accepts)
        result = CliRunner().invoke(cli.cli, ["demo"])
        assert result.exit_code == 1
        assert "failed in step 8, 'Alice leaves': this did not happen: no peer is left" in result.stderr
    with monkeypatch.context() as patch:
        patch.setattr(cli, "DEMO_SECONDS", 0.0)
        result = CliRunner().invoke(cli.cli, ["demo"])
        assert result.exit_code == 1
        assert "not done within 0 seconds" in result.stderr
    with monkeypatch.context() as patch:
        # Alice hears a message that she does not know, and hangs up.
        patch.setattr(cli.Greeting, "type", 40002)
        patch.setattr(cli.Greeting, "encode", lambda _: b"\x9c\x42")
        result = CliRunner().invoke(cli.cli, ["demo"])
        assert result.exit_code == 1
        assert "failed in step 4" in result.stderr


async def test_the_demo_is_not_content_with_any_event() -> None:
    class News:
        async def __anext__(self) -> str:
            await trio.lowlevel.checkpoint()
            return "something else"

    with pytest.raises(TriolightError, match="expected PeerConnected, and there was something else"):
        await cli._next(News(), PeerConnected)


# -- ping and listen --------------------------------------------------------------------------------------------------


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


def test_a_tape_of_either_kind(tmp_path: Path) -> None:
    heard, secret = tmp_path / "heard", tmp_path / "secret"
    with listening("--tape", heard) as (listener, address):
        code, _, errors = run("ping", address, "--count", "2", "--interval", "0", "--tape-with-secrets", secret)
        assert code == 0
        listener.line("disconnected")
        code, _, errors = run("ping", address, "--tape", heard)
        assert (code, "there is such a file already" in errors) == (2, True)
        code, _, errors = run("ping", address, "--tape", tmp_path / "nowhere" / "tape")
        assert (code, "cannot be made" in errors) == (2, True)
        code, _, errors = run("ping", address, "--tape", tmp_path / "a", "--tape-with-secrets", tmp_path / "b")
        assert (code, "two tapes" in errors) == (2, True)
        listener.interrupt()
        assert listener.finish()[0] == 130
    for tape, sign in ((heard, "<"), (secret, ">")):
        assert tape.stat().st_mode & 0o777 == 0o600
        code, lines, errors = run("replay", tape)
        assert code == 0, errors
        assert sum(f"{sign} ping, 6 bytes" in line for line in lines) == 2
        assert "all of it as on the tape" in errors
        assert ("SECRET: holds the node secret" in errors) == (tape is secret)
        assert lines[-1].endswith("tape: the block was left")


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


def test_listen_in_words() -> None:
    with Running("listen", "--port", "0", "-vv") as listener:
        address = listener.line("listening on ").removeprefix("listening on ")
        code, _, errors = run("ping", address, "--count", "1", "-v")
        assert code == 0
        assert re.search(r" ms INFO +triolight: \[\w+\] connected inbound=False", errors)
        (line,) = [line for line in errors.splitlines() if "inbound=" in line]
        assert line.count("inbound=") == 1
        came, left = listener.line("connected: "), listener.line("disconnected: ")
        assert re.fullmatch(r"connected: \w{66} from 127\.0\.0\.1:\d+, offers features 08a0002a0aa222", came)
        assert re.fullmatch(rf"disconnected: \w{{66}} after [\d.]+ s: PEER_CLOSED \(by peer\): {GOODBYE}", left)
        listener.interrupt()
        assert listener.finish() == (130, [])
        assert re.search(r"TRACE +triolight: \[\w+\] received ping size=6", listener.errors)


def test_throw_away_keys_differ_and_a_file_s_does_not(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    code, (ours,), _ = run("keygen", file)
    assert code == 0
    with listening("--secret-file", file) as (listener, address):
        assert address.startswith(ours + "@")
        for options in ([], [], ["--secret-file", str(file)]):
            run("ping", address, "--count", "1", *options)
        dialled_by = [json.loads(listener.line('"connected"'))["node_id"] for _ in range(2)]
        assert len({*dialled_by, ours}) == 3


def test_a_terminal_gets_a_histogram() -> None:
    with listening() as (_, address):
        ours, theirs = pty.openpty()
        with Running("ping", address, "--count", "40", "--interval", "0", stdout=theirs) as ping:
            os.close(theirs)
            shown = b""
            try:
                while data := os.read(ours, 65536):
                    shown += data
            except OSError:
                pass  # how Linux says that the last process has left the terminal
            finally:
                os.close(ours)
            assert ping.finish() == (0, [])
    rows = re.findall(r"^ +[\d.]+ - +[\d.]+ ms  (#*) (\d+)\r$", shown.decode(), re.MULTILINE)
    assert len(rows) == cli.HISTOGRAM_ROWS
    assert sum(int(count) for _, count in rows) == 40
    assert max(len(bar) for bar, _ in rows) == cli.HISTOGRAM_WIDTH


def test_listen_on_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with Running("listen", "--host", "::1", "--port", "0") as listener:
        address = listener.line("listening on ").removeprefix("listening on ")
        assert re.fullmatch(r"\w{66}@\[::1\]:\d+", address)
        assert run("ping", address, "--count", "1")[0] == 0
        assert re.search(r" from \[::1\]:\d+, offers ", listener.line("connected: "))


def test_many_pongs_are_sampled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "SAMPLES", 50)
    report = cli._PingReport(as_json=True)
    for number in range(5000):
        report.pong(0, 1.0 + number)
    capsys.readouterr()
    report._connected = True
    report.summary()
    summary = json.loads(capsys.readouterr().out)
    assert len(report._samples) == 50
    assert (summary["received"], summary["min"], summary["max"]) == (5000, 1.0, 5000.0)
    # 50 out of 5,000: further off than this comes once in more than a billion times.
    assert 500 < summary["median"] < 4500


def test_histogram() -> None:
    assert cli.histogram([]) == []
    assert cli.histogram([0.5]) == []
    assert cli.histogram([0.5, 0.5]) == []
    rows = cli.histogram([0.001] * 3 + [0.256])
    assert rows[0] == f"    1.000 -   2.000 ms  {'#' * 48} 3"
    assert rows[1] == "    2.000 -   4.000 ms   0"
    assert rows[-1] == f"  128.000 - 256.000 ms  {'#' * 16} 1"


async def test_listen_catches_up_after_lost_events(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as pair:
        guests = cli._Guests(as_json=True)
        await guests.catch_up({pair.to_far})
        await guests.catch_up({pair.to_far})
        await pair.to_far.disconnect("enough")
        await guests.catch_up(set())
        await guests.catch_up(set())
        came, left = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert (came["event"], came["address"], left["event"]) == ("connected", "an unknown address", "disconnected")
        assert (left["code"], left["message"]) == ("REQUESTED", "enough")


# -- Ctrl-C and pipes -------------------------------------------------------------------------------------------------


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


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


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
def test_interrupting_listen_says_goodbye(number: signal.Signals, exits: int) -> None:
    with listening() as (listener, address), Running("ping", address, "--json") as ping:
        ping.line('"pong"')
        listener.interrupt(number)
        code, rest = listener.finish()
        assert code == exits
        assert "Traceback" not in listener.errors
        left = json.loads(rest[-1])
        assert (left["event"], left["code"], left["by"]) == ("disconnected", "SHUTDOWN", "us")
        code, rest = ping.finish()
        assert code == cli.PROTOCOL
        ended, summary = [json.loads(line) for line in rest[-2:]]
        assert (ended["event"], ended["code"], ended["by"]) == ("disconnected", "PEER_CLOSED", "peer")
        assert ended["message"] == GOODBYE
        assert summary["event"] == "summary"


def test_a_second_sigterm_does_not_end_the_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def program() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGHUP)
                await trio.testing.wait_all_tasks_blocked()
            said.append("goodbye")

    said: list[str] = []
    with pytest.raises(click.exceptions.Exit) as ended:
        cli._run(program)
    assert (ended.value.exit_code, said) == (143, ["goodbye"])


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


def test_a_terminal_that_is_gone() -> None:
    ours, theirs = pty.openpty()
    with listening() as (listener, address), Running("ping", address, "--interval", "0", stdout=theirs) as ping:
        os.close(theirs)
        assert os.read(ours, 100)
        os.close(ours)
        assert ping.process.wait() == 129
        assert len(ping.errors.splitlines()) == 2  # dialling, connected
        assert json.loads(listener.line("disconnected"))["message"] == GOODBYE


@pytest.mark.parametrize("command", [["keygen", "secret"], ["demo"], ["listen", "--port", "0"], ["decode", "--schema"]])
def test_output_that_cannot_be_written(command: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        code, _, errors = run(*command, stdout=full, cwd=tmp_path)
    assert (code, errors) == (2, "Error: cannot write: No space left on device\n")


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


def test_interrupting_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    async def greeting(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    monkeypatch.setattr(cli, "_demo_greeting", greeting)
    result = CliRunner().invoke(cli.cli, ["demo"])
    assert (result.exit_code, result.stderr) == (130, "")
    assert "pong of 65531 bytes" in result.stdout


def test_a_reader_that_leaves_ends_ping_quietly() -> None:
    with listening() as (listener, address), Running("ping", address, "--interval", "0") as ping:
        ping.line("pong 1:")
        assert ping.process.stdout is not None
        ping.process.stdout.close()
        assert ping.process.wait() == 141
        assert len(ping.errors.splitlines()) == 2  # dialling, connected
        assert json.loads(listener.line("disconnected"))["message"] == GOODBYE


def test_a_reader_that_leaves_ends_the_demo_quietly() -> None:
    with Running("demo") as demo:
        assert demo.process.stdout is not None
        demo.process.stdout.close()
        assert demo.process.wait() == 141
        assert demo.errors == ""


# -- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", DisconnectCode)
def test_every_reason_has_an_exit_code(code: DisconnectCode) -> None:
    """A new code of the library shall not be forgotten here; those of timeouts and acts can be told by their names."""
    given = cli.exit_code(DisconnectReason(code, Side.US, ""))
    assert given in (cli.CONNECT, cli.HANDSHAKE, cli.PROTOCOL, cli.TIMEOUT)
    assert ("TIMEOUT" in code or code is DisconnectCode.WRITE_STALLED) == (given == cli.TIMEOUT)
    assert ("ACT_" in code or code is DisconnectCode.CLOSED_IN_HANDSHAKE) == (given == cli.HANDSHAKE)


def test_help() -> None:
    for command in ([], ["demo"], ["ping"], ["listen"]):
        code, lines, _ = run(*command, "--help")
        assert code == 0
        for ending in ("  129  SIGHUP", "  130  Ctrl-C", "  143  SIGTERM"):
            assert ending in "\n".join(lines)
    _, lines, _ = run("--help")
    text = " ".join(" ".join(lines).split())
    assert "use a key that is made for this one run and forgotten" in text
    assert "may cost it a channel" in text
    assert run("--version")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["ping"],
        ["ping", "nowhere"],
        ["ping", f"{identity(1).hex()}@host:port"],
        ["ping", f"{identity(1).hex()}@127.0.0.1:1", "--size", "65532"],
        ["ping", f"{identity(1).hex()}@127.0.0.1:1", "--interval", "nan"],
        ["ping", f"{identity(1).hex()}@127.0.0.1:1", "--timeout", "0"],
        ["ping", f"{identity(1).hex()}@127.0.0.1:1", "--secret-file", "/does/not/exist"],
        ["ping", f"{identity(1).hex()}@foo.onion"],
        ["ping", f"{identity(1).hex()}@a..b"],
        ["top", f"{identity(1).hex()}@foo.onion"],
        ["top", f"{identity(1).hex()}@{'a' * 64}.com"],
        ["top", f"{identity(1).hex()}@127.0.0.1:1", "--interval", "-1"],
        ["top", f"{identity(1).hex()}@127.0.0.1:1", "--interval", "0"],
        ["check", f"{identity(1).hex()}@foo.onion:1"],
        ["check", f"{identity(1).hex()}@127.0.0.1:1", "--patience", "-1"],
        ["check", f"{identity(1).hex()}@127.0.0.1:1", "--patience", "0"],
        ["listen", "--port", "65536"],
        ["node-id"],
        ["keygen", "/does/not/exist"],
        ["keygen", "-"],
    ],
)
def test_exit_code_2_for_the_command_line(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.cli, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_exit_code_2() -> None:
    code, lines, errors = run("ping", "nowhere")
    assert (code, lines) == (2, [])
    assert "no node id in 'nowhere': write it as id@host:port" in errors


def test_exit_code_2_without_click() -> None:
    program = "import sys; sys.modules['click'] = None; import triolight.cli"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'the triolight command needs click: pip install "triolight[cli]"\n'


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


def test_exit_code_3_for_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, lines, errors = run("listen", "--port", str(taken.getsockname()[1]))
    assert (code, lines) == (3, [])
    assert "Error: cannot listen on 127.0.0.1 port" in errors


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


# -- peers that misbehave ---------------------------------------------------------------------------------------------


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
    assert code == cli.PROTOCOL
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
    assert code == cli.PROTOCOL
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
    assert code == cli.CONNECT
    assert [line["code"] for line in lines if line["event"] == "disconnected"] == ["CONNECTION_LOST"]


async def test_exit_code_5_for_an_init_that_is_refused() -> None:
    async def script(peer: Scripted) -> None:
        await peer.say(Init(features=(1 << 200).to_bytes(26, "big")))
        await peer.hear()
        # Why it is refused is said to it, too.
        warning = await peer.hear()
        assert b"200" in warning.data

    code, (failed,), _ = await ping_scripted(script)
    assert code == cli.PROTOCOL
    assert (failed["event"], failed["code"]) == ("failed", "INIT_REFUSED")


async def test_exit_code_5_for_hanging_up_before_init() -> None:
    async def script(peer: Scripted) -> None:
        await peer.hear()

    code, (failed,), _ = await ping_scripted(script)
    assert code == cli.PROTOCOL
    assert (failed["event"], failed["code"]) == ("failed", "CLOSED_BEFORE_INIT")


async def test_exit_code_6_for_an_init_that_does_not_come() -> None:
    async def script(peer: Scripted) -> None:
        await peer.hear()
        await trio.sleep_forever()

    code, (failed,), _ = await ping_scripted(script, "--timeout", "0.3")
    assert code == cli.TIMEOUT
    assert (failed["event"], failed["code"]) == ("failed", "INIT_TIMEOUT")
    assert "within 0.3 seconds of dialling" in failed["message"]


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keygen_makes_a_private_file_and_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    # However generous the umask is.
    code, (ours,), errors = run("keygen", file, umask=0)
    assert (code, errors) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_text()
    assert re.fullmatch(r"[0-9a-f]{64}\n", content)
    assert content.strip() not in ours

    code, lines, errors = run("keygen", file)
    assert (code, lines) == (2, [])
    assert "exists already" in errors
    assert file.read_text() == content

    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    assert run("keygen", link)[0] == 2
    assert not (tmp_path / "elsewhere").exists()

    assert run("node-id", "--secret-file", file) == (0, [ours], "")


def test_keygen_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = CliRunner().invoke(cli.cli, ["keygen", str(tmp_path / "secret")])
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_secret_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(secret(3).hex().upper() + "\n")
    file.chmod(0o600)
    assert run("node-id", "--secret-file", file) == (0, [identity(3).hex()], "")
    for mode in (0o640, 0o604):
        file.chmod(mode)
        code, lines, errors = run("node-id", "--secret-file", file)
        assert (code, lines) == (0, [identity(3).hex()])
        assert errors == f"warning: others can read {file}: chmod 600 it, or make a new one if they may have\n"


@pytest.mark.parametrize("content", [b"", b"00" * 32, b"ab" * 31, b"\xff" * 32, b"zz" * 32, b"ab" * 4000])
def test_what_is_no_secret_is_refused_and_not_shown(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    code, lines, errors = run("node-id", "--secret-file", file)
    assert (code, lines) == (2, [])
    assert "does not hold a node secret" in errors
    assert "abab" not in errors
