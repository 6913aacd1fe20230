"""What comes in: streams and listeners that are given to a peer nursery are closed by it, whatever goes wrong."""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest
import trio
import trio.testing

from tests.support import ListLogger, identity, make_manager
from tests.support.socks5 import listener_on_loopback
from triolight import DisconnectReason, Level, PeerClosed, Policy, Population, open_peer_nursery
from triolight.address import Address
from triolight.listeners import NO_ROOM_LOGGED_EVERY, NO_ROOM_SECONDS


async def test_attach_closes_what_it_cannot_take() -> None:
    class Broken(Policy):
        def admit_stranger(self, address: Address | None, population: Population) -> DisconnectReason | None:
            raise ZeroDivisionError

    async with open_peer_nursery(make_manager(1), policy=Broken()) as near:
        ours, theirs = trio.testing.memory_stream_pair()
        with pytest.raises(ValueError, match=r"'a\.\.b'"):
            await near.attach(ours, identity(2), ("a..b", 9735))
        assert await theirs.receive_some(1) == b""
        ours, theirs = trio.testing.memory_stream_pair()
        with pytest.raises(ZeroDivisionError):
            await near.attach(ours)
        assert await theirs.receive_some(1) == b""


@pytest.mark.parametrize("cancelled", [False, True])
async def test_every_listener_that_comes_too_late_is_closed(cancelled: bool) -> None:
    listeners = [await listener_on_loopback() for _ in range(3)]
    async with open_peer_nursery(make_manager(1)) as near:
        pass
    with trio.CancelScope() as scope, suppress(PeerClosed):
        if cancelled:
            scope.cancel()
        await near.listen_on(*listeners)
    assert scope.cancelled_caught is cancelled
    assert [listener.socket.fileno() for listener in listeners] == [-1, -1, -1]


async def test_a_listener_goes_on_when_the_system_has_room_again(autojump_clock: trio.testing.MockClock) -> None:
    """And says so at once, and then every ten seconds at the most, with how often it was."""
    logger = ListLogger()
    ours, theirs = trio.testing.memory_stream_pair()
    refused = round(NO_ROOM_LOGGED_EVERY / NO_ROOM_SECONDS) + 5

    class Full(trio.abc.Listener[trio.abc.Stream]):
        def __init__(self) -> None:
            self.times = 0

        async def accept(self) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            self.times += 1
            if self.times <= refused:
                raise OSError(errno.ENOMEM if self.times % 2 else errno.EMFILE, "no room")
            if self.times == refused + 1:
                return theirs
            return await trio.sleep_forever()

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2, logger=logger)) as far:
        await far.listen_on(Full())
        peer = await near.attach(ours, identity(2))
        assert trio.current_time() == pytest.approx(refused * NO_ROOM_SECONDS)
        await peer.ping()
    said = [record for record in logger.records if record.message == "the system has no room for connections that wait"]
    assert [record.level for record in said] == [Level.WARN, Level.WARN]
    # A tenth of a second, a hundred times, is not quite ten seconds.
    assert [record.fields["times"] for record in said] == [1, pytest.approx(refused - 5, abs=1)]
    assert "Cannot allocate memory" in said[0].fields["error"]


async def test_a_listener_that_breaks_ends_the_block(autojump_clock: trio.testing.MockClock) -> None:
    class Broken(trio.abc.Listener[trio.abc.Stream]):
        closed = False

        async def accept(self) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            raise OSError(errno.EBADF, "it is none any more")

        async def aclose(self) -> None:
            self.closed = True
            await trio.lowlevel.checkpoint()

    listener = Broken()
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="none any more"), flatten_subgroups=True):
        async with open_peer_nursery(make_manager(1)) as near:
            await near.listen_on(listener)
            await trio.sleep_forever()
    assert listener.closed
