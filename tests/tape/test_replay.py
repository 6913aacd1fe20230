"""The replay: tapes that end anywhere, are damaged or are none; and a manager that does something else."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.tapes import played, record, said
from triolight import (
    Replay,
    TapeError,
    TapeMismatch,
)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tape") / "tape"
    record(path)
    return path


def test_a_tape_may_end_anywhere(tape: Path, tmp_path: Path) -> None:
    """Its process was stopped: what it had written is played back."""
    content = tape.read_bytes()
    whole = played(tape)
    cut = tmp_path / "cut"
    header = content.index(b"\n") + 1
    lengths = set[int]()
    for size in [*range(header, len(content), 7), *(at + 1 for at in range(header, len(content)) if content[at] == 10)]:
        cut.write_bytes(content[:size])
        happenings = played(cut)
        lengths.add(len(happenings))
        assert happenings[:-1] == whole[: len(happenings) - 1]
        assert happenings[-1].what == "tape"
    assert len(lengths) >= 10
    for size in range(0, header, 50):
        cut.write_bytes(content[:size])
        with pytest.raises(TapeError, match=":1: "):
            played(cut)


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_tape_is_named_with_its_line(tape: Path, tmp_path: Path, data: st.DataObject) -> None:
    lines = tape.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[at])
    match data.draw(st.sampled_from(("byte", "drop", "twice", "value"))):
        case "byte":
            line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
        case "drop":
            line.clear()
        case "twice":
            line *= 2
        case _:
            record = json.loads(line)
            key = data.draw(st.sampled_from(sorted(record)))
            others: list[Any] = [None, -1, "", "zz", [], {}, 1 << 70, "00"]
            record[key] = data.draw(st.sampled_from(others))
            line = bytearray(json.dumps(record).encode() + b"\n")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"".join([*lines[:at], line, *lines[at + 1 :]]))
    for compare in (True, False):
        with suppress(TapeError):
            played(damaged, compare=compare)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("depth", [300, 900, 2_000, 100_000])
@pytest.mark.parametrize("key", ["call", "at", "is", "nth", "during", "message", "end"])
def test_a_deeply_nested_line_is_named(tape: Path, tmp_path: Path, depth: int, key: str) -> None:
    lines = tape.read_bytes().splitlines(keepends=True)
    at = max(number for number, line in enumerate(lines) if key in json.loads(line))
    record = json.loads(lines[at])
    record[key] = "deep"
    deep = b"[" * depth + b"]" * depth
    lines[at] = json.dumps(record).encode().replace(b'"deep"', deep) + b"\n"
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"".join(lines))
    for compare in (True, False):
        if depth == 100_000:
            with pytest.raises(TapeError, match=f":{at + 1}: not JSON"):
                played(damaged, compare=compare)
        else:
            with suppress(TapeError):  # it is JSON or not, as the Python has it
                played(damaged, compare=compare)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b"no\n",
        DEEP + b"\n",
        b'{"triolight_tape": 2, "kind": "messages"}\n',
        b'{"triolight_tape": 1, "kind": {}}\n',
        b'{"triolight_tape": 1, "kind": "messages", "messages": ' + DEEP + b"}\n",
        b'{"triolight_tape": 1, "kind": "messages", "messages": [{}]}\n',
    ],
)
def test_what_is_no_tape_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no tape"
    path.write_bytes(content)
    with pytest.raises(TapeError, match=":1: "):
        played(path)


def test_a_registry_that_lacks_messages_is_refused(tape: Path) -> None:
    with pytest.raises(TapeError, match=r"37913, 37914"):
        list(Replay(tape))


def test_a_manager_that_does_something_else_is_found_out(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triolight.manager.ending.MAX_WARNING_TEXT", 10)
    with pytest.raises(TapeMismatch, match=r"on the tape .* now ") as caught:
        played(tape)
    line = json.loads(tape.read_text().splitlines()[caught.value.line - 1])
    assert "message" in line
    changed = played(tape, compare=False)
    warnings = [one for one in said(changed, "sent") if one[:2] == b"\0\1" and b"unreadable" in one]
    assert [len(one) for one in warnings] == [2 + 32 + 2 + 10]
