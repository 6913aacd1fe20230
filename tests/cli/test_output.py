"""Data and words: the same thing for people and for programs; and which errors are the output's."""

from __future__ import annotations

import errno
import json

import pytest

from triolight import DisconnectCode, DisconnectReason, Features, Side
from triolight.cli import output


def test_data_is_a_line_of_words_or_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    reason = DisconnectReason(DisconnectCode.PEER_CLOSED, Side.PEER, "enough")
    output.data(False, "it went", "went", **output.reason_fields(reason))
    output.data(True, "it went", "went", **output.reason_fields(reason))
    output.progress("all the while")
    told = capsys.readouterr()
    words, line = told.out.splitlines()
    assert words == "it went"
    assert json.loads(line) == {"event": "went", "code": "PEER_CLOSED", "by": "peer", "message": "enough"}
    assert told.err == "all the while\n"


def test_words() -> None:
    assert output.milliseconds(0.0123456) == "12.346"
    assert output.offered(Features.from_bytes(b"")) == "none"
    assert output.offered(Features.from_bytes(b"\x02\x00")) == "0200"


@pytest.mark.parametrize(
    ("error", "unwritten"),
    [
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.EIO, "gone"), True),
        (OSError(errno.ECONNREFUSED, "a peer's"), False),
        (BrokenPipeError(errno.EPIPE, "nobody reads"), False),
        (ValueError("no error of the system"), False),
    ],
)
def test_what_is_said_of_output(error: BaseException, unwritten: bool) -> None:
    assert output.is_unwritten(error) == unwritten
