"""The shipped check of a SocketDescriptor that somebody has written, against what it promises the PeerManager.

No I/O, no Trio and no pytest: a class that makes descriptors is all it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from triolight.peer_manager import SocketDescriptor
from triolight.text import printable

T = TypeVar("T")


def check_descriptor(make_descriptor: Callable[[], SocketDescriptor]) -> None:
    """Holds a SocketDescriptor to what the PeerManager relies on. AssertionError names what does not hold, also where
    a method raises; what `make_descriptor` itself raises leaves as it is.

    `make_descriptor` gives a new connection's descriptor each time, whose other end reads nothing meanwhile.
    """
    one, other = _Held(make_descriptor()), _Held(make_descriptor())
    one.differs_from(other)
    one.sends(0, resume_read=True)
    one.sends(0, resume_read=False)
    for size in (1, 18, 70_000):
        if one.sends(size, resume_read=True) < size:
            break
    one.ends()
    # Whoever ends it twice, or is late, must not find out by an exception.
    one.sends(1, resume_read=True, after=" after the end")
    one.sends(0, resume_read=True, after=" after the end")
    one.ends(" a second time")
    one.differs_from(other)
    other.sends(0, resume_read=True, after=" after another one's end")
    other.ends()


class _Held:
    """A descriptor, and the hash that it had at first: each step is followed by a look at what must not change."""

    def __init__(self, descriptor: object) -> None:
        _must(isinstance(descriptor, SocketDescriptor), f"it is no SocketDescriptor but a {type(descriptor).__name__}")
        self._descriptor = cast("SocketDescriptor", descriptor)
        self._hash = self._of("hash(descriptor)", lambda: hash(descriptor))
        self._stays("from the beginning")

    def _of(self, what: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except BaseException as error:
            if not isinstance(error, Exception):
                raise  # somebody wants this run to end
            # The class is a stranger's: whatever it raises would leave through the manager, which expects nothing.
            raise AssertionError(f"{what} raises {type(error).__name__}: {printable(str(error), 120)}") from error

    def _stays(self, when: str) -> None:
        one = self._descriptor
        _must(self._of("hash(descriptor)", lambda: hash(one)) == self._hash, f"its hash changes {when}")
        _must(self._of("descriptor == itself", lambda: one == one) is True, f"it does not equal itself {when}")
        _must(self._of("descriptor == object()", lambda: one == object()) is False, f"it equals another object {when}")

    def differs_from(self, other: _Held) -> None:
        equal = self._of("descriptor == another", lambda: self._descriptor == other._descriptor)
        _must(not equal, "descriptors of two connections differ")

    def sends(self, size: int, *, resume_read: bool, after: str = "") -> int:
        what = f"send_data of {size} bytes{after}"
        taken = self._of(what, lambda: self._descriptor.send_data(bytes(size), resume_read))
        _must(type(taken) is int, f"{what} returns an int, not {printable(repr(taken), 60, escaped=True)}")
        _must(size > 0 or taken == 0, f"{what}: empty data is never taken, not {taken}")
        _must(0 <= taken <= size, f"{what} takes from 0 to {size} bytes, not {taken}")
        self._stays(f"after {what}")
        return taken

    def ends(self, again: str = "") -> None:
        self._of(f"disconnect_socket{again}", self._descriptor.disconnect_socket)
        self._stays(f"after disconnect_socket{again}")


def _must(holds: bool, words: str) -> None:
    if not holds:
        raise AssertionError(words)
