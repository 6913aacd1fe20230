"""Nine nodes in memory: one asks an offer of another, over onion messages that neither sends to the other.

Each node talks to its four nearest on a ring. The offer is asked through either neighbour of its node, who does not say
where it is; the answer comes back over the nodes that the question took. The first of both neighbours is cut off, so
the question goes the other way. All keys and all times come from the seed: a second run sends the same bytes.

    python examples/onion_network.py [SEED]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence

import trio

from triolight import MessageHandler, NodeAddress, NullLogger, PeerManager, open_peer_nursery
from triolight.handlers import ChannelMessageHandler, RoutingMessageHandler
from triolight.onion import BlindedPayinfo, InvoiceRequest, InvoiceTerms, OnionMessenger, blind_route
from triolight.services import FetchedInvoice, Messenger, OfferServer, fetch_invoice, open_onion_messenger
from triolight.testing import Conditions, SimulatedHost, SimulatedNetwork, derive, run_seeded
from triolight.wire import ShortChannelId

NODES, NEAREST, SHOP = 9, 2, 4
FREE = BlindedPayinfo(
    fee_base_msat=0,
    fee_proportional_millionths=0,
    cltv_expiry_delta=144,
    htlc_minimum_msat=1,
    htlc_maximum_msat=10**9,
    features=b"",
)


class Ring:
    """What all know of the network: an application takes `GraphRoutes`, over gossip."""

    def __init__(self, ids: Sequence[bytes]) -> None:
        self.ids = ids

    def resolve(self, short_channel_id: ShortChannelId, direction: int) -> bytes | None:
        return None

    def route(self, node_id: bytes, peers: Iterable[bytes]) -> list[bytes] | None:
        here, at, found = set(peers), self.ids.index(node_id), [node_id]
        while self.ids[at] not in here:
            at = (at - 1) % NODES if at <= NODES // 2 else (at + 1) % NODES
            found.insert(0, self.ids[at])
        return found


class Node:
    def __init__(self, seed: int, number: int, network: SimulatedNetwork) -> None:
        self.seed, self.number = seed, number
        self.secret = derive(seed, "secret", number)
        self.host: SimulatedHost = network.host()
        self.messenger: Messenger | None = None
        self.forwarded = 0

    async def run(self, ring: Ring, nodes: Sequence[Node], task_status: trio.TaskStatus[None]) -> None:
        onions = OnionMessenger(
            self.secret, derive(self.seed, "onions", self.number), graph=ring, clock=trio.current_time
        )
        handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), onions)
        manager = PeerManager(handlers, self.secret, derive(self.seed, "noise", self.number), NullLogger())
        jitter = random.Random(f"{self.seed}/{self.number}")
        async with (
            open_peer_nursery(manager, dial=self.host.dial, jitter=jitter) as peers,
            open_onion_messenger(peers, onions) as self.messenger,
        ):
            await peers.listen_on(await self.host.listen(9735))
            for step in range(1, NEAREST + 1):
                other = (self.number + step) % NODES
                peers.keep(NodeAddress(ring.ids[other], nodes[other].host.address, 9735))
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self.forwarded = onions.statistics().forwarded


async def simulate(seed: int) -> tuple[FetchedInvoice, list[int], str]:
    network = SimulatedNetwork(seed, Conditions(latency=0.05, jitter=0.05))
    nodes = [Node(seed, number, network) for number in range(NODES)]
    choice = random.Random(seed)
    server = OfferServer(nodes[SHOP].secret, give, unix_time=trio.current_time, random_bytes=choice.randbytes)
    ring = Ring([OnionMessenger(node.secret, derive(seed, "id")).node_id for node in nodes])
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.run, ring, nodes)
        await trio.sleep(10)  # all have dialled
        asking, shop = nodes[0].messenger, nodes[SHOP].messenger
        if asking is None or shop is None:
            raise RuntimeError("a node has not begun")
        await nursery.start(server.serve, shop)
        offer = server.book.issue("tea", amount_msat=1000, introductions=[ring.ids[SHOP - 1], ring.ids[SHOP + 1]])
        network.stall(nodes[SHOP - 1].host, nodes[SHOP].host)
        with trio.fail_after(20):
            invoice = await fetch_invoice(
                asking, offer, unix_time=trio.current_time, random_bytes=random.Random(seed + 1).randbytes
            )
        print(f"an invoice of {invoice.amount_msat} msat, {trio.current_time() - 10:.2f} s after the question")
        transcript = network.transcript()
        nursery.cancel_scope.cancel()
    return invoice, [node.forwarded for node in nodes], transcript


async def give(request: InvoiceRequest) -> InvoiceTerms:
    """A hash and a path of the layer that pays, which is not here."""
    path = blind_route(derive(1, "path"), [request.tlvs.offer_issuer_id or b""])
    return InvoiceTerms(payment_hash=derive(2, "hash"), paths=[(path, FREE)])


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    invoice, forwarded, transcript = run_seeded(seed, simulate, seed)
    print("passed on by each node:", *forwarded)
    print("invoice:", invoice.data.hex())
    print("all bytes of the network:", transcript)


if __name__ == "__main__":
    main()
