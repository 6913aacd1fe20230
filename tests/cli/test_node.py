"""Who a command is: a secret in a file is read, judged and never shown; without one, each run is somebody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import identity, secret
from tests.support.processes import listening, run


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


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xef\xbb\xbf" + secret(3).hex().encode() + b"\r\n")
    file.chmod(0o600)
    assert run("node-id", "--secret-file", file) == (0, [identity(3).hex()], "")


@pytest.mark.parametrize(
    "content", [b"", b"\xef\xbb\xbf", b"00" * 32, b"ab" * 31, b"\xff" * 32, b"zz" * 32, b"ab" * 4000]
)
def test_what_is_no_secret_is_refused_and_not_shown(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    code, lines, errors = run("node-id", "--secret-file", file)
    assert (code, lines) == (2, [])
    assert "does not hold a node secret" in errors
    assert "abab" not in errors
