"""Invoices and invoice errors: what comes back for an invoice request. Values; nothing is sent, and nothing is paid.

An invoice is checked twice: by itself when its bytes are read, and against the request that it answers by `verify`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from triolight.keys import SecretKey, verify_schnorr
from triolight.messages import BlindedPath
from triolight.onion.offers import check_offer
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
from triolight.onion.requests import REQUEST_RANGES, InvoiceRequest, price_of, signed
from triolight.onion.streams import (
    BlindedPayinfo,
    FallbackAddress,
    InvoiceErrorTlvs,
    InvoiceRequestTlvs,
    InvoiceTlvs,
)
from triolight.text import printable
from triolight.wire import write_bigsize

__all__ = ["Invoice", "InvoiceError"]

DEFAULT_EXPIRY: Final = 7200
"""Seconds that an invoice is good for, if it does not say."""
BASIC_MPP: Final = (16, 17)
"""The features of an invoice that there are: it may be paid in parts."""
MIRRORED: Final = (range(160), range(1_000_000_000, 3_000_000_000))
"""The types of records that an invoice repeats of its request."""
MOST_VERSION: Final = 16
SHORTEST_PROGRAM: Final = 2
LONGEST_PROGRAM: Final = 40
"""What a fallback is: a version and a witness program (BIP 141); others are passed over."""
_NEEDED: Final = (
    "invoice_paths",
    "invoice_blindedpay",
    "invoice_created_at",
    "invoice_payment_hash",
    "invoice_amount",
    "invoice_node_id",
    "signature",
)


class Invoice:
    """An invoice, checked by itself, its signature too: OfferError names the first rule that its bytes break.

    That it answers a request, `verify` says. Its fields are `tlvs`, by the BOLT's names.
    """

    __slots__ = ("amount_msat", "created_at", "data", "node_id", "payment_hash", "records", "tlvs")
    PREFIX: ClassVar[str] = "lni"

    def __init__(self, data: bytes) -> None:
        self.data: Final = bytes(data)
        """Its TLV stream, as it came."""
        records, tlvs = parse(self.data, InvoiceTlvs, ())
        self.records: Final = records
        """Its records with their bytes."""
        self.tlvs: Final = tlvs
        """Its fields."""
        for field in _NEEDED:
            if getattr(self.tlvs, field) is None:
                raise OfferError("B16", "it is not there", field)
        self.amount_msat: Final = self.tlvs.invoice_amount or 0
        """What it asks for."""
        self.payment_hash: Final = self.tlvs.invoice_payment_hash or b""
        """What the payment is called by."""
        self.node_id: Final = self.tlvs.invoice_node_id or b""
        """Whose signature it has."""
        self.created_at: Final = self.tlvs.invoice_created_at or 0
        """Seconds since 1970."""
        self._check()

    @classmethod
    def decode(cls, text: str) -> Invoice:
        """From its string, ``lni1…``, a form that the BOLT does not name and others print; or from hex digits, of its
        TLV stream."""
        try:
            data = bytes.fromhex(text)
        except ValueError:
            data = decode_string(text, cls.PREFIX)
        return cls(data)

    @classmethod
    def make(cls, request: InvoiceRequest, tlvs: InvoiceTlvs, key: SecretKey, randomness: bytes) -> Invoice:
        """Answers a request: what it says is repeated, `tlvs` has what is new, of types from 160 on. OfferError if
        that is no invoice. `randomness`: 32 fresh random bytes for the signature."""
        mirrored = tuple(record for record in request.records if _is_mirrored(record.type))
        own = read_records(tlvs.replace(invoice_node_id=key.public_key, signature=None).encode())
        if any(_is_mirrored(record.type) for record in own):
            raise ValueError("what the request says is repeated as it is, and cannot be given")
        return cls(signed("invoice", (*mirrored, *own), key, randomness))

    def encode(self) -> str:
        """Its string, in lower case. Most wallets take the hex digits of `data`."""
        return encode_string(self.PREFIX, self.data)

    def verify(
        self, request: InvoiceRequest | bytes, *, now: float, sent_to: bytes | None = None, most_msat: int | None = None
    ) -> None:
        """That it answers this request, and may be paid now. OfferError if not.

        Args:
          request: ours, as an object or as its TLV stream, whose signature is not looked at again.
          now: seconds since 1970.
          sent_to: the last blinded id of the path that the request took, if the offer names nobody.
          most_msat: what may be asked for at the most. If the request names no amount, its price is the most anyway.
        """
        data = request if isinstance(request, bytes) else request.data
        records, tlvs = parse(data, InvoiceRequestTlvs, REQUEST_RANGES)
        if _mirrored(self.records) != _mirrored(records):
            raise OfferError("B16", "it does not repeat its request as it was")
        signer = tlvs.offer_issuer_id
        if signer is None and tlvs.offer_paths is not None:
            signer = sent_to or b""
        if signer is not None and self.node_id != signer:
            raise OfferError("B16", "it is by somebody else than was asked", "invoice_node_id")
        asked = tlvs.invreq_amount
        if asked is not None and self.amount_msat != asked:
            raise OfferError("B16", f"{self.amount_msat} msat, and {asked} were asked for", "invoice_amount")
        price = price_of(tlvs) if asked is None else None
        limits = [limit for limit in (most_msat, price) if limit is not None]
        if limits and self.amount_msat > min(limits):
            raise OfferError("B17", f"{self.amount_msat} msat, and {min(limits)} are the most", "invoice_amount")
        if now > self.expires_at:
            raise OfferError("B16", f"it has expired at {self.expires_at}", "invoice_relative_expiry")

    @property
    def expires_at(self) -> int:
        """Seconds since 1970; the last at which it may be paid."""
        expiry = self.tlvs.invoice_relative_expiry
        return self.created_at + (DEFAULT_EXPIRY if expiry is None else expiry)

    @property
    def paths(self) -> tuple[tuple[BlindedPath, BlindedPayinfo], ...]:
        """The ways to pay it, and what each costs; without those that need a feature which nobody knows."""
        both = zip(self.tlvs.invoice_paths or (), self.tlvs.invoice_blindedpay or (), strict=True)
        return tuple((path, info) for path, info in both if unknown_even(info.features) is None)

    @property
    def fallbacks(self) -> tuple[FallbackAddress, ...]:
        """Places on the chain that may be paid instead; without those that are none."""
        return tuple(
            one
            for one in self.tlvs.invoice_fallbacks or ()
            if one.version <= MOST_VERSION and SHORTEST_PROGRAM <= len(one.address) <= LONGEST_PROGRAM
        )

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, Invoice) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"<Invoice {self.payment_hash.hex()[:16]} {self.amount_msat} msat>"

    def _check(self) -> None:
        tlvs = self.tlvs
        digest = signature_hash("invoice", merkle_root(self.records))
        if not verify_schnorr(tlvs.signature or b"", digest, self.node_id):
            raise OfferError("B9", "not by the key of invoice_node_id", "signature")
        check_offer("B16", tlvs)
        check_paths("B16", "invreq_paths", tlvs.invreq_paths)
        check_paths("B16", "invoice_paths", tlvs.invoice_paths)
        if len(tlvs.invoice_paths or ()) != len(tlvs.invoice_blindedpay or ()):
            raise OfferError("B16", "not one for each path", "invoice_blindedpay")
        bit = unknown_even(tlvs.invoice_features, BASIC_MPP)
        if bit is not None:
            raise OfferError("B16", f"feature {bit}, which is even and unknown", "invoice_features")
        if not self.paths:
            raise OfferError("B16", "no path whose features are known", "invoice_blindedpay")


class InvoiceError:
    """Why there is no invoice, or an invoice is not paid. OfferError if its bytes are none."""

    __slots__ = ("data", "tlvs")

    def __init__(self, data: bytes) -> None:
        self.data: Final = bytes(data)
        """Its TLV stream, as it came."""
        self.tlvs: Final = _error_of(self.data)
        """Its fields."""

    @classmethod
    def make(cls, error: str, erroneous_field: int | None = None, suggested_value: bytes | None = None) -> InvoiceError:
        """With a text for people; perhaps the type of a field that is wrong, and what it should be. OfferError for a
        value without a field."""
        if suggested_value is not None and erroneous_field is None:
            raise OfferError("B19", "a value without a field", "suggested_value")
        tlvs = InvoiceErrorTlvs(erroneous_field=erroneous_field, suggested_value=suggested_value, error=error.encode())
        return cls(tlvs.encode())

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, InvoiceError) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.data)

    def __str__(self) -> str:
        """Its text, printable and not too long."""
        text = printable(self.tlvs.error or b"") or "no reason given"
        return text if self.tlvs.erroneous_field is None else f"{text} (field {self.tlvs.erroneous_field})"

    def __repr__(self) -> str:
        return f"<InvoiceError {self}>"


def _error_of(data: bytes) -> InvoiceErrorTlvs:
    try:
        return parse(data, InvoiceErrorTlvs, ())[1]
    except OfferError:
        # LDK, 0.2.7 too, writes before an error how long it is, which BOLT 12 does not.
        for start in (1, 3):
            if len(data) > start and data[:start] == write_bigsize(len(data) - start):
                return parse(data[start:], InvoiceErrorTlvs, ())[1]
        raise


def _mirrored(records: tuple[Record, ...]) -> list[bytes]:
    return [record.raw for record in records if _is_mirrored(record.type)]


def _is_mirrored(type_: int) -> bool:
    return any(type_ in one for one in MIRRORED)
