"""What a peer nursery counts, as a page for Prometheus. Reads snapshots, changes nothing, starts no task.

The text format is prometheus-client's and the HTTP is h11's (extra `metrics`). To serve it::

    nursery.start_soon(partial(trio.serve_tcp, serve_metrics(peers), 9100, host="127.0.0.1"))
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final

import trio

from triolight.nursery import PeerNursery
from triolight.shell.statistics import PeersStatistics
from triolight.tally import Traffic

try:
    import h11
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("the metrics page needs the extra 'metrics': pip install 'triolight[metrics]'") from error

CLIENT_SECONDS: Final = 10.0
"""For a client to say what it wants and to take the answer."""
PEERS_AT_ONCE: Final = 32
"""Asked for their round trips before other tasks run: about 0.25 ms, as a turn of the pump. Of all that the page says
only this costs much for each peer."""
_READ_BYTES: Final = 4096


class _Snapshot(Collector):
    """One page: collected once, from one snapshot."""

    def __init__(self, peers: PeerNursery, rtts: Sequence[float]) -> None:
        self._peers: Final = peers
        self._rtts: Final = rtts

    def collect(self) -> Iterator[Metric]:
        seen = self._peers.statistics()
        outbound = seen.peers - seen.inbound_peers
        yield _gauges("peers", "Connected peers.", "direction", {"in": seen.inbound_peers, "out": outbound})
        yield _gauge("strangers", "Inbound connections that are not peers yet.", seen.strangers)
        yield _gauge("dials", "Dials on their way.", seen.dials)
        yield _gauges("kept", "Nodes that shall stay connected, by state.", "state", seen.kept)
        yield from _traffic(seen)
        yield _gauge("queued_bytes", "Bytes that wait to be written to peers.", seen.queued_bytes)
        yield _gauge("inbox_bytes", "Bytes that wait for subscribers.", seen.inbox_bytes)
        yield _counter("reading_paused", "Pauses of reading because a subscriber was full.", seen.reading_paused)
        yield _counter("throttled", "Pauses of reading because a peer overdrew its allowance.", seen.throttled)
        dropped = "Events of handlers for nodes that were not connected any more."
        yield _counter("handler_events_dropped", dropped, seen.handler_events_dropped)
        yield _counter("events_lost", "Comings and goings that a busy reader had no room for.", seen.events_lost)
        failures = "Connections that never became peers, by code."
        yield _counters("handshake_failures", failures, "code", seen.handshake_failures)
        yield _counters("disconnects", "Peers that are gone, by code.", "code", seen.disconnects)
        yield _decisions(seen)
        rtts = self._rtts
        if rtts:
            spread = {"0": min(rtts), "0.5": statistics.median(rtts), "1": max(rtts)}
            yield _gauges("rtt_seconds", "Smoothed round trips of the peers there are.", "quantile", spread)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"triolight_{name}", words, value=value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(f"triolight_{name}", words, value=value)


def _gauges(name: str, words: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"triolight_{name}", words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counters(name: str, words: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"triolight_{name}", words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _traffic(seen: PeersStatistics) -> Iterator[Metric]:
    messages = CounterMetricFamily("triolight_messages", "Messages, by type.", labels=["direction", "type"])
    sizes = CounterMetricFamily("triolight_message_bytes", "Bytes of them, unencrypted.", labels=["direction", "type"])
    both: tuple[tuple[str, Mapping[str, Traffic]], ...] = (("in", seen.received), ("out", seen.sent))
    for direction, traffic in both:
        for name, one in traffic.items():
            messages.add_metric([direction, name], one.messages)
            sizes.add_metric([direction, name], one.size)
    yield messages
    yield sizes


def _decisions(seen: PeersStatistics) -> Metric:
    family = CounterMetricFamily("triolight_decisions", "The policy's answers.", labels=["question", "answer"])
    for key, value in seen.decisions.items():
        question, _, answer = key.partition(": ")
        family.add_metric([question, answer], value)
    return family


def metrics_text(peers: PeerNursery) -> bytes:
    """The page, in Prometheus's text format. One step: some milliseconds for a thousand peers."""
    return _text(peers, [rtt for peer in peers.peers.values() if (rtt := peer.statistics().rtt_smoothed) is not None])


def _text(peers: PeerNursery, rtts: Sequence[float]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(peers, rtts))
    return generate_latest(registry)


async def _round_trips(peers: PeerNursery) -> list[float]:
    """The smoothed ones of all peers, without keeping others waiting."""
    found: list[float] = []
    for number, peer in enumerate(list(peers.peers.values()), 1):
        rtt = peer.statistics().rtt_smoothed
        if rtt is not None:
            found.append(rtt)
        if number % PEERS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    return found


def serve_metrics(peers: PeerNursery) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A handler for `trio.serve_tcp`: answers GET and HEAD /metrics, one request a connection, within CLIENT_SECONDS.

    It shows how many peers there are and what they send, and no node id. Who may see that is the caller's to decide:
    give `host="127.0.0.1"` unless it is meant for others.
    """

    async def answer(stream: trio.abc.Stream) -> None:
        try:
            with trio.move_on_after(CLIENT_SECONDS):
                await _answer(stream, peers)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            pass  # it has gone without its answer, or has asked for what cannot be answered; the next one is served
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    return answer


async def _answer(stream: trio.abc.Stream, peers: PeerNursery) -> None:
    http = h11.Connection(h11.SERVER)
    status, body, with_body = 400, b"not understood\n", True
    try:
        request = http.next_event()
        while request is h11.NEED_DATA:
            data = await stream.receive_some(_READ_BYTES)
            http.receive_data(bytes(data))
            request = http.next_event()
        if isinstance(request, h11.Request):
            status, body = await _page(request, peers)
            with_body = request.method != b"HEAD"
        elif isinstance(request, h11.ConnectionClosed):
            return
    except h11.RemoteProtocolError:
        pass  # is what `status` says already
    headers = [
        ("Content-Type", CONTENT_TYPE_LATEST if status == 200 else "text/plain"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    parts: list[h11.Event] = [h11.Response(status_code=status, headers=headers)]
    if with_body:
        parts.append(h11.Data(data=body))
    await stream.send_all(b"".join(http.send(part) or b"" for part in (*parts, h11.EndOfMessage())))
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
        while await stream.receive_some(_READ_BYTES):
            pass  # a close with unread input would be a reset, and eat the answer


async def _page(request: h11.Request, peers: PeerNursery) -> tuple[int, bytes]:
    if request.method not in (b"GET", b"HEAD"):
        return 405, b"only GET and HEAD\n"
    if request.target.partition(b"?")[0] not in (b"/metrics", b"/"):
        return 404, b"it is at /metrics\n"
    return 200, _text(peers, await _round_trips(peers))
