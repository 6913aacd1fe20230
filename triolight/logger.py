"""What happened, for people who read logs: Logger, Record, Level, and the way into the standard library's logging.

A record never holds a secret or a message's content; text of a peer in it went through `text.printable`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, Protocol

__all__ = [
    "Level",
    "Logger",
    "NullLogger",
    "Record",
    "StdlibLogger",
]

_NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})


class Level(IntEnum):
    """LDK's levels, from the most talkative. Each message is logged at TRACE, each gossip message at GOSSIP."""

    GOSSIP = 3
    TRACE = 5
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened. `module` is the area that it is of, ``peer_manager``, ``nursery`` or ``tape``, whatever
    files these are made of; `peer_id` the node id that it is about (33 bytes)."""

    level: Level
    message: str
    module: str
    peer_id: bytes | None = None
    fields: Mapping[str, Any] = field(default_factory=lambda: _NO_FIELDS)

    def __str__(self) -> str:
        about = f" [{self.peer_id.hex()[:16]}]" if self.peer_id else ""
        details = "".join(f" {name}={value}" for name, value in self.fields.items())
        return f"{self.level.name} {self.module}{about} {self.message}{details}"


class Logger(Protocol):
    """Anything with `log`. It is called in the middle of things: it must not block and must not call back.

    A logger that also has an attribute `level` gets records from that level on, one without gets them from DEBUG on:
    records for single messages (TRACE, GOSSIP) are not even made for those who did not ask.
    """

    def log(self, record: Record) -> None:
        """One thing that has happened."""


def wanted_level(logger: Logger) -> Level:
    """From which level on this logger wants records."""
    level = getattr(logger, "level", Level.DEBUG)
    if not isinstance(level, int):
        return Level.DEBUG
    return next((one for one in Level if one >= level), Level.ERROR)


class Area:
    """One part's way into a logger: makes a record only if it is wanted."""

    __slots__ = ("_logger", "_module")

    def __init__(self, logger: Logger, module: str) -> None:
        self._logger: Final = logger
        self._module: Final = module

    def __call__(self, level: Level, message: str, peer_id: bytes | None = None, **fields: Any) -> None:
        if wanted_level(self._logger) <= level:
            self._logger.log(Record(level, message, self._module, peer_id, fields))


class NullLogger:
    """Wants nothing."""

    level: Final = Level.ERROR

    def log(self, record: Record) -> None:
        """Nothing happens."""


class StdlibLogger:
    """Hands records to ``logging.getLogger(name)``: peer id and fields as `extra`, so that handlers can use them."""

    def __init__(self, name: str = "triolight") -> None:
        self._logger = logging.getLogger(name)
        # Asked once: what is not enabled now costs nothing per message later.
        effective = self._logger.getEffectiveLevel()
        self.level: Final = next((level for level in Level if level >= effective), Level.ERROR)

    def log(self, record: Record) -> None:
        """To the standard library's logger, if that is enabled for its level."""
        if self._logger.isEnabledFor(record.level):
            self._logger.log(
                record.level,
                "%s%s%s",
                f"[{record.peer_id.hex()[:16]}] " if record.peer_id else "",
                record.message,
                "".join(f" {name}={value}" for name, value in record.fields.items()),
                extra={"peer_id": record.peer_id, "triolight": dict(record.fields)},
            )
