"""A client asks a liquidity provider what a channel costs that opens with its first payment, and takes an offer.

It shows both sides of LSPS2 (bLIP 52): a provider of a few lines, and a client that reads its menu and buys.

    python examples/lsp.py                    a provider of our own, in the same program
    python examples/lsp.py NODE_ID@HOST:PORT  somebody else's: it is asked, and nothing is bought
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import trio

from triolight import ConnectError, DecodeError, NodeAddress, NullLogger, PeerClosed, open_peers
from triolight.lsps import FeeMenu, JitChannel, LspsCode, LspsError, OpeningFeeParams
from triolight.messages import BOLT, LSPS0
from triolight.services import Lsps, LspsServer, open_lsps
from triolight.wire import ShortChannelId

PATIENCE = 10  # seconds: an answer is owed within the caller's patience, so it is the caller's to name it
PAYMENT_MSAT = 1_000_000_000


class Provider:
    """Sells channels: one price, which it recognises by a promise when it comes back."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self.server = LspsServer({"lsps2.get_info": self.get_info, "lsps2.buy": self.buy})

    def _line(self, valid_until: datetime) -> OpeningFeeParams:
        promise = hmac.digest(self._secret, str(valid_until).encode(), hashlib.sha256).hex()
        return OpeningFeeParams(
            min_fee_msat=546_000,
            proportional=1200,
            valid_until=valid_until,
            min_lifetime=1008,
            max_client_to_self_delay=2016,
            min_payment_size_msat=1_000_000,
            max_payment_size_msat=10_000_000_000,
            promise=promise,
        )

    def get_info(self, node_id: bytes, params: dict[str, Any]) -> FeeMenu:
        """A plain method answers at once."""
        if params.get("token"):
            raise LspsError(LspsCode.FEE_TOKEN)
        until = datetime.fromtimestamp(int(time.time()), UTC) + timedelta(hours=1)
        return FeeMenu(opening_fee_params_menu=(self._line(until),))

    async def buy(self, node_id: bytes, params: dict[str, Any]) -> JitChannel:
        """An async one may ask others first; here nobody."""
        given = OpeningFeeParams.from_json(params["opening_fee_params"])
        if given != self._line(given.valid_until) or given.valid_until < datetime.now(UTC):
            raise LspsError(LspsCode.FEE_PARAMS)
        await trio.lowlevel.checkpoint()
        scid = ShortChannelId.of(539268, 845, 1)
        return JitChannel(jit_channel_scid=scid, lsp_cltv_expiry_delta=144)


async def ask(lsps: Lsps, buys: bool) -> None:
    protocols = await lsps.list_protocols()
    print("protocols:", *protocols)
    if 2 not in protocols:
        return
    menu = await lsps.lsps2.get_info()
    for line in menu.opening_fee_params_menu:
        fee = line.opening_fee(PAYMENT_MSAT)
        print(f"a first payment of {PAYMENT_MSAT} msat costs {fee} msat")
    if buys:
        jit = await lsps.lsps2.buy(menu.opening_fee_params_menu[0], PAYMENT_MSAT)
        print(f"the invoice goes over {jit.jit_channel_scid}, with {jit.lsp_cltv_expiry_delta} blocks")


async def dial(address: str | NodeAddress, buys: bool) -> None:
    async with open_peers(logger=NullLogger()) as client:
        peer = await client.connect(address)
        with trio.fail_after(PATIENCE):
            async with open_lsps(peer) as lsps:
                await ask(lsps, buys)


async def ask_ourselves() -> None:
    server = Provider().server
    async with server, open_peers(custom_handler=server, messages=BOLT | {LSPS0}, logger=NullLogger()) as provider:
        listeners = await provider.listen(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await dial(NodeAddress(provider.manager.our_node_id, "127.0.0.1", port), buys=True)


async def main() -> None:
    try:
        if len(sys.argv) > 1:
            await dial(sys.argv[1], buys=False)
        else:
            await ask_ourselves()
    except ConnectError as error:
        sys.exit(f"no connection: {error.reason}")
    except PeerClosed as error:
        sys.exit(f"the connection has ended: {error.reason}")
    except (LspsError, DecodeError) as error:
        sys.exit(f"the provider says: {error}")
    except trio.TooSlowError:
        sys.exit(f"no answer within {PATIENCE} seconds: this node may be no liquidity provider")


if __name__ == "__main__":
    trio.run(main)
