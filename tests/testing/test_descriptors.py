"""check_descriptor: what keeps the contract passes, and what breaks it is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from triolight import SocketDescriptor, StreamDescriptor
from triolight.testing import MemoryDescriptor, check_descriptor


class Kept(MemoryDescriptor):
    """One that keeps the contract, and counts what is written."""

    calls = 0

    def send_data(self, data: bytes, resume_read: bool) -> int:
        self.calls += 1
        return super().send_data(data, resume_read)


async def test_descriptors() -> None:
    check_descriptor(Kept)
    check_descriptor(lambda: Kept(10))

    def ours() -> StreamDescriptor:
        stream, _ = trio.testing.memory_stream_pair()
        return StreamDescriptor(stream)

    check_descriptor(ours)


class TakesTooMuch(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return len(data) + 1 if data else 0


class TakesNothing(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return 1


class Fractions(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return float(len(data))  # type: ignore[return-value]


class Truths(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return bool(data)


class Forgets(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return len(data) or None  # type: ignore[return-value]


class Raises(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        raise OSError("no route\nto it")


class RaisesInEnd(Kept):
    def disconnect_socket(self) -> None:
        raise RuntimeError("not now")


class EndsOnce(Kept):
    def disconnect_socket(self) -> None:
        if self.ended:
            raise ValueError("ended")
        self.ended = True


class RaisesAfterEnd(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        if self.ended:
            raise OSError("closed")
        return len(data)


class EqualsAll(Kept):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class SameKind(Kept):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameKind)

    def __hash__(self) -> int:
        return 1


class RaisesForOthers(Kept):
    def __eq__(self, other: object) -> bool:
        return self.waiting is other.waiting  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return 1


class HashMoves(Kept):
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return self.calls


class EqualWhileItLives(Kept):
    def __eq__(self, other: object) -> bool:
        return self is other and not self.ended

    def __hash__(self) -> int:
        return 1


class NoDescriptor:
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return 0

    def disconnect_socket(self) -> None:
        pass


BROKEN: list[tuple[Any, str]] = [
    (TakesTooMuch, "send_data of 1 bytes takes from 0 to 1 bytes, not 2"),
    (TakesNothing, "empty data is never taken"),
    (Fractions, "returns an int, not 0.0"),
    (Truths, "returns an int, not False"),
    (Forgets, "returns an int, not None"),
    (Raises, r"send_data of 0 bytes raises OSError: no route\\nto it"),
    (RaisesInEnd, "disconnect_socket raises RuntimeError: not now"),
    (EndsOnce, "disconnect_socket a second time raises ValueError: ended"),
    (RaisesAfterEnd, "send_data of 1 bytes after the end raises OSError: closed"),
    (EqualsAll, "equals another object from the beginning"),
    (SameKind, "descriptors of two connections differ"),
    (RaisesForOthers, r"descriptor == object\(\) raises AttributeError"),
    (HashMoves, "its hash changes after send_data of 0 bytes"),
    (EqualWhileItLives, "does not equal itself after disconnect_socket"),
    (NoDescriptor, "no SocketDescriptor but a NoDescriptor"),
    (lambda: None, "no SocketDescriptor but a NoneType"),
]


@pytest.mark.parametrize(("kind", "words"), BROKEN)
def test_descriptors_that_break_their_promise(kind: Callable[[], SocketDescriptor], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_descriptor(kind)


def test_one_descriptor_for_two_connections() -> None:
    one = Kept()
    with pytest.raises(AssertionError, match="differ"):
        check_descriptor(lambda: one)


def test_who_wants_to_end_a_check_ends_it() -> None:
    class Interrupted(Kept):
        def send_data(self, data: bytes, resume_read: bool) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_descriptor(Interrupted)
