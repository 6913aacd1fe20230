"""A record, read back: every row of it in every table, whatever a message holds; numbers; and that files are whole."""

from __future__ import annotations

import csv
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.gossip import IDS, NOW, channel, node, update
from tests.support.records import FIRST, START, a_record
from triolight.as_json import to_json
from triolight.messages import BOLT, Message
from triolight.services.reading import (
    EXPORT_TABLES,
    ExportColumn,
    PeerShare,
    TableFile,
    csv_table,
    export_record,
    record_stats,
)
from triolight.services.record import RecordBatch, RecordWriter, content_hash
from triolight.services.sqlite import StoreError


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("segments", [False, True])
def test_all_of_a_record_is_in_its_tables(segments: bool, tmp_path: Path) -> None:
    a_record(tmp_path / "seen.db", segments=segments)
    folder = tmp_path / "out"
    counts = export_record(tmp_path / "seen.db", folder, {"csv": csv_table})
    twice = 1 if segments else 0
    assert counts == {
        "messages": 4 + twice,
        "sightings": 7,
        "sessions": 3 + twice,
        "gaps": 2,
        "rtts": 1,
        "clocks": 1,
        "dials": 0,
    }
    assert {one.name for one in folder.iterdir()} == {f"{one.name}.csv" for one in EXPORT_TABLES}
    messages = {row["id"]: row for row in table(folder, "messages")}
    sessions = {row["id"]: row for row in table(folder, "sessions")}
    assert len(messages) == counts["messages"]
    assert len(sessions) == counts["sessions"]
    # Whoever follows the ids finds what was said, and by whom.
    said = [
        (
            int(row["seen_ns"]) - START,
            sessions[row["session"]]["node_id"],
            messages[row["message"]]["raw"],
            row["asked"],
        )
        for row in table(folder, "sightings")
    ]
    one, two = IDS[0].hex(), IDS[1].hex()
    assert said == [
        (10, one, channel().hex(), "0"),
        (20, two, channel().hex(), "0"),
        (30, two, update().hex(), "0"),
        (45, one, update().hex(), "1"),
        (310, one, node().hex(), "2"),
        (320, one, update()[:80].hex(), "0"),
        (330, one, update().hex(), "0"),
    ]
    gap, between = table(folder, "gaps")
    assert (gap["session"], gap["lost"], gap["why"]) == ("1", "3", "not recorded")
    assert (between["session"], between["lost"], between["why"]) == ("", "", "not running")
    (rtt,) = table(folder, "rtts")
    assert (sessions[rtt["session"]]["node_id"], rtt["rtt_us"]) == (two, "1500")
    assert table(folder, "clocks") == [{"seen_ns": str(START), "wall_ns": str(START - 5), "worker": ""}]
    first = sessions["1"]
    assert (first["address"], first["outbound"], first["init"]) == ("127.0.0.1:9735", "1", b"\x00\x10init".hex())
    assert sessions["2"]["outbound"] == "0"


@pytest.mark.parametrize(
    "raw", [channel(features=b"\x02"), update() + b"\x05\x01\x07", node(addresses=b"\x01" + bytes(6))]
)
def test_a_message_has_a_column_for_whatever_it_says(raw: bytes, tmp_path: Path) -> None:
    with closing(RecordWriter(tmp_path / "seen.db", START)) as writer:
        writer.write(RecordBatch(opened=[FIRST], sightings=[(START + 10, 1, 0, raw)]))
    export_record(tmp_path / "seen.db", tmp_path / "out", {"csv": csv_table})
    (row,) = table(tmp_path / "out", "messages")
    message = BOLT.decode(raw)
    assert isinstance(message, Message)
    said = {name: str(value) for name, value in to_json(message).items()}
    assert said.pop("message") == row["name"]
    assert said.items() <= row.items()
    assert (row["raw"], row["size"], row["first_ns"]) == (raw.hex(), str(len(raw)), str(START + 10))
    assert bytes.fromhex(row["content_hash"]) == content_hash(raw)
    derived = row["direction"], row["disabled"], row["alias_text"], row["addresses_text"]
    expected = {256: ("", "", "", ""), 257: ("", "", "node", "0.0.0.0:0"), 258: ("0", "0", "", "")}
    assert derived == expected[message.type]


def test_what_cannot_be_decoded_has_its_bytes(tmp_path: Path) -> None:
    a_record(tmp_path / "seen.db")
    export_record(tmp_path / "seen.db", tmp_path / "out", {"csv": csv_table})
    row = table(tmp_path / "out", "messages")[3]
    assert (row["type"], row["name"], row["timestamp"], row["content_hash"]) == ("258", "", "", "")
    assert row["raw"] == update()[:80].hex()


def test_numbers(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    a_record(path)
    found = record_stats(path)
    assert (found.messages, found.sightings, found.pushed, found.answers, found.history) == (4, 7, 5, 1, 1)
    assert (found.sessions, found.open_sessions, found.segments) == (3, 1, 1)
    assert (found.first_ns, found.last_ns) == (START + 10, START + 330)
    assert found.by_type == {"channel_announcement": 2, "channel_update": 4, "node_announcement": 1}
    # Who says first what was pushed: what was asked for is nobody's merit.
    assert found.peers == {IDS[0].hex(): PeerShare(5, 2, 2), IDS[1].hex(): PeerShare(2, 1, 1)}
    assert found.gaps == {"not recorded": 1, "not running": 1}
    assert (found.lost, found.unrecorded_ns) == (3, 200)
    assert found.bytes == path.stat().st_size


def test_segments_count_together_and_each_message_once(tmp_path: Path) -> None:
    a_record(tmp_path / "seen.db", segments=True)
    found = record_stats(tmp_path / "seen.db")
    assert (found.segments, found.messages, found.sightings) == (2, 4, 7)
    assert found.bytes == sum(one.stat().st_size for one in tmp_path.glob("*.db"))
    # The first file was taken away: the rest is a record.
    (tmp_path / "seen.db").unlink()
    assert record_stats(tmp_path / "seen.db").sightings == 3


def test_an_export_replaces_all_or_nothing(tmp_path: Path) -> None:
    a_record(tmp_path / "seen.db")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "messages.csv").write_text("mine")

    @contextmanager
    def fails(path: Path, columns: Sequence[ExportColumn]) -> Generator[TableFile]:
        with csv_table(path, columns) as made:
            yield made
            if path.name.startswith(".gaps"):
                raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        export_record(tmp_path / "seen.db", folder, {"csv": fails})
    assert [one.name for one in folder.iterdir()] == ["messages.csv"]
    assert (folder / "messages.csv").read_text() == "mine"
    export_record(tmp_path / "seen.db", folder, {"csv": csv_table})
    assert len(table(folder, "messages")) == 4


def test_what_is_no_record_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"seen\.db: there is no such file"):
        record_stats(tmp_path / "seen.db")
    (tmp_path / "seen.db").write_text("Dear reader, " * 100)
    with pytest.raises(StoreError, match="no SQLite file, and so no record"):
        export_record(tmp_path / "seen.db", tmp_path / "out", {"csv": csv_table})
    assert [*(tmp_path / "out").iterdir()] == []


def test_times_are_apart_from_what_a_message_says_of_time(tmp_path: Path) -> None:
    """A timestamp is its maker's word, and no time of receipt: no column has both names."""
    a_record(tmp_path / "seen.db")
    export_record(tmp_path / "seen.db", tmp_path / "out", {"csv": csv_table})
    row = table(tmp_path / "out", "messages")[1]
    assert (row["timestamp"], row["first_ns"]) == (str(NOW), str(START + 30))
    assert "timestamp" not in table(tmp_path / "out", "sightings")[0]


def test_hashes_alone_are_exported_too(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(RecordWriter(path, START, raw=False)) as writer:
        writer.write(RecordBatch(opened=[FIRST], sightings=[(START + 10, 1, 0, update()), (START + 20, 1, 0, b"\3\1")]))
    export_record(path, tmp_path / "out", {"csv": csv_table})
    one, other = table(tmp_path / "out", "messages")
    assert (one["type"], one["name"], one["raw"], one["size"]) == ("258", "channel_update", "", "")
    assert one["content_hash"] == (content_hash(update()) or b"").hex()
    assert (other["type"], other["name"]) == ("769", "")
    assert record_stats(path).by_type == {"769": 1, "channel_update": 1}
