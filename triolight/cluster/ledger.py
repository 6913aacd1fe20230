"""What of a stream was handled, and need not come again. State machines without I/O.

An entry may be forgotten once all of its messages, and all of every entry before it, were handled: what a program has
not asked beyond comes again to the next one. With a stream's position goes what it means: which connections were there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from triolight.cluster.records import Connected, Ended, Record
from triolight.cluster.streams import Used
from triolight.shell.inboxes import Position


class Commit(NamedTuple):
    """All up to a position was handled."""

    position: str
    used: Used
    """What that was."""
    next_seq: int
    began: tuple[tuple[int, bytes], ...]
    ended: tuple[int, ...]


class Page:
    """An entry that was read, and what of it is not handled."""

    __slots__ = ("_ledger", "began", "ended", "next_seq", "open", "position", "used")

    def __init__(self, ledger: Ledger, position: str, used: Used, next_seq: int) -> None:
        self._ledger: Final = ledger
        self.position: Final = position
        self.used: Final = used
        self.next_seq: Final = next_seq
        """Of the record after it."""
        self.began: Final[dict[int, bytes]] = {}
        self.ended: Final[list[int]] = []
        self.open = 1
        """Messages that are not handled, and the reading itself."""

    def note(self, records: Iterable[Record]) -> None:
        """Which connections begin in it, and which end."""
        for conn, what in records:
            if isinstance(what, Connected):
                self.began[conn] = what.encode()
            elif isinstance(what, Ended):
                self.ended.append(conn)

    def release(self) -> None:
        """One of its messages was handled, or it was read."""
        self.open -= 1
        if not self.open:
            self._ledger.settled(self)

    def abandon(self) -> None:
        """One of its messages was left by an error."""
        self._ledger.abandoned.append(self)


class Receipt:
    """Of one message: who has it, and has not handled it. What has no page is never missed."""

    __slots__ = ("_abandoned", "_holders", "_page", "position")

    def __init__(self, position: Position, page: Page | None) -> None:
        self.position: Position = position
        self._page: Final = page
        self._holders = 1
        """Whoever has made it is the first."""
        self._abandoned = False
        if page is not None:
            page.open += 1

    def hold(self) -> None:
        self._holders += 1

    def release(self) -> None:
        self._holders -= 1
        if not self._holders and self._page is not None:
            if self._abandoned:
                self._page.abandon()
            else:
                self._page.release()

    def abandon(self) -> None:
        self._abandoned = True
        self.release()


class Ledger:
    """The entries of one stream that were read and not committed, in order: no more than its window holds."""

    __slots__ = ("_old", "_on_settled", "_pages", "abandoned")

    def __init__(self, on_settled: Callable[[], None]) -> None:
        """`on_settled` is called when there is something to commit."""
        self._on_settled: Final = on_settled
        self._pages: Final[deque[Page]] = deque()
        self.abandoned: list[Page] = []
        """Once for each message that was left by an error."""
        self._old: list[Page] = []

    @property
    def empty(self) -> bool:
        """Whether all that was read was taken to be committed."""
        return not self._pages

    def open(self, position: str, used: Used, next_seq: int) -> Page:
        """An entry is being read."""
        page = Page(self, position, used, next_seq)
        self._pages.append(page)
        return page

    def settled(self, page: Page) -> None:
        if self._pages and self._pages[0] is page:
            self._on_settled()

    def forgive(self) -> None:
        """Time has passed. What was left by an error a while ago counts as handled: the program has gone on without it,
        and does not want it again."""
        old, self._old, self.abandoned = self._old, self.abandoned, []
        for page in old:
            page.release()

    def take(self) -> Commit | None:
        """What may be committed; it is for whoever takes it to do so."""
        position, next_seq, size, records = "", 0, 0, 0
        began: dict[int, bytes] = {}
        ended: dict[int, None] = {}
        while self._pages and not self._pages[0].open:
            page = self._pages.popleft()
            position, next_seq = page.position, page.next_seq
            size, records = size + page.used.size, records + page.used.records
            began |= page.began
            for conn in page.ended:
                if began.pop(conn, None) is None:
                    ended[conn] = None
        if not position:
            return None
        return Commit(position, Used(size, records), next_seq, tuple(began.items()), tuple(ended))
