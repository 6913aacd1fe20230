"""The shipped checks: against ourselves, against what breaks rules, and as the command that people run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from tests.cli.processes import COMMAND
from tests.support import identity, make_manager, port_of
from tests.test_peer_manager import Descriptor
from triolight import (
    ConnectError,
    DisconnectCode,
    Features,
    NodeAddress,
    RoutingMessageHandler,
    SocketDescriptor,
    StreamDescriptor,
    open_peer_nursery,
)
from triolight.messages import (
    BOLT,
    ChannelAnnouncement,
    Init,
    Message,
    NodeAnnouncement,
    Ping,
    Pong,
    QueryChannelRange,
    ReplyChannelRange,
    UnknownMessage,
    Warning,
    message,
)
from triolight.testing import (
    Deed,
    Finding,
    ScriptedPeer,
    ScriptFailed,
    Verdict,
    check_descriptor,
    check_peer,
    scripted_peer,
)
from triolight.testing.conformance import CHECKS, PATIENCE_SECONDS, REKEY_PINGS, THOROUGH
from triolight.wire import ShortChannelId


class Queries(RoutingMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


async def findings(
    serve: Callable[[trio.abc.Stream], Awaitable[object]],
    *,
    thorough: bool = False,
    dials: int = 1000,
    pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = trio.testing.memory_stream_pair,
) -> dict[str, Finding]:
    """Of a node that does this with each connection, in memory, and refuses them after so many."""
    dialled = 0

    async def meet(stream: trio.abc.Stream) -> None:
        with suppress(ScriptFailed, ConnectError):
            await serve(stream)

    async def dial(host: str, port: int) -> trio.abc.Stream:
        nonlocal dialled
        dialled += 1
        if dialled > dials:
            raise ConnectionRefusedError("too many")
        ours, theirs = pair()
        nursery.start_soon(meet, theirs)
        return ours

    async with trio.open_nursery() as nursery:
        address = NodeAddress(identity(1), "there")
        found: dict[str, Finding] = {}
        asked = iter((*CHECKS, *THOROUGH))
        began = trio.current_time()
        async for one in check_peer(address, dial=dial, thorough=thorough):
            found[one.rule] = one
            # No node holds a question up for longer than is promised; the first has the meeting before it.
            most = 3 * PATIENCE_SECONDS + next(asked).seconds + (PATIENCE_SECONDS if len(found) == 1 else 0)
            assert trio.current_time() - began <= most, one.rule
            began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert dialled < 60
    return found


async def test_we_keep_every_rule() -> None:
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(1, route=Queries())) as peers:
            address = NodeAddress(identity(1), "127.0.0.1", await port_of(peers))
            found = {one.rule: one async for one in check_peer(address, patience=20)}
            assert not peers.statistics().kept
    assert list(found) == [one.rule for one in CHECKS]
    assert [str(one) for one in found.values() if one.verdict in (Verdict.BREAKS, Verdict.UNKNOWN)] == []
    assert found["answers query_channel_range"].seen == "0 channels, sync_complete 1"
    assert found["gossip that cannot be read"].seen.startswith("warning 'unreadable gossip")
    assert found["a second Init"].seen.endswith("closed")
    assert "closed after warning" in found["closes for an unknown even message"].seen


async def test_we_keep_those_that_take_minutes(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1, route=Queries())) as peers:
        found = await findings(peers.attach, thorough=True)
    assert list(found) == [one.rule for one in (*CHECKS, *THOROUGH)]
    assert [str(one) for one in found.values() if one.verdict in (Verdict.BREAKS, Verdict.UNKNOWN)] == []
    assert found["changes its key for writing after 500 messages"].seen == f"{REKEY_PINGS} pings and their pongs"
    assert found["a handshake that does not go on"].seen == "waits for act three for 15 seconds"
    assert found["a peer that answers no ping"].seen == "a ping after 30 seconds, closed after 60"
    assert found["an open_channel"].seen == "error 'channels are not supported here', goes on"
    assert found["a second connection with the same key"].seen == "keeps the newer"


@message(0xFFFA)
class Even(Message):
    """To know this type is not to close for it."""


async def test_what_breaks_a_rule_is_found(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1, messages=BOLT | {Even})) as peers:
        found = await findings(peers.attach)
    assert found["closes for an unknown even message"].verdict is Verdict.BREAKS
    assert found["closes for an unknown even message"].seen == "stays connected"
    assert found["answers query_channel_range"].verdict is Verdict.UNKNOWN
    assert sum(one.verdict is Verdict.BREAKS for one in found.values()) == 1


async def garbage(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 400 Bad Request".ljust(50, b"."))
    await stream.receive_some()


async def silence(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def another_node(stream: trio.SocketStream) -> None:
    with suppress(ScriptFailed):
        async with scripted_peer(stream, secret=bytes([2]) * 32):
            pass


NO_NODES = [
    (hang_up, DisconnectCode.CLOSED_IN_HANDSHAKE, 4),
    (another_node, DisconnectCode.CLOSED_IN_HANDSHAKE, 4),
    (garbage, DisconnectCode.ACT_TWO_FAILED, 4),
    (silence, DisconnectCode.HANDSHAKE_TIMEOUT, 6),
]


@pytest.mark.parametrize(("serve", "code", "exits"), NO_NODES)
async def test_what_is_not_the_node_is_accused_of_nothing(
    serve: Callable[[trio.SocketStream], Awaitable[None]], code: DisconnectCode, exits: int
) -> None:
    patience = 0.2 if serve is silence else 20
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            address = NodeAddress(identity(1), "127.0.0.1", listeners[0].socket.getsockname()[1])
            with pytest.raises(ConnectError) as error:
                [one async for one in check_peer(address, patience=patience)]
            assert error.value.reason.code is code
            done = await trio.run_process(
                [*COMMAND, "check", "--patience", str(patience), str(address)],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            nursery.cancel_scope.cancel()
    assert (done.returncode, done.stdout) == (exits, b"")
    assert done.stderr.decode() == f"failed: {error.value.reason}\n"


async def test_a_dial_that_takes_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    async def dial(host: str, port: int) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(ConnectError, match=r"HANDSHAKE_TIMEOUT.*within 10 seconds"):
        await anext(check_peer(NodeAddress(identity(1), "there"), dial=dial))
    assert trio.current_time() == 10


ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"


async def test_an_onion_is_not_asked_of_dns() -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: object, **__: object) -> NoReturn:
            raise AssertionError("a resolver was asked")

        getnameinfo = getaddrinfo

    trio.socket.set_custom_hostname_resolver(Resolver())
    for good in (ONION, f"{ONION}."):
        with pytest.raises(ConnectError, match="ADDRESS_REFUSED"):
            await anext(check_peer(NodeAddress(identity(1), good)))
    with pytest.raises(ValueError, match="not a version 3 onion name"):
        await anext(check_peer(NodeAddress(identity(1), "foo.onion")))
    with pytest.raises(ConnectError, match="RESOLVE_FAILED"):
        await anext(check_peer(NodeAddress(identity(1), "fe80::1%" + "z" * 64)))


def played(
    behaviour: Callable[[ScriptedPeer], Awaitable[None]], handshake: bool = True
) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A node that follows a script."""

    async def serve(stream: trio.abc.Stream) -> None:
        async with scripted_peer(stream, secret=bytes([1]) * 32, handshake=handshake) as peer:
            await behaviour(peer)

    return serve


async def greet(peer: ScriptedPeer) -> None:
    await peer.send(Init(features=Features.named("gossip_queries").to_bytes()))
    await peer.expect(Init)


async def converse(peer: ScriptedPeer) -> None:
    """A node that keeps what pings and Inits can ask, and closes for nothing."""
    await greet(peer)
    while (got := await peer.receive()) is not None:
        if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
            await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))


KEPT_BY_CHANCE = {
    "talks to us after both Inits",
    "refuses an unknown even record in Init",
    "refuses records out of order in Init",
    "refuses networks of 33 bytes",
    "closes for another version of the handshake",
    "closes for an act three with a wrong tag",
    "sends Init first, and of itself",
    "sends no gossip of others before a filter",
}


async def test_a_node_that_answers_everything_wrongly(autojump_clock: trio.testing.MockClock) -> None:
    """And without end where it can: no question of ours goes on for ever."""

    async def chatter(peer: ScriptedPeer) -> None:
        features = Features.named("gossip_queries") | Features((100,))
        await peer.send(Init(features=features.to_bytes()))
        while (got := await peer.receive()) is not None:
            match got:
                case Ping(num_pong_bytes=77):
                    for _ in range(11):
                        await peer.send(*[Warning(data=b"no")] * 100)
                case Ping(num_pong_bytes=size):
                    await peer.send(Pong(ignored=bytes(size % 65_531 + 1)))
                case QueryChannelRange():
                    reply = ReplyChannelRange(
                        chain_hash=bytes(32),
                        first_blocknum=0,
                        number_of_blocks=0,
                        sync_complete=1,
                        encoded_short_ids=b"\0odd",
                    )
                    await peer.send(reply)
                case _:
                    pass

    connections = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal connections
        connections += 1
        # The third is the control: who fails in it is not asked for what it closes.
        await played(converse if connections == 3 else chatter)(stream)

    found = await findings(serve)
    assert found["ignores an unknown odd message"].seen == "no pong among 1000 messages"
    assert found["a second Init"].seen.startswith("warning 'no', warning 'no', warning 'no', no pong among 1000")
    assert found["answers a ping with as many bytes as it asks for"].seen == "1 bytes where 0 were asked for"
    assert found["answers query_channel_range"].seen.startswith("encoded_short_ids at byte 1: 3 bytes are no list")
    assert found["closes when something else comes first"].seen == "stays connected"
    assert "did not come within 10 seconds" in found["ends the answer to query_short_channel_ids"].seen
    # Its Init is good, its end of the noise is ours, and what cannot be read ends it.
    assert {rule for rule, one in found.items() if one.verdict is Verdict.KEEPS} == KEPT_BY_CHANCE


async def test_a_node_that_says_something_else_first(autojump_clock: trio.testing.MockClock) -> None:
    found = await findings(played(lambda peer: peer.send(Pong(ignored=b"hi"))))
    assert found["sends Init first, and of itself"].verdict is Verdict.BREAKS
    assert found["sends Init first, and of itself"].seen.startswith("first says Pong(")
    assert found["answers query_channel_range"].verdict is Verdict.UNKNOWN


async def test_a_node_that_waits_for_ever_after_a_wrong_version(autojump_clock: trio.testing.MockClock) -> None:
    async def patient(peer: ScriptedPeer) -> None:
        act = await peer.receive_bytes(50)
        if act[0] != 0:
            await trio.sleep_forever()
        await peer.send_bytes(peer.answer_act(act))
        peer.answer_act(await peer.receive_bytes(66))
        await converse(peer)

    found = await findings(played(patient, handshake=False))
    assert found["closes for another version of the handshake"].verdict is Verdict.BREAKS
    assert found["closes for another version of the handshake"].seen.startswith("the connection was not closed")


async def deaf(peer: ScriptedPeer) -> None:
    await peer.send(Init())
    await trio.sleep_forever()


async def dribbling(peer: ScriptedPeer) -> None:
    await peer.send(Init())
    await peer.do(Deed("dribble", Pong(ignored=bytes(65_000)).encode(), 9))


async def chattering(peer: ScriptedPeer) -> None:
    await peer.send(Init())
    while True:
        await peer.send(UnknownMessage(50_001, b""))
        await trio.sleep(9.5)


@pytest.mark.parametrize("behaviour", [deaf, dribbling, chattering])
async def test_no_node_holds_a_question_up(
    behaviour: Callable[[ScriptedPeer], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """However often something comes, and if nothing is read: `findings` looks at the time of each."""
    found = await findings(played(behaviour), thorough=True, pair=trio.testing.lockstep_stream_pair)
    assert len(found) == len(CHECKS) + len(THOROUGH)
    assert found["talks to us after both Inits"].verdict is Verdict.BREAKS
    assert found["takes one of 65,535 bytes"].verdict is Verdict.BREAKS
    assert found["closes for an unknown even message"].verdict is Verdict.UNKNOWN


async def test_a_node_that_is_slow_at_every_step(autojump_clock: trio.testing.MockClock) -> None:
    """Each within its patience: all of them together are too much for a question that has many."""

    async def slow(peer: ScriptedPeer) -> None:
        act = await peer.receive_bytes(50)
        await trio.sleep(9)
        await peer.send_bytes(peer.answer_act(act))
        peer.answer_act(await peer.receive_bytes(66))
        await trio.sleep(9)
        await greet(peer)
        while (got := await peer.receive()) is not None:
            if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
                await trio.sleep(9)
                await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))

    found = await findings(played(slow, handshake=False))
    assert found["talks to us after both Inits"].verdict is Verdict.KEEPS
    three = found["answers a ping with as many bytes as it asks for"]
    assert (three.verdict, three.seen) == (Verdict.UNKNOWN, "not done within 30 seconds")


async def test_a_dial_that_hangs_later(autojump_clock: trio.testing.MockClock) -> None:
    dials = 0

    async def dial(host: str, port: int) -> trio.abc.Stream:
        nonlocal dials
        dials += 1
        if dials > 1:
            await trio.sleep_forever()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(meet, theirs)
        return ours

    async def meet(stream: trio.abc.Stream) -> None:
        with suppress(ScriptFailed):
            await played(converse)(stream)

    async with trio.open_nursery() as nursery:
        found = [one async for one in check_peer(NodeAddress(identity(1), "there"), dial=dial)]
        nursery.cancel_scope.cancel()
    assert {one.verdict for one in found} == {Verdict.UNKNOWN}
    assert found[0].seen == "no connection within 10 seconds"
    assert trio.current_time() <= 10 * len(CHECKS)


async def test_dials_that_are_refused_in_the_middle(autojump_clock: trio.testing.MockClock) -> None:
    """A node that limits us: what it was not asked, it is not accused of, and what it was is told."""
    found = list((await findings(played(converse), dials=4)).values())
    assert [one.verdict for one in found[:3]] == [Verdict.KEEPS] * 3
    assert {(one.verdict, one.seen) for one in found[3:]} == {(Verdict.UNKNOWN, "too many")}
    assert len(found) == len(CHECKS)


async def test_a_handshake_that_is_refused_in_the_middle(autojump_clock: trio.testing.MockClock) -> None:
    """The same by a node that accepts and hangs up."""
    accepted = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal accepted
        accepted += 1
        await (played(converse)(stream) if accepted <= 4 else stream.aclose())

    found = await findings(serve)
    late = [one for one in list(found.values())[3:] if one.verdict is not Verdict.UNKNOWN]
    # Of these two, what is asked is the handshake itself.
    assert {one.rule for one in late} == {
        "takes a handshake byte by byte",
        "closes for another version of the handshake",
    }


async def test_who_hangs_up_on_everybody_keeps_nothing_by_it(autojump_clock: trio.testing.MockClock) -> None:
    async def close(peer: ScriptedPeer) -> None:
        await greet(peer)

    found = await findings(played(close))
    assert found["talks to us after both Inits"].seen == "closed"
    assert {one.verdict for one in found.values() if "closes" in one.rule or "refuses" in one.rule} == {Verdict.UNKNOWN}
    assert [one.rule for one in found.values() if one.verdict is Verdict.KEEPS] == ["sends Init first, and of itself"]


def limited(burst: float, words: bytes | None) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """As LND does it: so many pings at once, ten a second, and then it closes."""

    async def behaviour(peer: ScriptedPeer) -> None:
        await greet(peer)
        tokens, at = burst, trio.current_time()
        while (got := await peer.receive()) is not None:
            if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
                now = trio.current_time()
                tokens, at = min(burst, tokens + (now - at) * 10) - 1, now
                if tokens < 0:
                    if words is not None:
                        await peer.send(Warning(data=words))
                    return
                await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))

    return played(behaviour)


READING, WRITING = (f"changes its key for {what} after 500 messages" for what in ("reading", "writing"))


async def test_polite_limits_of_pings_are_kept(autojump_clock: trio.testing.MockClock) -> None:
    found = await findings(limited(5, None), thorough=True)
    assert found[READING].verdict is found[WRITING].verdict is Verdict.KEEPS


async def test_a_limit_that_is_said_is_no_broken_rule(autojump_clock: trio.testing.MockClock) -> None:
    async def stricter(stream: trio.abc.Stream) -> None:
        async def behaviour(peer: ScriptedPeer) -> None:
            await greet(peer)
            for _ in range(400):
                got = await peer.receive()
                if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
                    await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))
            if words:
                await peer.send(Warning(data=words))

        await played(behaviour)(stream)

    words = b"Too many messages"
    found = await findings(stricter, thorough=True)
    assert (found[READING].verdict, found[WRITING].verdict) == (Verdict.UNKNOWN, Verdict.UNKNOWN)
    assert found[WRITING].seen.startswith("warning 'Too many messages', ")
    assert found[WRITING].seen.endswith(" after 399 pongs")
    words = b""
    found = await findings(stricter, thorough=True)
    assert (found[READING].verdict, found[WRITING].verdict) == (Verdict.BREAKS, Verdict.BREAKS)


async def test_gossip_that_was_not_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    def announcement(number: int) -> NodeAnnouncement:
        return NodeAnnouncement(
            signature=bytes(64),
            features=b"",
            timestamp=1,
            node_id=identity(number),
            rgb_color=bytes(3),
            alias=bytes(32),
            addresses=b"",
        )

    def telling(*messages: Message) -> Callable[[trio.abc.Stream], Awaitable[None]]:
        async def behaviour(peer: ScriptedPeer) -> None:
            await greet(peer)
            await peer.send(*messages)
            while (got := await peer.receive()) is not None:
                if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
                    await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))

        return played(behaviour)

    rule = "sends no gossip of others before a filter"
    channel = ChannelAnnouncement(
        node_signature_1=bytes(64),
        node_signature_2=bytes(64),
        bitcoin_signature_1=bytes(64),
        bitcoin_signature_2=bytes(64),
        features=b"",
        chain_hash=bytes(32),
        short_channel_id=ShortChannelId.of(103, 1, 0),
        node_id_1=identity(1),
        node_id_2=identity(2),
        bitcoin_key_1=identity(3),
        bitcoin_key_2=identity(4),
    )
    found = await findings(telling(announcement(1), channel))
    assert found[rule].verdict is Verdict.KEEPS
    for others in (announcement(2), channel.replace(node_id_1=identity(3))):
        found = await findings(telling(others))
        assert (found[rule].verdict, found[rule].seen) == (Verdict.BREAKS, f"sends a {others.name} of others")


class Kept(Descriptor):
    """What is called after the end changes nothing."""

    def send_data(self, data: bytes, resume_read: bool) -> int:
        return len(data) if self.ended else super().send_data(data, resume_read)

    def disconnect_socket(self) -> None:
        self.ended = True


async def test_descriptors() -> None:
    check_descriptor(Kept)
    check_descriptor(lambda: Kept(room=10))

    def ours() -> StreamDescriptor:
        stream, _ = trio.testing.memory_stream_pair()
        return StreamDescriptor(stream)

    check_descriptor(ours)


class TakesTooMuch(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return len(data) + 1 if data else 0


class TakesNothing(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return 1


class Fractions(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return float(len(data))  # type: ignore[return-value]


class Truths(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return bool(data)


class Forgets(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return len(data) or None  # type: ignore[return-value]


class Raises(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        raise OSError("no route\nto it")


class RaisesInEnd(Kept):
    def disconnect_socket(self) -> None:
        raise RuntimeError("not now")


class EndsOnce(Kept):
    def disconnect_socket(self) -> None:
        if self.ended:
            raise ValueError("ended")
        self.ended = True


class RaisesAfterEnd(Kept):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        if self.ended:
            raise OSError("closed")
        return len(data)


class EqualsAll(Kept):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class SameKind(Kept):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameKind)

    def __hash__(self) -> int:
        return 1


class RaisesForOthers(Kept):
    def __eq__(self, other: object) -> bool:
        return self.out is other.out  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return 1


class HashMoves(Kept):
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return self.calls


class EqualWhileItLives(Kept):
    def __eq__(self, other: object) -> bool:
        return self is other and not self.ended

    def __hash__(self) -> int:
        return 1


class NoDescriptor:
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return 0

    def disconnect_socket(self) -> None:
        pass


BROKEN: list[tuple[Any, str]] = [
    (TakesTooMuch, "send_data of 1 bytes takes from 0 to 1 bytes, not 2"),
    (TakesNothing, "empty data is never taken"),
    (Fractions, "returns an int, not 0.0"),
    (Truths, "returns an int, not False"),
    (Forgets, "returns an int, not None"),
    (Raises, r"send_data of 0 bytes raises OSError: no route\\nto it"),
    (RaisesInEnd, "disconnect_socket raises RuntimeError: not now"),
    (EndsOnce, "disconnect_socket a second time raises ValueError: ended"),
    (RaisesAfterEnd, "send_data of 1 bytes after the end raises OSError: closed"),
    (EqualsAll, "equals another object from the beginning"),
    (SameKind, "descriptors of two connections differ"),
    (RaisesForOthers, r"descriptor == object\(\) raises AttributeError"),
    (HashMoves, "its hash changes after send_data of 0 bytes"),
    (EqualWhileItLives, "does not equal itself after disconnect_socket"),
    (NoDescriptor, "no SocketDescriptor but a NoDescriptor"),
    (lambda: None, "no SocketDescriptor but a NoneType"),
]


@pytest.mark.parametrize(("kind", "words"), BROKEN)
def test_descriptors_that_break_their_promise(kind: Callable[[], SocketDescriptor], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_descriptor(kind)


def test_one_descriptor_for_two_connections() -> None:
    one = Kept()
    with pytest.raises(AssertionError, match="differ"):
        check_descriptor(lambda: one)


def test_who_wants_to_end_a_check_ends_it() -> None:
    class Interrupted(Kept):
        def send_data(self, data: bytes, resume_read: bool) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_descriptor(Interrupted)
