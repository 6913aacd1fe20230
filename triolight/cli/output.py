"""Where words go: data to stdout, one thing a line; progress, warnings and the log to stderr. Nothing else knows how.

A line goes out at once: whoever reads a pipe shall not wait for a buffer to fill.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from typing import Any, Final, TextIO

import click

from triolight import DisconnectReason, Features, Level, Logger, NullLogger, Peer, StdlibLogger
from triolight.address import readable

_UNWRITTEN: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What the system says of output that it does not take; no socket says it."""


def progress(words: str) -> None:
    click.echo(words, err=True)


def data(as_json: bool, words: str, event: str, **fields: Any) -> None:
    """A line on stdout: these words, or an object of these fields."""
    click.echo(json.dumps({"event": event, **fields}) if as_json else words)


def reason_fields(reason: DisconnectReason) -> dict[str, str]:
    return {"code": reason.code.value, "by": reason.by.value, "message": reason.message}


def features_field(peer: Peer) -> str:
    return peer.features.to_bytes().hex()


def offered(features: Features) -> str:
    return features.to_bytes().hex() or "none"


def place(peer: Peer) -> str:
    return "an unknown address" if peer.address is None else readable(peer.address)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def start_log(verbose: int) -> None:
    """Once, before the first logger is made: those ask for the level when they are."""
    if not verbose:
        return
    logging.addLevelName(Level.TRACE, "TRACE")
    logging.addLevelName(Level.GOSSIP, "GOSSIP")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(relativeCreated)7.0f ms %(levelname)-6s %(name)s: %(message)s"))
    log = logging.getLogger("triolight")
    log.addHandler(handler)
    log.setLevel(Level.DEBUG if verbose == 1 else Level.GOSSIP)


def logger_for(verbose: int, name: str = "triolight") -> Logger:
    return StdlibLogger(name) if verbose else NullLogger()


def is_unwritten(error: BaseException) -> bool:
    """Whether it is the output that is not taken, a full disk or a terminal that is gone, and no fault of a peer."""
    return isinstance(error, OSError) and error.errno in _UNWRITTEN


def write_nowhere(*streams: TextIO) -> None:
    """What waits in their buffers would be tried, and complained about, once more at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
