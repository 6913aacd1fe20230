"""The chains that nodes speak of, by name. Data; imports nothing of triolight.

A chain hash is the hash of a chain's genesis block in wire order, as BOLT 0 and every message have it: block explorers
show it in the other one, and a node that is asked in that order answers nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

__all__ = [
    "BITCOIN",
    "BY_NAME",
    "REGTEST",
    "SIGNET",
    "SIMNET",
    "TESTNET",
    "TESTNET4",
    "AnyChain",
    "Chain",
    "chain_hash",
    "chain_hashes",
    "chain_name",
]


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain by name. `chain_hash` is 32 bytes, in wire order."""

    name: str
    chain_hash: bytes

    def __repr__(self) -> str:
        return f"<Chain {self.name}>"


BITCOIN: Final = Chain("bitcoin", bytes.fromhex("6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000"))
"""The main one."""
TESTNET: Final = Chain("testnet", bytes.fromhex("43497fd7f826957108f4a30fd9cec3aeba79972084e90ead01ea330900000000"))
"""The third public test network."""
TESTNET4: Final = Chain("testnet4", bytes.fromhex("43f08bdab050e35b567c864b91f47f50ae725ae2de53bcfbbaf284da00000000"))
"""The fourth public test network (BIP 94)."""
SIGNET: Final = Chain("signet", bytes.fromhex("f61eee3b63a380a477a063af32b2bbc97c9ff9f01f2c4225e973988108000000"))
"""The public signed test network (BIP 325)."""
REGTEST: Final = Chain("regtest", bytes.fromhex("06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f"))
"""bitcoind's private one."""
SIMNET: Final = Chain("simnet", bytes.fromhex("f67ad7695d9b662a72ff3d8edbbb2de0bfa67b13974bb9910d116d5cbd863e68"))
"""btcd's private one."""

BY_NAME: Final[Mapping[str, Chain]] = MappingProxyType(
    {chain.name: chain for chain in (BITCOIN, TESTNET, TESTNET4, SIGNET, REGTEST, SIMNET)}
)
"""Every chain that has a name here."""

AnyChain: TypeAlias = Chain | str | bytes
"""Wherever an option or a function asks for a chain: one of these, its name, or 32 bytes in wire order."""


def chain_hash(chain: AnyChain) -> bytes:
    """32 bytes in wire order. ValueError for a name that is none, for bytes of another length, and for the hash of a
    chain in display order, which no node would answer."""
    if isinstance(chain, Chain):
        return chain.chain_hash
    if isinstance(chain, str):
        found = BY_NAME.get(chain)
        if found is None:
            raise ValueError(f"no chain is called {chain!r:.80}; there are {', '.join(BY_NAME)}, or 32 bytes")
        return found.chain_hash
    if not isinstance(chain, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a chain is one of triolight.chains, a name or 32 bytes, not {type(chain).__name__}")
    if len(chain) != 32:
        raise ValueError(f"a chain hash has 32 bytes, not {len(chain)}")
    turned = in_display_order(chain)
    if turned is not None:
        raise ValueError(f"this is {turned.name}'s chain hash in display order; on the wire its bytes are reversed")
    return chain


def chain_hashes(chains: AnyChain | Iterable[AnyChain]) -> tuple[bytes, ...]:
    """Those of several, or of one: a name is one chain, and no row of letters."""
    if isinstance(chains, Chain | str | bytes):
        return (chain_hash(chains),)
    return tuple(map(chain_hash, chains))


def chain_name(data: bytes) -> str:
    """A chain hash for people: its chain's name, or its hexadecimal digits."""
    return next((chain.name for chain in BY_NAME.values() if chain.chain_hash == data), data.hex())


_TURNED: Final = {chain.chain_hash[::-1]: chain for chain in BY_NAME.values()}


def in_display_order(data: bytes) -> Chain | None:
    """The chain whose hash these bytes are, reversed; None if they are none's."""
    return _TURNED.get(data)
