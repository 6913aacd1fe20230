"""What ends every command alike: Ctrl-C, output that nobody takes, a terminal that is gone; and how one gets there."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.decoding import UPDATE
from tests.support import secret
from tests.support.processes import COMMAND, Running, run, unread, unseen
from tests.support.tapes import record
from triolight.cli import cli

PROJECT = Path(__file__).parent.parent.parent / "pyproject.toml"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind that commands read."""
    folder = tmp_path_factory.mktemp("there")
    (folder / "secret").write_text(secret(1).hex())
    (folder / "secret").chmod(0o600)
    (folder / "json").write_text('{"message": "pong", "ignored": "00"}\n')
    record(folder / "tape")
    return folder


def without_peers(there: Path, tmp_path: Path) -> dict[str, list[str | Path]]:
    """Each command that talks to nobody, as one has it write to stdout."""
    return {
        "keygen": ["keygen", tmp_path / "secret"],
        "node-id": ["node-id", "--secret-file", there / "secret"],
        "decode": ["decode", "--hex", UPDATE],
        "encode": ["encode", there / "json"],
        "replay": ["replay", there / "tape"],
    }


@pytest.mark.parametrize("command", [["keygen", "secret"], ["demo"], ["listen", "--port", "0"], ["decode", "--schema"]])
def test_output_that_cannot_be_written(command: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        code, _, errors = run(*command, stdout=full, cwd=tmp_path)
    assert (code, errors) == (2, "Error: cannot write: No space left on device\n")


@pytest.mark.parametrize("command", ["keygen", "node-id", "decode", "encode", "replay"])
def test_a_reader_that_has_left_ends_it_quietly(command: str, there: Path, tmp_path: Path) -> None:
    with unread() as pipe:
        code, _, errors = run(*without_peers(there, tmp_path)[command], stdout=pipe)
    assert code == 141
    assert "Traceback" not in errors
    assert "Broken" not in errors


@pytest.mark.parametrize("command", ["keygen", "node-id", "decode", "replay"])
def test_a_terminal_that_is_gone(command: str, there: Path, tmp_path: Path) -> None:
    with unseen() as terminal:
        code, _, errors = run(*without_peers(there, tmp_path)[command], stdout=terminal)
    assert code == 129
    assert "Traceback" not in errors


@pytest.mark.parametrize("command", [["demo"], ["listen", "--port", "0"], ["top", "--listen", "0", "--once"]])
def test_a_terminal_that_is_gone_with_peers(command: list[str]) -> None:
    with unseen() as terminal:
        code, _, errors = run(*command, stdout=terminal)
    assert (code, errors) == (129, "")


@pytest.mark.parametrize("command", [["node-id", "--secret-file"], ["decode"], ["encode"], ["replay"]])
def test_interrupting_who_waits_for_a_file(command: list[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with Running(*command, tmp_path / "pipe") as waiting:
        # It opens as soon as the command opens the other end: then it waits for what is in there.
        with (tmp_path / "pipe").open("wb"):
            waiting.interrupt()
            assert waiting.finish() == (130, [])
        assert "KeyboardInterrupt" not in waiting.errors


def test_interrupting_keygen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    result = CliRunner().invoke(cli, ["keygen", str(tmp_path / "secret")])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def test_exit_code_2_without_click() -> None:
    program = "import sys; sys.modules['click'] = None; import triolight.cli"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'the triolight command needs click: pip install "triolight[cli]"\n'


def test_the_console_script_is_there() -> None:
    module, _, name = tomllib.loads(PROJECT.read_text())["project"]["scripts"]["triolight"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_a_shell_completes_commands_and_options() -> None:
    for words, found in (("triolight ke", "keygen"), ("triolight ping --cou", "--count")):
        asked = {"_TRIOLIGHT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(COMMAND, env=os.environ | asked, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (f"plain,{found}\n", "")


def test_a_command_is_a_file_and_a_line() -> None:
    """Each file with commands is named by the package's `__init__`, and each of its commands is in the group."""
    package = Path(importlib.import_module("triolight.cli").__path__[0])
    declared: dict[str, list[str]] = {}
    for path in package.glob("*.py"):
        if commands := re.findall(r'^@command\(\s*"([\w-]+)"', path.read_text(), re.MULTILINE):
            declared[path.stem] = commands
    named = re.findall(r"^from triolight\.cli import (\w+) as", (package / "__init__.py").read_text(), re.MULTILINE)
    assert named == sorted(declared)
    assert sorted(cli.commands) == sorted(command for commands in declared.values() for command in commands)
