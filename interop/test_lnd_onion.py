"""Against LND as what is between others, by onion messages: it passes them on, to ours and to LDK."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from interop.conftest import open_ldk_native
from interop.lnd_node import NO_CHAIN, LndNode, StartedLnd, start_lnd
from interop.network import until
from interop.onions import OTHER, OWN, open_onion_node, passed_on
from triolight.onion import Offer
from triolight.services import fetch_invoice

pytestmark = pytest.mark.node("LND")


@pytest.fixture(scope="module")
def running() -> Iterator[StartedLnd]:
    with start_lnd(*NO_CHAIN, "--protocol.onion-msg-relay-all") as started:
        yield started


@pytest.fixture
async def lnd(running: StartedLnd) -> AsyncIterator[LndNode]:
    """One for all tests of this file, that passes on for peers without channels. A test that waits for what never comes
    ends."""
    with trio.fail_after(120):
        yield await running.ready()


@pytest.mark.shows("onion")
async def test_it_passes_on_between_two_of_ours(lnd: LndNode) -> None:
    async with open_onion_node() as ours, open_onion_node() as other, other.messenger.subscribe() as inbox:
        await ours.dial(lnd)
        await other.dial(lnd)
        assert ours.messenger.onions.offers(lnd.node_id)
        for size in (1, 1000, 30_000):
            data = os.urandom(size)

            async def answer(data: bytes) -> None:
                received = await anext(inbox)
                assert received.content == (OWN, data)
                await received.reply(extra={OTHER: data[::-1]})

            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer, data)
                asked = await ours.messenger.request(other.node_id, extra={OWN: data}, via=lnd.node_id)
                assert asked.content == (OTHER, data[::-1])


@pytest.mark.shows("onion")
async def test_it_passes_on_between_us_and_ldk(lnd: LndNode) -> None:
    """An invoice by an offer that names LDK, and by one whose path begins at LND."""
    async with open_ldk_native("--onion", f"{OWN},{OTHER}") as ldk, open_onion_node() as ours:
        await ours.dial(lnd)
        await lnd.dial(ldk.node_id, ldk.port)
        await ldk.event("peer_connected")
        for direct in (True, False):
            await ldk.command("ways", introduction=lnd.node_id.hex())
            offer = Offer.decode((await ldk.command("offer", direct=direct, amount_msat=1000))["offer"])
            assert len(offer.paths) == (not direct)
            invoice = await fetch_invoice(ours.messenger, offer, via=lnd.node_id if direct else None)
            assert (await ldk.event("offers"))["answer"]["hex"] == invoice.data.hex()
        async with ours.messenger.subscribe() as inbox:
            await ldk.command("ways", introduction=lnd.node_id.hex(), via=lnd.node_id.hex())
            await ldk.command("onion", node_id=ours.node_id.hex(), type=OWN, payload="aa", reply=True)
            received = await anext(inbox)
            assert received.content == (OWN, b"\xaa")
            await received.reply(extra={OTHER: b"\xbb"})
            event = await ldk.event("onion")
            assert (event["type"], event["payload"], event["context"]) == (OTHER, "bb", b"asked".hex())


@pytest.mark.shows("onion")
@pytest.mark.differs(
    "passes an onion message on whatever its hop has beside its encrypted_recipient_data: odd and even records, and "
    "something to say",
    "drop it",
)
@pytest.mark.differs("passes an onion message on whose hop is told a path_id, or which features are allowed", "drop it")
async def test_what_it_does_not_pass_on(lnd: LndNode) -> None:
    assert await passed_on(lnd) == {
        *("plain", "padding", "to a node and a channel", "with no features"),
        *("with an odd record", "with an unknown even record", "with something to say"),
        *("with a path_id", "with features"),
    }


@pytest.mark.shows("onion")
@pytest.mark.differs(
    "drops onion messages of peers without a channel with it, if it is not told otherwise", "take them of any peer"
)
async def test_without_a_channel_it_passes_nothing_on() -> None:
    with trio.fail_after(120), start_lnd(*NO_CHAIN, "--debuglevel=PEER=trace") as started:
        lnd = await started.ready()
        async with open_onion_node() as ours, open_onion_node() as other:
            await ours.dial(lnd)
            await other.dial(lnd)
            await ours.messenger.send(other.node_id, extra={OWN: b""}, via=lnd.node_id)

            async def dropped() -> bool:
                return "dropping onion message: peer has no open channel" in started.program.said()

            await until(dropped)
        assert other.messenger.onions.statistics().received == 0
