"""Small records, made without a network. No test here."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

from tests.support.gossip import IDS, NOW, channel, node, update
from triolight.services.record import RecordBatch, RecordWriter, SessionFacts

START: Final = NOW * 10**9
FIRST: Final = SessionFacts(1, IDS[0], "127.0.0.1:9735", True, START, b"\x00\x10init")
SECOND: Final = SessionFacts(2, IDS[1], "", False, START + 1, b"")


def a_record(path: Path, *, segments: bool = False) -> None:
    """Two peers, four messages of which one cannot be decoded, seven sightings, a gap, a round trip; two runs. With
    `segments` the second run is in a file of its own."""
    with closing(RecordWriter(path, START, "a test", segment_bytes=1 if segments else None)) as writer:
        writer.write(
            RecordBatch(
                opened=[FIRST, SECOND],
                sightings=[
                    (START + 10, 1, 0, channel()),
                    (START + 20, 2, 0, channel()),
                    (START + 30, 2, 0, update()),
                    (START + 45, 1, 1, update()),
                ],
                gaps=[(START + 31, START + 40, 1, 3, "not recorded")],
                rtts=[(START + 33, 2, 1500)],
                clocks=[(START, START - 5)],
                closed=[(1, START + 60, "PEER_CLOSED (by peer): bye")],
            )
        )
        writer.finish(START + 100)
    with closing(RecordWriter(path, START + 300, "a test")) as writer:
        sightings = [(START + 310, 1, 2, node()), (START + 320, 1, 0, update()[:80]), (START + 330, 1, 0, update())]
        writer.write(RecordBatch(opened=[FIRST], sightings=sightings))
