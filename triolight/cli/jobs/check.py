"""What the shipped checks find of a node, a line each. Asks nothing by itself, and judges nothing.

All that it knows of the BOLTs is in `triolight.testing`.
"""

from __future__ import annotations

from contextlib import aclosing

from triolight import ConnectError, NodeAddress
from triolight.cli.exits import Exit, cannot_reach, exit_of
from triolight.cli.output import data, progress
from triolight.cli.running import run
from triolight.testing.conformance import Verdict, check_peer


def ask(address: NodeAddress, patience: float, thorough: bool, as_json: bool) -> Exit:
    """All questions, a line for each finding."""
    return run(_check, address, patience, thorough, as_json)


async def _check(address: NodeAddress, patience: float, thorough: bool, as_json: bool) -> Exit:
    counts: dict[Verdict, int] = {}
    try:
        async with aclosing(check_peer(address, patience=patience, thorough=thorough)) as findings:
            async for one in findings:
                counts[one.verdict] = counts.get(one.verdict, 0) + 1
                data(as_json, str(one), "finding", rule=one.rule, where=one.where, verdict=one.verdict, seen=one.seen)
    except OSError as error:
        if counts:
            raise  # of the output: of a node that is not reached nothing is found
        raise cannot_reach(address, error) from None
    except ConnectError as error:
        progress(f"failed: {error.reason}")
        return exit_of(error.reason)
    progress(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return Exit.PROTOCOL if Verdict.BREAKS in counts else Exit.OK
