"""What ends every command alike: Ctrl-C, output that nobody takes, a terminal that is gone; and how one gets there."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.cli.decoding import INVOICE, OFFER, UPDATE
from tests.support import identity, secret
from tests.support.gossip_files import SIMPLE
from tests.support.processes import COMMAND, Running, listening, run, unread, unseen
from tests.support.records import a_record
from tests.support.tapes import record
from triolight.cli import cli
from triolight.cli.group import COMMANDS

PROJECT = Path(__file__).parent.parent.parent / "pyproject.toml"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind that commands read."""
    folder = tmp_path_factory.mktemp("there")
    (folder / "secret").write_text(secret(1).hex())
    (folder / "secret").chmod(0o600)
    (folder / "json").write_text('{"message": "pong", "ignored": "00"}\n')
    record(folder / "tape")
    (folder / "store").write_bytes(SIMPLE)
    a_record(folder / "seen")
    return folder


def without_peers(there: Path, tmp_path: Path) -> dict[str, list[str | Path]]:
    """Each command that talks to nobody, as one has it write to stdout."""
    return {
        "keygen": ["keygen", tmp_path / "secret"],
        "node-id": ["node-id", "--secret-file", there / "secret"],
        "decode": ["decode", "--hex", UPDATE],
        "encode": ["encode", there / "json"],
        "replay": ["replay", there / "tape"],
        "record stats": ["record", "stats", there / "seen"],
        "record plot": ["record", "plot", there / "seen", "-o", tmp_path / "pictures"],
        "record export": ["record", "export", there / "seen", tmp_path / "tables", "--format", "csv"],
        "offer decode": ["offer", "decode", OFFER],
        "invoice decode": ["invoice", "decode", INVOICE],
        "graph stats": ["graph", "stats", there / "store"],
        "graph show": ["graph", "show", there / "store", "103x1x0"],
        "graph plot": ["graph", "plot", there / "store", "-o", tmp_path / "pictures"],
        "graph import": ["graph", "import", tmp_path / "graph.db", there / "store"],
        "graph export": ["graph", "export", there / "store", "--format", "describegraph"],
    }


@pytest.mark.parametrize("command", [["keygen", "secret"], ["demo"], ["listen", "--port", "0"], ["decode", "--schema"]])
def test_output_that_cannot_be_written(command: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        code, _, errors = run(*command, stdout=full, cwd=tmp_path)
    assert (code, errors) == (2, "Error: cannot write: No space left on device\n")


NATURAL = {
    "help": (["--help"], 0),
    "version": (["--version"], 0),
    "usage": (["decode", "--nosuch"], 2),
    "demo": (["demo"], 0),
    "listen": (["listen", "--port", "0", "--host", "a..b"], 3),
    "top": (["top", "--listen", "0", "--once"], 0),
    "ping": (["ping", "--json", f"{identity(1).hex()}@foo.example", "--timeout", "0.001"], 6),
    "check": (["check", f"{identity(1).hex()}@pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"], 3),
    "keygen": (["keygen", "new"], 0),
    "node-id": (["node-id", "--secret-file", "secret"], 0),
    "warned": (["node-id", "--secret-file", "readable"], 0),
    "decode": (["decode", "good"], 0),
    "decode bad": (["decode", "bad"], 5),
    "decode --hex": (["decode", "--hex", "0012"], 5),
    "encode": (["encode", "json"], 0),
    "replay": (["replay", "tape"], 0),
    "record stats": (["record", "stats", "seen"], 0),
    "record export": (["record", "export", "seen", "newtables", "--format", "csv"], 0),
    "offer decode": (["offer", "decode", OFFER], 0),
    "offer decode bad": (["offer", "decode", OFFER[:-1]], 2),
    "invoice decode": (["invoice", "decode", INVOICE], 0),
    "onion send": (["onion", "send", identity(1).hex(), "77", "00"], 3),
    "onion listen": (["onion", "listen", "--port", "0", "--host", "a..b"], 3),
    "lsps protocols": (["lsps", "protocols", f"{identity(1).hex()}@127.0.0.1:1"], 3),
    "lsps call": (["lsps", "call", "lsps2.get_info", f"{identity(1).hex()}@127.0.0.1:1"], 3),
    "lsps info": (["lsps", "info", f"{identity(1).hex()}@127.0.0.1:1"], 3),
    "offer fetch-invoice": (["offer", "fetch-invoice", OFFER], 3),
    "graph stats": (["graph", "stats", "store"], 0),
    "graph show": (["graph", "show", "store", "1x2x3"], 1),
    "graph import": (["graph", "import", "newgraph", "store"], 0),
    "graph export": (["graph", "export", "store", "--format", "jsonl"], 0),
}
"""Each command, with what it ends with where all its streams take what they are given."""
STREAMS = (">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full 2>/dev/full", ">/dev/full")
"""Closed or full, so that every second one still holds of each kind. A command gets those, its neighbour the others."""


@pytest.mark.parametrize(("name", "turn"), [(name, turn % 2) for turn, name in enumerate(NATURAL)], ids=NATURAL)
def test_streams_that_are_closed_or_full(name: str, turn: int, there: Path, tmp_path: Path) -> None:
    """Exit code 2 where data is lost, or words; else what it is anyway. All data where stdout takes it. One line about
    it where stderr takes that, and never a traceback."""
    arguments, natural = NATURAL[name]
    for file in there.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "readable").write_text(secret(1).hex())
    (tmp_path / "good").write_text(UPDATE)
    (tmp_path / "bad").write_text("zz\n" + UPDATE + "\n")

    def start(streams: str) -> subprocess.Popen[str]:
        given = [one.replace("new", f"new{len(streams)}") for one in arguments]
        shell = ["sh", "-c", f'exec "$@" {streams}', "sh", *COMMAND, *given]
        return subprocess.Popen(shell, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)

    found: dict[str, tuple[int, str, str]] = {}
    for streams, process in {streams: start(streams) for streams in ("", *STREAMS[turn::2])}.items():
        data, words = process.communicate()
        found[streams] = process.returncode, data, words
    code, data, words = found.pop("")
    assert code == natural
    for streams, (ended, shown, said) in found.items():
        assert "Traceback" not in said
        taken = re.search("(^| )>", streams) is None
        if not taken and data:
            assert (ended, shown) == (2, ""), streams
            if "2>" not in streams:
                assert said.splitlines()[-1].endswith(
                    f"write: {'Bad file descriptor' if '>&-' in streams else 'No space left on device'}"
                )
                assert len(said.splitlines()) <= len(words.splitlines()) + 1
            continue
        lost = "2>/dev/full" in streams and words
        assert ended == (2 if lost and code == 0 else code), streams
        assert not taken or without_times(shown) == without_times(data), streams


def without_times(data: str) -> list[str]:
    """What does not differ from run to run: the number of lines, and their first words."""
    return [re.split(r"[\d:]", line)[0] for line in data.splitlines()]


def test_who_runs_until_a_signal_minds_stdout_alone() -> None:
    for streams, ends in ((">&-", 2), (">/dev/full", 2), (">&- 2>&-", 2), ("2>&-", 143), ("2>/dev/full", 143)):
        shell = ["sh", "-c", f'exec "$@" {streams}', "sh", *COMMAND, "listen", "--port", "0", "-vv"]
        with subprocess.Popen(shell, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if ends == 143:
                assert process.stdout.readline()
                process.terminate()
            _, words = process.communicate()
        assert process.returncode == ends, streams
        assert "Traceback" not in words


def test_what_a_peer_is_pinged_with_comes_out_though_no_word_is_taken() -> None:
    with listening() as (_, address):
        shell = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *COMMAND, "ping", "-v", address, "--count", "2", "--json"]
        done = subprocess.run(shell, capture_output=True, text=True, check=False)
    told = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert (done.returncode, told) == (2, ["connected", "pong", "pong", "summary"])


LOOKED_AT = ["graph stats", "graph show", "graph export", "record stats", "record export"]
PLOTS = ["record plot", "graph plot"]
OFFERS = ["offer decode", "invoice decode"]


@pytest.mark.parametrize(
    "command", ["keygen", "node-id", "decode", "encode", "replay", "graph import", PLOTS[0], *LOOKED_AT, *OFFERS]
)
def test_a_reader_that_has_left_ends_it_quietly(command: str, there: Path, tmp_path: Path) -> None:
    with unread() as pipe:
        code, _, errors = run(*without_peers(there, tmp_path)[command], stdout=pipe)
    assert code == 141
    assert "Traceback" not in errors
    assert "Broken" not in errors


@pytest.mark.parametrize("command", ["keygen", "node-id", "decode", "replay", PLOTS[1], *LOOKED_AT, *OFFERS])
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


@pytest.mark.parametrize(
    "command", [["node-id", "--secret-file"], ["decode"], ["encode"], ["replay"], ["graph", "stats"]]
)
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
    program = [sys.executable, "-W", "error", "-c", "import sys; sys.modules['click'] = None; import triolight.cli"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'the triolight command needs click: pip install "triolight[cli]"\n'
    for streams in ("2>&-", "2>/dev/full", ">&- 2>&-"):
        assert subprocess.run(["sh", "-c", f'exec "$@" {streams}', "sh", *program], check=False).returncode == 2


def test_the_console_script_is_there() -> None:
    module, _, name = tomllib.loads(PROJECT.read_text())["project"]["scripts"]["triolight"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_a_shell_completes_commands_and_options() -> None:
    for words, found in (("triolight ke", "keygen"), ("triolight ping --cou", "--count")):
        asked = {"_TRIOLIGHT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(COMMAND, env=os.environ | asked, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (f"plain,{found}\n", "")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("triolight ", sorted({name.partition(" ")[0] for name in COMMANDS})),
        ("triolight gr", ["graph"]),
        ("triolight graph ", sorted(name.removeprefix("graph ") for name in COMMANDS if name.startswith("graph "))),
        ("triolight graph s", ["serve", "show", "stats", "sync"]),
        ("triolight --ver", ["--version"]),
        ("triolight --", ["--version", "--help"]),
    ],
)
def test_a_shell_completes_a_groups_own_names_in_order_and_says_what_each_does(words: str, found: list[str]) -> None:
    asked = {"_TRIOLIGHT_COMPLETE": "zsh_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(COMMAND, env=os.environ | asked, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert (lines[::3], lines[1::3], done.stderr) == (["plain"] * len(found), found, "")
    group = "graph " if "graph " in words else ""
    for name, help_ in zip(found, lines[2::3], strict=True):
        if group + name in COMMANDS:
            assert help_.replace("\\:", ":") == COMMANDS[group + name][1]
        else:
            assert len(help_) > 10


def test_the_help_of_a_group_lists_its_own_commands_in_order() -> None:
    for group in ("", "graph ", "invoice ", "lsps ", "offer ", "onion ", "record ", "storage "):
        listed = run_command(*group.split(), "--help")
        names = {name.removeprefix(group).partition(" ")[0] for name in COMMANDS if name.startswith(group)}
        assert listed == sorted(names)


def run_command(*words: str) -> list[str]:
    """The commands in the help of a group."""
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=True)
    return re.findall(r"^  ([a-z-]+)  ", done.stdout.partition("Commands:\n")[2], re.MULTILINE)


def test_a_command_is_a_file_and_a_line() -> None:
    """Each command of a file stands in `COMMANDS`, with the first sentence of its help."""
    package = Path(importlib.import_module("triolight.cli").__path__[0])
    declared: dict[str, str] = {}
    for path in package.glob("*.py"):
        for command in re.findall(r'^@command\(\s*"([\w -]+)"', path.read_text(), re.MULTILINE):
            declared[command] = path.stem
    assert declared == {name: file for name, (file, _) in COMMANDS.items()}
    for name, (_, words) in COMMANDS.items():
        found: click.Command | None = cli
        for word in name.split():
            assert isinstance(found, click.Group)
            found = found.get_command(click.Context(cli), word)
        assert found is not None
        assert found.get_short_help_str(500) == words


LOADED = """
import sys
from triolight.cli import main
try:
    main()
finally:
    heavy = {"trio", "triolight.peer_manager", "triolight.gossip", "triolight.cli.ping"}
    print(",".join(heavy & {*sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "loaded"),
    [("triolight ", ""), ("triolight ping --", "triolight.cli.ping"), ("triolight top --", "")]
    + [(f"triolight {name} --", "") for name in COMMANDS if name.startswith("graph ")],
)
def test_a_completion_loads_no_more_than_it_needs(words: str, loaded: str) -> None:
    asked = {"_TRIOLIGHT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([sys.executable, "-c", LOADED], env=os.environ | asked, capture_output=True, text=True)
    assert done.stdout.count("plain,") > 1
    assert done.stderr == f"{loaded}\n"
