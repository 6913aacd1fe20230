"""Where a file's calls run."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from triolight.services.worker import WorkerThread


async def test_calls_run_in_a_thread_and_on_a_mock_clock_in_line(mock_clock: trio.testing.MockClock) -> None:
    assert await WorkerThread().call(trio.lowlevel.current_task)


async def test_calls_run_in_a_thread() -> None:
    with pytest.raises(RuntimeError, match="async context"):
        await WorkerThread().call(trio.lowlevel.current_task)
