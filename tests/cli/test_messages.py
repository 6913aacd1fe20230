"""``triolight decode`` and ``encode``, as one runs them: pipes, files, garbage, and a hundred thousand messages."""

from __future__ import annotations

import json
import os
import pty
import resource
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.cli.decoding import HEX, UPDATE, run
from triolight.cli.messages import MAX_JSON_LINE


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


def test_encode_takes_what_json_says_and_nothing_twice() -> None:
    lines = [
        '{"message": "ping", "num_pong_bytes": 4.0, "ignored": "AB"}',
        '{"message": "ping", "num_pong_bytes": 4, "ignored": "", "num_pong_bytes": 5}',
        '{"message": "ping", "num_pong_bytes": NaN, "ignored": ""}',
        '{"message": "ping", "num_pong_bytes": 4, "ignored": "00\\n"}',
        '{"message": "ping", "type": null, "num_pong_bytes": 4, "ignored": ""}',
    ]
    found = run("encode", given="\n".join(lines))
    assert (found.exit_code, found.stdout) == (5, "001200040001ab\n")
    assert found.stderr.splitlines() == [
        "line 2: 'num_pong_bytes' stands twice in one object",
        "line 3: NaN is no number of JSON",
        "line 4: ping.ignored: '00\\n' is not hex",
        "line 5: ping: its type is 18, not None",
    ]
    found = run("encode", given=b'{"message": "pong", "ignored": "\xff"}\n')
    assert (found.exit_code, found.stderr) == (5, "line 1: no UTF-8 at byte 32\n")


@pytest.mark.parametrize("given", [[], ["-"], ["file"]])
def test_a_byte_order_mark_is_no_content(given: list[str], tmp_path: Path) -> None:
    pong = '{"message": "pong", "ignored": "00"}'
    longest = "0013fffb" + "00" * 65_531
    for command, content, shown in (
        (["encode"], pong, ["0013000100"]),
        (["encode"], "\n" + pong + "\n\ufeff" + pong, ["0013000100"]),
        (["decode", "--json"], "0013000100", [json.dumps({"message": "pong", "type": 19, "ignored": "00"})]),
        (["decode", "--json", "--format", "hex"], longest, None),
        (["decode", "--json", "--format", "base64"], "ABMAAQA=", None),
        (["decode"], "", []),
        (["decode"], "\n\n", []),
    ):
        data = b"\xef\xbb\xbf" + content.encode()
        (tmp_path / "file").write_bytes(data)
        found = run(*command, *[str(tmp_path / "file") if one == "file" else one for one in given], given=data)
        twice = "\ufeff" in content
        assert found.exit_code == (5 if twice else 0), found.stderr
        assert found.stderr.startswith("line 3: " if twice else "")
        if shown is None:
            assert json.loads(found.stdout)["message"] == "pong"
        else:
            assert found.stdout.splitlines() == shown
    # Where the bytes are the message, it is no mark.
    assert run("decode", "--format", "binary", given=b"\xef\xbb\xbf").stdout.startswith("unknown message, type 61371")


def test_text_is_escaped_once() -> None:
    lsps = run("decode", given="9419" + b'{"id":"\\"}\x1b[31m\n'.hex())
    assert '  # \'{"id":"\\\\"}\\x1b[31m\\n\'' in lsps.stdout
    for arguments in (["decode", "no\x1bfile"], ["decode", "--no\x1bsuch"], ["no\x1bsuch"], ["decode", "a", "b\x1bc"]):
        found = run(*arguments)
        assert found.exit_code == 2
        assert "\x1b" not in found.stderr
        assert "\\x1b" in found.stderr
        assert "\\\\x1b" not in found.stderr
    found = run("encode", given='{"message": "pi\\u001bng"}')
    assert found.stderr == "line 1: no message is called 'pi\\x1bng'\n"


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
