"""What peers and gossip count, as a page for Prometheus. Reads snapshots, changes nothing, starts no task.

The text format is prometheus-client's (extra `metrics`). To serve it::

    listeners = await trio.open_tcp_listeners(9100, host="127.0.0.1")
    patient = [PatientListener(one, peers.manager.logger) for one in listeners]
    nursery.start_soon(trio.serve_listeners, serve_metrics(peers), patient)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, Protocol

import trio

from triolight.pages import CLIENT_SECONDS as CLIENT_SECONDS
from triolight.pages import MAX_CLIENTS as MAX_CLIENTS
from triolight.pages import serve_page
from triolight.shell.peers import PeerNursery
from triolight.shell.statistics import PeersStatistics, counted_fields
from triolight.tally import Traffic

__all__ = [
    "metrics_text",
    "serve_metrics",
]

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("the metrics page needs the extra 'metrics': pip install 'triolight[metrics]'") from error


class Counting(Protocol):
    """What counts beside the peers, as `Gossip` does."""

    def statistics(self) -> Any:
        """A snapshot whose fields say what they are."""
        ...


class _Snapshot(Collector):
    """One page: of one snapshot of the peers, and of one of each of those who count beside them."""

    def __init__(self, seen: PeersStatistics, beside: Iterable[Any]) -> None:
        self._seen: Final = seen
        self._beside: Final = beside

    def collect(self) -> Iterator[Metric]:
        seen = self._seen
        outbound = seen.peers - seen.inbound_peers
        yield _family("gauge", "peers", "Connected peers.", "direction", {"in": seen.inbound_peers, "out": outbound})
        yield from _traffic(seen)
        yield _decisions(seen)
        for one in (seen, *self._beside):
            for name, counted in counted_fields(one).items():
                if counted.kind != "elsewhere":
                    yield _family(counted.kind, name, counted.words, counted.label, getattr(one, name))


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


def metrics_text(peers: PeerNursery, *beside: Counting) -> bytes:
    """The page, in Prometheus's text format. One step, some milliseconds for a thousand peers: `serve_metrics` lets
    others run in between. `beside`: a `Gossip`, whose numbers stand on it too."""
    return _text(peers.statistics(), beside)


def _text(seen: PeersStatistics, beside: Iterable[Counting]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(seen, [one.statistics() for one in beside]))
    return generate_latest(registry)


def serve_metrics(peers: PeerNursery, *beside: Counting) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A handler for `trio.serve_listeners`: answers GET and HEAD /metrics, one request a connection, within
    CLIENT_SECONDS. It has MAX_CLIENTS at a time: one more is closed at once.

    It shows how many peers there are and what they send, and no node id. Who may see that is the caller's to decide:
    give ``host="127.0.0.1"`` unless it is meant for others. `beside`: a `Gossip`, whose numbers stand on it too.
    """

    async def page(path: bytes) -> tuple[int, str, bytes]:
        if path not in (b"/metrics", b"/"):
            return 404, "text/plain", b"it is at /metrics\n"
        return 200, CONTENT_TYPE_LATEST, _text(await peers.gather_statistics(), beside)

    return serve_page(page)
