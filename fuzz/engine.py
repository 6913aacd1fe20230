"""Hands a target to atheris (libFuzzer for Python) with all of triolight instrumented. Arguments are libFuzzer's."""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris


def fuzz(target: Callable[[bytes], object]) -> None:
    """Runs until a crash, or as long as `-max_total_time=SECONDS` says. Does not return."""
    # Not `instrument_imports`: the compiled codecs are functions that no file has.
    atheris.instrument_all()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
