"""Invoice requests: an offer's records as they are, and what somebody wants of it, signed. A value; nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from triolight.chains import BITCOIN, AnyChain, chain_hash, chain_name
from triolight.keys import SecretKey, verify_schnorr
from triolight.onion.offers import OFFER_RANGES, Offer, check_offer
from triolight.onion.records import (
    OfferError,
    Record,
    check_paths,
    decode_string,
    encode_string,
    merkle_root,
    parse,
    read_records,
    signature_hash,
    unknown_even,
)
from triolight.onion.streams import Bip353Name, InvoiceRequestTlvs
from triolight.wire import TlvRecord, write_tlv_records

__all__ = ["REQUEST_RANGES", "InvoiceRequest", "price_of", "signed"]

SIGNATURE: Final = 240
REQUEST_RANGES: Final = (range(160), range(240, 1001), range(1_000_000_000, 3_000_000_000))
"""The types of an invoice request's records, its signature among them."""
METADATA_LENGTH: Final = 16
"""Random bytes at the least, so that nobody can guess a request from what is signed."""
_MOST: Final = (1 << 64) - 1
_NAME: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.")


class InvoiceRequest:
    """An invoice request, checked, its signature too: OfferError names the first rule that its bytes break.

    Its fields are `tlvs`, by the BOLT's names.
    """

    __slots__ = ("data", "records", "tlvs")
    PREFIX: ClassVar[str] = "lnr"

    def __init__(self, data: bytes, *, _made: bool = False) -> None:
        # Who has made it a moment ago need not look at a signature of their own.
        self.data: Final = bytes(data)
        """Its TLV stream, as it came."""
        records, tlvs = parse(self.data, InvoiceRequestTlvs, REQUEST_RANGES)
        self.records: Final = records
        """Its records with their bytes."""
        self.tlvs: Final = tlvs
        """Its fields."""
        self._check(ours=_made)

    @classmethod
    def decode(cls, text: str) -> InvoiceRequest:
        """From its string, ``lnr1…``. OfferError if it is none."""
        return cls(decode_string(text, cls.PREFIX))

    @classmethod
    def make(
        cls,
        offer: Offer,
        payer_key: SecretKey,
        metadata: bytes,
        randomness: bytes,
        *,
        amount_msat: int | None = None,
        quantity: int | None = None,
        payer_note: str | None = None,
        chain: AnyChain = BITCOIN,
        bip_353_name: tuple[str, str] | None = None,
    ) -> InvoiceRequest:
        """Asks for what is offered. OfferError if that does not fit the offer: B13.

        Args:
          payer_key: a fresh key, which proves later who has paid.
          metadata: 16 fresh random bytes, or more.
          randomness: 32 fresh random bytes for the signature.
          amount_msat: at least the price; needed if the offer names none.
          quantity: needed if the offer allows for more than one, and only then.
          bip_353_name: name and domain, if the offer came from such an address.
        """
        if len(metadata) < METADATA_LENGTH:
            raise ValueError(f"the metadata has {METADATA_LENGTH} random bytes at the least, not {len(metadata)}")
        wanted = chain_hash(chain)
        if wanted not in offer.chains:
            raise OfferError("B13", f"the offer is not for {chain_name(wanted)}", "invreq_chain")
        name = None
        if bip_353_name is not None:
            name = Bip353Name(name=tuple(bip_353_name[0].encode()), domain=tuple(bip_353_name[1].encode()))
        tlvs = InvoiceRequestTlvs(
            invreq_metadata=metadata,
            invreq_chain=None if wanted == BITCOIN.chain_hash else wanted,
            invreq_amount=amount_msat,
            invreq_quantity=quantity,
            invreq_payer_id=payer_key.public_key,
            invreq_payer_note=None if payer_note is None else payer_note.encode(),
            invreq_bip_353_name=name,
        )
        own = read_records(tlvs.encode())
        return cls(signed("invoice_request", (*own, *offer.records), payer_key, randomness), _made=True)

    def encode(self) -> str:
        """Its string, in lower case."""
        return encode_string(self.PREFIX, self.data)

    def answers(self, offer: Offer) -> bool:
        """Whether it repeats this offer, byte for byte and nothing more."""
        return b"".join(record.raw for record in self.records if _is_of_offer(record.type)) == offer.data

    @property
    def chain_hash(self) -> bytes:
        """The chain to pay on."""
        return self.tlvs.invreq_chain or BITCOIN.chain_hash

    @property
    def price_msat(self) -> int | None:
        """What it costs at the least: the offer's amount for each item. None if the offer names none, or in another
        currency."""
        return price_of(self.tlvs)

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, InvoiceRequest) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"<InvoiceRequest {merkle_root(self.records).hex()[:16]}>"

    def _check(self, ours: bool) -> None:
        tlvs = self.tlvs
        for field in ("invreq_metadata", "invreq_payer_id", "signature"):
            if getattr(tlvs, field) is None:
                raise OfferError("B14", "it is not there", field)
        if not ours:
            digest = signature_hash("invoice_request", merkle_root(self.records))
            if not verify_schnorr(tlvs.signature or b"", digest, tlvs.invreq_payer_id or b""):
                raise OfferError("B9", "not by the key of invreq_payer_id", "signature")
        check_offer("B14", tlvs)
        bit = unknown_even(tlvs.invreq_features)
        if bit is not None:
            raise OfferError("B14", f"feature {bit}, which is even and unknown", "invreq_features")
        check_paths("B14", "invreq_paths", tlvs.invreq_paths)
        _check_wanted("B13" if ours else "B14", tlvs)


def _check_wanted(rule: str, tlvs: InvoiceRequestTlvs) -> None:
    """What is asked for, against the offer that stands beside it, or without one."""
    name = tlvs.invreq_bip_353_name
    if name is not None and not {*name.name, *name.domain} <= _NAME:
        raise OfferError(rule, "characters that no such name has", "invreq_bip_353_name")
    if tlvs.offer_issuer_id is None and tlvs.offer_paths is None:
        for field in ("offer_chains", "offer_features", "offer_quantity_max"):
            if getattr(tlvs, field) is not None:
                raise OfferError(rule, "of an offer, and there is none", field)
        if tlvs.invreq_amount is None:
            raise OfferError(rule, "it is not there, and there is no offer that says it", "invreq_amount")
        return
    chains = tlvs.offer_chains or (BITCOIN.chain_hash,)
    if (tlvs.invreq_chain or BITCOIN.chain_hash) not in chains:
        raise OfferError(rule, "a chain that is not offered", "invreq_chain")
    quantity, most = tlvs.invreq_quantity, tlvs.offer_quantity_max
    if most is None:
        if quantity is not None:
            raise OfferError(rule, "the offer is for one, and takes no number", "invreq_quantity")
    elif quantity is None:
        raise OfferError(rule, "it is not there, and the offer asks for it", "invreq_quantity")
    elif not quantity or (most and quantity > most):
        raise OfferError(rule, f"{quantity}, where the offer has from 1 to {most or 'any number'}", "invreq_quantity")
    price = price_of(tlvs)
    if tlvs.invreq_amount is None:
        if tlvs.offer_amount is None:
            raise OfferError(rule, "it is not there, and the offer names none", "invreq_amount")
    elif price is not None and tlvs.invreq_amount < price:
        raise OfferError(rule, f"{tlvs.invreq_amount} msat, and the price is {price}", "invreq_amount")


def price_of(tlvs: InvoiceRequestTlvs) -> int | None:
    """What the offer asks for all items together; None if it names nothing, or another currency."""
    if tlvs.offer_amount is None or tlvs.offer_currency is not None:
        return None
    price = tlvs.offer_amount * (1 if tlvs.invreq_quantity is None else tlvs.invreq_quantity)
    if price > _MOST:
        raise OfferError("B15", f"all items together cost more than {_MOST} msat", "invreq_quantity")
    return price


def _is_of_offer(type_: int) -> bool:
    return any(type_ in one for one in OFFER_RANGES)


def _sorted(records: Sequence[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.type)


def signed(message: str, records: Sequence[Record], key: SecretKey, randomness: bytes) -> bytes:
    """The TLV stream of these records and the signature over them."""
    ordered = _sorted(records)
    signature = key.sign_schnorr(signature_hash(message, merkle_root(ordered)), randomness)
    value = write_tlv_records([TlvRecord(SIGNATURE, signature)])
    made = Record(SIGNATURE, signature, value)
    return b"".join(record.raw for record in _sorted((*ordered, made)))
