"""secp256k1 through btclib-secp256k1 beside coincurve, where both are installed: what `keys.py` calls of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import triolight.keys_btclib
import triolight.keys_coincurve
from benchmarks.measure import Row, compare, report

COUNT = 200


def rows() -> Iterator[Row]:
    here, there = triolight.keys_btclib, triolight.keys_coincurve
    secret, digest, other = os.urandom(32), os.urandom(32), here.Secret(os.urandom(32)).point()
    ours, theirs = here.Secret(secret), there.Secret(secret)
    point, signature = ours.point(), ours.sign(digest)

    def row(what: str, run: Callable[[], object], beside: Callable[[], object]) -> Row:
        return compare(f"btclib-secp256k1: {what}", repeated(run), "coincurve", repeated(beside))

    yield row("a point of a secret", lambda: here.Secret(secret).point(), lambda: there.Secret(secret).point())
    yield row("ECDH", lambda: ours.ecdh(other), lambda: theirs.ecdh(other))
    yield row("sign", lambda: ours.sign(digest), lambda: theirs.sign(digest))
    yield row(
        "verify, the point read each time",
        lambda: here.verify(signature, digest, here.read_point(point) or b""),
        lambda: there.verify(signature, digest, there.read_point(point)),
    )
    yield row("read a point", lambda: here.read_point(other), lambda: there.read_point(other))


def repeated(run: Callable[[], object]) -> Callable[[], int]:
    def many() -> int:
        for _ in range(COUNT):
            run()
        return COUNT

    return many


if __name__ == "__main__":
    report(rows())
