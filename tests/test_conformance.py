"""The shipped checks: against ourselves, against what breaks rules, and as the command that people run."""

from __future__ import annotations

import json
import sys

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, port_of
from tests.test_peer_manager import Descriptor
from triolight import Features, NodeAddress, PeerManager, RoutingMessageHandler, StreamDescriptor, open_peer_nursery
from triolight.messages import BOLT, Message, message
from triolight.testing import Finding, Verdict, check_descriptor, check_peer
from triolight.testing.conformance import CHECKS


class Queries(RoutingMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


async def findings(manager: PeerManager, patience: float = 20) -> dict[str, Finding]:
    async with open_peer_nursery(manager) as peers:
        address = NodeAddress(identity(1), "127.0.0.1", await port_of(peers))
        found = {one.rule: one async for one in check_peer(address, patience=patience)}
        assert not peers.statistics().kept
    return found


async def test_we_keep_every_rule() -> None:
    with trio.fail_after(60):
        found = await findings(make_manager(1, route=Queries()))
    assert list(found) == [rule for rule, _, _ in CHECKS]
    assert [str(one) for one in found.values() if one.verdict in (Verdict.BREAKS, Verdict.UNKNOWN)] == []
    assert found["answers query_channel_range"].seen == "0 channels, sync_complete 1"
    assert found["gossip that cannot be read"].seen.startswith("warning 'unreadable gossip")
    assert found["a second Init"].seen.endswith("closed")
    assert "closed after warning" in found["closes for an unknown even message"].seen


@message(0xFFFA)
class Even(Message):
    """To know this type is not to close for it."""


async def test_what_breaks_a_rule_is_found() -> None:
    with trio.fail_after(60):
        found = await findings(make_manager(1, messages=BOLT | {Even}), patience=4)
    assert found["closes for an unknown even message"].verdict is Verdict.BREAKS
    assert found["closes for an unknown even message"].seen == "stays connected"
    assert found["answers query_channel_range"].verdict is Verdict.UNKNOWN
    assert sum(one.verdict is Verdict.BREAKS for one in found.values()) == 1


async def test_what_is_no_node_breaks_them_all() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.aclose()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, hang_up, 0)
            address = NodeAddress(identity(1), "127.0.0.1", listeners[0].socket.getsockname()[1])
            found = [one async for one in check_peer(address)]
            nursery.cancel_scope.cancel()
    assert {one.verdict for one in found} <= {Verdict.BREAKS, Verdict.UNKNOWN, Verdict.KEEPS}
    assert found[0].verdict is Verdict.BREAKS
    assert sum(one.verdict is Verdict.BREAKS for one in found) > 15


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
                [*CHECK, "--patience", "4", address], capture_stdout=True, capture_stderr=True, check=False
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
