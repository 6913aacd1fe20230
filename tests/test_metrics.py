"""The page for Prometheus, over HTTP as a scraper and as others ask for it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import h11
import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from tests.support import Note, identity, join, make_manager, open_pair
from tests.support.scraping import ask
from triolight import PeerNursery, PeersStatistics, open_peer_nursery
from triolight.metrics import CLIENT_SECONDS, MAX_CLIENTS, metrics_text, serve_metrics
from triolight.services import GossipStatistics
from triolight.shell.statistics import counted_fields


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


async def test_who_counts_beside_the_peers_is_on_the_page_too() -> None:
    class Graph:
        def statistics(self) -> GossipStatistics:
            return GossipStatistics(7, 5, {"accepted": 9}, {"streams": 1, "waits": 0}, {"listed": 30, "settled": 20})

    async with open_peer_nursery(make_manager(1)) as peers:
        seen = values(metrics_text(peers, Graph()))
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_metrics(peers, Graph()), theirs)
            await ours.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await ours.send_eof()
            assert b"\ntriolight_graph_channels 7.0\n" in b"".join([part async for part in ours])
        assert "triolight_graph_channels{}" not in values(metrics_text(peers))
    assert seen["triolight_graph_channels{}"] == 7
    assert seen["triolight_graph_nodes{}"] == 5
    assert seen["triolight_gossip_messages_total{verdict=accepted}"] == 9
    assert seen["triolight_gossip_peers{state=waits}"] == 0
    assert seen["triolight_fetch_channels{what=settled}"] == 20
    assert seen["triolight_strangers{}"] == 0


async def test_the_page_is_made_while_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(open_peer_nursery(make_manager(1)))
        for number in range(2, 8):
            to_near, _ = await join(await stack.enter_async_context(open_peer_nursery(make_manager(number))), near)
            await to_near.ping()
            await near.peers[identity(number)].ping()

        async def others_turns() -> int:
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await trio.lowlevel.checkpoint()

            ours, theirs = trio.testing.memory_stream_pair()
            await ours.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await ours.send_eof()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                await serve_metrics(near)(theirs)
                nursery.cancel_scope.cancel()
            page = b""
            async for data in ours:
                page += data
            assert values(page.partition(b"\r\n\r\n")[2]) == values(metrics_text(near))
            return turns

        in_two_slices = await others_turns()
        monkeypatch.setattr("triolight.shell.statistics.CONNECTIONS_AT_ONCE", 1)
        # A slice for each link and for each peer, ten more; which task is first in a step is chance.
        assert await others_turns() >= in_two_slices + len(near.peers)


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


async def test_only_so_many_clients_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """And who is closed for that takes nobody's place."""
    autojump_clock.autojump_threshold = 0.05
    async with open_peer_nursery(make_manager(1)) as peers, trio.open_nursery() as nursery:
        answer, of_another_page = serve_metrics(peers), serve_metrics(peers)

        async def come(page: Callable[[trio.abc.Stream], Awaitable[None]], say: bytes) -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            await ours.send_all(say)
            nursery.start_soon(page, theirs)
            await trio.testing.wait_all_tasks_blocked()
            return ours

        whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        slow = [await come(answer, whole[:-2]) for _ in range(MAX_CLIENTS)]
        for _ in range(3):
            with trio.fail_after(CLIENT_SECONDS / 10):
                assert await (await come(answer, whole)).receive_some(1) == b""
        assert await (await come(of_another_page, whole)).receive_some(13) == b"HTTP/1.1 200 "
        await slow[0].send_all(b"\r\n")
        assert await slow[0].receive_some(13) == b"HTTP/1.1 200 "
        await slow[0].aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await (await come(answer, whole)).receive_some(13) == b"HTTP/1.1 200 "
        for one in slow[1:]:
            assert await one.receive_some(1) == b""
        assert trio.current_time() == pytest.approx(CLIENT_SECONDS)
        nursery.cancel_scope.cancel()


async def test_every_number_of_the_statistics_is_on_the_page(autojump_clock: trio.testing.MockClock) -> None:
    """A new field says how it is shown, and is: nobody has to remember the page."""
    async with open_peer_nursery(make_manager(1)) as peers:
        page = metrics_text(peers).decode()
    shown = counted_fields()
    assert {*shown} == {one.name for one in dataclasses.fields(PeersStatistics)}
    for name, counted in shown.items():
        if counted.kind != "elsewhere":
            assert f"# TYPE triolight_{name}{'_total' if counted.kind == 'counter' else ''} {counted.kind}" in page, (
                name
            )
