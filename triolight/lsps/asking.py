"""What a client has asked and waits for: ids, and what becomes of each message that a provider sends. No I/O.

Time and random bytes are inputs. A message that is no answer, or nobody's, is counted and changes nothing: what is in
flight stays there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from triolight.errors import DecodeError
from triolight.lsps.rpc import ID_BYTES, Answer, Json, JsonText, Notification, encode_request, new_id, read_answer

__all__ = ["Asking", "LspsStatistics"]

REMEMBERED: Final = 256
REMEMBERED_SECONDS: Final = 600.0
"""Requests that nobody waits for any more whose answers are told from strangers': so many, so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LspsStatistics:
    """What a client has asked a provider, and what came, each a number of messages."""

    requests: int
    answers: int
    """Errors too, of requests that somebody waited for."""
    late: int
    """Answers of requests that were cancelled."""
    unknown: int
    """Answers of no request of ours, or of one that was answered."""
    unread: int
    """Of ours, which the provider says that it could not read: it does not say which."""
    bad: int
    """That could not be read, or that no client is sent."""
    notifications: int
    lost: int
    """Notifications that came while too many waited for their reader."""


class Asking:
    """Requests in flight. `on_answer` of each is called once at the most."""

    __slots__ = ("_forgotten", "_in_flight", "_random_bytes", "counts")

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes: Final = random_bytes
        self._in_flight: Final[dict[str, Callable[[Answer], None]]] = {}
        self._forgotten: Final[dict[str, float]] = {}
        """When each was, the first first."""
        self.counts: Final[Counter[str]] = Counter()

    def __len__(self) -> int:
        """Requests in flight."""
        return len(self._in_flight)

    def ask(
        self, method: str, params: Mapping[str, Json | JsonText], on_answer: Callable[[Answer], None]
    ) -> tuple[str, bytes]:
        """A new request's id and payload. ValueError for what JSON, or one message, does not hold."""
        number = new_id(self._random_bytes(ID_BYTES))
        payload = encode_request(number, method, params)
        self._in_flight[number] = on_answer
        self.counts["requests"] += 1
        return number, payload

    def forget(self, number: str, now: float) -> None:
        """Nobody waits for its answer any more."""
        if self._in_flight.pop(number, None) is None:
            return
        self._forgotten[number] = now
        while len(self._forgotten) > REMEMBERED:
            del self._forgotten[next(iter(self._forgotten))]

    def read(self, payload: bytes, now: float) -> Notification | None:
        """A provider's message. An answer goes to whom it is for; a notification is given back."""
        try:
            found = read_answer(payload)
        except DecodeError:
            self.counts["bad"] += 1
            return None
        if isinstance(found, Notification):
            self.counts["notifications"] += 1
            return found
        if found.id is None:
            self.counts["unread"] += 1
            return None
        on_answer = self._in_flight.pop(found.id, None)
        if on_answer is not None:
            self.counts["answers"] += 1
            on_answer(found)
            return None
        forgotten = self._forgotten.pop(found.id, None)
        late = forgotten is not None and now - forgotten <= REMEMBERED_SECONDS
        self.counts["late" if late else "unknown"] += 1
        return None

    def statistics(self) -> LspsStatistics:
        """A snapshot."""
        return LspsStatistics(**{name: self.counts[name] for name in LspsStatistics.__dataclass_fields__})
