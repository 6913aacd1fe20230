"""What a peer nursery counts, as a page for Prometheus. Reads snapshots, changes nothing, starts no task.

The text format is prometheus-client's and the HTTP is h11's (extra `metrics`). To serve it::

    listeners = await trio.open_tcp_listeners(9100, host="127.0.0.1")
    patient = [PatientListener(one, peers.manager.logger) for one in listeners]
    nursery.start_soon(trio.serve_listeners, serve_metrics(peers), patient)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final, Literal

import trio

from triolight.shell.peers import PeerNursery
from triolight.shell.statistics import PeersStatistics, counted_fields
from triolight.tally import Traffic

__all__ = [
    "metrics_text",
    "serve_metrics",
]

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
MAX_CLIENTS: Final = 16
"""Connections of one page at a time: a scraper needs one."""
_READ_BYTES: Final = 4096


class _Snapshot(Collector):
    """One page: of one snapshot."""

    def __init__(self, seen: PeersStatistics) -> None:
        self._seen: Final = seen

    def collect(self) -> Iterator[Metric]:
        seen = self._seen
        outbound = seen.peers - seen.inbound_peers
        yield _family("gauge", "peers", "Connected peers.", "direction", {"in": seen.inbound_peers, "out": outbound})
        yield from _traffic(seen)
        yield _decisions(seen)
        for name, counted in counted_fields().items():
            if counted.kind != "elsewhere":
                yield _family(counted.kind, name, counted.words, counted.label, getattr(seen, name))


def _family(
    kind: Literal["gauge", "counter"], name: str, words: str, label: str, value: float | Mapping[str, float]
) -> Metric:
    family = (GaugeMetricFamily if kind == "gauge" else CounterMetricFamily)(
        f"triolight_{name}", words, labels=[label] if label else []
    )
    for key, number in value.items() if isinstance(value, Mapping) else [("", value)]:
        family.add_metric([key] if label else [], number)
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
    """The page, in Prometheus's text format. One step, some milliseconds for a thousand peers: `serve_metrics` lets
    others run in between."""
    return _text(peers.statistics())


def _text(seen: PeersStatistics) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(seen))
    return generate_latest(registry)


def serve_metrics(peers: PeerNursery) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A handler for `trio.serve_listeners`: answers GET and HEAD /metrics, one request a connection, within
    CLIENT_SECONDS. It has MAX_CLIENTS at a time: one more is closed at once.

    It shows how many peers there are and what they send, and no node id. Who may see that is the caller's to decide:
    give ``host="127.0.0.1"`` unless it is meant for others.
    """

    clients = 0

    async def answer(stream: trio.abc.Stream) -> None:
        nonlocal clients
        clients += 1
        try:
            if clients <= MAX_CLIENTS:
                with trio.move_on_after(CLIENT_SECONDS):
                    await _answer(stream, peers)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            pass  # it has gone without its answer, or has asked for what cannot be answered; the next one is served
        finally:
            clients -= 1
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
    return 200, _text(await peers.gather_statistics())
