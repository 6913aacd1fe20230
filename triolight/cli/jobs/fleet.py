"""A fleet, as its engine has it: asked once, and shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from triolight.cli.exits import Exit
from triolight.cli.options import Engine
from triolight.cli.output import data, progress
from triolight.cli.running import run
from triolight.cluster.answers import Memory
from triolight.cluster.bus import BackState, EngineAway, FrontState
from triolight.cluster.collecting import PART
from triolight.cluster.records import Config
from triolight.cluster.redis import RedisBus, open_bus
from triolight.cluster.rules import WINDOW_BYTES, WINDOW_RECORDS, has_lapsed
from triolight.cluster.streams import Used


class Part(NamedTuple):
    """A back and its fronts; or, of a collector, its writer and its workers."""

    config: Config | None
    back: BackState | None
    fronts: Sequence[FrontState]
    claims: int
    lasting: bool = False
    """Whether who works for one back goes on under the next one, as workers do."""

    @property
    def lease(self) -> float | None:
        return None if self.config is None else self.config.lease / 1000

    def lives(self, age: float) -> bool:
        return self.lease is not None and not has_lapsed(-age, 0, self.lease)

    def state(self, front: FrontState) -> str:
        """In a word."""
        if front.fenced:
            return "fenced"
        if not self.lives(front.age):
            return "silent"
        back = self.back
        return "serving" if back is not None and (self.lasting or front.back == back.token) else "waiting"


def show_fleet(engine: Engine, as_json: bool) -> int:
    """The exit code."""
    try:
        return run(_show, engine, as_json)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--engine") from None


async def _show(engine: Engine, as_json: bool) -> int:
    try:
        fleet, memory = await _ask(engine, "")
        collector, _ = await _ask(engine, PART)
    except EngineAway as error:
        progress(f"the engine does not answer: {error}")
        return Exit.CONNECT
    node = None if fleet.config is None else fleet.config.node_id.hex()
    lines = [f"fleet {engine.fleet}, node {node or 'unknown'}, {fleet.claims} nodes connected"]
    lines += _lines(fleet, "back", "front")
    if collector.back is not None or collector.fronts:
        lines += [f"collector, {collector.claims} nodes connected", *_lines(collector, "writer", "worker")]
    lines.append(
        f"engine: {memory.used:,} bytes of {f'{memory.most:,}' if memory.most else 'all that there are'}, "
        f"{memory.policy} when it is full"
    )
    data(
        as_json,
        "\n".join(lines),
        "fleet",
        fleet=engine.fleet,
        node_id=node,
        **_fields(fleet, "fronts"),
        collector=None if collector.back is None else _fields(collector, "workers"),
        engine={"used_bytes": memory.used, "max_bytes": memory.most, "policy": memory.policy},
    )
    return Exit.OK


async def _ask(engine: Engine, part: str) -> tuple[Part, Memory]:
    async with open_bus(engine.url, engine.fleet, part=part, password=engine.password, insecure=engine.insecure) as bus:
        found = await _read(bus)
        return found._replace(lasting=part == PART), await bus.memory()


async def _read(bus: RedisBus) -> Part:
    """What is never written has no scripts either, where a back alone may load them."""
    config = await bus.read_config()
    if config is None:
        return Part(None, None, (), 0)
    fronts = sorted(await bus.fronts(), key=lambda one: one.id)
    return Part(config, await bus.back(), fronts, await bus.claims())


def _lines(part: Part, back: str, front: str) -> list[str]:
    lines = [f"no {back}"]
    if part.back is not None:
        state = "" if part.lives(part.back.age) else ", silent"
        lines = [f"{back}{state}: renewed {part.back.age:.1f} s ago, lease {part.lease:g} s"]
    return lines + ([_words(part, front, one) for one in part.fronts] or [f"no {front}s"])


def _words(part: Part, what: str, one: FrontState) -> str:
    where = f" at {one.address}" if one.address else ""
    return (
        f"{what} {one.id}{where}: {part.state(one)}, renewed {one.age:.1f} s ago, {one.peers} peers, "
        f"lag up {_lag(one.up)}, down {_lag(one.down)}"
    )


def _lag(used: Used) -> str:
    return f"{used.records} records of {used.size} bytes ({_load(used):.0%} of the window)"


def _load(used: Used) -> float:
    return max(used.size / WINDOW_BYTES, used.records / WINDOW_RECORDS)


def _fields(part: Part, fronts: str) -> dict[str, Any]:
    back = part.back
    return {
        "claims": part.claims,
        "lease": part.lease,
        "back": None if back is None else {"seconds": back.age, "alive": part.lives(back.age)},
        fronts: [
            {
                "id": one.id,
                "address": one.address,
                "state": part.state(one),
                "seconds": one.age,
                "fenced": one.fenced,
                "peers": one.peers,
                "up": _stream(one.up),
                "down": _stream(one.down),
            }
            for one in part.fronts
        ],
    }


def _stream(used: Used) -> dict[str, float]:
    return {"bytes": used.size, "records": used.records, "window": round(_load(used), 4)}
