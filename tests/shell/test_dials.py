"""What is dialled and what is not: names that DNS cannot ask for, addresses that strangers announce, dials that are
joined. On the mock clock, with a resolver and sockets of our own."""

from __future__ import annotations

import random
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, port_of, until
from tests.support.inside import links_of
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    DisconnectCode,
    KeepState,
    NodeAddress,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerNursery,
    Policy,
    Proxy,
    open_peer_nursery,
    ways,
)
from triolight.address import Address, DnsAddress, IPv4Address, IPv6Address, TorV3Address, UnknownAddress, write_address
from triolight.messages import Init, NodeAnnouncement
from triolight.testing import Conditions, SimulatedNetwork
from triolight.ways import MAX_RESOLVED

ONION = "p53lf57qovyuvwsc6xnrppyply3vtqm7l6pcobkmyqsiofyeznfu5uqd.onion"


def at(host: str, number: int = 2) -> NodeAddress:
    return NodeAddress(identity(number), host, 9735)


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


def named(*hosts: str) -> NodeAnnouncement:
    """A node that announces names (and no more than names of type 5, whatever they say)."""
    return announcement(*(DnsAddress(host, 9735) for host in hosts))


@dataclass
class World(trio.abc.HostnameResolver):
    """A resolver with a table, and what takes the place of Trio's dials: home listens at 9.9.9.9."""

    network: SimulatedNetwork = field(default_factory=lambda: SimulatedNetwork(1, Conditions(latency=0.01)))
    table: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    dead: set[str] = field(default_factory=set[str])
    """Where nobody answers, not even with a refusal."""
    asked: list[str] = field(default_factory=list[str])
    opened: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    pending: int = 0
    """Dials under way."""

    async def getaddrinfo(self, host: Any, *_: object, **__: object) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append(host.decode())
        if host.decode() not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 9735))
            for one in self.table[host.decode()]
        ]

    async def getnameinfo(self, *_: object) -> NoReturn:
        raise AssertionError

    async def open(self, host: str, port: int) -> trio.abc.Stream:
        self.opened.append((host, trio.current_time()))
        self.pending += 1
        try:
            if host in self.dead:
                await trio.sleep_forever()
            return await self.network.host("8.8.8.8").dial(host, port)
        finally:
            self.pending -= 1

    @property
    def hosts(self) -> list[str]:
        return [host for host, _ in self.opened]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[[], World]:
    """Makes the world, inside of Trio."""

    def make() -> World:
        made = World()
        trio.socket.set_custom_hostname_resolver(made)
        monkeypatch.setattr(trio, "open_tcp_stream", made.open)
        monkeypatch.setattr(ways, "open_address", made.open)
        return made

    return make


class Always(random.Random):
    """The longest wait each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


async def refusal(peers: PeerNursery, what: NodeAnnouncement) -> DisconnectCode:
    """Why the first round of dials has failed."""
    kept = peers.keep(what)
    while kept.state is not KeepState.WAITING:
        await kept.wait_changed()
    kept.stop()
    assert kept.last_failure is not None
    return kept.last_failure.code


# -- names that cannot be asked for, and what a dial may raise ---------------------------------------------------------


class _TlsError(ssl.SSLError):
    pass


def _broken_by(cause: Exception) -> trio.BrokenResourceError:
    broken = trio.BrokenResourceError()
    broken.__cause__ = cause
    return broken


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError("there is none"), DisconnectCode.TCP_FAILED, "there is none"),
        (UnicodeError("label too long"), DisconnectCode.RESOLVE_FAILED, "label too long"),
        (trio.BrokenResourceError("hung up"), DisconnectCode.TCP_FAILED, "hung up"),
        (trio.TooSlowError("late"), DisconnectCode.TCP_FAILED, "late"),
        (trio.BrokenResourceError(), DisconnectCode.TCP_FAILED, "the connection broke"),
        (_broken_by(_TlsError(1, "wrong certificate")), DisconnectCode.TCP_FAILED, "wrong certificate"),
        (_TlsError(1, "wrong certificate"), DisconnectCode.TCP_FAILED, "wrong certificate"),
    ],
)
async def test_what_a_dial_of_ones_own_may_raise(
    error: Exception, code: DisconnectCode, words: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def dial(host: str, port: int) -> NoReturn:
        raise error

    async with open_peer_nursery(make_manager(1), dial=dial) as peers:
        with pytest.raises(ConnectError) as failed:
            await peers.connect(at("example.org"))
        assert failed.value.reason.code is code
        assert failed.value.reason.message == words


async def test_a_dial_that_fails_says_where_and_what_the_system_says() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = NodeAddress(identity(2), "127.0.0.1", nobody.getsockname()[1])
        async with open_peer_nursery(make_manager(1)) as peers:
            with pytest.raises(ConnectError) as failed:
                await peers.connect(address)
    assert str(failed.value) == f"TCP_FAILED (by network): Connection refused ({address})"


@pytest.mark.parametrize("reset", [False, True])
async def test_a_dial_of_another_node_id_names_the_likely_cause(reset: bool) -> None:
    async with open_peer_nursery(make_manager(1)) as peers, open_peer_nursery(make_manager(2)) as far:

        async def resets(stream: trio.SocketStream) -> None:
            await stream.receive_some(50)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()

        async with trio.open_nursery() as nursery:
            if reset:
                listeners = await nursery.start(partial(trio.serve_tcp, resets, 0, host="127.0.0.1"))
            else:
                listeners = await far.listen(0, host="127.0.0.1")
            address = NodeAddress(identity(3), "127.0.0.1", listeners[0].socket.getsockname()[1])
            with pytest.raises(ConnectError) as failed:
                await peers.connect(address)
            nursery.cancel_scope.cancel()
    reason = failed.value.reason
    assert reason.code is DisconnectCode.CLOSED_IN_HANDSHAKE
    first = "Connection reset by peer" if reset else "the peer closed the connection"
    assert reason.message == f"{first} while act 2 was awaited: most often another node id lives at this address"
    assert str(failed.value) == f"{reason} ({address})"


async def test_the_deadline_of_a_handshake_is_no_longer_a_dials_once_there_is_a_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What follows has deadlines of its own: here somebody takes five seconds to decide, and may take fifteen."""

    async def dial(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(far.attach, theirs)
        return ours

    async def decide() -> None:
        async for newcomer in newcomers:
            await trio.sleep(5)
            await newcomer.decide(None)

    async with (
        open_peer_nursery(make_manager(2)) as far,
        open_peer_nursery(make_manager(1), dial=dial, handshake_deadline=1) as near,
        near.newcomers() as newcomers,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(decide)
        began = trio.current_time()
        peer = await near.connect(at("far.example"))
        assert (peer.reason, trio.current_time() - began) == (None, 5)
        nursery.cancel_scope.cancel()


async def test_what_pythons_resolver_raises_is_a_reason(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as peers:
        with pytest.raises(ConnectError) as failed:
            # Whatever slips past the check of names: a zone is not looked at.
            await peers.connect(at("fe80::1%" + "z" * 64))
        assert failed.value.reason.code is DisconnectCode.RESOLVE_FAILED
        # Kept, too.
        kept = peers.keep(at("fe80::1%" + "z" * 64))
        while kept.last_failure is None:
            await kept.wait_changed()
        assert kept.last_failure.code is DisconnectCode.RESOLVE_FAILED


@pytest.mark.parametrize(
    "bad", ["a..b", "x" * 64, f"{'x' * 64}.com", ".", "-", " ", "a\0b", "foo.onion", f"{ONION}.x."]
)
async def test_a_bad_name_costs_neither_the_block_nor_the_good_addresses(
    bad: str, world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    async with open_peer_nursery(make_manager(1), jitter=Always()) as peers:
        good = [IPv4Address("9.9.9.9", 9735), IPv4Address("9.9.9.8", 9735)]
        kept = peers.keep(announcement(good[0], DnsAddress(bad, 9735), good[1], IPv4Address("9.9.9.7", 0)))
        await trio.sleep(0.5)
        assert kept.state is KeepState.WAITING
        if bad == f"{ONION}.x.":
            assert here.asked == [f"{ONION}.x"]  # a name as any other
        else:
            assert [one.host for one in kept.addresses] == here.hosts == ["9.9.9.9", "9.9.9.8"]
            kept.stop()
            with pytest.raises(ValueError, match=r"no address to dial.*none of those announced can be dialled"):
                peers.keep(named(bad))


async def test_an_onion_whose_checksum_is_wrong_is_left_out(autojump_clock: trio.testing.MockClock) -> None:
    good = TorV3Address.of(ONION, 9735)
    async with open_peer_nursery(make_manager(1)) as peers:
        kept = peers.keep(announcement(TorV3Address(good.key, b"xx", 3, 9735), good, UnknownAddress(9, b"x")))
        assert kept.addresses == (at(ONION),)


# -- what strangers announce -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["127.1", "2130706433", "0x7f000001", "localhost", "node.localhost", "127.0.0.1."])
@pytest.mark.parametrize("own", [True, False])
async def test_announced_names_that_are_addresses_of_ours(
    name: str, own: bool, world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    async with open_peer_nursery(make_manager(1), dial=here.network.host("8.8.8.8").dial if own else None) as peers:
        assert await refusal(peers, named(name)) is DisconnectCode.ADDRESS_REFUSED
        assert not here.asked
        assert not here.opened
        if not own:
            # The application knows what it says.
            with pytest.raises(ConnectError):
                await peers.connect(at(name))
            assert here.hosts == [name.removesuffix(".")]


@pytest.mark.parametrize(
    "private", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "224.0.0.1"]
)
async def test_a_name_that_leads_inside(
    private: str, world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    here.table = {"inside.example": [private], "both.example": [private, "9.9.9.9"]}
    here.network.host("9.9.9.9")
    async with open_peer_nursery(make_manager(1)) as peers:
        assert await refusal(peers, named("inside.example")) is DisconnectCode.ADDRESS_REFUSED
        assert not here.opened
        assert peers.statistics().handshake_failures == {"ADDRESS_REFUSED": 1}
        # What was asked about is what is dialled, and not the name once more.
        assert await refusal(peers, named("both.example")) is DisconnectCode.TCP_FAILED
        assert here.hosts == ["9.9.9.9"]
    async with open_peer_nursery(make_manager(1), policy=Policy(dial_private=True)) as peers:
        await refusal(peers, named("inside.example"))
        assert here.hosts[1:] == [private.partition("%")[0]]


async def test_the_policy_judges_what_a_name_resolves_to(
    world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    here.table = {"node.example": ["9.9.9.9"], "none.example": []}
    async with open_peer_nursery(make_manager(1), policy=Policy(banned=["9.9.9.0/24"])) as peers:
        assert await refusal(peers, named("node.example")) is DisconnectCode.BANNED
        assert await refusal(peers, named("none.example")) is DisconnectCode.RESOLVE_FAILED
        assert await refusal(peers, named("unknown.example")) is DisconnectCode.RESOLVE_FAILED
        assert not here.opened
        assert peers.policy.decisions == {"dial: admitted": 3, "dial: BANNED": 1}


@pytest.mark.parametrize(
    ("addresses", "dead", "opened"),
    [
        # The first one has a head start: if it answers, nobody else is bothered.
        (["9.9.9.9", "9.9.9.1"], [], [("9.9.9.9", 0)]),
        # The next one follows when it does not answer in time, or at once when it refuses.
        (["2600::1", "9.9.9.9", "9.9.9.1"], ["2600::1"], [("2600::1", 0), ("9.9.9.9", 0.25)]),
        (["9.9.9.1", "9.9.9.9"], [], [("9.9.9.1", 0), ("9.9.9.9", 0.02)]),
        (
            ["9.9.9.2", "9.9.9.3", "9.9.9.1", "9.9.9.9"],
            ["9.9.9.2", "9.9.9.3"],
            [("9.9.9.2", 0), ("9.9.9.3", 0.25), ("9.9.9.1", 0.5), ("9.9.9.9", 0.52)],
        ),
        # The second one is of the other family.
        (["2600::1", "2600::2", "9.9.9.9"], ["2600::1", "2600::2"], [("2600::1", 0), ("9.9.9.9", 0.25)]),
        (
            ["9.9.9.2", "9.9.9.9", "2600::1"],
            ["9.9.9.2", "2600::1"],
            [("9.9.9.2", 0), ("2600::1", 0.25), ("9.9.9.9", 0.5)],
        ),
        # What is private has no place among them.
        (["10.0.0.1", "9.9.9.2", "127.0.0.1", "::1", "9.9.9.9"], ["9.9.9.2"], [("9.9.9.2", 0), ("9.9.9.9", 0.25)]),
    ],
)
async def test_the_addresses_of_a_name_are_raced(
    addresses: list[str],
    dead: list[str],
    opened: list[tuple[str, float]],
    world: Callable[[], World],
    autojump_clock: trio.testing.MockClock,
) -> None:
    here = world()
    here.table = {"node.example": addresses}
    here.dead = {*dead}
    here.network.host("9.9.9.1")  # refuses at once
    async with open_peer_nursery(make_manager(2)) as home, open_peer_nursery(make_manager(1)) as peers:
        await home.listen_on(await here.network.host("9.9.9.9").listen())
        assert await peers.keep(named("node.example")).wait_connected() is not None
        assert [(host, round(at, 6)) for host, at in here.opened] == opened
        assert here.pending == 0


async def test_a_race_that_two_have_won_closes_one(
    world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    """In the same step, and the one that is left is the node's."""
    here = world()
    here.table = {"node.example": ["9.9.9.9", "9.9.9.8"]}
    here.network = SimulatedNetwork(1, Conditions(latency=0.01))
    # One answers a quarter of a second later than the other: when that one has its answer, so has it.
    here.network.host("8.8.8.8")
    here.network.host("9.9.9.9")
    here.network.host("9.9.9.8")
    here.network.link("8.8.8.8", "9.9.9.9", Conditions(latency=0.5))
    here.network.link("8.8.8.8", "9.9.9.8", Conditions(latency=0.375))
    async with open_peer_nursery(make_manager(2)) as home, open_peer_nursery(make_manager(1)) as peers:
        for host in ("9.9.9.9", "9.9.9.8"):
            await home.listen_on(await here.network.host(host).listen())
        assert await peers.keep(named("node.example")).wait_connected() is not None
        await trio.sleep(20)
        assert [at for _, at in here.opened] == [0, 0.25]
        assert len(peers.peers) == len(home.peers) == 1
        assert len(links_of(peers)) == len(links_of(home)) == 1


async def test_a_race_that_is_given_up_leaves_nothing(
    world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    here.table = {"node.example": ["9.9.9.2", "9.9.9.3", "9.9.9.4"]}
    here.dead = {"9.9.9.2", "9.9.9.3", "9.9.9.4"}
    async with open_peer_nursery(make_manager(1)) as peers:
        kept = peers.keep(named("node.example"))
        await trio.sleep(1)
        assert here.pending == 3
        kept.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert here.pending == 0


async def test_names_with_a_hundred_addresses(
    world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    many = [f"9.9.8.{number}" for number in range(100)]
    here.table = {"many.example": many, "dead.example": ["2600::1", "2600::2"]}
    here.dead = {"2600::1", "2600::2"}
    for one in many:
        here.network.host(one)
    async with open_peer_nursery(make_manager(1)) as peers:
        assert await refusal(peers, named("many.example")) is DisconnectCode.TCP_FAILED
        assert here.hosts == many[:MAX_RESOLVED]
        kept = peers.keep(named("dead.example"))
        began = trio.current_time()
        while kept.state is not KeepState.WAITING:
            await kept.wait_changed()
        assert kept.last_failure is not None
        assert "within 15 seconds" in kept.last_failure.message
        assert trio.current_time() - began == pytest.approx(15)


async def test_a_chosen_name_is_dialled_as_it_is(
    world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    here.table = {"home.example": ["192.168.1.2"]}
    # Given as what it is without one, too.
    async with open_peer_nursery(make_manager(1), dial=trio.open_tcp_stream) as peers:
        with pytest.raises(ConnectError):
            await peers.connect(at("home.example"))
        assert here.hosts == ["home.example"]
        assert await refusal(peers, named("home.example")) is DisconnectCode.ADDRESS_REFUSED
        with pytest.raises(ConnectError, match="only reached through a proxy"):
            await peers.connect(at(f"{ONION}."))
        assert here.hosts == ["home.example"]


async def test_through_a_proxy_nothing_is_resolved(
    world: Callable[[], World], monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    through: list[tuple[Proxy, str]] = []

    async def open_through(proxy: Proxy, host: str, port: int, *, isolation: str) -> NoReturn:
        through.append((proxy, host))
        raise OSError("refused")

    monkeypatch.setattr("triolight.ways.open_through", open_through)
    one, other = Proxy("127.0.0.1", 9050), Proxy("127.0.0.1", 9051)
    async with open_peer_nursery(make_manager(1), proxy=one) as peers:
        await refusal(peers, named("node.example", ONION))
        assert through == [(one, "node.example"), (one, ONION)]
        # A node that is kept has a proxy of its own, until it gets another one.
        kept = peers.keep(at("node.example"), proxy=other)
        assert kept.proxy == other
        await until(lambda: kept.state is KeepState.WAITING)
        assert through[2:] == [(other, "node.example")]
        assert peers.keep(at("second.example")) is kept
        assert kept.proxy == other
        await until(lambda: kept.dials == 3)
        assert through[3:] == [(other, "node.example"), (other, "second.example")]
        peers.keep(at("node.example"), proxy=one)
        assert kept.proxy == one
    assert not here.asked
    assert not here.opened


# -- joined dials ------------------------------------------------------------------------------------------------------


class Joined:
    """Node 2 is at home at 9.9.9.9, and hangs on to whoever dials 9.9.9.1 until it is let go."""

    def __init__(self) -> None:
        self.network = SimulatedNetwork(1, Conditions(latency=0.01))
        self.home = self.network.host("9.9.9.9")
        self.go = trio.Event()
        self.dialled: list[str] = []

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        self.dialled.append(host)
        if host != "9.9.9.9":
            await self.go.wait()
            raise OSError("nobody there")
        return await self.network.host("8.8.8.8").dial(host, port)


@pytest.mark.parametrize("first", ["connect", "keep", "announced"])
async def test_a_dead_address_does_not_spoil_a_good_one(first: str, autojump_clock: trio.testing.MockClock) -> None:
    scene = Joined()
    failed: list[ConnectError] = []

    async def to_dead() -> None:
        try:
            await peers.connect(at("9.9.9.1"))
        except ConnectError as error:
            failed.append(error)

    async with open_peer_nursery(make_manager(2)) as home, open_peer_nursery(make_manager(1), dial=scene.dial) as peers:
        await home.listen_on(await scene.home.listen())
        found: list[Peer] = []

        async def to_good() -> None:
            found.append(await peers.connect(at("9.9.9.9")))

        async with trio.open_nursery() as tasks:
            if first == "connect":
                tasks.start_soon(to_dead)
            elif first == "keep":
                peers.keep(at("9.9.9.1"))
            else:
                peers.keep(announcement(IPv4Address("9.9.9.1", 9735)))
            await until(lambda: scene.dialled == ["9.9.9.1"])
            for _ in range(3):
                tasks.start_soon(to_good)
            await trio.testing.wait_all_tasks_blocked()
            assert scene.dialled == ["9.9.9.1"]
            scene.go.set()
        # One dial for the three of them.
        assert scene.dialled == ["9.9.9.1", "9.9.9.9"]
        assert found == [peers.peers[identity(2)]] * 3
        assert len(failed) == (first == "connect")


async def test_a_kept_node_does_not_wait_for_somebody_elses_dead_address(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Joined()

    async def to_dead() -> None:
        with pytest.raises(ConnectError, match="nobody there"):
            await peers.connect(at("9.9.9.1"))

    async with open_peer_nursery(make_manager(2)) as home, open_peer_nursery(make_manager(1), dial=scene.dial) as peers:
        await home.listen_on(await scene.home.listen())
        async with trio.open_nursery() as tasks:
            tasks.start_soon(to_dead)
            await until(lambda: scene.dialled == ["9.9.9.1"])
            kept = peers.keep(at("9.9.9.9"))
            await until(lambda: kept.state is KeepState.DIALLING)
            scene.go.set()
            assert await kept.wait_connected() is not None
        assert kept.failures == 0
        assert kept.dials == 1


async def test_who_asks_for_the_same_shares_its_failure(autojump_clock: trio.testing.MockClock) -> None:
    scene = Joined()
    failed: list[ConnectError] = []

    async def to_dead() -> None:
        try:
            await peers.connect(at("9.9.9.1"))
        except ConnectError as error:
            failed.append(error)

    async with open_peer_nursery(make_manager(1), dial=scene.dial) as peers, trio.open_nursery() as tasks:
        for _ in range(5):
            tasks.start_soon(to_dead)
        await trio.testing.wait_all_tasks_blocked()
        scene.go.set()
    assert len(failed) == 5
    assert scene.dialled == ["9.9.9.1"]


@pytest.mark.parametrize("direct_first", [True, False])
async def test_another_way_is_another_dial(
    direct_first: bool, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[str] = []
    go = trio.Event()

    async def dial(host: str, port: int) -> NoReturn:
        ways.append("direct")
        await go.wait()
        raise OSError("direct: nobody there")

    async def open_through(proxy: Proxy, host: str, port: int, *, isolation: str) -> NoReturn:
        ways.append("proxy")
        await go.wait()
        raise OSError("proxy: nobody there")

    monkeypatch.setattr("triolight.ways.open_through", open_through)
    failed: list[str] = []

    async def connect(proxy: Proxy | None) -> None:
        try:
            await peers.connect(at("9.9.9.9"), proxy=proxy)
        except ConnectError as error:
            failed.append(error.reason.message)

    async with open_peer_nursery(make_manager(1), dial=dial) as peers, trio.open_nursery() as tasks:
        proxies = [None, Proxy("127.0.0.1", 9050)] if direct_first else [Proxy("127.0.0.1", 9050), None]
        for proxy in proxies:
            tasks.start_soon(connect, proxy)
            await trio.testing.wait_all_tasks_blocked()
        assert len(ways) == 1
        go.set()
    assert ways == (["direct", "proxy"] if direct_first else ["proxy", "direct"])
    assert failed == [f"{way}: nobody there" for way in ways]


async def test_what_was_refused_as_announced_is_dialled_if_it_is_chosen(
    world: Callable[[], World], autojump_clock: trio.testing.MockClock
) -> None:
    here = world()
    here.table = {"home.example": ["192.168.1.2"]}
    async with open_peer_nursery(make_manager(1)) as peers:
        peers.keep(named("home.example"))
        await until(lambda: bool(here.asked))  # the announced one is on its way
        with pytest.raises(ConnectError) as failed:
            await peers.connect(at("home.example"))
        assert failed.value.reason.code is not DisconnectCode.ADDRESS_REFUSED
        assert here.hosts == ["home.example"]


# -- where we are seen from --------------------------------------------------------------------------------------------


async def test_who_comes_in_a_mapped_address_is_told_the_one_inside(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
        for shown, told in (
            (("::ffff:203.0.113.5", 7), IPv4Address("203.0.113.5", 7)),
            (IPv6Address("::ffff:203.0.113.6", 7), IPv4Address("203.0.113.6", 7)),
            (("::ffff:10.0.0.1", 7), None),
        ):
            ours, theirs = trio.testing.lockstep_stream_pair()
            async with trio.open_nursery() as tasks:
                tasks.start_soon(far.attach, theirs, None, shown)
                peer = await near.attach(ours, identity(2))
            assert peer.init.tlvs.remote_addr == (None if told is None else write_address(told))


async def test_connecting_again_gives_the_same_peer() -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
            address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
            found: list[Any] = []

            async def connect() -> None:
                found.append(await near.connect(address))

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(connect)
            found.append(await near.connect(address))
            assert set(found) == {near.peers[identity(2)]}
            assert len(far.peers) == 1


@pytest.mark.parametrize("seed", range(10))
async def test_crossing_dials_end_with_the_same_connection(seed: int) -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as one, open_peer_nursery(make_manager(2)) as other:
            to_other = NodeAddress(identity(2), "127.0.0.1", await port_of(other))
            to_one = NodeAddress(identity(1), "127.0.0.1", await port_of(one))
            found: dict[str, Any] = {}

            async def connect(name: str, peers: PeerNursery, address: NodeAddress, later: int) -> None:
                for _ in range(later):
                    await trio.lowlevel.checkpoint()
                found[name] = await peers.connect(address)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect, "one", one, to_other, seed % 3)
                nursery.start_soon(connect, "other", other, to_one, seed // 3)
            await one.peers[identity(2)].ping()
            await other.peers[identity(1)].ping()
            assert one.peers[identity(2)].inbound != other.peers[identity(1)].inbound
            assert len(one.peers) == len(other.peers) == 1


class CancelsAsItSucceeds(ChannelMessageHandler):
    """Cancels a scope in the very step in which a peer is connected, after so many checkpoints of another task."""

    scope: trio.CancelScope | None = None

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> bool:
        if self.scope is not None:
            self.scope.cancel()
        return True


async def test_a_dial_that_is_cancelled_as_it_succeeds_leaves_no_peer() -> None:
    """In whatever order those run who hear of both: a peer that nobody has is one that nobody ends."""
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(2)) as far:
            address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
            for _ in range(20):
                chan = CancelsAsItSucceeds()
                async with open_peer_nursery(make_manager(1, chan=chan)) as near, near.events() as events:
                    with trio.CancelScope() as chan.scope:
                        await near.connect(address)
                    assert chan.scope.cancelled_caught
                    connected, ended = await anext(events), await anext(events)
                    assert isinstance(connected, PeerConnected)
                    assert isinstance(ended, PeerDisconnected)
                    assert ended.reason.code is DisconnectCode.REQUESTED
                    assert not near.peers


async def test_a_late_caller_keeps_the_peer_that_a_dial_made_as_it_was_cancelled() -> None:
    """`connect` gives a peer that is there already: nobody who is cancelled as their dial made it takes it away."""
    kept = 0
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(2)) as far:
            address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
            for _ in range(100):
                chan = CancelsAsItSucceeds()
                async with open_peer_nursery(make_manager(1, chan=chan)) as near, trio.open_nursery() as nursery:

                    async def dial(near: PeerNursery = near, chan: CancelsAsItSucceeds = chan) -> None:
                        with trio.CancelScope() as chan.scope:
                            await near.connect(address)

                    nursery.start_soon(dial)
                    # Whoever comes before it is there waits for the dial, too.
                    while identity(2) not in near.peers:
                        await trio.lowlevel.checkpoint()
                    there = near.peers[identity(2)]
                    with suppress(ConnectError):
                        if await near.connect(address) is there:
                            kept += 1
                            await there.ping()
    assert kept
