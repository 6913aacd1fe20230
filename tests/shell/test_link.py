"""Link and Session: a stream has one peer or none; room is reserved and given back; who waits for room looks again."""

from __future__ import annotations

import trio
import trio.testing

from tests.support import identity
from triolight import DisconnectCode, PeerDetails
from triolight.address import IPv4Address
from triolight.messages import Init
from triolight.peer_manager import SEND_LIMIT_BYTES
from triolight.shell.inboxes import Inboxes, Mailbox
from triolight.shell.link import Link, Room, Session, link_of
from triolight.shell.watch import Deadlines, Phase

DEADLINES = Deadlines(handshake=15, init=16, ping_interval=30, pong=60, stall=61, goodbye=5)
HERE = IPv4Address("192.0.43.8", 1000)


def make_link(node_id: bytes | None = None) -> Link:
    ours, _ = trio.testing.memory_stream_pair()
    return Link(ours, node_id, HERE, None, DEADLINES, until=15.0)


def make_session(link: Link) -> Session:
    details = PeerDetails(identity(2), HERE, Init(), link.inbound)
    return Session(
        link, details, Mailbox(Inboxes(lambda wanted: None, lambda place: None, lambda mailbox: None), None), now=100.0
    )


def test_who_did_not_dial_was_dialled_and_is_nobody_yet() -> None:
    theirs, ours = make_link(), make_link(identity(2))
    assert (theirs.inbound, theirs.node_id) == (True, None)
    assert (ours.inbound, ours.node_id) == (False, identity(2))
    # Once it has proven who it is, it is inbound all the same.
    theirs.node_id = identity(2)
    assert theirs.inbound


def test_a_descriptor_leads_to_its_own_link() -> None:
    one, other = make_link(), make_link()
    assert link_of(one.descriptor) is one
    assert link_of(other.descriptor) is other
    assert one.descriptor != other.descriptor


def test_without_a_peer_it_is_parked_only_in_that_phase() -> None:
    link = make_link()
    assert not link.is_parked
    link.approach.enter(Phase.INIT, 31.0)
    assert not link.is_parked
    session = link.session = make_session(link)
    assert not link.is_parked
    link.session = None
    link.approach.enter(Phase.PARKED, 60.0)
    assert link.is_parked
    # Revived, it gets a new peer; what belongs to the old one stays the old one's.
    link.session = make_session(link)
    assert not link.is_parked
    assert link.session is not session
    assert link.session.descriptor is session.descriptor is link.descriptor
    assert link.session.room is not session.room
    assert link.session.pings is not session.pings


def test_stream_and_peer_have_times_of_their_own() -> None:
    link = make_link()
    session = make_session(link)
    assert session.watch.connected(100.0) == 130.0
    reason = link.approach.look(15.0)
    assert reason is not None
    assert reason.code is DisconnectCode.HANDSHAKE_TIMEOUT
    assert link.approach.look(14.9) is None


def test_room_counts_what_is_on_its_way_and_what_is_queued() -> None:
    room = Room()
    assert room.is_free(SEND_LIMIT_BYTES - 1)
    assert not room.is_free(SEND_LIMIT_BYTES)
    room.reserve(SEND_LIMIT_BYTES - 10)
    assert (room.is_free(9), room.is_free(10)) == (True, False)
    room.reserve(1000)  # what is given in one call enters whole
    assert room.reserved == SEND_LIMIT_BYTES + 990
    room.give_back(SEND_LIMIT_BYTES - 10)
    room.give_back(1000)
    assert room.reserved == 0


async def test_all_who_wait_for_room_look_again(autojump_clock: trio.testing.MockClock) -> None:
    room = Room()
    room.wake()  # nobody waits: nothing is remembered of it
    woken: list[int] = []

    async def wait(number: int) -> None:
        await room.wait()
        woken.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
        room.wake()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(woken) == [0, 1, 2]
        # Whoever waits from now on waits for the next time.
        nursery.start_soon(wait, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert len(woken) == 3
        room.wake()
    assert woken[3:] == [3]
