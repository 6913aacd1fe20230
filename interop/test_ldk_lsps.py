"""Against native LDK, as a liquidity provider and as a provider's client: LSPS0, 1, 2 and 5 in both directions."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from interop.conftest import open_ldk_native
from interop.ours import triolight
from interop.programs import JsonNode
from triolight import NodeAddress, NullLogger, Peer, PeerNursery, node_id, open_peers
from triolight.lsps import (
    Buy,
    CreateOrder,
    LspsCode,
    LspsError,
    OpeningFeeParams,
    verify_notification,
)
from triolight.lsps.methods import METHODS
from triolight.messages import BOLT, LSPS0, UnknownMessage
from triolight.onion import Offer
from triolight.services import Lsps, LspsServer, open_lsps

pytestmark = pytest.mark.node("LDK native")
ASKED = CreateOrder(
    lsp_balance_sat=500_000,
    client_balance_sat=20_000,
    required_channel_confirmations=0,
    funding_confirms_within_blocks=6,
    channel_expiry_blocks=144,
    announce_channel=False,
)


@asynccontextmanager
async def open_ldk() -> AsyncGenerator[JsonNode]:
    """LDK with a provider. A test that waits for what never comes ends."""
    with trio.fail_after(60):
        async with open_ldk_native("--onion", "77", "--lsps", "yes") as ldk:
            yield ldk


@asynccontextmanager
async def asking() -> AsyncGenerator[tuple[JsonNode, Peer, Lsps]]:
    async with open_ldk() as ldk, open_peers(logger=NullLogger()) as peers:
        peer = await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
        async with open_lsps(peer) as lsps:
            yield ldk, peer, lsps


@pytest.mark.shows("lsps")
async def test_which_protocols_it_has() -> None:
    async with asking() as (_, peer, lsps):
        assert peer.features.offers("lsps")
        assert await lsps.list_protocols() == (1, 2, 5)


@pytest.mark.shows("lsps")
async def test_its_menu_and_what_it_sells_for_it() -> None:
    async with asking() as (ldk, _, lsps):
        with pytest.raises(LspsError) as caught:
            await lsps.lsps2.get_info(token="bad")
        assert caught.value.code == LspsCode.FEE_TOKEN
        menu = await lsps.lsps2.get_info()
        (line,) = menu.opening_fee_params_menu
        assert (line.min_fee_msat, line.proportional, line.min_lifetime) == (546_000, 1200, 1008)
        assert line.valid_until > datetime.now(UTC)
        jit = await lsps.lsps2.buy(line, 1_000_000)
        assert (str(jit.jit_channel_scid), jit.lsp_cltv_expiry_delta) == ("539268x845x1", 144)
        assert not jit.client_trusts_lsp
        await ldk.event("asked")
        await ldk.event("asked")
        assert (await ldk.event("asked"))["payment_size_msat"] == 1_000_000
        for size, code in ((546_000, LspsCode.PAYMENT_TOO_SMALL), (10**12, LspsCode.PAYMENT_TOO_LARGE)):
            with pytest.raises(LspsError) as caught:
                await lsps.lsps2.buy(line, size)
            assert caught.value.code == code


@pytest.mark.shows("lsps")
@pytest.mark.differs(
    "its times have nine digits of a second, and its promise covers them",
    "read any time of RFC 3339, and send a line of the menu back as the text that came",
)
async def test_a_line_goes_back_as_it_came() -> None:
    async with asking() as (_, _, lsps):
        (line,) = (await lsps.lsps2.get_info()).opening_fee_params_menu
        until: str = json.loads(line.text)["valid_until"]
        assert len(until) > len("2026-01-01T00:00:00.000Z")
        with pytest.raises(LspsError) as caught:  # one digit less, and it is another line
            await lsps.request("lsps2.buy", opening_fee_params=OpeningFeeParams.from_json(line.to_json()).to_json())
        assert caught.value.code == LspsCode.FEE_PARAMS
        await lsps.call("lsps2.buy", Buy(opening_fee_params=line).params(), METHODS["lsps2.buy"].result)


@pytest.mark.shows("lsps")
@pytest.mark.differs(
    "what it cannot read, as a method that it does not know, is answered with -32700 and no id, and nothing after it",
    "answer every request that can be identified; as a client, call only what it lists",
)
async def test_it_is_deaf_after_one_word_that_it_does_not_know() -> None:
    # Its pong is no sign that it has answered what came before: a thread of its own writes those answers.
    async with asking() as (_, peer, lsps), peer.subscribe(UnknownMessage) as inbox, trio.open_nursery() as nursery:
        assert await lsps.list_protocols() == (1, 2, 5)
        await anext(inbox)
        nursery.start_soon(lsps.request, "lsps2.nothing")
        await anext(inbox)
        await trio.testing.wait_all_tasks_blocked()
        assert lsps.statistics().unread == 1
        nursery.start_soon(lsps.list_protocols)
        await trio.testing.wait_all_tasks_blocked()
        await peer.ping()
        assert (lsps.statistics().requests, lsps.statistics().answers) == (3, 1)
        nursery.cancel_scope.cancel()


@pytest.mark.shows("lsps")
async def test_an_order() -> None:
    async with asking() as (_, _, lsps):
        options = await lsps.lsps1.get_info()
        assert (options.max_channel_expiry_blocks, options.min_channel_balance_sat) == (20_160, 50_000)
        order = await lsps.lsps1.create_order(ASKED)
        order.check(ASKED)
        assert order.payment.bolt11 is None
        assert order.payment.bolt12 is not None
        assert Offer.decode(order.payment.bolt12.offer).amount_msat == 21_000_000
        assert (order.order_state, order.channel) == ("CREATED", None)
        assert await lsps.lsps1.get_order(order.order_id) == order


@pytest.mark.shows("lsps")
async def test_its_notifications_are_signed() -> None:
    async with asking() as (ldk, _, lsps):
        (line,) = (await lsps.lsps2.get_info()).opening_fee_params_menu
        await lsps.lsps2.buy(line, 1_000_000)  # who has bought nothing gets no webhook
        url = "https://www.example.org/push"
        found = await lsps.lsps5.set_webhook("our app", url)
        assert (found.num_webhooks, found.max_webhooks, found.no_change) == (1, 3, False)
        posted = await ldk.event("webhook")
        assert (posted["app_name"], posted["url"]) == ("our app", url)
        at, signature = (posted["headers"][f"x-lsps5-{name}"] for name in ("timestamp", "signature"))
        assert verify_notification(ldk.node_id, at, posted["body"], signature)
        assert not verify_notification(ldk.node_id, at, posted["body"] + " ", signature)
        assert (await lsps.lsps5.list_webhooks()).app_names == ("our app",)
        await lsps.lsps5.remove_webhook("our app")
        with pytest.raises(LspsError) as caught:
            await lsps.lsps5.remove_webhook("our app")
        assert caught.value.code == LspsCode.APP_NAME_NOT_FOUND


@pytest.mark.shows("lsps")
async def test_the_command_asks_it(tmp_path: Path) -> None:
    """A promise is for the node that has asked: both calls have one key."""
    (tmp_path / "secret").write_text(os.urandom(32).hex())
    (tmp_path / "secret").chmod(0o600)
    who = ("--secret-file", tmp_path / "secret")
    async with open_ldk() as ldk:
        node = str(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
        info = await triolight("lsps", "info", node, "--json")
        assert info["protocols"] == [1, 2, 5]
        assert info["lsps1"]["max_channel_balance_sat"] == "10000000"
        (line,) = info["lsps2"]["opening_fee_params_menu"]
        assert line["min_fee_msat"] == "546000"
        menu = await triolight("lsps", "call", "lsps2.get_info", node, *who)
        (line,) = menu["opening_fee_params_menu"]
        given = f"opening_fee_params={json.dumps(line)}"
        bought = await triolight("lsps", "call", "lsps2.buy", node, given, *who)
        assert bought["jit_channel_scid"] == "539268x845x1"


LINE = {
    "min_fee_msat": "546000",
    "proportional": 1200,
    "valid_until": "2099-02-23T08:47:30.511Z",
    "min_lifetime": 1008,
    "max_client_to_self_delay": 2016,
    "min_payment_size_msat": "1000",
    "max_payment_size_msat": "1000000000",
    "promise": "abcdefghijklmnopqrstuvwxyz",
}


@pytest.mark.shows("lsps")
async def test_it_asks_us() -> None:
    asked: list[Any] = []

    async def get_fees(node_id: bytes, params: dict[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if params.get("token") == "bad":
            raise LspsError(LspsCode.FEE_TOKEN)
        return {"opening_fee_params_menu": [LINE]}

    def buy(node_id: bytes, params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params)
        return {"jit_channel_scid": "1x2x3", "lsp_cltv_expiry_delta": 143}

    def set_webhook(node_id: bytes, params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params)
        return {"num_webhooks": 1, "max_webhooks": 2, "no_change": False}

    server = LspsServer({"lsps2.get_info": get_fees, "lsps2.buy": buy, "lsps5.set_webhook": set_webhook})
    secret = os.urandom(32)
    async with open_ldk() as ldk, server, open_peers(secret, custom_handler=server, messages=BOLT | {LSPS0}) as peers:
        await met(peers, ldk)
        us = node_id(secret).hex()
        await ldk.command("lsps_protocols", node_id=us)
        assert "protocols: [2, 5]" in (await ldk.event("lsps"))["what"]
        await ldk.command("lsps_fees", node_id=us, token="bad")
        assert "code: 200" in (await ldk.event("lsps"))["what"]
        await ldk.command("lsps_fees", node_id=us)
        assert "min_fee_msat: 546000" in (await ldk.event("lsps"))["what"]
        await ldk.command("lsps_buy", node_id=us, payment_size_msat=1_000_000)
        assert "cltv_expiry_delta: 143" in (await ldk.event("lsps"))["what"]
        await ldk.command("lsps_options", node_id=us)
        assert "code: -32601" in (await ldk.event("lsps"))["what"]
        await ldk.command("lsps_webhook", node_id=us, app_name="a", webhook="https://example.org/")
        assert "max_webhooks: 2" in (await ldk.event("lsps"))["what"]
        assert [one.get("payment_size_msat", one.get("app_name")) for one in asked] == ["1000000", "a"]
        assert server.statistics().unread == 0


async def met(peers: PeerNursery, ldk: JsonNode) -> None:
    """We dial; returns when it knows us."""
    await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
    await ldk.event("peer_connected")
