"""`python -m triolight`, and Ctrl-C before there is a command."""

from __future__ import annotations

import ast
import importlib
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.project import PACKAGE, ROOT

INTERRUPTS = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
SCRIPT = "import sys; from triolight.__main__ import main; sys.exit(main())"
"""As the console script is written by whoever installs it."""


@pytest.fixture(autouse=True)
def _interruptible() -> None:
    """Of whoever is started here. The tests' own is Trio's matter."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_it_is_the_command() -> None:
    shown = [
        subprocess.run([sys.executable, *how, "--help"], capture_output=True, text=True, check=True).stdout
        for how in (["-m", "triolight"], ["-m", "triolight.cli"])
    ]
    assert shown[0] == shown[1]
    assert "Exit codes:" in shown[0]


def test_the_console_script_is_this() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["triolight"]
    assert named == "triolight.__main__:main"
    assert callable(importlib.import_module("triolight.__main__").main)


def test_nothing_is_imported_at_its_top() -> None:
    tree = ast.parse((PACKAGE / "__main__.py").read_text())
    assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("how", [["-m", "triolight"], ["-c", SCRIPT]])
@pytest.mark.parametrize("content", [INTERRUPTS, INTERRUPTS.replace("os.kill", "try:\n    os.kill") + "except: pass\n"])
def test_ctrl_c_while_click_is_loaded(how: list[str], content: str, tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(content)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = subprocess.run(
        [sys.executable, *how, "--version"], env=os.environ | {"PYTHONPATH": path}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As in a job in the background of a shell."""
    (tmp_path / "sitecustomize.py").write_text("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n")
    (tmp_path / "rich.py").write_text("")
    program = "import os, signal; from triolight.__main__ import main; import triolight.cli.group as group\n"
    program += "group.open_streams = lambda: os.kill(os.getpid(), signal.SIGINT)\nmain()"
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    for ignored, code in ((True, 0), (False, 130)):
        done = subprocess.run(
            [sys.executable, "-c", program, "--version"],
            env=os.environ | {"PYTHONPATH": path if ignored else str(ROOT)},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (code, b"")


def test_trio_finds_pythons_own_handler() -> None:
    """Or it would not take SIGINT over, and Ctrl-C would land anywhere."""
    program = """
import signal
import triolight.cli
from triolight.__main__ import main
triolight.cli.main = lambda: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
