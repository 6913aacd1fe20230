"""A fleet whose processes are killed one after the other: does anybody miss something, or hear it twice?

    python -m benchmarks.fleet_soak --seconds 60

Two fronts, 2,000 peers that say numbers and come again at the other front when they have lost their connection. Each
five seconds a front, the engine, the other front or the back is killed (SIGKILL), and started again. The engine syncs
whatever it answers. In each session of a peer the numbers begin at 0: what was heard of it has no hole and nothing
twice, and of a session that lives in the end all was heard. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks import raw
from benchmarks.fleet import LEASE, PING, SIZE, WORDS, Counted, running
from benchmarks.floods import OURS, raise_file_limit, rss_of
from benchmarks.gossip import Child
from benchmarks.raw import INIT
from tests.support.engines import SERVER, WITHOUT, Server
from triolight.keys import SecretKey
from triolight.messages import Ping, Pong, Warning

PEERS: Final = 2000
DIALS: Final = 50
"""Handshakes of the crowd at a time."""
EVERY: Final = 5.0
"""Seconds between two kills."""
SILENCE: Final = 4.0
"""Seconds between two messages of a peer."""
QUIET: Final = 10.0
"""Seconds after the last kill in which everybody is back; then nobody says anything more."""


# ---------------------------------------------------------------------------------------------------------------------
# The crowd


@dataclass
class Crowd:
    ports: tuple[int, ...]
    limiter: trio.CapacityLimiter
    said: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    """By peer and session."""
    lives: dict[int, int] = field(default_factory=dict[int, int])
    """The session of each peer that is connected."""
    heard: Counter[str] = field(default_factory=Counter[str])
    """Goodbyes, by their words."""
    silent: bool = False

    async def place(self, number: int) -> None:
        chance, session = random.Random(number), 0
        while True:
            try:
                await self.life(number, session, self.ports[(number + session) % len(self.ports)], chance)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it was killed
            self.lives.pop(number, None)
            session += 1
            await trio.sleep(chance.random())

    async def life(self, number: int, session: int, port: int, chance: random.Random) -> None:
        async with self.limiter:
            with trio.fail_after(20):
                peer = await raw.connect(port, OURS.public_key, SecretKey((1 << 64 | number).to_bytes(32, "big")))
                await peer.send(INIT, PING)
                if await peer.receive_type(Pong.type) is None:  # read once it is let in
                    return
        self.lives[number] = session
        async with peer.stream, trio.open_nursery() as nursery:

            async def say() -> None:
                await trio.sleep(chance.random() * SILENCE)
                while not self.silent:
                    told = self.said.get((number, session), 0)
                    self.said[number, session] = told + 1
                    words = WORDS.pack(number, session, told).ljust(SIZE, b"\0")
                    await peer.send(Counted.type.to_bytes(2, "big") + words)
                    await trio.sleep(SILENCE)

            nursery.start_soon(say)
            while (message := await peer.receive()) is not None:
                kind = message[0] << 8 | message[1]
                if kind == Warning.type:
                    self.heard[message[36:].decode("ascii", "replace")] += 1
                elif kind == Ping.type:
                    await peer.send(Pong(ignored=bytes(int.from_bytes(message[2:4], "big"))).encode())
            nursery.cancel_scope.cancel(reason="the node has gone")


async def crowd(count: str, *ports: str) -> None:
    """Says how it is whenever it is asked; ``silent`` is the last thing it is told."""
    raise_file_limit()
    those = Crowd(tuple(map(int, ports)), trio.CapacityLimiter(DIALS))
    async with trio.open_nursery() as nursery:
        for number in range(int(count)):
            nursery.start_soon(those.place, number)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            if line.strip() == "silent":
                those.silent = True
            print(
                json.dumps(
                    {
                        "connected": len(those.lives),
                        "sessions": len(those.said),
                        "lives": [[*one] for one in those.lives.items()],
                        "said": [[*key, told] for key, told in those.said.items()],
                        "heard": those.heard,
                    }
                ),
                flush=True,
            )
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------------------------------------------------------
# The fleet


class Fleet:
    """Its processes, each of which may be killed and comes again."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder: Final = folder
        self.server: Final = Server(folder)
        self.most: Counter[str] = Counter()
        """Bytes of memory."""
        self._stacks: Final[dict[str, AsyncExitStack]] = {}
        self._stack: Final = stack
        self.pids: Final[dict[str, int]] = {}
        self.ports: Final[dict[str, str]] = {}
        self.logs: Final[list[Path]] = []

    async def start(self, name: str) -> None:
        if name == "engine":
            self.server.start("--maxmemory-policy", "noeviction")
            await self.server.answers()
            self.pids[name] = self.server.pid
            return
        own = self._stacks[name] = AsyncExitStack()
        self._stack.push_async_exit(own)
        if name == "back":
            self.logs.append(self.folder / f"heard-{len(self.logs)}")
            child, process = await own.enter_async_context(running("back", self.server.url, LEASE, 0, self.logs[-1]))
        else:
            child, process = await own.enter_async_context(
                running("front", self.server.url, name, self.ports.get(name, "0"))
            )
        self.pids[name] = process.pid
        if name == "back" or name not in self.ports:
            line = await child.hear()
            if name != "back":
                self.ports[name] = line

    async def kill(self, name: str) -> None:
        del self.pids[name]
        if name == "engine":
            self.server.kill()
        else:
            await self._stacks.pop(name).aclose()

    def look(self) -> None:
        for name, pid in self.pids.items():
            self.most[name] = max(self.most[name], rss_of(pid))

    def heard(self) -> Counter[tuple[int, int]]:
        """How many of each session; RuntimeError for a hole, something twice, or a session with two backs."""
        found: Counter[tuple[int, int]] = Counter()
        for path in self.logs:
            here: Counter[tuple[int, int]] = Counter()
            for peer, session, number in WORDS.iter_unpack(_whole(path)):
                if number != here[peer, session]:
                    raise RuntimeError(f"{number} of {(peer, session)} came where {here[peer, session]} was due")
                here[peer, session] += 1
            both = here.keys() & found.keys()
            if both:
                raise RuntimeError(f"sessions go on with another back: {sorted(both)[:5]}")
            found += here
        return found


def _whole(path: Path) -> bytes:
    data = path.read_bytes() if path.exists() else b""
    return data[: len(data) // WORDS.size * WORDS.size]


async def soak(seconds: float, peers: int) -> bool:
    """Whether nobody has missed anything."""
    with tempfile.TemporaryDirectory(prefix="engine") as name:
        async with AsyncExitStack() as stack:
            fleet = Fleet(Path(name), stack)
            try:
                return await _soak(fleet, stack, seconds, peers)
            finally:
                fleet.server.kill()


async def _soak(fleet: Fleet, stack: AsyncExitStack, seconds: float, peers: int) -> bool:
    for name in ("engine", "back", "one", "two"):
        await fleet.start(name)
    those, _ = await stack.enter_async_context(running("crowd", peers, *fleet.ports.values(), module="fleet_soak"))
    await _until(those, lambda found: found["connected"] == peers)
    print(f"{peers} peers are connected", flush=True)
    began = trio.current_time()
    for turn in range(int(seconds / EVERY)):
        name = ("one", "engine", "two", "back")[turn % 4]
        await fleet.kill(name)
        await trio.sleep(0.5)
        await fleet.start(name)
        while trio.current_time() < began + EVERY * (turn + 1):
            fleet.look()
            await trio.sleep(0.5)
        found = await _ask(those, "")
        print(f"{trio.current_time() - began:4.0f} s: {name} killed; {found['connected']} connected", flush=True)
    await trio.sleep(QUIET)
    await _until(those, lambda found: found["connected"] == peers)
    await _ask(those, "silent")
    found = await _until(those, lambda found: _missing(found, fleet.heard()) == 0)
    fleet.look()
    heard = fleet.heard()
    said = sum(told for _, _, told in found["said"])
    print(f"{found['sessions']} sessions in which something was said, {found['sessions'] - peers} of them reconnects")
    print(f"{said} said, {heard.total()} heard; of sessions that live {_missing(found, heard)} are missing; none twice")
    for words, count in Counter(found["heard"]).most_common():
        print(f"{count:>7} x {words}")
    for name, most in fleet.most.items():
        print(f"{name}: at most {most / 1e6:.1f} MB, {rss_of(fleet.pids[name]) / 1e6:.1f} MB in the end")
    return _missing(found, heard) == 0


def _missing(found: dict[str, list[list[int]]], heard: Counter[tuple[int, int]]) -> int:
    """Messages of sessions that live."""
    said = {(peer, session): told for peer, session, told in found["said"]}
    return sum(said.get((peer, session), 0) - heard[peer, session] for peer, session in found["lives"])


async def _ask(those: Child, words: str) -> dict[str, Any]:
    await those.say(words)
    found: dict[str, Any] = json.loads(await those.hear())
    return found


async def _until(those: Child, condition: Callable[..., bool]) -> dict[str, Any]:
    with trio.fail_after(60):
        while not condition(found := await _ask(those, "")):  # noqa: ASYNC110
            await trio.sleep(0.5)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        trio.run(crowd, *given.role[1:])
    elif SERVER is None:
        raise SystemExit(WITHOUT)
    else:
        sys.exit(not trio.run(soak, given.seconds, given.peers))
