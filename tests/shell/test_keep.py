"""Nodes that stay connected: when they are dialled again, how many at once, and what ends it. On the mock clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import identity, join, make_manager, open_pair, until
from tests.support.inside import keeps_of, places_to_dial_of
from triolight import (
    DisconnectCode,
    KeepState,
    KeptPeer,
    NodeAddress,
    Peer,
    PeerNursery,
    Policy,
    open_peer_nursery,
)
from triolight.address import Address, DnsAddress, IPv4Address, write_address
from triolight.keys import SecretKey
from triolight.messages import NodeAnnouncement
from triolight.shell.keep import LONGEST_WAIT, STABLE_SECONDS
from triolight.testing import Conditions, SimulatedHost, SimulatedNetwork


@dataclass
class Dialled:
    """Counts and times the dials that go through it."""

    host: SimulatedHost
    at: list[float] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    now: int = 0
    most: int = 0
    again: trio.Event = field(default_factory=trio.Event)

    async def __call__(self, address: str, port: int) -> trio.abc.Stream:
        self.at.append(trio.current_time())
        self.where.append(address)
        self.now += 1
        self.again.set()
        self.most = max(self.most, self.now)
        try:
            return await self.host.dial(address, port)
        finally:
            self.now -= 1


class Always(random.Random):
    """The longest wait each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


def at(number: int, host: str = "9.9.9.9") -> NodeAddress:
    return NodeAddress(identity(number), host, 9735)


class Scene:
    def __init__(self) -> None:
        self.network = SimulatedNetwork(1, Conditions(latency=0.01))
        self.home = self.network.host("9.9.9.9")
        self.dialled = Dialled(self.network.host("8.8.8.8"))

    def open(self, **options: Any) -> Any:
        """Node 1, which keeps."""
        return open_peer_nursery(make_manager(1), dial=self.dialled, jitter=Always(1), **options)

    def open_home(self, number: int = 2) -> Any:
        """The node that is kept."""
        return open_peer_nursery(make_manager(number))


async def test_it_is_dialled_again_after_twice_as_long_each_time(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with scene.open() as peers:
        kept = peers.keep(at(2))
        assert "QUEUED" in repr(kept)
        await trio.sleep(3600 * 5)
        waits = [round(b - a) for a, b in zip(scene.dialled.at, scene.dialled.at[1:], strict=False)]
        assert waits[:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
        assert set(waits[12:]) == {int(LONGEST_WAIT)}
        assert "WAITING" in repr(kept)
        assert kept.failures == len(scene.dialled.at) == kept.dials
        assert kept.last_failure is not None
        assert kept.last_failure.code is DisconnectCode.TCP_FAILED
        assert kept.next_dial_at == pytest.approx(scene.dialled.at[-1] + LONGEST_WAIT + 0.02)
        assert peers.statistics().kept == {"WAITING": 1}
        # Somebody listens again: it is found at the next dial, not earlier.
        async with scene.open_home() as home:
            await home.listen_on(await scene.home.listen())
            peer = await kept.wait_connected()
            assert peer is not None
            assert peer is kept.peer is peers.peers[identity(2)]
            assert "CONNECTED" in repr(kept)
            assert kept.next_dial_at is None
        reason = await peer.wait_closed()
        assert reason.code is DisconnectCode.PEER_CLOSED
    assert kept.state is KeepState.STOPPED
    assert peers.statistics().kept == {}


@pytest.mark.parametrize(("lasts", "next_wait"), [(STABLE_SECONDS - 1, 8), (STABLE_SECONDS + 1, 1)])
async def test_ten_stable_minutes_make_it_new(
    lasts: float, next_wait: float, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene()
    async with scene.open() as peers:
        kept = peers.keep(at(2))
        await trio.sleep(6)  # dials at 0, 1 and 3, and the next at 7
        assert len(scene.dialled.at) == 3
        async with scene.open_home() as home:
            await home.listen_on(await scene.home.listen())
            peer = await kept.wait_connected()
            assert peer is not None
            await trio.sleep(lasts)
        await peer.wait_closed()
        scene.dialled.again = trio.Event()
        began = trio.current_time()
        await scene.dialled.again.wait()
        assert trio.current_time() - began == pytest.approx(next_wait, abs=0.1)


async def test_the_whole_of_the_jitter_is_random(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with open_peer_nursery(make_manager(1), dial=scene.dialled, jitter=random.Random(3)) as peers:
        for number in range(2, 100):
            peers.keep(NodeAddress(identity(number), "9.9.9.9", 9735))
        await trio.sleep(1.5)
        second = sorted(scene.dialled.at[98:196])
        # Spread over the second that the first wait takes at the most, and not in one heap.
        assert second[0] < 0.2
        assert second[-1] > 0.8
        assert len({round(one, 1) for one in second}) > 8


async def test_a_thousand_that_return_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """No herd: never more dials in flight than the policy says, however many are to be dialled."""
    scene = Scene()
    most = 7
    anybody = Policy(handshakes_per_second=None)  # all of them come from one address
    async with (
        open_peer_nursery(make_manager(2), policy=anybody) as home,
        scene.open(policy=Policy(max_dials=most)) as peers,
    ):
        kept: list[KeptPeer] = []
        for number in range(1000):
            key = SecretKey((1000 + number).to_bytes(32, "big"))
            kept.append(peers.keep(NodeAddress(key.public_key, "9.9.9.9", 9735)))
        here = peers.keep(at(2))
        await trio.sleep(1)
        assert scene.dialled.most == most
        # The network is gone, dials hang; then it returns.
        scene.network.partition([scene.home])
        await trio.sleep(100)
        assert peers.statistics().dials == most
        await home.listen_on(await scene.home.listen())
        scene.network.heal()
        assert await here.wait_connected() is not None
        assert scene.dialled.most == most
        assert peers.statistics().kept["CONNECTED"] == 1
        assert sum(peers.statistics().kept.values()) == 1001


async def test_addresses_are_tried_in_turn(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with scene.open_home() as home, scene.open() as peers:
        await home.listen_on(await scene.home.listen())
        scene.network.host("9.9.9.1")
        kept = peers.keep(at(2, "9.9.9.1"), f"{identity(2).hex()}@nowhere:9735", at(2))
        peer = await kept.wait_connected()
        assert peer is not None
        assert scene.dialled.where == ["9.9.9.1", "nowhere", "9.9.9.9"]
        assert kept.dials == 3
        # Once more, and with another address: the same one.
        assert peers.keep(at(2, "9.9.9.5")) is kept
        assert [one.host for one in kept.addresses] == ["9.9.9.1", "nowhere", "9.9.9.9", "9.9.9.5"]
        with pytest.raises(ValueError, match="different nodes"):
            peers.keep(at(3), at(4))
        with pytest.raises(ValueError, match="no address"):
            peers.keep()
        with pytest.raises(ValueError, match="id@host:port"):
            peers.keep("nonsense")
        with pytest.raises(ValueError, match="onion"):
            peers.keep(at(2, "short.onion"))


async def test_who_dials_us_is_kept_without_a_dial(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with scene.open_home() as other, scene.open() as peers:
        kept = peers.keep(at(2))
        await trio.sleep(100)
        dials = kept.dials
        assert kept.state is KeepState.WAITING
        _, inbound = await join(other, peers)
        assert await kept.wait_connected() is inbound
        assert len(scene.dialled.at) == dials

        async def disconnect() -> None:
            await inbound.disconnect()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(disconnect)
            assert await kept.wait_changed() is KeepState.WAITING


async def test_stop(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with scene.open_home() as home, scene.open() as peers:
        await home.listen_on(await scene.home.listen())
        kept = peers.keep(at(2))
        peer = await kept.wait_connected()
        kept.stop()
        assert kept.state is KeepState.STOPPED
        assert await kept.wait_changed() is KeepState.STOPPED
        assert await kept.wait_connected() is None
        await until(lambda: not keeps_of(peers))
        assert peer is not None
        assert peer.reason is None
        await peer.disconnect()
        await trio.sleep(5000)
        assert len(scene.dialled.at) == 1
        again = peers.keep(at(2))
        assert again is not kept
        assert await again.wait_connected() is not None


async def test_a_suspended_machine_reconnects(autojump_clock: trio.testing.MockClock) -> None:
    """The lid is closed for eight hours: every clock jumps, the other side has long gone."""
    scene = Scene()
    async with scene.open_home() as home, scene.open() as peers, peers.events() as events:
        await home.listen_on(await scene.home.listen())
        kept = peers.keep(at(2))
        first = await kept.wait_connected()
        assert first is not None
        scene.network.vanish(scene.home)
        autojump_clock.jump(8 * 3600)
        scene.network.restore(scene.home)
        reason = await first.wait_closed()
        assert reason.code in (DisconnectCode.PING_TIMEOUT, DisconnectCode.CONNECTION_LOST)
        second = await kept.wait_connected()
        assert second is not None
        assert second is not first
        assert await second.ping() < 1
        del events


def announcement(*addresses: Address) -> NodeAnnouncement:
    return NodeAnnouncement(
        signature=bytes(64),
        features=b"",
        timestamp=1,
        node_id=identity(2),
        rgb_color=bytes(3),
        alias=bytes(32),
        addresses=b"".join(map(write_address, addresses)),
    )


async def test_learned_private_addresses_are_not_dialled(autojump_clock: trio.testing.MockClock) -> None:
    private = [IPv4Address("127.0.0.1", 9735), IPv4Address("192.168.1.1", 9735)]
    told = announcement(*private, DnsAddress("localhost.example", 9735), IPv4Address("9.9.9.9", 9735))
    scene = Scene()
    async with scene.open() as peers:
        kept = peers.keep(told)
        await trio.sleep(0.5)
        assert scene.dialled.where == ["localhost.example", "9.9.9.9"]
        assert peers.policy.decisions["dial: ADDRESS_REFUSED"] == 2
        assert kept.learned == kept.addresses
        # What the application names itself is dialled, whatever it is, and at once.
        assert peers.keep(at(2, "127.0.0.1")) is kept
        assert [one.host for one in kept.learned] == ["192.168.1.1", "localhost.example", "9.9.9.9"]
        await trio.sleep(0.2)
        assert scene.dialled.where[2:] == ["127.0.0.1", "localhost.example", "9.9.9.9"]
        # Announced once more, it is still what the application has chosen; and no reason to hurry.
        dials = kept.dials
        peers.keep(told)
        assert [one.host for one in kept.learned] == ["192.168.1.1", "localhost.example", "9.9.9.9"]
        await trio.testing.wait_all_tasks_blocked()
        assert kept.dials == dials
        assert kept.state is KeepState.WAITING
    scene = Scene()
    async with scene.open(policy=Policy(dial_private=True)) as peers:
        peers.keep(told)
        await trio.sleep(0.5)
        assert scene.dialled.where[:2] == ["127.0.0.1", "192.168.1.1"]


@pytest.mark.parametrize("order", ["chosen first", "announced first", "together", "together, announced first"])
async def test_chosen_and_announced_addresses_are_one_node(order: str, autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    told = announcement(IPv4Address("127.0.0.1", 9735), IPv4Address("9.9.9.1", 9735))
    chosen = at(2, "127.0.0.1")
    async with scene.open_home() as home, scene.open() as peers:
        # The simulated network has a loopback like any other host.
        await home.listen_on(await scene.network.host("127.0.0.1").listen())
        if order == "chosen first":
            kept = peers.keep(chosen)
            peer = await kept.wait_connected()
            assert peers.keep(told) is kept
            # What is connected stays so.
            assert kept.peer is peer is not None
        elif order == "announced first":
            kept = peers.keep(told)
            assert peers.keep(chosen) is kept
        else:
            kept = peers.keep(chosen, told) if order == "together" else peers.keep(told, chosen)
        assert await kept.wait_connected() is not None
        assert scene.dialled.where == ["127.0.0.1"]
        assert kept.addresses == (chosen, at(2, "9.9.9.1"))
        assert kept.learned == (at(2, "9.9.9.1"),)
        # An announcement that says nothing takes nothing away.
        with pytest.raises(ValueError, match="no address to dial"):
            peers.keep(announcement())
        assert peers.keep(chosen, announcement()) is kept
        assert kept.state is KeepState.CONNECTED


async def test_added_addresses(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with scene.open_home() as home, scene.open() as peers:
        await home.listen_on(await scene.home.listen())
        kept = peers.keep(at(2, "9.9.9.1"))
        await trio.sleep(2000)
        assert kept.state is KeepState.WAITING
        for bad, words in ((at(3), "different nodes"), (at(2, "x.onion"), "onion")):
            with pytest.raises(ValueError, match=words):
                kept.add([at(2), bad])
        assert kept.addresses == (at(2, "9.9.9.1"),)
        # It is not left to wait for what it does not know of.
        began = trio.current_time()
        kept.add([at(2)])
        assert await kept.wait_connected() is not None
        assert trio.current_time() - began < 1


async def test_who_dials_us_needs_no_place_among_the_dials(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    scene.network.vanish(scene.network.host("9.9.9.1"))
    async with scene.open_home() as other, scene.open(policy=Policy(max_dials=1), handshake_deadline=1000) as peers:
        peers.keep(at(3, "9.9.9.1"))
        await trio.testing.wait_all_tasks_blocked()
        kept = peers.keep(at(2, "9.9.9.1"))
        await trio.sleep(1)
        assert kept.state is KeepState.QUEUED
        _, inbound = await join(other, peers)
        began = trio.current_time()
        assert await kept.wait_connected() is inbound
        assert trio.current_time() == began
        assert "CONNECTED" in repr(kept)
        assert kept.dials == 0
        assert scene.dialled.where == ["9.9.9.1"]
        # The place that it did not take is there for others.
        assert places_to_dial_of(peers).borrowed_tokens == 1
        assert places_to_dial_of(peers).statistics().tasks_waiting == 0


async def test_who_dials_us_meanwhile_is_not_overlooked(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    scene.network.vanish(scene.network.host("9.9.9.1"))
    async with scene.open_home() as other, scene.open() as peers:
        kept = peers.keep(at(2, "9.9.9.1"), at(2, "9.9.9.2"))
        await trio.testing.wait_all_tasks_blocked()
        assert kept.state is KeepState.DIALLING
        _, inbound = await join(other, peers)
        # When the dial of the dead address is over there is nothing to dial or to wait for.
        assert await kept.wait_connected() is inbound
        assert kept.dials == 1
        assert await kept.wait_connected() is inbound
        await inbound.disconnect()
        kept.stop()
        # The same for its only address.
        again = peers.keep(at(2, "9.9.9.1"))
        await trio.testing.wait_all_tasks_blocked()
        assert again.state is KeepState.DIALLING
        _, inbound = await join(other, peers)
        while again.state is KeepState.DIALLING:
            await again.wait_changed()
        assert again.peer is inbound
        assert "CONNECTED" in repr(again)
        assert again.failures == 0


async def test_a_connection_that_another_one_replaces(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with scene.open_home() as home, scene.open() as peers:
        await home.listen_on(await scene.home.listen())
        kept = peers.keep(at(2))
        first = await kept.wait_connected()
        assert first is not None
        await trio.sleep(60)
        _, second = await join(home, peers)
        await first.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        assert kept.state is KeepState.CONNECTED
        assert kept.peer is second
        assert kept.dials == 1


async def test_stopped_and_kept_again_at_once(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with scene.open_home() as home, scene.open() as peers:
        await home.listen_on(await scene.home.listen())
        kept = peers.keep(at(2))
        peer = await kept.wait_connected()
        kept.stop()
        again = peers.keep(at(2))
        assert again is not kept
        assert await again.wait_connected() is peer
        await trio.testing.wait_all_tasks_blocked()
        assert kept.state is KeepState.STOPPED
        assert again.state is KeepState.CONNECTED
        assert peers.statistics().kept == {"CONNECTED": 1}
        assert peers.keep(at(2)) is again


async def test_nothing_is_kept_after_the_block(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    async with scene.open() as peers:
        kept = peers.keep(at(2))
    assert kept.state is KeepState.STOPPED
    from triolight import PeerClosed

    with pytest.raises(PeerClosed):
        peers.keep(at(2))


async def test_a_nursery_is_a_nursery(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        assert isinstance(pair.near, PeerNursery)
        assert isinstance(pair.near.policy, Policy)


async def test_a_function_has_each_peers_life(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    lives: list[list[Any]] = []
    came, coming = trio.open_memory_channel[Peer](10)

    async def live(peer: Peer) -> None:
        lives.append([peer])
        came.send_nowait(peer)
        try:
            await peer.ping()
            await trio.sleep_forever()
        finally:
            lives[-1].append(trio.current_time())

    async with scene.open_home() as home, scene.open() as peers:
        await home.listen_on(await scene.home.listen())
        kept = peers.keep(at(2), on_connect=live)
        for number in range(1, 4):
            assert await coming.receive() is kept.peer
            assert lives[-1] == [kept.peer]
            await lives[-1][0].disconnect()
            assert len(lives[number - 1]) == 2, "it is cancelled with its peer"
    assert len({id(life[0]) for life in lives}) == len(lives)


async def test_a_functions_peer_closed_is_no_crash_and_all_else_is(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    called, calls = trio.open_memory_channel[Peer](10)

    async def sends(peer: Peer) -> None:
        called.send_nowait(peer)
        await peer.disconnect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.ping)

    async def fails(peer: Peer) -> None:
        raise KeyError("a bug of the application's")

    with pytest.raises(ExceptionGroup) as caught:
        async with scene.open_home() as home, scene.open() as peers:
            await home.listen_on(await scene.home.listen())
            kept = peers.keep(at(2), on_connect=sends)
            assert await calls.receive() is not await calls.receive()
            # The one that is given later takes its place.
            assert peers.keep(at(2), on_connect=fails) is kept
            await trio.sleep_forever()
    assert caught.value.split(KeyError)[1] is None
