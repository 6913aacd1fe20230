"""What reaches the pump: frozen, about one stream or one peer, and nothing else; applied in the order it was sent."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
import trio

from tests.support import Note, open_pair
from triolight.messages import Ping
from triolight.shell import events
from triolight.shell.link import Link, Session

KINDS: tuple[type[Any], ...] = get_args(events.PumpEvent)
OF_ALL = {events.Work, events.Crashed, events.Leave}
"""About no stream and no peer: the whole block is meant."""


def test_every_event_is_one_of_the_pumps() -> None:
    here = {one for one in vars(events).values() if isinstance(one, type) and one.__module__ == events.__name__}
    assert here == {*KINDS}
    assert len(KINDS) == len({*KINDS})


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_frozen_and_says_first_what_it_is_about(kind: type[Any]) -> None:
    names = kind.__match_args__
    event = kind(*(None for _ in names))
    for name in names:
        with pytest.raises(AttributeError):
            setattr(event, name, 1)
    assert not hasattr(event, "__dict__")
    about = [hint for hint in get_type_hints(kind).values() if hint in (Link, Session, Link | Session)]
    assert len(about) == (0 if kind in OF_ALL else 1)
    if about:
        assert get_type_hints(kind)[names[0]] == about[0]


async def test_what_one_task_asks_for_happens_in_that_order(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.to_near.subscribe() as inbox:
        await pair.to_far.send(Note(payload=b"1"))
        await pair.to_far.ping(3)
        await pair.to_far.send(Note(payload=b"2"), Note(payload=b"3"))
        await pair.to_far.disconnect("and that was all")
        heard = [message async for message in inbox]
    kinds = [type(message) for message in heard]
    assert kinds[:4] == [Note, Ping, Note, Note]
    assert [message.payload for message in heard if isinstance(message, Note)] == [b"1", b"2", b"3"]
