"""Admission, bans, allowances: the policy by itself, and what a peer nursery makes of its answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from tests.support import ListLogger, Note, identity, join, make_manager, open_pair, port_of, until
from tests.support.inside import admission_of, driving_of, links_of
from tests.support.messages import MANY
from triolight import (
    Allowance,
    ChannelMessageHandler,
    ConnectError,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectReason,
    NodeAddress,
    Peer,
    PeerNursery,
    Policy,
    Population,
    RoutingMessageHandler,
    Side,
    open_peer_nursery,
)
from triolight.address import Address, DnsAddress, IPv4Address, IPv6Address, TorV3Address, descriptor_of
from triolight.keys import SecretKey
from triolight.messages import (
    ChannelReady,
    GossipTimestampFilter,
    Message,
    Ping,
    QueryChannelRange,
    UnknownMessage,
    Warning,
)
from triolight.policy import COST_OF_PIECE, COST_OF_QUERY, COST_OF_WORDS
from triolight.shell.turns import TURN_WORK
from triolight.testing import Conditions, ScriptedPeer, SimulatedHost, SimulatedNetwork, scripted_peer

ONION = "p53lf57qovyuvwsc6xnrppyply3vtqm7l6pcobkmyqsiofyeznfu5uqd.onion"


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("2001:4860:4860::8888", "2001:4860:4860::/64"),
        ("2001:4860:4860:0:ffff::1", "2001:4860:4860::/64"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("127.0.0.1", None),
        ("10.1.2.3", None),
        ("192.168.0.1", None),
        ("::1", None),
        ("fd00::1", None),
        ("::ffff:10.0.0.1", None),
    ],
)
def test_sources(host: str, source: str | None) -> None:
    address = descriptor_of(host, 1)
    assert Policy().source_of(address) == source
    limited = Policy(limit_local_sources=True).source_of(address)
    assert limited is not None
    assert source in (None, limited)


def test_sources_that_have_no_ip() -> None:
    assert Policy(limit_local_sources=True).source_of(None) is None
    assert Policy().source_of(DnsAddress("localhost", 1)) is None


def test_bans() -> None:
    policy = Policy(banned=[identity(1), "192.0.2.7", "2001:db8::/32"])
    assert policy.is_banned(identity(1))
    assert not policy.is_banned(identity(2))
    assert policy.is_banned(address=IPv4Address("192.0.2.7", 1))
    assert not policy.is_banned(address=IPv4Address("192.0.2.8", 1))
    assert policy.is_banned(identity(2), IPv6Address("2001:db8:1::1", 1))
    assert policy.is_banned(address=IPv6Address("::ffff:192.0.2.7", 1))
    assert not policy.is_banned(address=DnsAddress("192.0.2.7", 1))
    assert policy.banned == {identity(1), "192.0.2.7/32", "2001:db8::/32"}
    policy.unban(identity(1))
    policy.unban("192.0.2.7")
    policy.unban("203.0.113.0/24")
    assert not policy.is_banned(identity(1), IPv4Address("192.0.2.7", 1))
    for wrong in (b"short", "a name", "192.0.2.0/33"):
        with pytest.raises(ValueError, match=r"bytes|address|network"):
            policy.ban(wrong)


def test_numbers_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="max_strangers"):
        Policy(max_strangers=0)
    with pytest.raises(ValueError, match="max_peers"):
        Policy(max_peers=0)
    with pytest.raises(ValueError, match="max_peers_per_source"):
        Policy(max_peers_per_source=0)
    for rate in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="handshakes_per_second is more than nothing"):
            Policy(handshakes_per_second=rate)
    with pytest.raises(ValueError, match="max_dials"):
        Policy(max_dials=0)
    with pytest.raises(ValueError, match="more than nothing"):
        Allowance(per_second=0)


@pytest.mark.parametrize(("rate", "burst"), [(5.0, 20.0), (1.0, 4.0), (0.5, 2.0), (0.1, 1.0), (None, math.inf)])
def test_a_burst_is_four_seconds_worth_and_one_at_the_least(rate: float | None, burst: float) -> None:
    policy = Policy(handshakes_per_second=rate)
    assert policy.handshake_burst == burst
    here = descriptor_of("8.8.8.8", 1)

    def refused(begun: float) -> DisconnectReason | None:
        return policy.admit_stranger(here, Population(0, 0, 0, 0, handshakes_of_source=begun))

    if rate is None:
        assert refused(1e9) is None
    else:
        assert refused(burst - 1) is None
        too_fast = refused(burst - 0.9)
        assert too_fast is not None
        assert too_fast.message == f"more than {rate:g} connections a second from this address are being made"


FULL, NOT_FULL = 4, 3
"""Inbound peers, of at most four."""


@pytest.mark.parametrize(
    ("inbound_peers", "inbound", "of_source", "most", "makes_room", "admitted"),
    [
        (NOT_FULL, True, 0, 0, False, True),
        (NOT_FULL, True, 0, 3, False, True),
        (FULL, True, 0, 0, False, False),  # nobody could go
        (FULL, True, 0, 1, False, False),
        (FULL, True, 0, 2, True, True),
        (FULL, True, 1, 2, False, False),
        (FULL, True, 1, 3, True, True),
        (FULL, True, 2, 2, False, False),
        (FULL, True, 2, 4, True, True),
        (FULL, True, 3, 9, True, False),  # its own source has as many as it may
        (NOT_FULL, True, 3, 3, False, False),
        (FULL, False, 0, 4, False, True),  # there is room for those that we dial
    ],
)
def test_who_is_a_peer_and_for_whom_another_goes(
    inbound_peers: int, inbound: bool, of_source: int, most: int, makes_room: bool, admitted: bool
) -> None:
    policy = Policy(max_peers=10, max_inbound_peers=4, max_peers_per_source=3)
    there = Population(0, 0, 9, inbound_peers, peers_of_source=of_source, most_peers_of_a_source=most)
    address = descriptor_of("8.8.8.8", 1)
    assert policy.make_room(inbound, there) == makes_room
    assert (policy.admit_peer(identity(1), address, inbound, False, there) is None) == admitted
    assert policy.admit_peer(identity(1), address, inbound, True, there) is None, "protected"
    policy.ban(identity(1))
    banned = policy.admit_peer(identity(1), address, inbound, True, there)
    assert banned is not None
    assert banned.code is DisconnectCode.BANNED


@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("most", [0, 1, 2])
def test_all_peers_are_a_table_too(inbound: bool, most: int) -> None:
    policy = Policy(max_peers=10, max_inbound_peers=9)
    there = Population(0, 0, 10, 8, most_peers_of_a_source=most)
    assert policy.make_room(inbound, there) == (most == 2)
    assert (policy.admit_peer(identity(1), None, inbound, False, there) is None) == (most == 2)


def test_dials() -> None:
    policy = Policy(banned=["192.0.2.0/24", identity(9)])
    assert policy.admit_dial(identity(1), IPv4Address("127.0.0.1", 1), learned=False) is None
    private = policy.admit_dial(identity(1), IPv4Address("127.0.0.1", 1), learned=True)
    assert private is not None
    assert private.code is DisconnectCode.ADDRESS_REFUSED
    assert Policy(dial_private=True).admit_dial(identity(1), IPv4Address("10.0.0.1", 1), learned=True) is None
    for host in ("203.0.113.1", "224.0.0.1", "::ffff:127.0.0.1", "localhost", "a.localhost", "127.1", "0x7f000001"):
        odd = policy.admit_dial(identity(1), descriptor_of(host, 1), learned=True)
        assert odd is not None, host
        assert odd.code is DisconnectCode.ADDRESS_REFUSED
        assert policy.admit_dial(identity(1), descriptor_of(host, 1), learned=False) is None
    for host in ("8.8.8.8", "::ffff:8.8.8.8", "localhost.example", ONION):
        assert policy.admit_dial(identity(1), descriptor_of(host, 1), learned=True) is None, host
    for node_id, host in ((identity(1), "192.0.2.1"), (identity(9), "8.8.8.8")):
        banned = policy.admit_dial(node_id, descriptor_of(host, 1), learned=False)
        assert banned is not None
        assert banned.code is DisconnectCode.BANNED


class Scene:
    """A node that listens in a simulated network, at a public address."""

    def __init__(self, seed: int = 1) -> None:
        self.network = SimulatedNetwork(seed, Conditions(latency=0.001))
        self.home = self.network.host("9.9.9.9")

    async def listen(self, peers: PeerNursery) -> None:
        await peers.listen_on(await self.home.listen())

    async def knock(self, host: SimulatedHost, times: int) -> list[trio.abc.Stream]:
        """Connections that say nothing."""
        return [await host.dial("9.9.9.9", 9735) for _ in range(times)]

    async def peer_from(self, nursery: trio.Nursery, number: int, host: SimulatedHost) -> Peer:
        """A node of its own that connects from there, and stays."""
        return await nursery.start(self._stay, number, host)  # type: ignore[no-any-return]

    async def _stay(self, number: int, host: SimulatedHost, task_status: trio.TaskStatus[Peer]) -> None:
        async with open_peer_nursery(make_manager(number), dial=host.dial) as peers:
            task_status.started(await peers.connect(NodeAddress(identity(1), "9.9.9.9", 9735)))
            await trio.sleep_forever()


async def is_closed(stream: trio.abc.Stream) -> bool:
    try:
        return await stream.receive_some(1) == b""
    except trio.BrokenResourceError:
        return True


async def test_strangers_are_limited_in_total_and_by_source(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    policy = Policy(max_strangers=10, max_strangers_per_source=4)
    async with open_peer_nursery(make_manager(1), policy=policy) as peers, trio.open_nursery() as nursery:
        await scene.listen(peers)
        from_one = await scene.knock(scene.network.host("8.8.0.1"), 6)
        with trio.move_on_after(1):
            assert await is_closed(from_one[4])
        assert await is_closed(from_one[5])
        assert peers.statistics().strangers == 4
        others = [await scene.knock(scene.network.host(f"8.8.1.{number}"), 1) for number in range(8)]
        assert [await is_closed(one) for (one,) in others[6:]] == [True, True]
        assert peers.statistics().strangers == 10
        # The table is full, for a node that is well meant too; when the deadlines have passed, there is room.
        with pytest.raises(ConnectError) as refused:
            async with open_peer_nursery(make_manager(2), dial=scene.network.host("8.8.2.1").dial) as late:
                await late.connect(NodeAddress(identity(1), "9.9.9.9", 9735))
        assert refused.value.reason.code is DisconnectCode.CLOSED_IN_HANDSHAKE
        await trio.sleep(16)
        assert await is_closed(from_one[0])
        assert peers.statistics().strangers == 0
        await scene.peer_from(nursery, 2, scene.network.host("8.8.2.2"))
        seen = peers.statistics()
        assert (seen.strangers, seen.peers, seen.inbound_peers) == (0, 1, 1)
        assert seen.decisions == {
            "stranger: admitted": 11,
            "stranger: TOO_MANY_STRANGERS": 5,
            "peer: admitted": 1,
        }
        assert seen.handshake_failures["TOO_MANY_STRANGERS"] == 5
        assert seen.handshake_failures["HANDSHAKE_TIMEOUT"] == 10
        assert admission_of(peers).strangers_by_source == {}
        nursery.cancel_scope.cancel()


async def test_over_loopback_each_source_by_itself_if_the_policy_says_so() -> None:
    async def knock(source: str, port: int) -> trio.SocketStream:
        sock = trio.socket.socket()
        await sock.bind((source, 0))
        await sock.connect(("127.0.0.1", port))
        return trio.SocketStream(sock)

    with trio.fail_after(20):
        policy = Policy(max_strangers_per_source=2, limit_local_sources=True)
        async with open_peer_nursery(make_manager(1), policy=policy) as peers:
            port = await port_of(peers)
            streams = [await knock(f"127.0.0.{2 + number % 3}", port) for number in range(9)]
            closed: list[int] = []

            async def watch(number: int, stream: trio.SocketStream) -> None:
                if await is_closed(stream):
                    closed.append(number)
                    done.set()

            async with trio.open_nursery() as nursery:
                done = trio.Event()
                for number, stream in enumerate(streams):
                    nursery.start_soon(watch, number, stream)
                while len(closed) < 3:
                    await done.wait()
                    done = trio.Event()
                assert peers.statistics().strangers == 6
                nursery.cancel_scope.cancel()
            # Three sources, two places each.
            assert sorted(number % 3 for number in closed) == [0, 1, 2]
            for stream in streams:
                await trio.aclose_forcefully(stream)


async def test_a_banned_address_is_not_heard(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    logger = ListLogger()
    async with open_peer_nursery(make_manager(1, logger=logger), policy=Policy(banned=["8.8.0.0/16"])) as peers:
        await scene.listen(peers)
        (stream,) = await scene.knock(scene.network.host("8.8.0.1"), 1)
        assert await is_closed(stream)
        assert peers.policy.decisions == {"stranger: BANNED": 1}
        assert "a connection was refused" in logger
        # What the application attaches is asked about in the same way.
        ours, theirs = trio.testing.memory_stream_pair()
        with pytest.raises(ConnectError, match="BANNED"):
            await peers.attach(ours, remote_address=("8.8.0.2", 1))
        assert await is_closed(theirs)


async def refusal(near: PeerNursery, far: PeerNursery) -> tuple[DisconnectReason, DisconnectReason]:
    """Connects two of which one refuses the other: why it did not last, as each of them sees it."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    seen: dict[str, DisconnectReason] = {}

    async def attach(name: str, peers: PeerNursery, stream: trio.abc.Stream, node_id: bytes | None) -> None:
        # Who has accepted the other's Init before it was refused had a connection for a moment.
        try:
            seen[name] = await (await peers.attach(stream, node_id)).wait_closed()
        except ConnectError as error:
            seen[name] = error.reason

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attach, "near", near, ours, far.manager.our_node_id)
        nursery.start_soon(attach, "far", far, theirs, None)
    return seen["near"], seen["far"]


async def test_a_full_table_refuses_newcomers_with_words(autojump_clock: trio.testing.MockClock) -> None:
    class Chan(ChannelMessageHandler):
        def protects(self, node_id: bytes) -> bool:
            return node_id == identity(5)

    policy = Policy(max_inbound_peers=2, max_peers=3)
    async with (
        open_peer_nursery(make_manager(1, chan=Chan()), policy=policy) as peers,
        open_peer_nursery(make_manager(2)) as two,
        open_peer_nursery(make_manager(3)) as three,
        open_peer_nursery(make_manager(4)) as four,
        open_peer_nursery(make_manager(5)) as five,
        open_peer_nursery(make_manager(6)) as six,
    ):
        first, _ = await join(two, peers)
        await join(three, peers)
        heard, said = await refusal(four, peers)
        assert said.code is DisconnectCode.TOO_MANY_PEERS
        assert "no room: 2 inbound peers are connected" in heard.message
        # Ours to dial: the third place. Then nobody, but for one with a channel.
        await join(peers, four)
        said, heard = await refusal(peers, six)
        assert said.code is DisconnectCode.TOO_MANY_PEERS
        assert "no room: 3 peers are connected" in heard.message
        await join(five, peers)
        assert set(peers.peers) == {identity(2), identity(3), identity(4), identity(5)}
        assert peers.statistics().inbound_peers == 3
        # Who is there and connects once more takes no further place.
        again, _ = await join(two, peers)
        assert again is not first
        assert len(peers.peers) == 4
        assert peers.statistics().inbound_peers == 3
        assert first.reason is not None


async def test_the_refused_hear_why(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair(make_manager(1), make_manager(2)) as pair:
        pair.far.policy.ban(identity(1))
        # Banned while connected: stays. Comes again: hears it.
        await pair.to_far.send(Note(payload=b""))
        await pair.to_far.disconnect("for a test")
        heard, said = await refusal(pair.near, pair.far)
        assert said.code is DisconnectCode.BANNED
        assert "this node is banned here" in heard.message
        pair.far.policy.unban(identity(1))
        await join(pair.near, pair.far)


async def test_a_policy_of_ones_own(autojump_clock: trio.testing.MockClock) -> None:
    class EvenOnly(Policy):
        def admit_peer(
            self, node_id: bytes, address: Address | None, inbound: bool, protected: bool, population: Population
        ) -> DisconnectReason | None:
            if node_id[-1] % 2:
                return DisconnectReason(DisconnectCode.BANNED, Side.US, "odd ones are not for us")
            return super().admit_peer(node_id, address, inbound, protected, population)

    even = next(number for number in range(2, 40) if not identity(number)[-1] % 2)
    odd = next(number for number in range(2, 40) if identity(number)[-1] % 2)
    async with (
        open_peer_nursery(make_manager(1), policy=EvenOnly()) as peers,
        open_peer_nursery(make_manager(even)) as liked,
        open_peer_nursery(make_manager(odd)) as disliked,
    ):
        await join(peers, liked)
        said, heard = await refusal(peers, disliked)
        assert (said.code, said.message) == (DisconnectCode.BANNED, "odd ones are not for us")
        assert "odd ones are not for us" in heard.message
        assert peers.policy.decisions == {"peer: admitted": 1, "peer: BANNED": 1}


async def _refused(peers: PeerNursery, stream: trio.abc.Stream) -> None:
    with pytest.raises(ConnectError):
        await peers.attach(stream)


async def test_the_duplicate_rule_is_the_policys(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1), policy=Policy(duplicates="oldest")) as peers,
        open_peer_nursery(make_manager(2)) as other,
    ):
        first, _ = await join(peers, other)
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with trio.open_nursery() as nursery:
            # As LDK, before its Init: the other side keeps what it has, whatever its own rule.
            nursery.start_soon(_refused, other, theirs)
            assert await peers.attach(ours, identity(2)) is first
        assert first.reason is None
        assert other.peers.keys() == {identity(1)}
    manager = make_manager(1, duplicates="oldest")
    async with open_peer_nursery(manager), trio.open_nursery():
        assert driving_of(manager).duplicates == "oldest"
    assert driving_of(manager).duplicates == "oldest"


async def test_dials_that_the_policy_refuses(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1), policy=Policy(banned=[identity(2)])) as peers:
        with pytest.raises(ConnectError, match="BANNED"):
            await peers.connect(NodeAddress(identity(2), "192.0.2.1", 9735))
        with pytest.raises(ConnectError, match="through a proxy") as onion:
            await peers.connect(NodeAddress(identity(3), ONION, 9735))
        assert onion.value.reason.code is DisconnectCode.ADDRESS_REFUSED
        assert isinstance(descriptor_of(ONION, 9735), TorV3Address)
        assert peers.statistics().dials == 0
        assert peers.statistics().handshake_failures == {"BANNED": 1, "ADDRESS_REFUSED": 1}


async def flood(peer: Peer, messages: Sequence[Message | UnknownMessage]) -> None:
    for one in messages:
        await peer.send(one)


QUERY = QueryChannelRange(chain_hash=bytes(32), first_blocknum=0, number_of_blocks=1)


@pytest.mark.parametrize(
    ("message", "cost"),
    [
        (Ping(num_pong_bytes=60_000), 60_000),
        (UnknownMessage(40_001, b"x"), 256),
        (QUERY, COST_OF_QUERY),
        (GossipTimestampFilter(chain_hash=bytes(32), first_timestamp=0, timestamp_range=1), COST_OF_QUERY),
        (Warning(channel_id=bytes(32), data=b"!"), COST_OF_WORDS),
        (UnknownMessage(258, b"unreadable"), COST_OF_WORDS + 6 * COST_OF_PIECE),
        (ChannelReady(channel_id=bytes(32), second_per_commitment_point=identity(3), tlvs=MANY), 1000 * COST_OF_PIECE),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_what_costs_more_than_its_bytes_is_slowed_down(
    message: Message | UnknownMessage, cost: int, autojump_clock: trio.testing.MockClock
) -> None:
    count = 400_000 // cost + 40
    policy = Policy(allowance=Allowance(per_second=20_000.0, burst=20_000.0 + cost))
    async with (
        open_peer_nursery(make_manager(2), policy=policy) as slow,
        open_peer_nursery(
            make_manager(1), policy=Policy(allowance=None), ping_interval=math.inf, pong_deadline=math.inf
        ) as fast,
    ):
        peer, seen = await join(fast, slow)
        began = trio.current_time()
        async with slow.subscribe(Note) as notes, trio.open_nursery() as nursery:
            nursery.start_soon(flood, peer, [message] * count + [Note(payload=b"the last")])
            await notes.__anext__()
        took = trio.current_time() - began
        # Never ended for it, and as slow as the allowance says.
        assert seen.reason is None
        # Paused at the burst, it goes on at three quarters of it.
        expected = (count * cost - 1.25 * policy.allowance.burst) / 20_000 if policy.allowance else 0
        assert expected - 1 <= took <= (count * cost) / 20_000 + 1
        assert seen.statistics().throttled > 1
        assert slow.statistics().throttled == seen.statistics().throttled


async def test_what_handlers_and_subscribers_take_is_not_slowed_down(autojump_clock: trio.testing.MockClock) -> None:
    """So a dump of the whole gossip passes at full speed."""
    policy = Policy(allowance=Allowance(per_second=1.0, burst=1.0))
    async with (
        open_peer_nursery(make_manager(2), policy=policy) as slow,
        open_peer_nursery(make_manager(1)) as fast,
    ):
        peer, seen = await join(fast, slow)
        async with slow.subscribe(Note) as notes, trio.open_nursery() as nursery:
            nursery.start_soon(flood, peer, [Note(payload=bytes(1000))] * 500)
            for _ in range(500):
                await notes.__anext__()
        assert trio.current_time() == 0
        assert seen.statistics().throttled == 0
        # Pings of nothing, and those that BOLT 1 says to ignore, cost nothing either.
        await flood(peer, [Ping(num_pong_bytes=65_535)] * 300)
        await peer.ping()
        assert seen.statistics().throttled == 0


async def test_a_throttled_peer_is_not_blamed_for_silence(autojump_clock: trio.testing.MockClock) -> None:
    policy = Policy(allowance=Allowance(per_second=10.0, burst=5000.0))
    async with (
        open_peer_nursery(make_manager(2), policy=policy, ping_interval=5, pong_deadline=10) as slow,
        open_peer_nursery(make_manager(1), ping_interval=math.inf, pong_deadline=math.inf) as fast,
    ):
        peer, seen = await join(fast, slow)
        await peer.send(Ping(num_pong_bytes=6000))
        await trio.sleep(150)  # 6,000 bytes down to 3,750 at 10 a second: 225 seconds
        assert seen.statistics().throttled == 1
        assert seen.reason is None
        await trio.sleep(200)
        assert seen.reason is None
        assert await seen.ping() < 1


async def test_a_throttled_peer_that_has_gone_does_not_linger(autojump_clock: trio.testing.MockClock) -> None:
    """Its pings would take an hour to pay for; our own pings find out that nobody is there."""
    scene = Scene()
    policy = Policy(allowance=Allowance(per_second=10.0, burst=5000.0))
    async with open_peer_nursery(make_manager(1), policy=policy) as peers:
        await scene.listen(peers)
        async with open_peer_nursery(make_manager(2), dial=scene.network.host("8.8.8.8").dial) as other:
            peer = await other.connect(NodeAddress(identity(1), "9.9.9.9", 9735))
            seen = peers.peers[identity(2)]
            await flood(peer, [Ping(num_pong_bytes=6000)] * 10)
            await trio.sleep(1)
            assert seen.statistics().throttled == 1
        began = trio.current_time()
        reason = await seen.wait_closed()
        assert reason.code is DisconnectCode.CONNECTION_LOST
        assert "costs more than it may" in reason.message
        assert trio.current_time() - began < 120


async def test_unknown_types_are_counted_together(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair(make_manager(1), make_manager(2, route=RoutingMessageHandler())) as pair:
        await flood(pair.to_far, [UnknownMessage(40_001 + 2 * number, b"abcd") for number in range(500)])
        await pair.to_far.ping()
        received = pair.to_near.statistics().received
        assert received["unknown"] == (500, 3000)
        assert received["init"].messages == 1
        assert received["ping"].messages == 1
        assert pair.to_near.statistics().sent["pong"] == (1, 4)
        assert len(received) == 3
        everything = pair.far.statistics()
        assert everything.received == received
        assert everything.sent["pong"] == (1, 4)
        await pair.to_far.disconnect("enough")
        await until(lambda: not links_of(pair.far))
        # What has ended still counts.
        assert pair.far.statistics().received["unknown"] == (500, 3000)
        assert pair.far.statistics().received["warning"].messages == 1
        assert pair.far.statistics().disconnects == {"PEER_CLOSED": 1}
        assert pair.near.statistics().disconnects == {"REQUESTED": 1}


async def test_a_flooder_takes_no_more_than_its_turn_from_fifty_others(autojump_clock: trio.testing.MockClock) -> None:
    """Counted in messages: how many of the flooder's are handled between an honest one's sending and its handling."""
    flooder = SecretKey(b"\x61" * 32).public_key

    class Counts(CustomMessageHandler):
        def __init__(self) -> None:
            super().__init__()
            self.flood = 0
            self.began, self.handled = trio.Event(), trio.Event()

        def handle_custom_message(self, node_id: bytes, message: Message) -> None:
            if node_id == flooder:
                self.flood += 1
                self.began.set()
            else:
                self.handled.set()

    counts = Counts()
    many = 20_000
    async with (
        open_peer_nursery(make_manager(1, custom=counts)) as peers,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):

        async def script(number: int) -> ScriptedPeer:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(peers.attach, theirs)
            peer = await stack.enter_async_context(
                scripted_peer(ours, identity(1), secret=bytes((number,)) * 32, ephemeral=bytes((number, 1)) * 16)
            )
            await peer.exchange_inits()
            return peer

        bad = await script(0x61)
        honest = [await script(0x62 + number) for number in range(50)]
        await until(lambda: len(peers.peers) == 51)
        await bad.send_bytes(b"".join(bad.packet(Note(payload=b"x")) for _ in range(many)))
        await counts.began.wait()
        worst = 0
        for peer in honest:
            counts.handled, before = trio.Event(), counts.flood
            await peer.send(Note(payload=b"y"))
            await counts.handled.wait()
            worst = max(worst, counts.flood - before)
        assert counts.flood < many, "the flood was over before it could be compared"
        # A turn for each task that the honest message passes on its way: its sender twice, our reader, the pump.
        assert 0 < worst <= 10 * TURN_WORK
