"""The examples as users run them: each is a process that ends by itself, says what it should, and warns of nothing."""

from __future__ import annotations

import ast
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import trio

from tests.support import gossip, identity, make_manager, port_of, secret
from tests.support.engines import open_server
from tests.support.gossip import NOW, channel, update
from tests.support.gossip import node as announcement
from tests.support.processes import PATIENCE, Running, lines_of, listening, python
from triolight import Features, NullLogger, RoutingMessageHandler, SendMessages, node_id, open_peer_nursery, open_peers
from triolight.chains import REGTEST
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync
from triolight.gossip.policy import ServePolicy
from triolight.messages import BOLT, ChannelUpdate, GossipTimestampFilter, UnknownMessage
from triolight.onion import Invoice, InvoiceRequest, Offer
from triolight.services import open_graph_store
from triolight.services.record import ANSWER, HISTORY, PUSHED, RecordBatch, RecordWriter, SessionFacts
from triolight.wire import ShortChannelId

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def run_example(name: str, *arguments: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


class Gives(RoutingMessageHandler):
    """All the gossip that it has, one channel_update, to whoever asks for everything."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.update = ChannelUpdate(
            signature=bytes(64),
            chain_hash=bytes(32),
            short_channel_id=ShortChannelId(number),
            timestamp=number,
            message_flags=1,
            channel_flags=0,
            cltv_expiry_delta=40,
            htlc_minimum_msat=1,
            fee_base_msat=1000,
            fee_proportional_millionths=1,
            htlc_maximum_msat=10**9,
        )

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")

    def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> None:
        if (message.first_timestamp, message.timestamp_range) == (0, 0xFFFFFFFF):
            self.push(SendMessages(node_id, self.update))


async def test_collector_collects_from_all_and_comes_back() -> None:
    begun, times = time.time_ns(), list[int]()
    here, there = Gives(2), Gives(3)
    async with open_peer_nursery(make_manager(2)) as free:
        port = await port_of(free)
    async with open_peer_nursery(make_manager(3, route=there)) as second:
        at = {2: port, 3: await port_of(second)}
        async with python(
            str(EXAMPLES / "collector.py"), *[f"{identity(number).hex()}@127.0.0.1:{one}" for number, one in at.items()]
        ) as process:
            collected, said = lines_of(process.stdout), lines_of(process.stderr)

            async def next_update() -> tuple[str, object]:
                arrived, node, data = (await anext(collected)).split()
                times.append(int(arrived))
                return node, BOLT.decode(bytes.fromhex(data))

            async with open_peer_nursery(make_manager(2, route=here)) as first:
                await first.listen(port, host="127.0.0.1")
                found = dict([await next_update(), await next_update()])
                assert found == {identity(2).hex(): here.update, identity(3).hex(): there.update}
                connected = {f"{identity(number).hex()}: connected" for number in at}
                assert {await anext(said), await anext(said)} == connected
            assert (await anext(said)).startswith(f"{identity(2).hex()}: PEER_CLOSED")
            async with open_peer_nursery(make_manager(2, route=here)) as again:
                await again.listen(port, host="127.0.0.1")
                assert await anext(said) == f"{identity(2).hex()}: connected"
                assert await next_update() == (identity(2).hex(), here.update)
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 130
            assert [line async for line in collected] == []
            assert [line async for line in said] == []
    # Two peers' are told in their turns, which need not be the order in which they were read.
    assert begun <= min(times[:2])
    assert max(times[:2]) <= times[2] <= time.time_ns()


async def test_graph_is_fetched_kept_and_its_changes_are_printed(tmp_path: Path) -> None:
    stamp, place = int(time.time()) - 5000, ShortChannelId.of(200, 1, 0)
    graph = NetworkGraph(REGTEST)
    graph.load(gossip.channel(place), [gossip.update(place, 0, stamp), gossip.update(place, 1, stamp)])
    policy = GossipPolicy(relay_unchecked=True, serve=ServePolicy(flush_every=1))
    serving, path = P2PGossipSync(graph, policy=policy), tmp_path / "graph.db"
    async with open_peers(secret(2), route_handler=serving, networks="regtest", logger=NullLogger()) as peers:
        (listener,) = await peers.listen(0, host="127.0.0.1")
        address = f"{identity(2).hex()}@127.0.0.1:{listener.socket.getsockname()[1]}"
        async with python(str(EXAMPLES / "graph.py"), address, str(path), "regtest") as process:
            said = lines_of(process.stdout)
            assert await anext(said) == "1 channels, 2 updates, 2 nodes"
            serving.announce_own(ChannelUpdate.decode(gossip.update(place, 0, stamp + 100)))
            assert (await anext(said)).startswith(f"ChannelChanged <Channel {place} ")
            process.send_signal(signal.SIGINT)
            assert [line async for line in said] == []
            assert await process.wait() == 130
    kept = NetworkGraph(REGTEST)
    async with open_graph_store(path, kept):
        assert kept.channels[place].timestamp(0) == stamp + 100


def test_graph_says_why_there_is_no_connection(tmp_path: Path) -> None:
    code, lines, errors = run_example("graph.py", f"{identity(2).hex()}@127.0.0.1:1", str(tmp_path / "graph.db"))
    assert (code, lines) == (1, [])
    assert errors.startswith("no connection: TCP_FAILED")


async def test_a_back_answers_peers_of_a_front(tmp_path: Path) -> None:
    key = tmp_path / "node.key"
    key.write_text(secret(1).hex())
    key.chmod(0o600)
    with open_server(starts=False) as server:
        server.start()
        await server.answers()
        asked = ("front", "--engine", server.url, "--secret-file", key, "--port", "0", "--id", "one", "--json")
        async with python(str(EXAMPLES / "cluster.py"), server.url, identity(1).hex()) as back:
            said = lines_of(back.stdout)
            assert await anext(said) == "waiting for fronts"
            with Running(*asked) as front:
                at = json.loads(await trio.to_thread.run_sync(front.line, "listening"))
                async with open_peer_nursery(make_manager(2)) as far:
                    ours = await far.connect(f"{at['node_id']}@{at['host']}:{at['port']}")
                    who = f"{identity(2).hex()[:16]} at one"
                    assert await anext(said) == f"{who}: here"
                    answer = await ours.request(UnknownMessage(40001, b"hello"), UnknownMessage)
                    assert answer == UnknownMessage(40001, b"you said hello")
                    assert await anext(said) == f"{who} says b'hello'"
                assert (await anext(said)).startswith(f"{who}: ")
                back.send_signal(signal.SIGINT)
                assert [line async for line in said] == []
                assert await back.wait() == 130


def test_hello() -> None:
    code, lines, errors = run_example("hello.py")
    assert (code, errors) == (0, "")
    assert lines[0].startswith("Alice hears 'Hello, Alice!' from 0")
    assert lines[1].startswith("Bob hears 'Hello, Bob!' from 0")
    assert lines[2].endswith("after saying: shutting down")


def test_lsp() -> None:
    code, lines, errors = run_example("lsp.py")
    assert (code, errors) == (0, "")
    assert lines == [
        "protocols: 2",
        "a first payment of 1000000000 msat costs 1200000 msat",
        "the invoice goes over 539268x845x1, with 144 blocks",
    ]


def test_lsp_has_words_for_who_is_no_provider() -> None:
    with listening() as (_, address):
        program = f"import lsp, sys, trio; sys.argv[1:] = [{address!r}]; lsp.PATIENCE = 0.1; trio.run(lsp.main)"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program], cwd=EXAMPLES, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "no answer within 0.1 seconds: this node may be no liquidity provider\n"
    code, lines, errors = run_example("lsp.py", f"{identity(1).hex()}@127.0.0.1:1")
    assert (code, lines) == (1, [])
    assert errors.startswith("no connection: TCP_FAILED")


def test_fetch_invoice() -> None:
    code, lines, errors = run_example("fetch_invoice.py")
    assert (code, errors) == (0, "")
    offer = Offer.decode(lines[0].removeprefix("offer: "))
    invoice = Invoice.decode(lines[2].removeprefix("invoice: "))
    assert lines[1] == f"1000 msat to {invoice.node_id.hex()}, good until {invoice.expires_at}"
    payer_secret, request = map(bytes.fromhex, lines[3].removeprefix("proof: ").split())
    assert InvoiceRequest(request).answers(offer)
    assert InvoiceRequest(request).tlvs.invreq_payer_id == node_id(payer_secret)
    invoice.verify(request, now=invoice.created_at)
    code, lines, errors = run_example("fetch_invoice.py", offer.encode(), f"{identity(1).hex()}@127.0.0.1:1")
    assert (code, lines) == (1, [])
    assert errors.startswith("no connection: TCP_FAILED")


def test_onion_network_sends_the_same_bytes_for_the_same_seed() -> None:
    code, lines, errors = run_example("onion_network.py", "7")
    assert (code, errors) == (0, "")
    assert re.fullmatch(r"an invoice of 1000 msat, 1\d\.\d\d s after the question", lines[0])
    # Both ways: what was cut off came as far as the first neighbour.
    assert lines[1] == "passed on by each node: 0 0 1 1 0 2 2 2 0"
    assert Invoice.decode(lines[2].removeprefix("invoice: ")).amount_msat == 1000
    assert run_example("onion_network.py", "7") == (0, lines, "")


def test_simulated_network(tmp_path: Path) -> None:
    picture = tmp_path / "delivery.png"
    code, lines, errors = run_example("simulated_network.py", "7", str(picture))
    assert (code, errors) == (0, "")
    assert re.fullmatch(r"before the partition: 40 of 40 nodes within 0\.\d+ s, all 40 within 0\.\d+ s", lines[0])
    assert re.fullmatch(r"during the partition: 13 of 40 nodes within 0\.\d+ s, all 40 within 6\d\.\d+ s", lines[1])
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = run_example("simulated_network.py", "7")
    assert again[1] == lines[:2]


def test_own_message() -> None:
    code, lines, errors = run_example("own_message.py")
    assert (code, errors) == (0, "")
    assert lines == [
        "version 1 reads the price: Price(amount_msat=250000, valid_seconds=600)",
        "version 1 keeps what it does not know, as types: [3]",
        "written again, the bytes are the same: True",
    ]


def test_ping_pings_itself() -> None:
    code, lines, errors = run_example("ping.py")
    assert (code, errors) == (0, "")
    assert lines[0].startswith("connected with 0")
    assert [re.sub(r"[\d.]+", "T", line) for line in lines[1:]] == ["pong after T ms"] * 5


def test_ping_pings_others() -> None:
    with listening() as (listener, address):
        code, lines, errors = run_example("ping.py", address)
        assert (code, errors) == (0, "")
        assert lines[0] == f"connected with {address}"
        assert "shutting down" in listener.line("disconnected")
        code, lines, errors = run_example("ping.py", identity(1).hex() + address[66:])
        assert (code, lines) == (1, [])
        assert errors.startswith("no connection: CLOSED_IN_HANDSHAKE")


def test_experiment_says_and_draws_what_an_interval_does(tmp_path: Path) -> None:
    code, lines, errors = run_example("experiment.py", "5", str(tmp_path / "delays.png"))
    assert (code, errors) == (0, "")
    found = [re.match(r"each (\d+) s: 5 of 5 peers say it, half within ([\d.]+) s", line) for line in lines[:-1]]
    halves = {int(one[1]): float(one[2]) for one in found if one is not None}
    assert [*halves] == [10, 30, 60, 90]
    assert halves[10] < halves[60]
    assert lines[-1] == f"drawn into {tmp_path / 'delays.png'}"
    assert (tmp_path / "delays.png").read_bytes().startswith(b"\x89PNG")


def test_propagation_counts_what_was_pushed_while_all_were_there(tmp_path: Path) -> None:
    path, second = tmp_path / "seen.db", 10**9
    start = NOW * second
    with closing(RecordWriter(path, start)) as writer:
        lives = [SessionFacts(number, identity(number), "", True, start + number * second, b"") for number in (1, 2, 3)]
        heard = [
            (start + 5 * second, 1, PUSHED, update()),
            (start + 7 * second, 2, PUSHED, update()),
            (start + 9 * second, 3, PUSHED, update()),
            (start + 7 * second, 1, PUSHED, announcement()),
            (start + 8 * second, 2, PUSHED, announcement()),
            # What was history first, what was asked for, what came before all were there.
            (start + 6 * second, 1, HISTORY, channel()),
            (start + 99 * second, 2, PUSHED, channel()),
            (start + 90 * second, 2, ANSWER, announcement()),
            (start + 1 * second, 1, PUSHED, announcement(1)),
            (start + 50 * second, 2, PUSHED, announcement(1)),
        ]
        # The third is not there for long.
        ends = [(3, start + 20 * second, "went")]
        writer.write(RecordBatch(opened=lives, sightings=heard, closed=ends))
        writer.finish(start + 100 * second)
    code, lines, errors = run_example("propagation.py", str(path))
    assert (code, errors) == (0, "")
    assert lines == [
        "2 sessions, 98 s",
        "node_announcement: n = 1: 50% 1.000 s, 75% 1.000 s, 95% 1.000 s, 99% 1.000 s",
        "channel_update: n = 1: 50% 2.000 s, 75% 2.000 s, 95% 2.000 s, 99% 2.000 s",
    ]
    RecordWriter(tmp_path / "empty.db", start).close()
    assert run_example("propagation.py", str(tmp_path / "empty.db"))[1] == ["0 sessions, 0 s"]


def test_sans_io() -> None:
    code, lines, errors = run_example("sans_io.py")
    assert (code, errors) == (0, "")
    counts = re.search(r"^alice: (\d+) short writes, (\d+) pauses of reading$", "\n".join(lines), re.MULTILINE)
    assert counts is not None
    assert all(int(count) > 0 for count in counts.groups())
    assert "bob: the tick's ping has its pong" in lines
    assert lines[-1].endswith("the peer closed the connection, after saying: that was all")


def test_sans_io_imports_no_trio() -> None:
    tree = ast.parse((EXAMPLES / "sans_io.py").read_text())
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    trio_s = {"trio", "triolight", "triolight.descriptor", "triolight.nursery", "triolight.testing", "triolight.cli"}
    assert not imported & trio_s


def test_every_example_is_tested_and_says_what_it_shows() -> None:
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert names == [
        "cluster.py",
        "collector.py",
        "experiment.py",
        "fetch_invoice.py",
        "graph.py",
        "hello.py",
        "lsp.py",
        "onion_network.py",
        "own_message.py",
        "ping.py",
        "propagation.py",
        "sans_io.py",
        "simulated_network.py",
    ]
    for name in names:
        words = ast.get_docstring(ast.parse((EXAMPLES / name).read_text()))
        assert words is not None
        assert f"python examples/{name}" in words
