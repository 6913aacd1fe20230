"""``triolight offer decode`` and ``invoice decode``: what stands in a string that somebody was given. Asks nobody."""

from __future__ import annotations

import json
from typing import Final

import click

from triolight.cli.bolt12 import in_words, invoice_fields, offer_fields, unknown_fields
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import json_option
from triolight.cli.output import data, say
from triolight.onion import Invoice, Offer, OfferError

OFFLINE: Final = (Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)


@command("offer decode", *OFFLINE)
@click.argument("text")
@json_option
def decode_offer(text: str, as_json: bool) -> None:
    """Show what an offer says, ``lno1…``: who sells what for how much, and how to ask for an invoice.

    Nobody is asked: whether the offer still holds, its issuer knows. If TEXT is no offer, the error names the rule of
    BOLT 12 that it breaks.
    """
    try:
        offer = Offer.decode(text)
    except OfferError as error:
        raise click.BadParameter(str(error), param_hint="TEXT") from None
    fields = {"offer_id": offer.offer_id.hex(), **offer_fields(offer.tlvs)}
    fields["unknown"] = unknown_fields(offer.tlvs.unknown)
    if as_json:
        say(json.dumps(fields))
    else:
        say(f"offer {fields.pop('offer_id')}\n" + in_words(fields))


@command("invoice decode", *OFFLINE)
@click.argument("text", metavar="HEX")
@json_option
def decode_invoice(text: str, as_json: bool) -> None:
    """Show what an invoice of BOLT 12 says, given as hex digits or as ``lni1…``: who wants how much for what, and until
    when it may be paid.

    Its signature is verified; that it answers a request of ours only who made that can know. If HEX is no invoice, the
    error names the rule of BOLT 12 that it breaks.
    """
    try:
        invoice = Invoice.decode(text)
    except OfferError as error:
        raise click.BadParameter(str(error), param_hint="HEX") from None
    fields = invoice_fields(invoice)
    if as_json:
        data(as_json, "", "invoice", **fields)
    else:
        del fields["invoice"]
        say(f"invoice {fields.pop('payment_hash')}\n" + in_words(fields))
