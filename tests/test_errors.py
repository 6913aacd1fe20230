"""The exceptions: what they say, of which byte, and why a peer has gone."""

from __future__ import annotations

import pickle

import pytest

from triolight import (
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    PeerClosed,
    PeerHandleError,
    Side,
)
from triolight.errors import DecodeError, forget_frames


def test_errors_without_a_name_say_only_where() -> None:
    assert str(DecodeError("no", offset=0)) == "at byte 0: no"
    assert str(DecodeError("no")) == "no"
    assert str(DecodeError("no", message="ping", offset=2)) == "ping at byte 2: no"


def test_errors_say_what_and_where() -> None:
    error = DecodeError("too short", message="ping", field="ignored", offset=4)
    assert str(error) == "ping.ignored at byte 4: too short"
    assert str(DecodeError("bad")) == "bad"
    assert str(DecodeError("bad", offset=1)) == "at byte 1: bad"
    outer = error.within(message="init", field="tlvs", base=10)
    assert (outer.message, outer.field, outer.offset) == ("init", "tlvs.ping.ignored", 14)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.offset) == (str(error), 4)
    assert DecodeError("x").within(message="m").offset is None


def test_reasons_are_who_why_and_words() -> None:
    reason = DisconnectReason(DisconnectCode.PING_TIMEOUT, Side.US, "no pong")
    assert str(reason) == "PING_TIMEOUT (by us): no pong"
    for error in (PeerHandleError(reason), PeerClosed(reason), ConnectError(reason)):
        assert str(error) == str(reason)
        assert error.reason is reason
    assert ConnectError(reason).init is None
    assert all(code.name == code.value for code in DisconnectCode)


def test_what_an_error_was_raised_through_is_forgotten() -> None:
    def fail() -> None:
        try:
            raise ExceptionGroup("all", [OSError(1, "one"), OSError(2, "two")])
        except ExceptionGroup as inner:
            raise OSError("all failed") from inner

    with pytest.raises(OSError, match="all failed") as caught:
        fail()
    error = caught.value
    cause = error.__cause__
    assert isinstance(cause, ExceptionGroup)
    forget_frames(error)
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    assert [one.__traceback__ for one in (cause, *cause.exceptions)] == [None, None, None]
