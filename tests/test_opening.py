"""open_peers: what a node is that nobody has said anything about, and what may be said."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import triolight
from tests.support import ListLogger, identity, join, secret
from tests.support.managers import Chan
from triolight import Features, IgnoringMessageHandler, MessageHandler, NullLogger, RoutingMessageHandler, open_peers
from triolight.chains import BITCOIN, REGTEST

SAFE = bytes.fromhex("08a0002a0aa222")


async def test_two_nodes_in_a_few_lines(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peers() as near, open_peers(logger=NullLogger()) as far:
        to_far, to_near = await join(near, far)
        assert await to_far.ping() >= 0
        # What other implementations ask for, and no chain.
        assert to_far.features.to_bytes() == SAFE
        assert to_near.init.tlvs.networks is None
        assert near.manager.our_node_id != far.manager.our_node_id
        assert isinstance(near.manager.logger, triolight.StdlibLogger)


async def test_a_secret_a_chain_and_a_place(autojump_clock: trio.testing.MockClock) -> None:
    class Offers(RoutingMessageHandler):
        def provided_init_features(self, node_id: bytes) -> Features:
            return Features.named("gossip_queries")

    logger = ListLogger()
    async with (
        open_peers(secret(1), route_handler=Offers(), networks="bitcoin", logger=logger) as near,
        open_peers(networks=(BITCOIN, "regtest")) as far,
    ):
        assert near.manager.our_node_id == identity(1)
        assert near.manager.logger is logger
        to_far, to_near = await join(near, far)
        assert to_near.features.offers("gossip_queries")
        assert not to_far.features.offers("gossip_queries")
        assert to_near.init.tlvs.networks == (BITCOIN.chain_hash,)
        assert to_far.init.tlvs.networks == (BITCOIN.chain_hash, REGTEST.chain_hash)


async def test_all_handlers_or_single_places(autojump_clock: trio.testing.MockClock) -> None:
    chan = Chan()
    handlers = MessageHandler(chan, IgnoringMessageHandler())
    with pytest.raises(ValueError, match="all four places"):
        open_peers(handlers=handlers, route_handler=RoutingMessageHandler())
    with pytest.raises(ValueError, match="no chain is called 'mainnet'"):
        open_peers(networks="mainnet")
    with pytest.raises(ValueError, match="32 bytes"):
        open_peers(b"short")
    async with open_peers(handlers=handlers) as near, open_peers(chan_handler=Chan()) as far:
        await join(near, far)
        assert chan.connected == 1


async def test_deadlines_and_the_rest_go_on_to_the_block(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ValueError, match="handshake: a deadline"):
        open_peers(handshake_deadline=0)
    policy = triolight.Policy(max_peers=3)
    async with open_peers(policy=policy) as peers:
        assert peers.policy is policy
