"""check_peer: we keep every rule; what is not the node is accused of nothing; the command that people run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NoReturn

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, port_of
from tests.support.processes import COMMAND
from tests.support.scenes import Queries, findings
from triolight import ConnectError, DisconnectCode, NodeAddress, open_peer_nursery
from triolight.testing import ScriptFailed, Verdict, check_peer, scripted_peer
from triolight.testing.questions import CHECKS, REKEY_PINGS, THOROUGH


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
