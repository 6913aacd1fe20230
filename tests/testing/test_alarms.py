"""The clock of a simulated network and its alarms: who sleeps is woken once, at a time or sooner."""

from __future__ import annotations

import trio
import trio.testing

from tests.testing.support import joined, two_hosts
from triolight.testing import run_seeded


def test_a_read_that_is_cancelled_when_something_arrives() -> None:
    """In the same step, in either order: its task is woken once."""

    async def main() -> None:
        network, _, _ = two_hosts()
        ours, theirs = await joined(network)
        await ours.send_all(b"x")
        with trio.move_on_at(1):
            await theirs.receive_some()
        await ours.send_eof()
        await trio.sleep(5)

    for seed in range(20):
        run_seeded(seed, main)
