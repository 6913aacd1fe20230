"""`triolight check` against real nodes: what they are known to do, so that a change of theirs, or of ours, is seen."""

from __future__ import annotations

from typing import Any

import trio

from interop.conftest import OpenLdk, open_lnd
from triolight import NodeAddress
from triolight.testing import Finding, Verdict, check_peer


async def findings(node: Any) -> list[Finding]:
    with trio.fail_after(400):
        return [one async for one in check_peer(NodeAddress(node.node_id, "127.0.0.1", node.port))]


def broken(found: list[Finding]) -> dict[str, str]:
    return {one.rule: one.seen for one in found if one.verdict is Verdict.BREAKS}


async def test_ldk(open_ldk: OpenLdk) -> None:
    async with open_ldk() as node:
        found = await findings(node)
    # It reads the words of a warning as UTF-8, and closes where they are not.
    assert broken(found) == {"does nothing for a warning, whatever its bytes": "closed"}


async def test_lnd() -> None:
    async with open_lnd() as node:
        found = await findings(node)
    # Types from 32768 on it takes for its users' own, even ones too.
    assert broken(found).keys() == {
        "refuses an unknown even record in Init",
        "closes for an unknown even message",
        "ignores a ping that asks for 65,532 bytes or more",
    }
