"""`triolight check`, as people run it."""

from __future__ import annotations

import json
import signal
import socket

import pytest
import trio

from tests.support import identity, make_manager, port_of
from tests.support.processes import COMMAND, SIGNALS, Running, listening, run, unread
from triolight import Features, RoutingMessageHandler, open_peer_nursery
from triolight.messages import BOLT, Message, message
from triolight.testing.questions import CHECKS

CHECK = [*COMMAND, "check"]


class Queries(RoutingMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


@message(0xFFFA)
class Even(Message):
    """To know this type is not to close for it."""


async def test_the_command() -> None:
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(1, route=Queries())) as peers:
            address = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            done = await trio.run_process([*CHECK, "--json", address], capture_stdout=True, capture_stderr=True)
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            assert [line["rule"] for line in lines] == [one.rule for one in CHECKS]
            assert {line["verdict"] for line in lines} == {"keeps", "may"}
            assert b"keeps" in done.stderr
        nobody = await trio.run_process([*CHECK, address], capture_stderr=True, check=False)
        assert nobody.returncode == 3
        assert nobody.stderr.decode() == f"Error: cannot reach {address}: Connection refused\n"


async def test_the_command_says_when_a_rule_is_broken() -> None:
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(1, messages=BOLT | {Even})) as peers:
            address = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            done = await trio.run_process(
                [*CHECK, "--patience", "1", address], capture_stdout=True, capture_stderr=True, check=False
            )
            assert done.returncode == 5
            assert b"breaks  BOLT 1  closes for an unknown even message: stays connected" in done.stdout


def test_exit_code_4_for_another_node() -> None:
    with listening() as (_, address):
        code, lines, errors = run("check", identity(1).hex() + address[66:])
    assert (code, lines) == (4, [])
    assert errors.startswith("failed: CLOSED_IN_HANDSHAKE")
    assert f" {address[67:]} hung up in the handshake: most often another node id lives at this address" in errors


def test_exit_code_6_for_silence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{identity(1).hex()}@127.0.0.1:{silent.getsockname()[1]}"
        code, lines, errors = run("check", address, "--patience", "0.2")
    assert (code, lines) == (6, [])
    assert errors.startswith("failed: HANDSHAKE_TIMEOUT")
    assert f" with {address[67:]} within" in errors


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
def test_interrupting_check(number: signal.Signals, exits: int) -> None:
    with listening() as (_, address), Running("check", address) as check:
        check.line("keeps")
        check.interrupt(number)
        assert check.finish()[0] == exits
        assert "Traceback" not in check.errors


def test_output_that_nobody_takes_is_no_node_that_cannot_be_reached() -> None:
    with listening() as (_, address):
        with unread() as pipe:
            assert run("check", address, stdout=pipe) == (141, [], "")
        with open("/dev/full", "wb") as full:
            code, _, errors = run("check", address, stdout=full)
        assert (code, errors) == (2, "Error: cannot write: No space left on device\n")
