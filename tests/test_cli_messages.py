"""``triolight decode`` and ``encode``, as one runs them: pipes, files, garbage, and a hundred thousand messages."""

from __future__ import annotations

import base64
import json
import os
import pty
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from triolight.as_json import to_json
from triolight.cli import cli
from triolight.cli_messages import MAX_JSON_LINE, MAX_LINE
from triolight.messages import BOLT, Error, NodeAnnouncement, QueryShortChannelIds, UnknownMessage

VECTORS = Path(__file__).parent / "vectors"
HEX: list[str] = [case["bytes"] for case in json.loads((VECTORS / "message_vectors.json").read_text())["valid"]]
BOLT7: dict[str, Any] = json.loads((VECTORS / "bolt7_vectors.json").read_text())
UPDATE = next(one["bytes"] for one in BOLT7["real"]["channel_update"])


def run(*arguments: str, given: bytes | str = b"") -> Result:
    return CliRunner().invoke(cli, [*arguments], input=given)


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


def test_the_tree_explains() -> None:
    announcement = next(one for one in BOLT7["real"]["node_announcement"])["bytes"]
    shown = run("decode", "--hex", announcement)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("node_announcement (257), ")
    assert lines[0].endswith(", signed")
    assert "  alias: 74657374206e6f64650000000000000000000000000000000000000000000000  # 'test node'" in lines
    assert "  addresses: 018c5279042607  # 140.82.121.4:9735" in lines
    assert "  timestamp: 1643969565  # 2022-02-04 10:12:45 UTC" in lines
    flipped = BOLT.decode(bytes.fromhex(announcement))
    assert isinstance(flipped, NodeAnnouncement)
    shown = run("decode", "--hex", flipped.replace(timestamp=1).encode().hex())
    assert "NOT validly signed" in shown.stdout


def test_the_tree_shows_every_vector_and_every_address() -> None:
    made = [one["bytes"] for one in BOLT7["synthetic"]["messages"] if one["parses"]]
    shown = run("decode", given="\n".join(HEX + made))
    assert shown.exit_code == 0
    for words in (
        "[2001:db8::1]:9735",
        ".onion:9735",
        "ln.example.org:9735",
        "unknown type 6 (2 bytes)",
        "tlvs:",
    ):
        assert words in shown.stdout
    assert "address type 5 needs" in shown.stdout  # cut short: the message is shown all the same
    assert "\x1b" not in shown.stdout


def test_the_tree_says_what_nobody_knows() -> None:
    shown = run("decode", given="cf13aabb\n8001\n")
    assert shown.stdout.splitlines() == [
        "unknown message, type 53011 (commit_sig_batch of eclair, outside the BOLTs), 4 bytes",
        "  payload: aabb",
        "unknown message, type 32769, 2 bytes",
        "  payload: (empty)",
    ]
    shown = run("decode", given="9419" + b'{"id":"1"}\x1b[31m'.hex())
    assert shown.stdout.splitlines()[0] == "lsps0 (37913), 17 bytes"
    assert "\x1b" not in shown.stdout


def test_long_lists_are_cut_in_the_tree_only() -> None:
    many = QueryShortChannelIds(chain_hash=bytes(32), encoded_short_ids=bytes(800)).encode().hex()
    assert run("decode", given=many).exit_code == 0
    commitment = next(one for one in HEX if one.startswith("0084"))
    signatures = commitment[: 4 + 64 + 128] + "0064" + "11" * 6400
    shown = run("decode", given=signatures)
    assert "  htlc_signature: 100 items" in shown.stdout
    assert "    ... 80 more" in shown.stdout


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


def test_output_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    file = tmp_path / "messages"
    file.write_text((UPDATE + "\n") * 2000)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "triolight.cli", "decode", str(file)], stdout=full, stderr=-1, check=False
        )
    assert (done.returncode, done.stderr) == (2, b"Error: cannot read or write: No space left on device\n")


def test_what_is_no_message_is_named_by_encode() -> None:
    good = json.dumps({"message": "pong", "ignored": "00"})
    lines = [good, "{", "[" * 100_000, '{"message": "pong", "ignored": 5}', " " * (MAX_JSON_LINE + 10) + "{}", good]
    found = run("encode", given="\n".join(lines))
    assert found.exit_code == 5
    assert found.stdout.splitlines() == ["0013000100"] * 2
    errors = found.stderr.splitlines()
    assert [error.split(":")[0] for error in errors] == ["line 2", "line 3", "line 4", "line 5"]
    assert "pong.ignored: needs hex, not an integer" in errors[2]


def test_usage() -> None:
    assert run("decode", "no such file").exit_code == 2
    assert run("decode", "--hex", "zz").exit_code == 2
    assert run("decode", "--hex", "00", "-").exit_code == 2
    wrong = run("decode", "--hex", "0102")
    assert wrong.exit_code == 5
    assert wrong.stderr.startswith("channel_update.signature")


def test_the_schema_fits_what_is_printed() -> None:
    schema = json.loads(run("decode", "--schema").stdout)
    judge = jsonschema.Draft202012Validator(schema)
    for line in run("decode", "--json", given="\n".join(HEX)).stdout.splitlines():
        judge.validate(json.loads(line))


MEASURED = """
import resource, sys
from triolight.cli import cli
try:
    cli(["decode", "--json", sys.argv[1]])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_of(file: Path) -> int:
    """KiB of memory that decoding a file takes, at its highest."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    return int(done.stderr.split()[-1])


def test_a_long_file_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 1024, "ru_maxrss counts KiB here"
    short, long = tmp_path / "short", tmp_path / "long"
    short.write_text((UPDATE + "\n") * 1000)
    long.write_text((UPDATE + "\n") * 50_000)
    # The long file alone is 14 MB, and its JSON is 30 MB.
    assert peak_of(long) - peak_of(short) < 2048


def test_a_terminal_sees_how_far_it_is(tmp_path: Path) -> None:
    file = tmp_path / "messages"
    file.write_text((UPDATE + "\n") * 3000)
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "triolight.cli", "decode", str(file)], stdout=out, stderr=theirs, check=False
        )
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "[##############################] 100%  3,000 messages" in shown
    # And a pipe, whose end nobody knows, its count alone.
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "triolight.cli", "decode"],
        input=file.read_bytes(),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        check=True,
    )
    os.close(theirs)
    assert "\r3,000 messages" in os.read(ours, 65_536).decode()
    os.close(ours)


def test_nobody_reads_on(tmp_path: Path) -> None:
    file = tmp_path / "messages"
    file.write_text((UPDATE + "\n") * 20_000)
    done = subprocess.run(
        f"{sys.executable} -m triolight.cli decode --json {file} | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (141, b"")
    assert json.loads(done.stdout)["message"] == "channel_update"


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
