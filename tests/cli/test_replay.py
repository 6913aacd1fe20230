"""`triolight replay` shows what a tape tells, and says when it would be otherwise now."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest

from tests.support.processes import COMMAND
from tests.support.tapes import record
from triolight.cli import cli


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tape") / "tape"
    record(path)
    return path


def test_the_command_shows_what_happened(tape: Path) -> None:
    shown = click.testing.CliRunner().invoke(cli, ["replay", str(tape)])
    assert shown.exit_code == 0
    assert "all of it as on the tape" in shown.stderr
    assert "Private: " in shown.stderr
    lines = shown.stdout.splitlines()
    assert any("#1 < ping, 6 bytes" in one for one in lines)
    assert any("#1 > pong, 7 bytes" in one for one in lines)
    assert any("< cannot be read: channel_announcement" in one for one in lines)
    assert any("#1 < message37914, 3 bytes" in one.lower() for one in lines)
    assert lines[-2].endswith("tape: the block was left") or lines[-1].endswith("tape: the block was left")
    verbose = click.testing.CliRunner().invoke(cli, ["replay", "-v", str(tape)])
    assert "  num_pong_bytes: 3" in verbose.stdout.splitlines()
    objects = click.testing.CliRunner().invoke(cli, ["replay", "--json", str(tape)])
    told = [json.loads(line) for line in objects.stdout.splitlines()]
    assert [one["message"] for one in told if one.get("message", {}).get("message") == "pong"] == [
        {"message": "pong", "type": 19, "ignored": "000000"}
    ]
    assert "channel_announcement" in next(one["problem"] for one in told if "problem" in one)


def test_words_are_escaped_once(tape: Path, tmp_path: Path) -> None:
    """Reasons are, when they are made; what else is on a tape may be anything."""
    file = tmp_path / "tape"
    content = tape.read_text()
    assert '"the block was left"' in content
    file.write_text(content.replace('"the block was left"', '"left \\\\x1b \\u001b\\n"'))
    shown = click.testing.CliRunner().invoke(cli, ["replay", str(file)])
    assert shown.exit_code == 0
    assert any(one.endswith("tape: left \\x1b \\x1b\\n") for one in shown.stdout.splitlines())
    assert "\x1b" not in shown.stdout


def test_a_reader_that_leaves_ends_the_command_quietly(tape: Path) -> None:
    replay = subprocess.Popen([*COMMAND, "replay", str(tape)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert replay.stdout is not None
    assert replay.stderr is not None
    with replay, replay.stderr as errors:
        replay.stdout.close()
        assert b"Broken pipe" not in errors.read()
    assert replay.returncode == 141


def test_the_commands_exit_codes(tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = click.testing.CliRunner().invoke
    broken = tmp_path / "broken"
    broken.write_bytes(b"{}\n")
    found = run(cli, ["replay", str(broken)])
    assert (found.exit_code, found.stderr) == (2, f"{broken}:1: this is no tape of format 1\n")
    assert run(cli, ["replay", str(tmp_path / "nowhere")]).exit_code == 2
    for header in (b'"kind": {}', b'"kind": "messages", "messages": 5', b'"kind": "messages", "our_node_id": {}'):
        broken.write_bytes(b'{"triolight_tape": 1, ' + header + b"}\n")
        found = run(cli, ["replay", str(broken)])
        assert found.exit_code == 2
        assert found.stderr.startswith(f"{broken}:1: ")
    monkeypatch.setattr("triolight.manager.ending.MAX_WARNING_TEXT", 10)
    found = run(cli, ["replay", str(tape)])
    assert found.exit_code == 1
    assert "different: " in found.stderr
    found = run(cli, ["replay", "--no-compare", str(tape)])
    assert found.exit_code == 0
    assert "not compared" in found.stderr


OWN = """
from triolight.messages import BOLT, Message, Registry, message
from triolight import wire

@message(37913)
class Greeting(Message):
    first: wire.byte
    rest: wire.remainder

@message(37914)
class Order(Message):
    payload: wire.remainder

OURS = BOLT | {Greeting, Order}

class Inside:
    ONLY = Registry([Greeting])

many = [Greeting]
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory from which Python imports nothing by itself, as a script's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one and Path(one) != tmp_path])
    before = {*sys.modules}
    (tmp_path / "my_messages.py").write_text(OWN)
    (tmp_path / "broken_messages.py").write_text("import nothing_like_that_is_installed")
    (tmp_path / "half_messages.py").write_text("OURS = [")
    (tmp_path / "leaving_messages.py").write_text("raise SystemExit(0)")
    yield tmp_path
    for name in {*sys.modules} - before:
        if name.endswith("_messages"):
            del sys.modules[name]


@pytest.mark.parametrize("where", ["my_messages:OURS", "my_messages:Inside.ONLY"])
def test_ones_own_messages_are_shown_as_such(where: str, tape: Path, elsewhere: Path) -> None:
    run = click.testing.CliRunner().invoke
    bare = run(cli, ["replay", str(tape), "--json"])
    assert "greeting" not in bare.stdout
    shown = run(cli, ["replay", str(tape), "--messages", where])
    assert shown.exit_code == 0, shown.stderr
    assert "> greeting, " in shown.stdout
    assert "all of it as on the tape" in shown.stderr
    objects = [
        json.loads(line) for line in run(cli, ["replay", str(tape), "--json", "--messages", where]).stdout.splitlines()
    ]
    found = [one["message"] for one in objects if one.get("message", {}).get("message") == "greeting"]
    assert [one["first"] for one in found] == [ord("f"), ord("a")]
    order = "order" if where.endswith("OURS") else "message37914"
    assert f"< {order}, 3 bytes" in shown.stdout.lower()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("my_messages", "'my_messages' is not MODULE:REGISTRY"),
        ("my_messages:", "is not MODULE:REGISTRY"),
        (":OURS", "is not MODULE:REGISTRY"),
        ("", "is not MODULE:REGISTRY"),
        ("no_messages:OURS", "'no_messages' cannot be imported: ModuleNotFoundError: No module named 'no_messages'"),
        ("broken_messages:OURS", "cannot be imported: ModuleNotFoundError: No module named 'nothing_like_that"),
        ("half_messages:OURS", "'half_messages' cannot be imported: SyntaxError"),
        ("leaving_messages:OURS", "'leaving_messages' cannot be imported: SystemExit: 0"),
        (".my_messages:OURS", "'.my_messages' cannot be imported: TypeError"),
        ("my_messages:THEIRS", "the module 'my_messages' has no 'THEIRS'"),
        ("my_messages:Inside.NONE", "the module 'my_messages' has no 'Inside.NONE'"),
        ("my_messages:many", "'my_messages:many' is no Registry of messages: list"),
        ("my_messages:Greeting", "'my_messages:Greeting' is no Registry of messages: "),
        ("my\x1b_messages:OURS", "\\x1b"),
    ],
)
def test_what_is_no_registry_is_a_mistake_of_usage(where: str, words: str, tape: Path, elsewhere: Path) -> None:
    found = click.testing.CliRunner().invoke(cli, ["replay", str(tape), "--messages", where])
    assert found.exit_code == 2
    assert found.stdout == ""
    assert words in " ".join(found.stderr.split())
    assert "--messages" in found.stderr
    assert "Traceback" not in found.stderr
