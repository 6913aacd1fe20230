"""Asks an offer for an invoice, and shows what comes. Pays nothing."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from triolight import (
    ChannelMessageHandler,
    ConnectError,
    MessageHandler,
    NodeAddress,
    PeerClosed,
    PeerManager,
    Proxy,
    RoutingMessageHandler,
    open_peer_nursery,
)
from triolight.cli.bolt12 import in_words, invoice_fields
from triolight.cli.exits import Exit, FailedError, NoNetworkError, exit_of
from triolight.cli.jobs.routes import routes_of
from triolight.cli.node import new_secret, read_secret
from triolight.cli.output import data, logger_for, progress, start_log
from triolight.cli.running import run
from triolight.onion import GraphRoutes, NoRoute, Offer, OfferError, OnionMessenger
from triolight.services import FetchedInvoice, InvoiceInvalid, InvoiceRefused, fetch_invoice, open_onion_messenger


@dataclass(frozen=True, slots=True)
class Plan:
    """What `offer fetch-invoice` was asked for."""

    offer: Offer
    via: NodeAddress | None
    graph: Path | None
    amount_msat: int | None
    quantity: int | None
    note: str | None
    chain: bytes
    seconds: float
    proxy: Proxy | None = None


def fetch(plan: Plan, secret_file: Path | None, verbose: int, as_json: bool) -> int:
    """The exit code."""
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    routes = routes_of(plan.graph, plan.chain)
    onions = OnionMessenger(secret, secrets.token_bytes(32), forward=False, graph=routes)
    manager = PeerManager(
        MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), onions),
        secret,
        secrets.token_bytes(32),
        logger_for(verbose),
        networks=(plan.chain,),
    )
    return run(_fetch, plan, routes, manager, onions, as_json)


async def _fetch(
    plan: Plan, routes: GraphRoutes | None, manager: PeerManager, onions: OnionMessenger, as_json: bool
) -> Exit:
    try:
        with trio.fail_after(plan.seconds):
            async with (
                open_peer_nursery(manager, proxy=plan.proxy) as peers,
                open_onion_messenger(peers, onions, None if routes is None else routes.addresses) as messenger,
            ):
                via = plan.via
                if via is not None and routes is not None:
                    await peers.connect(via)
                    via = None  # the graph knows how it goes on from there
                invoice = await fetch_invoice(
                    messenger,
                    plan.offer,
                    amount_msat=plan.amount_msat,
                    quantity=plan.quantity,
                    payer_note=plan.note,
                    chain=plan.chain,
                    via=via,
                )
    except trio.TooSlowError:
        progress(f"no answer within {plan.seconds:g} s")
        return Exit.TIMEOUT
    except OfferError as error:
        raise click.UsageError(str(error)) from None
    except InvoiceRefused as error:
        raise FailedError(str(error)) from None
    except InvoiceInvalid as error:
        progress(str(error))
        return Exit.PROTOCOL
    except NoRoute as error:
        raise NoNetworkError(f"no way to whom the offer is from: {error}; --via names a node to go over") from None
    except (ConnectError, PeerClosed) as error:
        progress(str(error.reason))
        return exit_of(error.reason)
    _show(invoice, as_json)
    return Exit.OK


def _show(invoice: FetchedInvoice, as_json: bool) -> None:
    fields = {**invoice_fields(invoice), "invoice_request": invoice.request.data.hex()}
    words = {name: value for name, value in fields.items() if name not in ("payment_hash", "offer", "invoice_request")}
    data(as_json, f"invoice {fields['payment_hash']}\n{in_words(words)}", "invoice", **fields)
