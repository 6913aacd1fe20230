"""How long gossip takes from the first peer that says it to each other one, from a record, by type of message.

Counted are messages that came first while all of the longest connections were up, and not in the last half hour, so
that each peer could have said them; and sightings that were pushed, not asked for.

    python examples/propagation.py seen.db
"""

import sqlite3
import sys
from contextlib import closing

NAMES = {256: "channel_announcement", 257: "node_announcement", 258: "channel_update"}
LATE_NS = 30 * 60 * 10**9
"""What came first so shortly before the end may still be on its way to others."""
QUANTILES = (0.5, 0.75, 0.95, 0.99)


def window(record: sqlite3.Connection) -> tuple[list[int], int, int]:
    """The sessions that lasted for half of the record at least, and from when to when all of them were there."""
    begin, end = record.execute("SELECT min(seen_ns), max(seen_ns) FROM sighting").fetchone()
    if begin is None:
        return [], 0, 0
    lives = record.execute("SELECT id, connected_ns, coalesce(closed_ns, ?) FROM session", (end,)).fetchall()
    long = [(one, came, went) for one, came, went in lives if went - came >= (end - begin) / 2]
    if not long:
        return [], 0, 0
    return [one for one, _, _ in long], max(came for _, came, _ in long), min(went for _, _, went in long)


def delays(record: sqlite3.Connection, sessions: list[int], begin: int, end: int) -> dict[int, list[float]]:
    """Seconds behind the first sighting, by type."""
    found: dict[int, list[float]] = {}
    marks = ",".join("?" * len(sessions))
    # What came first as history is no news.
    statement = f"""SELECT m.type, s.seen_ns - m.first_ns FROM sighting s JOIN message m ON m.id = s.message
        JOIN sighting first ON first.seen_ns = m.first_ns WHERE s.asked = 0 AND first.asked = 0
        AND s.session IN ({marks}) AND m.first_ns BETWEEN ? AND ? AND s.seen_ns > m.first_ns"""
    for type_, delay in record.execute(statement, (*sessions, begin, end)):
        found.setdefault(type_, []).append(delay / 1e9)
    return found


def main(path: str) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as record:
        sessions, begin, end = window(record)
        late = LATE_NS if end - begin > 2 * LATE_NS else 0
        found = delays(record, sessions, begin, end - late)
    print(f"{len(sessions)} sessions, {max(0, end - late - begin) / 1e9:.0f} s")
    for type_, seconds in sorted(found.items()):
        seconds.sort()
        shown = ", ".join(f"{share:.0%} {seconds[int(share * (len(seconds) - 1))]:.3f} s" for share in QUANTILES)
        print(f"{NAMES.get(type_, str(type_))}: n = {len(seconds)}: {shown}")


if __name__ == "__main__":
    main(sys.argv[1])
