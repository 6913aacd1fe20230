"""secp256k1 through btclib-secp256k1, where it is installed; and beside coincurve, where both are, to the byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import curves

pytest.importorskip("btclib_secp256k1")

SECRETS = st.integers(1, curves.ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
HASHES = st.binary(min_size=32, max_size=32).filter(lambda data: 0 < int.from_bytes(data, "big") < curves.ORDER)


def test_btclib_gives_what_keys_promises() -> None:
    import triolight.keys_btclib

    curves.check(triolight.keys_btclib)


@given(ours=SECRETS, theirs=SECRETS, digest=HASHES)
def test_both_give_the_same_bytes(ours: bytes, theirs: bytes, digest: bytes) -> None:
    here, there = both()
    point = here.Secret(theirs).point()
    assert point == there.Secret(theirs).point()
    assert here.Secret(ours).ecdh(point) == there.Secret(ours).ecdh(point)
    signature = here.Secret(theirs).sign(digest)
    assert signature == there.Secret(theirs).sign(digest)
    assert here.multiply(point, digest) == there.multiply(point, digest)
    product = here.Secret(ours).multiply(theirs)
    assert product.point() == there.Secret(ours).multiply(theirs).point() == there.multiply(point, ours)
    schnorr = here.Secret(ours).sign_schnorr(digest, theirs)
    assert schnorr == there.Secret(ours).sign_schnorr(digest, theirs)
    for one in (here, there):
        assert one.verify_schnorr(schnorr, digest, one.read_point(here.Secret(ours).point()))
        read = one.read_point(point)
        assert one.verify(signature, digest, read)
        assert not one.verify(curves.high_s(signature), digest, read)


@given(data=st.binary(min_size=33, max_size=33) | HASHES.map(lambda x: b"\x02" + x))
def test_both_take_the_same_points(data: bytes) -> None:
    here, there = both()
    assert (here.read_point(data) is None) == (there.read_point(data) is None)


def both() -> tuple[curves.Curve, curves.Curve]:
    pytest.importorskip("coincurve")
    import triolight.keys_btclib
    import triolight.keys_coincurve

    return triolight.keys_btclib, triolight.keys_coincurve
