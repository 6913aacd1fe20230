"""`triolight check` against real nodes: what they are known to do, so that a change of theirs, or of ours, is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import trio

from interop.conftest import OpenLdk
from interop.lnd_node import open_lnd
from triolight import NodeAddress
from triolight.testing import Finding, Verdict, check_peer

Record: TypeAlias = Callable[[str, object], None]


async def findings(node: Any) -> list[Finding]:
    with trio.fail_after(400):
        return [one async for one in check_peer(NodeAddress(node.node_id, "127.0.0.1", node.port))]


def broken(found: list[Finding]) -> dict[str, str]:
    return {one.rule: one.seen for one in found if one.verdict is Verdict.BREAKS}


def told(found: list[Finding], rule: str) -> str:
    """What it does where it may do either."""
    [seen] = [one.seen for one in found if one.rule == rule and one.verdict is Verdict.MAY]
    return seen


def unclear(found: list[Finding]) -> set[str]:
    return {one.rule for one in found if one.verdict is Verdict.UNKNOWN}


QUERIES = {
    "answers query_channel_range",
    "answers query_channel_range of another chain",
    "ends the answer to query_short_channel_ids",
}


@pytest.mark.shows("check")
@pytest.mark.differs("a warning that is not UTF-8 ends the connection", "show it sanitised; nothing ends")
@pytest.mark.differs(
    "an error that is not UTF-8 ends the connection, whatever channel it is for", "show it sanitised; nothing ends"
)
@pytest.mark.differs("takes option_zeroconf without option_scid_alias", "refuse it")
async def test_ldk(open_ldk: OpenLdk, record_property: Record) -> None:
    async with open_ldk() as node:
        found = await findings(node)
    record_property("broken", "\n".join(broken(found)))
    # It reads the words of errors and warnings as UTF-8, and closes where they are not.
    assert broken(found) == {
        "refuses option_zeroconf without option_scid_alias, if it offers it": "stays connected",
        "ignores an error for another channel, whatever its bytes": "closed",
        "does nothing for a warning, whatever its bytes": "closed",
    }
    assert told(found, "a second connection with the same key") == "keeps the older"
    assert told(found, "a remote_addr of an unknown type") == "closed"
    assert unclear(found) == QUERIES


@pytest.mark.node("LND")
@pytest.mark.shows("check", "unknown")
@pytest.mark.differs(
    "takes even types from 32,768 on for its users' own", "close for an even type that nobody registered"
)
@pytest.mark.differs("takes an Init with an unknown even record", "refuse it")
@pytest.mark.differs("takes an Init with networks of 33 bytes", "refuse it")
async def test_lnd(record_property: Record) -> None:
    async with open_lnd() as node:
        found = await findings(node)
    record_property("broken", "\n".join(broken(found)))
    # Types from 32768 on it takes for its users' own, even ones too.
    assert broken(found).keys() == {
        "refuses an unknown even record in Init",
        "refuses networks of 33 bytes",
        "closes for an unknown even message",
    }
    assert told(found, "a second connection with the same key") == "keeps the newer"
    assert told(found, "an error for all channels") == "goes on"
    assert unclear(found) == set()
