"""Data and words: the same thing for people and for programs; and which errors are the output's."""

from __future__ import annotations

import errno
import io
import json
import sys

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


def test_a_peer_may_set_half_a_million_features() -> None:
    few, many = Features.from_bytes(b"\x02" + bytes(63)), Features.from_bytes(b"\x02" + bytes(62) + b"\x0a" * 2)
    assert output.offered(few) == "02" + "00" * 63
    assert output.offered(many) == "00" * 62 + "0a0a and higher ones"
    assert output.features_fields(few) == {"features": "02" + "00" * 63}
    assert output.features_fields(many) == {"features": "00" * 62 + "0a0a", "features_cut": True}
    assert output.features_fields(Features()) == {"features": ""}


def test_words_have_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    output.progress("gr\xfc\xdfe\x1b[31m\\x1b\nnext\r\udcff")
    output.say("a\x07b\nc\u202e")
    told = capsys.readouterr()
    assert told.err == "gr\xfc\xdfe\\x1b[31m\\x1b\nnext\\r\\udcff\n"
    assert told.out == "a\\x07b\nc\\u202e\n"


class Full(io.TextIOWrapper):
    """A stderr of a full disk."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "full")


def test_a_stderr_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    output.progress("words")
    assert sys.stderr is None
    output.progress("more words")
    output.redraw("\r")


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
