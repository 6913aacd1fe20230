"""``triolight lsps protocols``, ``lsps call`` and ``lsps info`` as their users have them: processes, and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.support import identity, make_manager, port_of
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, unread
from tests.support.providers import examples
from triolight import open_peer_nursery
from triolight.cli import cli
from triolight.lsps import JsonText, LspsCode, LspsError
from triolight.messages import BOLT, LSPS0
from triolight.services import LspsServer

ID = identity(1).hex()
NOBODY = f"{ID}@127.0.0.1:1"
(MENU,) = examples(2, "opening_fee_params_menu")
(ORDER,) = examples(1, "order_id", "payment")


class Provider:
    """A provider, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.silent = trio.Event()

    def heard(self, result: Any) -> Any:
        def answer(node_id: bytes, params: dict[str, Any]) -> Any:
            self.asked.append(params)
            if params.get("token") == "bad":
                raise LspsError(LspsCode.FEE_TOKEN, "\x1b[2Jno such token")
            return result

        return answer

    async def nothing(self, node_id: bytes, params: dict[str, Any]) -> dict[str, Any]:
        self.silent.set()
        await trio.sleep_forever()
        raise AssertionError

    def server(self) -> LspsServer:
        return LspsServer(
            {
                "lsps1.get_info": self.heard(examples(1, "supports_zero_channel_reserve")[0]),
                "lsps1.create_order": self.heard(ORDER),
                "lsps2.get_info": self.heard(MENU),
                "lsps2.buy": self.heard({"jit_channel_scid": "1x2x3", "lsp_cltv_expiry_delta": 144, "x": "\u009b2J"}),
                "own.silent": self.nothing,
            }
        )


@asynccontextmanager
async def a_provider(server: LspsServer, number: int = 1) -> AsyncGenerator[str]:
    manager = make_manager(number, custom=server, messages=BOLT | {LSPS0})
    async with server, open_peer_nursery(manager) as peers:
        yield f"{identity(number).hex()}@127.0.0.1:{await port_of(peers)}"


async def lsps(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "lsps", *arguments]
    given: dict[str, Any] = {"capture_stdout": True, **options}
    with trio.fail_after(PATIENCE):
        return await trio.run_process(command, capture_stderr=True, check=False, **given)


async def test_what_a_provider_says() -> None:
    provider = Provider()
    async with a_provider(provider.server()) as node:
        done = await lsps("protocols", node, "--json")
        assert (done.returncode, done.stderr, json.loads(done.stdout)) == (0, b"", {"protocols": [1, 2]})
        line = json.dumps(MENU["opening_fee_params_menu"][0])
        done = await lsps("call", "lsps2.buy", node, f"opening_fee_params={line}", "payment_size_msat=42000")
        assert (done.returncode, done.stderr) == (0, b"")
        assert b'"\\u009b2J"' in done.stdout  # a terminal is told nothing
        assert provider.asked == [{"opening_fee_params": json.loads(line), "payment_size_msat": "42000"}]


@pytest.mark.parametrize("as_json", [True, False])
async def test_what_a_provider_sells(as_json: bool) -> None:
    async with a_provider(Provider().server()) as node:
        done = await lsps("info", node, *(["--json"] if as_json else []))
    assert (done.returncode, done.stderr) == (0, b"")
    if as_json:
        assert json.loads(done.stdout) == {
            "protocols": [1, 2],
            "lsps1": examples(1, "supports_zero_channel_reserve")[0],
            "lsps2": {"opening_fee_params_menu": MENU["opening_fee_params_menu"]},
        }
    else:
        lines = done.stdout.decode().splitlines()
        assert lines[0] == "protocols: LSPS1, LSPS2"
        assert [line.partition(":")[0] for line in lines[1:]] == ["LSPS1", "LSPS2", "LSPS2"]
        assert lines[2].endswith("the opening costs 1200 ppm, and at least 546000 msat; until 2023-02-23 08:47:30 UTC")


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, Any]:
    """The exit code, and what would be sent."""
    sent: list[Any] = []

    def show_call(plan: Any, method: str, params: dict[str, Any]) -> int:
        sent.extend((method, params))
        return 0

    monkeypatch.setattr("triolight.cli.jobs.lsps.show_call", show_call)
    done = CliRunner().invoke(cli, ["lsps", *arguments])
    return done.exit_code, tuple(sent)


def test_each_value_is_what_its_parameter_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of methods that nobody knows, what JSON makes of it."""
    given = ["lsp_balance_sat=5000000", "channel_expiry_blocks=144", "announce_channel=true", "token=x=y", "z=1"]
    assert called(monkeypatch, "call", "lsps1.create_order", NOBODY, *given) == (
        0,
        (
            "lsps1.create_order",
            {
                "lsp_balance_sat": "5000000",
                "channel_expiry_blocks": 144,
                "announce_channel": True,
                "token": "x=y",
                "z": 1,
            },
        ),
    )
    params: dict[str, Any] = {"token": "7"}
    assert called(monkeypatch, "call", "lsps2.get_info", NOBODY, "token=7") == (0, ("lsps2.get_info", params))
    text = json.dumps(MENU["opening_fee_params_menu"][0])
    _, (_, params) = called(monkeypatch, "call", "lsps2.buy", NOBODY, f"opening_fee_params={text} ")
    assert params == {"opening_fee_params": JsonText(f"{text} ")}
    given = ["a=7", 'b="7"', "c=x", "d=[null]", "method=m", "e="]
    params = {"a": 7, "b": "7", "c": "x", "d": [None], "method": "m", "e": ""}
    assert called(monkeypatch, "call", "own.method", NOBODY, *given) == (0, ("own.method", params))


async def test_exit_code_1_where_it_says_no() -> None:
    provider = Provider()
    server = provider.server()
    async with a_provider(server) as node:
        done = await lsps("call", "lsps2.get_info", node, "token=bad")
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"(200): '\\x1b[2Jno such token'" in done.stderr
        before = server.statistics().requests
        # Not sent: some providers answer nothing after it.
        done = await lsps("call", "lsps5.list_webhooks", node)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"does not list LSPS5" in done.stderr
        assert server.statistics().requests == before + 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["protocols", "nobody"],
        ["info"],
        ["call", "a\nb", NOBODY],
        ["call", "lsps2.get_info", NOBODY, "token"],
        ["call", "lsps2.get_info", NOBODY, "=x"],
        ["call", "lsps2.get_info", NOBODY, "a=1", "a=2"],
        ["call", "lsps2.buy", NOBODY, "payment_size_msat=many"],
        ["call", "own.method", NOBODY, "a=" + "x" * 65_533],
        ["call", "own.method", NOBODY, "a=\ud800"],
        ["call", "lsps2.buy", NOBODY, "opening_fee_params=" + "[" * 60_000],
    ],
    ids=lambda arguments: " ".join(arguments)[:40].encode("ascii", "replace").decode(),
)
def test_exit_code_2_for_what_is_no_call(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, *arguments) == (2, ())


async def test_exit_codes_3_and_4_for_who_is_not_there() -> None:
    assert (await lsps("protocols", NOBODY)).returncode == 3
    async with a_provider(LspsServer({}), number=2) as node:
        other = ID + node[len(ID) :]
        assert (await lsps("info", other)).returncode == 4


async def test_exit_code_5_for_what_is_no_answer_and_for_who_hangs_up() -> None:
    provider = Provider()
    server = LspsServer({"lsps2.get_info": provider.heard({"opening_fee_params_menu": [{"\x1b": 1}]})})
    async with a_provider(server) as node:
        done = await lsps("info", node)
        assert (done.returncode, done.stdout) == (5, b"")
        assert b"is missing" in done.stderr
    provider = Provider()
    server = provider.server()
    async with server, open_peer_nursery(make_manager(1, custom=server, messages=BOLT | {LSPS0})) as peers:

        async def hang_up() -> None:
            await provider.silent.wait()
            (peer,) = peers.peers.values()
            await peer.disconnect(reason="enough")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up)
            done = await lsps("call", "own.silent", f"{ID}@127.0.0.1:{await port_of(peers)}")
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"enough" in done.stderr


async def test_exit_code_6_where_nothing_comes() -> None:
    async with open_peer_nursery(make_manager(1)) as peers:  # no provider
        done = await lsps("protocols", f"{ID}@127.0.0.1:{await port_of(peers)}", "--seconds", "0.2")
    assert (done.returncode, done.stdout, done.stderr) == (6, b"", b"no answer within 0.2 s\n")


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_a_signal_ends_the_waiting(number: signal.Signals, code: int) -> None:
    provider = Provider()
    async with a_provider(provider.server()) as node:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                command = [*COMMAND, "lsps", "call", "own.silent", node]
                process = await nursery.start(partial(trio.run_process, command, check=False))
                await provider.silent.wait()
                process.send_signal(number)
    assert process.returncode == code


async def test_exit_code_141_for_a_reader_that_has_left() -> None:
    async with a_provider(LspsServer({})) as node:
        with unread() as pipe:
            done = await lsps("protocols", node, capture_stdout=False, stdout=pipe)
    assert done.returncode == 141
