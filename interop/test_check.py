"""`triolight check` against real nodes: what they are known to do, so that a change of theirs, or of ours, is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import trio

from interop.conftest import OpenLdk, open_lnd
from triolight import NodeAddress
from triolight.testing import Finding, Verdict, check_peer

Record: TypeAlias = Callable[[str, object], None]


async def findings(node: Any) -> list[Finding]:
    with trio.fail_after(400):
        return [one async for one in check_peer(NodeAddress(node.node_id, "127.0.0.1", node.port))]


def broken(found: list[Finding]) -> dict[str, str]:
    return {one.rule: one.seen for one in found if one.verdict is Verdict.BREAKS}


@pytest.mark.shows("check")
@pytest.mark.differs("a warning that is not UTF-8 ends the connection", "show it sanitised; nothing ends")
async def test_ldk(open_ldk: OpenLdk, record_property: Record) -> None:
    async with open_ldk() as node:
        found = await findings(node)
    record_property("broken", "\n".join(broken(found)))
    # It reads the words of a warning as UTF-8, and closes where they are not.
    assert broken(found) == {"does nothing for a warning, whatever its bytes": "closed"}


@pytest.mark.node("LND")
@pytest.mark.shows("check", "unknown")
@pytest.mark.differs(
    "takes even types from 32,768 on for its users' own", "close for an even type that nobody registered"
)
@pytest.mark.differs("takes an Init with an unknown even record", "refuse it")
async def test_lnd(record_property: Record) -> None:
    async with open_lnd() as node:
        found = await findings(node)
    record_property("broken", "\n".join(broken(found)))
    # Types from 32768 on it takes for its users' own, even ones too.
    assert broken(found).keys() == {
        "refuses an unknown even record in Init",
        "closes for an unknown even message",
        "ignores a ping that asks for 65,532 bytes or more",
    }
