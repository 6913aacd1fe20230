"""Declarations: what makes no sense is refused where it stands."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any, ClassVar

import pytest

from tests.support.project import ROOT
from triolight import wire
from triolight.errors import DecodeError
from triolight.messages import Message, OnionMessagePacket, Ping, Structure, message, structure


def test_declarations_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="no message type"):
        message(65536)
    with pytest.raises(TypeError, match=r"Bad\.field: .* is not a type"):

        @message(1)
        class Bad(Message):
            field: int

    with pytest.raises(TypeError, match="Ping is declared already; its fields are not inherited"):

        @message(1)
        class Better(Ping):
            more: wire.u16

    with pytest.raises(TypeError, match=r"Endless\.first: goes on up to the end, so second cannot follow it"):

        @message(1)
        class Endless(Message):
            first: wire.tu64
            second: wire.u16

    with pytest.raises(TypeError, match=r"EndlessInside\.inner: goes on up to the end"):

        @message(1)
        class EndlessInside(Message):
            inner: OnionMessagePacket
            second: wire.u16


NAMES = ["type", "name", "message", "self", "encode", "replace", "extension", "unknown", "_private"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_no_field_can_have(name: str) -> None:
    body = {"__annotations__": {name: wire.u16}}
    with pytest.raises(TypeError, match=rf"Odd\.{name}: no field can be called that"):
        message(40011)(type("Odd", (Message,), body))


@pytest.mark.parametrize("name", ["unknown", "extension"])
def test_what_a_peer_appends_has_its_name_to_itself(name: str) -> None:
    body = {"__annotations__": {name: wire.u16}}
    with pytest.raises(TypeError, match=rf"Odd\.{name}: no field can be called that"):
        structure(type("Odd", (Structure,), body))


class Odd(wire.Integer):
    """A codec of a user's, stricter than what it is built upon."""

    def check(self, value: Any) -> str | None:
        return super().check(value) or (None if value % 2 else f"{value} is even")


@message(40013)
class HoldsOdd(Message):
    number: Annotated[int, Odd("H")]


def test_a_users_own_check_counts_both_ways() -> None:
    assert HoldsOdd.decode(HoldsOdd(number=3).encode()).number == 3
    with pytest.raises(ValueError, match=r"holds_odd\.number: 4 is even"):
        HoldsOdd(number=4).encode()
    with pytest.raises(DecodeError, match=r"holds_odd\.number at byte 2: 4 is even"):
        HoldsOdd.decode(HoldsOdd(number=3).encode()[:3] + b"\4")


def test_a_constant_is_no_field() -> None:
    @message(40003)
    class WithConstant(Message):
        limit: ClassVar[int] = 5
        flag: wire.byte

    assert [field.name for field in WithConstant.__fields__] == ["flag", "extension"]
    assert WithConstant.limit == 5


FIRST_USE = """
from triolight import ChannelMessageHandler, MessageHandler, NullLogger, PeerManager, RoutingMessageHandler
from triolight.messages import AcceptTlvs, BOLT, ChannelUpdate, Init, InitTlvs, OpenChannel, Ping, Pong, tlv_stream
from triolight.messages.structures import Structure

def all_of(cls):
    return {one for sub in cls.__subclasses__() for one in (sub, *all_of(sub))}

def compiled():
    named = ("__decode__", "__codec__")
    made = {one: [vars(one).get(name) for name in named] for one in all_of(Structure)}
    return sorted(one.__name__ for one, found in made.items() if any(x and "AtFirstUse" not in repr(x) for x in found))

print(compiled())
handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
PeerManager(handlers, bytes([1]) * 32, bytes([2]) * 32, NullLogger())
print(compiled())
assert InitTlvs() == InitTlvs()  # compared field by field
print(compiled())
print(BOLT.decode(Ping(num_pong_bytes=1).encode()))
print(compiled())
first, second = [BOLT.decode(bytes.fromhex("0013 0001 00")) for _ in range(2)]
assert first == second == Pong(ignored=b"\\0")
try:
    InitTlvs(netwoks=())
except TypeError as error:
    print(str(error).partition(". Did you mean")[0])  # which newer Pythons add
try:
    AcceptTlvs(())  # of which none has been made yet
except TypeError as error:
    print(error)
"""


def test_our_own_messages_are_compiled_when_one_is_used_first() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[]",
        "[]",
        "['InitTlvs']",
        "Ping(num_pong_bytes=1)",
        "['InitTlvs', 'Ping']",
        "InitTlvs.__init__() got an unexpected keyword argument 'netwoks'",
        "AcceptTlvs.__init__() takes 1 positional argument but 2 were given",
    ]
