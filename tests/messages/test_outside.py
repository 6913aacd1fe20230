"""Types outside the BOLTs: names for people, and no decoder."""

from __future__ import annotations

import csv

from tests.support.vectors import FOLDER
from triolight.messages import BOLT, OUTSIDE, UnknownMessage, describe_type


def test_types_outside_the_bolts_are_those_that_were_seen() -> None:
    with (FOLDER / "other_message_types.csv").open() as file:
        rows = [(int(row["type"]), row["name"], row["where"]) for row in csv.DictReader(file)]
    assert [(one.type, one.name, one.where) for one in OUTSIDE.values()] == rows
    assert not {type_ for type_, _, _ in rows} & {cls.type for cls in BOLT}
    assert describe_type(53011) == "type 53011 (commit_sig_batch of eclair, outside the BOLTs)"
    assert describe_type(40001) == "type 40001"
    # A name is no decoder.
    assert BOLT.decode(bytes.fromhex("cf13aabb")) == UnknownMessage(53011, b"\xaa\xbb")
