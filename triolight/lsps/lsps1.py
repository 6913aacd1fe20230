"""bLIP 51, LSPS1: a channel is ordered and paid for. Its parameters and results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from triolight.errors import DecodeError
from triolight.lsps.fields import Amount, Count, Flag, Record, Text, Time

__all__ = [
    "Bolt11Payment",
    "Bolt12Payment",
    "CreateOrder",
    "GetOrder",
    "OnchainPayment",
    "Order",
    "OrderChannel",
    "OrderOptions",
    "OrderPayment",
    "Payment",
]

MAX_ORDER_ID: Final = 64
"""Characters, says bLIP 51."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOptions(Record):
    """lsps1.get_info: what may be ordered."""

    min_required_channel_confirmations: Count
    min_funding_confirms_within_blocks: Count
    supports_zero_channel_reserve: Flag
    max_channel_expiry_blocks: Count
    min_initial_client_balance_sat: Amount
    max_initial_client_balance_sat: Amount
    min_initial_lsp_balance_sat: Amount
    max_initial_lsp_balance_sat: Amount
    min_channel_balance_sat: Amount
    max_channel_balance_sat: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOrder(Record):
    """lsps1.create_order: what is ordered."""

    lsp_balance_sat: Amount
    client_balance_sat: Amount
    required_channel_confirmations: Count
    funding_confirms_within_blocks: Count
    channel_expiry_blocks: Count
    announce_channel: Flag
    token: Text | None = None
    refund_onchain_address: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOrder(Record):
    """lsps1.get_order: which order."""

    order_id: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment(Record):
    """One way to pay. `state` is EXPECT_PAYMENT, HOLD, PAID, REFUNDED or CANCELLED, or what is yet to come."""

    state: Text
    expires_at: Time
    fee_total_sat: Amount
    order_total_sat: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Bolt11Payment(Payment):
    """By an invoice."""

    invoice: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Bolt12Payment(Payment):
    """By an offer."""

    offer: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class OnchainPayment(Payment):
    """To an address. `min_fee_for_0conf` is in satoshis a kiloweight."""

    address: Text
    min_fee_for_0conf: Count | None = None
    min_onchain_payment_confirmations: Count | None = None
    refund_onchain_address: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPayment(Record):
    """The ways to pay that there are."""

    bolt11: Bolt11Payment | None = None
    bolt12: Bolt12Payment | None = None
    onchain: OnchainPayment | None = None

    @property
    def ways(self) -> tuple[Payment, ...]:
        """Those that are there."""
        return tuple(one for one in (self.bolt11, self.bolt12, self.onchain) if one is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChannel(Record):
    """The channel that was opened. `funding_outpoint` is ``txid:index``."""

    funded_at: Time
    funding_outpoint: Text
    expires_at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Record):
    """lsps1.create_order and lsps1.get_order: an order as it stands. `order_state` is CREATED, COMPLETED or FAILED."""

    written_null: ClassVar[frozenset[str]] = frozenset({"channel"})

    order_id: Text
    lsp_balance_sat: Amount
    client_balance_sat: Amount
    required_channel_confirmations: Count
    funding_confirms_within_blocks: Count
    channel_expiry_blocks: Count
    created_at: Time
    announce_channel: Flag
    order_state: Text
    payment: OrderPayment
    token: Text | None = None
    channel: OrderChannel | None = None

    def check(self, asked: CreateOrder | None = None) -> None:
        """DecodeError for an order whose sums are wrong, or that is not what was asked: for before it is paid."""
        if len(self.order_id) > MAX_ORDER_ID:
            raise _not(f"has more than {MAX_ORDER_ID} characters", "order_id")
        for way in self.payment.ways:
            if way.order_total_sat != way.fee_total_sat + self.client_balance_sat:
                raise _not(
                    f"is {way.order_total_sat}, and not the fee of {way.fee_total_sat} and the client's balance of "
                    f"{self.client_balance_sat}",
                    "order_total_sat",
                )
        if asked is None:
            return
        for name in ("lsp_balance_sat", "client_balance_sat", "channel_expiry_blocks", "announce_channel"):
            wanted, found = getattr(asked, name), getattr(self, name)
            if wanted != found:
                raise _not(f"is {found}, and {wanted} was asked for", name)
        # The client names the most that it waits for.
        for name in ("required_channel_confirmations", "funding_confirms_within_blocks"):
            wanted, found = getattr(asked, name), getattr(self, name)
            if found > wanted:
                raise _not(f"is {found}, and at most {wanted} was asked for", name)


def _not(why: str, field: str) -> DecodeError:
    return DecodeError(why, message="Order", field=field)
