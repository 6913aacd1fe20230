"""bLIP 50's own method."""

from __future__ import annotations

from tests.support.providers import examples
from triolight.lsps import Nothing, Protocols


def test_the_blips_examples() -> None:
    blocks = [*examples(0, "protocols"), *(one["result"] for one in examples(0, "result"))]
    assert len(blocks) == 2
    for block in blocks:
        assert Protocols.from_json(block) == Protocols(protocols=(1, 3))
    assert Protocols(protocols=(1, 3)).to_json() == blocks[0]
    assert Nothing.from_json({"else": 1}).to_json() == {}
