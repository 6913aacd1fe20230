"""The page for Prometheus, over HTTP as a scraper and as others ask for it; and the table of `triolight top`."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from functools import partial

import h11
import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from tests.support import Note, identity, join, make_manager, open_pair, port_of
from triolight import PeerNursery, cli_top, metrics, open_peer_nursery
from triolight.metrics import CLIENT_SECONDS, metrics_text, serve_metrics


def values(page: bytes) -> dict[str, float]:
    """Every sample, by its name and labels, as a reader of somebody else's sees it."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_what_the_page_says(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        assert values(metrics_text(pair.near))["triolight_peers{direction=out}"] == 1
        await pair.to_far.send(*[Note(payload=b"1234")] * 3)
        await pair.to_far.ping()
        seen = values(metrics_text(pair.near))
        assert seen["triolight_messages_total{direction=out,type=note}"] == 3
        assert seen["triolight_message_bytes_total{direction=out,type=note}"] == 18
        assert seen["triolight_messages_total{direction=in,type=pong}"] == 1
        assert seen["triolight_rtt_seconds{quantile=0.5}"] == 0
        far = values(metrics_text(pair.far))
        assert far["triolight_peers{direction=in}"] == 1
        assert far["triolight_decisions_total{answer=admitted,question=peer}"] == 1
        assert far["triolight_strangers{}"] == 0
        await pair.to_far.disconnect()
        seen = values(metrics_text(pair.near))
        assert seen["triolight_peers{direction=out}"] == 0
        assert seen["triolight_disconnects_total{code=REQUESTED}"] == 1
        # Nothing goes down that counts.
        assert seen["triolight_messages_total{direction=out,type=note}"] == 3
        kept = pair.near.keep(f"{identity(9).hex()}@127.0.0.1:1")
        await kept.wait_changed()
        assert sum(value for name, value in values(metrics_text(pair.near)).items() if "_kept" in name) == 1


async def test_the_page_is_made_while_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PEERS_AT_ONCE", 1)
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(open_peer_nursery(make_manager(1)))
        for number in range(2, 8):
            to_near, _ = await join(await stack.enter_async_context(open_peer_nursery(make_manager(number))), near)
            await to_near.ping()
            await near.peers[identity(number)].ping()
        turns: list[int] = []

        async def other() -> None:
            while True:
                turns.append(len(turns))
                await trio.lowlevel.checkpoint()

        ours, theirs = trio.testing.memory_stream_pair()
        await ours.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await ours.send_eof()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await trio.lowlevel.checkpoint()
            before = len(turns)
            rtts = await metrics._round_trips(near)
            assert len(turns) - before >= len(near.peers) - 1
            nursery.cancel_scope.cancel()
        await serve_metrics(near)(theirs)
        page = b""
        async for data in ours:
            page += data
        assert len(rtts) == 6
        assert values(page.partition(b"\r\n\r\n")[2]) == values(metrics_text(near))


async def ask(port: int, request: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        answer = b""
        async for data in stream:
            answer += data
        return answer


async def serving(nursery: trio.Nursery, peers: PeerNursery) -> int:
    listeners = await nursery.start(partial(trio.serve_tcp, serve_metrics(peers), 0, host="127.0.0.1"))
    return int(listeners[0].socket.getsockname()[1])


async def test_over_http() -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as peers, trio.open_nursery() as nursery:
            port = await serving(nursery, peers)
            answer = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nUser-Agent: Prometheus\r\n\r\n")
            head, _, page = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"text/plain; version=" in head
            assert values(page)["triolight_peers{direction=in}"] == 0
            for request, status in (
                (b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
                (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"405"),
                (b"\x00\x00\r\n\r\n", b"400"),
                (b"GET " + b"a" * 100_000 + b"\r\n\r\n", b"400"),
            ):
                assert (await ask(port, request)).split()[1] == status
            async with await trio.open_tcp_stream("127.0.0.1", port) as silent:
                await silent.send_eof()
                assert await silent.receive_some() == b""
            nursery.cancel_scope.cancel()


async def test_head_is_get_without_a_body() -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as peers, trio.open_nursery() as nursery:
            port = await serving(nursery, peers)
            for target, status in ((b"/metrics", b"200"), (b"/other", b"404")):
                for version in (b"1.0", b"1.1"):
                    rest = target + b" HTTP/" + version + b"\r\nHost: x\r\n\r\n"
                    head, _, body = (await ask(port, b"HEAD " + rest)).partition(b"\r\n\r\n")
                    got, _, _ = (await ask(port, b"GET " + rest)).partition(b"\r\n\r\n")
                    assert (head.split()[1], body) == (status, b"")
                    assert re.sub(rb"\d+", b"N", head) == re.sub(rb"\d+", b"N", got)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "request_",
    [
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
    ],
)
async def test_no_request_ends_the_server(request_: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as peers:
        ours, theirs = trio.testing.memory_stream_pair()
        await ours.send_all(request_)
        await ours.send_eof()
        await serve_metrics(peers)(theirs)  # returns, with or without an answer


async def test_an_answer_that_the_library_refuses_ends_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(connection: h11.Connection, event: h11.Event) -> bytes:
        raise h11.LocalProtocolError("never mind")

    monkeypatch.setattr(h11.Connection, "send", refuse)
    async with open_peer_nursery(make_manager(1)) as peers:
        ours, theirs = trio.testing.memory_stream_pair()
        await ours.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await serve_metrics(peers)(theirs)
        assert await ours.receive_some() == b""


async def test_a_client_that_stalls(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.05
    async with open_peer_nursery(make_manager(1)) as peers:
        ours, theirs = trio.testing.memory_stream_pair()
        await ours.send_all(b"GET /metr")
        began = trio.current_time()
        await serve_metrics(peers)(theirs)
        assert trio.current_time() - began == pytest.approx(CLIENT_SECONDS)
        ours, theirs = trio.testing.memory_stream_pair()
        await ours.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await ours.aclose()
        await serve_metrics(peers)(theirs)


TRIOLIGHT = [sys.executable, "-m", "triolight.cli"]


async def test_listen_with_metrics() -> None:
    with trio.fail_after(30):
        process = await trio.lowlevel.open_process(
            [*TRIOLIGHT, "listen", "--port", "0", "--metrics", "0"], stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            said = b""
            while b"/metrics" not in said:
                said += await process.stdout.receive_some()
            address = re.search(rb"listening on (\S+)", said)
            port = re.search(rb"127.0.0.1:(\d+)/metrics", said)
            assert address is not None
            assert port is not None
            async with open_peer_nursery(make_manager(1)) as peers:
                await peers.connect(address[1].decode())
                page = await ask(int(port[1]), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b'triolight_peers{direction="in"} 1.0' in page
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 130
        finally:
            process.kill()
            await process.wait()


async def test_top_once() -> None:
    with trio.fail_after(30):
        async with open_peer_nursery(make_manager(1)) as peers:
            node = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            done = await trio.run_process([*TRIOLIGHT, "top", "--once", node], capture_stdout=True)
            shown = done.stdout.decode()
            assert "1 peers (0 in)" in shown
            assert identity(1).hex()[:20] in shown
            assert "127.0.0.1" in shown
            nobody = f"{identity(2).hex()}@127.0.0.1:1"
            done = await trio.run_process([*TRIOLIGHT, "top", "--once", node, nobody], capture_stdout=True, check=False)
            assert done.returncode == 3
            assert f"{identity(2).hex()[:20]} waiting: TCP_FAILED" in done.stdout.decode()


async def test_top_counts_what_it_has_no_row_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_top, "ROWS", 1)
    async with open_peer_nursery(make_manager(1)) as peers:
        async with open_peer_nursery(make_manager(2)) as second, open_peer_nursery(make_manager(3)) as third:
            gone, _ = await join(peers, second)
            await join(peers, third)
            plan = cli_top.TopPlan(peers.manager, (), "127.0.0.1", None, None, 1.0, True)
            console = Console(width=160, record=True, file=io.StringIO())
            console.print(cli_top._view(peers, [], plan, console.width))
            shown = console.export_text()
            assert "2 peers (0 in)" in shown
            assert "and 1 more" in shown
            assert (identity(2).hex()[:20] in shown) != (identity(3).hex()[:20] in shown)
        await gone.wait_closed()
        await cli_top._ping(gone)  # the table will show it


@pytest.mark.parametrize("host", ["fe80::1", "fd00:a:b::7", "2001:db8:a:b::1"])
async def test_top_shows_addresses_as_they_are(host: str) -> None:
    async with open_peer_nursery(make_manager(1)) as peers, open_peer_nursery(make_manager(2)) as other:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.attach, ours, None, (host, 9735))
            await other.attach(theirs, identity(1))
        console = Console(width=160, record=True, file=io.StringIO())
        plan = cli_top.TopPlan(peers.manager, (), "127.0.0.1", None, None, 1.0, True)
        console.print(cli_top._view(peers, [], plan, 160))
        assert f" [{host}]:9735 " in console.export_text()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160])
@pytest.mark.parametrize("address", ["127.0.0.1:9735", "[2001:db8:1111:2222:3333:4444:5555:6666]:49735", "x" * 62])
def test_top_fits(width: int, address: str) -> None:
    row = ("02" * 6, address, "out", "1:02:03", "123.4", "12,345", "1,234,567", "1,234.5", "5.0", "0", "0")
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(cli_top._table([row, row], width))
    header, *rows = console.export_text().splitlines()
    assert len(rows) == 2
    assert max(map(len, (header, *rows))) <= width
    shown = re.split(" {2,}", rows[0].strip())
    assert len(shown) == len(re.split(" {2,}", header.strip()))
    # Nothing but the address is cut, and that only where it is long.
    assert shown[1].rstrip("…") in address
    assert all("…" not in cell for cell in shown[2:])
    if width >= 60:
        assert shown[2:5] == ["out", "1:02:03", "123.4"]
    if width == 160:
        assert shown[1:] == [address, *row[2:]]


async def test_top_pings_newcomers_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, open_peer_nursery(make_manager(3)) as third, trio.open_nursery() as nursery:
        nursery.start_soon(cli_top._measure, pair.near)
        await trio.testing.wait_all_tasks_blocked()
        assert pair.to_far.statistics().rtt_smoothed is not None
        to_third, _ = await join(pair.near, third)
        await trio.testing.wait_all_tasks_blocked()
        assert to_third.statistics().rtt_smoothed is not None
        assert trio.current_time() == 0
        pings = pair.near.statistics().sent["ping"].messages
        await trio.sleep(cli_top.PING_SECONDS * 2.5)
        assert pair.near.statistics().sent["ping"].messages == pings + 4
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("number", "exits"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
async def test_top_lives_until_a_signal(number: signal.Signals, exits: int) -> None:
    with trio.fail_after(30):
        ours, theirs = pty.openpty()
        async with open_peer_nursery(make_manager(1)) as peers, peers.events() as events:
            node = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            process = await trio.lowlevel.open_process(
                [*TRIOLIGHT, "top", "--interval", "0.05", "--listen", "0", node], stdout=theirs
            )
            try:
                await anext(events)
                shown = ""
                while "out" not in shown or "1 peers" not in shown:
                    shown += (await trio.to_thread.run_sync(os.read, ours, 65_536)).decode()
                process.send_signal(number)
                while "\x1b[?1049l" not in shown:  # the terminal is as it was
                    shown += (await trio.to_thread.run_sync(os.read, ours, 65_536)).decode()
                assert "\x1b[?25h" in shown[shown.rindex("1 peers") :]
                assert await process.wait() == exits
                os.close(theirs)
            finally:
                process.kill()
                await process.wait()
                os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["top"], "nobody to show"),
        (["top", "nonsense"], "id@host:port"),
        (["top", "--proxy", "http://x:1", "--listen", "0"], "socks5"),
    ],
)
def test_usage(arguments: list[str], words: str) -> None:
    done = subprocess.run([*TRIOLIGHT, *arguments], capture_output=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr.decode()


async def test_a_port_that_is_taken() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = str(listener.socket.getsockname()[1])
        for arguments in (
            ["listen", "--port", "0", "--metrics", port],
            ["top", "--listen", port],
            ["top", "--listen", port, "--once"],
        ):
            done = await trio.run_process([*TRIOLIGHT, *arguments], capture_stderr=True, check=False)
            assert b"cannot listen on 127.0.0.1 port" in done.stderr
            assert done.returncode == 3
            assert len(done.stderr.splitlines()) == 1
