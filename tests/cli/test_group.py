"""What ends every command alike: output that nobody takes, and a Python without click."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.processes import run


@pytest.mark.parametrize("command", [["keygen", "secret"], ["demo"], ["listen", "--port", "0"], ["decode", "--schema"]])
def test_output_that_cannot_be_written(command: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        code, _, errors = run(*command, stdout=full, cwd=tmp_path)
    assert (code, errors) == (2, "Error: cannot write: No space left on device\n")


def test_exit_code_2_without_click() -> None:
    program = "import sys; sys.modules['click'] = None; import triolight.cli"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'the triolight command needs click: pip install "triolight[cli]"\n'
