"""Who comes and goes, told until a signal; and a page of metrics beside it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess

import pytest
import trio

from tests.support import make_manager, open_pair
from tests.support.inside import Guests
from tests.support.processes import COMMAND, GOODBYE, SIGNALS, Running, listening, run
from tests.support.scraping import ask
from triolight import open_peer_nursery
from triolight.cli.exits import Exit


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


async def test_listen_catches_up_after_lost_events(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pair() as pair:
        guests = Guests(as_json=True)
        await guests.catch_up({pair.to_far})
        await guests.catch_up({pair.to_far})
        await pair.to_far.disconnect("enough")
        await guests.catch_up(set())
        await guests.catch_up(set())
        came, left = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert (came["event"], came["address"], left["event"]) == ("connected", "an unknown address", "disconnected")
        assert (left["code"], left["message"]) == ("REQUESTED", "enough")


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
        assert code == Exit.PROTOCOL
        ended, summary = [json.loads(line) for line in rest[-2:]]
        assert (ended["event"], ended["code"], ended["by"]) == ("disconnected", "PEER_CLOSED", "peer")
        assert ended["message"] == GOODBYE
        assert summary["event"] == "summary"


def test_a_reader_that_leaves_ends_listen_quietly() -> None:
    with listening() as (listener, address):
        assert listener.process.stdout is not None
        listener.process.stdout.close()
        assert run("ping", address)[0] == Exit.PROTOCOL  # it hangs up: it has nobody to tell
        assert listener.process.wait() == 141
        assert listener.errors == ""


def test_exit_code_3_for_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken_port = taken.getsockname()[1]
        code, lines, errors = run("listen", "--port", str(taken_port))
    assert (code, lines) == (3, [])
    assert errors == f"Error: cannot listen on 127.0.0.1 port {taken_port}: Address already in use\n"


async def test_listen_with_metrics() -> None:
    with trio.fail_after(30):
        process = await trio.lowlevel.open_process(
            [*COMMAND, "listen", "--port", "0", "--metrics", "0"], stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            said = b""
            while b"/metrics" not in said:
                said += await process.stdout.receive_some()
            address = re.search(rb"listening on (\S+)", said)
            port = re.search(rb"127.0.0.1:(\d+)/metrics", said)
            assert address is not None
            assert port is not None
            async with open_peer_nursery(make_manager(1)) as peers:
                await peers.connect(address[1].decode())
                page = await ask(int(port[1]), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b'triolight_peers{direction="in"} 1.0' in page
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 130
        finally:
            process.kill()
            await process.wait()
