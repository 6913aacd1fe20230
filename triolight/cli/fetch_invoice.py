"""``triolight offer fetch-invoice``: what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triolight.chains import BITCOIN
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    chain_option,
    graph_option,
    json_option,
    need,
    proxy_option,
    seconds_option,
    secret_option,
    verbose_option,
    via_option,
)
from triolight.onion import Offer, OfferError

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy


@command(
    "offer fetch-invoice",
    Exit.OK,
    Exit.FAILED,
    Exit.USAGE,
    Exit.CONNECT,
    Exit.PROTOCOL,
    Exit.TIMEOUT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)
@click.argument("text")
@via_option
@graph_option
@click.option("--amount-msat", type=click.IntRange(1), metavar="MSAT", help="What to pay, if the offer leaves it open.")
@click.option("--quantity", type=click.IntRange(1), metavar="N", help="How many, if the offer asks for it.")
@click.option("--note", metavar="TEXT", help="A word to whoever gives the invoice.")
@chain_option
@proxy_option
@seconds_option("--seconds", 60, "To wait for the answer.", open=True)
@secret_option
@json_option
@verbose_option
@click.pass_context
def fetch_invoice(
    ctx: click.Context,
    text: str,
    via: NodeAddress | None,
    graph: Path | None,
    amount_msat: int | None,
    quantity: int | None,
    note: str | None,
    chain: bytes | None,
    proxy: Proxy | None,
    seconds: float,
    secret_file: Path | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Ask whoever made an offer, ``lno1…``, for an invoice, and show it once it is verified.

    Nothing is paid: any wallet that knows BOLT 12 can, with the hex digits. --via names a node that the question goes
    over, or that has made the offer; --graph finds other ways, and nodes to dial. Without an answer in half of the
    seconds, or in 15, another way is tried too. Exit code 1 if the other side says no; 3 if
    there is no way; 5 if what comes is no invoice for this offer; 6 if nothing comes.
    """
    try:
        offer = Offer.decode(text)
    except OfferError as error:
        raise click.BadParameter(str(error), param_hint="TEXT") from None
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.fetch_invoice import Plan, fetch  # with Trio, which help and completion do without

    plan = Plan(offer, via, graph, amount_msat, quantity, note, chain or BITCOIN.chain_hash, seconds, proxy)
    ctx.exit(fetch(plan, secret_file, verbose, as_json))
