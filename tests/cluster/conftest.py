"""The engine of the tests of this folder: one server for all of them, if there is one here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines import Server, open_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with open_server() as found:
        yield found
