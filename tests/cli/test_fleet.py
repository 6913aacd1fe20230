"""``triolight fleet show``: an empty fleet, and an engine that is away; tests/cli/test_front.py has a whole one."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import trio
from click.testing import CliRunner

from tests.support import identity
from tests.support.engines import open_server
from tests.support.fleets import BACK, CONFIG, FRONT, OTHER
from tests.support.processes import Running, run, unread
from triolight.cli.group import cli
from triolight.cluster.collecting import PART
from triolight.cluster.redis import open_bus


async def test_a_fleet_that_never_was() -> None:
    with open_server(starts=False) as server:
        server.start()
        await server.answers()
        code, lines, errors = run("fleet", "show", "--engine", server.url, "--fleet", "other")
        assert (code, errors) == (0, "")
        assert lines[:3] == ["fleet other, node unknown, 0 nodes connected", "no back", "no fronts"]
        assert lines[3].endswith("of all that there are, noeviction when it is full")


async def test_all_that_a_keeper_wants_to_know() -> None:
    with open_server(starts=False) as server:
        server.start("--maxmemory", "64mb")
        await server.answers()
        async with open_bus(server.url) as bus, open_bus(server.url, part=PART) as collector:
            long = CONFIG.replace(lease=50_000, engine_grace=50_000)
            assert await bus.enter_back(BACK, long)
            assert await bus.enter_front("one", FRONT, BACK, "one.example:9735")
            assert await bus.enter_front("two", OTHER, BACK, "")
            await bus.renew_front("one", FRONT, 7)
            await bus.fence("two", OTHER, BACK)
            await bus.claim("one", FRONT, identity(1), identity(2), 1, True)
            await bus.append_up("one", FRONT, 0, 6554, bytes(100))
            assert await collector.enter_back(BACK, long)
            assert await collector.enter_front("worker", FRONT, BACK, "")
            # A worker goes on under the next writer.
            await collector.leave_back(BACK)
            assert await collector.enter_back(OTHER, CONFIG)
        code, lines, _ = await trio.to_thread.run_sync(run, "fleet", "show", "--engine", server.url)
        assert code == 0
        assert lines[0] == f"fleet main, node {identity(1).hex()}, 1 nodes connected"
        assert lines[1].startswith("back: renewed ")
        assert re.fullmatch(
            r"front one at one.example:9735: serving, renewed .* s ago, 7 peers, lag up 6554 records of 100 bytes "
            r"\(10% of the window\), down 0 records of 0 bytes \(0% of the window\)",
            lines[2],
        )
        assert lines[3].startswith("front two: fenced, ")
        assert lines[4:6] == ["collector, 0 nodes connected", lines[5]]
        assert lines[5].startswith("writer: renewed ")
        assert lines[6].startswith("worker worker: serving, ")
        assert " of 67,108,864, noeviction" in lines[7]
        _, lines, _ = await trio.to_thread.run_sync(run, "fleet", "show", "--engine", server.url, "--json")
        shown = json.loads(lines[0])
        assert (shown["claims"], shown["back"]["alive"], shown["engine"]["max_bytes"]) == (1, True, 64 << 20)
        assert [(one["id"], one["state"], one["peers"]) for one in shown["fronts"]] == [
            ("one", "serving", 7),
            ("two", "fenced", 0),
        ]
        assert shown["fronts"][0]["up"] == {"bytes": 100, "records": 6554, "window": 0.1}
        assert [one["id"] for one in shown["collector"]["workers"]] == ["worker"]


async def test_exit_codes_of_a_reader_that_has_left_and_of_who_does_not_wait() -> None:
    with open_server(starts=False) as server:
        server.start()
        await server.answers()
        with unread() as pipe:
            assert run("fleet", "show", "--engine", server.url, stdout=pipe)[0] == 141
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Running("fleet", "show", "--engine", f"redis://127.0.0.1:{silent.getsockname()[1]}") as waiting,
        silent.accept()[0],
    ):
        waiting.interrupt()
        assert waiting.finish() == (130, [])


def test_an_engine_that_does_not_answer(tmp_path: Path) -> None:
    code, lines, errors = run("fleet", "show", "--engine", f"unix://{tmp_path}/s")
    assert (code, lines) == (3, [])
    assert "the engine does not answer" in errors


def test_a_password_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"\xff")
    done = CliRunner().invoke(
        cli, ["fleet", "show", "--engine", "redis://127.0.0.1", "--engine-password-file", str(path)]
    )
    assert done.exit_code == 2
    assert "--engine-password-file" in done.stderr
