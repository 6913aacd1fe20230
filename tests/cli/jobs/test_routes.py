"""--graph: a file's ways for onion messages, what is no such file, and both commands over several nodes of one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import pytest
import trio

from tests.support import identity, port_of
from tests.support.gossip_files import unpacked
from tests.support.messengers import answering, nodes, place_of, row_of
from tests.support.onions import random
from tests.support.processes import COMMAND, PATIENCE
from tests.support.sellers import offer_of, seller
from triolight.cli.jobs.routes import routes_of
from triolight.gossip.formats.gsp import write_gsp
from triolight.onion import blind_route
from triolight.services import OnionReceived


@pytest.fixture
def row(tmp_path: Path) -> str:
    """The file of a row of four nodes."""
    path = tmp_path / "row.gsp"
    path.write_bytes(b"".join(write_gsp(row_of(4))))
    return str(path)


def test_what_a_file_says(row: str) -> None:
    routes = routes_of(Path(row))
    assert routes is not None
    assert routes.route(identity(4), [identity(1)]) == [identity(number) for number in (1, 2, 3, 4)]
    assert {routes.resolve(place_of(2), direction) for direction in (0, 1)} == {identity(2), identity(3)}
    assert routes_of(None) is None


def test_a_file_that_says_nothing_signed(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_bytes(unpacked("describegraph_LN_10.json"))
    with pytest.raises(click.BadParameter, match="without signed messages"):
        routes_of(path)
    path.write_bytes(b"nothing")
    with pytest.raises(click.BadParameter, match=r"graph\.json"):
        routes_of(path)


async def run(*arguments: str) -> tuple[int, bytes, bytes]:
    with trio.fail_after(PATIENCE):
        done = await trio.run_process([*COMMAND, *arguments], capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, done.stdout, done.stderr


async def test_o35_messages_go_over_the_nodes_of_a_graph(row: str) -> None:
    async def echo(received: OnionReceived) -> None:
        await received.reply(extra={79: b"back"})

    async with nodes(3) as (one, two, three), answering(three, echo):
        via = f"{one.id.hex()}@127.0.0.1:{await port_of(one.peers)}"
        asked = ("onion", "send", three.id.hex(), "77", "00", "--reply", "--json")
        code, out, err = await run(*asked, "--via", via, "--graph", row)
        assert (code, err, json.loads(out)["payload"]) == (0, b"", b"back".hex())
        assert two.onions.statistics().forwarded == 2
        # What there is no way to is named.
        code, out, err = await run("onion", "send", identity(5).hex(), "77", "00", "--graph", row)
        words = f"no way: {identity(5).hex()} is no peer that takes onion messages, and the graph has no route to it"
        assert (code, out) == (3, b"")
        assert words.encode() in err


async def test_o19_an_offer_whose_path_begins_at_a_channel(row: str) -> None:
    async with nodes(3) as (one, two, three), answering(three, seller(3, time.time())):
        via = f"{one.id.hex()}@127.0.0.1:{await port_of(one.peers)}"
        path = blind_route(random(6), [two.id, three.id])
        direction = 0 if two.id < three.id else 1
        begins = bytes([direction]) + place_of(2).to_bytes(8, "big")
        offer = offer_of(3, offer_paths=(path.replace(first_node_id=begins),)).encode()
        arguments = ("offer", "fetch-invoice", offer, "--via", via, "--chain", "bitcoin", "--json")
        code, _, err = await run(*arguments)
        assert code == 3
        assert b"begins at channel 102x1x0, which is not known" in err
        code, out, err = await run("offer", "fetch-invoice", offer, "--via", via, "--graph", row, "--json")
        assert (code, err) == (0, b"")
        assert json.loads(out)["amount_msat"] == 1000
