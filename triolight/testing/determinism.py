"""Same seed, same bytes: a Trio run whose order, time and keys all follow from one number.

This is the only file that reaches into Trio: it sets the switch by which Trio sorts each batch of tasks before it
shuffles it, and seeds the shuffle. Both are private there; a test guards them.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio
import trio.testing

SEED_VARIABLE: Final = "TRIOLIGHT_SEED"
"""The environment variable that names the one seed to run, in `seeds` and in `run_seeded`."""

T = TypeVar("T")


def seeds(count: int) -> list[int]:
    """The seeds to try: 0 to `count` - 1, or the one in the environment variable TRIOLIGHT_SEED alone.

    For ``@pytest.mark.parametrize("seed", seeds(20))``. ValueError if the variable is no number.
    """
    chosen = _chosen()
    return list(range(count)) if chosen is None else [chosen]


def _chosen() -> int | None:
    chosen = os.environ.get(SEED_VARIABLE)
    return int(chosen) if chosen else None


def derive(seed: int, *names: str | int) -> bytes:
    """32 bytes that follow from the seed and the names: a node's secret key, its `ephemeral_random_data`.

    Anyone can make them again: they protect nothing.
    """
    text = "/".join(str(part) for part in ("triolight.testing", seed, *names))
    return hashlib.sha256(text.encode()).digest()


def run_seeded(seed: int, main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Runs ``main(*args)`` to its end, as `trio.run` does, on a mock clock that begins at 0, and returns its result.

    The clock jumps whenever every task waits. The order in which tasks run follows from the seed, so two runs of one
    seed do the same as long as everything random in them comes from it as well. What is outside of Trio (threads, real
    sockets, signals) keeps its own order. An exception gets a note that says how to run this seed again. Not to be
    called inside a Trio run (RuntimeError).

    The environment variable TRIOLIGHT_SEED takes the place of `seed`; ValueError if it is no number.
    """
    chosen = _chosen()
    if chosen is not None:
        seed = chosen
    core: Any = trio._core._run  # pyright: ignore[reportPrivateUsage]
    shuffle, was_sorting = core._r, core._ALLOW_DETERMINISTIC_SCHEDULING
    state = shuffle.getstate()
    shuffle.seed(seed)
    core._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as error:
        error.add_note(f"seed {seed}; to replay it: {replay_command(seed)}")
        raise
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = was_sorting
        shuffle.setstate(state)


def replay_command(seed: int) -> str:
    """The command that runs this program, or under pytest the running test, with one seed.

    A test with parameters has its seed among them, or makes it from them: its name says it all.
    """
    test, _, _ = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")
    # Without the project's own options: they may leave this very test out, as a marker's.
    command = ["python", "-m", "pytest", "-o", "addopts=", test] if test else ["python", *sys.orig_argv[1:]]
    chosen = _chosen()
    if chosen is None and "[" in test:
        # With the variable set `seeds` makes other parameters, and this name may be none of theirs.
        return shlex.join(command)
    return f"{SEED_VARIABLE}={seed if chosen is None else chosen} {shlex.join(command)}"
