"""What an engine says, taken apart as hostile: whatever is not what was asked for is EngineAway, as no answer is.

Values of an engine's client in, ours out; nothing but EngineAway leaves, whatever comes.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

import trio

from triolight.cluster.bus import Appended, BackState, EngineAway, FrontState, Kept
from triolight.cluster.records import DOWN, ENGINE, TOKEN_BYTES, Config, Displaced, decode_entry, read_config
from triolight.cluster.rules import Answer, Terms
from triolight.cluster.streams import Used
from triolight.errors import DecodeError
from triolight.messages.structures import Structure

MOST: Final = 1 << 53
"""No number of an engine is larger: Lua's are exact up to there."""
HOSTILE: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, trio.WouldBlock)
"""What taking an answer apart may raise, here or in the client, if the engine is none."""
DISPLACED: Final[Mapping[int, type[Structure]]] = {kind: cls for kind, cls in DOWN.items() if cls is Displaced}


@contextmanager
def hostile() -> Generator[None]:
    """Around what takes an answer apart."""
    try:
        yield
    except HOSTILE as error:
        raise EngineAway(f"the engine has given something else: {type(error).__name__}") from None


def number(found: Any) -> int:
    """At least 0, and no larger than any that is written here."""
    if not isinstance(found, int | bytes | str):
        raise TypeError
    got = int(found)
    if not 0 <= got <= MOST:
        raise ValueError
    return got


def seconds(found: Any) -> float:
    """An age. Clocks that go backwards make none that is below 0."""
    if not isinstance(found, bytes | str):
        raise TypeError
    got = float(found)
    if not math.isfinite(got) or abs(got) > MOST:
        raise ValueError
    return max(0.0, got)


def some_bytes(found: Any) -> bytes:
    """Of a number, bytes() would make so many."""
    if not isinstance(found, bytes):
        raise TypeError
    return found


def a_token(found: Any) -> bytes:
    if len(some_bytes(found)) != TOKEN_BYTES:
        raise ValueError
    return some_bytes(found)


def used_of(found: Any) -> Used:
    """Of an append."""
    with hostile():
        _, size, records = found
        return Used(number(size), number(records))


def back_state(found: Any) -> BackState | None:
    with hostile():
        return None if found[0] == b"NO" else BackState(a_token(found[1]), seconds(found[2]))


def renewal(found: Any) -> tuple[BackState, Used]:
    """Of a front's lease: the back, and what of its stream up waits."""
    with hostile():
        _, back, age, size, records = found
        return BackState(a_token(back), seconds(age)), Used(number(size), number(records))


def claim_answer(found: Any) -> Answer:
    with hostile():
        return Answer(found[0].decode())


def front_state(found: Any) -> FrontState:
    with hostile():
        name, token, back, age, fenced, address, peers, *used = found
        up_size, up_records, down_size, down_records = map(number, used)
        return FrontState(
            str(name, "utf-8", "replace"),
            a_token(token),
            a_token(back),
            seconds(age),
            fenced == b"1",
            str(address, "utf-8", "replace"),
            number(peers),
            Used(up_size, up_records),
            Used(down_size, down_records),
        )


def configuration(data: Any) -> Config:
    """Of a back that keeps to the rules."""
    try:
        with hostile():
            config = read_config(data)
            Terms(config.lease / 1000, config.back_grace / 1000, config.engine_grace / 1000)
            return config
    except DecodeError as error:
        raise EngineAway(f"no configuration of ours: {error}") from None


class Memory(NamedTuple):
    """How full an engine is."""

    used: int
    most: int
    """Bytes; 0: as many as there are."""
    policy: str
    """What it does when it is full."""


def memory_of(found: Any) -> Memory:
    with hostile():
        used, most = (number(str(found.get(name, 0))) for name in ("used_memory", "maxmemory"))
        return Memory(used, most, str(found.get("maxmemory_policy", "noeviction")))


def entries_of(found: Any) -> dict[str, list[Appended]]:
    """Of streams, by their keys."""
    with hostile():
        streams = cast("Mapping[bytes, Sequence[Any]]", found or {})
        return {
            str(key, "utf-8"): [
                Appended(str(one.identifier, "ascii"), some_bytes(one.field_values.get(b"b", b""))) for one in entries
            ]
            for key, entries in streams.items()
        }


def is_displacement(data: bytes) -> bool:
    """Whether it is what a claim's winner may tell its loser, and nothing else."""
    try:
        entry = decode_entry(data, DISPLACED)
    except DecodeError:
        return False
    return entry.token == ENGINE


def kept_of(found: Any) -> Kept | None:
    """What stands beside a position."""
    with hostile():
        fields = dict(zip(found[::2], found[1::2], strict=True))
        if not fields:
            return None
        front_token, next_seq = a_token(fields.pop(b"token")), number(fields.pop(b"seq"))
        sessions = [(number(name[1:]), some_bytes(data)) for name, data in fields.items() if name[:1] == b"c"]
        return Kept(front_token, next_seq, tuple(sessions))
