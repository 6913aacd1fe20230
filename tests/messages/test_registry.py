"""Registries: values that add, one message a type and a name; and opaque messages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import REAL
from triolight import wire
from triolight.messages import BOLT, ChannelUpdate, Message, Ping, Registry, message, opaque


def test_registries_are_values() -> None:
    @message(43001)
    class Local(Message):
        """Declared in a function."""

        payload: wire.remainder

    bigger = BOLT | {Local}
    assert Local in bigger
    assert Local not in BOLT
    assert 43001 in bigger
    assert 43001 not in BOLT
    assert bigger.decode(Local(payload=b"x").encode()) == Local(payload=b"x")
    assert len({Local} | BOLT) == 51
    assert len(bigger) == 51
    assert repr(bigger) == "<Registry of 51 messages>"
    assert set(bigger) - set(BOLT) == {Local}
    assert bigger.get(43001) is Local
    assert bigger.decode(Ping().encode()) == Ping()

    @message(43001)
    class Other(Message):
        payload: wire.remainder

    with pytest.raises(ValueError, match="43001 is both Local and Other"):
        _ = bigger | {Other}
    assert (bigger | {Local}).get(43001) is Local
    with pytest.raises(TypeError, match="not declared"):
        Registry([Message])


def test_names_are_for_one_message_each() -> None:
    @message(40015)
    class Ping(Message):
        nothing: wire.remainder

    with pytest.raises(ValueError, match="ping is both message type 18 and 40015"):
        BOLT | {Ping}
    assert Registry([Ping]).named("ping") is Ping

    @message(40017)
    class Unknown(Message):
        nothing: wire.remainder

    with pytest.raises(ValueError, match="no message can be called unknown"):
        BOLT | {Unknown}


def test_opaque_messages_keep_their_bytes() -> None:
    registry = BOLT | opaque([40001, 40002, 40001])
    assert len(registry) == len(BOLT) + 2
    data = bytes.fromhex("9c42" + "0102")
    found = registry.decode(data)
    assert isinstance(found, Message)
    assert (found.name, found.type, repr(found)) == ("message40002", 40002, "Message40002(payload=0102)")
    assert found.encode() == data
    # The same class each time: registries that share one add, and their messages are equal.
    assert len(registry | opaque([40000, 40001])) == len(BOLT) + 3
    assert opaque([40002]).decode(data) == found
    assert len(opaque([])) == 0


def test_any_type_can_be_opaque() -> None:
    """Those of the BOLTs too, for who only passes them on; but not beside the BOLTs' own."""
    types = [0, 18, 258, 0xFFFF]
    registry = opaque(types)
    assert [cls.type for cls in registry] == types
    update = ChannelUpdate.decode(next(data for kind, data, _ in REAL if kind == "channel_update" and len(data) != 130))
    passed_on = registry.decode(update.encode())
    assert isinstance(passed_on, Message)
    assert passed_on.encode() == update.encode()
    with pytest.raises(ValueError, match="message type 18 is both Ping and Message18"):
        BOLT | registry


@pytest.mark.parametrize(("bad", "error"), [(-1, ValueError), (65536, ValueError), ("18", TypeError), (1.5, TypeError)])
def test_what_is_no_type_is_not_opaque_either(bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        opaque([bad])
