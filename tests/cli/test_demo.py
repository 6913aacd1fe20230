"""The demo tells what happened, and fails where it did not."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.support.inside import DEMO_ACCEPTS, DEMO_GREETING, next_of_demo
from tests.support.processes import SIGNALS, Running, run
from triolight import PeerConnected, TriolightError
from triolight.cli import cli
from triolight.cli.jobs import demo


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
        patch.setattr(DEMO_ACCEPTS, accepts)
        result = CliRunner().invoke(cli, ["demo"])
        assert result.exit_code == 1
        assert "failed in step 8, 'Alice leaves': this did not happen: no peer is left" in result.stderr
    with monkeypatch.context() as patch:
        patch.setattr(demo, "DEMO_SECONDS", 0.0)
        result = CliRunner().invoke(cli, ["demo"])
        assert result.exit_code == 1
        assert "not done within 0 seconds" in result.stderr
    with monkeypatch.context() as patch:
        # Alice hears a message that she does not know, and hangs up.
        patch.setattr(demo.Greeting, "type", 40002)
        patch.setattr(demo.Greeting, "encode", lambda _: b"\x9c\x42")
        result = CliRunner().invoke(cli, ["demo"])
        assert result.exit_code == 1
        assert "failed in step 4" in result.stderr


async def test_the_demo_is_not_content_with_any_event() -> None:
    class News:
        async def __anext__(self) -> str:
            await trio.lowlevel.checkpoint()
            return "something else"

    with pytest.raises(TriolightError, match="expected PeerConnected, and there was something else"):
        await next_of_demo(News(), PeerConnected)


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
def test_interrupting_the_demo(number: signal.Signals, exits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def greeting(*_: Any) -> None:
        signal.raise_signal(number)
        await trio.sleep_forever()

    monkeypatch.setattr(DEMO_GREETING, greeting)
    result = CliRunner().invoke(cli, ["demo"])
    assert (result.exit_code, result.stderr) == (exits, "")
    assert "pong of 65531 bytes" in result.stdout


def test_a_reader_that_leaves_ends_the_demo_quietly() -> None:
    with Running("demo") as told:
        assert told.process.stdout is not None
        told.process.stdout.close()
        assert told.process.wait() == 141
        assert told.errors == ""
