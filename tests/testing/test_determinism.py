"""Same seed, same bytes: four processes with other heaps and hash seeds do the same, another seed does not."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trio

from tests.support.simulations import flood
from triolight.testing import derive, replay_command, run_seeded, seeds

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import gc, random, sys
heap = random.Random(int(sys.argv[1]))
junk = [bytearray(heap.randrange(1, 3000)) for _ in range(heap.randrange(20000))]
del junk[:: heap.randrange(2, 5)]
gc.set_threshold(heap.randrange(100, 2000))
from tests.support.simulations import flood
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


def test_four_processes_say_the_same() -> None:
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(in_another_process, range(4)))
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
        "seed 41; to replay it: TRIOLIGHT_SEED=41 python -m pytest -o addopts= "
        "tests/testing/test_determinism.py::test_a_failure_says_how_to_replay_it"
    )


def in_a_shell(command: str, directory: Path) -> str:
    """All that it says, of either kind. Nothing of this process's pytest and seed is known there."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "TRIOLIGHT", "COV_"))
    }
    environment |= {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout + done.stderr


def replay_of(output: str) -> str:
    return next(line for line in output.splitlines() if "to replay it" in line).partition("to replay it: ")[2]


FAILING = {
    "parameter": """
@pytest.mark.parametrize("seed", seeds(5))
def test_it(seed): run_seeded(seed, main, seed != 3)
""",
    "among others": """
@pytest.mark.parametrize(("words", "seed"), [("a (b) - c", seed) for seed in seeds(5)])
def test_it(words, seed): run_seeded(seed, main, seed != 3)
""",
    "derived": """
@pytest.mark.parametrize("seed", seeds(5))
def test_it(seed): run_seeded(seed * 100, main, seed != 3)
""",
    "deselected": """
@pytest.mark.slow
def test_it():
    for seed in seeds(5): run_seeded(seed, main, seed != 3)
""",
    "made up": """
def test_it():
    run_seeded(random.randrange(1000, 1 << 60), main, False)
""",
}


@pytest.mark.parametrize(
    ("how", "variable"),
    [*((how, "") for how in FAILING), ("derived", "TRIOLIGHT_SEED=3 "), ("made up", "TRIOLIGHT_SEED=3 ")],
)
def test_the_command_that_is_printed_replays_the_seed(how: str, variable: str, tmp_path: Path) -> None:
    """A test that fails for one seed of many: what it prints, run by a shell, fails again, and for that seed alone."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = -m 'not slow' -p no:cacheprovider\nmarkers =\n    slow: left out\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import random\n"
        "import pytest\n"
        "import trio\n"
        "from triolight.testing import run_seeded, seeds\n"
        "async def main(right):\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        order = []\n"
        "        for number in range(20): nursery.start_soon(note, order, number)\n"
        "    assert right, f'the order is {order}'\n"
        "async def note(order, number): order.append(number)\n" + FAILING[how]
    )
    first = in_a_shell(f"{variable}python -m pytest -m '' test_it.py", tmp_path)
    order = next(line for line in first.splitlines() if "the order is" in line)
    replay = replay_of(first)
    assert "TRIOLIGHT_SEED" in replay or not variable
    again = in_a_shell(replay, tmp_path)
    assert order in again
    assert "1 failed" in again
    assert "passed" not in again
    assert replay_of(again) == replay


@pytest.mark.parametrize("command", ["python program.py 5", "python -W error -m program 5"])
def test_a_program_is_replayed_as_it_was_called(command: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from triolight.testing import run_seeded\n"
        "async def main(seed):\n"
        "    assert seed != 3, f'three is wrong of {sys.argv[1]}'\n"
        "for seed in range(int(sys.argv[1])): run_seeded(seed, main, seed)\n"
    )
    first = in_a_shell(command, tmp_path)
    assert replay_of(first) == f"TRIOLIGHT_SEED=3 {command}"
    again = in_a_shell(replay_of(first), tmp_path)
    assert "three is wrong of 5" in again


def test_the_variable_takes_the_place_of_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def order() -> list[int]:
        ran: list[int] = []

        async def note(number: int) -> None:
            ran.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(note, number)
        return ran

    seven = run_seeded(7, order)
    assert run_seeded(8, order) != seven
    monkeypatch.setenv("TRIOLIGHT_SEED", "7")
    assert run_seeded(8, order) == seven
    monkeypatch.setenv("TRIOLIGHT_SEED", "seven")
    with pytest.raises(ValueError, match="seven"):
        run_seeded(8, order)


def test_a_failing_test_names_the_seeds_of_its_networks(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_call\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    (tmp_path / "test_it.py").write_text(
        "from triolight.testing import SimulatedNetwork\n"
        "async def test_first(autojump_clock):\n"
        "    SimulatedNetwork(1111)\n"
        "async def test_second(autojump_clock):\n"
        "    SimulatedNetwork(2222), SimulatedNetwork(seed=3333), SimulatedNetwork(2222)\n"
        "    assert False, 'something went wrong'\n"
    )
    output = in_a_shell("python -m pytest -p no:cacheprovider test_it.py", tmp_path)
    assert "1 failed, 1 passed" in output
    assert "simulated networks with the seeds 2222, 3333" in output


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
