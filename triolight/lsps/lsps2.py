"""bLIP 52, LSPS2: a channel that opens with the first payment. Its parameters and results, and what the opening costs.

What opening costs comes from the provider as an object that goes back to it as it came, to the letter: it has signed
it. So its text is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

from triolight.errors import DecodeError
from triolight.lsps.fields import U64, Amount, Count, Flag, Record, Scid, Text, Time
from triolight.lsps.rpc import Json, JsonText, members, read_value, write_value

__all__ = ["Buy", "FeeMenu", "GetFees", "JitChannel", "OpeningFeeParams", "opening_fee"]

MAX_PROMISE: Final = 512
"""Bytes, says bLIP 52."""
_MILLION: Final = 1_000_000


def opening_fee(payment_size_msat: int, min_fee_msat: int, proportional: int) -> int | None:
    """What opening a channel costs, in millisatoshis; None if a step of it does not fit into 64 bits, which both sides
    take for a payment that is too large."""
    product = payment_size_msat * proportional
    if payment_size_msat > U64 or product > U64 or product + _MILLION - 1 > U64:
        return None
    return max(min_fee_msat, (product + _MILLION - 1) // _MILLION)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningFeeParams(Record):
    """What opening costs, until when, and what may be paid: a line of the provider's menu, with its `promise`."""

    min_fee_msat: Amount
    proportional: Count
    valid_until: Time
    min_lifetime: Count
    max_client_to_self_delay: Count
    min_payment_size_msat: Amount
    max_payment_size_msat: Amount
    promise: Text
    text: str = field(default="", compare=False, repr=False, metadata={"in_json": False})
    """It as it came, which is how it goes back. Of one that is ours: as it is written."""

    def __post_init__(self) -> None:
        if not self.text:
            object.__setattr__(self, "text", write_value(self.to_json()))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """From a text, which is kept. DecodeError for a key too many too: nobody knows what it would cost."""
        value = read_value(text)
        made = cls.from_json(value)
        too_many = sorted(value.keys() - cls.names())
        if too_many:
            raise DecodeError("is a key that bLIP 52 does not know", message=cls.__name__, field=too_many[0])
        if len(made.promise.encode()) > MAX_PROMISE:
            raise DecodeError(f"has more than {MAX_PROMISE} bytes", message=cls.__name__, field="promise")
        object.__setattr__(made, "text", text)
        return made

    def opening_fee(self, payment_size_msat: int) -> int | None:
        """What a first payment of so much costs; None if the sum does not fit into 64 bits."""
        return opening_fee(payment_size_msat, self.min_fee_msat, self.proportional)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFees(Record):
    """lsps2.get_info: who asks."""

    token: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeMenu(Record):
    """lsps2.get_info: what opening costs, the cheapest first."""

    opening_fee_params_menu: tuple[OpeningFeeParams, ...]

    @classmethod
    def from_answer(cls, text: str) -> Self:
        """From the text of an answer that has been read; each line's own text is kept. DecodeError for what is no
        menu."""
        found = _value_of(text, _value_of(text, 0, "result"), "opening_fee_params_menu")
        if found is None or text[found] != "[":
            raise DecodeError("is missing, or no list", message=cls.__name__, field="opening_fee_params_menu")
        lines = [OpeningFeeParams.from_text(text[start:end]) for _, start, end in members(text, found)]
        return cls(opening_fee_params_menu=tuple(lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Buy(Record):
    """lsps2.buy: which line of the menu is taken. `payment_size_msat` is what will be paid, in parts too; None for any
    amount, in one part."""

    opening_fee_params: OpeningFeeParams
    payment_size_msat: Amount | None = None

    def params(self) -> dict[str, Json | JsonText]:
        """As `encode_request` writes them: what came is written as it came."""
        return {**self.to_json(), "opening_fee_params": JsonText(self.opening_fee_params.text)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JitChannel(Record):
    """lsps2.buy: what goes into the invoice, so that the first payment opens the channel."""

    jit_channel_scid: Scid
    lsp_cltv_expiry_delta: Count
    client_trusts_lsp: Flag = False


def _value_of(text: str, at: int | None, key: str) -> int | None:
    if at is None:
        return None
    return next((start for name, start, _ in members(text, at) if name == key), None)
