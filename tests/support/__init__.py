"""What tests share, beside what `triolight.testing` ships. No test here; tests import from here, and from no test."""

from tests.support.nodes import (
    MESSAGES,
    ListLogger,
    Note,
    Order,
    Pair,
    identity,
    join,
    make_manager,
    open_pair,
    port_of,
    secret,
    until,
)

__all__ = [
    "MESSAGES",
    "ListLogger",
    "Note",
    "Order",
    "Pair",
    "identity",
    "join",
    "make_manager",
    "open_pair",
    "port_of",
    "secret",
    "until",
]
