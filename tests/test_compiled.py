"""Both builds: each says which it is, and shows as much of itself as the other. CI runs this on either."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
import traceback
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import triolight
from tests.support import identity, secret
from tests.support.managers import linked
from tests.support.project import ROOT
from triolight import ChannelMessageHandler
from triolight.compiled import compiled
from triolight.connection import Connection, OutstandingPing
from triolight.keys import SecretKey
from triolight.messages import Stfu
from triolight.noise import Handshake, Opener, Sealer

WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
TO_COMPILE = sorted(path.removesuffix(".py").replace("/", ".") for path in WHEEL["hooks"]["mypyc"]["include"])


def test_a_build_says_what_is_compiled_all_of_it_or_nothing() -> None:
    assert triolight.__compiled__ == compiled()
    found = {name: importlib.util.find_spec(name) for name in TO_COMPILE}
    origins = {name: spec.origin or "" for name, spec in found.items() if spec is not None}
    taken = sorted(name for name, origin in origins.items() if origin.endswith(tuple(EXTENSION_SUFFIXES)))
    assert list(triolight.__compiled__) == taken
    assert taken in ([], TO_COMPILE)


def test_a_wheel_is_plain_unless_one_asks_and_needs_no_compiler(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as file:
        assert not [name for name in file.namelist() if name.endswith(tuple(EXTENSION_SUFFIXES))]


class Raises(ChannelMessageHandler):
    """A user's own, with a mistake."""

    def handle_stfu(self, node_id: bytes, message: Stfu) -> None:
        raise LookupError("the user's own")  # this line


def test_what_a_users_handler_raises_shows_its_line_and_the_way_to_it() -> None:
    _, _, link = linked(Raises())
    link.a.manager.send_message(identity(2), Stfu(channel_id=bytes(32), initiator=1))
    with pytest.raises(LookupError, match="the user's own") as caught:
        link.run()
    frames = traceback.extract_tb(caught.tb)
    assert frames[-1].line == 'raise LookupError("the user\'s own")  # this line'
    places = ["/".join(Path(frame.filename).parts[-2:]) for frame in frames]
    assert [place for place in places if place.startswith("manager/")] == [
        "manager/reading.py",
        "manager/routing.py",
        "manager/routing.py",
    ]
    assert all(frame.lineno for frame in frames)


def test_objects_are_shown_alike() -> None:
    handshake = Handshake(SecretKey(secret(1)), SecretKey(secret(9)), identity(2))
    assert repr(handshake) == "<Handshake initiator, waits for act 2>"
    assert repr(OutstandingPing(4, 0.5, "token")) == "OutstandingPing(length=4, sent_at=0.5, token='token')"
    assert repr(Opener(bytes(32), bytes(32))).startswith("<triolight.noise.Opener object at ")
    assert (Opener.__module__, Opener.__qualname__, Opener.__doc__ is None) == ("triolight.noise", "Opener", False)


class Says(Opener):
    """What may stand in an opener's place, as a tape's does."""

    def next_message(self) -> bytes | None:
        return b"\0\1said"


class Ends(Handshake):
    """Done with the first byte."""

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        self.opener = Says(bytes(32), bytes(32))
        self.sealer = Sealer(bytes(32), bytes(32))
        return b"", b""


def test_what_a_subclass_overrides_is_what_is_called() -> None:
    """Of a compiled class only where its declaration says so."""
    connection = Connection(Ends(SecretKey(secret(1)), SecretKey(secret(9)), identity(2)))
    connection.feed(b"\0")
    assert connection.advance_handshake() == identity(2)
    assert connection.next_message() == b"\0\1said"
