"""bLIP 50's message: the transport of the LSPS protocols (LSPS0). Not in `BOLT`: add it to a registry of your own."""

from __future__ import annotations

from triolight import wire
from triolight.messages.declare import message
from triolight.messages.structures import Message


@message(37913)
class LSPS0(Message):
    """JSON-RPC 2.0 between a client and its liquidity provider."""

    payload: wire.remainder
    """A JSON object in UTF-8. Nobody has checked that it is one."""
