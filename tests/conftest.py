"""Settings for all tests: Hypothesis always tries the same examples; a test that fails names its networks' seeds."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from triolight.testing import SimulatedNetwork

settings.register_profile("same", derandomize=True, deadline=None, max_examples=45)
settings.load_profile("same")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: tests of commands wait for processes, and the others need not."""
    return (os.cpu_count() or 1) + 1


NAMED = 10
"""Networks whose seeds are named, the last ones: a property makes one for each of its examples."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Under Trio's own mock clock nobody else does: `run_seeded` names its seed by itself."""
    made: deque[int] = deque(maxlen=NAMED)
    make = SimulatedNetwork.__init__

    def noting(self: SimulatedNetwork, seed: int, *arguments: Any, **named: Any) -> None:
        made.append(seed)
        make(self, seed, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedNetwork, "__init__", noting)
        try:
            yield
        except BaseException as error:
            if made:
                error.add_note(f"simulated networks with the seeds {', '.join(map(str, dict.fromkeys(made)))}")
            raise
