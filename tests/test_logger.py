"""The logger: records, levels, and the way into the standard library's logging."""

from __future__ import annotations

import logging

import pytest

from tests.support import ListLogger, identity, make_manager
from triolight import (
    PeerManager,
)
from triolight.logger import Level, NullLogger, Record, StdlibLogger, wanted_level


@pytest.mark.parametrize(
    ("level", "wanted"),
    [(0, Level.GOSSIP), (25, Level.WARN), (50, Level.ERROR), ("INFO", Level.DEBUG), (None, Level.DEBUG)],
)
def test_any_object_with_log_is_a_logger(level: object, wanted: Level) -> None:
    class Odd(ListLogger):
        pass

    log = Odd()
    log.level = level  # type: ignore[attr-defined]
    assert wanted_level(log) is wanted
    assert isinstance(make_manager(1, logger=log), PeerManager)


def test_records_and_levels() -> None:
    record = Record(Level.INFO, "connected", "peer_manager", identity(1), {"inbound": True})
    assert str(record) == f"INFO peer_manager [{identity(1).hex()[:16]}] connected inbound=True"
    assert str(Record(Level.WARN, "x", "y")) == "WARN y x"
    assert wanted_level(NullLogger()) is Level.ERROR
    NullLogger().log(record)


def test_stdlib_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(Level.INFO, logger="triolight.test"):
        logger = StdlibLogger("triolight.test")
        assert wanted_level(logger) is Level.INFO
        logger.log(Record(Level.INFO, "connected", "m", identity(1), {"a": 1}))
        logger.log(Record(Level.DEBUG, "not this", "m"))
        logger.log(Record(Level.WARN, "nobody's", "m"))
    assert [one.getMessage() for one in caplog.records] == [f"[{identity(1).hex()[:16]}] connected a=1", "nobody's"]
    assert caplog.records[0].__dict__["triolight"] == {"a": 1}
    assert caplog.records[0].__dict__["peer_id"] == identity(1)
    logging.getLogger("triolight.quiet").setLevel(logging.CRITICAL)
    assert wanted_level(StdlibLogger("triolight.quiet")) is Level.ERROR
