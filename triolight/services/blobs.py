"""A storage's file: our own newest blob, and those that are kept for peers. Blocking calls, for one thread.

Knows no Trio.

Blobs stand in it as they went over the wire, sealed by who made them: whoever reads the file reads none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from triolight.services.sqlite import Lock, Schema, SqliteFile, open_for_writing

VERSION: Final = 1
_SCHEMA: Final = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE own(id INTEGER PRIMARY KEY CHECK(id = 1), blob BLOB NOT NULL) STRICT",
    "CREATE TABLE kept(node_id BLOB PRIMARY KEY, blob BLOB NOT NULL) STRICT",
)
SCHEMA: Final = Schema("storage", 0x54524C53, VERSION, _SCHEMA)  # TRLS


class BlobsFile:
    """An open file that this process alone writes. All calls from one thread at a time."""

    def __init__(self, path: Path, created: int) -> None:
        """Makes the file if it is missing. StoreError if it is another's, newer, or taken."""
        self.path: Final = path
        self._lock: Final = Lock(path)
        try:
            self._file: Final[SqliteFile] = open_for_writing(path, SCHEMA, (("created", created), ("by", "triolight")))
        except BaseException:
            self._lock.release()
            raise

    def own(self) -> bytes | None:
        """Our newest blob."""
        with self._file.words():
            blob: bytes | None = self._file.one("SELECT blob FROM own")
            return blob

    def kept(self) -> dict[bytes, bytes]:
        """All that is kept for peers, by their node ids."""
        with self._file.words():
            return dict(self._file.run("SELECT node_id, blob FROM kept ORDER BY node_id").fetchall())

    def write(self, own: bytes | None, kept: Mapping[bytes, bytes | None]) -> None:
        """All of it or nothing. Ours, if there is a new one; for each node the last one, or that there is none."""
        gone = [(node_id,) for node_id, blob in kept.items() if blob is None]
        rows = [(node_id, blob) for node_id, blob in sorted(kept.items()) if blob is not None]
        with self._file.words(), self._file.transaction():
            if own is not None:
                self._file.run("INSERT OR REPLACE INTO own VALUES(1, ?)", (own,))
            self._file.many("DELETE FROM kept WHERE node_id = ?", gone)
            self._file.many("INSERT OR REPLACE INTO kept VALUES(?, ?)", rows)
        if gone:
            with self._file.words():
                self._file.give_back()

    def close(self) -> None:
        """Whatever was written is in the file itself then, and others may have it."""
        try:
            self._file.close()
        finally:
            self._lock.release()
