"""secp256k1 through coincurve, where it is installed."""

from __future__ import annotations

import pytest

from tests.support import curves


def test_coincurve_gives_what_keys_promises() -> None:
    pytest.importorskip("coincurve")
    import triolight.keys_coincurve

    curves.check(triolight.keys_coincurve)
