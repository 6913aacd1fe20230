"""`triolight keygen` writes a secret once, for its owner alone."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.processes import run
from triolight.cli import cli


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
    result = CliRunner().invoke(cli, ["keygen", str(tmp_path / "secret")])
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []
