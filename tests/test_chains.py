"""Chains: their hashes from their genesis blocks, and whatever else names one."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest

from triolight import chains
from triolight.chains import BITCOIN, BY_NAME, REGTEST, SIGNET, SIMNET, TESTNET, TESTNET4, chain_hash, chain_hashes

SATOSHIS = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
"""The one transaction of most genesis blocks, in display order."""
GENESIS = {
    BITCOIN: (SATOSHIS, 1231006505, 0x1D00FFFF, 2083236893),
    TESTNET: (SATOSHIS, 1296688602, 0x1D00FFFF, 414098458),
    TESTNET4: ("7aa0a7ae1e223414cb807e40cd57e667b718e42aaf9306db9102fe28912b7b4e", 1714777860, 0x1D00FFFF, 393743547),
    SIGNET: (SATOSHIS, 1598918400, 0x1E0377AE, 52613770),
    REGTEST: (SATOSHIS, 1296688602, 0x207FFFFF, 2),
    SIMNET: (SATOSHIS, 1401292357, 0x207FFFFF, 2),
}
"""Merkle root, time, bits and nonce of each genesis block."""


@pytest.mark.parametrize("chain", GENESIS, ids=lambda chain: chain.name)
def test_a_chain_hash_is_its_genesis_blocks(chain: chains.Chain) -> None:
    merkle_root, time, bits, nonce = GENESIS[chain]
    header = struct.pack("<I32s32sIII", 1, bytes(32), bytes.fromhex(merkle_root)[::-1], time, bits, nonce)
    assert hashlib.sha256(hashlib.sha256(header).digest()).digest() == chain.chain_hash
    assert BY_NAME[chain.name] is chain
    assert chains.chain_name(chain.chain_hash) == chain.name


def test_a_chain_is_named_in_three_ways() -> None:
    assert chain_hash("testnet4") == chain_hash(TESTNET4) == chain_hash(TESTNET4.chain_hash) == TESTNET4.chain_hash
    assert chain_hash(bytes([5]) * 32) == bytes([5]) * 32
    assert chains.chain_name(bytes([5]) * 32) == "05" * 32
    assert chain_hashes("bitcoin") == chain_hashes(BITCOIN) == chain_hashes(BITCOIN.chain_hash)
    assert chain_hashes(["bitcoin", REGTEST, bytes([5]) * 32]) == (
        BITCOIN.chain_hash,
        REGTEST.chain_hash,
        bytes([5]) * 32,
    )
    assert chain_hashes(()) == ()
    assert repr(SIGNET) == "<Chain signet>"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("mainnet", "no chain is called 'mainnet'; there are bitcoin, testnet, testnet4, signet, regtest, simnet"),
        (bytes(31), "a chain hash has 32 bytes, not 31"),
        (BITCOIN.chain_hash[::-1], "this is bitcoin's chain hash in display order"),
        (BITCOIN.chain_hash.hex(), "no chain is called '6fe2"),
    ],
)
def test_what_is_no_chain_is_said(wrong: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        chain_hash(wrong)
    with pytest.raises(ValueError, match=words):
        chain_hashes([wrong])


def test_what_has_another_type_is_said() -> None:
    with pytest.raises(TypeError, match=r"one of triolight\.chains, a name or 32 bytes, not int"):
        chain_hash(5)  # type: ignore[arg-type]
