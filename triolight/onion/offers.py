"""Offers: what somebody sells, and how to ask for an invoice. A value; nothing is sent, and the time is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from triolight.chains import BITCOIN, AnyChain, chain_hashes, chain_name
from triolight.messages import BlindedPath
from triolight.onion.records import (
    OfferError,
    check_paths,
    decode_string,
    encode_string,
    merkle_root,
    parse,
    unknown_even,
)
from triolight.onion.streams import InvoiceRequestTlvs, InvoiceTlvs, OfferTlvs
from triolight.text import printable

__all__ = ["OFFER_RANGES", "Offer", "check_offer"]

OFFER_RANGES: Final = (range(1, 80), range(1_000_000_000, 2_000_000_000))
"""The types of an offer's records."""
_CURRENCY: Final = 3
"""Letters of a currency (ISO 4217)."""


class Offer:
    """An offer, checked: OfferError names the first rule that its bytes break.

    Its fields are `tlvs`, by the BOLT's names. Whether it can still be used is another question: `check`.
    """

    __slots__ = ("data", "records", "tlvs")
    PREFIX: ClassVar[str] = "lno"

    def __init__(self, data: bytes) -> None:
        self.data: Final = bytes(data)
        """Its TLV stream, as it came."""
        records, tlvs = parse(self.data, OfferTlvs, OFFER_RANGES)
        self.records: Final = records
        """Its records with their bytes."""
        self.tlvs: Final = tlvs
        """Its fields."""
        check_offer("B11", self.tlvs)
        if self.tlvs.offer_issuer_id is None and self.tlvs.offer_paths is None:
            raise OfferError("B11", "neither offer_issuer_id nor offer_paths: nobody to ask")

    @classmethod
    def decode(cls, text: str) -> Offer:
        """From its string, ``lno1…``. OfferError if it is none."""
        return cls(decode_string(text, cls.PREFIX))

    @classmethod
    def make(cls, tlvs: OfferTlvs) -> Offer:
        """From its fields. OfferError if they are no offer, ValueError for a field that cannot be written."""
        return cls(tlvs.encode())

    def encode(self) -> str:
        """Its string, in lower case."""
        return encode_string(self.PREFIX, self.data)

    def check(self, *, now: float, chains: AnyChain | Iterable[AnyChain] = (BITCOIN,)) -> None:
        """Whether it can be used at this time, in seconds since 1970, by who has these chains. OfferError if not."""
        expiry = self.tlvs.offer_absolute_expiry
        if expiry is not None and now > expiry:
            raise OfferError("B11", f"it has expired at {expiry}, {int(now - expiry)} s ago", "offer_absolute_expiry")
        if not {*chain_hashes(chains)} & {*self.chains}:
            wanted = ", ".join(map(chain_name, self.chains[:4]))
            raise OfferError("B11", f"it is for other chains: {wanted}", "offer_chains")

    @property
    def offer_id(self) -> bytes:
        """What it is called by: the root over its records."""
        return merkle_root(self.records)

    @property
    def chains(self) -> tuple[bytes, ...]:
        """The hashes of the chains that it may be paid on; bitcoin's if it names none."""
        return (BITCOIN.chain_hash,) if self.tlvs.offer_chains is None else self.tlvs.offer_chains

    @property
    def amount_msat(self) -> int | None:
        """What one of it costs; None if whoever pays decides, or the price is in another currency."""
        return self.tlvs.offer_amount if self.tlvs.offer_currency is None else None

    @property
    def paths(self) -> tuple[BlindedPath, ...]:
        """The ways to ask; none: `offer_issuer_id` is asked."""
        return self.tlvs.offer_paths or ()

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, Offer) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"<Offer {self.offer_id.hex()[:16]} '{printable(self.tlvs.offer_description or b'', 40)}'>"


def check_offer(rule: str, tlvs: OfferTlvs | InvoiceRequestTlvs | InvoiceTlvs) -> None:
    """What the fields of an offer must be, wherever they stand."""
    if tlvs.offer_chains is not None and not tlvs.offer_chains:
        raise OfferError(rule, "a list without a chain", "offer_chains")
    bit = unknown_even(tlvs.offer_features)
    if bit is not None:
        raise OfferError(rule, f"feature {bit}, which is even and unknown", "offer_features")
    if tlvs.offer_currency is not None:
        if not (
            len(tlvs.offer_currency) == _CURRENCY and tlvs.offer_currency.isalpha() and tlvs.offer_currency.isupper()
        ):
            raise OfferError("B6", "not three capital letters", "offer_currency")
        if tlvs.offer_amount is None:
            raise OfferError(rule, "a currency without an amount", "offer_currency")
    if tlvs.offer_amount is not None:
        if tlvs.offer_description is None:
            raise OfferError(rule, "an amount without a description", "offer_amount")
        if not tlvs.offer_amount:
            raise OfferError(rule, "an amount of zero", "offer_amount")
    check_paths(rule, "offer_paths", tlvs.offer_paths)
