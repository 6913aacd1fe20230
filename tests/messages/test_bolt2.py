"""BOLT 2's messages: types of its range, each about one channel, which it names first; and TLVs behind all else."""

from __future__ import annotations

import pytest

from triolight.messages import BOLT, Message, TlvStream, bolt2

CHANNELS = [cls for cls in BOLT if cls.__module__ == bolt2.__name__]
OPENINGS = {"open_channel", "open_channel2"}
"""There is no channel yet: the chain comes first, and then a temporary id."""
TEMPORARY = {"open_channel", "accept_channel", "funding_created", "open_channel2", "accept_channel2"}
"""By an id that both sides forget when the funding is known."""


def test_they_are_those_between_setup_and_gossip() -> None:
    assert len(CHANNELS) == 33
    others = {cls.type for cls in BOLT} - {cls.type for cls in CHANNELS}
    assert not {type_ for type_ in others if type_ in (2, *range(32, 140))}
    assert {cls.type for cls in CHANNELS} <= {2, *range(32, 140)}


@pytest.mark.parametrize("cls", CHANNELS, ids=lambda cls: cls.name)
def test_each_names_its_channel_first(cls: type[Message]) -> None:
    names = [field.name for field in cls.__fields__]
    if cls.name in OPENINGS:
        assert names.pop(0) == "chain_hash"
    assert names[0] == ("temporary_channel_id" if cls.name in TEMPORARY else "channel_id")


@pytest.mark.parametrize("cls", CHANNELS, ids=lambda cls: cls.name)
def test_nothing_stands_behind_its_tlvs(cls: type[Message]) -> None:
    streams = [field.name for field in cls.__fields__ if isinstance(getattr(cls, field.name, None), TlvStream)]
    assert streams in ([], ["tlvs"])
    assert not streams or cls.__fields__[-1].name == "tlvs"
