"""OfferBook: our offers, and what each invoice request gets: an invoice, once the application is asked, or not.

A state machine without I/O: time and random bytes are inputs. Who asks twice with the same metadata gets the same
invoice or nothing, never a second payment hash. Who could learn from an answer that an offer is ours gets none.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from triolight.chains import BITCOIN, AnyChain, chain_hashes
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, EncryptedDataTlv
from triolight.onion.blinded import blind_route
from triolight.onion.invoices import Invoice, InvoiceError
from triolight.onion.offers import OFFER_RANGES, Offer
from triolight.onion.records import OfferError, Record, merkle_root
from triolight.onion.requests import InvoiceRequest
from triolight.onion.streams import BlindedPayinfo, FallbackAddress, InvoiceRequestTlvs, InvoiceTlvs, OfferTlvs

__all__ = ["InvoiceTerms", "OfferBook"]

LONGEST_REQUEST: Final = 8192
"""Bytes of an invoice request that is answered: an invoice repeats them, and is kept."""
REMEMBERED: Final = 4096
"""Requests that have an invoice, or will have one. While all of those invoices are good, no other request gets one."""
METADATA_LENGTH: Final = 16
NONCE_LENGTH: Final = 16
_PATHS: Final = 16
"""The type of offer_paths."""
_TYPES: Final = {field.name: field.tlv_type for field in InvoiceRequestTlvs.__fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceTerms:
    """What an application wants to be paid by: what the layer that pays has made for one request."""

    payment_hash: bytes
    """Of a preimage that is used for nothing else."""
    paths: Sequence[tuple[BlindedPath, BlindedPayinfo]]
    """Blinded paths for the payment, and what each costs."""
    amount_msat: int | None = None
    """Where neither the request nor the offer says it in millisatoshis: what it costs now."""
    relative_expiry: int | None = None
    """Seconds that it may be paid; None: 7,200."""
    features: bytes | None = None
    fallbacks: Sequence[FallbackAddress] = ()


@dataclass(slots=True)
class _Asked:
    """A request that is answered, or was."""

    request: bytes
    """The hash of all of it."""
    invoice: bytes | None = None
    """None: the application has not said yet."""
    expires_at: float = 0


class OfferBook:
    """Offers of one node, which it signs for.

    Args:
      node_secret: the node's, of 32 bytes.
      random_bytes: fresh random bytes, so many.
      remembered: requests with an invoice that are kept, to give each the same one again.
    """

    def __init__(
        self, node_secret: bytes, random_bytes: Callable[[int], bytes], *, remembered: int = REMEMBERED
    ) -> None:
        if remembered < 1:
            raise ValueError(f"remembered is above 0, not {remembered}")
        self._key: Final = SecretKey(node_secret)
        self._path_key: Final = hmac.digest(node_secret, b"paths of our offers", "sha256")
        self._random_bytes: Final = random_bytes
        self._remembered: Final = remembered
        self._offers: Final[dict[bytes, Offer]] = {}
        """By their bytes."""
        self._asked: Final[dict[bytes, _Asked]] = {}
        """By the hash of their metadata."""
        self._expiring: Final[list[tuple[float, bytes]]] = []
        """Their keys, as a heap: whose invoice expires first is forgotten first, and not before."""

    def __len__(self) -> int:
        """How many requests are remembered."""
        return len(self._asked)

    def __repr__(self) -> str:
        return f"<OfferBook {self.node_id.hex()[:16]}, {len(self._offers)} offers, {len(self)} requests>"

    @property
    def node_id(self) -> bytes:
        """Whose offers they are, and who signs."""
        return self._key.public_key

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Those that can be asked."""
        return tuple(self._offers.values())

    # Offers.

    def issue(
        self,
        description: str | None = None,
        *,
        amount_msat: int | None = None,
        quantity_max: int | None = None,
        absolute_expiry: int | None = None,
        issuer: str | None = None,
        chains: AnyChain | Iterable[AnyChain] = BITCOIN,
        introductions: Sequence[bytes] = (),
    ) -> Offer:
        """A new offer, which can be asked from now on. OfferError if that is none.

        Args:
          description: what it is for; needed with an amount.
          amount_msat: the price of one; None: whoever pays says it.
          quantity_max: how many may be asked for at once, 0 for any number; None: one.
          absolute_expiry: seconds since 1970.
          chains: where it may be paid.
          introductions: nodes that reach us as peers do: the offer is then asked through one of them, by a blinded path
            from each. Without any its node id is asked.
        """
        hashes = chain_hashes(chains)
        tlvs = OfferTlvs(
            offer_chains=None if hashes == (BITCOIN.chain_hash,) else tuple(hashes),
            # Without it an offer with the same words would have the same paths.
            offer_metadata=self._random_bytes(METADATA_LENGTH) if introductions else None,
            offer_amount=amount_msat,
            offer_description=None if description is None else description.encode(),
            offer_absolute_expiry=absolute_expiry,
            offer_issuer=None if issuer is None else issuer.encode(),
            offer_quantity_max=quantity_max,
            offer_issuer_id=self.node_id,
        )
        offer = Offer.make(tlvs)
        if introductions:
            paths = tuple(self._path_from(node_id, offer) for node_id in introductions)
            offer = Offer.make(tlvs.replace(offer_paths=paths))
        self.add(offer)
        return offer

    def add(self, offer: Offer) -> None:
        """An offer that this node has issued before: it can be asked again. ValueError for one of another node."""
        if offer.tlvs.offer_issuer_id != self.node_id:
            raise ValueError("an offer of another node, or of nobody: there is no key to sign its invoices with")
        self._offers[offer.data] = offer

    def remove(self, offer: Offer) -> None:
        """An offer that cannot be asked any more. What it has given invoices for is remembered."""
        self._offers.pop(offer.data, None)

    # Requests.

    def look(self, data: bytes, path_id: bytes | None, now: float) -> InvoiceRequest | Invoice | InvoiceError | None:
        """What becomes of a request that has come, by the path whose end told us `path_id`.

        An InvoiceRequest: the application is to be asked, and then `give` or `release` is called with it. An Invoice or
        an InvoiceError: it is the answer. None: there is none.
        """
        if len(data) > LONGEST_REQUEST:
            return InvoiceError.make(f"an invoice request of more than {LONGEST_REQUEST} bytes")
        try:
            request = InvoiceRequest(data)
        except OfferError as error:
            return _error(error)
        try:
            offer = Offer(_offer_of(request.records))
        except OfferError:
            return InvoiceError.make("an invoice request for no offer")
        # Silence for an offer of others as well: else an answer would tell by which of its ways ours has been asked.
        if not self._came_by_its_path(offer, path_id):
            return None
        if offer.data not in self._offers:
            return InvoiceError.make("no such offer")
        try:
            offer.check(now=now, chains=offer.chains)
        except OfferError as error:
            return _error(error)
        return self._first_or_again(request, now)

    def give(self, request: InvoiceRequest, terms: InvoiceTerms, now: float) -> Invoice:
        """The invoice for a request that `look` has given. OfferError and ValueError for terms that make none."""
        amount = request.tlvs.invreq_amount
        amount = request.price_msat if amount is None else amount
        if amount is not None and terms.amount_msat not in (None, amount):
            raise ValueError(f"{terms.amount_msat} msat, where {amount} are asked for")
        paths = [path for path, _ in terms.paths]
        tlvs = InvoiceTlvs(
            invoice_paths=tuple(paths),
            invoice_blindedpay=tuple(info for _, info in terms.paths),
            invoice_created_at=int(now),
            invoice_relative_expiry=terms.relative_expiry,
            invoice_payment_hash=terms.payment_hash,
            invoice_amount=terms.amount_msat if amount is None else amount,
            invoice_fallbacks=tuple(terms.fallbacks) or None,
            invoice_features=terms.features,
        )
        invoice = Invoice.make(request, tlvs, self._key, self._random_bytes(32))
        key = _metadata_of(request)
        self._asked[key] = _Asked(_digest(request.data), invoice.data, invoice.expires_at)
        heappush(self._expiring, (invoice.expires_at, key))
        return invoice

    def release(self, request: InvoiceRequest) -> None:
        """A request that gets no invoice after all: it may be asked again. Nothing happens if it has one."""
        key = _metadata_of(request)
        asked = self._asked.get(key)
        if asked is not None and asked.invoice is None:
            del self._asked[key]

    def _first_or_again(self, request: InvoiceRequest, now: float) -> InvoiceRequest | Invoice | InvoiceError | None:
        key = _metadata_of(request)
        asked = self._asked.get(key)
        if asked is not None:
            if asked.request != _digest(request.data) or asked.invoice is None or now > asked.expires_at:
                return None
            return Invoice(asked.invoice)
        while len(self._asked) >= self._remembered:
            if not self._expiring or self._expiring[0][0] >= now:
                return InvoiceError.make("too many have asked; later there is room again")
            del self._asked[heappop(self._expiring)[1]]
        self._asked[key] = _Asked(_digest(request.data))
        return request

    # Paths.

    def _path_from(self, node_id: bytes, offer: Offer) -> BlindedPath:
        path_id = self._path_id(offer, self._random_bytes(NONCE_LENGTH))
        secret = self._random_bytes(32)
        if node_id == self.node_id:
            return blind_route(secret, (node_id,), EncryptedDataTlv(path_id=path_id))
        return blind_route(secret, (node_id, self.node_id), EncryptedDataTlv(path_id=path_id))

    def _path_id(self, offer: Offer, nonce: bytes) -> bytes:
        """What the end of a path of this offer tells us. Nobody else can make it, and nothing has to be kept."""
        root = merkle_root([record for record in offer.records if record.type != _PATHS])
        return nonce + hmac.digest(self._path_key, root + nonce, "sha256")[:NONCE_LENGTH]

    def _came_by_its_path(self, offer: Offer, path_id: bytes | None) -> bool:
        if not offer.paths:
            return path_id is None
        if path_id is None:
            return False
        return hmac.compare_digest(self._path_id(offer, path_id[:NONCE_LENGTH]), path_id)


def _error(error: OfferError) -> InvoiceError:
    return InvoiceError.make(error.why, _TYPES.get(error.field))


def _offer_of(records: Iterable[Record]) -> bytes:
    return b"".join(record.raw for record in records if any(record.type in one for one in OFFER_RANGES))


def _metadata_of(request: InvoiceRequest) -> bytes:
    return _digest(request.tlvs.invreq_metadata or b"")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
