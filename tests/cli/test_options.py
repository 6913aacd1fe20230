"""A command line that is none: exit code 2, and words that say why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support import identity
from tests.support.processes import COMMAND, listening, run
from triolight.cli import cli


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
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


NODE = f"{identity(1).hex()}@127.0.0.1:1"


@pytest.mark.parametrize("command", [["graph", "sync", "g.db", NODE], ["graph", "serve", "g.db"]])
def test_a_password_of_a_chains_server_is_no_argument(command: list[str]) -> None:
    for url in ("http://me:secret@127.0.0.1:1", "secret@nonsense", "esplora+https://secret@[::1"):
        result = CliRunner().invoke(cli, [*command, "--utxo", url])
        assert result.exit_code == 2
        assert "--utxo-auth" in result.stderr
        assert "secret" not in result.stderr
    result = CliRunner().invoke(cli, [*command, "--utxo-auth", __file__])
    assert (result.exit_code, "--utxo-auth is of a server that --utxo names" in result.stderr) == (2, True)
    result = CliRunner().invoke(cli, [*command, "--utxo", "http://127.0.0.1:1", "--utxo-ca", "/does/not/exist"])
    assert (result.exit_code, "--utxo-ca" in result.stderr) == (2, True)


def test_what_is_not_installed_is_said_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None: ...

    monkeypatch.setattr("importlib.util.find_spec", nothing)
    result = CliRunner().invoke(cli, ["graph", "sync", "g.db", NODE, "--utxo", "http://127.0.0.1:1"])
    assert result.exit_code == 2
    assert "pip install 'triolight[utxo]'" in result.stderr


def test_exit_code_2() -> None:
    code, lines, errors = run("ping", "nowhere")
    assert (code, lines) == (2, [])
    assert "no node id in 'nowhere': write it as id@host:port" in errors


def test_what_is_refused_is_escaped_once() -> None:
    for arguments in (
        ["ping", "no\x1bwhere"],
        ["ping", f"{identity(1).hex()}@ho\x1bst:1"],
        ["top", "--proxy", "socks5://ho\x1bst:1", f"{identity(1).hex()}@host:1"],
        ["listen", "--port", "\x1b"],
        ["listen", "--tape", "no\x1bwhere/tape"],
        ["listen", "--port", "0", "--host", "ho\x1bst"],
        ["node-id", "--secret-file", "no\x1bwhere"],
        ["replay", "no\x1bwhere"],
    ):
        errors = CliRunner().invoke(cli, arguments).stderr
        assert errors, arguments
        assert "\x1b" not in errors
        assert "\\\\" not in errors
        assert ("\\x1b" in errors) == ("socks5" not in " ".join(arguments))


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["top"], "nobody to show"),
        (["top", "nonsense"], "id@host:port"),
        (["top", "--proxy", "http://x:1", "--listen", "0"], "socks5"),
    ],
)
def test_usage(arguments: list[str], words: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr.decode()
