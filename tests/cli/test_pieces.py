"""Hex, base64, bytes and lengths, from files and pipes: what is a message, and what is none."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.decoding import HEX, UPDATE, run
from triolight.as_json import to_json
from triolight.cli.pieces import MAX_LINE
from triolight.messages import Error, UnknownMessage


@pytest.mark.parametrize("format_", ["hex", "base64", "lengths", "auto"])
def test_bytes_to_json_and_back(format_: str, tmp_path: Path) -> None:
    raw = [bytes.fromhex(one) for one in HEX]
    match format_:
        case "base64":
            content = b"".join(base64.b64encode(one) + b"\n" for one in raw)
        case "lengths":
            content = b"".join(len(one).to_bytes(2, "big") + one for one in raw)
        case "auto":  # each line as it is, with blank ones and Windows ends between
            lines = [one.hex().encode() if at % 2 else base64.b64encode(one) for at, one in enumerate(raw)]
            content = b"\r\n\n".join(lines)
        case _:
            content = b"".join(one.hex().upper().encode() + b"\n" for one in raw)
    file = tmp_path / "messages"
    file.write_bytes(content)
    decoded = run("decode", "--json", "--format", format_, str(file))
    assert (decoded.exit_code, decoded.stderr) == (0, "")
    assert len(decoded.stdout.splitlines()) == len(HEX)
    encoded = run("encode", given=decoded.stdout)
    assert (encoded.exit_code, encoded.stderr) == (0, "")
    assert encoded.stdout.splitlines() == HEX
    if format_ != "auto":
        again = run("encode", "--format", format_, "-", given=decoded.stdout)
        assert again.stdout_bytes == (content.lower() if format_ == "hex" else content)


def test_binary_is_one_message() -> None:
    data = bytes.fromhex(UPDATE)
    decoded = run("decode", "--json", "--format", "binary", given=data)
    assert json.loads(decoded.stdout)["message"] == "channel_update"
    assert run("encode", "--format", "binary", given=decoded.stdout).stdout_bytes == data
    too_long = run("decode", "--format", "binary", given=bytes(65_536))
    assert too_long.exit_code == 5
    assert "longer than a message can be" in too_long.stderr


def test_what_does_not_decode_is_named_and_the_rest_goes_on() -> None:
    lines = [UPDATE, "zz", "0102", UPDATE + "0", "", "00", "x" * (MAX_LINE + 10), UPDATE]
    found = run("decode", "--json", given="\n".join(lines))
    assert found.exit_code == 5
    assert len(found.stdout.splitlines()) == 2
    errors = found.stderr.splitlines()
    assert [error.split(":")[0] for error in errors] == ["line 2", "line 3", "line 4", "line 6", "line 7"]
    assert "neither hex nor base64" in errors[0]
    assert "channel_update.signature at byte 2: needs 64 bytes, 0 are left" in errors[1]
    assert "holds no type" in errors[3]
    assert "longer than a message can be" in errors[4]
    # A file of lengths that ends too early says where.
    cut = bytes.fromhex("0002") + bytes.fromhex("8001") + b"\x00\x05ab"
    found = run("decode", "--format", "lengths", given=cut)
    assert (found.exit_code, found.stderr) == (5, "byte 4: the input ends inside a message\n")
    assert run("decode", "--format", "lengths", given=b"\0").exit_code == 5
    assert run("decode", "--format", "hex", given="abc\n").stderr.startswith("line 1: no hex")
    assert run("decode", "--format", "base64", given="a\n").stderr.startswith("line 1: no base64")


def test_what_can_be_hex_and_base64_is_what_is_known() -> None:
    # An error without words for all channels: in base64 it has hex digits alone.
    error = base64.b64encode(Error(channel_id=bytes(32), data=b"").encode()).decode()
    assert not set(error) - set("0123456789ABCDEF")
    assert json.loads(run("decode", "--json", given=error).stdout)["message"] == "error"
    # Of a type that nobody knows it is what came before it.
    both = "AAAAAAAA"
    assert json.loads(run("decode", "--json", given=both).stdout)["type"] == 0xAAAA
    after = run("decode", "--json", given=f"{error}\n{both}\n").stdout.splitlines()[1]
    assert json.loads(after) == to_json(UnknownMessage(0, bytes(4)))
    # A slip in a file of hex is no message of base64.
    found = run("decode", "--json", given=f"{UPDATE}\n0012000400zz\n")
    assert (found.exit_code, found.stderr) == (5, "line 2: neither hex nor base64, and hex before it\n")


@pytest.mark.parametrize("command", ["decode", "encode"])
def test_a_closed_standard_input(command: str, tmp_path: Path) -> None:
    closing = ["sh", "-c", f'"$0" -W error -m triolight.cli {command} "$@" <&-', sys.executable]
    done = subprocess.run(closing, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("Error: standard input is closed\n")
    file = tmp_path / "messages"
    file.write_text(HEX[0] if command == "decode" else "")
    done = subprocess.run([*closing, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
