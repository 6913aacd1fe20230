"""The shipped checks: against ourselves, against what breaks rules, and as the command that people run."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NoReturn

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, port_of
from tests.test_peer_manager import Descriptor
from triolight import (
    ConnectError,
    DisconnectCode,
    Features,
    NodeAddress,
    RoutingMessageHandler,
    StreamDescriptor,
    open_peer_nursery,
)
from triolight.messages import (
    BOLT,
    Init,
    Message,
    Ping,
    Pong,
    QueryChannelRange,
    ReplyChannelRange,
    Warning,
    message,
)
from triolight.testing import (
    Finding,
    ScriptedPeer,
    ScriptFailed,
    Verdict,
    check_descriptor,
    check_peer,
    scripted_peer,
)
from triolight.testing.conformance import CHECKS


class Queries(RoutingMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


async def findings(serve: Callable[[trio.abc.Stream], Awaitable[object]]) -> dict[str, Finding]:
    """Of a node that does this with each connection, in memory."""

    async def meet(stream: trio.abc.Stream) -> None:
        with suppress(ScriptFailed, ConnectError):
            await serve(stream)

    async def dial(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(meet, theirs)
        return ours

    async with trio.open_nursery() as nursery:
        found = {one.rule: one async for one in check_peer(NodeAddress(identity(1), "there"), dial=dial)}
        nursery.cancel_scope.cancel()
    return found


async def test_we_keep_every_rule() -> None:
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(1, route=Queries())) as peers:
            address = NodeAddress(identity(1), "127.0.0.1", await port_of(peers))
            found = {one.rule: one async for one in check_peer(address, patience=20)}
            assert not peers.statistics().kept
    assert list(found) == [rule for rule, _, _ in CHECKS]
    assert [str(one) for one in found.values() if one.verdict in (Verdict.BREAKS, Verdict.UNKNOWN)] == []
    assert found["answers query_channel_range"].seen == "0 channels, sync_complete 1"
    assert found["gossip that cannot be read"].seen.startswith("warning 'unreadable gossip")
    assert found["a second Init"].seen.endswith("closed")
    assert "closed after warning" in found["closes for an unknown even message"].seen


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
                [*CHECK, "--patience", str(patience), str(address)],
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
    with pytest.raises(ConnectError, match="ADDRESS_REFUSED"):
        await anext(check_peer(NodeAddress(identity(1), ONION)))
    for bad in ("foo.onion", f"{ONION}."):
        with pytest.raises(ValueError, match="not a version 3 onion name"):
            await anext(check_peer(NodeAddress(identity(1), bad)))


def played(
    behaviour: Callable[[ScriptedPeer], Awaitable[None]], handshake: bool = True
) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A node that follows a script."""

    async def serve(stream: trio.abc.Stream) -> None:
        async with scripted_peer(stream, secret=bytes([1]) * 32, handshake=handshake) as peer:
            await behaviour(peer)

    return serve


KEPT_BY_CHANCE = {
    "refuses an unknown even record in Init",
    "refuses records out of order in Init",
    "changes keys after 500 messages",
    "sends Init first, and of itself",
    "closes for another version of the handshake",
    "closes for a packet with a wrong tag",
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

    found = await findings(played(chatter))
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
        if act[0] == 0:
            await peer.send_bytes(peer.answer_act(act))
        await trio.sleep_forever()

    found = await findings(played(patient, handshake=False))
    assert found["closes for another version of the handshake"].verdict is Verdict.BREAKS
    assert found["closes for another version of the handshake"].seen.startswith("the connection was not closed")


CHECK = [sys.executable, "-m", "triolight.cli", "check"]


async def test_the_command() -> None:
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(1, route=Queries())) as peers:
            address = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            done = await trio.run_process([*CHECK, "--json", address], capture_stdout=True, capture_stderr=True)
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            assert [line["rule"] for line in lines] == [rule for rule, _, _ in CHECKS]
            assert {line["verdict"] for line in lines} == {"keeps", "may"}
            assert b"keeps" in done.stderr
        nobody = await trio.run_process([*CHECK, address], capture_stderr=True, check=False)
        assert nobody.returncode == 3
        assert b"cannot reach" in nobody.stderr


async def test_the_command_says_when_a_rule_is_broken() -> None:
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(1, messages=BOLT | {Even})) as peers:
            address = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            done = await trio.run_process(
                [*CHECK, "--patience", "1", address], capture_stdout=True, capture_stderr=True, check=False
            )
            assert done.returncode == 5
            assert b"breaks  BOLT 1  closes for an unknown even message: stays connected" in done.stdout


async def test_descriptors() -> None:
    check_descriptor(Descriptor)
    check_descriptor(lambda: Descriptor(room=10))

    def ours() -> StreamDescriptor:
        stream, _ = trio.testing.memory_stream_pair()
        return StreamDescriptor(stream)

    check_descriptor(ours)


class TakesTooMuch(Descriptor):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return len(data) + 1 if data else 0


class TakesNothing(Descriptor):
    def send_data(self, data: bytes, resume_read: bool) -> int:
        return 1


class EqualsAll(Descriptor):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("kind", "words"), [(TakesTooMuch, "from 0 to"), (TakesNothing, "empty data"), (EqualsAll, "differ")]
)
def test_descriptors_that_break_their_promise(kind: type[Descriptor], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_descriptor(kind)
