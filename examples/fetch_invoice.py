"""Asks an offer for an invoice, over onion messages (BOLT 12), and verifies what comes. Nothing is paid.

    python examples/fetch_invoice.py                           a shop of our own, in the same program
    python examples/fetch_invoice.py OFFER NODE_ID@HOST:PORT   somebody else's offer, asked over this node

The node is who has made the offer, or one that knows the way to it. What is printed last any wallet can pay that knows
BOLT 12; the proof is for whoever may have to show that it was they who paid.
"""

from __future__ import annotations

import hashlib
import secrets
import sys

import trio

from triolight import ConnectError, NodeAddress, NullLogger, PeerClosed, open_peers
from triolight.onion import (
    BlindedPayinfo,
    InvoiceRequest,
    InvoiceTerms,
    NoRoute,
    Offer,
    OfferError,
    OnionMessenger,
    blind_route,
)
from triolight.services import InvoiceInvalid, InvoiceRefused, OfferServer, fetch_invoice, open_onion_messenger

PATIENCE = 30  # seconds, for all of it: after half of them the question goes another way, if there is one


async def ask(offer: Offer, over: NodeAddress) -> None:
    secret = secrets.token_bytes(32)  # nobody has to know us again
    onions = OnionMessenger(secret, secrets.token_bytes(32), forward=False)
    async with (
        open_peers(secret, onion_handler=onions, logger=NullLogger()) as peers,
        open_onion_messenger(peers, onions) as messenger,
    ):
        with trio.fail_after(PATIENCE):
            invoice = await fetch_invoice(messenger, offer, via=over)
    print(f"{invoice.amount_msat} msat to {invoice.node_id.hex()}, good until {invoice.expires_at}")
    print("invoice:", invoice.data.hex())
    print("proof:", invoice.proof.payer_secret.hex(), invoice.proof.invoice_request.hex())


async def ask_ourselves() -> None:
    secret = secrets.token_bytes(32)
    onions = OnionMessenger(secret, secrets.token_bytes(32))
    node_id = onions.node_id

    async def give(request: InvoiceRequest) -> InvoiceTerms:
        # A node that has channels makes both: a preimage that it keeps, and blinded paths that lead to it.
        payment_hash = hashlib.sha256(secrets.token_bytes(32)).digest()
        cost = BlindedPayinfo(
            fee_base_msat=0,
            fee_proportional_millionths=0,
            cltv_expiry_delta=144,
            htlc_minimum_msat=1,
            htlc_maximum_msat=100_000_000,
            features=b"",
        )
        return InvoiceTerms(payment_hash=payment_hash, paths=[(blind_route(secrets.token_bytes(32), [node_id]), cost)])

    server = OfferServer(secret, give)
    async with (
        open_peers(secret, onion_handler=onions, logger=NullLogger()) as peers,
        open_onion_messenger(peers, onions) as messenger,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(server.serve, messenger)
        (listener,) = await peers.listen(0, host="127.0.0.1")
        offer = server.book.issue("tea", amount_msat=1000)
        print("offer:", offer.encode())
        await ask(offer, NodeAddress(node_id, "127.0.0.1", listener.socket.getsockname()[1]))
        nursery.cancel_scope.cancel()


async def main() -> None:
    try:
        if len(sys.argv) == 3:
            await ask(Offer.decode(sys.argv[1]), NodeAddress.parse(sys.argv[2]))
        else:
            await ask_ourselves()
    except OfferError as error:
        sys.exit(f"this offer cannot be asked so: {error}")
    except InvoiceRefused as error:
        sys.exit(str(error))
    except InvoiceInvalid as error:
        sys.exit(f"do not pay this: {error}")
    except NoRoute as error:
        sys.exit(f"no way: {error}")
    except (ConnectError, PeerClosed) as error:
        sys.exit(f"no connection: {error.reason}")
    except trio.TooSlowError:
        sys.exit(f"no answer within {PATIENCE} seconds")


if __name__ == "__main__":
    trio.run(main)
