"""Golden records: what the code did when they were made, it does. ``tests/golden/make.py`` says who may remake them.

A tape that fails has its line in the message; a text of questions or of a world is compared line by line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.golden import driven, in_trio, worlds
from tests.golden.listening import from_text, listen, to_text, without_noise
from tests.golden.make import KINDS, TAPES, WORLDS, names, read
from tests.support import MESSAGES
from triolight import DisconnectCode, Tape
from triolight.tape.calls import CALLS
from triolight.tape.tape import Kind

NEVER_ON_A_TAPE = {
    "ADDRESS_REFUSED",
    "BACK_LOST",
    "BACK_RESTARTED",
    "ENGINE_LOST",
    "FRONT_LOST",
    "NOT_CONNECTED",
    "PROXY_FAILED",
    "RESOLVE_FAILED",
    "TCP_FAILED",
    "TOO_MANY_STRANGERS",
    "UNKNOWN_DESCRIPTOR",
}
"""Reasons for which a manager of its own accord ends no connection."""
TOO_LARGE_FOR_A_TAPE = {"QUEUE_FULL"}
"""It takes 4 MiB."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", names())
def test_a_golden_tape_is_played_back_with_the_same_questions(name: str, kind: Kind, tmp_path: Path) -> None:
    tape = tmp_path / f"{name}.tape"
    tape.write_bytes(read(name, kind))
    golden = (TAPES / f"{name}.questions").read_text()
    _, heard = listen(tape, MESSAGES)
    if kind == "messages":
        assert to_text(heard).splitlines() == golden.splitlines()
    else:
        assert to_text(heard).splitlines() == to_text(without_noise(from_text(golden))).splitlines()


@pytest.mark.parametrize("name", names())
def test_both_kinds_of_a_golden_tape_tell_the_same(name: str, tmp_path: Path) -> None:
    told = []
    for kind in KINDS:
        tape = tmp_path / kind
        tape.write_bytes(read(name, kind))
        told.append(listen(tape, MESSAGES)[0])
    assert told[0] == told[1]


def test_golden_tapes_hold_every_call_and_every_reason() -> None:
    records = [json.loads(line) for name in names() for line in read(name, "messages").splitlines()]
    assert {one["call"] for one in records if "call" in one} == {*CALLS}
    ends = {one["reason"]["code"] for one in records if "ended" in one}
    assert ends == {*DisconnectCode} - NEVER_ON_A_TAPE - TOO_LARGE_FOR_A_TAPE


def lines_of(tape: bytes) -> list[str]:
    """Its header without the messages that its manager knew: there will be more of them."""
    header, *lines = tape.decode().splitlines()
    return [json.dumps({**json.loads(header), "messages": None}), *lines]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("live", driven.LIVES)
def test_a_life_by_hand_makes_its_golden_tapes_again(
    live: Callable[[driven.Tapes], None], kind: Kind, tmp_path: Path
) -> None:
    """No shell is in it: what it does follows from the manager, and what is on its tapes from the tape."""
    live(lambda name: Tape(tmp_path / name, kind=kind))
    for path in tmp_path.iterdir():
        assert lines_of(path.read_bytes()) == lines_of(read(path.name, kind))


def test_every_golden_tape_has_a_life(tmp_path: Path) -> None:
    for live in (*driven.LIVES, *in_trio.LIVES):
        live(lambda name: Tape(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == names()
    assert {path.name for path in TAPES.iterdir()} == {
        f"{name}{end}" for name in names() for end in (".questions", ".tape", ".with_secrets.tape.gz")
    }


@pytest.mark.parametrize("seed", worlds.SEEDS)
def test_the_connections_of_a_golden_world_carry_what_they_carried(seed: int) -> None:
    assert worlds.carried(seed).splitlines() == (WORLDS / f"{seed}.txt").read_text().splitlines()
