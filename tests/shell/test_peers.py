"""PeerNursery: what its users ask of an open block, and errors that say where."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, open_pair, port_of
from triolight import PeerClosed, open_peer_nursery


async def test_what_it_shows(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        assert repr(pair.near) == "<PeerNursery, 1 peers>"
        assert pair.near.peers == {identity(2): pair.to_far}
        pair.near.peers.clear()  # a snapshot
        assert pair.near.peers == {identity(2): pair.to_far}
        assert pair.near.reported_addresses == ()
    with pytest.raises(PeerClosed):
        pair.near.keep(f"{identity(5).hex()}@127.0.0.1:9735")


async def test_a_port_that_is_taken_is_named() -> None:
    async with open_peer_nursery(make_manager(1)) as peers:
        port = await port_of(peers)
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}") as caught:
            await peers.listen(port, host="127.0.0.1")
        assert caught.value.errno == errno.EADDRINUSE


async def test_a_function_runs_beside_the_peers_until_the_block_is_left(autojump_clock: trio.testing.MockClock) -> None:
    ended = trio.Event()

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with open_peer_nursery(make_manager(1)) as peers:
        peers.start_beside(wait)
        await trio.sleep(1)
        assert not ended.is_set()
    assert ended.is_set()
    with pytest.raises(PeerClosed):
        peers.start_beside(wait)


async def test_what_it_raises_ends_the_block(autojump_clock: trio.testing.MockClock) -> None:
    async def fail() -> None:
        raise KeyError("a bug")

    with pytest.raises(ExceptionGroup) as caught:
        async with open_peer_nursery(make_manager(1)) as peers:
            peers.start_beside(fail)
            await trio.sleep_forever()
    assert caught.group_contains(KeyError, match="a bug")
