"""Same seed, same bytes: six processes with other heaps and hash seeds do the same, another seed does not."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trio

from tests.simulations import flood
from triolight.testing import Conditions, SimulatedNetwork, Transmission, derive, replay_command, run_seeded, seeds

ROOT = Path(__file__).parent.parent
PROGRAM = """
import gc, random, sys
heap = random.Random(int(sys.argv[1]))
junk = [bytearray(heap.randrange(1, 3000)) for _ in range(heap.randrange(20000))]
del junk[:: heap.randrange(2, 5)]
gc.set_threshold(heap.randrange(100, 2000))
from tests.simulations import flood
from triolight.testing import run_seeded
done = run_seeded(7, flood, 7, 24)
print(done.transcript, done.heard_at)
"""


def in_another_process(number: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(number)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(number * 1000), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_six_processes_say_the_same() -> None:
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(in_another_process, range(6)))
    assert len(set(outputs)) == 1
    here = run_seeded(7, flood, 7, 24)
    assert f"{here.transcript} {here.heard_at}\n" == outputs[0]
    assert run_seeded(8, flood, 8, 24).transcript != here.transcript


def test_tasks_run_in_an_order_that_follows_from_the_seed() -> None:
    """A shuffle by the seed alone. (That Trio sorts before it shuffles shows only between processes: above.)"""

    async def order(count: int) -> list[int]:
        ran: list[int] = []
        event = trio.Event()

        async def note(number: int) -> None:
            await event.wait()
            ran.append(number)

        async def due(number: int) -> None:
            await trio.sleep_until(10)
            ran.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(note, number)
                nursery.start_soon(due, 1000 + number)
            await trio.sleep(1)
            event.set()
        return ran

    junk: list[object] = []
    orders: list[list[int]] = []
    for round in range(6):
        junk.extend(object() for _ in range(997 * round))
        del junk[::3]
        orders.append(run_seeded(5, order, 50))
    assert all(one == orders[0] for one in orders)
    assert sorted(orders[0]) == [*range(50), *range(1000, 1050)]
    assert orders[0] != sorted(orders[0])
    assert run_seeded(6, order, 50) != orders[0]


def test_the_run_begins_at_zero_and_leaves_trio_as_it_was() -> None:
    core = trio._core._run
    before = core._r.getstate(), core._ALLOW_DETERMINISTIC_SCHEDULING

    async def day() -> float:
        assert core._ALLOW_DETERMINISTIC_SCHEDULING
        assert trio.current_time() == 0
        await trio.sleep(86400)
        return trio.current_time()

    assert run_seeded(1, day) == 86400
    assert (core._r.getstate(), core._ALLOW_DETERMINISTIC_SCHEDULING) == before


def test_a_failure_says_how_to_replay_it() -> None:
    async def fail() -> None:
        raise ValueError("something went wrong")

    with pytest.raises(ValueError, match="went wrong") as caught:
        run_seeded(41, fail)
    (note,) = caught.value.__notes__
    assert note == (
        "seed 41; to replay it: TRIOLIGHT_SEED=41 python -m pytest "
        "tests/test_determinism.py::test_a_failure_says_how_to_replay_it"
    )


def test_the_command_that_is_printed_replays_the_seed(tmp_path: Path) -> None:
    """A test that fails for one seed of many: what it prints, run by a shell, fails again, and for that seed alone."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from triolight.testing import run_seeded, seeds\n"
        "@pytest.mark.parametrize('seed', seeds(5))\n"
        "def test_all_but_three(seed):\n"
        "    async def main():\n"
        "        assert seed != 3, 'three is wrong'\n"
        "    run_seeded(seed, main)\n"
    )
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "TRIOLIGHT", "COV_"))
    }
    environment |= {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    options = ["-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), "test_it.py"]
    first = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "1 failed, 4 passed" in first.stdout, first.stdout + first.stderr
    replay = next(line for line in first.stdout.splitlines() if "to replay it" in line).partition("to replay it: ")[2]
    again = subprocess.run(
        replay, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "three is wrong" in again.stdout
    assert "1 failed" in again.stdout
    assert "passed" not in again.stdout


def test_seeds_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIOLIGHT_SEED", raising=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert seeds(3) == [0, 1, 2]
    assert replay_command(2).startswith("TRIOLIGHT_SEED=2 python ")
    monkeypatch.setenv("TRIOLIGHT_SEED", "77")
    assert seeds(3) == [77]
    keys = {derive(seed, name, number) for seed in range(3) for name in ("a", "b") for number in range(3)}
    assert len(keys) == 18
    assert {len(key) for key in keys} == {32}
    assert derive(1, "a", 1) in keys


def test_the_transcript_says_who_sent_what_to_whom_and_when() -> None:
    async def talk(words: bytes, wait: float) -> tuple[str, list[Transmission]]:
        sent: list[Transmission] = []
        network = SimulatedNetwork(3, Conditions(latency=math.pi), on_sent=sent.append)
        network.host("alice"), network.host("bob")
        here, there = network.stream_pair("alice", "bob")
        await trio.sleep(wait)
        await here.send_all(words)
        await here.aclose()
        await there.receive_some()
        return network.transcript(), sent

    one, sent = run_seeded(1, talk, b"hello", 1)
    assert sent == [
        Transmission(1.0, ("alice", 49152), ("bob", 49152), b"hello"),
        Transmission(1.0, ("alice", 49152), ("bob", 49152), b""),
    ]
    assert run_seeded(2, talk, b"hello", 1)[0] == one
    assert run_seeded(1, talk, b"hellO", 1)[0] != one
    assert run_seeded(1, talk, b"hello", 2)[0] != one
